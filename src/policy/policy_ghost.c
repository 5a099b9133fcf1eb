// SPDX-License-Identifier: Apache-2.0
//
// A table of chains over one array of nodes, which are linked into lists.

#include "policy/policy_ghost.h"

#include <stdalign.h>

// A power of two, so that all that lies behind stays aligned.
static uint32_t
chain_count(uint32_t entries)
{
    uint32_t count = 16;

    while (count < entries && count < UINT32_C(1) << 31) {
        count *= 2;
    }
    return count;
}

// Ids may be small numbers: spread them.
static uint32_t *
chain_of(const struct policy_ghost *ghost, uint64_t hash)
{
    uint64_t mixed = hash * UINT64_C(0x9e3779b97f4a7c15);

    return &ghost->chains[(uint32_t)(mixed >> 32) & ghost->chain_mask];
}

// The link that names the hash, or the end of its chain.
static uint32_t *
find(const struct policy_ghost *ghost, uint64_t hash)
{
    uint32_t *link = chain_of(ghost, hash);

    while (*link != POLICY_GHOST_NONE && ghost->nodes[*link].hash != hash) {
        link = &ghost->nodes[*link].chain;
    }
    return link;
}

static void
forget(struct policy_ghost *ghost, uint32_t *link)
{
    uint32_t number = *link;
    struct policy_ghost_node *node = &ghost->nodes[number];
    struct policy_ghost_list *list = &ghost->lists[node->list];

    *link = node->chain;
    if (node->older != POLICY_GHOST_NONE) {
        ghost->nodes[node->older].later = node->later;
    } else {
        list->oldest = node->later;
    }
    if (node->later != POLICY_GHOST_NONE) {
        ghost->nodes[node->later].older = node->older;
    } else {
        list->latest = node->older;
    }
    list->bytes -= node->bytes;
    list->count--;
    node->later = ghost->free;
    ghost->free = number;
}

static void
forget_oldest(struct policy_ghost *ghost, uint32_t list)
{
    uint32_t oldest = ghost->lists[list].oldest;

    forget(ghost, find(ghost, ghost->nodes[oldest].hash));
}

size_t
policy_ghost_bytes(uint32_t entries)
{
    return entries * sizeof(struct policy_ghost_node) +
           chain_count(entries) * sizeof(uint32_t);
}

void *
policy_ghost_init(struct policy_ghost *ghost, void *memory, uint32_t entries)
{
    uint32_t chains = chain_count(entries);

    ghost->nodes = memory;
    ghost->chains = (uint32_t *)(ghost->nodes + entries);
    ghost->chain_mask = chains - 1;
    ghost->entries = entries;
    ghost->free = POLICY_GHOST_NONE;
    for (uint32_t i = 0; i < chains; i++) {
        ghost->chains[i] = POLICY_GHOST_NONE;
    }
    for (uint32_t i = entries; i-- > 0;) {
        ghost->nodes[i].later = ghost->free;
        ghost->free = i;
    }
    for (uint32_t i = 0; i < POLICY_GHOST_LISTS; i++) {
        ghost->lists[i].oldest = POLICY_GHOST_NONE;
        ghost->lists[i].latest = POLICY_GHOST_NONE;
    }
    return ghost->chains + chains;
}

void
policy_ghost_add(struct policy_ghost *ghost, uint32_t list, uint64_t hash,
                 uint64_t bytes)
{
    struct policy_ghost_list *to = &ghost->lists[list];
    struct policy_ghost_node *node;
    uint32_t number;

    (void)policy_ghost_take(ghost, hash);
    if (ghost->free == POLICY_GHOST_NONE) {
        if (ghost->entries == 0) {
            return;
        }
        forget_oldest(ghost,
                      ghost->lists[0].count >= ghost->lists[1].count ? 0 : 1);
    }
    number = ghost->free;
    node = &ghost->nodes[number];
    ghost->free = node->later;
    node->hash = hash;
    node->bytes = bytes;
    node->list = list;
    node->chain = *chain_of(ghost, hash);
    *chain_of(ghost, hash) = number;
    node->older = to->latest;
    node->later = POLICY_GHOST_NONE;
    if (to->latest != POLICY_GHOST_NONE) {
        ghost->nodes[to->latest].later = number;
    } else {
        to->oldest = number;
    }
    to->latest = number;
    to->bytes += bytes;
    to->count++;
}

uint32_t
policy_ghost_take(struct policy_ghost *ghost, uint64_t hash)
{
    uint32_t *link = find(ghost, hash);
    uint32_t list;

    if (*link == POLICY_GHOST_NONE) {
        return POLICY_GHOST_NONE;
    }
    list = ghost->nodes[*link].list;
    forget(ghost, link);
    return list;
}

void
policy_ghost_trim(struct policy_ghost *ghost, uint32_t list, uint64_t bytes_max)
{
    while (ghost->lists[list].bytes > bytes_max) {
        forget_oldest(ghost, list);
    }
}

bool
policy_ghost_is_valid(const struct policy_ghost *ghost)
{
    uint64_t known = 0;
    uint64_t free = 0;

    for (uint32_t i = 0; i < POLICY_GHOST_LISTS; i++) {
        const struct policy_ghost_list *list = &ghost->lists[i];
        uint32_t older = POLICY_GHOST_NONE;
        uint64_t bytes = 0;
        uint32_t count = 0;

        for (uint32_t node = list->oldest; node != POLICY_GHOST_NONE;
             node = ghost->nodes[node].later) {
            if (node >= ghost->entries || count == ghost->entries ||
                ghost->nodes[node].older != older ||
                ghost->nodes[node].list != i ||
                *find(ghost, ghost->nodes[node].hash) != node) {
                return false;
            }
            older = node;
            bytes += ghost->nodes[node].bytes;
            count++;
        }
        if (list->latest != older || list->bytes != bytes ||
            list->count != count) {
            return false;
        }
        known += count;
    }
    for (uint32_t node = ghost->free;
         node != POLICY_GHOST_NONE && free <= ghost->entries;
         node = ghost->nodes[node].later) {
        free++;
    }
    return known + free == ghost->entries;
}
