// SPDX-License-Identifier: Apache-2.0
//
// The content id of a block: `cascade-sha256t-v1`, SHA-256 as a tree.
//
//   H(parts...)  = SHA-256 of the concatenation
//   tag(s)       = "cascade-sha256t-v1 " + s, zero padded to 64 bytes
//   digests      = [ H(tag("leaf"), piece) for each piece of 4,096 bytes ]
//                  (the last may be short; empty input has none)
//   while more than 128 digests:
//       digests  = [ H(tag("node"), up to 128 digests) ... ]
//   id           = H(tag("root"), length as 8 bytes little endian, digests...)
//
// One id means one content unless SHA-256 collides: equal root inputs mean
// equal length, hence equal shape, hence equal digests level by level. The
// tags keep leaf, node and root apart; each is one SHA-256 block, so that its
// state is a constant.
//
// Pure; any thread; no allocation. Not a digest of keys, and not a checksum
// for the read path: see crc32c.h.

#ifndef BLOCK_BLOCK_ID_H
#define BLOCK_BLOCK_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

#define BLOCK_ID_BYTES 32
#define BLOCK_ID_LEAF_BYTES 4096
#define BLOCK_ID_FAN_OUT 128
#define BLOCK_ID_LEVELS 4

// What one node of the first level covers: the unit of parallel hashing.
#define BLOCK_ID_CHUNK_BYTES ((size_t)BLOCK_ID_LEAF_BYTES * BLOCK_ID_FAN_OUT)

// The most that one id can cover here, 1 TiB: BLOCK_ID_LEVELS full levels.
#define BLOCK_ID_CONTENT_BYTES_MAX ((uint64_t)1 << 40)

// Length of the hexadecimal form, with its terminator.
#define BLOCK_ID_TEXT_BYTES (2 * BLOCK_ID_BYTES + 1)

struct block_id {
    uint8_t bytes[BLOCK_ID_BYTES];
};

// The digest of a leaf or node inside the tree. Never an id.
struct block_id_node {
    uint8_t bytes[BLOCK_ID_BYTES];
};

// Content that arrives in parts. Plain memory, about 20 KiB.
//
// levels[0] holds digests of leaves, levels[k] of nodes over 128 digests of
// levels[k - 1]. A full level is grouped only when one more digest arrives:
// grouped[k] says that level k had more than 128, so the root is over the
// lowest level that was never grouped.
struct block_id_stream {
    uint64_t bytes;
    bool in_chunks;
    bool grouped[BLOCK_ID_LEVELS];
    size_t counts[BLOCK_ID_LEVELS];
    struct block_id_node levels[BLOCK_ID_LEVELS][BLOCK_ID_FAN_OUT];
    uint8_t leaf[BLOCK_ID_LEAF_BYTES];
};

bool
block_id_equal(const struct block_id *a, const struct block_id *b);

// Less than, equal to or greater than 0, in the order of the bytes.
int
block_id_compare(const struct block_id *a, const struct block_id *b);

// All bytes zero: no content has this id; records use it for "none".
bool
block_id_is_zero(const struct block_id *id);

// Writes 64 lower-case hexadecimal digits and a terminator.
void
block_id_format(const struct block_id *id, char text[BLOCK_ID_TEXT_BYTES]);

// Reads exactly 64 hexadecimal digits of either case.
// INVALID: anything else; `id` is then unchanged.
enum cascade_status
block_id_parse(const char *text, struct block_id *id) MUST_USE;

// The id of one piece of memory; `data` may be NULL when `bytes` is 0.
void
block_id_of(const void *data, size_t bytes, struct block_id *id);

// Begins a content.
void
block_id_start(struct block_id_stream *stream);

// Appends to the content; any sizes. The whole content must not pass
// BLOCK_ID_CONTENT_BYTES_MAX.
void
block_id_add(struct block_id_stream *stream, const void *data, size_t bytes);

// Leaves of a content of this size.
size_t
block_id_leaf_count(size_t bytes);

// The digests of up to 128 leaves, of which the last may be short: `bytes`, at
// most BLOCK_ID_CHUNK_BYTES, that begin at a leaf of the content.
void
block_id_hash_leaves(const void *data, size_t bytes,
                     struct block_id_node *digests);

// The same, for leaves that lie apart: leaves[i] is copied to its place in
// `target` and hashed in one reading, so the digests are those of the target
// even if a leaf changes meanwhile. A leaf may be its place in the target.
void
block_id_copy_leaves(void *target, const uint8_t *const *leaves, size_t bytes,
                     struct block_id_node *digests);

// The digest of a node over 1 to BLOCK_ID_FAN_OUT digests.
void
block_id_hash_node(const struct block_id_node *digests, size_t count,
                   struct block_id_node *digest);

// The id of a content of one chunk or less from the digests of its leaves.
void
block_id_of_leaves(const struct block_id_node *digests, size_t bytes,
                   struct block_id *id);

// The digest of one chunk: 1 to BLOCK_ID_CHUNK_BYTES bytes. For content of
// more than one chunk, whose chunks are hashed by several threads.
void
block_id_hash_chunk(const void *data, size_t bytes,
                    struct block_id_node *digest);

// Appends a chunk that was hashed elsewhere, in the order of the content: all
// chunks are full but the last. A stream takes either bytes or chunks, and a
// content of one chunk or less must come as bytes (its shape is another).
void
block_id_add_chunk(struct block_id_stream *stream,
                   const struct block_id_node *digest, size_t bytes);

// Ends the content. The stream must be started again before its next use.
void
block_id_finish(struct block_id_stream *stream, struct block_id *id);

#endif
