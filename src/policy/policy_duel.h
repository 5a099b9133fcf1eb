// SPDX-License-Identifier: Apache-2.0
//
// Which of several orders of eviction serves best, found by trying all of them
// on a sample: one small cache without blocks for each order, over one block in
// so many by hash, and as much smaller than the real one. Each counts its hits
// as a reader would: the leading blocks of a prompt. Counts fade, and the order
// that is clearly ahead leads.
//
// All orders choose among the same candidates: blocks lie in queues by class
// (hits so far), each in order of last use, and the victim is the last of one
// of the queues. So each order leaves usable prefixes.
//
// No lock, no allocation: plain memory of the caller, all zero at first.

#ifndef POLICY_POLICY_DUEL_H
#define POLICY_POLICY_DUEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy_curve.h"

enum policy_duel_order {
    POLICY_DUEL_RECENT, // the longest unused goes
    POLICY_DUEL_COARSE, // the least likely to be used in a long time goes, by
                        // coarse classes
    POLICY_DUEL_FINE,   // the same in a short time, by fine classes
    POLICY_DUEL_NARROW, // the same, but where those without a hit are more
                        // than a few, one of them goes
    POLICY_DUEL_ORDERS,
};

// A block that could go. Of two the one worth less goes first, of equals the
// older.
struct policy_duel_candidate {
    float worth;
    uint64_t age;
};

static inline bool
policy_duel_before(struct policy_duel_candidate a,
                   struct policy_duel_candidate b)
{
    return a.worth != b.worth ? a.worth < b.worth : a.age > b.age;
}

// What a block of that class and age is worth to an order, given how old blocks
// usually are when they go.
struct policy_duel_candidate
policy_duel_judge(enum policy_duel_order order,
                  const struct policy_curves *curves, uint32_t class,
                  uint64_t age, uint64_t usual_age);

// True if the order takes a victim from the first class, whatever the others
// are worth: `newcomers` of `count` blocks are in it.
bool
policy_duel_narrows(enum policy_duel_order order, uint32_t newcomers,
                    uint32_t count);

struct policy_duel_block {
    uint32_t fingerprint;
    uint32_t newer; // of its queue
    uint32_t older;
    uint32_t chain; // next under the same head, or next unused
    uint32_t last_use;
    uint32_t class;
};

// The cache of one order.
struct policy_duel_cache {
    struct policy_duel_block *blocks;
    uint32_t *heads; // of chains by fingerprint
    uint32_t newest[POLICY_CURVE_CLASSES];
    uint32_t oldest[POLICY_CURVE_CLASSES];
    uint32_t unused;
    uint32_t count;
    uint32_t newcomers; // of them in the first class
    uint32_t run;       // hits of the request so far, since its last miss
    double hits;
};

struct policy_duel {
    struct policy_duel_cache caches[POLICY_DUEL_ORDERS];
    enum policy_duel_order leader;
    uint32_t places; // of each cache
    uint32_t limit;  // blocks that each may hold now, at most places
    uint32_t shift;  // one block in 2^shift is sampled
    uint32_t until_fading;
    uint32_t depth; // of the block used last
};

// Bytes of memory for a cache of that many entries, aligned for uint32_t.
size_t
policy_duel_bytes(uint32_t entries);

void
policy_duel_init(struct policy_duel *duel, void *memory, uint32_t entries);

// The real cache holds so many blocks when it is full.
void
policy_duel_limit(struct policy_duel *duel, uint32_t resident);

// A block was used that had `hits` uses before, at time `now` (low bits). The
// blocks of one request come from the deepest to the root.
void
policy_duel_use(struct policy_duel *duel, const struct policy_curves *curves,
                uint32_t fingerprint, uint32_t hits, uint32_t depth,
                uint64_t usual_age, uint32_t now);

// For tests and checkers.
bool
policy_duel_is_valid(const struct policy_duel *duel);

#endif
