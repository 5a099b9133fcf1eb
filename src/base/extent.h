// SPDX-License-Identifier: Apache-2.0
//
// Hands out extents of a flat range, best fit with coalescing. It never touches
// the range itself, so the range may be shared memory, device memory or a file.
// Requests of EXTENT_BIG_BYTES and more are cut from the low end of the free
// extent that fits best, smaller ones from the high end, so that small blocks
// do not wall off the room of big ones. It does not choose what to evict.
//
// Invariant: the extents, used and free, tile the range without gap or overlap
// in address order, and no two free ones are neighbours.
//
// No lock: the owner has one. All memory is taken when it is created.

#ifndef BASE_EXTENT_H
#define BASE_EXTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"

#define EXTENT_BIG_BYTES ((uint64_t)16 << 20)
#define EXTENT_NONE UINT32_MAX

struct extent_map;

// A piece of the range.
struct extent {
    uint64_t offset;
    uint64_t bytes;  // a multiple of the granule; 0: no space
    uint32_t number; // as given to extent_allocate, or of a free one
    bool used;       // false only in an iteration
};

struct extent_usage {
    uint64_t capacity_bytes; // rounded down to the granule
    uint64_t used_bytes;
    uint64_t largest_free_bytes;
    uint32_t used_extents;
    uint32_t free_extents;
};

// A map of `capacity_bytes` for at most `extents_max` used extents at a time.
// `granule_bytes` is a power of two.
// NO_MEMORY. INVALID: a granule that is not, no capacity, or too many extents.
enum cascade_status
extent_create(const struct allocator *allocator, uint64_t capacity_bytes,
              uint64_t granule_bytes, uint32_t extents_max,
              struct extent_map **map) MUST_USE;

// NULL does nothing.
void
extent_destroy(struct extent_map *map);

// Takes `bytes`, rounded up to the granule, in O(log n). `number`, below
// extents_max and not in use, names the extent until it is released. 0 bytes
// take nothing and always succeed.
// NO_SPACE: no free extent is large enough. TOO_LARGE: not even the whole range
// would do. No message is set: the owner of the range knows what to call it.
enum cascade_status
extent_allocate(struct extent_map *map, uint64_t bytes, uint32_t number,
                struct extent *extent) MUST_USE;

// Takes just the space from `offset` on, which is on a granule, in O(n); `bytes`
// are at least one. NO_SPACE: some of it is used or outside (no message is set).
enum cascade_status
extent_allocate_at(struct extent_map *map, uint64_t offset, uint64_t bytes,
                   uint32_t number, struct extent *extent) MUST_USE;

// Two used extents with space change places, and sizes with them: each number
// then has what the other had.
void
extent_swap(struct extent_map *map, uint32_t one, uint32_t other);

// Where the used extent of that number is. It may be asked without the owner's
// lock by who knows that the extent stays.
void
extent_read(const struct extent_map *map, uint32_t number,
            struct extent *extent);

// Gives back what the number has, if it has something. O(log n).
void
extent_release(struct extent_map *map, uint32_t number);

// Gives back all.
void
extent_clear(struct extent_map *map);

// Walks all extents, used and free, in address order: extent_first, then
// extent_next with the number of the one before, until false. Releasing or
// allocating ends the walk.
bool
extent_first(const struct extent_map *map, struct extent *extent);

bool
extent_next(const struct extent_map *map, uint32_t number,
            struct extent *extent);

// The extent of that number, used or free; for walks that begin in the middle.
bool
extent_at(const struct extent_map *map, uint32_t number, struct extent *extent);

// The neighbour below; false at the low end.
bool
extent_previous(const struct extent_map *map, uint32_t number,
                struct extent *extent);

// Memory for a used extent and, at worst, the free one beside it.
size_t
extent_bytes_per_extent(void);

void
extent_read_usage(const struct extent_map *map, struct extent_usage *usage);

// Checks every invariant in O(n log n). For tests and checkers.
bool
extent_is_valid(const struct extent_map *map);

#endif
