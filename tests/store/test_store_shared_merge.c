// SPDX-License-Identifier: Apache-2.0
//
// What several live stores of one root have flushed stays, whoever adopts,
// merges and takes away which files in which order. Payloads that only others
// have are no promise of ours; those that only we have do not go because
// another had a copy as well. Last, many histories of a few stores.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"
#include "store_shared.h"

#define BYTES 20000
#define STORES 3
#define KEYS 12
#define STEPS 60
#define HISTORIES 3
#define LEFT 5 // small segments; more than enough to be merged

// The copy in memory goes although it was not written.
static void
drop_from_memory(struct cascade *store, const char *key)
{
    struct directory_found found;
    struct block_key digest;
    bool dirty;

    assert_int_equal(store_key(store, store_name(key), &digest), CASCADE_OK);
    assert_int_equal(directory_find(store->directory, &digest, &found, NULL),
                     CASCADE_OK);
    assert_int_equal(store_evict_slot(store, found.memory.slot, true, &dirty),
                     CASCADE_OK);
}

// A put that lost its copy before it was written is counted as dropped, though
// another's files have the block. A flush writes no record for it that would
// make it look durable.
static void
test_anothers_copy_alone_is_no_record(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b = store_shared_start(shared);

    store_must_put(a, "k", 1, BYTES);
    store_end(a);
    a = store_shared_start(shared);
    store_shared_refresh(shared, b);
    store_must_put(b, "k", 1, BYTES);
    drop_from_memory(b, "k");
    assert_int_equal(store_stats_now(b).cold_writes_dropped, 1);
    store_must_flush(b);
    assert_int_equal(store_stats_now(b).cold_bytes_written, 0);
    // Put again, it is written.
    store_must_put(b, "k", 1, BYTES);
    store_shared_list(shared);
    store_must_flush(b);
    assert_true(store_stats_now(b).cold_bytes_written >= BYTES);
    store_shared_remove_listed(shared);
    store_end(b);
    store_end(a);
    a = store_shared_start(shared);
    store_must_get(a, "k", 1, BYTES);
    store_end(a);
}

// A put of what another's file has, which is in memory because it was read: the
// eviction that began before the put does not take the copy that it relies on.
static void
test_a_put_holds_what_was_read(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b = store_shared_start(shared);
    struct directory_found found;
    struct block_key key;

    store_must_put(a, "k", 1, BYTES);
    store_end(a);
    a = store_shared_start(shared);
    store_shared_refresh(shared, b);
    store_must_get(b, "k", 1, BYTES);
    assert_int_equal(store_key(b, store_name("k"), &key), CASCADE_OK);
    assert_int_equal(directory_find(b->directory, &key, &found, NULL),
                     CASCADE_OK);
    store_must_put(b, "k", 1, BYTES);
    assert_int_equal(directory_withdraw(b->directory, &found.id, &found.memory,
                                        DIRECTORY_WITHDRAW_NOT_LAST, NULL, NULL,
                                        NULL),
                     CASCADE_BUSY);
    store_shared_list(shared);
    store_must_flush(b);
    store_shared_remove_listed(shared);
    store_end(b);
    store_end(a);
    a = store_shared_start(shared);
    store_must_get(a, "k", 1, BYTES);
    store_end(a);
}

// Too large for memory, straight to segments: the record is ours as well.
static void
test_a_large_put_is_ours(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b = store_shared_start(shared);
    size_t bytes = 3 * MIB;

    store_must_put(a, "k", 1, bytes);
    store_end(a);
    a = store_shared_start(shared);
    store_shared_refresh(shared, b);
    store_shared_list(shared);
    store_must_put(b, "k", 1, bytes);
    store_must_flush(b);
    store_shared_remove_listed(shared);
    store_end(b);
    store_end(a);
    a = store_shared_start(shared);
    assert_int_equal(cascade_exists(a, store_name("k")), CASCADE_OK);
    store_end(a);
}

