// SPDX-License-Identifier: Apache-2.0
//
// Reclaim: the oldest segment goes when the cold tier is full; what was used
// since it was written, what is in DRAM and what is protected moves on to the
// active segment first. Order: take its places out of the directory, write what
// stays (removals included), sync, and only then unlink. A crash in between
// finds the old segment as it was. Runs under cold_lock.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_internal.h"

// Segments reclaimed at most for one append.
#define RECLAIMS_MAX 4096

// After that many in one go, nothing is moved on: room must come.
#define KEEPING_MAX 2

// Sealed segments smaller than a part of the usual size are worth merging when
// there are this many.
#define SMALL_SEGMENTS 4
#define SMALL_PART 8

// Payload that is read before it is written again, if no block is larger.
#define CARRY_BYTES (8 * MIB)

// Longest wait for readers of a segment that goes.
#define READERS_WAIT_NS (2 * NS_PER_S)

struct reclaim {
    struct cascade *store;
    uint32_t segment;
    struct tier_segment_entry *entries; // labels without key bytes
    struct block_key *keys;             // of records to be written again
    size_t count;
    size_t room;
    bool short_of_memory; // not every entry is here: nothing may be done
    bool keep_all;        // every block is worth moving on, not only hot ones
    bool leave_unknown;   // what this store cannot account for may be needed
    uint8_t *buffer;      // for payloads that move on
    uint64_t buffer_bytes;
    uint64_t carried_bytes;  // of the buffer in use
    struct block_place seen; // of another segment that is still there
};

// Doubles the room for entries.
static bool
grow(struct reclaim *reclaim)
{
    const struct allocator *allocator = reclaim->store->around.allocator;
    size_t room = reclaim->room * 2 + 256;
    struct tier_segment_entry *larger = allocator_array(allocator, room,
                                                        sizeof(*larger));

    if (larger == NULL) {
        return false;
    }
    if (reclaim->count > 0) {
        memcpy(larger, reclaim->entries, reclaim->count * sizeof(*larger));
    }
    allocator_release(allocator, reclaim->entries);
    reclaim->entries = larger;
    reclaim->room = room;
    return true;
}

// The copy that the index lists instead is one to rely on.
static bool
is_elsewhere(struct reclaim *reclaim, const struct directory_found *found)
{
    if (!found->cold_durable || found->cold.slot == reclaim->segment) {
        return false;
    }
    if (reclaim->seen.tier != CASCADE_TIER_SEGMENTS ||
        reclaim->seen.slot != found->cold.slot ||
        reclaim->seen.generation != found->cold.generation) {
        if (!tier_segment_is_there(reclaim->store->cold, &found->cold)) {
            return false;
        }
        reclaim->seen = found->cold;
    }
    return true;
}

// Several stores on one root: the index may not know a block that is ours since
// its writer was adopted, because the place it knew was another store's and went.
// Before the last copy goes for that reason, it is listed again, as a refresh
// lists it.
static void
list_again(struct reclaim *reclaim, const struct tier_segment_entry *entry)
{
    struct cascade *store = reclaim->store;
    struct directory_found found;
    bool cleared;

    if (store->settings.rebind != STORE_REBIND_REFUSED || !reclaim->keep_all ||
        !block_place_is_set(&entry->place)) {
        return;
    }
    check(pthread_mutex_lock(&store->clear_lock) == 0);
    cleared = block_version_compare(entry->label.version,
                                    store->clear_version) < 0;
    check(pthread_mutex_unlock(&store->clear_lock) == 0);
    if (cleared) {
        return;
    }
    if (directory_find_content(store->directory, &entry->label.id, &found) ==
            CASCADE_OK &&
        found.cold_durable && found.cold.slot != reclaim->segment &&
        !is_elsewhere(reclaim, &found)) {
        (void)directory_relist(store->directory, &found.id, &found.cold,
                               &entry->place, entry->durable);
    }
    (void)directory_load(store->directory, &entry->label, &entry->place,
                         entry->segment, entry->durable);
}

