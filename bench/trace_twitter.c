// SPDX-License-Identifier: Apache-2.0
//
// Traces as Twitter published them of its in-memory caches (Yang, Yue and
// Vinayak, OSDI 2020): lines `timestamp,key,key size,value size,client,operation,
// TTL`, the time in seconds. Every operation but delete is a use of its key. A
// key may hold commas; a key's id is a hash of its text.

#include <ctype.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "bench/random.h"
#include "bench/trace_reader.h"

// Fields behind the key.
#define FIELDS_BEHIND 5
#define OPERATION 3 // of them
#define DIGITS_MAX 19

// A request of one block that is full whatever the tokens of a block are.
#define TOKENS UINT32_MAX

static const char *const uses[] = {"get",     "gets", "set",    "add",
                                   "replace", "cas",  "append", "prepend",
                                   "incr",    "decr"};

static bool
read_number(const char *text, uint64_t *value)
{
    return isdigit((unsigned char)text[0]) != 0 && strlen(text) <= DIGITS_MAX &&
           units_parse_unsigned(text, value);
}

static bool
is_use(const char *operation)
{
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) {
        if (strcmp(operation, uses[i]) == 0) {
            return true;
        }
    }
    return false;
}

static uint64_t
hash_key(const char *key)
{
    uint64_t hash = strlen(key);

    for (const char *at = key; *at != '\0'; at++) {
        hash = random_mix(hash ^ (unsigned char)*at);
    }
    return hash;
}

// Cuts the line at its commas: the first, and the last ones. False: there are
// too few.
static bool
split(char *line, char **key, char *behind[FIELDS_BEHIND])
{
    char *comma = strchr(line, ',');

    if (comma == NULL) {
        return false;
    }
    *comma = '\0';
    *key = comma + 1;
    for (size_t i = FIELDS_BEHIND; i-- > 0;) {
        comma = strrchr(*key, ',');
        if (comma == NULL) {
            return false;
        }
        *comma = '\0';
        behind[i] = comma + 1;
    }
    return (*key)[0] != '\0';
}

static bool
fits(const uint8_t *data, size_t bytes)
{
    return bytes > 0 && isdigit(data[0]) != 0;
}

static enum cascade_status
read_next(struct trace_reader *reader)
{
    struct trace_request request = {.input_length = TOKENS};
    enum cascade_status status = trace_reader_line(reader);
    char *behind[FIELDS_BEHIND];
    uint64_t seconds;
    uint64_t number;
    uint64_t *ids;
    char *line;
    char *key;

    if (status != CASCADE_OK) {
        return status;
    }
    line = reader->line.items;
    check(line != NULL);
    line[strcspn(line, "\r")] = '\0';
    if (line[0] == '\0') {
        return CASCADE_OK;
    }
    if (!split(line, &key, behind)) {
        return trace_reader_bad(reader, "not seven fields with commas");
    }
    if (!read_number(line, &seconds)) {
        return trace_reader_bad(reader, "the timestamp is not a number");
    }
    for (size_t i = 0; i < FIELDS_BEHIND; i++) {
        if (i != OPERATION && !read_number(behind[i], &number)) {
            return trace_reader_bad(
                reader, "a size, the client or the TTL is not a number");
        }
    }
    if (!is_use(behind[OPERATION])) {
        return strcmp(behind[OPERATION], "delete") == 0
                   ? CASCADE_OK
                   : trace_reader_bad(reader, "an unknown operation");
    }
    request.timestamp_ms = 1000.0 * (double)seconds;
    status = trace_reader_add(reader, &request, 1, &ids);
    if (status == CASCADE_OK) {
        ids[0] = hash_key(key);
    }
    return status;
}

const struct trace_format_table trace_format_twitter = {
    .name = "twitter",
    .fits = fits,
    .read_next = read_next,
};
