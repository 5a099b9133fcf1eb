// SPDX-License-Identifier: Apache-2.0
//
// Log-linear buckets. Relaxed atomics only; no lock.

#include "base/histogram.h"

#define LOWEST_NS ((uint64_t)1 << HISTOGRAM_FIRST_OCTAVE)
#define HIGHEST_NS ((uint64_t)1 << HISTOGRAM_LAST_OCTAVE)

uint32_t
histogram_bucket(uint64_t ns)
{
    uint32_t octave;
    uint32_t step;

    if (ns < LOWEST_NS) {
        return 0;
    }
    if (ns >= HIGHEST_NS) {
        return HISTOGRAM_BUCKETS - 1;
    }
    octave = 63 - (uint32_t)__builtin_clzll(ns);
    step = (uint32_t)((ns - ((uint64_t)1 << octave)) * HISTOGRAM_STEPS >>
                      octave);
    return 1 + (octave - HISTOGRAM_FIRST_OCTAVE) * HISTOGRAM_STEPS + step;
}

uint64_t
histogram_bound_ns(uint32_t bucket)
{
    uint32_t octave;
    uint64_t first;

    if (bucket == 0) {
        return 0;
    }
    if (bucket >= HISTOGRAM_BUCKETS) {
        return UINT64_MAX;
    }
    octave = HISTOGRAM_FIRST_OCTAVE + (bucket - 1) / HISTOGRAM_STEPS;
    first = (uint64_t)1 << octave;
    return first + first / HISTOGRAM_STEPS * ((bucket - 1) % HISTOGRAM_STEPS);
}

void
histogram_observe(_Atomic uint64_t *slots, uint64_t ns)
{
    atomic_fetch_add_explicit(&slots[histogram_bucket(ns)], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&slots[HISTOGRAM_BUCKETS], ns,
                              memory_order_relaxed);
}

void
histogram_add(const _Atomic uint64_t *slots, struct histogram *histogram)
{
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t count = atomic_load_explicit(&slots[i], memory_order_relaxed);

        histogram->counts[i] += count;
        histogram->count += count;
    }
    histogram->sum_ns += atomic_load_explicit(&slots[HISTOGRAM_BUCKETS],
                                              memory_order_relaxed);
}

void
histogram_read(const _Atomic uint64_t *slots, struct histogram *histogram)
{
    *histogram = (struct histogram){0};
    histogram_add(slots, histogram);
}

uint64_t
histogram_quantile_ns(const struct histogram *histogram, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)histogram->count +
                                 0.999999);
    uint64_t seen = 0;

    if (histogram->count == 0) {
        return 0;
    }
    wanted = wanted == 0 ? 1 : wanted;
    wanted = wanted > histogram->count ? histogram->count : wanted;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->counts[i];
        if (seen >= wanted) {
            return (histogram_bound_ns(i) + histogram_bound_ns(i + 1)) / 2;
        }
    }
    return HIGHEST_NS;
}
