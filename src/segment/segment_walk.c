// SPDX-License-Identifier: Apache-2.0
//
// Walks a file without a footer. See segment_walk.h.

#include "segment/segment_walk.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"

// Payloads verified at once.
#define VERIFY_COUNT 32

struct walk {
    struct segment_reader *reader;
    const struct segment_file *file;
    const struct segment_walk_options *options;
    segment_read_visit *visit;
    void *context;
    struct segment_walk_result *result;
    uint64_t end;
    uint64_t last_seq;
    bool stopped;
};

static void
show(struct walk *walk, const struct segment_entry *entry)
{
    struct segment_walk_result *result = walk->result;
    struct block_version version = entry->label.version;

    if (walk->stopped) {
        return;
    }
    if (result->entries == 0 ||
        block_version_compare(version, result->lowest) < 0) {
        result->lowest = version;
    }
    if (result->entries == 0 ||
        block_version_compare(version, result->highest) > 0) {
        result->highest = version;
    }
    result->entries++;
    walk->stopped = !walk->visit(walk->context, entry);
}

// Shows items [first, first + count) of a record whose payloads are there.
static enum cascade_status
show_items(struct walk *walk, const struct segment_record_header *record,
           const void *header, uint32_t header_crc, uint32_t first,
           uint32_t count)
{
    struct segment_read_request requests[VERIFY_COUNT];
    struct segment_entry entries[VERIFY_COUNT];
    bool good[VERIFY_COUNT];
    uint32_t to_read = 0;

    memset(requests, 0, sizeof(requests));
    for (uint32_t i = 0; i < count; i++) {
        struct segment_entry *entry = &entries[i];

        segment_format_get_item(header, record, first + i, header_crc, entry,
                                NULL, NULL);
        good[i] = entry->offset <= walk->end &&
                  entry->bytes <= walk->end - entry->offset;
        if (walk->options->verify && good[i] &&
            segment_format_has_payload(entry)) {
            requests[to_read].file = &walk->file->io;
            requests[to_read].offset = entry->offset;
            requests[to_read].bytes = entry->bytes;
            requests[to_read].checksum = entry->checksum;
            to_read++;
        }
    }
    (void)segment_read_payloads(walk->reader, requests, to_read);
    to_read = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (walk->options->verify && good[i] &&
            segment_format_has_payload(&entries[i])) {
            enum cascade_status status = requests[to_read++].status;

            good[i] = status == CASCADE_OK;
            if (!good[i] && status != CASCADE_CORRUPT &&
                status != CASCADE_STALE) {
                return status;
            }
        }
        if (!good[i]) {
            walk->result->bad_payloads++;
        } else {
            show(walk, &entries[i]);
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
show_record(struct walk *walk, const struct segment_record_header *record,
            const void *header, uint32_t header_crc)
{
    for (uint32_t i = 0; i < record->item_count && !walk->stopped;
         i += VERIFY_COUNT) {
        uint32_t count = (uint32_t)units_min(VERIFY_COUNT,
                                             record->item_count - i);
        enum cascade_status status = show_items(walk, record, header,
                                                header_crc, i, count);

        if (status != CASCADE_OK) {
            return status;
        }
    }
    return CASCADE_OK;
}

// Goes on from `offset` to the next place that may be a record's header, or to
// the end.
static enum cascade_status
find_next(struct walk *walk, uint64_t *offset)
{
    uint32_t alignment = walk->file->facts.alignment_bytes;
    uint64_t at = *offset;

    while (at < walk->end) {
        uint64_t bytes = walk->end - at;
        const uint8_t *bytes_read = NULL;
        const void *data = NULL;
        struct segment_record_header record;
        enum cascade_status status = segment_read_window(
            walk->reader, walk->file, at, &bytes, &data);

        if (status != CASCADE_OK) {
            return status;
        }
        if (bytes < alignment) {
            break;
        }
        bytes_read = data;
        for (uint64_t i = 0; i + alignment <= bytes; i += alignment) {
            if (segment_format_peek_record(bytes_read + i, alignment,
                                           walk->file->facts.uuid, at + i,
                                           alignment, &record) &&
                record.seq > walk->last_seq) {
                *offset = at + i;
                return CASCADE_OK;
            }
            walk->result->bad_headers++;
        }
        at += units_round_down(bytes, alignment);
    }
    *offset = walk->end;
    return CASCADE_OK;
}

// Takes the record at `*offset`, or moves on to the next that may be one.
static enum cascade_status
step(struct walk *walk, uint64_t *offset)
{
    uint32_t alignment = walk->file->facts.alignment_bytes;
    struct segment_record_header record = {.seq = 0};
    const void *header = NULL;
    uint32_t header_crc = 0;
    uint64_t entries;
    bool found = false;
    enum cascade_status status;

    status = segment_read_header(walk->reader, walk->file, *offset, &found,
                                 &record, &header, &header_crc);
    if (status == CASCADE_STALE) {
        *offset = walk->end;
        return CASCADE_OK;
    }
    if (status != CASCADE_OK) {
        return status;
    }
    if (!found || record.seq <= walk->last_seq) {
        walk->result->bad_headers++;
        *offset += alignment;
        return find_next(walk, offset);
    }
    entries = walk->result->entries;
    status = show_record(walk, &record, header, header_crc);
    if (status != CASCADE_OK) {
        return status;
    }
    walk->last_seq = record.seq;
    walk->result->records += walk->result->entries > entries ? 1 : 0;
    walk->result->next_seq = record.seq + 1;
    *offset = record.record_bytes < walk->end - *offset
                  ? *offset + record.record_bytes
                  : walk->end;
    walk->result->walked_bytes = *offset;
    return CASCADE_OK;
}

enum cascade_status
segment_walk(struct segment_reader *reader, const struct segment_file *file,
             const struct segment_walk_options *options, uint64_t bytes,
             segment_read_visit *visit, void *context,
             struct segment_walk_result *result)
{
    uint32_t alignment = file->facts.alignment_bytes;
    struct walk walk = {
        .reader = reader,
        .file = file,
        .options = options,
        .visit = visit,
        .context = context,
        .result = result,
        .end = bytes == 0 ? file->bytes : units_min(bytes, file->bytes),
    };
    uint64_t offset = alignment;

    memset(result, 0, sizeof(*result));
    result->walked_bytes = units_min(alignment, walk.end);
    result->next_seq = 1;
    while (offset < walk.end && !walk.stopped) {
        enum cascade_status status = step(&walk, &offset);

        if (status != CASCADE_OK) {
            return status;
        }
    }
    return CASCADE_OK;
}
