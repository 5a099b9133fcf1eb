// SPDX-License-Identifier: Apache-2.0
//
// Readers in other processes: what lingers until they are done, and what they
// see of the slots. tier_dram.h says how the two sides see each other.
//
// Invariant: a slot lingers from the moment that its word says out of service
// and unpinned until a look, later than that, finds that no peer watches its
// generation. A peer that comes in between finds the word and goes away, so one
// such look is enough. The list is looked at whenever something is added: so it
// is not longer than the pins that peers can have, and one.
//
// Lock: the tier's mutex over the list.

#include "base/arena.h"
#include "tier/tier_dram_inner.h"

static bool
is_watched_locked(const struct tier_dram *dram, uint32_t number)
{
    uint64_t word = atomic_load_explicit(&dram->slots[number].word,
                                         memory_order_relaxed);

    return tier_dram_has_watchers(dram, number, tier_dram_generation(word));
}

uint32_t
tier_dram_sweep_locked(struct tier_dram *dram)
{
    uint32_t number = dram->lingering_slot;
    uint32_t freed = 0;

    dram->lingering_slot = TIER_DRAM_SLOT_NONE;
    while (number != TIER_DRAM_SLOT_NONE) {
        struct tier_dram_slot *slot = &dram->slots[number];
        uint32_t next = (uint32_t)slot->bytes;

        if (is_watched_locked(dram, number)) {
            slot->bytes = dram->lingering_slot;
            dram->lingering_slot = number;
        } else {
            tier_dram_free_locked(dram, number);
            freed++;
        }
        number = next;
    }
    dram->lingering -= freed;
    return freed;
}

void
tier_dram_let_go(struct tier_dram *dram, uint32_t number)
{
    tier_dram_lock(dram);
    if (is_watched_locked(dram, number)) {
        (void)tier_dram_sweep_locked(dram);
        dram->slots[number].bytes = dram->lingering_slot;
        dram->lingering_slot = number;
        dram->lingering++;
    } else {
        tier_dram_free_locked(dram, number);
    }
    tier_dram_unlock(dram);
}

bool
tier_dram_lingers_locked(const struct tier_dram *dram, uint32_t number)
{
    uint32_t slot = dram->lingering_slot;

    while (slot != TIER_DRAM_SLOT_NONE && slot != number) {
        slot = (uint32_t)dram->slots[slot].bytes;
    }
    return slot == number;
}

void
tier_dram_watch(struct tier_dram *dram, tier_dram_is_watched *is_watched,
                void *context)
{
    dram->is_watched = is_watched;
    dram->watch_context = context;
}

int
tier_dram_words_file(const struct tier_dram *dram)
{
    return dram->words != NULL ? arena_file(dram->words) : -1;
}

uint64_t
tier_dram_words_bytes(const struct tier_dram *dram)
{
    return dram->words != NULL ? arena_bytes(dram->words) : 0;
}

bool
tier_dram_peer_holds(const void *words, uint64_t words_bytes,
                     const struct block_place *place)
{
    const struct tier_dram_slot *slots = words;
    uint64_t word;

    if (place->tier != CASCADE_TIER_LOCAL_DRAM || place->generation == 0 ||
        place->slot >= words_bytes / sizeof(struct tier_dram_slot)) {
        return false;
    }
    word = atomic_load_explicit(&slots[place->slot].word, memory_order_seq_cst);
    return tier_dram_generation(word) == place->generation &&
           (word & TIER_DRAM_OUT) == 0 &&
           slots[place->slot].bytes == place->bytes;
}

bool
tier_dram_sweep(struct tier_dram *dram)
{
    bool lingers;

    tier_dram_lock(dram);
    (void)tier_dram_sweep_locked(dram);
    lingers = dram->lingering > 0;
    tier_dram_unlock(dram);
    return lingers;
}
