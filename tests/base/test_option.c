// SPDX-License-Identifier: Apache-2.0
//
// Option sets on a small table: what rows accept, whose value wins, what
// messages say, and each allocation failed in turn.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/option.h"
#include "base/units.h"
#include "support/allocator_failing.h"
#include "support/file_faulty.h"
#include "support/scratch.h"

enum {
    SIZE,
    COUNT,
    PART,
    FLAG,
    WORD,
    TEXT,
    WAIT,
    FREE,
    ROWS
};

static const struct option_row rows[ROWS] = {
    {"size", OPTION_TYPE_BYTES, "bytes", "auto", "auto|0|1MiB..2GiB", "s"},
    {"count", OPTION_TYPE_COUNT, "things", "7", "0..256", "s"},
    {"part", OPTION_TYPE_REAL, "fraction", "0.25", "0..1", "s"},
    {"flag", OPTION_TYPE_FLAG, "flag", "true", "true|false", "s"},
    {"word", OPTION_TYPE_WORD, "word", "red", "red|green|blue", "s"},
    {"some_text", OPTION_TYPE_TEXT, "text", "x", "1..5", "s"},
    {"wait", OPTION_TYPE_TIME, "seconds", "30", "0.001..60", "s"},
    {"free", OPTION_TYPE_TEXT, "text", "", "", "s"},
};
static const struct option_table table = {rows, ROWS};

static struct option_set *
make_set(void)
{
    struct option_set *set = option_set_create(allocator_system(), &table);

    assert_non_null(set);
    return set;
}

static enum cascade_status
give(struct option_set *set, const char *name, const char *text)
{
    return option_assign(set, OPTION_ORIGIN_PROGRAM, "", name, text);
}

static void
defaults_are_typed(void **state)
{
    struct option_set *set = make_set();

    (void)state;
    assert_int_equal(option_bytes(set, SIZE), 0);
    assert_int_equal(option_count(set, COUNT), 7);
    assert_true(option_real(set, PART) == 0.25);
    assert_true(option_flag(set, FLAG));
    assert_int_equal(option_word(set, WORD), 0);
    assert_string_equal(option_text(set, TEXT), "x");
    assert_int_equal(option_time_ns(set, WAIT), 30 * NS_PER_S);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(option_origin(set, i), OPTION_ORIGIN_DEFAULT);
        if (i != FREE) {
            assert_int_equal(option_accepts(&rows[i], "", rows[i].default_text),
                             CASCADE_OK);
        }
    }
    option_set_destroy(set);
}

static void
good_values(void **state)
{
    static const char *const cases[][2] = {
        {"size", "auto"},
        {"size", "0"},
        {"size", "0KiB"},
        {"size", "1MiB"},
        {"size", "2GiB"},
        {"size", "1.5 GiB"},
        {"size", "1048576"},
        {"count", "0"},
        {"count", "256"},
        {"part", "0"},
        {"part", "1"},
        {"part", "2.5e-1"},
        {"flag", "off"},
        {"flag", "TRUE"},
        {"flag", "1"},
        {"word", "blue"},
        {"some_text", "abcde"},
        {"wait", "0.001"},
        {"wait", "60"},
        {"free", ""},
        {"free", "anything | at = all"},
    };
    struct option_set *set = make_set();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (give(set, cases[i][0], cases[i][1]) != CASCADE_OK) {
            fail_msg("%s = %s: %s", cases[i][0], cases[i][1], error_message());
        }
    }
    assert_int_equal(option_bytes(set, SIZE), MIB);
    assert_int_equal(option_word(set, WORD), 2);
    assert_string_equal(option_text(set, FLAG), "true");
    assert_int_equal(option_time_ns(set, WAIT), 60 * NS_PER_S);
    option_set_destroy(set);
}

