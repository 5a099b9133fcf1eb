// SPDX-License-Identifier: Apache-2.0
//
// First in, first out: one order, by entry; uses change nothing.

#include "policy/policy_order.h"

static void
fifo_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    (void)policy_order_enter(state, number, facts, 0, 0);
}

static void
fifo_touch(void *state, uint32_t number)
{
    struct policy_order *order = state;

    if (policy_order_find(order, number) != NULL) {
        policy_order_lift(order, number);
    }
}

const struct policy_table policy_fifo = {
    .name = "fifo",
    .state_bytes = policy_order_table_bytes,
    .init = policy_order_table_init,
    .insert = fifo_insert,
    .touch = fifo_touch,
    .change = policy_order_table_change,
    .remove = policy_order_table_remove,
    .choose = policy_order_table_choose,
    .is_valid = policy_order_table_is_valid,
};
