// SPDX-License-Identifier: Apache-2.0
//
// cascade ls: the keys of a cold directory, sorted by their bytes. Changes
// nothing. The list is held in memory, since a store lists in no order.

#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/key_list.h"
#include "tools/output.h"
#include "tools/shell_store.h"

#define COLD_PATH_BYTES_MAX 4096

struct ls_request {
    struct shell_store_request store;
    bool json;
    const char *prefix;
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object per key", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct ls_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->store;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_usage(state);
        }
        request->prefix = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// Whether the key begins with the prefix that was asked for.
static bool
begins(const struct key_row *row, struct cascade_key prefix)
{
    return prefix.bytes == 0 ||
           (row->key != NULL && row->key_bytes >= prefix.bytes &&
            memcmp(row->key, prefix.data, prefix.bytes) == 0);
}

static void
print_json(const struct key_row *row)
{
    json_t *object = json_object();
    const struct cascade_key key = {row->key, row->key_bytes};

    output_need(object != NULL);
    if (row->key != NULL) {
        output_json_key(object, key);
    }
    output_json_hex(object, "key_digest", row->digest, sizeof(row->digest));
    output_json_unsigned(object, "bytes", row->bytes);
    output_json_hex(object, "id", row->id, sizeof(row->id));
    output_json_flag(object, "protected", row->protected_prefix);
    output_json_flag(object, "in_memory", row->in_memory);
    output_json_flag(object, "on_segments", row->on_segments);
    output_json_line(object);
}

static void
print_text(const struct key_row *row)
{
    const struct cascade_key key = {row->key, row->key_bytes};
    char text[OUTPUT_KEY_TEXT_BYTES];
    char id[OUTPUT_ID_TEXT_BYTES];

    if (row->key == NULL) {
        // The backslash cannot begin a key that is shown as text.
        memcpy(text, "\\digest:", 8);
        output_hex(row->digest, sizeof(row->digest), text + 8);
    } else {
        output_key_text(key, text);
    }
    output_hex(row->id, sizeof(row->id), id);
    (void)printf("%c%c%c %12" PRIu64 "  %s  %s\n",
                 row->protected_prefix ? 'p' : '-', row->in_memory ? 'm' : '-',
                 row->on_segments ? 's' : '-', row->bytes, id, text);
}

static enum cascade_status
collect(const struct ls_request *request, struct key_list *list)
{
    char cold_path[COLD_PATH_BYTES_MAX];
    struct cascade *store;
    enum cascade_status status = shell_store_open(&request->store,
                                                  SHELL_STORE_LOOK, 0, &store);

    if (status != CASCADE_OK) {
        return status;
    }
    status = cascade_option_effective(store, "cold_path", cold_path,
                                      sizeof(cold_path));
    if (status == CASCADE_OK) {
        status = key_list_fill(list, store);
    }
    status = shell_store_close(store, false, status);
    return status == CASCADE_OK ? key_list_name(list, cold_path) : status;
}

int
command_ls(int argc, char **argv)
{
    static const char what[] =
        "Lists the keys of a cold directory, or those that begin with PREFIX: "
        "flags (p protected, m in memory, s on segments), bytes, content id, "
        "key.";
    const struct argp_child children[] = {
        {shell_store_argp(), 0, "Store:", 1},
        {NULL, 0, NULL, 0},
    };
    const struct argp argp = {
        options, parse, "[PREFIX]", what, children, NULL, NULL,
    };
    struct ls_request request = {.json = false};
    struct key_list list = {.rows = NULL};
    struct cascade_key prefix = {.bytes = 0};
    uint8_t room[CASCADE_KEY_BYTES_MAX];
    enum cascade_status status = CASCADE_OK;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.prefix != NULL && request.prefix[0] != '\0') {
        status = shell_store_key(&request.store, request.prefix, room, &prefix);
    }
    if (status == CASCADE_OK) {
        status = collect(&request, &list);
    }
    if (status != CASCADE_OK) {
        key_list_release(&list);
        return output_failure(status);
    }
    for (size_t i = 0; i < list.count; i++) {
        if (begins(&list.rows[i], prefix)) {
            (request.json ? print_json : print_text)(&list.rows[i]);
        }
    }
    key_list_release(&list);
    return COMMAND_OK;
}
