// SPDX-License-Identifier: Apache-2.0
//
// Runs some cases of a test program: those whose name matches the pattern in
// $CMOCKA_TEST_FILTER. Linked into every program; without the variable it does
// nothing.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

__attribute__((constructor)) static void
filter_tests(void)
{
    const char *pattern = getenv("CMOCKA_TEST_FILTER");

    if (pattern != NULL) {
        cmocka_set_test_filter(pattern);
    }
}
