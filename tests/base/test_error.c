// SPDX-License-Identifier: Apache-2.0
//
// Names and sentences of statuses, and the message that belongs to a thread.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static void
every_status_has_its_own_name(void **state)
{
    (void)state;
    for (int i = 0; i < CASCADE_STATUS_COUNT; i++) {
        const char *name = cascade_status_name((enum cascade_status)i);
        const char *sentence = cascade_status_sentence((enum cascade_status)i);

        assert_string_not_equal(name, "UNKNOWN");
        assert_string_not_equal(sentence, "Unknown status");
        assert_int_not_equal(sentence[strlen(sentence) - 1], '.');
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(
                name, cascade_status_name((enum cascade_status)j));
        }
    }
    assert_string_equal(cascade_status_name((enum cascade_status)999),
                        "UNKNOWN");
}

static void
keeps_the_message_and_the_status(void **state)
{
    (void)state;
    assert_int_equal(error_set(CASCADE_INVALID, "option %s: %d", "threads", 7),
                     CASCADE_INVALID);
    assert_string_equal(error_message(), "option threads: 7");
    error_clear();
    assert_string_equal(error_message(), "");
}

static void
names_the_cause_of_a_system_call(void **state)
{
    (void)state;
    assert_int_equal(error_set_errno(EACCES, "cannot open %s", "/x"),
                     CASCADE_PERMISSION);
    assert_non_null(strstr(error_message(), "cannot open /x: "));
    assert_non_null(strstr(error_message(), strerror(EACCES)));
}

static void
maps_errno_to_what_a_caller_can_do(void **state)
{
    (void)state;
    assert_int_equal(error_status_of_errno(ENOSPC), CASCADE_NO_SPACE);
    assert_int_equal(error_status_of_errno(EDQUOT), CASCADE_NO_SPACE);
    assert_int_equal(error_status_of_errno(ENOMEM), CASCADE_NO_MEMORY);
    assert_int_equal(error_status_of_errno(EROFS), CASCADE_PERMISSION);
    assert_int_equal(error_status_of_errno(EPERM), CASCADE_PERMISSION);
    assert_int_equal(error_status_of_errno(ENOENT), CASCADE_NOT_FOUND);
    assert_int_equal(error_status_of_errno(EIO), CASCADE_IO);
}

// A message that does not fit is cut, never written past its end.
static void
cuts_a_long_message(void **state)
{
    char text[2 * ERROR_MESSAGE_BYTES];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)error_set(CASCADE_IO, "%s", text);
    assert_int_equal(strlen(error_message()), ERROR_MESSAGE_BYTES - 1);
    (void)error_set_errno(EIO, "%s", text);
    assert_int_equal(strlen(error_message()), ERROR_MESSAGE_BYTES - 1);
}

static void *
fail_in_a_thread(void *was_empty)
{
    *(bool *)was_empty = error_message()[0] == '\0';
    (void)error_set(CASCADE_IO, "the other thread's");
    return NULL;
}

static void
threads_have_their_own_message(void **state)
{
    pthread_t thread;
    bool was_empty = false;

    (void)state;
    (void)error_set(CASCADE_IO, "mine");
    assert_int_equal(
        pthread_create(&thread, NULL, fail_in_a_thread, &was_empty), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(was_empty);
    assert_string_equal(error_message(), "mine");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_own_name),
        cmocka_unit_test(keeps_the_message_and_the_status),
        cmocka_unit_test(names_the_cause_of_a_system_call),
        cmocka_unit_test(maps_errno_to_what_a_caller_can_do),
        cmocka_unit_test(cuts_a_long_message),
        cmocka_unit_test(threads_have_their_own_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
