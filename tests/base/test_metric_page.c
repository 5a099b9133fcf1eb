// SPDX-License-Identifier: Apache-2.0
//
// Pages of metrics: published, found, read by another process while they
// change, removed when their process is gone, and plain memory when no folder
// works.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/metric_page.h"
#include "support/allocator_failing.h"
#include "support/scratch.h"

static struct scratch scratch;

static int
make_folder(void **state)
{
    (void)state;
    scratch_make(&scratch);
    return 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static struct metric_page_place
here(void)
{
    return (struct metric_page_place){
        .files = file_system_real(),
        .allocator = allocator_system(),
        .folder = scratch.path,
        .proc = "/proc",
    };
}

static struct metric_page_handle
publish(const struct metric_page_place *place, const char *cold_path,
        uint64_t wall_ns)
{
    struct metric_page_handle handle;

    assert_int_equal(
        metric_page_open(place, true, "default", cold_path, wall_ns, &handle),
        CASCADE_OK);
    assert_true(handle.shared);
    return handle;
}

static size_t
count_pages(const struct metric_page_place *place)
{
    struct metric_page_info *infos;
    size_t count;

    assert_int_equal(metric_page_list(place, &infos, &count), CASCADE_OK);
    allocator_release(place->allocator, infos);
    return count;
}

static size_t
count_files(void)
{
    char **names;
    size_t count;
    int folder = open(scratch.path, O_RDONLY | O_DIRECTORY);

    assert_true(folder >= 0);
    assert_int_equal(file_list(file_system_real(), allocator_system(), folder,
                               scratch.path, &names, &count),
                     CASCADE_OK);
    file_names_free(allocator_system(), names, count);
    (void)close(folder);
    return count;
}

static void
found_while_open(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle one = publish(&place, "/cold/one", 200);
    struct metric_page_handle two = publish(&place, "", 100);
    struct metric_page_info *infos;
    size_t count;

    (void)state;
    assert_int_equal(metric_page_list(&place, &infos, &count), CASCADE_OK);
    assert_int_equal(count, 2);
    assert_int_equal(infos[0].opened_wall_ns, 100);
    assert_string_equal(infos[1].cold_path, "/cold/one");
    assert_string_equal(infos[1].namespace_name, "default");
    assert_int_equal(infos[1].pid, getpid());
    assert_true(infos[0].readable && infos[1].readable);
    allocator_release(place.allocator, infos);
    metric_page_close(&place, &one);
    assert_int_equal(count_pages(&place), 1);
    metric_page_close(&place, &two);
    metric_page_close(&place, &two);
    assert_int_equal(count_files(), 0);
}

static void
attach_by_what_is_known(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle one = publish(&place, "/cold/one", 1);
    struct metric_page_handle reader;
    struct metric_page_handle two;

    (void)state;
    metric_add(&one.page->values, METRIC_PUTS_TOTAL, 41);
    assert_int_equal(metric_page_attach_to(&place, 0, NULL, &reader),
                     CASCADE_OK);
    metric_add(&one.page->values, METRIC_PUTS_TOTAL, 1);
    assert_int_equal(metric_read(&reader.page->values, METRIC_PUTS_TOTAL), 42);
    assert_true(metric_page_alive(&place, &reader));
    metric_page_detach(&reader);
    two = publish(&place, "/cold/two", 2);
    assert_int_equal(metric_page_attach_to(&place, 0, NULL, &reader),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "2 live stores"));
    assert_int_equal(
        metric_page_attach_to(&place, (uint64_t)getpid(), "/cold/two", &reader),
        CASCADE_OK);
    assert_string_equal(reader.page->head.cold_path, "/cold/two");
    metric_page_detach(&reader);
    assert_int_equal(metric_page_attach_to(&place, 0, "/cold/no", &reader),
                     CASCADE_NOT_FOUND);
    assert_int_equal(metric_page_attach_to(&place, 1, NULL, &reader),
                     CASCADE_NOT_FOUND);
    metric_page_close(&place, &one);
    metric_page_close(&place, &two);
}

