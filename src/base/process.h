// SPDX-License-Identifier: Apache-2.0
//
// Which process wrote something, and whether it still lives. A process id alone
// is used again; with the time the process started, the boot, the host and the
// process namespace it names one process. Nothing is kept; no lock.

#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdint.h>

struct file_system;

// Laid out to lie in files as it stands: zero bytes after each text.
struct process_identity {
    uint64_t pid;
    uint64_t start; // ticks from boot to its start; 0: could not be read
    uint64_t space; // number of the process namespace; 0: could not be read
    char boot[40];
    char host[72];
};

enum process_state {
    PROCESS_ALIVE = 0,
    PROCESS_GONE = 1,
    PROCESS_UNKNOWN = 2 // of another host or namespace: cannot be judged
};

// This process. `proc` is "/proc" or what a test gives.
void
process_self(const struct file_system *files, const char *proc,
             struct process_identity *identity);

// What became of a process.
enum process_state
process_state(const struct file_system *files, const char *proc,
              const struct process_identity *identity);

#endif
