// SPDX-License-Identifier: Apache-2.0
//
// Whatever is handed in or lies in the cold path: a clear error that names the
// thing and the remedy, nothing lost, nothing overwritten, no crash.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ftw.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define BYTES 20000

static struct store_world world;

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

struct bad_option {
    const char *name;
    const char *value;
    const char *says; // what the message has to name
    const char *also;
};

static void
test_options(void **state)
{
    static const struct bad_option rows[] = {
        {"dram_capasity", "1GiB", "dram_capasity", "dram_capacity"},
        {"cold_pat", "/tmp", "cold_pat", "cold_path"},
        {"", "1", "", ""},
        {"dram_capacity", "1GiBs", "dram_capacity", "1GiBs"},
        {"dram_capacity", "-1", "dram_capacity", "-1"},
        {"dram_capacity", "", "dram_capacity", ""},
        {"dram_capacity", "99999999999999999999", "dram_capacity", ""},
        {"dram_capacity", "1KiB", "dram_capacity", "1MiB..16TiB"},
        {"prefix_fraction_max", "1.5", "prefix_fraction_max", "0..1"},
        {"dedup", "contents", "dedup", "content|key|off"},
        {"timeout", "soon", "timeout", "soon"},
        {"semantic_eviction", "maybe", "semantic_eviction", "true"},
        {"threads", "1000", "threads", "256"},
    };
    struct cascade_options *options = store_options_small();

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(
            cascade_options_set(options, rows[i].name, rows[i].value),
            CASCADE_INVALID);
        store_message_has(rows[i].says);
        store_message_has(rows[i].also);
    }
    cascade_options_destroy(options);
}

