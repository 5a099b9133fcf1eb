// SPDX-License-Identifier: Apache-2.0
//
// Blocks that stay, scattered over the arena, wall off the room of large ones.
// Which of them should move and where to, and the move itself. The copy is the
// caller's. See tier_dram.h for the word and the lock.
//
// A run is what lies between two walls: free space and blocks that may go. The
// one that grows is the largest, by moving a wall beside it: to the far end of
// the highest run that takes it (small blocks), or of the lowest (large ones).
//
// Invariant of a move: while the word says pinned by the mover only, or out of
// service, nobody reads the extent of its number; so that it may change then.

#include "tier/tier_dram_inner.h"

// A relocation being looked for, and what the caller asked.
struct search {
    struct tier_dram *dram;
    struct tier_dram_relocation *wanted;
};

struct run {
    uint64_t offset;
    uint64_t bytes;
    uint32_t below; // the walls beside it, EXTENT_NONE at the ends
    uint32_t above;
};

// With the mutex held: in service, and nobody pins it.
static bool
is_at_rest(const struct search *search, uint32_t slot)
{
    uint64_t word = atomic_load_explicit(&search->dram->slots[slot].word,
                                         memory_order_relaxed);

    return (word & (TIER_DRAM_OUT | TIER_DRAM_PINS)) == 0;
}

static bool
is_wall(const struct search *search, const struct extent *extent)
{
    return extent->used &&
           (!is_at_rest(search, extent->number) ||
            !search->wanted->may_go(search->wanted->context, extent->number));
}

// The run that begins at `*extent`; `*more` tells whether that is then the wall
// above it.
static struct run
run_from(const struct search *search, uint32_t below, uint64_t offset,
         struct extent *extent, bool *more)
{
    struct run run = {.offset = offset, .below = below, .above = EXTENT_NONE};

    while (*more && !is_wall(search, extent)) {
        run.bytes += extent->bytes;
        *more = extent_next(search->dram->map, extent->number, extent);
    }
    if (*more) {
        run.above = extent->number;
    }
    return run;
}

// The largest run, and what all those below and above it have.
static struct run
largest_run(const struct search *search, uint64_t *below, uint64_t *above)
{
    struct extent extent;
    bool more = extent_first(search->dram->map, &extent);
    struct run largest = run_from(search, EXTENT_NONE, 0, &extent, &more);
    uint64_t sum = largest.bytes;

    *below = 0;
    while (more) {
        uint32_t wall = extent.number;
        uint64_t offset = extent.offset + extent.bytes;
        struct run run;

        more = extent_next(search->dram->map, wall, &extent);
        run = run_from(search, wall, offset, &extent, &more);
        if (run.bytes > largest.bytes) {
            largest = run;
            *below = sum;
        }
        sum += run.bytes;
    }
    *above = sum - *below - largest.bytes;
    return largest;
}

// The far end of the highest run above a wall that takes it.
static bool
place_above(const struct search *search, const struct extent *wall,
            uint64_t *offset)
{
    struct extent extent = *wall;
    bool more = true;
    bool found = false;

    while (more) {
        uint32_t below = extent.number;
        uint64_t begin = extent.offset + extent.bytes;
        struct run run;

        more = extent_next(search->dram->map, below, &extent);
        run = run_from(search, below, begin, &extent, &more);
        if (run.bytes >= wall->bytes) {
            found = true;
            *offset = run.offset + run.bytes - wall->bytes;
        }
    }
    return found;
}

// The near end of the lowest run below a wall that takes it.
static bool
place_below(const struct search *search, const struct extent *wall,
            uint64_t *offset)
{
    struct extent extent;
    bool more = extent_first(search->dram->map, &extent);
    uint64_t begin = 0;

    while (more && begin < wall->offset) {
        struct run run = run_from(search, EXTENT_NONE, begin, &extent, &more);

        if (run.bytes >= wall->bytes) {
            *offset = run.offset;
            return true;
        }
        begin = extent.offset + extent.bytes;
        more = more && extent_next(search->dram->map, extent.number, &extent);
    }
    return false;
}

// Notes the blocks that are where the wall would go. False: too many.
static bool
note_blocks(const struct search *search, uint64_t bytes)
{
    struct tier_dram_relocation *wanted = search->wanted;
    struct extent extent;

    wanted->count = 0;
    for (bool more = extent_first(search->dram->map, &extent);
         more && extent.offset < wanted->offset + bytes;
         more = extent_next(search->dram->map, extent.number, &extent)) {
        if (!extent.used || extent.offset + extent.bytes <= wanted->offset) {
            continue;
        }
        if (wanted->count == wanted->slots_max) {
            return false;
        }
        wanted->slots[wanted->count++] = extent.number;
    }
    return true;
}

// Whether the wall is to move; `beyond` is what lies on its other side.
static bool
try_wall(const struct search *search, uint32_t number, uint64_t beyond)
{
    struct tier_dram_relocation *wanted = search->wanted;
    struct extent wall;

    if (!extent_at(search->dram->map, number, &wall) || wall.bytes > beyond ||
        !is_at_rest(search, number) ||
        !wanted->may_move(wanted->context, number)) {
        return false;
    }
    wanted->slot = number;
    return (wall.bytes < EXTENT_BIG_BYTES
                ? place_above(search, &wall, &wanted->offset)
                : place_below(search, &wall, &wanted->offset)) &&
           note_blocks(search, wall.bytes);
}

enum cascade_status
tier_dram_find_relocation(struct tier_dram *dram,
                          struct tier_dram_relocation *relocation)
{
    struct search search = {.dram = dram, .wanted = relocation};
    struct run run;
    uint64_t below;
    uint64_t above;
    bool found;

    tier_dram_lock(dram);
    run = largest_run(&search, &below, &above);
    found = try_wall(&search, run.above, above) ||
            try_wall(&search, run.below, below);
    tier_dram_unlock(dram);
    return found ? CASCADE_OK : CASCADE_NO_SPACE;
}

enum cascade_status
tier_dram_move(struct tier_dram *dram, struct tier_pin *pin,
               struct tier_slot *filled, struct block_place *place)
{
    uint32_t number = pin->place.slot;
    struct tier_dram_slot *slot = &dram->slots[number];
    uint32_t generation = tier_dram_generation_after(pin->place.generation);
    uint64_t word = tier_dram_word(pin->place.generation, 1);

    check(filled->bytes == slot->bytes && filled->bytes > 0);
    // Others let go of what they read before the space may be given away.
    if (!atomic_compare_exchange_strong_explicit(
            &slot->word, &word, tier_dram_word(generation, TIER_DRAM_OUT),
            memory_order_seq_cst, memory_order_relaxed)) {
        return (word & TIER_DRAM_OUT) != 0 ? CASCADE_STALE : CASCADE_BUSY;
    }
    if (tier_dram_has_watchers(dram, number, pin->place.generation)) {
        // The new generation was never in service: nobody has seen it.
        atomic_store_explicit(&slot->word, word, memory_order_release);
        return CASCADE_BUSY;
    }
    *place = pin->place;
    place->generation = generation;
    place->offset = filled->offset;
    tier_dram_lock(dram);
    extent_swap(dram->map, number, filled->number);
    tier_dram_unlock(dram);
    atomic_store_explicit(&slot->word, tier_dram_word(generation, 0),
                          memory_order_release);
    tier_dram_table.abandon(dram, filled);
    *pin = (struct tier_pin){.memory = NULL};
    return CASCADE_OK;
}
