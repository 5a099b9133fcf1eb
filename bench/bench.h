// SPDX-License-Identifier: Apache-2.0
//
// One measurement: a case with one block size and one number of threads, run in
// rounds, its limit measured beside each round. Drivers do the work; this is
// what they share.
//
// Invariant: bytes enter a sample only if they were compared, outside of the
// timed part; a miss is counted as a miss and its bytes are taken off.
// One thread drives; workers of parallel.h touch only what is theirs.

#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/units.h"
#include "bench/bench_case.h"
#include "bench/buffer.h"
#include "bench/raw_io.h"
#include "cascade/cascade.h"

#define BENCH_ROUNDS_MAX 101
#define BENCH_PATH_BYTES 4096
#define BENCH_KEY_BYTES 16
#define BENCH_OPTIONS_TEXT_BYTES 8192

// For calls over all blocks, which may be a million on a slow disk.
#define BENCH_CALL_NS (3600 * NS_PER_S)

// Bytes over time; no time: there is nothing to compare.
struct bench_speed {
    uint64_t bytes;
    uint64_t ns;
};

struct bench_sample {
    struct bench_speed work;
    struct bench_speed limit;
    uint64_t verified_bytes;
    uint64_t wrong_bytes;
    uint64_t misses;
    uint64_t device_bytes; // read from the device meanwhile; cold cases
    uint64_t cpu_ns;       // of the process during the work
};

// Durations of single operations over all rounds.
struct bench_latencies {
    uint64_t *ns;
    size_t room;
    _Atomic size_t count;
};

struct bench_run {
    const struct bench_case *what;
    uint64_t block_bytes;
    uint32_t threads;
    uint32_t rounds;
    size_t blocks; // of all threads; a multiple of threads
    uint64_t operations;
    uint64_t seed;
    bool tiny;
    bool of_ranks; // the driver's needs_ranks
    int32_t rank;
    int32_t rank_count;            // 0: not asked
    char folder[BENCH_PATH_BYTES]; // for files of this run

    struct cascade *store;
    void *state;          // of drivers that need more
    struct buffer source; // blocks, where the driver wants them
    struct buffer target; // likewise
    struct cascade_item *items;
    struct cascade_span *spans;
    uint8_t (*keys)[BENCH_KEY_BYTES];
    uint8_t (*ids)[CASCADE_ID_BYTES];
    uint32_t round;           // 0 is the warm-up, which is not counted
    uint64_t parallel_cpu_ns; // of the process, in the last bench_parallel
    uint64_t bar_ns;          // for drivers without a measured limit
    struct raw_shape shape;   // of the plain reads or writes; cold cases
    char options_text[BENCH_OPTIONS_TEXT_BYTES]; // effective, "name=value\n"

    struct bench_latencies latencies;
    struct bench_latencies limit_latencies;
    struct bench_sample warm_up; // not measured, but compared
    struct bench_sample samples[BENCH_ROUNDS_MAX];
    const char *limit_detail; // which way of the limit was the best
};

struct bench_driver {
    const char *name;
    const char *limit; // name of the limit in results
    bool moves_bytes;  // false: only times mean something
    bool holds_bytes;  // bytes are what is held, beside what could be: no speed
    bool needs_folder;
    bool needs_ranks; // runs under a launcher only; all ranks run it together
    double bar_quantile; // that bar_ns is for
    uint64_t bar_ns;     // 0: set_up knows
    // Bytes of memory that set_up takes for a run, the store's included.
    uint64_t (*memory_bytes)(const struct bench_run *run);
    // Opens stores and takes buffers; tear_down undoes also half of it.
    enum cascade_status (*set_up)(struct bench_run *run);
    // One round: prepares, measures, compares.
    enum cascade_status (*work)(struct bench_run *run,
                                struct bench_sample *sample);
    // The limit with the same sizes; NULL: bar_ns is the limit.
    enum cascade_status (*limit_work)(struct bench_run *run,
                                      struct bench_speed *speed);
    void (*tear_down)(struct bench_run *run);
};

// Drivers, each in the file of its kind: bench_id.c, bench_put.c, ...
extern const struct bench_driver bench_driver_id;
extern const struct bench_driver bench_driver_put;
extern const struct bench_driver bench_driver_put_known;
extern const struct bench_driver bench_driver_if_absent;
extern const struct bench_driver bench_driver_get;
extern const struct bench_driver bench_driver_acquire;
extern const struct bench_driver bench_driver_exists;
extern const struct bench_driver bench_driver_exists_batch;
extern const struct bench_driver bench_driver_first_put;
extern const struct bench_driver bench_driver_fill;
extern const struct bench_driver bench_driver_batch_get;
extern const struct bench_driver bench_driver_cold_write;
extern const struct bench_driver bench_driver_cold_get;
extern const struct bench_driver bench_driver_cold_batch;
extern const struct bench_driver bench_driver_restart;
extern const struct bench_driver bench_driver_remote_near;
extern const struct bench_driver bench_driver_rank_lookup;
extern const struct bench_driver bench_driver_rank_lookup_idle;
extern const struct bench_driver bench_driver_rank_lookup_batch;
extern const struct bench_driver bench_driver_rank_get;
extern const struct bench_driver bench_driver_rank_scale;
extern const struct bench_driver bench_driver_rank_cold;
extern const struct bench_driver bench_driver_rank_cold_once;

