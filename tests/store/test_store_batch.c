// SPDX-License-Identifier: Apache-2.0
//
// Batches: every operation as an item, a status per item, the order of changes
// to one key, deadlines, and many batches at once.

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"
#include "support/clock_fake.h"

#define BYTES 3000
#define ITEMS 600

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

// Changes of one key among those of others: each look sees all before it.
static void
test_order(void **state)
{
    static struct cascade_item items[ITEMS];
    static uint8_t data[ITEMS][BYTES];
    static struct cascade_const_span put_spans[ITEMS];
    static struct cascade_span get_spans[ITEMS];
    static char keys[ITEMS][16];
    uint64_t newest[7] = {0};
    uint64_t expected[ITEMS];
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    memset(items, 0, sizeof(items));
    for (size_t i = 0; i < ITEMS; i++) {
        size_t key = i * 5 % 7;

        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", key);
        items[i].key = store_name(keys[i]);
        switch (i * i % 11) {
        case 1:
        case 4:
        case 9:
            store_fill(i + 1, data[i], BYTES);
            put_spans[i] = (struct cascade_const_span){.data = data[i],
                                                       .bytes = BYTES};
            items[i].operation = CASCADE_OPERATION_PUT;
            items[i].put_spans = &put_spans[i];
            items[i].put_span_count = 1;
            newest[key] = i + 1;
            break;
        case 3:
            items[i].operation = CASCADE_OPERATION_REMOVE;
            expected[i] = newest[key];
            newest[key] = 0;
            break;
        default:
            get_spans[i] = (struct cascade_span){.data = data[i],
                                                 .bytes = BYTES};
            items[i].operation = CASCADE_OPERATION_GET;
            items[i].get_spans = &get_spans[i];
            items[i].get_span_count = 1;
            expected[i] = newest[key];
            break;
        }
    }
    assert_int_equal(cascade_batch(store, items, ITEMS, NULL), CASCADE_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        if (items[i].operation == CASCADE_OPERATION_PUT) {
            assert_int_equal(items[i].status, CASCADE_OK);
            assert_true(items[i].put_result.stored);
        } else if (expected[i] == 0) {
            assert_int_equal(items[i].status, CASCADE_NOT_FOUND);
        } else {
            assert_int_equal(items[i].status, CASCADE_OK);
            if (items[i].operation == CASCADE_OPERATION_GET) {
                assert_int_equal(items[i].bytes, BYTES);
                assert_true(store_is(expected[i], data[i], BYTES));
            }
        }
    }
    store_end(store);
}

// Puts of one key that follow each other: the last of the list wins.
static void
test_last_put_wins(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    static uint8_t data[64][BYTES];

    (void)state;
    for (uint64_t round = 0; round < 200; round++) {
        struct cascade_item items[64];
        struct cascade_const_span put_spans[64];

        memset(items, 0, sizeof(items));
        for (uint64_t i = 0; i < 64; i++) {
            // Later ones are shorter, so that they would overtake.
            size_t bytes = BYTES - (size_t)i * 40;

            store_fill(round * 100 + i, data[i], bytes);
            put_spans[i] = (struct cascade_const_span){.data = data[i],
                                                       .bytes = bytes};
            items[i].operation = CASCADE_OPERATION_PUT;
            items[i].key = store_name("k");
            items[i].put_spans = &put_spans[i];
            items[i].put_span_count = 1;
        }
        assert_int_equal(cascade_batch(store, items, 64, NULL), CASCADE_OK);
        store_must_get(store, "k", round * 100 + 63, BYTES - 63 * 40);
    }
    store_end(store);
}

