// SPDX-License-Identifier: Apache-2.0
//
// The directory: bindings, reference sets, places, removals, loads. One thread
// checks each rule; the last test lets threads bind, remove and withdraw at
// once and then demands every invariant.

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "directory/directory.h"
#include "directory_fixture.h"

static struct directory *
make(bool rebind_allowed, bool keep_removals, uint64_t budget)
{
    struct directory_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .version_tag = 7,
        .max_keys = 4096,
        .max_ids = 2048,
        .protected_bytes_max = budget,
        .rebind_allowed = rebind_allowed,
        .keep_removals = keep_removals,
    };
    struct directory *directory = NULL;

    assert_int_equal(directory_create(&options, &directory), CASCADE_OK);
    return directory;
}

static struct block_place
cold_place(uint32_t segment, uint64_t offset)
{
    return (struct block_place){
        .tier = CASCADE_TIER_SEGMENTS,
        .flags = BLOCK_PLACE_OWN,
        .slot = segment,
        .generation = 1,
        .offset = offset,
        .bytes = DIRECTORY_FIXTURE_BYTES,
    };
}

static enum cascade_status
bind(struct directory *directory, uint32_t key, uint32_t id,
     struct block_place place, uint32_t flags, struct directory_bound *bound)
{
    struct directory_bind request = {
        .key = directory_fixture_key(key),
        .key_data = &key,
        .key_bytes = sizeof(key),
        .id = directory_fixture_id(id),
        .bytes = DIRECTORY_FIXTURE_BYTES,
        .flags = flags,
        .place = place,
    };

    memset(bound, 0, sizeof(*bound));
    return directory_bind(directory, &request, bound);
}

static enum cascade_status
find(struct directory *directory, uint32_t key, struct directory_found *found)
{
    struct block_key digest = directory_fixture_key(key);

    return directory_find(directory, &digest, found, NULL);
}

static void
test_bind_and_find(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;

    (void)state;
    assert_int_equal(find(directory, 1, &found), CASCADE_NOT_FOUND);
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    assert_true(bound.place_taken);
    assert_false(bound.deduplicated);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(found.memory.slot, 3);
    assert_int_equal(found.bytes, 100);
    assert_true((found.flags & DIRECTORY_DIRTY) != 0);
    directory_fixture_end(directory);
}

// Hints are asked for keys and ids that are there and that are not.
static void
test_expecting_changes_nothing(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    for (uint32_t i = 0; i < 2000; i++) {
        struct block_key key = directory_fixture_key(i);
        struct block_id id = directory_fixture_id(i);

        directory_expect(directory, &key, i % 2 == 0 ? &id : NULL);
    }
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(found.memory.slot, 3);
    assert_int_equal(find(directory, 2, &found), CASCADE_NOT_FOUND);
    directory_fixture_end(directory);
}

static void
test_second_key_shares_the_copy(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct directory_freed freed;
    struct block_key first = directory_fixture_key(1);
    struct block_key second = directory_fixture_key(2);

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    assert_int_equal(
        bind(directory, 2, 10, directory_fixture_place(4, 1), 0, &bound),
        CASCADE_OK);
    assert_true(bound.deduplicated);
    assert_false(bound.place_taken);
    assert_int_equal(find(directory, 2, &found), CASCADE_OK);
    assert_int_equal(found.memory.slot, 3);
    assert_int_equal(directory_remove(directory, &first, &freed), CASCADE_OK);
    assert_false(freed.any);
    assert_int_equal(find(directory, 2, &found), CASCADE_OK);
    assert_int_equal(directory_remove(directory, &second, &freed), CASCADE_OK);
    assert_true(freed.any);
    assert_int_equal(freed.memory.slot, 3);
    directory_fixture_end(directory);
}

static void
test_rebind_frees_the_old_content(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct block_version first;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    first = bound.version;
    assert_int_equal(
        bind(directory, 1, 11, directory_fixture_place(4, 1), 0, &bound),
        CASCADE_OK);
    assert_true(bound.existed);
    assert_true(bound.freed.any);
    assert_int_equal(bound.freed.memory.slot, 3);
    assert_true(block_version_compare(bound.version, first) > 0);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(found.memory.slot, 4);
    directory_fixture_end(directory);
}

