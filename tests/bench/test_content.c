// SPDX-License-Identifier: Apache-2.0
//
// Tests of contents from numbers: what is compared has to be able to fail.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/content.h"

#define BYTES 10000

static uint8_t first[BYTES];
static uint8_t second[BYTES];

static void
test_same_number_same_bytes(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < BYTES; bytes = bytes * 3 + 1) {
        memset(first, 0, BYTES);
        memset(second, 0, BYTES);
        content_fill(7, first, bytes);
        content_fill(7, second, bytes);
        assert_memory_equal(first, second, BYTES);
        assert_int_equal(content_wrong_bytes(7, first, bytes), 0);
    }
}

static void
test_a_shorter_content_is_a_prefix(void **state)
{
    (void)state;
    content_fill(7, first, BYTES);
    content_fill(7, second, 4097);
    assert_memory_equal(first, second, 4097);
}

static void
test_other_numbers_have_other_bytes(void **state)
{
    (void)state;
    content_fill(1, first, BYTES);
    for (uint64_t number = 2; number < 100; number++) {
        // About one byte in 256 agrees by chance.
        assert_in_range(content_wrong_bytes(number, first, BYTES),
                        BYTES - BYTES / 64, BYTES);
    }
}

static void
test_every_changed_byte_is_counted(void **state)
{
    static const size_t places[] = {0, 1, 4095, 4096, 4097, 8191, BYTES - 1};
    const size_t count = sizeof(places) / sizeof(places[0]);

    (void)state;
    content_fill(3, first, BYTES);
    for (size_t i = 0; i < count; i++) {
        first[places[i]] ^= 1;
        assert_int_equal(content_wrong_bytes(3, first, BYTES), i + 1);
    }
}

static void
test_pages_do_not_repeat(void **state)
{
    (void)state;
    content_fill(3, first, 8192);
    assert_memory_not_equal(first, first + 4096, 4096);
}

static void
test_poison_is_no_content(void **state)
{
    (void)state;
    content_poison(first, BYTES);
    for (uint64_t number = 0; number < 100; number++) {
        assert_true(content_wrong_bytes(number, first, 64) > 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_number_same_bytes),
        cmocka_unit_test(test_a_shorter_content_is_a_prefix),
        cmocka_unit_test(test_other_numbers_have_other_bytes),
        cmocka_unit_test(test_every_changed_byte_is_counted),
        cmocka_unit_test(test_pages_do_not_repeat),
        cmocka_unit_test(test_poison_is_no_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
