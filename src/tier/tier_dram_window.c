// SPDX-License-Identifier: Apache-2.0
//
// Which run of blocks would make room for a large one. Takes the tier's lock
// and clears nothing.

#include "base/extent_window.h"
#include "tier/tier_dram_inner.h"

// A window being looked for, and what the caller asked.
struct window_search {
    struct tier_dram *dram;
    const struct tier_dram_window *wanted;
};

// With the mutex held. A pin that comes later is met when the block is released.
static bool
may_go(void *context, const struct extent *extent)
{
    const struct window_search *search = context;
    uint64_t word = atomic_load_explicit(
        &search->dram->slots[extent->number].word, memory_order_relaxed);

    return (word & (TIER_DRAM_OUT | TIER_DRAM_PINS)) == 0 &&
           search->wanted->cost(search->wanted->context, extent->number,
                                extent->bytes) >= 0;
}

static double
window_cost(void *context, const struct extent *extent)
{
    const struct window_search *search = context;

    return search->wanted->cost(search->wanted->context, extent->number,
                                extent->bytes);
}

enum cascade_status
tier_dram_find_window(struct tier_dram *dram, struct tier_dram_window *window)
{
    struct window_search search = {.dram = dram, .wanted = window};
    struct extent_window_question question = {
        .bytes = window->bytes,
        .used_max = UINT32_MAX,
        .may_go = may_go,
        .cost = window_cost,
        .context = &search,
    };
    struct extent_window found;
    struct extent extent;
    bool any;

    window->count = 0;
    tier_dram_lock(dram);
    any = extent_window_find(dram->map, &question, &found);
    if (any) {
        bool more = extent_at(dram->map, found.first, &extent);

        for (uint32_t i = 0; more && i < found.extents; i++) {
            if (extent.used && window->count < window->slots_max) {
                window->slots[window->count++] = extent.number;
            }
            more = extent_next(dram->map, extent.number, &extent);
        }
    }
    tier_dram_unlock(dram);
    return any ? CASCADE_OK : CASCADE_NO_SPACE;
}

uint64_t
tier_dram_slot_bytes(struct tier_dram *dram, uint32_t slot)
{
    struct extent extent;

    tier_dram_lock(dram);
    extent_read(dram->map, slot, &extent);
    tier_dram_unlock(dram);
    return extent.bytes;
}

bool
tier_dram_holds(const struct tier_dram *dram, const struct block_place *place)
{
    return place->tier == CASCADE_TIER_LOCAL_DRAM &&
           place->slot < dram->blocks_max &&
           tier_dram_generation(atomic_load_explicit(
               &dram->slots[place->slot].word, memory_order_relaxed)) ==
               place->generation;
}
