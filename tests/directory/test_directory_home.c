// SPDX-License-Identifier: Apache-2.0
//
// The rules of a home, one after the other, with every rank played by hand.
// Interleavings of many ranks: test_directory_home_model.c.

#include "home_fixture.h"

#include "support/allocator_failing.h"

static int
set_up(void **state)
{
    static struct home_fixture fixture;

    home_fixture_init(&fixture);
    home_fixture_start(&fixture);
    *state = &fixture;
    return 0;
}

static int
tear_down(void **state)
{
    home_fixture_end(*state);
    return 0;
}

static void
bound_block_is_found_and_leased(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind = home_bind(f, 2, 1, 10, 100, 0);
    const struct home_answer *answer = home_expect(f, bind, CASCADE_OK);
    struct directory_message_found found;

    assert_int_equal(answer->data.bound.lease_ns, HOME_LEASE_NS);
    assert_int_equal(answer->data.bound.custodian, 2);
    found = home_lookup(f, 3, 1);
    assert_int_equal(found.status, CASCADE_OK);
    assert_int_equal(found.custodian, 2);
    assert_int_equal(found.bytes, 1010);
    assert_int_equal(found.lease_ns, HOME_LEASE_NS);
    assert_int_equal(found.version.time_ns, 100);
    assert_int_equal(home_lookup(f, 3, 2).status, CASCADE_NOT_FOUND);
    assert_int_equal(home_lookup(f, 3, 2).lease_ns, 0);
}

static void
rebind_waits_for_every_holder(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask *ask;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    bind = home_bind(f, 4, 1, 11, 200, 0);
    home_expect_none(f, bind);
    assert_int_equal(home_open_asks(f), 2); // custodian 2, which has a lease
    assert_int_equal(home_lookup(f, 3, 1).version.time_ns, 100);
    assert_int_equal(home_lookup(f, 5, 1).lease_ns, 0); // none meanwhile
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RECALL);
    assert_int_equal(ask->data.recall.below.time_ns, 200);
    assert_int_equal(ask->data.recall.flags, DIRECTORY_MESSAGE_KEEP_REMOVAL);
    home_reply(f, ask, CASCADE_OK);
    home_expect_none(f, bind);
    ask = home_asked(f, 3, DIRECTORY_SUBJECT_RECALL);
    assert_int_equal(ask->data.recall.flags, 0);
    home_reply(f, ask, CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
    assert_int_equal(home_lookup(f, 3, 1).version.time_ns, 200);
    assert_int_equal(home_lookup(f, 3, 1).custodian, 4);
}

static void
silent_holder_is_waited_for_until_its_lease_ends(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    home_pass(f, HOME_SECOND);
    bind = home_bind(f, 2, 1, 11, 200, 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_CLOSED);
    home_expect_none(f, bind); // a lost rank may still serve
    home_pass(f, HOME_LEASE_NS - 2 * HOME_SECOND);
    home_expect_none(f, bind);
    home_pass(f, 2 * HOME_SECOND);
    home_expect(f, bind, CASCADE_OK);
}

static void
more_holders_than_room_means_all(void **state)
{
    struct home_fixture *f = *state;
    uint64_t remove;

    (void)home_bind(f, 0, 1, 10, 100, 0);
    for (uint16_t rank = 1; rank < 4; rank++) {
        (void)home_lookup(f, rank, 1);
    }
    remove = home_remove(f, 5, 1);
    assert_int_equal(home_open_asks(f), HOME_RANKS);
    for (uint16_t rank = 0; rank < HOME_RANKS; rank++) {
        home_expect_none(f, remove);
        home_reply(f, home_asked(f, rank, DIRECTORY_SUBJECT_RECALL),
                   CASCADE_OK);
    }
    home_expect(f, remove, CASCADE_OK);
    assert_int_equal(home_lookup(f, 1, 1).status, CASCADE_NOT_FOUND);
}

static void
old_versions_are_refused(void **state)
{
    struct home_fixture *f = *state;
    const struct home_answer *answer;
    struct block_version removed;
    uint64_t ticket;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    answer = home_expect(f, home_bind(f, 3, 1, 11, 99, 0), CASCADE_STALE);
    assert_int_equal(answer->data.bound.version.time_ns, 100);
    home_expect(f, home_bind(f, 3, 1, 10, 100, 0), CASCADE_STALE);
    ticket = home_remove(f, 3, 1);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    removed = home_expect(f, ticket, CASCADE_OK)->data.version;
    assert_true(removed.time_ns > 100);
    // Forgotten, and yet not undercut.
    answer = home_expect(f, home_bind(f, 2, 1, 10, 100, 0), CASCADE_STALE);
    assert_int_equal(answer->data.bound.version.time_ns, removed.time_ns);
    home_expect(f, home_bind(f, 2, 1, 10, removed.time_ns + 1, 0), CASCADE_OK);
}

