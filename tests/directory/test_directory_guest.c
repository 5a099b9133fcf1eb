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

static void
end(struct directory *directory)
{
    assert_true(directory_is_valid(directory));
    directory_destroy(directory);
}

static struct block_key
key_of(uint32_t number)
{
    struct block_key key;

    block_key_of("test", &number, sizeof(number), &key);
    return key;
}

static struct block_id
id_of(uint32_t number)
{
    struct block_id id;

    block_id_of(&number, sizeof(number), &id);
    return id;
}

static struct block_place
memory_place(uint32_t slot)
{
    return (struct block_place){
        .tier = CASCADE_TIER_LOCAL_DRAM,
        .slot = slot,
        .generation = 1,
        .bytes = 100,
    };
}

static struct block_version
version_of(uint64_t time_ns)
{
    return (struct block_version){time_ns, 9};
}

static struct directory_bound
bind(struct directory *directory, uint32_t key, uint32_t id, uint32_t slot,
     uint64_t time_ns, uint32_t flags)
{
    struct directory_bind request = {
        .key = key_of(key),
        .key_data = &key,
        .key_bytes = sizeof(key),
        .id = id_of(id),
        .bytes = 100,
        .flags = flags,
        .version = version_of(time_ns),
        .place = memory_place(slot),
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
    struct block_id digest = id_of(id);
    struct block_place place = memory_place(slot);

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
    struct block_key key = key_of(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(dirty(directory), 0);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_true(found.guest);
    assert_int_equal(directory_confirm(directory, &key, version_of(49)),
                     CASCADE_STALE);
    assert_int_equal(directory_confirm(directory, &key, version_of(50)),
                     CASCADE_OK);
    assert_int_equal(directory_confirm(directory, &key, version_of(50)),
                     CASCADE_OK);
    assert_int_equal(dirty(directory), 1);
    assert_int_equal(directory_find(directory, &key, &found, NULL), CASCADE_OK);
    assert_int_equal(found.flags, DIRECTORY_DIRTY);
    assert_false(found.guest);
    assert_int_equal(found.version.time_ns, 50);
    end(directory);
}

static void
test_a_guest_goes_unheard_and_unkept(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct block_key key = key_of(1);
    struct directory_found found;

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(withdraw(directory, 10, 3, DIRECTORY_WITHDRAW_GUEST),
                     CASCADE_OK);
    assert_int_equal(heard.bindings, 0);
    assert_int_equal(heard.contents, 1);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_NOT_FOUND);
    end(directory);
}

static void
test_a_kept_binding_goes_at_its_own_version(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct block_key key = key_of(1);
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
    end(directory);
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
    struct block_key kept = key_of(1);
    struct block_key guest = key_of(2);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    assert_false(
        bind(directory, 2, 10, 4, 60, DIRECTORY_BIND_GUEST).place_taken);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_false(found.guest);
    assert_true(block_key_equal(&found.key, &kept));
    assert_int_equal(dirty(directory), 1);
    directory_end(directory, &kept, version_of(55), false, &freed);
    assert_false(freed.any);
    assert_int_equal(dirty(directory), 0);
    assert_int_equal(directory_find_slot(directory, 3, &found), CASCADE_OK);
    assert_true(found.guest);
    directory_retract(directory, &guest, version_of(61), &freed);
    assert_false(freed.any);
    directory_retract(directory, &guest, version_of(60), &freed);
    assert_true(freed.any);
    assert_int_equal(heard.contents, 1);
    end(directory);
}

static void
test_an_end_spares_what_is_newer(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_freed freed;
    struct directory_found found;
    struct block_key key = key_of(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, 0);
    directory_end(directory, &key, version_of(50), true, &freed);
    assert_false(freed.any);
    directory_end(directory, &key, version_of(51), true, &freed);
    assert_true(freed.any);
    assert_int_equal(directory_find_binding(directory, &key, &found),
                     CASCADE_OK);
    assert_int_equal(found.flags & DIRECTORY_REMOVED, DIRECTORY_REMOVED);
    assert_int_equal(found.version.time_ns, 50);
    assert_true(directory_next_version(directory).time_ns > 51);
    end(directory);
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
    struct block_key key = key_of(1);

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
    assert_int_equal(directory_confirm(directory, &key, version_of(70)),
                     CASCADE_STALE);
    assert_int_equal(directory_confirm(directory, &key, version_of(80)),
                     CASCADE_OK);
    assert_int_equal(directory_find(directory, &key, &found, NULL), CASCADE_OK);
    assert_int_equal(found.memory.slot, 5);
    end(directory);
}

static void
test_protection_under_a_given_version(void **state)
{
    struct heard heard;
    struct directory *directory = make(&heard);
    struct directory_found found;
    struct block_key key = key_of(1);

    (void)state;
    (void)bind(directory, 1, 10, 3, 50, DIRECTORY_BIND_GUEST);
    assert_int_equal(directory_renew(directory, &key, version_of(50),
                                     version_of(60), true, &found),
                     CASCADE_NOT_FOUND);
    assert_int_equal(directory_confirm(directory, &key, version_of(50)),
                     CASCADE_OK);
    assert_int_equal(directory_renew(directory, &key, version_of(49),
                                     version_of(60), true, &found),
                     CASCADE_STALE);
    assert_int_equal(directory_renew(directory, &key, version_of(50),
                                     version_of(60), true, &found),
                     CASCADE_OK);
    assert_true(found.content_protected);
    assert_int_equal(found.version.time_ns, 60);
    assert_int_equal(withdraw(directory, 10, 3, 0), CASCADE_BUSY);
    assert_int_equal(directory_renew(directory, &key, version_of(60),
                                     version_of(70), false, &found),
                     CASCADE_OK);
    assert_int_equal(withdraw(directory, 10, 3, 0), CASCADE_OK);
    end(directory);
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
