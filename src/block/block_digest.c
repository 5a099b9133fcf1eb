// SPDX-License-Identifier: Apache-2.0
//
// Copying and hashing of a block in one pass.
//
// The block is cut into pieces of 1 MiB, the unit of checksums; these into
// chunks, the nodes of the tree; these into groups of leaves. A thread takes a
// piece and goes through it by groups: copies and hashes one in one reading,
// then takes its checksum in the slot, while the caches still hold it. A large
// block that is not hashed goes around the caches, its checksum on the way.
// Pieces go in windows, so that their results fit on the stack of the caller,
// who joins them in the order of the block.

#include "block/block_digest.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#include "base/copy.h"
#include "base/copy_checksum.h"
#include "base/crc32c.h"
#include "base/error.h"

#define PIECE_CHUNKS (BLOCK_DIGEST_PIECE_BYTES / BLOCK_ID_CHUNK_BYTES)
#define WINDOW_PIECES 64

// A multiple of the lanes of every kernel of base/sha256.h, and small enough
// that a group and its source fit the second cache.
#define GROUP_LEAVES 48
#define GROUP_BYTES ((size_t)GROUP_LEAVES * BLOCK_ID_LEAF_BYTES)

static_assert(BLOCK_DIGEST_PIECE_BYTES % BLOCK_ID_CHUNK_BYTES == 0,
              "pieces are whole chunks");

// A place in a list of spans.
struct cursor {
    const struct cascade_const_span *span;
    size_t offset;
};

struct piece {
    struct cursor from;
    struct block_id_node nodes[PIECE_CHUNKS];
    uint32_t checksum;
};

// Work on one block. Tasks only write their own piece of the window.
struct work {
    uint8_t *slot; // where spans are copied to; NULL if nothing is copied
    const uint8_t *data;
    size_t bytes;
    unsigned wanted;
    size_t window_offset;
    struct block_id small_id; // of a block without nodes
    struct piece window[WINDOW_PIECES];
};

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

// Whether the tree has nodes: smaller blocks feed their leaves to the root.
static bool
has_nodes(const struct work *work)
{
    return work->bytes > BLOCK_ID_CHUNK_BYTES;
}

// Moves a cursor on by `bytes`, copying them to `target` if it is not NULL.
static void
advance(struct cursor *cursor, uint8_t *target, size_t bytes)
{
    while (bytes > 0) {
        size_t part = smaller(cursor->span->bytes - cursor->offset, bytes);
        if (part > 0 && target != NULL) {
            const uint8_t *from = cursor->span->data;
            memcpy(target, from + cursor->offset, part);
            target += part;
        }
        cursor->offset += part;
        bytes -= part;
        if (bytes > 0) {
            cursor->span++;
            cursor->offset = 0;
        }
    }
}

// The same around the caches, for bytes that nobody reads again soon. Continues
// the checksum if one is wanted.
static void
stream(struct cursor *cursor, uint8_t *target, size_t bytes, bool checked,
       uint32_t *checksum)
{
    while (bytes > 0) {
        size_t part = smaller(cursor->span->bytes - cursor->offset, bytes);
        if (part == 0) {
            cursor->span++;
            cursor->offset = 0;
            continue;
        }
        const uint8_t *from = cursor->span->data;
        if (checked) {
            *checksum = copy_checksum(target, from + cursor->offset, part,
                                      *checksum);
        } else {
            copy_bytes_streaming(target, from + cursor->offset, part);
        }
        cursor->offset += part;
        target += part;
        bytes -= part;
    }
}

// Copies leaves into the slot and hashes them in one reading. Leaves that lie
// in more than one span are put together in the slot first.
static void
copy_and_hash(struct cursor *from, uint8_t *slot, size_t bytes,
              struct block_id_node *digests)
{
    const uint8_t *leaves[GROUP_LEAVES];
    size_t count = 0;
    for (size_t at = 0; at < bytes; at += BLOCK_ID_LEAF_BYTES) {
        size_t leaf_bytes = smaller(BLOCK_ID_LEAF_BYTES, bytes - at);
        if (from->span->bytes - from->offset >= leaf_bytes) {
            leaves[count] = from->span->data;
            leaves[count] += from->offset;
            from->offset += leaf_bytes;
        } else {
            advance(from, slot + at, leaf_bytes);
            leaves[count] = slot + at;
        }
        count++;
    }
    block_id_copy_leaves(slot, leaves, bytes, digests);
}

// Does all that is wanted with a part of a chunk that begins at a leaf.
static void
digest_group(struct work *work, struct piece *piece, size_t offset,
             size_t bytes, struct block_id_node *digests)
{
    bool hashing = (work->wanted & BLOCK_DIGEST_ID) != 0;
    bool checked = (work->wanted & BLOCK_DIGEST_CHECKSUM) != 0;
    if (work->slot != NULL && !hashing &&
        work->bytes >= COPY_STREAMING_BYTES_MIN) {
        stream(&piece->from, work->slot + offset, bytes, checked,
               &piece->checksum);
        return;
    }
    if (work->slot != NULL && hashing) {
        copy_and_hash(&piece->from, work->slot + offset, bytes, digests);
    } else if (work->slot != NULL) {
        advance(&piece->from, work->slot + offset, bytes);
    } else if (hashing) {
        block_id_hash_leaves(work->data + offset, bytes, digests);
    }
    if (checked) {
        piece->checksum = crc32c(piece->checksum, work->data + offset, bytes);
    }
}

