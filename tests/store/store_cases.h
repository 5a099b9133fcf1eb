// SPDX-License-Identifier: Apache-2.0
//
// Runs cases, each in a child of its own with a folder and a time limit, so that
// one that hangs or crashes is told apart.

#ifndef STORE_CASES_H
#define STORE_CASES_H

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "cascade/cascade.h"
#include "support/scratch.h"

// Ends the case if the condition does not hold.
#define DEMAND(condition)                                        \
    do {                                                         \
        if (!(condition)) {                                      \
            printf("  line %d: %s (%s)\n", __LINE__, #condition, \
                   cascade_error_message());                     \
            fflush(stdout);                                      \
            _exit(1);                                            \
        }                                                        \
    } while (0)

struct store_case {
    const char *name;
    void (*run)(void);
};

// The folder of the case that runs.
extern struct scratch store_cases_scratch;

// Runs those that the command line names, or all; what main returns.
int
store_cases_run(const struct store_case *cases, size_t case_count, int count,
                char **names);

#endif
