// SPDX-License-Identifier: Apache-2.0
//
// Lives of whole stores on one disk that loses power: random puts, puts of the
// same bytes, rebinds, removes, clears, evictions, flushes, background steps and
// clean ends; after each cut the next store opens and is compared with the
// model. The store's threads are few and do no work of their own, so that all
// follows from a seed.

#ifndef CRASH_STORE_H
#define CRASH_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_store_options {
    uint64_t seed;
    uint32_t lives;
    uint32_t lies; // enum file_sectors_lie
};

struct crash_store_counts {
    uint64_t cuts;
    uint64_t changes;
    uint64_t checked;
    uint64_t puts;
    uint64_t large; // of them, blocks of a MiB and more
    uint64_t flushes;
    uint64_t reclaimed;
    uint64_t survived; // states of after the last flush that were found
};

// Adds to the counts. False: something was found that must not be; `wrong` says
// what.
bool
crash_store_run(const struct crash_store_options *options,
                struct crash_store_counts *counts, char *wrong, size_t size);

#endif