static void
repeated_bind_is_answered_again(void **state)
{
    struct home_fixture *f = *state;
    uint64_t first;
    uint64_t again;

    home_expect(f, home_bind(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_IF_ABSENT),
                CASCADE_OK);
    home_expect(f, home_bind(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_IF_ABSENT),
                CASCADE_OK);
    // Also if the first one is under way.
    first = home_bind(f, 3, 1, 11, 200, 0);
    again = home_bind(f, 3, 1, 11, 200, 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, first, CASCADE_OK);
    home_expect(f, again, CASCADE_OK);
    assert_int_equal(home_open_asks(f), 0);
}

static void
if_absent_is_decided_in_line(void **state)
{
    struct home_fixture *f = *state;
    const struct home_answer *answer;
    uint64_t remove;
    uint64_t bind;
    uint64_t late;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    answer = home_expect(
        f, home_bind(f, 3, 1, 11, 200, DIRECTORY_MESSAGE_IF_ABSENT),
        CASCADE_EXISTS);
    assert_int_equal(answer->data.bound.bytes, 1010);
    assert_int_equal(answer->data.bound.custodian, 2);
    remove = home_remove(f, 4, 1);
    bind = home_bind(f, 3, 1, 11, 2000, DIRECTORY_MESSAGE_IF_ABSENT);
    late = home_bind(f, 5, 1, 12, 2001, DIRECTORY_MESSAGE_IF_ABSENT);
    home_expect_none(f, bind);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect_none(f, bind); // rank 3 has a lease of its question
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, remove, CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
    home_expect(f, late, CASCADE_EXISTS);
}

static void
removal_of_nothing_is_not_found(void **state)
{
    struct home_fixture *f = *state;
    uint64_t first;
    uint64_t again;

    home_expect(f, home_remove(f, 2, 1), CASCADE_NOT_FOUND);
    (void)home_bind(f, 2, 1, 10, 100, 0);
    first = home_remove(f, 3, 1);
    again = home_remove(f, 3, 1);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, first, CASCADE_OK);
    home_expect(f, again, CASCADE_NOT_FOUND);
}

static void
custody_is_handed_to_a_guest(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage usage;
    struct home_ask *ask;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    (void)home_lookup(f, 4, 1);
    home_gone(f, 2, 1, home_version(100));
    assert_int_equal(home_lookup(f, 5, 1).custodian, DIRECTORY_RANK_NONE);
    assert_int_equal(home_lookup(f, 5, 1).lease_ns, 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    ask = home_asked(f, 4, DIRECTORY_SUBJECT_ADOPT);
    assert_int_equal(ask->data.adopt.version.time_ns, 100);
    home_reply(f, ask, CASCADE_OK);
    assert_int_equal(home_lookup(f, 5, 1).custodian, 4);
    directory_home_usage(f->home, &usage);
    assert_int_equal(usage.handed, 1);
    // The old custodian says it again: nothing happens.
    home_gone(f, 2, 1, home_version(100));
    assert_int_equal(home_lookup(f, 5, 1).custodian, 4);
}

static void
nobody_has_a_copy(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    home_gone(f, 2, 1, home_version(100));
    bind = home_bind(f, 4, 1, 11, 50, DIRECTORY_MESSAGE_IF_ABSENT);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_expect_none(f, bind);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_expect(f, bind, CASCADE_STALE); // absent, but not below 100
    assert_int_equal(home_lookup(f, 5, 1).status, CASCADE_NOT_FOUND);
    // Rank 3 may still believe in the old one.
    bind = home_bind(f, 4, 1, 11, 150, DIRECTORY_MESSAGE_IF_ABSENT);
    home_expect_none(f, bind);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
}

static void
late_gone_names_another_version(void **state)
{
    struct home_fixture *f = *state;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 2, 1, 11, 200, 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_gone(f, 2, 1, home_version(100));
    assert_int_equal(home_open_asks(f), 0);
    assert_int_equal(home_lookup(f, 3, 1).custodian, 2);
    home_gone(f, 3, 1, home_version(200)); // not the custodian
    assert_int_equal(home_lookup(f, 3, 1).custodian, 2);
}

static void
silent_adopter_may_have_said_yes(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    home_gone(f, 2, 1, home_version(100));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_CLOSED);
    bind = home_bind(f, 4, 1, 11, 200, DIRECTORY_MESSAGE_IF_ABSENT);
    home_pass(f, 10 * HOME_PATIENCE_NS);
    assert_int_equal(home_open_asks(f), 1); // nobody else is asked
    home_expect_none(f, bind);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_OK);
    home_expect(f, bind, CASCADE_EXISTS);
    assert_int_equal(home_lookup(f, 4, 1).custodian, 3);
}

