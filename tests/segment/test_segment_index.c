// SPDX-License-Identifier: Apache-2.0
//
// Index files: a dead writer's tail is walked, sealed from another folder's
// file, and read through that.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "segment/segment_index.h"
#include "segment_fixture.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"

static bool
add_entry(void *context, const struct segment_entry *entry)
{
    struct segment_index *index = context;

    if (segment_index_reserve(index, 1) != CASCADE_OK) {
        return false;
    }
    segment_index_add(index, entry);
    return true;
}

// Walks a file into an index.
static struct segment_file *
walk_file(const struct fixture *fixture, const char *name,
          struct segment_index *index, struct segment_walk_result *result)
{
    struct segment_walk_options options = {.verify = true};
    struct segment_file *file = NULL;

    assert_int_equal(segment_read_open(fixture->reader, fixture->directory,
                                       name, name, &file, NULL),
                     CASCADE_OK);
    assert_int_equal(segment_walk(fixture->reader, file, &options, 0, add_entry,
                                  index, result),
                     CASCADE_OK);
    return file;
}

static void
set_subject(struct segment_index_options *options,
            const struct fixture *fixture, const struct segment_file *subject,
            const struct segment_walk_result *result)
{
    memset(options, 0, sizeof(*options));
    options->io = fixture->io;
    options->allocator = fixture->allocator;
    options->directory = fixture->directory;
    options->name = "a.idx";
    options->path = "a.idx";
    options->facts.number = 6;
    memcpy(options->facts.subject_uuid, subject->facts.uuid,
           sizeof(options->facts.subject_uuid));
    options->facts.subject_bytes = result->walked_bytes;
    options->facts.subject_number = subject->facts.number;
    memcpy(options->facts.subject_path, "w1/a.seg", 8);
    options->next_seq = result->next_seq;
}

struct found {
    const struct fixture *fixture;
    const struct segment_file *subject;
    const struct segment_write_item *items;
    size_t count;
    size_t intact;
};

static struct segment_entry kept[FIXTURE_ITEMS_MAX];

static bool
keep_entry(void *context, const struct segment_entry *entry)
{
    struct found *found = context;

    kept[found->count++] = *entry;
    return true;
}

static void
test_index_file_seals_a_tail(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = fixture_make_items(items, false);
    struct fixture fixture;
    struct segment_index index;
    struct segment_walk_result result;
    struct segment_index_options options;
    struct segment_file *subject;
    struct segment_file *file;
    struct segment_writer *writer;
    struct found found = {.count = 0};
    uint32_t number;

    (void)state;
    fixture_open(&fixture, SEGMENT_IO_AUTO, NULL, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    assert_int_equal(segment_write_append(writer, items, count), CASCADE_OK);
    segment_write_close(writer);
    segment_index_init(&index, fixture.allocator);
    subject = walk_file(&fixture, "a.seg", &index, &result);
    assert_int_equal(index.count, count);
    set_subject(&options, &fixture, subject, &result);
    assert_int_equal(segment_index_create(&options, &index), CASCADE_OK);
    assert_int_equal(segment_index_create(&options, &index), CASCADE_EXISTS);
    segment_index_fini(&index);
    assert_int_equal(segment_read_open(fixture.reader, fixture.directory,
                                       "a.idx", "a.idx", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(file->facts.kind, SEGMENT_FILE_INDEX);
    assert_true(file->sealed);
    assert_int_equal(file->entry_count, count);
    assert_memory_equal(file->facts.subject_uuid, subject->facts.uuid, 16);
    assert_string_equal(file->facts.subject_path, "w1/a.seg");
    assert_int_equal(file->next_seq, result.next_seq);
    assert_int_equal(
        segment_read_entries(fixture.reader, file, keep_entry, &found),
        CASCADE_OK);
    assert_int_equal(found.count, count);
    for (size_t i = 0; i < count; i++) {
        struct block_label label;

        assert_int_equal(fixture_check_entry(&fixture, &subject->io, &kept[i],
                                             items, count, &number),
                         CASCADE_OK);
        assert_int_equal(
            segment_read_label(fixture.reader, subject, &kept[i], &label),
            CASCADE_OK);
        assert_int_equal(label.depth, items[number].label.depth);
    }
    segment_read_close(fixture.io, file);
    segment_read_close(fixture.io, subject);
    fixture_items_free(items, count);
    fixture_close(&fixture);
}

static void
test_nth_call_and_allocation_fail(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = fixture_make_small_items(items);

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        bool done = false;

        for (uint64_t n = 1; !done; n++) {
            struct allocator_failing failing;
            struct file_faulty faulty;
            struct fixture fixture;
            struct segment_index index;
            struct segment_walk_result result;
            struct segment_index_options options;
            struct segment_file *subject;
            struct segment_writer *writer;
            enum cascade_status status;

            file_faulty_init(&faulty, NULL);
            faulty.lazy = true;
            faulty.error = kind == 1 ? ENOSPC : EIO;
            faulty.fail_count = kind == 2 ? UINT64_MAX : 1;
            faulty.counted &= ~(uint32_t)(FILE_FAULTY_UNLINK |
                                          FILE_FAULTY_CLOSE);
            fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
            writer = fixture_create(&fixture, "a.seg", 0);
            assert_int_equal(segment_write_append(writer, items, count),
                             CASCADE_OK);
            segment_write_close(writer);
            segment_index_init(&index, fixture.allocator);
            subject = walk_file(&fixture, "a.seg", &index, &result);
            set_subject(&options, &fixture, subject, &result);
            allocator_failing_init(&failing, kind == 3 ? n : 0);
            options.allocator = &failing.table;
            faulty.calls = 0;
            faulty.fail_from = kind == 3 ? 0 : n;
            status = segment_index_create(&options, &index);
            done = kind == 3 ? failing.calls < n : faulty.calls < n;
            // Refused direct I/O is no failure.
            assert_true(status == CASCADE_OK || !done);
            assert_int_equal(status == CASCADE_OK,
                             fixture_exists(&fixture, "a.idx"));
            assert_int_equal(failing.live, 0);
            segment_index_fini(&index);
            faulty.fail_from = 0;
            segment_read_close(fixture.io, subject);
            fixture_close(&fixture);
        }
    }
    fixture_items_free(items, count);
}

static void
test_table_grows(void **state)
{
    struct allocator_failing failing;
    struct segment_index index;
    struct segment_entry entry;

    (void)state;
    allocator_failing_init(&failing, 3);
    segment_index_init(&index, &failing.table);
    memset(&entry, 0, sizeof(entry));
    for (uint64_t i = 0; i < 600; i++) {
        enum cascade_status status = segment_index_reserve(&index, 1);

        if (status != CASCADE_OK) {
            assert_int_equal(status, CASCADE_NO_MEMORY);
            assert_int_equal(index.count, i);
            assert_int_equal(segment_index_reserve(&index, 1), CASCADE_OK);
        }
        entry.seq = i / 2;
        entry.label.version.time_ns = 1000 - i;
        segment_index_add(&index, &entry);
    }
    assert_int_equal(index.count, 600);
    assert_int_equal(index.records, 300);
    assert_int_equal(index.highest.time_ns, 1000);
    assert_int_equal(index.lowest.time_ns, 401);
    assert_int_equal(failing.calls, 4);
    segment_index_fini(&index);
    assert_int_equal(failing.live, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_index_file_seals_a_tail),
        cmocka_unit_test(test_nth_call_and_allocation_fail),
        cmocka_unit_test(test_table_grows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
