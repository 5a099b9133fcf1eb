// SPDX-License-Identifier: Apache-2.0
//
// From the cold tier into DRAM, as an ordinary insertion: one thread reads a
// block, the others that want it wait for that in bounded time. A copy that
// does not match its checksum is read again before it is forgotten. Who wants
// the bytes elsewhere too gets them piece by piece, while the rest is read.
// Many blocks: store_load_many.c.
//
// loads_lock guards the table of loads in progress; no I/O is done under it.

#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_internal.h"

// The load of this id in progress, or a free element; NULL if all are taken.
static struct store_load *
find_load(struct cascade *store, const struct block_id *id, bool *active)
{
    struct store_load *free_load = NULL;
    size_t seen = 0;

    for (size_t i = 0; i < STORE_LOADS_MAX; i++) {
        struct store_load *load = &store->loads[i];

        if (load->active && block_id_equal(&load->id, id)) {
            *active = true;
            return load;
        }
        seen += load->active;
        if (!load->active && free_load == NULL) {
            free_load = load;
        }
        if (seen == store->loads_active && free_load != NULL) {
            break;
        }
    }
    *active = false;
    return free_load;
}

// Waits for a change of the table; false when the deadline has passed.
static bool
wait_for_loads(struct cascade *store, uint64_t deadline_ns)
{
    uint64_t now_ns = store_now(store);
    uint64_t until_ns;
    struct timespec until;

    if (now_ns >= deadline_ns) {
        return false;
    }
    check(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    until_ns = (uint64_t)until.tv_nsec +
               units_min(deadline_ns - now_ns, NS_PER_S);
    until.tv_sec += (time_t)(until_ns / NS_PER_S);
    until.tv_nsec = (long)(until_ns % NS_PER_S);
    (void)pthread_cond_timedwait(&store->loads_changed, &store->loads_lock,
                                 &until);
    return true;
}

struct store_load *
store_load_try(struct cascade *store, const struct block_id *id)
{
    struct store_load *load;
    bool active;

    check(pthread_mutex_lock(&store->loads_lock) == 0);
    load = find_load(store, id, &active);
    if (active) {
        load = NULL;
    }
    if (load != NULL) {
        load->active = true;
        load->id = *id;
        store->loads_active++;
    }
    check(pthread_mutex_unlock(&store->loads_lock) == 0);
    return load;
}

// Becomes the one that loads the id, or waits until the other has ended: then
// `*mine` is false and the caller looks again. TIMEOUT.
static enum cascade_status
begin_load(struct cascade *store, const struct block_id *id,
           uint64_t deadline_ns, struct store_load **mine)
{
    enum cascade_status status = CASCADE_OK;
    bool active;
    bool waited = false;

    *mine = NULL;
    check(pthread_mutex_lock(&store->loads_lock) == 0);
    for (;;) {
        struct store_load *load = find_load(store, id, &active);

        if (load != NULL && !active) {
            if (!waited) {
                load->active = true;
                load->id = *id;
                store->loads_active++;
                *mine = load;
            }
            break;
        }
        waited = load != NULL;
        if (!wait_for_loads(store, deadline_ns)) {
            status = error_set(CASCADE_TIMEOUT,
                               "another thread was still reading the block "
                               "when the deadline passed");
            break;
        }
    }
    check(pthread_mutex_unlock(&store->loads_lock) == 0);
    return status;
}

void
store_load_end(struct cascade *store, struct store_load *load)
{
    check(pthread_mutex_lock(&store->loads_lock) == 0);
    load->active = false;
    store->loads_active--;
    check(pthread_cond_broadcast(&store->loads_changed) == 0);
    check(pthread_mutex_unlock(&store->loads_lock) == 0);
}

void
store_load_note_read(struct cascade *store, const struct directory_found *found,
                     const struct tier_slot *slot)
{
    metric_add(store->metrics, METRIC_COLD_READ_BYTES_TOTAL, found->bytes);
    directory_note_cold_hit(store->directory, &found->id);
    // The end of the last granule goes to segments with the block.
    if (slot->memory != NULL) {
        memset((uint8_t *)slot->memory + found->bytes, 0,
               units_round_up(found->bytes, store->granule_bytes) -
                   found->bytes);
    }
}

static enum cascade_status
read_into_slot(struct cascade *store, const struct directory_found *found,
               const struct store_load_copy *copy, const struct tier_slot *slot)
{
    uint64_t begin_ns = store_now(store);
    struct tier_segment_get get = {
        .place = found->cold,
        .id = found->id,
        .memory = slot->memory,
        .memory_bytes = units_round_up(found->bytes, store->granule_bytes),
        .spans = copy != NULL ? copy->spans : NULL,
        .span_count = copy != NULL ? copy->span_count : 0,
    };

    tier_segment_read_many(store->cold, &get, 1);
    metric_observe_ns(store->metrics, METRIC_COLD_READ_SECONDS,
                      store_now(store) - begin_ns);
    if (get.status == CASCADE_OK) {
        store_load_note_read(store, found, slot);
    } else if (get.status == CASCADE_STALE && get.given) {
        // No plain miss any more: the caller's memory is not what it was.
        return error_set(CASCADE_CORRUPT, "a segment ended within a block");
    }
    return get.status;
}

enum cascade_status
store_load_publish(struct cascade *store, const struct directory_found *found,
                   struct tier_slot *slot, struct tier_pin *pin)
{
    struct block_label label = {.id = found->id};
    struct block_digest digest = {.id = found->id, .checksum = found->checksum};
    struct store_block block = {.id = found->id, .bytes = found->bytes};
    struct block_place place;
    enum cascade_status status = tier_dram_table.commit(
        store->dram, slot, &label, &digest, &place);

    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, slot);
        return status;
    }
    check(tier_dram_table.pin(store->dram, &place, pin) == CASCADE_OK);
    store_admit(store, place.slot, &block, found->content_protected);
    status = directory_publish(store->directory, &found->id, &place, false);
    if (status != CASCADE_OK) {
        tier_dram_table.unpin(store->dram, pin);
        store_discard(store, &place);
        return status;
    }
    // Protection may have changed before there was a copy to tell of it.
    store_mark_protection(store, &found->id);
    metric_add(store->metrics, METRIC_PROMOTIONS_TOTAL, 1);
    return CASCADE_OK;
}

