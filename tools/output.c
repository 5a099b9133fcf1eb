// SPDX-License-Identifier: Apache-2.0
//
// Text and JSON of the commands. Keys are opaque bytes: nothing of them reaches
// a terminal unescaped.

#include "tools/output.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "base/check.h"
#include "tools/command.h"

static int
hex_digit(char letter)
{
    if (letter >= '0' && letter <= '9') {
        return letter - '0';
    }
    if (letter >= 'a' && letter <= 'f') {
        return letter - 'a' + 10;
    }
    if (letter >= 'A' && letter <= 'F') {
        return letter - 'A' + 10;
    }
    return -1;
}

void
output_note(const char *format, ...)
{
    va_list arguments;

    (void)fflush(stdout);
    (void)fputs("cascade: ", stderr);
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

int
output_failure(enum cascade_status status)
{
    const char *message = cascade_error_message();

    output_note("%s",
                message[0] != '\0' ? message : cascade_status_sentence(status));
    return status == CASCADE_INVALID ? COMMAND_USAGE : COMMAND_NO;
}

void
output_need(bool done)
{
    if (!done) {
        output_note("the system gave no memory");
        exit(COMMAND_NO);
    }
}

void
output_hex(const void *data, size_t bytes, char *text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *from = data;

    for (size_t i = 0; i < bytes; i++) {
        *text++ = digits[from[i] >> 4];
        *text++ = digits[from[i] & 15];
    }
    *text = '\0';
}

bool
output_parse_hex(const char *text, uint8_t *data, size_t size, size_t *bytes)
{
    size_t length = strlen(text);

    if (length % 2 != 0 || length / 2 > size) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (hex_digit(text[i]) < 0) {
            return false;
        }
    }
    for (size_t i = 0; i < length / 2; i++) {
        data[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 |
                            hex_digit(text[2 * i + 1]));
    }
    *bytes = length / 2;
    return true;
}

void
output_safe_text(const void *data, size_t bytes, char *text, size_t size)
{
    const char *from = data;
    const char *limit = text + size;
    mbstate_t state;

    memset(&state, 0, sizeof(state));
    while (bytes > 0 && limit - text > MB_LEN_MAX) {
        wchar_t letter;
        size_t used = mbrtowc(&letter, from, bytes, &state);

        if (used == 0 || used > bytes || !iswprint((wint_t)letter) ||
            letter == L'\\') {
            text += snprintf(text, MB_LEN_MAX, "\\x%02x",
                             (unsigned)(unsigned char)*from);
            used = 1;
            memset(&state, 0, sizeof(state));
        } else {
            memcpy(text, from, used);
            text += used;
        }
        from += used;
        bytes -= used;
    }
    *text = '\0';
}

void
output_key_text(struct cascade_key key, char *text)
{
    check(key.bytes <= CASCADE_KEY_BYTES_MAX);
    output_safe_text(key.data, key.bytes, text, OUTPUT_KEY_TEXT_BYTES);
}

void
output_missing(struct cascade_key key)
{
    char text[OUTPUT_KEY_TEXT_BYTES];

    output_key_text(key, text);
    output_note("%s is not there", text);
}

void
output_json_hex(json_t *object, const char *name, const void *data,
                size_t bytes)
{
    char text[2 * CASCADE_KEY_BYTES_MAX + 1];

    check(bytes <= CASCADE_KEY_BYTES_MAX);
    output_hex(data, bytes, text);
    output_need(json_object_set_new(object, name, json_string(text)) == 0);
}

void
output_json_key(json_t *object, struct cascade_key key)
{
    json_t *text = json_stringn(key.data, key.bytes);

    if (text != NULL) {
        output_need(json_object_set_new(object, "key", text) == 0);
    }
    output_json_hex(object, "key_hex", key.data, key.bytes);
}

void
output_json_unsigned(json_t *object, const char *name, uint64_t value)
{
    json_int_t number = value > INT64_MAX ? INT64_MAX : (json_int_t)value;

    output_need(json_object_set_new(object, name, json_integer(number)) == 0);
}

void
output_json_flag(json_t *object, const char *name, bool value)
{
    output_need(json_object_set_new(object, name, json_boolean(value)) == 0);
}

void
output_json_text(json_t *object, const char *name, const char *value)
{
    json_t *text = json_string(value);

    // What is not UTF-8 (a file's name may be anything) is shown as it can be.
    if (text == NULL) {
        char safe[4 * PATH_MAX];

        output_safe_text(value, strlen(value), safe, sizeof(safe));
        text = json_string(safe);
    }
    output_need(json_object_set_new(object, name, text) == 0);
}

void
output_json_line(json_t *object)
{
    output_need(json_dumpf(object, stdout, JSON_COMPACT) == 0 ||
                ferror(stdout));
    (void)putchar('\n');
    json_decref(object);
}

const char *
output_tier_name(enum cascade_tier tier)
{
    static const char *const names[CASCADE_TIER_COUNT] = {
        "none",       "local_gpu",   "local_dram",
        "remote_gpu", "remote_dram", "segments",
    };

    return (size_t)tier < CASCADE_TIER_COUNT ? names[tier] : "unknown";
}
