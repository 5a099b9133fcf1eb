// SPDX-License-Identifier: Apache-2.0
//
// Slots and their word: private to the files tier_dram*.c. See tier_dram.h for
// the word and the lock.

#ifndef TIER_TIER_DRAM_INNER_H
#define TIER_TIER_DRAM_INNER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/extent.h"
#include "tier/tier_dram.h"

#define TIER_DRAM_OUT ((uint64_t)1 << 31)
#define TIER_DRAM_PINS (TIER_DRAM_OUT - 1)
#define TIER_DRAM_SLOT_NONE UINT32_MAX

// Peers may map the slots and read them (tier_dram_peer_holds).
struct tier_dram_slot {
    // generation << 32 | TIER_DRAM_OUT | pins
    _Atomic uint64_t word;
    uint64_t bytes; // of a free or lingering slot: the next one in its list
};

struct tier_dram {
    const struct allocator *allocator;
    struct pool *pool;
    struct arena *arena;
    uint8_t *memory;
    struct tier_dram_slot *slots;
    struct arena *words; // holds the slots if peers may see them, else NULL
    // Set before others use the tier, or never.
    tier_dram_is_watched *is_watched;
    void *watch_context;
    uint64_t granule_bytes;
    uint64_t capacity_bytes;
    uint32_t blocks_max;
    uint16_t rank;
    _Atomic uint32_t blocks; // in service

    pthread_mutex_t mutex; // guards what follows
    struct extent_map *map;
    uint32_t free_slot;  // list of slots given back
    uint32_t fresh_slot; // slots never taken begin here
    uint32_t slots_used; // not free
    // Out of service, unpinned here, but a peer may still read them.
    uint32_t lingering_slot;
    uint32_t lingering;

    pthread_mutex_t count_mutex; // before `mutex`; guards what follows
    uint32_t count_next;         // slot at which the walk over pins goes on
    uint64_t count_sum;          // of this walk so far
    uint64_t pins_seen;          // by the last whole walk
};

// 0 stands for no generation.
static inline uint32_t
tier_dram_generation_after(uint32_t generation)
{
    return generation == UINT32_MAX ? 1 : generation + 1;
}

static inline uint32_t
tier_dram_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static inline uint64_t
tier_dram_word(uint32_t generation, uint64_t bits)
{
    return (uint64_t)generation << 32 | bits;
}

// Of a slot that is not free, and stays so. Its number is that of its extent.
static inline uint64_t
tier_dram_offset(const struct tier_dram *dram,
                 const struct tier_dram_slot *slot)
{
    struct extent extent;

    extent_read(dram->map, (uint32_t)(slot - dram->slots), &extent);
    return extent.offset;
}

static inline void
tier_dram_lock(struct tier_dram *dram)
{
    check(pthread_mutex_lock(&dram->mutex) == 0);
}

static inline void
tier_dram_unlock(struct tier_dram *dram)
{
    check(pthread_mutex_unlock(&dram->mutex) == 0);
}

// With the mutex held: the space and the number of the slot are free.
static inline void
tier_dram_free_locked(struct tier_dram *dram, uint32_t number)
{
    struct tier_dram_slot *slot = &dram->slots[number];

    extent_release(dram->map, number);
    slot->bytes = dram->free_slot;
    dram->free_slot = number;
    dram->slots_used--;
}

// After the word of the slot was changed so that no new reader starts, in the
// one order of all such changes (seq_cst): whether a peer reads that
// generation.
static inline bool
tier_dram_has_watchers(const struct tier_dram *dram, uint32_t number,
                       uint32_t generation)
{
    return dram->is_watched != NULL &&
           dram->is_watched(dram->watch_context, number, generation);
}

// The slot is out of service and unpinned: frees it, or lets it linger.
void
tier_dram_let_go(struct tier_dram *dram, uint32_t number);

// With the mutex held: frees what no peer reads any more; how many.
uint32_t
tier_dram_sweep_locked(struct tier_dram *dram);

// With the mutex held.
bool
tier_dram_lingers_locked(const struct tier_dram *dram, uint32_t number);

#endif
