// SPDX-License-Identifier: Apache-2.0
//
// The version of a binding: hybrid time (wall nanoseconds, never at or below a
// version seen) and the tag of the store that gave it. No two versions of one
// root are equal; the greater one wins wherever it lies. Not a generation,
// which belongs to reused space.

#ifndef BLOCK_VERSION_H
#define BLOCK_VERSION_H

#include <stdbool.h>
#include <stdint.h>

struct block_version {
    uint64_t time_ns; // 0 = no version
    uint64_t tag;     // random per open store
};

static inline int
block_version_compare(struct block_version a, struct block_version b)
{
    if (a.time_ns != b.time_ns) {
        return a.time_ns < b.time_ns ? -1 : 1;
    }
    if (a.tag != b.tag) {
        return a.tag < b.tag ? -1 : 1;
    }
    return 0;
}

// The smallest version above. A binding that is renamed to it stays below all
// that was given since, so that no clear or removal is overtaken by it.
static inline struct block_version
block_version_after(struct block_version version)
{
    if (++version.tag == 0) {
        version.time_ns++;
    }
    return version;
}

static inline bool
block_version_is_zero(struct block_version version)
{
    return version.time_ns == 0;
}

#endif
