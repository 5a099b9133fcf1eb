// SPDX-License-Identifier: Apache-2.0
//
// Room for large blocks among others: what goes, what stays, what is written
// first.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/extent.h"
#include "store_fixture.h"

#define LARGE EXTENT_BIG_BYTES
#define SMALL (LARGE / 8)
#define DRAM_BLOCKS 8 // large ones

static const char *const options[] = {"dram_capacity", "128MiB", "dedup", "key",
                                      "segment_size",  "64MiB",  NULL};

static struct store_world world;
static uint8_t buffer[2 * LARGE];

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
name_of(char *key, size_t size, const char *kind, uint32_t i)
{
    (void)snprintf(key, size, "%s %u", kind, i);
}

static void
put(struct cascade *store, const char *kind, uint32_t i, size_t bytes,
    uint32_t flags, const char *parent)
{
    struct cascade_const_span span = {.data = buffer, .bytes = bytes};
    struct cascade_put_options how = {.flags = flags};
    char key[32];

    if (parent != NULL) {
        how.parent = store_name(parent);
    }
    name_of(key, sizeof(key), kind, i);
    memset(buffer, (int)i + 1, bytes);
    if (cascade_put(store, store_name(key), &span, 1, &how, NULL) !=
        CASCADE_OK) {
        fail_msg("put %s: %s", key, cascade_error_message());
    }
}

static bool
is_here(struct cascade *store, const char *kind, uint32_t i)
{
    char key[32];

    name_of(key, sizeof(key), kind, i);
    return store_tier_of(store, key) == CASCADE_TIER_LOCAL_DRAM;
}

static void
must_get(struct cascade *store, const char *kind, uint32_t i, size_t bytes)
{
    static uint8_t got[2 * LARGE];
    struct cascade_span span = {.data = got, .bytes = sizeof(got)};
    char key[32];
    size_t have = 0;

    name_of(key, sizeof(key), kind, i);
    assert_int_equal(cascade_get(store, store_name(key), &span, 1, NULL, &have),
                     CASCADE_OK);
    assert_int_equal(have, bytes);
    assert_int_equal(got[0], i + 1);
    assert_int_equal(got[bytes - 1], i + 1);
    assert_memory_equal(got, got + 1, bytes - 1);
}

static uint32_t
count_here(struct cascade *store, const char *kind, uint32_t count)
{
    uint32_t here = 0;

    for (uint32_t i = 0; i < count; i++) {
        here += is_here(store, kind, i);
    }
    return here;
}

// Small blocks fill the arena; then a large one takes eight neighbours from the
// cold end, not more and not others.
static void
test_cold_neighbours_go(void **state)
{
    struct cascade *store = store_start(&world, false, options);
    uint32_t small = DRAM_BLOCKS * 8;

    (void)state;
    for (uint32_t i = 0; i < small; i++) {
        put(store, "s", i, SMALL, 0, NULL);
    }
    assert_int_equal(count_here(store, "s", small), small);
    put(store, "l", 0, LARGE, 0, NULL);
    assert_true(is_here(store, "l", 0));
    assert_int_equal(count_here(store, "s", small), small - 8);
    assert_int_equal(count_here(store, "s", 8), 0);
    // The first eight were used: the next eight go.
    for (uint32_t i = 8; i < 16; i++) {
        must_get(store, "s", i, SMALL);
    }
    put(store, "l", 1, LARGE, 0, NULL);
    assert_int_equal(count_here(store, "s", 16), 8);
    assert_int_equal(count_here(store, "s", small), small - 16);
    assert_int_equal(store_stats_now(store).evictions[CASCADE_TIER_LOCAL_DRAM],
                     16);
    must_get(store, "l", 0, LARGE);
    must_get(store, "l", 1, LARGE);
    must_get(store, "s", 60, SMALL);
    store_end(store);
}

