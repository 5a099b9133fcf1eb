// SPDX-License-Identifier: Apache-2.0
//
// Traces as the Mooncake authors publish them: JSON lines {timestamp,
// input_length, output_length, hash_ids}. Other members are let pass, so traces
// of other services in the same form are read as well.

#include <jansson.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "bench/trace_reader.h"

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
add_ids(struct trace_reader *reader, const json_t *list,
        const struct trace_request *request)
{
    size_t count = json_array_size(list);
    enum cascade_status status;
    uint64_t *ids;

    for (size_t i = 0; i < count; i++) {
        if (!json_is_integer(json_array_get(list, i))) {
            return trace_reader_bad(reader,
                                    "hash_ids holds what is not an integer");
        }
    }
    status = trace_reader_add(reader, request, count, &ids);
    for (size_t i = 0; status == CASCADE_OK && i < count; i++) {
        ids[i] = (uint64_t)json_integer_value(json_array_get(list, i));
    }
    return status;
}

static enum cascade_status
add_object(struct trace_reader *reader, const json_t *object)
{
    struct trace_request request = {.timestamp_ms = 0};
    const json_t *timestamp = json_object_get(object, "timestamp");
    const json_t *list = json_object_get(object, "hash_ids");

    if (!json_is_object(object)) {
        return trace_reader_bad(reader, "not a JSON object");
    }
    if (!json_is_number(timestamp)) {
        return trace_reader_bad(reader,
                                "\"timestamp\" is missing or not a number");
    }
    request.timestamp_ms = json_number_value(timestamp);
    if (!read_length(object, "input_length", &request.input_length) ||
        !read_length(object, "output_length", &request.output_length)) {
        return trace_reader_bad(reader,
                                "\"input_length\" or \"output_length\" is "
                                "missing or not a count of tokens");
    }
    if (!json_is_array(list)) {
        return trace_reader_bad(reader,
                                "\"hash_ids\" is missing or not a list");
    }
    return add_ids(reader, list, &request);
}

static enum cascade_status
add_line(struct trace_reader *reader)
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

static bool
fits(const uint8_t *data, size_t bytes)
{
    size_t i = 0;

    while (i < bytes && (data[i] == ' ' || data[i] == '\t' || data[i] == '\r' ||
                         data[i] == '\n')) {
        i++;
    }
    return i == bytes || data[i] == '{';
}

static enum cascade_status
read_next(struct trace_reader *reader)
{
    enum cascade_status status = trace_reader_line(reader);

    return status == CASCADE_OK ? add_line(reader) : status;
}

const struct trace_format_table trace_format_mooncake = {
    .name = "mooncake",
    .fits = fits,
    .read_next = read_next,
};
