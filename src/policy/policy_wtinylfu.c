// SPDX-License-Identifier: Apache-2.0
//
// W-TinyLFU (Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache
// admission policy", 2017): what comes enters a small window by last use; the
// oldest of a full window competes with the next victim of the main part, a
// segmented LRU, and the one asked for less often lately goes. How often is a
// sketch of small counters by hash, all halved from time to time.
//
// Lane 0 is the window. Lane 1 is the main part: rank 0 on probation, rank 1
// promoted.
//
// Invariant: a block's count is never less than its uses since the last halving
// up to the largest count (and above it only where hashes collide).

#include "policy/policy_order.h"

#include <assert.h>

#define WINDOW_PERCENT 1
#define PROMOTED_PERCENT 80 // of the main part
#define ROWS 4
#define COUNT_MAX 15
#define COUNTS_PER_WORD 16
#define HALVE_AFTER_TIMES 10 // the number of entries

enum {
    WINDOW,
    MAIN
};
enum {
    PROBATION,
    PROMOTED
};

struct wtinylfu {
    uint64_t *words; // of 16 counters
    uint64_t word_mask;
    uint64_t additions;
    uint64_t window_bytes;
    uint64_t promoted_bytes;
    struct policy_order order;
};

static_assert(sizeof(struct wtinylfu) % 8 == 0, "nodes follow");

// One for each entry, and a power of two.
static uint64_t
word_count(uint32_t entries)
{
    uint64_t count = COUNTS_PER_WORD;

    while (count < entries) {
        count *= 2;
    }
    return count;
}

static size_t
wtinylfu_state_bytes(uint32_t entries)
{
    return sizeof(struct wtinylfu) + policy_order_bytes(entries) +
           word_count(entries) * sizeof(uint64_t);
}

static uint64_t
percent_of(uint64_t bytes, uint64_t percent)
{
    return bytes / 100 * percent + bytes % 100 * percent / 100;
}

static void
wtinylfu_init(void *state, uint32_t entries,
              const struct policy_parameters *parameters)
{
    struct wtinylfu *wtinylfu = state;
    void *memory = policy_order_init(&wtinylfu->order, wtinylfu + 1, entries,
                                     parameters);
    uint64_t capacity = wtinylfu->order.capacity_bytes;

    wtinylfu->order.keeps_closed = true;
    wtinylfu->words = memory;
    wtinylfu->word_mask = word_count(entries) - 1;
    wtinylfu->window_bytes = percent_of(capacity, WINDOW_PERCENT);
    wtinylfu->promoted_bytes = percent_of(capacity - wtinylfu->window_bytes,
                                          PROMOTED_PERCENT);
}

// The word of a row, and how far up in it the counter is.
static uint64_t *
counter_at(const struct wtinylfu *wtinylfu, uint64_t hash, uint32_t row,
           uint32_t *shift)
{
    static const uint64_t odd[ROWS] = {
        UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbf58476d1ce4e5b9),
        UINT64_C(0x94d049bb133111eb), UINT64_C(0xd6e8feb86659fd93)};
    uint64_t mixed = (hash ^ hash >> 32) * odd[row];

    // A row has a quarter of every word.
    *shift = row * 16 + (uint32_t)(mixed >> 62) * 4;
    return &wtinylfu->words[mixed >> 24 & wtinylfu->word_mask];
}

static uint32_t
frequency(const struct wtinylfu *wtinylfu, uint64_t hash)
{
    uint32_t least = COUNT_MAX;

    for (uint32_t row = 0; row < ROWS; row++) {
        uint32_t shift;
        uint64_t word = *counter_at(wtinylfu, hash, row, &shift);
        uint32_t count = (uint32_t)(word >> shift) & COUNT_MAX;

        least = count < least ? count : least;
    }
    return least;
}

static void
halve(struct wtinylfu *wtinylfu)
{
    for (uint64_t i = 0; i <= wtinylfu->word_mask; i++) {
        wtinylfu->words[i] = wtinylfu->words[i] >> 1 &
                             UINT64_C(0x7777777777777777);
    }
    wtinylfu->additions /= 2;
}

