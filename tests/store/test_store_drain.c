// SPDX-License-Identifier: Apache-2.0
//
// Drain: everything, or the most valuable part by a deadline; in which order;
// and what a cold tier that takes no more makes of it. Asking for it from
// outside is in tests/tools/test_live.py.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "store_fixture.h"

#define BYTES 100000

static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
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
key_of(char text[16], unsigned i)
{
    (void)snprintf(text, 16, "block %u", i);
}

static bool
keep_if_cold(void *context, const struct cascade_entry *entry)
{
    uint64_t *cold = context;
    unsigned number = 0;
    char text[32] = "";

    memcpy(text, entry->key.data, entry->key.bytes);
    assert_int_equal(sscanf(text, "block %u", &number), 1);
    *cold |= entry->on_segments ? UINT64_C(1) << number : 0;
    return true;
}

// Bit i: "block i" is on segments.
static uint64_t
on_segments(struct cascade *store)
{
    uint64_t cold = 0;

    assert_int_equal(cascade_list(store, keep_if_cold, &cold), CASCADE_OK);
    return cold;
}

static struct cascade_drain_result
must_drain(struct cascade *store, uint64_t timeout_ns)
{
    struct cascade_drain_result result = {.size = sizeof(result)};
    struct cascade_stats stats;

    assert_int_equal(cascade_drain(store, timeout_ns, &result), CASCADE_OK);
    stats = store_stats_now(store);
    assert_int_equal(stats.dirty_blocks, result.blocks_left);
    assert_int_equal(stats.dirty_bytes, result.bytes_left);
    assert_int_equal(stats.pins, 0);
    return result;
}

static void
test_everything(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_drain_result result;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        key_of(key, i);
        store_must_put(store, key, i, i == 3 ? 0 : BYTES);
    }
    result = must_drain(store, NS_PER_S * 60);
    assert_int_equal(result.blocks_written, 10);
    assert_int_equal(result.bytes_written, 9 * BYTES);
    assert_int_equal(result.blocks_left, 0);
    result = must_drain(store, NS_PER_S * 60);
    assert_int_equal(result.blocks_written, 0);
    assert_int_equal(cascade_drain(store, 0, NULL), CASCADE_OK);
    result.size = 8;
    assert_int_equal(cascade_drain(store, 0, &result), CASCADE_INVALID);
    // What another process would find now.
    assert_int_equal(file_faulty_unsynced(&world.files), 0);
    store_end(store);
}

static void
put_child(struct cascade *store, unsigned number, unsigned parent)
{
    static uint8_t data[BYTES];
    struct cascade_const_span span = {.data = data, .bytes = sizeof(data)};
    struct cascade_put_options options = {.size = sizeof(options)};
    char key[16];
    char above[16];

    key_of(key, number);
    key_of(above, parent);
    options.parent = store_name(above);
    store_fill(number, data, sizeof(data));
    assert_int_equal(
        cascade_put(store, store_name(key), &span, 1, &options, NULL),
        CASCADE_OK);
}

// Little rate and little time: of 15 blocks some are written, those that matter.
static void
test_the_most_valuable_first(void **state)
{
    static const char *const pairs[] = {"cold_write_rate", "1MiB", NULL};
    const uint64_t prompt = 1u << 3 | 1u << 4;
    struct cascade *store = store_start(&world, true, pairs);
    struct cascade_drain_result result;
    uint64_t cold;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 15; i++) {
        key_of(key, i);
        if (i == 4) {
            put_child(store, 4, 3);
        } else {
            assert_int_equal(store_put_seed(store, key, i, BYTES,
                                            i == 9 ? CASCADE_PUT_PREFIX : 0,
                                            NULL),
                             CASCADE_OK);
        }
    }
    // The end of a prompt was used last; its beginning comes with it, before
    // it.
    store_must_get(store, "block 4", 4, BYTES);
    result = must_drain(store, NS_PER_S / 3);
    cold = on_segments(store);
    print_message("%llu blocks written: %llx\n",
                  (unsigned long long)result.blocks_written,
                  (unsigned long long)cold);
    assert_true(result.blocks_written >= 3 && result.blocks_left > 0);
    assert_int_equal(result.blocks_written + result.blocks_left, 15);
    assert_true((cold & 1u << 9) != 0);
    assert_int_equal(cold & prompt, prompt);
    // The rest by age, the youngest first.
    cold &= ~(prompt | 1u << 9);
    for (unsigned i = 14; i > 0; i--) {
        if ((prompt & 1u << i) == 0 && i != 9 && (cold & 1u << i) == 0) {
            cold &= (1u << i) - 1;
            assert_int_equal(cold, 0);
        }
    }
    store_end(store);
}

