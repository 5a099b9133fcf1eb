// SPDX-License-Identifier: Apache-2.0
//
// Makes the checksums of a mutated segment file right again, as an attacker or
// a very unlucky disk would. Works on anything: what does not look like a part
// of a segment stays as it is. See fuzz.h.

#include <string.h>

#include "base/crc32c.h"
#include "fuzz/fuzz.h"
#include "segment/segment_format.h"

#define CRCS_MAX 64

// Gives a payload that lies in the file its CRC table and checksum.
static void
mend_item(uint8_t *data, size_t bytes, size_t at,
          const struct segment_record_header *record,
          struct segment_record_item *item)
{
    uint64_t count = segment_format_chunk_count(item->payload_bytes);
    uint64_t room = bytes - at;
    uint32_t crcs[CRCS_MAX];

    if (item->payload_bytes > room ||
        item->payload_offset > room - item->payload_bytes || count > CRCS_MAX ||
        item->crc_offset > record->header_bytes ||
        count * sizeof(uint32_t) > record->header_bytes - item->crc_offset) {
        return;
    }
    segment_format_chunk_crcs(data + at + item->payload_offset,
                              item->payload_bytes, crcs);
    item->crc_count = (uint32_t)count;
    item->checksum = segment_format_checksum(crcs, count);
    memcpy(data + at + item->crc_offset, crcs, count * sizeof(uint32_t));
}

static void
mend_record(uint8_t *data, size_t bytes, size_t at)
{
    struct segment_record_header record;

    memcpy(&record, data + at, sizeof(record));
    if (memcmp(record.magic, "CSCDREC\n", sizeof(record.magic)) != 0 ||
        record.header_bytes < SEGMENT_RECORD_FIXED_BYTES ||
        record.header_bytes > bytes - at) {
        return;
    }
    memcpy(record.uuid, data + offsetof(struct segment_file_header, uuid),
           sizeof(record.uuid));
    record.offset = at;
    memcpy(data + at, &record, sizeof(record));
    for (uint64_t i = 0; i < record.item_count; i++) {
        struct segment_record_item item;
        uint64_t place = sizeof(record) + i * sizeof(item);

        if (place + sizeof(item) > record.header_bytes - sizeof(uint32_t)) {
            break;
        }
        memcpy(&item, data + at + place, sizeof(item));
        if ((item.flags & SEGMENT_NO_PAYLOAD) == 0) {
            mend_item(data, bytes, at, &record, &item);
        }
        memcpy(data + at + place, &item, sizeof(item));
    }
    (void)segment_format_end_record(data + at);
}

static void
mend_trailer(uint8_t *data, size_t bytes)
{
    struct segment_trailer trailer;

    memcpy(&trailer, data + bytes - sizeof(trailer), sizeof(trailer));
    if (memcmp(trailer.magic, "CSCDEND\n", sizeof(trailer.magic)) != 0) {
        return;
    }
    trailer.file_bytes = bytes;
    if (trailer.index_bytes <= bytes &&
        trailer.index_offset <= bytes - trailer.index_bytes) {
        trailer.index_crc = crc32c(0, data + trailer.index_offset,
                                   trailer.index_bytes);
    }
    segment_format_end_trailer(&trailer);
    memcpy(data + bytes - sizeof(trailer), &trailer, sizeof(trailer));
}

void
fuzz_mend_segment(uint8_t *data, size_t bytes)
{
    struct segment_file_header header;

    if (bytes < sizeof(header) || memcmp(data, "CSCDSEG\n", 8) != 0) {
        return;
    }
    memcpy(&header, data, sizeof(header));
    header.crc = crc32c(0, &header, offsetof(struct segment_file_header, crc));
    memcpy(data, &header, sizeof(header));
    // Backwards: the footer covers no header, but a header that grew over
    // another one would spoil it.
    for (size_t at = units_round_down(bytes, SEGMENT_ALIGNMENT_MIN); at > 0;
         at -= SEGMENT_ALIGNMENT_MIN) {
        if (bytes - at >= sizeof(struct segment_record_header)) {
            mend_record(data, bytes, at);
        }
    }
    mend_trailer(data, bytes);
}