static void
protection_asks_the_custodian(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask *ask;
    struct block_version version;
    struct block_version given;
    uint64_t protect;

    home_expect(f, home_protect(f, 3, 1, true), CASCADE_NOT_FOUND);
    (void)home_bind(f, 2, 1, 10, 100, 0);
    protect = home_protect(f, 3, 1, true);
    home_expect_none(f, protect);
    assert_int_equal(home_lookup(f, 4, 1).lease_ns, 0);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    assert_int_equal(ask->data.renew.version.time_ns, 100);
    assert_int_equal(ask->data.renew.flags, DIRECTORY_MESSAGE_PROTECTED);
    version = ask->data.renew.renewed;
    assert_true(block_version_compare(version, home_version(100)) > 0);
    home_reply(f, ask, CASCADE_OK);
    given = home_expect(f, protect, CASCADE_OK)->data.version;
    assert_int_equal(block_version_compare(given, version), 0);
    assert_true(f->is_protected);
    assert_int_equal(home_lookup(f, 4, 1).flags, DIRECTORY_MESSAGE_PROTECTED);
    given = home_lookup(f, 4, 1).version;
    assert_int_equal(block_version_compare(given, version), 0);
    home_expect(f, home_protect(f, 3, 1, true), CASCADE_OK); // already
    assert_int_equal(home_open_asks(f), 0);
    protect = home_protect(f, 3, 1, false);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RENEW), CASCADE_OK);
    home_expect(f, protect, CASCADE_OK);
    assert_false(f->is_protected);
}

static void
refused_protection_changes_nothing(void **state)
{
    struct home_fixture *f = *state;
    uint64_t renewed;
    uint64_t protect;
    struct home_ask *ask;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    protect = home_protect(f, 3, 1, true);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    renewed = ask->data.renew.renewed.time_ns;
    home_reply(f, ask, CASCADE_NO_SPACE);
    home_expect(f, protect, CASCADE_NO_SPACE);
    assert_int_equal(home_lookup(f, 4, 1).version.time_ns, 100);
    assert_int_equal(f->protections, 0);
    // The version that was given is not undercut.
    home_expect(f, home_bind(f, 3, 1, 11, renewed - 1, 0), CASCADE_STALE);
}

static void
silent_custodian_is_waited_for(void **state)
{
    struct home_fixture *f = *state;
    uint64_t protect;
    uint64_t renewed;
    uint64_t bind;
    struct home_ask *ask;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    protect = home_protect(f, 3, 1, true);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    assert_true(ask->deadline_ns == UINT64_MAX);
    renewed = ask->data.renew.renewed.time_ns;
    home_expect_none(f, protect);
    home_pass(f, HOME_PATIENCE_NS);
    home_expect(f, protect, CASCADE_TIMEOUT);
    bind = home_bind(f, 3, 1, 11, renewed - 1, 0);
    home_expect_none(f, bind); // what it will have to exceed is not known
    home_reply(f, ask, CASCADE_OK);
    home_expect(f, bind, CASCADE_STALE);
    assert_int_equal(home_lookup(f, 4, 1).version.time_ns, renewed);
    assert_true(f->is_protected);
}

static void
renewed_binding_may_be_gone_before_the_answer(void **state)
{
    struct home_fixture *f = *state;
    struct block_version renewed;
    struct home_ask *ask;
    uint64_t protect;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    protect = home_protect(f, 4, 1, true);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    renewed = ask->data.renew.renewed;
    home_gone(f, 2, 1, renewed); // another thread of that rank was faster
    assert_int_equal(home_lookup(f, 5, 1).custodian, DIRECTORY_RANK_NONE);
    home_reply(f, ask, CASCADE_OK);
    home_expect(f, protect, CASCADE_OK);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    ask = home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT);
    assert_int_equal(ask->data.adopt.version.time_ns, renewed.time_ns);
    assert_int_equal(ask->data.adopt.flags, DIRECTORY_MESSAGE_PROTECTED);
    home_reply(f, ask, CASCADE_OK);
    assert_int_equal(home_lookup(f, 4, 1).custodian, 3);
}

// The custodian has no bytes when it is asked: another one is looked for first.
static void
protection_follows_custody(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask *ask;
    uint64_t protect;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    protect = home_protect(f, 4, 1, true);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    home_gone(f, 2, 1, home_version(100));
    home_reply(f, ask, CASCADE_NOT_FOUND);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_OK);
    home_expect_none(f, protect);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RENEW), CASCADE_OK);
    home_expect(f, protect, CASCADE_OK);
    assert_int_equal(home_lookup(f, 4, 1).custodian, 3);
    // And where there is none any more, nothing is protected.
    protect = home_protect(f, 4, 1, false);
    ask = home_asked(f, 3, DIRECTORY_SUBJECT_RENEW);
    directory_home_lost(f->home, 3, f->now_ns);
    home_reply(f, ask, CASCADE_CLOSED);
    while (home_open_asks(f) > 0) {
        for (uint16_t rank = 0; rank < HOME_RANKS; rank++) {
            for (uint32_t i = 0; i < f->ask_count; i++) {
                if (!f->asks[i].is_done && f->asks[i].to == rank) {
                    home_reply(f, &f->asks[i], CASCADE_NOT_FOUND);
                }
            }
        }
    }
    home_expect(f, protect, CASCADE_NOT_FOUND);
    assert_false(f->is_protected);
}

