// SPDX-License-Identifier: Apache-2.0
//
// Uses of blocks on their way to the policy: in order, before anything else,
// none lost while there is room, and never at the cost of a wait.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define SEED UINT64_C(20250711)
#define BYTES 200000 // a small store holds few of them
#define KEYS 16
#define STEPS 2000
#define THREADS 4
#define GETS 2000

static struct store_world world;

// A policy that notes what it is told, and asks another one.
static struct policy_table told_policy;
static const struct policy_table *asked_policy;
static _Atomic uint64_t told_count;
static uint32_t told[2 * STORE_TOUCHES_PER_LANE];

static void
hear_touch(void *state, uint32_t entry)
{
    uint64_t count = atomic_fetch_add(&told_count, 1);

    if (count < 2 * STORE_TOUCHES_PER_LANE) {
        told[count] = entry;
    }
    asked_policy->touch(state, entry);
}

static void
listen(struct cascade *store)
{
    asked_policy = store->policy;
    told_policy = *asked_policy;
    told_policy.touch = hear_touch;
    atomic_store(&told_count, 0);
    store->policy = &told_policy;
}

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

static uint64_t
next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void
name_key(char *key, size_t size, uint64_t number)
{
    (void)snprintf(key, size, "key %llu", (unsigned long long)number);
}

static uint32_t
slot_of(struct cascade *store, const char *key)
{
    struct block_key digest;
    struct directory_found found;

    assert_int_equal(store_key(store, store_name(key), &digest), CASCADE_OK);
    assert_int_equal(directory_find(store->directory, &digest, &found, NULL),
                     CASCADE_OK);
    return found.memory.slot;
}

static void
tell_now(struct cascade *store)
{
    check(pthread_mutex_lock(&store->policy_lock) == 0);
    store_touches_drain(store);
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
}

// The same steps in two stores. In one every touch is told at once.
static void
test_late_is_as_good_as_at_once(void **state)
{
    struct store_world other;
    struct cascade *late;
    struct cascade *soon;
    uint64_t random = SEED;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)SEED);
    store_world_make(&other);
    late = store_start(&world, false, NULL);
    soon = store_start(&other, false, NULL);
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t number = next_random(&random) % KEYS;
        uint64_t what = next_random(&random) % 8;
        char key[32];

        name_key(key, sizeof(key), number);
        if (what == 0) {
            assert_int_equal(cascade_remove(late, store_name(key)),
                             cascade_remove(soon, store_name(key)));
        } else if (store_get_seed(late, key, number, BYTES) == CASCADE_OK) {
            assert_int_equal(store_get_seed(soon, key, number, BYTES),
                             CASCADE_OK);
        } else {
            assert_int_equal(store_get_seed(soon, key, number, BYTES),
                             CASCADE_NOT_FOUND);
            store_must_put(late, key, number, BYTES);
            store_must_put(soon, key, number, BYTES);
        }
        tell_now(soon);
    }
    assert_true(store_stats_now(late).evictions[CASCADE_TIER_LOCAL_DRAM] > 100);
    store_end(late);
    store_end(soon);
    store_world_remove(&other);
}

// Readers go on while somebody holds policy_lock; what they did is told later,
// the latest of it if it is too much.
static void
test_readers_do_not_wait(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    uint32_t slots[3];
    uint64_t more = 40;
    uint64_t gets = STORE_TOUCHES_PER_LANE + more;

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        char key[32];

        name_key(key, sizeof(key), i);
        store_must_put(store, key, i, BYTES);
        slots[i] = slot_of(store, key);
    }
    tell_now(store);
    listen(store);
    check(pthread_mutex_lock(&store->policy_lock) == 0);
    for (uint64_t i = 0; i < gets; i++) {
        char key[32];

        name_key(key, sizeof(key), i * i % 3);
        store_must_get(store, key, i * i % 3, BYTES);
    }
    assert_int_equal(told_count, 0);
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
    assert_int_equal(metric_read(store->metrics, METRIC_TOUCHES_DROPPED_TOTAL),
                     more);
    tell_now(store);
    assert_int_equal(told_count, STORE_TOUCHES_PER_LANE);
    for (uint64_t i = 0; i < STORE_TOUCHES_PER_LANE; i++) {
        assert_int_equal(told[i], slots[(i + more) * (i + more) % 3]);
    }
    tell_now(store);
    assert_int_equal(told_count, STORE_TOUCHES_PER_LANE);
    store_end(store);
}

static void *
get_again_and_again(void *context)
{
    struct cascade *store = context;

    for (uint64_t i = 0; i < GETS; i++) {
        char key[32];

        name_key(key, sizeof(key), i % 10);
        check(store_get_seed(store, key, i % 10, 100) == CASCADE_OK);
    }
    return NULL;
}

static void
test_none_is_lost_unseen(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    pthread_t threads[THREADS];

    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        char key[32];

        name_key(key, sizeof(key), i);
        store_must_put(store, key, i, 100);
    }
    tell_now(store);
    listen(store);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, get_again_and_again, store), 0);
    }
    for (unsigned i = 0; i < 100; i++) {
        store_must_put(store, "other", 100 + i, 200);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    tell_now(store);
    assert_int_equal(
        told_count + metric_read(store->metrics, METRIC_TOUCHES_DROPPED_TOTAL),
        THREADS * GETS);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_late_is_as_good_as_at_once, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_readers_do_not_wait, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_none_is_lost_unseen, begin,
                                        finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
