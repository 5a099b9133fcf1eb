// SPDX-License-Identifier: Apache-2.0
//
// Space in DRAM: reserving it, choosing who goes, and keeping what the policy
// knows of each slot in step with the slots. Clean blocks are dropped at once;
// dirty ones are written by the background first, and a put waits for that in
// bounded time.
//
// A slot enters the policy before its place is published and leaves it before
// its place is released, both under policy_lock, so that the policy never
// speaks of a slot that someone else has got meanwhile.

#include <math.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/error.h"
#include "base/extent.h"
#include "policy/policy_choice.h"
#include "store/store_cluster.h"

// Coldest entries looked at for a clean victim before the put waits.
#define CANDIDATES_MAX 4096

// After that many dirty ones in a row at the cold end it is the background's
// turn: it writes in the same order.
#define DIRTY_CANDIDATES_MAX 256

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

// The slot of the parent's block, if that is in DRAM.
uint32_t
store_parent_slot(struct cascade *store, const struct block_key *parent)
{
    struct directory_found found;

    if (block_key_is_zero(parent) ||
        directory_find(store->directory, parent, &found, NULL) != CASCADE_OK ||
        found.memory.tier != CASCADE_TIER_LOCAL_DRAM) {
        return POLICY_NONE;
    }
    return found.memory.slot;
}

static uint16_t
limited(uint32_t value)
{
    return (uint16_t)units_min(value, UINT16_MAX);
}

// What is not 0 stays so.
static uint16_t
parts_of_certain(float probability)
{
    float parts = probability * (float)STORE_REUSE_CERTAIN;

    if (!(parts > 0)) {
        return 0;
    }
    return parts < 1 ? 1 : limited((uint32_t)fminf(parts, 65535));
}

static uint8_t
slot_flags(uint32_t policy_flags)
{
    return (uint8_t)(STORE_SLOT_RESIDENT |
                     ((policy_flags & POLICY_PROTECTED) != 0
                          ? STORE_SLOT_PROTECTED
                          : 0) |
                     ((policy_flags & POLICY_SESSION_END) != 0
                          ? STORE_SLOT_SESSION_END
                          : 0));
}

void
store_admit(struct cascade *store, uint32_t slot,
            const struct store_block *block, bool is_protected)
{
    uint32_t parent = store_parent_slot(store, &block->parent);
    struct policy_facts facts = {
        .bytes = block->bytes,
        .parent = parent,
        .depth = block->depth,
        .turn = block->turn,
        .request_class = block->request_class,
        .expected_reuse = block->expected_reuse,
        .flags = block->policy_flags | (is_protected ? POLICY_PROTECTED : 0),
    };
    struct store_slot kept = {
        .parent_slot = parent,
        .parent_check = directory_key_check(&block->parent),
        .request_class = block->request_class,
        .depth = limited(block->depth),
        .turn = limited(block->turn),
        .expected_reuse = parts_of_certain(block->expected_reuse),
        .rank = STORE_RANK_HOTTEST,
        .flags = slot_flags(facts.flags),
    };

    memcpy(&facts.hash, block->id.bytes, sizeof(facts.hash));
    store_policy_lock(store);
    store->policy->insert(store->policy_state, slot, &facts);
    store->blocks[slot] = kept;
    store->slots_seen = (uint32_t)units_max(store->slots_seen, slot + 1);
    store->admissions++;
    store_policy_unlock(store);
}

// Under policy_lock: the slot leaves the policy.
static void
dismiss_locked(struct cascade *store, uint32_t slot, bool evicted)
{
    if ((store->blocks[slot].flags & STORE_SLOT_RESIDENT) != 0) {
        store->ranks_hold_back = store->ranks_hold_back ||
                                 (store->blocks[slot].flags &
                                  STORE_SLOT_PROTECTED) != 0;
        store->policy->remove(store->policy_state, slot, evicted);
        store->blocks[slot].flags = 0;
    }
}

void
store_discard(struct cascade *store, const struct block_place *place)
{
    if (place->tier != CASCADE_TIER_LOCAL_DRAM) {
        return;
    }
    store_policy_lock(store);
    dismiss_locked(store, place->slot, false);
    store_policy_unlock(store);
    // Pinned by a view or a reader: the last unpin frees the space.
    (void)tier_dram_table.release(store->dram, place, false);
    store_room_changed(store);
}

void
store_free(struct cascade *store, const struct directory_freed *freed)
{
    if (freed->any) {
        store_discard(store, &freed->memory);
    } else if (freed->unprotected) {
        store_mark_protection(store, &freed->id);
    }
}