// A put whose question was never answered: the name goes, and what stands in
// line must not bind the key to bytes that nobody has.
static void
bind_without_bytes_is_void(void **state)
{
    struct home_fixture *f = *state;
    uint64_t waits;
    uint64_t under_way;
    uint64_t own;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    under_way = home_bind(f, 3, 1, 11, 200, 0);
    waits = home_bind(f, 4, 1, 12, 300, 0);
    home_gone(f, 4, 1, home_version(300));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, under_way, CASCADE_OK);
    home_expect(f, waits, CASCADE_CANCELLED);
    assert_int_equal(home_lookup(f, 5, 1).custodian, 3);
    // One whose recalls are out binds, and ends.
    own = home_bind(f, 3, 1, 13, 400, 0);
    home_gone(f, 3, 1, home_version(400));
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 5, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    assert_int_equal(home_expect(f, own, CASCADE_OK)->data.bound.lease_ns, 0);
    assert_int_equal(f->asks[f->ask_count - 1].subject,
                     DIRECTORY_SUBJECT_RECALL); // of what it kept before
    assert_int_equal(home_open_asks(f), 0);
    assert_int_equal(home_lookup(f, 5, 1).status, CASCADE_NOT_FOUND);
}

// Its bind is committed after it was lost.
static void
bind_of_a_lost_rank_is_void(void **state)
{
    struct home_fixture *f = *state;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 3, 1, 11, 200, 0);
    directory_home_lost(f->home, 3, f->now_ns);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    assert_int_equal(home_lookup(f, 5, 1).status, CASCADE_NOT_FOUND);
    assert_int_equal(home_open_asks(f), 0);
}

// While recalls are out, another key's removal raises the floor.
static void
floor_of_other_keys_does_not_undo_recalls(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;
    uint64_t remove;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 2, 2, 20, 101, 0);
    bind = home_bind(f, 3, 1, 11, 200, 0);
    remove = home_remove(f, 3, 2);
    home_reply(f, &f->asks[1], CASCADE_OK);
    home_expect(f, remove, CASCADE_OK);
    home_reply(f, &f->asks[0], CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
}

static void
rebind_and_remove_lift_protection(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage usage;
    uint64_t remove;

    (void)home_bind(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_PROTECTED);
    assert_true(f->is_protected);
    (void)home_bind(f, 2, 1, 10, 200, 0);
    assert_false(f->is_protected);
    (void)home_bind(f, 2, 1, 10, 300, DIRECTORY_MESSAGE_PROTECTED);
    remove = home_remove(f, 2, 1);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, remove, CASCADE_OK);
    assert_false(f->is_protected);
    directory_home_usage(f->home, &usage);
    assert_int_equal(usage.protected_keys, 0);
    assert_int_equal(usage.keys, 0);
}

static void
other_content_is_refused_where_keys_are_of_content(void **state)
{
    static struct home_fixture fixture;
    struct home_fixture *f = &fixture;

    (void)state;
    home_fixture_init(f);
    f->options.rebind_allowed = false;
    home_fixture_start(f);
    (void)home_bind(f, 2, 1, 10, 100, 0);
    home_expect(f, home_bind(f, 3, 1, 11, 200, 0), CASCADE_EXISTS);
    home_expect_none(f, home_bind(f, 3, 1, 10, 200, 0));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    assert_int_equal(home_lookup(f, 4, 1).custodian, 3);
    home_fixture_end(f);
}

static void
lost_rank_hands_over(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 2, 2, 20, 101, 0);
    (void)home_lookup(f, 3, 1);
    directory_home_lost(f->home, 2, f->now_ns);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_CLOSED);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_CLOSED);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_OK);
    assert_int_equal(home_lookup(f, 4, 1).custodian, 3);
    assert_int_equal(home_lookup(f, 4, 2).status, CASCADE_NOT_FOUND);
    // Its leases count: it may be alive somewhere.
    bind = home_bind(f, 4, 2, 21, 200, 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_CLOSED);
    home_expect_none(f, bind);
    home_pass(f, HOME_LEASE_NS + HOME_SECOND);
    home_expect(f, bind, CASCADE_OK);
}

static void
more_lost_bindings_than_records(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage usage;

    for (uint32_t key = 1; key <= 40; key++) {
        (void)home_bind(f, 2, key, 100 + key, 100 + key, 0);
    }
    directory_home_lost(f->home, 2, f->now_ns);
    for (uint32_t i = 0; i < 40; i++) {
        home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT),
                   CASCADE_CLOSED);
        home_pass(f, 1);
        home_pass(f, 1);
    }
    directory_home_usage(f->home, &usage);
    assert_int_equal(usage.keys, 0);
    assert_int_equal(usage.changing, 0);
}

