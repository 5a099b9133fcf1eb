// SPDX-License-Identifier: Apache-2.0
//
// Traces of requests: JSON lines {timestamp, input_length, output_length,
// hash_ids}, plain or gzip. A hash id stands for one block of a prompt and is
// equal exactly when the whole prefix is. Read once, then constant; no lock.
//
// Invariant: ref_first + ref_count of every request lies within ref_count of
// the trace, and every ref is an index into ids.

#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct allocator;

struct trace_request {
    double timestamp_ms;
    uint64_t input_length;  // tokens
    uint64_t output_length; // tokens
    uint32_t ref_first;     // in refs
    uint32_t ref_count;
};

struct trace {
    struct trace_request *requests;
    uint32_t *refs; // blocks of all requests, as indexes into ids
    uint64_t *ids;  // distinct hash ids, ascending
    size_t request_count;
    size_t ref_count;
    size_t id_count;
    uint32_t refs_per_request_max;
    const struct allocator *allocator;
};

// Reads a file of traces, at most `requests_max` requests (0 = all). On success
// the caller releases it. INVALID: a line is not a request (the message names
// file and line), or there is none; NOT_FOUND, PERMISSION, IO; NO_MEMORY.
enum cascade_status
trace_load(const struct allocator *allocator, const char *path,
           size_t requests_max, struct trace *trace) MUST_USE;

void
trace_release(struct trace *trace);

#endif
