// SPDX-License-Identifier: Apache-2.0
//
// Loads of many records at once: the same as one after another in any order,
// and nothing is refused that there is room for, however many threads take
// records ahead.

#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/pool.h"
#include "directory/directory.h"
#include "directory_fixture.h"

#define KEYS 300
#define IDS 200
#define RECORDS 2000
#define THREADS 4
#define ROUNDS 40

struct history {
    struct block_label labels[RECORDS];
    struct block_place places[RECORDS];
    struct directory_record records[RECORDS];
};

struct worker {
    struct directory *directory;
    const struct directory_record *records;
    size_t count;
    enum cascade_status status;
    pthread_barrier_t *start;
    pthread_t thread;
};

static struct history history;

static uint64_t
draw(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static struct directory *
make(bool rebind_allowed, uint32_t max_keys, uint32_t max_ids,
     struct pool *pool)
{
    struct directory_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .pool = pool,
        .version_tag = 7,
        .max_keys = max_keys,
        .max_ids = max_ids,
        .protected_bytes_max = UINT64_MAX,
        .rebind_allowed = rebind_allowed,
        .keep_removals = true,
    };
    struct directory *directory = NULL;

    assert_int_equal(directory_create(&options, &directory), CASCADE_OK);
    return directory;
}

static void
set_record(size_t i, uint32_t key, uint32_t id, uint64_t time_ns,
           uint32_t flags)
{
    bool nameless = (flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) != 0;

    memset(&history.labels[i], 0, sizeof(history.labels[i]));
    memset(&history.places[i], 0, sizeof(history.places[i]));
    history.labels[i].key = directory_fixture_key(key);
    history.labels[i].version = (struct block_version){time_ns, 3};
    history.labels[i].flags = flags;
    if (!nameless) {
        history.labels[i].id = directory_fixture_id(id);
    }
    if (!nameless && (flags & BLOCK_LABEL_BIND) == 0) {
        history.places[i] = (struct block_place){
            .tier = CASCADE_TIER_SEGMENTS,
            .flags = BLOCK_PLACE_OWN,
            .slot = (uint32_t)i,
            .generation = 1,
            .offset = 4096,
            .bytes = 100,
        };
    }
    history.records[i] = (struct directory_record){
        .label = &history.labels[i],
        .place = &history.places[i],
        .segment = (uint32_t)i,
        .durable = true,
    };
}

static void
shuffle(uint64_t *seed, size_t count)
{
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = draw(seed) % (i + 1);
        struct directory_record record = history.records[i];

        history.records[i] = history.records[other];
        history.records[other] = record;
    }
}

static void
make_history(uint64_t *seed)
{
    static const uint32_t kinds[] = {
        0,
        0,
        0,
        BLOCK_LABEL_PROTECTED,
        BLOCK_LABEL_BIND,
        BLOCK_LABEL_REMOVAL,
        BLOCK_LABEL_NO_KEY,
    };

    for (size_t i = 0; i < RECORDS; i++) {
        uint32_t kind = kinds[draw(seed) % (sizeof(kinds) / sizeof(kinds[0]))];

        if (draw(seed) % 1000 == 0) {
            kind = BLOCK_LABEL_CLEAR;
        }
        set_record(i, (uint32_t)(draw(seed) % KEYS),
                   (uint32_t)(draw(seed) % IDS), i + 1, kind);
    }
    shuffle(seed, RECORDS);
}

static uint64_t
newest_clear(void)
{
    uint64_t newest = 0;

    for (size_t i = 0; i < RECORDS; i++) {
        if ((history.labels[i].flags & BLOCK_LABEL_CLEAR) != 0) {
            newest = history.labels[i].version.time_ns;
        }
    }
    return newest;
}

