// SPDX-License-Identifier: Apache-2.0
//
// Ranks beside other writers of one root: what a store of another job sealed is
// found by all ranks of a job, at open and while it runs, where keys are never
// bound anew; what ranks of the job sealed stays theirs; files of a rank that
// died are adopted, and nothing old comes back with them.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/check.h"
#include "store/store_cluster.h"
#include "store_ranks.h"

#define BLOCK ((size_t)20000)
#define BLOCKS 40u
#define LOST_NS (5 * NS_PER_MS)
#define LOOK_NS (5 * NS_PER_S)
// Longer than any lease.
#define LOOKS_NS (30 * NS_PER_S)

static const char *const refused[] = {"rebind", "refused",       "lease_time",
                                      "12",     "binding_lease", "1",
                                      "spill",  "false",         NULL};
static const char *const allowed[] = {
    "lease_time", "12", "binding_lease", "1", "spill", "false", NULL};

static void
name_of(const char *what, unsigned block, char key[32])
{
    (void)snprintf(key, 32, "%s-%u", what, block);
}

static uint64_t
keys_of(struct cascade *store)
{
    struct directory_usage usage;

    directory_usage(store->directory, &usage);
    return usage.keys;
}

// A store of another job, which is not of many ranks.
static struct cascade *
open_other(struct store_ranks *ranks, const struct store_surroundings *like)
{
    struct cascade_options *options = store_options_small();
    struct store_surroundings around = *like;
    struct cascade *store = NULL;

    around.fabric = NULL;
    around.seed = 99;
    store_ranks_must(
        cascade_options_set(options, "cold_path", ranks->world.cold_path),
        "cold_path");
    store_options_pairs(options, refused);
    store_ranks_must(store_open_in(options, &around, &store), "open");
    cascade_options_destroy(options);
    return store;
}

static void
put_some(struct cascade *store, const char *what, unsigned first,
         unsigned count)
{
    char key[32];

    for (unsigned b = first; b < first + count; b++) {
        name_of(what, b, key);
        store_ranks_put(store, key, b, BLOCK, 0, NULL);
    }
    store_ranks_must(cascade_flush(store, NULL), "flush");
}

static void
get_some(struct cascade *store, const char *what, unsigned first,
         unsigned count)
{
    char key[32];

    for (unsigned b = first; b < first + count; b++) {
        name_of(what, b, key);
        store_ranks_get(store, key, b, BLOCK);
    }
}

static unsigned
count_found(struct cascade *store, const char *what, unsigned first,
            unsigned count)
{
    unsigned found = 0;
    char key[32];

    for (unsigned b = first; b < first + count; b++) {
        enum cascade_status status;

        name_of(what, b, key);
        status = store_get_seed(store, key, b, BLOCK);
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        found += status == CASCADE_OK;
    }
    return found;
}

// So long that all have looked at the root, and no lease has ended.
static void
let_look(struct store_ranks *ranks, struct cascade *store)
{
    fabric_sim_sleep(ranks->sim, LOOK_NS);
    store_ranks_meet(store);
}

static void
find_others(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct cascade *other = ranks->context;
    uint64_t keys = keys_of(store);

    // The other is alive: each key has one rank that keeps it.
    check(keys > 0 && keys < BLOCKS);
    get_some(store, "early", 0, BLOCKS);
    store_ranks_meet(store);
    if (rank == 0) {
        put_some(other, "late", 1000, 3 * BLOCKS);
    }
    store_ranks_meet(store);
    let_look(ranks, store);
    // What is sealed, while the other still writes.
    check(count_found(store, "late", 1000, 3 * BLOCKS) >= BLOCKS);
    check(keys_of(store) < 3 * BLOCKS);
    store_ranks_meet(store);
    if (rank == 0) {
        store_ranks_must(cascade_close(other), "close");
    }
    store_ranks_meet(store);
    let_look(ranks, store);
    get_some(store, "late", 1000, 3 * BLOCKS);
    check(store_put_seed(store, "late-1000", 7, BLOCK, 0, NULL) ==
          CASCADE_EXISTS);
    store_ranks_meet(store);
    // What was removed does not come back with what is found later.
    if (rank == 0) {
        const struct store_surroundings *around = &ranks->members[0].around;

        store_ranks_must(cascade_remove(store, store_name("early-3")),
                         "remove");
        other = open_other(ranks, around);
        put_some(other, "last", 2000, BLOCKS);
        store_ranks_must(cascade_close(other), "close");
    }
    store_ranks_meet(store);
    let_look(ranks, store);
    let_look(ranks, store);
    get_some(store, "last", 2000, BLOCKS);
    store_ranks_miss(store, "early-3");
    store_ranks_meet(store);
    if (rank == 1) {
        store_ranks_must(cascade_clear(store), "clear");
    }
    store_ranks_meet(store);
    let_look(ranks, store);
    store_ranks_miss(store, "late-1000");
    store_ranks_miss(store, "early-1");
    store_ranks_meet(store);
}

static void
test_other_jobs_are_found(void **state)
{
    static struct store_ranks ranks;
    struct store_surroundings around;

    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        store_ranks_make(&ranks, seed, 3, NULL);
        fabric_sim_one_clock(ranks.sim);
        around = ranks.world.around;
        around.clock = fabric_sim_clock(ranks.sim, 0);
        ranks.context = open_other(&ranks, &around);
        put_some(ranks.context, "early", 0, BLOCKS);
        store_ranks_run(&ranks, 3, true, refused, find_others);
        store_ranks_remove(&ranks);
    }
}