// A child publishes and ends without closing, as after kill -9.
static void
pages_of_the_dead_are_removed(void **state)
{
    struct metric_page_place place = here();
    int outcome;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct metric_page_handle handle;

        _exit(metric_page_open(&place, true, "n", "/c", 1, &handle) ==
                          CASCADE_OK &&
                      handle.shared
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &outcome, 0), child);
    assert_int_equal(outcome, 0);
    assert_int_equal(count_files(), 1);
    assert_int_equal(count_pages(&place), 0);
    assert_int_equal(count_files(), 0);
}

// Another process sees the counts of this one.
static void
read_from_another_process(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle handle = publish(&place, "/c", 1);
    int outcome;
    pid_t child;

    (void)state;
    metric_add_tier(&handle.page->values, METRIC_HITS_TOTAL, 2, 7);
    child = fork();
    if (child == 0) {
        struct metric_page_handle reader;

        if (metric_page_attach_to(&place, (uint64_t)getppid(), NULL, &reader) !=
            CASCADE_OK) {
            _exit(1);
        }
        _exit(metric_read_tier(&reader.page->values, METRIC_HITS_TOTAL, 2) == 7
                  ? 0
                  : 2);
    }
    assert_int_equal(waitpid(child, &outcome, 0), child);
    assert_int_equal(outcome, 0);
    metric_page_close(&place, &handle);
}

static void
a_child_does_not_remove(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle handle = publish(&place, "/c", 1);
    int outcome;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        metric_page_close(&place, &handle);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &outcome, 0), child);
    assert_int_equal(count_pages(&place), 1);
    metric_page_close(&place, &handle);
    assert_int_equal(count_files(), 0);
}

// Writes over a field of the file of a page.
static void
overwrite(const struct metric_page_handle *handle, size_t offset,
          const void *data, size_t bytes)
{
    char path[512];
    int file;

    (void)snprintf(path, sizeof(path), "%s/%s", scratch.path, handle->name);
    file = open(path, O_RDWR);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, data, bytes, (off_t)offset), bytes);
    (void)close(file);
}

static void
other_releases_are_not_read(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle handle = publish(&place, "/c", 1);
    uint64_t stamp = metric_stamp() + 1;
    struct metric_page_handle reader;
    struct metric_page_info *infos;
    size_t count;

    (void)state;
    overwrite(&handle, offsetof(struct metric_page_head, stamp), &stamp,
              sizeof(stamp));
    assert_int_equal(metric_page_list(&place, &infos, &count), CASCADE_OK);
    assert_int_equal(count, 1);
    assert_false(infos[0].readable);
    allocator_release(place.allocator, infos);
    assert_int_equal(metric_page_attach_to(&place, 0, NULL, &reader),
                     CASCADE_VERSION);
    metric_page_close(&place, &handle);
}

static void
what_cannot_be_judged_stays(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle handle = publish(&place, "/c", 1);
    static const char host[] = "somewhere-else";

    (void)state;
    overwrite(&handle, offsetof(struct metric_page_head, owner.host), host,
              sizeof(host));
    assert_int_equal(count_pages(&place), 0);
    assert_int_equal(count_files(), 1);
    metric_page_close(&place, &handle);
}

static void
garbage_is_not_a_page(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle handle = publish(&place, "/c", 1);
    struct metric_page_handle reader;
    char path[512];

    (void)state;
    scratch_write(&scratch, "1-0.metrics", "CASCMETR and no more");
    scratch_write(&scratch, "notes.txt", "hands off");
    assert_int_equal(count_pages(&place), 1);
    assert_int_equal(count_files(), 3);
    (void)snprintf(path, sizeof(path), "%s/%s", scratch.path, handle.name);
    assert_int_equal(truncate(path, sizeof(struct metric_page_head) + 8), 0);
    assert_int_equal(metric_page_attach(&place, path, &reader),
                     CASCADE_NOT_FOUND);
    metric_page_close(&place, &handle);
}

static void
assert_plain_memory(const struct metric_page_place *place)
{
    struct metric_page_handle handle;

    assert_int_equal(metric_page_open(place, true, "n", "", 1, &handle),
                     CASCADE_OK);
    assert_false(handle.shared);
    metric_add(&handle.page->values, METRIC_PUTS_TOTAL, 1);
    assert_int_equal(metric_read(&handle.page->values, METRIC_PUTS_TOTAL), 1);
    metric_page_close(place, &handle);
    assert_null(handle.page);
}

