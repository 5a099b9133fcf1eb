// SPDX-License-Identifier: Apache-2.0
//
// Segmented least recently used (Karedla, Love and Wherry, "Caching strategies
// to improve disk system performance", 1994): an entry begins on probation and
// is promoted when it is used; the oldest of too many promoted ones go back to
// probation, as its latest. Probation goes first.
//
// Invariant: rank 0 is probation, rank 1 is promoted.

#include "policy/policy_order.h"

// Share of the promoted ones in the capacity.
#define PROMOTED_PERCENT 50

enum {
    PROBATION,
    PROMOTED
};

static void
slru_init(void *state, uint32_t entries,
          const struct policy_parameters *parameters)
{
    struct policy_order *order = state;

    (void)policy_order_init(order, order + 1, entries, parameters);
    order->keeps_closed = true;
}

static void
slru_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    (void)policy_order_enter(state, number, facts, 0, PROBATION);
}

static void
slru_touch(void *state, uint32_t number)
{
    struct policy_order *order = state;
    uint64_t bytes_max = order->capacity_bytes * PROMOTED_PERCENT / 100;

    if (policy_order_find(order, number) == NULL) {
        return;
    }
    policy_order_lift(order, number);
    policy_order_renew(order, number, 0, PROMOTED);
    while (order->bytes[0][PROMOTED] > bytes_max) {
        uint32_t oldest = policy_order_oldest(order, 0, PROMOTED);

        if (oldest == POLICY_NONE) {
            return; // all are of ended sessions: they go soon
        }
        policy_order_renew(order, oldest, 0, PROBATION);
    }
}

const struct policy_table policy_slru = {
    .name = "slru",
    .state_bytes = policy_order_table_bytes,
    .init = slru_init,
    .insert = slru_insert,
    .touch = slru_touch,
    .change = policy_order_table_change,
    .remove = policy_order_table_remove,
    .choose = policy_order_table_choose,
    .is_valid = policy_order_table_is_valid,
};
