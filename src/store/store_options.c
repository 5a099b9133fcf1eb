// SPDX-License-Identifier: Apache-2.0
//
// The product's table of options behind the functions of cascade.h. What the
// values mean on a machine is store_settings.c. One thread fills options; no
// lock.

#include "store/store_options.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/option.h"

static_assert((int)OPTION_TYPE_BYTES == (int)CASCADE_OPTION_BYTES &&
                  (int)OPTION_TYPE_COUNT == (int)CASCADE_OPTION_COUNT &&
                  (int)OPTION_TYPE_REAL == (int)CASCADE_OPTION_REAL &&
                  (int)OPTION_TYPE_FLAG == (int)CASCADE_OPTION_FLAG &&
                  (int)OPTION_TYPE_WORD == (int)CASCADE_OPTION_WORD &&
                  (int)OPTION_TYPE_TEXT == (int)CASCADE_OPTION_TEXT &&
                  (int)OPTION_TYPE_TIME == (int)CASCADE_OPTION_TIME,
              "the public types are those of the machinery");

static const struct option_row rows[STORE_OPTION_COUNT] = {
#define OPTION(id, name, type, unit, default_text, range, sentence) \
    {name, OPTION_TYPE_##type, unit, default_text, range, sentence},
#include "store/store_option_table.h"
#undef OPTION
};

static const struct cascade_option_info infos[STORE_OPTION_COUNT] = {
#define OPTION(id, name, type, unit, default_text, range, sentence) \
    {name, CASCADE_OPTION_##type, unit, default_text, range, sentence},
#include "store/store_option_table.h"
#undef OPTION
};

static const struct option_table table = {rows, STORE_OPTION_COUNT};

// Variables with our prefix that are not options.
static const char *const other_variables[] = {
    "CASCADE_CONF",
    "CASCADE_RUNTIME_DIR",
    NULL,
};

// The value of a variable in the environment; NULL if it is not there.
static const char *
variable_of(char *const *environment, const char *name)
{
    size_t length = strlen(name);

    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, name, length) == 0 &&
            (*environment)[length] == '=') {
            return *environment + length + 1;
        }
    }
    return NULL;
}

// The row of a name, or STORE_OPTION_COUNT with the message set.
static size_t
find_or_say(const char *name)
{
    size_t row = option_find(&table, name);

    if (row == STORE_OPTION_COUNT) {
        (void)error_set(CASCADE_INVALID,
                        "there is no option %.100s; did you mean %s?", name,
                        option_nearest(&table, name));
    }
    return row;
}

struct cascade_options *
store_options_create(const struct allocator *allocator,
                     const struct file_system *files)
{
    struct cascade_options *options = allocator_array(allocator, 1,
                                                      sizeof(*options));

    if (options == NULL) {
        return NULL;
    }
    options->set = option_set_create(allocator, &table);
    if (options->set == NULL) {
        allocator_release(allocator, options);
        return NULL;
    }
    options->allocator = allocator;
    options->files = files;
    return options;
}

struct cascade_options *
store_options_copy(const struct allocator *allocator,
                   const struct cascade_options *options)
{
    struct cascade_options *copy = allocator_array(allocator, 1, sizeof(*copy));

    if (copy == NULL) {
        return NULL;
    }
    copy->set = option_set_copy(allocator, options->set);
    if (copy->set == NULL) {
        allocator_release(allocator, copy);
        return NULL;
    }
    copy->allocator = allocator;
    copy->files = options->files;
    return copy;
}

enum cascade_status
store_options_load_environment(struct cascade_options *options,
                               char *const *environment)
{
    const char *path = variable_of(environment, "CASCADE_CONF");

    if (path != NULL && path[0] != '\0') {
        enum cascade_status status = option_load_file(options->set,
                                                      options->files, path);

        if (status != CASCADE_OK) {
            return status;
        }
    }
    return option_load_environment(options->set, "CASCADE_", environment,
                                   other_variables);
}

struct cascade_options *
cascade_options_create(void)
{
    return store_options_create(allocator_system(), file_system_real());
}

void
cascade_options_destroy(struct cascade_options *options)
{
    if (options == NULL) {
        return;
    }
    option_set_destroy(options->set);
    allocator_release(options->allocator, options);
}

enum cascade_status
cascade_options_set(struct cascade_options *options, const char *name,
                    const char *value)
{
    if (options == NULL || name == NULL || value == NULL) {
        return error_set(CASCADE_INVALID,
                         "options, name and value must not be NULL");
    }
    return option_assign(options->set, OPTION_ORIGIN_PROGRAM, "", name, value);
}

enum cascade_status
cascade_options_get(const struct cascade_options *options, const char *name,
                    char *value, size_t size)
{
    const char *text;
    size_t row;

    if (options == NULL || name == NULL || value == NULL) {
        return error_set(CASCADE_INVALID,
                         "options, name and value must not be NULL");
    }
    row = find_or_say(name);
    if (row == STORE_OPTION_COUNT) {
        return CASCADE_INVALID;
    }
    text = option_text(options->set, row);
    if (strlen(text) >= size) {
        return error_set(CASCADE_TOO_SMALL, "option %s needs %zu bytes", name,
                         strlen(text) + 1);
    }
    memcpy(value, text, strlen(text) + 1);
    return CASCADE_OK;
}

const char *
cascade_options_origin(const struct cascade_options *options, const char *name)
{
    size_t row;

    if (options == NULL || name == NULL) {
        return NULL;
    }
    row = find_or_say(name);
    if (row == STORE_OPTION_COUNT) {
        return NULL;
    }
    return option_origin_name(option_origin(options->set, row));
}

enum cascade_status
cascade_options_load_file(struct cascade_options *options, const char *path)
{
    if (options == NULL || path == NULL) {
        return error_set(CASCADE_INVALID, "options and path must not be NULL");
    }
    return option_load_file(options->set, options->files, path);
}

enum cascade_status
cascade_options_load_environment(struct cascade_options *options)
{
    if (options == NULL) {
        return error_set(CASCADE_INVALID, "options must not be NULL");
    }
    return store_options_load_environment(options, environ);
}

const struct cascade_option_info *
cascade_options_describe(size_t index)
{
    return index < STORE_OPTION_COUNT ? &infos[index] : NULL;
}
