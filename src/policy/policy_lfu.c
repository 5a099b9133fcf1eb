// SPDX-License-Identifier: Apache-2.0
//
// Least frequently used: by uses since the entry came, among equals by last
// use. What was popular once stays for ever; `lfu-da` is the cure.

#include "policy/policy_order.h"

static void
lfu_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    (void)policy_order_enter(state, number, facts, 0, 0);
}

static void
lfu_touch(void *state, uint32_t number)
{
    struct policy_order *order = state;
    const struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry != NULL) {
        policy_order_lift(order, number);
        policy_order_renew(order, number, 0,
                           entry->rank < POLICY_ORDER_RANK_MAX ? entry->rank + 1
                                                               : entry->rank);
    }
}

const struct policy_table policy_lfu = {
    .name = "lfu",
    .state_bytes = policy_order_table_bytes,
    .init = policy_order_table_init,
    .insert = lfu_insert,
    .touch = lfu_touch,
    .change = policy_order_table_change,
    .remove = policy_order_table_remove,
    .choose = policy_order_table_choose,
    .is_valid = policy_order_table_is_valid,
};
