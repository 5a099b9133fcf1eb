// SPDX-License-Identifier: Apache-2.0
//
// What the formats of traces share: a file read line by line or record by
// record, and the requests found so far. For bench/trace*.c only.

#ifndef BENCH_TRACE_READER_H
#define BENCH_TRACE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "base/attributes.h"
#include "bench/trace.h"

// An array that doubles.
struct trace_array {
    void *items;
    size_t count;
    size_t room;
    size_t item_bytes;
};

struct trace_reader {
    const struct allocator *allocator;
    const char *path;
    gzFile file;
    size_t line_number;          // or that of the record, from 1
    struct trace_array line;     // char, terminated
    struct trace_array requests; // struct trace_request
    struct trace_array ids;      // uint64_t, one per reference
    uint32_t refs_per_request_max;
};

// One format: how it is known and how its next request is read.
struct trace_format_table {
    const char *name;

    // True if a file that begins with these bytes is of this format.
    bool (*fits)(const uint8_t *data, size_t bytes);

    // Reads the next line or record and adds what requests it holds. NOT_FOUND:
    // there are no more.
    enum cascade_status (*read_next)(struct trace_reader *reader);
};

extern const struct trace_format_table trace_format_mooncake;
extern const struct trace_format_table trace_format_oracle;
extern const struct trace_format_table trace_format_twitter;

// The statuses of trace_load for a file that cannot be opened.
enum cascade_status
trace_reader_open(struct trace_reader *reader,
                  const struct allocator *allocator, const char *path) MUST_USE;

// Reads one line without its end into `line`. NOT_FOUND: there are no more.
enum cascade_status
trace_reader_line(struct trace_reader *reader) MUST_USE;

// Reads a record of that size. NOT_FOUND: there are no more.
enum cascade_status
trace_reader_record(struct trace_reader *reader, void *record,
                    unsigned bytes) MUST_USE;

// The first bytes of the file, which is then read from its beginning.
enum cascade_status
trace_reader_peek(struct trace_reader *reader, void *data, unsigned bytes,
                  unsigned *count) MUST_USE;

// Adds a request with room for that many ids, which the caller fills; `ids` is
// valid until the next one is added.
enum cascade_status
trace_reader_add(struct trace_reader *reader,
                 const struct trace_request *request, size_t ref_count,
                 uint64_t **ids) MUST_USE;

// INVALID, naming file and line.
enum cascade_status
trace_reader_bad(const struct trace_reader *reader, const char *why) MUST_USE;

// Ends reading; if `status` is OK the trace is what was read. Returns `status`,
// or what kept it from that.
enum cascade_status
trace_reader_close(struct trace_reader *reader, enum cascade_status status,
                   struct trace *trace) MUST_USE;

#endif
