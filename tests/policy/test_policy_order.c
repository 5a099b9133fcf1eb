// SPDX-License-Identifier: Apache-2.0
//
// What the policies share: lanes and ranks, the sizes kept for each, and that
// nothing changes place when time or ranks have to begin anew. Parents, flags
// and cursors are tested through the policies, in test_policy_conform.c and
// test_policy_lru.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy_order.h"

#define ENTRIES 32
#define TIME_MAX (((uint64_t)1 << POLICY_ORDER_TIME_BITS) - 1)

static struct policy_order *
make_order(uint32_t entries)
{
    struct policy_order *order = allocator_array(
        allocator_system(), 1, sizeof(*order) + policy_order_bytes(entries));
    const struct policy_parameters parameters = {.capacity_bytes = 1000};

    assert_non_null(order);
    (void)policy_order_init(order, order + 1, entries, &parameters);
    return order;
}

static void
release(struct policy_order *order)
{
    assert_true(policy_order_is_valid(order));
    allocator_release(allocator_system(), order);
}

static void
enter(struct policy_order *order, uint32_t number, uint32_t lane, uint32_t rank,
      uint32_t flags)
{
    const struct policy_facts facts = {
        .bytes = number + 1, .parent = POLICY_NONE, .flags = flags};

    (void)policy_order_enter(order, number, &facts, lane, rank);
}

static void
assert_lane(const struct policy_order *order, uint32_t lane,
            const uint32_t *expected, uint32_t count)
{
    struct policy_cursor cursor = {.count = 0};
    uint32_t next;

    for (uint32_t i = 0; i < count; i++) {
        next = policy_order_next(order, lane, &cursor);
        assert_int_equal(next, expected[i]);
        policy_order_yield(order, lane, next, &cursor);
    }
    assert_int_equal(policy_order_next(order, lane, &cursor), POLICY_NONE);
}

static void
lanes_are_apart_and_ranks_come_first(void **state)
{
    struct policy_order *order = make_order(ENTRIES);

    (void)state;
    enter(order, 0, 0, 1, 0);
    enter(order, 1, 0, 0, 0);
    enter(order, 2, 1, 7, 0);
    enter(order, 3, 1, POLICY_ORDER_RANK_MAX, POLICY_SESSION_END);
    enter(order, 4, 0, 0, 0);
    assert_lane(order, 0, (const uint32_t[]){1, 4, 0}, 3);
    assert_lane(order, 1, (const uint32_t[]){3, 2}, 2);
    assert_int_equal(order->bytes[0][0], 2 + 5);
    assert_int_equal(order->bytes[0][1], 1);
    assert_int_equal(policy_order_lane_bytes(order, 1), 3 + 4);

    policy_order_shift(order, 0, 0, 0); // by time it is the first
    assert_lane(order, 0, (const uint32_t[]){0, 1, 4}, 3);
    policy_order_renew(order, 0, 1, 7);
    assert_lane(order, 0, (const uint32_t[]){1, 4}, 2);
    assert_lane(order, 1, (const uint32_t[]){3, 2, 0}, 3);
    policy_order_lift(order, 3);
    assert_lane(order, 1, (const uint32_t[]){2, 0, 3}, 3);
    assert_int_equal(policy_order_lane_bytes(order, 0), 2 + 5);
    release(order);
}

static void
the_oldest_may_be_one_that_stays(void **state)
{
    struct policy_order *order = make_order(ENTRIES);

    (void)state;
    order->keeps_closed = true;
    assert_int_equal(policy_order_oldest(order, 0, 0), POLICY_NONE);
    enter(order, 0, 0, 0, POLICY_SESSION_END);
    enter(order, 1, 0, 1, POLICY_PROTECTED);
    enter(order, 2, 0, 1, 0);
    assert_int_equal(policy_order_oldest(order, 0, 0), POLICY_NONE);
    assert_int_equal(policy_order_oldest(order, 0, 1), 1);
    policy_order_renew(order, 1, 0, 1);
    assert_int_equal(policy_order_oldest(order, 0, 1), 2);
    policy_order_renew(order, 2, 0, 0);
    assert_int_equal(policy_order_oldest(order, 0, 0), 2);
    assert_lane(order, 0, (const uint32_t[]){0, 2}, 2);
    release(order);
}

