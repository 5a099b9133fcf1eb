// SPDX-License-Identifier: Apache-2.0
//
// Buckets of histograms: they tile all values, and quantiles keep their promise.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/histogram.h"
#include "base/units.h"

static void
buckets_tile(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t low = histogram_bound_ns(i);
        uint64_t high = histogram_bound_ns(i + 1);

        assert_true(low < high);
        assert_int_equal(histogram_bucket(low), i);
        assert_int_equal(histogram_bucket(high - 1), i);
        if (i > 0 && i + 1 < HISTOGRAM_BUCKETS) {
            assert_true((high - low) * HISTOGRAM_STEPS <= low);
        }
    }
    assert_int_equal(histogram_bucket(0), 0);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_true(histogram_bound_ns(1) <= 100);
    assert_true(histogram_bound_ns(HISTOGRAM_BUCKETS - 1) >= 100 * NS_PER_S);
}

static void
assert_near(uint64_t value, uint64_t expected)
{
    uint64_t error = value > expected ? value - expected : expected - value;

    if (error * 10 > expected) {
        fail_msg("%llu is not within a tenth of %llu",
                 (unsigned long long)value, (unsigned long long)expected);
    }
}

static void
quantiles_of_known_values(void **state)
{
    static _Atomic uint64_t slots[HISTOGRAM_SLOTS];
    struct histogram histogram;

    (void)state;
    histogram_read(slots, &histogram);
    assert_int_equal(histogram_quantile_ns(&histogram, 0.5), 0);
    for (uint64_t i = 1; i <= 10000; i++) {
        histogram_observe(slots, i * NS_PER_US);
    }
    histogram_read(slots, &histogram);
    assert_int_equal(histogram.count, 10000);
    assert_int_equal(histogram.sum_ns, 10000ull * 10001 / 2 * NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 0.5), 5000 * NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 0.99), 9900 * NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 0.999), 9990 * NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 0), NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 1), 10000 * NS_PER_US);
}

static void
one_slow_among_many(void **state)
{
    static _Atomic uint64_t slots[HISTOGRAM_SLOTS];
    struct histogram histogram;

    (void)state;
    for (unsigned i = 0; i < 999; i++) {
        histogram_observe(slots, NS_PER_US);
    }
    histogram_observe(slots, 90 * NS_PER_S);
    histogram_read(slots, &histogram);
    assert_near(histogram_quantile_ns(&histogram, 0.999), NS_PER_US);
    assert_near(histogram_quantile_ns(&histogram, 1), 90 * NS_PER_S);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_tile),
        cmocka_unit_test(quantiles_of_known_values),
        cmocka_unit_test(one_slow_among_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
