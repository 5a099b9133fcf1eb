// SPDX-License-Identifier: Apache-2.0
//
// S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction",
// SOSP 2023): a small queue for what comes, a main queue for what was used more
// than once while there or returns soon after it went. Both in the order of
// entry; an entry used meanwhile is passed over: from the small queue it moves
// to the main one, in the main queue it goes to the end with one use less.
//
// Lane 0 is the small queue: rank 1 are those that will move. Lane 1 is the
// main queue, its rank is the uses left. So the next victim is the least of a
// lane; those that the search would have passed move when the victim has gone.
//
// Invariant: in the small queue, rank = hits > 1; in the main queue, rank =
// hits.

#include "policy/policy_ghost.h"
#include "policy/policy_order.h"

#define HITS_MAX 3
#define HITS_TO_STAY 2

enum {
    SMALL,
    MAIN
};

struct s3fifo {
    struct policy_order order;
    struct policy_ghost ghost;
    uint64_t small_bytes;
};

static size_t
s3fifo_state_bytes(uint32_t entries)
{
    return sizeof(struct s3fifo) + policy_order_bytes(entries) +
           policy_ghost_bytes(entries);
}

static void
init_share(struct s3fifo *s3fifo, uint32_t entries,
           const struct policy_parameters *parameters, uint64_t small_percent)
{
    void *memory = policy_order_init(&s3fifo->order, s3fifo + 1, entries,
                                     parameters);
    uint64_t capacity = s3fifo->order.capacity_bytes;

    (void)policy_ghost_init(&s3fifo->ghost, memory, entries);
    s3fifo->small_bytes = capacity / 100 * small_percent +
                          capacity % 100 * small_percent / 100;
}

static void
s3fifo_init(void *state, uint32_t entries,
            const struct policy_parameters *parameters)
{
    init_share(state, entries, parameters, 10);
}

static void
s3fifo_50_init(void *state, uint32_t entries,
               const struct policy_parameters *parameters)
{
    init_share(state, entries, parameters, 50);
}

// To the end of the main queue.
static void
to_main(struct policy_order *order, uint32_t number, uint32_t hits)
{
    order->list[number].hits = hits;
    policy_order_renew(order, number, MAIN, hits);
}

// The key of a rank and time.
static uint64_t
key_at(uint32_t rank, uint64_t time)
{
    return POLICY_ORDER_IN_SESSION |
           ((uint64_t)rank << POLICY_ORDER_TIME_BITS) | time;
}

// The search for a victim of the small queue that came at `time` passed these.
static void
pass_small(struct policy_order *order, uint64_t time)
{
    uint64_t first = key_at(1, 0);
    uint32_t number;

    while ((number = treap_at_or_after(&order->open[SMALL], first)) !=
               TREAP_NONE &&
           policy_order_key(order, number) < first + time) {
        to_main(order, number, 0);
    }
}

// All entries of the main queue have lost that many uses: the search went round
// so often before it found one with none left.
static void
take_uses(struct policy_order *order, uint32_t taken)
{
    for (uint32_t uses = taken; uses <= HITS_MAX; uses++) {
        uint64_t first = key_at(uses, 0);
        uint32_t number;

        while ((number = treap_at_or_after(&order->open[MAIN], first)) !=
                   TREAP_NONE &&
               policy_order_key(order, number) < key_at(uses + 1, 0)) {
            order->list[number].hits = uses - taken;
            policy_order_shift(order, number, MAIN, uses - taken);
        }
    }
}

// The oldest of the main queue that has uses left and came before `time`.
static uint32_t
oldest_used(const struct policy_order *order, uint64_t time)
{
    uint32_t oldest = POLICY_NONE;

    for (uint32_t uses = 1; uses <= HITS_MAX; uses++) {
        uint64_t first = key_at(uses, 0);
        uint32_t number = treap_at_or_after(&order->open[MAIN], first);

        if (number != TREAP_NONE &&
            policy_order_key(order, number) < first + time) {
            time = policy_order_key(order, number) - first;
            oldest = number;
        }
    }
    return oldest;
}

// As pass_small, for a victim of the main queue with no uses left.
static void
pass_main(struct policy_order *order, uint64_t time)
{
    uint32_t number;

    while ((number = oldest_used(order, time)) != POLICY_NONE) {
        to_main(order, number, order->list[number].hits - 1);
    }
}

static void
s3fifo_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    struct s3fifo *s3fifo = state;
    bool known = policy_ghost_take(&s3fifo->ghost, facts->hash) !=
                 POLICY_GHOST_NONE;

    (void)policy_order_enter(&s3fifo->order, number, facts,
                             known ? MAIN : SMALL, 0);
}

