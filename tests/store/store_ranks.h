// SPDX-License-Identifier: Apache-2.0
//
// Many stores in one process that are ranks of one job: each lives on a fiber of
// the simulation (support/fabric_sim.h), with its clock and fabric. A test gives
// what each rank does; what fails stops the program, because fibers cannot
// unwind.

#ifndef STORE_RANKS_H
#define STORE_RANKS_H

#include "store_fixture.h"
#include "support/fabric_sim.h"

#define STORE_RANKS_MAX 256

struct store_ranks;

// What a rank does between open and close. All ranks are open when it begins.
typedef void
store_rank_life(struct store_ranks *ranks, uint16_t rank,
                struct cascade *store);

struct store_ranks {
    struct store_world world;
    struct fabric_sim *sim;
    uint16_t count;
    bool cold;
    const char *const *pairs; // of options
    // May be NULL: changes the options of one rank.
    void (*adjust)(uint16_t rank, struct cascade_options *options);
    store_rank_life *life;
    void *context; // of the test
    struct store_ranks_member {
        struct store_ranks *ranks;
        uint16_t rank;
        struct store_surroundings around;
        struct fabric fabric;
        struct cascade *store;
        bool is_stepping; // in the background
    } members[STORE_RANKS_MAX];
};

// `options` may be NULL (fabric_sim_create).
void
store_ranks_make(struct store_ranks *ranks, uint64_t seed, uint16_t count,
                 const struct fabric_sim_options *options);

// Opens all, lets them live, closes all. May be called again: a restart.
void
store_ranks_run(struct store_ranks *ranks, uint16_t count, bool cold,
                const char *const *pairs, store_rank_life *life);

void
store_ranks_remove(struct store_ranks *ranks);

// Statuses that must be; the program ends otherwise.
void
store_ranks_must(enum cascade_status status, const char *what);

void
store_ranks_put(struct cascade *store, const char *key, uint64_t seed,
                size_t bytes, uint32_t flags,
                struct cascade_put_result *result);

// The bytes are compared; the tier that served is counted by the store.
void
store_ranks_get(struct cascade *store, const char *key, uint64_t seed,
                size_t bytes);

void
store_ranks_miss(struct cascade *store, const char *key);

void
store_ranks_meet(struct cascade *store);

#endif
