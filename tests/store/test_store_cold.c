// SPDX-License-Identifier: Apache-2.0
//
// What reaches the cold tier and when: an acknowledged flush leaves no write
// without its sync, and a restart finds exactly what was flushed, whatever the
// bindings went through. Files of another store count for nothing.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define BYTES 20000

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
test_flush_syncs(void **state)
{
    static const char *const synced[] = {"sync", "put", NULL};
    struct cascade *store = store_start(&world, true, NULL);
    uint64_t before;

    (void)state;
    for (uint64_t round = 0; round < 5; round++) {
        store_must_put(store, "a", round * 2, BYTES);
        store_must_put(store, "b", round * 2, BYTES);
        store_must_put(store, "c", round * 2 + 1, 300);
        assert_int_equal(cascade_remove(store, store_name("c")), CASCADE_OK);
        before = file_faulty_unsynced(&world.files);
        assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
        assert_int_equal(file_faulty_unsynced(&world.files), before);
        assert_int_equal(store_stats_now(store).dirty_blocks, 0);
    }
    // A flush with nothing to write writes nothing.
    before = world.files.calls;
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(world.files.calls, before);
    store_end(store);
    store = store_start(&world, true, synced);
    before = file_faulty_unsynced(&world.files);
    store_must_put(store, "d", 77, BYTES);
    assert_int_equal(file_faulty_unsynced(&world.files), before);
    store_end(store);
}

// In a process that ends without closing.
static void
then_die(void (*life)(struct cascade *store))
{
    int ended = 1;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct cascade *store = NULL;

        check(store_try(&world, true, NULL, &store) == CASCADE_OK);
        life(store);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
}

static void
must_flush(struct cascade *store)
{
    check(cascade_flush(store, NULL) == CASCADE_OK);
}

static void
must_put(struct cascade *store, const char *key, uint64_t seed)
{
    check(store_put_seed(store, key, seed, BYTES, 0, NULL) == CASCADE_OK);
}

static void
live_with_old_bindings(struct cascade *store)
{
    // k: old bytes flushed, new bytes flushed, then only named by another key.
    must_put(store, "k", 1);
    must_flush(store);
    must_put(store, "k", 2);
    must_flush(store);
    must_put(store, "again", 1);
    // removed: flushed, removed, flushed.
    must_put(store, "removed", 3);
    must_flush(store);
    check(cascade_remove(store, store_name("removed")) == CASCADE_OK);
    must_flush(store);
    // dup: its content is clean under another key; only a record is written.
    must_put(store, "dup", 2);
    must_flush(store);
    // there and back.
    must_put(store, "back", 4);
    must_put(store, "back", 5);
    must_put(store, "back", 4);
    must_flush(store);
    // never flushed.
    must_put(store, "late", 6);
    must_put(store, "back", 7);
    check(cascade_remove(store, store_name("dup")) == CASCADE_OK);
}

static void
test_restart_finds_the_flushed(void **state)
{
    struct cascade *store;

    (void)state;
    then_die(live_with_old_bindings);
    store = store_start(&world, true, NULL);
    store_must_get(store, "k", 2, BYTES);
    store_must_get(store, "again", 1, BYTES);
    store_must_get(store, "dup", 2, BYTES);
    store_must_get(store, "back", 4, BYTES);
    assert_int_equal(store_get_seed(store, "removed", 3, BYTES),
                     CASCADE_NOT_FOUND);
    assert_int_equal(store_get_seed(store, "late", 6, BYTES),
                     CASCADE_NOT_FOUND);
    assert_int_equal(store_stats_now(store).keys, 4);
    assert_int_equal(store_stats_now(store).dirty_blocks, 0);
    store_end(store);
}

static void
live_with_clear(struct cascade *store)
{
    must_put(store, "old", 1);
    must_put(store, "both", 2);
    must_flush(store);
    check(cascade_clear(store) == CASCADE_OK);
    must_put(store, "both", 3);
    must_put(store, "new", 1);
    must_flush(store);
}