void
store_memory_damaged(struct cascade *store, const struct directory_found *found)
{
    bool lost = false;

    metric_add(store->metrics, METRIC_CORRUPT_BLOCKS_TOTAL, 1);
    log_write(&store->log, LOG_LEVEL_ERROR,
              "a block in DRAM is damaged and now forgotten");
    if (directory_withdraw(store->directory, &found->id, &found->memory,
                           DIRECTORY_WITHDRAW_FORCED, NULL, NULL,
                           &lost) == CASCADE_OK) {
        store_discard(store, &found->memory);
    }
}

enum cascade_status
store_cold_damaged(struct cascade *store, const struct block_id *id,
                   const struct block_place *place, enum cascade_status status,
                   uint64_t deadline_ns, bool *lost)
{
    enum cascade_status looked = CASCADE_OK;

    *lost = false;
    if (status == CASCADE_STALE) {
        metric_add(store->metrics, METRIC_STALE_PLACES_TOTAL, 1);
        looked = tier_segment_look_again(store->cold, place, deadline_ns,
                                         store_note_entry, store);
        if (looked != CASCADE_OK) {
            return looked;
        }
    } else {
        metric_add(store->metrics, METRIC_CORRUPT_BLOCKS_TOTAL, 1);
        log_write(&store->log, LOG_LEVEL_ERROR,
                  "a block on segments is damaged and now forgotten: %s",
                  error_message());
    }
    if (directory_withdraw(store->directory, id, place,
                           DIRECTORY_WITHDRAW_FORCED, NULL, NULL,
                           lost) == CASCADE_OK &&
        !*lost) {
        directory_dirty_bindings(store->directory, id);
    }
    return CASCADE_OK;
}

// Reads, a second time if the first was damaged, and forgets what is bad.
static enum cascade_status
read_checked(struct cascade *store, const struct directory_found *found,
             uint64_t deadline_ns, const struct store_load_copy *copy,
             const struct tier_slot *slot)
{
    enum cascade_status status = read_into_slot(store, found, copy, slot);
    enum cascade_status looked;
    bool lost = false;

    if (status == CASCADE_CORRUPT) {
        status = read_into_slot(store, found, copy, slot);
    }
    if (status == CASCADE_CORRUPT || status == CASCADE_STALE) {
        looked = store_cold_damaged(store, &found->id, &found->cold, status,
                                    deadline_ns, &lost);
        status = looked != CASCADE_OK ? looked : status;
    }
    return status;
}

static enum cascade_status
load_block(struct cascade *store, const struct directory_found *found,
           uint64_t deadline_ns, bool may_wait,
           const struct store_load_copy *copy, struct tier_pin *pin)
{
    struct tier_slot slot;
    enum cascade_status status = store_reserve(
        store, found->bytes, may_wait ? deadline_ns : 0, &slot);

    if (status == CASCADE_UNSUPPORTED || status == CASCADE_TOO_LARGE) {
        status = CASCADE_NO_SPACE;
    }
    if (status != CASCADE_OK) {
        return status;
    }
    status = read_checked(store, found, deadline_ns, copy, &slot);
    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, &slot);
        return status;
    }
    status = store_load_publish(store, found, &slot, pin);
    if (status == CASCADE_STALE && copy != NULL) {
        // The caller has the bytes that were bound when it asked.
        memset(pin, 0, sizeof(*pin));
        status = CASCADE_OK;
    }
    return status;
}

enum cascade_status
store_load(struct cascade *store, const struct directory_found *found,
           uint64_t deadline_ns, bool may_wait,
           const struct store_load_copy *copy, struct tier_pin *pin)
{
    struct store_load *mine;
    struct directory_found now;
    enum cascade_status status;

    if (store->dram == NULL) {
        return CASCADE_NO_SPACE;
    }
    status = begin_load(store, &found->id, deadline_ns, &mine);
    if (status != CASCADE_OK) {
        return status;
    }
    status = directory_find_content(store->directory, &found->id, &now);
    if (mine == NULL) {
        // Somebody else has just loaded it: look again. If that one failed, all
        // that waited would take turns in failing: who can, reads it directly.
        return may_wait || status != CASCADE_OK ||
                       block_place_is_set(&now.memory)
                   ? CASCADE_STALE
                   : CASCADE_NO_SPACE;
    }
    if (status == CASCADE_OK && block_place_is_set(&now.memory)) {
        status = CASCADE_STALE;
    } else if (status == CASCADE_OK && !block_place_is_set(&now.cold)) {
        status = CASCADE_NOT_FOUND;
    } else if (status == CASCADE_OK) {
        status = load_block(store, &now, deadline_ns, may_wait, copy, pin);
    }
    store_load_end(store, mine);
    return status;
}
