// SPDX-License-Identifier: Apache-2.0
//
// cascade bench: runs cases, each with its sizes and numbers of threads, one
// result a line.

#include <argp.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "tools/command.h"
#include "tools/output.h"

#define TINY_BYTES_MAX (256 * KIB)
#define TINY_TOTAL_BYTES (1 * MIB)
#define TINY_BLOCKS_MAX 64
#define TINY_OPERATIONS 200
#define TINY_ROUNDS 2
#define THREADS_MAX 64

struct request {
    struct bench_case cases[BENCH_CASES_MAX];
    size_t case_count;
    bool chosen[BENCH_CASES_MAX];
    bool any;
    bool list;
    bool json;
    bool tiny;
    uint64_t rounds; // 0: the case's
    uint64_t bytes;
    uint64_t threads;
    uint64_t seed;
    const char *folder;
    const char *out;
    bool unclean; // bytes were wrong, or something was missed
};

enum {
    OPTION_ROUNDS = 512,
    OPTION_BYTES,
    OPTION_THREADS,
    OPTION_LIST,
    OPTION_TINY,
    OPTION_DIR,
    OPTION_OUT,
    OPTION_SEED,
};

static const struct argp_option options[] = {
    {"list", OPTION_LIST, NULL, 0, "List the cases", 0},
    {"json", 'j', NULL, 0, "Print one JSON object per result", 0},
    {"rounds", OPTION_ROUNDS, "N", 0, "Rounds of each measurement", 0},
    {"bytes", OPTION_BYTES, "SIZE", 0, "Only blocks of this size", 0},
    {"threads", OPTION_THREADS, "N", 0, "Only this number of threads", 0},
    {"dir", OPTION_DIR, "DIR", 0,
     "Where the cold cases make their folder (default $TMPDIR or /tmp)", 0},
    {"out", OPTION_OUT, "FILE", 0,
     "Append the whole record of each result: every sample, and how and where "
     "it was made",
     0},
    {"seed", OPTION_SEED, "N", 0, "Other contents", 0},
    {"tiny", OPTION_TINY, NULL, 0,
     "Small and short, to see that a case works; the numbers mean nothing", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static void
choose(struct argp_state *state, struct request *request, const char *name)
{
    const struct bench_case *found = bench_case_find(request->cases,
                                                     request->case_count, name);

    request->any = true;
    for (size_t i = 0; i < request->case_count; i++) {
        if (strcmp(name, "all") == 0 || found == &request->cases[i]) {
            request->chosen[i] = true;
        }
    }
    if (found == NULL && strcmp(name, "all") != 0) {
        argp_error(state, "there is no case '%s'; --list shows them", name);
    }
}

static uint64_t
read_count(struct argp_state *state, const char *name, const char *text,
           uint64_t max)
{
    uint64_t value = 0;

    if (!units_parse_unsigned(text, &value) || value == 0 || value > max) {
        argp_error(state, "--%s: '%s' is not a number from 1 to %" PRIu64, name,
                   text, max);
    }
    return value;
}

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct request *request = state->input;

    switch (key) {
    case OPTION_LIST:
        request->list = true;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case OPTION_TINY:
        request->tiny = true;
        return 0;
    case OPTION_ROUNDS:
        request->rounds = read_count(state, "rounds", argument,
                                     BENCH_ROUNDS_MAX);
        return 0;
    case OPTION_THREADS:
        request->threads = read_count(state, "threads", argument, THREADS_MAX);
        return 0;
    case OPTION_SEED:
        request->seed = read_count(state, "seed", argument, UINT16_MAX);
        return 0;
    case OPTION_BYTES:
        if (!units_parse_bytes(argument, &request->bytes) ||
            request->bytes == 0 || request->bytes > CASCADE_BLOCK_BYTES_MAX) {
            argp_error(state, "--bytes: '%s' is not a size of a block",
                       argument);
        }
        return 0;
    case OPTION_DIR:
        request->folder = argument;
        return 0;
    case OPTION_OUT:
        request->out = argument;
        return 0;
    case ARGP_KEY_ARG:
        choose(state, request, argument);
        return 0;
    case ARGP_KEY_END:
        if (!request->any && !request->list) {
            argp_error(state, "name a case, or 'all'; --list shows them");
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void
print_list(const struct request *request)
{
    for (size_t i = 0; i < request->case_count; i++) {
        const struct bench_case *what = &request->cases[i];

        if (request->json) {
            json_t *object = json_object();

            output_need(object != NULL);
            output_json_text(object, "case", what->name);
            output_json_text(object, "driver", what->driver);
            output_json_line(object);
            continue;
        }
        (void)printf("%-15s blocks of", what->name);
        for (size_t k = 0; k < what->bytes_count; k++) {
            char size[32];

            units_format_bytes(what->bytes[k], size, sizeof(size));
            (void)printf(" %s", size);
        }
        (void)printf(", threads");
        for (size_t k = 0; k < what->threads_count; k++) {
            (void)printf(" %" PRIu64, what->threads[k]);
        }
        (void)printf("\n");
    }
}

// Raw I/O works on whole pages, so the blocks of cold cases do, too.
static void
set_sizes(const struct request *request, struct bench_run *run)
{
    const struct bench_case *what = run->what;
    uint64_t total_bytes = what->total_bytes;
    uint64_t blocks = what->blocks;

    run->operations = what->operations;
    run->rounds = (uint32_t)(request->rounds != 0 ? request->rounds
                                                  : what->rounds);
    if (request->tiny) {
        run->block_bytes = units_min(run->block_bytes, TINY_BYTES_MAX);
        run->operations = units_min(run->operations, TINY_OPERATIONS);
        run->rounds = TINY_ROUNDS;
        total_bytes = units_min(total_bytes, TINY_TOTAL_BYTES);
        blocks = units_min(blocks, TINY_BLOCKS_MAX);
    }
    if (blocks == 0) {
        blocks = total_bytes / run->block_bytes;
    }
    blocks = units_max(units_round_down(blocks, run->threads), run->threads);
    run->blocks = blocks;
}

// One measurement in a folder of its own.
static enum cascade_status
measure(struct request *request, const struct bench_driver *driver,
        struct bench_run *run)
{
    enum cascade_status status = CASCADE_OK;
    char skip[512];

    if (driver->needs_folder) {
        status = bench_folder_make(run, request->folder);
    }
    if (status == CASCADE_OK) {
        status = bench_run_measure(driver, run, skip, sizeof(skip));
    }
    if (status == CASCADE_OK && run->rank != 0) {
        // The first of many ranks records for all.
    } else if (status == CASCADE_OK && skip[0] != '\0') {
        bench_record_skip(run, skip, request->json);
    } else if (status == CASCADE_OK) {
        request->unclean |= !bench_record_print(driver, run, request->json);
        if (request->out != NULL) {
            status = bench_record_append(driver, run, request->out);
        }
    }
    bench_folder_remove(run, "");
    allocator_release(allocator_system(), run->latencies.ns);
    allocator_release(allocator_system(), run->limit_latencies.ns);
    return status;
}

static enum cascade_status
run_pair(struct request *request, const struct bench_case *what,
         uint64_t block_bytes, uint64_t threads)
{
    const struct bench_driver *driver = bench_driver_find(what->driver);
    struct bench_run *run;
    enum cascade_status status;

    // The cases are part of this program, and a test runs each.
    check(driver != NULL);
    run = allocator_array(allocator_system(), 1, sizeof(*run));
    if (run == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a measurement");
    }
    run->what = what;
    run->block_bytes = block_bytes;
    run->threads = (uint32_t)threads;
    run->seed = request->seed;
    run->tiny = request->tiny;
    set_sizes(request, run);
    status = measure(request, driver, run);
    allocator_release(allocator_system(), run);
    return status;
}

static enum cascade_status
run_case(struct request *request, const struct bench_case *what)
{
    size_t sizes = request->bytes != 0 || request->tiny ? 1 : what->bytes_count;
    size_t counts = request->threads != 0 ? 1 : what->threads_count;
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < sizes && status == CASCADE_OK; i++) {
        for (size_t k = 0; k < counts && status == CASCADE_OK; k++) {
            status = run_pair(
                request, what,
                request->bytes != 0 ? request->bytes : what->bytes[i],
                request->threads != 0 ? request->threads : what->threads[k]);
        }
    }
    return status;
}

int
command_bench(int argc, char **argv)
{
    static const char what[] =
        "Measures CASEs ('all' is every one) beside a limit that is measured "
        "in the same run. Bytes count only after they were compared.\v"
        "Exit status: 1 if a byte was wrong or a block was missed.";
    const struct argp argp = {
        options, parse, "CASE...", what, NULL, NULL, NULL,
    };
    struct request request = {.seed = 1};
    enum cascade_status status;

    status = bench_case_parse(bench_case_text, request.cases, BENCH_CASES_MAX,
                              &request.case_count);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    request.folder = getenv("TMPDIR");
    if (request.folder == NULL || request.folder[0] == '\0') {
        request.folder = "/tmp";
    }
    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.list) {
        print_list(&request);
        return COMMAND_OK;
    }
    for (size_t i = 0; i < request.case_count; i++) {
        if (!request.chosen[i]) {
            continue;
        }
        status = run_case(&request, &request.cases[i]);
        if (status != CASCADE_OK) {
            return output_failure(status);
        }
    }
    return request.unclean ? COMMAND_NO : COMMAND_OK;
}
