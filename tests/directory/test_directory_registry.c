// SPDX-License-Identifier: Apache-2.0
//
// The list of protected keys against a plain map, under random changes: the
// newest version of each, the order in which they are told, lifted ones until
// they are forgotten, and never a wrong answer where there is no room.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "directory/directory_registry.h"

#define KEYS 40
#define ROOM 24

static struct directory_registry_entry
entry_of(uint32_t key, uint64_t version, bool is_protected)
{
    struct directory_registry_entry entry = {
        .version = {version, 7},
        .bytes = version,
        .is_protected = is_protected,
    };

    block_key_of("test", &key, sizeof(key), &entry.key);
    memset(entry.id.bytes, (int)(version & 0xff), sizeof(entry.id.bytes));
    return entry;
}

static struct directory_registry *
make(uint32_t max)
{
    struct directory_registry *registry = NULL;

    assert_int_equal(
        directory_registry_create(allocator_system(), max, &registry),
        CASCADE_OK);
    return registry;
}

static void
note(struct directory_registry *registry, uint32_t key, uint64_t version,
     bool is_protected, bool has_room)
{
    struct directory_registry_entry entry = entry_of(key, version,
                                                     is_protected);

    assert_int_equal(directory_registry_note(registry, &entry), has_room);
    assert_true(directory_registry_is_valid(registry));
}

static struct directory_registry_usage
usage_of(const struct directory_registry *registry)
{
    struct directory_registry_usage usage;

    directory_registry_usage(registry, &usage);
    return usage;
}

// How many are listed; with `key` the version of that one, or 0.
static size_t
scan(const struct directory_registry *registry, uint32_t key, uint64_t *version)
{
    struct directory_registry_entry entries[3];
    struct directory_registry_entry wanted = entry_of(key, 1, true);
    uint64_t cursor = 0;
    size_t sum = 0;
    size_t count = 1;

    *version = 0;
    while (count > 0) {
        count = directory_registry_scan(registry, &cursor, entries, 3);
        sum += count;
        for (size_t i = 0; i < count; i++) {
            if (block_key_equal(&entries[i].key, &wanted.key)) {
                assert_int_equal(*version, 0);
                *version = entries[i].version.time_ns;
            }
        }
    }
    return sum;
}

static void
test_the_newest_version_is_kept(void **state)
{
    struct directory_registry *registry = make(ROOM);
    uint64_t version;

    (void)state;
    note(registry, 1, 10, true, true);
    note(registry, 1, 9, false, true);
    assert_int_equal(scan(registry, 1, &version), 1);
    assert_int_equal(version, 10);
    note(registry, 1, 12, true, true);
    assert_int_equal(scan(registry, 1, &version), 1);
    assert_int_equal(version, 12);
    // Of one version what was told last: a home tells in order.
    note(registry, 1, 12, false, true);
    assert_int_equal(scan(registry, 1, &version), 0);
    assert_int_equal(usage_of(registry).lifted_keys, 1);
    // Nobody has to be told of what was never protected.
    note(registry, 2, 5, false, true);
    assert_int_equal(usage_of(registry).lifted_keys, 1);
    directory_registry_destroy(registry);
}

static void
test_changes_are_told_in_order(void **state)
{
    struct directory_registry *registry = make(ROOM);
    struct directory_registry_entry entries[8];
    uint64_t reached = 0;

    (void)state;
    for (uint32_t key = 0; key < 5; key++) {
        note(registry, key, 10 + key, true, true);
    }
    note(registry, 1, 20, false, true);
    assert_int_equal(
        directory_registry_since(registry, 0, entries, 3, &reached), 3);
    assert_int_equal(entries[0].version.time_ns, 10);
    assert_int_equal(entries[1].version.time_ns, 12);
    assert_int_equal(entries[2].version.time_ns, 13);
    assert_int_equal(
        directory_registry_since(registry, reached, entries, 8, &reached), 2);
    assert_int_equal(entries[0].version.time_ns, 14);
    assert_int_equal(entries[1].version.time_ns, 20);
    assert_false(entries[1].is_protected);
    assert_int_equal(reached, directory_registry_sequence(registry));
    assert_int_equal(
        directory_registry_since(registry, reached, entries, 8, &reached), 0);
    directory_registry_forget(registry, reached - 1);
    assert_int_equal(usage_of(registry).lifted_keys, 1);
    directory_registry_forget(registry, reached);
    assert_int_equal(usage_of(registry).lifted_keys, 0);
    assert_int_equal(usage_of(registry).protected_keys, 4);
    assert_true(directory_registry_is_valid(registry));
    directory_registry_destroy(registry);
}