static void
count_use(struct wtinylfu *wtinylfu, uint64_t hash)
{
    uint32_t least = frequency(wtinylfu, hash);

    if (least < COUNT_MAX) {
        for (uint32_t row = 0; row < ROWS; row++) {
            uint32_t shift;
            uint64_t *word = counter_at(wtinylfu, hash, row, &shift);

            if ((*word >> shift & COUNT_MAX) == least) {
                *word += UINT64_C(1) << shift;
            }
        }
    }
    wtinylfu->additions++;
    if (wtinylfu->additions >=
        HALVE_AFTER_TIMES * (uint64_t)wtinylfu->order.entries) {
        halve(wtinylfu);
    }
}

static void
wtinylfu_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    struct wtinylfu *wtinylfu = state;
    struct policy_order *order = &wtinylfu->order;
    uint32_t oldest;

    count_use(wtinylfu, facts->hash);
    (void)policy_order_enter(order, number, facts, WINDOW, 0);
    // However small the window, it holds what came last.
    while (policy_order_lane_bytes(order, WINDOW) > wtinylfu->window_bytes &&
           (oldest = policy_order_oldest(order, WINDOW, 0)) != POLICY_NONE &&
           oldest != number) {
        policy_order_renew(order, oldest, MAIN, PROBATION);
    }
}

static void
wtinylfu_touch(void *state, uint32_t number)
{
    struct wtinylfu *wtinylfu = state;
    struct policy_order *order = &wtinylfu->order;
    const struct policy_order_entry *entry = policy_order_find(order, number);
    uint32_t oldest;

    if (entry == NULL) {
        return;
    }
    count_use(wtinylfu, entry->hash);
    policy_order_lift(order, number);
    policy_order_renew(order, number, entry->lane,
                       entry->lane == MAIN ? PROMOTED : 0);
    while (order->bytes[MAIN][PROMOTED] > wtinylfu->promoted_bytes &&
           (oldest = policy_order_oldest(order, MAIN, PROMOTED)) !=
               POLICY_NONE) {
        policy_order_renew(order, oldest, MAIN, PROBATION);
    }
}

static void
wtinylfu_change(void *state, uint32_t number, uint32_t flags)
{
    policy_order_change(&((struct wtinylfu *)state)->order, number, flags);
}

static void
wtinylfu_remove(void *state, uint32_t number, bool evicted)
{
    policy_order_table_remove(&((struct wtinylfu *)state)->order, number,
                              evicted);
}

// The window's oldest would have to leave it for what comes: it stays if it is
// asked for more often than the victim of the main part.
static uint32_t
compare(const struct wtinylfu *wtinylfu, const uint32_t next[])
{
    const struct policy_order *order = &wtinylfu->order;
    const struct policy_order_entry *candidate = &order->list[next[WINDOW]];
    const struct policy_order_entry *victim = &order->list[next[MAIN]];

    if (policy_order_lane_bytes(order, WINDOW) + candidate->bytes <=
        wtinylfu->window_bytes) {
        return MAIN;
    }
    return frequency(wtinylfu, candidate->hash) >
                   frequency(wtinylfu, victim->hash)
               ? MAIN
               : WINDOW;
}

static bool
wtinylfu_choose(const void *state, struct policy_cursor *cursor,
                uint32_t *number)
{
    const struct wtinylfu *wtinylfu = state;
    const struct policy_order *order = &wtinylfu->order;
    const uint32_t next[POLICY_ORDER_LANES] = {
        policy_order_next(order, WINDOW, cursor),
        policy_order_next(order, MAIN, cursor),
    };
    uint32_t lane;

    if (!policy_order_decides(order, next, &lane)) {
        lane = compare(wtinylfu, next);
    }
    if (lane == POLICY_NONE) {
        return false;
    }
    policy_order_yield(order, lane, next[lane], cursor);
    *number = next[lane];
    return true;
}

static bool
wtinylfu_is_valid(const void *state)
{
    return policy_order_is_valid(&((const struct wtinylfu *)state)->order);
}

const struct policy_table policy_wtinylfu = {
    .name = "wtinylfu",
    .state_bytes = wtinylfu_state_bytes,
    .init = wtinylfu_init,
    .insert = wtinylfu_insert,
    .touch = wtinylfu_touch,
    .change = wtinylfu_change,
    .remove = wtinylfu_remove,
    .choose = wtinylfu_choose,
    .is_valid = wtinylfu_is_valid,
};