// --- bench_tools.c: what drivers share

uint64_t
bench_now(void);

// Processor time of all threads of the process so far.
uint64_t
bench_cpu_ns(void);

// The key of block `number` of generation `generation`; `room` holds it.
struct cascade_key
bench_key(uint64_t generation, uint64_t number, uint8_t room[BENCH_KEY_BYTES]);

// The number of the content of block `number` in `generation`.
uint64_t
bench_content(const struct bench_run *run, uint64_t generation,
              uint64_t number);

// Opens run->store with room for `dram_bytes`; `cold_bytes` not 0 adds a cold
// tier in run->folder. Notes the effective options.
enum cascade_status
bench_open(struct bench_run *run, uint64_t dram_bytes,
           uint64_t cold_bytes) MUST_USE;

// The same, and waits until all memory is there: what a store does that has
// run for a while.
enum cascade_status
bench_open_warm(struct bench_run *run, uint64_t dram_bytes,
                uint64_t cold_bytes) MUST_USE;

// Room in DRAM that holds `blocks` blocks without eviction.
uint64_t
bench_dram_bytes(const struct bench_run *run, uint64_t blocks);

// Puts block `number` from memory. NO_SPACE where it was not stored.
enum cascade_status
bench_put(struct bench_run *run, uint64_t generation, uint64_t number,
          const void *data, const struct cascade_put_options *options,
          struct cascade_put_result *result) MUST_USE;

// Gets into memory of one block.
enum cascade_status
bench_get(struct bench_run *run, uint64_t generation, uint64_t number,
          void *data, size_t *bytes) MUST_USE;

// Fills run->source with all blocks of a generation.
void
bench_fill_source(struct bench_run *run, uint64_t generation);

// Compares run->target, block by block, with a generation. Blocks whose entry
// of `missed` is set are misses. Adds to the sample; sets its work bytes.
void
bench_compare_target(struct bench_run *run, uint64_t generation,
                     const bool *missed, struct bench_sample *sample);

void
bench_note_latency(struct bench_latencies *latencies, uint64_t ns);

// Releases store and buffers. The shared tear_down.
void
bench_tear_down(struct bench_run *run);

// Runs `work` in run->threads threads at once; the first start to the last end
// is the time. Each gets its number. The first failure is returned.
enum cascade_status
bench_parallel(struct bench_run *run,
               enum cascade_status (*work)(struct bench_run *run,
                                           uint32_t thread, void *context),
               void *context, uint64_t *ns) MUST_USE;

// --- bench_folder.c: files of a run

// Makes run->folder under `parent`. PERMISSION, NO_SPACE, NOT_FOUND, IO.
enum cascade_status
bench_folder_make(struct bench_run *run, const char *parent) MUST_USE;

// Removes all that is in the folder `name` of run->folder, and it; "" is all.
void
bench_folder_remove(const struct bench_run *run, const char *name);

// Asks the system to forget what it cached of the files in run->folder.
void
bench_folder_drop_cache(const struct bench_run *run);

// Bytes that this process has caused to be read from devices so far; 0 if the
// system does not tell.
uint64_t
bench_device_bytes(void);

// --- bench_batch.c

// Puts all blocks of source as generation 0.
enum cascade_status
bench_put_all(struct bench_run *run) MUST_USE;

// Fills run->items with a get of every block into target.
enum cascade_status
bench_make_items(struct bench_run *run) MUST_USE;

// Gets run->items as one batch, timed, and compares. Its duration is the one
// latency of the round.
enum cascade_status
bench_work_batch(struct bench_run *run, struct bench_sample *sample) MUST_USE;

// --- bench_limit.c: limits in memory

// The best of three copies of source to target, block by block, by run->threads
// threads. Names the way in run->limit_detail.
enum cascade_status
bench_limit_copy(struct bench_run *run, struct bench_speed *speed) MUST_USE;

// The ways it tries by themselves; NULL ends their names.
const char *
bench_limit_way(size_t way);

enum cascade_status
bench_limit_copy_by(struct bench_run *run, size_t way,
                    struct bench_speed *speed) MUST_USE;

// The same as one copy of everything by one thread.
enum cascade_status
bench_limit_copy_whole(struct bench_run *run,
                       struct bench_speed *speed) MUST_USE;

// SHA-256 of each block of source in one stream, by run->threads threads.
enum cascade_status
bench_limit_sha256(struct bench_run *run, struct bench_speed *speed) MUST_USE;

// --- bench_run.c

// Runs one measurement. `*skip` is set to a reason, and nothing is measured, if
// this machine cannot do it.
enum cascade_status
bench_run_measure(const struct bench_driver *driver, struct bench_run *run,
                  char *skip, size_t skip_bytes) MUST_USE;

const struct bench_driver *
bench_driver_find(const char *name);

// --- bench_record.c

// Prints the line of a result: JSON, or text for people. True if no byte was
// wrong and nothing was missed.
bool
bench_record_print(const struct bench_driver *driver, struct bench_run *run,
                   bool json);

// Appends the whole record to a file. IO, PERMISSION, NOT_FOUND.
enum cascade_status
bench_record_append(const struct bench_driver *driver, struct bench_run *run,
                    const char *path) MUST_USE;

// Says that a measurement was left out.
void
bench_record_skip(const struct bench_run *run, const char *why, bool json);

#endif
