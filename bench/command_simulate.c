// SPDX-License-Identifier: Apache-2.0
//
// cascade simulate: eviction policies over a trace, without bytes.

#include <argp.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/machine.h"
#include "base/option.h"
#include "base/units.h"
#include "bench/simulate_cells.h"
#include "bench/workload.h"
#include "tools/command.h"
#include "tools/output.h"

#define POLICIES_MAX 64
#define CAPACITIES_MAX 64
#define NAME_BYTES 128

struct capacity {
    double pct; // 0: `blocks` was given
    uint32_t blocks;
};

struct request {
    const char *trace_path;
    const char *family; // instead of a trace
    enum trace_format format;
    const struct policy_table *policies[POLICIES_MAX]; // NULL: opt
    size_t policy_count;
    struct capacity capacities[CAPACITIES_MAX];
    size_t capacity_count;
    double hints_right;
    double scale;
    uint64_t requests_max;
    uint64_t seed;
    uint32_t threads; // 0: one for each processor
    bool json;
};

enum {
    OPTION_FORMAT = 512,
    OPTION_HINTS,
    OPTION_MADE,
    OPTION_REQUESTS,
    OPTION_SCALE,
    OPTION_SEED,
    OPTION_THREADS,
};

static const struct argp_option options[] = {
    {"policy", 'p', "NAME[,NAME...]", 0,
     "Policies; all is every one and opt (default all)", 0},
    {"capacity", 'c', "N%[,N%...]", 0,
     "Capacities in percent of the distinct blocks, or as numbers of blocks "
     "(default 1%,5%,10%,25%,50%)",
     0},
    {"hints", OPTION_HINTS, "P", 0,
     "Every request says whether its conversation goes on, and is right with "
     "this probability",
     0},
    {"format", OPTION_FORMAT, "FORMAT", 0,
     "Of the trace: auto, mooncake, oracle or twitter (default auto)", 0},
    {"made", OPTION_MADE, "FAMILY", 0,
     "A trace made from the seed instead of a file: zipf, scans, phases, "
     "agents or loop",
     0},
    {"scale", OPTION_SCALE, "X", 0, "Size of a made trace (default 1)", 0},
    {"requests", OPTION_REQUESTS, "N", 0, "Only the first N requests", 0},
    {"seed", OPTION_SEED, "N", 0, "Of made traces, hints and policies", 0},
    {"threads", OPTION_THREADS, "N", 0,
     "Simulations at once (default: one for each processor)", 0},
    {"json", 'j', NULL, 0,
     "Add \"refs_per_s\", the speed of each simulation, to its line", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static void
add_policy(struct argp_state *state, struct request *request,
           const struct policy_table *policy)
{
    if (request->policy_count == POLICIES_MAX) {
        argp_error(state, "--policy: more than %d policies", POLICIES_MAX);
        return;
    }
    request->policies[request->policy_count++] = policy;
}

static const char *
nearest_policy(const char *name)
{
    struct option_row rows[POLICIES_MAX] = {{.name = "all"},
                                            {.name = SIMULATE_OPT_NAME}};
    struct option_table table = {.rows = rows, .count = 2};

    for (size_t i = 0; policy_at(i) != NULL && table.count < POLICIES_MAX;
         i++) {
        rows[table.count++].name = policy_at(i)->name;
    }
    return option_nearest(&table, name);
}

static void
add_policy_named(struct argp_state *state, struct request *request,
                 const char *name)
{
    const struct policy_table *policy = policy_find(name);

    if (policy != NULL) {
        add_policy(state, request, policy);
    } else if (strcmp(name, SIMULATE_OPT_NAME) == 0) {
        add_policy(state, request, NULL);
    } else if (strcmp(name, "all") == 0) {
        for (size_t i = 0; policy_at(i) != NULL; i++) {
            add_policy(state, request, policy_at(i));
        }
        add_policy(state, request, NULL);
    } else {
        argp_error(state, "--policy: there is no policy '%s'; did you mean %s?",
                   name, nearest_policy(name));
    }
}

static void
add_capacity(struct argp_state *state, struct request *request,
             const char *text)
{
    struct capacity capacity = {.pct = 0};
    size_t length = strlen(text);
    char number[NAME_BYTES];
    uint64_t blocks = 0;
    bool good;

    memcpy(number, text, length + 1);
    if (length > 0 && number[length - 1] == '%') {
        number[length - 1] = '\0';
        good = units_parse_real(number, &capacity.pct) && capacity.pct > 0 &&
               capacity.pct <= 100;
    } else {
        good = units_parse_unsigned(number, &blocks) && blocks > 0 &&
               blocks < UINT32_MAX;
        capacity.blocks = (uint32_t)blocks;
    }
    if (!good || request->capacity_count == CAPACITIES_MAX) {
        argp_error(state,
                   "--capacity: '%s' is not like 5%% (up to 100%%) or a number "
                   "of blocks, at most %d of them",
                   text, CAPACITIES_MAX);
        return;
    }
    request->capacities[request->capacity_count++] = capacity;
}

// Calls `add` for each word between commas.
static void
read_list(struct argp_state *state, struct request *request, const char *name,
          const char *text,
          void (*add)(struct argp_state *, struct request *, const char *))
{
    for (;;) {
        size_t length = strcspn(text, ",");
        char word[NAME_BYTES];

        if (length == 0 || length >= sizeof(word)) {
            argp_error(state, "--%s: '%s' is not a list with commas", name,
                       text);
            return;
        }
        memcpy(word, text, length);
        word[length] = '\0';
        add(state, request, word);
        if (text[length] == '\0') {
            return;
        }
        text += length + 1;
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
read_real(struct argp_state *state, const char *name, const char *text,
          double greatest, double *value)
{
    if (!units_parse_real(text, value) || !(*value > 0 && *value <= greatest)) {
        argp_error(state, "--%s: '%s' is not a number above 0 and up to %g",
                   name, text, greatest);
    }
}

static void
read_format(struct argp_state *state, const char *text,
            enum trace_format *format)
{
    if (!trace_format_find(text, format)) {
        argp_error(state,
                   "--format: '%s' is not auto, mooncake, oracle or twitter",
                   text);
    }
}

static error_t
parse_value(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;
    uint64_t threads = 0;

    switch (key) {
    case OPTION_FORMAT:
        read_format(state, argument, &request->format);
        return 0;
    case OPTION_HINTS:
        read_real(state, "hints", argument, 1, &request->hints_right);
        return 0;
    case OPTION_SCALE:
        read_real(state, "scale", argument, 1000, &request->scale);
        return 0;
    case OPTION_REQUESTS:
        read_count(state, "requests", argument, &request->requests_max);
        return 0;
    case OPTION_SEED:
        read_count(state, "seed", argument, &request->seed);
        return 0;
    case OPTION_THREADS:
        read_count(state, "threads", argument, &threads);
        request->threads = (uint32_t)units_min(threads, 1024);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;

    switch (key) {
    case 'p':
        read_list(state, request, "policy", argument, add_policy_named);
        return 0;
    case 'c':
        read_list(state, request, "capacity", argument, add_capacity);
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case OPTION_MADE:
        request->family = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_usage(state);
        }
        request->trace_path = argument;
        return 0;
    case ARGP_KEY_END:
        if ((request->trace_path == NULL) == (request->family == NULL)) {
            argp_error(state, "give one TRACE or --made FAMILY");
        }
        if (request->policy_count == 0) {
            add_policy_named(state, request, "all");
        }
        if (request->capacity_count == 0) {
            read_list(state, request, "capacity", "1%,5%,10%,25%,50%",
                      add_capacity);
        }
        return 0;
    default:
        return parse_value(key, argument, state);
    }
}

// The name of the file without its folder and endings.
static void
name_trace(const char *path, char name[NAME_BYTES])
{
    const char *slash = strrchr(path, '/');
    const char *begin = slash != NULL ? slash + 1 : path;
    size_t length = strcspn(begin, ".");

    length = length == 0 ? strlen(begin) : length;
    length = units_min(length, NAME_BYTES - 1);
    memcpy(name, begin, length);
    name[length] = '\0';
}

static enum cascade_status
make_trace(const struct request *request, struct trace *trace)
{
    struct workload_settings settings = {
        .seed = request->seed,
        .scale = request->scale,
    };

    for (unsigned i = 0; i < WORKLOAD_FAMILIES; i++) {
        settings.family = (enum workload_family)i;
        if (strcmp(workload_name(settings.family), request->family) == 0) {
            return workload_make(allocator_system(), &settings, trace);
        }
    }
    return error_set(CASCADE_INVALID,
                     "no traces called '%s' can be made; see --help",
                     request->family);
}

static enum cascade_status
run_all(const struct request *request, const struct trace *trace,
        const char *name)
{
    struct machine_limits limits;
    struct simulate_cells cells = {
        .trace = trace,
        .trace_name = name,
        .count = request->policy_count * request->capacity_count,
        .hints_right = request->hints_right,
        .seed = request->seed,
        .with_speed = request->json,
        .threads = request->threads,
    };
    enum cascade_status status;

    machine_read(file_system_real(), "", &limits);
    cells.threads = cells.threads == 0 ? limits.cpus : cells.threads;
    cells.cells = allocator_array(allocator_system(), cells.count,
                                  sizeof(*cells.cells));
    if (cells.cells == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for %zu simulations",
                         cells.count);
    }
    for (size_t i = 0; i < cells.count; i++) {
        const struct capacity *capacity =
            &request->capacities[i % request->capacity_count];
        struct simulate_cell *cell = &cells.cells[i];

        cell->policy = request->policies[i / request->capacity_count];
        cell->capacity_pct = capacity->pct;
        cell->capacity_blocks = capacity->blocks;
        if (capacity->blocks == 0) {
            cell->capacity_blocks = simulate_capacity(trace, capacity->pct);
        } else if (trace->id_count > 0) {
            cell->capacity_pct = 100 * (double)capacity->blocks /
                                 (double)trace->id_count;
        }
    }
    status = simulate_cells_run(&cells);
    allocator_release(allocator_system(), cells.cells);
    return status;
}

int
command_simulate(int argc, char **argv)
{
    static const char what[] =
        "Runs eviction policies over TRACE without bytes and prints one JSON "
        "line for each policy and capacity.\v"
        "Hits of a request are its longest run of leading blocks that are "
        "cached, counted on the state before it. opt is the best that could "
        "be done with the future known.";
    const struct argp argp = {
        options, parse, "[TRACE]", what, NULL, NULL, NULL,
    };
    struct request request = {.seed = 1, .scale = 1};
    char name[NAME_BYTES];
    struct trace trace;
    enum cascade_status status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.trace_path != NULL) {
        name_trace(request.trace_path, name);
        status = trace_load_format(allocator_system(), request.trace_path,
                                   request.format, request.requests_max,
                                   &trace);
    } else {
        name_trace(request.family, name);
        status = make_trace(&request, &trace);
    }
    if (status != CASCADE_OK) {
        (void)output_failure(status);
        return COMMAND_NO;
    }
    status = run_all(&request, &trace, name);
    trace_release(&trace);
    return status == CASCADE_OK ? COMMAND_OK : output_failure(status);
}
