// SPDX-License-Identifier: Apache-2.0
//
// Choices about space that need no state: what a block is worth when a run of
// neighbours has to go. Facts in, a decision out; no lock.

#ifndef POLICY_POLICY_CHOICE_H
#define POLICY_POLICY_CHOICE_H

#include <stdint.h>

// What it costs to lose a block of `bytes` out of turn. `rank` is its place in
// the policy's order: 0 goes next, 1 goes last. Hot blocks cost far more than
// cold ones, and even the coldest costs something, so that no window is larger
// than it has to be.
double
policy_window_cost(uint64_t bytes, double rank);

#endif