static void
time_begins_anew_without_a_change_of_order(void **state)
{
    struct policy_order *order = make_order(ENTRIES);
    uint32_t expected[ENTRIES];

    (void)state;
    order->time = TIME_MAX - 20; // it ends in the middle of what follows
    for (uint32_t i = 0; i < ENTRIES; i++) {
        enter(order, i, 0, 0,
              i == 9 ? POLICY_SESSION_END : (i == 5 ? POLICY_PROTECTED : 0));
    }
    assert_true(order->time < 2 * ENTRIES);
    assert_true(policy_order_is_valid(order));
    expected[0] = 9;
    for (uint32_t i = 0, at = 1; i < ENTRIES; i++) {
        if (i != 9 && i != 5) {
            expected[at++] = i;
        }
    }
    assert_lane(order, 0, expected, ENTRIES - 1);
    policy_order_change(order, 5, 0);
    policy_order_change(order, 9, 0);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        expected[i] = i;
    }
    assert_lane(order, 0, expected, ENTRIES);
    // In a renewal the same.
    order->time = TIME_MAX;
    policy_order_renew(order, 3, 0, 0);
    memmove(&expected[3], &expected[4], (ENTRIES - 4) * sizeof(uint32_t));
    expected[ENTRIES - 1] = 3;
    assert_lane(order, 0, expected, ENTRIES);
    release(order);
}

static void
ranks_go_down_together(void **state)
{
    struct policy_order *order = make_order(ENTRIES);

    (void)state;
    enter(order, 0, 0, 20, 0);
    enter(order, 1, 0, 12, 0);
    enter(order, 2, 0, 3, 0); // below the base: it becomes the least
    enter(order, 3, 1, 10, 0);
    policy_order_renumber(order, 10);
    assert_lane(order, 0, (const uint32_t[]){2, 1, 0}, 3);
    assert_int_equal(order->list[0].rank, 10);
    assert_int_equal(order->list[1].rank, 2);
    assert_int_equal(order->list[2].rank, 0);
    assert_int_equal(order->list[3].rank, 0);
    release(order);
}

static void
a_hand_stays_before_the_same_entry(void **state)
{
    struct policy_order *order = make_order(ENTRIES);

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        enter(order, i, i % 2, 0, 0);
    }
    policy_order_leave(order, 1);
    order->hand = policy_order_key(order, 4);
    policy_order_renumber(order, 0);
    assert_int_equal(order->hand, policy_order_key(order, 4));
    policy_order_leave(order, 4); // the hand is between two
    policy_order_leave(order, 0);
    policy_order_renumber(order, 0);
    assert_true(order->hand > policy_order_key(order, 3));
    assert_true(order->hand <= policy_order_key(order, 5));
    release(order);
}

// The age of lfu-da comes to the largest rank.
static void
an_age_that_is_too_large_begins_anew(void **state)
{
    const struct policy_table *table = &policy_lfu_da;
    void *policy = allocator_array(allocator_system(), 1,
                                   table->state_bytes(4));
    const struct policy_facts facts = {.bytes = 1, .parent = POLICY_NONE};
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    (void)state;
    assert_non_null(policy);
    table->init(policy, 4, NULL);
    for (uint32_t round = 0; round < 3; round++) {
        table->insert(policy, 0, &facts);
        for (uint32_t i = 0; i < POLICY_ORDER_RANK_MAX / 2; i++) {
            table->touch(policy, 0);
        }
        table->remove(policy, 0, true);
    }
    for (uint32_t i = 1; i < 4; i++) {
        table->insert(policy, i, &facts);
    }
    table->touch(policy, 1);
    assert_true(table->is_valid(policy));
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(table->choose(policy, &cursor, &victim));
        assert_int_equal(victim, i == 2 ? 1 : i + 2);
    }
    allocator_release(allocator_system(), policy);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_are_apart_and_ranks_come_first),
        cmocka_unit_test(the_oldest_may_be_one_that_stays),
        cmocka_unit_test(time_begins_anew_without_a_change_of_order),
        cmocka_unit_test(ranks_go_down_together),
        cmocka_unit_test(a_hand_stays_before_the_same_entry),
        cmocka_unit_test(an_age_that_is_too_large_begins_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
