// SPDX-License-Identifier: Apache-2.0
//
// cascade config: the option table, with the value that a store opened here
// would have and where it comes from. The text form is a cascade.conf: what is
// at its default is commented out.

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/shell_store.h"

#define VALUE_BYTES_MAX 8192
#define SENTENCE_COLUMNS 77

struct config_request {
    bool json;
    const char *file;
    size_t setting_count;
    const char *settings[SHELL_STORE_SETTINGS_MAX];
    int first; // index of the first name, 0 = all
};

static const struct argp_option options[] = {
    {"option", 'o', "NAME=VALUE", 0, "Set an option before printing", 0},
    {"file", 'f', "PATH", 0, "Read this cascade.conf too", 0},
    {"json", 'j', NULL, 0, "Print one JSON object per option", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct config_request *request = state->input;

    switch (key) {
    case 'o':
        if (request->setting_count == SHELL_STORE_SETTINGS_MAX) {
            argp_error(state, "more than %d times --option",
                       SHELL_STORE_SETTINGS_MAX);
        }
        request->settings[request->setting_count++] = argument;
        return 0;
    case 'f':
        request->file = argument;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARGS:
        request->first = state->next;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *
type_name(enum cascade_option_type type)
{
    switch (type) {
    case CASCADE_OPTION_BYTES:
        return "size";
    case CASCADE_OPTION_COUNT:
        return "count";
    case CASCADE_OPTION_REAL:
        return "number";
    case CASCADE_OPTION_FLAG:
        return "true or false";
    case CASCADE_OPTION_WORD:
        return "word";
    case CASCADE_OPTION_TEXT:
        return "text";
    case CASCADE_OPTION_TIME:
        return "seconds";
    }
    return "text";
}

// Prints a sentence as comment lines.
static void
print_comment(const char *sentence)
{
    size_t column = 0;

    while (*sentence != '\0') {
        size_t word = strcspn(sentence, " ");

        if (column > 0 && column + 1 + word > SENTENCE_COLUMNS) {
            (void)putchar('\n');
            column = 0;
        }
        (void)printf("%s%.*s", column == 0 ? "# " : " ", (int)word, sentence);
        column += word + (column == 0 ? 0 : 1);
        sentence += word;
        sentence += strspn(sentence, " ");
    }
    (void)putchar('\n');
}

static void
print_text(const struct cascade_option_info *info, const char *value,
           const char *origin)
{
    bool defaulted = strcmp(origin, "default") == 0;

    print_comment(info->sentence);
    (void)printf("# %s%s%s, default %s", type_name(info->type),
                 info->range[0] != '\0' ? ", " : "", info->range,
                 info->default_text[0] != '\0' ? info->default_text : "empty");
    if (!defaulted) {
        (void)printf("; from the %s", origin);
    }
    (void)printf("\n%s%s = %s\n\n", defaulted ? "#" : "", info->name, value);
}

static void
print_json(const struct cascade_option_info *info, const char *value,
           const char *origin)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "name", info->name);
    output_json_text(object, "value", value);
    output_json_text(object, "origin", origin);
    output_json_text(object, "type", type_name(info->type));
    output_json_text(object, "unit", info->unit);
    output_json_text(object, "default", info->default_text);
    output_json_text(object, "range", info->range);
    output_json_text(object, "sentence", info->sentence);
    output_json_line(object);
}

static enum cascade_status
print_option(const struct cascade_options *set,
             const struct cascade_option_info *info, bool json)
{
    char value[VALUE_BYTES_MAX];
    enum cascade_status status = cascade_options_get(set, info->name, value,
                                                     sizeof(value));

    if (status == CASCADE_OK) {
        (json ? print_json : print_text)(
            info, value, cascade_options_origin(set, info->name));
    }
    return status;
}

// Prints the option `name`. The library words the refusal of an unknown one.
static enum cascade_status
print_named(const struct cascade_options *set, const char *name, bool json)
{
    char value[VALUE_BYTES_MAX];

    for (size_t i = 0; cascade_options_describe(i) != NULL; i++) {
        const struct cascade_option_info *info = cascade_options_describe(i);

        if (strcmp(info->name, name) == 0) {
            return print_option(set, info, json);
        }
    }
    return cascade_options_get(set, name, value, sizeof(value));
}

static enum cascade_status
fill(struct cascade_options *set, const struct config_request *request)
{
    enum cascade_status status = cascade_options_load_environment(set);

    if (status == CASCADE_OK && request->file != NULL) {
        status = cascade_options_load_file(set, request->file);
    }
    for (size_t i = 0; i < request->setting_count; i++) {
        if (status == CASCADE_OK) {
            status = shell_store_set(set, request->settings[i]);
        }
    }
    return status;
}

static enum cascade_status
print_all(const struct cascade_options *set, bool json)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; status == CASCADE_OK; i++) {
        const struct cascade_option_info *info = cascade_options_describe(i);

        if (info == NULL) {
            break;
        }
        status = print_option(set, info, json);
    }
    return status;
}

int
command_config(int argc, char **argv)
{
    static const char what[] =
        "Prints the options of a store (or those with a NAME): what each is, "
        "its effective value, and where that came from. The text is a "
        "cascade.conf.";
    const struct argp argp = {
        options, parse, "[NAME...]", what, NULL, NULL, NULL,
    };
    struct config_request request = {.json = false};
    struct cascade_options *set;
    enum cascade_status status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    set = cascade_options_create();
    if (set == NULL) {
        output_note("the system gave no memory");
        return COMMAND_NO;
    }
    status = fill(set, &request);
    if (status == CASCADE_OK && request.first == 0) {
        status = print_all(set, request.json);
    } else if (request.first != 0) {
        for (int i = request.first; argv[i] != NULL; i++) {
            if (status == CASCADE_OK) {
                status = print_named(set, argv[i], request.json);
            }
        }
    }
    cascade_options_destroy(set);
    return status == CASCADE_OK ? COMMAND_OK : output_failure(status);
}