// Under the id's shard, so that the last one who looks has the last word.
static void
mark_protection(void *context, const struct block_place *memory,
                bool is_protected)
{
    struct cascade *store = context;
    struct store_slot *block;
    uint32_t flags;

    if (memory->tier != CASCADE_TIER_LOCAL_DRAM) {
        return;
    }
    store_policy_lock(store);
    block = &store->blocks[memory->slot];
    flags = (is_protected ? POLICY_PROTECTED : 0) |
            ((block->flags & STORE_SLOT_SESSION_END) != 0 ? POLICY_SESSION_END
                                                          : 0);
    store->policy->change(store->policy_state, memory->slot, flags);
    store->ranks_hold_back = store->ranks_hold_back ||
                             (!is_protected &&
                              (block->flags & STORE_SLOT_PROTECTED) != 0);
    block->flags = (uint8_t)((block->flags & ~STORE_SLOT_PROTECTED) |
                             (is_protected ? STORE_SLOT_PROTECTED : 0));
    store_policy_unlock(store);
    atomic_store(&store->walls_changed, true);
}

// Likewise. The protection is the policy's already.
static void
mark_session_end(void *context, const struct block_place *memory,
                 bool is_protected)
{
    struct cascade *store = context;

    if (memory->tier != CASCADE_TIER_LOCAL_DRAM) {
        return;
    }
    store_policy_lock(store);
    store->policy->change(store->policy_state, memory->slot,
                          POLICY_SESSION_END |
                              (is_protected ? POLICY_PROTECTED : 0));
    store->blocks[memory->slot].flags |= STORE_SLOT_SESSION_END;
    store_policy_unlock(store);
}

void
store_mark_protection(struct cascade *store, const struct block_id *id)
{
    directory_look(store->directory, id, mark_protection, store);
}

void
store_mark_session_end(struct cascade *store, const struct block_id *id)
{
    directory_look(store->directory, id, mark_session_end, store);
}

// Under the id's shard: the copy gives its space back and leaves the policy.
// Whoever gets the slot next waits for policy_lock. A pinned one stays; it is
// being used.
static enum cascade_status
release_unpinned(void *context, const struct block_place *place)
{
    struct cascade *store = context;
    enum cascade_status status;

    store_policy_lock(store);
    status = tier_dram_table.release(store->dram, place, true);
    if (status == CASCADE_OK) {
        dismiss_locked(store, place->slot, true);
    } else if (status == CASCADE_BUSY) {
        store_touch_slot(store, place->slot);
    }
    store_policy_unlock(store);
    return status;
}

static bool
writes_cold(const struct cascade *store)
{
    return store->cold != NULL && !store->settings.cold_look_only;
}

// The block has to be written before it is dropped. What others sealed and
// nobody put here is theirs to keep.
static bool
must_be_written(struct cascade *store, const struct directory_found *found)
{
    struct directory_found binding;

    if (!writes_cold(store) || found->cold_durable || found->guest) {
        return false;
    }
    return !block_place_is_set(&found->cold) || found->memory_put ||
           directory_find_binding(store->directory, &found->key, &binding) !=
               CASCADE_OK ||
           (binding.flags & DIRECTORY_DIRTY) != 0;
}

bool
store_slot_is_worth_writing(struct cascade *store, uint32_t slot)
{
    bool is_behind = atomic_load(&store->writer_is_behind);
    bool was_used;

    store_policy_lock(store);
    was_used = (store->blocks[slot].flags & STORE_SLOT_HIT) != 0;
    store_policy_unlock(store);
    return policy_choose_cold(is_behind, was_used);
}

bool
store_slot_is_dirty(struct cascade *store, uint32_t slot)
{
    struct directory_found found;

    return directory_find_slot(store->directory, slot, &found) == CASCADE_OK &&
           must_be_written(store, &found) &&
           store_slot_is_worth_writing(store, slot);
}

