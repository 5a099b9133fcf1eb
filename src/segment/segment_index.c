// SPDX-License-Identifier: Apache-2.0
//
// Footers and index files. See segment_index.h.

#include "segment/segment_index.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "segment/segment_create.h"

#define ROOM_FIRST 256
#define STAGING_BYTES MIB

static enum cascade_status
write_piece(struct segment_io *io, const struct segment_io_file *file,
            void *data, uint64_t bytes, uint64_t offset)
{
    struct segment_io_request request = {
        .file = file,
        .write = true,
        .data = data,
        .bytes = bytes,
        .offset = offset,
    };

    segment_io_run(io, &request);
    return segment_io_status(&request);
}

// Writes the entries, padded to the alignment; `end` gets where they end.
static enum cascade_status
write_entries(const struct segment_index *index, struct segment_io *io,
              const struct segment_io_file *file, uint32_t alignment,
              uint64_t offset, uint8_t *staging, uint64_t staging_bytes,
              uint64_t *end)
{
    const uint8_t *from = (const uint8_t *)index->entries;
    uint64_t left = index->count * sizeof(index->entries[0]);

    while (left > 0) {
        uint64_t now = units_min(left, staging_bytes);
        uint64_t padded = units_round_up(now, alignment);
        enum cascade_status status;

        memcpy(staging, from, now);
        memset(staging + now, 0, padded - now);
        status = write_piece(io, file, staging, padded, offset);
        if (status != CASCADE_OK) {
            return status;
        }
        from += now;
        left -= now;
        offset += padded;
    }
    *end = offset;
    return CASCADE_OK;
}

void
segment_index_init(struct segment_index *index,
                   const struct allocator *allocator)
{
    memset(index, 0, sizeof(*index));
    index->allocator = allocator;
}

void
segment_index_fini(struct segment_index *index)
{
    allocator_release(index->allocator, index->entries);
    segment_index_init(index, index->allocator);
}

enum cascade_status
segment_index_reserve(struct segment_index *index, uint64_t more)
{
    struct segment_footer_entry *larger;
    uint64_t room;

    if (more <= index->room - index->count) {
        return CASCADE_OK;
    }
    room = units_max(index->room * 2, index->count + more);
    room = units_max(room, ROOM_FIRST);
    larger = allocator_array(index->allocator, room, sizeof(*larger));
    if (larger == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for %llu entries of a segment",
                         (unsigned long long)room);
    }
    if (index->count > 0) {
        memcpy(larger, index->entries, index->count * sizeof(*larger));
    }
    allocator_release(index->allocator, index->entries);
    index->entries = larger;
    index->room = room;
    return CASCADE_OK;
}

void
segment_index_add(struct segment_index *index,
                  const struct segment_entry *entry)
{
    struct block_version version = entry->label.version;

    check(index->count < index->room);
    segment_format_put_entry(entry, &index->entries[index->count]);
    if (index->count == 0 ||
        index->entries[index->count - 1].seq != entry->seq) {
        index->records++;
    }
    index->payload_bytes += entry->bytes;
    if (index->count == 0 ||
        block_version_compare(version, index->lowest) < 0) {
        index->lowest = version;
    }
    if (index->count == 0 ||
        block_version_compare(version, index->highest) > 0) {
        index->highest = version;
    }
    index->count++;
}

enum cascade_status
segment_index_write(const struct segment_index *index, struct segment_io *io,
                    const struct segment_io_file *file,
                    const struct segment_facts *facts, uint64_t offset,
                    uint64_t next_seq, void *staging, uint64_t staging_bytes,
                    uint64_t *file_bytes)
{
    uint32_t alignment = facts->alignment_bytes;
    uint64_t index_bytes = index->count * sizeof(index->entries[0]);
    struct segment_trailer trailer = {
        .alignment = alignment,
        .index_offset = offset,
        .index_bytes = index_bytes,
        .entry_count = index->count,
        .record_count = index->records,
        .payload_bytes = index->payload_bytes,
        .lowest_time_ns = index->lowest.time_ns,
        .lowest_tag = index->lowest.tag,
        .highest_time_ns = index->highest.time_ns,
        .highest_tag = index->highest.tag,
        .next_seq = next_seq,
        .number = facts->number,
        .kind = facts->kind,
    };
    enum cascade_status status;
    uint64_t end = offset;

    check(offset % alignment == 0);
    check(staging_bytes % alignment == 0 && staging_bytes > 0);
    trailer.file_bytes = offset + units_round_up(index_bytes, alignment) +
                         alignment;
    trailer.index_crc = crc32c(0, index->entries, index_bytes);
    memcpy(trailer.uuid, facts->uuid, sizeof(trailer.uuid));
    memcpy(trailer.namespace_digest, facts->namespace_digest,
           sizeof(trailer.namespace_digest));
    segment_format_end_trailer(&trailer);
    status = write_entries(index, io, file, alignment, offset, staging,
                           staging_bytes, &end);
    if (status != CASCADE_OK) {
        return status;
    }
    memset(staging, 0, alignment);
    memcpy((uint8_t *)staging + alignment - sizeof(trailer), &trailer,
           sizeof(trailer));
    status = write_piece(io, file, staging, alignment, end);
    if (status != CASCADE_OK) {
        return status;
    }
    *file_bytes = trailer.file_bytes;
    return CASCADE_OK;
}

enum cascade_status
segment_index_create(const struct segment_index_options *options,
                     const struct segment_index *index)
{
    const struct file_system *files = segment_io_files(options->io);
    struct segment_facts facts = options->facts;
    struct segment_io_file file;
    enum cascade_status status;
    uint64_t file_bytes;
    void *staging;
    int result;

    staging = allocator_aligned(options->allocator, STAGING_BYTES,
                                SEGMENT_ALIGNMENT_MAX);
    if (staging == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to write %s",
                         options->path);
    }
    facts.kind = SEGMENT_FILE_INDEX;
    status = segment_create(options->io, options->allocator, options->directory,
                            options->name, options->path, options->mode, &facts,
                            &file);
    if (status != CASCADE_OK) {
        goto release_staging;
    }
    status = segment_index_write(index, options->io, &file, &facts,
                                 facts.alignment_bytes, options->next_seq,
                                 staging, STAGING_BYTES, &file_bytes);
    if (status == CASCADE_OK) {
        result = files->sync_data(files->self, file.file);
        if (result < 0) {
            status = error_set_errno(-result, "cannot sync %s", options->path);
        }
    }
    segment_io_close(options->io, &file);
    if (status == CASCADE_OK) {
        status = segment_create_sync_directory(options->io, options->directory,
                                               options->path);
    }
    if (status != CASCADE_OK) {
        (void)files->unlink_at(files->self, options->directory, options->name,
                               0);
    }
release_staging:
    allocator_release(options->allocator, staging);
    return status;
}
