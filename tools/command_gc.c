// SPDX-License-Identifier: Apache-2.0
//
// cascade gc: lists what is left over under a cold_path, and removes what it is
// told to: kinds of things, older than an age. The looking and the removing are
// leftovers.c's.

#include <argp.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/units.h"
#include "tools/command.h"
#include "tools/leftovers.h"
#include "tools/output.h"

#define DAY_S 86400

struct gc_request {
    const char *path;
    bool json;
    bool remove;
    bool wait;
    bool has_age;
    uint64_t age_ns;
    uint32_t kinds; // bits; 0: all
    const char *namespace_name;
};

struct gc_counts {
    const struct gc_request *request;
    struct leftovers *leftovers;
    bool quiet;         // only looking how long to wait
    uint64_t silent_ns; // longest that a silent lease needs
    uint64_t removed;
    uint64_t removed_bytes;
    uint64_t failed;
};

enum {
    OPTION_REMOVE = 256,
    OPTION_WAIT,
};

static const char *const kind_names[LEFTOVER_KINDS] = {"namespace", "writer",
                                                       "litter", "empty"};
static const char *const state_names[] = {"live", "ended", "unknown"};

static const struct argp_option options[] = {
    {"kind", 'k', "KIND", 0,
     "Only these: namespace, writer, litter or empty; may be repeated", 0},
    {"namespace", 'n', "NAME", 0, "Only this namespace and what is in it", 0},
    {"older", 'o', "AGE", 0,
     "Only what has not changed for so long: 90s, 30m, 12h, 7d", 0},
    {"remove", OPTION_REMOVE, NULL, 0,
     "Remove what is listed and ended; needs --kind; --older is 1d unless "
     "given",
     0},
    {"wait", OPTION_WAIT, NULL, 0,
     "Watch silent leases of other machines until they have expired", 0},
    {"json", 'j', NULL, 0, "Print one JSON object per thing", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

// "7d" and so on.
static bool
parse_age(const char *text, uint64_t *age_ns)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY_S}};
    char digits[16];
    size_t length = strspn(text, "0123456789");
    uint64_t number;

    if (length == 0 || length >= sizeof(digits) - 4) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    if (!units_parse_unsigned(digits, &number) ||
        number > UINT64_MAX / NS_PER_S / DAY_S) {
        return false;
    }
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text[length] == units[i].letter && text[length + 1] == '\0') {
            *age_ns = number * units[i].seconds * NS_PER_S;
            return true;
        }
    }
    return false;
}

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct gc_request *request = state->input;
    uint32_t before = request->kinds;

    switch (key) {
    case 'k':
        for (unsigned i = 0; i < LEFTOVER_KINDS; i++) {
            request->kinds |= strcmp(argument, kind_names[i]) == 0 ? 1u << i
                                                                   : 0;
        }
        if (request->kinds == before) {
            argp_error(state, "there is no kind '%s', or it was named before",
                       argument);
        }
        return 0;
    case 'n':
        request->namespace_name = argument;
        return 0;
    case 'o':
        request->has_age = true;
        if (!parse_age(argument, &request->age_ns)) {
            argp_error(state, "'%s' is no age such as 30m or 7d", argument);
        }
        return 0;
    case 'j':
        request->json = true;
        return 0;
    case OPTION_REMOVE:
        request->remove = true;
        return 0;
    case OPTION_WAIT:
        request->wait = true;
        return 0;
    case ARGP_KEY_ARG:
        if (request->path != NULL) {
            argp_usage(state);
        }
        request->path = argument;
        return 0;
    case ARGP_KEY_END:
        if (request->path == NULL) {
            argp_usage(state);
        }
        if (request->remove && request->kinds == 0) {
            argp_error(state, "--remove needs --kind: say what is to go");
        }
        if (request->remove && !request->has_age) {
            request->age_ns = DAY_S * NS_PER_S;
        }
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool
is_wanted(const struct gc_request *request, const struct leftover *leftover)
{
    return (request->kinds == 0 ||
            (request->kinds & 1u << leftover->kind) != 0) &&
           (request->namespace_name == NULL ||
            strcmp(request->namespace_name, leftover->namespace_name) == 0) &&
           leftover->age_ns >= request->age_ns;
}

static void
print_json(const struct leftover *leftover, bool removed)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "kind", kind_names[leftover->kind]);
    output_json_text(object, "state", state_names[leftover->state]);
    output_json_text(object, "namespace", leftover->namespace_name);
    output_json_text(object, "folder", leftover->folder);
    output_json_text(object, "name", leftover->name);
    output_json_unsigned(object, "bytes", leftover->bytes);
    output_json_unsigned(object, "files", leftover->files);
    output_json_unsigned(object, "age_s", leftover->age_ns / NS_PER_S);
    output_json_flag(object, "removable", leftover->removable);
    output_json_text(object, "why_not", leftover->why);
    output_json_flag(object, "removed", removed);
    output_json_line(object);
}

