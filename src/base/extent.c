// SPDX-License-Identifier: Apache-2.0
//
// Best fit over extents counted in granules. Every extent, used or free, is in
// a list in address order; the free ones are in a tree by (granules, offset).
// One number holds both, so that 16 bytes tell all of a used extent and 24 of a
// free one. Numbers below extents_max are the owner's, for used extents; the
// free ones follow, taken in order before any is used again, so that untouched
// ones cost nothing.
//
// Lock: none here, the owner's.

#include "base/extent.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/treap.h"
#include "base/units.h"

#define EXTENTS_MAX ((uint32_t)1 << 30)

struct neighbours {
    uint32_t previous; // EXTENT_NONE at the low end
    uint32_t next;     // EXTENT_NONE at the high end; also links spare ones
};

struct extent_map {
    const struct allocator *allocator;
    struct treap free;       // by key_of(granules, offset)
    uint64_t *used;          // the same per used number; 0 = has no space
    struct neighbours *list; // of used numbers, then of free ones
    uint64_t granule_bytes;
    uint32_t granules;
    uint32_t extents_max; // used ones
    uint32_t first;       // of the list
    uint32_t spare;       // free numbers that were given back
    uint32_t fresh;       // free numbers never taken begin here
    uint32_t used_extents;
    uint32_t free_extents;
    uint32_t used_granules;
};

static uint64_t
key_of(uint32_t granules, uint32_t offset)
{
    return (uint64_t)granules << 32 | offset;
}

static bool
is_used(const struct extent_map *map, uint32_t number)
{
    return number < map->extents_max;
}

static bool
is_free(const struct extent_map *map, uint32_t number)
{
    return number != EXTENT_NONE && !is_used(map, number);
}

static uint64_t
key_at(const struct extent_map *map, uint32_t number)
{
    return is_used(map, number)
               ? map->used[number]
               : map->free.nodes[number - map->extents_max].key;
}

static uint32_t
granules_of(const struct extent_map *map, uint32_t number)
{
    return (uint32_t)(key_at(map, number) >> 32);
}

static uint32_t
offset_of(const struct extent_map *map, uint32_t number)
{
    return (uint32_t)key_at(map, number);
}

// Between, before and after the used ones there is at most one free each, so
// there is always one more.
static uint32_t
take_free_number(struct extent_map *map)
{
    uint32_t number = map->spare;

    if (number != EXTENT_NONE) {
        map->spare = map->list[number].next;
        return number;
    }
    check(map->fresh <= 2 * map->extents_max);
    return map->fresh++;
}

static void
give_free_number(struct extent_map *map, uint32_t number)
{
    map->list[number].next = map->spare;
    map->spare = number;
}

// Puts the number where it has these neighbours.
static void
link_between(struct extent_map *map, uint32_t previous, uint32_t number,
             uint32_t next)
{
    map->list[number] = (struct neighbours){previous, next};
    if (previous != EXTENT_NONE) {
        map->list[previous].next = number;
    } else {
        map->first = number;
    }
    if (next != EXTENT_NONE) {
        map->list[next].previous = number;
    }
}

static void
unlink_number(struct extent_map *map, uint32_t number)
{
    struct neighbours self = map->list[number];

    if (self.previous != EXTENT_NONE) {
        map->list[self.previous].next = self.next;
    } else {
        map->first = self.next;
    }
    if (self.next != EXTENT_NONE) {
        map->list[self.next].previous = self.previous;
    }
}

static void
add_free(struct extent_map *map, uint32_t number, uint32_t granules,
         uint32_t offset)
{
    treap_insert(&map->free, number - map->extents_max,
                 key_of(granules, offset));
    map->free_extents++;
}

static void
remove_free(struct extent_map *map, uint32_t number)
{
    treap_remove(&map->free, number - map->extents_max);
    map->free_extents--;
}

