// SPDX-License-Identifier: Apache-2.0
//
// See store_cases.h.

#include "store_cases.h"

#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

#define SECONDS_MAX 100

struct scratch store_cases_scratch;

static bool
is_wanted(const char *name, int count, char **names)
{
    bool wanted = count < 2;

    for (int n = 1; n < count; n++) {
        wanted = wanted || strcmp(names[n], name) == 0;
    }
    return wanted;
}

static bool
passes(const struct store_case *one)
{
    int status = 0;
    pid_t child;

    printf("%s\n", one->name);
    fflush(stdout);
    scratch_make(&store_cases_scratch);
    child = fork();
    if (child == 0) {
        alarm(SECONDS_MAX);
        one->run();
        fflush(stdout);
        _exit(0);
    }
    DEMAND(child > 0 && waitpid(child, &status, 0) == child);
    scratch_remove(&store_cases_scratch);
    printf("%s %s (status %x)\n", status == 0 ? "ok    " : "FAILED", one->name,
           (unsigned)status);
    return status == 0;
}

int
store_cases_run(const struct store_case *cases, size_t case_count, int count,
                char **names)
{
    bool failed = false;

    for (size_t i = 0; i < case_count; i++) {
        if (is_wanted(cases[i].name, count, names) && !passes(&cases[i])) {
            failed = true;
        }
    }
    return failed ? 1 : 0;
}
