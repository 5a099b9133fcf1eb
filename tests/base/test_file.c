// SPDX-License-Identifier: Apache-2.0
//
// Whole reads and writes over a table that interrupts, shortens and fails, and
// the real table in a folder of its own.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"

#define CONTENT_BYTES 64

// A file in memory that serves three bytes a call and is interrupted before
// each; from `fail_at` on it answers `failure`.
struct reluctant {
    unsigned char content[CONTENT_BYTES];
    size_t bytes;
    size_t fail_at;
    int failure;
    bool interrupted;
};

// How many bytes the call may move, or the negative answer.
static ssize_t
admit(struct reluctant *file, size_t bytes, uint64_t offset)
{
    file->interrupted = !file->interrupted;
    if (file->interrupted) {
        return -EINTR;
    }
    if (offset >= file->fail_at) {
        return -file->failure;
    }
    return bytes < 3 ? (ssize_t)bytes : 3;
}

static ssize_t
reluctant_pread(void *self, int number, void *data, size_t bytes,
                uint64_t offset)
{
    struct reluctant *file = self;
    ssize_t now = admit(file, bytes, offset);

    (void)number;
    if (now > 0 && offset + (size_t)now > file->bytes) {
        now = offset < file->bytes ? (ssize_t)(file->bytes - offset) : 0;
    }
    if (now > 0) {
        memcpy(data, file->content + offset, (size_t)now);
    }
    return now;
}

static ssize_t
reluctant_pwrite(void *self, int number, const void *data, size_t bytes,
                 uint64_t offset)
{
    struct reluctant *file = self;
    ssize_t now = admit(file, bytes, offset);

    (void)number;
    if (now > 0) {
        assert_true(offset + (size_t)now <= CONTENT_BYTES);
        memcpy(file->content + offset, data, (size_t)now);
    }
    return now;
}

static struct file_system
table_of(struct reluctant *file)
{
    return (struct file_system){
        .pread = reluctant_pread,
        .pwrite = reluctant_pwrite,
        .self = file,
    };
}

static void
goes_on_after_short_calls_and_interruptions(void **state)
{
    struct reluctant file = {.bytes = CONTENT_BYTES, .fail_at = SIZE_MAX};
    const struct file_system files = table_of(&file);
    unsigned char written[50];
    unsigned char read_back[50] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(written); i++) {
        written[i] = (unsigned char)(i + 1);
    }
    assert_int_equal(
        file_write_all(&files, 9, "f", written, sizeof(written), 7),
        CASCADE_OK);
    assert_int_equal(file.content[6], 0);
    assert_memory_equal(file.content + 7, written, sizeof(written));
    assert_int_equal(file.content[57], 0);
    assert_int_equal(
        file_read_all(&files, 9, "f", read_back, sizeof(read_back), 7),
        CASCADE_OK);
    assert_memory_equal(read_back, written, sizeof(written));
}

static void
an_early_end_is_stale(void **state)
{
    struct reluctant file = {.bytes = 10, .fail_at = SIZE_MAX};
    const struct file_system files = table_of(&file);
    unsigned char data[11];

    (void)state;
    assert_int_equal(file_read_all(&files, 9, "short", data, 11, 0),
                     CASCADE_STALE);
    assert_non_null(strstr(error_message(), "short"));
    assert_int_equal(file_read_all(&files, 9, "short", data, 10, 0),
                     CASCADE_OK);
}

static void
a_failure_in_the_middle_is_told(void **state)
{
    struct reluctant file = {
        .bytes = CONTENT_BYTES,
        .fail_at = 12,
        .failure = ENOSPC,
    };
    const struct file_system files = table_of(&file);
    unsigned char data[20] = {0};

    (void)state;
    assert_int_equal(file_write_all(&files, 9, "full", data, 20, 0),
                     CASCADE_NO_SPACE);
    assert_non_null(strstr(error_message(), "full"));
    assert_non_null(strstr(error_message(), "byte 12"));
    file.failure = EIO;
    assert_int_equal(file_read_all(&files, 9, "bad", data, 20, 0), CASCADE_IO);
    file.failure = 0; // a write that takes nothing must not spin
    assert_int_equal(file_write_all(&files, 9, "none", data, 20, 0),
                     CASCADE_IO);
}

