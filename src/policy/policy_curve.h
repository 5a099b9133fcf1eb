// SPDX-License-Identifier: Apache-2.0
//
// How likely a block is to be used again, learnt from how blocks were used
// before. Blocks are told apart by their hits so far; time is counted in
// references. For each class and age (time since the last use, in buckets that
// grow with it) there are two counts: reuses at that age, and how much waiting
// there was at that age. Their quotient is the hazard; its sum over a span of
// ages says how likely it is that a block that has waited to the begin of the
// span is used before its end. Forgetting a block that waits distorts nothing:
// it only stops counting (occurrence over exposure, as in life tables).
//
// Not here: which blocks there are. No lock, no allocation; the state is plain
// memory of the caller.

#ifndef POLICY_POLICY_CURVE_H
#define POLICY_POLICY_CURVE_H

#include <stdbool.h>
#include <stdint.h>

// Hits 0, 1, 2, then doubling from 3: the last class is open.
#define POLICY_CURVE_CLASSES 10
// The first of them, and one for the others together.
#define POLICY_CURVE_COARSE_CLASSES 4
// Three per doubling; the last one is open.
#define POLICY_CURVE_BUCKETS 96

struct policy_curves {
    float reuses[POLICY_CURVE_CLASSES][POLICY_CURVE_BUCKETS];
    float exposures[POLICY_CURVE_CLASSES][POLICY_CURVE_BUCKETS];
    // Since the last learning.
    float new_reuses[POLICY_CURVE_CLASSES][POLICY_CURVE_BUCKETS];
    float waiting[POLICY_CURVE_CLASSES][POLICY_CURVE_BUCKETS];
    // Hazard from age 0 to the begin of each bucket.
    float fine[POLICY_CURVE_CLASSES][POLICY_CURVE_BUCKETS + 1];
    float coarse[POLICY_CURVE_COARSE_CLASSES][POLICY_CURVE_BUCKETS + 1];
    // Share of all reuses whose gap was longer than the begin of each bucket.
    float longer[POLICY_CURVE_BUCKETS + 1];
    float begins[POLICY_CURVE_BUCKETS + 1];
};

// In memory that is all zero.
void
policy_curve_init(struct policy_curves *curves);

uint32_t
policy_curve_class(uint32_t hits);

// A block of that many hits was used again after `gap` references.
void
policy_curve_reuse(struct policy_curves *curves, uint32_t hits, uint64_t gap);

// A block of that many hits has been waiting for `age` references.
void
policy_curve_wait(struct policy_curves *curves, uint32_t hits, uint64_t age);

// Takes in what was told since the last time: every block that waits was told
// once in `references` references. Older counts weigh `decay` of what they did.
void
policy_curve_learn(struct policy_curves *curves, uint64_t references,
                   float decay);

// Hazard of the next `horizon` references for a block of that class and age.
float
policy_curve_fine(const struct policy_curves *curves, uint32_t class,
                  uint64_t age, uint64_t horizon);

// The same with classes above the third taken together.
float
policy_curve_coarse(const struct policy_curves *curves, uint32_t class,
                    uint64_t age, uint64_t horizon);

// Probability that a block comes back that was expected to with probability
// `expected`, and has waited that long.
float
policy_curve_expected(const struct policy_curves *curves, float expected,
                      uint64_t age);

#endif
