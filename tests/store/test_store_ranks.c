// SPDX-License-Identifier: Apache-2.0
//
// Stores that are ranks of one job, one after the other: what is put on one is
// found, read, replaced, removed, protected, deduplicated and brought closer on
// any other; what was flushed is found by another number of ranks.

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
#include "support/alignment.h"

#define BLOCK ((size_t)20000)

// Runs one life on that many ranks, without a cold tier.
static void
live(uint64_t seed, uint16_t count, store_rank_life *life)
{
    static struct store_ranks ranks;

    store_ranks_make(&ranks, seed, count, NULL);
    store_ranks_run(&ranks, count, false, NULL, life);
    store_ranks_remove(&ranks);
}

static void
everybody_reads(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    check(cascade_rank(store) == rank);
    check(cascade_rank_count(store) == ranks->count);
    (void)snprintf(key, sizeof(key), "of-%u", (unsigned)rank);
    store_ranks_put(store, key, rank, BLOCK + rank, 0, NULL);
    store_ranks_meet(store);
    for (uint16_t r = 0; r < ranks->count; r++) {
        (void)snprintf(key, sizeof(key), "of-%u", (unsigned)r);
        store_ranks_get(store, key, r, BLOCK + r);
        check(cascade_exists(store, store_name(key)) == CASCADE_OK);
    }
    check(cascade_exists(store, store_name("nowhere")) == CASCADE_NOT_FOUND);
    store_ranks_miss(store, "nowhere");
    store_ranks_meet(store);
    if (ranks->count > 1) {
        check(store_stats_now(store).hits[CASCADE_TIER_REMOTE_DRAM] ==
              ranks->count - 1u);
    }
}

static void
test_what_is_put_on_one_is_read_on_all(void **state)
{
    (void)state;
    for (uint16_t count = 1; count <= 5; count++) {
        live(count, count, everybody_reads);
    }
}

static void
rebind_and_remove(struct store_ranks *ranks, uint16_t rank,
                  struct cascade *store)
{
    uint16_t last = (uint16_t)(ranks->count - 1);

