// SPDX-License-Identifier: Apache-2.0
//
// Segment files that lie where they do not belong: another namespace's, or
// copies under another number, put there by somebody's restore. With a sound
// header and with a damaged one, for which the trailer stands in: nothing of
// them is served, listed or obeyed. One whose place is right is read with either.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ftw.h>

#include <cmocka.h>

#include "store_fixture.h"

#define BYTES 700000
#define SMALL 5000
#define FILES_MAX 16

static const char *const ours[] = {"namespace",    "ours", "rebind", "refused",
                                   "segment_size", "1MiB", NULL};
static const char *const theirs[] = {
    "namespace", "theirs", "rebind", "refused", "segment_size", "1MiB", NULL};

static struct store_world world;
static char paths[FILES_MAX][512];
static size_t path_count;
static const char *wanted_part;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    world.files.lazy = true;
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static int
note(const char *path, const struct stat *found, int kind, struct FTW *place)
{
    size_t length = strlen(path);

    (void)found;
    (void)place;
    if (kind == FTW_F && length > 4 && length < sizeof(paths[0]) &&
        strcmp(path + length - 4, ".seg") == 0 &&
        strstr(path, wanted_part) != NULL && path_count < FILES_MAX) {
        memcpy(paths[path_count++], path, length + 1);
    }
    return 0;
}

static int
compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

// The segment files of a namespace, in the order of their numbers.
static void
list(const char *name_space)
{
    char part[64];

    (void)snprintf(part, sizeof(part), "/%s/", name_space);
    wanted_part = part;
    path_count = 0;
    assert_int_equal(nftw(world.cold_path, note, 16, FTW_PHYS), 0);
    qsort(paths, path_count, sizeof(paths[0]), compare_paths);
}

// `from` as `to`, perhaps with its header damaged.
static void
copy(const char *from, const char *to, bool damaged)
{
    static uint8_t data[4 << 20];
    FILE *file = fopen(from, "rb");
    size_t bytes;

    assert_non_null(file);
    bytes = fread(data, 1, sizeof(data), file);
    assert_int_equal(fclose(file), 0);
    assert_in_range(bytes, 8192, sizeof(data) - 1);
    if (damaged) {
        data[40] ^= 0x5a;
    }
    file = fopen(to, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

// The name of a file in the same folder with that number.
static void
beside(const char *path, unsigned number, char *name, size_t size)
{
    const char *slash = strrchr(path, '/');

    assert_non_null(slash);
    (void)snprintf(name, size, "%.*s/%08u.seg", (int)(slash - path), path,
                   number);
}

static void
write_ours(void)
{
    struct cascade *store = store_start(&world, true, ours);

    store_must_put(store, "mine", 1, BYTES);
    store_end(store);
}

// Two segments: the second one clears the namespace, and says one thing more.
static void
write_theirs(void)
{
    struct cascade *store = store_start(&world, true, theirs);

    for (uint64_t i = 0; i < 2; i++) {
        store_must_put(store, i == 0 ? "x" : "y", 10 + i, BYTES);
        assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    }
    assert_int_equal(cascade_clear(store), CASCADE_OK);
    store_must_put(store, "secret", 12, SMALL);
    store_end(store);
}

static bool
count_key(void *context, const struct cascade_entry *entry)
{
    unsigned *count = context;

    (void)entry;
    (*count)++;
    return true;
}

// What there is, is ours alone.
static void
look(void)
{
    struct cascade *store = store_start(&world, true, ours);
    struct cascade_stats stats;
    unsigned listed = 0;

    store_must_get(store, "mine", 1, BYTES);
    assert_int_equal(store_get_seed(store, "secret", 12, SMALL),
                     CASCADE_NOT_FOUND);
    stats = store_stats_now(store);
    assert_int_equal(stats.keys, 1);
    assert_int_equal(stats.blocks, 1);
    assert_int_equal(cascade_list(store, count_key, &listed), CASCADE_OK);
    assert_int_equal(listed, 1);
    store_end(store);
}

static void
bring_theirs(bool damaged)
{
    char name[512];
    char from[512];

    write_ours();
    write_theirs();
    list("theirs");
    assert_true(path_count >= 2);
    (void)snprintf(from, sizeof(from), "%s", paths[1]);
    assert_non_null(strstr(from, "/00000002.seg"));
    list("ours");
    assert_int_equal(path_count, 1);
    beside(paths[0], 2, name, sizeof(name));
    copy(from, name, damaged);
    look();
}

static void
test_another_namespace(void **state)
{
    (void)state;
    bring_theirs(false);
}

// Its header could not tell; its trailer does.
static void
test_another_namespace_without_a_header(void **state)
{
    (void)state;
    bring_theirs(true);
}

// A copy would give two places to each record, and outlive its file's removal.
static void
test_another_number(void **state)
{
    char name[512];

    (void)state;
    for (unsigned damaged = 0; damaged < 2; damaged++) {
        struct cascade *store;

        if (damaged == 0) {
            write_ours();
        }
        list("ours");
        beside(paths[0], 2, name, sizeof(name));
        copy(paths[0], name, damaged != 0);
        assert_int_equal(unlink(paths[0]), 0);
        store = store_start(&world, true, ours);
        assert_int_equal(store_get_seed(store, "mine", 1, BYTES),
                         CASCADE_NOT_FOUND);
        assert_int_equal(store_stats_now(store).keys, 0);
        store_end(store);
        // Back where it belongs.
        copy(name, paths[0], false);
        assert_int_equal(unlink(name), 0);
        look();
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_another_namespace, begin, finish),
        cmocka_unit_test_setup_teardown(test_another_namespace_without_a_header,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_another_number, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
