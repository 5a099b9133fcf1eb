// SPDX-License-Identifier: Apache-2.0
//
// What cases on many ranks share. All ranks run the same calls in the same
// order and meet between them; the first one records. Counts of the others come
// to it through the cache itself.
//
// Times of several ranks are from the first start to the last end: ranks under
// one kernel share its steady clock. With ranks elsewhere it is the time of the
// first rank from one meeting to the next.

#ifndef BENCH_BENCH_RANKS_H
#define BENCH_BENCH_RANKS_H

#include "bench/bench.h"

// As bench_open, and notes rank and ranks. INVALID: fewer than `ranks`.
enum cascade_status
bench_ranks_open(struct bench_run *run, uint64_t dram_bytes,
                 uint64_t cold_bytes, int32_t ranks) MUST_USE;

enum cascade_status
bench_ranks_meet(struct bench_run *run) MUST_USE;

// Adds up what all ranks counted. In the first rank `sample` and `ns` become
// those of all; `start_ns` and `end_ns` are of this rank.
enum cascade_status
bench_ranks_add(struct bench_run *run, uint64_t start_ns, uint64_t end_ns,
                struct bench_sample *sample, uint64_t *ns) MUST_USE;

// Gets of all blocks, from `first` on and around, each timed.
enum cascade_status
bench_ranks_get_all(struct bench_run *run, size_t first, bool *missed) MUST_USE;

#endif
