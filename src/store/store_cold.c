// SPDX-License-Identifier: Apache-2.0
//
// Writing to segments: payloads first, a sync, then the bindings that have no
// payload of their own, a sync. A block counts as clean, and a binding as
// recorded, only after the sync that covers it. Everything here runs under
// cold_lock, which is the one lock of the store that is held across I/O.
//
// Whoever changes a binding while its record is on the way finds it dirty
// again: directory_note_record compares versions.

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_internal.h"

// Payload that is appended between two syncs at most, so that pins stay short
// even where cold_queue allows more: about a segment, whose seal syncs anyway.
#define BATCH_BYTES (256 * MIB)

// And this part of the cold tier at most.
#define BATCH_PART 4

// The lock proper is a flag, so that waiting for it has a deadline of the steady
// clock, by a condition that every thread checker knows.
enum cascade_status
store_cold_begin(struct cascade *store, uint64_t deadline_ns)
{
    uint64_t now_ns = store_now(store);
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    enum cascade_status status = CASCADE_OK;
    struct timespec until;
    int failed = 0;

    check(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    wait_ns = units_min(wait_ns, 86400 * NS_PER_S) + (uint64_t)until.tv_nsec;
    until.tv_sec += (time_t)(wait_ns / NS_PER_S);
    until.tv_nsec = (long)(wait_ns % NS_PER_S);
    check(pthread_mutex_lock(&store->cold_lock) == 0);
    while (store->cold_taken && failed == 0) {
        failed = pthread_cond_timedwait(&store->cold_free, &store->cold_lock,
                                        &until);
        check(failed == 0 || failed == ETIMEDOUT);
    }
    if (store->cold_taken) {
        status = error_set(CASCADE_TIMEOUT,
                           "the cold tier was still busy when the deadline "
                           "passed");
    } else {
        store->cold_taken = true;
    }
    check(pthread_mutex_unlock(&store->cold_lock) == 0);
    return status;
}

void
store_cold_end(struct cascade *store)
{
    check(pthread_mutex_lock(&store->cold_lock) == 0);
    store->cold_taken = false;
    check(pthread_cond_signal(&store->cold_free) == 0);
    check(pthread_mutex_unlock(&store->cold_lock) == 0);
}

// The hints of a block that is in DRAM.
static void
add_hints(struct cascade *store, const struct block_place *memory,
          struct block_label *label)
{
    struct store_slot block;
    bool known;

    check(pthread_mutex_lock(&store->policy_lock) == 0);
    known = tier_dram_holds(store->dram, memory);
    if (known) {
        block = store->blocks[memory->slot];
    }
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
    if (!known) {
        return;
    }
    label->depth = block.depth;
    label->turn = block.turn;
    label->request_class = block.request_class;
    label->expected_reuse = (float)block.expected_reuse / STORE_REUSE_CERTAIN;
    // The end of a prompt goes before its beginning, so that is still there.
    (void)directory_find_key_in(store->directory, block.parent_slot,
                                block.parent_check, &label->parent);
}

static void
label_binding(const struct directory_found *found, const uint8_t *key,
              uint32_t key_bytes, struct block_label *label)
{
    memset(label, 0, sizeof(*label));
    label->id = found->id;
    label->key = found->key;
    label->version = found->version;
    label->key_data = key_bytes > 0 ? key : NULL;
    label->key_bytes = key_bytes;
    if ((found->flags &
         (DIRECTORY_PROTECTED | DIRECTORY_PROTECTED_ELSEWHERE)) != 0) {
        label->flags |= BLOCK_LABEL_PROTECTED;
    }
    if ((found->flags & DIRECTORY_SURROGATE) != 0) {
        label->flags |= BLOCK_LABEL_SURROGATE;
    }
    if ((found->flags & DIRECTORY_REMOVED) != 0) {
        label->flags |= BLOCK_LABEL_REMOVAL;
    }
}

// One record after its sync: the directory learns where it is.
static void
settle_put(struct cascade *store, const struct tier_segment_put *put)
{
    if ((put->label.flags & BLOCK_LABEL_CLEAR) != 0) {
        check(pthread_mutex_lock(&store->clear_lock) == 0);
        if (block_version_compare(store->clear_version, put->label.version) ==
            0) {
            store->clear_dirty = false;
            store->clear_segment = put->segment;
        }
        check(pthread_mutex_unlock(&store->clear_lock) == 0);
        return;
    }
    if (put->payload != NULL) {
        (void)directory_publish(store->directory, &put->label.id, &put->place,
                                true);
        metric_add(store->metrics, METRIC_COLD_WRITTEN_BYTES_TOTAL, put->bytes);
    }
    directory_note_record(store->directory, &put->label.key, put->label.version,
                          (put->label.flags & BLOCK_LABEL_REMOVAL) != 0,
                          put->segment);
}

// A record that failed may be found by a restart all the same, so that whatever
// follows it has to outrank it.
static void
note_failed_put(struct cascade *store, const struct tier_segment_put *put)
{
    struct block_version unknown = {0, 0};

    if ((put->label.flags & BLOCK_LABEL_CLEAR) == 0) {
        directory_note_record(store->directory, &put->label.key, unknown, false,
                              DIRECTORY_NO_SEGMENT);
    }
}

// A payload that does not match what was put: the copy in DRAM is damaged.
static void
drop_damaged(struct cascade *store, const struct tier_segment_put *put)
{
    struct directory_found found;

    if (directory_find_content(store->directory, &put->label.id, &found) ==
            CASCADE_OK &&
        block_place_is_set(&found.memory)) {
        store_memory_damaged(store, &found);
    }
}

static void
note_failure(struct cascade *store, enum cascade_status status)
{
    if (!atomic_exchange(&store->cold_failed, true)) {
        log_write(&store->log, LOG_LEVEL_WARNING,
                  "the cold tier takes no writes (%s): %s",
                  cascade_status_name(status), error_message());
    }
    metric_add(store->metrics, METRIC_COLD_ERRORS_TOTAL, 1);
}

// Appends and syncs what was put together, and forgets it.
enum cascade_status
store_write_pending(struct cascade *store)
{
    struct store_writer *writer = store->writer;
    uint64_t begin_ns = store_now(store);
    enum cascade_status status = CASCADE_OK;
    bool begun = false;

    if (writer->count == 0) {
        return CASCADE_OK;
    }
    if (writer != store->reclaim_writer) {
        status = store_reclaim_for(store, writer->bytes);
    }
    if (status == CASCADE_OK) {
        begun = true;
        (void)tier_segment_append(store->cold, writer->puts, writer->count);
        status = tier_segment_sync(store->cold);
    }
    for (size_t i = 0; i < writer->count; i++) {
        struct tier_segment_put *put = &writer->puts[i];

        if (status == CASCADE_OK && put->status == CASCADE_OK) {
            settle_put(store, put);
            writer->written += put->payload != NULL ? 1 : 0;
            writer->written_bytes += put->payload != NULL ? put->bytes : 0;
        } else if (put->status == CASCADE_CORRUPT) {
            drop_damaged(store, put);
            writer->damaged++;
        } else {
            writer->left++;
            if (begun) {
                note_failed_put(store, put);
            }
        }
        if (writer->pins[i].place.tier == CASCADE_TIER_LOCAL_DRAM) {
            tier_dram_table.unpin(store->dram, &writer->pins[i]);
        }
    }
    for (size_t i = 0; i < writer->count && status == CASCADE_OK; i++) {
        if (writer->puts[i].status != CASCADE_CORRUPT) {
            status = writer->puts[i].status;
        }
    }
    if (status != CASCADE_OK) {
        note_failure(store, status);
    } else {
        atomic_store(&store->cold_failed, false);
    }
    metric_observe_ns(store->metrics, METRIC_COLD_WRITE_SECONDS,
                      store_now(store) - begin_ns);
    writer->count = 0;
    writer->bytes = 0;
    memset(writer->lists, 0, sizeof(writer->lists));
    metric_set_at(store->metrics, METRIC_QUEUE_DEPTH, METRIC_QUEUE_COLD_WRITES,
                  0);
    store_room_changed(store);
    return status;
}

// A batch has to fit the cold tier beside what stays there.
static uint64_t
batch_bytes(const struct cascade *store)
{
    uint64_t bytes = units_min(BATCH_BYTES, store->settings.cold_queue_bytes);

    return units_min(bytes, store->cold_capacity_bytes / BATCH_PART);
}

// Where the payloads of the batch that may have this id begin.
static uint16_t *
list_of(struct store_writer *writer, const struct block_id *id)
{
    uint16_t digest;

    static_assert(STORE_WRITE_BATCH < UINT16_MAX, "numbers fit");
    memcpy(&digest, id->bytes, sizeof(digest));
    return &writer->lists[digest % STORE_WRITE_LISTS];
}

static bool
is_in_batch(struct store_writer *writer, const struct block_id *id)
{
    uint16_t at = *list_of(writer, id);

    while (at > 0 && !block_id_equal(&writer->puts[at - 1].label.id, id)) {
        at = writer->earlier[at - 1];
    }
    return at > 0;
}

static void
note_in_batch(struct store_writer *writer)
{
    uint16_t *list = list_of(writer, &writer->puts[writer->count].label.id);

    writer->earlier[writer->count] = *list;
    *list = (uint16_t)(writer->count + 1);
}

// Adds a record; writes the batch when it is full.
static enum cascade_status
add_put(struct cascade *store, const struct block_label *label,
        const struct tier_pin *pin)
{
    struct store_writer *writer = store->writer;
    struct tier_segment_put *put = &writer->puts[writer->count];

    memset(put, 0, sizeof(*put));
    memset(&writer->pins[writer->count], 0, sizeof(writer->pins[0]));
    put->label = *label;
    put->status = CASCADE_IO;
    if (pin != NULL) {
        static const uint8_t nothing;

        put->payload = pin->place.bytes > 0 ? pin->memory : &nothing;
        put->bytes = pin->place.bytes;
        put->checksum = pin->place.checksum;
        writer->pins[writer->count] = *pin;
        writer->bytes += pin->place.bytes;
        note_in_batch(writer);
    } else if ((label->flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) ==
               0) {
        put->label.flags |= BLOCK_LABEL_BIND;
    }
    writer->count++;
    metric_set_at(store->metrics, METRIC_QUEUE_DEPTH, METRIC_QUEUE_COLD_WRITES,
                  writer->count);
    if (writer->count == STORE_WRITE_BATCH ||
        writer->bytes >= batch_bytes(store)) {
        return store_write_pending(store);
    }
    return CASCADE_OK;
}

// Adds the payload of a binding whose content segments lack.
enum cascade_status
store_add_payload(struct cascade *store, const struct directory_found *found,
                  const uint8_t *key, uint32_t key_bytes)
{
    struct block_label label;
    struct tier_pin pin;

    if ((found->flags & DIRECTORY_REMOVED) != 0 || found->cold_durable ||
        found->memory.tier != CASCADE_TIER_LOCAL_DRAM ||
        is_in_batch(store->writer, &found->id) ||
        tier_dram_table.pin(store->dram, &found->memory, &pin) != CASCADE_OK) {
        return CASCADE_OK;
    }
    label_binding(found, key, key_bytes, &label);
    add_hints(store, &found->memory, &label);
    return add_put(store, &label, &pin);
}

// Adds a record for a removal, or for a dirty binding whose content is durable,
// or, with `anywhere`, has any copy on segments.
static enum cascade_status
add_bind(struct cascade *store, const struct directory_found *found,
         const uint8_t *key, uint32_t key_bytes, bool anywhere)
{
    bool removed = (found->flags & DIRECTORY_REMOVED) != 0;
    bool is_there = found->cold_durable ||
                    (anywhere && block_place_is_set(&found->cold) &&
                     !block_place_is_set(&found->memory));
    struct block_label label;

    if ((found->flags & DIRECTORY_DIRTY) == 0 || (!removed && !is_there)) {
        return CASCADE_OK;
    }
    label_binding(found, key, key_bytes, &label);
    return add_put(store, &label, NULL);
}

// What only others' files hold is not durable here: no record says so.
enum cascade_status
store_add_bind(struct cascade *store, const struct directory_found *found,
               const uint8_t *key, uint32_t key_bytes)
{
    return add_bind(store, found, key, key_bytes, false);
}

// A record that was ours moves on, wherever its content is.
static enum cascade_status
add_moved_bind(struct cascade *store, const struct directory_found *found,
               const uint8_t *key, uint32_t key_bytes)
{
    return add_bind(store, found, key, key_bytes, true);
}

// A clear that no record has yet.
enum cascade_status
store_write_clear(struct cascade *store)
{
    struct block_label label;
    bool dirty;

    memset(&label, 0, sizeof(label));
    check(pthread_mutex_lock(&store->clear_lock) == 0);
    dirty = store->clear_dirty;
    label.version = store->clear_version;
    check(pthread_mutex_unlock(&store->clear_lock) == 0);
    if (!dirty) {
        return CASCADE_OK;
    }
    label.flags = BLOCK_LABEL_CLEAR | BLOCK_LABEL_BIND;
    check(add_put(store, &label, NULL) == CASCADE_OK);
    return store_write_pending(store);
}

// The content in a slot, if it is dirty, with one of its bindings.
static bool
find_dirty(struct cascade *store, uint32_t slot, struct directory_found *found)
{
    struct directory_found binding;

    if (directory_find_slot(store->directory, slot, found) != CASCADE_OK ||
        found->cold_durable ||
        directory_find_binding(store->directory, &found->key, &binding) !=
            CASCADE_OK ||
        !block_id_equal(&binding.id, &found->id)) {
        return false;
    }
    found->version = binding.version;
    found->flags = binding.flags;
    return true;
}

// Adds the block in the slot if it is dirty; `*added` counts those.
static enum cascade_status
add_slot(struct cascade *store, uint32_t slot, uint64_t *added)
{
    struct store_writer *writer = store->writer;
    struct directory_found found;
    size_t at = writer->count;

    if (!find_dirty(store, slot, &found)) {
        return CASCADE_OK;
    }
    ++*added;
    writer->key_bytes[at] = directory_key_bytes(store->directory, &found.key,
                                                writer->keys[at]);
    return store_add_payload(store, &found, writer->keys[at],
                             writer->key_bytes[at]);
}

// Writes what was added. `*written` is set if all went well.
static enum cascade_status
finish_slots(struct cascade *store, enum cascade_status status, uint64_t added,
             uint64_t *written)
{
    if (status == CASCADE_OK) {
        status = store_write_pending(store);
    }
    if (status == CASCADE_OK) {
        *written = added;
        metric_add(store->metrics, METRIC_DEMOTIONS_TOTAL, added);
    }
    return status;
}

enum cascade_status
store_add_slot(struct cascade *store, uint32_t slot)
{
    struct store_writer *writer = store->writer;
    struct directory_found found;
    size_t at = writer->count;

    if (!find_dirty(store, slot, &found)) {
        return CASCADE_OK;
    }
    writer->key_bytes[at] = directory_key_bytes(store->directory, &found.key,
                                                writer->keys[at]);
    return store_add_payload(store, &found, writer->keys[at],
                             writer->key_bytes[at]);
}

enum cascade_status
store_write_coldest(struct cascade *store, uint64_t bytes, uint64_t *written)
{
    struct policy_cursor cursor;
    enum cascade_status status = CASCADE_OK;
    uint64_t looked = 0;
    uint64_t added = 0;
    uint32_t slot;
    bool more = true;

    memset(&cursor, 0, sizeof(cursor));
    while (status == CASCADE_OK && looked < bytes) {
        store_policy_lock(store);
        more = store->policy->choose(store->policy_state, &cursor, &slot);
        store_policy_unlock(store);
        if (!more) {
            break;
        }
        looked += units_max(tier_dram_slot_bytes(store->dram, slot), 1);
        if (store_slot_is_worth_writing(store, slot)) {
            status = add_slot(store, slot, &added);
        }
    }
    return finish_slots(store, status, added, written);
}

enum cascade_status
store_write_slots(struct cascade *store, const uint32_t *slots, size_t count,
                  uint64_t *written)
{
    enum cascade_status status = CASCADE_OK;
    uint64_t added = 0;

    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        status = add_slot(store, slots[i], &added);
    }
    return finish_slots(store, status, added, written);
}

