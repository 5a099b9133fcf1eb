// SPDX-License-Identifier: Apache-2.0
//
// Many readers and little bounce memory; transfers that come when their reader
// has gone.

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "remote_fixture.h"

#define WAIT_NS_MAX UINT64_C(4000000000)

// More than bounce memory holds: they take turns.
static void
check_readers_at_once(const struct fixture_kind *kind)
{
    struct fixture fixture;
    struct fixture_job jobs[FIXTURE_READERS] = {{.fixture = NULL}};

    fixture_open(&fixture, kind);
    for (int i = 0; i < FIXTURE_READERS; i++) {
        jobs[i].content = (uint64_t)i;
        jobs[i].block = fixture_put(
            &fixture, (uint64_t)i * MIB + 100u * (unsigned)i, jobs[i].content);
    }
    fixture_run_readers(&fixture, jobs, 0);
    for (int i = 0; i < FIXTURE_READERS; i++) {
        assert_int_equal(jobs[i].status, CASCADE_OK);
        assert_int_equal(jobs[i].wrong, 0);
    }
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
readers_share_bounce_memory(void **state)
{
    (void)state;
    check_readers_at_once(&fixture_near);
    check_readers_at_once(&fixture_read);
    check_readers_at_once(&fixture_fetch);
}

// Transfers that come late write to bounce memory, and everything goes on when
// they have ended.
static void
check_lateness(const struct fixture_kind *kind)
{
    struct fixture fixture;
    struct fixture_job jobs[FIXTURE_READERS] = {{.fixture = NULL}};
    struct tier_remote_usage usage = {.late = 0};

    fixture_open(&fixture, kind);
    for (int i = 0; i < FIXTURE_READERS; i++) {
        jobs[i].content = (uint64_t)i;
        jobs[i].block = fixture_put(&fixture, 4 * MIB + 1, jobs[i].content);
    }
    fabric_local_hold(fixture.local, true);
    // A machine that is busy may not even come to the first transfer.
    for (uint64_t wait_ns = 20000000; usage.late == 0 && wait_ns < WAIT_NS_MAX;
         wait_ns *= 2) {
        fixture_run_readers(&fixture, jobs,
                            clock_deadline_ns(clock_system(), wait_ns));
        for (int i = 0; i < FIXTURE_READERS; i++) {
            assert_int_equal(jobs[i].status, CASCADE_TIMEOUT);
            assert_false(jobs[i].given);
        }
        tier_remote_usage(fixture.ranks[1].remote, &usage);
    }
    assert_true(usage.late > 0);
    fabric_local_hold(fixture.local, false);
    fixture_run_readers(&fixture, jobs, 0);
    for (int i = 0; i < FIXTURE_READERS; i++) {
        assert_int_equal(jobs[i].status, CASCADE_OK);
        assert_int_equal(jobs[i].wrong, 0);
    }
    // A pin whose answer came too late is known to its owner only.
    fixture_step(&fixture, 0, UINT64_MAX);
    assert_true(fixture_wait_unpinned(&fixture));
    // And a close in the middle of it.
    fabric_local_hold(fixture.local, true);
    fixture_run_readers(&fixture, jobs,
                        clock_deadline_ns(clock_system(), UINT64_C(20000000)));
    fixture_close(&fixture);
}

static void
late_transfers_harm_nobody(void **state)
{
    (void)state;
    check_lateness(&fixture_read);
    check_lateness(&fixture_fetch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_share_bounce_memory),
        cmocka_unit_test(late_transfers_harm_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
