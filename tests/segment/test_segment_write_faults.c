// SPDX-License-Identifier: Apache-2.0
//
// The segment writer when the N-th call fails: what was synced is found again,
// and nothing is found with wrong bytes.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/units.h"
#include "segment_fixture.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"

// What a life of a writer with faults left behind.
struct life {
    bool created;
    bool synced;      // the first sync
    uint64_t durable; // entries known to be synced
    uint64_t written; // entries at the last look
    bool sealed;
};

// A writer's life that goes on after failures as its contract allows.
static void
live(const struct fixture *fixture, struct segment_write_item *items,
     struct life *life)
{
    struct segment_write_options options;
    struct segment_writer *writer = NULL;
    struct segment_write_stream *stream = NULL;
    struct segment_write_state state;
    struct segment_entry entry;

    memset(life, 0, sizeof(*life));
    fixture_options(fixture, "a.seg", 0, &options);
    if (segment_write_create(&options, &writer) != CASCADE_OK) {
        return;
    }
    life->created = true;
    (void)segment_write_append(writer, items, 3);
    life->synced = segment_write_sync(writer) == CASCADE_OK;
    if (segment_write_begin(writer, items[3].bytes, &stream) == CASCADE_OK) {
        if (segment_write_feed(stream, items[3].payload, items[3].bytes) !=
                CASCADE_OK ||
            segment_write_finish(stream, &items[3].label, items[3].checksum,
                                 &entry) != CASCADE_OK) {
            segment_write_abort(stream);
        }
    }
    (void)segment_write_append(writer, &items[4], 2);
    life->sealed = segment_write_seal(writer) == CASCADE_OK;
    segment_write_state_of(writer, &state);
    life->durable = state.durable_entries;
    life->written = state.entries;
    // What is OK can be read while the writer lives, if reads work.
    for (uint64_t i = 0; i < state.entries; i++) {
        uint32_t number = 0;
        enum cascade_status status;

        segment_write_entry(writer, i, &entry);
        status = fixture_check_entry(fixture, segment_write_file(writer),
                                     &entry, items, 6, &number);
        assert_true(status == CASCADE_OK || status == CASCADE_IO ||
                    status == CASCADE_NO_SPACE || status == CASCADE_STALE);
    }
    segment_write_close(writer);
}

static size_t
make_life_items(struct segment_write_item *items)
{
    fixture_make_block(&items[0], 0, MIB + 5000, false);
    fixture_make_block(&items[1], 1, 5000, false);
    fixture_make_bind(&items[2], 2, BLOCK_LABEL_BIND);
    fixture_make_block(&items[3], 3, 2 * MIB, false);
    fixture_make_block(&items[4], 4, 70000, false);
    fixture_make_bind(&items[5], 5, BLOCK_LABEL_REMOVAL);
    return 6;
}

static void
check_life(const struct fixture *fixture, struct segment_write_item *items,
           const struct life *life)
{
    struct fixture_found found;

    if (!life->created) {
        return;
    }
    fixture_look(fixture, "a.seg", items, 6, &found);
    assert_int_equal(found.status, CASCADE_OK);
    assert_true(found.intact >= life->durable);
    assert_true(!life->synced || life->durable > 0 || life->written == 0);
    if (life->sealed) {
        assert_true(found.sealed && !found.walked);
        assert_int_equal(found.intact, life->written);
    }
}

static void
test_nth_file_call_fails(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, 0};
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = make_life_items(items);
    struct file_faulty faulty;
    struct fixture fixture;

    (void)state;
    file_faulty_init(&faulty, NULL);
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    // Four errors, once or from then on, and EIO with torn writes.
    for (int kind = 0; kind < 9; kind++) {
        bool done = false;

        for (uint64_t n = 1; !done; n++) {
            struct life life;

            file_faulty_init(&faulty, NULL);
            faulty.refuse_direct = true; // the page cache is faster
            faulty.lazy = true;
            faulty.error = errors[kind % 4];
            faulty.fail_count = (kind & 4) != 0 ? UINT64_MAX : 1;
            faulty.torn = kind == 8;
            faulty.counted &= ~(uint32_t)FILE_FAULTY_UNLINK;
            faulty.fail_from = n;
            live(&fixture, items, &life);
            done = faulty.calls < n;
            faulty.fail_from = 0;
            assert_int_equal(life.created, fixture_exists(&fixture, "a.seg"));
            check_life(&fixture, items, &life);
            if (done) {
                assert_true(life.sealed);
                assert_int_equal(life.durable, count);
            }
            fixture_remove(&fixture, "a.seg");
        }
    }
    fixture_close(&fixture);
    fixture_items_free(items, count);
}

