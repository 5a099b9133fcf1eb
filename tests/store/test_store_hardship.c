// SPDX-License-Identifier: Apache-2.0
//
// Faults that a caller meets: memory that cannot be had, syncs that fail, a disk
// that hangs. And that looking is no use.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define BYTES 40000
#define MANY 100 // blocks, more than DRAM holds
#define WAIT_NS ((uint64_t)50 * 1000000)

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

static const char *
name(uint64_t number)
{
    static char text[32];

    (void)snprintf(text, sizeof(text), "block %llu",
                   (unsigned long long)number);
    return text;
}

// Of two keys that nobody gets, the one that is looked at all the time goes as
// the other does.
static void
test_looking_is_no_use(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct cascade_key looked = store_name("looked at");

    (void)state;
    store_must_put(store, "used", 1, BYTES);
    store_must_put(store, "looked at", 2, BYTES);
    for (uint64_t i = 0; i < 2 * MANY; i++) {
        struct cascade_location location;
        size_t matched;

        (void)!cascade_exists(store, looked);
        (void)!cascade_locate(store, looked, &location);
        (void)!cascade_prefix_match(store, &looked, 1, &matched);
        store_must_put(store, name(i), 10 + i, BYTES);
        if (i % 8 == 0) {
            store_must_get(store, "used", 1, BYTES);
        }
    }
    assert_int_equal(cascade_exists(store, looked), CASCADE_NOT_FOUND);
    store_end(store);
}

// A sync that fails fails the put, and the block is in memory all the same; a
// later flush saves it.
static void
test_failing_sync_of_a_put(void **state)
{
    static const char *const pairs[] = {"sync", "put", NULL};
    struct cascade *store = store_start(&world, true, pairs);

    (void)state;
    store_must_put(store, "before", 1, BYTES);
    world.files.counted = FILE_FAULTY_SYNC | FILE_FAULTY_SYNC_DATA;
    world.files.calls = 0;
    world.files.fail_count = UINT64_MAX;
    world.files.error = EIO;
    world.files.fail_from = 1;
    for (uint64_t i = 0; i < 3; i++) {
        assert_int_equal(store_put_seed(store, name(i), 10 + i, BYTES, 0, NULL),
                         CASCADE_IO);
        store_must_get(store, name(i), 10 + i, BYTES);
    }
    assert_int_equal(cascade_flush(store, NULL), CASCADE_IO);
    world.files.fail_from = 0;
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    store_must_put(store, "after", 2, BYTES);
    store_end(store);
    store = store_start(&world, true, pairs);
    store_must_get(store, "before", 1, BYTES);
    store_must_get(store, "after", 2, BYTES);
    for (uint64_t i = 0; i < 3; i++) {
        store_must_get(store, name(i), 10 + i, BYTES);
    }
    store_end(store);
}

// Nobody writes in the background here: a put that finds memory full of what
// segments lack waits as long as it may, and goes there by itself.
static void
test_memory_full_of_dirty_blocks(void **state)
{
    static const char *const pairs[] = {"put_wait", "0.001", NULL};
    struct cascade *store = store_start(&world, true, pairs);

    (void)state;
    for (uint64_t i = 0; i < MANY; i++) {
        store_must_put(store, name(i), 10 + i, BYTES);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        store_must_get(store, name(i), 10 + i, BYTES);
    }
    store_end(store);
    store = store_start(&world, true, pairs);
    for (uint64_t i = 0; i < MANY; i++) {
        store_must_get(store, name(i), 10 + i, BYTES);
    }
    store_end(store);
}

// Views are out on all of memory: what comes goes to segments.
static void
test_memory_full_of_pinned_blocks(void **state)
{
    static const char *const pairs[] = {"put_wait", "0.001", NULL};
    static struct cascade_view views[MANY];
    struct cascade *store = store_start(&world, true, pairs);
    uint64_t count = 0;

    (void)state;
    while (count < MANY) {
        store_must_put(store, name(count), 10 + count, BYTES);
        if (store_tier_of(store, name(count)) != CASCADE_TIER_LOCAL_DRAM) {
            break; // memory is full
        }
        assert_int_equal(cascade_acquire(store, store_name(name(count)), NULL,
                                         &views[count]),
                         CASCADE_OK);
        count++;
    }
    assert_in_range(count, 10, MANY - 1);
    for (uint64_t i = count; i < count + 10; i++) {
        store_must_put(store, name(i), 10 + i, BYTES);
        assert_int_equal(store_tier_of(store, name(i)), CASCADE_TIER_SEGMENTS);
        store_must_get(store, name(i), 10 + i, BYTES);
    }
    for (uint64_t i = 0; i < count; i++) {
        assert_true(store_is(10 + i, views[i].data, BYTES));
        cascade_release(store, &views[i]);
    }
    store_end(store);
}

// ---------------------------------------------------------------------------
// A disk that hangs

struct hanging {
    struct file_system table;
    const struct file_system *under;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hangs;
    uint32_t waiting;
};

