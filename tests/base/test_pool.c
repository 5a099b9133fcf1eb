// SPDX-License-Identifier: Apache-2.0
//
// The thread pool: every index once, nothing lost, nothing stuck. Run it also
// in the build with the thread sanitizer.

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/pool.h"

#define INDEXES_MAX 1000

static struct pool *
make_pool(size_t threads, size_t jobs)
{
    struct pool *pool = NULL;
    assert_int_equal(
        pool_create(allocator_system(), "test", threads, jobs, &pool),
        CASCADE_OK);
    assert_int_equal(pool_thread_count(pool), threads);
    return pool;
}

struct tally {
    size_t seen[INDEXES_MAX]; // plain: each index is one thread's
};

static void
count_index(void *context, size_t index)
{
    struct tally *tally = context;
    tally->seen[index]++;
}

static void
run_tally(struct pool *pool, size_t count)
{
    struct tally tally;
    memset(&tally, 0, sizeof tally);
    pool_parallel_for(pool, count_index, &tally, count);
    for (size_t i = 0; i < INDEXES_MAX; i++) {
        if (tally.seen[i] != (i < count ? 1u : 0u)) {
            abort(); // may run outside the thread of cmocka
        }
    }
}

static void
test_every_index_once(void **state)
{
    (void)state;
    for (size_t threads = 0; threads < 5; threads++) {
        struct pool *pool = make_pool(threads, 0);
        for (size_t count = 0; count < 100; count++) {
            run_tally(pool, count);
        }
        run_tally(pool, INDEXES_MAX);
        pool_destroy(pool);
    }
    run_tally(NULL, 0);
    run_tally(NULL, INDEXES_MAX);
    assert_int_equal(pool_thread_count(NULL), 0);
    pool_destroy(NULL);
}

struct nest {
    struct pool *pool;
    size_t depth;
    _Atomic size_t calls;
};

struct nest_level {
    struct nest *nest;
    size_t depth;
};

static void
nested_task(void *context, size_t index)
{
    struct nest_level *level = context;
    (void)index;
    atomic_fetch_add(&level->nest->calls, 1);
    if (level->depth > 0) {
        struct nest_level next = {level->nest, level->depth - 1};
        pool_parallel_for(level->nest->pool, nested_task, &next, 4);
    }
}

static void
test_nested_loops(void **state)
{
    struct nest nest = {.pool = make_pool(3, 0)};
    struct nest_level top = {&nest, 5};
    (void)state;
    pool_parallel_for(nest.pool, nested_task, &top, 4);
    size_t expected = 0, width = 4;
    for (size_t depth = 0; depth <= top.depth; depth++) {
        expected += width;
        width *= 4;
    }
    assert_int_equal(atomic_load(&nest.calls), expected);
    pool_destroy(nest.pool);
}

static void *
loop_many_times(void *context)
{
    for (size_t i = 0; i < 300; i++) {
        run_tally(context, i % 37);
    }
    return NULL;
}

static void
count_job(void *context)
{
    _Atomic size_t *count = context;
    atomic_fetch_add(count, 1);
}

static void
test_loops_and_jobs_from_many_threads(void **state)
{
    struct pool *pool = make_pool(2, 8);
    pthread_t threads[4];
    _Atomic size_t done = 0;
    size_t taken = 0;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, loop_many_times, pool), 0);
    }
    for (size_t i = 0; i < 5000; i++) {
        enum cascade_status status = pool_submit(pool, count_job, &done);
        assert_true(status == CASCADE_OK || status == CASCADE_BUSY);
        taken += status == CASCADE_OK;
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    pool_destroy(pool);
    assert_int_equal(atomic_load(&done), taken);
}

struct gate {
    sem_t entered;
    sem_t open;
};

static void
wait_at_gate(void *context)
{
    struct gate *gate = context;
    sem_post(&gate->entered);
    while (sem_wait(&gate->open) != 0) {
    }
}

static void
test_loop_runs_while_all_workers_are_busy(void **state)
{
    struct pool *pool = make_pool(2, 4);
    struct gate gate;
    (void)state;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.open, 0, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pool_submit(pool, wait_at_gate, &gate), CASCADE_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        sem_wait(&gate.entered);
    }
    run_tally(pool, INDEXES_MAX);
    sem_post(&gate.open);
    sem_post(&gate.open);
    pool_destroy(pool);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.open);
}

// Two callers and the one thread of the pool.
struct crowd {
    struct pool *pool;
    pthread_t caller;
    pthread_t second;
    sem_t helped;   // the thread of the pool runs an index of the first caller
    sem_t crowded;  // the second caller is in its loop
    sem_t finished; // the first caller has had its last index
    bool second_came;
    _Atomic size_t helper_count;
};

static void
wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) {
    }
}

static void
work_of_second(void *context, size_t index)
{
    struct crowd *crowd = context;
    if (index == 0) {
        sem_post(&crowd->crowded);
        wait_for(&crowd->finished);
    }
}

static void *
second_caller(void *context)
{
    struct crowd *crowd = context;
    pool_parallel_for(crowd->pool, work_of_second, crowd, 2);
    return NULL;
}

static void
work_of_first(void *context, size_t index)
{
    struct crowd *crowd = context;
    if (!pthread_equal(pthread_self(), crowd->caller)) {
        if (atomic_fetch_add(&crowd->helper_count, 1) == 0) {
            sem_post(&crowd->helped);
            wait_for(&crowd->crowded);
        }
    } else if (!crowd->second_came) {
        crowd->second_came = true;
        wait_for(&crowd->helped);
        if (pthread_create(&crowd->second, NULL, second_caller, crowd) != 0) {
            abort();
        }
    }
    if (index == INDEXES_MAX - 1) {
        sem_post(&crowd->finished);
    }
}