static void
test_clear_is_durable(void **state)
{
    struct cascade *store;

    (void)state;
    then_die(live_with_clear);
    for (int i = 0; i < 3; i++) {
        store = store_start(&world, true, NULL);
        assert_int_equal(store_get_seed(store, "old", 1, BYTES),
                         CASCADE_NOT_FOUND);
        store_must_get(store, "both", 3, BYTES);
        store_must_get(store, "new", 1, BYTES);
        store_end(store);
    }
}

// A segment goes while a block of it is only in DRAM besides: the block is in
// another segment first, though nobody flushes.
static void
test_reclaim_keeps_what_was_flushed(void **state)
{
    static const char *const four[] = {"cold_capacity", "5MiB", NULL};
    struct cascade *store = NULL;
    int ended = 1;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        check(store_try(&world, true, four, &store) == CASCADE_OK);
        check(store_put_seed(store, "p", 1, BYTES, CASCADE_PUT_PREFIX, NULL) ==
              CASCADE_OK);
        must_flush(store);
        check(store_put_seed(store, "large", 2, 3000000, 0, NULL) ==
              CASCADE_OK);
        check(store_put_seed(store, "larger", 3, 4000000, 0, NULL) ==
              CASCADE_OK);
        check(store_stats_now(store).segments_reclaimed > 0);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    store = store_start(&world, true, four);
    store_must_get(store, "p", 1, BYTES);
    store_must_get(store, "larger", 3, 4000000);
    store_end(store);
}

// Another namespace in the same root has keys of its own.
static void
test_namespaces(void **state)
{
    static const char *const other[] = {"namespace", "model b", NULL};
    struct cascade *a = store_start(&world, true, NULL);
    struct cascade *b = store_start(&world, true, other);

    (void)state;
    store_must_put(a, "k", 1, BYTES);
    store_must_put(b, "k", 2, BYTES);
    assert_int_equal(cascade_clear(a), CASCADE_OK);
    store_end(a);
    store_end(b);
    a = store_start(&world, true, NULL);
    b = store_start(&world, true, other);
    assert_int_equal(store_get_seed(a, "k", 1, BYTES), CASCADE_NOT_FOUND);
    store_must_get(b, "k", 2, BYTES);
    store_end(a);
    store_end(b);
}

// No DRAM tier: every put goes straight to segments, every get comes from them.
static void
test_without_dram(void **state)
{
    static const char *const none[] = {"dram_capacity", "0", NULL};
    struct cascade *store = store_start(&world, true, none);
    struct cascade_put_result result;
    struct cascade_view view = {0};
    struct cascade_stats stats;

    (void)state;
    assert_int_equal(store_put_seed(store, "k", 1, BYTES, 0, &result),
                     CASCADE_OK);
    assert_int_equal(result.tier, CASCADE_TIER_SEGMENTS);
    store_must_put(store, "l", 1, BYTES);
    store_must_put(store, "nothing", 2, 0);
    store_must_get(store, "k", 1, BYTES);
    store_must_get(store, "l", 1, BYTES);
    store_must_get(store, "nothing", 2, 0);
    stats = store_stats_now(store);
    assert_int_equal(stats.hits[CASCADE_TIER_SEGMENTS], 3);
    assert_int_equal(stats.dedup_hits, 1);
    assert_int_equal(cascade_acquire(store, store_name("k"), NULL, &view),
                     CASCADE_NO_SPACE);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_UNSUPPORTED);
    store_end(store);
    store = store_start(&world, true, none);
    store_must_get(store, "l", 1, BYTES);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flush_syncs, begin, finish),
        cmocka_unit_test_setup_teardown(test_restart_finds_the_flushed, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_clear_is_durable, begin, finish),
        cmocka_unit_test_setup_teardown(test_reclaim_keeps_what_was_flushed,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_namespaces, begin, finish),
        cmocka_unit_test_setup_teardown(test_without_dram, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
