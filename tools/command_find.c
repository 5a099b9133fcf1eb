// SPDX-License-Identifier: Apache-2.0
//
// cascade find: where the blocks of keys are. Changes nothing.

#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"
#include "tools/shell_store.h"

struct find_request {
    struct shell_store_request store;
    bool json;
    int first; // index of the first key
};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object per key", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct find_request *request = state->input;

    (void)argument;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &request->store;
        return 0;
    case 'j':
        request->json = true;
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

static void
print_json(struct cascade_key key, const struct cascade_location *location)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_key(object, key);
    output_json_flag(object, "found", location != NULL);
    if (location != NULL) {
        output_json_unsigned(object, "tier", (uint64_t)location->tier);
        output_json_text(object, "tier_name", output_tier_name(location->tier));
        output_json_unsigned(object, "rank", (uint64_t)location->rank);
        output_json_unsigned(object, "offset", location->offset);
        output_json_unsigned(object, "bytes", location->bytes);
        output_json_flag(object, "protected", location->protected_prefix);
        output_json_hex(object, "id", location->id, sizeof(location->id));
    }
    output_json_line(object);
}

static void
print_text(struct cascade_key key, const struct cascade_location *location)
{
    char text[OUTPUT_KEY_TEXT_BYTES];
    char id[OUTPUT_ID_TEXT_BYTES];

    output_key_text(key, text);
    output_hex(location->id, sizeof(location->id), id);
    (void)printf("%s: tier %d (%s), offset %" PRIu64 ", %" PRIu64
                 " bytes, id %s%s\n",
                 text, (int)location->tier, output_tier_name(location->tier),
                 location->offset, location->bytes, id,
                 location->protected_prefix ? ", protected" : "");
}

// Finds one key and says so. NOT_FOUND has been told.
static enum cascade_status
find(struct cascade *store, struct cascade_key key, bool json)
{
    struct cascade_location location;
    enum cascade_status status = cascade_locate(store, key, &location);

    if (status == CASCADE_OK) {
        (json ? print_json : print_text)(key, &location);
    } else if (status == CASCADE_NOT_FOUND && json) {
        print_json(key, NULL);
    } else if (status == CASCADE_NOT_FOUND) {
        output_missing(key);
    }
    return status;
}

int
command_find(int argc, char **argv)
{
    static const char what[] =
        "Tells where the blocks of the KEYs in a cold directory are.";
    const struct argp_child children[] = {
        {shell_store_argp(), 0, "Store:", 1},
        {NULL, 0, NULL, 0},
    };
    const struct argp argp = {
        options, parse, "KEY...", what, children, NULL, NULL,
    };
    struct find_request request = {.json = false};
    struct cascade *store;
    enum cascade_status status;
    int answer = COMMAND_OK;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = shell_store_check_keys(&request.store, argv + request.first);
    if (status == CASCADE_OK) {
        status = shell_store_open(&request.store, SHELL_STORE_LOOK, 0, &store);
    }
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    for (int i = request.first; argv[i] != NULL && status == CASCADE_OK; i++) {
        uint8_t room[CASCADE_KEY_BYTES_MAX];
        struct cascade_key key;

        status = shell_store_key(&request.store, argv[i], room, &key);
        if (status == CASCADE_OK) {
            status = find(store, key, request.json);
        }
        if (status == CASCADE_NOT_FOUND) {
            status = CASCADE_OK;
            answer = COMMAND_NO;
        }
    }
    status = shell_store_close(store, false, status);
    return status == CASCADE_OK ? answer : output_failure(status);
}
