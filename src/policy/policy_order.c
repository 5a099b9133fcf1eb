// SPDX-License-Identifier: Apache-2.0
//
// Entries in up to four treaps over one array of nodes: two lanes, each with
// the entries that may be chosen and, if wanted, those that may not.

#include "policy/policy_order.h"

#include <assert.h>
#include <stdalign.h>

#include "base/check.h"

#define TIME_MAX (((uint64_t)1 << POLICY_ORDER_TIME_BITS) - 1)

static_assert(sizeof(struct policy_order) % alignof(struct treap_node) == 0,
              "nodes may follow an order");
static_assert(sizeof(struct treap_node) % alignof(struct policy_order_entry) ==
                  0,
              "entries follow the nodes");

static struct treap_node *
nodes_of(const struct policy_order *order)
{
    return order->open[0].nodes;
}

static uint64_t
make_key(const struct policy_order_entry *entry, uint64_t time)
{
    return (entry->ended ? 0 : POLICY_ORDER_IN_SESSION) |
           (uint64_t)entry->rank << POLICY_ORDER_TIME_BITS | time;
}

// Into the treap that the entry belongs to.
static void
link_node(struct policy_order *order, uint32_t number)
{
    const struct policy_order_entry *entry = &order->list[number];
    uint64_t key = nodes_of(order)[number].key;

    if (policy_order_is_open(entry)) {
        treap_insert(&order->open[entry->lane], number, key);
        order->open_count++;
    } else if (order->keeps_closed) {
        treap_insert(&order->closed[entry->lane], number, key);
    }
}

static void
unlink_node(struct policy_order *order, uint32_t number)
{
    const struct policy_order_entry *entry = &order->list[number];

    if (policy_order_is_open(entry)) {
        treap_remove(&order->open[entry->lane], number);
        order->open_count--;
    } else if (order->keeps_closed) {
        treap_remove(&order->closed[entry->lane], number);
    }
}

static uint64_t *
bytes_at(struct policy_order *order, const struct policy_order_entry *entry)
{
    return &order->bytes[entry->lane][entry->rank > 0];
}

// To that place. It is in no treap before and after.
static void
set_place(struct policy_order *order, uint32_t number, uint32_t lane,
          uint32_t rank, uint64_t time)
{
    struct policy_order_entry *entry = &order->list[number];

    check(lane < POLICY_ORDER_LANES && rank <= POLICY_ORDER_RANK_MAX);
    *bytes_at(order, entry) -= entry->bytes;
    entry->lane = (uint8_t)lane;
    entry->rank = rank;
    *bytes_at(order, entry) += entry->bytes;
    nodes_of(order)[number].key = make_key(entry, time);
}

static uint64_t
next_time(struct policy_order *order)
{
    if (order->time == TIME_MAX) {
        policy_order_renumber(order, 0);
    }
    return ++order->time;
}

// The parent, if it is still the block that the entry was linked to.
static struct policy_order_entry *
parent_of(const struct policy_order *order,
          const struct policy_order_entry *entry)
{
    struct policy_order_entry *parent = policy_order_find(order, entry->parent);

    return parent != NULL && parent->stay == entry->parent_stay ? parent : NULL;
}

static void
link_parent(struct policy_order *order, struct policy_order_entry *entry,
            uint32_t number)
{
    struct policy_order_entry *parent = policy_order_find(order, number);

    entry->parent = POLICY_NONE;
    if (parent == NULL) {
        return;
    }
    unlink_node(order, number);
    parent->children++;
    link_node(order, number);
    entry->parent = number;
    entry->parent_stay = parent->stay;
}

// The child is gone, at `time` of its order.
static void
unlink_parent(struct policy_order *order,
              const struct policy_order_entry *child, uint64_t time)
{
    struct policy_order_entry *parent = parent_of(order, child);
    uint32_t number = child->parent;

    if (parent == NULL) {
        return;
    }
    check(parent->children > 0);
    unlink_node(order, number);
    parent->children--;
    if (parent->lane == child->lane &&
        make_key(child, time) > nodes_of(order)[number].key) {
        parent->ended = child->ended;
        parent->hits = child->hits;
        set_place(order, number, child->lane, child->rank, time);
    }
    link_node(order, number);
}

// Takes all entries out of their treaps; in `all` they lie by time alone.
static void
sort_by_time(struct policy_order *order, struct treap *all)
{
    for (uint32_t i = 0; i < order->entries; i++) {
        if (order->list[i].resident) {
            unlink_node(order, i);
            treap_insert(all, i, policy_order_time(order, i));
        }
    }
}

size_t
policy_order_bytes(uint32_t entries)
{
    return entries *
           (sizeof(struct treap_node) + sizeof(struct policy_order_entry));
}

