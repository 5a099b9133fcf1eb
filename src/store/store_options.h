// SPDX-License-Identifier: Apache-2.0
//
// The options of a store: what the user said (struct cascade_options, text) and
// what it means on this machine (struct store_settings, typed). The functions
// cascade_options_* of cascade.h are here. Not the machinery (base/option.h).
//
// Invariant: settings that resolved can be obeyed: every value is in range,
// fits its field and fits the machine. One thread fills options; no lock.

#ifndef STORE_STORE_OPTIONS_H
#define STORE_STORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/log.h"
#include "cascade/cascade.h"

struct allocator;
struct file_system;
struct machine_limits;
struct option_set;

enum store_option {
#define OPTION(id, name, type, unit, default_text, range, sentence) \
    STORE_OPTION_##id,
#include "store/store_option_table.h"
#undef OPTION
    STORE_OPTION_COUNT
};

// Values as text, with their origins.
struct cascade_options {
    struct option_set *set;
    const struct allocator *allocator;
    const struct file_system *files;
};

enum store_dedup {
    STORE_DEDUP_CONTENT = 0,
    STORE_DEDUP_KEY = 1,
    STORE_DEDUP_OFF = 2
};

enum store_verify {
    STORE_VERIFY_CROSSING = 0,
    STORE_VERIFY_ALWAYS = 1,
    STORE_VERIFY_OFF = 2
};

enum store_rebind {
    STORE_REBIND_ALLOWED = 0,
    STORE_REBIND_REFUSED = 1
};

enum store_sync {
    STORE_SYNC_SEAL = 0,
    STORE_SYNC_PUT = 1
};

enum store_fabric {
    STORE_FABRIC_AUTO = 0,
    STORE_FABRIC_SELF = 1,
    STORE_FABRIC_MPI = 2
};

enum store_cold_io {
    STORE_COLD_IO_AUTO = 0,
    STORE_COLD_IO_URING = 1,
    STORE_COLD_IO_PREAD = 2
};

struct store_settings {
    uint64_t dram_capacity_bytes; // 0: no DRAM tier, and cold_path is set
    uint64_t gpu_capacity_bytes;  // 0: no GPU tier
    uint64_t cold_capacity_bytes; // 0: from the free space
    uint64_t segment_bytes;
    uint64_t cold_write_rate; // bytes per second, 0: no limit
    uint64_t cold_queue_bytes;
    uint64_t cold_alignment_bytes; // 0: ask the file system
    uint64_t timeout_ns;
    uint64_t put_wait_ns;
    uint64_t lease_ns;
    uint64_t drain_deadline_ns;
    uint64_t binding_lease_ns;
    uint32_t drain_signals; // enum signal_relay_signals
    bool drain_requests;
    uint32_t max_blocks; // never 0
    uint32_t threads;    // never 0
    uint32_t promotion_threshold;
    double prefix_fraction_max;
    bool semantic_eviction;
    bool locality_aware;
    bool spill;
    bool stats_page;
    bool cold_look_only; // cold_mode=look
    bool huge_pages;
    enum store_dedup dedup;
    enum store_verify verify;
    enum store_rebind rebind;
    bool cold_admits_all; // a writer that is behind gets all the same
    enum store_sync sync;
    enum store_cold_io cold_io;
    enum store_fabric fabric;
    uint32_t rung; // enum tier_remote_rung
    enum log_level log_level;
    uint32_t cold_file_mode;
    char cold_path[4096]; // "": no cold tier
    char cold_group[64];
    char namespace_name[256]; // never part of a path as it stands
    char eviction_policy[32];
    char gpu_devices[64];
};

// Options at their defaults, with an allocator and a file system of the
// caller's. NULL if there is no memory.
struct cascade_options *
store_options_create(const struct allocator *allocator,
                     const struct file_system *files) MUST_USE;

// The same values and origins in memory of their own. NULL if there is no
// memory. cascade_options_destroy ends it.
struct cascade_options *
store_options_copy(const struct allocator *allocator,
                   const struct cascade_options *options) MUST_USE;

// cascade_options_load_environment on a given environment ("NAME=value", ended
// by NULL).
enum cascade_status
store_options_load_environment(struct cascade_options *options,
                               char *const *environment) MUST_USE;

// What the options mean on this machine. INVALID: a value that this machine
// cannot give or that contradicts another; the message names value, limit and
// remedy. UNSUPPORTED: an option of a part that this release lacks. `*settings`
// changes only on success.
enum cascade_status
store_settings_resolve(const struct cascade_options *options,
                       const struct machine_limits *machine,
                       struct store_settings *settings) MUST_USE;

// Room of the index for that much capacity: one block per 64KiB, at least
// 4,096 and at most 4Mi. What max_blocks=0 means once all capacities are known.
uint32_t
store_settings_max_blocks(uint64_t capacity_bytes);

// The effective value of an option as text: the resolved one where the machine
// decided ("auto" memory, 0 threads), else what was given. INVALID: unknown
// name. TOO_SMALL.
enum cascade_status
store_settings_text(const struct cascade_options *options,
                    const struct store_settings *settings, const char *name,
                    char *value, size_t size) MUST_USE;

#endif
