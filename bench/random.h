// SPDX-License-Identifier: Apache-2.0
//
// Numbers from a seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014). Equal on every machine; not for
// secrets. The state is the caller's; no lock.

#ifndef BENCH_RANDOM_H
#define BENCH_RANDOM_H

#include <stdint.h>

// One number to one number, well mixed.
static inline uint64_t
random_mix(uint64_t word)
{
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

static inline uint64_t
random_next(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return random_mix(*state);
}

// From 0 to less than 1.
static inline double
random_fraction(uint64_t *state)
{
    return (double)(random_next(state) >> 11) * 0x1p-53;
}

// From 0 to limit - 1; the limit is not 0.
static inline uint32_t
random_below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((random_next(state) >> 32) * limit >> 32);
}

#endif
