// SPDX-License-Identifier: Apache-2.0
//
// The I/O engines: same results from both, over short transfers, errors and
// ends of files.

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "segment_fixture.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"

#define PIECE 65536
#define PIECES 20

static const enum segment_io_kind kinds[] = {SEGMENT_IO_AUTO, SEGMENT_IO_PREAD};

static void
open_file(const struct fixture *fixture, struct segment_io_file *file)
{
    assert_int_equal(segment_io_open(fixture->io, fixture->directory, "f", "f",
                                     O_RDWR | O_CREAT, 0600, 0, file),
                     CASCADE_OK);
}

static uint8_t *
pattern(size_t bytes)
{
    uint8_t *data = aligned_alloc(65536, units_round_up(bytes, 65536));

    assert_non_null(data);
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(i * 31 + i / 4096);
    }
    return data;
}

// Moves PIECES pieces with the engine's depth in flight.
static void
move_all(const struct fixture *fixture, const struct segment_io_file *file,
         bool write, uint8_t *data)
{
    struct segment_io_request requests[PIECES];
    bool seen[PIECES] = {false};
    uint32_t next = 0;
    uint32_t done = 0;

    while (done < PIECES) {
        struct segment_io_request *request;

        while (next < PIECES && segment_io_has_room(fixture->io)) {
            memset(&requests[next], 0, sizeof(requests[next]));
            requests[next].file = file;
            requests[next].write = write;
            requests[next].data = data + (size_t)next * PIECE;
            requests[next].bytes = PIECE;
            requests[next].offset = (uint64_t)next * PIECE;
            segment_io_submit(fixture->io, &requests[next]);
            next++;
        }
        request = segment_io_wait(fixture->io);
        assert_non_null(request);
        assert_false(seen[request - requests]);
        seen[request - requests] = true;
        assert_int_equal(segment_io_status(request), CASCADE_OK);
        assert_int_equal(request->done, PIECE);
        done++;
    }
    assert_null(segment_io_wait(fixture->io));
}

static void
test_write_and_read(void **state)
{
    uint8_t *data = pattern(PIECE * PIECES);
    uint8_t *back = pattern(PIECE * PIECES);

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture fixture;
        struct segment_io_file file;

        fixture_open(&fixture, kinds[i], NULL, NULL, NULL);
        open_file(&fixture, &file);
        move_all(&fixture, &file, true, data);
        memset(back, 0, PIECE * PIECES);
        move_all(&fixture, &file, false, back);
        assert_memory_equal(back, data, PIECE * PIECES);
        segment_io_close(fixture.io, &file);
        fixture_close(&fixture);
    }
    free(data);
    free(back);
}

static void
test_end_of_file(void **state)
{
    uint8_t *data = pattern(PIECE);

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture fixture;
        struct segment_io_file file;
        struct segment_io_request request = {.bytes = PIECE};

        fixture_open(&fixture, kinds[i], NULL, NULL, NULL);
        fixture_store(&fixture, "f", data, 10001);
        open_file(&fixture, &file);
        request.file = &file;
        request.data = data;
        segment_io_run(fixture.io, &request);
        assert_int_equal(request.error, 0);
        assert_int_equal(request.done, 10001);
        assert_int_equal(segment_io_status(&request), CASCADE_STALE);
        request.offset = PIECE;
        segment_io_run(fixture.io, &request);
        assert_int_equal(request.error, 0);
        assert_int_equal(request.done, 0);
        segment_io_close(fixture.io, &file);
        fixture_close(&fixture);
    }
    free(data);
}

struct answers {
    uint32_t calls;
    ssize_t first; // answer to the first call
    bool always;
};

static ssize_t
answer(void *context, const struct segment_io_request *request, ssize_t result)
{
    struct answers *answers = context;

    (void)request;
    answers->calls++;
    if (answers->calls != 1 && !answers->always) {
        return result;
    }
    return answers->first >= 0 && result < answers->first ? result
                                                          : answers->first;
}

static void
test_short_transfers_go_on(void **state)
{
    uint8_t *data = pattern(PIECE);
    uint8_t *back = pattern(PIECE);

    (void)state;
    for (int i = 0; i < 2; i++) {
        static const ssize_t shorts[] = {4096, 5000, 1, -EINTR, -EAGAIN};

        for (size_t k = 0; k < 5; k++) {
            struct answers answers = {.first = shorts[k]};
            struct fixture fixture;
            struct segment_io_file file;
            struct segment_io_request request = {.bytes = PIECE, .write = true};

            fixture_open(&fixture, kinds[i], NULL, answer, &answers);
            open_file(&fixture, &file);
            request.file = &file;
            request.data = data;
            segment_io_run(fixture.io, &request);
            assert_int_equal(segment_io_status(&request), CASCADE_OK);
            assert_int_equal(answers.calls, 2);
            answers.calls = 0;
            memset(back, 0, PIECE);
            request.write = false;
            request.data = back;
            segment_io_run(fixture.io, &request);
            assert_int_equal(segment_io_status(&request), CASCADE_OK);
            assert_memory_equal(back, data, PIECE);
            segment_io_close(fixture.io, &file);
            fixture_close(&fixture);
        }
    }
    free(data);
    free(back);
}