static void
line_is_bounded(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage usage;
    uint64_t tickets[16];
    uint64_t over;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    for (uint32_t i = 0; i < 16; i++) {
        tickets[i] = home_bind(f, 3, 1, 11 + i, 200 + i, 0);
    }
    over = home_bind(f, 3, 1, 50, 300, 0);
    home_expect(f, over, CASCADE_BUSY);
    home_expect(f, home_bind(f, 3, 2, 51, 301, 0), CASCADE_OK);
    directory_home_usage(f->home, &usage);
    assert_int_equal(usage.changing, 1);
    assert_int_equal(usage.waiting, 15);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    for (uint32_t i = 0; i + 1 < 16; i++) {
        home_expect(f, tickets[i], CASCADE_OK);
        home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    }
    home_expect(f, tickets[15], CASCADE_OK);
    directory_home_usage(f->home, &usage);
    assert_int_equal(usage.changing + usage.waiting, 0);
}

static void
full_table_answers_no_space(void **state)
{
    struct home_fixture *f = *state;
    uint64_t ticket;

    for (uint32_t key = 1; key <= 64; key++) {
        home_expect(f, home_bind(f, 2, key, 100 + key, 100 + key, 0),
                    CASCADE_OK);
    }
    home_expect(f, home_bind(f, 2, 65, 165, 500, 0), CASCADE_NO_SPACE);
    ticket = home_remove(f, 2, 7);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, ticket, CASCADE_OK);
    home_expect(f, home_bind(f, 2, 65, 165, 600, 0), CASCADE_OK);
    // A binding that ended is kept as long as somebody may hold a lease.
    home_gone(f, 2, 8, home_version(108));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_expect(f, home_bind(f, 2, 66, 166, 700, 0), CASCADE_NO_SPACE);
    home_pass(f, HOME_LEASE_NS + HOME_SECOND);
    home_expect(f, home_bind(f, 2, 66, 166, 700, 0), CASCADE_OK);
    for (uint32_t id = 1; id <= 65; id++) {
        home_copy(f, 2, id, DIRECTORY_COPY_HERE);
    }
    assert_int_equal(home_find(f, 3, 64).count, 1);
    assert_int_equal(home_find(f, 3, 65).count, 0);
}

static void
cleared_bindings_are_recalled_before_others(void **state)
{
    struct home_fixture *f = *state;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_PROTECTED);
    (void)home_bind(f, 2, 2, 20, 900, 0);
    (void)home_lookup(f, 3, 1);
    directory_home_clear(f->home, home_version(500));
    assert_false(f->is_protected);
    assert_int_equal(home_lookup(f, 4, 1).status, CASCADE_NOT_FOUND);
    assert_int_equal(home_lookup(f, 4, 2).status, CASCADE_OK);
    home_expect(f, home_bind(f, 4, 1, 11, 500, 0), CASCADE_STALE);
    home_expect(f, home_bind(f, 4, 3, 11, 400, 0), CASCADE_STALE);
    bind = home_bind(f, 4, 1, 11, 1000, 0);
    home_expect_none(f, bind); // rank 3 may not have heard of the clear
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
}

static void
clear_meets_changes_under_way(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask *ask;
    struct block_version renewed;
    uint64_t bind;
    uint64_t protect;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 2, 2, 20, 101, 0);
    (void)home_bind(f, 2, 3, 30, 102, 0);
    bind = home_bind(f, 3, 1, 11, 200, 0);
    protect = home_protect(f, 3, 2, true);
    home_gone(f, 2, 3, home_version(102));
    directory_home_clear(f->home, home_version(500));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, bind, CASCADE_STALE);
    ask = home_asked(f, 2, DIRECTORY_SUBJECT_RENEW);
    renewed = ask->data.renew.renewed;
    home_reply(f, ask, CASCADE_OK);
    home_expect(f, protect, CASCADE_NOT_FOUND);
    // What was renewed past the clear is void.
    ask = &f->asks[f->ask_count - 1];
    assert_int_equal(ask->subject, DIRECTORY_SUBJECT_RECALL);
    assert_int_equal(ask->to, 2);
    assert_true(block_version_compare(ask->data.recall.below, renewed) > 0);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_OK);
    ask = &f->asks[f->ask_count - 1];
    assert_int_equal(ask->subject, DIRECTORY_SUBJECT_RECALL);
    for (uint32_t key = 1; key <= 3; key++) {
        assert_int_equal(home_lookup(f, 4, key).status, CASCADE_NOT_FOUND);
    }
}

// The clear has its version, and this home protects before it hears of it: the
// binding is as old as its content all the same.
static void
protection_carries_nothing_past_a_clear(void **state)
{
    struct home_fixture *f = *state;
    uint64_t protect;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    protect = home_protect(f, 3, 1, true);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RENEW), CASCADE_OK);
    home_expect(f, protect, CASCADE_OK);
    directory_home_clear(f->home, (struct block_version){101, 0});
    assert_int_equal(home_lookup(f, 4, 1).status, CASCADE_NOT_FOUND);
    assert_false(f->is_protected);
}