static void
test_rebind_refused_keeps_the_old(void **state)
{
    struct directory *directory = make(false, true, 0);
    struct directory_bound bound;
    struct directory_found found;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    assert_int_equal(
        bind(directory, 1, 11, directory_fixture_place(4, 1), 0, &bound),
        CASCADE_EXISTS);
    assert_true(bound.existed);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(found.memory.slot, 3);
    directory_fixture_end(directory);
}

static void
test_if_absent(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;

    (void)state;
    assert_int_equal(bind(directory, 1, 10, directory_fixture_place(3, 1),
                          DIRECTORY_BIND_IF_ABSENT, &bound),
                     CASCADE_OK);
    assert_int_equal(bind(directory, 1, 11, directory_fixture_place(4, 1),
                          DIRECTORY_BIND_IF_ABSENT, &bound),
                     CASCADE_EXISTS);
    assert_true(bound.existed);
    directory_fixture_end(directory);
}

static enum cascade_status
release_ok(void *context, const struct block_place *place)
{
    (void)place;
    ++*(int *)context;
    return CASCADE_OK;
}

static enum cascade_status
release_busy(void *context, const struct block_place *place)
{
    (void)context;
    (void)place;
    return CASCADE_BUSY;
}

static void
test_withdraw(void **state)
{
    struct directory *directory = make(true, false, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct block_id id = directory_fixture_id(10);
    struct block_place place = directory_fixture_place(3, 1);
    struct block_place other = directory_fixture_place(3, 2);
    bool lost = false;
    int released = 0;

    (void)state;
    assert_int_equal(bind(directory, 1, 10, place, 0, &bound), CASCADE_OK);
    assert_int_equal(directory_withdraw(directory, &id, &other, 0, release_ok,
                                        &released, &lost),
                     CASCADE_STALE);
    assert_int_equal(directory_withdraw(directory, &id, &place, 0, release_busy,
                                        NULL, &lost),
                     CASCADE_BUSY);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(directory_withdraw(directory, &id, &place, 0, release_ok,
                                        &released, &lost),
                     CASCADE_OK);
    assert_true(lost);
    assert_int_equal(released, 1);
    assert_int_equal(find(directory, 1, &found), CASCADE_NOT_FOUND);
    directory_fixture_end(directory);
}

// k -> a on segments, k -> b never written and evicted: b's end must outrank a.
// What makes a copy dispensable may go between a look and the withdrawal.
static void
test_withdraw_never_the_last(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct block_id id = directory_fixture_id(1);
    struct block_place place = directory_fixture_place(1, 1);
    struct block_place cold = cold_place(1, 4096);
    struct directory_bound bound;
    struct directory_found found;
    bool lost = true;

    (void)state;
    assert_int_equal(bind(directory, 1, 1, place, 0, &bound), CASCADE_OK);
    assert_int_equal(directory_publish(directory, &id, &cold, true),
                     CASCADE_OK);
    assert_int_equal(directory_withdraw(directory, &id, &cold,
                                        DIRECTORY_WITHDRAW_FORCED, NULL, NULL,
                                        &lost),
                     CASCADE_OK);
    assert_false(lost);
    assert_int_equal(directory_withdraw(directory, &id, &place,
                                        DIRECTORY_WITHDRAW_NOT_LAST, NULL, NULL,
                                        &lost),
                     CASCADE_BUSY);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(directory_publish(directory, &id, &cold, true),
                     CASCADE_OK);
    assert_int_equal(directory_withdraw(directory, &id, &place,
                                        DIRECTORY_WITHDRAW_NOT_LAST, NULL, NULL,
                                        &lost),
                     CASCADE_OK);
    assert_false(lost);
    directory_fixture_end(directory);
}

static void
test_lost_rebind_leaves_a_removal(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct block_key key = directory_fixture_key(1);
    struct block_id a = directory_fixture_id(10);
    struct block_id b = directory_fixture_id(11);
    struct block_place cold = cold_place(5, 4096);
    struct block_place place = directory_fixture_place(4, 1);
    struct block_version version_a;
    bool lost = false;
    int released = 0;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    version_a = bound.version;
    assert_int_equal(directory_publish(directory, &a, &cold, true), CASCADE_OK);
    directory_note_record(directory, &key, version_a, false, 5);
    assert_int_equal(bind(directory, 1, 11, place, 0, &bound), CASCADE_OK);
    assert_int_equal(directory_withdraw(directory, &b, &place, 0, release_ok,
                                        &released, &lost),
                     CASCADE_OK);
    assert_true(lost);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_true((found.flags & DIRECTORY_REMOVED) != 0);
    assert_true((found.flags & DIRECTORY_DIRTY) != 0);
    assert_true(block_version_compare(found.version, version_a) > 0);
    directory_fixture_end(directory);
}

// A record that lands late, after its key was removed, is outranked by a
// removal that is younger than the segment it landed in.
static void
test_late_record_is_outranked(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct directory_freed freed;
    struct block_key key = directory_fixture_key(1);
    struct block_version removed;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    assert_int_equal(directory_remove(directory, &key, &freed), CASCADE_OK);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    removed = found.version;
    directory_note_record(directory, &key, bound.version, false, 9);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_true((found.flags & DIRECTORY_REMOVED) != 0);
    assert_true((found.flags & DIRECTORY_DIRTY) != 0);
    assert_true(block_version_compare(found.version, removed) > 0);
    assert_true(directory_drop_removal(directory, &key,
                                       directory_next_version(directory), 0));
    directory_fixture_end(directory);
}

static void
test_protection_and_budget(void **state)
{
    struct directory *directory = make(true, true, 150);
    struct directory_bound bound;
    struct directory_found found;
    struct directory_usage usage;
    struct block_id id = directory_fixture_id(10);
    struct block_key first = directory_fixture_key(1);
    struct block_place place = directory_fixture_place(3, 1);
    int released = 0;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, place, DIRECTORY_BIND_PROTECT, &bound),
        CASCADE_OK);
    assert_true(bound.protected_now);
    assert_int_equal(bind(directory, 2, 11, directory_fixture_place(4, 1),
                          DIRECTORY_BIND_PROTECT, &bound),
                     CASCADE_OK);
    assert_true(bound.protection_refused);
    assert_false(bound.protected_now);
    assert_int_equal(directory_withdraw(directory, &id, &place, 0, release_ok,
                                        &released, NULL),
                     CASCADE_BUSY);
    assert_int_equal(released, 0);
    directory_usage(directory, &usage);
    assert_int_equal(usage.protected_bytes, 100);
    assert_int_equal(directory_protect(directory, &first, false, &found),
                     CASCADE_OK);
    directory_usage(directory, &usage);
    assert_int_equal(usage.protected_bytes, 0);
    // Rebind lifts protection.
    assert_int_equal(directory_protect(directory, &first, true, &found),
                     CASCADE_OK);
    assert_int_equal(
        bind(directory, 1, 12, directory_fixture_place(5, 1), 0, &bound),
        CASCADE_OK);
    directory_usage(directory, &usage);
    assert_int_equal(usage.protected_bytes, 0);
    directory_fixture_end(directory);
}