// A head in memory of its own is moved with the data, wherever a transfer
// stops: within the head, at its end, or behind it.
static void
test_head_and_data(void **state)
{
    static const ssize_t stops[] = {PIECE,    4096,     5000, 8192,
                                    8192 + 1, 3 * 4096, 1,    -EINTR};
    const size_t head_bytes = 8192;
    uint8_t *data = pattern(PIECE);
    uint8_t *back = pattern(PIECE);
    uint8_t *head = pattern(head_bytes);

    (void)state;
    for (size_t k = 0; k < 2 * sizeof(stops) / sizeof(stops[0]); k++) {
        struct answers answers = {.first = stops[k / 2]};
        struct fixture fixture;
        struct segment_io_file file;
        struct segment_io_request request = {.bytes = PIECE, .write = true};

        memcpy(head, data, head_bytes);
        fixture_open(&fixture, kinds[k % 2], NULL, answer, &answers);
        open_file(&fixture, &file);
        request.file = &file;
        request.head = head;
        request.head_bytes = head_bytes;
        request.data = data + head_bytes;
        segment_io_run(fixture.io, &request);
        assert_int_equal(segment_io_status(&request), CASCADE_OK);
        assert_int_equal(request.done, PIECE);
        answers.calls = 0;
        memset(back, 0, PIECE);
        memset(head, 0, head_bytes);
        request.write = false;
        request.data = back;
        segment_io_run(fixture.io, &request);
        assert_int_equal(segment_io_status(&request), CASCADE_OK);
        assert_memory_equal(head, data, head_bytes);
        assert_memory_equal(back, data + head_bytes, PIECE - head_bytes);
        assert_int_equal(back[PIECE - head_bytes], 0);
        segment_io_close(fixture.io, &file);
        fixture_close(&fixture);
    }
    free(data);
    free(back);
    free(head);
}

static void
test_errors(void **state)
{
    static const ssize_t failures[] = {-EIO, -ENOSPC, -EDQUOT, 0, -EAGAIN};
    static const enum cascade_status wanted[] = {
        CASCADE_IO, CASCADE_NO_SPACE, CASCADE_NO_SPACE, CASCADE_IO, CASCADE_IO,
    };
    uint8_t *data = pattern(PIECE);

    (void)state;
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < 5; k++) {
            struct answers answers = {.first = failures[k], .always = true};
            struct fixture fixture;
            struct segment_io_file file;
            struct segment_io_request request = {.bytes = PIECE, .write = true};

            fixture_open(&fixture, kinds[i], NULL, answer, &answers);
            open_file(&fixture, &file);
            request.file = &file;
            request.data = data;
            segment_io_run(fixture.io, &request);
            assert_int_equal(segment_io_status(&request), wanted[k]);
            segment_io_close(fixture.io, &file);
            fixture_close(&fixture);
        }
    }
    free(data);
}

// AUTO never goes around a table of the caller's.
static void
test_choice_of_engine(void **state)
{
    struct file_faulty faulty;
    struct fixture fixture;

    (void)state;
    file_faulty_init(&faulty, NULL);
    fixture_open(&fixture, SEGMENT_IO_AUTO, &faulty.table, NULL, NULL);
    assert_string_equal(segment_io_name(fixture.io), "pread");
    fixture_close(&fixture);
    fixture_open(&fixture, SEGMENT_IO_PREAD, NULL, NULL, NULL);
    assert_string_equal(segment_io_name(fixture.io), "pread");
    fixture_close(&fixture);
}

static void
test_open_without_direct(void **state)
{
    struct file_faulty faulty;
    struct fixture fixture;
    struct segment_io_file file;
    struct segment_io_file again;

    (void)state;
    file_faulty_init(&faulty, NULL);
    faulty.refuse_direct = true;
    fixture_open(&fixture, SEGMENT_IO_PREAD, &faulty.table, NULL, NULL);
    assert_int_equal(segment_io_open(fixture.io, fixture.directory, "f", "f",
                                     O_RDWR | O_CREAT | O_EXCL, 0600, 65536,
                                     &file),
                     CASCADE_OK);
    assert_false(file.direct);
    assert_int_equal(file.alignment_bytes, 65536);
    assert_int_equal(segment_io_open(fixture.io, fixture.directory, "f", "f",
                                     O_RDWR | O_CREAT | O_EXCL, 0600, 0,
                                     &again),
                     CASCADE_EXISTS);
    assert_int_equal(segment_io_open(fixture.io, fixture.directory, "g", "g",
                                     O_RDONLY, 0600, 0, &again),
                     CASCADE_NOT_FOUND);
    segment_io_drop(&file, 0, 0);
    segment_io_close(fixture.io, &file);
    segment_io_close(fixture.io, &file);
    fixture_close(&fixture);
}

static void
test_nth_allocation_fails(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (uint64_t n = 1; n <= 2; n++) {
            struct allocator_failing failing;
            struct segment_io *io = NULL;
            struct segment_io_options options = {
                .kind = kinds[i],
                .files = file_system_real(),
                .allocator = &failing.table,
            };

            allocator_failing_init(&failing, n);
            assert_int_equal(segment_io_create(&options, &io),
                             CASCADE_NO_MEMORY);
            assert_int_equal(failing.live, 0);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_end_of_file),
        cmocka_unit_test(test_short_transfers_go_on),
        cmocka_unit_test(test_head_and_data),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_choice_of_engine),
        cmocka_unit_test(test_open_without_direct),
        cmocka_unit_test(test_nth_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
