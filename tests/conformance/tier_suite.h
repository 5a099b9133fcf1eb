// SPDX-License-Identifier: Apache-2.0
//
// What every tier must do, told through the tier table alone. A backend's test
// program fills one struct and runs it.

#ifndef CONFORMANCE_TIER_SUITE_H
#define CONFORMANCE_TIER_SUITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tier/tier.h"

struct tier_suite {
    const char *name;
    void *context;
    uint64_t capacity_bytes; // of an opened tier; at least 64 MiB
    // Space that is released can be reserved again at once, and a full tier
    // answers NO_SPACE (memory does, an append-only log does not).
    bool reuses_space;
    // A pin also keeps its neighbours in service (segments pin the file).
    bool pins_neighbours;

    // A fresh and empty tier.
    enum cascade_status (*open)(void *context, struct tier *tier);
    enum cascade_status (*close)(void *context, struct tier tier);

    // Flips a stored byte of the payload. NULL: the tier cannot be damaged.
    void (*damage)(void *context, struct tier tier,
                   const struct block_place *place, uint64_t at);
};

// Runs all tests; the number that failed.
int
tier_suite_run(const struct tier_suite *suite);

#endif
