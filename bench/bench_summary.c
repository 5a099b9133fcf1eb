// SPDX-License-Identifier: Apache-2.0
//
// Summaries. Quantiles are observed values, never interpolated.

#include "bench/bench_summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "bench/report.h"

static int
compare_reals(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

static int
compare_numbers(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

struct bench_spread
bench_summary_spread(double *values, size_t count)
{
    struct bench_spread spread = {NAN, NAN, NAN};

    if (count > 0) {
        qsort(values, count, sizeof(*values), compare_reals);
        spread.min = values[0];
        spread.median = (values[(count - 1) / 2] + values[count / 2]) / 2;
        spread.max = values[count - 1];
    }
    return spread;
}

double
bench_summary_quantile_us(const uint64_t *sorted, size_t count, double quantile)
{
    size_t place;

    if (count == 0) {
        return NAN;
    }
    place = (size_t)ceil(quantile * (double)count);
    place = place == 0 ? 0 : place - 1;
    return (double)sorted[units_min(place, count - 1)] / 1e3;
}

static void
make_times(struct bench_latencies *latencies, struct bench_times *times)
{
    size_t count = units_min(atomic_load(&latencies->count), latencies->room);

    if (count > 0) {
        qsort(latencies->ns, count, sizeof(*latencies->ns), compare_numbers);
    }
    times->p50_us = bench_summary_quantile_us(latencies->ns, count, 0.5);
    times->p99_us = bench_summary_quantile_us(latencies->ns, count, 0.99);
    times->p999_us = bench_summary_quantile_us(latencies->ns, count, 0.999);
}

static void
add_counts(const struct bench_sample *sample, struct bench_summary *summary)
{
    summary->verified_bytes += sample->verified_bytes;
    summary->wrong_bytes += sample->wrong_bytes;
    summary->misses += sample->misses;
}

static void
make_speeds(const struct bench_run *run, struct bench_summary *summary)
{
    double speeds[BENCH_ROUNDS_MAX];
    double limits[BENCH_ROUNDS_MAX];
    double ratios[BENCH_ROUNDS_MAX];

    for (uint32_t i = 0; i < run->rounds; i++) {
        const struct bench_sample *sample = &run->samples[i];

        speeds[i] = report_gbps(sample->work.bytes, sample->work.ns);
        limits[i] = report_gbps(sample->limit.bytes, sample->limit.ns);
        ratios[i] = speeds[i] / limits[i];
    }
    summary->gbps = bench_summary_spread(speeds, run->rounds);
    summary->limit_gbps = bench_summary_spread(limits, run->rounds);
    summary->ratio = bench_summary_spread(ratios, run->rounds).median;
}

void
bench_summary_make(const struct bench_driver *driver, struct bench_run *run,
                   struct bench_summary *summary)
{
    uint64_t cpu_ns = 0;
    uint64_t ns = 0;

    memset(summary, 0, sizeof(*summary));
    add_counts(&run->warm_up, summary);
    for (uint32_t i = 0; i < run->rounds; i++) {
        add_counts(&run->samples[i], summary);
        summary->device_bytes += run->samples[i].device_bytes;
        cpu_ns += run->samples[i].cpu_ns;
        ns += run->samples[i].work.ns;
    }
    summary->cores = cpu_ns == 0 ? NAN : (double)cpu_ns / (double)ns;
    make_times(&run->latencies, &summary->latency);
    make_times(&run->limit_latencies, &summary->limit_latency);
    if (driver->moves_bytes) {
        make_speeds(run, summary);
        return;
    }
    if (driver->holds_bytes) {
        make_speeds(run, summary); // for the ratio
    }
    summary->gbps = (struct bench_spread){NAN, NAN, NAN};
    summary->limit_gbps = summary->gbps;
    if (driver->holds_bytes) {
        return;
    }
    // The latencies are sorted by now.
    summary->ratio = (double)run->bar_ns / 1e3 /
                     bench_summary_quantile_us(
                         run->latencies.ns,
                         units_min(atomic_load(&run->latencies.count),
                                   run->latencies.room),
                         driver->bar_quantile);
}
