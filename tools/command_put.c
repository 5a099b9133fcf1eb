// SPDX-License-Identifier: Apache-2.0
//
// cascade put: a file becomes the block of a key, on stable storage when the
// command ends.

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/shell_store.h"
#include "tools/whole_file.h"

struct put_request {
    struct shell_store_request store;
    bool protect;
    bool if_absent;
    bool json;
    const char *key;
    const char *path;
};

enum {
    OPTION_IF_ABSENT = 512,
};

static const struct argp_option options[] = {
    {"prefix", 'p', NULL, 0, "Protect the block: many prompts begin with it",
     0},
    {"if-absent", OPTION_IF_ABSENT, NULL, 0,
     "Leave a key that has a block as it is", 0},
    {"json", 'j', NULL, 0, "Print what was done as one JSON object", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct put_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->store;
        return 0;
    case 'p':
        request->protect = true;
        return 0;
    case OPTION_IF_ABSENT:
        request->if_absent = true;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0) {
            request->key = argument;
        } else if (state->arg_num == 1) {
            request->path = argument;
        } else {
            argp_usage(state);
        }
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) {
            argp_usage(state);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// `left_alone`: the key has its old block, of which nothing is known here.
static void
print_json(struct cascade_key key, const struct whole_file *file,
           const struct cascade_put_result *result, bool left_alone)
{
    json_t *object = json_object();
    uint8_t id[CASCADE_ID_BYTES];

    output_need(object != NULL);
    output_json_key(object, key);
    if (!left_alone) {
        output_json_unsigned(object, "bytes", file->bytes);
        cascade_content_id(file->data, file->bytes, id);
        output_json_hex(object, "id", id, sizeof(id));
    }
    output_json_flag(object, "stored", result->stored);
    output_json_flag(object, "deduplicated", result->deduplicated);
    output_json_flag(object, "existed", result->existed);
    output_json_flag(object, "protected", result->protected_prefix);
    output_json_line(object);
}

// Puts, flushes and closes. `*result` is filled unless it fails.
static enum cascade_status
put(const struct put_request *request, struct cascade_key key,
    const struct whole_file *file, struct cascade_put_result *result)
{
    const struct cascade_const_span span = {
        .data = file->data,
        .bytes = file->bytes,
        .memory = CASCADE_MEMORY_HOST,
    };
    const struct cascade_put_options how = {
        .size = sizeof(how),
        .flags = (request->protect ? (uint32_t)CASCADE_PUT_PREFIX : 0) |
                 (request->if_absent ? (uint32_t)CASCADE_PUT_IF_ABSENT : 0),
    };
    struct cascade *store;
    enum cascade_status status;

    status = shell_store_open(&request->store, SHELL_STORE_OWN, file->bytes,
                              &store);
    if (status != CASCADE_OK) {
        return status;
    }
    status = cascade_put(store, key, &span, 1, &how, result);
    if (status == CASCADE_EXISTS && request->if_absent) {
        result->existed = true;
        status = CASCADE_OK;
    }
    return shell_store_close(store, true, status);
}

int
command_put(int argc, char **argv)
{
    static const char what[] =
        "Stores FILE (- is standard input) as the block of KEY in a cold "
        "directory.";
    const struct argp_child children[] = {
        {shell_store_argp(), 0, "Store:", 1},
        {NULL, 0, NULL, 0},
    };
    const struct argp argp = {
        options, parse, "KEY FILE", what, children, NULL, NULL,
    };
    struct put_request request = {.json = false};
    struct cascade_put_result result = {.stored = false};
    struct whole_file file;
    struct cascade_key key;
    uint8_t room[CASCADE_KEY_BYTES_MAX];
    enum cascade_status status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = shell_store_key(&request.store, request.key, room, &key);
    if (status == CASCADE_OK) {
        status = whole_file_read(request.path, &file);
    }
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    status = put(&request, key, &file, &result);
    if (status == CASCADE_OK && request.json) {
        print_json(key, &file, &result, request.if_absent && result.existed);
    }
    whole_file_release(&file);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    if (request.protect && !result.protected_prefix && !result.existed) {
        output_note("the block is stored, but its protection was refused; "
                    "see prefix_fraction_max and semantic_eviction");
        return COMMAND_NO;
    }
    return COMMAND_OK;
}
