// SPDX-License-Identifier: Apache-2.0
//
// Copy and digest in one pass: the slot holds the spans, the digests are those
// of the slot, whatever happens to the caller's buffer meanwhile.

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/copy.h"
#include "base/crc32c.h"
#include "block/block_digest.h"

#define SEED 20240615
#define BOTH (BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM)
#define BYTES_MAX ((size_t)70 << 20)
#define SPANS_MAX 4000

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

static uint64_t random_state;

static uint64_t
next_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

struct fixture {
    struct pool *pool;
    uint8_t *source;
    uint8_t *slot;
    struct cascade_const_span spans[SPANS_MAX];
    uint32_t table[BYTES_MAX / BLOCK_DIGEST_PIECE_BYTES + 1];
};

static int
set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    if (fixture == NULL) {
        return -1;
    }
    fixture->source = malloc(BYTES_MAX);
    fixture->slot = malloc(BYTES_MAX + 1);
    if (fixture->source == NULL || fixture->slot == NULL ||
        pool_create(allocator_system(), "test", 3, 0, &fixture->pool) !=
            CASCADE_OK) {
        return -1;
    }
    for (size_t i = 0; i < BYTES_MAX; i++) {
        fixture->source[i] = (uint8_t)next_random();
    }
    *state = fixture;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *fixture = *state;
    pool_destroy(fixture->pool);
    free(fixture->source);
    free(fixture->slot);
    free(fixture);
    return 0;
}

// Cuts the first `bytes` of the source at random, with some empty spans.
static size_t
cut_spans(struct fixture *fixture, size_t bytes, size_t span_bytes_max)
{
    size_t count = 0;
    for (size_t at = 0; at < bytes;) {
        size_t part = next_random() % (span_bytes_max + 1);
        if (part > bytes - at || count + 1 == SPANS_MAX) {
            part = bytes - at;
        }
        fixture->spans[count++] = (struct cascade_const_span){
            .data = part == 0 ? NULL : fixture->source + at, .bytes = part};
        at += part;
    }
    return count;
}

// The checksum by its definition.
static uint32_t
reference_checksum(const uint8_t *data, size_t bytes)
{
    uint32_t checksum = 0;
    for (size_t at = 0; at < bytes; at += (size_t)1 << 20) {
        size_t left = bytes - at;
        uint32_t crc = crc32c(
            0, data + at, left < ((size_t)1 << 20) ? left : (size_t)1 << 20);
        uint8_t entry[4] = {(uint8_t)crc, (uint8_t)(crc >> 8),
                            (uint8_t)(crc >> 16), (uint8_t)(crc >> 24)};
        checksum = crc32c(checksum, entry, sizeof entry);
    }
    return checksum;
}

static void
check_copy(struct fixture *fixture, size_t bytes, size_t span_bytes_max,
           unsigned wanted, struct pool *pool)
{
    size_t count = cut_spans(fixture, bytes, span_bytes_max);
    struct block_digest digest, again, expected = {.checksum = 0};
    memset(fixture->slot, 0x5a, bytes + 1);
    memset(&digest, 0xff, sizeof digest);
    assert_int_equal(block_digest_copy(pool, fixture->spans, count,
                                       fixture->slot, bytes, wanted, &digest),
                     CASCADE_OK);
    assert_true(memcmp(fixture->slot, fixture->source, bytes) == 0);
    assert_int_equal(fixture->slot[bytes], 0x5a);
    if ((wanted & BLOCK_DIGEST_ID) != 0) {
        block_id_of(fixture->source, bytes, &expected.id);
    }
    if ((wanted & BLOCK_DIGEST_CHECKSUM) != 0) {
        expected.checksum = reference_checksum(fixture->source, bytes);
    }
    assert_memory_equal(&digest, &expected, sizeof digest);
    block_digest_of(pool, fixture->source, bytes, wanted, &again);
    assert_memory_equal(&again, &expected, sizeof again);
}

