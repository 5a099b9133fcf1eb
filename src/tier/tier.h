// SPDX-License-Identifier: Apache-2.0
//
// The shelf: one table that every tier fills, local or remote, memory or file.
// A tier knows bytes, slots and generations. It knows nothing of keys' meaning,
// of policy, of the directory or of other tiers.
//
// Life of space:  reserve -> write -> commit -> (pin, read, unpin)* -> release
//                 reserve -> write -> abandon
//
// Invariant: bytes of a committed place never change until it was released and
// its last pin is gone; a place whose generation does not match is STALE, never
// another block's bytes.
//
// Threads: every member may be called from any thread; a slot between reserve
// and commit belongs to the thread that reserved it.

#ifndef TIER_TIER_H
#define TIER_TIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block/block_digest.h"
#include "block/block_label.h"
#include "block/block_place.h"
#include "cascade/cascade.h"

// What a tier can do, as data.
enum tier_capabilities {
    TIER_ZERO_COPY = 1,  // pin shows an address
    TIER_PERSISTENT = 2, // content survives the process
    TIER_REMOTE = 4,
};

// Space that is being filled.
struct tier_slot {
    uint32_t number;
    uint32_t generation;
    uint64_t offset;
    uint64_t bytes;
    void *memory; // where the bytes go, if the tier has an address for them
};

// A read in progress.
struct tier_pin {
    struct block_place place;
    const void *memory; // NULL unless TIER_ZERO_COPY
};

struct tier_usage {
    uint64_t capacity_bytes;
    uint64_t used_bytes; // as the tier counts: with rounding and headers
    uint64_t blocks;
};

struct tier_table {
    const char *name; // "dram", "segments"
    enum cascade_tier tier;
    uint32_t capabilities;

    // Finds space for `bytes` (0 is legal). Never waits, never evicts.
    // NO_SPACE: not now. TOO_LARGE: not even when empty.
    enum cascade_status (*reserve)(void *self, uint64_t bytes,
                                   struct tier_slot *slot);

    // Copies the spans into the slot, in one pass with what `wanted` asks of
    // the digest (enum block_digest_wanted). The digest is computed from what
    // is stored. May block on I/O (segments). INVALID: spans do not sum to the
    // slot's bytes. IO.
    enum cascade_status (*write)(void *self, struct tier_slot *slot,
                                 const struct cascade_const_span *spans,
                                 size_t span_count, uint32_t wanted,
                                 struct block_digest *digest);

    // Makes the slot a place with a new generation. The slot is consumed on
    // success only. The label goes beside the payload where the tier keeps
    // labels. IO, NO_SPACE (segments).
    enum cascade_status (*commit)(void *self, struct tier_slot *slot,
                                  const struct block_label *label,
                                  const struct block_digest *digest,
                                  struct block_place *place);

    // Gives back a slot that was not committed. Cannot fail.
    void (*abandon)(void *self, struct tier_slot *slot);

    // Keeps the place readable until unpin. STALE: it is gone. Never waits.
    enum cascade_status (*pin)(void *self, const struct block_place *place,
                               struct tier_pin *pin);

    // Copies the pinned place into the spans, which may be larger than the
    // block. With `verify` the bytes are checked against the place's checksum;
    // tiers whose bytes cross storage or a wire always check.
    // CORRUPT: they do not match (spans unspecified). STALE, IO, TOO_SMALL.
    enum cascade_status (*read)(void *self, const struct tier_pin *pin,
                                const struct cascade_span *spans,
                                size_t span_count, bool verify);

    void (*unpin)(void *self, struct tier_pin *pin);

    // Takes the place out of service; its space is free after the last unpin.
    // With `only_unpinned` a pinned place stays as it is and the answer is
    // BUSY. STALE: gone already.
    enum cascade_status (*release)(void *self, const struct block_place *place,
                                   bool only_unpinned);

    void (*usage)(void *self, struct tier_usage *usage);
};

struct tier {
    const struct tier_table *table;
    void *self;
};

#endif
