// SPDX-License-Identifier: Apache-2.0
//
// The formats of traces, and reading a file in one of them.

#include "bench/trace.h"

#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/trace_reader.h"

#define PEEK_BYTES 256

// As enum trace_format, without AUTO. The order of asking.
static const struct trace_format_table *const formats[] = {
    &trace_format_mooncake,
    &trace_format_oracle,
    &trace_format_twitter,
};

#define FORMATS (sizeof(formats) / sizeof(formats[0]))

static enum cascade_status
detect(struct trace_reader *reader, const struct trace_format_table **format)
{
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    uint8_t data[PEEK_BYTES];
    unsigned count;
    enum cascade_status status = trace_reader_peek(reader, data, sizeof(data),
                                                   &count);

    if (status != CASCADE_OK) {
        return status;
    }
    if (count >= sizeof(zstd) && memcmp(data, zstd, sizeof(zstd)) == 0) {
        return error_set(CASCADE_INVALID,
                         "%s is compressed with zstd; decompress it first",
                         reader->path);
    }
    for (size_t i = 0; i < FORMATS; i++) {
        if (formats[i]->fits(data, count)) {
            *format = formats[i];
            return CASCADE_OK;
        }
    }
    return error_set(CASCADE_INVALID,
                     "%s begins like no trace that is known; name its format",
                     reader->path);
}

static enum cascade_status
read_requests(struct trace_reader *reader,
              const struct trace_format_table *format, size_t requests_max)
{
    enum cascade_status status = CASCADE_OK;

    while (status == CASCADE_OK &&
           (requests_max == 0 || reader->requests.count < requests_max)) {
        status = format->read_next(reader);
    }
    return status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
}

bool
trace_format_find(const char *name, enum trace_format *format)
{
    if (strcmp(name, "auto") == 0) {
        *format = TRACE_FORMAT_AUTO;
        return true;
    }
    for (size_t i = 0; i < FORMATS; i++) {
        if (strcmp(name, formats[i]->name) == 0) {
            *format = (enum trace_format)(i + 1);
            return true;
        }
    }
    return false;
}

enum cascade_status
trace_load_format(const struct allocator *allocator, const char *path,
                  enum trace_format format, size_t requests_max,
                  struct trace *trace)
{
    const struct trace_format_table *table = NULL;
    struct trace_reader reader;
    enum cascade_status status = trace_reader_open(&reader, allocator, path);

    if (status != CASCADE_OK) {
        return status;
    }
    if (format == TRACE_FORMAT_AUTO) {
        status = detect(&reader, &table);
    } else {
        table = formats[format - 1];
    }
    if (status == CASCADE_OK) {
        status = read_requests(&reader, table, requests_max);
    }
    return trace_reader_close(&reader, status, trace);
}

enum cascade_status
trace_load(const struct allocator *allocator, const char *path,
           size_t requests_max, struct trace *trace)
{
    return trace_load_format(allocator, path, TRACE_FORMAT_MOONCAKE,
                             requests_max, trace);
}
