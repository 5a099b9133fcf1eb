// SPDX-License-Identifier: Apache-2.0
//
// What all policies share: the entries, their parents and flags, and the orders
// in which they go. An entry lies in one of two lanes (two queues of a policy),
// there under a key of rank and time: the least goes first. Those that may be
// chosen lie in the treap of their lane, so that a search never wades through
// protected entries and inner blocks. Not a policy: those say which lane, which
// rank, and which of two lanes gives the victim.
//
// Ended sessions come before all others of their lane. A parent never goes
// before a child; when the last child goes, the parent takes over its place if
// that is later in the same lane, so that a cursor still meets it.
//
// Invariant: the times of resident entries are distinct; an entry is in the
// `open` treap of its lane if and only if it is resident, not protected and has
// no resident children, else in `closed` if the policy asked for that. A link
// to a parent counts only while that parent's stay is the one linked to.
// No lock, as in policy.h.

#ifndef POLICY_POLICY_ORDER_H
#define POLICY_POLICY_ORDER_H

#include "base/treap.h"
#include "policy/policy.h"

#define POLICY_ORDER_LANES 2

// A key, from its top: not of an ended session (1), rank (23), time (40).
#define POLICY_ORDER_TIME_BITS 40
#define POLICY_ORDER_RANK_MAX ((UINT32_C(1) << 23) - 1)
#define POLICY_ORDER_IN_SESSION ((uint64_t)1 << 63)

struct policy_order_entry {
    uint64_t hash;
    uint64_t bytes;
    uint32_t rank;
    uint32_t hits; // for the policy
    uint32_t parent;
    uint32_t parent_stay;
    uint32_t stay; // counts insertions
    uint32_t children;
    uint8_t lane;
    bool resident;
    bool protected;
    bool ended;
};

struct policy_order {
    struct treap open[POLICY_ORDER_LANES];
    struct treap closed[POLICY_ORDER_LANES];
    struct policy_order_entry *list;
    uint64_t bytes[POLICY_ORDER_LANES][2]; // of rank 0, of the ranks above
    uint64_t capacity_bytes;
    uint64_t time;
    uint64_t hand; // of a policy that has one: a key, kept in step
    uint32_t entries;
    uint32_t open_count;
    bool counts_blocks; // no capacity was given: each entry weighs 1
    bool keeps_closed;
};

// Bytes behind the order, aligned for any type: its nodes and entries.
size_t
policy_order_bytes(uint32_t entries);

// Begins empty, over `policy_order_bytes(entries)` zero bytes at `memory`.
// Returns the first byte after them.
void *
policy_order_init(struct policy_order *order, void *memory, uint32_t entries,
                  const struct policy_parameters *parameters);

// NULL if there is no such entry resident.
struct policy_order_entry *
policy_order_find(const struct policy_order *order, uint32_t number);

// Enters as the latest of its lane and rank. It is not resident.
struct policy_order_entry *
policy_order_enter(struct policy_order *order, uint32_t number,
                   const struct policy_facts *facts, uint32_t lane,
                   uint32_t rank);

// A resident entry goes to that lane and rank, keeping its time.
void
policy_order_shift(struct policy_order *order, uint32_t number, uint32_t lane,
                   uint32_t rank);

// As shift, but as the latest.
void
policy_order_renew(struct policy_order *order, uint32_t number, uint32_t lane,
                   uint32_t rank);

// The session of a resident entry goes on.
void
policy_order_lift(struct policy_order *order, uint32_t number);

// As policy_table.change.
void
policy_order_change(struct policy_order *order, uint32_t number,
                    uint32_t flags);

// A resident entry is gone.
void
policy_order_leave(struct policy_order *order, uint32_t number);

// The oldest entry of that lane and rank whose session has not ended;
// POLICY_NONE: none. Those that may not be chosen are among them if the policy
// keeps them.
uint32_t
policy_order_oldest(const struct policy_order *order, uint32_t lane,
                    uint32_t rank);

// True if a resident entry may be chosen.
static inline bool
policy_order_is_open(const struct policy_order_entry *entry)
{
    return entry->resident && !entry->protected && entry->children == 0;
}

static inline uint64_t
policy_order_key(const struct policy_order *order, uint32_t number)
{
    return order->open[0].nodes[number].key;
}

static inline uint64_t
policy_order_time(const struct policy_order *order, uint32_t number)
{
    return policy_order_key(order, number) &
           (((uint64_t)1 << POLICY_ORDER_TIME_BITS) - 1);
}

// Bytes of a lane.
static inline uint64_t
policy_order_lane_bytes(const struct policy_order *order, uint32_t lane)
{
    return order->bytes[lane][0] + order->bytes[lane][1];
}

// The next candidate of a lane for this cursor; POLICY_NONE: none.
uint32_t
policy_order_next(const struct policy_order *order, uint32_t lane,
                  const struct policy_cursor *cursor);

// The cursor has yielded `number`, which is of that lane.
void
policy_order_yield(const struct policy_order *order, uint32_t lane,
                   uint32_t number, struct policy_cursor *cursor);

// Of the next candidates of both lanes the one to yield first where the order
// decides: the only one there is, or that of an ended session. True if it was
// decided; the lane is POLICY_NONE if there is no candidate.
bool
policy_order_decides(const struct policy_order *order,
                     const uint32_t next[POLICY_ORDER_LANES], uint32_t *lane);

// Takes `rank_base` off all ranks (down to 0) and begins time anew, the order
// staying as it is. Where time or rank have become too large.
void
policy_order_renumber(struct policy_order *order, uint32_t rank_base);

bool
policy_order_is_valid(const struct policy_order *order);

// ---------------------------------------------------------------------------
// Members of struct policy_table for policies whose state is one order of one
// lane and nothing else.

size_t
policy_order_table_bytes(uint32_t entries);

void
policy_order_table_init(void *state, uint32_t entries,
                        const struct policy_parameters *parameters);

void
policy_order_table_change(void *state, uint32_t number, uint32_t flags);

void
policy_order_table_remove(void *state, uint32_t number, bool evicted);

bool
policy_order_table_choose(const void *state, struct policy_cursor *cursor,
                          uint32_t *number);

bool
policy_order_table_is_valid(const void *state);

#endif
