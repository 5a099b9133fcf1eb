// SPDX-License-Identifier: Apache-2.0
//
// Reads the lines of bench/cases. No memory is taken; no lock.

#include "bench/bench_case.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/units.h"

#define LINE_BYTES_MAX 512

static bool
read_word(const char *text, char *word)
{
    if (text[0] == '\0' || strlen(text) >= BENCH_CASE_WORD_BYTES) {
        return false;
    }
    (void)snprintf(word, BENCH_CASE_WORD_BYTES, "%s", text);
    return true;
}

static bool
read_list(char *text, uint64_t *values, size_t *count)
{
    char *rest = text;
    char *item;

    *count = 0;
    while ((item = strsep(&rest, ",")) != NULL) {
        if (*count == BENCH_CASE_LIST_MAX ||
            !units_parse_bytes(item, &values[*count]) || values[*count] == 0) {
            return false;
        }
        (*count)++;
    }
    return true;
}

static bool
read_parameter(char *text, struct bench_case *to)
{
    char *value = strchr(text, '=');

    if (value == NULL) {
        return false;
    }
    *value++ = '\0';
    if (strcmp(text, "driver") == 0) {
        return read_word(value, to->driver);
    }
    if (strcmp(text, "dedup") == 0) {
        return read_word(value, to->dedup);
    }
    if (strcmp(text, "bytes") == 0) {
        return read_list(value, to->bytes, &to->bytes_count);
    }
    if (strcmp(text, "threads") == 0) {
        return read_list(value, to->threads, &to->threads_count);
    }
    if (strcmp(text, "total") == 0) {
        return units_parse_bytes(value, &to->total_bytes);
    }
    if (strcmp(text, "segment") == 0) {
        return units_parse_bytes(value, &to->segment_bytes);
    }
    if (strcmp(text, "blocks") == 0) {
        return units_parse_unsigned(value, &to->blocks);
    }
    if (strcmp(text, "operations") == 0) {
        return units_parse_unsigned(value, &to->operations);
    }
    if (strcmp(text, "rounds") == 0) {
        return units_parse_unsigned(value, &to->rounds);
    }
    return false;
}

static enum cascade_status
read_case(char *line, size_t number, struct bench_case *to)
{
    static const char blanks[] = " \t";
    char *rest = line;
    char *word;

    *to = (struct bench_case){
        .threads = {1},
        .threads_count = 1,
        .operations = 1000,
        .rounds = 5,
    };
    while ((word = strsep(&rest, blanks)) != NULL) {
        if (word[0] == '\0') {
            continue;
        }
        if (to->name[0] == '\0' ? !read_word(word, to->name)
                                : !read_parameter(word, to)) {
            return error_set(CASCADE_INVALID,
                             "line %zu of the benchmark cases: '%s' is not "
                             "understood",
                             number, word);
        }
    }
    if (to->driver[0] == '\0' || to->bytes_count == 0 ||
        (to->total_bytes == 0 && to->blocks == 0)) {
        return error_set(CASCADE_INVALID,
                         "line %zu of the benchmark cases: %s needs driver, "
                         "bytes, and total or blocks",
                         number, to->name);
    }
    return CASCADE_OK;
}

enum cascade_status
bench_case_parse(const char *text, struct bench_case *cases, size_t room,
                 size_t *count)
{
    size_t number = 0;
    size_t found = 0;

    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        char line[LINE_BYTES_MAX];
        enum cascade_status status;

        number++;
        if (length >= sizeof(line)) {
            return error_set(CASCADE_INVALID,
                             "line %zu of the benchmark cases is too long",
                             number);
        }
        memcpy(line, text, length);
        line[length] = '\0';
        line[strcspn(line, "#")] = '\0';
        text += length + (text[length] == '\n');
        if (line[strspn(line, " \t")] == '\0') {
            continue;
        }
        if (found == room) {
            return error_set(CASCADE_INVALID,
                             "more benchmark cases than there is room for");
        }
        status = read_case(line, number, &cases[found]);
        if (status != CASCADE_OK) {
            return status;
        }
        found++;
    }
    *count = found;
    return CASCADE_OK;
}

const struct bench_case *
bench_case_find(const struct bench_case *cases, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return &cases[i];
        }
    }
    return NULL;
}
