// SPDX-License-Identifier: Apache-2.0
//
// One visible copy of a block: which tier, which rank, where, and the
// generation that changes when the space is reused. A place is a hint until
// the tier that owns it has pinned it.

#ifndef BLOCK_PLACE_H
#define BLOCK_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "cascade/cascade.h"

struct block_place {
    uint8_t tier;  // enum cascade_tier; 0 = nowhere
    uint8_t flags; // enum block_place_flags
    uint16_t rank;
    uint32_t slot;       // arena: slot number; segments: segment handle
    uint32_t generation; // of the slot or handle
    uint32_t checksum;   // block_digest.checksum of the payload
    uint64_t offset;     // bytes, of the payload in arena or segment file
    uint64_t bytes;      // of the payload
};

enum block_place_flags {
    // Segments: written by this job (own or adopted directory), so that it
    // counts as clean once synced.
    BLOCK_PLACE_OWN = 1,
    // Segments: the payload lies in an unsealed tail and was not checked yet.
    BLOCK_PLACE_UNVERIFIED = 2,
};

static inline bool
block_place_is_set(const struct block_place *place)
{
    return place->tier != CASCADE_TIER_NONE;
}

#endif