// Name, value, and a piece that the message must have.
static void
bad_values(void **state)
{
    static const char *const cases[][3] = {
        {"siez", "1MiB", "did you mean size?"},
        {"text", "a", "did you mean"},
        {"", "a", "did you mean"},
        {"SIZE", "1MiB", "no option SIZE"},
        {"size", "4parsecs", "64KiB"},
        {"size", "-1", "1MiB..2GiB"},
        {"size", "", "1MiB..2GiB"},
        {"size", "1MiB..2GiB", "is not a size"},
        {"size", "1KiB", "out of range; write auto|0|1MiB..2GiB"},
        {"size", "2147483649", "out of range"},
        {"size", "99999999999999999999", "is not a size"},
        {"size", "Auto", "is not a size"},
        {"count", "257", "out of range; write 0..256 (things)"},
        {"count", "1.5", "whole number"},
        {"count", "1KiB", "whole number"},
        {"part", "1.0001", "0..1"},
        {"part", "nan", "0.25"},
        {"part", "inf", "0.25"},
        {"part", "1e300", "out of range"},
        {"flag", "maybe", "true or false"},
        {"flag", "", "true or false"},
        {"word", "pink", "one of red|green|blue"},
        {"word", "red|green", "one of"},
        {"word", "", "one of"},
        {"some_text", "", "1..5"},
        {"some_text", "abcdef", "has 6 bytes"},
        {"wait", "0", "0.001..60 (seconds)"},
        {"wait", "5 minutes", "seconds"},
    };
    struct option_set *set = make_set();

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(give(set, cases[i][0], cases[i][1]), CASCADE_INVALID);
        if (strstr(error_message(), cases[i][2]) == NULL) {
            fail_msg("%s = %s: %s", cases[i][0], cases[i][1], error_message());
        }
    }
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(option_origin(set, i), OPTION_ORIGIN_DEFAULT);
        assert_ptr_equal(option_text(set, i), rows[i].default_text);
    }
    option_set_destroy(set);
}

// Every order of the three callers ends with the strongest one's value.
static void
strongest_origin_wins(void **state)
{
    static const char *const values[] = {"0", "1", "2", "3"};

    (void)state;
    for (int order = 0; order < 27; order++) {
        struct option_set *set = make_set();
        int digits[3] = {order / 9, order / 3 % 3, order % 3};
        int strongest = 0;

        for (int i = 0; i < 3; i++) {
            int origin = digits[i] + 1;

            strongest = origin > strongest ? origin : strongest;
            assert_int_equal(option_assign(set, (enum option_origin)origin, "",
                                           "count", values[origin]),
                             CASCADE_OK);
        }
        assert_string_equal(option_text(set, COUNT), values[strongest]);
        assert_int_equal(option_origin(set, COUNT), strongest);
        option_set_destroy(set);
    }
}

static void
weaker_origin_is_still_checked(void **state)
{
    struct option_set *set = make_set();

    (void)state;
    assert_int_equal(give(set, "count", "5"), CASCADE_OK);
    assert_int_equal(
        option_assign(set, OPTION_ORIGIN_FILE, "f:1: ", "count", "999"),
        CASCADE_INVALID);
    assert_string_equal(option_text(set, COUNT), "5");
    assert_int_equal(give(set, "count", "6"), CASCADE_OK);
    assert_string_equal(option_text(set, COUNT), "6");
    option_set_destroy(set);
}

