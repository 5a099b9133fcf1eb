// SPDX-License-Identifier: Apache-2.0
//
// An allocator whose N-th allocation fails. See allocator_failing.h.

#include "support/allocator_failing.h"

#include <string.h>

static void *
failing_allocate(void *self, size_t bytes, size_t alignment)
{
    struct allocator_failing *failing = self;
    const struct allocator *system = allocator_system();
    uint64_t number = __atomic_add_fetch(&failing->calls, 1, __ATOMIC_RELAXED);
    void *memory;

    if (number == failing->fail_at) {
        return NULL;
    }
    memory = system->allocate(system->self, bytes, alignment);
    if (memory != NULL) {
        __atomic_add_fetch(&failing->live, 1, __ATOMIC_RELAXED);
    }
    return memory;
}

static void
failing_release(void *self, void *memory)
{
    struct allocator_failing *failing = self;
    const struct allocator *system = allocator_system();

    if (memory != NULL) {
        __atomic_sub_fetch(&failing->live, 1, __ATOMIC_RELAXED);
    }
    system->release(system->self, memory);
}

void
allocator_failing_init(struct allocator_failing *failing, uint64_t fail_at)
{
    memset(failing, 0, sizeof(*failing));
    failing->fail_at = fail_at;
    failing->table.allocate = failing_allocate;
    failing->table.release = failing_release;
    failing->table.self = failing;
}
