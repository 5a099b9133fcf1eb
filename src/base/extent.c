// SPDX-License-Identifier: Apache-2.0
//
// Best fit over extents counted in granules. Every extent, used or free, is a
// node of a list in address order; the free ones are in a tree by (granules,
// offset). A node's key holds both numbers, so 24 bytes tell all of it. Nodes
// are taken in order before any is used again, so untouched ones cost nothing.
//
// Lock: none here, the owner's.

#include "base/extent.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/treap.h"
#include "base/units.h"

// In `right` of a used node, which is not in the tree; `left` is its owner.
#define USED (TREAP_NONE - 1)
#define EXTENTS_MAX ((uint32_t)1 << 30)

struct neighbours {
    uint32_t previous; // EXTENT_NONE at the low end
    uint32_t next;     // EXTENT_NONE at the high end; also links spare nodes
};

struct extent_map {
    const struct allocator *allocator;
    struct treap free; // by key_of(granules, offset)
    struct neighbours *list;
    uint64_t granule_bytes;
    uint32_t granules;
    uint32_t extents_max; // used ones
    uint32_t nodes_max;
    uint32_t first; // of the list
    uint32_t spare; // given back nodes
    uint32_t fresh; // nodes never taken begin here
    uint32_t used_extents;
    uint32_t free_extents;
    uint32_t used_granules;
};

static uint64_t
key_of(uint32_t granules, uint32_t offset)
{
    return (uint64_t)granules << 32 | offset;
}

static uint32_t
granules_of(const struct extent_map *map, uint32_t node)
{
    return (uint32_t)(map->free.nodes[node].key >> 32);
}

static uint32_t
offset_of(const struct extent_map *map, uint32_t node)
{
    return (uint32_t)map->free.nodes[node].key;
}

static bool
is_used(const struct extent_map *map, uint32_t node)
{
    return map->free.nodes[node].right == USED;
}

static bool
is_free(const struct extent_map *map, uint32_t node)
{
    return node != EXTENT_NONE && !is_used(map, node);
}

static uint32_t
take_node(struct extent_map *map)
{
    uint32_t node = map->spare;

    if (node != EXTENT_NONE) {
        map->spare = map->list[node].next;
        return node;
    }
    check(map->fresh < map->nodes_max);
    return map->fresh++;
}

// Takes the node out of the list and makes it a spare one.
static void
drop_node(struct extent_map *map, uint32_t node)
{
    struct neighbours *self = &map->list[node];

    if (self->previous != EXTENT_NONE) {
        map->list[self->previous].next = self->next;
    } else {
        map->first = self->next;
    }
    if (self->next != EXTENT_NONE) {
        map->list[self->next].previous = self->previous;
    }
    self->next = map->spare;
    map->spare = node;
}

static uint32_t
add_node_after(struct extent_map *map, uint32_t node)
{
    uint32_t added = take_node(map);
    uint32_t next = map->list[node].next;

    map->list[added] = (struct neighbours){.previous = node, .next = next};
    map->list[node].next = added;
    if (next != EXTENT_NONE) {
        map->list[next].previous = added;
    }
    return added;
}

static void
add_free(struct extent_map *map, uint32_t node, uint32_t granules,
         uint32_t offset)
{
    treap_insert(&map->free, node, key_of(granules, offset));
    map->free_extents++;
}

static void
remove_free(struct extent_map *map, uint32_t node)
{
    treap_remove(&map->free, node);
    map->free_extents--;
}

static void
begin(struct extent_map *map)
{
    treap_init(&map->free, map->free.nodes);
    map->spare = EXTENT_NONE;
    map->fresh = 0;
    map->used_extents = 0;
    map->free_extents = 0;
    map->used_granules = 0;
    map->first = take_node(map);
    map->list[map->first] = (struct neighbours){EXTENT_NONE, EXTENT_NONE};
    add_free(map, map->first, map->granules, 0);
}

