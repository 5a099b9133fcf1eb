// SPDX-License-Identifier: Apache-2.0
//
// Builds and checks the structs of a segment file. Pure functions over memory.

#include "segment/segment_format.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "block/block_digest.h"

static const uint8_t file_magic[8] = {'C', 'S', 'C', 'D', 'S', 'E', 'G', '\n'};
static const uint8_t record_magic[8] = {'C', 'S', 'C', 'D',
                                        'R', 'E', 'C', '\n'};
static const uint8_t trailer_magic[8] = {'C', 'S', 'C', 'D',
                                         'E', 'N', 'D', '\n'};

static struct block_version
version_of(uint64_t time_ns, uint64_t tag)
{
    struct block_version version = {.time_ns = time_ns, .tag = tag};

    return version;
}

// The checksum stands in the last four bytes of what it covers.
static bool
checksum_matches(const void *data, size_t bytes)
{
    uint32_t stored;

    memcpy(&stored, (const uint8_t *)data + bytes - sizeof(stored),
           sizeof(stored));
    return crc32c(0, data, bytes - sizeof(stored)) == stored;
}

static bool
lies_inside(uint64_t offset, uint64_t bytes, uint64_t start, uint64_t end)
{
    return offset >= start && offset <= end && bytes <= end - offset;
}

// True if an item's key, CRCs and payload lie where they may.
static bool
item_is_valid(const struct segment_record_item *item,
              const struct segment_record_header *record)
{
    uint32_t end = record->header_bytes - (uint32_t)sizeof(uint32_t);
    uint32_t start = segment_format_variable_start(record->item_count);
    bool no_payload = (item->flags & SEGMENT_NO_PAYLOAD) != 0;

    if (item->key_bytes > CASCADE_KEY_BYTES_MAX ||
        !lies_inside(item->key_offset, item->key_bytes, start, end)) {
        return false;
    }
    if (no_payload || record->kind == SEGMENT_RECORD_BIND) {
        return no_payload && record->kind == SEGMENT_RECORD_BIND &&
               item->payload_bytes == 0 && item->payload_offset == 0 &&
               item->crc_count == 0;
    }
    if (item->payload_bytes > CASCADE_BLOCK_BYTES_MAX ||
        item->payload_offset % SEGMENT_PACK_BYTES != 0 ||
        !lies_inside(item->payload_offset, item->payload_bytes,
                     record->header_bytes, record->record_bytes)) {
        return false;
    }
    return item->crc_count == segment_format_chunk_count(item->payload_bytes) &&
           item->crc_offset % sizeof(uint32_t) == 0 &&
           lies_inside(item->crc_offset,
                       (uint64_t)item->crc_count * sizeof(uint32_t), start,
                       end);
}

static const struct segment_record_item *
item_at(const void *header, uint32_t number)
{
    return (const struct segment_record_item
                *)(const void *)((const uint8_t *)header +
                                 sizeof(struct segment_record_header)) +
           number;
}

bool
segment_format_alignment_is_valid(uint32_t alignment_bytes)
{
    return alignment_bytes >= SEGMENT_ALIGNMENT_MIN &&
           alignment_bytes <= SEGMENT_ALIGNMENT_MAX &&
           (alignment_bytes & (alignment_bytes - 1)) == 0;
}

uint32_t
segment_format_block_header_bytes(uint64_t payload_bytes,
                                  uint32_t alignment_bytes)
{
    uint64_t bytes = SEGMENT_RECORD_FIXED_BYTES +
                     segment_format_item_bytes(CASCADE_KEY_BYTES_MAX,
                                               payload_bytes);

    check(payload_bytes <= CASCADE_BLOCK_BYTES_MAX);
    return (uint32_t)units_round_up(bytes, alignment_bytes);
}

void
segment_format_chunk_crcs(const void *payload, uint64_t bytes, uint32_t *crcs)
{
    for (uint64_t at = 0; at < bytes; at += SEGMENT_CHUNK_BYTES) {
        uint64_t now = units_min(SEGMENT_CHUNK_BYTES, bytes - at);

        *crcs++ = crc32c(0, (const uint8_t *)payload + at, now);
    }
}

