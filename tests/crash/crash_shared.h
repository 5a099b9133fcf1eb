// SPDX-License-Identifier: Apache-2.0
//
// Lives of two stores on one root of one disk that loses power. Both put, flush,
// look, close and open; one dies while the other lives and takes its folder
// over; or the power goes at any write of either, and the next openers find what
// is left. Keys are never bound again where both put them (rebind=refused); some
// are one store's alone, who also removes them. All follows from a seed.

#ifndef CRASH_SHARED_H
#define CRASH_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_shared_options {
    uint64_t seed;
    uint32_t lives;
    uint32_t lies; // enum file_sectors_lie
    // A flush of one counts for both: a claim that is too strong, which the
    // checker must refute.
    bool flush_for_both;
};

struct crash_shared_counts {
    uint64_t cuts;
    uint64_t deaths; // of one store while the other lived
    uint64_t changes;
    uint64_t checked;
    uint64_t puts;
    uint64_t large; // of them, blocks of a MiB and more
    uint64_t flushes;
};

// Adds to the counts. False: something was found that must not be; `wrong` says
// what.
bool
crash_shared_run(const struct crash_shared_options *options,
                 struct crash_shared_counts *counts, char *wrong, size_t size);

#endif
