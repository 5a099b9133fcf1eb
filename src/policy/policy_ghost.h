// SPDX-License-Identifier: Apache-2.0
//
// Blocks that are gone but remembered, by the hash of their content id: up to
// two lists, each from the oldest to the latest. Bounded: where there is no
// room the oldest of the longer list is forgotten. Two blocks with one hash are
// taken for one another; that misleads a policy and no reader.
//
// Invariant: a remembered hash is in exactly one list and one chain; the other
// nodes are in the list of free ones. No lock, as in policy.h.

#ifndef POLICY_POLICY_GHOST_H
#define POLICY_POLICY_GHOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_GHOST_LISTS 2
#define POLICY_GHOST_NONE UINT32_MAX

struct policy_ghost_node {
    uint64_t hash;
    uint64_t bytes;
    uint32_t older;
    uint32_t later; // or the next free one
    uint32_t chain;
    uint32_t list;
};

struct policy_ghost_list {
    uint64_t bytes;
    uint32_t oldest;
    uint32_t latest;
    uint32_t count;
};

struct policy_ghost {
    struct policy_ghost_list lists[POLICY_GHOST_LISTS];
    struct policy_ghost_node *nodes;
    uint32_t *chains;
    uint32_t chain_mask;
    uint32_t free;
    uint32_t entries;
};

// Bytes of memory to remember `entries` blocks, aligned for any type.
size_t
policy_ghost_bytes(uint32_t entries);

// Begins empty over that many bytes at `memory`. Returns the first behind.
void *
policy_ghost_init(struct policy_ghost *ghost, void *memory, uint32_t entries);

// Remembers a block as the latest of that list.
void
policy_ghost_add(struct policy_ghost *ghost, uint32_t list, uint64_t hash,
                 uint64_t bytes);

// Forgets a block. Returns the list that it was in; NONE: it is not known.
uint32_t
policy_ghost_take(struct policy_ghost *ghost, uint64_t hash);

// Forgets the oldest of a list until it has at most `bytes_max`.
void
policy_ghost_trim(struct policy_ghost *ghost, uint32_t list,
                  uint64_t bytes_max);

// For tests and checkers.
bool
policy_ghost_is_valid(const struct policy_ghost *ghost);

#endif
