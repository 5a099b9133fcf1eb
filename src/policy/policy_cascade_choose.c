// SPDX-License-Identifier: Apache-2.0
//
// Who goes: what the caller knows comes first. Partial blocks and those of
// ended sessions go before all others. Of the rest there are two candidates,
// the least likely by what was learnt and the least likely by what was
// expected; the one that is worth less goes.
//
// A cursor holds for each queue the key up to which it has been passed over,
// and behind these the key of the entry that it yielded last.

#include "policy/policy_cascade.h"

#include <math.h>

// The longest unused of a queue that the cursor has not passed.
static uint32_t
next_of(const struct policy_cascade_state *self,
        const struct policy_cursor *cursor, uint32_t queue)
{
    uint64_t position = cursor->position[queue];

    return position == 0
               ? self->queues[queue].first
               : treap_at_or_after(&self->queues[queue].tree, position);
}

// By what was learnt.
static uint32_t
choose_learnt(const struct policy_cascade_state *self,
              const struct policy_cursor *cursor)
{
    enum policy_duel_order order = self->duel.leader;
    struct policy_duel_candidate least = {.worth = 0};
    uint32_t victim = POLICY_NONE;
    uint32_t classes = POLICY_CURVE_CLASSES;

    if (policy_duel_narrows(order, self->queues[POLICY_CASCADE_CLASSES].count,
                            self->resident) &&
        next_of(self, cursor, POLICY_CASCADE_CLASSES) != POLICY_NONE) {
        classes = 1;
    }
    for (uint32_t class = 0; class < classes; class ++) {
        uint32_t number = next_of(self, cursor, POLICY_CASCADE_CLASSES + class);
        struct policy_duel_candidate candidate;

        if (number == POLICY_NONE) {
            continue;
        }
        candidate = policy_duel_judge(order, &self->curves, class,
                                      policy_cascade_age(self, number),
                                      (uint64_t)self->usual_age);
        if (victim == POLICY_NONE || policy_duel_before(candidate, least)) {
            victim = number;
            least = candidate;
        }
    }
    return victim;
}

// By what was expected; `*worth` is the victim's.
static uint32_t
choose_expected(const struct policy_cascade_state *self,
                const struct policy_cursor *cursor, float *worth)
{
    struct policy_duel_candidate least = {.worth = 0};
    uint32_t victim = POLICY_NONE;

    for (uint32_t level = 0; level < POLICY_CASCADE_LEVELS; level++) {
        uint32_t number = next_of(self, cursor,
                                  POLICY_CASCADE_EXPECTED + level);
        struct policy_duel_candidate candidate;

        if (number == POLICY_NONE) {
            continue;
        }
        candidate.age = policy_cascade_age(self, number);
        candidate.worth = policy_curve_expected(
            &self->curves, policy_cascade_levels[level], candidate.age);
        if (victim == POLICY_NONE || policy_duel_before(candidate, least)) {
            victim = number;
            least = candidate;
        }
    }
    *worth = least.worth;
    return victim;
}

// The probability that was learnt for an entry, in the terms of a hint.
static float
learnt_worth(const struct policy_cascade_state *self, uint32_t number)
{
    struct policy_duel_candidate candidate = policy_duel_judge(
        POLICY_DUEL_COARSE, &self->curves,
        policy_curve_class(self->list[number].hits),
        policy_cascade_age(self, number), (uint64_t)self->usual_age);

    return 1 - expf(-candidate.worth);
}

static uint32_t
choose_next(const struct policy_cascade_state *self,
            const struct policy_cursor *cursor)
{
    uint32_t learnt;
    uint32_t expected;
    float worth;

    for (uint32_t queue = 0; queue < POLICY_CASCADE_CLASSES; queue++) {
        uint32_t number = next_of(self, cursor, queue);

        if (number != POLICY_NONE) {
            return number;
        }
    }
    learnt = choose_learnt(self, cursor);
    expected = choose_expected(self, cursor, &worth);
    if (learnt == POLICY_NONE || expected == POLICY_NONE) {
        return learnt == POLICY_NONE ? expected : learnt;
    }
    return learnt_worth(self, learnt) <= worth ? learnt : expected;
}

// What the cursor yielded last is either still here and thus passed over, or
// gone, and then its parent may lie behind the place that the cursor has passed
// in the parent's queue: it comes at once. POLICY_NONE: it does not.
static uint32_t
leave_last(const struct policy_cascade_state *self,
           struct policy_cursor *cursor)
{
    uint64_t key = cursor->position[POLICY_CASCADE_QUEUES];
    const struct policy_cascade_entry *last;
    const struct policy_cascade_entry *parent;

    if (cursor->count == 0) {
        return POLICY_NONE;
    }
    last = &self->list[cursor->entry[0]];
    if (last->resident) {
        uint64_t *position = &cursor->position[policy_cascade_queue_of(last)];

        if (self->nodes[cursor->entry[0]].key == key && key >= *position) {
            *position = key + 1;
        }
        return POLICY_NONE;
    }
    parent = policy_cascade_parent(self, last);
    if (parent != NULL && policy_cascade_may_go(parent) &&
        self->nodes[last->parent].key <
            cursor->position[policy_cascade_queue_of(parent)]) {
        return last->parent;
    }
    return POLICY_NONE;
}

bool
policy_cascade_choose(const void *state, struct policy_cursor *cursor,
                      uint32_t *number)
{
    const struct policy_cascade_state *self = state;
    uint32_t victim = leave_last(self, cursor);

    if (victim == POLICY_NONE) {
        victim = choose_next(self, cursor);
    }
    if (victim == POLICY_NONE) {
        return false;
    }
    cursor->position[POLICY_CASCADE_QUEUES] = self->nodes[victim].key;
    cursor->entry[0] = victim;
    cursor->count++;
    *number = victim;
    return true;
}
