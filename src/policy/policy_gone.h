// SPDX-License-Identifier: Apache-2.0
//
// What is remembered of blocks that were evicted: when they were last used and
// how often. A table of sets of few places: where a set is full, the one longest
// unused is forgotten. In a set blocks are told apart by 16 bits of their hash;
// two that agree in these are taken for one, which misleads a guess and nobody
// else.
//
// No lock, no allocation: plain memory of the caller, all zero at first.

#ifndef POLICY_POLICY_GONE_H
#define POLICY_POLICY_GONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy_gone_block {
    uint32_t last_use; // low bits of the clock
    uint16_t tag;
    uint8_t hits;
    bool used;
};

struct policy_gone {
    struct policy_gone_block *blocks;
    uint32_t places; // in memory
    uint32_t count;  // of places in use, a multiple of those of a set
};

// Places for what a cache of that many blocks evicts: several times its blocks
// where they are few, since guesses need some history, and twice where they are
// many.
uint32_t
policy_gone_places(uint32_t entries);

// The cache holds so many blocks: uses more places if that asks for them. What
// is remembered in a place that is no longer its own is forgotten in time.
void
policy_gone_grow(struct policy_gone *gone, uint32_t resident);

// `now` and `last_use` are low bits of the clock.
void
policy_gone_put(struct policy_gone *gone, uint32_t fingerprint,
                uint32_t last_use, uint8_t hits, uint32_t now);

// Takes the block out, if it is there.
bool
policy_gone_take(struct policy_gone *gone, uint32_t fingerprint,
                 struct policy_gone_block *block);

#endif
