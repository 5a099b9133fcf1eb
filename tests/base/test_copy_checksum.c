// SPDX-License-Identifier: Apache-2.0
//
// Copies with a checksum: every byte arrives and none around it moves, nothing
// outside of the source is read, and the checksum is that of the target even
// while somebody else writes to the source.

#include <pthread.h>
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

#include "base/copy_checksum.h"
#include "base/crc32c.h"

#define SEED 20250712
#define ROOM ((size_t)64 << 10)
#define LINE COPY_CHECKSUM_LINE_BYTES

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

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// Memory between two pages that nobody may touch.
static uint8_t *
fenced(size_t bytes)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, bytes + 2 * page, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(bytes % page, 0);
    assert_int_equal(mprotect(memory + page, bytes, PROT_READ | PROT_WRITE), 0);
    return memory + page;
}

static uint8_t *source; // ROOM bytes, fenced
static uint8_t *target;

static int
set_up(void **state)
{
    (void)state;
    source = fenced(ROOM);
    target = fenced(ROOM);
    for (size_t i = 0; i < ROOM; i++) {
        source[i] = (uint8_t)next_random();
    }
    return 0;
}

static int
tear_down(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    assert_int_equal(munmap(source - page, ROOM + 2 * page), 0);
    assert_int_equal(munmap(target - page, ROOM + 2 * page), 0);
    return 0;
}

static void
compare(size_t bytes, size_t to, size_t from)
{
    uint32_t seed = (uint32_t)next_random();
    uint32_t found;

    memset(target, 0xa5, ROOM);
    found = copy_checksum(target + to, source + from, bytes, seed);
    assert_memory_equal(target + to, source + from, bytes);
    assert_int_equal(found, crc32c(seed, source + from, bytes));
    for (size_t i = 0; i < ROOM; i++) {
        if (i == to) {
            i += bytes;
        }
        assert_true(i >= ROOM || target[i] == 0xa5);
    }
}

static void
test_sizes_and_alignments(void **state)
{
    (void)state;
    print_message("chosen: %s\n", copy_checksum_name());
    for (size_t bytes = 0; bytes < 9000; bytes += 1 + bytes / 50) {
        compare(bytes, next_random() % 200, next_random() % 200);
    }
    for (size_t shift = 0; shift <= 2 * LINE; shift++) {
        compare(4096, shift, 0);
        compare(4095 + shift, 0, shift);
        compare(20000 - shift, 2 * LINE - shift, shift);
    }
}

// Both end where memory ends, and both begin where it begins.
static void
test_ends_of_memory(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes <= ROOM; bytes += 1 + bytes / 9) {
        compare(bytes, ROOM - bytes, ROOM - bytes);
        compare(bytes, 0, 0);
        compare(bytes, 0, ROOM - bytes);
    }
}

static void
test_every_kernel(void **state)
{
    const struct copy_checksum_kernel *kernel;

    (void)state;
    for (size_t i = 0; (kernel = copy_checksum_kernel_at(i)) != NULL; i++) {
        if (!kernel->available()) {
            print_message("%s: not on this processor\n", kernel->name);
            continue;
        }
        for (size_t bytes = LINE; bytes < 100 * LINE; bytes += LINE) {
            size_t from = ROOM - bytes - next_random() % LINE;
            uint32_t seed = (uint32_t)next_random();

            memset(target, 0xa5, ROOM);
            assert_int_equal(~kernel->copy(target + ROOM - bytes, source + from,
                                           bytes, ~seed),
                             crc32c(seed, source + from, bytes));
            assert_memory_equal(target + ROOM - bytes, source + from, bytes);
            assert_int_equal(target[ROOM - bytes - 1], 0xa5);
        }
    }
}

struct spoiler {
    _Atomic bool stop;
};

static void *
spoil(void *context)
{
    struct spoiler *spoiler = context;
    volatile uint8_t *bytes = source;

    for (size_t i = 0; !atomic_load(&spoiler->stop); i++) {
        bytes[i * 7 % ROOM]++;
    }
    return NULL;
}

static void
test_source_that_changes(void **state)
{
    struct spoiler spoiler = {false};
    pthread_t thread;

    (void)state;
    if (THREAD_SANITIZER) {
        print_message("it would report the race that is meant here\n");
        skip();
    }
    assert_int_equal(pthread_create(&thread, NULL, spoil, &spoiler), 0);
    for (size_t i = 0; i < 2000; i++) {
        size_t bytes = ROOM - next_random() % 10000;
        uint32_t found = copy_checksum(target, source, bytes, 0);

        assert_int_equal(found, crc32c(0, target, bytes));
    }
    atomic_store(&spoiler.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sizes_and_alignments, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_ends_of_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_every_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_source_that_changes, set_up,
                                        tear_down),
    };

    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
