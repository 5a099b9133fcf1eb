// SPDX-License-Identifier: Apache-2.0
//
// What the samples of a measurement say: medians, extremes, quantiles, and the
// ratio to the limit. Plain computing.

#ifndef BENCH_BENCH_SUMMARY_H
#define BENCH_BENCH_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

#include "bench/bench.h"

struct bench_spread {
    double min;
    double median;
    double max;
};

struct bench_times {
    double p50_us;
    double p99_us;
    double p999_us;
};

struct bench_summary {
    struct bench_spread gbps;       // NAN where bytes mean nothing
    struct bench_spread limit_gbps; // NAN where the limit is a time
    struct bench_times latency;
    struct bench_times limit_latency; // NAN where not measured
    // Median over the rounds of work over the limit beside it; for a time bar
    // the bar over the time, so that more is better in both.
    double ratio;
    double cores; // processors kept busy by the work; NAN if not measured
    uint64_t verified_bytes;
    uint64_t wrong_bytes;
    uint64_t misses;
    uint64_t device_bytes;
};

// Sorts the values. NAN for none.
struct bench_spread
bench_summary_spread(double *values, size_t count);

// The smallest value with at least `quantile` of the values not above it.
// `sorted` is ascending; NAN for none.
double
bench_summary_quantile_us(const uint64_t *sorted, size_t count,
                          double quantile);

// Sorts the latencies of the run.
void
bench_summary_make(const struct bench_driver *driver, struct bench_run *run,
                   struct bench_summary *summary);

#endif