static void
test_helper_leaves_when_callers_come(void **state)
{
    struct crowd crowd = {.pool = make_pool(1, 0), .caller = pthread_self()};
    (void)state;
    sem_init(&crowd.helped, 0, 0);
    sem_init(&crowd.crowded, 0, 0);
    sem_init(&crowd.finished, 0, 0);
    pool_parallel_for(crowd.pool, work_of_first, &crowd, INDEXES_MAX);
    pthread_join(crowd.second, NULL);
    assert_int_equal(crowd.helper_count, 1);
    pool_destroy(crowd.pool);
    sem_destroy(&crowd.helped);
    sem_destroy(&crowd.crowded);
    sem_destroy(&crowd.finished);
}

struct order {
    size_t next;
    bool right;
};

struct order_job {
    struct order *order;
    size_t number;
};

static void
note_order(void *context)
{
    struct order_job *job = context;
    job->order->right = job->order->right && job->order->next == job->number;
    job->order->next++;
}

static void
test_queue_is_bounded_ordered_and_drained(void **state)
{
    struct pool *pool = make_pool(1, 5);
    struct gate gate;
    struct order order = {.right = true};
    struct order_job jobs[6];
    (void)state;
    sem_init(&gate.entered, 0, 0);
    sem_init(&gate.open, 0, 0);
    assert_int_equal(pool_submit(pool, wait_at_gate, &gate), CASCADE_OK);
    sem_wait(&gate.entered);
    for (size_t i = 0; i < 6; i++) {
        jobs[i] = (struct order_job){&order, i};
        assert_int_equal(pool_submit(pool, note_order, &jobs[i]),
                         i < 5 ? CASCADE_OK : CASCADE_BUSY);
    }
    sem_post(&gate.open);
    pool_stop(pool);
    assert_int_equal(order.next, 5);
    assert_true(order.right);
    assert_int_equal(pool_submit(pool, note_order, &jobs[0]), CASCADE_CLOSED);
    pool_stop(pool);
    run_tally(pool, 50);
    pool_destroy(pool);
    sem_destroy(&gate.entered);
    sem_destroy(&gate.open);
}

static void
test_no_threads_takes_no_jobs(void **state)
{
    struct pool *pool = make_pool(0, 4);
    (void)state;
    assert_int_equal(pool_submit(pool, note_order, NULL), CASCADE_CLOSED);
    pool_destroy(pool);
}

struct traits {
    char name[16];
    bool blocked;
    sem_t done;
};

static void
read_traits(void *context)
{
    struct traits *traits = context;
    sigset_t set;
    pthread_getname_np(pthread_self(), traits->name, sizeof traits->name);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    traits->blocked = sigismember(&set, SIGTERM) == 1 &&
                      sigismember(&set, SIGUSR1) == 1;
    sem_post(&traits->done);
}

static void
test_threads_are_named_and_take_no_signals(void **state)
{
    struct traits traits;
    struct pool *pool;
    sigset_t mine;
    (void)state;
    memset(&traits, 0, sizeof traits);
    sem_init(&traits.done, 0, 0);
    assert_int_equal(
        pool_create(allocator_system(), "a-long-pool-name", 1, 1, &pool),
        CASCADE_OK);
    assert_int_equal(pool_submit(pool, read_traits, &traits), CASCADE_OK);
    sem_wait(&traits.done);
    pool_destroy(pool);
    assert_true(traits.blocked);
    assert_string_equal(traits.name, "a-long-pool/0");
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    assert_int_equal(sigismember(&mine, SIGTERM), 0);
    sem_destroy(&traits.done);
}

struct failing {
    size_t calls;
    size_t fail_at;
    size_t live;
};

static void *
failing_allocate(void *self, size_t bytes, size_t alignment)
{
    struct failing *failing = self;
    (void)alignment;
    if (failing->calls++ == failing->fail_at) {
        return NULL;
    }
    failing->live++;
    return calloc(1, bytes == 0 ? 1 : bytes);
}

static void
failing_release(void *self, void *memory)
{
    struct failing *failing = self;
    failing->live--;
    free(memory);
}

static void
test_failed_allocations_and_limits(void **state)
{
    struct failing failing = {0, 0, 0};
    struct allocator allocator = {failing_allocate, failing_release, &failing};
    struct pool *pool = NULL;
    enum cascade_status status = CASCADE_NO_MEMORY;
    (void)state;
    for (; status != CASCADE_OK; failing.fail_at++) {
        failing.calls = 0;
        status = pool_create(&allocator, "test", 2, 2, &pool);
        assert_true(status == CASCADE_OK || status == CASCADE_NO_MEMORY);
        assert_true(status == CASCADE_OK ||
                    (pool == NULL && failing.live == 0));
    }
    assert_true(failing.fail_at > 1);
    pool_destroy(pool);
    assert_int_equal(failing.live, 0);
    assert_int_equal(
        pool_create(&allocator, "test", POOL_THREADS_MAX + 1, 0, &pool),
        CASCADE_INVALID);
    assert_int_equal(
        pool_create(&allocator, "test", 0, POOL_JOBS_MAX + 1, &pool),
        CASCADE_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_index_once),
        cmocka_unit_test(test_nested_loops),
        cmocka_unit_test(test_loops_and_jobs_from_many_threads),
        cmocka_unit_test(test_loop_runs_while_all_workers_are_busy),
        cmocka_unit_test(test_helper_leaves_when_callers_come),
        cmocka_unit_test(test_queue_is_bounded_ordered_and_drained),
        cmocka_unit_test(test_no_threads_takes_no_jobs),
        cmocka_unit_test(test_threads_are_named_and_take_no_signals),
        cmocka_unit_test(test_failed_allocations_and_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
