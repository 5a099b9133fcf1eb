// SPDX-License-Identifier: Apache-2.0
//
// The commands of `cascade`. Each is one function in one file, takes its
// arguments as main does (argv[0] is "cascade NAME") and returns its exit
// status. Parsing is argp's: --help and usage errors end the process there.

#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

enum command_exit {
    COMMAND_OK = 0,
    COMMAND_NO = 1,   // not there, check failed, could not be done
    COMMAND_USAGE = 2 // the command line is wrong
};

int
command_id(int argc, char **argv);
int
command_put(int argc, char **argv);
int
command_get(int argc, char **argv);
int
command_rm(int argc, char **argv);
int
command_ls(int argc, char **argv);
int
command_find(int argc, char **argv);
int
command_info(int argc, char **argv);
int
command_doctor(int argc, char **argv);
int
command_config(int argc, char **argv);
int
command_stats(int argc, char **argv);
int
command_segment(int argc, char **argv);

// Linked in where the build has them; NULL otherwise.
#define COMMAND_OPTIONAL __attribute__((weak))

COMMAND_OPTIONAL int
command_replay(int argc, char **argv);
COMMAND_OPTIONAL int
command_simulate(int argc, char **argv);
COMMAND_OPTIONAL int
command_bench(int argc, char **argv);
COMMAND_OPTIONAL int
command_top(int argc, char **argv);
COMMAND_OPTIONAL int
command_drain(int argc, char **argv);
COMMAND_OPTIONAL int
command_gc(int argc, char **argv);

#endif
