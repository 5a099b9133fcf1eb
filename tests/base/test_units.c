// SPDX-License-Identifier: Apache-2.0
//
// Sizes and numbers as text: what is read, what is refused, and that a refusal
// leaves the output alone.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/units.h"

#define UNTOUCHED UINT64_C(0x5ca1ab1e)

static void
rounds_to_multiples(void **state)
{
    (void)state;
    assert_int_equal(units_round_up(0, 4096), 0);
    assert_int_equal(units_round_up(1, 4096), 4096);
    assert_int_equal(units_round_up(4096, 4096), 4096);
    assert_int_equal(units_round_down(4095, 4096), 0);
    assert_int_equal(units_round_down(8191, 4096), 4096);
}

static void
reads_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"0", 0},
        {"4096", 4096},
        {"64KiB", 64 * KIB},
        {"4GiB", 4 * GIB},
        {"1GB", 1000000000},
        {"1.5 GiB", 3 * GIB / 2},
        {" 2 tib ", 2 * TIB},
        {"7k", 7 * KIB},
        {"8MB", 8000000},
        {"18446744073709551614", UINT64_MAX - 1},
        {"18446744073709551615", UINT64_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t bytes = UNTOUCHED;

        assert_true(units_parse_bytes(sizes[i].text, &bytes));
        assert_int_equal(bytes, sizes[i].bytes);
    }
}

static void
refuses_what_is_no_size(void **state)
{
    static const char *const texts[] = {
        "",         "KiB",    "-1",           "+1",
        "1 2",      "1XiB",   "4GiB!",        "0x10",
        "1KiBytes", "1e3 MB", "100000000TiB", "18446744073709551616",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        uint64_t bytes = UNTOUCHED;

        if (units_parse_bytes(texts[i], &bytes)) {
            fail_msg("read \"%s\" as a size", texts[i]);
        }
        assert_int_equal(bytes, UNTOUCHED);
    }
}

static void
reads_reals(void **state)
{
    double value = 7;

    (void)state;
    assert_true(units_parse_real("0.25", &value));
    assert_true(value > 0.2499999 && value < 0.2500001);
    assert_true(units_parse_real("1e-3", &value));
    assert_true(value > 0.000999999 && value < 0.001000001);
    assert_true(units_parse_real("2E+2", &value));
    assert_true(value > 199.99 && value < 200.01);
    value = 7;
    assert_false(units_parse_real("", &value));
    assert_false(units_parse_real("1e", &value));
    assert_false(units_parse_real("nan", &value));
    assert_false(units_parse_real("1e9999999999", &value));
    assert_false(units_parse_real("1e3000", &value));
    assert_false(units_parse_real("0e3000", &value));
    assert_false(units_parse_real("18446744073709551615e300", &value));
    assert_false(units_parse_real("0.5x", &value));
    assert_true(value > 6.9 && value < 7.1);
}

static void
reads_whole_numbers(void **state)
{
    uint64_t value = UNTOUCHED;

    (void)state;
    assert_true(units_parse_unsigned("18446744073709551615", &value));
    assert_true(value == UINT64_MAX);
    value = UNTOUCHED;
    assert_false(units_parse_unsigned("18446744073709551616", &value));
    assert_false(units_parse_unsigned("-1", &value));
    assert_false(units_parse_unsigned("1.0", &value));
    assert_false(units_parse_unsigned("12 b", &value));
    assert_int_equal(value, UNTOUCHED);
}

// Whatever is written is read back as the same size.
static void
writes_what_it_reads(void **state)
{
    static const uint64_t sizes[] = {
        0,       1,         1023,    KIB, KIB + 1,
        3 * MIB, 256 * MIB, 5 * GIB, TIB, UINT64_MAX - 1,
    };
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint64_t bytes = UNTOUCHED;

        units_format_bytes(sizes[i], text, sizeof(text));
        assert_true(units_parse_bytes(text, &bytes));
        assert_true(bytes == sizes[i]);
    }
    units_format_bytes(64 * KIB, text, sizeof(text));
    assert_string_equal(text, "64KiB");
    units_format_bytes(4097, text, sizeof(text));
    assert_string_equal(text, "4097");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_to_multiples),
        cmocka_unit_test(reads_sizes),
        cmocka_unit_test(refuses_what_is_no_size),
        cmocka_unit_test(reads_reals),
        cmocka_unit_test(reads_whole_numbers),
        cmocka_unit_test(writes_what_it_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
