// SPDX-License-Identifier: Apache-2.0
//
// The owner's side: pins by message that are forgotten, expire, go with their
// rank, are too many, are granted late or by another thread.

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "remote_fixture.h"

// A pin by message of rank 1 that nobody ends.
static void
pin_and_forget(struct fixture *fixture, const struct fixture_block *block)
{
    struct {
        struct block_id id;
        uint64_t bytes;
        uint64_t tag;
        uint64_t chunk_bytes;
    } wanted = {.id = block->id, .bytes = block->place.bytes};
    struct tier_remote_grant grant;
    struct fabric_call call = {
        .to = 0,
        .subject = FIXTURE_SUBJECT + TIER_REMOTE_SUBJECT_PIN,
        .data = &wanted,
        .bytes = sizeof(wanted),
        .reply = &grant,
        .reply_room = sizeof(grant),
        .deadline_ns = clock_deadline_ns(clock_system(), 20000000000u),
    };

    assert_int_equal(fabric_port_ask(fixture->ranks[1].port, &call),
                     CASCADE_OK);
    assert_int_equal(grant.lease_ns, FIXTURE_LEASE_NS);
    assert_true(grant.token != 0);
}

static void
pins_by_message_expire_or_go_with_their_rank(void **state)
{
    struct fixture fixture;
    struct fixture_block *block;
    struct tier_remote_usage usage;
    uint64_t now_ns = clock_steady_ns(clock_system());

    (void)state;
    fixture_open(&fixture, &fixture_read);
    block = fixture_put(&fixture, 1000, 3);
    pin_and_forget(&fixture, block);
    assert_int_equal(
        tier_dram_table.release(fixture.ranks[0].dram, &block->place, true),
        CASCADE_BUSY);
    fixture_step(&fixture, 0, now_ns);
    tier_remote_usage(fixture.ranks[0].remote, &usage);
    assert_int_equal(usage.pins_out, 1);
    fixture_step(&fixture, 0, now_ns + 4 * FIXTURE_LEASE_NS);
    tier_remote_usage(fixture.ranks[0].remote, &usage);
    assert_int_equal(usage.pins_out, 0);
    assert_int_equal(usage.pins_expired, 1);
    pin_and_forget(&fixture, block);
    pin_and_forget(&fixture, block);
    assert_int_equal(tier_dram_pins(fixture.ranks[0].dram), 2);
    fixture_lost(&fixture, 0, 1);
    assert_int_equal(tier_dram_pins(fixture.ranks[0].dram), 0);
    fixture_close(&fixture);
}

static void
too_many_pins_are_refused(void **state)
{
    struct fixture fixture;
    struct fixture_block *block;
    uint8_t buffer[1000];
    const struct cascade_span span = {.data = buffer, .bytes = sizeof(buffer)};
    struct tier_remote_read read;

    (void)state;
    fixture_open(&fixture, &fixture_read);
    block = fixture_put(&fixture, sizeof(buffer), 3);
    for (int i = 0; i < 1024; i++) {
        pin_and_forget(&fixture, block);
    }
    read = fixture_read_of(block, &span);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_BUSY);
    // Whoever closes does not leave them.
    fixture_close(&fixture);
}

static void
a_copy_that_is_removed_while_it_is_lent_is_read(void **state)
{
    struct fixture fixture;
    struct fixture_block *block;
    struct tier_remote_usage usage;
    struct tier_usage used;

    (void)state;
    fixture_open(&fixture, &fixture_read);
    block = fixture_put(&fixture, 3 * MIB, 3);
    pin_and_forget(&fixture, block);
    fixture_remove(&fixture, block);
    tier_dram_table.usage(fixture.ranks[0].dram, &used);
    assert_int_equal(used.used_bytes, 3 * MIB);
    fixture_step(&fixture, 0, UINT64_MAX);
    tier_dram_table.usage(fixture.ranks[0].dram, &used);
    assert_int_equal(used.used_bytes, 0);
    tier_remote_usage(fixture.ranks[0].remote, &usage);
    assert_int_equal(usage.pins_out, 0);
    fixture_close(&fixture);
}

static void
check_deferred(const struct fixture_kind *kind)
{
    struct fixture fixture;
    struct fixture_rank *owner = &fixture.ranks[0];
    struct fixture_job job = {.fixture = &fixture, .content = 3};
    struct tier_pin pin;
    struct tier_remote_ask *ask = NULL;

    fixture_open(&fixture, kind);
    job.block = fixture_put(&fixture, 2 * MIB, 3);
    owner->defer = true;
    assert_int_equal(pthread_create(&job.thread, NULL, fixture_job_run, &job),
                     0);
    while (ask == NULL) {
        assert_int_equal(pthread_mutex_lock(&owner->lock), 0);
        ask = owner->deferred;
        owner->defer = ask == NULL;
        assert_int_equal(pthread_mutex_unlock(&owner->lock), 0);
        (void)sched_yield();
    }
    assert_int_equal(tier_dram_table.pin(owner->dram, &job.block->place, &pin),
                     CASCADE_OK);
    ask->granted(ask, CASCADE_OK, &pin);
    assert_int_equal(pthread_join(job.thread, NULL), 0);
    assert_int_equal(job.status, CASCADE_OK);
    assert_int_equal(job.wrong, 0);
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
a_grant_may_come_from_another_thread(void **state)
{
    (void)state;
    check_deferred(&fixture_near);
    check_deferred(&fixture_fetch);
}

static void
a_lost_owner_is_no_wait(void **state)
{
    struct fixture fixture;
    struct fixture_job job = {.fixture = &fixture, .content = 3};
    struct fixture_rank *owner = &fixture.ranks[0];
    struct tier_remote_ask *ask = NULL;

    (void)state;
    fixture_open(&fixture, &fixture_fetch);
    job.block = fixture_put(&fixture, 2 * MIB, 3);
    owner->defer = true;
    assert_int_equal(pthread_create(&job.thread, NULL, fixture_job_run, &job),
                     0);
    while (ask == NULL) {
        assert_int_equal(pthread_mutex_lock(&owner->lock), 0);
        ask = owner->deferred;
        assert_int_equal(pthread_mutex_unlock(&owner->lock), 0);
        (void)sched_yield();
    }
    fabric_local_lose(fixture.local, 0);
    assert_int_equal(pthread_join(job.thread, NULL), 0);
    assert_int_equal(job.status, CASCADE_CLOSED);
    ask->granted(ask, CASCADE_NOT_FOUND, NULL);
    fixture_close(&fixture);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pins_by_message_expire_or_go_with_their_rank),
        cmocka_unit_test(too_many_pins_are_refused),
        cmocka_unit_test(a_copy_that_is_removed_while_it_is_lent_is_read),
        cmocka_unit_test(a_grant_may_come_from_another_thread),
        cmocka_unit_test(a_lost_owner_is_no_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