// The binding went for want of bytes, and a lease still serves it: a removal does
// not say that there is nothing before that has ended.
static void
removal_of_nothing_recalls_leases(void **state)
{
    struct home_fixture *f = *state;
    uint64_t remove;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_lookup(f, 3, 1);
    home_gone(f, 2, 1, home_version(100));
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_ADOPT), CASCADE_NOT_FOUND);
    assert_int_equal(home_lookup(f, 4, 1).status, CASCADE_NOT_FOUND);
    remove = home_remove(f, 4, 1);
    home_expect_none(f, remove);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, remove, CASCADE_NOT_FOUND);
    home_expect(f, home_remove(f, 4, 1), CASCADE_NOT_FOUND);
    assert_int_equal(home_open_asks(f), 0);
}

static void
highest_announced_version_wins(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask *ask;

    home_expect(f, home_announce(f, 2, 1, 10, 100, 0), CASCADE_OK);
    home_expect(f, home_announce(f, 3, 1, 11, 200, 0), CASCADE_OK);
    assert_int_equal(f->ask_count, 1);
    ask = &f->asks[0];
    assert_int_equal(ask->to, 2);
    assert_int_equal(ask->data.recall.below.time_ns, 200);
    assert_int_equal(ask->data.recall.flags, DIRECTORY_MESSAGE_KEEP_REMOVAL);
    home_expect(f, home_announce(f, 4, 1, 12, 150, 0), CASCADE_OK);
    assert_int_equal(f->ask_count, 2);
    assert_int_equal(f->asks[1].to, 4);
    // The same version twice: one wins, the other keeps no removal of it.
    home_expect(f, home_announce(f, 5, 1, 11, 200, 0), CASCADE_OK);
    assert_int_equal(f->ask_count, 3);
    assert_int_equal(f->asks[2].to, 5);
    assert_int_equal(f->asks[2].data.recall.flags, 0);
    assert_true(block_version_compare(f->asks[2].data.recall.below,
                                      home_version(200)) > 0);
    home_expect(f, home_announce(f, 3, 1, 11, 200, 0), CASCADE_OK); // again
    assert_int_equal(f->ask_count, 3);
    assert_int_equal(home_lookup(f, 2, 1).custodian, 3);
}

static void
announced_removals_hide_what_is_older(void **state)
{
    struct home_fixture *f = *state;

    (void)home_announce(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_PROTECTED);
    assert_true(f->is_protected);
    (void)home_announce(f, 3, 1, 0, 200, DIRECTORY_MESSAGE_REMOVED);
    assert_false(f->is_protected);
    assert_int_equal(f->asks[0].to, 2);
    (void)home_announce(f, 4, 2, 0, 300, DIRECTORY_MESSAGE_REMOVED);
    // Not hidden by the removal of another key.
    (void)home_announce(f, 4, 3, 30, 50, 0);
    (void)home_announce(f, 5, 2, 20, 299, 0);
    assert_int_equal(f->asks[1].to, 5);
    // Of one version: the removal says only that its rank has no bytes.
    (void)home_announce(f, 5, 2, 20, 300, 0);
    (void)home_announce(f, 4, 2, 0, 300, DIRECTORY_MESSAGE_REMOVED);
    assert_int_equal(home_lookup(f, 2, 1).status, CASCADE_NOT_FOUND);
    assert_int_equal(home_lookup(f, 2, 2).custodian, 5);
    assert_int_equal(home_lookup(f, 2, 3).custodian, 4);
    home_expect(f, home_bind(f, 2, 1, 10, 150, 0), CASCADE_STALE);
}

static void
announcement_waits_for_leases(void **state)
{
    struct home_fixture *f = *state;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    home_expect(f, home_announce(f, 3, 1, 11, 200, 0), CASCADE_BUSY);
    assert_int_equal(home_lookup(f, 2, 1).version.time_ns, 100);
}

static void
claim_is_one_ranks(void **state)
{
    struct home_fixture *f = *state;
    uint64_t second;
    uint64_t third;

    home_expect(f, home_claim(f, 2, 10), CASCADE_OK);
    second = home_claim(f, 3, 10);
    third = home_claim(f, 4, 10);
    home_expect_none(f, second);
    home_copy(f, 2, 10, DIRECTORY_COPY_GONE); // gives up
    home_expect(f, second, CASCADE_OK);
    home_expect_none(f, third);
    home_copy(f, 3, 10, DIRECTORY_COPY_HERE);
    assert_int_equal(home_expect(f, third, CASCADE_EXISTS)->data.claimed.rank,
                     3);
    assert_int_equal(
        home_expect(f, home_claim(f, 5, 10), CASCADE_EXISTS)->data.claimed.rank,
        3);
    // Its own copy is no reason to refuse it.
    home_expect(f, home_claim(f, 3, 10), CASCADE_OK);
}

