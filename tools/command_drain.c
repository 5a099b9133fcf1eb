// SPDX-License-Identifier: Apache-2.0
//
// cascade drain: asks a running store of this user to write what is only in
// memory, until a deadline, and waits for its answer. The store itself does the
// work (store_drain.c); this reads and writes the page that it publishes.

#include <argp.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/metric_page.h"
#include "base/metric_page_ask.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"

#define DEADLINE_NS (20 * NS_PER_S)
#define SECONDS_MAX 86400

// A store looks for questions this often at least; then it may be in the middle
// of a write when its deadline passes.
#define GRACE_NS (30 * NS_PER_S)

#define POLL_NS (10 * NS_PER_MS)

struct drain_request {
    bool json;
    uint64_t pid; // 0 = any
    const char *directory;
    uint64_t timeout_ns;
};

static const struct argp_option options[] = {
    {"deadline", 'd', "S", 0,
     "Seconds that the store may take, such as 20 or 0.5 (default 20)", 0},
    {"pid", 'p', "N", 0, "The store of this process", 0},
    {"store", 's', "DIR", 0, "The store with this cold directory", 0},
    {"json", 'j', NULL, 0, "Print one JSON object", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct drain_request *request = state->input;
    double seconds;

    switch (key) {
    case 'd':
        if (!units_parse_real(argument, &seconds) || seconds <= 0 ||
            seconds > SECONDS_MAX) {
            argp_error(state, "'%s' is no number of seconds", argument);
        }
        request->timeout_ns = (uint64_t)(seconds * (double)NS_PER_S);
        return 0;
    case 'p':
        if (!units_parse_unsigned(argument, &request->pid) ||
            request->pid == 0) {
            argp_error(state, "'%s' is not the number of a process", argument);
        }
        return 0;
    case 's':
        request->directory = argument;
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_usage(state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

// Paths are compared as the file system sees them.
static bool
wanted(const struct drain_request *request, const struct metric_page_info *info)
{
    char given[PATH_MAX];
    char theirs[PATH_MAX];

    if (request->pid != 0 && request->pid != info->pid) {
        return false;
    }
    return request->directory == NULL ||
           (realpath(request->directory, given) != NULL &&
            realpath(info->cold_path, theirs) != NULL &&
            strcmp(given, theirs) == 0);
}

// The one store that is meant.
static enum cascade_status
find_store(const struct metric_page_place *place,
           const struct drain_request *request, struct metric_page_info *found)
{
    struct metric_page_info *infos;
    size_t fitting = 0;
    size_t count;
    enum cascade_status status = metric_page_list(place, &infos, &count);

    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        if (wanted(request, &infos[i])) {
            *found = infos[i];
            fitting++;
        }
    }
    allocator_release(place->allocator, infos);
    if (fitting == 0) {
        return error_set(CASCADE_NOT_FOUND, "no such store is running");
    }
    if (fitting > 1) {
        return error_set(CASCADE_INVALID,
                         "%zu stores are running; choose one with --pid or "
                         "--store",
                         fitting);
    }
    return CASCADE_OK;
}

static void
rest(void)
{
    const struct timespec time = {.tv_nsec = (long)POLL_NS};

    (void)nanosleep(&time, NULL);
}

// Asks and waits. BUSY and TIMEOUT after the deadline and some grace;
// NOT_FOUND: the process ended meanwhile.
static enum cascade_status
ask(const struct metric_page_place *place, struct metric_page_handle *handle,
    uint64_t timeout_ns, struct metric_page_answer *answer)
{
    const struct clock_source *clock = clock_system();
    uint64_t end_ns = clock_steady_ns(clock) + timeout_ns + GRACE_NS;
    enum cascade_status status;
    uint32_t ticket = 0;

    do {
        status = metric_page_ask_send(handle->page, timeout_ns, &ticket);
        if (status != CASCADE_BUSY) {
            break;
        }
        rest();
    } while (clock_steady_ns(clock) < end_ns &&
             metric_page_alive(place, handle));
    while (status == CASCADE_OK &&
           !metric_page_ask_answered(handle->page, ticket, answer)) {
        if (!metric_page_alive(place, handle)) {
            return error_set(CASCADE_NOT_FOUND,
                             "the process ended before it answered");
        }
        if (clock_steady_ns(clock) >= end_ns) {
            return error_set(CASCADE_TIMEOUT,
                             "the store did not answer; it may be stopped");
        }
        rest();
    }
    return status;
}

static void
print_answer(const struct drain_request *request,
             const struct metric_page_info *info,
             const struct metric_page_answer *answer, double seconds)
{
    static const char *const names[METRIC_PAGE_ASK_NUMBERS] = {
        "blocks_written", "bytes_written", "blocks_left", "bytes_left"};
    json_t *object;

    if (!request->json) {
        (void)printf("process %" PRIu64 ": wrote %" PRIu64 " blocks (%.3f GB) "
                     "in %.2f s, %" PRIu64 " blocks (%.3f GB) are left\n",
                     info->pid, answer->numbers[0],
                     (double)answer->numbers[1] / 1e9, seconds,
                     answer->numbers[2], (double)answer->numbers[3] / 1e9);
        return;
    }
    object = json_object();
    output_need(object != NULL);
    output_json_unsigned(object, "pid", info->pid);
    output_json_text(object, "cold_path", info->cold_path);
    output_json_text(object, "status", cascade_status_name(answer->status));
    for (size_t i = 0; i < METRIC_PAGE_ASK_NUMBERS; i++) {
        output_json_unsigned(object, names[i], answer->numbers[i]);
    }
    output_need(json_object_set_new(object, "seconds", json_real(seconds)) ==
                0);
    output_json_line(object);
}

static int
drain(const struct drain_request *request)
{
    const struct metric_page_place place = metric_page_usual_place(
        allocator_system());
    struct metric_page_info info;
    struct metric_page_handle handle;
    struct metric_page_answer answer;
    uint64_t begin_ns = clock_steady_ns(clock_system());
    enum cascade_status status = find_store(&place, request, &info);

    if (status == CASCADE_OK) {
        status = metric_page_ask_attach(&place, info.path, &handle);
    }
    if (status != CASCADE_OK) {
        (void)output_failure(status);
        return status == CASCADE_INVALID ? COMMAND_USAGE : COMMAND_NO;
    }
    status = ask(&place, &handle, request->timeout_ns, &answer);
    metric_page_detach(&handle);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    print_answer(request, &info, &answer,
                 (double)(clock_steady_ns(clock_system()) - begin_ns) / 1e9);
    if (answer.status != CASCADE_OK) {
        output_note("the store answered %s; its log says more",
                    cascade_status_name(answer.status));
        return COMMAND_NO;
    }
    return answer.numbers[2] == 0 ? COMMAND_OK : COMMAND_NO;
}

int
command_drain(int argc, char **argv)
{
    static const char what[] =
        "Asks a running store of this user to write what is only in memory, "
        "protected and hottest first, until a deadline.";
    const struct argp argp = {
        options, parse, NULL, what, NULL, NULL, NULL,
    };
    struct drain_request request = {.timeout_ns = DEADLINE_NS};

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    return drain(&request);
}