static void
test_every_operation(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_item items[CASCADE_OPERATION_COUNT + 2];
    struct cascade_item release = {.operation = CASCADE_OPERATION_RELEASE};
    uint8_t data[BYTES];
    struct cascade_const_span put_span = {.data = data, .bytes = BYTES};
    struct cascade_span get_span = {.data = data, .bytes = BYTES - 1};

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    memset(items, 0, sizeof(items));
    for (int i = 0; i < CASCADE_OPERATION_COUNT + 2; i++) {
        items[i].operation = (enum cascade_operation)i;
        items[i].key = store_name("k");
        items[i].put_spans = &put_span;
        items[i].put_span_count = 1;
        items[i].get_spans = &get_span;
        items[i].get_span_count = 1;
        items[i].tier = CASCADE_TIER_LOCAL_DRAM;
        items[i].status = 77;
    }
    // What changes the key away goes out of the way of the others.
    items[CASCADE_OPERATION_REMOVE].key = store_name("none");
    items[CASCADE_OPERATION_PUT].key = (struct cascade_key){0};
    assert_int_equal(
        cascade_batch(store, items, CASCADE_OPERATION_COUNT + 2, NULL),
        CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_PUT].status, CASCADE_INVALID);
    assert_int_equal(items[CASCADE_OPERATION_GET].status, CASCADE_TOO_SMALL);
    assert_int_equal(items[CASCADE_OPERATION_GET].bytes, BYTES);
    assert_int_equal(items[CASCADE_OPERATION_ACQUIRE].status, CASCADE_OK);
    assert_true(store_is(1, items[CASCADE_OPERATION_ACQUIRE].view.data, BYTES));
    assert_int_equal(items[CASCADE_OPERATION_EXISTS].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_REMOVE].status, CASCADE_NOT_FOUND);
    assert_int_equal(items[CASCADE_OPERATION_PROTECT].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_UNPROTECT].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_PREFETCH].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_RELEASE].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_FLUSH].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_EVICT].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_EVICT].bytes, 0); // a view is out
    assert_int_equal(items[CASCADE_OPERATION_CLEAR].status, CASCADE_OK);
    assert_int_equal(items[CASCADE_OPERATION_LOCATE].status, CASCADE_NOT_FOUND);
    assert_int_equal(items[CASCADE_OPERATION_COUNT].status, CASCADE_INVALID);
    release.view = items[CASCADE_OPERATION_ACQUIRE].view;
    assert_int_equal(cascade_batch(store, &release, 1, NULL), CASCADE_OK);
    assert_null(release.view.data);
    assert_int_equal(cascade_batch(store, NULL, 0, NULL), CASCADE_OK);
    store_end(store);
}

static void
test_deadline(void **state)
{
    static struct clock_fake clock;
    struct cascade_item items[3];
    struct cascade_call call = {.timeout_ns = 1500};
    struct cascade *store;

    (void)state;
    clock_fake_init(&clock, 1000); // every look at the clock takes that long
    world.around.clock = &clock.source;
    store = store_start(&world, false, NULL);
    memset(items, 0, sizeof(items));
    for (size_t i = 0; i < 3; i++) {
        items[i].operation = CASCADE_OPERATION_CLEAR;
    }
    assert_int_equal(cascade_batch(store, items, 3, &call), CASCADE_OK);
    assert_int_equal(items[0].status, CASCADE_OK);
    assert_int_equal(items[1].status, CASCADE_TIMEOUT);
    assert_int_equal(items[2].status, CASCADE_TIMEOUT);
    store_end(store);
}

#define COLD_BLOCKS 40
#define COLD_BYTES_MAX 70000

static size_t
cold_bytes(size_t number)
{
    return 100 + number * 1777 % COLD_BYTES_MAX;
}

// A get of every block in two spans of odd sizes.
static void
ask_for_cold(struct cascade_item *items, struct cascade_span (*spans)[2],
             char (*keys)[16], uint8_t (*data)[COLD_BYTES_MAX + 200])
{
    memset(items, 0, COLD_BLOCKS * sizeof(items[0]));
    for (size_t i = 0; i < COLD_BLOCKS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "c%zu", i);
        memset(data[i], 0xEE, sizeof(data[i]));
        spans[i][0] = (struct cascade_span){.data = data[i], .bytes = 77};
        spans[i][1] = (struct cascade_span){.data = data[i] + 77,
                                            .bytes = cold_bytes(i)};
        items[i] = (struct cascade_item){
            .size = sizeof(items[i]),
            .operation = CASCADE_OPERATION_GET,
            .key = store_name(keys[i]),
            .get_spans = spans[i],
            .get_span_count = 2,
        };
    }
}