static void
test_sizes(void **state)
{
    struct fixture *fixture = *state;
    size_t chunk = BLOCK_ID_CHUNK_BYTES;
    size_t piece = BLOCK_DIGEST_PIECE_BYTES;
    size_t window = 64 * piece;
    size_t sizes[] = {0,
                      1,
                      4096,
                      chunk - 1,
                      chunk,
                      chunk + 1,
                      piece - 1,
                      piece,
                      piece + 1,
                      3 * chunk,
                      COPY_STREAMING_BYTES_MIN - 1,
                      COPY_STREAMING_BYTES_MIN,
                      COPY_STREAMING_BYTES_MIN + 1,
                      window - 1,
                      window,
                      window + 1,
                      BYTES_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_copy(fixture, sizes[i], 100000, BOTH, fixture->pool);
        if (sizes[i] > window) {
            continue; // one pass over the largest is long enough
        }
        check_copy(fixture, sizes[i], BYTES_MAX, BOTH, NULL);
        check_copy(fixture, sizes[i], 300000, 0, fixture->pool);
        check_copy(fixture, sizes[i], 3 * chunk, BLOCK_DIGEST_ID,
                   fixture->pool);
        check_copy(fixture, sizes[i], 40000, BLOCK_DIGEST_CHECKSUM, NULL);
        check_copy(fixture, sizes[i], 300000, BLOCK_DIGEST_CHECKSUM,
                   fixture->pool);
        check_copy(fixture, sizes[i], BYTES_MAX, BLOCK_DIGEST_CHECKSUM, NULL);
    }
}

static void
test_random_shapes(void **state)
{
    struct fixture *fixture = *state;
    for (size_t round = 0; round < 60; round++) {
        size_t bytes = next_random() % ((size_t)1 << (10 + round % 14));
        check_copy(fixture, bytes, 1 + next_random() % 60000,
                   (unsigned)(next_random() % 4),
                   round % 2 == 0 ? NULL : fixture->pool);
    }
}

static void
test_table(void **state)
{
    struct fixture *fixture = *state;
    size_t sizes[] = {0, 5, BLOCK_DIGEST_PIECE_BYTES,
                      3 * BLOCK_DIGEST_PIECE_BYTES + 7, BYTES_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t count = block_digest_table_count(sizes[i]);
        memset(fixture->table, 0xee, sizeof fixture->table);
        uint32_t checksum = block_digest_checksum(
            fixture->pool, fixture->source, sizes[i], fixture->table);
        assert_int_equal(checksum,
                         reference_checksum(fixture->source, sizes[i]));
        assert_int_equal(block_digest_table_checksum(fixture->table, count),
                         checksum);
        if (count < sizeof fixture->table / sizeof fixture->table[0]) {
            assert_int_equal(fixture->table[count], 0xeeeeeeee);
        }
        assert_int_equal(
            block_digest_checksum(NULL, fixture->source, sizes[i], NULL),
            checksum);
    }
    assert_int_equal(block_digest_table_count(0), 0);
    assert_int_equal(block_digest_table_count(BLOCK_DIGEST_PIECE_BYTES), 1);
}

static void
test_wrong_spans(void **state)
{
    struct fixture *fixture = *state;
    struct block_digest digest = {.checksum = 99};
    size_t count = cut_spans(fixture, 10000, 3000);
    memset(fixture->slot, 0x5a, 20000);
    assert_int_equal(block_digest_copy(NULL, fixture->spans, count,
                                       fixture->slot, 9999, BOTH, &digest),
                     CASCADE_INVALID);
    assert_int_equal(block_digest_copy(NULL, fixture->spans, count,
                                       fixture->slot, 10001, BOTH, &digest),
                     CASCADE_INVALID);
    // Two sizes whose sum wraps around to the right one.
    struct cascade_const_span huge[2] = {
        {.data = fixture->source, .bytes = SIZE_MAX},
        {.data = fixture->source, .bytes = 101},
    };
    assert_int_equal(
        block_digest_copy(NULL, huge, 2, fixture->slot, 100, BOTH, &digest),
        CASCADE_INVALID);
    fixture->spans[count - 1].memory = CASCADE_MEMORY_DEVICE;
    assert_int_equal(block_digest_copy(NULL, fixture->spans, count,
                                       fixture->slot, 10000, BOTH, &digest),
                     CASCADE_UNSUPPORTED);
    fixture->spans[count - 1].memory = CASCADE_MEMORY_HOST;
    assert_int_equal(digest.checksum, 99);
    for (size_t i = 0; i < 20000; i++) {
        assert_int_equal(fixture->slot[i], 0x5a);
    }
}

