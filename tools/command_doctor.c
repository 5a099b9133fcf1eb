// SPDX-License-Identifier: Apache-2.0
//
// cascade doctor: tries what the cache needs from this machine, in order, and
// prints verdict, finding and remedy. Exit status 1 if anything fails.

#include <argp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/doctor.h"
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

int
command_doctor(int argc, char **argv)
{
    static const char what[] =
        "Checks what this machine and DIR (else the configured cold path, else "
        "the working directory) give the cache, and what to do about it.";
    const struct argp argp = {
        options, parse, "[DIR]", what, NULL, NULL, NULL,
    };
    struct doctor_request request = {.json = false};
    char configured[DIRECTORY_BYTES_MAX];
    bool failed = false;

    (void)argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (request.directory == NULL) {
        request.directory = configured_directory(configured,
                                                 sizeof(configured));
    }
    for (size_t i = 0; i < sizeof(check_table) / sizeof(check_table[0]); i++) {
        struct doctor_finding finding;

        check_table[i].run(request.directory, &finding);
        failed = failed || finding.verdict == DOCTOR_FAIL;
        (request.json ? print_json : print_text)(check_table[i].name, &finding);
    }
    return failed ? COMMAND_NO : COMMAND_OK;
}
