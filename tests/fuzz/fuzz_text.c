// SPDX-License-Identifier: Apache-2.0
//
// Numbers, sizes, keys and ids as text. The input is the text, and its first
// bytes are also numbers and its whole a key. What is written can be read, and
// what is read is finite and comes back when it is written.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cascade/cascade.h"
#include "fuzz/fuzz.h"
#include "tools/output.h"

static void
check_units(const char *text)
{
    uint64_t value = 0;
    uint64_t again = 0;
    double real = 0;
    char written[32];

    if (units_parse_bytes(text, &value)) {
        units_format_bytes(value, written, sizeof(written));
        FUZZ_REQUIRE(units_parse_bytes(written, &again) && again == value);
    }
    if (units_parse_unsigned(text, &value)) {
        (void)snprintf(written, sizeof(written), "%llu",
                       (unsigned long long)value);
        FUZZ_REQUIRE(units_parse_unsigned(written, &again) && again == value);
    }
    if (units_parse_real(text, &real)) {
        FUZZ_REQUIRE(isfinite(real) && real >= 0);
    }
}

static void
check_number(uint64_t value)
{
    uint64_t again = 0;
    char written[32];

    units_format_bytes(value, written, sizeof(written));
    FUZZ_REQUIRE(units_parse_bytes(written, &again) && again == value);
}

static void
check_hex(const char *text)
{
    uint8_t data[CASCADE_ID_BYTES];
    char written[OUTPUT_ID_TEXT_BYTES];
    size_t bytes = 0;

    if (output_parse_hex(text, data, sizeof(data), &bytes)) {
        FUZZ_REQUIRE(bytes * 2 == strlen(text) && bytes <= sizeof(data));
        output_hex(data, bytes, written);
        FUZZ_REQUIRE(strcasecmp(written, text) == 0);
    }
}

// A key as text has no byte that a terminal would obey.
static void
check_key(const uint8_t *data, size_t bytes)
{
    static char text[OUTPUT_KEY_TEXT_BYTES];
    struct cascade_key key = {
        .data = data,
        .bytes = bytes < CASCADE_KEY_BYTES_MAX ? bytes : CASCADE_KEY_BYTES_MAX,
    };

    output_key_text(key, text);
    FUZZ_REQUIRE(strlen(text) < sizeof(text));
    FUZZ_REQUIRE(strlen(text) >= key.bytes);
    for (const char *at = text; *at != '\0'; at++) {
        FUZZ_REQUIRE((unsigned char)*at >= 0x20 && *at != 0x7f);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);
    uint64_t number;

    FUZZ_REQUIRE(text != NULL);
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    check_units(text);
    check_hex(text);
    check_key(data, bytes);
    if (bytes >= sizeof(number)) {
        memcpy(&number, data, sizeof(number));
        check_number(number);
    }
    free(text);
    return 0;
}
