// SPDX-License-Identifier: Apache-2.0
//
// Adaptive replacement (Megiddo and Modha, "ARC: a self-tuning, low overhead
// replacement cache", FAST 2003): entries used once and entries used more than
// once, each by last use, each with a list of blocks that were evicted from it.
// A block that returns from one of these moves the target for the first lane.
//
// Sizes are bytes. Here the victim is chosen before it is known which block
// comes, so a target that moves has its effect one eviction later.
//
// Invariant: what is here once and what is remembered of it fit the capacity
// together; all that is here and remembered fits twice the capacity.

#include "policy/policy_ghost.h"
#include "policy/policy_order.h"

enum {
    ONCE,
    AGAIN
};

struct arc {
    struct policy_order order;
    struct policy_ghost ghost;
    uint64_t target_bytes; // of lane ONCE
};

// Between an eviction and what comes for it there is one more to remember.
static uint32_t
ghost_entries(uint32_t entries)
{
    return entries + 1;
}

static size_t
arc_state_bytes(uint32_t entries)
{
    return sizeof(struct arc) + policy_order_bytes(entries) +
           policy_ghost_bytes(ghost_entries(entries));
}

static void
arc_init(void *state, uint32_t entries,
         const struct policy_parameters *parameters)
{
    struct arc *arc = state;
    void *memory = policy_order_init(&arc->order, arc + 1, entries, parameters);

    (void)policy_ghost_init(&arc->ghost, memory, ghost_entries(entries));
}

static uint64_t
room(uint64_t bytes, uint64_t used)
{
    return bytes > used ? bytes - used : 0;
}

static void
forget_surplus(struct arc *arc)
{
    uint64_t capacity = arc->order.capacity_bytes;
    uint64_t once = policy_order_lane_bytes(&arc->order, ONCE);
    uint64_t again = policy_order_lane_bytes(&arc->order, AGAIN);

    policy_ghost_trim(&arc->ghost, ONCE, room(capacity, once));
    policy_ghost_trim(
        &arc->ghost, AGAIN,
        room(2 * capacity, once + again + arc->ghost.lists[ONCE].bytes));
}

// How far a returning block of `bytes` moves the target: further if its list is
// the shorter one.
static uint64_t
step(uint64_t bytes, uint64_t own_bytes, uint64_t other_bytes)
{
    return own_bytes >= other_bytes
               ? bytes
               : (uint64_t)((double)bytes * (double)other_bytes /
                            (double)own_bytes);
}

static void
arc_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    struct arc *arc = state;
    uint64_t once = arc->ghost.lists[ONCE].bytes;
    uint64_t again = arc->ghost.lists[AGAIN].bytes;
    uint64_t bytes = arc->order.counts_blocks ? 1 : facts->bytes;
    uint32_t from = policy_ghost_take(&arc->ghost, facts->hash);
    uint64_t target = arc->target_bytes;

    if (from == ONCE) {
        uint64_t up = step(bytes, once, again);

        arc->target_bytes = up < room(arc->order.capacity_bytes, target)
                                ? target + up
                                : arc->order.capacity_bytes;
    } else if (from == AGAIN) {
        arc->target_bytes = room(target, step(bytes, again, once));
    }
    (void)policy_order_enter(&arc->order, number, facts,
                             from == POLICY_GHOST_NONE ? ONCE : AGAIN, 0);
    forget_surplus(arc);
}

static void
arc_touch(void *state, uint32_t number)
{
    struct arc *arc = state;

    if (policy_order_find(&arc->order, number) != NULL) {
        policy_order_lift(&arc->order, number);
        policy_order_renew(&arc->order, number, AGAIN, 0);
    }
}

static void
arc_change(void *state, uint32_t number, uint32_t flags)
{
    policy_order_change(&((struct arc *)state)->order, number, flags);
}

static void
arc_remove(void *state, uint32_t number, bool evicted)
{
    struct arc *arc = state;
    const struct policy_order_entry *entry = policy_order_find(&arc->order,
                                                               number);

    if (entry == NULL) {
        return;
    }
    policy_order_leave(&arc->order, number);
    if (evicted) {
        policy_ghost_add(&arc->ghost, entry->lane, entry->hash, entry->bytes);
        forget_surplus(arc);
    }
}

static bool
arc_choose(const void *state, struct policy_cursor *cursor, uint32_t *number)
{
    const struct arc *arc = state;
    const struct policy_order *order = &arc->order;
    const uint32_t next[POLICY_ORDER_LANES] = {
        policy_order_next(order, ONCE, cursor),
        policy_order_next(order, AGAIN, cursor),
    };
    uint32_t lane;

    if (!policy_order_decides(order, next, &lane)) {
        lane = policy_order_lane_bytes(order, ONCE) > arc->target_bytes ? ONCE
                                                                        : AGAIN;
    }
    if (lane == POLICY_NONE) {
        return false;
    }
    policy_order_yield(order, lane, next[lane], cursor);
    *number = next[lane];
    return true;
}

static bool
arc_is_valid(const void *state)
{
    const struct arc *arc = state;

    return policy_order_is_valid(&arc->order) &&
           policy_ghost_is_valid(&arc->ghost) &&
           arc->target_bytes <= arc->order.capacity_bytes;
}

const struct policy_table policy_arc = {
    .name = "arc",
    .state_bytes = arc_state_bytes,
    .init = arc_init,
    .insert = arc_insert,
    .touch = arc_touch,
    .change = arc_change,
    .remove = arc_remove,
    .choose = arc_choose,
    .is_valid = arc_is_valid,
};
