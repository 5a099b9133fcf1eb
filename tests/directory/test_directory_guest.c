// SPDX-License-Identifier: Apache-2.0
//
// Guests and what homes decide: a guest is never dirty and never kept, a
// confirmed one is; what a home ended has the home's version; hooks tell of
// bindings and contents that went.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "directory/directory.h"
#include "directory_fixture.h"

struct heard {
    uint32_t bindings;
    struct block_version version; // of the last
    uint32_t contents;
};

static void
hear_binding(void *context, const struct block_key *key,
             struct block_version version)
{
    struct heard *heard = context;

    (void)key;
    heard->bindings++;
    heard->version = version;
}

static void
hear_content(void *context, const struct block_id *id)
{
    struct heard *heard = context;

    (void)id;
    heard->contents++;
}

static struct directory *
make(struct heard *heard)
{
    struct directory_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .version_tag = 7,
        .max_keys = 256,
        .max_ids = 256,
        .memory_slots = 64,
        .protected_bytes_max = 1000,
        .rebind_allowed = true,
        .keep_removals = true,
        .shared = true,
        .context = heard,
        .binding_gone = hear_binding,
        .content_gone = hear_content,
    };
    struct directory *directory = NULL;

    memset(heard, 0, sizeof(*heard));
    assert_int_equal(directory_create(&options, &directory), CASCADE_OK);
    return directory;
}

static struct directory_bound
bind(struct directory *directory, uint32_t key, uint32_t id, uint32_t slot,
     uint64_t time_ns, uint32_t flags)
{
    struct directory_bind request = {
        .key = directory_fixture_key(key),
        .key_data = &key,
        .key_bytes = sizeof(key),
        .id = directory_fixture_id(id),
        .bytes = DIRECTORY_FIXTURE_BYTES,
        .flags = flags,
        .version = directory_fixture_version(time_ns),
        .place = directory_fixture_place(slot, 1),
    };
    struct directory_bound bound;

    memset(&bound, 0, sizeof(bound));
    directory_see_version(directory, request.version);
    assert_int_equal(directory_bind(directory, &request, &bound), CASCADE_OK);
    return bound;
}

static enum cascade_status
withdraw(struct directory *directory, uint32_t id, uint32_t slot,
         uint32_t flags)
{
    struct block_id digest = directory_fixture_id(id);
    struct block_place place = directory_fixture_place(slot, 1);

    return directory_withdraw(directory, &digest, &place, flags, NULL, NULL,
                              NULL);
}

static uint64_t
dirty(struct directory *directory)
{
    struct directory_usage usage;

    directory_usage(directory, &usage);
    return usage.dirty_contents;
}

static void
test_a_guest_is_clean_until_it_is_confirmed(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_found found;
    struct block_key key = directory_fixture_key(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(dirty(directory), 0);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_true(found.guest);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(49)),
        CASCADE_STALE);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(50)),
        CASCADE_OK);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(50)),
        CASCADE_OK);
    assert_int_equal(dirty(directory), 1);
    assert_int_equal(directory_find(directory, &key, &found, NULL), CASCADE_OK);
    assert_int_equal(found.flags, DIRECTORY_DIRTY);
    assert_false(found.guest);
    assert_int_equal(found.version.time_ns, 50);
    directory_fixture_end(directory);
}

static void
test_a_guest_goes_unheard_and_unkept(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct block_key key = directory_fixture_key(1);
    struct directory_found found;

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(withdraw(directory, 10, 3, DIRECTORY_WITHDRAW_GUEST),
                     CASCADE_OK);
    assert_int_equal(heard.bindings, 0);
    assert_int_equal(heard.contents, 1);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_NOT_FOUND);
    directory_fixture_end(directory);
}

static void
test_a_kept_binding_goes_at_its_own_version(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct block_key key = directory_fixture_key(1);
    struct directory_found found;

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    assert_int_equal(withdraw(directory, 10, 3, DIRECTORY_WITHDRAW_GUEST),
                     CASCADE_BUSY);
    assert_int_equal(withdraw(directory, 10, 3, 0), CASCADE_OK);
    assert_int_equal(heard.bindings, 1);
    assert_int_equal(heard.version.time_ns, 50);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_int_equal(found.flags & DIRECTORY_REMOVED, DIRECTORY_REMOVED);
    assert_int_equal(found.version.time_ns, 50);
    directory_fixture_end(directory);
}