// The source is the slot itself, seen through another address and a little
// further on, so that copying changes what is yet to be copied. Whoever read
// it twice would digest other bytes than those it stored.
static void
test_buffer_that_the_copy_changes(void **state)
{
    size_t room = (size_t)4 << 20;
    int file = memfd_create("slot", MFD_CLOEXEC);
    (void)state;
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)room), 0);
    uint8_t *slot = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                         0);
    uint8_t *seen = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, file,
                         0);
    assert_true(slot != MAP_FAILED && seen != MAP_FAILED);
    for (size_t round = 0; round < 24; round++) {
        size_t shift = (size_t)16 << (round % 12);
        size_t bytes = round < 12 ? 300000 : ((size_t)3 << 20) + 5;
        struct cascade_const_span spans[2] = {
            {.data = seen + shift, .bytes = 70001},
            {.data = seen + shift + 70001, .bytes = bytes - 70001},
        };
        struct block_digest digest, stored;
        for (size_t i = 0; i < room; i++) {
            slot[i] = (uint8_t)((i + round) * 0x9e3779b97f4a7c15 >> 53);
        }
        assert_int_equal(
            block_digest_copy(NULL, spans, 2, slot, bytes, BOTH, &digest),
            CASCADE_OK);
        block_digest_of(NULL, slot, bytes, BOTH, &stored);
        assert_memory_equal(&digest, &stored, sizeof digest);
    }
    munmap(slot, room);
    munmap(seen, room);
    close(file);
}

struct spoiler {
    uint8_t *data;
    size_t bytes;
    _Atomic bool stop;
    _Atomic size_t sweeps;
};

static void *
spoil(void *context)
{
    struct spoiler *spoiler = context;
    while (!atomic_load(&spoiler->stop)) {
        for (size_t i = 0; i < spoiler->bytes; i += 64) {
            *(volatile uint8_t *)(spoiler->data + i) += 1;
        }
        atomic_fetch_add(&spoiler->sweeps, 1);
    }
    return NULL;
}

static void
test_buffer_that_changes_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    size_t bytes = (size_t)3 << 20;
    struct spoiler spoiler = {.data = fixture->source, .bytes = bytes};
    pthread_t thread;
    if (THREAD_SANITIZER) {
        skip(); // the race is the test
    }
    assert_int_equal(pthread_create(&thread, NULL, spoil, &spoiler), 0);
    for (size_t round = 0; round < 40; round++) {
        struct block_digest digest, stored;
        unsigned wanted = round % 3 == 0 ? BLOCK_DIGEST_CHECKSUM : BOTH;
        size_t count = cut_spans(fixture, bytes, 200000);
        size_t sweeps = atomic_load(&spoiler.sweeps);
        while (atomic_load(&spoiler.sweeps) == sweeps) {
            sched_yield();
        }
        assert_int_equal(
            block_digest_copy(round % 2 == 0 ? NULL : fixture->pool,
                              fixture->spans, count, fixture->slot, bytes,
                              wanted, &digest),
            CASCADE_OK);
        block_digest_of(NULL, fixture->slot, bytes, wanted, &stored);
        assert_memory_equal(&digest, &stored, sizeof digest);
    }
    atomic_store(&spoiler.stop, true);
    pthread_join(thread, NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_wrong_spans),
        cmocka_unit_test(test_buffer_that_the_copy_changes),
        cmocka_unit_test(test_buffer_that_changes_meanwhile),
    };
    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
