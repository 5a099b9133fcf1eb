// SPDX-License-Identifier: Apache-2.0
//
// Tests of the parser of benchmark cases.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "bench/bench_case.h"

static struct bench_case cases[4];

static void
test_a_case_is_read(void **state)
{
    size_t count = 0;

    (void)state;
    assert_int_equal(
        bench_case_parse("# nothing\n\n"
                         "one driver=get bytes=64KiB,1MiB threads=1,2 "
                         "total=4MiB rounds=9  # with a comment\n"
                         "two\tdriver=put bytes=5 blocks=7 operations=3 "
                         "dedup=key",
                         cases, 4, &count),
        CASCADE_OK);
    assert_int_equal(count, 2);
    assert_string_equal(cases[0].name, "one");
    assert_string_equal(cases[0].driver, "get");
    assert_int_equal(cases[0].bytes_count, 2);
    assert_int_equal(cases[0].bytes[1], 1 << 20);
    assert_int_equal(cases[0].threads_count, 2);
    assert_int_equal(cases[0].threads[1], 2);
    assert_int_equal(cases[0].rounds, 9);
    assert_int_equal(cases[1].threads_count, 1);
    assert_int_equal(cases[1].threads[0], 1);
    assert_int_equal(cases[1].blocks, 7);
    assert_string_equal(cases[1].dedup, "key");
    assert_int_equal(cases[1].rounds, 5);
    assert_ptr_equal(bench_case_find(cases, count, "two"), &cases[1]);
    assert_null(bench_case_find(cases, count, "three"));
}

static void
test_bad_lines_are_named(void **state)
{
    static const char *const lines[] = {
        "one",
        "one driver=get",
        "one driver=get bytes=1MiB",
        "one driver=get bytes=1MiB total=1MiB what=1",
        "one driver=get bytes= total=1MiB",
        "one driver=get bytes=0 total=1MiB",
        "one driver=get bytes=1,2,3,4,5,6,7,8,9 total=1MiB",
        "one driver=get bytes=1MiB total=many",
        "one driver=get bytes=1MiB total=1MiB rounds=-1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char text[256] = "#\n";
        size_t count = 77;

        strncat(text, lines[i], sizeof(text) - 3);
        assert_int_equal(bench_case_parse(text, cases, 4, &count),
                         CASCADE_INVALID);
        assert_non_null(strstr(error_message(), "line 2 "));
        assert_int_equal(count, 77);
    }
}

static void
test_too_many_cases(void **state)
{
    size_t count = 0;

    (void)state;
    assert_int_equal(bench_case_parse("a driver=d bytes=1 blocks=1\n"
                                      "b driver=d bytes=1 blocks=1\n",
                                      cases, 1, &count),
                     CASCADE_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_case_is_read),
        cmocka_unit_test(test_bad_lines_are_named),
        cmocka_unit_test(test_too_many_cases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
