// SPDX-License-Identifier: Apache-2.0
//
// Least frequently used with dynamic ageing (Arlitt et al., "Evaluating content
// management techniques for web proxy caches", 2000): an entry's priority is
// the age of the cache when it was last used plus its uses, and the age is the
// priority of the last victim. To enter is a use. Among equals by last use.
//
// Invariant: age + hits fits a rank; where it would not, all ranks and the age
// go down together.

#include "policy/policy_order.h"

#include <assert.h>

// Uses above this count no more.
#define HITS_MAX (POLICY_ORDER_RANK_MAX / 2)

struct lfu_da {
    uint32_t age;
    uint32_t spare[3];
    struct policy_order order;
};

static_assert(sizeof(struct lfu_da) % 8 == 0, "nodes follow");

static size_t
lfu_da_state_bytes(uint32_t entries)
{
    return sizeof(struct lfu_da) + policy_order_bytes(entries);
}

static void
lfu_da_init(void *state, uint32_t entries,
            const struct policy_parameters *parameters)
{
    struct lfu_da *lfu_da = state;

    (void)policy_order_init(&lfu_da->order, lfu_da + 1, entries, parameters);
}

static uint32_t
priority(struct lfu_da *lfu_da, uint32_t hits)
{
    if (lfu_da->age >= POLICY_ORDER_RANK_MAX - HITS_MAX) {
        policy_order_renumber(&lfu_da->order, lfu_da->age);
        lfu_da->age = 0;
    }
    return lfu_da->age + hits;
}

static void
lfu_da_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    struct lfu_da *lfu_da = state;

    policy_order_enter(&lfu_da->order, number, facts, 0, priority(lfu_da, 1))
        ->hits = 1;
}

static void
lfu_da_touch(void *state, uint32_t number)
{
    struct lfu_da *lfu_da = state;
    struct policy_order_entry *entry = policy_order_find(&lfu_da->order,
                                                         number);

    if (entry != NULL) {
        entry->hits += entry->hits < HITS_MAX ? 1 : 0;
        policy_order_lift(&lfu_da->order, number);
        policy_order_renew(&lfu_da->order, number, 0,
                           priority(lfu_da, entry->hits));
    }
}

static void
lfu_da_change(void *state, uint32_t number, uint32_t flags)
{
    policy_order_change(&((struct lfu_da *)state)->order, number, flags);
}

static void
lfu_da_remove(void *state, uint32_t number, bool evicted)
{
    struct lfu_da *lfu_da = state;
    const struct policy_order_entry *entry = policy_order_find(&lfu_da->order,
                                                               number);

    if (entry == NULL) {
        return;
    }
    // The end of a session says nothing of the others' worth.
    if (evicted && !entry->ended && entry->rank > lfu_da->age) {
        lfu_da->age = entry->rank;
    }
    policy_order_leave(&lfu_da->order, number);
}

static bool
lfu_da_choose(const void *state, struct policy_cursor *cursor, uint32_t *number)
{
    return policy_order_table_choose(&((const struct lfu_da *)state)->order,
                                     cursor, number);
}

static bool
lfu_da_is_valid(const void *state)
{
    return policy_order_is_valid(&((const struct lfu_da *)state)->order);
}

const struct policy_table policy_lfu_da = {
    .name = "lfu-da",
    .state_bytes = lfu_da_state_bytes,
    .init = lfu_da_init,
    .insert = lfu_da_insert,
    .touch = lfu_da_touch,
    .change = lfu_da_change,
    .remove = lfu_da_remove,
    .choose = lfu_da_choose,
    .is_valid = lfu_da_is_valid,
};
