// SPDX-License-Identifier: Apache-2.0
//
// How a program of power cuts is run: seed after seed until there were so many
// cuts, one seed again, or, with a product or a disk that lies, until that is
// noticed. What a life is, and what it counts, is the program's.

#ifndef CRASH_RUNNER_H
#define CRASH_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_runner {
    const char *program; // as in the command that repeats a seed
    uint64_t cuts;       // wanted; an argument may say otherwise
    uint64_t first_seed;
    uint64_t seeds_max; // in which a lie has to be noticed
    // Leads the lives of one seed with `options`, and adds to `counts`. False:
    // something was found that must not be; `wrong` says what.
    bool (*run)(uint64_t seed, const void *options, void *counts, char *wrong,
                size_t size);
    // Of what `counts` holds.
    uint64_t (*cuts_of)(const void *counts);
};

// Runs until there were enough cuts; fails the test, naming the seed, if one run
// is wrong. Prints the seeds and the pace.
void
crash_runner_cuts(const struct crash_runner *runner, const void *options,
                  void *counts);

// Each lie must be found out, or the test proves nothing. `counts` is zero.
void
crash_runner_expect_caught(const struct crash_runner *runner,
                           const void *options, void *counts, const char *what);

// Takes [cuts [first seed]] or repeat <seed>. True: only that one is wanted.
bool
crash_runner_arguments(struct crash_runner *runner, int argc, char **argv);

#endif