// Those who open after the other has ended take its files over.
static void
find_what_is_left(struct store_ranks *ranks, uint16_t rank,
                  struct cascade *store)
{
    struct cascade_stats all = {.size = sizeof(all)};

    (void)ranks;
    (void)rank;
    store_ranks_must(cascade_stats_read_all(store, NULL, &all), "stats");
    check(all.keys == BLOCKS);
    get_some(store, "early", 0, BLOCKS);
    store_ranks_meet(store);
}

static void
test_ended_jobs_are_found(void **state)
{
    static struct store_ranks ranks;
    struct store_surroundings around;
    struct cascade *other;

    (void)state;
    store_ranks_make(&ranks, 5, 3, NULL);
    fabric_sim_one_clock(ranks.sim);
    around = ranks.world.around;
    around.clock = fabric_sim_clock(ranks.sim, 0);
    other = open_other(&ranks, &around);
    put_some(other, "early", 0, BLOCKS);
    store_ranks_must(cascade_close(other), "close");
    store_ranks_run(&ranks, 3, true, refused, find_what_is_left);
    store_ranks_remove(&ranks);
}

// --- what ranks of the job sealed

static void
seal_and_look(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    const unsigned count = 120; // two segments and more
    char key[32];

    for (unsigned b = 0; b < count && rank == 0; b++) {
        name_of("k", b, key);
        store_ranks_put(store, key, b, BLOCK, 0, NULL);
    }
    if (rank == 0) {
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
    fabric_sim_sleep(ranks->sim, LOOKS_NS);
    check(keys_of(store) == (rank == 0 ? count : 0));
    store_ranks_meet(store);
    for (unsigned b = 0; b < count; b++) {
        name_of("k", b, key);
        store_ranks_get(store, key, b, BLOCK);
    }
    store_ranks_meet(store);
}

static void
test_what_a_rank_sealed_stays_its_own(void **state)
{
    static const char *const *const kinds[] = {refused, allowed};
    static struct store_ranks ranks;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        store_ranks_make(&ranks, 11 + i, 2, NULL);
        store_ranks_run(&ranks, 2, true, kinds[i], seal_and_look);
        store_ranks_remove(&ranks);
    }
}

// --- a rank dies

static bool
has_live_home(const struct cascade *store, const char *key)
{
    struct block_key digest;

    block_key_of(store->settings.namespace_name, key, strlen(key), &digest);
    return store_cluster_key_home(store->cluster, &digest) != 0;
}

static void
die_and_be_adopted(struct store_ranks *ranks, uint16_t rank,
                   struct cascade *store)
{
    char key[32];
    unsigned found = 0;

    for (unsigned b = 0; b < BLOCKS && rank == 0; b++) {
        name_of("k", b, key);
        store_ranks_put(store, key, b, BLOCK, 0, NULL);
    }
    if (rank == 0) {
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
    // Bound anew, or removed, by others, after it was on segments of rank 0.
    for (unsigned b = 0; b < BLOCKS && rank == 1; b += 2) {
        name_of("k", b, key);
        if (b % 4 == 0) {
            store_ranks_put(store, key, 500 + b, BLOCK, 0, NULL);
        } else {
            store_ranks_must(cascade_remove(store, store_name(key)), key);
        }
    }
    store_ranks_meet(store);
    if (rank == 0) {
        fabric_sim_kill(ranks->sim, 0);
        return;
    }
    fabric_sim_sleep(ranks->sim, 2 * LOOKS_NS);
    for (unsigned b = 0; b < BLOCKS; b++) {
        enum cascade_status status;

        name_of("k", b, key);
        if (!has_live_home(store, key)) {
            continue;
        }
        if (b % 4 == 0) {
            store_ranks_get(store, key, 500 + b, BLOCK);
        } else if (b % 2 == 0) {
            store_ranks_miss(store, key);
        } else {
            status = store_get_seed(store, key, b, BLOCK);
            check(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
            found += status == CASCADE_OK;
        }
    }
    (void)printf("rank %u: %u blocks of the lost rank\n", (unsigned)rank,
                 found);
    fabric_sim_sleep(ranks->sim, LOOKS_NS);
}

// The next job finds all of it.
static void
find_after(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    (void)ranks;
    (void)rank;
    for (unsigned b = 0; b < BLOCKS; b++) {
        name_of("k", b, key);
        if (b % 4 == 0) {
            store_ranks_get(store, key, 500 + b, BLOCK);
        } else if (b % 2 == 0) {
            store_ranks_miss(store, key);
        } else {
            store_ranks_get(store, key, b, BLOCK);
        }
    }
    store_ranks_meet(store);
}

static void
test_a_dead_rank_is_adopted(void **state)
{
    static const struct fabric_sim_options options = {.lost_after_ns = LOST_NS};
    static struct store_ranks ranks;

    (void)state;
    for (uint64_t seed = 21; seed < 24; seed++) {
        store_ranks_make(&ranks, seed, 3, &options);
        store_ranks_run(&ranks, 3, true, allowed, die_and_be_adopted);
        fabric_sim_destroy(ranks.sim);
        ranks.sim = fabric_sim_create(seed + 100, 2, NULL);
        ranks.count = 2;
        store_ranks_run(&ranks, 2, true, allowed, find_after);
        store_ranks_remove(&ranks);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_jobs_are_found),
        cmocka_unit_test(test_ended_jobs_are_found),
        cmocka_unit_test(test_what_a_rank_sealed_stays_its_own),
        cmocka_unit_test(test_a_dead_rank_is_adopted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
