// SPDX-License-Identifier: Apache-2.0
//
// The arena: usable at once, populated without a change of bytes, its file the
// same memory, sealed, kept from children, and refused politely.

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/units.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct arena *
open_arena(uint64_t bytes)
{
    struct arena *arena = NULL;

    assert_int_equal(
        arena_open(allocator_system(), "test", bytes, true, &arena),
        CASCADE_OK);
    return arena;
}

static void
memory_is_usable_at_once(void **state)
{
    struct arena *arena = open_arena(64 * MIB + 1);
    char *memory = arena_memory(arena);
    uint64_t bytes = arena_bytes(arena);

    (void)state;
    assert_true(bytes > 64 * MIB);
    assert_int_equal(arena_ready_bytes(arena), 0);
    assert_int_equal(memory[0], 0);
    memory[0] = 1;
    memory[bytes - 1] = 2;
    assert_int_equal(memory[0] + memory[bytes - 1], 3);
    arena_close(arena);
}

static size_t
resident_pages(const char *memory, uint64_t bytes)
{
    static unsigned char pages[64 * MIB / 4096];
    size_t count = 0;

    assert_true(bytes / 4096 <= sizeof(pages));
    assert_int_equal(mincore((void *)(uintptr_t)memory, bytes, pages), 0);
    for (size_t i = 0; i < bytes / 4096; i++) {
        count += pages[i] & 1;
    }
    return count;
}

static void
steps_populate_from_both_ends_and_change_nothing(void **state)
{
    const uint64_t bytes = 33 * MIB;
    struct arena *arena = open_arena(bytes);
    char *memory = arena_memory(arena);
    int steps = 1;

    (void)state;
    if (sysconf(_SC_PAGESIZE) != 4096) {
        arena_close(arena);
        skip();
    }
    memset(memory, 'a', 5000);
    memset(memory + bytes - 5000, 'z', 5000);
    assert_true(arena_populate_step(arena, 4 * MIB));
    assert_true(resident_pages(memory, 2 * MIB) == 512);
    assert_true(resident_pages(memory + 32 * MIB, MIB) == 256);
    assert_true(resident_pages(memory, bytes) < bytes / 4096);
    while (arena_populate_step(arena, 8 * MIB)) {
        steps++;
        assert_true(steps < 100);
    }
    assert_false(arena_populate_step(arena, 8 * MIB));
    assert_int_equal(arena_ready_bytes(arena), arena_bytes(arena));
    assert_int_equal(resident_pages(memory, bytes), bytes / 4096);
    for (int i = 0; i < 5000; i++) {
        assert_int_equal(memory[i], 'a');
        assert_int_equal(memory[bytes - 1 - (uint64_t)i], 'z');
    }
    assert_int_equal(memory[bytes / 2], 0);
    arena_close(arena);
}

// Bytes of the mapping that begins at `memory` which lie in large pages.
static uint64_t
bytes_in_large_pages(const char *memory)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    unsigned long long begin = 0;
    unsigned long long end;
    unsigned long long kib = 0;
    uint64_t bytes = 0;
    char line[256];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned long long from;

        if (sscanf(line, "%llx-%llx ", &from, &end) == 2) {
            begin = from;
        } else if (begin == (uintptr_t)memory &&
                   sscanf(line, "ShmemPmdMapped: %llu kB", &kib) == 1) {
            bytes = kib * KIB;
        }
    }
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void
pages_in_use_become_large_and_keep_their_bytes(void **state)
{
    const uint64_t bytes = 8 * MIB + 5000;
    struct arena *arena = open_arena(bytes);
    char *memory = arena_memory(arena);

    (void)state;
    assert_int_equal((uintptr_t)memory % (2 * MIB), 0);
    for (uint64_t at = 0; at < bytes; at += 1000) {
        memory[at] = (char)(at / 1000);
    }
    while (arena_populate_step(arena, 8 * MIB)) {
    }
    for (uint64_t at = 0; at < bytes; at += 1000) {
        assert_int_equal(memory[at], (char)(at / 1000));
    }
    if (arena_has_huge_pages(arena)) {
        assert_true(bytes_in_large_pages(memory) >= 2 * MIB);
    } else {
        print_message("no large pages here\n");
    }
    arena_close(arena);
}

static void *
populate_all(void *argument)
{
    while (arena_populate_step(argument, 2 * MIB)) {
    }
    return NULL;
}