static void
count_freed(void *context, const struct directory_freed *freed)
{
    *(uint64_t *)context += freed->any ? 1 : 0;
}

static void
test_clear(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found;
    struct directory_usage usage;
    uint64_t freed = 0;

    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(
            bind(directory, i, i / 2, directory_fixture_place(i, 1), 0, &bound),
            CASCADE_OK);
    }
    (void)directory_clear(directory, count_freed, &freed);
    assert_int_equal(freed, 50);
    assert_int_equal(find(directory, 7, &found), CASCADE_NOT_FOUND);
    directory_usage(directory, &usage);
    assert_int_equal(usage.keys, 0);
    assert_int_equal(usage.contents, 0);
    assert_int_equal(usage.dirty_bytes, 0);
    directory_fixture_end(directory);
}

// Protection gives no version from the clock: a clear that had its own before,
// and has not come here yet, still finds the binding below it.
static void
test_protection_does_not_outlive_a_clear(void **state)
{
    struct directory *directory = make(true, true, 1000);
    struct block_key key = directory_fixture_key(1);
    struct block_version clear;
    struct directory_bound bound;
    struct directory_found found;
    uint64_t freed = 0;

    (void)state;
    assert_int_equal(
        bind(directory, 1, 10, directory_fixture_place(3, 1), 0, &bound),
        CASCADE_OK);
    clear = directory_next_version(directory);
    assert_int_equal(directory_protect(directory, &key, true, &found),
                     CASCADE_OK);
    assert_true(block_version_compare(found.version, bound.version) > 0);
    directory_clear_below(directory, clear, count_freed, &freed);
    assert_int_equal(find(directory, 1, &found), CASCADE_NOT_FOUND);
    directory_fixture_end(directory);
}

