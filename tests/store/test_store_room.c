// SPDX-License-Identifier: Apache-2.0
//
// Room in DRAM: who goes and who stays under pressure, with and without a cold
// tier, and what the background does for it.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_fixture.h"

#define BYTES 40000

static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    world.files.lazy = true;
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static void
press(struct cascade *store, uint64_t from, uint64_t count)
{
    char key[32];

    for (uint64_t i = from; i < from + count; i++) {
        (void)snprintf(key, sizeof(key), "press %llu", (unsigned long long)i);
        store_must_put(store, key, 1000 + i, BYTES);
    }
}

static void
test_the_coldest_goes(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct cascade_stats stats;

    (void)state;
    store_must_put(store, "used", 1, BYTES);
    store_must_put(store, "unused", 2, BYTES);
    for (uint64_t i = 0; i < 20; i++) {
        press(store, i * 10, 10);
        store_must_get(store, "used", 1, BYTES);
    }
    assert_int_equal(store_get_seed(store, "unused", 2, BYTES),
                     CASCADE_NOT_FOUND);
    stats = store_stats_now(store);
    assert_int_equal(stats.misses, 1);
    assert_true(stats.used_bytes[CASCADE_TIER_LOCAL_DRAM] <=
                stats.capacity_bytes[CASCADE_TIER_LOCAL_DRAM]);
    assert_int_equal(stats.evictions[CASCADE_TIER_LOCAL_DRAM] +
                         stats.tier_blocks[CASCADE_TIER_LOCAL_DRAM],
                     202);
    assert_int_equal(stats.tier_blocks[CASCADE_TIER_LOCAL_DRAM], stats.blocks);
    assert_int_equal(stats.keys, stats.blocks);
    // What was acknowledged and evicted can be put again, and is there then.
    store_must_put(store, "unused", 2, BYTES);
    store_must_get(store, "unused", 2, BYTES);
    store_end(store);
}

static void
test_protected_stay(void **state)
{
    (void)state;
    for (int cold = 0; cold < 2; cold++) {
        struct cascade *store = store_start(&world, cold == 1, NULL);
        struct cascade_put_result result;

        assert_int_equal(
            store_put_seed(store, "p", 1, BYTES, CASCADE_PUT_PREFIX, &result),
            CASCADE_OK);
        store_must_put(store, "q", 2, BYTES);
        assert_int_equal(cascade_protect(store, store_name("q"), NULL),
                         CASCADE_OK);
        press(store, 0, 300);
        assert_int_equal(store_tier_of(store, "p"), CASCADE_TIER_LOCAL_DRAM);
        assert_int_equal(store_tier_of(store, "q"), CASCADE_TIER_LOCAL_DRAM);
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
        assert_int_equal(store_tier_of(store, "p"), CASCADE_TIER_LOCAL_DRAM);
        assert_int_equal(
            store_stats_now(store).tier_blocks[CASCADE_TIER_LOCAL_DRAM], 2);
        assert_int_equal(cascade_unprotect(store, store_name("p")), CASCADE_OK);
        assert_int_equal(cascade_unprotect(store, store_name("p")), CASCADE_OK);
        press(store, 300, 300);
        assert_int_not_equal(store_tier_of(store, "p"),
                             CASCADE_TIER_LOCAL_DRAM);
        assert_int_equal(store_tier_of(store, "q"), CASCADE_TIER_LOCAL_DRAM);
        assert_int_equal(store_stats_now(store).protected_blocks, 1);
        assert_int_equal(cascade_clear(store), CASCADE_OK);
        store_end(store);
    }
}

// A protection of a cold block loads it; after a restart it comes back.
static void
test_protection_survives(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    store_must_put(store, "p", 1, BYTES);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(cascade_protect(store, store_name("p"), NULL), CASCADE_OK);
    assert_int_equal(store_tier_of(store, "p"), CASCADE_TIER_LOCAL_DRAM);
    assert_int_equal(cascade_protect(store, store_name("none"), NULL),
                     CASCADE_NOT_FOUND);
    store_end(store);
    store = store_start(&world, true, NULL);
    assert_int_equal(store_stats_now(store).protected_blocks, 1);
    assert_int_equal(store_tier_of(store, "p"), CASCADE_TIER_SEGMENTS);
    store_settle(store);
    assert_int_equal(store_tier_of(store, "p"), CASCADE_TIER_LOCAL_DRAM);
    store_must_get(store, "p", 1, BYTES);
    store_end(store);
}

