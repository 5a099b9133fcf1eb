// SPDX-License-Identifier: Apache-2.0
//
// Benchmark cases as data: a name, a driver, and parameters, one case a line:
//
//   NAME driver=WORD parameter=value ...     (# begins a comment)
//
// bytes and threads are lists; each pair of them is one result.

#ifndef BENCH_BENCH_CASE_H
#define BENCH_BENCH_CASE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

#define BENCH_CASE_LIST_MAX 8
#define BENCH_CASES_MAX 32
#define BENCH_CASE_WORD_BYTES 32

struct bench_case {
    char name[BENCH_CASE_WORD_BYTES];
    char driver[BENCH_CASE_WORD_BYTES];
    char dedup[BENCH_CASE_WORD_BYTES]; // option of the store; "" = default
    uint64_t bytes[BENCH_CASE_LIST_MAX];
    size_t bytes_count;
    uint64_t threads[BENCH_CASE_LIST_MAX];
    size_t threads_count;
    uint64_t total_bytes; // moved in a round, by all threads
    uint64_t blocks;      // 0: what total_bytes makes
    uint64_t operations;  // in a round, for cases that move no bytes
    uint64_t rounds;
    uint64_t segment_bytes; // option of the store; 0 = default
};

// The cases of bench/cases, made into text by the build.
extern const char bench_case_text[];

// Reads cases. INVALID names the line.
enum cascade_status
bench_case_parse(const char *text, struct bench_case *cases, size_t room,
                 size_t *count) MUST_USE;

// The case of a name; NULL if there is none.
const struct bench_case *
bench_case_find(const struct bench_case *cases, size_t count, const char *name);

#endif
