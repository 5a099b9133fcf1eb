// SPDX-License-Identifier: Apache-2.0
//
// Large memory for measurements: page-aligned, on large pages where the system
// gives them, touched before it is used, so that no measurement pays for the
// first touch.

#ifndef BENCH_BUFFER_H
#define BENCH_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct buffer {
    uint8_t *data;
    size_t bytes;
    void *mapping;
    size_t mapping_bytes;
};

// Private memory, all of it touched. NO_MEMORY. The caller releases it.
enum cascade_status
buffer_take(size_t bytes, struct buffer *buffer) MUST_USE;

// Zeroed memory that a forked child shares with its parent. NO_MEMORY.
enum cascade_status
buffer_take_shared(size_t bytes, struct buffer *buffer) MUST_USE;

// A zeroed buffer does nothing.
void
buffer_release(struct buffer *buffer);

#endif