static void
test_no_semantic_eviction(void **state)
{
    static const char *const off[] = {"semantic_eviction", "false", NULL};
    struct cascade *store = store_start(&world, false, off);
    struct cascade_put_result result;

    (void)state;
    assert_int_equal(
        store_put_seed(store, "p", 1, BYTES, CASCADE_PUT_PREFIX, &result),
        CASCADE_OK);
    assert_false(result.protected_prefix);
    assert_int_equal(cascade_protect(store, store_name("p"), NULL),
                     CASCADE_UNSUPPORTED);
    store_message_has("semantic_eviction");
    press(store, 0, 100);
    assert_int_equal(store_get_seed(store, "p", 1, BYTES), CASCADE_NOT_FOUND);
    store_end(store);
}

// The background writes ahead: then pressure finds clean blocks.
static void
test_writes_ahead(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_stats stats;
    uint64_t written;

    (void)state;
    press(store, 0, 49);
    stats = store_stats_now(store);
    assert_int_equal(stats.demotions, 0);
    assert_int_equal(stats.dirty_blocks, 49);
    assert_int_equal(stats.dirty_bytes, 49 * BYTES);
    store_settle(store);
    stats = store_stats_now(store);
    assert_true(stats.demotions > 0);
    assert_int_equal(stats.dirty_blocks, 49 - stats.demotions);
    written = stats.cold_bytes_written;
    assert_int_equal(written, stats.demotions * BYTES);
    // They go without a write.
    press(store, 49, stats.demotions);
    assert_int_equal(store_stats_now(store).cold_bytes_written, written);
    for (uint64_t i = 0; i < 49; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "press %llu", (unsigned long long)i);
        store_must_get(store, key, 1000 + i, BYTES);
    }
    assert_int_equal(store_stats_now(store).cold_writes_dropped, 0);
    store_end(store);
}

// A writer that is behind writes what was used; the rest goes, and is counted.
static void
test_what_was_used_is_worth_a_write(void **state)
{
    static const char *const used[] = {"cold_admission", "used", NULL};
    struct cascade *store = store_start(&world, true, used);
    struct cascade_stats stats;

    (void)state;
    press(store, 0, 10);
    for (uint64_t i = 0; i < 5; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "press %llu", (unsigned long long)i);
        store_must_get(store, key, 1000 + i, BYTES);
    }
    // The last one finds dirty blocks only and goes straight to a segment. No
    // thread writes here that could be behind, so the test says it is.
    press(store, 10, 42);
    stats = store_stats_now(store);
    assert_int_equal(stats.dirty_blocks, 51);
    assert_int_equal(stats.demotions, 0);
    atomic_store(&store->room_refusals, 1);
    assert_true(store_background_step(store));
    assert_int_equal(store_stats_now(store).demotions, 5);
    assert_int_equal(store_stats_now(store).cold_writes_dropped, 0);
    press(store, 52, 6); // five that were never used, and one that was
    stats = store_stats_now(store);
    assert_int_equal(stats.cold_writes_dropped, 5);
    assert_int_equal(stats.evictions[CASCADE_TIER_LOCAL_DRAM], 6);
    for (uint64_t i = 0; i < 10; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "press %llu", (unsigned long long)i);
        if (i < 5) {
            store_must_get(store, key, 1000 + i, BYTES);
        } else {
            assert_int_equal(store_get_seed(store, key, 1000 + i, BYTES),
                             CASCADE_NOT_FOUND);
        }
    }
    // It has caught up: whatever goes next is written again.
    store_settle(store);
    assert_true(store_stats_now(store).demotions >= 13);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(store_stats_now(store).dirty_blocks, 0);
    store_end(store);
}

