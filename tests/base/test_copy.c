// SPDX-License-Identifier: Apache-2.0
//
// Copies of all alignments and sizes: every byte arrives, none around it moves.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/copy.h"

#define SEED 20240613
#define GUARD 128

static uint64_t random_state;

static uint64_t
next_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

typedef void
copy_function(void *target, const void *source, size_t bytes);

static void
compare(copy_function *copy, size_t bytes, size_t target_shift,
        size_t source_shift)
{
    size_t room = bytes + 2 * GUARD;
    uint8_t *target = aligned_alloc(GUARD, (room + GUARD - 1) / GUARD * GUARD);
    uint8_t *source = aligned_alloc(GUARD, (room + GUARD - 1) / GUARD * GUARD);
    assert_non_null(target);
    assert_non_null(source);
    memset(target, 0xa5, room);
    for (size_t i = 0; i < room; i++) {
        source[i] = (uint8_t)((i * 0x9e3779b97f4a7c15) >> 56);
    }
    copy(target + target_shift, source + source_shift, bytes);
    assert_memory_equal(target + target_shift, source + source_shift, bytes);
    for (size_t i = 0; i < target_shift; i++) {
        assert_int_equal(target[i], 0xa5);
    }
    for (size_t i = target_shift + bytes; i < room; i++) {
        assert_int_equal(target[i], 0xa5);
    }
    free(target);
    free(source);
}

static void
test_sizes_and_alignments(void **state)
{
    (void)state;
    for (size_t i = 0; i < 400; i++) {
        size_t bytes = next_random() % 20000;
        compare(copy_bytes, bytes, next_random() % GUARD,
                next_random() % GUARD);
        compare(copy_bytes_streaming, bytes, next_random() % GUARD,
                next_random() % GUARD);
    }
    for (size_t shift = 0; shift < GUARD; shift++) {
        compare(copy_bytes_streaming, 4096 + shift, shift, 0);
        compare(copy_bytes_streaming, 8192 - shift, GUARD - shift, shift);
    }
    compare(copy_bytes, 0, 3, 5);
    compare(copy_bytes_streaming, 0, 3, 5);
}

static void
test_around_the_threshold(void **state)
{
    size_t bytes = COPY_STREAMING_BYTES_MIN;
    (void)state;
    compare(copy_bytes, bytes - 1, 1, 0);
    compare(copy_bytes, bytes, 0, 0);
    compare(copy_bytes, bytes + 77, 63, 13);
}

// Both end where memory ends: nothing is read or written past it.
static void
test_ends_of_memory(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t room = 2 * COPY_STREAMING_BYTES_MIN;
    uint8_t *memory = mmap(NULL, 2 * (room + page), PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *source = memory;
    uint8_t *target = memory + room + page;
    (void)state;
    assert_ptr_not_equal(memory, MAP_FAILED);
    assert_int_equal(mprotect(source, room, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(mprotect(target, room, PROT_READ | PROT_WRITE), 0);
    for (size_t i = 0; i < room; i++) {
        source[i] = (uint8_t)next_random();
    }
    for (size_t bytes = 1; bytes < room; bytes += 1 + bytes / 20) {
        size_t from = room - bytes;
        memset(target, 0, room);
        copy_bytes(target + from, source + from, bytes);
        assert_memory_equal(target + from, source + from, bytes);
        assert_int_equal(target[from - 1], 0);
        memset(target, 0, room);
        copy_bytes_streaming(target + from, source + from, bytes);
        assert_memory_equal(target + from, source + from, bytes);
        assert_int_equal(target[from - 1], 0);
    }
    assert_int_equal(munmap(memory, 2 * (room + page)), 0);
}

static void
test_every_kernel(void **state)
{
    const struct copy_kernel *kernel;
    (void)state;
    print_message("chosen: %s\n", copy_streaming_name());
    for (size_t i = 0; (kernel = copy_kernel_at(i)) != NULL; i++) {
        if (!kernel->available()) {
            print_message("%s: not on this processor\n", kernel->name);
            continue;
        }
        for (size_t lines = 0; lines < 100; lines++) {
            compare(kernel->copy, lines * COPY_STREAMING_LINE_BYTES,
                    lines % 2 * COPY_STREAMING_LINE_BYTES, lines % GUARD);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_alignments),
        cmocka_unit_test(test_around_the_threshold),
        cmocka_unit_test(test_ends_of_memory),
        cmocka_unit_test(test_every_kernel),
    };
    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
