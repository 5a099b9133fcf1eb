// SPDX-License-Identifier: Apache-2.0
//
// The segment writer: everything written is found again with the right bytes.
// With faults: test_segment_write_faults.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/units.h"
#include "segment_fixture.h"
#include "support/file_faulty.h"

static void
assert_all(const struct fixture_found *found, size_t count)
{
    assert_int_equal(found->status, CASCADE_OK);
    assert_int_equal(found->intact, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(found->has[i]);
    }
}

// Writes all items, sealed or not, and looks at the file.
static void
round_trip(enum segment_io_kind kind, uint32_t alignment, bool misaligned,
           bool refuse_direct)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = fixture_make_items(items, misaligned);
    struct file_faulty faulty;
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_write_state state;
    struct fixture_found found;

    file_faulty_init(&faulty, NULL);
    faulty.refuse_direct = refuse_direct;
    fixture_open(&fixture, kind, refuse_direct ? &faulty.table : NULL, NULL,
                 NULL);
    writer = fixture_create(&fixture, "a.seg", alignment);
    assert_int_equal(segment_write_append(writer, items, count), CASCADE_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].status, CASCADE_OK);
    }
    fixture_look(&fixture, "a.seg", items, count, &found);
    assert_all(&found, count);
    assert_true(found.walked);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_state_of(writer, &state);
    assert_true(state.sealed);
    assert_false(state.takes_more);
    assert_int_equal(state.durable_entries, count);
    assert_int_equal(segment_write_append(writer, items, 1), CASCADE_CLOSED);
    segment_write_close(writer);
    fixture_look(&fixture, "a.seg", items, count, &found);
    assert_all(&found, count);
    assert_false(found.walked);
    fixture_items_free(items, count);
    fixture_close(&fixture);
}

static void
test_round_trip_pread(void **state)
{
    (void)state;
    round_trip(SEGMENT_IO_PREAD, 0, false, false);
    round_trip(SEGMENT_IO_PREAD, 65536, true, false);
    round_trip(SEGMENT_IO_PREAD, 0, true, true);
}

static void
test_round_trip_uring(void **state)
{
    (void)state;
    round_trip(SEGMENT_IO_AUTO, 0, false, false);
    round_trip(SEGMENT_IO_AUTO, 65536, false, false);
    round_trip(SEGMENT_IO_AUTO, 0, true, false);
}

