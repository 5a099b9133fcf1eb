// SPDX-License-Identifier: Apache-2.0
//
// The structs of a segment file, in memory. The input is the start of a file:
// file header, then one record at the first alignment unit, and its last bytes
// are a trailer. What decodes is inside its bounds, and encoding it again
// decodes to the same.

#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"
#include "segment/segment_format.h"

static void
check_file_header(const uint8_t *data, size_t bytes,
                  struct segment_facts *facts, bool *known)
{
    struct segment_file_header header;
    struct segment_facts again;

    *known = false;
    if (bytes < sizeof(header) ||
        segment_format_get_file_header(data, bytes, "input", facts) !=
            CASCADE_OK) {
        return;
    }
    FUZZ_REQUIRE(segment_format_alignment_is_valid(facts->alignment_bytes));
    if (facts->subject_path[0] == '\0' ||
        memchr(facts->subject_path, '\0', sizeof(facts->subject_path)) !=
            NULL) {
        segment_format_put_file_header(facts, &header);
        FUZZ_REQUIRE(segment_format_get_file_header(&header, sizeof(header),
                                                    "again",
                                                    &again) == CASCADE_OK);
        // A path ends at its first zero; what followed it is not kept.
        memset(facts->subject_path + strlen(facts->subject_path), 0,
               sizeof(facts->subject_path) - strlen(facts->subject_path));
        FUZZ_REQUIRE(memcmp(facts, &again, sizeof(again)) == 0);
    }
    *known = true;
}

// Builds the record again from its decoded items and compares these. Items of
// a hostile record may share keys or CRCs and then need more room than it has.
static void
check_encoding(const uint8_t *data, const struct segment_record_header *record,
               uint32_t crc)
{
    uint64_t room = SEGMENT_RECORD_FIXED_BYTES;
    uint32_t variable = segment_format_variable_start(record->item_count);
    uint32_t crc_count = 0;
    const uint32_t *crcs = NULL;
    struct segment_record_header made_record;
    struct segment_entry entry;
    struct segment_entry again;
    uint32_t made_crc = 0;
    uint8_t *made;

    for (uint32_t i = 0; i < record->item_count; i++) {
        segment_format_get_item(data, record, i, crc, &entry, &crcs,
                                &crc_count);
        room += segment_format_item_bytes(entry.label.key_bytes, entry.bytes);
    }
    if (room > record->header_bytes) {
        return;
    }
    made = malloc(record->header_bytes);
    FUZZ_REQUIRE(made != NULL);
    segment_format_begin_record(made, record->header_bytes,
                                (enum segment_record_kind)record->kind,
                                record->uuid, record->seq, record->offset,
                                record->record_bytes, record->item_count);
    for (uint32_t i = 0; i < record->item_count; i++) {
        segment_format_get_item(data, record, i, crc, &entry, &crcs,
                                &crc_count);
        segment_format_add_item(made, i, &variable, &entry.label,
                                segment_format_has_payload(&entry)
                                    ? entry.offset - record->offset
                                    : 0,
                                entry.bytes, crcs);
    }
    (void)segment_format_end_record(made);
    memcpy(&made_record, made, sizeof(made_record));
    FUZZ_REQUIRE(segment_format_check_record(made, &made_record, &made_crc));
    for (uint32_t i = 0; i < record->item_count; i++) {
        segment_format_get_item(data, record, i, crc, &entry, &crcs,
                                &crc_count);
        segment_format_get_item(made, &made_record, i, made_crc, &again, NULL,
                                NULL);
        FUZZ_REQUIRE(block_key_equal(&entry.label.key, &again.label.key));
        FUZZ_REQUIRE(block_id_equal(&entry.label.id, &again.label.id));
        FUZZ_REQUIRE(entry.label.key_bytes == again.label.key_bytes);
        FUZZ_REQUIRE(entry.label.key_bytes == 0 ||
                     memcmp(entry.label.key_data, again.label.key_data,
                            again.label.key_bytes) == 0);
        FUZZ_REQUIRE(entry.offset == again.offset);
        FUZZ_REQUIRE(entry.bytes == again.bytes && entry.seq == again.seq);
        FUZZ_REQUIRE(entry.label.flags == again.label.flags);
    }
    free(made);
}

