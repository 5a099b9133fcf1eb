// SPDX-License-Identifier: Apache-2.0
//
// cascade doctor: tries what the cache needs from this machine, in order, and
// prints verdict, finding and remedy. As ranks of a job all of them try, and the
// first prints. Exit status 1 if anything fails.

#include <argp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/doctor.h"
#include "tools/doctor_ranks.h"
#include "tools/output.h"

#define DIRECTORY_BYTES_MAX 4096

struct doctor_request {
    bool json;
    const char *directory;
};

struct doctor_check {
    const char *name;
    void (*run)(const char *directory, struct doctor_finding *finding);
};

static const struct doctor_check check_table[] = {
    {"directory", doctor_directory},
    {"free_space", doctor_space},
    {"direct_io", doctor_direct},
    {"io_uring", doctor_ring},
    {"memory", doctor_memory},
    {"cgroup", doctor_cgroup},
    {"shared_memory", doctor_shared_memory},
    {"huge_pages", doctor_huge_pages},
    {"locked_memory", doctor_locked_memory},
    {"open_files", doctor_open_files},
    {"hash", doctor_hash},
    {"gpu", doctor_gpu},
    {"mpi", doctor_mpi},
};

#define CHECKS (sizeof(check_table) / sizeof(check_table[0]))

static const char *const verdict_names[] = {"ok", "warning", "fail"};

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "Print one JSON object per check", 0},
    {NULL, 0, NULL, 0, NULL, 0},
};

static error_t
parse(int key, char *argument, struct argp_state *state)
{
    struct doctor_request *request = state->input;

    switch (key) {
    case 'j':
        request->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 0) {
            argp_usage(state);
        }
        request->directory = argument;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void
print_text(const char *name, const struct doctor_finding *finding)
{
    static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};
    bool coloured = isatty(STDOUT_FILENO) == 1;

    (void)printf("%s%-7s%s  %-13s  %s\n",
                 coloured ? colours[finding->verdict] : "",
                 verdict_names[finding->verdict], coloured ? "\033[0m" : "",
                 name, finding->found);
    if (finding->remedy[0] != '\0') {
        (void)printf("%-24s-> %s\n", "", finding->remedy);
    }
}

static void
print_json(const char *name, const struct doctor_finding *finding)
{
    json_t *object = json_object();

    output_need(object != NULL);
    output_json_text(object, "check", name);
    output_json_text(object, "result", verdict_names[finding->verdict]);
    output_json_text(object, "found", finding->found);
    output_json_text(object, "remedy", finding->remedy);
    output_json_line(object);
}

// The directory that a store opened here would use; the working directory if
// none is configured.
static const char *
configured_directory(char *text, size_t size)
{
    struct cascade_options *set = cascade_options_create();
    bool known = set != NULL &&
                 cascade_options_load_environment(set) == CASCADE_OK &&
                 cascade_options_get(set, "cold_path", text, size) ==
                     CASCADE_OK &&
                 text[0] != '\0';

    cascade_options_destroy(set);
    return known ? text : ".";
}

void
doctor_found(struct doctor_finding *finding, enum doctor_verdict verdict,
             const char *format, ...)
{
    va_list arguments;

    finding->verdict = verdict;
    finding->remedy[0] = '\0';
    va_start(arguments, format);
    (void)vsnprintf(finding->found, sizeof(finding->found), format, arguments);
    va_end(arguments);
}

void
doctor_remedy(struct doctor_finding *finding, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(finding->remedy, sizeof(finding->remedy), format,
                    arguments);
    va_end(arguments);
}

// All that is found here and now, and the names of what failed.
static bool
run_checks(const char *directory, struct doctor_finding *findings,
           char failed[DOCTOR_FAILED_BYTES])
{
    size_t length = 0;

    failed[0] = '\0';
    for (size_t i = 0; i < CHECKS; i++) {
        check_table[i].run(directory, &findings[i]);
        if (findings[i].verdict == DOCTOR_FAIL &&
            length + strlen(check_table[i].name) + 2 < DOCTOR_FAILED_BYTES) {
            length += (size_t)snprintf(
                failed + length, DOCTOR_FAILED_BYTES - length, "%s%s",
                length > 0 ? " " : "", check_table[i].name);
        }
    }
    return failed[0] != '\0';
}

// What is between the ranks of the job. Without one nothing is to be said.
static bool
check_ranks(const char *failed, struct doctor_ranks *ranks,
            struct doctor_finding *finding)
{
    finding->found[0] = '\0';
    memset(ranks, 0, sizeof(*ranks));
    if (!doctor_is_rank()) {
        return true;
    }
    if (doctor_ranks_try(failed, ranks) != CASCADE_OK) {
        doctor_found(finding, DOCTOR_FAIL, "%.380s", error_message());
        doctor_remedy(finding, "start all ranks on machines with this release "
                               "and the module of that MPI");
        return false;
    }
    if (ranks->count > 1 && ranks->rank == 0) {
        doctor_ranks_judge(ranks, finding);
        return finding->verdict != DOCTOR_FAIL;
    }
    return true;
}

// A launcher ends the whole job when a rank fails: the first rank is to have
// printed by then, and fails for all.
static int
exit_status(const struct doctor_ranks *ranks, bool good)
{
    bool all_good = good;

    if (ranks->rank != 0) {
        return COMMAND_OK;
    }
    for (uint16_t r = 1; r < ranks->count && ranks->ranks != NULL; r++) {
        all_good = all_good && ranks->ranks[r].failed[0] == '\0';
    }
    return all_good ? COMMAND_OK : COMMAND_NO;
}

int
command_doctor(int argc, char **argv)
{
    static const char what[] =
        "Checks what this machine and DIR (else the configured cold path, else "
        "the working directory) give the cache, and what to do about it. Under "
        "mpirun or srun also how the ranks reach each other.";
    const struct argp argp = {
        options, parse, "[DIR]", what, NULL, NULL, NULL,
    };
    struct doctor_request request = {.json = false};
    struct doctor_finding findings[CHECKS];
    struct doctor_finding between;
    struct doctor_ranks ranks;
    char configured[DIRECTORY_BYTES_MAX];
    char failed[DOCTOR_FAILED_BYTES];
    bool good;
    int status;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.directory == NULL) {
        request.directory = configured_directory(configured,
                                                 sizeof(configured));
    }
    good = !run_checks(request.directory, findings, failed);
    good = check_ranks(failed, &ranks, &between) && good;
    for (size_t i = 0; i < CHECKS && ranks.rank == 0; i++) {
        (request.json ? print_json : print_text)(check_table[i].name,
                                                 &findings[i]);
    }
    if (between.found[0] != '\0') {
        (request.json ? print_json : print_text)("ranks", &between);
        doctor_ranks_print(&ranks, request.json);
    }
    status = exit_status(&ranks, good);
    doctor_ranks_release(&ranks);
    return status;
}
