// SPDX-License-Identifier: Apache-2.0
//
// Leases: what is installed is found until it ends or is dropped, nothing older
// replaces it, room is found by the hand, and threads see whole leases only.

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "directory/directory_lease.h"
#include "directory_fixture.h"
#include "support/allocator_failing.h"

static struct block_version
version_of(uint64_t time_ns)
{
    return (struct block_version){time_ns, 1};
}

static struct directory_lease
lease_of(uint64_t version, uint64_t end_ns)
{
    struct directory_lease lease;

    memset(&lease, 0, sizeof(lease));
    memset(lease.id.bytes, (int)version & 0xff, sizeof(lease.id.bytes));
    lease.version = version_of(version);
    lease.bytes = version;
    lease.end_ns = end_ns;
    lease.custodian = 3;
    return lease;
}

static int
set_up(void **state)
{
    struct directory_leases *leases = NULL;

    assert_int_equal(directory_leases_create(allocator_system(), 1000, &leases),
                     CASCADE_OK);
    *state = leases;
    return 0;
}

static int
tear_down(void **state)
{
    directory_leases_destroy(*state);
    return 0;
}

static void
ends_by_itself(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key key = directory_fixture_key(1);
    struct directory_lease lease = lease_of(5, 100);
    struct directory_lease found;

    assert_false(directory_leases_find(leases, &key, 0, &found));
    directory_leases_install(leases, &key, &lease);
    assert_true(directory_leases_find(leases, &key, 99, &found));
    assert_int_equal(found.bytes, 5);
    assert_int_equal(found.custodian, 3);
    assert_false(directory_leases_find(leases, &key, 100, &found));
    assert_int_equal(directory_leases_count(leases), 1);
}

static void
newest_version_stays(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key key = directory_fixture_key(1);
    struct directory_lease lease = lease_of(5, 100);
    struct directory_lease found;

    directory_leases_install(leases, &key, &lease);
    lease = lease_of(4, 900);
    directory_leases_install(leases, &key, &lease);
    assert_true(directory_leases_find(leases, &key, 1, &found));
    assert_int_equal(found.version.time_ns, 5);
    lease = lease_of(6, 50);
    directory_leases_install(leases, &key, &lease);
    assert_false(directory_leases_find(leases, &key, 60, &found));
    assert_int_equal(directory_leases_count(leases), 1);
}

static void
drops_below_only(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key key = directory_fixture_key(1);
    struct directory_lease lease = lease_of(5, 100);
    struct directory_lease found;

    directory_leases_install(leases, &key, &lease);
    directory_leases_drop(leases, &key, version_of(5));
    assert_true(directory_leases_find(leases, &key, 1, &found));
    directory_leases_drop(leases, &key, version_of(6));
    assert_false(directory_leases_find(leases, &key, 1, &found));
    assert_int_equal(directory_leases_count(leases), 0);
    directory_leases_drop(leases, &key, version_of(6));
    directory_leases_install(leases, &key, &lease);
    directory_leases_drop_all(leases);
    assert_false(directory_leases_find(leases, &key, 1, &found));
}

static void
nothing_below_a_clear_comes_back(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key keys[2] = {directory_fixture_key(1),
                                directory_fixture_key(2)};
    struct directory_lease old = lease_of(5, 100);
    struct directory_lease newer = lease_of(9, 100);
    struct directory_lease found;

    directory_leases_install(leases, &keys[0], &old);
    directory_leases_install(leases, &keys[1], &newer);
    directory_leases_clear(leases, version_of(7));
    assert_false(directory_leases_find(leases, &keys[0], 1, &found));
    assert_true(directory_leases_find(leases, &keys[1], 1, &found));
    directory_leases_install(leases, &keys[0], &old);
    assert_false(directory_leases_find(leases, &keys[0], 1, &found));
    assert_int_equal(directory_leases_count(leases), 1);
}

static void
hint_belongs_to_a_version(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key key = directory_fixture_key(1);
    struct directory_lease lease = lease_of(5, 100);
    struct block_place hint = {.tier = CASCADE_TIER_REMOTE_DRAM, .rank = 9};
    struct directory_lease found;

    directory_leases_hint(leases, &key, version_of(5), &hint);
    directory_leases_install(leases, &key, &lease);
    directory_leases_hint(leases, &key, version_of(4), &hint);
    assert_true(directory_leases_find(leases, &key, 1, &found));
    assert_false(block_place_is_set(&found.hint));
    directory_leases_hint(leases, &key, version_of(5), &hint);
    lease.end_ns = 200; // asked for again: the hint stays
    directory_leases_install(leases, &key, &lease);
    assert_true(directory_leases_find(leases, &key, 150, &found));
    assert_int_equal(found.hint.rank, 9);
    lease = lease_of(6, 200); // other content: it does not
    directory_leases_install(leases, &key, &lease);
    assert_true(directory_leases_find(leases, &key, 150, &found));
    assert_false(block_place_is_set(&found.hint));
}

