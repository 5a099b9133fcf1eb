// SPDX-License-Identifier: Apache-2.0
//
// The background: one thread that calls bounded steps. It populates the arena,
// writes the coldest dirty blocks ahead so that room can be had at once, keeps
// the cold tier within its capacity, brings protected blocks back into DRAM
// after a restart, moves those that wall off the arena, renews the lease and
// looks at what others have sealed, hands blocks to ranks with more room, and
// brings the gauges up to date. Tests call
// store_background_step by hand.

#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "store/store_cluster.h"

#define RELOAD_BATCH 64
#define POPULATE_STEP_BYTES (32 * MIB)
#define WRITE_AHEAD_STEP_BYTES (64 * MIB)
#define WANTED_STEP_SLOTS 64

// Writing ahead begins when less than this part of DRAM is free, and keeps this
// part at the cold end clean.
#define FREE_PART 10
#define CLEAN_PART 16

// Between two rounds with nothing to do.
#define IDLE_WAIT_NS (200 * NS_PER_MS)

// Longest wait of a step for cold_lock: somebody else is writing then.
#define COLD_WAIT_NS (10 * NS_PER_MS)

static bool
populate_step(struct cascade *store)
{
    if (store->dram == NULL || store->around.short_lived) {
        return false;
    }
    return arena_populate_step(tier_dram_arena(store->dram),
                               POPULATE_STEP_BYTES) > 0;
}

static bool
writes_cold(const struct cascade *store)
{
    return store->cold != NULL && !store->settings.cold_look_only;
}

static bool
is_short_of_room(struct cascade *store)
{
    struct tier_usage usage;

    tier_dram_table.usage(store->dram, &usage);
    return atomic_load(&store->room_waiters) > 0 ||
           usage.capacity_bytes - usage.used_bytes <
               usage.capacity_bytes / FREE_PART;
}

// True if blocks were written: there may be more.
static bool
write_ahead_step(struct cascade *store)
{
    uint64_t bytes = units_max(
        store->dram_capacity_bytes / CLEAN_PART,
        units_min(WRITE_AHEAD_STEP_BYTES, store->dram_capacity_bytes / 4));
    uint64_t written = 0;

    if (!writes_cold(store) || store->dram == NULL ||
        !is_short_of_room(store)) {
        atomic_store(&store->writer_is_behind, false);
        return false;
    }
    store_look_at_writer(store, bytes);
    if (store_cold_begin(store, store_now(store) + COLD_WAIT_NS) !=
        CASCADE_OK) {
        return false;
    }
    (void)store_write_coldest(store, bytes, &written);
    store_cold_end(store);
    // Of a writer that was behind the next step finds whether it still is.
    return written > 0 || atomic_load(&store->writer_is_behind);
}

// Dirty blocks that stand in the way of a large one. True if some were written.
static bool
write_wanted_step(struct cascade *store)
{
    uint32_t slots[WANTED_STEP_SLOTS];
    uint64_t written = 0;
    size_t count;

    if (!writes_cold(store) || store->dram == NULL ||
        store_cold_begin(store, store_now(store) + COLD_WAIT_NS) !=
            CASCADE_OK) {
        return false;
    }
    count = store_take_wanted(store, slots, WANTED_STEP_SLOTS);
    if (count > 0) {
        (void)store_write_slots(store, slots, count, &written);
    }
    store_cold_end(store);
    return written > 0;
}

// Capacity holds at start too, and after the option was lowered.
static bool
reclaim_step(struct cascade *store)
{
    struct tier_segment_usage usage;
    enum cascade_status status = CASCADE_OK;

    if (!writes_cold(store)) {
        return false;
    }
    tier_segment_usage_of(store->cold, &usage);
    if (usage.own_bytes <= store->cold_capacity_bytes ||
        store_cold_begin(store, store_now(store) + COLD_WAIT_NS) !=
            CASCADE_OK) {
        return false;
    }
    status = store_reclaim_for(store, 0);
    store_cold_end(store);
    return status == CASCADE_OK;
}

// Lists a copy of a block whose listed one went with its file, or which never
// had one.
static void
relist(struct cascade *store, const struct tier_segment_entry *entry)
{
    bool durable = entry->durable && entry->own;
    struct directory_found found;

    if (directory_find_content(store->directory, &entry->label.id, &found) !=
            CASCADE_OK ||
        (block_place_is_set(&found.cold) &&
         tier_segment_is_served(store->cold, &found.cold))) {
        return;
    }
    if (directory_relist(store->directory, &entry->label.id, &found.cold,
                         &entry->place, durable) == CASCADE_OK &&
        found.cold_durable && !durable) {
        directory_dirty_bindings(store->directory, &entry->label.id);
    }
}

// A binding to a payload that is nowhere in sight, or was shown before anything
// named it.
static bool
lacks_payload(struct cascade *store, const struct tier_segment_entry *entry)
{
    struct directory_found found;

    return !block_place_is_set(&entry->place) &&
           (entry->label.flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) ==
               0 &&
           directory_find_content(store->directory, &entry->label.id, &found) ==
               CASCADE_OK &&
           !block_place_is_set(&found.cold) &&
           !block_place_is_set(&found.memory);
}

