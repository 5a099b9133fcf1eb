// SPDX-License-Identifier: Apache-2.0
//
// Stores on fibers. See store_ranks.h.

#include "store_ranks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// Virtual time that a test may take.
#define LIFE_NS (3600 * NS_PER_S)

void
store_ranks_must(enum cascade_status status, const char *what)
{
    if (status != CASCADE_OK) {
        (void)fprintf(stderr, "%s: %s: %s\n", what, cascade_status_name(status),
                      cascade_error_message());
        abort();
    }
}

void
store_ranks_make(struct store_ranks *ranks, uint64_t seed, uint16_t count,
                 const struct fabric_sim_options *options)
{
    memset(ranks, 0, sizeof(*ranks));
    store_world_make(&ranks->world);
    ranks->count = count;
    ranks->sim = fabric_sim_create(seed, count, options);
}

static uint64_t
serve(void *context)
{
    struct store_ranks_member *member = context;
    struct cascade *store = member->store;
    uint64_t due_ns = fabric_sim_serve_port(store->cluster->port);
    uint64_t later_ns = store_now(store) + NS_PER_S / 10;

    // It may wait for other ranks.
    member->is_stepping = true;
    (void)store_background_step(store);
    member->is_stepping = false;
    return due_ns < later_ns ? due_ns : later_ns;
}

static bool
background_rests(void *context)
{
    const struct store_ranks_member *member = context;

    return !member->is_stepping;
}

static void
live(void *context)
{
    struct store_ranks_member *member = context;
    struct store_ranks *ranks = member->ranks;
    struct cascade_options *options = store_options_small();

    if (ranks->cold) {
        store_ranks_must(
            cascade_options_set(options, "cold_path", ranks->world.cold_path),
            "cold_path");
    }
    store_ranks_must(cascade_options_set(options, "put_wait", "0"), "put_wait");
    store_options_pairs(options, ranks->pairs);
    if (ranks->adjust != NULL) {
        ranks->adjust(member->rank, options);
    }
    store_ranks_must(store_open_in(options, &member->around, &member->store),
                     "open");
    cascade_options_destroy(options);
    fabric_sim_serve(ranks->sim, member->rank, serve, member);
    ranks->life(ranks, member->rank, member->store);
    // From here on the rank serves by waiting for the others. A store joins its
    // background before it closes.
    fabric_sim_until(ranks->sim, background_rests, member);
    fabric_sim_serve(ranks->sim, member->rank, NULL, NULL);
    store_ranks_must(cascade_close(member->store), "close");
    member->store = NULL;
}

void
store_ranks_run(struct store_ranks *ranks, uint16_t count, bool cold,
                const char *const *pairs, store_rank_life *life)
{
    ranks->cold = cold;
    ranks->pairs = pairs;
    ranks->life = life;
    if (cold) {
        // What writers of the cold tier note of each other is in terms of the
        // clock of a machine, and all ranks are of this one.
        fabric_sim_one_clock(ranks->sim);
    }
    for (uint16_t r = 0; r < count; r++) {
        struct store_ranks_member *member = &ranks->members[r];

        member->ranks = ranks;
        member->rank = r;
        member->around = ranks->world.around;
        member->around.clock = fabric_sim_clock(ranks->sim, r);
        member->around.seed = (uint64_t)r + 1;
        fabric_sim_fabric(ranks->sim, r, &member->fabric);
        member->around.fabric = &member->fabric;
        fabric_sim_spawn(ranks->sim, r, "life", live, member);
    }
    check(fabric_sim_run(ranks->sim, LIFE_NS));
}

void
store_ranks_remove(struct store_ranks *ranks)
{
    fabric_sim_destroy(ranks->sim);
    store_world_remove(&ranks->world);
}

void
store_ranks_put(struct cascade *store, const char *key, uint64_t seed,
                size_t bytes, uint32_t flags, struct cascade_put_result *result)
{
    store_ranks_must(store_put_seed(store, key, seed, bytes, flags, result),
                     key);
}

void
store_ranks_get(struct cascade *store, const char *key, uint64_t seed,
                size_t bytes)
{
    store_ranks_must(store_get_seed(store, key, seed, bytes), key);
}

void
store_ranks_miss(struct cascade *store, const char *key)
{
    enum cascade_status status = store_get_seed(store, key, 0, 4096);

    if (status != CASCADE_NOT_FOUND) {
        (void)fprintf(stderr, "%s: %s instead of a miss\n", key,
                      cascade_status_name(status));
        abort();
    }
}

void
store_ranks_meet(struct cascade *store)
{
    store_ranks_must(cascade_barrier(store, NULL), "barrier");
}
