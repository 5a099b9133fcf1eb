// SPDX-License-Identifier: Apache-2.0
//
// CRC32C against its check value and a bit-by-bit reference.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/crc32c.h"

#define SEED 20240612

static uint64_t random_state;

static uint64_t
next_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

// Division by the polynomial, bits reflected.
static uint32_t
reference(const uint8_t *data, size_t bytes)
{
    uint32_t value = UINT32_MAX;
    for (size_t i = 0; i < bytes; i++) {
        value ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            value = (value >> 1) ^ (0x82f63b78 & (0 - (value & 1)));
        }
    }
    return ~value;
}

static void
test_known_values(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    assert_int_equal(crc32c(7, NULL, 0), 7);
}

static void
test_random_data_and_chaining(void **state)
{
    static uint8_t data[5000];
    (void)state;
    for (size_t round = 0; round < 500; round++) {
        size_t bytes = next_random() % sizeof data;
        for (size_t i = 0; i < bytes; i++) {
            data[i] = (uint8_t)next_random();
        }
        size_t cut = next_random() % (bytes + 1);
        uint32_t expected = reference(data, bytes);
        assert_int_equal(crc32c(0, data, bytes), expected);
        uint32_t first = crc32c(0, data, cut);
        assert_int_equal(crc32c(first, data + cut, bytes - cut), expected);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_random_data_and_chaining),
    };
    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