void
store_note_entry(void *context, const struct tier_segment_entry *entry)
{
    struct cascade *store = context;

    // Of what other ranks wrote, they tell: an index that took it in would need
    // room for the blocks of all.
    if (entry->sibling) {
        return;
    }
    if (block_place_is_set(&entry->place)) {
        relist(store, entry);
    }
    if (entry->again) {
        return;
    }
    if (store->cluster != NULL && !store_cluster_takes_entry(store, entry)) {
        return;
    }
    (void)directory_load(store->directory, &entry->label, &entry->place,
                         entry->segment, entry->durable && entry->own);
    if (lacks_payload(store, entry)) {
        atomic_store(&store->look_wanted, true);
    }
}

static void
refresh_step(struct cascade *store)
{
    uint64_t now_ns = store_now(store);
    enum cascade_status status;

    if (store->cold == NULL || now_ns < store->refresh_due_ns) {
        return;
    }
    store->refresh_due_ns = now_ns + store->settings.lease_ns / 6;
    // What others sealed, or an expired writer left.
    status = tier_segment_refresh(store->cold, true, store_note_entry, store);
    if (status == CASCADE_OK && atomic_exchange(&store->look_wanted, false)) {
        (void)tier_segment_look_again(store->cold, NULL, UINT64_MAX,
                                      store_note_entry, store);
    }
    if (status == CASCADE_CLOSED) {
        atomic_store(&store->cold_failed, true);
    }
    if (status == CASCADE_CLOSED && !store->lease_lost) {
        store->lease_lost = true;
        log_write(&store->log, LOG_LEVEL_ERROR,
                  "this store lost its lease and writes no more: %s",
                  error_message());
    }
}

// Protected blocks belong into memory: after a restart they come back.
static bool
reload_step(struct cascade *store)
{
    struct directory_found found[RELOAD_BATCH];
    size_t count;

    if (store->reload_done || store->dram == NULL) {
        return false;
    }
    count = directory_scan(store->directory, &store->reload_cursor,
                           DIRECTORY_PROTECTED, found, RELOAD_BATCH, NULL, 0,
                           NULL);
    for (size_t i = 0; i < count; i++) {
        struct tier_pin pin;

        if (!block_place_is_set(&found[i].memory) &&
            store_load(store, &found[i], store_now(store) + NS_PER_S, false,
                       NULL, &pin) == CASCADE_OK) {
            tier_dram_table.unpin(store->dram, &pin);
        }
    }
    store->reload_done = count == 0;
    return !store->reload_done;
}

bool
store_background_step(struct cascade *store)
{
    bool more = populate_step(store);

    more = write_wanted_step(store) || more;
    more = write_ahead_step(store) || more;
    more = reclaim_step(store) || more;
    more = reload_step(store) || more;
    more = store_cluster_spill_step(store) || more;
    refresh_step(store);
    more = store_cluster_adopt_step(store) || more;
    store_drain_look(store);
    store_rank_step(store);
    more = store_relocate_step(store) || more;
    store_update_gauges(store);
    return more;
}

// Sleeps until kicked or until the idle time is over. False: stop.
static bool
sleep_idle(struct cascade *store)
{
    struct timespec until;
    uint64_t nanoseconds;
    bool runs;

    check(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    nanoseconds = (uint64_t)until.tv_nsec + IDLE_WAIT_NS;
    until.tv_sec += (time_t)(nanoseconds / NS_PER_S);
    until.tv_nsec = (long)(nanoseconds % NS_PER_S);
    check(pthread_mutex_lock(&store->background_lock) == 0);
    while (!store->background_stop && !store->background_kicked) {
        if (pthread_cond_timedwait(&store->background_wake,
                                   &store->background_lock, &until) != 0) {
            break;
        }
    }
    store->background_kicked = false;
    runs = !store->background_stop;
    check(pthread_mutex_unlock(&store->background_lock) == 0);
    return runs;
}

static bool
must_stop(struct cascade *store)
{
    bool stop;

    check(pthread_mutex_lock(&store->background_lock) == 0);
    stop = store->background_stop;
    check(pthread_mutex_unlock(&store->background_lock) == 0);
    return stop;
}

static void *
run(void *context)
{
    struct cascade *store = context;

    do {
        while (!must_stop(store) && store_background_step(store)) {
        }
    } while (sleep_idle(store));
    return NULL;
}

enum cascade_status
store_background_start(struct cascade *store)
{
    if (!store->around.background) {
        return CASCADE_OK;
    }
    // Before the thread reads it.
    store->background_runs = true;
    if (pthread_create(&store->background_thread, NULL, run, store) != 0) {
        store->background_runs = false;
        return error_set(CASCADE_NO_MEMORY,
                         "the system gave no thread for background work; "
                         "raise the limit of processes (ulimit -u)");
    }
    (void)pthread_setname_np(store->background_thread, "cascade-back");
    return CASCADE_OK;
}

void
store_background_stop(struct cascade *store)
{
    if (!store->background_runs) {
        return;
    }
    check(pthread_mutex_lock(&store->background_lock) == 0);
    store->background_stop = true;
    check(pthread_cond_signal(&store->background_wake) == 0);
    check(pthread_mutex_unlock(&store->background_lock) == 0);
    check(pthread_join(store->background_thread, NULL) == 0);
    store->background_runs = false;
}

void
store_background_kick(struct cascade *store)
{
    check(pthread_mutex_lock(&store->background_lock) == 0);
    store->background_kicked = true;
    check(pthread_cond_signal(&store->background_wake) == 0);
    check(pthread_mutex_unlock(&store->background_lock) == 0);
}