// One content, a guest's name and a kept one: it is dirty, and the kept name is
// the one under which it is written.
static void
test_a_content_is_shown_under_a_name_that_is_kept(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_found found;
    struct directory_freed freed;
    struct block_key kept = directory_fixture_key(1);
    struct block_key guest = directory_fixture_key(2);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    assert_false(
        bind(directory, 2, 10, 4, 60, DIRECTORY_BIND_GUEST).place_taken);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_false(found.guest);
    assert_true(block_key_equal(&found.key, &kept));
    assert_int_equal(dirty(directory), 1);
    directory_end(directory, &kept, directory_fixture_version(55), false,
                  &freed);
    assert_false(freed.any);
    assert_int_equal(dirty(directory), 0);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_true(found.guest);
    directory_retract(directory, &guest, directory_fixture_version(61), &freed);
    assert_false(freed.any);
    directory_retract(directory, &guest, directory_fixture_version(60), &freed);
    assert_true(freed.any);
    assert_int_equal(heard.contents, 1);
    directory_fixture_end(directory);
}

static void
test_an_end_spares_what_is_newer(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_freed freed;
    struct directory_found found;
    struct block_key key = directory_fixture_key(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    directory_end(directory, &key, directory_fixture_version(50), true, &freed);
    assert_false(freed.any);
    directory_end(directory, &key, directory_fixture_version(51), true, &freed);
    assert_true(freed.any);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_int_equal(found.flags & DIRECTORY_REMOVED, DIRECTORY_REMOVED);
    assert_int_equal(found.version.time_ns, 50);
    assert_true(directory_next_version(directory).time_ns > 51);
    directory_fixture_end(directory);
}

// A guest takes the place of what this rank kept; putting the same content again
// where it is kept changes nothing.
static void
test_binds_of_guests(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_bound bound;
    struct directory_found found;
    struct block_key key = directory_fixture_key(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    bound = bind(directory, 1, 10, 4, 60, DIRECTORY_BIND_GUEST);
    assert_true(bound.kept);
    assert_int_equal(bound.version.time_ns, 50);
    assert_false(bound.place_taken);
    bound = bind(directory, 1, 11, 5, 70, DIRECTORY_BIND_GUEST);
    assert_false(bound.kept);
    assert_true(bound.freed.any);
    // Under a higher version, which its home wanted.
    bound = bind(directory, 1, 11, 6, 80, DIRECTORY_BIND_GUEST);
    assert_false(bound.kept);
    assert_false(bound.freed.any);
    assert_int_equal(bound.version.time_ns, 80);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(70)),
        CASCADE_STALE);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(80)),
        CASCADE_OK);
    assert_int_equal(directory_find(directory, &key, &found, NULL), CASCADE_OK);
    assert_int_equal(found.memory.slot, 5);
    directory_fixture_end(directory);
}

