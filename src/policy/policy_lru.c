// SPDX-License-Identifier: Apache-2.0
//
// Least recently used, children before parents: one order, by last use.

#include "policy/policy_order.h"

static void
lru_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    (void)policy_order_enter(state, number, facts, 0, 0);
}

static void
lru_touch(void *state, uint32_t number)
{
    struct policy_order *order = state;

    if (policy_order_find(order, number) != NULL) {
        policy_order_lift(order, number);
        policy_order_renew(order, number, 0, 0);
    }
}

const struct policy_table policy_lru = {
    .name = "lru",
    .state_bytes = policy_order_table_bytes,
    .init = policy_order_table_init,
    .insert = lru_insert,
    .touch = lru_touch,
    .change = policy_order_table_change,
    .remove = policy_order_table_remove,
    .choose = policy_order_table_choose,
    .is_valid = policy_order_table_is_valid,
};
