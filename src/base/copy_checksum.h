// SPDX-License-Identifier: Apache-2.0
//
// A streaming copy (base/copy.h) that takes the checksum on the way.
//
// Invariant: the checksum is that of the bytes that were stored, even if
// somebody changes the source meanwhile: each of its bytes is read once.
//
// The buffers must not overlap, and nobody else may write to the target. Takes
// no lock and no memory. Any thread.

#ifndef BASE_COPY_CHECKSUM_H
#define BASE_COPY_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Copies, and continues the checksum `seed` as crc32c does.
uint32_t
copy_checksum(void *target, const void *source, size_t bytes, uint32_t seed);

// The name of the instructions that are used here.
const char *
copy_checksum_name(void);

// One way to do it, for tests; NULL past the last. `copy` takes a target that
// is a multiple of COPY_CHECKSUM_LINE_BYTES, as is the size, which is not 0;
// and the checksum without the inversions at its ends.
#define COPY_CHECKSUM_LINE_BYTES 128

struct copy_checksum_kernel {
    const char *name;
    bool near; // asks for the source a shorter way ahead, past the caches
    bool (*available)(void);
    uint32_t (*copy)(void *target, const void *source, size_t bytes,
                     uint32_t value);
};

const struct copy_checksum_kernel *
copy_checksum_kernel_at(size_t index);

#endif
