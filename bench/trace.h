// SPDX-License-Identifier: Apache-2.0
//
// Traces of requests, plain or gzip: JSON lines {timestamp, input_length,
// output_length, hash_ids}, and two formats of other caches. A hash id stands
// for one block of a prompt and is equal exactly when the whole prefix is. Read
// once, then constant; no lock.
//
// Invariant: ref_first + ref_count of every request lies within ref_count of
// the trace, and every ref is an index into ids.

#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdbool.h>
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

enum trace_format {
    TRACE_FORMAT_AUTO,     // told by the first bytes
    TRACE_FORMAT_MOONCAKE, // JSON lines
    TRACE_FORMAT_ORACLE,   // libCacheSim's oracleGeneral: binary records
    TRACE_FORMAT_TWITTER,  // CSV of Twitter's cache traces
};

// The format of that name ("auto", "mooncake", ...). False: there is none.
bool
trace_format_find(const char *name, enum trace_format *format);

// Reads a file of JSON lines, at most `requests_max` requests (0 = all). On success
// the caller releases it. INVALID: a line is not a request (the message names
// file and line), or there is none; NOT_FOUND, PERMISSION, IO; NO_MEMORY.
enum cascade_status
trace_load(const struct allocator *allocator, const char *path,
           size_t requests_max, struct trace *trace) MUST_USE;

// The same for a file of any format. In the two of other caches each request is
// one full block; sizes are left aside.
enum cascade_status
trace_load_format(const struct allocator *allocator, const char *path,
                  enum trace_format format, size_t requests_max,
                  struct trace *trace) MUST_USE;

void
trace_release(struct trace *trace);

#endif
