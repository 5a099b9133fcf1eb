// SPDX-License-Identifier: Apache-2.0
//
// Completion queues: order, depth, deadlines, cancel, close, and the eventfd,
// with one thread that can be held up by a view of its own making.

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"
#include "store_fixture.h"
#include "support/clock_fake.h"

#define BYTES 3000
#define LONG_NS (20 * NS_PER_S)

static struct store_world world;
static struct clock_fake clock_by_hand;

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

static bool
is_readable(const struct cascade_queue *queue)
{
    struct pollfd poll_file = {.fd = cascade_queue_eventfd(queue),
                               .events = POLLIN};

    return poll(&poll_file, 1, 0) == 1;
}

// Keeps the store's one pool thread busy: a flush that waits for cold_lock.
static void
hold_up(struct cascade *store, struct cascade_queue *queue,
        struct cascade_item *item)
{
    struct cascade_call call = {.timeout_ns = LONG_NS};

    check(store_cold_begin(store, store_now(store) + LONG_NS) == CASCADE_OK);
    memset(item, 0, sizeof(*item));
    item->operation = CASCADE_OPERATION_FLUSH;
    assert_int_equal(cascade_submit(queue, item, 1, &call, item, NULL),
                     CASCADE_OK);
}

static void
test_completions(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct cascade_queue *queue;
    struct cascade_completion done[4];
    struct cascade_item items[4];
    uint8_t data[4][BYTES];
    struct cascade_const_span put_spans[4];
    uint64_t tickets[4];
    size_t count = 9;
    size_t taken = 0;
    char keys[4][8];

    (void)state;
    assert_int_equal(cascade_queue_open(store, 4, &queue), CASCADE_OK);
    assert_false(is_readable(queue));
    assert_int_equal(cascade_queue_wait(queue, done, 4, 0, &count),
                     CASCADE_TIMEOUT);
    assert_int_equal(count, 0);
    memset(items, 0, sizeof(items));
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
        store_fill(i, data[i], BYTES);
        put_spans[i] = (struct cascade_const_span){.data = data[i],
                                                   .bytes = BYTES};
        items[i].operation = CASCADE_OPERATION_PUT;
        items[i].key = store_name(keys[i]);
        items[i].put_spans = &put_spans[i];
        items[i].put_span_count = 1;
        assert_int_equal(
            cascade_submit(queue, &items[i], 1, NULL, &keys[i], &tickets[i]),
            CASCADE_OK);
    }
    assert_int_equal(cascade_submit(queue, &items[0], 1, NULL, NULL, NULL),
                     CASCADE_BUSY);
    store_message_has("4 submissions");
    assert_int_equal(cascade_close(store), CASCADE_BUSY);
    while (taken < 4) {
        assert_int_equal(
            cascade_queue_wait(queue, done + taken, 1, LONG_NS, &count),
            CASCADE_OK);
        assert_int_equal(count, 1);
        taken++;
    }
    assert_false(is_readable(queue));
    for (size_t i = 0; i < 4; i++) {
        size_t which = (size_t)(done[i].items - items);

        assert_true(which < 4);
        assert_int_equal(done[i].status, CASCADE_OK);
        assert_ptr_equal(done[i].user_data, &keys[which]);
        assert_int_equal(done[i].ticket, tickets[which]);
        assert_int_equal(items[which].status, CASCADE_OK);
        assert_true(items[which].put_result.stored);
        store_must_get(store, keys[i], i, BYTES);
    }
    assert_int_equal(cascade_cancel(queue, tickets[0]), CASCADE_NOT_FOUND);
    assert_int_equal(cascade_queue_close(queue), CASCADE_OK);
    assert_int_equal(cascade_queue_close(NULL), CASCADE_OK);
    store_end(store);
}

static void
test_cancel(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_queue *queue;
    struct cascade_completion done[3];
    struct cascade_item busy;
    struct cascade_item items[2];
    uint64_t tickets[2];
    size_t count = 0;

    (void)state;
    memset(items, 0, sizeof(items));
    assert_int_equal(cascade_queue_open(store, 3, &queue), CASCADE_OK);
    hold_up(store, queue, &busy);
    for (size_t i = 0; i < 2; i++) {
        items[i].operation = CASCADE_OPERATION_EXISTS;
        items[i].key = store_name("k");
        assert_int_equal(
            cascade_submit(queue, &items[i], 1, NULL, NULL, &tickets[i]),
            CASCADE_OK);
    }
    assert_false(is_readable(queue));
    assert_int_equal(cascade_cancel(queue, tickets[1]), CASCADE_OK);
    assert_true(is_readable(queue));
    assert_int_equal(cascade_queue_wait(queue, done, 3, 0, &count), CASCADE_OK);
    assert_int_equal(count, 1);
    assert_int_equal(done[0].status, CASCADE_CANCELLED);
    assert_int_equal(done[0].ticket, tickets[1]);
    assert_int_equal(items[1].status, CASCADE_CANCELLED);
    assert_int_equal(cascade_cancel(queue, tickets[1]), CASCADE_NOT_FOUND);
    assert_false(is_readable(queue));
    store_cold_end(store);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cascade_queue_wait(queue, done, 1, LONG_NS, &count),
                         CASCADE_OK);
        assert_int_equal(done[0].status, CASCADE_OK);
    }
    assert_int_equal(items[0].status, CASCADE_NOT_FOUND);
    assert_int_equal(cascade_queue_close(queue), CASCADE_OK);
    store_end(store);
}

