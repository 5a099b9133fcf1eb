// SPDX-License-Identifier: Apache-2.0
//
// Moving blocks that stay (protected ones, and what comes before them in their
// prompts) together, so that they do not wall off the arena for large blocks.
// Which one goes where is said by tier_dram_find_relocation. What is in its new
// place is evicted first; as much room is left behind in its old one.
//
// A block keeps its slot, so that the policy's entry, its protection, its hints
// and its children's links stay as they are; only its place changes, under the
// lock of its id. Whoever has the old place finds it stale and looks again. A
// block that others pin does not move.
//
// window_lock: from the search to the move. cold_lock too: a writer of segments
// that found a place may rely on it until it has pinned it.

#include "base/check.h"
#include "store/store_internal.h"

#define STEP_BYTES (32 * MIB)
#define STEP_BLOCKS 32

// Steps in a row that found something to move and could not.
#define TRIES_MAX 4

// Longest wait of a step for cold_lock: somebody else is writing then.
#define COLD_WAIT_NS (10 * NS_PER_MS)

// Under policy_lock and the tier's, like the next.
static bool
may_go(void *context, uint32_t slot)
{
    const struct cascade *store = context;
    const struct store_slot *block = &store->blocks[slot];

    return (block->flags & STORE_SLOT_RESIDENT) != 0 &&
           (block->flags & STORE_SLOT_PROTECTED) == 0 &&
           block->rank != STORE_RANK_STAYS;
}

static bool
may_move(void *context, uint32_t slot)
{
    const struct cascade *store = context;

    return (store->blocks[slot].flags & STORE_SLOT_RESIDENT) != 0;
}

// A move under way.
struct move {
    struct cascade *store;
    struct tier_pin pin;
    struct tier_slot target;
};

// Under the id's shard.
static enum cascade_status
change_place(void *context, struct block_place *place)
{
    struct move *move = context;

    return tier_dram_move(move->store->dram, &move->pin, &move->target, place);
}

// Copies the pinned block and puts the copy in its place. Pin and target are
// consumed on success only.
static enum cascade_status
copy_and_change(struct move *move, const struct directory_found *found)
{
    struct cascade *store = move->store;
    struct cascade_const_span span = {.data = move->pin.memory,
                                      .bytes = found->bytes};
    struct block_digest digest;
    enum cascade_status status = tier_dram_table.write(
        store->dram, &move->target, &span, 1, BLOCK_DIGEST_CHECKSUM, &digest);

    if (status == CASCADE_OK && digest.checksum != found->checksum) {
        store_memory_damaged(store, found);
        status = CASCADE_CORRUPT;
    }
    if (status == CASCADE_OK) {
        status = directory_move(store->directory, &found->id, &found->memory,
                                change_place, move);
    }
    return status;
}

static enum cascade_status
move_block(struct cascade *store, uint32_t slot, uint64_t offset,
           uint64_t *bytes)
{
    struct move move = {.store = store};
    struct directory_found found;
    enum cascade_status status = directory_find_slot(store->directory, slot,
                                                     &found);

    if (status == CASCADE_OK) {
        status = tier_dram_table.pin(store->dram, &found.memory, &move.pin);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    status = tier_dram_reserve_at(store->dram, found.bytes, offset,
                                  &move.target);
    if (status != CASCADE_OK) {
        tier_dram_table.unpin(store->dram, &move.pin);
        return status;
    }
    status = copy_and_change(&move, &found);
    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, &move.target);
        tier_dram_table.unpin(store->dram, &move.pin);
        return status;
    }
    *bytes += found.bytes;
    metric_add(store->metrics, METRIC_RELOCATIONS_TOTAL, 1);
    return CASCADE_OK;
}

// Under window_lock. NO_SPACE: nothing is to move. BUSY: not now.
static enum cascade_status
relocate_one(struct cascade *store, uint64_t *bytes)
{
    struct tier_dram_relocation relocation = {
        .may_go = may_go,
        .may_move = may_move,
        .context = store,
        .slots = store->window_slots,
        .slots_max = STORE_WINDOW_SLOTS_MAX,
    };
    enum cascade_status status;

    store_policy_lock(store);
    status = tier_dram_find_relocation(store->dram, &relocation);
    store_policy_unlock(store);
    if (status != CASCADE_OK) {
        return status;
    }
    if (store_want_dirty(store, relocation.slots, relocation.count)) {
        return CASCADE_BUSY;
    }
    store_clear_slots(store, relocation.slots, relocation.count, false);
    return move_block(store, relocation.slot, relocation.offset, bytes) ==
                   CASCADE_OK
               ? CASCADE_OK
               : CASCADE_BUSY;
}

// Under cold_lock, if there is a cold tier.
static bool
relocate(struct cascade *store)
{
    enum cascade_status status = CASCADE_OK;
    uint64_t bytes = 0;
    uint32_t blocks = 0;

    atomic_store(&store->walls_changed, false);
    check(pthread_mutex_lock(&store->window_lock) == 0);
    for (; status == CASCADE_OK && bytes < STEP_BYTES && blocks < STEP_BLOCKS;
         blocks++) {
        status = relocate_one(store, &bytes);
    }
    check(pthread_mutex_unlock(&store->window_lock) == 0);
    if (bytes > 0) {
        store_room_changed(store);
        store->relocation_tries = 0;
    }
    if (status == CASCADE_BUSY) {
        store->relocation_tries++;
    }
    if (status == CASCADE_NO_SPACE || store->relocation_tries >= TRIES_MAX) {
        store->relocation_tries = 0;
        return false;
    }
    atomic_store(&store->walls_changed, true);
    return true;
}

bool
store_relocate_step(struct cascade *store)
{
    bool more;

    if (store->dram == NULL || !atomic_load(&store->windows_needed) ||
        !atomic_load(&store->walls_changed)) {
        return false;
    }
    if (store->cold == NULL) {
        return relocate(store);
    }
    if (store_cold_begin(store, store_now(store) + COLD_WAIT_NS) !=
        CASCADE_OK) {
        return false;
    }
    more = relocate(store);
    store_cold_end(store);
    return more;
}