void *
policy_order_init(struct policy_order *order, void *memory, uint32_t entries,
                  const struct policy_parameters *parameters)
{
    struct treap_node *nodes = memory;

    for (uint32_t lane = 0; lane < POLICY_ORDER_LANES; lane++) {
        treap_init(&order->open[lane], nodes);
        treap_init(&order->closed[lane], nodes);
    }
    order->list = (struct policy_order_entry *)(nodes + entries);
    order->entries = entries;
    order->counts_blocks = parameters == NULL ||
                           parameters->capacity_bytes == 0;
    order->capacity_bytes = order->counts_blocks ? entries
                                                 : parameters->capacity_bytes;
    return order->list + entries;
}

struct policy_order_entry *
policy_order_find(const struct policy_order *order, uint32_t number)
{
    if (number >= order->entries || !order->list[number].resident) {
        return NULL;
    }
    return &order->list[number];
}

struct policy_order_entry *
policy_order_enter(struct policy_order *order, uint32_t number,
                   const struct policy_facts *facts, uint32_t lane,
                   uint32_t rank)
{
    struct policy_order_entry *entry;

    check(number < order->entries);
    entry = &order->list[number];
    check(!entry->resident);
    link_parent(order, entry, facts->parent); // before it could be its own
    entry->hash = facts->hash;
    entry->bytes = 0;
    set_place(order, number, lane, rank, 0);
    entry->bytes = order->counts_blocks || facts->bytes == 0 ? 1 : facts->bytes;
    *bytes_at(order, entry) += entry->bytes;
    entry->hits = 0;
    entry->stay++;
    entry->children = 0;
    entry->protected = (facts->flags & POLICY_PROTECTED) != 0;
    entry->ended = (facts->flags & POLICY_SESSION_END) != 0;
    nodes_of(order)[number].key = make_key(entry, next_time(order));
    entry->resident = true;
    link_node(order, number);
    return entry;
}

void
policy_order_shift(struct policy_order *order, uint32_t number, uint32_t lane,
                   uint32_t rank)
{
    unlink_node(order, number);
    set_place(order, number, lane, rank, policy_order_time(order, number));
    link_node(order, number);
}

void
policy_order_renew(struct policy_order *order, uint32_t number, uint32_t lane,
                   uint32_t rank)
{
    uint64_t time = next_time(order);

    unlink_node(order, number);
    set_place(order, number, lane, rank, time);
    link_node(order, number);
}

void
policy_order_lift(struct policy_order *order, uint32_t number)
{
    struct policy_order_entry *entry = &order->list[number];

    if (entry->ended) {
        unlink_node(order, number);
        entry->ended = false;
        nodes_of(order)[number].key |= POLICY_ORDER_IN_SESSION;
        link_node(order, number);
    }
}

void
policy_order_change(struct policy_order *order, uint32_t number, uint32_t flags)
{
    struct policy_order_entry *entry = policy_order_find(order, number);

    if (entry == NULL) {
        return;
    }
    unlink_node(order, number);
    entry->protected = (flags & POLICY_PROTECTED) != 0;
    entry->ended = (flags & POLICY_SESSION_END) != 0;
    nodes_of(order)[number].key = make_key(entry,
                                           policy_order_time(order, number));
    link_node(order, number);
}

void
policy_order_leave(struct policy_order *order, uint32_t number)
{
    struct policy_order_entry *entry = &order->list[number];

    check(number < order->entries && entry->resident);
    unlink_node(order, number);
    entry->resident = false;
    *bytes_at(order, entry) -= entry->bytes;
    unlink_parent(order, entry, policy_order_time(order, number));
}

uint32_t
policy_order_oldest(const struct policy_order *order, uint32_t lane,
                    uint32_t rank)
{
    uint64_t least = POLICY_ORDER_IN_SESSION | (uint64_t)rank
                                                   << POLICY_ORDER_TIME_BITS;
    uint32_t open = treap_at_or_after(&order->open[lane], least);
    uint32_t closed = treap_at_or_after(&order->closed[lane], least);

    if (open == TREAP_NONE ||
        (closed != TREAP_NONE &&
         policy_order_key(order, closed) < policy_order_key(order, open))) {
        open = closed;
    }
    return open != TREAP_NONE && order->list[open].rank == rank ? open
                                                                : POLICY_NONE;
}

uint32_t
policy_order_next(const struct policy_order *order, uint32_t lane,
                  const struct policy_cursor *cursor)
{
    const struct treap *open = &order->open[lane];
    uint64_t last = cursor->position[lane];
    uint32_t found = treap_at_or_after(open, last);

    // The last one is still there: it was passed over. If another has its key,
    // that is the parent which took it over. No key is 0.
    if (found != TREAP_NONE && found == cursor->entry[lane] &&
        policy_order_key(order, found) == last) {
        found = treap_at_or_after(open, last + 1);
    }
    return found == TREAP_NONE ? POLICY_NONE : found;
}

