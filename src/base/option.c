// SPDX-License-Identifier: Apache-2.0
//
// Option sets: values as text, checked against their row when they arrive and
// parsed again when they are asked for. Not the table. One thread fills a set;
// no lock.

#include "base/option.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

#define ALTERNATIVE_BYTES 64
#define NAME_BYTES_MAX 64

struct value {
    char *text; // NULL: the default
    enum option_origin origin;
};

struct option_set {
    const struct allocator *allocator;
    const struct option_table *table;
    struct value *values; // one per row
};

static const char *const type_examples[] = {
    [OPTION_TYPE_BYTES] = "a size such as 4096, 64KiB, 4GiB or 1GB",
    [OPTION_TYPE_COUNT] = "a whole number",
    [OPTION_TYPE_REAL] = "a number such as 0.25",
    [OPTION_TYPE_FLAG] = "true or false",
    [OPTION_TYPE_WORD] = "one of the words",
    [OPTION_TYPE_TEXT] = "text",
    [OPTION_TYPE_TIME] = "seconds such as 30 or 0.5",
};

// A value of any numeric type on one scale; `real` is set for types that have
// a fraction, `whole` for the others. Text counts its bytes.
struct number {
    uint64_t whole;
    double real;
};

static bool
has_fraction(enum option_type type)
{
    return type == OPTION_TYPE_REAL || type == OPTION_TYPE_TIME;
}

// Reads a number of the type; false if the text is none.
static bool
parse_number(enum option_type type, const char *text, struct number *number)
{
    if (has_fraction(type)) {
        return units_parse_real(text, &number->real);
    }
    if (type == OPTION_TYPE_BYTES) {
        return units_parse_bytes(text, &number->whole);
    }
    return units_parse_unsigned(text, &number->whole);
}

static bool
in_range(enum option_type type, struct number low, struct number value,
         struct number high)
{
    if (has_fraction(type)) {
        return low.real <= value.real && value.real <= high.real;
    }
    return low.whole <= value.whole && value.whole <= high.whole;
}

// Copies alternative number `index` of the range; false past the end.
static bool
alternative_at(const char *range, uint32_t index, char *alternative)
{
    size_t length;

    for (; index > 0; index--) {
        range = strchr(range, '|');
        if (range == NULL) {
            return false;
        }
        range++;
    }
    length = strcspn(range, "|");
    check(length < ALTERNATIVE_BYTES);
    memcpy(alternative, range, length);
    alternative[length] = '\0';
    return true;
}

// Whether one alternative (cut in place) takes the value. `is_number` tells
// whether the text could be read as the row's type.
static bool
alternative_takes(enum option_type type, char *alternative, const char *text,
                  bool is_number, struct number value)
{
    struct number low = {0};
    struct number high = {0};
    char *dots = strstr(alternative, "..");

    if (dots == NULL) {
        if (strcmp(alternative, text) == 0) {
            return true;
        }
        return is_number && type != OPTION_TYPE_TEXT &&
               parse_number(type, alternative, &low) &&
               in_range(type, low, value, low);
    }
    *dots = '\0';
    check(parse_number(type, alternative, &low));
    check(parse_number(type, dots + 2, &high));
    return is_number && in_range(type, low, value, high);
}

static bool
parse_flag(const char *text, bool *flag)
{
    static const char *const words[2][4] = {{"false", "0", "no", "off"},
                                            {"true", "1", "yes", "on"}};

    for (size_t i = 0; i < 8; i++) {
        if (strcasecmp(text, words[i / 4][i % 4]) == 0) {
            *flag = i >= 4;
            return true;
        }
    }
    return false;
}

// Reads the text as the row's type; words are not of any numeric type.
static bool
parse_value(enum option_type type, const char *text, struct number *number)
{
    if (type == OPTION_TYPE_TEXT) {
        number->whole = strlen(text);
        return true;
    }
    if (type == OPTION_TYPE_WORD) {
        return false;
    }
    return parse_number(type, text, number);
}