static void
environment(void **state)
{
    static char good[] = "T_SIZE=3MiB";
    static char foreign[] = "SIZE=1";
    static char other[] = "T_SIZES=9";
    static char far[] = "T_SOMETHING_ELSE=9";
    static char near[] = "T_COUN=9";
    static char wrong[] = "T_COUNT=many";
    static const char *const others[] = {"T_SIZES", NULL};
    char *fine[] = {foreign, good, other, far, NULL};
    char *mistyped[] = {near, NULL};
    char *refused[] = {wrong, NULL};
    struct option_set *set = make_set();

    (void)state;
    assert_int_equal(option_load_environment(set, "T_", NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(option_load_environment(set, "T_", fine, others),
                     CASCADE_OK);
    assert_int_equal(option_bytes(set, SIZE), 3 * MIB);
    assert_int_equal(option_origin(set, SIZE), OPTION_ORIGIN_ENVIRONMENT);
    assert_int_equal(option_load_environment(set, "T_", mistyped, others),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "T_COUN: "));
    assert_non_null(strstr(error_message(), "did you mean count?"));
    assert_int_equal(option_load_environment(set, "T_", refused, others),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "T_COUNT"));
    assert_int_equal(option_load_environment(set, "T_", fine, NULL),
                     CASCADE_INVALID);
    option_set_destroy(set);
}

// Text of a file, the status, and a piece of the message.
struct file_case {
    const char *text;
    enum cascade_status status;
    const char *message;
};

static void
files(void **state)
{
    static const struct file_case cases[] = {
        {"", CASCADE_OK, ""},
        {"# only words\n\n", CASCADE_OK, ""},
        {"  size =  64 MiB  # room\r\nfree = a#b\n", CASCADE_OK, ""},
        {"count=1\ncount 2\n", CASCADE_INVALID, "/x.conf:2: write"},
        {"count=1\n\n# c\nsise = 1\n", CASCADE_INVALID, "/x.conf:4: "},
        {"size = 1KiB", CASCADE_INVALID, "/x.conf:1: size"},
        {"= 5\n", CASCADE_INVALID, "/x.conf:1: "},
        {"count =\n", CASCADE_INVALID, "/x.conf:1: "},
        {"count = 1\n  flag = off\n\tword = blue ; c\n", CASCADE_OK, ""},
        {"count=1\nbad\n\nsise = 1\n", CASCADE_INVALID, "/x.conf:2: write"},
        {"count=1\nsise = 1\nbad\n", CASCADE_INVALID, "/x.conf:2: "},
        {"count = 1\n[part]\nfree = 1\n", CASCADE_INVALID, "no sections"},
    };
    struct scratch scratch;
    char path[256];

    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/x.conf", scratch.path);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct option_set *set = make_set();

        scratch_write(&scratch, "x.conf", cases[i].text);
        error_clear();
        assert_int_equal(option_load_file(set, file_system_real(), path),
                         cases[i].status);
        if (strstr(error_message(), cases[i].message) == NULL) {
            fail_msg("%s: %s", cases[i].text, error_message());
        }
        if (i == 2) {
            assert_int_equal(option_bytes(set, SIZE), 64 * MIB);
            assert_string_equal(option_text(set, FREE), "a#b");
            assert_int_equal(option_origin(set, SIZE), OPTION_ORIGIN_FILE);
        }
        option_set_destroy(set);
    }
    scratch_remove(&scratch);
}

// A long line is refused, not read as two; a long comment is nothing.
static void
long_lines(void **state)
{
    struct scratch scratch;
    char path[256];
    char text[2048];
    struct option_set *set = make_set();

    (void)state;
    scratch_make(&scratch);
    (void)snprintf(path, sizeof(path), "%s/x.conf", scratch.path);
    (void)snprintf(text, sizeof(text), "count = 3 # %01000d\n# %0900d\n", 1, 2);
    scratch_write(&scratch, "x.conf", text);
    assert_int_equal(option_load_file(set, file_system_real(), path),
                     CASCADE_OK);
    assert_int_equal(option_count(set, COUNT), 3);
    (void)snprintf(text, sizeof(text), "count = 4\nfree = %01000d\n", 1);
    scratch_write(&scratch, "x.conf", text);
    assert_int_equal(option_load_file(set, file_system_real(), path),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "/x.conf:2: at most"));
    assert_string_equal(option_text(set, FREE), "");
    scratch_remove(&scratch);
    option_set_destroy(set);
}

