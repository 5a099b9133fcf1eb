// SPDX-License-Identifier: Apache-2.0
//
// The memory of the evicted: what is put can be taken once, the oldest are
// forgotten, and its size is bounded.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/policy_gone.h"

#define PLACES 4096

static struct policy_gone_block blocks[PLACES];
static struct policy_gone gone;

static int
begin(void **state)
{
    (void)state;
    memset(blocks, 0, sizeof(blocks));
    gone = (struct policy_gone){
        .blocks = blocks, .places = PLACES, .count = PLACES};
    return 0;
}

// As from a hash.
static uint32_t
fingerprint_of(uint32_t number)
{
    return (number + 1) * UINT32_C(0x9e3779b1) ^ number << 13;
}

static void
what_is_put_is_taken_once(void **state)
{
    struct policy_gone_block block;

    (void)state;
    assert_false(policy_gone_take(&gone, fingerprint_of(1), &block));
    policy_gone_put(&gone, fingerprint_of(1), 100, 3, 200);
    policy_gone_put(&gone, fingerprint_of(2), 150, 4, 200);
    policy_gone_put(&gone, fingerprint_of(1), 170, 5, 200); // it came and went
    assert_true(policy_gone_take(&gone, fingerprint_of(1), &block));
    assert_int_equal(block.last_use, 170);
    assert_int_equal(block.hits, 5);
    assert_false(policy_gone_take(&gone, fingerprint_of(1), &block));
    assert_true(policy_gone_take(&gone, fingerprint_of(2), &block));
    assert_int_equal(block.last_use, 150);
}

// Most of as many as there are places are remembered, and of many more the
// latest; also where the clock wraps.
static void
the_oldest_are_forgotten(void **state)
{
    const uint32_t begin_clock = UINT32_MAX - 2 * PLACES;
    struct policy_gone_block block;
    uint32_t recent = 0;
    uint32_t old = 0;

    (void)state;
    for (uint32_t i = 0; i < 4 * PLACES; i++) {
        policy_gone_put(&gone, fingerprint_of(i), begin_clock + i, 0,
                        begin_clock + i);
    }
    for (uint32_t i = 0; i < 4 * PLACES; i++) {
        bool found = policy_gone_take(&gone, fingerprint_of(i), &block);

        old += found && i < PLACES;
        recent += found && i >= 4 * PLACES - PLACES / 2;
    }
    assert_true(old < PLACES / 100);
    assert_true(recent > PLACES * 48 / 100);
}

static void
places_are_bounded(void **state)
{
    (void)state;
    assert_true(policy_gone_places(0) > 0);
    assert_in_range(policy_gone_places(10), 640, 648);
    assert_in_range(policy_gone_places(9140), 131072, 131080);
    assert_in_range(policy_gone_places(1000000), 2000000, 2000008);
    assert_true(policy_gone_places(UINT32_MAX) > UINT32_MAX / 2);
}

static void
it_grows_with_the_cache(void **state)
{
    struct policy_gone_block block;
    uint32_t before;

    (void)state;
    gone.count = 0;
    policy_gone_grow(&gone, 3);
    before = gone.count;
    assert_in_range(before, 3 * 64, 3 * 64 + 8);
    policy_gone_put(&gone, fingerprint_of(7), 1, 1, 1);
    policy_gone_grow(&gone, 2);
    assert_int_equal(gone.count, before);
    assert_true(policy_gone_take(&gone, fingerprint_of(7), &block));
    policy_gone_grow(&gone, 4);
    assert_int_equal(gone.count, 2 * before);
    policy_gone_grow(&gone, 1000000);
    assert_int_equal(gone.count, PLACES);
    policy_gone_put(&gone, fingerprint_of(7), 1, 1, 1);
    assert_true(policy_gone_take(&gone, fingerprint_of(7), &block));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_is_put_is_taken_once, begin),
        cmocka_unit_test_setup(the_oldest_are_forgotten, begin),
        cmocka_unit_test_setup(places_are_bounded, begin),
        cmocka_unit_test_setup(it_grows_with_the_cache, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