static struct block_label
label_of(uint32_t key, uint32_t id, uint64_t time_ns, uint32_t flags)
{
    struct block_label label = {
        .key = directory_fixture_key(key),
        .version = {time_ns, 3},
        .flags = flags,
    };

    if ((flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) == 0) {
        label.id = directory_fixture_id(id);
    }
    return label;
}

static void
load(struct directory *directory, struct block_label label,
     struct block_place place, uint32_t segment)
{
    assert_int_equal(directory_load(directory, &label, &place, segment, true),
                     CASCADE_OK);
}

// The highest version wins in whatever order records are read.
static void
test_load_orders_by_version(void **state)
{
    static const struct block_place none;
    const struct block_version zero = {0, 0};
    struct directory_found found;

    (void)state;
    for (int order = 0; order < 2; order++) {
        struct directory *directory = make(true, true, 0);

        if (order == 0) {
            load(directory, label_of(1, 10, 100, 0), cold_place(1, 4096), 1);
            load(directory, label_of(1, 11, 200, 0), cold_place(2, 4096), 2);
            load(directory, label_of(2, 12, 100, 0), cold_place(1, 8192), 1);
            load(directory, label_of(2, 0, 150, BLOCK_LABEL_REMOVAL), none, 2);
        } else {
            load(directory, label_of(2, 0, 150, BLOCK_LABEL_REMOVAL), none, 2);
            load(directory, label_of(2, 12, 100, 0), cold_place(1, 8192), 1);
            load(directory, label_of(1, 11, 200, 0), cold_place(2, 4096), 2);
            load(directory, label_of(1, 10, 100, 0), cold_place(1, 4096), 1);
        }
        // A binding without bytes hides the older one all the same.
        load(directory, label_of(3, 13, 100, 0), cold_place(1, 12288), 1);
        load(directory, label_of(3, 99, 300, BLOCK_LABEL_BIND), none, 2);
        directory_load_finish(directory, zero);
        assert_int_equal(find(directory, 1, &found), CASCADE_OK);
        assert_int_equal(found.cold.slot, 2);
        assert_int_equal(find(directory, 2, &found), CASCADE_NOT_FOUND);
        assert_int_equal(find(directory, 3, &found), CASCADE_NOT_FOUND);
        assert_true(directory_next_version(directory).time_ns > 300);
        directory_fixture_end(directory);
    }
}

// A younger record without payload finds the bytes of the older one, and bytes
// that lost their key stay for a key that is read later.
static void
test_load_keeps_bytes_for_later_records(void **state)
{
    static const struct block_place none;
    const struct block_version zero = {0, 0};
    struct directory *directory = make(true, true, 0);
    struct directory_found found;

    (void)state;
    load(directory, label_of(1, 10, 100, 0), cold_place(1, 4096), 1);
    load(directory, label_of(1, 10, 200, BLOCK_LABEL_BIND), none, 1);
    load(directory, label_of(2, 11, 100, 0), cold_place(1, 8192), 1);
    load(directory, label_of(2, 0, 200, BLOCK_LABEL_REMOVAL), none, 1);
    load(directory, label_of(3, 11, 150, BLOCK_LABEL_BIND), none, 1);
    load(directory, label_of(4, 12, 100, 0), cold_place(1, 12288), 1);
    load(directory, label_of(4, 0, 200, BLOCK_LABEL_REMOVAL), none, 1);
    directory_load_finish(directory, zero);
    assert_int_equal(find(directory, 1, &found), CASCADE_OK);
    assert_int_equal(found.cold.offset, 4096);
    assert_int_equal(find(directory, 2, &found), CASCADE_NOT_FOUND);
    assert_int_equal(find(directory, 3, &found), CASCADE_OK);
    assert_int_equal(found.cold.offset, 8192);
    assert_int_equal(find(directory, 4, &found), CASCADE_NOT_FOUND);
    directory_fixture_end(directory);
}