static void
print_text(const struct leftover *leftover, bool removed)
{
    char name[4 * 512];
    char whole[512];

    (void)snprintf(
        whole, sizeof(whole), "%s%s%s", leftover->folder,
        leftover->folder[0] != '\0' && leftover->name[0] != '\0' ? "/" : "",
        leftover->name);
    output_safe_text(whole, strlen(whole), name, sizeof(name));
    (void)printf("%-9s %-7s %10.3f GB %6" PRIu64 " files %8.1f h  %s%s%s\n",
                 kind_names[leftover->kind], state_names[leftover->state],
                 (double)leftover->bytes / 1e9, leftover->files,
                 (double)leftover->age_ns / 3600e9, name,
                 removed                    ? "  removed"
                 : leftover->why[0] != '\0' ? "  stays: "
                                            : "",
                 removed ? "" : leftover->why);
}

static void
visit(void *context, const struct leftover *leftover)
{
    struct gc_counts *counts = context;
    const struct gc_request *request = counts->request;
    bool removed = false;

    if (counts->quiet) {
        counts->silent_ns = units_max(counts->silent_ns,
                                      leftover->silent_for_ns);
        return;
    }
    if (!is_wanted(request, leftover)) {
        return;
    }
    if (request->remove && leftover->removable) {
        enum cascade_status status = leftovers_remove(counts->leftovers,
                                                      leftover);

        removed = status == CASCADE_OK;
        if (removed) {
            counts->removed++;
            counts->removed_bytes += leftover->bytes;
        } else {
            counts->failed++;
            (void)output_failure(status);
        }
    }
    (request->json ? print_json : print_text)(leftover, removed);
}

// Looks, waits as long as the most silent lease needs, and remembers.
static enum cascade_status
wait_for_silence(struct gc_counts *counts)
{
    enum cascade_status status;
    struct timespec time;

    counts->quiet = true;
    status = leftovers_list(counts->leftovers, visit, counts);
    counts->quiet = false;
    if (status == CASCADE_OK && counts->silent_ns > 0) {
        time.tv_sec = (time_t)(counts->silent_ns / NS_PER_S) + 1;
        time.tv_nsec = 0;
        (void)nanosleep(&time, NULL);
    }
    return status;
}

int
command_gc(int argc, char **argv)
{
    static const char what[] =
        "Lists what is left over under DIR, a cold_path: namespaces that "
        "nobody "
        "has open, directories of writers that ended, half-made folders and "
        "empty segment files. Removes what it is told to, and never anything "
        "that is in use or not Cascade's.";
    const struct argp argp = {
        options, parse, "DIR", what, NULL, NULL, NULL,
    };
    struct gc_request request = {0};
    struct gc_counts counts = {.request = &request};
    enum cascade_status status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    status = leftovers_open(request.path, &counts.leftovers);
    if (status != CASCADE_OK) {
        (void)output_failure(status);
        return COMMAND_NO;
    }
    if (request.wait) {
        status = wait_for_silence(&counts);
    }
    if (status == CASCADE_OK) {
        status = leftovers_list(counts.leftovers, visit, &counts);
    }
    if (status == CASCADE_OK && leftovers_foreign(counts.leftovers) > 0) {
        output_note("%" PRIu64 " files or folders there are not Cascade's and "
                    "were left alone",
                    leftovers_foreign(counts.leftovers));
    }
    if (status == CASCADE_OK && request.remove && !request.json) {
        (void)printf("removed %" PRIu64 " things, %.3f GB\n", counts.removed,
                     (double)counts.removed_bytes / 1e9);
    }
    leftovers_close(counts.leftovers);
    if (status != CASCADE_OK) {
        return output_failure(status);
    }
    return counts.failed > 0 ? COMMAND_NO : COMMAND_OK;
}