static void
begin(struct extent_map *map)
{
    treap_init(&map->free, map->free.nodes);
    map->spare = EXTENT_NONE;
    map->fresh = map->extents_max;
    map->used_extents = 0;
    map->free_extents = 0;
    map->used_granules = 0;
    map->first = take_free_number(map);
    map->list[map->first] = (struct neighbours){EXTENT_NONE, EXTENT_NONE};
    add_free(map, map->first, map->granules, 0);
}

// The free extent of least sufficient size: of several the lowest for big
// requests, the highest for small ones.
static uint32_t
find_best(const struct extent_map *map, uint32_t granules, bool big)
{
    uint32_t node = treap_at_or_after(&map->free, key_of(granules, 0));

    if (node != TREAP_NONE && !big) {
        uint32_t size = (uint32_t)(map->free.nodes[node].key >> 32);

        node = treap_at_or_before(&map->free, key_of(size, UINT32_MAX));
    }
    return node == TREAP_NONE ? EXTENT_NONE : node + map->extents_max;
}

// Cuts the request from its end of the free extent.
static void
cut(struct extent_map *map, uint32_t from, uint32_t granules, bool big,
    uint32_t number)
{
    struct neighbours around = map->list[from];
    uint32_t offset = offset_of(map, from);
    uint32_t rest = granules_of(map, from) - granules;

    remove_free(map, from);
    if (rest == 0) {
        give_free_number(map, from);
        link_between(map, around.previous, number, around.next);
    } else if (big) {
        link_between(map, around.previous, number, from);
        add_free(map, from, rest, offset + granules);
    } else {
        link_between(map, from, number, around.next);
        add_free(map, from, rest, offset);
        offset += rest;
    }
    map->used[number] = key_of(granules, offset);
}