// The free extent of least sufficient size: of several the lowest for big
// requests, the highest for small ones.
static uint32_t
find_best(const struct extent_map *map, uint32_t granules, bool big)
{
    uint32_t node = treap_at_or_after(&map->free, key_of(granules, 0));

    if (node == TREAP_NONE || big) {
        return node;
    }
    return treap_at_or_before(&map->free,
                              key_of(granules_of(map, node), UINT32_MAX));
}

// Cuts the request from its end of the free extent; the node of the used part.
static uint32_t
cut(struct extent_map *map, uint32_t node, uint32_t granules, bool big)
{
    uint32_t offset = offset_of(map, node);
    uint32_t rest = granules_of(map, node) - granules;
    uint32_t used = node;

    remove_free(map, node);
    if (rest > 0) {
        uint32_t added = add_node_after(map, node);

        if (big) {
            add_free(map, added, rest, offset + granules);
        } else {
            add_free(map, node, rest, offset);
            used = added;
            offset += rest;
        }
    }
    map->free.nodes[used].key = key_of(granules, offset);
    return used;
}

static void
describe(const struct extent_map *map, uint32_t node, struct extent *extent)
{
    bool used = is_used(map, node);

    *extent = (struct extent){
        .offset = offset_of(map, node) * map->granule_bytes,
        .bytes = granules_of(map, node) * map->granule_bytes,
        .number = node,
        .owner = used ? map->free.nodes[node].left : EXTENT_NONE,
        .used = used,
    };
}

enum cascade_status
extent_create(const struct allocator *allocator, uint64_t capacity_bytes,
              uint64_t granule_bytes, uint32_t extents_max,
              struct extent_map **map)
{
    struct extent_map *made;
    uint64_t granules;

    if (granule_bytes == 0 || (granule_bytes & (granule_bytes - 1)) != 0) {
        return error_set(CASCADE_INVALID,
                         "a granule of %llu bytes is not a power of two",
                         (unsigned long long)granule_bytes);
    }
    granules = capacity_bytes / granule_bytes;
    if (granules == 0 || granules > UINT32_MAX) {
        return error_set(CASCADE_INVALID,
                         "%llu bytes are not 1 to %u granules of %llu bytes; "
                         "choose another granule",
                         (unsigned long long)capacity_bytes, UINT32_MAX,
                         (unsigned long long)granule_bytes);
    }
    if (extents_max == 0 || extents_max > EXTENTS_MAX) {
        return error_set(CASCADE_INVALID, "%u extents are not 1 to %u",
                         extents_max, EXTENTS_MAX);
    }
    made = allocator_array(allocator, 1, sizeof(*made));
    if (made == NULL) {
        goto no_memory;
    }
    made->allocator = allocator;
    made->granule_bytes = granule_bytes;
    made->granules = (uint32_t)granules;
    made->extents_max = extents_max;
    // Between, before and after the used ones there is at most one free each.
    made->nodes_max = 2 * extents_max + 1;
    made->free.nodes = allocator_array(allocator, made->nodes_max,
                                       sizeof(struct treap_node));
    made->list = allocator_array(allocator, made->nodes_max,
                                 sizeof(struct neighbours));
    if (made->free.nodes == NULL || made->list == NULL) {
        goto no_memory;
    }
    begin(made);
    *map = made;
    return CASCADE_OK;

no_memory:
    extent_destroy(made);
    return error_set(CASCADE_NO_MEMORY, "no memory for %u extents",
                     extents_max);
}

void
extent_destroy(struct extent_map *map)
{
    if (map != NULL) {
        allocator_release(map->allocator, map->free.nodes);
        allocator_release(map->allocator, map->list);
        allocator_release(map->allocator, map);
    }
}

enum cascade_status
extent_allocate(struct extent_map *map, uint64_t bytes, uint32_t owner,
                struct extent *extent)
{
    bool big = bytes >= EXTENT_BIG_BYTES;
    uint32_t granules;
    uint32_t node;

