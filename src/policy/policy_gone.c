// SPDX-License-Identifier: Apache-2.0
//
// The table of the evicted.
//
// Invariant: a block is in the set that its fingerprint names, under a tag that
// no other used place of that set has.

#include "policy/policy_gone.h"

#include "base/units.h"

#define SET_PLACES 8

// Places per block of the cache: many, until they are PLACES_MANY; then few.
#define PLACES_PER_BLOCK_MAX 64
#define PLACES_PER_BLOCK_MIN 2
#define PLACES_MANY 131072

static struct policy_gone_block *
set_of(const struct policy_gone *gone, uint32_t fingerprint)
{
    uint64_t sets = gone->count / SET_PLACES;
    // The highest bits of this number name the set; the tag is other bits.
    uint32_t mixed = fingerprint * UINT32_C(0x9e3779b1);

    return &gone->blocks[(mixed * sets >> 32) * SET_PLACES];
}

static uint16_t
tag_of(uint32_t fingerprint)
{
    return (uint16_t)fingerprint;
}

// The place of that tag in a set; NULL: it is not there.
static struct policy_gone_block *
find(struct policy_gone_block *set, uint16_t tag)
{
    for (uint32_t i = 0; i < SET_PLACES; i++) {
        if (set[i].used && set[i].tag == tag) {
            return &set[i];
        }
    }
    return NULL;
}

// The place to write: one unused, else the one unused for longest.
static struct policy_gone_block *
place_in(struct policy_gone_block *set, uint32_t now)
{
    struct policy_gone_block *place = set;

    for (uint32_t i = 0; i < SET_PLACES; i++) {
        if (!set[i].used) {
            return &set[i];
        }
        if (now - set[i].last_use > now - place->last_use) {
            place = &set[i];
        }
    }
    return place;
}

uint32_t
policy_gone_places(uint32_t entries)
{
    uint64_t most = (uint64_t)entries * PLACES_PER_BLOCK_MAX;
    uint64_t least = (uint64_t)entries * PLACES_PER_BLOCK_MIN;
    uint64_t places = units_min(most, units_max(least, PLACES_MANY));

    places = units_min(places, UINT32_MAX - SET_PLACES);
    return (uint32_t)(places / SET_PLACES * SET_PLACES) + SET_PLACES;
}

void
policy_gone_grow(struct policy_gone *gone, uint32_t resident)
{
    uint32_t wanted = policy_gone_places(resident);

    if (wanted > gone->count && gone->count < gone->places) {
        // By steps, since each makes it forget.
        wanted = (uint32_t)units_max(wanted, 2 * (uint64_t)gone->count);
        gone->count = (uint32_t)units_min(wanted, gone->places);
    }
}

void
policy_gone_put(struct policy_gone *gone, uint32_t fingerprint,
                uint32_t last_use, uint8_t hits, uint32_t now)
{
    struct policy_gone_block *set = set_of(gone, fingerprint);
    struct policy_gone_block *place = find(set, tag_of(fingerprint));

    if (place == NULL) {
        place = place_in(set, now);
    }
    *place = (struct policy_gone_block){
        .last_use = last_use,
        .tag = tag_of(fingerprint),
        .hits = hits,
        .used = true,
    };
}

bool
policy_gone_take(struct policy_gone *gone, uint32_t fingerprint,
                 struct policy_gone_block *block)
{
    struct policy_gone_block *place = find(set_of(gone, fingerprint),
                                           tag_of(fingerprint));

    if (place == NULL) {
        return false;
    }
    *block = *place;
    place->used = false;
    return true;
}