// io_uring where the system has it.
static enum segment_io_kind
ring_or_pread(void)
{
    struct segment_io_options options = {
        .kind = SEGMENT_IO_URING,
        .files = file_system_real(),
        .allocator = allocator_system(),
    };
    struct segment_io *io = NULL;

    if (segment_io_create(&options, &io) != CASCADE_OK) {
        return SEGMENT_IO_PREAD;
    }
    segment_io_destroy(io);
    return SEGMENT_IO_URING;
}

struct ring_fault {
    uint64_t calls;
    uint64_t fail_at;
    ssize_t answer;
};

static ssize_t
fail_completion(void *context, const struct segment_io_request *request,
                ssize_t result)
{
    struct ring_fault *fault = context;

    (void)request;
    fault->calls++;
    if (fault->calls != fault->fail_at) {
        return result;
    }
    return fault->answer >= 0 && result > fault->answer ? fault->answer
           : fault->answer >= 0                         ? result
                                                        : fault->answer;
}

static void
test_nth_completion_fails(void **state)
{
    static const ssize_t answers[] = {-EIO, -ENOSPC, -EINTR, 0, 4096};
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = make_life_items(items);
    struct ring_fault fault = {.fail_at = 0};
    struct file_faulty faulty;
    struct fixture fixture;

    (void)state;
    file_faulty_init(&faulty, NULL);
    faulty.refuse_direct = true;
    faulty.lazy = true;
    fixture_open(&fixture, ring_or_pread(), &faulty.table, fail_completion,
                 &fault);
    for (size_t kind = 0; kind < 5; kind++) {
        bool done = false;

        for (uint64_t n = 1; !done; n++) {
            struct life life;

            fault.answer = answers[kind];
            fault.calls = 0;
            fault.fail_at = n;
            live(&fixture, items, &life);
            done = fault.calls < n;
            fault.fail_at = 0;
            check_life(&fixture, items, &life);
            if (done || answers[kind] == -EINTR || answers[kind] == 4096) {
                assert_true(life.sealed);
                assert_int_equal(life.durable, count);
            }
            fixture_remove(&fixture, "a.seg");
        }
    }
    fixture_close(&fixture);
    fixture_items_free(items, count);
}

static void
test_failed_sync_condemns(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = make_life_items(items);
    struct file_faulty faulty;
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_write_state now;

    (void)state;
    file_faulty_init(&faulty, NULL);
    faulty.counted = FILE_FAULTY_SYNC_DATA;
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    faulty.calls = 0; // creation synced the header
    assert_int_equal(segment_write_append(writer, items, 2), CASCADE_OK);
    assert_int_equal(segment_write_sync(writer), CASCADE_OK);
    assert_int_equal(segment_write_append(writer, &items[2], 2), CASCADE_OK);
    faulty.fail_from = 2;
    assert_int_equal(segment_write_sync(writer), CASCADE_IO);
    // The next one would work, and must not be believed.
    assert_int_equal(segment_write_sync(writer), CASCADE_CLOSED);
    assert_int_equal(segment_write_seal(writer), CASCADE_CLOSED);
    assert_int_equal(segment_write_append(writer, &items[4], 2),
                     CASCADE_CLOSED);
    segment_write_state_of(writer, &now);
    assert_true(now.condemned);
    assert_int_equal(now.entries, 4);
    assert_int_equal(now.durable_entries, 2);
    assert_int_equal(faulty.calls, 2);
    segment_write_close(writer);
    fixture_items_free(items, count);
    fixture_close(&fixture);
}

static void
test_nth_allocation_fails(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = make_life_items(items);
    bool done = false;

    (void)state;
    for (uint64_t n = 1; !done; n++) {
        struct allocator_failing failing;
        struct file_faulty faulty;
        struct fixture fixture;
        struct life life;

        file_faulty_init(&faulty, NULL);
        faulty.refuse_direct = true;
        faulty.lazy = true;
        fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
        allocator_failing_init(&failing, n);
        fixture.allocator = &failing.table;
        live(&fixture, items, &life);
        done = failing.calls < n;
        assert_int_equal(failing.live, 0);
        assert_int_equal(life.created, fixture_exists(&fixture, "a.seg"));
        check_life(&fixture, items, &life);
        if (done) {
            assert_int_equal(life.durable, count);
        }
        fixture_close(&fixture);
    }
    fixture_items_free(items, count);
}

