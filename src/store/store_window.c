// SPDX-License-Identifier: Apache-2.0
//
// Room for large blocks. Victims in the policy's order leave holes that are too
// small for a large block, so that takes a run of neighbours: the one that is
// worth least. A block's worth grows with its place in the policy's order.
//
// Places are a byte per block and as old as the last walk over that order,
// which happens again when a sixteenth of the blocks is new (in the background;
// a quarter: before the next search). A walk is one step of the policy and a
// few of memory per block, in slices under policy_lock; a search is one walk
// over the extents under policy_lock and the tier's. What came or was used
// since the last walk counts as hottest.
//
// A block is at least as warm as what was put after it in its prompt, as the
// policy sees it too, so that prompts go from their end.
//
// window_lock: one search, with its evictions and its reservation, at a time,
// so that two do not clear the same run, nor take each other's.

#include "base/check.h"
#include "policy/policy_choice.h"
#include "store/store_internal.h"

#define SLICE 1024
#define TRIES_MAX 8
#define DIRTY_TRIES_MAX 2

// The part of the blocks that may be new before they are ranked again.
#define STEP_PART 16
#define SEARCH_PART 4

// Resident and protected.
#define HELD (STORE_SLOT_RESIDENT | STORE_SLOT_PROTECTED)

static void
lock(pthread_mutex_t *mutex)
{
    check(pthread_mutex_lock(mutex) == 0);
}

static void
unlock(pthread_mutex_t *mutex)
{
    check(pthread_mutex_unlock(mutex) == 0);
}

// Calls `visit` for each slot that was ever used, in slices.
static void
for_each_slot(struct cascade *store,
              void (*visit)(struct cascade *store, uint32_t slot))
{
    uint32_t slot = 0;
    bool more = true;

    while (more) {
        uint32_t end;

        store_policy_lock(store);
        end = (uint32_t)units_min(store->slots_seen, (uint64_t)slot + SLICE);
        for (; slot < end; slot++) {
            visit(store, slot);
        }
        more = slot < store->slots_seen;
        store_policy_unlock(store);
    }
}

static void
forget_rank(struct cascade *store, uint32_t slot)
{
    store->blocks[slot].rank = STORE_RANK_STAYS;
}

// Under policy_lock: the block before this one in its prompt, NULL if it is not
// known. It may be another one by now: then that is ranked too warm.
static struct store_slot *
parent_of(struct cascade *store, const struct store_slot *block)
{
    struct store_slot *parent;

    if (block->parent_slot >= store->slots) {
        return NULL;
    }
    parent = &store->blocks[block->parent_slot];
    return (parent->flags & STORE_SLOT_RESIDENT) != 0 ? parent : NULL;
}

// Under policy_lock. Ranks rise during a walk, so each block is met here at
// most once for each rank, whatever the prompts look like.
static void
rank_with_parents(struct cascade *store, uint32_t slot, uint8_t rank)
{
    struct store_slot *block = &store->blocks[slot];

    while (block != NULL &&
           (block->rank == STORE_RANK_STAYS || block->rank < rank)) {
        block->rank = rank;
        block = parent_of(store, block);
    }
}

// What comes before a protected block in its prompt stays with it.
static void
hold_parents(struct cascade *store, uint32_t slot)
{
    struct store_slot *block = &store->blocks[slot];

    if ((block->flags & HELD) != HELD) {
        return;
    }
    block->rank = STORE_RANK_STAYS;
    for (block = parent_of(store, block);
         block != NULL && block->rank != STORE_RANK_STAYS;
         block = parent_of(store, block)) {
        block->rank = STORE_RANK_STAYS;
    }
}

// Under policy_lock: ranks the next blocks of the walk. False at its end.
static bool
rank_slice(struct cascade *store, struct policy_cursor *cursor, uint64_t blocks)
{
    for (uint32_t i = 0; i < SLICE; i++) {
        uint32_t slot;
        uint64_t place = cursor->count;

        if (place >= blocks ||
            !store->policy->choose(store->policy_state, cursor, &slot)) {
            return false;
        }
        rank_with_parents(store, slot,
                          (uint8_t)(place * STORE_RANK_HOTTEST / blocks));
    }
    return true;
}

// Under window_lock.
static void
rank_blocks(struct cascade *store)
{
    struct policy_cursor cursor = {.count = 0};
    struct tier_usage usage;
    bool more = true;

    tier_dram_table.usage(store->dram, &usage);
    store_policy_lock(store);
    store->ranked_admissions = store->admissions;
    store->ranks_hold_back = false;
    store_policy_unlock(store);
    for_each_slot(store, forget_rank);
    while (more) {
        store_policy_lock(store);
        more = rank_slice(store, &cursor, usage.blocks);
        store_policy_unlock(store);
    }
    for_each_slot(store, hold_parents);
    atomic_store(&store->walls_changed, true);
}

// Under window_lock: ranks if more than one in `part` is new.
static void
rank_if_old(struct cascade *store, uint64_t part)
{
    struct tier_usage usage;
    uint64_t arrived;

    tier_dram_table.usage(store->dram, &usage);
    store_policy_lock(store);
    arrived = store->admissions - store->ranked_admissions;
    store_policy_unlock(store);
    if (arrived > usage.blocks / part) {
        rank_blocks(store);
    }
}

// Under window_lock: ranks again if a block may be thought to stay that would go
// by now. False if there is none.
static bool
rank_if_held_back(struct cascade *store)
{
    bool hold_back;

    store_policy_lock(store);
    hold_back = store->ranks_hold_back;
    store_policy_unlock(store);
    if (hold_back) {
        rank_blocks(store);
    }
    return hold_back;
}

