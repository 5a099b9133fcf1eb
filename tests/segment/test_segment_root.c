// SPDX-License-Identifier: Apache-2.0
//
// The root and the namespaces' folders: made once, by whoever is first; told
// apart from what is not ours; errors that name the thing and the remedy.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"
#include "segment/segment_root.h"
#include "support/file_faulty.h"
#include "support/scratch.h"

static struct segment_root_options
options_for(const char *path)
{
    return (struct segment_root_options){
        .path = path,
        .namespace_name = "model/7b",
        .rebind_allowed = true,
        .file_mode = 0640,
        .group = "",
        .tag = 42,
        .files = file_system_real(),
    };
}

static void
test_makes_the_root_once(void **state)
{
    struct scratch scratch;
    struct segment_root_options options;
    struct segment_root first;
    struct segment_root second;
    char path[256];
    struct stat found;

    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/cold/", scratch.path);
    options = options_for(path);
    assert_int_equal(segment_root_open(&options, &first), CASCADE_OK);
    assert_int_equal(segment_root_open(&options, &second), CASCADE_OK);
    assert_memory_equal(first.uuid, second.uuid, sizeof(first.uuid));
    assert_non_null(strstr(first.path, "/cold/model%2F7b"));
    assert_int_equal(stat(first.path, &found), 0);
    assert_int_equal(found.st_mode & 07777, 0750);
    segment_root_close(&first);
    segment_root_close(&second);
    scratch_remove(&scratch);
}

static void
test_names_what_is_missing_or_in_the_way(void **state)
{
    struct scratch scratch;
    struct segment_root_options options;
    struct segment_root root;
    char path[256];

    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/no/cold", scratch.path);
    options = options_for(path);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_NOT_FOUND);
    path[strlen(path) - strlen("/cold")] = '\0';
    assert_non_null(strstr(error_message(), path));
    assert_non_null(strstr(error_message(), "create it"));
    assert_int_not_equal(access(path, F_OK), 0); // and made nothing

    scratch_write(&scratch, "file", "x");
    (void)snprintf(path, sizeof(path), "%s/file", scratch.path);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);
    (void)snprintf(path, sizeof(path), "%s/file/cold", scratch.path);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);

    // A folder of somebody else's where the namespace's should be.
    scratch_write(&scratch, "model%2F7b/theirs", "x");
    options.path = scratch.path;
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "no folder of Cascade"));
    options.namespace_name = "theirs";
    scratch_write(&scratch, "theirs", "a file");
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);

    options = options_for("");
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);
    options = options_for(scratch.path);
    options.group = "no such group here";
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);
    scratch_remove(&scratch);
}

static void
test_passes_on_what_the_system_refuses(void **state)
{
    static const struct {
        int error;
        enum cascade_status status;
    } cases[] = {
        {EACCES, CASCADE_PERMISSION},
        {ENOSPC, CASCADE_NO_SPACE},
        {EDQUOT, CASCADE_NO_SPACE},
        {EIO, CASCADE_IO},
    };
    struct scratch scratch;
    struct file_faulty files;
    struct segment_root_options options;
    struct segment_root root;
    char path[256];

    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/cold", scratch.path);
    options = options_for(path);
    options.files = &files.table;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file_faulty_init(&files, NULL);
        files.counted = FILE_FAULTY_MAKE_DIRECTORY;
        files.fail_from = 1;
        files.fail_count = 1;
        files.error = cases[i].error;
        assert_int_equal(segment_root_open(&options, &root), cases[i].status);
    }
    scratch_remove(&scratch);
}

static void
test_refuses_the_other_rebind_kind(void **state)
{
    struct scratch scratch;
    struct segment_root_options options;
    struct segment_root root;

    (void)state;
    scratch_make(&scratch);
    options = options_for(scratch.path);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_OK);
    segment_root_close(&root);
    options.rebind_allowed = false;
    assert_int_equal(segment_root_open(&options, &root), CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "rebind=allowed"));
    assert_non_null(strstr(error_message(), "rebind=refused"));
    options.look_only = true;
    assert_int_equal(segment_root_open(&options, &root), CASCADE_OK);
    assert_true(root.rebind_allowed);
    segment_root_close(&root);
    options.look_only = false;
    options.namespace_name = "other";
    assert_int_equal(segment_root_open(&options, &root), CASCADE_OK);
    segment_root_close(&root);
    scratch_remove(&scratch);
}

