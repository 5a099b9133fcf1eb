// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the default policy share: its state, its entries and the
// queues that they wait in. policy_cascade.c learns, policy_cascade_queue.c
// keeps the queues, policy_cascade_choose.c says who goes.
//
// Invariant: keys of resident entries are distinct; an entry is in a queue, the
// one of its hits and hints, if and only if it may be chosen: resident, not
// protected, without resident children. No lock.

#ifndef POLICY_POLICY_CASCADE_H
#define POLICY_POLICY_CASCADE_H

#include <assert.h>
#include <stdalign.h>

#include "base/treap.h"
#include "policy/policy.h"
#include "policy/policy_curve.h"
#include "policy/policy_duel.h"
#include "policy/policy_gone.h"

#define POLICY_CASCADE_LEVELS 8

enum policy_cascade_queues {
    POLICY_CASCADE_PARTIAL,
    POLICY_CASCADE_ENDED,
    POLICY_CASCADE_CLASSES, // by hits
    POLICY_CASCADE_EXPECTED = POLICY_CASCADE_CLASSES + POLICY_CURVE_CLASSES,
    POLICY_CASCADE_QUEUES = POLICY_CASCADE_EXPECTED + POLICY_CASCADE_LEVELS,
};

struct policy_cascade_entry {
    uint32_t parent;
    uint32_t parent_stay;
    uint32_t stay; // counts insertions
    uint32_t children;
    uint32_t fingerprint;
    uint16_t depth;
    uint8_t hits;
    uint8_t flags : 3; // enum policy_flags
    uint8_t level : 4; // of expected reuse, from 1; 0 = none
    uint8_t resident : 1;
};

static_assert(sizeof(struct policy_cascade_entry) == 24,
              "with a treap node 40 bytes a block");
static_assert(POLICY_CASCADE_LEVELS < 16, "a level fits in its bits");
static_assert(POLICY_CASCADE_QUEUES < POLICY_CURSOR_PLACES,
              "one place a queue and one more");

struct policy_cascade_queue {
    struct treap tree;
    uint32_t first; // the longest unused; POLICY_NONE = empty
    uint32_t count;
};

// Followed by a node and an entry for each of `entries`, the places of `gone`
// and the memory of `duel`.
struct policy_cascade_state {
    struct treap_node *nodes;
    struct policy_cascade_entry *list;
    struct policy_cascade_queue queues[POLICY_CASCADE_QUEUES];
    struct policy_curves curves;
    struct policy_gone gone;
    struct policy_duel duel;
    uint64_t clock;
    uint64_t lesson_clock; // when the last lesson was
    double usual_age;      // of entries that are evicted
    uint32_t hand;
    uint32_t entries;
    uint32_t entries_used; // one past the greatest that ever was resident
    uint32_t resident;
};

static_assert(
    sizeof(struct policy_cascade_state) % alignof(struct treap_node) == 0 &&
        sizeof(struct treap_node) % alignof(struct policy_cascade_entry) == 0 &&
        sizeof(struct policy_cascade_entry) %
                alignof(struct policy_gone_block) ==
            0 &&
        sizeof(struct policy_gone_block) % alignof(uint32_t) == 0,
    "each array follows the one before");

static inline struct policy_cascade_entry *
policy_cascade_find(const struct policy_cascade_state *self, uint32_t number)
{
    if (number >= self->entries || !self->list[number].resident) {
        return NULL;
    }
    return &self->list[number];
}

static inline bool
policy_cascade_may_go(const struct policy_cascade_entry *entry)
{
    return entry->resident && (entry->flags & POLICY_PROTECTED) == 0 &&
           entry->children == 0;
}

static inline uint64_t
policy_cascade_age(const struct policy_cascade_state *self, uint32_t number)
{
    return self->clock - self->nodes[number].key;
}

static inline uint32_t
policy_cascade_queue_of(const struct policy_cascade_entry *entry)
{
    if ((entry->flags & POLICY_PARTIAL) != 0) {
        return POLICY_CASCADE_PARTIAL;
    }
    if ((entry->flags & POLICY_SESSION_END) != 0) {
        return POLICY_CASCADE_ENDED;
    }
    if (entry->level > 0) {
        return POLICY_CASCADE_EXPECTED + (uint32_t)entry->level - 1;
    }
    return POLICY_CASCADE_CLASSES + policy_curve_class(entry->hits);
}

// The parent, if it is still the block that the entry was linked to.
static inline struct policy_cascade_entry *
policy_cascade_parent(const struct policy_cascade_state *self,
                      const struct policy_cascade_entry *entry)
{
    struct policy_cascade_entry *parent = policy_cascade_find(self,
                                                              entry->parent);

    return parent != NULL && parent->stay == entry->parent_stay ? parent : NULL;
}

// An entry that may be chosen enters its queue.
void
policy_cascade_enter(struct policy_cascade_state *self, uint32_t number);

// It is in its queue.
void
policy_cascade_leave(struct policy_cascade_state *self, uint32_t number);

// An entry that is about to be resident has entry `number` as its parent, if
// that is resident.
void
policy_cascade_link(struct policy_cascade_state *self,
                    struct policy_cascade_entry *entry, uint32_t number);

// An entry that is not resident any more leaves its parent.
void
policy_cascade_unlink(struct policy_cascade_state *self, uint32_t number);

// The probabilities that stand for all, by level less one.
extern const float policy_cascade_levels[POLICY_CASCADE_LEVELS];

// The level of an expected reuse; 0 = unknown.
uint32_t
policy_cascade_level(float expected);

// As in struct policy_table.
bool
policy_cascade_choose(const void *state, struct policy_cursor *cursor,
                      uint32_t *number);

bool
policy_cascade_is_valid(const void *state);

#endif
