// SPDX-License-Identifier: Apache-2.0
//
// Which block goes, which tier takes one, what may be protected, what comes
// closer. Facts in, decisions out: no clock, no I/O, no lock, no allocation;
// the caller keeps the state in its own memory and calls from one thread at a
// time. A policy never carries a block: the caller evicts what was chosen and
// says so with `remove`.
//
// An entry is a small integer that the caller gives to a copy (the number of
// its DRAM slot). Every policy keeps two promises: a protected entry is never
// chosen, and an entry with resident children is never chosen (the blocks of a
// prompt go from its end, so that what stays is a usable prefix).

#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cascade/cascade.h"

#define POLICY_NONE UINT32_MAX

enum policy_flags {
    POLICY_PROTECTED = 1,   // never chosen
    POLICY_SESSION_END = 2, // hint: goes before all that were not so marked
    // Fact of insert: the last block of a prompt, not full. Its content changes
    // when the prompt goes on, so that a policy may choose it first.
    POLICY_PARTIAL = 4,
};

// What is known of a block when it enters.
struct policy_facts {
    uint64_t bytes;
    uint64_t hash;   // of its content id, for policies that remember the gone
    uint32_t parent; // entry of the block before it, POLICY_NONE = not here
    uint32_t depth;  // place in its prompt, root = 0
    uint32_t turn;
    uint32_t request_class;
    uint32_t flags;       // enum policy_flags
    float expected_reuse; // 0 = unknown
};

struct policy_parameters {
    uint64_t capacity_bytes;
    uint64_t seed;
};

#define POLICY_CURSOR_PLACES 24

// Where a search for victims has come to. All zero begins one.
struct policy_cursor {
    uint64_t position[POLICY_CURSOR_PLACES];
    uint32_t entry[2];
    uint32_t count; // entries yielded so far
};

struct policy_table {
    const char *name; // "lru"

    // Bytes of state for `entries` entries (0 to entries - 1), aligned for
    // any type.
    size_t (*state_bytes)(uint32_t entries);

    // Begins with no entry resident, in memory that is all zero and stays where
    // it is. `parameters` may be NULL.
    void (*init)(void *state, uint32_t entries,
                 const struct policy_parameters *parameters);

    // The entry enters. It is not resident. A parent that is not resident, or
    // the entry itself, counts as none.
    void (*insert)(void *state, uint32_t entry,
                   const struct policy_facts *facts);

    // The entry was used. Touch the blocks of a prompt from the deepest to the
    // root. Not resident: nothing happens.
    void (*touch)(void *state, uint32_t entry);

    // The entry is protected or not, or its session has ended (enum
    // policy_flags, replacing those of before). A touch lifts SESSION_END.
    // Not resident: nothing happens.
    void (*change)(void *state, uint32_t entry, uint32_t flags);

    // The entry is gone: evicted, so that a policy may remember it, or dropped
    // for another reason (removed, cleared, damaged). Not resident: nothing
    // happens.
    void (*remove)(void *state, uint32_t entry, bool evicted);

    // The next victim, coldest first; false if there is none (left). Changes
    // no state. The caller calls `remove` for each that it evicted; those that
    // it did not (pinned, or awaiting a home) are passed over until a new
    // cursor. Their parents stay behind them. Calls of insert, touch, change
    // and remove in between are allowed.
    bool (*choose)(const void *state, struct policy_cursor *cursor,
                   uint32_t *entry);

    // For tests and checkers.
    bool (*is_valid)(const void *state);
};

// Least recently used, children before parents.
extern const struct policy_table policy_lru;

// Others that are widely known; each file says whose they are.
extern const struct policy_table policy_fifo;
extern const struct policy_table policy_lfu;
extern const struct policy_table policy_lfu_da;
extern const struct policy_table policy_arc;
extern const struct policy_table policy_s3fifo;
extern const struct policy_table policy_s3fifo_50; // small queue of one half
extern const struct policy_table policy_sieve;
extern const struct policy_table policy_slru;
extern const struct policy_table policy_wtinylfu;

// The default: the least likely to be used again, as far as that was learnt.
extern const struct policy_table policy_cascade;

// The policy of that name; NULL if there is none.
const struct policy_table *
policy_find(const char *name);

// Names, for option help; NULL past the end.
const struct policy_table *
policy_at(size_t index);

// ---------------------------------------------------------------------------
// Choices without state

// Of one tier's protected space.
struct policy_budget {
    uint64_t capacity_bytes;
    uint64_t protected_bytes;
    double fraction_max; // prefix_fraction_max
};

// True if `bytes` more may be protected.
bool
policy_protect_allows(const struct policy_budget *budget, uint64_t bytes);

// One tier that could take a block.
struct policy_tier_facts {
    enum cascade_tier tier;
    bool usable; // it started and takes writes
    struct policy_budget budget;
};

// Which tiers to try, in order, for a block of that size: writes indexes of
// `tiers` to `order` (room for `count`) and returns how many. The tiers come
// fastest first and so does the answer, less those that are not usable or
// smaller than the block. A block to be protected goes first to memory whose
// budget allows it, then unprotected to the others.
size_t
policy_choose_tier(const struct policy_tier_facts *tiers, size_t count,
                   uint64_t bytes, bool protect, uint8_t *order);

// True if a block that this rank has read `remote_hits` times from another is
// to be copied here. A threshold of 0 means never.
bool
policy_choose_promotion(uint32_t remote_hits, uint32_t threshold);

#endif
