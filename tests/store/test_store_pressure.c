// SPDX-License-Identifier: Apache-2.0
//
// Eviction while others act: a disk that does not keep up under the default
// admission, with the real background; pins, protection and the loss of a cold
// copy at the moment of an eviction.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "directory/directory_table.h"
#include "store_fixture.h"

#define BYTES 40000
#define HOT 8
#define PUTS 300
#define ROUNDS 400

// What a put may take beyond put_wait on a machine that is busy otherwise.
#define SLACK_NS (2 * NS_PER_S)

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

static struct directory_found
find(struct cascade *store, const char *key)
{
    struct directory_found found;
    struct block_key digest;

    assert_int_equal(store_key(store, store_name(key), &digest), CASCADE_OK);
    assert_int_equal(directory_find(store->directory, &digest, &found, NULL),
                     CASCADE_OK);
    return found;
}

static void
touch_hot(struct cascade *store)
{
    for (uint64_t i = 0; i < HOT; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "hot %llu", (unsigned long long)i);
        store_must_get(store, key, i, BYTES);
    }
}

// The cold tier is busy with something else for as long as the puts come.
static void
test_a_disk_that_does_not_keep_up(void **state)
{
    static const char *const pairs[] = {"cold_admission", "used", "put_wait",
                                        "1", NULL};
    struct cascade *store;
    struct cascade_stats stats;
    uint64_t found = 0;
    uint64_t longest_ns = 0;
    char key[32];

    (void)state;
    world.around.background = true;
    store = store_start(&world, true, pairs);
    for (uint64_t i = 0; i < HOT; i++) {
        (void)snprintf(key, sizeof(key), "hot %llu", (unsigned long long)i);
        store_must_put(store, key, i, BYTES);
    }
    touch_hot(store);
    assert_int_equal(store_cold_begin(store, store_now(store) + 10 * NS_PER_S),
                     CASCADE_OK);
    for (uint64_t i = 0; i < PUTS; i++) {
        uint64_t begin_ns = store_now(store);

        (void)snprintf(key, sizeof(key), "once %llu", (unsigned long long)i);
        store_must_put(store, key, 1000 + i, BYTES);
        longest_ns = units_max(longest_ns, store_now(store) - begin_ns);
        if (i % 20 == 0) {
            touch_hot(store);
        }
    }
    store_cold_end(store);
    assert_true(longest_ns <= NS_PER_S + SLACK_NS);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    store_background_stop(store);
    touch_hot(store);
    for (uint64_t i = 0; i < PUTS; i++) {
        enum cascade_status status;

        (void)snprintf(key, sizeof(key), "once %llu", (unsigned long long)i);
        status = store_get_seed(store, key, 1000 + i, BYTES);
        assert_true(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        found += status == CASCADE_OK ? 1 : 0;
    }
    stats = store_stats_now(store);
    print_message("%llu found, %llu dropped, longest put %llu ms\n",
                  (unsigned long long)found,
                  (unsigned long long)stats.cold_writes_dropped,
                  (unsigned long long)(longest_ns / 1000000));
    assert_true(stats.cold_writes_dropped > 0);
    assert_int_equal(found + stats.cold_writes_dropped, PUTS);
    store_end(store);
}

// A pinned block refuses, and the policy goes on to know it.
static void
test_a_pin_is_seen_before_the_policy(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct policy_cursor cursor;
    struct cascade_view view;
    uint32_t slot;
    uint32_t victim = POLICY_NONE;
    bool dirty;

    (void)state;
    store_must_put(store, "one", 1, BYTES);
    slot = find(store, "one").memory.slot;
    assert_int_equal(cascade_acquire(store, store_name("one"), NULL, &view),
                     CASCADE_OK);
    assert_int_equal(store_evict_slot(store, slot, false, &dirty),
                     CASCADE_BUSY);
    assert_true((store->blocks[slot].flags & STORE_SLOT_RESIDENT) != 0);
    memset(&cursor, 0, sizeof(cursor));
    store_policy_lock(store);
    assert_true(store->policy->choose(store->policy_state, &cursor, &victim));
    store_policy_unlock(store);
    assert_int_equal(victim, slot);
    assert_true(store_is(1, view.data, BYTES));
    cascade_release(store, &view);
    assert_int_equal(store_evict_slot(store, slot, false, &dirty), CASCADE_OK);
    assert_int_equal(store_stats_now(store).evictions[CASCADE_TIER_LOCAL_DRAM],
                     1);
    store_end(store);
}

// Two threads meet before each round and after it.
struct race {
    struct cascade *store;
    pthread_barrier_t meet;
    struct directory_found found;
    bool lost;
    enum cascade_status status;
};

static void
meet(struct race *race)
{
    int result = pthread_barrier_wait(&race->meet);

    check(result == 0 || result == PTHREAD_BARRIER_SERIAL_THREAD);
}

static void *
lose_cold(void *context)
{
    struct race *race = context;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        meet(race);
        race->status = directory_withdraw(
            race->store->directory, &race->found.id, &race->found.cold,
            DIRECTORY_WITHDRAW_FORCED, NULL, NULL, &race->lost);
        meet(race);
    }
    return NULL;
}