// A folder with three files, listed in order and then removed again.
static void
the_real_table_answers_like_the_calls(void **state)
{
    static const char *const names[] = {"c", "a", "b"};
    const struct file_system *files = file_system_real();
    char path[] = "/tmp/cascade-file.XXXXXX";
    char **found = NULL;
    size_t count = 0;
    struct stat facts;
    int folder;

    (void)state;
    assert_non_null(mkdtemp(path));
    folder = files->open_at(files->self, AT_FDCWD, path, O_RDONLY | O_DIRECTORY,
                            0);
    assert_true(folder >= 0);
    assert_int_equal(files->open_at(files->self, folder, "none", O_RDONLY, 0),
                     -ENOENT);
    for (size_t i = 0; i < 3; i++) {
        int file = files->open_at(files->self, folder, names[i],
                                  O_CREAT | O_EXCL | O_RDWR, 0600);

        assert_true(file >= 0);
        assert_true((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0);
        assert_int_equal(file_write_all(files, file, names[i], "abc", 3, 2),
                         CASCADE_OK);
        assert_int_equal(files->sync_data(files->self, file), 0);
        assert_int_equal(files->close(files->self, file), 0);
        assert_int_equal(files->close(files->self, file), -EBADF);
    }
    assert_int_equal(files->stat_at(files->self, folder, "a", &facts), 0);
    assert_int_equal(facts.st_size, 5);
    assert_int_equal(
        file_list(files, allocator_system(), folder, path, &found, &count),
        CASCADE_OK);
    assert_int_equal(count, 3);
    assert_string_equal(found[0], "a");
    assert_string_equal(found[1], "b");
    assert_string_equal(found[2], "c");
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(files->unlink_at(files->self, folder, found[i], 0), 0);
    }
    file_names_free(allocator_system(), found, count);
    assert_int_equal(files->sync(files->self, folder), 0);
    assert_int_equal(files->close(files->self, folder), 0);
    assert_int_equal(rmdir(path), 0);
}

// An allocator that has memory for a given number of requests.
struct limited {
    int left;
    int out; // given out and not yet back
};

static void *
limited_allocate(void *self, size_t bytes, size_t alignment)
{
    struct limited *memory = self;
    void *given;

    if (memory->left == 0) {
        return NULL;
    }
    memory->left--;
    given = allocator_aligned(allocator_system(), bytes, alignment);
    memory->out++;
    return given;
}

static void
limited_release(void *self, void *given)
{
    ((struct limited *)self)->out--;
    allocator_release(allocator_system(), given);
}

// Whichever allocation fails, the outputs stay and nothing is kept.
static void
a_listing_without_memory_leaves_nothing(void **state)
{
    const struct file_system *files = file_system_real();
    int folder = files->open_at(files->self, AT_FDCWD, "/",
                                O_RDONLY | O_DIRECTORY, 0);
    enum cascade_status status = CASCADE_NO_MEMORY;

    (void)state;
    assert_true(folder >= 0);
    for (int room = 0; status != CASCADE_OK; room++) {
        struct limited memory = {.left = room};
        const struct allocator allocator = {
            .allocate = limited_allocate,
            .release = limited_release,
            .self = &memory,
        };
        char *untouched = NULL;
        char **names = &untouched;
        size_t count = 77;

        assert_true(room < 1000);
        status = file_list(files, &allocator, folder, "there", &names, &count);
        if (status == CASCADE_OK) {
            file_names_free(&allocator, names, count);
        } else {
            assert_int_equal(status, CASCADE_NO_MEMORY);
            assert_ptr_equal(names, &untouched);
            assert_int_equal(count, 77);
        }
        assert_int_equal(memory.out, 0);
    }
    assert_int_equal(files->close(files->self, folder), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_after_short_calls_and_interruptions),
        cmocka_unit_test(an_early_end_is_stale),
        cmocka_unit_test(a_failure_in_the_middle_is_told),
        cmocka_unit_test(the_real_table_answers_like_the_calls),
        cmocka_unit_test(a_listing_without_memory_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