// A search under way.
struct search {
    struct cascade *store;
    bool drop_dirty;
};

// Under policy_lock and the tier's.
static double
cost_of(void *context, uint32_t slot, uint64_t bytes)
{
    const struct search *search = context;
    const struct store_slot *block = &search->store->blocks[slot];

    if (block->rank == STORE_RANK_STAYS ||
        (block->flags & HELD) != STORE_SLOT_RESIDENT ||
        ((block->flags & STORE_SLOT_WANTED) != 0 && !search->drop_dirty)) {
        return -1;
    }
    return policy_window_cost(bytes, (double)block->rank / STORE_RANK_HOTTEST);
}

// The background writes the block before others. Until then it is in no window.
static void
want(struct cascade *store, uint32_t slot)
{
    struct store_slot *block = &store->blocks[slot];

    store_policy_lock(store);
    if ((block->flags & (STORE_SLOT_RESIDENT | STORE_SLOT_WANTED)) ==
            STORE_SLOT_RESIDENT &&
        store->wanted_count < STORE_WANTED_MAX) {
        block->flags |= STORE_SLOT_WANTED;
        store->wanted[store->wanted_count++] = slot;
    }
    store_policy_unlock(store);
}

// Under window_lock.
static enum cascade_status
find_ranked(struct search *search, struct tier_dram_window *window)
{
    enum cascade_status status;

    store_policy_lock(search->store);
    status = tier_dram_find_window(search->store->dram, window);
    store_policy_unlock(search->store);
    return status;
}

// Under window_lock.
static enum cascade_status
find_window(struct search *search, struct tier_dram_window *window)
{
    enum cascade_status status = find_ranked(search, window);

    if (status != CASCADE_OK && rank_if_held_back(search->store)) {
        status = find_ranked(search, window);
    }
    return status;
}

// A window of many small blocks is cleared in pieces.
static uint32_t
tries_for(const struct cascade *store, uint64_t bytes)
{
    uint64_t blocks = units_min(bytes / store->granule_bytes, store->slots);

    return TRIES_MAX + (uint32_t)(blocks / STORE_WINDOW_SLOTS_MAX);
}

bool
store_want_dirty(struct cascade *store, const uint32_t *slots, uint32_t count)
{
    bool dirty = false;

    for (uint32_t i = 0; i < count; i++) {
        if (store_slot_is_dirty(store, slots[i])) {
            want(store, slots[i]);
            dirty = true;
        }
    }
    return dirty;
}

void
store_clear_slots(struct cascade *store, const uint32_t *slots, uint32_t count,
                  bool drop_dirty)
{
    for (uint32_t i = 0; i < count; i++) {
        bool dirty;

        if (store_evict_slot(store, slots[i], drop_dirty, &dirty) !=
            CASCADE_OK) {
            store_policy_lock(store);
            store->blocks[slots[i]].rank = STORE_RANK_STAYS;
            store->ranks_hold_back = true;
            store_policy_unlock(store);
        }
    }
}

static bool
is_any_wanted(struct cascade *store)
{
    bool any;

    store_policy_lock(store);
    any = store->wanted_count > 0;
    store_policy_unlock(store);
    return any;
}

enum cascade_status
store_evict_window(struct cascade *store, uint64_t bytes, bool drop_dirty,
                   struct tier_slot *slot, bool *dirty)
{
    struct search search = {.store = store, .drop_dirty = drop_dirty};
    struct tier_dram_window window = {
        .bytes = bytes,
        .cost = cost_of,
        .context = &search,
        .slots = store->window_slots,
        .slots_max = STORE_WINDOW_SLOTS_MAX,
    };
    enum cascade_status status = CASCADE_NO_SPACE;
    uint32_t tries = tries_for(store, bytes);
    uint32_t dirty_tries = 0;

    atomic_store(&store->windows_needed, true);
    lock(&store->window_lock);
    rank_if_old(store, SEARCH_PART);
    for (uint32_t i = 0; status == CASCADE_NO_SPACE && i < tries &&
                         dirty_tries < DIRTY_TRIES_MAX;
         i++) {
        if (find_window(&search, &window) != CASCADE_OK) {
            // Perhaps because all that would do waits to be written already.
            *dirty = *dirty || (!drop_dirty && is_any_wanted(store));
            break;
        }
        if (window.count == 0) {
            // Room came meanwhile, or it is not room that is missing.
            status = tier_dram_table.reserve(store->dram, bytes, slot);
            status = status == CASCADE_NO_SPACE ? CASCADE_BUSY : status;
        } else if (!drop_dirty &&
                   store_want_dirty(store, window.slots, window.count)) {
            *dirty = true;
            dirty_tries++;
        } else {
            store_clear_slots(store, window.slots, window.count, drop_dirty);
            status = tier_dram_table.reserve(store->dram, bytes, slot);
        }
    }
    unlock(&store->window_lock);
    return status;
}

void
store_rank_step(struct cascade *store)
{
    if (store->dram == NULL || !atomic_load(&store->windows_needed)) {
        return;
    }
    lock(&store->window_lock);
    rank_if_old(store, STEP_PART);
    unlock(&store->window_lock);
}

size_t
store_take_wanted(struct cascade *store, uint32_t *slots, size_t room)
{
    size_t count = 0;

    store_policy_lock(store);
    while (count < room && store->wanted_count > 0) {
        uint32_t slot = store->wanted[--store->wanted_count];

        store->blocks[slot].flags &= (uint8_t)~STORE_SLOT_WANTED;
        slots[count++] = slot;
    }
    store_policy_unlock(store);
    return count;
}
