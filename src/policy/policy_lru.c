// SPDX-License-Identifier: Apache-2.0
//
// Least recently used, children before parents. The entries that may be chosen
// lie in a treap by recency: those that are protected or have resident children
// are not in it, so a search never wades through them, and a touch of the inner
// blocks of a prompt moves nothing.
//
// A parent is at least as recent as its latest child: when a child goes, the
// parent takes over its key if that is later. So it never comes before a place
// that a cursor has passed.
//
// Invariant: keys of resident entries are distinct; an entry is in the treap if
// and only if it is resident, not protected and has no resident children. A
// link to a parent counts only while that parent's stay is the one linked to.

#include "policy/policy.h"

#include <assert.h>
#include <stdalign.h>

#include "base/check.h"
#include "base/treap.h"

// Keys with this bit come after all those of ended sessions.
#define IN_SESSION ((uint64_t)1 << 63)

struct entry {
    uint32_t parent;
    uint32_t parent_stay;
    uint32_t stay; // counts insertions
    uint32_t children;
    bool resident;
    bool protected;
};

// Followed by `entries` struct treap_node and as many struct entry.
struct lru {
    struct treap order;
    struct entry *list;
    uint64_t clock;
    uint32_t entries;
    uint32_t eligible;
};

static_assert(sizeof(struct lru) % alignof(struct treap_node) == 0,
              "nodes follow the head");
static_assert(sizeof(struct treap_node) % alignof(struct entry) == 0,
              "entries follow the nodes");

static struct entry *
resident_entry(const struct lru *lru, uint32_t number)
{
    if (number >= lru->entries || !lru->list[number].resident) {
        return NULL;
    }
    return &lru->list[number];
}

static bool
is_eligible(const struct entry *entry)
{
    return entry->resident && !entry->protected && entry->children == 0;
}

static void
enter_order(struct lru *lru, uint32_t number)
{
    treap_insert(&lru->order, number, lru->order.nodes[number].key);
    lru->eligible++;
}

static void
leave_order(struct lru *lru, uint32_t number)
{
    treap_remove(&lru->order, number);
    lru->eligible--;
}

static void
set_key(struct lru *lru, uint32_t number, uint64_t key)
{
    bool eligible = is_eligible(&lru->list[number]);

    if (eligible) {
        leave_order(lru, number);
    }
    lru->order.nodes[number].key = key;
    if (eligible) {
        enter_order(lru, number);
    }
}

// The parent, if it is still the block that the entry was linked to.
static struct entry *
parent_of(const struct lru *lru, const struct entry *entry)
{
    struct entry *parent = resident_entry(lru, entry->parent);

    return parent != NULL && parent->stay == entry->parent_stay ? parent : NULL;
}

static void
link_parent(struct lru *lru, struct entry *entry, uint32_t number)
{
    struct entry *parent = resident_entry(lru, number);

    entry->parent = POLICY_NONE;
    if (parent == NULL) {
        return;
    }
    if (is_eligible(parent)) {
        leave_order(lru, number);
    }
    parent->children++;
    entry->parent = number;
    entry->parent_stay = parent->stay;
}

static size_t
lru_state_bytes(uint32_t entries)
{
    return sizeof(struct lru) +
           entries * (sizeof(struct treap_node) + sizeof(struct entry));
}

static void
lru_init(void *state, uint32_t entries,
         const struct policy_parameters *parameters)
{
    struct lru *lru = state;
    struct treap_node *nodes = (struct treap_node *)(lru + 1);

    (void)parameters;
    treap_init(&lru->order, nodes);
    lru->list = (struct entry *)(nodes + entries);
    lru->clock = 0;
    lru->entries = entries;
    lru->eligible = 0;
}