static void
demand_equal(struct directory *one, struct directory *many)
{
    struct directory_usage a;
    struct directory_usage b;

    assert_true(directory_is_valid(one));
    assert_true(directory_is_valid(many));
    directory_usage(one, &a);
    directory_usage(many, &b);
    assert_memory_equal(&a, &b, sizeof(a));
    for (uint32_t i = 0; i < KEYS; i++) {
        struct block_key key = directory_fixture_key(i);
        struct directory_found x = {.bytes = 0};
        struct directory_found y = {.bytes = 0};

        assert_int_equal(directory_find_binding(one, &key, &x),
                         directory_find_binding(many, &key, &y));
        assert_true(x.version.time_ns == 0 ||
                    x.version.time_ns >= newest_clear());
        assert_true(block_id_equal(&x.id, &y.id));
        assert_int_equal(block_version_compare(x.version, y.version), 0);
        assert_int_equal(x.flags & ~(uint32_t)DIRECTORY_OLDER,
                         y.flags & ~(uint32_t)DIRECTORY_OLDER);
        assert_int_equal(x.record_segment, y.record_segment);
        assert_int_equal(directory_find(one, &key, &x, NULL),
                         directory_find(many, &key, &y, NULL));
        assert_int_equal(x.cold.slot, y.cold.slot);
        assert_int_equal(x.content_protected, y.content_protected);
    }
}

static void
test_many_is_one_by_one(void **state)
{
    uint64_t seed = clock_steady_ns(clock_system());

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int round = 0; round < ROUNDS; round++) {
        bool rebind_allowed = round % 2 == 0;
        struct directory *one = make(rebind_allowed, 4096, 1024, NULL);
        struct directory *many = make(rebind_allowed, 4096, 1024, NULL);
        struct block_version floor = {round % 3 == 0 ? RECORDS / 3 : 0, 0};

        make_history(&seed);
        for (size_t i = 0; i < RECORDS; i++) {
            const struct directory_record *record = &history.records[i];

            assert_int_equal(directory_load(one, record->label, record->place,
                                            record->segment, true),
                             CASCADE_OK);
        }
        shuffle(&seed, RECORDS);
        assert_int_equal(directory_load_many(many, history.records, RECORDS),
                         CASCADE_OK);
        directory_load_finish(one, floor);
        directory_load_finish(many, floor);
        demand_equal(one, many);
        directory_destroy(one);
        directory_destroy(many);
    }
}

static void *
load_part(void *context)
{
    struct worker *worker = context;

    (void)pthread_barrier_wait(worker->start);
    worker->status = directory_load_many(worker->directory, worker->records,
                                         worker->count);
    return NULL;
}

static enum cascade_status
load_by_threads(struct directory *directory, size_t count)
{
    struct worker workers[THREADS];
    pthread_barrier_t start;
    enum cascade_status status = CASCADE_OK;

    assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++) {
        size_t first = count * i / THREADS;

        workers[i] = (struct worker){
            .directory = directory,
            .records = history.records + first,
            .count = count * (i + 1) / THREADS - first,
            .start = &start,
        };
        assert_int_equal(
            pthread_create(&workers[i].thread, NULL, load_part, &workers[i]),
            0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        if (workers[i].status != CASCADE_OK) {
            status = workers[i].status;
        }
    }
    (void)pthread_barrier_destroy(&start);
    return status;
}

// Each key has an older record beside its newest, and all tables are as large as
// what is there. One more is too much.
static void
test_threads_fill_the_index(void **state)
{
    uint64_t seed = clock_steady_ns(clock_system());
    struct pool *pool = NULL;

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    assert_int_equal(pool_create(allocator_system(), "test", 3, 8, &pool),
                     CASCADE_OK);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint32_t room = RECORDS / 2 - round % 2;
        struct directory *directory = make(true, room, room, pool);
        enum cascade_status status;
        struct directory_usage usage;

        for (uint32_t i = 0; i < RECORDS; i++) {
            set_record(i, i / 2, i / 2, i + 1, 0);
        }
        shuffle(&seed, RECORDS);
        status = load_by_threads(directory, RECORDS);
        assert_int_equal(status,
                         round % 2 == 0 ? CASCADE_OK : CASCADE_NO_SPACE);
        directory_load_finish(directory, (struct block_version){0, 0});
        assert_true(directory_is_valid(directory));
        directory_usage(directory, &usage);
        if (status == CASCADE_OK) {
            assert_int_equal(usage.keys, room);
            assert_int_equal(usage.contents, room);
        }
        directory_destroy(directory);
    }
    pool_destroy(pool);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_is_one_by_one),
        cmocka_unit_test(test_threads_fill_the_index),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
