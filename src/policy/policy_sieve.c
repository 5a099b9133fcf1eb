// SPDX-License-Identifier: Apache-2.0
//
// SIEVE (Zhang et al., "SIEVE is simpler than LRU", NSDI 2024): entries in the
// order in which they came, and a hand that goes from the oldest to the latest
// and round again. What it meets unvisited goes; a visited entry that it passes
// becomes unvisited.
//
// Lane 0 holds the unvisited, lane 1 the visited, both by time of entry, so the
// next victim is a search and nothing has to be walked to find it. The hand
// moves when a victim has gone. Visited entries that may not be chosen stay
// visited when the hand passes.

#include "policy/policy_order.h"

#define FIRST_PLACE (POLICY_ORDER_IN_SESSION | 1)

enum {
    UNVISITED,
    VISITED
};

// A part of the circle. The cursor's second entry counts the parts done, its
// second position is where the hand was at the start.
struct part {
    uint32_t lane;
    uint64_t from;
    uint64_t end; // the first key behind it
};

#define PARTS 6

static struct part
part_at(uint32_t index, uint64_t hand)
{
    const struct part parts[PARTS] = {
        {UNVISITED, 0, POLICY_ORDER_IN_SESSION}, // ended sessions
        {VISITED, 0, POLICY_ORDER_IN_SESSION},
        {UNVISITED, hand, UINT64_MAX},
        {UNVISITED, POLICY_ORDER_IN_SESSION, hand},
        {VISITED, hand, UINT64_MAX},
        {VISITED, POLICY_ORDER_IN_SESSION, hand},
    };

    return parts[index];
}

// The hand passed the visited ones of those keys.
static void
clear_visited(struct policy_order *order, uint64_t from, uint64_t end)
{
    uint32_t number;

    while ((number = treap_at_or_after(&order->open[VISITED], from)) !=
               TREAP_NONE &&
           policy_order_key(order, number) < end) {
        policy_order_shift(order, number, UNVISITED, 0);
    }
}

// Nothing that may be chosen came later: the hand is round.
static bool
is_latest(const struct policy_order *order, uint64_t key)
{
    return treap_at_or_after(&order->open[UNVISITED], key + 1) == TREAP_NONE &&
           treap_at_or_after(&order->open[VISITED], key + 1) == TREAP_NONE;
}

static void
move_hand(struct policy_order *order, const struct policy_order_entry *victim,
          uint64_t key)
{
    if (victim->lane == VISITED || key < order->hand) {
        clear_visited(order, order->hand, UINT64_MAX);
        clear_visited(order, POLICY_ORDER_IN_SESSION,
                      victim->lane == VISITED ? UINT64_MAX : key);
    } else {
        clear_visited(order, order->hand, key);
    }
    order->hand = is_latest(order, key) ? FIRST_PLACE : key;
}

static void
sieve_init(void *state, uint32_t entries,
           const struct policy_parameters *parameters)
{
    struct policy_order *order = state;

    (void)policy_order_init(order, order + 1, entries, parameters);
    order->hand = FIRST_PLACE;
}

static void
sieve_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    (void)policy_order_enter(state, number, facts, UNVISITED, 0);
}

static void
sieve_touch(void *state, uint32_t number)
{
    struct policy_order *order = state;
    const struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry != NULL) {
        policy_order_lift(order, number);
        if (entry->lane == UNVISITED) {
            policy_order_shift(order, number, VISITED, 0);
        }
    }
}

static void
sieve_remove(void *state, uint32_t number, bool evicted)
{
    struct policy_order *order = state;
    const struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry == NULL) {
        return;
    }
    if (evicted && !entry->ended) {
        move_hand(order, entry, policy_order_key(order, number));
    }
    policy_order_leave(order, number);
}

static bool
sieve_choose(const void *state, struct policy_cursor *cursor, uint32_t *number)
{
    const struct policy_order *order = state;

    if (cursor->position[1] == 0) {
        cursor->position[1] = order->hand;
    }
    while (cursor->entry[1] < PARTS) {
        struct part part = part_at(cursor->entry[1], cursor->position[1]);
        uint64_t last = cursor->position[0];
        uint64_t from = last > part.from ? last : part.from;
        uint32_t found = treap_at_or_after(&order->open[part.lane], from);

        if (found != TREAP_NONE && found == cursor->entry[0] &&
            policy_order_key(order, found) == last) {
            found = treap_at_or_after(&order->open[part.lane], last + 1);
        }
        if (found != TREAP_NONE && policy_order_key(order, found) < part.end) {
            cursor->position[0] = policy_order_key(order, found);
            cursor->entry[0] = found;
            cursor->count++;
            *number = found;
            return true;
        }
        cursor->entry[1]++;
        cursor->position[0] = 0;
    }
    return false;
}

const struct policy_table policy_sieve = {
    .name = "sieve",
    .state_bytes = policy_order_table_bytes,
    .init = sieve_init,
    .insert = sieve_insert,
    .touch = sieve_touch,
    .change = policy_order_table_change,
    .remove = sieve_remove,
    .choose = sieve_choose,
    .is_valid = policy_order_table_is_valid,
};