static void
lru_insert(void *state, uint32_t number, const struct policy_facts *facts)
{
    struct lru *lru = state;
    struct entry *entry;
    bool ended = (facts->flags & POLICY_SESSION_END) != 0;

    check(number < lru->entries);
    entry = &lru->list[number];
    check(!entry->resident);
    link_parent(lru, entry, facts->parent); // before it could be its own
    entry->stay++;
    entry->children = 0;
    entry->resident = true;
    entry->protected = (facts->flags & POLICY_PROTECTED) != 0;
    lru->clock++;
    lru->order.nodes[number].key = lru->clock | (ended ? 0 : IN_SESSION);
    if (is_eligible(entry)) {
        enter_order(lru, number);
    }
}

static void
lru_touch(void *state, uint32_t number)
{
    struct lru *lru = state;

    if (resident_entry(lru, number) != NULL) {
        lru->clock++;
        set_key(lru, number, lru->clock | IN_SESSION);
    }
}

static void
lru_change(void *state, uint32_t number, uint32_t flags)
{
    struct lru *lru = state;
    struct entry *entry = resident_entry(lru, number);
    uint64_t key;

    if (entry == NULL) {
        return;
    }
    if (is_eligible(entry)) {
        leave_order(lru, number);
    }
    key = lru->order.nodes[number].key;
    lru->order.nodes[number].key = (flags & POLICY_SESSION_END) != 0
                                       ? key & ~IN_SESSION
                                       : key | IN_SESSION;
    entry->protected = (flags & POLICY_PROTECTED) != 0;
    if (is_eligible(entry)) {
        enter_order(lru, number);
    }
}

static void
lru_remove(void *state, uint32_t number, bool evicted)
{
    struct lru *lru = state;
    struct entry *entry = resident_entry(lru, number);
    struct entry *parent;

    (void)evicted;
    if (entry == NULL) {
        return;
    }
    if (is_eligible(entry)) {
        leave_order(lru, number);
    }
    entry->resident = false;
    parent = parent_of(lru, entry);
    if (parent != NULL) {
        struct treap_node *nodes = lru->order.nodes;

        check(parent->children > 0);
        parent->children--;
        if (nodes[number].key > nodes[entry->parent].key) {
            nodes[entry->parent].key = nodes[number].key;
        }
        if (is_eligible(parent)) {
            enter_order(lru, entry->parent);
        }
    }
}

static bool
lru_choose(const void *state, struct policy_cursor *cursor, uint32_t *number)
{
    const struct lru *lru = state;
    uint64_t last = cursor->position[0];
    uint32_t found = treap_at_or_after(&lru->order, last);

    // The last one is still there: it was passed over. If another has its key,
    // that is the parent which took it over.
    if (found != TREAP_NONE && cursor->count > 0 && found == cursor->entry &&
        lru->order.nodes[found].key == last) {
        found = treap_at_or_after(&lru->order, last + 1);
    }
    if (found == TREAP_NONE) {
        return false;
    }
    cursor->position[0] = lru->order.nodes[found].key;
    cursor->entry = found;
    cursor->count++;
    *number = found;
    return true;
}

static bool
lru_is_valid(const void *state)
{
    const struct lru *lru = state;
    uint64_t links = 0;
    uint64_t children = 0;
    uint32_t eligible = 0;

    for (uint32_t i = 0; i < lru->entries; i++) {
        const struct entry *entry = &lru->list[i];

        if (!entry->resident) {
            continue;
        }
        children += entry->children;
        links += parent_of(lru, entry) != NULL;
        if (is_eligible(entry)) {
            eligible++;
            if (treap_at_or_after(&lru->order, lru->order.nodes[i].key) != i) {
                return false;
            }
        }
    }
    return links == children && eligible == lru->eligible &&
           treap_is_valid(&lru->order, lru->entries, eligible);
}

const struct policy_table policy_lru = {
    .name = "lru",
    .state_bytes = lru_state_bytes,
    .init = lru_init,
    .insert = lru_insert,
    .touch = lru_touch,
    .change = lru_change,
    .remove = lru_remove,
    .choose = lru_choose,
    .is_valid = lru_is_valid,
};