static void
collect(void *context, const struct tier_segment_entry *entry)
{
    struct reclaim *reclaim = context;

    list_again(reclaim, entry);
    if (entry->label.key_data != NULL &&
        (entry->label.flags & BLOCK_LABEL_CLEAR) == 0) {
        directory_attach_key(reclaim->store->directory, &entry->label.key,
                             entry->label.key_data, entry->label.key_bytes);
    }
    if (reclaim->count == reclaim->room && !grow(reclaim)) {
        reclaim->short_of_memory = true;
        return;
    }
    reclaim->entries[reclaim->count] = *entry;
    reclaim->entries[reclaim->count].label.key_data = NULL;
    reclaim->entries[reclaim->count].label.key_bytes = 0;
    reclaim->count++;
}

static bool
is_listed(const struct reclaim *reclaim, const struct tier_segment_entry *entry,
          const struct directory_found *found)
{
    return found->cold.tier == CASCADE_TIER_SEGMENTS &&
           found->cold.slot == reclaim->segment &&
           found->cold.offset == entry->place.offset;
}

// The block is only in this segment, and worth moving on.
static bool
is_worth_carrying(const struct reclaim *reclaim,
                  const struct tier_segment_entry *entry,
                  struct directory_found *found)
{
    return block_place_is_set(&entry->place) &&
           directory_find_content(reclaim->store->directory, &entry->label.id,
                                  found) == CASCADE_OK &&
           is_listed(reclaim, entry, found) &&
           !block_place_is_set(&found->memory) &&
           (reclaim->keep_all || found->cold_hit || found->content_protected);
}

