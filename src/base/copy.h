// SPDX-License-Identifier: Apache-2.0
//
// Copies of host memory that are too large for the caches.
//
// A plain copy first reads the lines that it will overwrite and leaves the
// caches full of them; a streaming one does neither. For a target that the
// caches do not hold it takes about half the time, even if the copy is read
// right after; for a target that they hold it takes a little longer. Blocks are
// mostly read into memory that was not used for a while; only the small ones
// are taken to be read into the same buffer again and again.
//
// The buffers must not overlap. When a function returns, the copy is visible
// to every thread that synchronises with this one as usual. Any thread.

#ifndef BASE_COPY_H
#define BASE_COPY_H

#include <stdbool.h>
#include <stddef.h>

// Copies of this size and more go around the caches.
#define COPY_STREAMING_BYTES_MIN ((size_t)64 << 10)

// The best copy for a block of this size.
void
copy_bytes(void *target, const void *source, size_t bytes);

// For a slice of a large copy whose caller knows that it will not be read soon
// by this core.
void
copy_bytes_streaming(void *target, const void *source, size_t bytes);

// The name of the instructions that streaming copies use here.
const char *
copy_streaming_name(void);

// One way to stream, for tests; NULL past the last. `copy` takes a target and
// a size that are multiples of COPY_STREAMING_LINE_BYTES.
#define COPY_STREAMING_LINE_BYTES 64

struct copy_kernel {
    const char *name;
    bool hints; // asks for the source ahead of the loads
    bool (*available)(void);
    void (*copy)(void *target, const void *source, size_t bytes);
};

const struct copy_kernel *
copy_kernel_at(size_t index);

#endif
