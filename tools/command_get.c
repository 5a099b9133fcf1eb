// SPDX-License-Identifier: Apache-2.0
//
// cascade get: the block of a key becomes a file, or goes to standard output.
// Every byte is verified before the first one is written.

#include <argp.h>
#include <stdbool.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/shell_store.h"
#include "tools/whole_file.h"

// A block that keeps changing its size under our eyes is given up on.
#define ATTEMPTS_MAX 4

struct get_request {
    struct shell_store_request store;
    const char *key;
    const char *path;
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct get_request *request = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->store;
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
        if (state->arg_num < 1) {
            argp_usage(state);
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// Reads the block into memory that the caller releases on success.
static enum cascade_status
read_block(struct cascade *store, struct cascade_key key,
           struct whole_file *file)
{
    struct cascade_location location;
    enum cascade_status status = cascade_locate(store, key, &location);
    size_t bytes;

    if (status != CASCADE_OK) {
        return status;
    }
    bytes = (size_t)location.bytes;
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        struct cascade_span span;

        status = whole_file_reserve(file, bytes);
        if (status != CASCADE_OK) {
            return status;
        }
        span = (struct cascade_span){.data = file->data, .bytes = file->room};
        status = cascade_get(store, key, &span, 1, NULL, &bytes);
        if (status == CASCADE_OK) {
            file->bytes = bytes;
            return CASCADE_OK;
        }
        whole_file_release(file);
        if (status != CASCADE_TOO_SMALL) {
            return status;
        }
    }
    return status;
}

int
command_get(int argc, char **argv)
{
    static const char what[] =
        "Writes the block of KEY from a cold directory to FILE (- or none is "
        "standard output).";
    const struct argp_child children[] = {
        {shell_store_argp(), 0, "Store:", 1},
        {NULL, 0, NULL, 0},
    };
    const struct argp argp = {
        NULL, parse, "KEY [FILE]", what, children, NULL, NULL,
    };
    struct get_request request = {.path = "-"};
    struct whole_file file = {.data = NULL};
    struct cascade *store;
    struct cascade_key key;
    uint8_t room[CASCADE_KEY_BYTES_MAX];
    enum cascade_status status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = shell_store_key(&request.store, request.key, room, &key);
    if (status == CASCADE_OK) {
        status = shell_store_open(&request.store, SHELL_STORE_LOOK, 0, &store);
    }
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    status = read_block(store, key, &file);
    status = shell_store_close(store, false, status);
    if (status == CASCADE_NOT_FOUND) {
        output_missing(key);
        return COMMAND_NO;
    }
    if (status == CASCADE_OK) {
        status = whole_file_write(request.path, file.data, file.bytes);
    }
    whole_file_release(&file);
    return status == CASCADE_OK ? COMMAND_OK : output_failure(status);
}