enum cascade_status
option_accepts(const struct option_row *row, const char *where,
               const char *text)
{
    char alternative[ALTERNATIVE_BYTES];
    struct number value = {0};
    bool is_number;
    bool flag;

    if (row->type == OPTION_TYPE_FLAG) {
        return parse_flag(text, &flag)
                   ? CASCADE_OK
                   : error_set(CASCADE_INVALID,
                               "%s%s = %.100s: write true or false", where,
                               row->name, text);
    }
    is_number = parse_value(row->type, text, &value);
    if (is_number && row->range[0] == '\0') {
        return CASCADE_OK;
    }
    for (uint32_t i = 0; alternative_at(row->range, i, alternative); i++) {
        if (alternative_takes(row->type, alternative, text, is_number, value)) {
            return CASCADE_OK;
        }
    }
    if (row->type == OPTION_TYPE_WORD) {
        return error_set(CASCADE_INVALID, "%s%s = %.100s: write one of %s",
                         where, row->name, text, row->range);
    }
    if (!is_number) {
        return error_set(CASCADE_INVALID,
                         "%s%s = %.100s is not %s; the range is %s", where,
                         row->name, text, type_examples[row->type], row->range);
    }
    if (row->type == OPTION_TYPE_TEXT) {
        return error_set(
            CASCADE_INVALID, "%s%s has %llu bytes; write %s bytes of text",
            where, row->name, (unsigned long long)value.whole, row->range);
    }
    return error_set(CASCADE_INVALID,
                     "%s%s = %.100s is out of range; write %s (%s)", where,
                     row->name, text, row->range, row->unit);
}

static char *
copy_text(const struct allocator *allocator, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = allocator_array(allocator, bytes, 1);

    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

// Number of single-letter edits between the words, which are cut at the bound.
static size_t
edit_distance(const char *a, const char *b)
{
    size_t row[NAME_BYTES_MAX + 1];
    size_t a_length = strnlen(a, NAME_BYTES_MAX);
    size_t b_length = strnlen(b, NAME_BYTES_MAX);

    for (size_t j = 0; j <= b_length; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            size_t step = units_min(row[j - 1], row[j]) + 1;

            diagonal = row[j];
            row[j] = units_min(change, step);
        }
    }
    return row[b_length];
}

size_t
option_find(const struct option_table *table, const char *name)
{
    size_t i = 0;

    while (i < table->count && strcmp(table->rows[i].name, name) != 0) {
        i++;
    }
    return i;
}

const char *
option_nearest(const struct option_table *table, const char *name)
{
    const char *nearest = NULL;
    size_t least = SIZE_MAX;

    for (size_t i = 0; i < table->count; i++) {
        size_t distance = edit_distance(table->rows[i].name, name);

        if (distance < least) {
            least = distance;
            nearest = table->rows[i].name;
        }
    }
    return nearest;
}

struct option_set *
option_set_create(const struct allocator *allocator,
                  const struct option_table *table)
{
    struct option_set *set = allocator_array(allocator, 1, sizeof(*set));

    if (set == NULL) {
        return NULL;
    }
    set->values = allocator_array(allocator, table->count,
                                  sizeof(struct value));
    if (set->values == NULL) {
        allocator_release(allocator, set);
        return NULL;
    }
    set->allocator = allocator;
    set->table = table;
    return set;
}

struct option_set *
option_set_copy(const struct allocator *allocator, const struct option_set *set)
{
    struct option_set *copy = option_set_create(allocator, set->table);

    if (copy == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < set->table->count; i++) {
        if (set->values[i].text == NULL) {
            continue;
        }
        copy->values[i].text = copy_text(allocator, set->values[i].text);
        copy->values[i].origin = set->values[i].origin;
        if (copy->values[i].text == NULL) {
            option_set_destroy(copy);
            return NULL;
        }
    }
    return copy;
}

void
option_set_destroy(struct option_set *set)
{
    if (set == NULL) {
        return;
    }
    for (size_t i = 0; i < set->table->count; i++) {
        allocator_release(set->allocator, set->values[i].text);
    }
    allocator_release(set->allocator, set->values);
    allocator_release(set->allocator, set);
}

enum cascade_status
option_assign(struct option_set *set, enum option_origin origin,
              const char *where, const char *name, const char *text)
{
    size_t row = option_find(set->table, name);
    enum cascade_status status;
    struct value *value;
    char *copy;

    if (row == set->table->count) {
        return error_set(CASCADE_INVALID,
                         "%sthere is no option %.100s; did you mean %s?", where,
                         name, option_nearest(set->table, name));
    }
    status = option_accepts(&set->table->rows[row], where, text);
    value = &set->values[row];
    if (status != CASCADE_OK || value->origin > origin) {
        return status;
    }
    if (set->table->rows[row].type == OPTION_TYPE_FLAG) {
        bool flag = false;

        check(parse_flag(text, &flag));
        text = flag ? "true" : "false";
    }
    copy = copy_text(set->allocator, text);
    if (copy == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for option %s", name);
    }
    allocator_release(set->allocator, value->text);
    value->text = copy;
    value->origin = origin;
    return CASCADE_OK;
}

