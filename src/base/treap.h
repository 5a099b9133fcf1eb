// SPDX-License-Identifier: Apache-2.0
//
// An ordered set of small integers, each under a 64-bit key: a treap whose
// nodes lie in the caller's array and link by index, so that it takes no memory
// and could live in memory shared between processes. Search, insert and remove
// take expected O(log n). Priorities are a mix of the index: no seed, and equal
// calls give equal trees (Seidel and Aragon, "Randomized search trees", 1996).
//
// Invariant: keys of one tree are distinct; a node is in at most one tree.
// No lock: the owner of the array has one.

#ifndef BASE_TREAP_H
#define BASE_TREAP_H

#include <stdbool.h>
#include <stdint.h>

#define TREAP_NONE UINT32_MAX

struct treap_node {
    uint64_t key;
    uint32_t left;
    uint32_t right;
};

struct treap {
    struct treap_node *nodes; // the caller's
    uint32_t root;            // TREAP_NONE = empty
};

static inline void
treap_init(struct treap *tree, struct treap_node *nodes)
{
    tree->nodes = nodes;
    tree->root = TREAP_NONE;
}

// Adds the node under the key. It is in no tree; the key is not in this one.
void
treap_insert(struct treap *tree, uint32_t node, uint64_t key);

// Takes out a node that is in the tree.
void
treap_remove(struct treap *tree, uint32_t node);

// The node with the least key that is not before `key`; TREAP_NONE: none.
uint32_t
treap_at_or_after(const struct treap *tree, uint64_t key);

// The node with the greatest key that is not after `key`; TREAP_NONE: none.
uint32_t
treap_at_or_before(const struct treap *tree, uint64_t key);

// For tests and checkers: order and heap property hold and the tree has exactly
// `count` nodes, all below `nodes_max`. Bounded even if the links are damaged.
bool
treap_is_valid(const struct treap *tree, uint32_t nodes_max, uint32_t count);

#endif
