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

static void
the_writer_is_behind_if_clean_blocks_run_out(void **state)
{
    static const struct {
        struct policy_writer_facts facts;
        bool behind;
    } rows[] = {
        {{.next_bytes = 0, .dirty_bytes = 0, .refusals = 0}, false},
        {{.next_bytes = 0, .dirty_bytes = 0, .refusals = 1}, false},
        // Nobody was refused: it has time.
        {{.next_bytes = 100, .dirty_bytes = 100, .refusals = 0}, false},
        // What was refused was large, or pinned: writing would not help.
        {{.next_bytes = 100, .dirty_bytes = 0, .refusals = 9}, false},
        {{.next_bytes = 100, .dirty_bytes = 50, .refusals = 9}, false},
        {{.next_bytes = 100, .dirty_bytes = 51, .refusals = 1}, true},
        {{.next_bytes = 100, .dirty_bytes = 100, .refusals = 9}, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(policy_writer_is_behind(&rows[i].facts),
                         rows[i].behind);
    }
}

static void
what_was_used_is_written_in_any_case(void **state)
{
    (void)state;
    assert_true(policy_choose_cold(false, false));
    assert_true(policy_choose_cold(false, true));
    assert_true(policy_choose_cold(true, true));
    assert_false(policy_choose_cold(true, false));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_neighbours_are_cheaper_than_one_hot_block),
        cmocka_unit_test(the_writer_is_behind_if_clean_blocks_run_out),
        cmocka_unit_test(what_was_used_is_written_in_any_case),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
