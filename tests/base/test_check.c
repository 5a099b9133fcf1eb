// SPDX-License-Identifier: Apache-2.0
//
// A failed check ends the process and says where; one that holds costs nothing
// and evaluates its condition once.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"

static void
a_true_condition_goes_on(void **state)
{
    int count = 0;

    (void)state;
    check(++count == 1);
    assert_int_equal(count, 1);
}

// Fails a check with standard error in the pipe; never returns.
static void
fail_a_check(int error_output)
{
    const struct rlimit no_core = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &no_core);
    (void)signal(SIGABRT, SIG_DFL);
    (void)dup2(error_output, STDERR_FILENO);
    check(1 + 1 == 3);
    _exit(0);
}

static void
a_false_condition_aborts_and_says_where(void **state)
{
    char text[512] = "";
    size_t used = 0;
    ssize_t now;
    int ends[2];
    int status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        fail_a_check(ends[1]);
    }
    (void)close(ends[1]);
    while ((now = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0) {
        used += (size_t)now;
    }
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "test_check.c:"));
    assert_non_null(strstr(text, "1 + 1 == 3"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_condition_goes_on),
        cmocka_unit_test(a_false_condition_aborts_and_says_where),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
