// SPDX-License-Identifier: Apache-2.0
//
// Memory as an argument: a table, so that tests can fail the N-th allocation.
// All memory that the product takes goes through it, except the arena.

#ifndef BASE_ALLOCATOR_H
#define BASE_ALLOCATOR_H

#include <stddef.h>

#include "base/attributes.h"

struct allocator {
    // Zeroed memory aligned for any type, or to `alignment` (a power of two)
    // if that is larger; NULL if there is none.
    void *(*allocate)(void *self, size_t bytes, size_t alignment);
    // Gives memory back; NULL does nothing.
    void (*release)(void *self, void *memory);
    void *self;
};

// The system's heap. Lives for ever.
const struct allocator *
allocator_system(void);

// Zeroed array of `count` elements; NULL if there is no memory or the size
// does not fit. A count of 0 gives a valid pointer.
void *
allocator_array(const struct allocator *allocator, size_t count,
                size_t bytes) MUST_USE;

// Zeroed memory with an alignment (power of two).
void *
allocator_aligned(const struct allocator *allocator, size_t bytes,
                  size_t alignment) MUST_USE;

void
allocator_release(const struct allocator *allocator, void *memory);

#endif
