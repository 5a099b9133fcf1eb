// SPDX-License-Identifier: Apache-2.0
//
// Counts per class and age, and the curves made of them.
//
// Invariant: the curves never fall from one bucket to the next; they change in
// policy_curve_learn only.

#include "policy/policy_curve.h"

#include <math.h>
#include <string.h>

// The first classes hold one number of hits each.
#define SINGLE_CLASSES 3

// Blocks of the usual kind that are imagined in every bucket of every class, so
// that a class of which little was seen behaves like all together.
#define IMAGINED_BLOCKS 25.0f

// Bounds of the three buckets of a doubling, as fractions of 2^32.
#define THIRD UINT32_C(0x428a2f99)  // 2^(1/3) - 1
#define THIRDS UINT32_C(0x965fea54) // 2^(2/3) - 1

static uint32_t
bucket_of(uint64_t age)
{
    uint32_t power;
    uint32_t rest;

    if (age <= 1) {
        return 0;
    }
    if (age > UINT32_MAX) {
        return POLICY_CURVE_BUCKETS - 1;
    }
    power = 31 - (uint32_t)__builtin_clz((uint32_t)age);
    rest = (uint32_t)(age << (32 - power)); // without the leading one
    return 3 * power + (rest >= THIRD) + (rest >= THIRDS);
}

static float
curve_at(const struct policy_curves *curves, const float *curve, uint64_t age)
{
    uint32_t bucket = bucket_of(age);
    float begin = curves->begins[bucket];
    float end = curves->begins[bucket + 1];
    float part = ((float)age - begin) / (end - begin);

    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return curve[bucket] + part * (curve[bucket + 1] - curve[bucket]);
}

// Hazards per reference of `count` classes from `first`, summed to a curve;
// with few blocks seen, close to that of all.
static void
make_curve(struct policy_curves *curves, uint32_t first, uint32_t count,
           const float *all, float *curve)
{
    float sum = 0;

    for (uint32_t b = 0; b < POLICY_CURVE_BUCKETS; b++) {
        float width = curves->begins[b + 1] - curves->begins[b];
        float reuses = IMAGINED_BLOCKS * all[b] * width;
        float exposure = IMAGINED_BLOCKS * width;

        for (uint32_t c = first; c < first + count; c++) {
            reuses += curves->reuses[c][b];
            exposure += curves->exposures[c][b];
        }
        curve[b] = sum;
        sum += reuses / exposure * width;
    }
    curve[POLICY_CURVE_BUCKETS] = sum;
}

static void
make_longer(struct policy_curves *curves, const float *reuses)
{
    float longer = 1; // one imagined reuse, later than all

    curves->longer[POLICY_CURVE_BUCKETS] = longer;
    for (uint32_t b = POLICY_CURVE_BUCKETS; b-- > 0;) {
        longer += reuses[b];
        curves->longer[b] = longer;
    }
    for (uint32_t b = 0; b <= POLICY_CURVE_BUCKETS; b++) {
        curves->longer[b] /= longer;
    }
}

void
policy_curve_init(struct policy_curves *curves)
{
    for (uint32_t b = 0; b <= POLICY_CURVE_BUCKETS; b++) {
        curves->begins[b] = exp2f((float)b / 3);
        curves->longer[b] = 1;
    }
    curves->begins[0] = 0;
}

uint32_t
policy_curve_class(uint32_t hits)
{
    uint32_t class = SINGLE_CLASSES;

    if (hits < SINGLE_CLASSES) {
        return hits;
    }
    for (uint32_t limit = 2 * SINGLE_CLASSES;
         hits >= limit && class < POLICY_CURVE_CLASSES - 1; limit *= 2) {
        class ++;
    }
    return class;
}

void
policy_curve_reuse(struct policy_curves *curves, uint32_t hits, uint64_t gap)
{
    curves->new_reuses[policy_curve_class(hits)][bucket_of(gap)] += 1;
}

void
policy_curve_wait(struct policy_curves *curves, uint32_t hits, uint64_t age)
{
    curves->waiting[policy_curve_class(hits)][bucket_of(age)] += 1;
}

void
policy_curve_learn(struct policy_curves *curves, uint64_t references,
                   float decay)
{
    float reuses[POLICY_CURVE_BUCKETS] = {0};
    float all[POLICY_CURVE_BUCKETS] = {0};

    for (uint32_t b = 0; b < POLICY_CURVE_BUCKETS; b++) {
        float exposure = 0;

        for (uint32_t c = 0; c < POLICY_CURVE_CLASSES; c++) {
            curves->reuses[c][b] = curves->reuses[c][b] * decay +
                                   curves->new_reuses[c][b];
            curves->exposures[c][b] = curves->exposures[c][b] * decay +
                                      curves->waiting[c][b] * (float)references;
            reuses[b] += curves->reuses[c][b];
            exposure += curves->exposures[c][b];
        }
        all[b] = exposure > 0 ? reuses[b] / exposure : 0;
    }
    memset(curves->new_reuses, 0, sizeof(curves->new_reuses));
    memset(curves->waiting, 0, sizeof(curves->waiting));
    for (uint32_t c = 0; c < POLICY_CURVE_CLASSES; c++) {
        make_curve(curves, c, 1, all, curves->fine[c]);
    }
    for (uint32_t c = 0; c < POLICY_CURVE_COARSE_CLASSES; c++) {
        bool last = c == POLICY_CURVE_COARSE_CLASSES - 1;

        make_curve(curves, c, last ? POLICY_CURVE_CLASSES - c : 1, all,
                   curves->coarse[c]);
    }
    make_longer(curves, reuses);
}

float
policy_curve_fine(const struct policy_curves *curves, uint32_t class,
                  uint64_t age, uint64_t horizon)
{
    const float *curve = curves->fine[class];

    return curve_at(curves, curve, age + horizon) -
           curve_at(curves, curve, age);
}

float
policy_curve_coarse(const struct policy_curves *curves, uint32_t class,
                    uint64_t age, uint64_t horizon)
{
    uint32_t last = POLICY_CURVE_COARSE_CLASSES - 1;
    const float *curve = curves->coarse[class < last ? class : last];

    return curve_at(curves, curve, age + horizon) -
           curve_at(curves, curve, age);
}

float
policy_curve_expected(const struct policy_curves *curves, float expected,
                      uint64_t age)
{
    float later = expected * curve_at(curves, curves->longer, age);

    return later / (later + 1 - expected);
}
