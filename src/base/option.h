// SPDX-License-Identifier: Apache-2.0
//
// Named options with text values: the machinery, not the options themselves
// (store/store_option_table.h). A table of rows says what each value may be; a
// set holds what was given and where it came from.
//
// Invariant: every value held in a set was accepted by its row. A value from a
// stronger origin is never replaced by a weaker one, whatever the order of the
// calls. One thread fills a set; no lock.
//
// The range of a row is a list of alternatives separated by `|`: `low..high`
// (both included, in the unit of the row; the length in bytes for text), one
// number, or a word. "" allows everything of the type.

#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct allocator;
struct file_system;

enum option_type {
    OPTION_TYPE_BYTES = 0,
    OPTION_TYPE_COUNT = 1,
    OPTION_TYPE_REAL = 2,
    OPTION_TYPE_FLAG = 3,
    OPTION_TYPE_WORD = 4,
    OPTION_TYPE_TEXT = 5,
    OPTION_TYPE_TIME = 6
};

// From weak to strong.
enum option_origin {
    OPTION_ORIGIN_DEFAULT = 0,
    OPTION_ORIGIN_FILE = 1,
    OPTION_ORIGIN_ENVIRONMENT = 2,
    OPTION_ORIGIN_PROGRAM = 3
};

struct option_row {
    const char *name;
    enum option_type type;
    const char *unit;
    const char *default_text;
    const char *range;
    const char *sentence;
};

struct option_table {
    const struct option_row *rows;
    size_t count;
};

struct option_set;

// A set with every row at its default. The table must outlive it. NULL if
// there is no memory.
struct option_set *
option_set_create(const struct allocator *allocator,
                  const struct option_table *table) MUST_USE;

// A set with the same values and origins. NULL if there is no memory.
struct option_set *
option_set_copy(const struct allocator *allocator,
                const struct option_set *set) MUST_USE;

// NULL does nothing.
void
option_set_destroy(struct option_set *set);

// The row with that name, or table->count.
size_t
option_find(const struct option_table *table, const char *name);

// The known name nearest to `name` by edits; NULL for an empty table.
const char *
option_nearest(const struct option_table *table, const char *name);

// OK if the row accepts the text; else INVALID, with a message that begins with
// `where` (a place such as "cascade.conf:3: ", or "").
enum cascade_status
option_accepts(const struct option_row *row, const char *where,
               const char *text) MUST_USE;

// Gives an option a value. INVALID: unknown name (the message says the nearest
// known one), or refused by option_accepts. NO_MEMORY. On failure, and when a
// stronger origin has spoken, the set stays as it is.
enum cascade_status
option_assign(struct option_set *set, enum option_origin origin,
              const char *where, const char *name, const char *text) MUST_USE;

// Reads `name = value` lines; `#` or `;` begins a comment at the start of a line
// or after a space. Lines are short (inih's bound); a longer one is INVALID. Of
// a file with a bad line, other lines may have taken effect. NOT_FOUND,
// PERMISSION, IO: the file; INVALID names file and line. NO_MEMORY.
enum cascade_status
option_load_file(struct option_set *set, const struct file_system *files,
                 const char *path) MUST_USE;

// Reads every variable of `environment` ("NAME=value", ended by NULL; NULL is
// empty) whose name is `prefix` and an option in capitals. A variable that
// misses an option by one or two letters is INVALID unless it stands in
// `others` (names ended by NULL); all others are none of our business.
enum cascade_status
option_load_environment(struct option_set *set, const char *prefix,
                        char *const *environment,
                        const char *const *others) MUST_USE;

// The value of a row as text, and where it came from. `row` is below the count.
const char *
option_text(const struct option_set *set, size_t row);

enum option_origin
option_origin(const struct option_set *set, size_t row);

// "default", "file", "environment", "program". Static text.
const char *
option_origin_name(enum option_origin origin);

// Typed values; the row must be of that type. A word such as "auto" reads as 0.
uint64_t
option_bytes(const struct option_set *set, size_t row);

uint64_t
option_count(const struct option_set *set, size_t row);

double
option_real(const struct option_set *set, size_t row);

bool
option_flag(const struct option_set *set, size_t row);

uint64_t
option_time_ns(const struct option_set *set, size_t row);

// The place of the value in the row's list of words: 0 for the first.
uint32_t
option_word(const struct option_set *set, size_t row);

#endif