// A store that opens while another moves a payload sees a record without it.
// That is no removal, neither here nor, by a flush, for all.
static void
test_a_payload_out_of_sight_is_not_removed(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b;
    char away[300];

    store_must_put(a, "first", 1, BYTES);
    store_end(a);
    a = store_shared_start(shared);
    store_must_put(a, "second", 1, BYTES);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, 1);
    store_must_flush(a);
    (void)snprintf(away, sizeof(away), "%s.away", shared->world.cold_path);
    check(rename(shared->paths[0], away) == 0);
    b = store_shared_start(shared);
    check(rename(away, shared->paths[0]) == 0);
    store_must_flush(b);
    store_shared_refresh(shared, b);
    store_must_get(b, "first", 1, BYTES);
    store_end(a);
    store_shared_refresh(shared, b);
    store_must_get(b, "second", 1, BYTES);
    store_end(b);
    b = store_shared_start(shared);
    store_must_get(b, "first", 1, BYTES);
    store_must_get(b, "second", 1, BYTES);
    store_end(b);
}

// Stores that were open at once leave a segment each, with one block that all
// have and one of its own; enough of them to be merged.
static void
leave_small_segments(struct store_shared *shared)
{
    struct cascade *stores[LEFT];
    char key[32];

    for (size_t i = 0; i < LEFT; i++) {
        clock_fake_pass(&shared->clock, NS_PER_MS);
        stores[i] = store_shared_start(shared);
    }
    for (size_t i = 0; i < LEFT; i++) {
        (void)snprintf(key, sizeof(key), "of %zu", i);
        store_must_put(stores[i], "k", 1, BYTES);
        store_must_put(stores[i], key, 10 + i, BYTES);
        store_must_flush(stores[i]);
    }
    for (size_t i = 0; i < LEFT; i++) {
        store_end(stores[i]);
    }
}

// All are adopted; then the file of one goes late, by the hand of a former
// owner, and the others are merged at close. `look`: the store notices before.
static void
lose_one_file(struct store_shared *shared, size_t gone, bool look, bool get)
{
    struct cascade *b;
    char key[32];

    leave_small_segments(shared);
    b = store_shared_start(shared);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, LEFT);
    check(unlink(shared->paths[gone]) == 0);
    if (look) {
        store_shared_refresh(shared, b);
    }
    if (get) {
        // Found, or a miss: then the index knows nothing of it any more.
        (void)store_get_seed(b, "k", 1, BYTES);
    }
    store_end(b);
    b = store_shared_start(shared);
    store_must_get(b, "k", 1, BYTES);
    for (size_t i = 0; i < LEFT; i++) {
        (void)snprintf(key, sizeof(key), "of %zu", i);
        assert_int_equal(store_get_seed(b, key, 10 + i, BYTES),
                         i == gone ? CASCADE_NOT_FOUND : CASCADE_OK);
    }
    store_end(b);
    store_shared_list(shared);
    store_shared_remove_listed(shared);
}

// A copy of which the index knows went: the merge moves another copy on instead
// of dropping it.
static void
test_a_merge_trusts_no_file_that_went(void **state)
{
    for (size_t gone = 0; gone < LEFT; gone++) {
        lose_one_file(*state, gone, true, false);
    }
    lose_one_file(*state, LEFT - 1, false, false);
}

// The index lost a block with the copy that it knew: the merge keeps another.
static void
test_a_merge_keeps_what_the_index_lost(void **state)
{
    for (size_t gone = 0; gone < LEFT; gone++) {
        lose_one_file(*state, gone, true, true);
    }
    lose_one_file(*state, LEFT - 1, false, true);
}

// One content in both, flushed in both, and then every order of leaving.
static void
test_one_content_in_both(void **state)
{
    struct store_shared *shared = *state;

    for (unsigned order = 0; order < 8; order++) {
        struct cascade *stores[2] = {store_shared_start(shared),
                                     store_shared_start(shared)};
        size_t first = order & 1;
        char key[2][32];

        for (size_t i = 0; i < 2; i++) {
            (void)snprintf(key[i], sizeof(key[i]), "%u of %zu", order, i);
            store_must_put(stores[i], key[i], 100 + order, BYTES);
            store_must_flush(stores[i]);
        }
        if ((order & 2) != 0) {
            store_shared_refresh(shared, stores[0]);
            store_shared_refresh(shared, stores[1]);
        }
        store_end(stores[first]);
        if ((order & 4) != 0) {
            store_shared_refresh(shared, stores[1 - first]);
        }
        store_end(stores[1 - first]);
        stores[0] = store_shared_start(shared);
        for (unsigned known = 0; known <= order; known++) {
            for (size_t i = 0; i < 2; i++) {
                (void)snprintf(key[0], sizeof(key[0]), "%u of %zu", known, i);
                store_must_get(stores[0], key[0], 100 + known, BYTES);
            }
        }
        store_end(stores[0]);
    }
}

