// SPDX-License-Identifier: Apache-2.0
//
// What the lives of whole stores begin with: one disk that loses power, a clock,
// the model of what may be found, and a sequence that follows from a seed. Which
// lives are led is crash_store's and crash_shared's. One thread.

#ifndef CRASH_WORLD_H
#define CRASH_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "cascade/cascade.h"
#include "crash/crash_model.h"
#include "support/clock_fake.h"
#include "support/file_sectors.h"

#define CRASH_LEASE_NS ((uint64_t)10 * 1000000000)

struct crash_world {
    struct file_sectors disk;
    struct clock_fake clock;
    struct crash_model model;
    uint64_t random;
};

// The sequence alone, before a number is picked from it.
void
crash_world_seed(struct crash_world *world, uint64_t seed);

// Disk, clock and model; `lies` as in enum file_sectors_lie.
void
crash_world_make(struct crash_world *world, uint32_t lies);

// True if the model found nothing wrong, else `wrong` gets what; the disk goes.
bool
crash_world_end(struct crash_world *world, char *wrong, size_t size);

uint64_t
crash_world_pick(struct crash_world *world, uint64_t below);

// The power is on, and nothing was wrong yet.
bool
crash_world_is_on(const struct crash_world *world);

struct cascade_key
crash_world_key(uint32_t key);

// A failure while the power is on: the model knows no other faults.
void
crash_world_must(struct crash_world *world, enum cascade_status status,
                 const char *what);

// Opens a small store over these files, with what all such stores have in
// common and then `pairs` of name and value that end with NULL. Its threads are
// few and do no work of their own. NULL in `*store` unless OK.
enum cascade_status
crash_world_open(struct crash_world *world, const struct file_system *files,
                 const char *const *pairs, struct cascade **store);

// The state that the store shows for the key: 0 = absent, CRASH_CONTENTS_MAX =
// bytes that are no state of it. `how` is the status of the get.
uint32_t
crash_world_look(struct crash_world *world, struct cascade *store, uint32_t key,
                 const char **how);

#endif