// Adds the record of one key, of the kind that `add` makes.
static enum cascade_status
add_key(struct cascade *store, const struct block_key *key,
        store_add_record *add)
{
    struct store_writer *writer = store->writer;
    struct directory_found found;
    struct directory_found content;
    size_t at = writer->count;

    if (directory_find_binding(store->directory, key, &found) != CASCADE_OK) {
        return CASCADE_OK;
    }
    if ((found.flags & DIRECTORY_REMOVED) == 0 &&
        directory_find_content(store->directory, &found.id, &content) ==
            CASCADE_OK) {
        found.cold_durable = content.cold_durable;
        found.memory = content.memory;
        found.cold = content.cold;
        found.bytes = content.bytes;
        found.checksum = content.checksum;
    }
    writer->key_bytes[at] = directory_key_bytes(store->directory, key,
                                                writer->keys[at]);
    return add(store, &found, writer->keys[at], writer->key_bytes[at]);
}

enum cascade_status
store_write_carried(struct cascade *store, const struct directory_found *found,
                    const struct block_label *hints, const void *payload)
{
    struct store_writer *writer = store->writer;
    struct directory_found binding;
    struct block_label label;
    struct tier_pin carried = {.place = found->cold, .memory = payload};
    size_t at = writer->count;

    if (directory_find_binding(store->directory, &found->key, &binding) !=
            CASCADE_OK ||
        !block_id_equal(&binding.id, &found->id)) {
        return CASCADE_OK; // it moved meanwhile
    }
    writer->key_bytes[at] = directory_key_bytes(store->directory, &found->key,
                                                writer->keys[at]);
    label_binding(&binding, writer->keys[at], writer->key_bytes[at], &label);
    label.parent = hints->parent;
    label.depth = hints->depth;
    label.turn = hints->turn;
    label.request_class = hints->request_class;
    label.expected_reuse = hints->expected_reuse;
    return add_put(store, &label, &carried);
}

static enum cascade_status
write_keys_as(struct cascade *store, const struct block_key *keys, size_t count,
              store_add_record *add)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        status = add_key(store, &keys[i], add);
    }
    return status == CASCADE_OK ? store_write_pending(store) : status;
}

enum cascade_status
store_write_keys(struct cascade *store, const struct block_key *keys,
                 size_t count)
{
    enum cascade_status status = write_keys_as(store, keys, count,
                                               store_add_payload);

    if (status == CASCADE_OK) {
        status = store_write_clear(store);
    }
    if (status == CASCADE_OK) {
        status = write_keys_as(store, keys, count,
                               store->writer == store->reclaim_writer
                                   ? add_moved_bind
                                   : store_add_bind);
    }
    return status;
}