// Refused by this machine, not by the table.
static void
test_open(void **state)
{
    static const struct {
        const char *pairs[5];
        enum cascade_status status;
        const char *says;
    } rows[] = {
        {{"dram_capacity", "16TiB", NULL}, CASCADE_INVALID, "dram_capacity"},
        {{"dram_capacity", "0", NULL}, CASCADE_INVALID, "cold_path"},
        {{"fabric", "mpi", NULL}, CASCADE_UNSUPPORTED, "fabric"},
        {{"metrics_listen", ":1", NULL}, CASCADE_UNSUPPORTED, "metrics_listen"},
        {{"cold_path", "/nowhere/at/all", NULL},
         CASCADE_NOT_FOUND,
         "/nowhere/at"},
        {{"cold_path", "/dev/null", NULL}, CASCADE_INVALID, "/dev/null"},
        {{"cold_path", "/dev/null/x", NULL}, CASCADE_INVALID, "/dev/null"},
        {{"cold_path", "/proc/kv", NULL}, CASCADE_NOT_FOUND, "/proc"},
        {{"cold_path", "/tmp", "cold_group", "no such group", NULL},
         CASCADE_INVALID,
         "no such group"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct cascade *store = NULL;
        enum cascade_status status = store_try(&world, false, rows[i].pairs,
                                               &store);

        print_message("  %s = %s: %s: %s\n", rows[i].pairs[0], rows[i].pairs[1],
                      cascade_status_name(status), cascade_error_message());
        assert_null(store);
        if (strcmp(rows[i].pairs[1], "/proc/kv") == 0) {
            assert_int_not_equal(status, CASCADE_OK);
        } else {
            assert_int_equal(status, rows[i].status);
        }
        store_message_has(rows[i].says);
    }
    assert_int_equal(world.memory.live, 0);
}

// As a user who may not: in a child, because root may do everything.
static void
test_not_writable(void **state)
{
    int ended = 0;
    pid_t child;

    (void)state;
    if (getuid() != 0) {
        print_message("skipped: only root can play another user\n");
        skip();
    }
    assert_int_equal(chmod(world.scratch.path, 0755), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct cascade *store = NULL;

        check(setgid(65534) == 0 && setuid(65534) == 0);
        check(store_try(&world, true, NULL, &store) == CASCADE_PERMISSION);
        store_message_has(world.cold_path);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
}

static void
test_full_file_system(void **state)
{
    // The sizes below are chosen for small records.
    static const char *const fine[] = {"cold_alignment", "4KiB", NULL};
    struct cascade *store;
    char key[16];
    uint64_t got = 0;

    (void)state;
    assert_int_equal(mkdir(world.cold_path, 0755), 0);
    if (mount("none", world.cold_path, "tmpfs", 0, "size=3m") != 0) {
        print_message("skipped: may not mount a small file system\n");
        skip();
    }
    store = store_start(&world, true, fine);
    for (uint64_t i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
        store_must_put(store, key, i, BYTES);
    }
    assert_int_equal(cascade_flush(store, NULL), CASCADE_NO_SPACE);
    print_message("  %s\n", cascade_error_message());
    store_message_has("did not reach the cold tier");
    for (uint64_t i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
        got += store_get_seed(store, key, i, BYTES) == CASCADE_OK;
    }
    assert_true(got >= 100);
    // What is in DRAM was dropped for want of space, and counted.
    assert_int_equal(300 - got, store_stats_now(store).cold_writes_dropped);
    assert_int_equal(cascade_close(store), CASCADE_NO_SPACE);
    // With room again, what had reached the files is found.
    assert_int_equal(
        mount("none", world.cold_path, "tmpfs", MS_REMOUNT, "size=30m"), 0);
    store = store_start(&world, true, fine);
    got = 0;
    for (uint64_t i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
        got += store_get_seed(store, key, i, BYTES) == CASCADE_OK;
    }
    assert_true(got >= 80);
    store_end(store);
    assert_int_equal(umount2(world.cold_path, MNT_DETACH), 0);
}

// Larger than every tier: said so, and nothing has to go for it.
static void
test_larger_than_all(void **state)
{
    static const char *const little[] = {"cold_capacity", "4MiB", NULL};
    struct cascade *store = store_start(&world, true, little);

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(store_put_seed(store, "large", 2, 9000000, 0, NULL),
                     CASCADE_TOO_LARGE);
    print_message("  %s\n", cascade_error_message());
    store_message_has("9000000");
    assert_int_equal(store_stats_now(store).puts_refused, 1);
    store_must_get(store, "k", 1, BYTES);
    store_end(store);
    store = store_start(&world, true, little);
    store_must_get(store, "k", 1, BYTES);
    store_end(store);
    store = store_start(&world, false, NULL);
    assert_int_equal(store_put_seed(store, "large", 2, 9000000, 0, NULL),
                     CASCADE_TOO_LARGE);
    store_message_has("dram_capacity");
    store_end(store);
}

// Every segment file, by what is done to it.
static enum {
    CUT,
    ZERO,
    GARBAGE,
    FLIP,
    NEWER
} damage;
static unsigned damaged;

static int
damage_one(const char *path, const struct stat *found, int kind,
           struct FTW *place)
{
    size_t length = strlen(path);
    uint8_t bytes[4096];
    int file;

    (void)place;
    if (kind != FTW_F || length < 4 || strcmp(path + length - 4, ".seg") != 0) {
        return 0;
    }
    file = open(path, O_RDWR | O_CLOEXEC);
    check(file >= 0);
    if (pread(file, bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        check(close(file) == 0); // what an earlier round left
        return 0;
    }
    switch (damage) {
    case CUT:
        check(ftruncate(file, found->st_size / 2) == 0);
        break;
    case ZERO:
        check(ftruncate(file, 0) == 0);
        break;
    case GARBAGE:
        store_fill(7, bytes, sizeof(bytes));
        check(pwrite(file, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
        break;
    case FLIP:
        // In the middle of the payloads.
        check(pread(file, bytes, 1, found->st_size / 2) == 1);
        bytes[0] ^= 1;
        check(pwrite(file, bytes, 1, found->st_size / 2) == 1);
        break;
    case NEWER:
        bytes[8] = 99; // the version follows the magic
        check(pwrite(file, bytes, sizeof(bytes), 0) == (ssize_t)sizeof(bytes));
        break;
    }
    check(close(file) == 0);
    damaged++;
    return 0;
}

static void
test_damaged_segments(void **state)
{
    for (damage = CUT; damage <= NEWER; damage++) {
        struct cascade *store = store_start(&world, true, NULL);
        uint64_t got = 0;
        char key[16];

        for (uint64_t i = 0; i < 40; i++) {
            (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
            store_must_put(store, key, i, BYTES + i * 1000);
        }
        store_end(store);
        damaged = 0;
        (void)nftw(world.cold_path, damage_one, 16, FTW_PHYS);
        assert_true(damaged > 0);
        store = store_start(&world, true, NULL);
        for (uint64_t i = 0; i < 40; i++) {
            enum cascade_status status;

            (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
            status = store_get_seed(store, key, i, BYTES + i * 1000);
            got += status == CASCADE_OK;
            assert_true(status == CASCADE_OK || status == CASCADE_NOT_FOUND ||
                        status == CASCADE_CORRUPT);
            if (status == CASCADE_CORRUPT) {
                assert_int_equal(
                    store_get_seed(store, key, i, BYTES + i * 1000),
                    CASCADE_NOT_FOUND);
            }
            store_must_put(store, key, i, BYTES + i * 1000);
        }
        print_message("  damage %d of %u files: %llu of 40 blocks left\n",
                      (int)damage, damaged, (unsigned long long)got);
        assert_true(damage != FLIP || got >= 38);
        store_end(store);
        store = store_start(&world, true, NULL);
        for (uint64_t i = 0; i < 40; i++) {
            (void)snprintf(key, sizeof(key), "%llu", (unsigned long long)i);
            // While a damaged file lies there, it may hide newer bindings of
            // its namespace: a header that says nothing raises the floor to
            // all that is known, and a damaged copy may be met before a good
            // one of the same content.
            if (damage == CUT || damage == ZERO) {
                store_must_get(store, key, i, BYTES + i * 1000);
            } else {
                (void)store_get_seed(store, key, i, BYTES + i * 1000);
            }
        }
        store_end(store);
        store_world_remove(&world);
        (void)begin(state);
    }
}

static void
test_foreign_files(void **state)
{
    static const char *const names[] = {
        "kv/notes.txt",       "kv/.hidden",        "kv/sub/file.seg",
        "kv/default/x.seg",   "kv/core",           "kv/default/w1-1/00.seg",
        "kv/default/lease.1", "kv/w99-zz/lease.5",
    };
    struct cascade *store = store_start(&world, true, NULL);
    struct stat found;
    char path[1024];

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    store_end(store);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        scratch_write(&world.scratch, names[i], "mine, not yours");
    }
    for (int round = 0; round < 3; round++) {
        store = store_start(&world, true, NULL);
        store_must_get(store, "k", 1, BYTES);
        store_must_put(store, "l", 2 + (uint64_t)round, BYTES);
        store_settle(store);
        store_end(store);
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", world.scratch.path,
                       names[i]);
        if (stat(path, &found) != 0 || found.st_size != 15) {
            fail_msg("%s was touched", path);
        }
    }
}

// A root of a newer release is left alone.
static void
test_newer_root(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    char path[400];
    uint8_t version = 99;
    enum cascade_status status;
    int file;

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    store_end(store);
    (void)snprintf(path, sizeof(path), "%s/.cascade/root", world.cold_path);
    file = open(path, O_RDWR | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pwrite(file, &version, 1, 8), 1);
    assert_int_equal(close(file), 0);
    store = NULL;
    // Changed without its checksum it is damaged or newer: an error, no repair.
    status = store_try(&world, true, NULL, &store);
    assert_true(status == CASCADE_VERSION || status == CASCADE_IO);
    print_message("  %s\n", cascade_error_message());
    assert_null(store);
}

// Outputs that are not there are an error, not a crash.
static void
test_missing_outputs(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct cascade_key key = store_name("k");
    char text[16];

    (void)state;
    store_must_put(store, "k", 1, 100);
#define INVALID(call) assert_int_equal(call, CASCADE_INVALID)
    INVALID(cascade_open(NULL, NULL));
    INVALID(cascade_acquire(store, key, NULL, NULL));
    INVALID(cascade_locate(store, key, NULL));
    INVALID(cascade_prefix_match(store, &key, 1, NULL));
    INVALID(cascade_prefix_match(store, NULL, 1, (size_t *)text));
    INVALID(cascade_list(store, NULL, NULL));
    INVALID(cascade_stats_read(store, NULL));
    INVALID(cascade_batch(store, NULL, 1, NULL));
    INVALID(cascade_queue_open(store, 0, NULL));
    INVALID(cascade_register_memory(store, NULL, 5));
    INVALID(cascade_option_effective(store, "no_such", text, sizeof(text)));
    INVALID(cascade_option_effective(store, NULL, text, sizeof(text)));
    INVALID(cascade_exists(NULL, key));
    INVALID(cascade_evict(NULL, CASCADE_TIER_LOCAL_DRAM, NULL, NULL));
#undef INVALID
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_GPU, NULL, NULL),
                     CASCADE_UNSUPPORTED);
    assert_int_equal(cascade_evict(store, 99, NULL, NULL), CASCADE_UNSUPPORTED);
    store_end(store);
    assert_int_equal(cascade_close(NULL), CASCADE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_options, begin, finish),
        cmocka_unit_test_setup_teardown(test_open, begin, finish),
        cmocka_unit_test_setup_teardown(test_not_writable, begin, finish),
        cmocka_unit_test_setup_teardown(test_full_file_system, begin, finish),
        cmocka_unit_test_setup_teardown(test_larger_than_all, begin, finish),
        cmocka_unit_test_setup_teardown(test_damaged_segments, begin, finish),
        cmocka_unit_test_setup_teardown(test_foreign_files, begin, finish),
        cmocka_unit_test_setup_teardown(test_newer_root, begin, finish),
        cmocka_unit_test_setup_teardown(test_missing_outputs, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
