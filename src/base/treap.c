// SPDX-License-Identifier: Apache-2.0
//
// Insert by splitting, remove by merging, both from the top down without
// recursion: each keeps a pointer to the link that is to be written next.

#include "base/treap.h"

#include "base/check.h"

// A bijection, so no two nodes have one priority.
static uint32_t
priority(uint32_t node)
{
    uint32_t mixed = node + UINT32_C(0x9e3779b9);

    mixed = (mixed ^ (mixed >> 16)) * UINT32_C(0x85ebca6b);
    mixed = (mixed ^ (mixed >> 13)) * UINT32_C(0xc2b2ae35);
    return mixed ^ (mixed >> 16);
}

// The link that leads from `link` towards the key.
static uint32_t *
step_towards(const struct treap *tree, uint32_t *link, uint64_t key)
{
    struct treap_node *node = &tree->nodes[*link];

    return key < node->key ? &node->left : &node->right;
}

void
treap_insert(struct treap *tree, uint32_t node, uint64_t key)
{
    struct treap_node *self = &tree->nodes[node];
    uint32_t *link = &tree->root;
    uint32_t *lesser = &self->left;
    uint32_t *greater = &self->right;
    uint32_t below;

    while (*link != TREAP_NONE && priority(*link) > priority(node)) {
        link = step_towards(tree, link, key);
    }
    below = *link;
    *link = node;
    self->key = key;
    while (below != TREAP_NONE) {
        struct treap_node *next = &tree->nodes[below];

        if (next->key < key) {
            *lesser = below;
            lesser = &next->right;
            below = next->right;
        } else {
            *greater = below;
            greater = &next->left;
            below = next->left;
        }
    }
    *lesser = TREAP_NONE;
    *greater = TREAP_NONE;
}

void
treap_remove(struct treap *tree, uint32_t node)
{
    struct treap_node *self = &tree->nodes[node];
    uint32_t *link = &tree->root;
    uint32_t left = self->left;
    uint32_t right = self->right;

    while (*link != node) {
        check(*link != TREAP_NONE); // else it was not in this tree
        link = step_towards(tree, link, self->key);
    }
    while (left != TREAP_NONE && right != TREAP_NONE) {
        if (priority(left) > priority(right)) {
            *link = left;
            link = &tree->nodes[left].right;
            left = *link;
        } else {
            *link = right;
            link = &tree->nodes[right].left;
            right = *link;
        }
    }
    *link = left != TREAP_NONE ? left : right;
    self->left = TREAP_NONE;
    self->right = TREAP_NONE;
}

uint32_t
treap_at_or_after(const struct treap *tree, uint64_t key)
{
    uint32_t found = TREAP_NONE;
    uint32_t node = tree->root;

    while (node != TREAP_NONE) {
        if (tree->nodes[node].key >= key) {
            found = node;
            node = tree->nodes[node].left;
        } else {
            node = tree->nodes[node].right;
        }
    }
    return found;
}

uint32_t
treap_at_or_before(const struct treap *tree, uint64_t key)
{
    uint32_t found = TREAP_NONE;
    uint32_t node = tree->root;

    while (node != TREAP_NONE) {
        if (tree->nodes[node].key <= key) {
            found = node;
            node = tree->nodes[node].right;
        } else {
            node = tree->nodes[node].left;
        }
    }
    return found;
}

// Counts the nodes below `node` whose keys lie in the bounds; more than
// `limit`, or any fault, gives more than `limit`. Recursion is as deep as the
// tree, and `depth` bounds it.
static uint64_t
count_valid(const struct treap *tree, uint32_t node, uint32_t nodes_max,
            uint64_t least, uint64_t greatest, uint64_t limit, int depth)
{
    const struct treap_node *self;
    uint64_t count = 1;

    if (node == TREAP_NONE) {
        return 0;
    }
    if (node >= nodes_max || depth == 0 || limit == 0) {
        return limit + 1;
    }
    self = &tree->nodes[node];
    if (self->key < least || self->key > greatest) {
        return limit + 1;
    }
    if (self->left != TREAP_NONE) {
        if (self->left >= nodes_max || self->key == 0 ||
            priority(self->left) > priority(node)) {
            return limit + 1;
        }
        count += count_valid(tree, self->left, nodes_max, least, self->key - 1,
                             limit - count, depth - 1);
    }
    if (self->right != TREAP_NONE && count <= limit) {
        if (self->right >= nodes_max || self->key == UINT64_MAX ||
            priority(self->right) > priority(node)) {
            return limit + 1;
        }
        count += count_valid(tree, self->right, nodes_max, self->key + 1,
                             greatest, limit - count, depth - 1);
    }
    return count;
}

bool
treap_is_valid(const struct treap *tree, uint32_t nodes_max, uint32_t count)
{
    // Far beyond the depth that mixed priorities give to any number of nodes.
    const int depth_max = 400;

    return count_valid(tree, tree->root, nodes_max, 0, UINT64_MAX, count,
                       depth_max) == count;
}
