// SPDX-License-Identifier: Apache-2.0
//
// Structs of a segment file: what was built is read back, and what is damaged,
// foreign or newer is told apart.

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "block/block_digest.h"
#include "segment/segment_format.h"

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8};

static void
make_facts(struct segment_facts *facts)
{
    memset(facts, 0, sizeof(*facts));
    facts->alignment_bytes = 4096;
    facts->kind = SEGMENT_FILE_INDEX;
    facts->rebind_allowed = true;
    memcpy(facts->uuid, uuid, sizeof(uuid));
    memset(facts->writer, 9, sizeof(facts->writer));
    memset(facts->namespace_digest, 8, sizeof(facts->namespace_digest));
    facts->number = 7;
    facts->lowest_live_number = 3;
    facts->created_ns = 123456789;
    facts->created.time_ns = 11;
    facts->created.tag = 12;
    facts->earlier_highest.time_ns = 13;
    facts->earlier_highest.tag = 14;
    memset(facts->subject_uuid, 5, sizeof(facts->subject_uuid));
    facts->subject_bytes = 1 << 20;
    facts->subject_number = 99;
    memset(facts->subject_path, 'p', SEGMENT_SUBJECT_PATH_BYTES);
}

static void
test_file_header(void **state)
{
    struct segment_file_header header;
    struct segment_facts facts;
    struct segment_facts found;

    (void)state;
    make_facts(&facts);
    segment_format_put_file_header(&facts, &header);
    assert_int_equal(
        segment_format_get_file_header(&header, sizeof(header), "x", &found),
        CASCADE_OK);
    assert_memory_equal(&found, &facts, sizeof(facts));
}

static void
test_file_header_flipped(void **state)
{
    struct segment_file_header header;
    struct segment_facts facts;
    struct segment_facts found;

    (void)state;
    make_facts(&facts);
    segment_format_put_file_header(&facts, &header);
    for (size_t i = 0; i < sizeof(header) * 8; i++) {
        uint8_t *byte = (uint8_t *)&header + i / 8;

        *byte ^= (uint8_t)(1u << i % 8);
        assert_int_equal(segment_format_get_file_header(&header, sizeof(header),
                                                        "x", &found),
                         i < 64 ? CASCADE_NOT_FOUND : CASCADE_CORRUPT);
        *byte ^= (uint8_t)(1u << i % 8);
    }
}

static void
sign(struct segment_file_header *header)
{
    header->crc = crc32c(0, header, offsetof(struct segment_file_header, crc));
}

static void
test_newer_version_is_named(void **state)
{
    struct segment_file_header header;
    struct segment_facts facts;
    struct segment_facts found;

    (void)state;
    make_facts(&facts);
    segment_format_put_file_header(&facts, &header);
    header.format_version = SEGMENT_FORMAT_VERSION + 1;
    sign(&header);
    assert_int_equal(segment_format_get_file_header(&header, sizeof(header),
                                                    "some/path", &found),
                     CASCADE_VERSION);
    assert_non_null(strstr(error_message(), "some/path"));
    // A newer header of another length is still known as newer.
    header.header_bytes = 512;
    {
        uint32_t crc = crc32c(0, &header, 508);

        memcpy((uint8_t *)&header + 508, &crc, sizeof(crc));
    }
    assert_int_equal(segment_format_get_file_header(&header, sizeof(header),
                                                    "some/path", &found),
                     CASCADE_VERSION);
}

static void
test_senseless_header_is_corrupt(void **state)
{
    struct segment_file_header header;
    struct segment_facts facts;
    struct segment_facts found;

    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        make_facts(&facts);
        segment_format_put_file_header(&facts, &header);
        switch (kind) {
        case 0:
            header.alignment = 5000;
            break;
        case 1:
            header.kind = 77;
            break;
        case 2:
            header.subject_path_bytes = 513;
            break;
        case 3:
            header.format_version = 0;
            break;
        default:
            header.alignment = 1u << 20;
            break;
        }
        sign(&header);
        assert_int_equal(segment_format_get_file_header(&header, sizeof(header),
                                                        "x", &found),
                         CASCADE_CORRUPT);
    }
}

