// SPDX-License-Identifier: Apache-2.0
//
// Stores on one root for the tests of the cold tier: each keeps the highest
// version per key that it was shown, as the real store does, and reads back
// bytes that are known from the key's seed. Contents are made from numbers.

#ifndef TIER_COLD_FIXTURE_H
#define TIER_COLD_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "segment/segment_lease_holder.h"
#include "support/allocator_failing.h"
#include "support/clock_fake.h"
#include "support/file_faulty.h"
#include "support/scratch.h"
#include "tier/tier_segment.h"

#define COLD_KEYS 256
#define COLD_LEASE_NS ((uint64_t)10 * 1000000000)

enum cold_where {
    COLD_HERE = 0,      // this process: alive
    COLD_DIED = 1,      // this machine, a process that is not there any more
    COLD_ELSEWHERE = 2, // another machine
};

struct cold_world {
    struct scratch scratch;
    struct clock_fake clock;
    struct file_system quick;
    struct file_faulty files;
    struct allocator_failing memory;
    uint64_t tag; // last one given
};

struct cold_row {
    struct block_version version;
    struct block_place place;
    struct block_id id;
    uint32_t flags;
    uint32_t segment;
    uint32_t key_bytes;
    bool own;
    bool durable;
};

struct cold_store {
    struct cold_world *world;
    struct tier_segment *cold; // NULL = not open
    struct segment_lease_holder holder;
    struct tier_segment_options options;
    struct block_version floor;
    struct block_version highest;
    struct block_version cleared;
    uint64_t last_ns;
    uint64_t shown;
    struct cold_row rows[COLD_KEYS];
    bool conflict; // two records with one version and other contents
};

void
cold_world_make(struct cold_world *world);

void
cold_world_remove(struct cold_world *world);

// Sets the options to defaults of the tests; change them before cold_open.
void
cold_prepare(struct cold_world *world, struct cold_store *store,
             enum cold_where where, bool rebind_allowed);

enum cascade_status
cold_open(struct cold_store *store);

// prepare and open.
enum cascade_status
cold_start(struct cold_world *world, struct cold_store *store,
           enum cold_where where, bool rebind_allowed);

// As kill -9: nothing is sealed, released or renewed.
void
cold_crash(struct cold_store *store);

// Appends a block of the content `seed` under key number `key`.
enum cascade_status
cold_put(struct cold_store *store, uint32_t key, uint64_t seed, uint64_t bytes);

enum cascade_status
cold_remove(struct cold_store *store, uint32_t key);

// Status of reading the key as a restart would serve it: NOT_FOUND without a
// binding. Stops the test if a read succeeds with bytes other than those of
// `seed`.
enum cascade_status
cold_get(struct cold_store *store, uint32_t key, uint64_t seed);

// Same where several contents are right; `*which` gets the number of the one
// that was there.
enum cascade_status
cold_get_one_of(struct cold_store *store, uint32_t key, const uint64_t *seeds,
                size_t seed_count, size_t *which);

enum cascade_status
cold_refresh(struct cold_store *store, bool adopt);

void
cold_visit(void *context, const struct tier_segment_entry *entry);

// Content number `seed`; the caller frees it.
void *
cold_content(uint64_t seed, uint64_t bytes);

// Files below the scratch folder whose name ends so.
unsigned
cold_count_files(const struct cold_world *world, const char *ending);

// The path of one such file: number `number` in sorted order.
void
cold_find_file(const struct cold_world *world, const char *ending,
               unsigned number, char *path, size_t size);

#endif