static void
claim_ends_by_itself(void **state)
{
    struct home_fixture *f = *state;
    uint64_t second;
    uint64_t third;

    home_expect(f, home_claim(f, 2, 10), CASCADE_OK);
    second = home_claim(f, 3, 10);
    third = home_claim(f, 4, 10);
    home_pass(f, HOME_CLAIM_NS);
    home_expect(f, second, CASCADE_OK);
    home_expect_none(f, third);
    directory_home_lost(f->home, 3, f->now_ns);
    home_expect(f, third, CASCADE_OK);
    home_pass(f, HOME_CLAIM_NS);
    home_expect(f, home_claim(f, 5, 10), CASCADE_OK);
}

static void
claims_are_bounded(void **state)
{
    struct home_fixture *f = *state;

    for (uint32_t id = 1; id <= 16; id++) {
        home_expect(f, home_claim(f, 2, id), CASCADE_OK);
    }
    home_expect(f, home_claim(f, 2, 17), CASCADE_BUSY);
    for (uint32_t id = 1; id <= 16; id++) {
        home_expect_none(f, home_claim(f, 3, id));
    }
    home_expect(f, home_claim(f, 3, 1), CASCADE_BUSY);
}

static void
copies_are_named(void **state)
{
    struct home_fixture *f = *state;
    struct directory_message_copies copies;

    for (uint16_t rank = 0; rank < 5; rank++) {
        home_copy(f, rank, 10, DIRECTORY_COPY_HERE);
        home_copy(f, rank, 10, DIRECTORY_COPY_HERE);
    }
    copies = home_find(f, 5, 10);
    assert_int_equal(copies.count, DIRECTORY_COPIES_MAX);
    assert_int_equal(copies.ranks[0], 1);
    assert_int_equal(copies.ranks[3], 4);
    home_copy(f, 2, 10, DIRECTORY_COPY_GONE);
    directory_home_lost(f->home, 3, f->now_ns);
    copies = home_find(f, 5, 10);
    assert_int_equal(copies.count, 2);
    assert_int_equal(copies.ranks[0], 1);
    assert_int_equal(copies.ranks[1], 4);
    assert_int_equal(home_find(f, 5, 11).count, 0);
}

