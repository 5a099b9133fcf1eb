// SPDX-License-Identifier: Apache-2.0
//
// The digests of a block, taken while its bytes are copied into a slot.
//
// Invariant: a digest always describes the bytes in the slot. Source buffers
// are read once, to copy them; whoever changes one meanwhile spoils only the
// content of that slot, never its agreement with its digest.
//
// The checksum of a block: CRC32C of each piece of 1 MiB (the last may be
// short; an empty block has none), as a table of 4-byte little-endian values;
// the checksum is the CRC32C of that table. So any piece can be checked alone
// and the short form still covers all.
//
// No allocation. Any thread. Calls may share a pool.

#ifndef BLOCK_BLOCK_DIGEST_H
#define BLOCK_BLOCK_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/pool.h"
#include "block/block_id.h"
#include "cascade/cascade.h"

#define BLOCK_DIGEST_PIECE_BYTES ((size_t)1 << 20)

// What is wanted, as flags.
#define BLOCK_DIGEST_ID 1u
#define BLOCK_DIGEST_CHECKSUM 2u

struct block_digest {
    struct block_id id; // zero if not wanted
    uint32_t checksum;  // zero if not wanted
};

// Entries of the table of a block of this size.
size_t
block_digest_table_count(size_t bytes);

// The checksum that belongs to a table of little-endian entries.
uint32_t
block_digest_table_checksum(const uint32_t *table, size_t count);

// The checksum of a block in memory. `table`, if not NULL, has room for
// block_digest_table_count(bytes) entries and receives them, little endian.
// `pool` may be NULL.
uint32_t
block_digest_checksum(struct pool *pool, const void *data, size_t bytes,
                      uint32_t *table);

// The digests of a block in memory. `pool` may be NULL.
void
block_digest_of(struct pool *pool, const void *data, size_t bytes,
                unsigned wanted, struct block_digest *digest);

// Copies the spans one after another into the slot, which they must fill
// exactly, and takes the digests of what the slot then holds. `pool` may be
// NULL. The slot must not overlap a span, and nobody else may write to it.
// INVALID: the spans are not `bytes` long in all; nothing was copied.
// UNSUPPORTED: a span is not host memory; nothing was copied.
enum cascade_status
block_digest_copy(struct pool *pool, const struct cascade_const_span *spans,
                  size_t span_count, void *slot, size_t bytes, unsigned wanted,
                  struct block_digest *digest) MUST_USE;

#endif
