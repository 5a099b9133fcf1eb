// SPDX-License-Identifier: Apache-2.0
//
// The allocator table over the heap: zeroed, aligned, and sizes that do not
// fit are refused rather than cut.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/allocator.h"

static bool
all_zero(const unsigned char *memory, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (memory[i] != 0) {
            return false;
        }
    }
    return true;
}

// Memory that was used and given back comes out zeroed again.
static void
arrays_are_zeroed(void **state)
{
    const struct allocator *heap = allocator_system();

    (void)state;
    for (int round = 0; round < 8; round++) {
        unsigned char *memory = allocator_array(heap, 100, 40);

        assert_non_null(memory);
        assert_true(all_zero(memory, 4000));
        memset(memory, 0xee, 4000);
        allocator_release(heap, memory);
    }
}

static void
alignment_is_kept(void **state)
{
    const struct allocator *heap = allocator_system();

    (void)state;
    for (size_t alignment = 1; alignment <= 65536; alignment *= 2) {
        unsigned char *memory = allocator_aligned(heap, 1000, alignment);

        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % alignment, 0);
        assert_true(all_zero(memory, 1000));
        memset(memory, 0xee, 1000);
        allocator_release(heap, memory);
    }
}

static void
nothing_is_a_valid_array(void **state)
{
    void *memory = allocator_array(allocator_system(), 0, 16);

    (void)state;
    assert_non_null(memory);
    allocator_release(allocator_system(), memory);
    allocator_release(allocator_system(), NULL);
}

static void
a_size_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    assert_null(allocator_array(allocator_system(), SIZE_MAX / 2, 3));
    assert_null(allocator_array(allocator_system(), 1u << 31, SIZE_MAX >> 30));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_zeroed),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(nothing_is_a_valid_array),
        cmocka_unit_test(a_size_that_does_not_fit_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
