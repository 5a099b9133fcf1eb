// SPDX-License-Identifier: Apache-2.0
//
// An allocator that keeps large blocks. See allocator_keeping.h.

#include "support/allocator_keeping.h"

#include <pthread.h>
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

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept kept[KEPT_MAX]; // guarded by lock

// One that was kept, if it fits.
static void *
take_kept(size_t bytes, size_t alignment)
{
    void *memory = NULL;

    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < KEPT_MAX && memory == NULL; i++) {
        if (!kept[i].used && kept[i].bytes == bytes &&
            kept[i].alignment == alignment) {
            kept[i].used = true;
            memory = kept[i].memory;
        }
    }
    pthread_mutex_unlock(&lock);
    return memory;
}

static void *
keeping_allocate(void *self, size_t bytes, size_t alignment)
{
    const struct allocator *system = allocator_system();
    bool large = bytes >= LARGE_BYTES && alignment >= LARGE_BYTES / 16;
    void *memory = large ? take_kept(bytes, alignment) : NULL;

    (void)self;
    if (memory != NULL) {
        return memory;
    }
    memory = system->allocate(system->self, bytes, alignment);
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < KEPT_MAX && large && memory != NULL; i++) {
        if (kept[i].memory == NULL) {
            kept[i] = (struct kept){memory, bytes, alignment, true};
            break;
        }
    }
    pthread_mutex_unlock(&lock);
    return memory;
}

static void
keeping_release(void *self, void *memory)
{
    const struct allocator *system = allocator_system();
    bool is_kept = false;

    (void)self;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < KEPT_MAX && memory != NULL && !is_kept; i++) {
        if (kept[i].memory == memory) {
            kept[i].used = false;
            is_kept = true;
        }
    }
    pthread_mutex_unlock(&lock);
    if (!is_kept) {
        system->release(system->self, memory);
    }
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