static void
s3fifo_touch(void *state, uint32_t number)
{
    struct policy_order *order = &((struct s3fifo *)state)->order;
    struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry == NULL) {
        return;
    }
    policy_order_lift(order, number);
    if (entry->hits == HITS_MAX) {
        return;
    }
    entry->hits++;
    if (entry->lane == MAIN) {
        policy_order_shift(order, number, MAIN, entry->hits);
    } else if (entry->hits >= HITS_TO_STAY && !policy_order_is_open(entry)) {
        to_main(order, number, 0); // no search will meet it in its turn
    } else if (entry->hits == HITS_TO_STAY) {
        policy_order_shift(order, number, SMALL, 1);
    }
}

static void
s3fifo_change(void *state, uint32_t number, uint32_t flags)
{
    policy_order_change(&((struct s3fifo *)state)->order, number, flags);
}

// What the search for that victim did on its way.
static void
pass_others(struct s3fifo *s3fifo, const struct policy_order_entry *victim,
            uint64_t time)
{
    struct policy_order *order = &s3fifo->order;
    uint32_t rank = victim->rank;

    if (victim->lane == SMALL) {
        pass_small(order, rank == 0 ? time : 0);
        return;
    }
    if (policy_order_lane_bytes(order, SMALL) >= s3fifo->small_bytes) {
        pass_small(order, order->time + 1); // the small queue gave none
    }
    if (rank > 0) {
        take_uses(order, rank);
    }
    pass_main(order, time);
}

static void
s3fifo_remove(void *state, uint32_t number, bool evicted)
{
    struct s3fifo *s3fifo = state;
    struct policy_order *order = &s3fifo->order;
    const struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry == NULL) {
        return;
    }
    if (evicted && !entry->ended) {
        pass_others(s3fifo, entry, policy_order_time(order, number));
    }
    if (evicted && entry->lane == SMALL) {
        policy_ghost_add(&s3fifo->ghost, 0, entry->hash, entry->bytes);
        policy_ghost_trim(&s3fifo->ghost, 0,
                          order->capacity_bytes - s3fifo->small_bytes);
    }
    policy_order_leave(order, number);
}

static bool
s3fifo_choose(const void *state, struct policy_cursor *cursor, uint32_t *number)
{
    const struct s3fifo *s3fifo = state;
    const struct policy_order *order = &s3fifo->order;
    const uint32_t next[POLICY_ORDER_LANES] = {
        policy_order_next(order, SMALL, cursor),
        policy_order_next(order, MAIN, cursor),
    };
    uint32_t lane;

    if (!policy_order_decides(order, next, &lane)) {
        bool used = order->list[next[SMALL]].rank > 0;
        bool full = policy_order_lane_bytes(order, SMALL) >=
                    s3fifo->small_bytes;

        // Those that were used move behind the unused ones of the main queue.
        lane = full && !(used && order->list[next[MAIN]].rank == 0) ? SMALL
                                                                    : MAIN;
    }
    if (lane == POLICY_NONE) {
        return false;
    }
    policy_order_yield(order, lane, next[lane], cursor);
    *number = next[lane];
    return true;
}

static bool
s3fifo_is_valid(const void *state)
{
    const struct s3fifo *s3fifo = state;

    for (uint32_t i = 0; i < s3fifo->order.entries; i++) {
        const struct policy_order_entry *entry = policy_order_find(
            &s3fifo->order, i);

        if (entry != NULL &&
            (entry->hits > HITS_MAX ||
             entry->rank != (entry->lane == MAIN
                                 ? entry->hits
                                 : (entry->hits >= HITS_TO_STAY)))) {
            return false;
        }
    }
    return policy_order_is_valid(&s3fifo->order) &&
           policy_ghost_is_valid(&s3fifo->ghost);
}

const struct policy_table policy_s3fifo = {
    .name = "s3fifo",
    .state_bytes = s3fifo_state_bytes,
    .init = s3fifo_init,
    .insert = s3fifo_insert,
    .touch = s3fifo_touch,
    .change = s3fifo_change,
    .remove = s3fifo_remove,
    .choose = s3fifo_choose,
    .is_valid = s3fifo_is_valid,
};

const struct policy_table policy_s3fifo_50 = {
    .name = "s3fifo-50",
    .state_bytes = s3fifo_state_bytes,
    .init = s3fifo_50_init,
    .insert = s3fifo_insert,
    .touch = s3fifo_touch,
    .change = s3fifo_change,
    .remove = s3fifo_remove,
    .choose = s3fifo_choose,
    .is_valid = s3fifo_is_valid,
};
