// SPDX-License-Identifier: Apache-2.0
//
// The clock table: the system's clock goes forward, a deadline never wraps.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/units.h"

static uint64_t
given_steady(void *self)
{
    return *(uint64_t *)self;
}

// Deadlines must not ask the wall clock, which may jump.
static uint64_t
no_wall(void *self)
{
    (void)self;
    fail_msg("the wall clock was asked");
    return 0;
}

static void
steady_time_never_goes_back(void **state)
{
    const struct clock_source *clock = clock_system();
    uint64_t before = clock_steady_ns(clock);

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t now = clock_steady_ns(clock);

        assert_true(now >= before);
        before = now;
    }
}

static void
wall_time_counts_from_the_epoch(void **state)
{
    const uint64_t year_ns = (uint64_t)365 * 24 * 3600 * NS_PER_S;
    uint64_t now = clock_wall_ns(clock_system());

    (void)state;
    assert_true(now > 50 * year_ns);
    assert_true(now < 250 * year_ns);
}

static void
a_deadline_is_a_steady_moment(void **state)
{
    uint64_t steady = 1000;
    const struct clock_source clock = {
        .wall_ns = no_wall,
        .steady_ns = given_steady,
        .self = &steady,
    };

    (void)state;
    assert_int_equal(clock_deadline_ns(&clock, 0), 1000);
    assert_int_equal(clock_deadline_ns(&clock, 234), 1234);
    assert_true(clock_deadline_ns(&clock, UINT64_MAX - 1000) == UINT64_MAX);
    assert_true(clock_deadline_ns(&clock, UINT64_MAX - 999) == UINT64_MAX);
    assert_true(clock_deadline_ns(&clock, UINT64_MAX) == UINT64_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_time_never_goes_back),
        cmocka_unit_test(wall_time_counts_from_the_epoch),
        cmocka_unit_test(a_deadline_is_a_steady_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
