// SPDX-License-Identifier: Apache-2.0
//
// Choices about space.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/policy_choice.h"

static void
cold_neighbours_are_cheaper_than_one_hot_block(void **state)
{
    (void)state;
    // Even the coldest bytes are not free, or windows would be too large.
    assert_true(policy_window_cost(1, 0) > 0);
    assert_true(policy_window_cost(2, 0) > policy_window_cost(1, 0));
    assert_true(policy_window_cost(1000, 0.1) > policy_window_cost(1000, 0));
    // Ten blocks of the coldest tenth rather than one of the hottest.
    assert_true(10 * policy_window_cost(1000, 0.1) <
                policy_window_cost(1000, 1));
    // But not a hundred, which would fill the arena with one size.
    assert_true(100 * policy_window_cost(1000, 0) >
                policy_window_cost(1000, 1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_neighbours_are_cheaper_than_one_hot_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