// Of two copies of this job the younger one is served.
static void
test_load_prefers_the_younger_copy(void **state)
{
    const struct block_version zero = {0, 0};
    struct directory_found found;

    (void)state;
    for (int order = 0; order < 2; order++) {
        struct directory *directory = make(true, true, 0);

        load(directory, label_of(1, 10, order == 0 ? 100 : 200, 0),
             cold_place(order == 0 ? 1 : 2, 4096), 1);
        load(directory, label_of(1, 10, order == 0 ? 200 : 100, 0),
             cold_place(order == 0 ? 2 : 1, 4096), 2);
        directory_load_finish(directory, zero);
        assert_int_equal(find(directory, 1, &found), CASCADE_OK);
        assert_int_equal(found.cold.slot, 2);
        directory_fixture_end(directory);
    }
}

// Dead records on segments do not fill the index.
static void
test_load_makes_room_among_the_dead(void **state)
{
    const struct block_version zero = {0, 0};
    struct directory *directory = make(true, true, 0);
    struct directory_found found;

    (void)state;
    for (uint32_t i = 0; i < 6000; i++) {
        load(directory, label_of(i % 100, i, 100 + i, 0),
             cold_place(1, 4096 + (uint64_t)i * 4096), 1);
    }
    directory_load_finish(directory, zero);
    for (uint32_t key = 0; key < 100; key++) {
        assert_int_equal(find(directory, key, &found), CASCADE_OK);
        assert_int_equal(found.cold.offset,
                         4096 + (uint64_t)(5900 + key) * 4096);
    }
    directory_fixture_end(directory);
}

static void
test_load_clear_and_floor(void **state)
{
    static const struct block_place none;
    const struct block_version floor = {250, 0};
    struct directory *directory = make(true, true, 0);
    struct directory_found found;

    (void)state;
    load(directory, label_of(1, 10, 100, 0), cold_place(1, 4096), 1);
    load(directory, label_of(0, 0, 150, BLOCK_LABEL_CLEAR), none, 2);
    load(directory, label_of(2, 11, 200, 0), cold_place(2, 4096), 2);
    load(directory, label_of(3, 12, 300, 0), cold_place(2, 8192), 2);
    directory_load_finish(directory, floor);
    assert_int_equal(find(directory, 1, &found), CASCADE_NOT_FOUND);
    assert_int_equal(find(directory, 2, &found), CASCADE_NOT_FOUND);
    assert_int_equal(find(directory, 3, &found), CASCADE_OK);
    directory_fixture_end(directory);
}

static void
test_scan_sees_each_once(void **state)
{
    struct directory *directory = make(true, true, 0);
    struct directory_bound bound;
    struct directory_found found[64];
    uint8_t keys[64][CASCADE_KEY_BYTES_MAX];
    uint32_t key_bytes[64];
    uint8_t seen[300] = {0};
    uint64_t cursor = 0;
    size_t count = 1;

    (void)state;
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(
            bind(directory, i, i, directory_fixture_place(i, 1), 0, &bound),
            CASCADE_OK);
    }
    while (count > 0) {
        count = directory_scan(directory, &cursor, DIRECTORY_DIRTY, found, 64,
                               keys[0], CASCADE_KEY_BYTES_MAX, key_bytes);
        for (size_t i = 0; i < count; i++) {
            uint32_t number;

            assert_int_equal(key_bytes[i], sizeof(number));
            memcpy(&number, keys[i], sizeof(number));
            assert_true(number < 300);
            assert_int_equal(seen[number], 0);
            seen[number] = 1;
            assert_int_equal(found[i].memory.slot, number);
        }
    }
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(seen[i], 1);
    }
    directory_fixture_end(directory);
}