static void
test_a_full_list_is_never_wrong(void **state)
{
    struct directory_registry *registry = make(2);
    uint64_t version;
    uint64_t sequence;

    (void)state;
    note(registry, 1, 1, true, true);
    note(registry, 2, 2, true, true);
    sequence = directory_registry_sequence(registry);
    note(registry, 3, 3, true, false);
    assert_int_equal(usage_of(registry).refused, 1);
    assert_true(directory_registry_sequence(registry) > sequence);
    assert_int_equal(scan(registry, 3, &version), 2);
    assert_int_equal(version, 0);
    // What is there is changed all the same, and makes room when it was told.
    note(registry, 1, 4, false, true);
    assert_int_equal(scan(registry, 1, &version), 1);
    assert_int_equal(version, 0);
    note(registry, 3, 5, true, false);
    directory_registry_forget(registry, directory_registry_sequence(registry));
    note(registry, 3, 6, true, true);
    assert_int_equal(scan(registry, 3, &version), 2);
    assert_int_equal(version, 6);
    directory_registry_destroy(registry);
}

static bool
is_even(void *context, const struct block_key *key)
{
    (void)context;
    for (uint32_t i = 0; i < KEYS; i += 2) {
        struct directory_registry_entry entry = entry_of(i, 1, true);

        if (block_key_equal(&entry.key, key)) {
            return true;
        }
    }
    return false;
}

static void
test_clear_and_filter(void **state)
{
    struct directory_registry *registry = make(KEYS);
    uint64_t version;

    (void)state;
    for (uint32_t key = 0; key < 10; key++) {
        note(registry, key, 100 + key, true, true);
    }
    directory_registry_clear(registry, (struct block_version){105, 0});
    assert_true(directory_registry_is_valid(registry));
    assert_int_equal(scan(registry, 5, &version), 5);
    assert_int_equal(version, 105);
    directory_registry_filter(registry, is_even, NULL);
    assert_true(directory_registry_is_valid(registry));
    assert_int_equal(scan(registry, 5, &version), 2);
    assert_int_equal(version, 0);
    directory_registry_destroy(registry);
}

// Two lists, as a home and a rank that hears of it late have them.
static void
test_a_listener_has_what_the_home_has(void **state)
{
    struct directory_registry *home = make(ROOM);
    struct directory_registry *rank = make(ROOM);
    uint64_t random = 1;
    uint64_t told = 0;

    (void)state;
    for (uint64_t step = 1; step < 20000; step++) {
        struct directory_registry_entry entries[5];
        uint32_t key;

        random = random * 6364136223846793005u + 1442695040888963407u;
        key = (uint32_t)(random >> 33) % KEYS;
        if ((random >> 50) % 3 != 0) {
            struct directory_registry_entry entry = entry_of(
                key, step, (random >> 60) % 2 != 0);

            (void)directory_registry_note(home, &entry);
        } else {
            size_t count = directory_registry_since(home, told, entries, 5,
                                                    &told);

            for (size_t i = 0; i < count; i++) {
                // It has room for all that the home had room for at a time.
                (void)directory_registry_note(rank, &entries[i]);
            }
            directory_registry_forget(rank, directory_registry_sequence(rank));
            directory_registry_forget(home, told);
        }
        if (told == directory_registry_sequence(home)) {
            for (uint32_t k = 0; k < KEYS; k++) {
                uint64_t at_home;
                uint64_t at_rank;

                (void)scan(home, k, &at_home);
                (void)scan(rank, k, &at_rank);
                assert_int_equal(at_home, at_rank);
            }
        }
    }
    assert_true(directory_registry_is_valid(home));
    assert_true(directory_registry_is_valid(rank));
    directory_registry_destroy(rank);
    directory_registry_destroy(home);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_version_is_kept),
        cmocka_unit_test(test_changes_are_told_in_order),
        cmocka_unit_test(test_a_full_list_is_never_wrong),
        cmocka_unit_test(test_clear_and_filter),
        cmocka_unit_test(test_a_listener_has_what_the_home_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