// A flush pays for what was written before it.
static void
test_rate_holds_for_flushes(void **state)
{
    static const char *const pairs[] = {"cold_write_rate", "1MiB", NULL};
    struct cascade *store = store_start(&world, true, pairs);
    uint64_t begin_ns;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        key_of(key, i);
        store_must_put(store, key, i, BYTES);
    }
    begin_ns = clock_steady_ns(clock_system());
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    store_must_put(store, "block 6", 6, BYTES);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_true(clock_steady_ns(clock_system()) - begin_ns > NS_PER_S * 4 / 10);
    store_end(store);
}

// Removals and second names cost no payload and are not forgotten.
static void
test_bindings(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_drain_result result;

    (void)state;
    store_must_put(store, "one", 1, BYTES);
    store_must_put(store, "gone", 2, BYTES);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    store_must_put(store, "other name", 1, BYTES);
    assert_int_equal(cascade_remove(store, store_name("gone")), CASCADE_OK);
    result = must_drain(store, NS_PER_S * 60);
    assert_int_equal(result.blocks_written, 0);
    world.files.counted = FILE_FAULTY_PWRITE;
    world.files.fail_from = world.files.calls + 1;
    world.files.fail_count = UINT64_MAX;
    world.files.error = EIO;
    // As good as a crash: nothing is written.
    assert_int_not_equal(cascade_close(store), CASCADE_BUSY);
    world.files.fail_from = 0;
    store = store_start(&world, true, NULL);
    store_must_get(store, "other name", 1, BYTES);
    assert_int_equal(cascade_exists(store, store_name("gone")),
                     CASCADE_NOT_FOUND);
    store_end(store);
}

static void
test_nowhere_to_drain_to(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct cascade_drain_result result = {.blocks_left = 77};

    (void)state;
    assert_int_equal(cascade_drain(store, 0, &result), CASCADE_UNSUPPORTED);
    assert_int_equal(result.blocks_left, 77);
    store_end(store);
}

// The colder must not push out the hotter that were written first.
static void
test_little_cold_capacity(void **state)
{
    static const char *const pairs[] = {"cold_capacity", "1MiB", NULL};
    struct cascade *store = store_start(&world, true, pairs);
    struct cascade_drain_result result = {0};
    uint64_t cold;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 15; i++) {
        key_of(key, i);
        store_must_put(store, key, i, BYTES);
    }
    assert_int_equal(cascade_drain(store, NS_PER_S * 60, &result),
                     CASCADE_NO_SPACE);
    cold = on_segments(store);
    print_message("on segments: %llx\n", (unsigned long long)cold);
    assert_true((cold & 1u << 14) != 0 && (cold & 1u << 13) != 0);
    assert_true((cold & 1) == 0);
    assert_int_equal(cascade_close(store), CASCADE_NO_SPACE);
}

static void
test_a_full_disk_and_a_broken_one(void **state)
{
    static const int errors[] = {ENOSPC, EDQUOT, EIO};
    struct cascade_drain_result result = {0};
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        char key[16];

        key_of(key, i);
        store_must_put(store, key, i, BYTES);
        world.files.counted = FILE_FAULTY_PWRITE;
        world.files.fail_from = world.files.calls + 1;
        world.files.fail_count = UINT64_MAX;
        world.files.error = errors[i];
        assert_int_equal(cascade_drain(store, NS_PER_S * 60, &result),
                         errors[i] == EIO ? CASCADE_IO : CASCADE_NO_SPACE);
        store_must_get(store, key, i, BYTES);
        world.files.fail_from = 0;
        assert_int_equal(must_drain(store, NS_PER_S * 60).blocks_left, 0);
    }
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything, begin, finish),
        cmocka_unit_test_setup_teardown(test_the_most_valuable_first, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_rate_holds_for_flushes, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_bindings, begin, finish),
        cmocka_unit_test_setup_teardown(test_nowhere_to_drain_to, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_little_cold_capacity, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_a_full_disk_and_a_broken_one,
                                        begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