static void
test_both_engines_write_the_same(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = fixture_make_items(items, false);
    uint8_t *data[2];
    uint64_t bytes[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture fixture;
        struct segment_write_options options;
        struct segment_writer *writer;

        fixture_open(&fixture, i == 0 ? SEGMENT_IO_AUTO : SEGMENT_IO_PREAD,
                     NULL, NULL, NULL);
        fixture_options(&fixture, "a.seg", 0, &options);
        memset(options.facts.uuid, 7, sizeof(options.facts.uuid));
        assert_int_equal(segment_write_create(&options, &writer), CASCADE_OK);
        assert_int_equal(segment_write_append(writer, items, count),
                         CASCADE_OK);
        assert_int_equal(segment_write_seal(writer), CASCADE_OK);
        segment_write_close(writer);
        data[i] = fixture_load(&fixture, "a.seg", &bytes[i]);
        fixture_close(&fixture);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(data[0], data[1], bytes[0]);
    free(data[0]);
    free(data[1]);
    fixture_items_free(items, count);
}

// A payload that is not what was promised is refused; its neighbours are not.
static void
test_changed_payload_is_corrupt(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = fixture_make_items(items, false);
    struct fixture fixture;
    struct segment_writer *writer;
    struct fixture_found found;
    uint32_t wrong = 0;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_PREAD, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    for (size_t i = 0; i < count; i += 3) {
        items[i].checksum ^= 1;
    }
    assert_int_equal(segment_write_append(writer, items, count),
                     CASCADE_CORRUPT);
    for (size_t i = 0; i < count; i++) {
        bool bad = i % 3 == 0 && items[i].payload != NULL;

        assert_int_equal(items[i].status, bad ? CASCADE_CORRUPT : CASCADE_OK);
        wrong += bad ? 1 : 0;
    }
    fixture_look(&fixture, "a.seg", items, count, &found);
    assert_int_equal(found.intact, count - wrong);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    fixture_look(&fixture, "a.seg", items, count, &found);
    assert_int_equal(found.intact, count - wrong);
    fixture_items_free(items, count);
    fixture_close(&fixture);
}

static bool
count_binds(void *context, const struct segment_entry *entry)
{
    uint32_t *binds = context;

    *binds += (entry->label.flags & BLOCK_LABEL_BIND) != 0 ? 1 : 0;
    return true;
}

// The trailer counts records, however the items of an append are mixed; so does
// the walk, which passes a skip record.
static void
test_records_are_counted(void **state)
{
    struct segment_write_item items[10];
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result walked;
    struct segment_write_state written;
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_file *file;
    uint32_t binds = 0;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_PREAD, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    for (uint32_t i = 0; i < 10; i++) {
        if (i % 3 == 1) {
            fixture_make_bind(&items[i], i, BLOCK_LABEL_BIND);
        } else {
            fixture_make_block(&items[i], i, i % 3 == 0 ? 2 * MIB : 100, false);
        }
    }
    items[6].checksum ^= 1;
    assert_int_equal(segment_write_append(writer, items, 10), CASCADE_CORRUPT);
    segment_write_state_of(writer, &written);
    // Three blocks are left, and there is one batch and one bind record.
    assert_int_equal(written.records, 5);
    assert_int_equal(written.entries, 9);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    assert_int_equal(segment_read_open(fixture.reader, fixture.directory,
                                       "a.seg", "a.seg", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(file->record_count, 5);
    assert_int_equal(segment_walk(fixture.reader, file, &options,
                                  file->data_bytes, count_binds, &binds,
                                  &walked),
                     CASCADE_OK);
    assert_int_equal(walked.records, 5);
    assert_int_equal(walked.entries, 9);
    assert_int_equal(binds, 3);
    segment_read_close(fixture.io, file);
    fixture_items_free(items, 10);
    fixture_close(&fixture);
}

static void
test_invalid_items(void **state)
{
    struct segment_write_item items[4];
    struct fixture fixture;
    struct segment_writer *writer;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_PREAD, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    for (uint32_t i = 0; i < 4; i++) {
        fixture_make_block(&items[i], i, 10, false);
    }
    items[0].label.key_bytes = CASCADE_KEY_BYTES_MAX + 1;
    items[1].bytes = CASCADE_BLOCK_BYTES_MAX + 1;
    items[2].label.flags = BLOCK_LABEL_BIND;
    assert_int_equal(segment_write_append(writer, items, 4), CASCADE_INVALID);
    assert_int_equal(items[0].status, CASCADE_INVALID);
    assert_int_equal(items[1].status, CASCADE_INVALID);
    assert_int_equal(items[2].status, CASCADE_INVALID);
    assert_int_equal(items[3].status, CASCADE_OK);
    segment_write_close(writer);
    fixture_items_free(items, 4);
    fixture_close(&fixture);
}

static void
feed_all(struct segment_write_stream *stream,
         const struct segment_write_item *item)
{
    for (uint64_t at = 0; at < item->bytes; at += 2 * MIB) {
        assert_int_equal(
            segment_write_feed(stream, (const uint8_t *)item->payload + at,
                               units_min(2 * MIB, item->bytes - at)),
            CASCADE_OK);
    }
}

static void
test_streams_between_appends(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_write_stream *streams[3];
    struct segment_entry entry;
    struct fixture_found found;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_AUTO, NULL, NULL, NULL);
    fixture_make_block(&items[0], 0, 5 * MIB + 17, true);
    fixture_make_block(&items[1], 1, 3000, false);
    fixture_make_block(&items[2], 2, 100, false);
    fixture_make_block(&items[3], 3, 2 * MIB, false);
    writer = fixture_create(&fixture, "a.seg", 0);
    for (int i = 0; i < 3; i++) {
        uint64_t bytes = i == 2 ? 3 * MIB : items[i].bytes;

        assert_int_equal(segment_write_begin(writer, bytes, &streams[i]),
                         CASCADE_OK);
    }
    assert_int_equal(segment_write_append(writer, &items[2], 2), CASCADE_OK);
    feed_all(streams[1], &items[1]);
    feed_all(streams[0], &items[0]);
    assert_int_equal(segment_write_stream_checksum(streams[0]),
                     items[0].checksum);
    assert_int_equal(segment_write_feed(streams[2], items[3].payload, MIB),
                     CASCADE_OK);
    assert_int_equal(segment_write_finish(streams[1], &items[1].label,
                                          items[1].checksum, &entry),
                     CASCADE_OK);
    assert_int_equal(segment_write_finish(streams[0], &items[0].label,
                                          items[0].checksum ^ 1, &entry),
                     CASCADE_CORRUPT);
    assert_int_equal(segment_write_finish(streams[0], &items[0].label,
                                          items[0].checksum, &entry),
                     CASCADE_OK);
    assert_int_equal(segment_write_seal(writer), CASCADE_BUSY);
    assert_int_equal(
        segment_write_finish(streams[2], &items[3].label, 0, &entry),
        CASCADE_INVALID);
    segment_write_abort(streams[2]);
    fixture_look(&fixture, "a.seg", items, 4, &found);
    assert_all(&found, 4);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    fixture_look(&fixture, "a.seg", items, 4, &found);
    assert_all(&found, 4);
    fixture_items_free(items, 4);
    fixture_close(&fixture);
}

// More chunk CRCs than fit into the first alignment unit of the header.
static void
test_header_of_several_units(void **state)
{
    uint64_t bytes = 900 * MIB + 123;
    uint64_t piece = 4 * MIB;
    uint8_t *zeros = aligned_alloc(4096, piece);
    struct file_faulty sparse;
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_write_stream *stream;
    struct segment_write_item item;
    struct segment_entry entry;
    struct segment_read_request request = {.bytes = bytes};

    (void)state;
    assert_non_null(zeros);
    memset(zeros, 0, piece);
    file_faulty_init(&sparse, NULL);
    sparse.sparse = true;
    fixture_open(&fixture, SEGMENT_IO_PREAD, &sparse.table, NULL, NULL);
    fixture_make_block(&item, 0, 0, false);
    writer = fixture_create(&fixture, "a.seg", 0);
    assert_true(segment_format_block_header_bytes(bytes, 4096) > 4096);
    assert_int_equal(segment_write_begin(writer, bytes, &stream), CASCADE_OK);
    for (uint64_t at = 0; at < bytes; at += piece) {
        assert_int_equal(
            segment_write_feed(stream, zeros, units_min(piece, bytes - at)),
            CASCADE_OK);
    }
    assert_int_equal(segment_write_finish(stream, &item.label,
                                          segment_write_stream_checksum(stream),
                                          &entry),
                     CASCADE_OK);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    request.file = segment_write_file(writer);
    request.offset = entry.offset;
    request.checksum = entry.checksum;
    request.facts = segment_write_facts(writer);
    request.id = &item.label.id;
    assert_int_equal(segment_read_payloads(fixture.reader, &request, 1),
                     CASCADE_OK);
    fixture_poke(&fixture, "a.seg", entry.offset + 777 * MIB, 1);
    assert_int_equal(segment_read_payloads(fixture.reader, &request, 1),
                     CASCADE_CORRUPT);
    segment_write_close(writer);
    fixture_items_free(&item, 1);
    fixture_close(&fixture);
    free(zeros);
}

static void
test_name_is_taken(void **state)
{
    struct fixture fixture;
    struct segment_write_options options;
    struct segment_writer *writer;
    struct segment_writer *second = NULL;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_AUTO, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    fixture_options(&fixture, "a.seg", 0, &options);
    assert_int_equal(segment_write_create(&options, &second), CASCADE_EXISTS);
    assert_null(second);
    options.name = "b.seg";
    options.facts.alignment_bytes = 5000;
    assert_int_equal(segment_write_create(&options, &second), CASCADE_INVALID);
    segment_write_close(writer);
    fixture_close(&fixture);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_pread),
        cmocka_unit_test(test_round_trip_uring),
        cmocka_unit_test(test_both_engines_write_the_same),
        cmocka_unit_test(test_changed_payload_is_corrupt),
        cmocka_unit_test(test_records_are_counted),
        cmocka_unit_test(test_invalid_items),
        cmocka_unit_test(test_streams_between_appends),
        cmocka_unit_test(test_header_of_several_units),
        cmocka_unit_test(test_name_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
