// SPDX-License-Identifier: Apache-2.0
//
// CRC32C by ISA-L, which takes lengths as int and leaves the two inversions of
// the standard to its caller.

#include "base/crc32c.h"

#include <isa-l/crc.h>

// The most that goes to the library at once.
#define PART_BYTES_MAX ((size_t)1 << 30)

uint32_t
crc32c(uint32_t seed, const void *data, size_t bytes)
{
    // The library's parameter lacks a const; it only reads.
    unsigned char *at = (unsigned char *)(uintptr_t)data;
    uint32_t value = ~seed;
    while (bytes > 0) {
        size_t part = bytes < PART_BYTES_MAX ? bytes : PART_BYTES_MAX;
        value = crc32_iscsi(at, (int)part, value);
        at += part;
        bytes -= part;
    }
    return ~value;
}
