// SPDX-License-Identifier: Apache-2.0
//
// The default: the block goes that is least likely to be used again, as far as
// that can be learnt. Entries that may be chosen lie in queues by their hits so
// far, each in order of last use, so that the victim can only be the last of
// one of the queues. Which of them it is, is decided by curves of reuse
// (policy_curve.h) in the order that leads at present (policy_duel.h). Blocks
// that were evicted are remembered (policy_gone.h), so that one which returns
// keeps its hits, and so that the curves know of returns that came too late.
//
// What the caller knows comes first. Partial blocks and those of ended sessions
// go before all others. A block whose reuse was expected has a queue by that
// probability, and is worth what the probability says after so long a wait;
// the victim of the others goes before it only if it is worth less.
//
// Time is counted in references. A hand that moves on with each of them looks
// at every block in turn to see how long they wait, so that no call takes long.

#include "policy/policy_cascade.h"

#include "base/check.h"

// Blocks that the hand looks at with each reference.
#define HAND_STEPS 32

// References between two lessons, at least.
#define LESSON_REFERENCES_MIN 256

// What a count weighs after one more lesson.
#define LESSON_DECAY 0.95f

// Share of one eviction in the usual age.
#define USUAL_AGE_SHARE (1.0 / 64)

// What cannot return teaches nothing.
static bool
teaches(const struct policy_cascade_entry *entry)
{
    return (entry->flags & POLICY_PARTIAL) == 0;
}

static void
look_at(struct policy_cascade_state *self, uint32_t place)
{
    const struct policy_gone_block *gone;

    if (place < self->entries_used) {
        const struct policy_cascade_entry *entry = &self->list[place];

        if (entry->resident && teaches(entry)) {
            policy_curve_wait(&self->curves, entry->hits,
                              policy_cascade_age(self, place));
        }
        return;
    }
    gone = &self->gone.blocks[place - self->entries_used];
    if (gone->used) {
        policy_curve_wait(&self->curves, gone->hits,
                          (uint32_t)self->clock - gone->last_use);
    }
}

// The hand moves on; when it has seen all there is a lesson.
static void
move_hand(struct policy_cascade_state *self)
{
    uint64_t end = (uint64_t)self->entries_used + self->gone.count;
    uint64_t references = self->clock - self->lesson_clock;

    for (int i = 0; i < HAND_STEPS && self->hand < end; i++) {
        look_at(self, self->hand++);
    }
    if (self->hand >= end && references >= LESSON_REFERENCES_MIN) {
        policy_curve_learn(&self->curves, references, LESSON_DECAY);
        self->lesson_clock = self->clock;
        self->hand = 0;
    }
}

// An entry is being used: it enters or is touched.
static void
note_use(struct policy_cascade_state *self, uint32_t number)
{
    const struct policy_cascade_entry *entry = &self->list[number];

    self->nodes[number].key = self->clock;
    if (teaches(entry)) {
        policy_duel_use(&self->duel, &self->curves, entry->fingerprint,
                        entry->hits, entry->depth, (uint64_t)self->usual_age,
                        (uint32_t)self->clock);
    }
    move_hand(self);
}

static uint8_t
one_more(uint8_t hits)
{
    return hits < UINT8_MAX ? (uint8_t)(hits + 1) : hits;
}

// It was here before and was evicted: it has its hits again, and one more.
static void
remember(struct policy_cascade_state *self, struct policy_cascade_entry *entry)
{
    struct policy_gone_block gone;

    if (policy_gone_take(&self->gone, entry->fingerprint, &gone)) {
        policy_curve_reuse(&self->curves, gone.hits,
                           (uint32_t)self->clock - gone.last_use);
        entry->hits = one_more(gone.hits);
    }
}

static void
note_eviction(struct policy_cascade_state *self, uint32_t number)
{
    const struct policy_cascade_entry *entry = &self->list[number];
    double age = (double)policy_cascade_age(self, number);

    policy_duel_limit(&self->duel, self->resident);
    if (!teaches(entry)) {
        return;
    }
    self->usual_age += self->gone.count == 0
                           ? age - self->usual_age
                           : (age - self->usual_age) * USUAL_AGE_SHARE;
    policy_gone_grow(&self->gone, self->resident);
    policy_gone_put(&self->gone, entry->fingerprint,
                    (uint32_t)self->nodes[number].key, entry->hits,
                    (uint32_t)self->clock);
}