static void
test_deadline_before_start(void **state)
{
    struct cascade *store;
    struct cascade_queue *queue;
    struct cascade_completion done[1];
    struct cascade_item busy;
    struct cascade_item late = {.operation = CASCADE_OPERATION_EXISTS};
    struct cascade_call call = {.timeout_ns = 1000};
    size_t count = 0;

    (void)state;
    clock_fake_init(&clock_by_hand, 0);
    world.around.clock = &clock_by_hand.source;
    store = store_start(&world, true, NULL);
    store_must_put(store, "k", 1, BYTES);
    late.key = store_name("k");
    assert_int_equal(cascade_queue_open(store, 2, &queue), CASCADE_OK);
    hold_up(store, queue, &busy);
    assert_int_equal(cascade_submit(queue, &late, 1, &call, NULL, NULL),
                     CASCADE_OK);
    clock_fake_pass(&clock_by_hand, 2000);
    store_cold_end(store);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cascade_queue_wait(queue, done, 1, LONG_NS, &count),
                         CASCADE_OK);
        if (done[0].items == &late) {
            assert_int_equal(done[0].status, CASCADE_TIMEOUT);
        } else {
            assert_int_equal(done[0].status, CASCADE_OK);
        }
    }
    assert_int_equal(late.status, CASCADE_TIMEOUT);
    assert_int_equal(cascade_queue_close(queue), CASCADE_OK);
    store_end(store);
}

struct closer {
    struct cascade_queue *queue;
    _Atomic bool closed;
};

static void *
close_queue(void *context)
{
    struct closer *closer = context;

    check(cascade_queue_close(closer->queue) == CASCADE_OK);
    atomic_store(&closer->closed, true);
    return NULL;
}

// Close cancels what waits and waits for what runs.
static void
test_close_cancels(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct closer closer = {0};
    struct cascade_item busy;
    struct cascade_item items[8];
    pthread_t thread;

    (void)state;
    memset(items, 0, sizeof(items));
    assert_int_equal(cascade_queue_open(store, 9, &closer.queue), CASCADE_OK);
    hold_up(store, closer.queue, &busy);
    for (size_t i = 0; i < 8; i++) {
        items[i].operation = CASCADE_OPERATION_CLEAR;
        items[i].status = CASCADE_OK;
        assert_int_equal(
            cascade_submit(closer.queue, &items[i], 1, NULL, NULL, NULL),
            CASCADE_OK);
    }
    store_must_put(store, "k", 1, BYTES);
    check(pthread_create(&thread, NULL, close_queue, &closer) == 0);
    // All that wait are cancelled under one lock, before the close waits.
    while (!is_readable(closer.queue)) {
    }
    store_cold_end(store);
    check(pthread_join(thread, NULL) == 0);
    assert_true(closer.closed);
    for (size_t i = 1; i < 8; i++) {
        assert_int_equal(items[i].status, CASCADE_CANCELLED);
    }
    assert_int_equal(cascade_stats_read(store, &(struct cascade_stats){0}),
                     CASCADE_OK);
    store_end(store);
}

#define THREADS 4
#define SUBMISSIONS 400

struct submitter {
    struct cascade_queue *queue;
    unsigned number;
    _Atomic unsigned *right;
};

// Puts and gets one key, each submission in the order of its list.
static void *
submit_many(void *context)
{
    struct submitter *submitter = context;
    uint8_t out[BYTES];
    uint8_t data[BYTES];
    struct cascade_const_span put_span = {.data = data, .bytes = BYTES};
    struct cascade_span get_span = {.data = out, .bytes = BYTES};
    char key[16];

    (void)snprintf(key, sizeof(key), "t%u", submitter->number);
    for (unsigned i = 0; i < SUBMISSIONS; i++) {
        struct cascade_item items[3];
        struct cascade_completion done;
        struct submitter *whose = NULL;
        size_t count = 0;

        memset(items, 0, sizeof(items));
        store_fill(submitter->number * 10000 + i, data, BYTES);
        items[0].operation = CASCADE_OPERATION_PUT;
        items[0].put_spans = &put_span;
        items[0].put_span_count = 1;
        items[1].operation = CASCADE_OPERATION_GET;
        items[1].get_spans = &get_span;
        items[1].get_span_count = 1;
        items[2].operation = CASCADE_OPERATION_REMOVE;
        for (size_t k = 0; k < 3; k++) {
            items[k].key = store_name(key);
        }
        check(cascade_submit(submitter->queue, items, 3, NULL, submitter,
                             NULL) == CASCADE_OK);
        // Each thread has a queue of its own: this is its own completion.
        check(cascade_queue_wait(submitter->queue, &done, 1, LONG_NS, &count) ==
              CASCADE_OK);
        whose = done.user_data;
        check(whose == submitter && done.status == CASCADE_OK);
        for (size_t k = 0; k < 3; k++) {
            check(items[k].status == CASCADE_OK);
        }
        check(store_is(submitter->number * 10000 + i, out, BYTES));
        atomic_fetch_add(submitter->right, 1);
    }
    return NULL;
}

static void
test_many_threads(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct submitter submitters[THREADS];
    pthread_t threads[THREADS];
    _Atomic unsigned right = 0;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        submitters[i] = (struct submitter){.number = i, .right = &right};
        assert_int_equal(cascade_queue_open(store, 2, &submitters[i].queue),
                         CASCADE_OK);
        check(pthread_create(&threads[i], NULL, submit_many, &submitters[i]) ==
              0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        check(pthread_join(threads[i], NULL) == 0);
        assert_int_equal(cascade_queue_close(submitters[i].queue), CASCADE_OK);
    }
    assert_int_equal(right, THREADS * SUBMISSIONS);
    assert_int_equal(store_stats_now(store).keys, 0);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_completions, begin, finish),
        cmocka_unit_test_setup_teardown(test_cancel, begin, finish),
        cmocka_unit_test_setup_teardown(test_deadline_before_start, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_close_cancels, begin, finish),
        cmocka_unit_test_setup_teardown(test_many_threads, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
