// SPDX-License-Identifier: Apache-2.0
//
// An allocator whose N-th allocation fails, and that knows how many are live.
// Over the system's heap. Counters are atomic.

#ifndef SUPPORT_ALLOCATOR_FAILING_H
#define SUPPORT_ALLOCATOR_FAILING_H

#include <stdint.h>

#include "base/allocator.h"

struct allocator_failing {
    struct allocator table; // give this to the code under test
    uint64_t calls;
    uint64_t live;
    uint64_t fail_at; // the call that fails, from 1; 0 = none
};

void
allocator_failing_init(struct allocator_failing *failing, uint64_t fail_at);

#endif
