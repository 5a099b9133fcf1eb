// SPDX-License-Identifier: Apache-2.0
//
// The choice of a layout, and that other file systems are left alone. Lustre
// itself is not at hand here.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "segment/segment_stripe.h"
#include "support/scratch.h"

static void
test_large_blocks_are_spread(void **state)
{
    struct segment_stripe small = segment_stripe_choose(2 * MIB);
    struct segment_stripe large = segment_stripe_choose(160 * MIB);
    struct segment_stripe least = segment_stripe_choose(
        SEGMENT_STRIPE_LARGE_BYTES);

    (void)state;
    assert_int_equal(small.count, 1);
    assert_int_equal(small.bytes, 4 * MIB);
    assert_int_equal(large.count, 4);
    assert_int_equal(large.bytes, 16 * MIB);
    assert_int_equal(least.count, 4);
}

static void
test_other_file_systems_are_left_alone(void **state)
{
    struct scratch scratch;
    int directory;

    (void)state;
    scratch_make(&scratch);
    directory = open(scratch.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(directory >= 0);
    assert_false(segment_stripe_apply(directory, segment_stripe_choose(0)));
    assert_false(segment_stripe_apply(-1, segment_stripe_choose(0)));
    (void)close(directory);
    scratch_remove(&scratch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_blocks_are_spread),
        cmocka_unit_test(test_other_file_systems_are_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