// Writes the name in small letters; false if it does not fit.
static bool
small_letters(const char *variable, size_t length, char *name)
{
    if (length >= NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        name[i] = (char)tolower((unsigned char)variable[i]);
    }
    name[length] = '\0';
    return true;
}

static bool
stands_in(const char *const *names, const char *name, size_t length)
{
    for (; names != NULL && *names != NULL; names++) {
        if (strlen(*names) == length && memcmp(*names, name, length) == 0) {
            return true;
        }
    }
    return false;
}

// Takes one "NAME=value" whose name begins with the prefix.
static enum cascade_status
assign_variable(struct option_set *set, const char *variable,
                size_t prefix_length)
{
    const char *equals = strchr(variable, '=');
    const char *nearest;
    char name[NAME_BYTES_MAX];
    char where[2 * NAME_BYTES_MAX];

    if (equals == NULL ||
        !small_letters(variable + prefix_length,
                       (size_t)(equals - variable) - prefix_length, name)) {
        return CASCADE_OK;
    }
    (void)snprintf(where, sizeof(where), "environment variable %.*s: ",
                   (int)units_min((uint64_t)(equals - variable), 80), variable);
    if (option_find(set->table, name) < set->table->count) {
        return option_assign(set, OPTION_ORIGIN_ENVIRONMENT, where, name,
                             equals + 1);
    }
    nearest = option_nearest(set->table, name);
    if (nearest == NULL || edit_distance(nearest, name) > 2) {
        return CASCADE_OK;
    }
    return error_set(CASCADE_INVALID,
                     "%sthere is no option %s; did you mean %s?", where, name,
                     nearest);
}

enum cascade_status
option_load_environment(struct option_set *set, const char *prefix,
                        char *const *environment, const char *const *others)
{
    size_t prefix_length = strlen(prefix);

    for (; environment != NULL && *environment != NULL; environment++) {
        enum cascade_status status;
        const char *variable = *environment;

        if (strncmp(variable, prefix, prefix_length) != 0 ||
            stands_in(others, variable, strcspn(variable, "="))) {
            continue;
        }
        status = assign_variable(set, variable, prefix_length);
        if (status != CASCADE_OK) {
            return status;
        }
    }
    return CASCADE_OK;
}

const char *
option_text(const struct option_set *set, size_t row)
{
    check(row < set->table->count);
    return set->values[row].text != NULL ? set->values[row].text
                                         : set->table->rows[row].default_text;
}

enum option_origin
option_origin(const struct option_set *set, size_t row)
{
    check(row < set->table->count);
    return set->values[row].origin;
}

const char *
option_origin_name(enum option_origin origin)
{
    static const char *const names[] = {"default", "file", "environment",
                                        "program"};

    return names[origin];
}

// The number of a row of the type; 0 for a word.
static struct number
number_of(const struct option_set *set, size_t row, enum option_type type)
{
    struct number number = {0};

    check(row < set->table->count && set->table->rows[row].type == type);
    if (!parse_number(type, option_text(set, row), &number)) {
        number.whole = 0;
        number.real = 0;
    }
    return number;
}

uint64_t
option_bytes(const struct option_set *set, size_t row)
{
    return number_of(set, row, OPTION_TYPE_BYTES).whole;
}

uint64_t
option_count(const struct option_set *set, size_t row)
{
    return number_of(set, row, OPTION_TYPE_COUNT).whole;
}

double
option_real(const struct option_set *set, size_t row)
{
    return number_of(set, row, OPTION_TYPE_REAL).real;
}

bool
option_flag(const struct option_set *set, size_t row)
{
    bool flag = false;

    check(set->table->rows[row].type == OPTION_TYPE_FLAG);
    check(parse_flag(option_text(set, row), &flag));
    return flag;
}

uint64_t
option_time_ns(const struct option_set *set, size_t row)
{
    double seconds = number_of(set, row, OPTION_TYPE_TIME).real;

    return (uint64_t)(seconds * (double)NS_PER_S + 0.5);
}

uint32_t
option_word(const struct option_set *set, size_t row)
{
    const struct option_row *known = &set->table->rows[row];
    const char *text = option_text(set, row);
    char alternative[ALTERNATIVE_BYTES];

    check(known->type == OPTION_TYPE_WORD);
    for (uint32_t i = 0; alternative_at(known->range, i, alternative); i++) {
        if (strcmp(alternative, text) == 0) {
            return i;
        }
    }
    check_failed(__FILE__, __LINE__, "a word of the row");
}