static void
remote_hits_decay(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key key = directory_fixture_key(1);
    struct directory_lease lease = lease_of(5, 100);

    assert_int_equal(directory_leases_note_remote(leases, &key, 0, 10), 0);
    directory_leases_install(leases, &key, &lease);
    for (uint32_t i = 1; i <= 8; i++) {
        assert_int_equal(directory_leases_note_remote(leases, &key, 1, 10), i);
    }
    assert_int_equal(directory_leases_note_remote(leases, &key, 11, 10), 5);
    lease.end_ns = 1000;
    directory_leases_install(leases, &key, &lease); // keeps the count
    assert_int_equal(directory_leases_note_remote(leases, &key, 11, 10), 6);
    assert_int_equal(directory_leases_note_remote(leases, &key, 500, 10), 1);
    assert_int_equal(directory_leases_note_remote(leases, &key, 500, 0), 2);
}

// Many more leases than room: the count is bounded, and a lease that is used
// again and again stays.
static void
room_is_made_by_the_hand(void **state)
{
    struct directory_leases *leases = *state;
    struct block_key used = directory_fixture_key(0);
    struct directory_lease lease = lease_of(5, 100);
    struct directory_lease found;
    uint64_t count;

    directory_leases_install(leases, &used, &lease);
    for (uint32_t i = 1; i < 20000; i++) {
        struct block_key key = directory_fixture_key(i);

        directory_leases_install(leases, &key, &lease);
        assert_true(directory_leases_find(leases, &used, 1, &found));
    }
    count = directory_leases_count(leases);
    assert_true(count >= 900 && count <= 2048);
}

struct race {
    struct directory_leases *leases;
    _Atomic bool stop;
    _Atomic uint64_t torn;
};

static void *
look(void *context)
{
    struct race *race = context;
    struct directory_lease found;

    while (!atomic_load(&race->stop)) {
        for (uint32_t i = 0; i < 8; i++) {
            struct block_key key = directory_fixture_key(i);

            (void)directory_leases_note_remote(race->leases, &key, 1, 10);
            if (directory_leases_find(race->leases, &key, 1, &found) &&
                (found.bytes != found.version.time_ns ||
                 found.id.bytes[31] != (uint8_t)found.bytes)) {
                atomic_fetch_add(&race->torn, 1);
            }
        }
    }
    return NULL;
}

static void
threads_see_whole_leases(void **state)
{
    struct race race = {.leases = *state};
    pthread_t threads[2];

    for (uint32_t t = 0; t < 2; t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, look, &race), 0);
    }
    for (uint64_t version = 1; version < 20000; version++) {
        struct block_key key = directory_fixture_key((uint32_t)version % 8);
        struct directory_lease lease = lease_of(version, 100);

        directory_leases_install(race.leases, &key, &lease);
        if (version % 5 == 0) {
            directory_leases_drop(race.leases, &key, version_of(version + 1));
        }
    }
    atomic_store(&race.stop, true);
    for (uint32_t t = 0; t < 2; t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    assert_int_equal(atomic_load(&race.torn), 0);
}

static void
create_fails_cleanly(void **state)
{
    struct allocator_failing failing;
    struct directory_leases *leases = NULL;
    uint64_t calls;

    (void)state;
    allocator_failing_init(&failing, 0);
    assert_int_equal(directory_leases_create(&failing.table, 10, &leases),
                     CASCADE_OK);
    directory_leases_destroy(leases);
    calls = failing.calls;
    for (uint64_t n = 1; n <= calls; n++) {
        leases = NULL;
        allocator_failing_init(&failing, n);
        assert_int_equal(directory_leases_create(&failing.table, 10, &leases),
                         CASCADE_NO_MEMORY);
        assert_null(leases);
        assert_int_equal(failing.live, 0);
    }
}

#define unit(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit(ends_by_itself),
        unit(newest_version_stays),
        unit(drops_below_only),
        unit(nothing_below_a_clear_comes_back),
        unit(hint_belongs_to_a_version),
        unit(remote_hits_decay),
        unit(room_is_made_by_the_hand),
        unit(threads_see_whole_leases),
        cmocka_unit_test(create_fails_cleanly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
