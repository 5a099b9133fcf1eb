// SPDX-License-Identifier: Apache-2.0
//
// The queues of the default policy and who may be in them. Children before
// parents: entries that are protected or have resident children are in no
// queue, and a parent is at least as recent as its latest child.

#include "policy/policy_cascade.h"

#include "base/check.h"

const float policy_cascade_levels[POLICY_CASCADE_LEVELS] = {
    0.02f, 0.1f, 0.2f, 0.35f, 0.5f, 0.65f, 0.8f, 0.95f};

static bool
queues_are_valid(const struct policy_cascade_state *self)
{
    for (uint32_t i = 0; i < POLICY_CASCADE_QUEUES; i++) {
        const struct policy_cascade_queue *queue = &self->queues[i];

        if (treap_at_or_after(&queue->tree, 0) != queue->first ||
            !treap_is_valid(&queue->tree, self->entries, queue->count)) {
            return false;
        }
    }
    return true;
}

void
policy_cascade_enter(struct policy_cascade_state *self, uint32_t number)
{
    struct policy_cascade_queue *queue =
        &self->queues[policy_cascade_queue_of(&self->list[number])];
    uint64_t key = self->nodes[number].key;

    treap_insert(&queue->tree, number, key);
    queue->count++;
    if (queue->first == POLICY_NONE || key < self->nodes[queue->first].key) {
        queue->first = number;
    }
}

void
policy_cascade_leave(struct policy_cascade_state *self, uint32_t number)
{
    struct policy_cascade_queue *queue =
        &self->queues[policy_cascade_queue_of(&self->list[number])];

    treap_remove(&queue->tree, number);
    queue->count--;
    if (queue->first == number) {
        queue->first = treap_at_or_after(&queue->tree, self->nodes[number].key);
    }
}

void
policy_cascade_link(struct policy_cascade_state *self,
                    struct policy_cascade_entry *entry, uint32_t number)
{
    struct policy_cascade_entry *parent = policy_cascade_find(self, number);

    entry->parent = POLICY_NONE;
    if (parent == NULL) {
        return;
    }
    if (policy_cascade_may_go(parent)) {
        policy_cascade_leave(self, number);
    }
    parent->children++;
    entry->parent = number;
    entry->parent_stay = parent->stay;
}

void
policy_cascade_unlink(struct policy_cascade_state *self, uint32_t number)
{
    const struct policy_cascade_entry *entry = &self->list[number];
    struct policy_cascade_entry *parent = policy_cascade_parent(self, entry);

    if (parent == NULL) {
        return;
    }
    check(parent->children > 0);
    parent->children--;
    if (self->nodes[number].key > self->nodes[entry->parent].key) {
        // No two residents have one key; this one is none any more.
        self->nodes[entry->parent].key = self->nodes[number].key;
    }
    if (policy_cascade_may_go(parent)) {
        policy_cascade_enter(self, entry->parent);
    }
}

uint32_t
policy_cascade_level(float expected)
{
    uint32_t level = 1;

    if (!(expected > 0)) {
        return 0;
    }
    while (level < POLICY_CASCADE_LEVELS &&
           expected > (policy_cascade_levels[level - 1] +
                       policy_cascade_levels[level]) /
                          2) {
        level++;
    }
    return level;
}

bool
policy_cascade_is_valid(const void *state)
{
    const struct policy_cascade_state *self = state;
    uint64_t links = 0;
    uint64_t children = 0;
    uint64_t queued = 0;
    uint32_t resident = 0;

    if (!queues_are_valid(self) || !policy_duel_is_valid(&self->duel)) {
        return false;
    }
    for (uint32_t i = 0; i < POLICY_CASCADE_QUEUES; i++) {
        queued += self->queues[i].count;
    }
    for (uint32_t i = 0; i < self->entries; i++) {
        const struct policy_cascade_entry *entry = &self->list[i];

        if (!entry->resident) {
            continue;
        }
        resident++;
        children += entry->children;
        links += policy_cascade_parent(self, entry) != NULL;
        if (policy_cascade_may_go(entry)) {
            queued--;
            if (treap_at_or_after(
                    &self->queues[policy_cascade_queue_of(entry)].tree,
                    self->nodes[i].key) != i) {
                return false;
            }
        }
    }
    return links == children && queued == 0 && resident == self->resident;
}
