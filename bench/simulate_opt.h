// SPDX-License-Identifier: Apache-2.0
//
// The best that any policy could do with one block after the other: Belady's
// MIN with bypass, over a trace whose future is known. Next use is counted in
// requests. After each request, of the blocks cached and those requested the
// ones used soonest are kept; on ties the deepest goes; a block that is never
// used again is refused. Hits are counted as in bench/simulate.h.
//
// It bounds what a policy can reach, not what one can be asked for.

#ifndef BENCH_SIMULATE_OPT_H
#define BENCH_SIMULATE_OPT_H

#include <stdint.h>

#include "base/attributes.h"
#include "bench/simulate.h"
#include "bench/trace.h"
#include "cascade/status.h"

// `capacity_blocks` is at least 1. NO_MEMORY: `result` is as it was.
enum cascade_status
simulate_opt_run(const struct allocator *allocator, const struct trace *trace,
                 uint32_t capacity_blocks,
                 struct simulate_result *result) MUST_USE;

#endif
