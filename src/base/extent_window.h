// SPDX-License-Identifier: Apache-2.0
//
// Looks for the run of neighbouring extents, used and free, that would be
// cheapest to clear for a request that no free extent fits. It takes nothing
// away and knows no cost: the caller gives both answers.
//
// No lock: that of the map's owner.

#ifndef BASE_EXTENT_WINDOW_H
#define BASE_EXTENT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/extent.h"

struct extent_window_question {
    uint64_t bytes;    // wanted, at least one
    uint32_t used_max; // used extents that a window may have
    // Asked once for each used extent: false if it has to stay.
    bool (*may_go)(void *context, const struct extent *extent);
    // What it costs to lose it: not negative, and the same whenever asked.
    double (*cost)(void *context, const struct extent *extent);
    void *context;
};

struct extent_window {
    uint32_t first; // number of its lowest extent, for extent_next
    uint32_t extents;
    uint32_t used; // those to be cleared
    double cost;
};

// The cheapest window of all, in one walk in address order: O(n), each extent
// is asked about at most twice. False: there is none.
bool
extent_window_find(const struct extent_map *map,
                   const struct extent_window_question *question,
                   struct extent_window *window);

#endif
