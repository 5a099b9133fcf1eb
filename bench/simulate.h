// SPDX-License-Identifier: Apache-2.0
//
// One eviction policy over one trace, without bytes: one cache of equal-size
// blocks. Requests in the order of the file. The hits of a request are counted
// on the state before it: its longest run of leading blocks that are cached.
// Then one pass over its blocks from the deepest to the root: a block is
// touched if it is cached at that moment, else inserted at once, and the policy
// chooses who goes if the cache is full. Equal arguments give equal answers.
// Not here: `opt`, which sees the future and is no policy of that table.

#ifndef BENCH_SIMULATE_H
#define BENCH_SIMULATE_H

#include <stdint.h>

#include "base/attributes.h"
#include "bench/trace.h"
#include "cascade/status.h"
#include "policy/policy.h"

// Tokens of a full block in traces.
#define SIMULATE_BLOCK_TOKENS 512

struct simulate_settings {
    const struct policy_table *policy;
    uint32_t capacity_blocks; // at least 1
    uint64_t seed;            // of the policy and of the hints

    // What the policy is told of a block's size; 0: one byte.
    uint64_t block_bytes;

    // What the policy knows of each block of the trace, by the number of its
    // id; NULL: a mix of the id.
    const uint64_t *hashes;

    // 0: no hints. Else every request says whether its conversation goes on
    // (its deepest full block will be asked for again), and is right with this
    // probability. "Goes on" is an expected reuse of that probability for the
    // blocks that enter; "ends" is the end of a session for all of its blocks.
    double hints_right;
};

struct simulate_result {
    uint64_t requests;
    uint64_t block_refs;
    uint64_t prefix_hits; // blocks of leading runs
    uint64_t block_hits;  // found cached before the request, anywhere
    uint64_t insertions;
    uint64_t evictions;
};

// Percent of the references.
static inline double
simulate_pct(uint64_t hits, const struct simulate_result *result)
{
    return result->block_refs == 0
               ? 0
               : 100 * (double)hits / (double)result->block_refs;
}

// Percent of the trace's distinct blocks, to the nearest block, at least one.
uint32_t
simulate_capacity(const struct trace *trace, double capacity_pct);

// What a policy is told of a block of the trace that enters, but for flags and
// hints: block `place` of `request`.
struct policy_facts
simulate_facts(const struct trace *trace, const struct trace_request *request,
               uint32_t place);

// NO_MEMORY: `result` is as it was.
enum cascade_status
simulate_run(const struct allocator *allocator, const struct trace *trace,
             const struct simulate_settings *settings,
             struct simulate_result *result) MUST_USE;

#endif
