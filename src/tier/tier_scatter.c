// SPDX-License-Identifier: Apache-2.0
//
// The block is cut into the pieces of its checksum. They go in windows, so that
// what each needs fits on the caller's stack. Large blocks go around the
// caches, their checksum on the way; small ones are checked while the caches
// hold what was just copied.

#include "tier/tier_scatter.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include "base/copy.h"
#include "base/copy_checksum.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/units.h"
#include "block/block_digest.h"

// Blocks of this size and more are shared with the pool.
#define PARALLEL_BYTES_MIN (4 * MIB)
#define WINDOW_PIECES 64

// A place in a list of spans.
struct cursor {
    const struct cascade_span *span;
    size_t offset;
};

struct piece {
    struct cursor to;
    uint32_t checksum;
};

// One read. Tasks write only their own piece of the window.
struct reading {
    const uint8_t *from;
    uint64_t bytes;
    uint64_t window_offset;
    bool verify;
    bool streaming;
    struct piece window[WINDOW_PIECES];
};

// Where the next bytes go, and how many of them at most.
static uint8_t *
room_at(struct cursor *cursor, size_t *bytes)
{
    while (cursor->offset == cursor->span->bytes) {
        cursor->span++;
        cursor->offset = 0;
    }
    *bytes = units_min(*bytes, cursor->span->bytes - cursor->offset);
    return (uint8_t *)cursor->span->data + cursor->offset;
}

static void
skip(struct cursor *cursor, size_t bytes)
{
    while (bytes > 0) {
        size_t part = bytes;

        (void)room_at(cursor, &part);
        cursor->offset += part;
        bytes -= part;
    }
}

// Copies to one place; continues the checksum if it is verified.
static void
copy_part(const struct reading *reading, uint8_t *to, const uint8_t *from,
          size_t bytes, uint32_t *checksum)
{
    if (!reading->streaming) {
        memcpy(to, from, bytes);
        if (reading->verify) {
            *checksum = crc32c(*checksum, from, bytes);
        }
    } else if (reading->verify) {
        *checksum = copy_checksum(to, from, bytes, *checksum);
    } else {
        copy_bytes_streaming(to, from, bytes);
    }
}

static size_t
piece_bytes(const struct reading *reading, size_t index)
{
    uint64_t offset = reading->window_offset + index * BLOCK_DIGEST_PIECE_BYTES;

    return units_min(BLOCK_DIGEST_PIECE_BYTES, reading->bytes - offset);
}

static void
read_piece(void *context, size_t index)
{
    struct reading *reading = context;
    struct piece *piece = &reading->window[index];
    struct cursor cursor = piece->to;
    const uint8_t *from = reading->from + reading->window_offset +
                          index * BLOCK_DIGEST_PIECE_BYTES;
    size_t left = piece_bytes(reading, index);

    piece->checksum = 0;
    while (left > 0) {
        size_t part = left;
        uint8_t *to = room_at(&cursor, &part);

        copy_part(reading, to, from, part, &piece->checksum);
        cursor.offset += part;
        from += part;
        left -= part;
    }
}

// Copies all pieces; continues the block's checksum if it is verified.
static void
read_pieces(struct reading *reading, struct pool *pool,
            struct tier_scatter_part *part)
{
    struct cursor cursor = {.span = part->span, .offset = part->offset};
    uint32_t checksum = part->checksum;

    for (reading->window_offset = 0; reading->window_offset < reading->bytes;
         reading->window_offset += WINDOW_PIECES * BLOCK_DIGEST_PIECE_BYTES) {
        size_t count = units_min(
            WINDOW_PIECES,
            block_digest_table_count(reading->bytes - reading->window_offset));

        for (size_t i = 0; i < count; i++) {
            reading->window[i].to = cursor;
            skip(&cursor, piece_bytes(reading, i));
        }
        pool_parallel_for(pool, read_piece, reading, count);
        for (size_t i = 0; reading->verify && i < count; i++) {
            uint32_t entry = htole32(reading->window[i].checksum);

            checksum = crc32c(checksum, &entry, sizeof(entry));
        }
    }
    part->span = cursor.span;
    part->offset = cursor.offset;
    part->checksum = checksum;
}

static enum cascade_status
check_room(const struct cascade_span *spans, size_t span_count, uint64_t bytes)
{
    uint64_t left = bytes;

    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "span %zu of %zu is device memory; this tier "
                             "copies to host memory only",
                             i, span_count);
        }
        left -= units_min(left, spans[i].bytes);
    }
    if (left > 0) {
        return error_set(CASCADE_TOO_SMALL,
                         "the spans are %llu bytes short of the block's %llu",
                         (unsigned long long)left, (unsigned long long)bytes);
    }
    return CASCADE_OK;
}

enum cascade_status
tier_scatter_begin(struct tier_scatter_part *part,
                   const struct cascade_span *spans, size_t span_count,
                   uint64_t bytes)
{
    enum cascade_status status = check_room(spans, span_count, bytes);

    if (status == CASCADE_OK) {
        *part = (struct tier_scatter_part){.span = spans, .bytes = bytes};
    }
    return status;
}

void
tier_scatter_next(struct pool *pool, struct tier_scatter_part *part,
                  const void *from, uint64_t bytes, bool verify)
{
    struct reading reading;

    reading.from = from;
    reading.bytes = bytes;
    reading.verify = verify;
    reading.streaming = part->bytes >= COPY_STREAMING_BYTES_MIN;
    read_pieces(&reading, bytes >= PARALLEL_BYTES_MIN ? pool : NULL, part);
}

enum cascade_status
tier_scatter(struct pool *pool, const void *from, uint64_t bytes,
             const struct cascade_span *spans, size_t span_count,
             const uint32_t *checksum)
{
    struct tier_scatter_part part;
    enum cascade_status status = tier_scatter_begin(&part, spans, span_count,
                                                    bytes);

    if (status != CASCADE_OK) {
        return status;
    }
    tier_scatter_next(pool, &part, from, bytes, checksum != NULL);
    if (checksum != NULL && part.checksum != *checksum) {
        return error_set(CASCADE_CORRUPT,
                         "a block of %llu bytes in memory has checksum %08x, "
                         "not %08x; the memory was damaged",
                         (unsigned long long)bytes, part.checksum, *checksum);
    }
    return CASCADE_OK;
}