static size_t
cascade_policy_state_bytes(uint32_t entries)
{
    return sizeof(struct policy_cascade_state) +
           entries * (sizeof(struct treap_node) +
                      sizeof(struct policy_cascade_entry)) +
           policy_gone_places(entries) * sizeof(struct policy_gone_block) +
           policy_duel_bytes(entries);
}

static void
cascade_policy_init(void *state, uint32_t entries,
                    const struct policy_parameters *parameters)
{
    struct policy_cascade_state *self = state;

    (void)parameters;
    self->nodes = (struct treap_node *)(self + 1);
    self->list = (struct policy_cascade_entry *)(self->nodes + entries);
    self->entries = entries;
    self->usual_age = entries;
    self->gone.blocks = (struct policy_gone_block *)(self->list + entries);
    self->gone.places = policy_gone_places(entries);
    policy_duel_init(&self->duel, self->gone.blocks + self->gone.places,
                     entries);
    policy_curve_init(&self->curves);
    for (uint32_t i = 0; i < POLICY_CASCADE_QUEUES; i++) {
        treap_init(&self->queues[i].tree, self->nodes);
        self->queues[i].first = POLICY_NONE;
    }
}

static void
cascade_policy_insert(void *state, uint32_t number,
                      const struct policy_facts *facts)
{
    struct policy_cascade_state *self = state;
    struct policy_cascade_entry *entry;

    check(number < self->entries);
    entry = &self->list[number];
    check(!entry->resident);
    policy_cascade_link(self, entry,
                        facts->parent); // before it could be its own
    self->clock++;
    self->resident++;
    if (number >= self->entries_used) {
        self->entries_used = number + 1;
    }
    entry->stay++;
    entry->children = 0;
    entry->fingerprint = (uint32_t)(facts->hash ^ facts->hash >> 32);
    entry->depth = facts->depth < UINT16_MAX ? (uint16_t)facts->depth
                                             : UINT16_MAX;
    entry->hits = 0;
    entry->flags = facts->flags & 7;
    entry->level = policy_cascade_level(facts->expected_reuse) & 15;
    entry->resident = 1;
    remember(self, entry);
    note_use(self, number);
    if (policy_cascade_may_go(entry)) {
        policy_cascade_enter(self, number);
    }
}

static void
cascade_policy_touch(void *state, uint32_t number)
{
    struct policy_cascade_state *self = state;
    struct policy_cascade_entry *entry = policy_cascade_find(self, number);

    if (entry == NULL) {
        return;
    }
    if (policy_cascade_may_go(entry)) {
        policy_cascade_leave(self, number);
    }
    self->clock++;
    if (teaches(entry)) {
        policy_curve_reuse(&self->curves, entry->hits,
                           policy_cascade_age(self, number));
    }
    entry->hits = one_more(entry->hits);
    entry->flags &= POLICY_PROTECTED;
    note_use(self, number);
    if (policy_cascade_may_go(entry)) {
        policy_cascade_enter(self, number);
    }
}

static void
cascade_policy_change(void *state, uint32_t number, uint32_t flags)
{
    struct policy_cascade_state *self = state;
    struct policy_cascade_entry *entry = policy_cascade_find(self, number);

    if (entry == NULL) {
        return;
    }
    if (policy_cascade_may_go(entry)) {
        policy_cascade_leave(self, number);
    }
    entry->flags = ((entry->flags & POLICY_PARTIAL) |
                    (flags & (POLICY_PROTECTED | POLICY_SESSION_END))) &
                   7;
    if (policy_cascade_may_go(entry)) {
        policy_cascade_enter(self, number);
    }
}

static void
cascade_policy_remove(void *state, uint32_t number, bool evicted)
{
    struct policy_cascade_state *self = state;
    struct policy_cascade_entry *entry = policy_cascade_find(self, number);

    if (entry == NULL) {
        return;
    }
    if (policy_cascade_may_go(entry)) {
        policy_cascade_leave(self, number);
    }
    if (evicted) {
        note_eviction(self, number);
    }
    entry->resident = 0;
    self->resident--;
    policy_cascade_unlink(self, number);
}

const struct policy_table policy_cascade = {
    .name = "cascade",
    .state_bytes = cascade_policy_state_bytes,
    .init = cascade_policy_init,
    .insert = cascade_policy_insert,
    .touch = cascade_policy_touch,
    .change = cascade_policy_change,
    .remove = cascade_policy_remove,
    .choose = policy_cascade_choose,
    .is_valid = policy_cascade_is_valid,
};
