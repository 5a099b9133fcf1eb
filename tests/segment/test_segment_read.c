// SPDX-License-Identifier: Apache-2.0
//
// Reading: many payloads at once into any memory, headers checked on request,
// newer and foreign files told apart, a larger alignment on the reader's side.

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/units.h"
#include "segment_fixture.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"

struct many {
    struct fixture fixture;
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count;
    struct segment_file *file;
    struct segment_read_request requests[FIXTURE_ITEMS_MAX];
    uint8_t *memory[FIXTURE_ITEMS_MAX];
};

static void
start(struct many *many, enum segment_io_kind kind, uint32_t alignment)
{
    struct segment_writer *writer;

    memset(many, 0, sizeof(*many));
    fixture_open(&many->fixture, kind, NULL, NULL, NULL);
    many->count = fixture_make_items(many->items, false);
    writer = fixture_create(&many->fixture, "a.seg", alignment);
    assert_int_equal(segment_write_append(writer, many->items, many->count),
                     CASCADE_OK);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    assert_int_equal(segment_read_open(many->fixture.reader,
                                       many->fixture.directory, "a.seg",
                                       "a.seg", &many->file, NULL),
                     CASCADE_OK);
    for (size_t i = 0; i < many->count; i++) {
        uint64_t bytes = many->items[i].bytes;

        many->memory[i] = aligned_alloc(65536,
                                        units_round_up(bytes + 4097, 65536));
        assert_non_null(many->memory[i]);
    }
}

static void
finish(struct many *many)
{
    for (size_t i = 0; i < many->count; i++) {
        free(many->memory[i]);
    }
    segment_read_close(many->fixture.io, many->file);
    fixture_items_free(many->items, many->count);
    fixture_close(&many->fixture);
}

// Asks for all payloads; every third into misaligned memory, every fourth with
// no room to spare, large ones with their headers.
static size_t
ask_for_all(struct many *many)
{
    size_t asked = 0;

    for (size_t i = 0; i < many->count; i++) {
        struct segment_read_request *request = &many->requests[asked];
        const struct segment_write_item *item = &many->items[i];

        if (item->payload == NULL) {
            continue;
        }
        memset(request, 0, sizeof(*request));
        request->file = &many->file->io;
        request->offset = item->entry.offset;
        request->bytes = item->bytes;
        request->checksum = item->checksum;
        request->memory = many->memory[i] + (i % 3 == 2 ? 1 : 0);
        request->memory_bytes = i % 4 == 1 ? item->bytes
                                           : units_round_up(item->bytes, 4096);
        memset(many->memory[i], 0xEE, item->bytes + 4097);
        if (item->bytes >= SEGMENT_BATCH_BLOCK_BYTES) {
            request->facts = &many->file->facts;
            request->id = &item->label.id;
        }
        asked++;
    }
    return asked;
}

static void
read_all(enum segment_io_kind kind, uint32_t alignment)
{
    struct many many;
    size_t asked;
    size_t at = 0;

    start(&many, kind, alignment);
    asked = ask_for_all(&many);
    assert_int_equal(
        segment_read_payloads(many.fixture.reader, many.requests, asked),
        CASCADE_OK);
    for (size_t i = 0; i < many.count; i++) {
        const struct segment_read_request *request = &many.requests[at];
        const struct segment_write_item *item = &many.items[i];
        const uint8_t *memory = request->memory;

        if (item->payload == NULL) {
            continue;
        }
        assert_int_equal(request->status, CASCADE_OK);
        if (item->bytes > 0) {
            assert_memory_equal(memory, item->payload, item->bytes);
        }
        // Nothing is written behind the room that was given.
        assert_int_equal(memory[request->memory_bytes], 0xEE);
        at++;
    }
    finish(&many);
}

static void
test_many_at_once(void **state)
{
    (void)state;
    read_all(SEGMENT_IO_AUTO, 0);
    read_all(SEGMENT_IO_PREAD, 0);
    read_all(SEGMENT_IO_AUTO, 65536);
}