static void
no_folder_is_no_failure(void **state)
{
    struct metric_page_place place = here();
    char path[512];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/file/below", scratch.path);
    scratch_write(&scratch, "file", "not a folder");
    place.folder = path;
    assert_plain_memory(&place);
    assert_int_equal(count_pages(&place), 0);
    (void)snprintf(path, sizeof(path), "%s/open", scratch.path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_plain_memory(&place);
    assert_non_null(strstr(error_message(), "not this user's alone"));
    (void)snprintf(path, sizeof(path), "%s/link", scratch.path);
    assert_int_equal(symlink("/tmp", path), 0);
    assert_plain_memory(&place);
}

// The N-th call of the file table fails with no space.
struct failing_files {
    struct file_system table;
    unsigned calls;
    unsigned fail_at;
};

static bool
fails_now(void *self)
{
    struct failing_files *failing = self;

    return ++failing->calls == failing->fail_at;
}

static int
failing_open_at(void *self, int directory, const char *path, int flags,
                mode_t mode)
{
    const struct file_system *real = file_system_real();

    return fails_now(self)
               ? -ENOSPC
               : real->open_at(real->self, directory, path, flags, mode);
}

static ssize_t
failing_pwrite(void *self, int file, const void *data, size_t bytes,
               uint64_t offset)
{
    const struct file_system *real = file_system_real();

    return fails_now(self)
               ? -ENOSPC
               : real->pwrite(real->self, file, data, bytes, offset);
}

static int
failing_make_directory_at(void *self, int directory, const char *path,
                          mode_t mode)
{
    const struct file_system *real = file_system_real();

    return fails_now(self)
               ? -ENOSPC
               : real->make_directory_at(real->self, directory, path, mode);
}

static void
each_file_call_fails(void **state)
{
    struct failing_files failing = {.table = *file_system_real()};
    struct metric_page_place place = here();
    unsigned plain = 0;

    (void)state;
    failing.table.open_at = failing_open_at;
    failing.table.pwrite = failing_pwrite;
    failing.table.make_directory_at = failing_make_directory_at;
    failing.table.self = &failing;
    place.files = &failing.table;
    do {
        struct metric_page_handle handle;

        failing.calls = 0;
        failing.fail_at++;
        assert_int_equal(metric_page_open(&place, true, "n", "", 1, &handle),
                         CASCADE_OK);
        plain += handle.shared ? 0 : 1;
        metric_page_close(&place, &handle);
        assert_int_equal(count_files(), 0);
    } while (failing.calls >= failing.fail_at);
    assert_int_equal(plain, 5);
}

static void
each_allocation_fails(void **state)
{
    struct metric_page_place place = here();
    struct metric_page_handle owner = publish(&place, "/c", 1);
    struct allocator_failing fault;
    uint64_t n = 0;

    (void)state;
    place.allocator = &fault.table;
    do {
        struct metric_page_handle handle;
        enum cascade_status status;

        n++;
        allocator_failing_init(&fault, n);
        status = metric_page_open(&place, true, "n", "/d", 1, &handle);
        if (status == CASCADE_OK) {
            struct metric_page_handle reader;

            status = metric_page_attach_to(&place, 0, "/d", &reader);
            if (status == CASCADE_OK) {
                metric_page_detach(&reader);
            }
            metric_page_close(&place, &handle);
        }
        assert_int_equal(fault.live, 0);
        assert_int_equal(status,
                         fault.calls < n ? CASCADE_OK : CASCADE_NO_MEMORY);
    } while (fault.calls >= n);
    assert_true(n > 4);
    place = here();
    metric_page_close(&place, &owner);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_FOLDER(test) \
    cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
        IN_FOLDER(found_while_open),
        IN_FOLDER(attach_by_what_is_known),
        IN_FOLDER(pages_of_the_dead_are_removed),
        IN_FOLDER(read_from_another_process),
        IN_FOLDER(a_child_does_not_remove),
        IN_FOLDER(other_releases_are_not_read),
        IN_FOLDER(what_cannot_be_judged_stays),
        IN_FOLDER(garbage_is_not_a_page),
        IN_FOLDER(no_folder_is_no_failure),
        IN_FOLDER(each_file_call_fails),
        IN_FOLDER(each_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