static void
steps_run_beside_writers(void **state)
{
    const uint64_t bytes = 48 * MIB;
    struct arena *arena = open_arena(bytes);
    char *memory = arena_memory(arena);
    pthread_t threads[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, populate_all, arena),
                         0);
    }
    for (uint64_t at = 0; at < bytes; at += 4096) {
        memory[at] = (char)(at >> 12);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    for (uint64_t at = 0; at < bytes; at += 4096) {
        assert_int_equal(memory[at], (char)(at >> 12));
    }
    assert_int_equal(arena_ready_bytes(arena), arena_bytes(arena));
    arena_close(arena);
}

static void
the_file_is_the_memory_and_cannot_shrink(void **state)
{
    struct arena *arena = open_arena(2 * MIB);
    char *memory = arena_memory(arena);
    int file = arena_file(arena);
    char *other;

    (void)state;
    assert_int_not_equal(fcntl(file, F_GETFD) & FD_CLOEXEC, 0);
    other = mmap(NULL, 2 * MIB, PROT_READ, MAP_SHARED, file, 0);
    assert_true(other != MAP_FAILED);
    memory[123456] = 7;
    assert_int_equal(other[123456], 7);
    assert_int_not_equal(ftruncate(file, 4096), 0);
    assert_int_not_equal(ftruncate(file, (off_t)(4 * MIB)), 0);
    assert_int_equal(munmap(other, 2 * MIB), 0);
    arena_close(arena);
}

static void
a_child_does_not_have_it(void **state)
{
    struct arena *arena = open_arena(MIB);
    char *memory = arena_memory(arena);
    int result = 0;
    pid_t child;

    (void)state;
    memory[0] = 1;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        unsigned char page;

        _exit(mincore(memory, 4096, &page) == 0 ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result) && WEXITSTATUS(result) == 0);
    arena_close(arena);
}

// Runs in a child, where limits may be lowered: 0 if the arena was refused
// with NO_MEMORY and a message.
static int
refused_under(int resource, rlim_t limit, uint64_t bytes)
{
    struct rlimit limits = {limit, limit};
    struct arena *arena = NULL;
    enum cascade_status status;

    if (setrlimit((__rlimit_resource_t)resource, &limits) != 0) {
        return 2;
    }
    error_clear();
    status = arena_open(allocator_system(), "test", bytes, false, &arena);
    return status == CASCADE_NO_MEMORY && arena == NULL &&
                   error_message()[0] != '\0'
               ? 0
               : 1;
}

static void
assert_refused_under(int resource, rlim_t limit, uint64_t bytes)
{
    int result = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        _exit(refused_under(resource, limit, bytes));
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void
limits_of_the_process_give_no_memory(void **state)
{
    (void)state;
    assert_refused_under(RLIMIT_FSIZE, 1 * MIB, 2 * MIB);
    if (!SANITIZED) {
        assert_refused_under(RLIMIT_AS, 1 * GIB, 4 * GIB);
    }
}

static void
impossible_sizes_are_refused(void **state)
{
    struct arena *arena = NULL;
    const struct allocator *system = allocator_system();

    (void)state;
    assert_int_equal(arena_open(system, "test", 0, false, &arena),
                     CASCADE_INVALID);
    assert_int_equal(arena_open(system, "test", UINT64_MAX, false, &arena),
                     CASCADE_INVALID);
    // More than any address space.
    assert_int_equal(
        arena_open(system, "test", (uint64_t)1 << 60, false, &arena),
        CASCADE_NO_MEMORY);
    assert_null(arena);
}

static void *
no_allocate(void *self, size_t bytes, size_t alignment)
{
    (void)self;
    (void)bytes;
    (void)alignment;
    return NULL;
}

static void
the_allocation_may_fail(void **state)
{
    const struct allocator none = {.allocate = no_allocate};
    struct arena *arena = NULL;

    (void)state;
    assert_int_equal(arena_open(&none, "test", MIB, false, &arena),
                     CASCADE_NO_MEMORY);
    assert_null(arena);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_usable_at_once),
        cmocka_unit_test(steps_populate_from_both_ends_and_change_nothing),
        cmocka_unit_test(pages_in_use_become_large_and_keep_their_bytes),
        cmocka_unit_test(steps_run_beside_writers),
        cmocka_unit_test(the_file_is_the_memory_and_cannot_shrink),
        cmocka_unit_test(a_child_does_not_have_it),
        cmocka_unit_test(limits_of_the_process_give_no_memory),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(the_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
