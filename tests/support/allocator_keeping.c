// SPDX-License-Identifier: Apache-2.0
//
// An allocator that keeps large blocks. See allocator_keeping.h.

#include "support/allocator_keeping.h"

#include <stdbool.h>
#include <stdint.h>

#define LARGE_BYTES ((size_t)1 << 16)
#define KEPT_MAX 128

struct kept {
    void *memory;
    size_t bytes;
    size_t alignment;
    bool used;
};

static struct kept kept[KEPT_MAX];

static void *
keeping_allocate(void *self, size_t bytes, size_t alignment)
{
    const struct allocator *system = allocator_system();
    void *memory;

    (void)self;
    if (bytes < LARGE_BYTES || alignment < LARGE_BYTES / 16) {
        return system->allocate(system->self, bytes, alignment);
    }
    for (unsigned i = 0; i < KEPT_MAX; i++) {
        if (!kept[i].used && kept[i].bytes == bytes &&
            kept[i].alignment == alignment) {
            kept[i].used = true;
            return kept[i].memory;
        }
    }
    memory = system->allocate(system->self, bytes, alignment);
    for (unsigned i = 0; i < KEPT_MAX && memory != NULL; i++) {
        if (kept[i].memory == NULL) {
            kept[i] = (struct kept){memory, bytes, alignment, true};
            break;
        }
    }
    return memory;
}

static void
keeping_release(void *self, void *memory)
{
    const struct allocator *system = allocator_system();

    (void)self;
    for (unsigned i = 0; i < KEPT_MAX && memory != NULL; i++) {
        if (kept[i].memory == memory) {
            kept[i].used = false;
            return;
        }
    }
    system->release(system->self, memory);
}

static const struct allocator keeping_allocator = {
    .allocate = keeping_allocate,
    .release = keeping_release,
    .self = NULL,
};

const struct allocator *
allocator_keeping(void)
{
    return &keeping_allocator;
}
