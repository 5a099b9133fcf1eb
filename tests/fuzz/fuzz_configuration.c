// SPDX-License-Identifier: Apache-2.0
//
// The configuration file: the input is the whole file. What it sets was
// accepted by the option's own row, so that writing all values as a file again
// sets the same; a refusal names the file and a line of it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "fuzz/fuzz.h"
#include "store/store_options.h"

#define VALUE_BYTES 8192
#define FILE_BYTES (256 * 1024)

// Every option that the file set, as lines of another file. False if a value
// cannot stand in a file as it is.
static bool
write_again(const struct cascade_options *options, char *text, size_t size)
{
    const struct cascade_option_info *info;
    char value[VALUE_BYTES];
    size_t used = 0;

    for (size_t i = 0; (info = cascade_options_describe(i)) != NULL; i++) {
        int length;

        FUZZ_REQUIRE(cascade_options_get(options, info->name, value,
                                         sizeof(value)) == CASCADE_OK);
        if (strcmp(cascade_options_origin(options, info->name), "file") != 0 ||
            value[0] == '\0' || strlen(value) > 100) {
            continue;
        }
        length = snprintf(text + used, size - used, "%s = %s\n", info->name,
                          value);
        FUZZ_REQUIRE(length > 0 && (size_t)length < size - used);
        used += (size_t)length;
    }
    return used > 0;
}

static void
check_again(const struct cascade_options *options)
{
    static char text[FILE_BYTES];
    const struct cascade_option_info *info;
    struct cascade_options *again;
    char first[VALUE_BYTES];
    char second[VALUE_BYTES];

    if (!write_again(options, text, sizeof(text))) {
        return;
    }
    again = store_options_create(
        allocator_system(), fuzz_file((const uint8_t *)text, strlen(text)));
    FUZZ_REQUIRE(again != NULL);
    FUZZ_REQUIRE(cascade_options_load_file(again, "again.conf") == CASCADE_OK);
    for (size_t i = 0; (info = cascade_options_describe(i)) != NULL; i++) {
        FUZZ_REQUIRE(cascade_options_get(again, info->name, second,
                                         sizeof(second)) == CASCADE_OK);
        FUZZ_REQUIRE(cascade_options_get(options, info->name, first,
                                         sizeof(first)) == CASCADE_OK);
        FUZZ_REQUIRE(strcmp(first, second) == 0 || first[0] == '\0' ||
                     strlen(first) > 100);
    }
    cascade_options_destroy(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct cascade_options *options = store_options_create(
        allocator_system(), fuzz_file(data, bytes));

    FUZZ_REQUIRE(options != NULL);
    if (cascade_options_load_file(options, "input.conf") == CASCADE_OK) {
        check_again(options);
    } else {
        unsigned line = 0;

        FUZZ_REQUIRE(strncmp(error_message(), "input.conf:", 11) == 0);
        FUZZ_REQUIRE(sscanf(error_message() + 11, "%u", &line) == 1);
        FUZZ_REQUIRE(line >= 1 && line <= bytes + 1);
    }
    cascade_options_destroy(options);
    return 0;
}