// A clean block whose copy on segments goes at the same time: the eviction
// never takes the last copy.
static void
test_an_eviction_never_takes_the_last_copy(void **state)
{
    struct race race = {.store = store_start(&world, true, NULL)};
    struct cascade *store = race.store;
    uint32_t refused = 0;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_barrier_init(&race.meet, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, lose_cold, &race), 0);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        enum cascade_status evicted;
        bool dirty;

        store_must_put(store, "one", i, 3000);
        assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
        race.found = find(store, "one");
        race.lost = false;
        assert_true(race.found.cold_durable);
        meet(&race);
        evicted = store_evict_slot(store, race.found.memory.slot, false,
                                   &dirty);
        meet(&race);
        assert_int_equal(race.status, CASCADE_OK);
        // Whoever came second took the last copy, or left it alone.
        assert_int_equal(evicted == CASCADE_OK, race.lost);
        if (evicted != CASCADE_OK) {
            refused++;
            store_must_get(store, "one", i, 3000);
        }
    }
    print_message("%u of %u evictions refused\n", refused, ROUNDS);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&race.meet), 0);
    store_end(store);
}

static void *
lift(void *context)
{
    struct race *race = context;

    for (uint32_t i = 0; i < 10 * ROUNDS; i++) {
        meet(race);
        race->status = cascade_unprotect(race->store, store_name("one"));
        meet(race);
    }
    return NULL;
}

// The store's policy, with a look at each change: whether the lock of the block's
// id was held.
static struct watched_policy {
    struct policy_table table;
    const struct policy_table *below;
    pthread_mutex_t *id_lock;
    uint32_t changes; // guarded by policy_lock
    uint32_t unguarded;
} watched;

static void
change_watched(void *state, uint32_t entry, uint32_t flags)
{
    watched.changes++;
    if (pthread_mutex_trylock(watched.id_lock) == 0) {
        check(pthread_mutex_unlock(watched.id_lock) == 0);
        watched.unguarded++;
    }
    watched.below->change(state, entry, flags);
}

static void
watch_changes(struct cascade *store, const struct block_id *id)
{
    watched = (struct watched_policy){
        .table = *store->policy,
        .below = store->policy,
        .id_lock = &directory_id_shard(store->directory, id)->lock,
    };
    watched.table.change = change_watched;
    store->policy = &watched.table;
}

static bool
is_marked(struct cascade *store, const struct directory_found *found)
{
    return (store->blocks[found->memory.slot].flags & STORE_SLOT_PROTECTED) !=
           0;
}

// What the directory says of protection reaches the policy before the directory
// can say something else: under the lock of the id, whoever asks for it.
static void
test_protection_is_told_under_the_id(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct directory_found found;

    (void)state;
    store_must_put(store, "one", 1, BYTES);
    found = find(store, "one");
    watch_changes(store, &found.id);
    assert_int_equal(cascade_protect(store, store_name("one"), NULL),
                     CASCADE_OK);
    assert_int_equal(watched.changes, 1);
    assert_true(is_marked(store, &found));
    assert_int_equal(cascade_unprotect(store, store_name("one")), CASCADE_OK);
    assert_int_equal(watched.changes, 2);
    assert_false(is_marked(store, &found));
    // A second key of the same content, and the end of the only protected one.
    store_must_put(store, "two", 1, BYTES);
    assert_int_equal(cascade_protect(store, store_name("two"), NULL),
                     CASCADE_OK);
    assert_true(is_marked(store, &found));
    assert_int_equal(cascade_remove(store, store_name("two")), CASCADE_OK);
    assert_false(is_marked(store, &found));
    assert_true(watched.changes >= 4);
    assert_int_equal(watched.unguarded, 0);
    store_end(store);
}

// Whoever comes last, the policy and the directory agree.
static void
test_protecting_races_lifting(void **state)
{
    struct race race = {.store = store_start(&world, false, NULL)};
    struct cascade *store = race.store;
    uint32_t kept = 0;
    pthread_t thread;

    (void)state;
    store_must_put(store, "one", 1, BYTES);
    assert_int_equal(pthread_barrier_init(&race.meet, NULL, 2), 0);
    assert_int_equal(pthread_create(&thread, NULL, lift, &race), 0);
    for (uint32_t i = 0; i < 10 * ROUNDS; i++) {
        struct directory_found found;

        meet(&race);
        assert_int_equal(cascade_protect(store, store_name("one"), NULL),
                         CASCADE_OK);
        meet(&race);
        assert_int_equal(race.status, CASCADE_OK);
        found = find(store, "one");
        assert_int_equal(is_marked(store, &found), found.content_protected);
        kept += found.content_protected ? 1 : 0;
    }
    print_message("%u of %u protected at the end\n", kept, 10 * ROUNDS);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&race.meet), 0);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_disk_that_does_not_keep_up,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_a_pin_is_seen_before_the_policy,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(
            test_an_eviction_never_takes_the_last_copy, begin, finish),
        cmocka_unit_test_setup_teardown(test_protection_is_told_under_the_id,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_protecting_races_lifting, begin,
                                        finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