static void
test_protection_under_a_given_version(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_found found;
    struct block_key key = directory_fixture_key(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(
        directory_renew(directory, &key, directory_fixture_version(50),
                        directory_fixture_version(60), true, &found),
        CASCADE_NOT_FOUND);
    assert_int_equal(
        directory_confirm(directory, &key, directory_fixture_version(50)),
        CASCADE_OK);
    assert_int_equal(
        directory_renew(directory, &key, directory_fixture_version(49),
                        directory_fixture_version(60), true, &found),
        CASCADE_STALE);
    assert_int_equal(
        directory_renew(directory, &key, directory_fixture_version(50),
                        directory_fixture_version(60), true, &found),
        CASCADE_OK);
    assert_true(found.content_protected);
    assert_int_equal(found.version.time_ns, 60);
    assert_int_equal(withdraw(directory, 10, 3, 0), CASCADE_BUSY);
    assert_int_equal(
        directory_renew(directory, &key, directory_fixture_version(60),
                        directory_fixture_version(70), false, &found),
        CASCADE_OK);
    assert_int_equal(withdraw(directory, 10, 3, 0), CASCADE_OK);
    directory_fixture_end(directory);
}

static void
expect_removal(struct directory *directory, uint64_t time_ns)
{
    struct block_key key = directory_fixture_key(1);
    struct directory_found found;

    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_int_equal(found.flags & DIRECTORY_REMOVED, DIRECTORY_REMOVED);
    assert_int_equal(found.version.time_ns, time_ns);
}

// What this rank kept went when the guest took its place: the home that believes
// in it hears so, and segments that hold it are outranked.
static void
test_a_guest_ends_with_what_it_replaced(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_freed freed;
    struct block_key key = directory_fixture_key(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    (void)bind(directory, 1, 11, 4, 60, DIRECTORY_BIND_GUEST);
    (void)bind(directory, 1, 12, 5, 70, DIRECTORY_BIND_GUEST);
    assert_int_equal(heard.bindings, 0);
    directory_retract(directory, &key, directory_fixture_version(70), &freed);
    assert_int_equal(heard.bindings, 1);
    assert_int_equal(heard.version.time_ns, 50);
    expect_removal(directory, 50);
    // Over a removal, and for want of bytes.
    (void)bind(directory, 1, 13, 6, 80, DIRECTORY_BIND_GUEST);
    assert_int_equal(withdraw(directory, 13, 6, DIRECTORY_WITHDRAW_GUEST),
                     CASCADE_OK);
    expect_removal(directory, 50);
    // A recall finds it too, whatever it says of keeping.
    (void)bind(directory, 1, 13, 7, 90, DIRECTORY_BIND_GUEST);
    directory_end(directory, &key, directory_fixture_version(91), false,
                  &freed);
    expect_removal(directory, 50);
    directory_fixture_end(directory);
}

static void
test_a_confirmed_guest_has_replaced_for_good(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct block_key key = directory_fixture_key(1);

    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        uint64_t time_ns = 50 + (uint64_t)i * 2;

        (void)bind(directory, 1, 10 + i, 3 + i % 2, time_ns,
                   DIRECTORY_BIND_GUEST);
        assert_int_equal(directory_confirm(directory, &key,
                                           directory_fixture_version(time_ns)),
                         CASCADE_OK);
    }
    assert_int_equal(heard.bindings, 0);
    assert_int_equal(withdraw(directory, 10 + 4999, 4, 0), CASCADE_OK);
    assert_int_equal(heard.bindings, 1);
    assert_int_equal(heard.version.time_ns, 50 + 4999 * 2);
    directory_fixture_end(directory);
}

// A version that was given elsewhere is that or none: it takes nobody's place.
static void
test_a_given_version_replaces_nothing_newer(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_found found;
    struct directory_bound bound;
    struct directory_bind request = {
        .key = directory_fixture_key(1),
        .id = directory_fixture_id(11),
        .bytes = DIRECTORY_FIXTURE_BYTES,
        .flags = DIRECTORY_BIND_GUEST | DIRECTORY_BIND_EXACT,
        .version = directory_fixture_version(60),
        .place = directory_fixture_place(4, 1),
    };

    (void)state;
    (void)bind(directory, 1, 10, 3, 60, DIRECTORY_BIND_GUEST);
    memset(&bound, 0, sizeof(bound));
    assert_int_equal(directory_bind(directory, &request, &bound),
                     CASCADE_STALE);
    assert_int_equal(directory_find_binding(directory, &request.key, &found),
                     CASCADE_OK);
    assert_int_equal(found.version.time_ns, 60);
    request.version = directory_fixture_version(61);
    assert_int_equal(directory_bind(directory, &request, &bound), CASCADE_OK);
    assert_int_equal(bound.version.time_ns, 61);
    directory_fixture_end(directory);
}

// A removal has the version of what it hides, in a segment that may have been made
// later: it is needed until its own record is in the oldest one.
static void
test_a_removal_stays_until_its_record_is_the_oldest(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_freed freed;
    struct block_key key = directory_fixture_key(1);
    struct block_version now;

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    directory_note_record(directory, &key, directory_fixture_version(50), false,
                          7);
    directory_end(directory, &key, directory_fixture_version(60), true, &freed);
    now = directory_next_version(directory);
    assert_false(directory_drop_removal(directory, &key, now, 7));
    directory_note_record(directory, &key, directory_fixture_version(50), true,
                          8);
    assert_false(directory_drop_removal(directory, &key, now, 7));
    assert_true(directory_drop_removal(directory, &key, now, 8));
    // A record that lands after all has gone is hidden, and nothing newer is.
    directory_note_record(directory, &key, directory_fixture_version(50), false,
                          9);
    expect_removal(directory, 50);
    directory_note_record(directory, &key, directory_fixture_version(40), false,
                          9);
    expect_removal(directory, 50);
    directory_fixture_end(directory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_guest_is_clean_until_it_is_confirmed),
        cmocka_unit_test(test_a_guest_goes_unheard_and_unkept),
        cmocka_unit_test(test_a_kept_binding_goes_at_its_own_version),
        cmocka_unit_test(test_a_content_is_shown_under_a_name_that_is_kept),
        cmocka_unit_test(test_an_end_spares_what_is_newer),
        cmocka_unit_test(test_binds_of_guests),
        cmocka_unit_test(test_protection_under_a_given_version),
        cmocka_unit_test(test_a_guest_ends_with_what_it_replaced),
        cmocka_unit_test(test_a_confirmed_guest_has_replaced_for_good),
        cmocka_unit_test(test_a_given_version_replaces_nothing_newer),
        cmocka_unit_test(test_a_removal_stays_until_its_record_is_the_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
