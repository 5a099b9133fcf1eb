// SPDX-License-Identifier: Apache-2.0
//
// Histograms of durations with fixed buckets: eight equal steps in every
// doubling from 64 ns to 2^37 ns (over two minutes), one bucket below and one
// above. A bucket is at most an eighth of its lower bound wide, so its middle
// is within 7 % of every value in it.
//
// Invariant: only relaxed increments; a reader sees some recent counts, each
// whole, never going back. No lock.

#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_FIRST_OCTAVE 6
#define HISTOGRAM_LAST_OCTAVE 37 // values from 2^37 ns go to the last bucket
#define HISTOGRAM_STEPS 8
#define HISTOGRAM_BUCKETS \
    ((HISTOGRAM_LAST_OCTAVE - HISTOGRAM_FIRST_OCTAVE) * HISTOGRAM_STEPS + 2)

// The counts, then the sum of all values in nanoseconds.
#define HISTOGRAM_SLOTS (HISTOGRAM_BUCKETS + 1)

// A copy to compute with.
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
};

// The bucket of a value.
uint32_t
histogram_bucket(uint64_t ns);

// The smallest value of a bucket; UINT64_MAX past the last.
uint64_t
histogram_bound_ns(uint32_t bucket);

// Counts a value in HISTOGRAM_SLOTS slots.
void
histogram_observe(_Atomic uint64_t *slots, uint64_t ns);

// Copies the slots.
void
histogram_read(const _Atomic uint64_t *slots, struct histogram *histogram);

// Adds what the slots hold to a copy.
void
histogram_add(const _Atomic uint64_t *slots, struct histogram *histogram);

// The value below or at which `quantile` (0..1) of the observations lie, within
// the error above; 0 if there are none.
uint64_t
histogram_quantile_ns(const struct histogram *histogram, double quantile);

#endif