uint32_t
segment_format_checksum(const uint32_t *crcs, uint64_t count)
{
    return block_digest_table_checksum(crcs, count);
}

void
segment_format_put_file_header(const struct segment_facts *facts,
                               struct segment_file_header *header)
{
    size_t path_bytes = strnlen(facts->subject_path,
                                sizeof(facts->subject_path));

    check(path_bytes <= SEGMENT_SUBJECT_PATH_BYTES);
    memset(header, 0, sizeof(*header));
    memcpy(header->magic, file_magic, sizeof(file_magic));
    header->format_version = SEGMENT_FORMAT_VERSION;
    header->header_bytes = sizeof(*header);
    header->alignment = facts->alignment_bytes;
    header->kind = (uint32_t)facts->kind;
    header->flags = facts->rebind_allowed ? SEGMENT_FILE_REBIND_ALLOWED : 0;
    memcpy(header->uuid, facts->uuid, sizeof(header->uuid));
    memcpy(header->writer, facts->writer, sizeof(header->writer));
    memcpy(header->namespace_digest, facts->namespace_digest,
           sizeof(header->namespace_digest));
    header->number = facts->number;
    header->lowest_live_number = facts->lowest_live_number;
    header->created_ns = facts->created_ns;
    header->created_time_ns = facts->created.time_ns;
    header->created_tag = facts->created.tag;
    header->earlier_highest_time_ns = facts->earlier_highest.time_ns;
    header->earlier_highest_tag = facts->earlier_highest.tag;
    memcpy(header->subject_uuid, facts->subject_uuid,
           sizeof(header->subject_uuid));
    header->subject_bytes = facts->subject_bytes;
    header->subject_number = facts->subject_number;
    header->subject_path_bytes = (uint32_t)path_bytes;
    memcpy(header->subject_path, facts->subject_path, path_bytes);
    header->crc = crc32c(0, header, offsetof(struct segment_file_header, crc));
}

enum cascade_status
segment_format_get_file_header(const void *data, size_t bytes, const char *path,
                               struct segment_facts *facts)
{
    struct segment_file_header header;

    check(bytes >= sizeof(header));
    memcpy(&header, data, sizeof(header));
    if (memcmp(header.magic, file_magic, sizeof(file_magic)) != 0) {
        return error_set(CASCADE_NOT_FOUND,
                         "%s is not a segment file; it is left alone", path);
    }
    if (header.header_bytes < sizeof(uint32_t) * 8 ||
        header.header_bytes > bytes ||
        !checksum_matches(data, header.header_bytes)) {
        return error_set(CASCADE_CORRUPT,
                         "the header of %s is damaged; restore or remove it",
                         path);
    }
    if (header.format_version > SEGMENT_FORMAT_VERSION) {
        return error_set(CASCADE_VERSION,
                         "%s has format %u and this release reads up to %u; "
                         "use a newer release or another root",
                         path, header.format_version, SEGMENT_FORMAT_VERSION);
    }
    if (header.format_version == 0 || header.header_bytes != sizeof(header) ||
        !segment_format_alignment_is_valid(header.alignment) ||
        (header.kind != SEGMENT_FILE_RECORDS &&
         header.kind != SEGMENT_FILE_INDEX) ||
        header.subject_path_bytes > SEGMENT_SUBJECT_PATH_BYTES) {
        return error_set(CASCADE_CORRUPT,
                         "the header of %s makes no sense; remove the file",
                         path);
    }
    memset(facts, 0, sizeof(*facts));
    facts->alignment_bytes = header.alignment;
    facts->kind = (enum segment_file_kind)header.kind;
    facts->rebind_allowed = (header.flags & SEGMENT_FILE_REBIND_ALLOWED) != 0;
    memcpy(facts->uuid, header.uuid, sizeof(facts->uuid));
    memcpy(facts->writer, header.writer, sizeof(facts->writer));
    memcpy(facts->namespace_digest, header.namespace_digest,
           sizeof(facts->namespace_digest));
    facts->number = header.number;
    facts->lowest_live_number = header.lowest_live_number;
    facts->created_ns = header.created_ns;
    facts->created = version_of(header.created_time_ns, header.created_tag);
    facts->earlier_highest = version_of(header.earlier_highest_time_ns,
                                        header.earlier_highest_tag);
    memcpy(facts->subject_uuid, header.subject_uuid,
           sizeof(facts->subject_uuid));
    facts->subject_bytes = header.subject_bytes;
    facts->subject_number = header.subject_number;
    memcpy(facts->subject_path, header.subject_path, header.subject_path_bytes);
    return CASCADE_OK;
}