    if (bytes == 0) {
        *extent = (struct extent){
            .number = EXTENT_NONE, .owner = owner, .used = true};
        return CASCADE_OK;
    }
    if (bytes > map->granules * map->granule_bytes) {
        return CASCADE_TOO_LARGE;
    }
    granules = (uint32_t)((bytes - 1) / map->granule_bytes + 1);
    node = find_best(map, granules, big);
    if (node == TREAP_NONE || map->used_extents == map->extents_max) {
        return CASCADE_NO_SPACE;
    }
    node = cut(map, node, granules, big);
    map->free.nodes[node].left = owner;
    map->free.nodes[node].right = USED;
    map->used_extents++;
    map->used_granules += granules;
    describe(map, node, extent);
    return CASCADE_OK;
}

void
extent_release(struct extent_map *map, uint32_t number)
{
    uint32_t granules;
    uint32_t offset;
    uint32_t below;
    uint32_t above;

    if (number == EXTENT_NONE) {
        return;
    }
    check(number < map->fresh && is_used(map, number));
    granules = granules_of(map, number);
    offset = offset_of(map, number);
    below = map->list[number].previous;
    above = map->list[number].next;
    map->used_extents--;
    map->used_granules -= granules;
    if (is_free(map, above)) {
        remove_free(map, above);
        granules += granules_of(map, above);
        drop_node(map, above);
    }
    if (is_free(map, below)) {
        remove_free(map, below);
        granules += granules_of(map, below);
        offset = offset_of(map, below);
        drop_node(map, below);
    }
    add_free(map, number, granules, offset);
}

void
extent_clear(struct extent_map *map)
{
    begin(map);
}

bool
extent_first(const struct extent_map *map, struct extent *extent)
{
    describe(map, map->first, extent);
    return true;
}

bool
extent_at(const struct extent_map *map, uint32_t number, struct extent *extent)
{
    if (number == EXTENT_NONE) {
        return false;
    }
    describe(map, number, extent);
    return true;
}

bool
extent_next(const struct extent_map *map, uint32_t number,
            struct extent *extent)
{
    uint32_t next = map->list[number].next;

    if (next == EXTENT_NONE) {
        return false;
    }
    describe(map, next, extent);
    return true;
}

bool
extent_previous(const struct extent_map *map, uint32_t number,
                struct extent *extent)
{
    uint32_t previous = map->list[number].previous;

    if (previous == EXTENT_NONE) {
        return false;
    }
    describe(map, previous, extent);
    return true;
}

void
extent_read_usage(const struct extent_map *map, struct extent_usage *usage)
{
    uint32_t largest = treap_at_or_before(&map->free, UINT64_MAX);

    *usage = (struct extent_usage){
        .capacity_bytes = map->granules * map->granule_bytes,
        .used_bytes = map->used_granules * map->granule_bytes,
        .largest_free_bytes = largest == TREAP_NONE
                                  ? 0
                                  : granules_of(map, largest) *
                                        map->granule_bytes,
        .used_extents = map->used_extents,
        .free_extents = map->free_extents,
    };
}

bool
extent_is_valid(const struct extent_map *map)
{
    uint64_t end = 0;
    uint64_t used_granules = 0;
    uint32_t used = 0;
    uint32_t free = 0;
    uint32_t previous = EXTENT_NONE;

    for (uint32_t node = map->first; node != EXTENT_NONE;
         node = map->list[node].next) {
        if (node >= map->fresh || granules_of(map, node) == 0 ||
            offset_of(map, node) != end ||
            map->list[node].previous != previous) {
            return false;
        }
        if (is_used(map, node)) {
            used++;
            used_granules += granules_of(map, node);
        } else {
            free++;
            if (is_free(map, previous) ||
                treap_at_or_after(&map->free, map->free.nodes[node].key) !=
                    node) {
                return false;
            }
        }
        end += granules_of(map, node);
        previous = node;
    }
    return end == map->granules && used == map->used_extents &&
           used <= map->extents_max && free == map->free_extents &&
           used_granules == map->used_granules &&
           treap_is_valid(&map->free, map->nodes_max, free);
}
