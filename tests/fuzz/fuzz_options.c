// SPDX-License-Identifier: Apache-2.0
//
// Options given by a program and by an environment. The input is text of lines
// `name=value`; each is set alone, and all are the environment of a process.
// What was accepted is kept as it was written, is accepted again, and means
// something on a machine or is refused with a reason.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/machine.h"
#include "fuzz/fuzz.h"
#include "store/store_options.h"

#define LINES_MAX 64
#define VALUE_BYTES 8192

// What was given, or for a flag one of its two words.
static bool
is_kept(const char *given, const char *kept)
{
    return strcmp(given, kept) == 0 || strcmp(kept, "true") == 0 ||
           strcmp(kept, "false") == 0;
}

// Sets one option by its text and reads it back.
static void
set_one(struct cascade_options *options, char *line)
{
    char *equals = strchr(line, '=');
    char before[VALUE_BYTES];
    char after[VALUE_BYTES];
    bool known;

    if (equals == NULL) {
        return;
    }
    *equals = '\0';
    known = cascade_options_get(options, line, before, sizeof(before)) ==
            CASCADE_OK;
    if (cascade_options_set(options, line, equals + 1) == CASCADE_OK) {
        FUZZ_REQUIRE(known);
        FUZZ_REQUIRE(cascade_options_get(options, line, after, sizeof(after)) ==
                     CASCADE_OK);
        FUZZ_REQUIRE(is_kept(equals + 1, after));
        FUZZ_REQUIRE(cascade_options_set(options, line, after) == CASCADE_OK);
    } else {
        FUZZ_REQUIRE(error_message()[0] != '\0');
        if (known) {
            FUZZ_REQUIRE(cascade_options_get(options, line, after,
                                             sizeof(after)) == CASCADE_OK);
            FUZZ_REQUIRE(strcmp(after, before) == 0);
        }
    }
    *equals = '=';
}

// What the options mean on a small machine; every value has a text.
static void
resolve(const struct cascade_options *options)
{
    struct machine_limits machine = {
        .memory_bytes = (uint64_t)1 << 34,
        .cpus = 4,
        .ranks_on_node = 1,
    };
    static struct store_settings settings;
    const struct cascade_option_info *info;
    char text[VALUE_BYTES];

    if (store_settings_resolve(options, &machine, &settings) != CASCADE_OK) {
        FUZZ_REQUIRE(error_message()[0] != '\0');
        return;
    }
    FUZZ_REQUIRE(settings.threads > 0);
    FUZZ_REQUIRE(settings.dram_capacity_bytes > 0 ||
                 settings.cold_path[0] != '\0');
    for (size_t i = 0; (info = cascade_options_describe(i)) != NULL; i++) {
        FUZZ_REQUIRE(store_settings_text(options, &settings, info->name, text,
                                         sizeof(text)) == CASCADE_OK);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct cascade_options *options;
    struct cascade_options *copy;
    char *environment[LINES_MAX + 1] = {NULL};
    size_t count = 0;
    char *text = malloc(bytes + 1);
    char *rest = text;

    FUZZ_REQUIRE(text != NULL);
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    options = store_options_create(allocator_system(), file_system_real());
    FUZZ_REQUIRE(options != NULL);
    while (count < LINES_MAX && rest != NULL) {
        environment[count++] = strsep(&rest, "\n");
    }
    // A file named by the environment is another target's.
    for (size_t i = 0; i < count; i++) {
        if (strncmp(environment[i], "CASCADE_CONF", 12) == 0) {
            environment[i][0] = '_';
        }
    }
    if (store_options_load_environment(options, environment) != CASCADE_OK) {
        FUZZ_REQUIRE(error_message()[0] != '\0');
    }
    for (size_t i = 0; i < count; i++) {
        set_one(options, environment[i]);
    }
    copy = store_options_copy(allocator_system(), options);
    FUZZ_REQUIRE(copy != NULL);
    cascade_options_destroy(options);
    resolve(copy);
    cascade_options_destroy(copy);
    free(text);
    return 0;
}