// More requests than are in flight at once: what was never submitted because
// another request failed is not OK either.
static void
test_failure_in_a_long_append(void **state)
{
    struct segment_write_item items[12];
    struct file_faulty faulty;
    struct fixture fixture;

    (void)state;
    file_faulty_init(&faulty, NULL);
    faulty.lazy = true;
    faulty.refuse_direct = true;
    faulty.counted = FILE_FAULTY_PWRITE;
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    for (uint32_t i = 0; i < 12; i++) {
        fixture_make_block(&items[i], i, i % 4 == 3 ? 700000 : MIB, false);
    }
    for (uint64_t n = 2; n < 24; n += 3) {
        struct segment_writer *writer;
        struct segment_write_state now;
        uint64_t good = 0;

        faulty.fail_from = 0;
        writer = fixture_create(&fixture, "a.seg", 0);
        faulty.calls = 0;
        faulty.fail_from = n;
        (void)segment_write_append(writer, items, 12);
        for (uint32_t i = 0; i < 12; i++) {
            uint32_t number;

            if (items[i].status != CASCADE_OK) {
                continue;
            }
            good++;
            assert_int_equal(
                fixture_check_entry(&fixture, segment_write_file(writer),
                                    &items[i].entry, items, 12, &number),
                CASCADE_OK);
        }
        segment_write_state_of(writer, &now);
        assert_int_equal(now.entries, good);
        assert_int_equal(now.takes_more, good == 12);
        assert_true(good < 12 || faulty.calls < n);
        segment_write_close(writer);
        fixture_remove(&fixture, "a.seg");
    }
    fixture_items_free(items, 12);
    fixture_close(&fixture);
}

// The footer is written only after the payloads are durable.
static void
test_seal_syncs_before_the_footer(void **state)
{
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count = make_life_items(items);
    struct file_faulty faulty;
    struct fixture fixture;
    struct segment_writer *writer;
    struct segment_write_state now;
    uint64_t bytes;

    (void)state;
    file_faulty_init(&faulty, NULL);
    faulty.counted = FILE_FAULTY_SYNC_DATA;
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    writer = fixture_create(&fixture, "a.seg", 0);
    faulty.calls = 0; // creation synced the header
    assert_int_equal(segment_write_append(writer, items, count), CASCADE_OK);
    segment_write_state_of(writer, &now);
    faulty.fail_from = 1;
    assert_int_equal(segment_write_seal(writer), CASCADE_IO);
    free(fixture_load(&fixture, "a.seg", &bytes));
    assert_int_equal(bytes, now.bytes);
    segment_write_close(writer);
    fixture_items_free(items, count);
    fixture_close(&fixture);
}

// Space is asked for once for an append and never makes the file longer; that
// it is refused changes nothing.
static void
test_space_may_be_refused(void **state)
{
    static const int errors[] = {0, EOPNOTSUPP, ENOSPC, EDQUOT, EIO};
    struct segment_write_item items[8];
    struct file_faulty faulty;
    struct fixture fixture;

    (void)state;
    file_faulty_init(&faulty, NULL);
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    for (uint32_t i = 0; i < 8; i++) {
        fixture_make_block(&items[i], i, i % 2 == 0 ? MIB + 1 : 300000, false);
    }
    for (size_t k = 0; k < sizeof(errors) / sizeof(errors[0]); k++) {
        struct segment_writer *writer = fixture_create(&fixture, "a.seg", 0);
        struct segment_write_state now;
        uint64_t bytes;

        faulty.counted = FILE_FAULTY_RESERVE;
        faulty.calls = 0;
        faulty.fail_from = errors[k] == 0 ? 0 : 1;
        faulty.error = errors[k];
        assert_int_equal(segment_write_append(writer, items, 8), CASCADE_OK);
        assert_int_equal(faulty.calls, 1);
        assert_int_equal(segment_write_sync(writer), CASCADE_OK);
        segment_write_state_of(writer, &now);
        free(fixture_load(&fixture, "a.seg", &bytes));
        assert_int_equal(bytes, now.bytes);
        for (uint32_t i = 0; i < 8; i++) {
            uint32_t number;

            assert_int_equal(
                fixture_check_entry(&fixture, segment_write_file(writer),
                                    &items[i].entry, items, 8, &number),
                CASCADE_OK);
        }
        segment_write_close(writer);
        fixture_remove(&fixture, "a.seg");
    }
    fixture_items_free(items, 8);
    fixture_close(&fixture);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nth_file_call_fails),
        cmocka_unit_test(test_nth_completion_fails),
        cmocka_unit_test(test_failed_sync_condemns),
        cmocka_unit_test(test_failure_in_a_long_append),
        cmocka_unit_test(test_seal_syncs_before_the_footer),
        cmocka_unit_test(test_space_may_be_refused),
        cmocka_unit_test(test_nth_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
