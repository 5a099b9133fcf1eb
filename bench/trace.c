// SPDX-License-Identifier: Apache-2.0
//
// Reads traces line by line; zlib reads plain files as they are. Hash ids are
// kept as 64-bit numbers until the end, then replaced by their place among the
// distinct ones.

#include "bench/trace.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

#define LINE_BYTES_MAX (16 * MIB)
#define REFS_MAX ((size_t)UINT32_MAX)

// An array that doubles.
struct array {
    void *items;
    size_t count;
    size_t room;
    size_t item_bytes;
};

struct reader {
    const struct allocator *allocator;
    const char *path;
    gzFile file;
    size_t line_number;
    struct array line;     // char
    struct array requests; // struct trace_request
    struct array ids;      // uint64_t, one per reference
    uint32_t refs_per_request_max;
};

static enum cascade_status
grow(struct reader *reader, struct array *array, size_t count)
{
    size_t room = array->room == 0 ? 1024 : array->room;
    void *items;

    if (count <= array->room) {
        return CASCADE_OK;
    }
    while (room < count) {
        room *= 2;
    }
    items = allocator_array(reader->allocator, room, array->item_bytes);
    if (items == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to read %s",
                         reader->path);
    }
    if (array->count > 0) {
        memcpy(items, array->items, array->count * array->item_bytes);
    }
    allocator_release(reader->allocator, array->items);
    array->items = items;
    array->room = room;
    return CASCADE_OK;
}

static enum cascade_status
bad_line(const struct reader *reader, const char *why)
{
    return error_set(CASCADE_INVALID, "%s:%zu: %s", reader->path,
                     reader->line_number, why);
}

// Reads one line without its end. NOT_FOUND: there are no more.
static enum cascade_status
read_line(struct reader *reader)
{
    struct array *line = &reader->line;
    enum cascade_status status;
    int error = Z_OK;
    z_off_t before;
    char *text;

    line->count = 0;
    reader->line_number++;
    for (;;) {
        status = grow(reader, line, line->count + 4096);
        if (status != CASCADE_OK) {
            return status;
        }
        check(line->items != NULL);
        text = (char *)line->items + line->count;
        before = gztell(reader->file);
        if (gzgets(reader->file, text, (int)(line->room - line->count)) ==
            NULL) {
            break;
        }
        if (gztell(reader->file) - before != (z_off_t)strlen(text)) {
            return bad_line(reader, "a byte of zero; this is not a trace");
        }
        line->count += strlen(text);
        if (line->count > 0 && ((char *)line->items)[line->count - 1] == '\n') {
            ((char *)line->items)[--line->count] = '\0';
            return CASCADE_OK;
        }
        if (line->count > LINE_BYTES_MAX) {
            return bad_line(reader, "the line is too long for a request");
        }
    }
    (void)gzerror(reader->file, &error);
    if (error != Z_OK && error != Z_STREAM_END) {
        return error_set(CASCADE_IO,
                         "cannot read %s after line %zu: the file is damaged "
                         "or cut short",
                         reader->path, reader->line_number - 1);
    }
    return line->count > 0 ? CASCADE_OK : CASCADE_NOT_FOUND;
}

static bool
read_length(const json_t *object, const char *name, uint64_t *value)
{
    const json_t *number = json_object_get(object, name);

    if (!json_is_integer(number) || json_integer_value(number) < 0) {
        return false;
    }
    *value = (uint64_t)json_integer_value(number);
    return true;
}

static enum cascade_status
add_ids(struct reader *reader, const json_t *list,
        struct trace_request *request)
{
    size_t count = json_array_size(list);
    enum cascade_status status;
    uint64_t *ids;

    if (count > REFS_MAX - reader->ids.count) {
        return bad_line(reader, "more block references than can be counted");
    }
    status = grow(reader, &reader->ids, reader->ids.count + count + 1);
    if (status != CASCADE_OK) {
        return status;
    }
    check(reader->ids.items != NULL);
    ids = (uint64_t *)reader->ids.items + reader->ids.count;
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(list, i);

        if (!json_is_integer(id)) {
            return bad_line(reader, "hash_ids holds what is not an integer");
        }
        ids[i] = (uint64_t)json_integer_value(id);
    }
    request->ref_first = (uint32_t)reader->ids.count;
    request->ref_count = (uint32_t)count;
    reader->ids.count += count;
    if (request->ref_count > reader->refs_per_request_max) {
        reader->refs_per_request_max = request->ref_count;
    }
    return CASCADE_OK;
}

