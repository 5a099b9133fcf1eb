// SPDX-License-Identifier: Apache-2.0
//
// Many simulations over one trace: every policy at every capacity, on all
// processors, one JSON line each in the order of the cells. The trace is shared
// and only read; each cell has memory of its own.

#ifndef BENCH_SIMULATE_CELLS_H
#define BENCH_SIMULATE_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "bench/simulate.h"

#define SIMULATE_OPT_NAME "opt"

struct simulate_cell {
    const struct policy_table *policy; // NULL: opt
    double capacity_pct;
    uint32_t capacity_blocks;

    // Answers.
    struct simulate_result result;
    uint64_t took_ns; // of processor time
    enum cascade_status status;
    char message[256]; // of a failure
};

struct simulate_cells {
    const struct trace *trace;
    const char *trace_name;
    struct simulate_cell *cells;
    size_t count;
    double hints_right;
    uint64_t seed;
    bool with_speed; // "refs_per_s" at the end of each line
    uint32_t threads;
};

// Runs all cells and prints a line for each. On a terminal standard error shows
// how far it is. The status of the first cell that failed, in their order; the
// lines before it are printed.
enum cascade_status
simulate_cells_run(struct simulate_cells *cells) MUST_USE;

#endif