uint32_t
segment_format_variable_start(uint32_t item_count)
{
    return (uint32_t)(sizeof(struct segment_record_header) +
                      item_count * sizeof(struct segment_record_item));
}

void
segment_format_begin_record(void *header, uint32_t header_bytes,
                            enum segment_record_kind kind,
                            const uint8_t uuid[16], uint64_t seq,
                            uint64_t offset, uint64_t record_bytes,
                            uint32_t item_count)
{
    struct segment_record_header record = {
        .format_version = SEGMENT_FORMAT_VERSION,
        .kind = (uint32_t)kind,
        .seq = seq,
        .offset = offset,
        .record_bytes = record_bytes,
        .header_bytes = header_bytes,
        .item_count = item_count,
    };

    check(header_bytes <= SEGMENT_HEADER_BYTES_MAX);
    check(record_bytes >= header_bytes);
    check(segment_format_variable_start(item_count) + sizeof(uint32_t) <=
          header_bytes);
    memcpy(record.magic, record_magic, sizeof(record_magic));
    memcpy(record.uuid, uuid, sizeof(record.uuid));
    memset(header, 0, header_bytes);
    memcpy(header, &record, sizeof(record));
}

void
segment_format_add_item(void *header, uint32_t number, uint32_t *variable,
                        const struct block_label *label,
                        uint64_t payload_offset, uint64_t payload_bytes,
                        const uint32_t *crcs)
{
    const struct segment_record_header *record = header;
    uint8_t *bytes = header;
    struct segment_record_item item = {
        .version_time_ns = label->version.time_ns,
        .version_tag = label->version.tag,
        .payload_offset = payload_offset,
        .payload_bytes = payload_bytes,
        .flags = label->flags,
        .depth = label->depth,
        .turn = label->turn,
        .request_class = label->request_class,
        .expected_reuse = label->expected_reuse,
        .key_offset = *variable,
        .key_bytes = label->key_data != NULL ? label->key_bytes : 0,
        .crc_count = (uint32_t)segment_format_chunk_count(payload_bytes),
    };
    size_t crc_bytes = item.crc_count * sizeof(uint32_t);

    check(number < record->item_count);
    check(item.key_bytes <= CASCADE_KEY_BYTES_MAX);
    item.crc_offset = item.key_offset + (uint32_t)units_round_up(
                                            item.key_bytes, sizeof(uint32_t));
    check(item.crc_offset + crc_bytes + sizeof(uint32_t) <=
          record->header_bytes);
    memcpy(item.id, label->id.bytes, sizeof(item.id));
    memcpy(item.key, label->key.bytes, sizeof(item.key));
    memcpy(item.parent, label->parent.bytes, sizeof(item.parent));
    if (item.key_bytes > 0) {
        memcpy(bytes + item.key_offset, label->key_data, item.key_bytes);
    }
    if (crc_bytes > 0) {
        memcpy(bytes + item.crc_offset, crcs, crc_bytes);
    }
    if ((label->flags & SEGMENT_NO_PAYLOAD) == 0) {
        item.checksum = segment_format_checksum(crcs, item.crc_count);
    }
    memcpy(bytes + sizeof(*record) + number * sizeof(item), &item,
           sizeof(item));
    *variable = item.crc_offset + (uint32_t)crc_bytes;
}