static ssize_t
hanging_pread(void *self, int file, void *data, size_t bytes, uint64_t offset)
{
    struct hanging *hanging = self;

    check(pthread_mutex_lock(&hanging->lock) == 0);
    hanging->waiting++;
    check(pthread_cond_broadcast(&hanging->changed) == 0);
    while (hanging->hangs) {
        check(pthread_cond_wait(&hanging->changed, &hanging->lock) == 0);
    }
    hanging->waiting--;
    check(pthread_mutex_unlock(&hanging->lock) == 0);
    return hanging->under->pread(hanging->under->self, file, data, bytes,
                                 offset);
}

// Everything else goes to the table below, whose calls take that one's self.
#define PASS_ON(member, parameters, arguments)   \
    static int hanging_##member parameters       \
    {                                            \
        const struct hanging *hanging = self;    \
        return hanging->under->member arguments; \
    }

PASS_ON(open_at,
        (void *self, int directory, const char *path, int flags, mode_t mode),
        (hanging->under->self, directory, path, flags, mode))
PASS_ON(close, (void *self, int file), (hanging->under->self, file))
PASS_ON(sync_data, (void *self, int file), (hanging->under->self, file))
PASS_ON(sync, (void *self, int file), (hanging->under->self, file))
PASS_ON(make_directory_at,
        (void *self, int directory, const char *path, mode_t mode),
        (hanging->under->self, directory, path, mode))
PASS_ON(rename_at, (void *self, int a, const char *from, int b, const char *to),
        (hanging->under->self, a, from, b, to))
PASS_ON(unlink_at, (void *self, int directory, const char *path, int flags),
        (hanging->under->self, directory, path, flags))
PASS_ON(stat_at,
        (void *self, int directory, const char *path, struct stat *out),
        (hanging->under->self, directory, path, out))

static ssize_t
hanging_pwrite(void *self, int file, const void *data, size_t bytes,
               uint64_t offset)
{
    const struct hanging *hanging = self;

    return hanging->under->pwrite(hanging->under->self, file, data, bytes,
                                  offset);
}

static void
set_hanging(struct hanging *hanging, bool hangs)
{
    check(pthread_mutex_lock(&hanging->lock) == 0);
    hanging->hangs = hangs;
    check(pthread_cond_broadcast(&hanging->changed) == 0);
    check(pthread_mutex_unlock(&hanging->lock) == 0);
}

static void *
get_cold(void *context)
{
    static enum cascade_status status;

    status = store_get_seed(context, "cold", 1, BYTES);
    return &status;
}

// One call hangs with its disk. Others that want the same block give up at their
// deadlines, and those that do not need the disk do not notice.
static void
test_a_disk_that_hangs(void **state)
{
    struct hanging hanging = {
        .table = {.open_at = hanging_open_at,
                  .close = hanging_close,
                  .pread = hanging_pread,
                  .pwrite = hanging_pwrite,
                  .sync_data = hanging_sync_data,
                  .sync = hanging_sync,
                  .make_directory_at = hanging_make_directory_at,
                  .rename_at = hanging_rename_at,
                  .unlink_at = hanging_unlink_at,
                  .stat_at = hanging_stat_at},
        .under = &world.files.table,
        .lock = PTHREAD_MUTEX_INITIALIZER,
        .changed = PTHREAD_COND_INITIALIZER,
    };
    struct cascade_call call = {.size = sizeof(call), .timeout_ns = WAIT_NS};
    static uint8_t data[BYTES];
    struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    enum cascade_status *status = NULL;
    struct cascade *store;
    pthread_t thread;
    size_t bytes;

    (void)state;
    hanging.table.self = &hanging;
    world.around.files = &hanging.table;
    store = store_start(&world, true, NULL);
    store_must_put(store, "cold", 1, BYTES);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    store_must_put(store, "warm", 2, BYTES);
    set_hanging(&hanging, true);
    assert_int_equal(pthread_create(&thread, NULL, get_cold, store), 0);
    check(pthread_mutex_lock(&hanging.lock) == 0);
    while (hanging.waiting == 0) {
        check(pthread_cond_wait(&hanging.changed, &hanging.lock) == 0);
    }
    check(pthread_mutex_unlock(&hanging.lock) == 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(
            cascade_get(store, store_name("cold"), &span, 1, &call, &bytes),
            CASCADE_TIMEOUT);
        store_must_get(store, "warm", 2, BYTES);
        store_must_put(store, name(i), 10 + i, BYTES);
        assert_int_equal(cascade_exists(store, store_name("cold")), CASCADE_OK);
    }
    set_hanging(&hanging, false);
    assert_int_equal(pthread_join(thread, (void **)&status), 0);
    assert_int_equal(*status, CASCADE_OK);
    store_must_get(store, "cold", 1, BYTES);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_looking_is_no_use, begin, finish),
        cmocka_unit_test_setup_teardown(test_failing_sync_of_a_put, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_memory_full_of_dirty_blocks, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_memory_full_of_pinned_blocks,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_a_disk_that_hangs, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
