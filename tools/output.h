// SPDX-License-Identifier: Apache-2.0
//
// How commands speak: messages on standard error, keys and ids as text, JSON
// lines. Not a log.

#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/cascade.h"

// Room for every key as output_key_text writes it, terminated.
#define OUTPUT_KEY_TEXT_BYTES (4 * CASCADE_KEY_BYTES_MAX + MB_LEN_MAX + 1)
#define OUTPUT_ID_TEXT_BYTES (2 * CASCADE_ID_BYTES + 1)

// "cascade: <text>" on standard error.
void
output_note(const char *format, ...) PRINTF_LIKE(1, 2);

// "cascade: <message of the last failing call>", or the sentence of `status`
// if there is none. Returns the exit status: usage for CASCADE_INVALID.
int
output_failure(enum cascade_status status);

// "cascade: KEY is not there".
void
output_missing(struct cascade_key key);

// For the calls of jansson, which fail only for want of memory: ends the
// process with a message unless `done`.
void
output_need(bool done);

// Small letters, terminated; `text` holds 2 * bytes + 1.
void
output_hex(const void *data, size_t bytes, char *text);

// Reads an even number of hexadecimal digits that end at the terminator.
// False, and `*bytes` untouched, if it is not that or longer than `size`.
bool
output_parse_hex(const char *text, uint8_t *data, size_t size, size_t *bytes);

// The bytes as a terminal can show them: what is not printable in this locale,
// and the backslash, as \xNN. Terminated, cut where `size` ends; four times the
// bytes and MB_LEN_MAX + 1 is enough for all.
void
output_safe_text(const void *data, size_t bytes, char *text, size_t size);

// The same for a key; `text` holds OUTPUT_KEY_TEXT_BYTES.
void
output_key_text(struct cascade_key key, char *text);

// Adds "key_hex", and "key" where the bytes are valid UTF-8.
void
output_json_key(json_t *object, struct cascade_key key);

// Adds `name` as a hexadecimal string.
void
output_json_hex(json_t *object, const char *name, const void *data,
                size_t bytes);

void
output_json_unsigned(json_t *object, const char *name, uint64_t value);

void
output_json_flag(json_t *object, const char *name, bool value);

// Text that is not UTF-8 is escaped.
void
output_json_text(json_t *object, const char *name, const char *value);

// Prints the object on a line of its own and drops it.
void
output_json_line(json_t *object);

// The tier's name in this program's output: "local_dram" ...
const char *
output_tier_name(enum cascade_tier tier);

#endif
