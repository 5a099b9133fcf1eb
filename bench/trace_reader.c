// SPDX-License-Identifier: Apache-2.0
//
// Lines and records out of files that zlib reads, plain files as they are.
// Block ids are kept as 64-bit numbers until the end, then replaced by their
// place among the distinct ones.

#include "bench/trace_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

#define LINE_BYTES_MAX (16 * MIB)
#define REFS_MAX ((size_t)UINT32_MAX)

static enum cascade_status
grow(struct trace_reader *reader, struct trace_array *array, size_t count)
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
damaged(const struct trace_reader *reader)
{
    return error_set(CASCADE_IO,
                     "cannot read %s after line %zu: the file is damaged or "
                     "cut short",
                     reader->path, reader->line_number - 1);
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
number_ids(const struct trace_reader *reader, struct trace *trace)
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

enum cascade_status
trace_reader_bad(const struct trace_reader *reader, const char *why)
{
    return error_set(CASCADE_INVALID, "%s:%zu: %s", reader->path,
                     reader->line_number, why);
}

enum cascade_status
trace_reader_line(struct trace_reader *reader)
{
    struct trace_array *line = &reader->line;
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
            return trace_reader_bad(reader,
                                    "a byte of zero; this is not a trace");
        }
        line->count += strlen(text);
        if (line->count > 0 && ((char *)line->items)[line->count - 1] == '\n') {
            ((char *)line->items)[--line->count] = '\0';
            return CASCADE_OK;
        }
        if (line->count > LINE_BYTES_MAX) {
            return trace_reader_bad(reader,
                                    "the line is too long for a request");
        }
    }
    text[0] = '\0';
    (void)gzerror(reader->file, &error);
    if (error != Z_OK && error != Z_STREAM_END) {
        return damaged(reader);
    }
    return line->count > 0 ? CASCADE_OK : CASCADE_NOT_FOUND;
}

enum cascade_status
trace_reader_record(struct trace_reader *reader, void *record, unsigned bytes)
{
    int error = Z_OK;
    int count;

    reader->line_number++;
    count = gzread(reader->file, record, bytes);
    (void)gzerror(reader->file, &error);
    if (count < 0 || (error != Z_OK && error != Z_STREAM_END)) {
        return damaged(reader);
    }
    if (count == 0) {
        return CASCADE_NOT_FOUND;
    }
    return (unsigned)count == bytes
               ? CASCADE_OK
               : trace_reader_bad(reader, "the record is cut short");
}

enum cascade_status
trace_reader_peek(struct trace_reader *reader, void *data, unsigned bytes,
                  unsigned *count)
{
    int got = gzread(reader->file, data, bytes);

    reader->line_number = 1;
    if (got < 0 || gzrewind(reader->file) != 0) {
        return damaged(reader);
    }
    reader->line_number = 0;
    *count = (unsigned)got;
    return CASCADE_OK;
}

enum cascade_status
trace_reader_add(struct trace_reader *reader,
                 const struct trace_request *request, size_t ref_count,
                 uint64_t **ids)
{
    struct trace_request *requests;
    enum cascade_status status;

    if (ref_count > REFS_MAX - reader->ids.count) {
        return trace_reader_bad(reader,
                                "more block references than can be counted");
    }
    status = grow(reader, &reader->ids, reader->ids.count + ref_count + 1);
    if (status == CASCADE_OK) {
        status = grow(reader, &reader->requests, reader->requests.count + 1);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    requests = reader->requests.items;
    check(requests != NULL);
    requests += reader->requests.count++;
    *requests = *request;
    requests->ref_first = (uint32_t)reader->ids.count;
    requests->ref_count = (uint32_t)ref_count;
    *ids = (uint64_t *)reader->ids.items + reader->ids.count;
    reader->ids.count += ref_count;
    if (requests->ref_count > reader->refs_per_request_max) {
        reader->refs_per_request_max = requests->ref_count;
    }
    return CASCADE_OK;
}

enum cascade_status
trace_reader_open(struct trace_reader *reader,
                  const struct allocator *allocator, const char *path)
{
    struct trace_reader opened = {
        .allocator = allocator,
        .path = path,
        .line = {.item_bytes = 1},
        .requests = {.item_bytes = sizeof(struct trace_request)},
        .ids = {.item_bytes = sizeof(uint64_t)},
    };

    errno = 0;
    opened.file = gzopen(path, "rb");
    if (opened.file == NULL) {
        return error_set_errno(errno != 0 ? errno : ENOMEM, "cannot open %s",
                               path);
    }
    *reader = opened;
    return CASCADE_OK;
}

enum cascade_status
trace_reader_close(struct trace_reader *reader, enum cascade_status status,
                   struct trace *trace)
{
    struct trace read = {.allocator = reader->allocator};

    if (status == CASCADE_OK && reader->requests.count == 0) {
        status = error_set(CASCADE_INVALID, "%s has no requests", reader->path);
    }
    if (status == CASCADE_OK) {
        status = number_ids(reader, &read);
    }
    (void)gzclose(reader->file);
    allocator_release(reader->allocator, reader->line.items);
    allocator_release(reader->allocator, reader->ids.items);
    read.requests = reader->requests.items;
    read.request_count = reader->requests.count;
    read.refs_per_request_max = reader->refs_per_request_max;
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