    if (rank == 0) {
        store_ranks_put(store, "key", 1, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "key", 1, BLOCK);
    store_ranks_meet(store);
    if (rank == last) {
        store_ranks_put(store, "key", 2, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "key", 2, BLOCK);
    store_ranks_meet(store);
    if (rank == 1) {
        store_ranks_must(cascade_remove(store, store_name("key")), "remove");
    }
    store_ranks_meet(store);
    store_ranks_miss(store, "key");
    store_ranks_meet(store);
    if (rank == 1) {
        check(cascade_remove(store, store_name("key")) == CASCADE_NOT_FOUND);
        store_ranks_put(store, "key", 3, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "key", 3, BLOCK);
    store_ranks_meet(store);
    check(store_stats_now(store).tier_blocks[CASCADE_TIER_LOCAL_DRAM] ==
          (rank == 1 ? 1 : 0));
}

static void
test_a_key_moves_between_ranks(void **state)
{
    (void)state;
    live(11, 4, rebind_and_remove);
}

static void
all_put_the_same(struct store_ranks *ranks, uint16_t rank,
                 struct cascade *store)
{
    struct cascade_put_result result;
    struct cascade_stats all = {.size = sizeof(all)};
    char key[32];

    (void)rank;
    for (uint64_t b = 0; b < 8; b++) {
        (void)snprintf(key, sizeof(key), "shared-%u", (unsigned)b);
        store_ranks_put(store, key, 100 + b, BLOCK, 0, &result);
        check(result.stored);
        (void)snprintf(key, sizeof(key), "own-%u-%u", (unsigned)rank,
                       (unsigned)b);
        store_ranks_put(store, key, 100 + b, BLOCK, 0, &result);
        check(result.stored && result.deduplicated);
    }
    store_ranks_meet(store);
    store_ranks_must(cascade_stats_read_all(store, NULL, &all), "stats");
    check(all.tier_blocks[CASCADE_TIER_LOCAL_DRAM] == 8);
    check(all.dedup_hits == (uint64_t)ranks->count * 16 - 8);
    for (uint16_t r = 0; r < ranks->count; r++) {
        (void)snprintf(key, sizeof(key), "own-%u-3", (unsigned)r);
        store_ranks_get(store, key, 103, BLOCK);
    }
    store_ranks_meet(store);
}

static void
test_one_copy_per_content(void **state)
{
    (void)state;
    live(21, 4, all_put_the_same);
}

static void
read_often(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct cascade_stats stats;

    (void)ranks;
    if (rank == 0) {
        store_ranks_put(store, "hot", 7, BLOCK, CASCADE_PUT_PREFIX, NULL);
    }
    store_ranks_meet(store);
    for (int i = 0; i < 5 && rank != 0; i++) {
        store_ranks_get(store, "hot", 7, BLOCK);
    }
    stats = store_stats_now(store);
    if (rank != 0) {
        check(stats.hits[CASCADE_TIER_REMOTE_DRAM] == 3);
        check(stats.hits[CASCADE_TIER_LOCAL_DRAM] == 2);
        check(stats.promotions == 1);
    }
    store_ranks_meet(store);
    // Everybody's copy goes with the binding.
    if (rank == 1) {
        store_ranks_put(store, "hot", 8, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "hot", 8, BLOCK);
    store_ranks_meet(store);
}

static void
test_what_is_hot_comes_closer(void **state)
{
    (void)state;
    live(31, 3, read_often);
}

static void
protect_far(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    if (rank == 0) {
        store_ranks_put(store, "prefix", 1, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    if (rank == 1) {
        store_ranks_must(cascade_protect(store, store_name("prefix"), NULL),
                         "protect");
        check(cascade_protect(store, store_name("nothing"), NULL) ==
              CASCADE_NOT_FOUND);
    }
    store_ranks_meet(store);
    // Pressure on all: twice what memory holds.
    for (unsigned b = 0; b < 2 * 2 * 1024 * 1024 / BLOCK; b++) {
        (void)snprintf(key, sizeof(key), "filler-%u-%u", (unsigned)rank, b);
        store_ranks_put(store, key, 1000u + rank * 1000u + b, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "prefix", 1, BLOCK);
    store_ranks_meet(store);
    if (rank == (uint16_t)(ranks->count - 1)) {
        store_ranks_must(cascade_unprotect(store, store_name("prefix")),
                         "unprotect");
    }
    store_ranks_meet(store);
    if (rank == 0) {
        check(store_stats_now(store).protected_blocks == 0);
    }
    store_ranks_meet(store);
}

static void
test_protection_from_afar(void **state)
{
    (void)state;
    live(41, 3, protect_far);
}

static void
clear_all(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    (void)snprintf(key, sizeof(key), "of-%u", (unsigned)rank);
    store_ranks_put(store, key, rank, BLOCK, 0, NULL);
    store_ranks_meet(store);
    if (rank == 0) {
        store_ranks_must(cascade_clear(store), "clear");
    }
    store_ranks_meet(store);
    for (uint16_t r = 0; r < ranks->count; r++) {
        (void)snprintf(key, sizeof(key), "of-%u", (unsigned)r);
        store_ranks_miss(store, key);
    }
    store_ranks_meet(store);
    store_ranks_put(store, key, 50 + rank, BLOCK, 0, NULL);
    store_ranks_meet(store);
}

static void
test_clear_by_one_rank_alone(void **state)
{
    (void)state;
    live(51, 3, clear_all);
}

// Sent from one fiber to another without a fabric.
static bool
is_raised(void *context)
{
    return *(bool *)context;
}

// Of contents from `seed` on, the first whose id has its home there.
static uint64_t
seed_at_home(struct cascade *store, uint64_t seed, uint16_t home)
{
    static uint8_t data[BLOCK];
    struct block_id id;

    do {
        store_fill(++seed, data, BLOCK);
        block_id_of(data, BLOCK, &id);
    } while (store_cluster_id_home(store->cluster, &id) != home);
    return seed;
}

static void
key_at_home(struct cascade *store, uint16_t home, char key[32])
{
    struct block_key digest;
    unsigned number = 0;

    do {
        (void)snprintf(key, 32, "at-home-%u", number++);
        block_key_of(store->settings.namespace_name, key, strlen(key), &digest);
    } while (store_cluster_key_home(store->cluster, &digest) != home);
}

// Rank 2 is to name its copy for rank 0 and does not hear of it for so long that
// rank 0 binds its own; then the key is bound to something else.
static void
name_too_late(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    static bool is_bound;
    static bool is_rebound;
    uint64_t seed = seed_at_home(store, 1, 1);
    char key[32];

    key_at_home(store, 1, key);
    is_bound = false;
    is_rebound = false;
    if (rank == 2) {
        store_ranks_put(store, "other", seed, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    if (rank == 0) {
        fabric_sim_cut(ranks->sim, 0, 2);
        store_ranks_put(store, key, seed, BLOCK, 0, NULL);
        is_bound = true;
    } else if (rank == 1) {
        fabric_sim_until(ranks->sim, is_raised, &is_bound);
        store_ranks_put(store, key, 9, BLOCK, 0, NULL);
        fabric_sim_heal(ranks->sim, 0, 2);
        fabric_sim_sleep(ranks->sim, 20 * NS_PER_S);
        is_rebound = true;
    }
    fabric_sim_until(ranks->sim, is_raised, &is_rebound);
    store_ranks_get(store, key, 9, BLOCK);
    store_ranks_meet(store);
}

static void
test_a_copy_named_too_late_does_not_count(void **state)
{
    (void)state;
    live(61, 3, name_too_late);
}

// --- with a cold tier

static void
fill_and_flush(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    char key[32];

    for (unsigned b = 0; b < 6; b++) {
        (void)snprintf(key, sizeof(key), "k-%u-%u", (unsigned)rank, b);
        store_ranks_put(store, key, rank * 10u + b, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    if (rank == 0) {
        // Rebound and removed on another rank than it was put.
        (void)snprintf(key, sizeof(key), "k-%u-1", ranks->count - 1u);
        store_ranks_put(store, key, 500, BLOCK, 0, NULL);
        (void)snprintf(key, sizeof(key), "k-%u-2", ranks->count - 1u);
        store_ranks_must(cascade_remove(store, store_name(key)), "remove");
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
}

static void
find_again(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    const uint16_t before = *(uint16_t *)ranks->context;
    char key[32];

    (void)rank;
    for (uint16_t r = 0; r < before; r++) {
        for (unsigned b = 0; b < 6; b++) {
            (void)snprintf(key, sizeof(key), "k-%u-%u", (unsigned)r, b);
            if (r == before - 1 && b == 2) {
                store_ranks_miss(store, key);
            } else if (r == before - 1 && b == 1) {
                store_ranks_get(store, key, 500, BLOCK);
            } else {
                store_ranks_get(store, key, r * 10u + b, BLOCK);
            }
        }
    }
    store_ranks_meet(store);
}

static void
test_restart_with_another_number_of_ranks(void **state)
{
    static const uint16_t counts[][2] = {{2, 2}, {3, 1}, {2, 4}, {4, 3}};
    static const char *const pairs[] = {"lease_time", "60", NULL};
    static struct store_ranks ranks;

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint16_t before = counts[i][0];
        uint16_t after = counts[i][1];

        store_ranks_make(&ranks, 60 + i, before, NULL);
        store_ranks_run(&ranks, before, true, pairs, fill_and_flush);
        fabric_sim_destroy(ranks.sim);
        ranks.sim = fabric_sim_create(90 + i, after, NULL);
        ranks.count = after;
        ranks.context = &before;
        store_ranks_run(&ranks, after, true, pairs, find_again);
        store_ranks_remove(&ranks);
    }
}

// Segments are sealed, and every rank has looked at the folder since.
static void
look_at_others(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct cascade_stats before = {.size = sizeof(before)};
    struct cascade_stats after = {.size = sizeof(after)};
    char key[32];

    for (unsigned b = 0; b < 70; b++) {
        (void)snprintf(key, sizeof(key), "k-%u-%u", (unsigned)rank, b);
        store_ranks_put(store, key, rank * 100u + b, BLOCK, 0, NULL);
    }
    store_ranks_must(cascade_stats_read(store, &before), "stats");
    store_ranks_must(cascade_flush(store, NULL), "flush");
    store_ranks_meet(store);
    fabric_sim_sleep(ranks->sim, 20 * NS_PER_S);
    store_ranks_must(cascade_stats_read(store, &after), "stats");
    assert_int_equal(after.keys, before.keys);
    assert_int_equal(after.blocks, before.blocks);
    store_ranks_meet(store);
}

static void
test_an_index_has_the_blocks_of_its_rank_only(void **state)
{
    static const char *const pairs[] = {"lease_time", "6", NULL};
    static struct store_ranks ranks;

    (void)state;
    store_ranks_make(&ranks, 70, 3, NULL);
    store_ranks_run(&ranks, 3, true, pairs, look_at_others);
    store_ranks_remove(&ranks);
}

#define REMOVED 60

// Fillers of rank 0, which the cold tier has no room for.
static void
fill_segments(struct cascade *store, unsigned first, unsigned count)
{
    char key[32];

    for (unsigned b = first; b < first + count; b++) {
        (void)snprintf(key, sizeof(key), "filler-%u", b);
        store_ranks_put(store, key, 5000u + b, BLOCK, 0, NULL);
    }
    store_ranks_must(cascade_flush(store, NULL), "flush");
}

// Keys are written to segments that were made after they had been put, and
// removed from afar; then the oldest segments go, the others do not.
static void
remove_and_reclaim(struct store_ranks *ranks, uint16_t rank,
                   struct cascade *store)
{
    struct directory_usage usage;
    char key[32];

    (void)ranks;
    if (rank == 0) {
        fill_segments(store, 0, 40);
        for (unsigned b = 0; b < REMOVED; b++) {
            (void)snprintf(key, sizeof(key), "removed-%u", b);
            store_ranks_put(store, key, 100u + b, BLOCK, 0, NULL);
        }
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
    for (unsigned b = 0; b < REMOVED && rank == 1; b++) {
        (void)snprintf(key, sizeof(key), "removed-%u", b);
        store_ranks_must(cascade_remove(store, store_name(key)), "remove");
    }
    store_ranks_meet(store);
    if (rank == 0) {
        unsigned first = 100;

        directory_usage(store->directory, &usage);
        check(usage.removals == REMOVED);
        // No flush before segments go: removals are not written yet.
        while (metric_read(store->metrics, METRIC_SEGMENTS_RECLAIMED_TOTAL) ==
               0) {
            fill_segments(store, first, 150);
            first += 150;
        }
    }
    store_ranks_meet(store);
}

static void
find_nothing_removed(struct store_ranks *ranks, uint16_t rank,
                     struct cascade *store)
{
    char key[32];

    (void)ranks;
    (void)rank;
    for (unsigned b = 0; b < REMOVED; b++) {
        (void)snprintf(key, sizeof(key), "removed-%u", b);
        store_ranks_miss(store, key);
    }
    store_ranks_meet(store);
}

static void
test_removals_outlive_what_they_hide(void **state)
{
    // Where records begin at multiples of 64 KiB, they take more.
    const char *const pairs[] = {"lease_time",
                                 "60",
                                 "dram_capacity",
                                 "4MiB",
                                 "cold_capacity",
                                 alignment_of_tests() > 4096 ? "24MiB" : "5MiB",
                                 NULL};
    static struct store_ranks ranks;

    (void)state;
    store_ranks_make(&ranks, 71, 2, NULL);
    store_ranks_run(&ranks, 2, true, pairs, remove_and_reclaim);
    fabric_sim_destroy(ranks.sim);
    ranks.sim = fabric_sim_create(72, 2, NULL);
    store_ranks_run(&ranks, 2, true, pairs, find_nothing_removed);
    store_ranks_remove(&ranks);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_put_on_one_is_read_on_all),
        cmocka_unit_test(test_a_key_moves_between_ranks),
        cmocka_unit_test(test_one_copy_per_content),
        cmocka_unit_test(test_what_is_hot_comes_closer),
        cmocka_unit_test(test_protection_from_afar),
        cmocka_unit_test(test_clear_by_one_rank_alone),
        cmocka_unit_test(test_a_copy_named_too_late_does_not_count),
        cmocka_unit_test(test_restart_with_another_number_of_ranks),
        cmocka_unit_test(test_removals_outlive_what_they_hide),
        cmocka_unit_test(test_an_index_has_the_blocks_of_its_rank_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