// Does a chunk, group by group. A block of one chunk or less has no nodes:
// its id comes straight from the leaves.
static void
digest_chunk(struct work *work, struct piece *piece, size_t index,
             size_t offset, size_t bytes)
{
    struct block_id_node digests[BLOCK_ID_FAN_OUT];
    for (size_t at = 0; at < bytes; at += GROUP_BYTES) {
        digest_group(work, piece, offset + at, smaller(GROUP_BYTES, bytes - at),
                     &digests[at / BLOCK_ID_LEAF_BYTES]);
    }
    if ((work->wanted & BLOCK_DIGEST_ID) == 0) {
        return;
    }
    if (has_nodes(work)) {
        block_id_hash_node(digests, block_id_leaf_count(bytes),
                           &piece->nodes[index]);
    } else {
        block_id_of_leaves(digests, bytes, &work->small_id);
    }
}

static void
digest_piece(void *context, size_t index)
{
    struct work *work = context;
    struct piece *piece = &work->window[index];
    size_t offset = work->window_offset + index * BLOCK_DIGEST_PIECE_BYTES;
    size_t bytes = smaller(BLOCK_DIGEST_PIECE_BYTES, work->bytes - offset);
    piece->checksum = 0;
    for (size_t i = 0; i * BLOCK_ID_CHUNK_BYTES < bytes; i++) {
        size_t at = i * BLOCK_ID_CHUNK_BYTES;
        digest_chunk(work, piece, i, offset + at,
                     smaller(BLOCK_ID_CHUNK_BYTES, bytes - at));
    }
}

// Joins the results of a piece, in the order of the block.
static void
join_piece(struct work *work, size_t index, struct block_id_stream *stream,
           uint32_t *checksum, uint32_t *table)
{
    const struct piece *piece = &work->window[index];
    size_t offset = work->window_offset + index * BLOCK_DIGEST_PIECE_BYTES;
    size_t left = smaller(BLOCK_DIGEST_PIECE_BYTES, work->bytes - offset);
    if ((work->wanted & BLOCK_DIGEST_CHECKSUM) != 0) {
        uint32_t entry = htole32(piece->checksum);
        *checksum = crc32c(*checksum, &entry, sizeof entry);
        if (table != NULL) {
            table[offset / BLOCK_DIGEST_PIECE_BYTES] = entry;
        }
    }
    if ((work->wanted & BLOCK_DIGEST_ID) != 0 && has_nodes(work)) {
        for (size_t i = 0; left > 0; i++) {
            size_t bytes = smaller(BLOCK_ID_CHUNK_BYTES, left);
            block_id_add_chunk(stream, &piece->nodes[i], bytes);
            left -= bytes;
        }
    }
}

static void
run(struct work *work, struct pool *pool,
    const struct cascade_const_span *spans, uint32_t *table,
    struct block_digest *digest)
{
    struct block_id_stream stream;
    struct cursor cursor = {.span = spans};
    struct block_digest result = {.checksum = 0};
    block_id_start(&stream);
    for (size_t offset = 0; offset < work->bytes;) {
        size_t window = smaller(WINDOW_PIECES * BLOCK_DIGEST_PIECE_BYTES,
                                work->bytes - offset);
        size_t count = block_digest_table_count(window);
        work->window_offset = offset;
        for (size_t i = 0; i < count && work->slot != NULL; i++) {
            size_t done = i * BLOCK_DIGEST_PIECE_BYTES;
            work->window[i].from = cursor;
            advance(&cursor, NULL,
                    smaller(BLOCK_DIGEST_PIECE_BYTES, window - done));
        }
        pool_parallel_for(pool, digest_piece, work, count);
        for (size_t i = 0; i < count; i++) {
            join_piece(work, i, &stream, &result.checksum, table);
        }
        offset += window;
    }
    if ((work->wanted & BLOCK_DIGEST_ID) != 0) {
        if (has_nodes(work) || work->bytes == 0) {
            block_id_finish(&stream, &result.id);
        } else {
            result.id = work->small_id;
        }
    }
    *digest = result;
}

size_t
block_digest_table_count(size_t bytes)
{
    return bytes / BLOCK_DIGEST_PIECE_BYTES +
           (bytes % BLOCK_DIGEST_PIECE_BYTES != 0);
}

uint32_t
block_digest_table_checksum(const uint32_t *table, size_t count)
{
    return crc32c(0, table, count * sizeof *table);
}

uint32_t
block_digest_checksum(struct pool *pool, const void *data, size_t bytes,
                      uint32_t *table)
{
    struct block_digest digest;
    struct work work = {.slot = NULL,
                        .data = data,
                        .bytes = bytes,
                        .wanted = BLOCK_DIGEST_CHECKSUM};
    run(&work, pool, NULL, table, &digest);
    return digest.checksum;
}

void
block_digest_of(struct pool *pool, const void *data, size_t bytes,
                unsigned wanted, struct block_digest *digest)
{
    struct work work = {
        .slot = NULL, .data = data, .bytes = bytes, .wanted = wanted};
    run(&work, pool, NULL, NULL, digest);
}

enum cascade_status
block_digest_copy(struct pool *pool, const struct cascade_const_span *spans,
                  size_t span_count, void *slot, size_t bytes, unsigned wanted,
                  struct block_digest *digest)
{
    size_t left = bytes;
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "span %zu of %zu is device memory; a host slot "
                             "takes host memory only",
                             i, span_count);
        }
        if (spans[i].bytes > left) {
            return error_set(CASCADE_INVALID,
                             "the spans hold more than the %zu bytes of the "
                             "block; give their exact sum",
                             bytes);
        }
        left -= spans[i].bytes;
    }
    if (left != 0) {
        return error_set(CASCADE_INVALID,
                         "the spans hold %zu bytes less than the %zu of the "
                         "block; give their exact sum",
                         left, bytes);
    }
    struct work work = {
        .slot = slot, .data = slot, .bytes = bytes, .wanted = wanted};
    run(&work, pool, spans, NULL, digest);
    return CASCADE_OK;
}
