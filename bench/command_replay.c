// SPDX-License-Identifier: Apache-2.0
//
// cascade replay: a trace through a real store, every byte compared.

#include <argp.h>
#include <string.h>

#include "base/allocator.h"
#include "base/units.h"
#include "bench/replay.h"
#include "tools/command.h"
#include "tools/output.h"

#define SETTINGS_MAX 64

struct request {
    struct replay_options options;
    const char *settings[SETTINGS_MAX];
};

enum {
    OPTION_DRAM = 512,
    OPTION_COLD_PATH,
    OPTION_COLD,
    OPTION_BLOCK_BYTES,
    OPTION_REQUESTS,
    OPTION_RESTART_AT,
    OPTION_KILL,
    OPTION_PROTECT,
    OPTION_SEED,
    OPTION_SAMPLES,
    OPTION_ROUTE,
};

static const struct argp_option options[] = {
    {"dram", OPTION_DRAM, "SIZE", 0, "Memory for blocks in DRAM", 0},
    {"cold-path", OPTION_COLD_PATH, "DIR", 0,
     "Folder of the cold tier; without it there is none", 0},
    {"cold", OPTION_COLD, "SIZE", 0, "Space for segment files", 0},
    {"block-bytes", OPTION_BLOCK_BYTES, "SIZE", 0,
     "Bytes of every block (default 64KiB)", 0},
    {"requests", OPTION_REQUESTS, "N", 0, "Only the first N requests", 0},
    {"protect", OPTION_PROTECT, "N", 0,
     "Protect the N blocks that most prompts begin with", 0},
    {"restart-at", OPTION_RESTART_AT, "FRACTION", 0,
     "Flush, end and open the store again after this part of the requests", 0},
    {"kill", OPTION_KILL, NULL, 0,
     "The restart is a kill -9 after the flush, not a close", 0},
    {"seed", OPTION_SEED, "N", 0, "Other contents for the same blocks", 0},
    {"option", 'o', "NAME=VALUE", 0, "Any option of the store", 0},
    {"samples", OPTION_SAMPLES, "FILE", 0,
     "Write windows of the run as JSON lines", 0},
    {"route", OPTION_ROUTE, "WAY", 0,
     "On many ranks: each serves the requests routed to it, by prefix "
     "affinity or at random",
     0},
    {"json", 'j', NULL, 0, "Print the result as one JSON object", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static void
read_size(struct argp_state *state, const char *name, const char *text,
          uint64_t *value)
{
    if (!units_parse_bytes(text, value) || *value == 0) {
        argp_error(state, "--%s: '%s' is not a size such as 64KiB or 2GiB",
                   name, text);
    }
}

static void
read_count(struct argp_state *state, const char *name, const char *text,
           uint64_t *value)
{
    if (!units_parse_unsigned(text, value)) {
        argp_error(state, "--%s: '%s' is not a number", name, text);
    }
}

static void
read_fraction(struct argp_state *state, const char *text, double *value)
{
    if (!units_parse_real(text, value) || !(*value > 0 && *value < 1)) {
        argp_error(state,
                   "--restart-at: '%s' is not a fraction between 0 "
                   "and 1",
                   text);
    }
}

static void
read_route(struct argp_state *state, const char *text, enum route *value)
{
    if (!route_find(text, value)) {
        argp_error(state, "--route: '%s' is neither affinity nor random", text);
    }
}

static void
add_setting(struct argp_state *state, struct request *request,
            const char *setting)
{
    if (request->options.setting_count == SETTINGS_MAX) {
        argp_error(state, "too many options of the store");
        return;
    }
    request->settings[request->options.setting_count++] = setting;
}

static void
check_together(struct argp_state *state, const struct replay_options *chosen)
{
    if (chosen->cold_path == NULL && chosen->cold_bytes != 0) {
        argp_error(state, "--cold needs --cold-path");
    }
    if (chosen->cold_path == NULL && chosen->restart_at > 0) {
        argp_error(state, "--restart-at needs --cold-path: without a cold "
                          "tier nothing outlives a store");
    }
    if (chosen->route != ROUTE_NONE && chosen->restart_at > 0) {
        argp_error(state, "--restart-at is for one rank, without --route");
    }
    if (chosen->kill && !(chosen->restart_at > 0)) {
        argp_error(state, "--kill needs --restart-at");
    }
}

static error_t
parse_value(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    struct replay_options *chosen = &request->options;

    switch (key) {
    case OPTION_DRAM:
        read_size(state, "dram", argument, &chosen->dram_bytes);
        return 0;
    case OPTION_COLD:
        read_size(state, "cold", argument, &chosen->cold_bytes);
        return 0;
    case OPTION_BLOCK_BYTES:
        read_size(state, "block-bytes", argument, &chosen->block_bytes);
        return 0;
    case OPTION_REQUESTS:
        read_count(state, "requests", argument, &chosen->requests_max);
        return 0;
    case OPTION_PROTECT:
        read_count(state, "protect", argument, &chosen->protect_count);
        return 0;
    case OPTION_SEED:
        read_count(state, "seed", argument, &chosen->seed);
        return 0;
    case OPTION_RESTART_AT:
        read_fraction(state, argument, &chosen->restart_at);
        return 0;
    case OPTION_ROUTE:
        read_route(state, argument, &chosen->route);
        return 0;
    case 'o':
        add_setting(state, request, argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    struct replay_options *chosen = &request->options;

    switch (key) {
    case OPTION_COLD_PATH:
        chosen->cold_path = argument;
        return 0;
    case OPTION_SAMPLES:
        chosen->samples_path = argument;
        return 0;
    case OPTION_KILL:
        chosen->kill = true;
        return 0;
    case 'j':
        chosen->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_usage(state);
        }
        chosen->trace_path = argument;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 1) {
            argp_usage(state);
        }
        check_together(state, chosen);
        return 0;
    default:
        return parse_value(key, argument, state);
    }
}

int
command_replay(int argc, char **argv)
{
    static const char what[] =
        "Runs TRACE (JSON lines, plain or gzip) through a real store: hits "
        "are got and compared byte by byte, missing blocks are put.\v"
        "Exit status: 1 if a byte was wrong, a protected block was lost, or a "
        "flushed block was missing after the restart.";
    const struct argp argp = {
        options, parse, "TRACE", what, NULL, NULL, NULL,
    };
    struct request request = {
        .options = {.block_bytes = 64 * KIB, .seed = 1},
    };
    struct replay replay = {.options = &request.options};
    struct trace trace;
    enum cascade_status status;
    int exit_status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    request.options.settings = request.settings;
    status = trace_load(allocator_system(), request.options.trace_path,
                        request.options.requests_max, &trace);
    if (status != CASCADE_OK) {
        (void)output_failure(status);
        return COMMAND_NO;
    }
    replay.trace = &trace;
    status = replay_run(&replay);
    if (status != CASCADE_OK) {
        exit_status = output_failure(status);
    } else {
        // The first of many ranks speaks, and fails, for all.
        if (replay.rank == 0) {
            replay_print(&replay);
        }
        exit_status = replay.rank != 0 || replay_is_clean(&replay) ? COMMAND_OK
                                                                   : COMMAND_NO;
    }
    replay_release(&replay);
    trace_release(&trace);
    return exit_status;
}