enum cascade_status
store_evict_slot(struct cascade *store, uint32_t slot, bool drop_dirty,
                 bool *dirty)
{
    struct directory_found found;
    enum cascade_status status;
    uint32_t flags = 0;
    bool lost = false;

    *dirty = false;
    if (directory_find_slot(store->directory, slot, &found) != CASCADE_OK ||
        found.memory.tier != CASCADE_TIER_LOCAL_DRAM) {
        return CASCADE_STALE;
    }
    if (found.guest) {
        // Not this rank's to write; it may have become so meanwhile.
        flags = DIRECTORY_WITHDRAW_GUEST;
    } else if (!drop_dirty && must_be_written(store, &found)) {
        *dirty = store_slot_is_worth_writing(store, slot);
        if (*dirty) {
            return CASCADE_BUSY;
        }
    } else if (!drop_dirty && writes_cold(store)) {
        // The copy on segments that makes it clean may go meanwhile.
        flags = DIRECTORY_WITHDRAW_NOT_LAST;
    }
    status = directory_withdraw(store->directory, &found.id, &found.memory,
                                flags, release_unpinned, store, &lost);
    if (status != CASCADE_OK) {
        return status;
    }
    metric_add_tier(store->metrics, METRIC_EVICTIONS_TOTAL,
                    CASCADE_TIER_LOCAL_DRAM, 1);
    // Another's copy that is left is no copy of ours.
    if (!found.guest && store->cold != NULL &&
        (lost || (found.memory_put && !found.cold_durable))) {
        metric_add(store->metrics, METRIC_COLD_WRITES_DROPPED_TOTAL, 1);
    }
    return CASCADE_OK;
}

static bool
next_victim(struct cascade *store, struct policy_cursor *cursor, uint32_t *slot)
{
    bool found;

    store_policy_lock(store);
    found = store->policy->choose(store->policy_state, cursor, slot);
    store_policy_unlock(store);
    return found;
}

// Evicts in the policy's order until a slot of `bytes` can be had. `*dirty` is
// set if a block was passed over because it is dirty.
static enum cascade_status
evict_in_order(struct cascade *store, uint64_t bytes, bool drop_dirty,
               struct tier_slot *slot, bool *dirty)
{
    struct policy_cursor cursor;
    struct tier_usage usage;
    uint32_t victim;
    uint64_t candidates;
    enum cascade_status status = CASCADE_NO_SPACE;
    uint32_t dirty_count = 0;

    // A pinned block comes back as just used: it must not be met for ever.
    tier_dram_table.usage(store->dram, &usage);
    candidates = units_min(usage.blocks, CANDIDATES_MAX);
    memset(&cursor, 0, sizeof(cursor));
    while (status == CASCADE_NO_SPACE && cursor.count < candidates &&
           dirty_count < DIRTY_CANDIDATES_MAX &&
           next_victim(store, &cursor, &victim)) {
        bool is_dirty = !drop_dirty && store_cluster_spill_waits(store, victim);
        enum cascade_status evicted = CASCADE_BUSY;

        if (!is_dirty) {
            evicted = store_evict_slot(store, victim, drop_dirty, &is_dirty);
        }

        *dirty = *dirty || is_dirty;
        if (evicted == CASCADE_OK) {
            status = tier_dram_table.reserve(store->dram, bytes, slot);
            // Parents may have become eligible: begin at the coldest again.
            memset(&cursor, 0, sizeof(cursor));
            dirty_count = 0;
        } else {
            dirty_count += is_dirty ? 1 : 0;
        }
    }
    return status;
}

// A large block takes neighbours, so that their room is of one piece; a small
// one the coldest.
static enum cascade_status
evict_for(struct cascade *store, uint64_t bytes, bool drop_dirty,
          struct tier_slot *slot, bool *dirty)
{
    enum cascade_status status = CASCADE_BUSY;

    *dirty = false;
    if (bytes >= EXTENT_BIG_BYTES) {
        status = store_evict_window(store, bytes, drop_dirty, slot, dirty);
    }
    return status == CASCADE_BUSY
               ? evict_in_order(store, bytes, drop_dirty, slot, dirty)
               : status;
}

void
store_room_changed(struct cascade *store)
{
    lock(&store->room_lock);
    store->room_events++;
    check(pthread_cond_broadcast(&store->room_changed) == 0);
    unlock(&store->room_lock);
}

