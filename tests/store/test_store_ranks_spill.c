// SPDX-License-Identifier: Apache-2.0
//
// Spill: what does not fit into the memory of a small rank is in that of a large
// one, with its own bytes; where nobody has room nothing is sent; a rank that is
// lost or does not answer holds nobody up.

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
#define BLOCKS 300u // three times what the small rank holds
#define LOST_NS (5 * NS_PER_MS)

static void
make_large(uint16_t rank, struct cascade_options *options)
{
    if (rank == 1) {
        check(cascade_options_set(options, "dram_capacity", "16MiB") ==
              CASCADE_OK);
    }
}

static void
live(uint64_t seed, uint16_t count, const char *const *pairs, bool has_large,
     store_rank_life *life)
{
    static const struct fabric_sim_options options = {.lost_after_ns = LOST_NS};
    static struct store_ranks ranks;

    store_ranks_make(&ranks, seed, count, &options);
    ranks.adjust = has_large ? make_large : NULL;
    store_ranks_run(&ranks, count, false, pairs, life);
    store_ranks_remove(&ranks);
}

static void
name_of(unsigned block, char key[32])
{
    (void)snprintf(key, 32, "b-%u", block);
}

// Puts on rank 0, at a pace at which its background can follow.
static void
put_all(struct store_ranks *ranks, struct cascade *store)
{
    char key[32];

    for (unsigned b = 0; b < BLOCKS; b++) {
        name_of(b, key);
        store_ranks_put(store, key, b, BLOCK, 0, NULL);
        fabric_sim_sleep(ranks->sim, 20 * NS_PER_MS);
    }
}

static void
put_beyond_memory(struct store_ranks *ranks, uint16_t rank,
                  struct cascade *store)
{
    struct cascade_stats stats;
    char key[32];

    if (rank == 0) {
        put_all(ranks, store);
        stats = store_stats_now(store);
        check(stats.evictions[CASCADE_TIER_LOCAL_DRAM] > BLOCKS / 2);
        check(metric_read(store->metrics, METRIC_SPILLS_TOTAL) >=
              stats.evictions[CASCADE_TIER_LOCAL_DRAM]);
        check(metric_read(store->metrics, METRIC_SPILL_BYTES_TOTAL) ==
              BLOCK * metric_read(store->metrics, METRIC_SPILLS_TOTAL));
    }
    fabric_sim_sleep(ranks->sim, NS_PER_S);
    store_ranks_meet(store);
    for (unsigned b = 0; b < BLOCKS; b++) {
        name_of(b, key);
        store_ranks_get(store, key, b, BLOCK);
    }
    store_ranks_meet(store);
    stats = store_stats_now(store);
    check(stats.misses == 0);
    if (rank == 0) {
        check(stats.hits[CASCADE_TIER_REMOTE_DRAM] > BLOCKS / 2);
    } else {
        // It keeps them now: they are no guests any more.
        struct directory_usage usage;

        directory_usage(store->directory, &usage);
        check(usage.keys > BLOCKS / 2);
        check(metric_read(store->metrics, METRIC_SPILLS_TAKEN_TOTAL) >
              BLOCKS / 2);
    }
    store_ranks_meet(store);
    // What moved can be bound anew and removed like anything else.
    if (rank == 0) {
        store_ranks_put(store, "b-0", 1000, BLOCK, 0, NULL);
        store_ranks_must(cascade_remove(store, store_name("b-1")), "remove");
    }
    store_ranks_meet(store);
    store_ranks_get(store, "b-0", 1000, BLOCK);
    store_ranks_miss(store, "b-1");
    store_ranks_meet(store);
}

static void
test_what_is_evicted_is_with_a_neighbour(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        live(seed, 2, NULL, true, put_beyond_memory);
    }
}

static void
put_where_nobody_has_room(struct store_ranks *ranks, uint16_t rank,
                          struct cascade *store)
{
    char key[32];

    for (unsigned b = 0; b < BLOCKS; b++) {
        (void)snprintf(key, sizeof(key), "b-%u-%u", (unsigned)rank, b);
        store_ranks_put(store, key, rank * BLOCKS + b, BLOCK, 0, NULL);
        fabric_sim_sleep(ranks->sim, 20 * NS_PER_MS);
    }
    check(store_stats_now(store).evictions[CASCADE_TIER_LOCAL_DRAM] >
          BLOCKS / 2);
    store_ranks_get(store, key, rank * BLOCKS + BLOCKS - 1, BLOCK);
    store_ranks_meet(store);
    // While both fill, one may have had room for a little.
    check(metric_read(store->metrics, METRIC_SPILLS_TOTAL) < BLOCKS / 4);
    store_ranks_meet(store);
}

static void
test_nobody_has_room(void **state)
{
    (void)state;
    live(11, 2, NULL, false, put_where_nobody_has_room);
}

static void
put_without(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    if (rank == 0) {
        put_all(ranks, store);
        check(metric_read(store->metrics, METRIC_SPILLS_TOTAL) == 0);
    }
    store_ranks_meet(store);
}

static void
test_spill_can_be_turned_off(void **state)
{
    static const char *const pairs[] = {"spill", "false", NULL};

    (void)state;
    live(21, 2, pairs, true, put_without);
}

