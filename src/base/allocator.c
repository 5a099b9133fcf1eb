// SPDX-License-Identifier: Apache-2.0
//
// The system's heap behind the allocator table. Large aligned memory, which is
// for I/O, asks for large pages: they arrive faster and a disk takes them as
// one piece. So do large tables, which are read all over: what tells where a
// small page lies does not stay in the processor. Stateless; no lock of ours.

#include "base/allocator.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/units.h"

#define LARGE_PAGE_BYTES ((size_t)2 * MIB)

// Tables from this size on; the last page of what is used of them may be a large
// one, so that they have to be worth it.
#define LARGE_TABLE_BYTES ((size_t)16 * MIB)

// Zeroed pages from the system, which it has not touched.
static void *
allocate_table(size_t bytes)
{
    void *memory = calloc(1, bytes);
    uintptr_t start = (uintptr_t)memory;
    uintptr_t first = units_round_up(start, LARGE_PAGE_BYTES);
    uintptr_t end = units_round_down(start + bytes, LARGE_PAGE_BYTES);

    if (memory != NULL) {
        // Merely slower without.
        (void)madvise((uint8_t *)memory + (first - start), end - first,
                      MADV_HUGEPAGE);
    }
    return memory;
}

static void *
system_allocate(void *self, size_t bytes, size_t alignment)
{
    void *memory = NULL;

    (void)self;
    if (alignment <= alignof(max_align_t)) {
        if (bytes >= LARGE_TABLE_BYTES) {
            return allocate_table(bytes);
        }
        // calloc takes zeroed pages from the system without touching them.
        return calloc(1, bytes == 0 ? 1 : bytes);
    }
    if (bytes >= LARGE_PAGE_BYTES && alignment < LARGE_PAGE_BYTES) {
        alignment = LARGE_PAGE_BYTES;
    }
    if (posix_memalign(&memory, alignment, bytes == 0 ? 1 : bytes) != 0) {
        return NULL;
    }
    if (bytes >= LARGE_PAGE_BYTES) {
        // Merely slower without.
        (void)madvise(memory, units_round_down(bytes, LARGE_PAGE_BYTES),
                      MADV_HUGEPAGE);
    }
    memset(memory, 0, bytes);
    return memory;
}

static void
system_release(void *self, void *memory)
{
    (void)self;
    free(memory);
}

static const struct allocator system_allocator = {
    .allocate = system_allocate,
    .release = system_release,
    .self = NULL,
};

const struct allocator *
allocator_system(void)
{
    return &system_allocator;
}

void *
allocator_array(const struct allocator *allocator, size_t count, size_t bytes)
{
    if (bytes != 0 && count > SIZE_MAX / bytes) {
        return NULL;
    }
    return allocator->allocate(allocator->self, count * bytes, 1);
}

void *
allocator_aligned(const struct allocator *allocator, size_t bytes,
                  size_t alignment)
{
    return allocator->allocate(allocator->self, bytes, alignment);
}

void
allocator_release(const struct allocator *allocator, void *memory)
{
    if (memory != NULL) {
        allocator->release(allocator->self, memory);
    }
}