// Waits until something changed since `events`, for at most `wait_ns`.
static void
wait_for_room(struct cascade *store, uint64_t events, uint64_t wait_ns)
{
    struct timespec until;
    uint64_t until_ns;

    check(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until_ns = (uint64_t)until.tv_nsec + units_min(wait_ns, NS_PER_S);
    until.tv_sec += (time_t)(until_ns / NS_PER_S);
    until.tv_nsec = (long)(until_ns % NS_PER_S);
    lock(&store->room_lock);
    while (store->room_events == events) {
        if (pthread_cond_timedwait(&store->room_changed, &store->room_lock,
                                   &until) != 0) {
            break;
        }
    }
    unlock(&store->room_lock);
}

// The cold tier takes writes, so waiting for it makes sense.
static bool
cold_is_writing(const struct cascade *store)
{
    return writes_cold(store) && store->background_runs &&
           !atomic_load(&store->cold_failed);
}

// Waiting makes sense: blocks are written, or another rank takes them.
static bool
is_making_room(struct cascade *store)
{
    return cold_is_writing(store) ||
           (store->background_runs && store_cluster_is_spilling(store));
}

// Waits for the background to clean the coldest blocks, and evicts them.
static enum cascade_status
reserve_waiting(struct cascade *store, uint64_t bytes, uint64_t deadline_ns,
                struct tier_slot *slot)
{
    uint64_t begin_ns = store_now(store);
    uint64_t until_ns = units_min(deadline_ns,
                                  begin_ns + store->settings.put_wait_ns);
    enum cascade_status status = CASCADE_NO_SPACE;
    bool dirty = true;

    metric_add(store->metrics, METRIC_PUTS_WAITED_TOTAL, 1);
    atomic_fetch_add(&store->room_waiters, 1);
    while (status == CASCADE_NO_SPACE && is_making_room(store)) {
        uint64_t events;
        uint64_t now_ns;

        lock(&store->room_lock);
        events = store->room_events;
        unlock(&store->room_lock);
        status = evict_for(store, bytes, false, slot, &dirty);
        now_ns = store_now(store);
        if (status != CASCADE_NO_SPACE || !dirty || now_ns >= until_ns) {
            break;
        }
        store_background_kick(store);
        wait_for_room(store, events, until_ns - now_ns);
    }
    if (status == CASCADE_NO_SPACE && store->settings.put_wait_ns > 0 &&
        store_now(store) >= until_ns && !cold_is_writing(store)) {
        store_cluster_spill_in_vain(store);
    }
    atomic_fetch_sub(&store->room_waiters, 1);
    metric_observe_ns(store->metrics, METRIC_PUT_WAIT_SECONDS,
                      store_now(store) - begin_ns);
    return status;
}

void
store_look_at_writer(struct cascade *store, uint64_t bytes)
{
    struct policy_writer_facts facts = {
        .refusals = atomic_exchange(&store->room_refusals, 0),
    };
    struct policy_cursor cursor;
    uint32_t slot;
    bool is_behind;

    facts.refusals += atomic_load(&store->room_waiters);
    memset(&cursor, 0, sizeof(cursor));
    while (facts.refusals > 0 && facts.next_bytes < bytes &&
           cursor.count < CANDIDATES_MAX &&
           next_victim(store, &cursor, &slot)) {
        struct directory_found found;

        if (directory_find_slot(store->directory, slot, &found) == CASCADE_OK) {
            facts.next_bytes += found.bytes;
            facts.dirty_bytes += must_be_written(store, &found) ? found.bytes
                                                                : 0;
        }
    }
    is_behind = !store->settings.cold_admits_all &&
                policy_writer_is_behind(&facts);
    if (atomic_exchange(&store->writer_is_behind, is_behind) != is_behind) {
        store_room_changed(store);
    }
}

enum cascade_status
store_reserve(struct cascade *store, uint64_t bytes, uint64_t deadline_ns,
              struct tier_slot *slot)
{
    enum cascade_status status;
    bool dirty = false;

    if (store->dram == NULL) {
        return CASCADE_UNSUPPORTED;
    }
    status = tier_dram_table.reserve(store->dram, bytes, slot);
    if (status == CASCADE_NO_SPACE) {
        store_cluster_spill_wanted(store);
        status = evict_for(store, bytes, false, slot, &dirty);
    }
    if (status == CASCADE_NO_SPACE && dirty && deadline_ns != 0 &&
        is_making_room(store)) {
        atomic_fetch_add(&store->room_refusals, 1);
        status = reserve_waiting(store, bytes, deadline_ns, slot);
    }
    return status;
}

uint64_t
store_bytes_per_slot(const struct cascade *store)
{
    return tier_dram_bytes_per_block() + sizeof(struct store_slot) +
           sizeof(uint32_t) + // of the directory: what is in the slot
           store->policy->state_bytes(store->slots) / store->slots;
}

enum cascade_status
store_reserve_dropping(struct cascade *store, uint64_t bytes,
                       struct tier_slot *slot)
{
    bool dirty;

    if (store->dram == NULL) {
        return CASCADE_UNSUPPORTED;
    }
    return evict_for(store, bytes, true, slot, &dirty);
}