static void
test_damaged_ones_are_named(void **state)
{
    struct many many;
    struct block_id other = {{1}};
    size_t asked;

    (void)state;
    start(&many, SEGMENT_IO_AUTO, 0);
    asked = ask_for_all(&many);
    for (size_t i = 0; i < asked; i++) {
        switch (i % 5) {
        case 0:
            many.requests[i].checksum ^= 1;
            break;
        case 1:
            many.requests[i].offset += 4096;
            break;
        case 2:
            many.requests[i].memory_bytes = many.requests[i].bytes / 2;
            break;
        case 3:
            many.requests[i].facts = &many.file->facts;
            many.requests[i].id = &other;
            break;
        default:
            break;
        }
    }
    assert_int_not_equal(
        segment_read_payloads(many.fixture.reader, many.requests, asked),
        CASCADE_OK);
    for (size_t i = 0; i < asked; i++) {
        enum cascade_status status = many.requests[i].status;

        if (i % 5 == 4) {
            assert_int_equal(status, CASCADE_OK);
        } else if (i % 5 == 2 && many.requests[i].bytes > 0) {
            assert_int_equal(status, CASCADE_TOO_SMALL);
        } else if (many.requests[i].bytes > 0) {
            assert_true(status == CASCADE_CORRUPT || status == CASCADE_STALE);
        }
    }
    finish(&many);
}

static void
test_places_from_nowhere(void **state)
{
    struct many many;
    struct segment_read_request request = {.checksum = 5};

    (void)state;
    start(&many, SEGMENT_IO_PREAD, 0);
    request.file = &many.file->io;
    request.memory = many.memory[0];
    request.memory_bytes = UINT64_MAX;
    request.offset = 4097;
    request.bytes = 4096;
    (void)segment_read_payloads(many.fixture.reader, &request, 1);
    assert_int_equal(request.status, CASCADE_CORRUPT);
    request.offset = 4096;
    request.bytes = UINT64_MAX;
    (void)segment_read_payloads(many.fixture.reader, &request, 1);
    assert_int_equal(request.status, CASCADE_CORRUPT);
    request.offset = 1 * TIB;
    request.bytes = 4096;
    (void)segment_read_payloads(many.fixture.reader, &request, 1);
    assert_int_equal(request.status, CASCADE_STALE);
    request.offset = 0;
    request.facts = &many.file->facts;
    (void)segment_read_payloads(many.fixture.reader, &request, 1);
    assert_int_equal(request.status, CASCADE_CORRUPT);
    finish(&many);
}

static void
store_and_open(struct many *many, const uint8_t *data, uint64_t bytes,
               enum cascade_status wanted, bool foreign_wanted)
{
    struct segment_file *file = NULL;
    bool foreign = !foreign_wanted;

    fixture_store(&many->fixture, "b.seg", data, bytes);
    assert_int_equal(segment_read_open(many->fixture.reader,
                                       many->fixture.directory, "b.seg",
                                       "some/b.seg", &file, &foreign),
                     wanted);
    assert_int_equal(foreign, foreign_wanted);
    assert_null(file);
    assert_non_null(strstr(error_message(), "some/b.seg"));
}

static void
test_other_files(void **state)
{
    struct segment_file_header header;
    struct many many;
    uint64_t bytes;
    uint8_t *data;
    struct segment_file *file = NULL;

    (void)state;
    start(&many, SEGMENT_IO_AUTO, 0);
    data = fixture_load(&many.fixture, "a.seg", &bytes);
    store_and_open(&many, data, 0, CASCADE_STALE, false);
    store_and_open(&many, data, 1023, CASCADE_STALE, false);
    memcpy(&header, data, sizeof(header));
    header.format_version++;
    header.crc = crc32c(0, &header, offsetof(struct segment_file_header, crc));
    memcpy(data, &header, sizeof(header));
    store_and_open(&many, data, bytes, CASCADE_VERSION, false);
    data[bytes - 5] ^= 1; // a trailer would stand in
    data[100] ^= 1;
    store_and_open(&many, data, bytes, CASCADE_CORRUPT, false);
    data[0] ^= 1;
    store_and_open(&many, data, bytes, CASCADE_NOT_FOUND, true);
    assert_int_equal(segment_read_open(many.fixture.reader,
                                       many.fixture.directory, "none", "none",
                                       &file, NULL),
                     CASCADE_NOT_FOUND);
    free(data);
    finish(&many);
}