static void
test_full_table_refuses_and_recovers(void **state)
{
    struct directory *directory = make(true, false, 0);
    struct directory_bound bound;
    struct directory_freed freed;
    struct block_key key = directory_fixture_key(0);
    enum cascade_status status = CASCADE_OK;
    uint32_t count = 0;

    (void)state;
    while (status == CASCADE_OK && count < 5000) {
        status = bind(directory, count, count,
                      directory_fixture_place(count, 1), 0, &bound);
        count += status == CASCADE_OK ? 1 : 0;
    }
    assert_int_equal(status, CASCADE_NO_SPACE);
    assert_int_equal(count, 2048);
    assert_true(directory_is_valid(directory));
    assert_int_equal(directory_remove(directory, &key, &freed), CASCADE_OK);
    assert_int_equal(bind(directory, 9999, 9999,
                          directory_fixture_place(9999, 1), 0, &bound),
                     CASCADE_OK);
    directory_fixture_end(directory);
}

struct worker {
    struct directory *directory;
    uint32_t number;
    uint64_t random;
};

static uint32_t
next_random(struct worker *worker, uint32_t below)
{
    worker->random = worker->random * 6364136223846793005u +
                     1442695040888963407u;
    return (uint32_t)(worker->random >> 33) % below;
}

static void *
churn(void *context)
{
    struct worker *worker = context;
    struct directory *directory = worker->directory;
    int released = 0;

    for (uint32_t i = 0; i < 20000; i++) {
        struct directory_bound bound;
        struct directory_found found;
        struct directory_freed freed;
        uint32_t key = next_random(worker, 40);
        struct block_key digest = directory_fixture_key(key);

        switch (next_random(worker, 5)) {
        case 0:
        case 1:
            (void)bind(directory, key, next_random(worker, 20),
                       directory_fixture_place(worker->number * 100000 + i, 1),
                       next_random(worker, 4) == 0 ? DIRECTORY_BIND_PROTECT : 0,
                       &bound);
            break;
        case 2:
            (void)directory_remove(directory, &digest, &freed);
            break;
        case 3:
            if (directory_find(directory, &digest, &found, NULL) ==
                CASCADE_OK) {
                (void)directory_withdraw(directory, &found.id, &found.memory,
                                         true, release_ok, &released, NULL);
            }
            break;
        default:
            (void)directory_protect(directory, &digest,
                                    next_random(worker, 2) == 0, &found);
            break;
        }
    }
    return NULL;
}

static void
test_threads(void **state)
{
    struct directory *directory = make(true, true, 700);
    struct worker workers[4];
    pthread_t threads[4];

    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        workers[i] = (struct worker){directory, i, i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &workers[i]),
                         0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    directory_fixture_end(directory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bind_and_find),
        cmocka_unit_test(test_expecting_changes_nothing),
        cmocka_unit_test(test_second_key_shares_the_copy),
        cmocka_unit_test(test_rebind_frees_the_old_content),
        cmocka_unit_test(test_rebind_refused_keeps_the_old),
        cmocka_unit_test(test_if_absent),
        cmocka_unit_test(test_withdraw),
        cmocka_unit_test(test_withdraw_never_the_last),
        cmocka_unit_test(test_lost_rebind_leaves_a_removal),
        cmocka_unit_test(test_late_record_is_outranked),
        cmocka_unit_test(test_protection_and_budget),
        cmocka_unit_test(test_clear),
        cmocka_unit_test(test_protection_does_not_outlive_a_clear),
        cmocka_unit_test(test_load_orders_by_version),
        cmocka_unit_test(test_load_keeps_bytes_for_later_records),
        cmocka_unit_test(test_load_prefers_the_younger_copy),
        cmocka_unit_test(test_load_makes_room_among_the_dead),
        cmocka_unit_test(test_load_clear_and_floor),
        cmocka_unit_test(test_scan_sees_each_once),
        cmocka_unit_test(test_full_table_refuses_and_recovers),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