static void
check_record(const uint8_t *data, size_t bytes,
             const struct segment_facts *facts)
{
    struct segment_record_header record;
    uint32_t crc;

    if (!segment_format_peek_record(data, bytes, facts->uuid,
                                    facts->alignment_bytes,
                                    facts->alignment_bytes, &record) ||
        record.header_bytes > bytes ||
        !segment_format_check_record(data, &record, &crc)) {
        return;
    }
    FUZZ_REQUIRE(record.header_bytes % facts->alignment_bytes == 0);
    for (uint32_t i = 0; i < record.item_count; i++) {
        const uint8_t *limit = data + record.header_bytes;
        struct segment_entry entry;
        const uint32_t *crcs = NULL;
        uint32_t crc_count = 0;

        segment_format_get_item(data, &record, i, crc, &entry, &crcs,
                                &crc_count);
        FUZZ_REQUIRE(entry.label.key_bytes <= CASCADE_KEY_BYTES_MAX);
        if (entry.label.key_data != NULL) {
            const uint8_t *key = entry.label.key_data;

            FUZZ_REQUIRE(key >= data && key + entry.label.key_bytes <= limit);
        }
        if (segment_format_has_payload(&entry)) {
            FUZZ_REQUIRE(entry.offset >= record.offset + record.header_bytes);
            FUZZ_REQUIRE(entry.offset + entry.bytes <=
                         record.offset + record.record_bytes);
            FUZZ_REQUIRE(crc_count == segment_format_chunk_count(entry.bytes));
            FUZZ_REQUIRE((const uint8_t *)(crcs + crc_count) <= limit);
        }
    }
    check_encoding(data, &record, crc);
}

static void
check_trailer(const uint8_t *data, size_t bytes,
              const struct segment_facts *facts)
{
    struct segment_trailer trailer;

    if (bytes < sizeof(trailer)) {
        return;
    }
    memcpy(&trailer, data + bytes - sizeof(trailer), sizeof(trailer));
    if (!segment_format_check_trailer(&trailer, facts, bytes)) {
        return;
    }
    FUZZ_REQUIRE(trailer.index_bytes <= bytes);
    FUZZ_REQUIRE(trailer.index_offset <= bytes - trailer.index_bytes);
    FUZZ_REQUIRE(trailer.entry_count * sizeof(struct segment_footer_entry) ==
                 trailer.index_bytes);
    for (uint64_t i = 0; i < trailer.entry_count; i++) {
        struct segment_footer_entry row;
        struct segment_footer_entry made;
        struct segment_entry entry;

        memcpy(&row, data + trailer.index_offset + i * sizeof(row),
               sizeof(row));
        if (!segment_format_get_entry(&row, trailer.index_offset, &entry)) {
            continue;
        }
        segment_format_put_entry(&entry, &made);
        if (!segment_format_has_payload(&entry)) {
            made.checksum = row.checksum;
        }
        FUZZ_REQUIRE(memcmp(&row, &made, sizeof(row)) == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct segment_facts facts;
    uint8_t *copy = NULL;
    bool known;

    check_file_header(data, bytes, &facts, &known);
    // Headers are read into memory aligned as the file is.
    if (known && bytes > facts.alignment_bytes) {
        size_t rest = bytes - facts.alignment_bytes;

        copy = aligned_alloc(SEGMENT_ALIGNMENT_MIN,
                             units_round_up(rest, SEGMENT_ALIGNMENT_MIN));
        FUZZ_REQUIRE(copy != NULL);
        memcpy(copy, data + facts.alignment_bytes, rest);
        check_record(copy, rest, &facts);
        check_trailer(data, bytes, &facts);
    }
    free(copy);
    return 0;
}