// The large rank falls silent, then it is lost.
static void
put_past_the_dead(struct store_ranks *ranks, uint16_t rank,
                  struct cascade *store)
{
    unsigned hits = 0;

    if (rank == 1) {
        fabric_sim_sleep(ranks->sim, 4 * NS_PER_S);
        fabric_sim_kill(ranks->sim, 1);
        return;
    }
    for (unsigned b = 0; b < 2 * BLOCKS; b++) {
        struct cascade_put_options options = {
            .size = sizeof(options),
            .timeout_ns = 100 * NS_PER_MS,
        };
        uint64_t start_ns = store_now(store);
        char key[32];
        static uint8_t data[BLOCK];
        struct cascade_const_span span = {.data = data, .bytes = BLOCK};
        enum cascade_status status;

        name_of(b, key);
        store_fill(b, data, BLOCK);
        status = cascade_put(store, store_name(key), &span, 1, &options, NULL);
        check(status == CASCADE_OK || status == CASCADE_TIMEOUT ||
              status == CASCADE_CLOSED);
        check(store_now(store) - start_ns < NS_PER_S);
        fabric_sim_sleep(ranks->sim, 20 * NS_PER_MS);
    }
    for (unsigned b = 0; b < 2 * BLOCKS; b++) {
        char key[32];
        enum cascade_status status;

        name_of(b, key);
        status = store_get_seed(store, key, b, BLOCK);
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND ||
              status == CASCADE_CLOSED);
        hits += status == CASCADE_OK;
    }
    check(hits > 0);
}

static void
test_a_rank_that_took_is_lost(void **state)
{
    (void)state;
    live(31, 2, NULL, true, put_past_the_dead);
}

// --- whose blocks go first

static void
fill_both(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    const unsigned own = 400; // half of the large rank's memory
    char key[32];

    for (unsigned b = 0; b < own && rank == 1; b++) {
        (void)snprintf(key, sizeof(key), "own-%u", b);
        store_ranks_put(store, key, 5000 + b, BLOCK, 0, NULL);
    }
    store_ranks_meet(store);
    if (rank == 0) {
        put_all(ranks, store);
    }
    fabric_sim_sleep(ranks->sim, NS_PER_S);
    store_ranks_meet(store);
    // As much again as the large rank has free.
    for (unsigned b = own; b < 2 * own - 50 && rank == 1; b++) {
        (void)snprintf(key, sizeof(key), "own-%u", b);
        store_ranks_put(store, key, 5000 + b, BLOCK, 0, NULL);
    }
    if (rank == 1) {
        check(store_stats_now(store).evictions[CASCADE_TIER_LOCAL_DRAM] > 50);
        for (unsigned b = 0; b < own; b++) {
            (void)snprintf(key, sizeof(key), "own-%u", b);
            store_ranks_get(store, key, 5000 + b, BLOCK);
        }
        check(store_stats_now(store).hits[CASCADE_TIER_LOCAL_DRAM] == own);
    }
    store_ranks_meet(store);
}

static void
test_what_was_taken_goes_first(void **state)
{
    (void)state;
    live(35, 2, NULL, true, fill_both);
}

// --- with a cold tier

static void
put_beyond_memory_and_flush(struct store_ranks *ranks, uint16_t rank,
                            struct cascade *store)
{
    struct cascade_stats stats;
    char key[32];

    if (rank == 0) {
        put_all(ranks, store);
        store_ranks_must(cascade_flush(store, NULL), "flush");
    }
    store_ranks_meet(store);
    if (rank == 0) {
        for (unsigned b = 0; b < BLOCKS; b++) {
            name_of(b, key);
            store_ranks_get(store, key, b, BLOCK);
        }
        stats = store_stats_now(store);
        check(stats.misses == 0);
        check(stats.hits[CASCADE_TIER_REMOTE_DRAM] > BLOCKS / 2);
        // Bound anew, it is nowhere as it was.
        store_ranks_put(store, "b-0", 1000, BLOCK, 0, NULL);
        store_ranks_get(store, "b-0", 1000, BLOCK);
    }
    store_ranks_meet(store);
    store_ranks_get(store, "b-0", 1000, BLOCK);
    for (unsigned b = 1; b < BLOCKS; b++) {
        name_of(b, key);
        store_ranks_get(store, key, b, BLOCK);
    }
    store_ranks_meet(store);
}

static void
test_a_neighbour_is_read_before_segments(void **state)
{
    static struct store_ranks ranks;

    (void)state;
    for (uint64_t seed = 41; seed < 43; seed++) {
        store_ranks_make(&ranks, seed, 2, NULL);
        ranks.adjust = make_large;
        store_ranks_run(&ranks, 2, true, NULL, put_beyond_memory_and_flush);
        store_ranks_remove(&ranks);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_evicted_is_with_a_neighbour),
        cmocka_unit_test(test_nobody_has_room),
        cmocka_unit_test(test_spill_can_be_turned_off),
        cmocka_unit_test(test_a_rank_that_took_is_lost),
        cmocka_unit_test(test_what_was_taken_goes_first),
        cmocka_unit_test(test_a_neighbour_is_read_before_segments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