uint32_t
segment_format_end_record(void *header)
{
    const struct segment_record_header *record = header;
    size_t covered = record->header_bytes - sizeof(uint32_t);
    uint32_t crc = crc32c(0, header, covered);

    memcpy((uint8_t *)header + covered, &crc, sizeof(crc));
    return crc;
}

bool
segment_format_peek_record(const void *data, size_t bytes,
                           const uint8_t uuid[16], uint64_t offset,
                           uint32_t alignment_bytes,
                           struct segment_record_header *record)
{
    struct segment_record_header found;

    if (bytes < sizeof(found) ||
        memcmp(data, record_magic, sizeof(record_magic)) != 0) {
        return false;
    }
    memcpy(&found, data, sizeof(found));
    // No writer comes to the last sequence, and the next after it would be 0.
    if (found.format_version != SEGMENT_FORMAT_VERSION ||
        memcmp(found.uuid, uuid, sizeof(found.uuid)) != 0 ||
        found.offset != offset || found.seq == UINT64_MAX ||
        found.kind < SEGMENT_RECORD_BLOCK || found.kind > SEGMENT_RECORD_SKIP) {
        return false;
    }
    if (found.header_bytes == 0 ||
        found.header_bytes > SEGMENT_HEADER_BYTES_MAX ||
        found.header_bytes % alignment_bytes != 0 ||
        found.record_bytes < found.header_bytes ||
        found.record_bytes % alignment_bytes != 0 ||
        found.record_bytes > UINT64_MAX - offset) {
        return false;
    }
    if (found.item_count >
            SEGMENT_HEADER_BYTES_MAX / sizeof(struct segment_record_item) ||
        segment_format_variable_start(found.item_count) + sizeof(uint32_t) >
            found.header_bytes) {
        return false;
    }
    *record = found;
    return true;
}

bool
segment_format_check_record(const void *data,
                            const struct segment_record_header *record,
                            uint32_t *crc)
{
    if (memcmp(data, record, sizeof(*record)) != 0 ||
        !checksum_matches(data, record->header_bytes)) {
        return false;
    }
    if ((record->kind == SEGMENT_RECORD_BLOCK && record->item_count != 1) ||
        (record->kind == SEGMENT_RECORD_SKIP && record->item_count != 0)) {
        return false;
    }
    for (uint32_t i = 0; i < record->item_count; i++) {
        if (!item_is_valid(item_at(data, i), record)) {
            return false;
        }
    }
    memcpy(crc, (const uint8_t *)data + record->header_bytes - sizeof(*crc),
           sizeof(*crc));
    return true;
}

void
segment_format_get_item(const void *data,
                        const struct segment_record_header *record,
                        uint32_t number, uint32_t header_crc,
                        struct segment_entry *entry, const uint32_t **crcs,
                        uint32_t *crc_count)
{
    struct segment_record_item item;
    const uint8_t *bytes = data;

    check(number < record->item_count);
    memcpy(&item, item_at(data, number), sizeof(item));
    memset(entry, 0, sizeof(*entry));
    memcpy(entry->label.id.bytes, item.id, sizeof(item.id));
    memcpy(entry->label.key.bytes, item.key, sizeof(item.key));
    memcpy(entry->label.parent.bytes, item.parent, sizeof(item.parent));
    entry->label.version = version_of(item.version_time_ns, item.version_tag);
    entry->label.key_data = item.key_bytes > 0 ? bytes + item.key_offset : NULL;
    entry->label.key_bytes = item.key_bytes;
    entry->label.flags = item.flags;
    entry->label.depth = item.depth;
    entry->label.turn = item.turn;
    entry->label.request_class = item.request_class;
    entry->label.expected_reuse = item.expected_reuse;
    if (segment_format_has_payload(entry)) {
        entry->offset = record->offset + item.payload_offset;
        entry->bytes = item.payload_bytes;
        entry->checksum = item.checksum;
    }
    entry->header_crc = header_crc;
    entry->header_offset = record->offset;
    entry->seq = record->seq;
    entry->item = number;
    entry->key_bytes_written = item.key_bytes;
    if (crcs != NULL) {
        *crcs = (const uint32_t *)(const void *)(bytes + item.crc_offset);
        *crc_count = item.crc_count;
    }
}