static void
describe(const struct extent_map *map, uint32_t number, struct extent *extent)
{
    *extent = (struct extent){
        .offset = offset_of(map, number) * map->granule_bytes,
        .bytes = granules_of(map, number) * map->granule_bytes,
        .number = number,
        .used = is_used(map, number),
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
    made->used = allocator_array(allocator, extents_max, sizeof(uint64_t));
    made->free.nodes = allocator_array(allocator, (size_t)extents_max + 1,
                                       sizeof(struct treap_node));
    made->list = allocator_array(allocator, 2 * (size_t)extents_max + 1,
                                 sizeof(struct neighbours));
    if (made->used == NULL || made->free.nodes == NULL || made->list == NULL) {
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
        allocator_release(map->allocator, map->used);
        allocator_release(map->allocator, map->free.nodes);
        allocator_release(map->allocator, map->list);
        allocator_release(map->allocator, map);
    }
}

enum cascade_status
extent_allocate(struct extent_map *map, uint64_t bytes, uint32_t number,
                struct extent *extent)
{
    bool big = bytes >= EXTENT_BIG_BYTES;
    uint32_t granules;
    uint32_t from;

    check(number < map->extents_max && map->used[number] == 0);
    if (bytes == 0) {
        *extent = (struct extent){.number = number, .used = true};
        return CASCADE_OK;
    }
    if (bytes > map->granules * map->granule_bytes) {
        return CASCADE_TOO_LARGE;
    }
    granules = (uint32_t)((bytes - 1) / map->granule_bytes + 1);
    from = find_best(map, granules, big);
    if (from == EXTENT_NONE) {
        return CASCADE_NO_SPACE;
    }
    cut(map, from, granules, big, number);
    map->used_extents++;
    map->used_granules += granules;
    describe(map, number, extent);
    return CASCADE_OK;
}

// Cuts the request from the middle of the free extent.
static void
cut_at(struct extent_map *map, uint32_t from, uint32_t granules, uint32_t at,
       uint32_t number)
{
    struct neighbours around = map->list[from];
    uint32_t low = at - offset_of(map, from);
    uint32_t high = granules_of(map, from) - low - granules;
    uint32_t above;

    if (low == 0 || high == 0) {
        cut(map, from, granules, low == 0, number);
        return;
    }
    remove_free(map, from);
    add_free(map, from, low, at - low);
    above = take_free_number(map);
    link_between(map, from, number, around.next);
    link_between(map, number, above, around.next);
    add_free(map, above, high, at + granules);
    map->used[number] = key_of(granules, at);
}

enum cascade_status
extent_allocate_at(struct extent_map *map, uint64_t offset, uint64_t bytes,
                   uint32_t number, struct extent *extent)
{
    uint64_t at = offset / map->granule_bytes;
    uint64_t granules = (bytes + map->granule_bytes - 1) / map->granule_bytes;
    uint32_t from = map->first;

    check(number < map->extents_max && map->used[number] == 0);
    check(bytes > 0 && offset % map->granule_bytes == 0);
    while (from != EXTENT_NONE &&
           (uint64_t)offset_of(map, from) + granules_of(map, from) <= at) {
        from = map->list[from].next;
    }
    if (!is_free(map, from) || at + granules > (uint64_t)offset_of(map, from) +
                                                   granules_of(map, from)) {
        return CASCADE_NO_SPACE;
    }
    cut_at(map, from, (uint32_t)granules, (uint32_t)at, number);
    map->used_extents++;
    map->used_granules += (uint32_t)granules;
    describe(map, number, extent);
    return CASCADE_OK;
}

void
extent_swap(struct extent_map *map, uint32_t one, uint32_t other)
{
    struct neighbours ones;
    struct neighbours others;
    uint64_t key;

    check(one < map->extents_max && other < map->extents_max);
    check(one != other && map->used[one] != 0 && map->used[other] != 0);
    if (map->list[other].next == one) {
        uint32_t lower = other;

        other = one;
        one = lower;
    }
    ones = map->list[one];
    others = map->list[other];
    if (ones.next == other) {
        link_between(map, ones.previous, other, one);
        link_between(map, other, one, others.next);
    } else {
        link_between(map, ones.previous, other, ones.next);
        link_between(map, others.previous, one, others.next);
    }
    key = map->used[one];
    map->used[one] = map->used[other];
    map->used[other] = key;
}

void
extent_read(const struct extent_map *map, uint32_t number,
            struct extent *extent)
{
    check(number < map->extents_max);
    describe(map, number, extent);
}

void
extent_release(struct extent_map *map, uint32_t number)
{
    uint32_t granules = granules_of(map, number);
    uint32_t offset = offset_of(map, number);
    uint32_t below;
    uint32_t above;
    uint32_t merged = EXTENT_NONE;

    check(number < map->extents_max);
    if (granules == 0) {
        return;
    }
    map->used[number] = 0;
    map->used_extents--;
    map->used_granules -= granules;
    below = map->list[number].previous;
    above = map->list[number].next;
    if (is_free(map, above)) {
        remove_free(map, above);
        granules += granules_of(map, above);
        merged = above;
    }
    if (is_free(map, below)) {
        remove_free(map, below);
        granules += granules_of(map, below);
        offset = offset_of(map, below);
        if (merged != EXTENT_NONE) {
            unlink_number(map, merged);
            give_free_number(map, merged);
        }
        merged = below;
    }
    if (merged != EXTENT_NONE) {
        unlink_number(map, number);
    } else {
        merged = take_free_number(map);
        link_between(map, below, merged, above);
    }
    add_free(map, merged, granules, offset);
}

void
extent_clear(struct extent_map *map)
{
    memset(map->used, 0, map->extents_max * sizeof(uint64_t));
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

size_t
extent_bytes_per_extent(void)
{
    return sizeof(uint64_t) + sizeof(struct treap_node) +
           2 * sizeof(struct neighbours);
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
                                  : (map->free.nodes[largest].key >> 32) *
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
                treap_at_or_after(&map->free, key_at(map, node)) +
                        map->extents_max !=
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
           treap_is_valid(&map->free, map->extents_max + 1, free);
}
