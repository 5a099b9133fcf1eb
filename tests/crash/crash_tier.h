// SPDX-License-Identifier: Apache-2.0
//
// Lives of cold tiers on one disk that loses power: random appends, streams,
// binds, rebinds, removals, clears, syncs, seals, reclaims, adoptions, clean and
// unclean ends; after each life the next store opens and everything is compared
// with the model. All follows from a seed.

#ifndef CRASH_TIER_H
#define CRASH_TIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_tier_options {
    uint64_t seed;
    uint32_t lives;
    uint32_t lies;   // enum file_sectors_lie
    bool early_bind; // a bind record may come before its payload is synced
    bool file_order; // the last record wins, whatever its version
};

struct crash_tier_counts {
    uint64_t cuts;
    uint64_t kills; // ends without a cut
    uint64_t changes;
    uint64_t checked;
    uint64_t syncs;
    uint64_t appended;
    uint64_t reclaimed;
    uint64_t recycled;
    uint64_t sealed;
    uint64_t survived; // states of after the last sync that were found
};

// Adds to the counts. False: something was found that must not be; `wrong` says
// what.
bool
crash_tier_run(const struct crash_tier_options *options,
               struct crash_tier_counts *counts, char *wrong, size_t size);

#endif