void
segment_format_put_entry(const struct segment_entry *entry,
                         struct segment_footer_entry *out)
{
    memset(out, 0, sizeof(*out));
    memcpy(out->id, entry->label.id.bytes, sizeof(out->id));
    memcpy(out->key, entry->label.key.bytes, sizeof(out->key));
    out->version_time_ns = entry->label.version.time_ns;
    out->version_tag = entry->label.version.tag;
    out->offset = entry->offset;
    out->bytes = entry->bytes;
    out->seq = entry->seq;
    out->header_crc = entry->header_crc;
    out->flags = entry->label.flags;
    out->checksum = entry->checksum;
    out->key_bytes = (uint16_t)entry->key_bytes_written;
    out->item = (uint16_t)entry->item;
    out->header_offset = entry->header_offset;
}

bool
segment_format_get_entry(const struct segment_footer_entry *in,
                         uint64_t data_bytes, struct segment_entry *entry)
{
    struct segment_entry found = {.label = {.flags = in->flags}};

    if (in->key_bytes > CASCADE_KEY_BYTES_MAX ||
        in->bytes > CASCADE_BLOCK_BYTES_MAX ||
        in->header_offset % SEGMENT_ALIGNMENT_MIN != 0 ||
        !lies_inside(in->header_offset, SEGMENT_ALIGNMENT_MIN,
                     SEGMENT_ALIGNMENT_MIN, data_bytes)) {
        return false;
    }
    if (segment_format_has_payload(&found)) {
        if (in->offset % SEGMENT_PACK_BYTES != 0 ||
            !lies_inside(in->offset, in->bytes,
                         in->header_offset + SEGMENT_ALIGNMENT_MIN,
                         data_bytes)) {
            return false;
        }
        found.offset = in->offset;
        found.bytes = in->bytes;
        found.checksum = in->checksum;
    } else if (in->offset != 0 || in->bytes != 0) {
        return false;
    }
    memcpy(found.label.id.bytes, in->id, sizeof(in->id));
    memcpy(found.label.key.bytes, in->key, sizeof(in->key));
    found.label.version = version_of(in->version_time_ns, in->version_tag);
    found.seq = in->seq;
    found.header_crc = in->header_crc;
    found.key_bytes_written = in->key_bytes;
    found.item = in->item;
    found.header_offset = in->header_offset;
    *entry = found;
    return true;
}

void
segment_format_end_trailer(struct segment_trailer *trailer)
{
    memcpy(trailer->magic, trailer_magic, sizeof(trailer_magic));
    trailer->format_version = SEGMENT_FORMAT_VERSION;
    trailer->crc = crc32c(0, trailer, offsetof(struct segment_trailer, crc));
}

bool
segment_format_check_trailer(const struct segment_trailer *trailer,
                             const struct segment_facts *facts,
                             uint64_t file_bytes)
{
    uint32_t alignment = facts->alignment_bytes;

    if (memcmp(trailer->magic, trailer_magic, sizeof(trailer_magic)) != 0 ||
        !checksum_matches(trailer, sizeof(*trailer)) ||
        trailer->format_version != SEGMENT_FORMAT_VERSION ||
        trailer->alignment != alignment ||
        memcmp(trailer->uuid, facts->uuid, sizeof(trailer->uuid)) != 0 ||
        trailer->file_bytes != file_bytes ||
        file_bytes < 2 * (uint64_t)alignment) {
        return false;
    }
    if (trailer->index_offset < alignment ||
        trailer->index_offset % alignment != 0 ||
        trailer->entry_count >
            file_bytes / sizeof(struct segment_footer_entry) ||
        trailer->index_bytes !=
            trailer->entry_count * sizeof(struct segment_footer_entry)) {
        return false;
    }
    return trailer->index_offset <= file_bytes - alignment &&
           units_round_up(trailer->index_bytes, alignment) ==
               file_bytes - alignment - trailer->index_offset;
}