static void
put_cold(struct cascade *store)
{
    for (size_t i = 0; i < COLD_BLOCKS; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "c%zu", i);
        store_must_put(store, key, i, cold_bytes(i));
    }
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
}

// Blocks on segments only, among one in memory, one that nobody knows, one that
// does not fit and one that is asked for twice.
static void
test_cold_blocks_together(void **state)
{
    static struct cascade_item items[COLD_BLOCKS];
    static struct cascade_span spans[COLD_BLOCKS][2];
    static char keys[COLD_BLOCKS][16];
    static uint8_t data[COLD_BLOCKS][COLD_BYTES_MAX + 200];
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_stats before;
    struct cascade_stats after;

    (void)state;
    put_cold(store);
    store_must_get(store, "c3", 3, cold_bytes(3));
    ask_for_cold(items, spans, keys, data);
    items[5].key = store_name("nobody");
    items[6].key = store_name("c7");
    spans[6][1].bytes = cold_bytes(7);
    spans[8][1].bytes = 10;
    before = store_stats_now(store);
    assert_int_equal(cascade_batch(store, items, COLD_BLOCKS, NULL),
                     CASCADE_OK);
    after = store_stats_now(store);
    for (size_t i = 0; i < COLD_BLOCKS; i++) {
        size_t number = i == 6 ? 7 : i;

        if (i == 5 || i == 8) {
            assert_int_equal(items[i].status,
                             i == 5 ? CASCADE_NOT_FOUND : CASCADE_TOO_SMALL);
            assert_int_equal(data[i][0], 0xEE);
            continue;
        }
        assert_int_equal(items[i].status, CASCADE_OK);
        assert_int_equal(items[i].bytes, cold_bytes(number));
        assert_true(store_is(number, data[i], cold_bytes(number)));
        assert_int_equal(data[i][cold_bytes(number)], 0xEE);
        assert_int_equal(store_tier_of(store, keys[number]),
                         CASCADE_TIER_LOCAL_DRAM);
    }
    assert_int_equal(after.hits[CASCADE_TIER_SEGMENTS] -
                         before.hits[CASCADE_TIER_SEGMENTS],
                     COLD_BLOCKS - 4);
    assert_int_equal(after.hits[CASCADE_TIER_LOCAL_DRAM] -
                         before.hits[CASCADE_TIER_LOCAL_DRAM],
                     2);
    store_end(store);
}

// More than memory holds: all bytes come all the same.
static void
test_cold_blocks_beyond_memory(void **state)
{
    static const char *const pairs[] = {"dram_capacity", "1MiB", NULL};
    static struct cascade_item items[COLD_BLOCKS];
    static struct cascade_span spans[COLD_BLOCKS][2];
    static char keys[COLD_BLOCKS][16];
    static uint8_t data[COLD_BLOCKS][COLD_BYTES_MAX + 200];
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    put_cold(store);
    store_end(store);
    store = store_start(&world, true, pairs);
    ask_for_cold(items, spans, keys, data);
    assert_int_equal(cascade_batch(store, items, COLD_BLOCKS, NULL),
                     CASCADE_OK);
    for (size_t i = 0; i < COLD_BLOCKS; i++) {
        assert_int_equal(items[i].status, CASCADE_OK);
        assert_true(store_is(i, data[i], cold_bytes(i)));
    }
    store_end(store);
}