// Reads a block into the buffer and adds it to what is to be written.
static enum cascade_status
carry(struct reclaim *reclaim, const struct tier_segment_entry *entry,
      const struct directory_found *found)
{
    struct cascade *store = reclaim->store;
    uint64_t room = units_round_up(found->bytes, store->granule_bytes);
    struct tier_segment_get get = {.place = found->cold, .id = found->id};
    enum cascade_status status = CASCADE_OK;
    bool lost = false;

    if (reclaim->carried_bytes + room > reclaim->buffer_bytes) {
        status = store_write_pending(store);
        reclaim->carried_bytes = 0;
    }
    if (status == CASCADE_OK && room > reclaim->buffer_bytes) {
        status = error_set(CASCADE_NO_MEMORY,
                           "no room to move a block of %llu bytes on",
                           (unsigned long long)found->bytes);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    get.memory = reclaim->buffer + reclaim->carried_bytes;
    get.memory_bytes = room;
    tier_segment_read_many(store->cold, &get, 1);
    if (get.status == CASCADE_CORRUPT || get.status == CASCADE_STALE) {
        return store_cold_damaged(store, &found->id, &found->cold, get.status,
                                  store_now(store) + READERS_WAIT_NS, &lost);
    }
    if (get.status != CASCADE_OK) {
        return get.status;
    }
    memset((uint8_t *)get.memory + found->bytes, 0, room - found->bytes);
    reclaim->carried_bytes += room;
    metric_add(store->metrics, METRIC_BLOCKS_REINSERTED_TOTAL, 1);
    return store_write_carried(store, found, &entry->label, get.memory);
}

// A buffer for the largest block that is to be moved on, or for many small ones.
static enum cascade_status
take_buffer(struct reclaim *reclaim)
{
    struct cascade *store = reclaim->store;
    struct directory_found found;
    uint64_t bytes = 0;

    for (size_t i = 0; i < reclaim->count; i++) {
        if (is_worth_carrying(reclaim, &reclaim->entries[i], &found)) {
            bytes = units_max(bytes, units_max(found.bytes, CARRY_BYTES));
        }
    }
    if (bytes == 0) {
        return CASCADE_OK;
    }
    reclaim->buffer_bytes = units_round_up(bytes, store->granule_bytes);
    reclaim->buffer = allocator_aligned(store->around.allocator,
                                        reclaim->buffer_bytes,
                                        (size_t)store->granule_bytes);
    return reclaim->buffer != NULL
               ? CASCADE_OK
               : error_set(CASCADE_NO_MEMORY,
                           "no memory to move the blocks of a segment on");
}

// Moves what is worth it to the active segment; it is durable there when this
// returns OK.
static enum cascade_status
carry_all(struct reclaim *reclaim)
{
    struct directory_found found;
    enum cascade_status status = take_buffer(reclaim);

    for (size_t i = 0;
         i < reclaim->count && status == CASCADE_OK && reclaim->buffer != NULL;
         i++) {
        if (is_worth_carrying(reclaim, &reclaim->entries[i], &found)) {
            status = carry(reclaim, &reclaim->entries[i], &found);
        }
    }
    if (status == CASCADE_OK) {
        status = store_write_pending(reclaim->store);
    }
    allocator_release(reclaim->store->around.allocator, reclaim->buffer);
    reclaim->buffer = NULL;
    return status;
}

// The copy in this segment goes, if it is still the one that is listed; the
// content stays where it is in DRAM.
static void
let_go(struct reclaim *reclaim, const struct tier_segment_entry *entry)
{
    struct cascade *store = reclaim->store;
    struct directory_found found;
    bool lost = false;

    if (!block_place_is_set(&entry->place) ||
        directory_find_content(store->directory, &entry->label.id, &found) !=
            CASCADE_OK ||
        !is_listed(reclaim, entry, &found) ||
        directory_withdraw(store->directory, &found.id, &found.cold,
                           DIRECTORY_WITHDRAW_FORCED, NULL, NULL,
                           &lost) != CASCADE_OK) {
        return;
    }
    if (lost) {
        metric_add_tier(store->metrics, METRIC_EVICTIONS_TOTAL,
                        CASCADE_TIER_SEGMENTS, 1);
    } else {
        directory_dirty_bindings(store->directory, &found.id);
    }
}

static void
forget_records(struct reclaim *reclaim)
{
    struct cascade *store = reclaim->store;

    for (size_t i = 0; i < reclaim->count; i++) {
        directory_forget_record(
            store->directory, &reclaim->entries[i].label.key, reclaim->segment);
    }
    check(pthread_mutex_lock(&store->clear_lock) == 0);
    if (store->clear_segment == reclaim->segment &&
        !block_version_is_zero(store->clear_version)) {
        store->clear_dirty = true;
        store->clear_segment = DIRECTORY_NO_SEGMENT;
    }
    check(pthread_mutex_unlock(&store->clear_lock) == 0);
}

// True if the binding's record has to be written before the segment goes.
static bool
must_write(struct cascade *store, const struct block_label *label, bool keep)
{
    struct directory_found found;
    struct directory_found content;

    if ((label->flags & (BLOCK_LABEL_CLEAR | BLOCK_LABEL_NO_KEY)) != 0 ||
        directory_find_binding(store->directory, &label->key, &found) !=
            CASCADE_OK ||
        (found.flags & DIRECTORY_DIRTY) == 0) {
        return false;
    }
    if (keep || (found.flags & DIRECTORY_REMOVED) != 0) {
        return true;
    }
    return directory_find_content(store->directory, &found.id, &content) ==
               CASCADE_OK &&
           block_place_is_set(&content.cold);
}

// Writes again what stays: payloads (unless room must come) and, in any case,
// bindings of content elsewhere and removals.
static enum cascade_status
write_again(struct reclaim *reclaim, bool keep)
{
    struct cascade *store = reclaim->store;
    struct directory_found content;
    size_t count = 0;

    for (size_t i = 0; i < reclaim->count; i++) {
        const struct block_label *label = &reclaim->entries[i].label;

        if (must_write(store, label, keep)) {
            reclaim->keys[count++] = label->key;
        }
        // Its content may belong to other keys only by now.
        if (keep && block_place_is_set(&reclaim->entries[i].place) &&
            directory_find_content(store->directory, &label->id, &content) ==
                CASCADE_OK &&
            !content.cold_durable) {
            reclaim->keys[count++] = content.key;
        }
    }
    return store_write_keys(store, reclaim->keys, count);
}

// Removals that hide nothing any more need no memory.
static void
drop_removals(struct cascade *store)
{
    struct store_writer *writer = store->writer;
    uint32_t segment;
    struct block_version oldest = tier_segment_oldest_version(store->cold,
                                                              &segment);
    uint64_t cursor = 0;
    size_t count = 1;

    while (count > 0) {
        count = directory_scan(store->directory, &cursor, DIRECTORY_REMOVED,
                               writer->found, STORE_WRITE_BATCH, NULL, 0, NULL);
        for (size_t i = 0; i < count; i++) {
            (void)directory_drop_removal(
                store->directory, &writer->found[i].key, oldest, segment);
        }
    }
}

// The segment's own list is damaged, so some of its records are unknown: every
// binding that relies on one of them is found in the index and written again.
static enum cascade_status
write_unlisted(struct reclaim *reclaim)
{
    struct cascade *store = reclaim->store;
    struct directory_found *found = store->writer->found;
    enum cascade_status status = CASCADE_OK;
    uint64_t cursor = 0;
    size_t count = 1;

    while (count > 0 && status == CASCADE_OK) {
        count = directory_scan(store->directory, &cursor, 0, found,
                               STORE_WRITE_BATCH, NULL, 0, NULL);
        for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
            if (found[i].record_segment == reclaim->segment) {
                directory_forget_record(store->directory, &found[i].key,
                                        reclaim->segment);
                status = store_write_keys(store, &found[i].key, 1);
            }
        }
    }
    return status;
}