// Capacity of the cold tier holds, also at start; what is read stays longer.
static void
test_reclaim(void **state)
{
    static const char *const four[] = {"cold_capacity", "4MiB", NULL};
    static const char *const two[] = {"cold_capacity", "2MiB", NULL};
    struct cascade *store = store_start(&world, true, four);
    struct cascade_stats stats;

    (void)state;
    assert_int_equal(
        store_put_seed(store, "p", 1, BYTES, CASCADE_PUT_PREFIX, NULL),
        CASCADE_OK);
    for (uint64_t i = 0; i < 40; i++) {
        press(store, i * 10, 10);
        assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
        stats = store_stats_now(store);
        assert_true(stats.used_bytes[CASCADE_TIER_SEGMENTS] <=
                    stats.capacity_bytes[CASCADE_TIER_SEGMENTS] + (1 << 20));
    }
    assert_true(stats.segments_reclaimed > 5);
    assert_true(stats.evictions[CASCADE_TIER_SEGMENTS] > 0);
    assert_int_equal(store_get_seed(store, "press 0", 1000, BYTES),
                     CASCADE_NOT_FOUND);
    store_must_get(store, "press 399", 1399, BYTES);
    store_must_get(store, "p", 1, BYTES);
    store_end(store);
    store = store_start(&world, true, two);
    store_settle(store);
    stats = store_stats_now(store);
    assert_true(stats.used_bytes[CASCADE_TIER_SEGMENTS] <=
                (uint64_t)(2 << 20) + (1 << 20));
    store_must_get(store, "p", 1, BYTES);
    store_must_get(store, "press 399", 1399, BYTES);
    store_end(store);
}

static bool
count_entry(void *context, const struct cascade_entry *entry)
{
    uint64_t *seen = context;
    char key[32] = {0};

    assert_true(entry->key.bytes > 0 && entry->key.bytes < sizeof(key));
    memcpy(key, entry->key.data, entry->key.bytes);
    assert_int_equal(entry->bytes, BYTES);
    assert_true(entry->in_memory || entry->on_segments);
    assert_int_equal(strncmp(key, "press ", 6), 0);
    assert_int_equal(seen[atoi(key + 6)]++, 0);
    return seen[200]++ + 1 < seen[201];
}

static void
test_list_and_metrics(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    uint64_t seen[202] = {0};
    struct cascade_key keys[3] = {store_name("press 0"), store_name("press 1"),
                                  store_name("none")};
    static char text[1 << 17];
    char value[64];
    size_t matched = 9;
    size_t needed = 0;

    (void)state;
    press(store, 0, 100);
    store_end(store);
    store = store_start(&world, true, NULL);
    press(store, 100, 100);
    seen[201] = UINT64_MAX;
    assert_int_equal(cascade_list(store, count_entry, seen), CASCADE_OK);
    assert_int_equal(seen[200], 200);
    memset(seen, 0, sizeof(seen));
    seen[201] = 7; // stops there
    assert_int_equal(cascade_list(store, count_entry, seen), CASCADE_OK);
    assert_int_equal(seen[200], 7);
    assert_int_equal(cascade_prefix_match(store, keys, 3, &matched),
                     CASCADE_OK);
    assert_int_equal(matched, 2);
    assert_int_equal(cascade_prefix_match(store, keys + 2, 1, &matched),
                     CASCADE_OK);
    assert_int_equal(matched, 0);
    assert_int_equal(cascade_metrics_text(store, text, 10, &needed),
                     CASCADE_TOO_SMALL);
    assert_true(needed > 10 && needed < sizeof(text));
    assert_int_equal(cascade_metrics_text(store, text, sizeof(text), &needed),
                     CASCADE_OK);
    assert_true(strlen(text) + 1 <= needed + 16);
    assert_non_null(strstr(text, "\ncascade_puts_total 100\n"));
    assert_non_null(strstr(text, "\ncascade_keys 200\n"));
    assert_int_equal(
        cascade_option_effective(store, "dram_capacity", value, sizeof(value)),
        CASCADE_OK);
    assert_string_equal(value, "2MiB");
    assert_int_equal(
        cascade_option_effective(store, "threads", value, sizeof(value)),
        CASCADE_OK);
    assert_string_equal(value, "2");
    assert_int_equal(cascade_option_effective(store, "threads", value, 1),
                     CASCADE_TOO_SMALL);
    assert_int_equal(cascade_register_memory(store, text, 64), CASCADE_OK);
    assert_int_equal(cascade_unregister_memory(store, text + 1),
                     CASCADE_NOT_FOUND);
    assert_int_equal(cascade_unregister_memory(store, text), CASCADE_OK);
    assert_int_equal(cascade_unregister_memory(store, text), CASCADE_NOT_FOUND);
    assert_int_equal(cascade_register_memory(store, text, 64), CASCADE_OK);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_coldest_goes, begin, finish),
        cmocka_unit_test_setup_teardown(test_protected_stay, begin, finish),
        cmocka_unit_test_setup_teardown(test_protection_survives, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_no_semantic_eviction, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_writes_ahead, begin, finish),
        cmocka_unit_test_setup_teardown(test_what_was_used_is_worth_a_write,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_reclaim, begin, finish),
        cmocka_unit_test_setup_teardown(test_list_and_metrics, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
