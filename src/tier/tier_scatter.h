// SPDX-License-Identifier: Apache-2.0
//
// From one piece of host memory into a caller's spans, checked on the way: how
// every tier whose block lies in memory answers `read`. The other direction is
// block_digest_copy. Large blocks are shared with the pool and stream around
// the caches. No state, no lock; the caller keeps the source from changing.

#ifndef TIER_TIER_SCATTER_H
#define TIER_TIER_SCATTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/pool.h"
#include "cascade/cascade.h"

// Copies `bytes` bytes into the spans, which may hold more; the rest of them is
// left alone. With `checksum` (may be NULL) what is copied must match it, as
// defined in block_digest.h. `pool` may be NULL.
// TOO_SMALL: the spans hold less. UNSUPPORTED: a span is device memory. Nothing
// was copied then. CORRUPT: the bytes do not match; the spans are unspecified.
enum cascade_status
tier_scatter(struct pool *pool, const void *from, uint64_t bytes,
             const struct cascade_span *spans, size_t span_count,
             const uint32_t *checksum) MUST_USE;

// The same for a block whose parts come one after the other.
struct tier_scatter_part {
    const struct cascade_span *span; // where the next byte goes
    size_t offset;
    uint64_t bytes;    // of the whole block
    uint32_t checksum; // of the parts so far, if they are verified
};

// Begins a block of that size. TOO_SMALL, UNSUPPORTED as above.
enum cascade_status
tier_scatter_begin(struct tier_scatter_part *part,
                   const struct cascade_span *spans, size_t span_count,
                   uint64_t bytes) MUST_USE;

// Copies the next part: whole pieces of BLOCK_DIGEST_PIECE_BYTES, but for the
// end of the block.
void
tier_scatter_next(struct pool *pool, struct tier_scatter_part *part,
                  const void *from, uint64_t bytes, bool verify);

#endif
