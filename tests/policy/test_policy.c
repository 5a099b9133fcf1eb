// SPDX-License-Identifier: Apache-2.0
//
// The choices without state, and the list of policies.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "policy/policy.h"

static void
policies_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(policy_find("lru"), &policy_lru);
    assert_null(policy_find("belady"));
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        assert_ptr_equal(policy_find(policy_at(i)->name), policy_at(i));
    }
}

static void
protection_has_a_budget(void **state)
{
    struct policy_budget budget = {
        .capacity_bytes = 1000, .protected_bytes = 200, .fraction_max = 0.25};

    (void)state;
    assert_true(policy_protect_allows(&budget, 0));
    assert_true(policy_protect_allows(&budget, 50));
    assert_false(policy_protect_allows(&budget, 51));
    budget.fraction_max = 0;
    assert_false(policy_protect_allows(&budget, 1));
    budget.fraction_max = 1;
    assert_true(policy_protect_allows(&budget, 800));
    assert_false(policy_protect_allows(&budget, 801));
    assert_false(policy_protect_allows(&budget, UINT64_MAX));
}

static void
promotion_comes_at_the_threshold(void **state)
{
    (void)state;
    assert_false(policy_choose_promotion(2, 3));
    assert_true(policy_choose_promotion(3, 3));
    assert_true(policy_choose_promotion(4, 3));
    assert_false(policy_choose_promotion(1000, 0));
}

// Every combination of usable, large enough and within budget for three tiers,
// protected or not, against the rules told one pair at a time.
static void
tiers_come_fastest_first(void **state)
{
    static const enum cascade_tier kinds[] = {
        CASCADE_TIER_LOCAL_GPU, CASCADE_TIER_LOCAL_DRAM, CASCADE_TIER_SEGMENTS};

    (void)state;
    for (unsigned mask = 0; mask < 1024; mask++) {
        struct policy_tier_facts tiers[3];
        uint8_t order[3];
        bool protect = (mask & 512) != 0;
        size_t expected = 0;
        size_t count;

        for (unsigned i = 0; i < 3; i++) {
            unsigned bits = mask >> (3 * i) & 7;

            tiers[i] = (struct policy_tier_facts){
                .tier = kinds[i],
                .usable = (bits & 1) != 0,
                .budget = {.capacity_bytes = (bits & 2) != 0 ? MIB : 10,
                           .fraction_max = (bits & 4) != 0 ? 0.5 : 0},
            };
            expected += (bits & 3) == 3;
        }
        count = policy_choose_tier(tiers, 3, 1000, protect, order);
        assert_int_equal(count, expected);
        for (size_t i = 0; i < count; i++) {
            const struct policy_tier_facts *chosen = &tiers[order[i]];

            assert_true(chosen->usable);
            assert_true(chosen->budget.capacity_bytes >= 1000);
            if (i > 0) {
                const struct policy_tier_facts *before = &tiers[order[i - 1]];
                bool now = protect && chosen->budget.fraction_max > 0 &&
                           chosen->tier != CASCADE_TIER_SEGMENTS;
                bool earlier = protect && before->budget.fraction_max > 0 &&
                               before->tier != CASCADE_TIER_SEGMENTS;

                assert_true(earlier || !now);
                assert_true(earlier != now || order[i - 1] < order[i]);
            }
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_found_by_name),
        cmocka_unit_test(protection_has_a_budget),
        cmocka_unit_test(promotion_comes_at_the_threshold),
        cmocka_unit_test(tiers_come_fastest_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