// What was used since the blocks were ranked is not in the window.
static void
test_a_touch_counts_at_once(void **state)
{
    struct cascade *store = store_start(&world, false, options);
    uint32_t small = DRAM_BLOCKS * 8;

    (void)state;
    for (uint32_t i = 0; i < small; i++) {
        put(store, "s", i, SMALL, 0, NULL);
    }
    put(store, "l", 0, LARGE, 0, NULL); // ranks
    must_get(store, "s", 12, SMALL);
    put(store, "l", 1, LARGE, 0, NULL);
    assert_true(is_here(store, "s", 12));
    store_end(store);
}

// Protected and pinned blocks every so often: no window has one.
static void
test_walls_stay(void **state)
{
    struct cascade *store = store_start(&world, false, options);
    struct cascade_view view;
    uint32_t small = DRAM_BLOCKS * 8;

    (void)state;
    for (uint32_t i = 0; i < small; i++) {
        put(store, "s", i, SMALL, i % 20 == 5 ? CASCADE_PUT_PREFIX : 0, NULL);
    }
    assert_int_equal(cascade_acquire(store, store_name("s 15"), NULL, &view),
                     CASCADE_OK);
    for (uint32_t i = 0; i < 20; i++) {
        put(store, "l", i, LARGE, 0, NULL);
        assert_true(is_here(store, "l", i));
        assert_true(is_here(store, "s", 5));
        assert_true(is_here(store, "s", 25));
        assert_true(is_here(store, "s", 45));
        assert_true(is_here(store, "s", 15));
    }
    cascade_release(store, &view);
    // By now it is the coldest, and small blocks go one by one.
    for (uint32_t i = 0; i < 64 && is_here(store, "s", 15); i++) {
        put(store, "t", i, SMALL, 0, NULL);
    }
    assert_false(is_here(store, "s", 15));
    must_get(store, "s", 5, SMALL);
    store_end(store);
}

// A block with one after it in its prompt that is warm is as warm.
static void
test_prompts_go_from_their_end(void **state)
{
    struct cascade *store = store_start(&world, false, options);
    uint32_t small = DRAM_BLOCKS * 8;

    (void)state;
    put(store, "s", 0, SMALL, 0, NULL);
    for (uint32_t i = 1; i < small; i++) {
        put(store, "s", i, SMALL, 0, i == small - 1 ? "s 0" : NULL);
    }
    put(store, "l", 0, LARGE, 0, NULL);
    assert_true(is_here(store, "s", 0));
    assert_true(is_here(store, "s", small - 1));
    // A protected one keeps what comes before it.
    assert_int_equal(cascade_protect(store, store_name("s 63"), NULL),
                     CASCADE_OK);
    for (uint32_t i = 1; i < 12; i++) {
        put(store, "l", i, LARGE, 0, NULL);
        assert_true(is_here(store, "s", 0));
    }
    store_end(store);
}

// Dirty blocks are written first; they are then the next ones to go.
static void
test_dirty_neighbours_are_written_first(void **state)
{
    struct cascade *store = store_start(&world, true, options);

    (void)state;
    for (uint32_t i = 0; i < 64; i++) {
        put(store, "s", i, SMALL, 0, NULL);
    }
    // Nobody writes now, so it goes to a segment, and nothing is lost.
    put(store, "l", 0, LARGE, 0, NULL);
    assert_false(is_here(store, "l", 0));
    assert_int_equal(count_here(store, "s", 64), 64);
    store_settle(store);
    put(store, "l", 1, LARGE, 0, NULL);
    assert_true(is_here(store, "l", 1));
    for (uint32_t i = 0; i < 64; i++) {
        must_get(store, "s", i, SMALL);
    }
    must_get(store, "l", 0, LARGE);
    must_get(store, "l", 1, LARGE);
    assert_int_equal(store_stats_now(store).cold_writes_dropped, 0);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cold_neighbours_go, begin, finish),
        cmocka_unit_test_setup_teardown(test_a_touch_counts_at_once, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_walls_stay, begin, finish),
        cmocka_unit_test_setup_teardown(test_prompts_go_from_their_end, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_dirty_neighbours_are_written_first,
                                        begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
