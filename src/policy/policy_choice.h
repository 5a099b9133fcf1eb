// SPDX-License-Identifier: Apache-2.0
//
// Choices about space that need no state: what a block is worth when a run of
// neighbours has to go, and which blocks the cold tier gets when it cannot have
// them all. Facts in, a decision out; no lock.

#ifndef POLICY_POLICY_CHOICE_H
#define POLICY_POLICY_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

// What it costs to lose a block of `bytes` out of turn. `rank` is its place in
// the policy's order: 0 goes next, 1 goes last. Hot blocks cost far more than
// cold ones, and even the coldest costs something, so that no window is larger
// than it has to be.
double
policy_window_cost(uint64_t bytes, double rank);

// What the writer of the cold tier has ahead of it.
struct policy_writer_facts {
    uint64_t next_bytes;  // that memory will give up next
    uint64_t dirty_bytes; // of these, what is not on segments
    uint64_t refusals; // searches for room that met dirty blocks only, of late
};

// True if puts use up clean blocks faster than they are written.
bool
policy_writer_is_behind(const struct policy_writer_facts *facts);

// True if a block that leaves memory is to be written before. `was_used`: since
// it came. While the writer is behind, blocks that were not are dropped: most
// of what is read again was read before (docs/decisions/0004).
bool
policy_choose_cold(bool writer_is_behind, bool was_used);

#endif
