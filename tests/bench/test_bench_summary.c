// SPDX-License-Identifier: Apache-2.0
//
// Tests of summaries: medians, quantiles, and that wrong bytes and misses of
// the warm-up are not forgotten.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/bench_summary.h"

static struct bench_run run;

static bool
near(double a, double b)
{
    return fabs(a - b) < 1e-9;
}

static void
test_spread(void **state)
{
    double odd[] = {3, 1, 2};
    double even[] = {4, 1, 2, 3};
    struct bench_spread spread = bench_summary_spread(odd, 3);

    (void)state;
    assert_true(near(spread.min, 1) && near(spread.median, 2) &&
                near(spread.max, 3));
    assert_true(near(bench_summary_spread(even, 4).median, 2.5));
    assert_true(isnan(bench_summary_spread(NULL, 0).median));
}

static void
test_quantiles_are_observed_values(void **state)
{
    uint64_t values[1000];

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        values[i] = 1000 * (i + 1);
    }
    assert_true(near(bench_summary_quantile_us(values, 1000, 0.5), 500));
    assert_true(near(bench_summary_quantile_us(values, 1000, 0.99), 990));
    assert_true(near(bench_summary_quantile_us(values, 1000, 0.999), 999));
    assert_true(near(bench_summary_quantile_us(values, 1000, 1), 1000));
    assert_true(near(bench_summary_quantile_us(values, 1, 0.5), 1));
    assert_true(isnan(bench_summary_quantile_us(values, 0, 0.5)));
}

static void
test_a_run(void **state)
{
    const struct bench_driver driver = {.moves_bytes = true};
    uint64_t latencies[] = {3000, 1000, 2000};
    struct bench_summary summary;

    (void)state;
    memset(&run, 0, sizeof(run));
    run.rounds = 3;
    run.latencies.ns = latencies;
    run.latencies.room = 3;
    run.latencies.count = 3;
    run.warm_up.wrong_bytes = 5;
    run.warm_up.misses = 1;
    for (uint64_t i = 0; i < 3; i++) {
        run.samples[i] = (struct bench_sample){
            .work = {.bytes = 10 * (i + 1), .ns = 10},
            .limit = {.bytes = 20, .ns = 10},
            .verified_bytes = 10 * (i + 1),
            .misses = i,
        };
    }
    bench_summary_make(&driver, &run, &summary);
    assert_true(near(summary.gbps.min, 1) && near(summary.gbps.median, 2) &&
                near(summary.gbps.max, 3));
    assert_true(near(summary.limit_gbps.median, 2));
    assert_true(near(summary.ratio, 1));
    assert_int_equal(summary.verified_bytes, 60);
    assert_int_equal(summary.wrong_bytes, 5);
    assert_int_equal(summary.misses, 4);
    assert_true(near(summary.latency.p50_us, 2));
    assert_true(near(summary.latency.p99_us, 3));
}

static void
test_a_time_bar(void **state)
{
    const struct bench_driver driver = {.bar_quantile = 0.5};
    uint64_t latencies[] = {3000, 1000, 2000};
    struct bench_summary summary;

    (void)state;
    memset(&run, 0, sizeof(run));
    run.rounds = 1;
    run.bar_ns = 4000;
    run.latencies.ns = latencies;
    run.latencies.room = 3;
    run.latencies.count = 3;
    bench_summary_make(&driver, &run, &summary);
    assert_true(isnan(summary.gbps.median));
    assert_true(near(summary.ratio, 2));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_quantiles_are_observed_values),
        cmocka_unit_test(test_a_run),
        cmocka_unit_test(test_a_time_bar),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