// Every read of the batch fails once: no item lies, and the next batch is whole
// again.
static void
test_cold_reads_fail(void **state)
{
    static struct cascade_item items[COLD_BLOCKS];
    static struct cascade_span spans[COLD_BLOCKS][2];
    static char keys[COLD_BLOCKS][16];
    static uint8_t data[COLD_BLOCKS][COLD_BYTES_MAX + 200];
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    put_cold(store);
    for (uint64_t n = 1; n < 30; n++) {
        ask_for_cold(items, spans, keys, data);
        world.files.calls = 0;
        world.files.counted = FILE_FAULTY_PREAD;
        world.files.fail_from = n;
        world.files.fail_count = 1;
        world.files.error = EIO;
        assert_int_equal(cascade_batch(store, items, COLD_BLOCKS, NULL),
                         CASCADE_OK);
        world.files.fail_from = 0;
        for (size_t i = 0; i < COLD_BLOCKS; i++) {
            assert_true(items[i].status == CASCADE_OK ||
                        items[i].status == CASCADE_IO);
            if (items[i].status == CASCADE_OK) {
                assert_true(store_is(i, data[i], cold_bytes(i)));
            }
        }
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
    }
    ask_for_cold(items, spans, keys, data);
    assert_int_equal(cascade_batch(store, items, COLD_BLOCKS, NULL),
                     CASCADE_OK);
    for (size_t i = 0; i < COLD_BLOCKS; i++) {
        assert_int_equal(items[i].status, CASCADE_OK);
    }
    store_end(store);
}

static void *
run_batches(void *context)
{
    struct cascade *store = context;
    static _Atomic unsigned next;
    unsigned number = next++;
    uint8_t *data = malloc((size_t)32 * BYTES);

    check(data != NULL);
    for (unsigned round = 0; round < 60; round++) {
        struct cascade_item items[64];
        struct cascade_const_span put_spans[32];
        struct cascade_span get_spans[32];
        char keys[32][24];

        memset(items, 0, sizeof(items));
        for (size_t i = 0; i < 32; i++) {
            uint8_t *at = data + i * BYTES;

            (void)snprintf(keys[i], sizeof(keys[i]), "%u of %zu", number, i);
            store_fill(number * 100000 + round * 100 + i, at, BYTES);
            put_spans[i] = (struct cascade_const_span){.data = at,
                                                       .bytes = BYTES};
            get_spans[i] = (struct cascade_span){.data = at, .bytes = BYTES};
            items[i] = (struct cascade_item){.operation = CASCADE_OPERATION_PUT,
                                             .key = store_name(keys[i]),
                                             .put_spans = &put_spans[i],
                                             .put_span_count = 1};
            items[32 + i] = (struct cascade_item){
                .operation = CASCADE_OPERATION_GET,
                .key = store_name(keys[i]),
                .get_spans = &get_spans[i],
                .get_span_count = 1};
        }
        check(cascade_batch(store, items, 32, NULL) == CASCADE_OK);
        memset(data, 0, (size_t)32 * BYTES);
        check(cascade_batch(store, items + 32, 32, NULL) == CASCADE_OK);
        for (size_t i = 0; i < 32; i++) {
            check(items[i].status == CASCADE_OK);
            check(items[32 + i].status == CASCADE_OK);
            check(store_is(number * 100000 + round * 100 + i, data + i * BYTES,
                           BYTES));
        }
    }
    free(data);
    return NULL;
}

static void
test_many_threads(void **state)
{
    static const char *const pairs[] = {"dram_capacity", "1MiB", NULL};
    struct cascade *store = store_start(&world, true, pairs);
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++) {
        check(pthread_create(&threads[i], NULL, run_batches, store) == 0);
    }
    for (int i = 0; i < 4; i++) {
        check(pthread_join(threads[i], NULL) == 0);
    }
    assert_int_equal(store_stats_now(store).keys, 4 * 32);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, begin, finish),
        cmocka_unit_test_setup_teardown(test_last_put_wins, begin, finish),
        cmocka_unit_test_setup_teardown(test_every_operation, begin, finish),
        cmocka_unit_test_setup_teardown(test_deadline, begin, finish),
        cmocka_unit_test_setup_teardown(test_cold_blocks_together, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_cold_blocks_beyond_memory, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_cold_reads_fail, begin, finish),
        cmocka_unit_test_setup_teardown(test_many_threads, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