// What is changed by one byte or one length is refused, or is another message;
// nothing may break.
static void
malformed_messages_change_nothing(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage before;
    struct directory_home_usage after;
    struct directory_message_bind bind = {
        .key = home_key(1), .id = home_id(1), .version = home_version(100)};
    struct directory_message_protect protect = {.key = home_key(1)};
    struct {
        struct directory_message_count header;
        struct directory_message_copy copies[2];
    } copies = {{2, 0},
                {{home_id(1), DIRECTORY_COPY_HERE, 0}, {home_id(2), 3, 0}}};
    uint8_t zero[4096] = {0};
    struct directory_message_bind bad;

    directory_home_usage(f->home, &before);
    for (uint32_t subject = 0; subject < 256; subject++) {
        for (size_t bytes = 0; bytes < 300; bytes++) {
            home_expect(f, home_send(f, 2, (uint8_t)subject, zero, bytes),
                        CASCADE_INVALID);
        }
    }
    for (size_t bytes = 0; bytes < sizeof(bind); bytes++) {
        home_expect(f, home_send(f, 2, DIRECTORY_SUBJECT_BIND, &bind, bytes),
                    CASCADE_INVALID);
    }
    home_expect(
        f,
        home_send(f, HOME_RANKS, DIRECTORY_SUBJECT_BIND, &bind, sizeof(bind)),
        CASCADE_INVALID);
    bad = bind;
    bad.flags = DIRECTORY_MESSAGE_REMOVED;
    home_expect(f, home_send(f, 2, DIRECTORY_SUBJECT_BIND, &bad, sizeof(bad)),
                CASCADE_INVALID);
    bad = bind;
    bad.bytes = (uint64_t)1 << 48;
    home_expect(f, home_send(f, 2, DIRECTORY_SUBJECT_BIND, &bad, sizeof(bad)),
                CASCADE_INVALID);
    bad = bind;
    bad.key.bytes[9]++; // another home's
    home_expect(f, home_send(f, 2, DIRECTORY_SUBJECT_BIND, &bad, sizeof(bad)),
                CASCADE_INVALID);
    protect.flags = 4;
    home_expect(
        f,
        home_send(f, 2, DIRECTORY_SUBJECT_PROTECT, &protect, sizeof(protect)),
        CASCADE_INVALID);
    // The second is wrong: the first does not count either.
    home_expect(
        f, home_send(f, 2, DIRECTORY_SUBJECT_COPIES, &copies, sizeof(copies)),
        CASCADE_INVALID);
    copies.header.count = UINT32_MAX;
    home_expect(
        f, home_send(f, 2, DIRECTORY_SUBJECT_COPIES, &copies, sizeof(copies)),
        CASCADE_INVALID);
    directory_home_usage(f->home, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(f->ask_count, 0);
}

static void
visit(void *context, const struct block_key *key, struct block_version version)
{
    uint64_t *sum = context;

    (void)key;
    *sum += version.time_ns;
}

static void
protected_keys_are_visited(void **state)
{
    struct home_fixture *f = *state;
    uint64_t sum = 0;

    (void)home_bind(f, 2, 1, 10, 100, DIRECTORY_MESSAGE_PROTECTED);
    (void)home_bind(f, 2, 2, 10, 200, 0);
    (void)home_bind(f, 2, 3, 10, 400, DIRECTORY_MESSAGE_PROTECTED);
    directory_home_protected(f->home, visit, &sum);
    assert_int_equal(sum, 500);
}

static void
old_answers_find_nobody(void **state)
{
    struct home_fixture *f = *state;
    struct home_ask old;
    uint64_t bind;

    (void)home_bind(f, 2, 1, 10, 100, 0);
    (void)home_bind(f, 3, 1, 11, 200, 0);
    old = *home_asked(f, 2, DIRECTORY_SUBJECT_RECALL);
    home_reply(f, home_asked(f, 2, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    bind = home_bind(f, 4, 1, 12, 300, 0); // uses the same record
    home_reply(f, &old, CASCADE_OK);
    home_reply(f, &old, CASCADE_TIMEOUT);
    home_expect_none(f, bind);
    directory_home_answered(f->home, 0, CASCADE_OK, NULL, 0, f->now_ns);
    directory_home_answered(f->home, UINT64_MAX, CASCADE_OK, NULL, 0,
                            f->now_ns);
    home_reply(f, home_asked(f, 3, DIRECTORY_SUBJECT_RECALL), CASCADE_OK);
    home_expect(f, bind, CASCADE_OK);
}

static void
create_fails_cleanly(void **state)
{
    struct allocator_failing failing;
    static struct home_fixture fixture;
    struct directory_home *home = NULL;
    uint64_t calls;

    (void)state;
    home_fixture_init(&fixture);
    allocator_failing_init(&failing, 0);
    fixture.options.allocator = &failing.table;
    home_fixture_start(&fixture);
    home_fixture_end(&fixture);
    calls = failing.calls;
    for (uint64_t n = 1; n <= calls; n++) {
        allocator_failing_init(&failing, n);
        assert_int_equal(directory_home_create(&fixture.options, &home),
                         CASCADE_NO_MEMORY);
        assert_null(home);
        assert_int_equal(failing.live, 0);
    }
}

static void
key_and_content_fit_the_bar(void **state)
{
    struct home_fixture *f = *state;
    struct directory_home_usage usage;

    directory_home_usage(f->home, &usage);
    assert_true(usage.bytes_per_key + usage.bytes_per_id <=
                DIRECTORY_HOME_BYTES_PER_BLOCK);
    printf("%u bytes per key, %u per content\n", (unsigned)usage.bytes_per_key,
           (unsigned)usage.bytes_per_id);
}

#define unit(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        unit(bound_block_is_found_and_leased),
        unit(rebind_waits_for_every_holder),
        unit(silent_holder_is_waited_for_until_its_lease_ends),
        unit(more_holders_than_room_means_all),
        unit(old_versions_are_refused),
        unit(repeated_bind_is_answered_again),
        unit(if_absent_is_decided_in_line),
        unit(removal_of_nothing_is_not_found),
        unit(custody_is_handed_to_a_guest),
        unit(nobody_has_a_copy),
        unit(late_gone_names_another_version),
        unit(silent_adopter_may_have_said_yes),
        unit(protection_asks_the_custodian),
        unit(refused_protection_changes_nothing),
        unit(silent_custodian_is_waited_for),
        unit(renewed_binding_may_be_gone_before_the_answer),
        unit(protection_follows_custody),
        unit(bind_without_bytes_is_void),
        unit(bind_of_a_lost_rank_is_void),
        unit(floor_of_other_keys_does_not_undo_recalls),
        unit(rebind_and_remove_lift_protection),
        cmocka_unit_test(other_content_is_refused_where_keys_are_of_content),
        unit(lost_rank_hands_over),
        unit(more_lost_bindings_than_records),
        unit(line_is_bounded),
        unit(full_table_answers_no_space),
        unit(cleared_bindings_are_recalled_before_others),
        unit(clear_meets_changes_under_way),
        unit(protection_carries_nothing_past_a_clear),
        unit(removal_of_nothing_recalls_leases),
        unit(highest_announced_version_wins),
        unit(announced_removals_hide_what_is_older),
        unit(announcement_waits_for_leases),
        unit(claim_is_one_ranks),
        unit(claim_ends_by_itself),
        unit(claims_are_bounded),
        unit(copies_are_named),
        unit(malformed_messages_change_nothing),
        unit(protected_keys_are_visited),
        unit(old_answers_find_nobody),
        cmocka_unit_test(create_fails_cleanly),
        unit(key_and_content_fit_the_bar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
