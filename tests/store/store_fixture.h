// SPDX-License-Identifier: Apache-2.0
//
// Small stores for the tests of the store: files, memory and options that a
// test can break, and blocks whose bytes follow from a number, so that every
// get compares every byte. Not the tests themselves. Functions that return a
// status may be called from any thread; the others assert, so only from the
// thread of the test.

#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cascade/cascade.h"
#include "store/store_internal.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"
#include "support/scratch.h"

// Surroundings with faults to come, and a folder for a cold tier in them.
struct store_world {
    struct scratch scratch;
    char cold_path[256]; // made by the first store that is opened there
    struct file_faulty files;
    struct allocator_failing memory;
    struct store_surroundings around; // background = false
};

void
store_world_make(struct store_world *world);

// Checks that no memory is left and removes the files.
void
store_world_remove(struct store_world *world);

// Options that every test begins with: 2 MiB of DRAM, segments of 1 MiB, no
// cold tier, pread; nothing is dropped because the writer is behind. Stops the
// test if an option is refused.
struct cascade_options *
store_options_small(void);

// Sets options from pairs of name and value that end with NULL.
void
store_options_pairs(struct cascade_options *options, const char *const *pairs);

// Opens with small options, then `pairs` (may be NULL), with a cold tier at
// world->cold_path if `cold`.
enum cascade_status
store_try(struct store_world *world, bool cold, const char *const *pairs,
          struct cascade **store);

// The same; stops the test if it fails.
struct cascade *
store_start(struct store_world *world, bool cold, const char *const *pairs);

void
store_end(struct cascade *store);

// Content number `seed`.
void
store_fill(uint64_t seed, void *data, size_t bytes);

bool
store_is(uint64_t seed, const void *data, size_t bytes);

struct cascade_key
store_name(const char *text);

// Puts content `seed` under `key`; `flags` as in enum cascade_put_flags.
enum cascade_status
store_put_seed(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes, uint32_t flags, struct cascade_put_result *result);

// Gets `key` into a buffer of its own. On success the bytes must be those of
// content `seed`: anything else aborts the program.
enum cascade_status
store_get_seed(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes);

// As puts and gets that cannot fail.
void
store_must_put(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes);

void
store_must_get(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes);

struct cascade_stats
store_stats_now(struct cascade *store);

enum cascade_tier
store_tier_of(struct cascade *store, const char *key);

// The message of the last failure holds `part`; shows it otherwise.
void
store_message_has(const char *part);

// Runs background steps until there is nothing more to do at once.
void
store_settle(struct cascade *store);

#endif
