// SPDX-License-Identifier: Apache-2.0
//
// How a program of power cuts is run. See crash_runner.h.

#include "crash/crash_runner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#define WRONG_BYTES 700

void
crash_runner_cuts(const struct crash_runner *runner, const void *options,
                  void *counts)
{
    clock_t begin = clock();
    uint64_t seed = runner->first_seed;
    double seconds;
    char wrong[WRONG_BYTES];

    while (runner->cuts_of(counts) < runner->cuts) {
        if (!runner->run(seed, options, counts, wrong, sizeof(wrong))) {
            fail_msg("seed %llu, %s\nrepeat with: %s repeat %llu",
                     (unsigned long long)seed, wrong, runner->program,
                     (unsigned long long)seed);
        }
        seed++;
    }
    seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    print_message("seeds %llu to %llu: %llu cuts (%.0f per second of "
                  "processor)\n",
                  (unsigned long long)runner->first_seed,
                  (unsigned long long)seed - 1,
                  (unsigned long long)runner->cuts_of(counts),
                  (double)runner->cuts_of(counts) / seconds);
}

void
crash_runner_expect_caught(const struct crash_runner *runner,
                           const void *options, void *counts, const char *what)
{
    char wrong[WRONG_BYTES];

    for (uint64_t seed = 1; seed <= runner->seeds_max; seed++) {
        if (!runner->run(seed, options, counts, wrong, sizeof(wrong))) {
            print_message("%s: caught after %llu cuts: seed %llu, %s\n", what,
                          (unsigned long long)runner->cuts_of(counts),
                          (unsigned long long)seed, wrong);
            return;
        }
    }
    fail_msg("%s was not noticed in %llu cuts", what,
             (unsigned long long)runner->cuts_of(counts));
}

bool
crash_runner_arguments(struct crash_runner *runner, int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "repeat") == 0) {
        runner->first_seed = strtoull(argv[2], NULL, 10);
        runner->cuts = 1;
        return true;
    }
    if (argc > 1) {
        runner->cuts = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        runner->first_seed = strtoull(argv[2], NULL, 10);
    }
    return false;
}
