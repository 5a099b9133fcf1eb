// SPDX-License-Identifier: Apache-2.0
//
// Looking again: a block of another store whose file went is found where else it
// is, also if that was seen long ago; once per file, not once per block. What a
// merge cannot account for stays, while others may know more.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"
#include "store_shared.h"

#define BYTES 20000
#define LARGE (1200 * KIB) // seals a segment
#define MANY 12
#define SMALL 5 // small segments; more than enough to be merged

// A block that both have, in a tail or in a sealed segment.
static void
put_in_both(struct cascade *stores[2], bool sealed)
{
    for (size_t i = 0; i < 2; i++) {
        store_must_put(stores[i], "k", 1, BYTES);
        store_must_flush(stores[i]);
        if (sealed) {
            store_must_put(stores[i], i == 0 ? "x" : "y", 2 + i, LARGE);
            store_must_flush(stores[i]);
        }
    }
}

// Every copy but the last has to be one that was shown beside another.
static void
lose_one_of_two(struct store_shared *shared, size_t gone, bool sealed,
                bool refreshed)
{
    struct cascade *stores[2] = {store_shared_start(shared),
                                 store_shared_start(shared)};
    struct cascade *b;

    put_in_both(stores, sealed);
    b = store_shared_start(shared);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, 2);
    check(unlink(shared->paths[gone]) == 0);
    if (refreshed) {
        store_shared_refresh(shared, b);
    }
    store_must_get(b, "k", 1, BYTES);
    store_end(b);
    store_end(stores[1]);
    store_end(stores[0]);
    store_shared_list(shared);
    store_shared_remove_listed(shared);
}

static void
test_a_copy_that_was_shown_beside_another(void **state)
{
    for (unsigned shape = 0; shape < 8; shape++) {
        lose_one_of_two(*state, shape & 1, (shape & 2) != 0, (shape & 4) != 0);
    }
}

// The copy elsewhere is shown by a refresh, before or after the first went.
static void
move_to_another_file(struct store_shared *shared, bool looked)
{
    struct cascade *stores[2] = {store_shared_start(shared),
                                 store_shared_start(shared)};
    struct cascade *b;

    store_must_put(stores[0], "k", 1, BYTES);
    store_must_flush(stores[0]);
    b = store_shared_start(shared);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, 1);
    put_in_both(stores, true);
    if (looked) {
        store_shared_refresh(shared, b);
    }
    check(unlink(shared->paths[0]) == 0);
    store_shared_refresh(shared, b);
    store_must_get(b, "k", 1, BYTES);
    store_end(b);
    store_end(stores[1]);
    store_end(stores[0]);
    store_shared_list(shared);
    store_shared_remove_listed(shared);
}

static void
test_a_block_that_moves(void **state)
{
    move_to_another_file(*state, false);
    move_to_another_file(*state, true);
}

// Blocks that went with their file cost one look together, and then they are
// plain misses.
static void
test_one_look_for_all_of_a_file(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b;
    uint64_t calls[MANY + 1];
    char name[16];

    for (size_t i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        store_must_put(a, name, i, BYTES);
    }
    store_must_flush(a);
    b = store_shared_start(shared);
    store_shared_list(shared);
    store_shared_remove_listed(shared);
    for (size_t i = 0; i < MANY; i++) {
        calls[i] = shared->world.files.calls;
        (void)snprintf(name, sizeof(name), "%zu", i);
        assert_int_equal(store_get_seed(b, name, i, BYTES), CASCADE_NOT_FOUND);
    }
    calls[MANY] = shared->world.files.calls;
    assert_true(calls[1] - calls[0] > 2);
    assert_int_equal(calls[MANY] - calls[1], 0);
    store_end(b);
    store_end(a);
}