static void
write_at(const char *path, long offset, int byte)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    assert_int_equal(fseek(file, offset, SEEK_SET), 0);
    assert_int_equal(fputc(byte, file), byte);
    assert_int_equal(fclose(file), 0);
}

static void
test_leaves_newer_and_damaged_roots_alone(void **state)
{
    struct scratch scratch;
    struct segment_root_options options;
    struct segment_root root;
    char path[256];

    (void)state;
    scratch_make(&scratch);
    options = options_for(scratch.path);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_OK);
    segment_root_close(&root);
    (void)snprintf(path, sizeof(path), "%s/.cascade/root", scratch.path);
    write_at(path, 8, 9);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_VERSION);
    write_at(path, 8, SEGMENT_ROOT_VERSION);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_OK);
    segment_root_close(&root);
    write_at(path, 20, 0x55);
    write_at(path, 21, 0x55);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_IO);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(segment_root_open(&options, &root), CASCADE_IO);
    scratch_remove(&scratch);
}

static void
test_encodes_names_so_that_they_differ(void **state)
{
    static const char *const names[] = {
        "",   "a",     "A",        "a/b",   "a%2Fb", "..",       ".",
        ".a", "a.b",   "../../x",  "a b",   "a+b",   "\xc3\xa4", "%",
        "w0", "owner", ".cascade", ".new-", "~",
    };
    size_t count = sizeof(names) / sizeof(names[0]);
    char folders[32][SEGMENT_ROOT_FOLDER_BYTES];
    char one[256];
    char two[256];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        segment_root_encode(names[i], folders[i]);
        assert_true(folders[i][0] != '.' && folders[i][0] != '\0');
        assert_null(strchr(folders[i], '/'));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(folders[i], folders[k]);
        }
    }
    memset(one, '/', 255);
    one[255] = '\0';
    memcpy(two, one, sizeof(two));
    two[254] = 'x';
    segment_root_encode(one, folders[0]);
    segment_root_encode(two, folders[1]);
    assert_string_not_equal(folders[0], folders[1]);
    assert_true(strlen(folders[0]) < SEGMENT_ROOT_FOLDER_BYTES);
}

#define MAKERS 8

struct maker {
    const char *path;
    pthread_barrier_t *start;
    uint64_t tag;
    uint8_t uuid[16];
    enum cascade_status status;
};

static void *
make_root(void *context)
{
    struct maker *maker = context;
    struct segment_root_options options = options_for(maker->path);
    struct segment_root root;

    options.tag = maker->tag;
    (void)pthread_barrier_wait(maker->start);
    maker->status = segment_root_open(&options, &root);
    if (maker->status == CASCADE_OK) {
        memcpy(maker->uuid, root.uuid, sizeof(root.uuid));
        segment_root_close(&root);
    }
    return NULL;
}

static void
test_of_many_makers_all_agree(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        struct scratch scratch;
        pthread_barrier_t start;
        pthread_t threads[MAKERS];
        struct maker makers[MAKERS];
        char path[256];

        scratch_make(&scratch);
        (void)snprintf(path, sizeof(path), "%s/cold", scratch.path);
        assert_int_equal(pthread_barrier_init(&start, NULL, MAKERS), 0);
        for (unsigned i = 0; i < MAKERS; i++) {
            makers[i] = (struct maker){
                .path = path, .start = &start, .tag = i + 1};
            assert_int_equal(
                pthread_create(&threads[i], NULL, make_root, &makers[i]), 0);
        }
        for (unsigned i = 0; i < MAKERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        for (unsigned i = 0; i < MAKERS; i++) {
            assert_int_equal(makers[i].status, CASCADE_OK);
            assert_memory_equal(makers[i].uuid, makers[0].uuid, 16);
        }
        (void)pthread_barrier_destroy(&start);
        scratch_remove(&scratch);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_makes_the_root_once),
        cmocka_unit_test(test_names_what_is_missing_or_in_the_way),
        cmocka_unit_test(test_passes_on_what_the_system_refuses),
        cmocka_unit_test(test_refuses_the_other_rebind_kind),
        cmocka_unit_test(test_leaves_newer_and_damaged_roots_alone),
        cmocka_unit_test(test_encodes_names_so_that_they_differ),
        cmocka_unit_test(test_of_many_makers_all_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