static void
make_label(struct block_label *label, const char *key)
{
    memset(label, 0, sizeof(*label));
    memset(&label->id, 0xA1, sizeof(label->id));
    memset(&label->key, 0xA2, sizeof(label->key));
    memset(&label->parent, 0xA3, sizeof(label->parent));
    label->version.time_ns = 5;
    label->version.tag = 6;
    label->key_data = key;
    label->key_bytes = (uint32_t)strlen(key);
    label->flags = BLOCK_LABEL_PROTECTED;
    label->depth = 1;
    label->turn = 2;
    label->request_class = 3;
    label->expected_reuse = 4.5f;
}

#define RECORD_BYTES (4096 + 8192)

// Two blocks in one record at 8192.
static uint32_t
make_record(uint8_t *header, struct block_label labels[2])
{
    uint32_t variable = segment_format_variable_start(2);
    uint32_t crcs[2] = {0x11, 0x22};

    make_label(&labels[0], "first");
    make_label(&labels[1], "the second key");
    segment_format_begin_record(header, 4096, SEGMENT_RECORD_BATCH, uuid, 42,
                                8192, RECORD_BYTES, 2);
    segment_format_add_item(header, 0, &variable, &labels[0], 4096, 100,
                            &crcs[0]);
    segment_format_add_item(header, 1, &variable, &labels[1], 8192, 4096,
                            &crcs[1]);
    return segment_format_end_record(header);
}

static void
test_record(void **state)
{
    uint8_t *header = aligned_alloc(4096, 4096);
    struct block_label labels[2];
    struct segment_record_header record;
    struct segment_entry entry;
    const uint32_t *crcs;
    uint32_t crc_count;
    uint32_t crc;
    uint32_t made = make_record(header, labels);

    (void)state;
    assert_true(
        segment_format_peek_record(header, 4096, uuid, 8192, 4096, &record));
    assert_true(segment_format_check_record(header, &record, &crc));
    assert_int_equal(crc, made);
    segment_format_get_item(header, &record, 1, crc, &entry, &crcs, &crc_count);
    assert_int_equal(crc_count, 1);
    assert_int_equal(crcs[0], 0x22);
    assert_int_equal(entry.offset, 8192 + 8192);
    assert_int_equal(entry.bytes, 4096);
    assert_int_equal(entry.seq, 42);
    assert_int_equal(entry.header_offset, 8192);
    assert_int_equal(entry.checksum, block_digest_table_checksum(crcs, 1));
    assert_int_equal(entry.label.key_bytes, 14);
    assert_memory_equal(entry.label.key_data, "the second key", 14);
    assert_memory_equal(&entry.label.parent, &labels[1].parent, 32);
    assert_true(entry.label.expected_reuse == 4.5f);
    // Not this file, not this place, not this alignment.
    assert_false(segment_format_peek_record(header, 4096, labels[0].id.bytes,
                                            8192, 4096, &record));
    assert_false(
        segment_format_peek_record(header, 4096, uuid, 4096, 4096, &record));
    assert_false(
        segment_format_peek_record(header, 4096, uuid, 8192, 65536, &record));
    // A sequence that has no next one.
    record.seq = UINT64_MAX;
    memcpy(header, &record, sizeof(record));
    assert_false(
        segment_format_peek_record(header, 4096, uuid, 8192, 4096, &record));
    free(header);
}

static bool
is_record(const uint8_t *header)
{
    struct segment_record_header record;
    uint32_t crc;

    return segment_format_peek_record(header, 4096, uuid, 8192, 4096,
                                      &record) &&
           record.header_bytes == 4096 &&
           segment_format_check_record(header, &record, &crc);
}