// A payload that nothing names here, or a binding to a payload that is not in
// sight here.
static bool
is_unknown(struct reclaim *reclaim, const struct tier_segment_entry *entry)
{
    const struct block_label *label = &entry->label;
    struct directory_found content;
    struct directory_found binding;

    if ((label->flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) != 0) {
        return false;
    }
    if (directory_find_content(reclaim->store->directory, &label->id,
                               &content) == CASCADE_OK &&
        (block_place_is_set(&content.cold) ||
         block_place_is_set(&content.memory))) {
        return false;
    }
    return block_place_is_set(&entry->place) ||
           directory_find_binding(reclaim->store->directory, &label->key,
                                  &binding) != CASCADE_OK ||
           (binding.flags & DIRECTORY_REMOVED) == 0;
}

// Several stores share the folders that a dead one held: a record in one folder
// may need a payload in another, and neither store sees both. Merging is not
// worth their loss; who is alone later merges them.
static enum cascade_status
check_known(struct reclaim *reclaim)
{
    for (size_t i = 0; i < reclaim->count && reclaim->leave_unknown; i++) {
        if (is_unknown(reclaim, &reclaim->entries[i])) {
            return error_set(CASCADE_BUSY,
                             "another store may need what is in a small "
                             "segment; the segment stays");
        }
    }
    return CASCADE_OK;
}

// The record of a binding as it is now has no successor yet.
static bool
is_unrecorded(struct cascade *store, const struct block_label *label)
{
    struct directory_found found;

    return (label->flags & (BLOCK_LABEL_CLEAR | BLOCK_LABEL_NO_KEY)) == 0 &&
           directory_find_binding(store->directory, &label->key, &found) ==
               CASCADE_OK &&
           block_version_compare(found.version, label->version) == 0 &&
           (found.flags & DIRECTORY_DIRTY) != 0;
}