static enum cascade_status
add_object(struct reader *reader, const json_t *object)
{
    struct trace_request request = {.timestamp_ms = 0};
    const json_t *timestamp = json_object_get(object, "timestamp");
    const json_t *list = json_object_get(object, "hash_ids");
    enum cascade_status status;

    if (!json_is_object(object)) {
        return bad_line(reader, "not a JSON object");
    }
    if (!json_is_number(timestamp)) {
        return bad_line(reader, "\"timestamp\" is missing or not a number");
    }
    request.timestamp_ms = json_number_value(timestamp);
    if (!read_length(object, "input_length", &request.input_length) ||
        !read_length(object, "output_length", &request.output_length)) {
        return bad_line(reader, "\"input_length\" or \"output_length\" is "
                                "missing or not a count of tokens");
    }
    if (!json_is_array(list)) {
        return bad_line(reader, "\"hash_ids\" is missing or not a list");
    }
    status = add_ids(reader, list, &request);
    if (status == CASCADE_OK) {
        status = grow(reader, &reader->requests, reader->requests.count + 1);
    }
    if (status == CASCADE_OK) {
        struct trace_request *requests = reader->requests.items;

        check(requests != NULL);
        requests[reader->requests.count++] = request;
    }
    return status;
}

static enum cascade_status
add_line(struct reader *reader)
{
    const char *text = reader->line.items;
    enum cascade_status status;
    json_error_t error;
    json_t *object;

    check(text != NULL);
    if (text[strspn(text, " \t\r")] == '\0' &&
        strlen(text) == reader->line.count) {
        return CASCADE_OK;
    }
    object = json_loadb(text, reader->line.count, JSON_REJECT_DUPLICATES,
                        &error);
    if (object == NULL) {
        return error_set(CASCADE_INVALID, "%s:%zu: not a request in JSON: %s",
                         reader->path, reader->line_number, error.text);
    }
    status = add_object(reader, object);
    json_decref(object);
    return status;
}

static int
compare_ids(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

// Fills ids and refs of the trace from one id per reference.
static enum cascade_status
number_ids(const struct reader *reader, struct trace *trace)
{
    const uint64_t *all = reader->ids.items;
    size_t count = reader->ids.count;
    uint64_t *ids;
    size_t distinct = 0;

    trace->ids = allocator_array(reader->allocator, count, sizeof(uint64_t));
    trace->refs = allocator_array(reader->allocator, count, sizeof(uint32_t));
    if (trace->ids == NULL || trace->refs == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to read %s",
                         reader->path);
    }
    ids = trace->ids;
    if (count > 0) {
        memcpy(ids, all, count * sizeof(uint64_t));
        qsort(ids, count, sizeof(uint64_t), compare_ids);
    }
    for (size_t i = 0; i < count; i++) {
        if (distinct == 0 || ids[distinct - 1] != ids[i]) {
            ids[distinct++] = ids[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        const uint64_t *id = bsearch(&all[i], ids, distinct, sizeof(uint64_t),
                                     compare_ids);

        trace->refs[i] = (uint32_t)(id - ids);
    }
    trace->ref_count = count;
    trace->id_count = distinct;
    return CASCADE_OK;
}

static enum cascade_status
read_requests(struct reader *reader, size_t requests_max)
{
    enum cascade_status status = CASCADE_OK;

    while (status == CASCADE_OK &&
           (requests_max == 0 || reader->requests.count < requests_max)) {
        status = read_line(reader);
        if (status == CASCADE_NOT_FOUND) {
            break;
        }
        if (status == CASCADE_OK) {
            status = add_line(reader);
        }
    }
    if (status == CASCADE_NOT_FOUND || status == CASCADE_OK) {
        return reader->requests.count > 0
                   ? CASCADE_OK
                   : error_set(CASCADE_INVALID, "%s has no requests",
                               reader->path);
    }
    return status;
}

enum cascade_status
trace_load(const struct allocator *allocator, const char *path,
           size_t requests_max, struct trace *trace)
{
    struct reader reader = {
        .allocator = allocator,
        .path = path,
        .line = {.item_bytes = 1},
        .requests = {.item_bytes = sizeof(struct trace_request)},
        .ids = {.item_bytes = sizeof(uint64_t)},
    };
    struct trace read = {.allocator = allocator};
    enum cascade_status status;

    errno = 0;
    reader.file = gzopen(path, "rb");
    if (reader.file == NULL) {
        return error_set_errno(errno != 0 ? errno : ENOMEM, "cannot open %s",
                               path);
    }
    status = read_requests(&reader, requests_max);
    if (status == CASCADE_OK) {
        status = number_ids(&reader, &read);
    }
    (void)gzclose(reader.file);
    allocator_release(allocator, reader.line.items);
    allocator_release(allocator, reader.ids.items);
    read.requests = reader.requests.items;
    read.request_count = reader.requests.count;
    read.refs_per_request_max = reader.refs_per_request_max;
    if (status != CASCADE_OK) {
        trace_release(&read);
        return status;
    }
    *trace = read;
    return CASCADE_OK;
}

void
trace_release(struct trace *trace)
{
    allocator_release(trace->allocator, trace->requests);
    allocator_release(trace->allocator, trace->refs);
    allocator_release(trace->allocator, trace->ids);
    memset(trace, 0, sizeof(*trace));
}
