// SPDX-License-Identifier: Apache-2.0
//
// Sizes and numbers from and to text. Pure; independent of the locale.

#include "base/units.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

// Powers of ten that a double holds.
#define EXPONENT_MAX 300

struct unit {
    const char *name;
    uint64_t bytes;
};

static const struct unit unit_table[] = {
    {"", 1},
    {"B", 1},
    {"KiB", KIB},
    {"MiB", MIB},
    {"GiB", GIB},
    {"TiB", TIB},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"K", KIB},
    {"M", MIB},
    {"G", GIB},
    {"T", TIB},
};

// Reads digits and an optional fraction; returns the rest of the text, or NULL
// if there is no digit. The fraction is in billionths.
static const char *
read_decimal(const char *text, uint64_t *whole, uint64_t *billionths)
{
    uint64_t scale = 1000000000;
    bool any = false;

    *whole = 0;
    *billionths = 0;
    for (; isdigit((unsigned char)*text); text++) {
        uint64_t digit = (uint64_t)(*text - '0');

        if (*whole > (UINT64_MAX - digit) / 10) {
            return NULL;
        }
        *whole = *whole * 10 + digit;
        any = true;
    }
    if (any && *text == '.') {
        text++;
        for (; isdigit((unsigned char)*text); text++) {
            scale /= 10;
            *billionths += (uint64_t)(*text - '0') * scale;
        }
    }
    return any ? text : NULL;
}

static const char *
skip_space(const char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    return text;
}

bool
units_parse_bytes(const char *text, uint64_t *bytes)
{
    uint64_t whole;
    uint64_t billionths;
    char name[8] = "";
    size_t length = 0;
    const char *rest = read_decimal(skip_space(text), &whole, &billionths);

    if (rest == NULL) {
        return false;
    }
    rest = skip_space(rest);
    while (isalpha((unsigned char)*rest) && length + 1 < sizeof(name)) {
        name[length++] = *rest++;
    }
    if (*skip_space(rest) != '\0') {
        return false;
    }
    for (size_t i = 0; i < sizeof(unit_table) / sizeof(unit_table[0]); i++) {
        uint64_t unit = unit_table[i].bytes;

        if (strcasecmp(name, unit_table[i].name) != 0) {
            continue;
        }
        // Room for the fraction, which is less than one unit.
        if (whole > (UINT64_MAX - (unit - 1)) / unit) {
            return false;
        }
        *bytes = whole * unit +
                 (uint64_t)((double)billionths / 1e9 * (double)unit);
        return true;
    }
    return false;
}

bool
units_parse_real(const char *text, double *value)
{
    uint64_t whole;
    uint64_t billionths;
    double result;
    int exponent = 0;
    const char *rest = read_decimal(skip_space(text), &whole, &billionths);

    if (rest == NULL) {
        return false;
    }
    if (*rest == 'e' || *rest == 'E') {
        bool negative = rest[1] == '-';

        rest += (rest[1] == '-' || rest[1] == '+') ? 2 : 1;
        if (!isdigit((unsigned char)*rest)) {
            return false;
        }
        for (; isdigit((unsigned char)*rest); rest++) {
            exponent = exponent * 10 + (*rest - '0');
            if (exponent > EXPONENT_MAX) {
                return false;
            }
        }
        exponent = negative ? -exponent : exponent;
    }
    if (*skip_space(rest) != '\0') {
        return false;
    }
    result = ((double)whole + (double)billionths / 1e9) * pow(10, exponent);
    if (!isfinite(result)) {
        return false;
    }
    *value = result;
    return true;
}

bool
units_parse_unsigned(const char *text, uint64_t *value)
{
    uint64_t whole;
    uint64_t billionths;
    const char *rest = read_decimal(skip_space(text), &whole, &billionths);

    if (rest == NULL || strchr(text, '.') != NULL ||
        *skip_space(rest) != '\0') {
        return false;
    }
    *value = whole;
    return true;
}

void
units_format_bytes(uint64_t bytes, char *text, size_t size)
{
    static const struct unit largest_first[] = {
        {"TiB", TIB},
        {"GiB", GIB},
        {"MiB", MIB},
        {"KiB", KIB},
    };

    for (size_t i = 0; i < 4; i++) {
        if (bytes >= largest_first[i].bytes &&
            bytes % largest_first[i].bytes == 0) {
            (void)snprintf(text, size, "%llu%s",
                           (unsigned long long)(bytes / largest_first[i].bytes),
                           largest_first[i].name);
            return;
        }
    }
    (void)snprintf(text, size, "%llu", (unsigned long long)bytes);
}
