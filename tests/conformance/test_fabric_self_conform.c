// SPDX-License-Identifier: Apache-2.0
//
// The fabric of one rank under the conformance suite, without and with the
// thread of the port.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conformance/fabric_suite.h"
#include "fabric/fabric_self.h"

static void
conform(bool with_thread)
{
    struct fabric_suite suite = {
        .name = with_thread ? "self with thread" : "self",
        .options = {.allocator = allocator_system(), .clock = clock_system()},
        .threads = 4,
    };

    assert_int_equal(
        fabric_self_open(allocator_system(), &suite.options.fabric),
        CASCADE_OK);
    if (with_thread) {
        suite.options.fabric.capabilities &= ~(uint32_t)FABRIC_INLINE;
    }
    assert_int_equal(fabric_suite_run(&suite), 0);
}

static void
test_self(void **state)
{
    (void)state;
    conform(false);
}

static void
test_self_with_thread(void **state)
{
    (void)state;
    conform(true);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self),
        cmocka_unit_test(test_self_with_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