// With keep_all, whatever still has a name is durable in another segment now.
static enum cascade_status
check_moved(struct reclaim *reclaim)
{
    struct directory_found found;

    for (size_t i = 0; i < reclaim->count && reclaim->keep_all; i++) {
        const struct tier_segment_entry *entry = &reclaim->entries[i];

        if (is_unrecorded(reclaim->store, &entry->label) ||
            (block_place_is_set(&entry->place) &&
             directory_find_content(reclaim->store->directory, &entry->label.id,
                                    &found) == CASCADE_OK &&
             !is_elsewhere(reclaim, &found))) {
            return error_set(CASCADE_BUSY,
                             "a block of a small segment could not be moved "
                             "on; the segment stays");
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
move_on(struct reclaim *reclaim, bool keep)
{
    struct cascade *store = reclaim->store;
    enum cascade_status read = tier_segment_entries(
        store->cold, reclaim->segment, collect, reclaim);
    enum cascade_status status = CASCADE_OK;

    if (!reclaim->short_of_memory) {
        // One of the record, and one of the content.
        reclaim->keys = allocator_array(store->around.allocator, reclaim->count,
                                        2 * sizeof(struct block_key));
    }
    if (reclaim->keys == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to reclaim a segment");
    }
    if (read != CASCADE_OK && read != CASCADE_CORRUPT) {
        return read;
    }
    status = check_known(reclaim);
    if (status == CASCADE_OK && keep) {
        status = carry_all(reclaim);
    }
    if (status != CASCADE_OK && reclaim->keep_all) {
        return status;
    }
    for (size_t i = 0; i < reclaim->count; i++) {
        let_go(reclaim, &reclaim->entries[i]);
    }
    forget_records(reclaim);
    status = write_again(reclaim, keep);
    // What must be written before the segment goes is little.
    if (status == CASCADE_NO_SPACE && tier_segment_use_reserve(store->cold)) {
        status = write_again(reclaim, false);
    }
    if (status == CASCADE_OK && read == CASCADE_CORRUPT) {
        status = write_unlisted(reclaim);
    }
    if (status == CASCADE_OK) {
        status = check_moved(reclaim);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    status = tier_segment_retire(store->cold, reclaim->segment,
                                 store_now(store) + READERS_WAIT_NS);
    metric_add(store->metrics, METRIC_SEGMENTS_RECLAIMED_TOTAL, 1);
    drop_removals(store);
    return status;
}

static enum cascade_status
reclaim_segment(struct cascade *store, const struct tier_segment_info *info,
                bool keep, bool keep_all)
{
    struct reclaim reclaim = {
        .store = store,
        .segment = info->segment,
        .keep_all = keep_all,
        .leave_unknown = keep_all && info->adopted &&
                         store->settings.rebind == STORE_REBIND_REFUSED &&
                         !tier_segment_is_alone(store->cold),
    };
    struct store_writer *outer = store->writer;
    enum cascade_status status;

    check(outer != store->reclaim_writer);
    store->writer = store->reclaim_writer;
    status = move_on(&reclaim, keep);
    store->writer = outer;
    allocator_release(store->around.allocator, reclaim.keys);
    allocator_release(store->around.allocator, reclaim.entries);
    return status;
}

enum cascade_status
store_reclaim_for(struct cascade *store, uint64_t bytes)
{
    struct tier_segment_usage usage;
    struct tier_segment_info info;
    enum cascade_status status = CASCADE_OK;
    bool sealed = false;

    // What can never fit must not cost what is there.
    for (int i = 0; i < RECLAIMS_MAX && bytes <= store->cold_capacity_bytes;
         i++) {
        tier_segment_usage_of(store->cold, &usage);
        if (usage.own_bytes + bytes <= store->cold_capacity_bytes) {
            return CASCADE_OK;
        }
        status = tier_segment_oldest(store->cold, &info);
        if (status == CASCADE_NOT_FOUND && usage.active_bytes > 0 && !sealed) {
            sealed = true;
            status = tier_segment_seal(store->cold);
            if (status == CASCADE_OK) {
                continue;
            }
        }
        if (status != CASCADE_OK) {
            break;
        }
        status = reclaim_segment(store, &info, i < KEEPING_MAX, false);
        if (status != CASCADE_OK && status != CASCADE_TIMEOUT) {
            return status;
        }
    }
    return error_set(CASCADE_NO_SPACE,
                     "the cold tier is full (cold_capacity is %llu bytes) and "
                     "nothing in it can be reclaimed; raise cold_capacity",
                     (unsigned long long)store->cold_capacity_bytes);
}

void
store_merge_small(struct cascade *store)
{
    struct tier_segment_info infos[64];
    size_t count = tier_segment_own(store->cold, infos, 64);
    size_t small = 0;

    for (size_t i = 0; i < count; i++) {
        if (infos[i].file_bytes < store->settings.segment_bytes / SMALL_PART) {
            infos[small++] = infos[i];
        }
    }
    for (size_t i = 0; i < small && small >= SMALL_SEGMENTS; i++) {
        enum cascade_status status = reclaim_segment(store, &infos[i], true,
                                                     true);

        if (status != CASCADE_OK && status != CASCADE_BUSY) {
            return;
        }
    }
}