// Each call of the file system fails, with an error and by falling short.
static void
each_file_call_fails(void **state)
{
    static const int errors[] = {EIO, 0};
    struct scratch scratch;
    char path[256];

    (void)state;
    scratch_make(&scratch);
    scratch_write(&scratch, "x.conf", "count = 9\nfree = some text\n");
    (void)snprintf(path, sizeof(path), "%s/x.conf", scratch.path);
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        struct file_faulty faulty;
        uint64_t n = 0;

        do {
            struct option_set *set = make_set();
            enum cascade_status status;

            n++;
            file_faulty_init(&faulty, NULL);
            faulty.counted = FILE_FAULTY_OPEN | FILE_FAULTY_PREAD;
            faulty.error = errors[i];
            faulty.fail_from = n;
            faulty.fail_count = 1;
            status = option_load_file(set, &faulty.table, path);
            if (faulty.calls < n || errors[i] == 0) {
                assert_int_equal(status, CASCADE_OK);
                assert_string_equal(option_text(set, FREE), "some text");
            } else {
                assert_int_equal(status, CASCADE_IO);
                assert_non_null(strstr(error_message(), path));
            }
            option_set_destroy(set);
        } while (faulty.calls >= n);
        assert_true(n > 2);
    }
    scratch_remove(&scratch);
}

static void
file_that_is_none(void **state)
{
    struct option_set *set = make_set();

    (void)state;
    assert_int_equal(
        option_load_file(set, file_system_real(), "/nowhere/x.conf"),
        CASCADE_NOT_FOUND);
    assert_non_null(strstr(error_message(), "/nowhere/x.conf"));
    assert_int_equal(option_load_file(set, file_system_real(), "/tmp"),
                     CASCADE_IO);
    assert_int_equal(option_load_file(set, file_system_real(), "/dev/zero"),
                     CASCADE_INVALID);
    option_set_destroy(set);
}

static enum cascade_status
use_everything(const struct allocator *allocator, const char *path)
{
    struct option_set *set = option_set_create(allocator, &table);
    struct option_set *copy = NULL;
    enum cascade_status status;

    if (set == NULL) {
        return CASCADE_NO_MEMORY;
    }
    status = give(set, "size", "1MiB");
    if (status == CASCADE_OK) {
        status = option_load_file(set, file_system_real(), path);
    }
    if (status == CASCADE_OK) {
        copy = option_set_copy(allocator, set);
        status = copy == NULL ? CASCADE_NO_MEMORY : CASCADE_OK;
    }
    if (copy != NULL) {
        assert_int_equal(option_bytes(copy, SIZE), MIB);
        assert_int_equal(option_origin(copy, COUNT), OPTION_ORIGIN_FILE);
    }
    option_set_destroy(copy);
    option_set_destroy(set);
    return status;
}

static void
each_allocation_fails(void **state)
{
    struct allocator_failing fault;
    struct scratch scratch;
    char path[256];
    uint64_t n = 0;

    (void)state;
    scratch_make(&scratch);
    scratch_write(&scratch, "x.conf", "count = 9\nfree = y\n");
    (void)snprintf(path, sizeof(path), "%s/x.conf", scratch.path);
    do {
        enum cascade_status status;

        n++;
        allocator_failing_init(&fault, n);
        status = use_everything(&fault.table, path);
        assert_int_equal(fault.live, 0);
        assert_int_equal(status,
                         fault.calls < n ? CASCADE_OK : CASCADE_NO_MEMORY);
    } while (fault.calls >= n);
    assert_true(n > 8);
    scratch_remove(&scratch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_typed),
        cmocka_unit_test(good_values),
        cmocka_unit_test(bad_values),
        cmocka_unit_test(strongest_origin_wins),
        cmocka_unit_test(weaker_origin_is_still_checked),
        cmocka_unit_test(environment),
        cmocka_unit_test(files),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(each_file_call_fails),
        cmocka_unit_test(file_that_is_none),
        cmocka_unit_test(each_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