static uint32_t
pick(uint64_t *random, uint32_t below)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33) % below;
}

struct history {
    struct store_shared *shared;
    struct cascade *stores[STORES];
    bool put[STORES][KEYS]; // acknowledged by this store since it opened
    bool flushed[KEYS];
    uint64_t random;
};

static void
flush_and_note(struct history *history, size_t which)
{
    store_must_flush(history->stores[which]);
    for (size_t key = 0; key < KEYS; key++) {
        history->flushed[key] = history->flushed[key] ||
                                history->put[which][key];
    }
}

static void
step(struct history *history)
{
    size_t which = pick(&history->random, STORES);
    struct cascade *store = history->stores[which];
    uint32_t key = pick(&history->random, KEYS);
    enum cascade_status status;
    char name[32];

    (void)snprintf(name, sizeof(name), "key %u", key);
    switch (pick(&history->random, 10)) {
    case 0:
    case 1:
    case 2:
        store_must_put(store, name, key, BYTES + key);
        history->put[which][key] = true;
        break;
    case 3:
        (void)store_get_seed(store, name, key, BYTES + key);
        break;
    case 4:
        flush_and_note(history, which);
        break;
    case 5:
        flush_and_note(history, which);
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
        break;
    case 6:
        status = cascade_protect(store, store_name(name), NULL);
        assert_true(status == CASCADE_OK || status == CASCADE_NOT_FOUND);
        break;
    case 7:
    case 8:
        clock_fake_pass(&history->shared->clock, NS_PER_S + NS_PER_S / 10);
        for (size_t i = 0; i < STORES; i++) {
            if (i != which || pick(&history->random, 2) == 0) {
                store_settle(history->stores[i]);
            }
        }
        break;
    default:
        flush_and_note(history, which);
        store_end(store);
        history->stores[which] = store_shared_start(history->shared);
        memset(history->put[which], 0, sizeof(history->put[which]));
        break;
    }
}

static void
check_flushed(struct history *history)
{
    struct cascade *store = store_shared_start(history->shared);
    char name[32];

    for (uint32_t key = 0; key < KEYS; key++) {
        (void)snprintf(name, sizeof(name), "key %u", key);
        if (history->flushed[key]) {
            store_must_get(store, name, key, BYTES + key);
        }
    }
    store_end(store);
}

static void
test_histories(void **state)
{
    struct store_shared *shared = *state;

    const char *more = getenv("CASCADE_HISTORIES");
    uint64_t count = more != NULL ? strtoull(more, NULL, 10) : HISTORIES;

    for (uint64_t seed = 1; seed <= count; seed++) {
        struct history history = {.shared = shared, .random = seed};
        struct cascade *store;

        print_message("history %llu\n", (unsigned long long)seed);
        for (size_t i = 0; i < STORES; i++) {
            history.stores[i] = store_shared_start(shared);
        }
        for (unsigned i = 0; i < STEPS; i++) {
            step(&history);
        }
        check_flushed(&history);
        for (size_t i = 0; i < STORES; i++) {
            store_end(history.stores[i]);
        }
        check_flushed(&history);
        store = store_shared_start(shared);
        assert_int_equal(cascade_clear(store), CASCADE_OK);
        store_end(store);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_anothers_copy_alone_is_no_record,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(test_a_put_holds_what_was_read,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_a_large_put_is_ours, store_shared_begin, store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_a_payload_out_of_sight_is_not_removed, store_shared_begin,
            store_shared_finish),
        cmocka_unit_test_setup_teardown(test_a_merge_trusts_no_file_that_went,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(test_a_merge_keeps_what_the_index_lost,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_one_content_in_both, store_shared_begin, store_shared_finish),
        cmocka_unit_test_setup_teardown(test_histories, store_shared_begin,
                                        store_shared_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