static void
test_record_flipped(void **state)
{
    uint8_t *header = aligned_alloc(4096, 4096);
    struct block_label labels[2];

    (void)state;
    (void)make_record(header, labels);
    assert_true(is_record(header));
    for (size_t i = 0; i < 4096 * 8; i++) {
        header[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(is_record(header));
        header[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    free(header);
}

// A header with a good checksum and places outside is refused all the same.
static void
test_record_bounds(void **state)
{
    uint8_t *header = aligned_alloc(4096, 4096);
    struct block_label labels[2];

    (void)state;
    for (int kind = 0; kind < 9; kind++) {
        struct segment_record_item item;

        (void)make_record(header, labels);
        memcpy(&item, header + sizeof(struct segment_record_header),
               sizeof(item));
        switch (kind) {
        case 0:
            item.payload_offset = RECORD_BYTES;
            break;
        case 1:
            item.payload_bytes = UINT64_MAX;
            break;
        case 2:
            item.payload_offset = UINT64_MAX - 4095;
            break;
        case 3:
            item.key_bytes = 1025;
            break;
        case 4:
            item.key_offset = 4093;
            break;
        case 5:
            item.crc_offset = 4096;
            break;
        case 6:
            item.crc_count = 2;
            break;
        case 7:
            item.flags = BLOCK_LABEL_BIND;
            break;
        default:
            item.key_offset = 0;
            break;
        }
        memcpy(header + sizeof(struct segment_record_header), &item,
               sizeof(item));
        (void)segment_format_end_record(header);
        assert_false(is_record(header));
    }
    free(header);
}

static void
test_entry(void **state)
{
    struct segment_footer_entry stored;
    struct segment_entry entry;
    struct segment_entry found;

    (void)state;
    memset(&entry, 0, sizeof(entry));
    make_label(&entry.label, "k");
    entry.label.key_data = NULL;
    entry.label.key_bytes = 0;
    entry.label.depth = entry.label.turn = entry.label.request_class = 0;
    entry.label.expected_reuse = 0;
    memset(&entry.label.parent, 0, sizeof(entry.label.parent));
    entry.offset = 8192;
    entry.bytes = 4096;
    entry.checksum = 1;
    entry.header_crc = 2;
    entry.header_offset = 4096;
    entry.seq = 3;
    entry.item = 4;
    entry.key_bytes_written = 5;
    segment_format_put_entry(&entry, &stored);
    assert_true(segment_format_get_entry(&stored, 12288, &found));
    assert_memory_equal(&found, &entry, sizeof(entry));
    assert_false(segment_format_get_entry(&stored, 12287, &found));
    stored.header_offset = 4097; // headers are read as they lie
    assert_false(segment_format_get_entry(&stored, 16384, &found));
    stored.header_offset = 4096;
    stored.bytes = UINT64_MAX;
    assert_false(segment_format_get_entry(&stored, 12288, &found));
    stored.bytes = 1;
    stored.offset = 4096; // inside the header
    assert_false(segment_format_get_entry(&stored, 12288, &found));
    stored.offset = 8192;
    stored.flags = BLOCK_LABEL_REMOVAL;
    assert_false(segment_format_get_entry(&stored, 12288, &found));
}

static void
test_trailer(void **state)
{
    struct segment_facts facts;
    struct segment_trailer trailer;

    (void)state;
    make_facts(&facts);
    memset(&trailer, 0, sizeof(trailer));
    trailer.alignment = 4096;
    memcpy(trailer.uuid, uuid, sizeof(uuid));
    trailer.index_offset = 8192;
    trailer.entry_count = 33;
    trailer.index_bytes = 33 * 128;
    trailer.file_bytes = 8192 + 8192 + 4096;
    segment_format_end_trailer(&trailer);
    assert_true(segment_format_check_trailer(&trailer, &facts, 20480));
    assert_false(segment_format_check_trailer(&trailer, &facts, 24576));
    for (size_t i = 0; i < sizeof(trailer) * 8; i++) {
        uint8_t *byte = (uint8_t *)&trailer + i / 8;

        *byte ^= (uint8_t)(1u << i % 8);
        assert_false(segment_format_check_trailer(&trailer, &facts, 20480));
        *byte ^= (uint8_t)(1u << i % 8);
    }
    trailer.entry_count = UINT64_MAX / 128 + 34; // overflows to 33 * 128
    segment_format_end_trailer(&trailer);
    assert_false(segment_format_check_trailer(&trailer, &facts, 20480));
}

// The checksum is the one that the rest of the product takes.
static void
test_checksum_is_that_of_block_digest(void **state)
{
    size_t bytes = 3 * 1024 * 1024 + 77;
    uint8_t *data = malloc(bytes);
    uint32_t crcs[4];

    (void)state;
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(i * 7 + i / 255);
    }
    segment_format_chunk_crcs(data, bytes, crcs);
    assert_int_equal(segment_format_checksum(crcs, 4),
                     block_digest_checksum(NULL, data, bytes, NULL));
    assert_int_equal(segment_format_checksum(NULL, 0),
                     block_digest_checksum(NULL, data, 0, NULL));
    free(data);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_header),
        cmocka_unit_test(test_file_header_flipped),
        cmocka_unit_test(test_newer_version_is_named),
        cmocka_unit_test(test_senseless_header_is_corrupt),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_record_flipped),
        cmocka_unit_test(test_record_bounds),
        cmocka_unit_test(test_entry),
        cmocka_unit_test(test_trailer),
        cmocka_unit_test(test_checksum_is_that_of_block_digest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
