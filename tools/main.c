// SPDX-License-Identifier: Apache-2.0
//
// The command `cascade`: a table of commands and the way to them. Does nothing
// itself but help and version. A command that this build lacks has no function
// and is neither listed nor found.

#include <argp.h>
#include <limits.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cascade/cascade.h"
#include "tools/command.h"
#include "tools/output.h"

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *sentence;
};

static const struct command command_table[] = {
    {"id", command_id, "print or check content ids of files"},
    {"put", command_put, "store a file as the block of a key"},
    {"get", command_get, "write the block of a key to a file"},
    {"rm", command_rm, "forget keys"},
    {"ls", command_ls, "list keys with size and content id"},
    {"find", command_find, "tell where the blocks of keys are"},
    {"info", command_info, "version, build, processor, tiers and fabrics"},
    {"doctor", command_doctor, "check what this machine gives the cache"},
    {"config", command_config,
     "options: what they are and what they mean here"},
    {"stats", command_stats, "counters of running stores"},
    {"top", command_top, "counters of a running store, live"},
    {"segment", command_segment, "list, verify or dump segment files"},
    {"drain", command_drain, "write what is only in memory, until a deadline"},
    {"gc", command_gc, "find and remove what is left over"},
    {"replay", command_replay, "run a trace through a real store"},
    {"simulate", command_simulate, "run a trace through eviction policies"},
    {"bench", command_bench, "measure"},
};

#define COMMAND_COUNT (sizeof(command_table) / sizeof(command_table[0]))

static const struct command *
find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (command_table[i].run != NULL &&
            strcmp(name, command_table[i].name) == 0) {
            return &command_table[i];
        }
    }
    return NULL;
}

static void
print_help(FILE *stream)
{
    (void)fputs("Usage: cascade COMMAND [ARGUMENT...]\n"
                "       cascade help COMMAND\n"
                "A tiered cache for the KV blocks of LLM inference.\n\n",
                stream);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (command_table[i].run != NULL) {
            (void)fprintf(stream, "  %-9s %s\n", command_table[i].name,
                          command_table[i].sentence);
        }
    }
    (void)fputs("\n  --help      this list\n"
                "  --version   the version of the library\n"
                "  --commands  the names of the commands, one per line\n"
                "\nExit status: 0 done; 1 not there, or a check failed; "
                "2 wrong usage.\n",
                stream);
}

static void
print_names(void)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (command_table[i].run != NULL) {
            (void)puts(command_table[i].name);
        }
    }
}

static int
unknown(const char *name)
{
    (void)fprintf(stderr,
                  "cascade: there is no command '%s'; `cascade --help` lists "
                  "them\n",
                  name);
    return COMMAND_USAGE;
}

// Runs a command with argv[0] naming it in full, as argp shows it in messages.
static int
run(const struct command *command, int argc, char **argv)
{
    char title[32];

    (void)snprintf(title, sizeof(title), "cascade %s", command->name);
    argv[0] = title;
    return command->run(argc, argv);
}

static int
help(const char *name)
{
    const struct command *command = find_command(name);
    char title[32];
    char option[] = "--help";
    char *arguments[] = {title, option, NULL};

    if (command == NULL) {
        return unknown(name);
    }
    return run(command, 2, arguments);
}

static int
dispatch(int argc, char **argv)
{
    const struct command *command;

    if (argc < 2) {
        print_help(stderr);
        return COMMAND_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        (void)printf("cascade %s\n", cascade_version());
        return COMMAND_OK;
    }
    if (strcmp(argv[1], "--commands") == 0) {
        print_names();
        return COMMAND_OK;
    }
    if (strcmp(argv[1], "help") == 0 && argc > 2) {
        return help(argv[2]);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 ||
        strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return COMMAND_OK;
    }
    command = find_command(argv[1]);
    if (command == NULL) {
        return unknown(argv[1]);
    }
    return run(command, argc - 1, argv + 1);
}

static void
print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    (void)fprintf(stream, "cascade %s\n", cascade_version());
}

int
main(int argc, char **argv)
{
    int status;

    (void)setlocale(LC_CTYPE, "");
    argp_err_exit_status = COMMAND_USAGE;
    argp_program_version_hook = print_version;
    status = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        output_note("cannot write standard output");
        return COMMAND_NO;
    }
    return status;
}
