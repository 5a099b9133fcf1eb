// SPDX-License-Identifier: Apache-2.0
//
// cascade rm: forgets keys. Durable when the command ends.

#include <argp.h>
#include <stdbool.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/shell_store.h"

struct rm_request {
    struct shell_store_request store;
    bool force;
    int first; // index of the first key
};

static const struct argp_option options[] = {
    {"force", 'f', NULL, 0, "A key that is not there is no error", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct rm_request *request = state->input;

    (void)argument;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->store;
        return 0;
    case 'f':
        request->force = true;
        return 0;
    case ARGP_KEY_ARGS:
        request->first = state->next;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int
command_rm(int argc, char **argv)
{
    static const char what[] =
        "Forgets the blocks of the KEYs in a cold directory.";
    const struct argp_child children[] = {
        {shell_store_argp(), 0, "Store:", 1},
        {NULL, 0, NULL, 0},
    };
    const struct argp argp = {
        options, parse, "KEY...", what, children, NULL, NULL,
    };
    struct rm_request request = {.force = false};
    struct cascade *store;
    enum cascade_status status;
    int answer = COMMAND_OK;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = shell_store_check_keys(&request.store, argv + request.first);
    if (status == CASCADE_OK) {
        status = shell_store_open(&request.store, SHELL_STORE_OWN, 0, &store);
    }
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    for (int i = request.first; argv[i] != NULL && status == CASCADE_OK; i++) {
        uint8_t room[CASCADE_KEY_BYTES_MAX];
        struct cascade_key key;

        status = shell_store_key(&request.store, argv[i], room, &key);
        if (status == CASCADE_OK) {
            status = cascade_remove(store, key);
        }
        if (status == CASCADE_NOT_FOUND) {
            status = CASCADE_OK;
            if (!request.force) {
                output_missing(key);
                answer = COMMAND_NO;
            }
        }
    }
    status = shell_store_close(store, true, status);
    return status == CASCADE_OK ? answer : output_failure(status);
}