void
policy_order_yield(const struct policy_order *order, uint32_t lane,
                   uint32_t number, struct policy_cursor *cursor)
{
    cursor->position[lane] = policy_order_key(order, number);
    cursor->entry[lane] = number;
    cursor->count++;
}

bool
policy_order_decides(const struct policy_order *order,
                     const uint32_t next[POLICY_ORDER_LANES], uint32_t *lane)
{
    if (next[0] == POLICY_NONE || next[1] == POLICY_NONE) {
        *lane = next[0] != POLICY_NONE   ? 0
                : next[1] != POLICY_NONE ? 1
                                         : POLICY_NONE;
        return true;
    }
    if (order->list[next[0]].ended || order->list[next[1]].ended) {
        *lane = order->list[next[0]].ended ? 0 : 1;
        return true;
    }
    return false;
}

void
policy_order_renumber(struct policy_order *order, uint32_t rank_base)
{
    struct treap all;
    uint64_t hand_time = order->hand & TIME_MAX;
    uint64_t hand_before = 0;
    uint64_t last = 0;
    uint32_t number;

    treap_init(&all, nodes_of(order));
    sort_by_time(order, &all);
    order->time = 0;
    // Times are distinct and begin at 1, so none becomes later than it was.
    while ((number = treap_at_or_after(&all, last + 1)) != TREAP_NONE) {
        last = all.nodes[number].key;
        hand_before += last < hand_time;
        all.nodes[number].key = ++order->time;
    }
    if (hand_time != 0) {
        order->hand = POLICY_ORDER_IN_SESSION | (hand_before + 1);
    }
    for (uint32_t i = 0; i < order->entries; i++) {
        struct policy_order_entry *entry = &order->list[i];

        if (entry->resident) {
            uint32_t rank = entry->rank > rank_base ? entry->rank - rank_base
                                                    : 0;

            set_place(order, i, entry->lane, rank, all.nodes[i].key);
            link_node(order, i);
        }
    }
}

bool
policy_order_is_valid(const struct policy_order *order)
{
    uint64_t bytes[POLICY_ORDER_LANES][2] = {{0}};
    uint32_t open[POLICY_ORDER_LANES] = {0};
    uint32_t closed[POLICY_ORDER_LANES] = {0};
    uint64_t links = 0;
    uint64_t children = 0;
    bool valid = true;

    for (uint32_t i = 0; i < order->entries; i++) {
        const struct policy_order_entry *entry = &order->list[i];
        bool opened = policy_order_is_open(entry);
        uint64_t key = policy_order_key(order, i);

        if (!entry->resident) {
            continue;
        }
        children += entry->children;
        links += parent_of(order, entry) != NULL;
        bytes[entry->lane][entry->rank > 0] += entry->bytes;
        open[entry->lane] += opened;
        closed[entry->lane] += !opened && order->keeps_closed;
        valid = valid && key == make_key(entry, key & TIME_MAX) &&
                (key & TIME_MAX) <= order->time &&
                (!opened ||
                 treap_at_or_after(&order->open[entry->lane], key) == i);
    }
    for (uint32_t lane = 0; lane < POLICY_ORDER_LANES; lane++) {
        valid = valid &&
                treap_is_valid(&order->open[lane], order->entries,
                               open[lane]) &&
                treap_is_valid(&order->closed[lane], order->entries,
                               closed[lane]) &&
                bytes[lane][0] == order->bytes[lane][0] &&
                bytes[lane][1] == order->bytes[lane][1];
    }
    return valid && links == children && open[0] + open[1] == order->open_count;
}

size_t
policy_order_table_bytes(uint32_t entries)
{
    return sizeof(struct policy_order) + policy_order_bytes(entries);
}

void
policy_order_table_init(void *state, uint32_t entries,
                        const struct policy_parameters *parameters)
{
    struct policy_order *order = state;

    (void)policy_order_init(order, order + 1, entries, parameters);
}

void
policy_order_table_change(void *state, uint32_t number, uint32_t flags)
{
    policy_order_change(state, number, flags);
}

void
policy_order_table_remove(void *state, uint32_t number, bool evicted)
{
    struct policy_order *order = state;

    (void)evicted;
    if (policy_order_find(order, number) != NULL) {
        policy_order_leave(order, number);
    }
}

bool
policy_order_table_choose(const void *state, struct policy_cursor *cursor,
                          uint32_t *number)
{
    const struct policy_order *order = state;
    uint32_t found = policy_order_next(order, 0, cursor);

    if (found == POLICY_NONE) {
        return false;
    }
    policy_order_yield(order, 0, found, cursor);
    *number = found;
    return true;
}

bool
policy_order_table_is_valid(const void *state)
{
    return policy_order_is_valid(state);
}