// Any byte of the header is damaged: the trailer tells uuid and alignment, and
// all that the file holds is read. The trailer too: it is damaged.
static void
test_trailer_stands_in(void **state)
{
    struct many many;
    uint64_t bytes;
    uint8_t *data;

    (void)state;
    start(&many, SEGMENT_IO_PREAD, 0);
    data = fixture_load(&many.fixture, "a.seg", &bytes);
    for (size_t at = 0; at < sizeof(struct segment_file_header); at += 3) {
        struct segment_file *file = NULL;
        bool foreign = true;

        data[at] ^= 0x40;
        fixture_store(&many.fixture, "b.seg", data, bytes);
        assert_int_equal(segment_read_open(many.fixture.reader,
                                           many.fixture.directory, "b.seg",
                                           "b.seg", &file, &foreign),
                         CASCADE_OK);
        assert_false(foreign);
        assert_int_equal(file->facts.kind, SEGMENT_FILE_HEADLESS);
        assert_memory_equal(file->facts.uuid, many.file->facts.uuid, 16);
        assert_int_equal(file->facts.alignment_bytes,
                         many.file->facts.alignment_bytes);
        assert_int_equal(file->entry_count, many.file->entry_count);
        segment_read_close(many.fixture.io, file);
        data[at] ^= 0x40;
    }
    for (size_t at = 1; at <= sizeof(struct segment_trailer); at++) {
        data[40] ^= 1;
        data[bytes - at] ^= 0x40;
        store_and_open(&many, data, bytes, CASCADE_CORRUPT, false);
        data[bytes - at] ^= 0x40;
        data[40] ^= 1;
    }
    free(data);
    finish(&many);
}

// The machine wants a larger alignment than the file has.
static void
test_reader_rounds_out(void **state)
{
    struct many many;
    size_t asked;

    (void)state;
    start(&many, SEGMENT_IO_AUTO, 4096);
    assert_int_equal(many.file->facts.alignment_bytes, 4096);
    many.file->io.alignment_bytes = 65536;
    many.file->io.memory_alignment_bytes = 65536;
    asked = ask_for_all(&many);
    assert_int_equal(
        segment_read_payloads(many.fixture.reader, many.requests, asked),
        CASCADE_OK);
    for (size_t i = 0; i < many.count; i++) {
        struct block_label label;

        assert_int_equal(segment_read_label(many.fixture.reader, many.file,
                                            &many.items[i].entry, &label),
                         CASCADE_OK);
        assert_int_equal(label.depth, many.items[i].label.depth);
    }
    finish(&many);
}

static bool
count_entry(void *context, const struct segment_entry *entry)
{
    uint64_t *count = context;

    (void)entry;
    (*count)++;
    return true;
}

// More entries than staging memory holds.
static void
test_long_index(void **state)
{
    uint32_t count = 120000;
    struct segment_write_item *items = calloc(count, sizeof(*items));
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_file *file;
    uint64_t seen = 0;

    (void)state;
    assert_non_null(items);
    fixture_open(&fixture, SEGMENT_IO_AUTO, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(items[i].label.key.bytes, &i, sizeof(i));
        items[i].label.version.time_ns = i + 1;
        items[i].label.flags = BLOCK_LABEL_BIND;
    }
    assert_int_equal(segment_write_append(writer, items, count), CASCADE_OK);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    assert_int_equal(segment_read_open(fixture.reader, fixture.directory,
                                       "a.seg", "a.seg", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(file->entry_count, count);
    assert_int_equal(file->highest.time_ns, count);
    file->io.alignment_bytes = 65536; // and an index that begins in between
    assert_int_equal(
        segment_read_entries(fixture.reader, file, count_entry, &seen),
        CASCADE_OK);
    assert_int_equal(seen, count);
    segment_read_close(fixture.io, file);
    free(items);
    fixture_close(&fixture);
}

static void
test_nth_allocation_fails(void **state)
{
    struct many many;
    bool done = false;

    (void)state;
    start(&many, SEGMENT_IO_PREAD, 0);
    for (uint64_t n = 1; !done; n++) {
        struct allocator_failing failing;
        struct segment_reader_options options = {.io = many.fixture.io};
        struct segment_reader *reader = NULL;
        struct segment_file *file = NULL;

        allocator_failing_init(&failing, n);
        options.allocator = &failing.table;
        if (segment_reader_create(&options, &reader) == CASCADE_OK) {
            if (segment_read_open(reader, many.fixture.directory, "a.seg",
                                  "a.seg", &file, NULL) == CASCADE_OK) {
                done = true;
                segment_read_close(many.fixture.io, file);
            }
            segment_reader_destroy(reader);
        }
        assert_int_equal(failing.live, 0);
    }
    finish(&many);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_at_once),
        cmocka_unit_test(test_damaged_ones_are_named),
        cmocka_unit_test(test_places_from_nowhere),
        cmocka_unit_test(test_other_files),
        cmocka_unit_test(test_trailer_stands_in),
        cmocka_unit_test(test_reader_rounds_out),
        cmocka_unit_test(test_long_index),
        cmocka_unit_test(test_nth_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
