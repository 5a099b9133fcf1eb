// SPDX-License-Identifier: Apache-2.0
//
// Lanes: a thread keeps its own, and threads that come one after another get
// different ones until all are taken.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/lane.h"

static void *
ask(void *answer)
{
    uint32_t *lane = answer;

    *lane = lane_of_thread();
    return lane_of_thread() == *lane ? NULL : answer;
}

static void
threads_take_turns(void **state)
{
    uint32_t own = lane_of_thread();
    bool seen[LANE_COUNT] = {false};

    (void)state;
    for (uint32_t i = 0; i < LANE_COUNT; i++) {
        pthread_t thread;
        void *changed;
        uint32_t lane = LANE_COUNT;

        assert_int_equal(pthread_create(&thread, NULL, ask, &lane), 0);
        assert_int_equal(pthread_join(thread, &changed), 0);
        assert_null(changed);
        assert_true(lane < LANE_COUNT);
        assert_false(seen[lane]);
        seen[lane] = true;
    }
    assert_int_equal(lane_of_thread(), own);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_take_turns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