// A block that was too large for memory lies there without its key, and a record
// of its own binds it: whichever of the two is shown first.
static void
test_a_payload_without_key(void **state)
{
    struct store_shared *shared = *state;
    struct cascade *a = store_shared_start(shared);
    struct cascade *b = store_shared_start(shared);
    char name[16];

    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        store_must_put(a, name, i, 3 * MIB);
        if (i == 1) {
            // The payload is shown, and its record is not there yet.
            store_shared_refresh(shared, b);
        }
    }
    store_must_flush(a);
    store_end(a);
    store_shared_refresh(shared, b);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof(name), "%zu", i);
        store_must_get(b, name, i, 3 * MIB);
    }
    store_end(b);
}

static void
folder_of(const char *path, char folder[512])
{
    (void)snprintf(folder, 512, "%s", path);
    *strrchr(folder, '/') = '\0';
}

// Writers that left a small segment each, all taken over by the next store.
static void
leave_small_segments(struct store_shared *shared)
{
    struct cascade *stores[SMALL];
    char key[32];

    for (size_t i = 0; i < SMALL; i++) {
        stores[i] = store_shared_start(shared);
    }
    for (size_t i = 0; i < SMALL; i++) {
        (void)snprintf(key, sizeof(key), "of %zu", i);
        store_must_put(stores[i], key, 10 + i, BYTES);
    }
    store_must_put(stores[0], "first", 1, BYTES);
    for (size_t i = 0; i < SMALL; i++) {
        store_end(stores[i]);
    }
}

// A payload lies in one folder and a record that binds it in another, because
// one store held both when it put the same bytes under a second key. Later two
// stores hold one folder each; what one of them merges while the other's is out
// of sight is still there when a third has both. Hides the folder of the payload
// or that of the record.
static void
split(struct store_shared *shared, bool hide_payload)
{
    struct cascade *other = store_shared_start(shared);
    struct cascade *store;
    char hidden[512];
    char away[300];
    size_t payload = 0;

    // One that is alive all the time, so that nobody is alone.
    store_must_put(other, "other", 99, BYTES);
    store_must_flush(other);
    leave_small_segments(shared);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, 1 + SMALL);
    payload = 1; // of "first"
    folder_of(shared->paths[payload], hidden);
    store = store_shared_start(shared);
    store_must_put(store, "second", 1, BYTES);
    store_must_flush(store);
    store_shared_list(shared);
    assert_int_equal(shared->path_count, 2 + SMALL);
    if (!hide_payload) {
        folder_of(shared->paths[1 + SMALL], hidden);
    }
    // It ends without a merge.
    shared->world.files.counted = FILE_FAULTY_PWRITE | FILE_FAULTY_UNLINK;
    shared->world.files.error = EIO;
    shared->world.files.fail_count = UINT64_MAX;
    shared->world.files.fail_from = shared->world.files.calls + 1;
    (void)!cascade_close(store);
    shared->world.files.fail_from = 0;
    shared->world.files.counted = FILE_FAULTY_ALL;
    (void)snprintf(away, sizeof(away), "%s.away", shared->world.cold_path);
    check(rename(hidden, away) == 0);
    store = store_shared_start(shared);
    if (!hide_payload) {
        assert_int_equal(cascade_remove(store, store_name("first")),
                         CASCADE_OK);
    }
    store_end(store);
    check(rename(away, hidden) == 0);
    store = store_shared_start(shared);
    store_must_get(store, "second", 1, BYTES);
    store_end(store);
    store_end(other);
    store_shared_list(shared);
    store_shared_remove_listed(shared);
}

static void
test_a_merge_keeps_a_record_without_its_payload(void **state)
{
    split(*state, true);
}

static void
test_a_merge_keeps_a_payload_without_its_record(void **state)
{
    split(*state, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_a_copy_that_was_shown_beside_another, store_shared_begin,
            store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_a_block_that_moves, store_shared_begin, store_shared_finish),
        cmocka_unit_test_setup_teardown(test_one_look_for_all_of_a_file,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(test_a_payload_without_key,
                                        store_shared_begin,
                                        store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_a_merge_keeps_a_record_without_its_payload, store_shared_begin,
            store_shared_finish),
        cmocka_unit_test_setup_teardown(
            test_a_merge_keeps_a_payload_without_its_record, store_shared_begin,
            store_shared_finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
