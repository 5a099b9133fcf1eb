// SPDX-License-Identifier: Apache-2.0
//
// Units, rounding, and sizes as text. `GiB` is 2^30 bytes, `GB` is 1e9.

#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

#define NS_PER_US ((uint64_t)1000)
#define NS_PER_MS ((uint64_t)1000000)
#define NS_PER_S ((uint64_t)1000000000)

static inline uint64_t
units_round_up(uint64_t value, uint64_t step)
{
    return (value + step - 1) / step * step;
}

static inline uint64_t
units_round_down(uint64_t value, uint64_t step)
{
    return value / step * step;
}

static inline uint64_t
units_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
units_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// Reads "4096", "64KiB", "4GiB", "1GB", "1.5 GiB" (case of the unit matters not).
// False, and `bytes` untouched, if the text is not a size or does not fit.
bool
units_parse_bytes(const char *text, uint64_t *bytes);

// Reads "0.25", "1e-3". False if the text is not one finite number.
bool
units_parse_real(const char *text, double *value);

// Reads a decimal integer without sign. False if it is not one or too large.
bool
units_parse_unsigned(const char *text, uint64_t *value);

// Writes the size with the largest binary unit that divides it ("64KiB"), else
// the number. Always terminated; `size` of 32 holds every answer.
void
units_format_bytes(uint64_t bytes, char *text, size_t size);

#endif
