// SPDX-License-Identifier: Apache-2.0
//
// A disk that is full to the last byte, and the space that is kept for it: a
// store opens there, segments go, and space comes back. On a simulated disk.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "store_fixture.h"
#include "support/clock_fake.h"
#include "support/file_sectors.h"

#define BLOCK_BYTES 200000
#define BLOCKS 16
#define LEASE_NS ((uint64_t)10 * 1000000000)

struct full {
    struct file_sectors disk;
    struct clock_fake clock;
};

static struct full full;

static enum cascade_status
open_store(const char *cold_capacity, struct cascade **store)
{
    const char *pairs[] = {"cold_path",   full.disk.path, "cold_capacity",
                           cold_capacity, "lease_time",   "10",
                           NULL};
    struct cascade_options *options = store_options_small();
    struct store_surroundings around = {
        .allocator = allocator_system(),
        .clock = &full.clock.source,
        .files = &full.disk.table,
        .seed = 1,
    };
    enum cascade_status status;

    store_options_pairs(options, pairs);
    status = store_open_in(options, &around, store);
    if (status == CASCADE_LOCKED) {
        clock_fake_pass(&full.clock, LEASE_NS);
        status = store_open_in(options, &around, store);
    }
    cascade_options_destroy(options);
    return status;
}

static void
key_name(uint64_t number, char text[16])
{
    (void)snprintf(text, 16, "k%llu", (unsigned long long)number);
}

// Segments with blocks, and removals of some of them in later ones.
static void
fill_root(void)
{
    struct cascade *store = NULL;
    char text[16];

    file_sectors_make(&full.disk, 1);
    clock_fake_init(&full.clock, 7);
    assert_int_equal(open_store("64MiB", &store), CASCADE_OK);
    for (uint64_t i = 0; i < BLOCKS; i++) {
        key_name(i, text);
        store_must_put(store, text, i + 1, BLOCK_BYTES);
        assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
        if (i % 4 == 3) {
            key_name(i - 1, text);
            assert_int_equal(cascade_remove(store, store_name(text)),
                             CASCADE_OK);
        }
    }
    assert_int_equal(cascade_close(store), CASCADE_OK);
}

static void
give_up_reserve(void)
{
    const struct file_system *files = &full.disk.table;
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/default/.reserve", full.disk.path);
    assert_int_equal(files->unlink_at(files->self, AT_FDCWD, path, 0), 0);
}

static void
test_a_store_opens_on_a_full_disk(void **state)
{
    struct cascade *store = NULL;

    (void)state;
    fill_root();
    full.disk.bytes_max = file_sectors_used(&full.disk);
    assert_int_equal(open_store("64MiB", &store), CASCADE_OK);
    assert_int_equal(store_get_seed(store, "k0", 1, BLOCK_BYTES), CASCADE_OK);
    assert_int_equal(store_get_seed(store, "k2", 3, BLOCK_BYTES),
                     CASCADE_NOT_FOUND);
    assert_int_equal(cascade_close(store), CASCADE_OK);
    // What the last one gave up, the next one finds.
    assert_int_equal(open_store("64MiB", &store), CASCADE_OK);
    assert_int_equal(store_get_seed(store, "k0", 1, BLOCK_BYTES), CASCADE_OK);
    assert_int_equal(cascade_close(store), CASCADE_OK);
    file_sectors_remove(&full.disk);
}

static void
test_without_the_reserve_it_says_so(void **state)
{
    struct cascade *store = NULL;

    (void)state;
    fill_root();
    give_up_reserve();
    full.disk.bytes_max = file_sectors_used(&full.disk);
    assert_int_equal(open_store("64MiB", &store), CASCADE_NO_SPACE);
    full.disk.bytes_max = 0;
    assert_int_equal(open_store("64MiB", &store), CASCADE_OK);
    assert_int_equal(store_get_seed(store, "k0", 1, BLOCK_BYTES), CASCADE_OK);
    assert_int_equal(cascade_close(store), CASCADE_OK);
    file_sectors_remove(&full.disk);
}

// The limit shrinks on a disk that is full: segments go although their removals
// have to be written first, and what was removed stays so.
static void
test_reclaim_on_a_full_disk(void **state)
{
    struct cascade *store = NULL;
    uint64_t before;
    char text[16];

    (void)state;
    fill_root();
    assert_int_equal(open_store("2MiB", &store), CASCADE_OK);
    before = file_sectors_used(&full.disk);
    full.disk.bytes_max = before;
    store_must_put(store, "new", 99, BLOCK_BYTES);
    for (unsigned i = 0; i < 3; i++) {
        enum cascade_status status = cascade_flush(store, NULL);

        assert_true(status == CASCADE_OK || status == CASCADE_NO_SPACE);
    }
    assert_true(file_sectors_used(&full.disk) < before - 1024 * 1024);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(cascade_close(store), CASCADE_OK);
    full.disk.bytes_max = 0;
    assert_int_equal(open_store("2MiB", &store), CASCADE_OK);
    assert_int_equal(store_get_seed(store, "new", 99, BLOCK_BYTES), CASCADE_OK);
    for (uint64_t i = 2; i < BLOCKS; i += 4) {
        key_name(i, text);
        assert_int_equal(store_get_seed(store, text, i + 1, BLOCK_BYTES),
                         CASCADE_NOT_FOUND);
    }
    assert_int_equal(cascade_close(store), CASCADE_OK);
    file_sectors_remove(&full.disk);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_opens_on_a_full_disk),
        cmocka_unit_test(test_without_the_reserve_it_says_so),
        cmocka_unit_test(test_reclaim_on_a_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
