// SPDX-License-Identifier: Apache-2.0
//
// Which rank serves which request of a trace. Computed from the trace alone, so
// that all ranks come to the same answer without a word.
//
// Invariant: every request has one rank, and none is given much more than its
// share of the references.

#ifndef BENCH_ROUTE_H
#define BENCH_ROUTE_H

#include "bench/trace.h"

enum route {
    ROUTE_NONE = 0,
    // To the rank that had the longest beginning of the prompt last, as routers
    // that look at prefixes do.
    ROUTE_AFFINITY,
    ROUTE_RANDOM,
};

// The way of that name ("affinity", "random"). False: there is none.
bool
route_find(const char *name, enum route *route);

const char *
route_name(enum route route);

// Sets the rank of each request. `rank_count` is at least 1. NO_MEMORY.
enum cascade_status
route_requests(const struct allocator *allocator, const struct trace *trace,
               enum route route, uint16_t rank_count, uint64_t seed,
               uint16_t *ranks) MUST_USE;

#endif
