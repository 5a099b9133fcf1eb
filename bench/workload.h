// SPDX-License-Identifier: Apache-2.0
//
// Traces made from a seed, for policies to be judged on more than one recorded
// hour. Five families, each a way of coming back:
//
//   zipf     documents of 8 blocks, some asked for much more often than others
//   scans    the same, with runs of one-time requests that wash through
//   phases   five sets of documents, one after the other
//   agents   sessions over an hour that share their first blocks and grow by a
//            few blocks a turn, with short pauses and sometimes long ones
//   loop     documents in turn, again and again
//
// Equal arguments give equal traces.

#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include <stdint.h>

#include "base/attributes.h"
#include "bench/trace.h"
#include "cascade/status.h"

enum workload_family {
    WORKLOAD_ZIPF,
    WORKLOAD_SCANS,
    WORKLOAD_PHASES,
    WORKLOAD_AGENTS,
    WORKLOAD_LOOP,
    WORKLOAD_FAMILIES,
};

struct workload_settings {
    enum workload_family family;
    uint64_t seed;
    double scale; // of the numbers of documents, sessions and requests; 1 is
                  // about 20,000 requests
};

// "zipf"; NULL past the last family.
const char *
workload_name(enum workload_family family);

// On success the caller releases the trace. NO_MEMORY.
enum cascade_status
workload_make(const struct allocator *allocator,
              const struct workload_settings *settings,
              struct trace *trace) MUST_USE;

#endif
