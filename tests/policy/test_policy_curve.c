// SPDX-License-Identifier: Apache-2.0
//
// Curves of reuse: what is told comes out again, in the terms of probability.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy_curve.h"

static struct policy_curves curves;

static int
begin(void **state)
{
    (void)state;
    memset(&curves, 0, sizeof(curves));
    policy_curve_init(&curves);
    return 0;
}

static void
hits_double_from_class_to_class(void **state)
{
    static const uint32_t firsts[POLICY_CURVE_CLASSES] = {0,  1,  2,  3,  6,
                                                          12, 24, 48, 96, 192};

    (void)state;
    for (uint32_t class = 0; class < POLICY_CURVE_CLASSES; class ++) {
        assert_int_equal(policy_curve_class(firsts[class]), class);
        if (class > 0) {
            assert_int_equal(policy_curve_class(firsts[class] - 1), class - 1);
        }
    }
    assert_int_equal(policy_curve_class(UINT32_MAX), POLICY_CURVE_CLASSES - 1);
}

static void
nothing_told_is_nothing_known(void **state)
{
    (void)state;
    policy_curve_learn(&curves, 100, 0.5f);
    assert_true(policy_curve_fine(&curves, 0, 10, UINT32_MAX) == 0);
    assert_true(policy_curve_coarse(&curves, 9, 10, 1000) == 0);
    assert_true(policy_curve_expected(&curves, 0.7f, 0) == 0.7f);
    assert_true(policy_curve_expected(&curves, 0.7f, 1000000) == 0.7f);
}

// Each reference one block of class 1 begins to wait and one that has waited
// `gap` is used; those of class 0 begin as often and never come.
static void
tell(uint64_t gap, uint64_t horizon)
{
    for (uint64_t age = 1; age < gap; age++) {
        policy_curve_wait(&curves, 1, age);
    }
    for (uint64_t age = 1; age < horizon; age++) {
        policy_curve_wait(&curves, 0, age);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        policy_curve_reuse(&curves, 1, gap);
    }
}

static void
what_was_told_is_known(void **state)
{
    (void)state;
    tell(1000, 20000);
    policy_curve_learn(&curves, 1000, 1);
    // Likely to come between those ages, and hardly before.
    assert_true(policy_curve_fine(&curves, 1, 10, 3000) > 1);
    assert_true(policy_curve_fine(&curves, 1, 10, 500) < 0.1f);
    assert_true(policy_curve_fine(&curves, 0, 10, 3000) < 0.2f);
    assert_true(policy_curve_coarse(&curves, 1, 10, 3000) ==
                policy_curve_fine(&curves, 1, 10, 3000));
    // A class never seen is like all of them together.
    assert_true(policy_curve_fine(&curves, 5, 10, 3000) > 0.3f);
    assert_true(policy_curve_fine(&curves, 5, 10, 3000) <
                policy_curve_fine(&curves, 1, 10, 3000));
    // The next second of waiting is never worth less than nothing.
    for (uint64_t age = 0; age < 100000; age += 7) {
        assert_true(policy_curve_fine(&curves, 1, age, 100) >= 0);
    }
}

static void
old_lessons_fade(void **state)
{
    float before;

    (void)state;
    tell(1000, 20000);
    policy_curve_learn(&curves, 1000, 0.5f);
    before = policy_curve_fine(&curves, 1, 10, 3000);
    for (int i = 0; i < 20; i++) {
        for (uint64_t age = 1; age < 5000; age++) {
            policy_curve_wait(&curves, 1, age);
        }
        policy_curve_learn(&curves, 1000, 0.5f);
    }
    assert_true(policy_curve_fine(&curves, 1, 10, 3000) < before / 100);
}

static void
what_was_expected_and_did_not_come_is_worth_less(void **state)
{
    float last = 1;

    (void)state;
    tell(1000, 20000);
    policy_curve_learn(&curves, 1000, 1);
    for (uint64_t age = 1; age < 100000; age *= 2) {
        float now = policy_curve_expected(&curves, 0.8f, age);

        assert_true(now <= last && now > 0);
        last = now;
    }
    assert_true(policy_curve_expected(&curves, 0.8f, 500) > 0.79f);
    assert_true(last < 0.01f);
    assert_true(policy_curve_expected(&curves, 1, 500) == 1);
}

static void
ages_of_any_size_have_a_bucket(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < 64; bit++) {
        for (int64_t offset = -1; offset <= 1; offset++) {
            uint64_t age = (UINT64_C(1) << bit) + (uint64_t)offset;

            policy_curve_wait(&curves, 0, age);
            policy_curve_reuse(&curves, 0, age);
        }
    }
    policy_curve_learn(&curves, UINT32_MAX, 1);
    assert_true(isfinite(policy_curve_fine(&curves, 0, 0, UINT64_MAX)));
    assert_true(policy_curve_fine(&curves, 0, UINT64_MAX, 5) <= 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(hits_double_from_class_to_class, begin),
        cmocka_unit_test_setup(nothing_told_is_nothing_known, begin),
        cmocka_unit_test_setup(what_was_told_is_known, begin),
        cmocka_unit_test_setup(old_lessons_fade, begin),
        cmocka_unit_test_setup(what_was_expected_and_did_not_come_is_worth_less,
                               begin),
        cmocka_unit_test_setup(ages_of_any_size_have_a_bucket, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
