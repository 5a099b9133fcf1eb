// SPDX-License-Identifier: Apache-2.0
//
// Put: reserve, write and hash in one pass, bind. Nothing is visible before
// directory_bind; whatever fails before it leaves the cache as it was. Holds no
// lock of its own except cold_lock for a block that goes straight to segments.

#include <string.h>

#include "base/error.h"
#include "base/sha256.h"
#include "store/store_cluster.h"

// A copy that others clear away again and again before it is bound.
#define PLACE_LOST_MAX 8

// A put under way.
struct put {
    struct block_key key;
    struct cascade_key name;
    const struct cascade_const_span *spans;
    size_t span_count;
    uint64_t bytes;
    struct cascade_put_options options;
    uint64_t deadline_ns;
    struct block_version version; // reserved for a surrogate id
    struct block_id id;
    struct block_key parent;
    struct tier_pin pin; // of the copy in DRAM, until it is synced
    bool is_pinned;
    bool is_elsewhere; // another rank keeps it
    bool place_lost;   // the own copy went before it counted: put again
    uint16_t custodian;
};

static bool
is_synced(const struct cascade *store)
{
    return store->settings.sync == STORE_SYNC_PUT && store->cold != NULL;
}

static enum cascade_status
sum_spans(const struct cascade_const_span *spans, size_t span_count,
          uint64_t *bytes)
{
    uint64_t sum = 0;

    if (spans == NULL && span_count > 0) {
        return error_set(CASCADE_INVALID, "spans is NULL, span_count is %zu",
                         span_count);
    }
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "span %zu is device memory and there is no GPU "
                             "tier; copy it to host memory first",
                             i);
        }
        if (spans[i].data == NULL && spans[i].bytes > 0) {
            return error_set(CASCADE_INVALID, "span %zu has no data", i);
        }
        if (spans[i].bytes > CASCADE_BLOCK_BYTES_MAX - sum) {
            return error_set(CASCADE_TOO_LARGE,
                             "the block is larger than 16GiB, the largest "
                             "there is; split it");
        }
        sum += spans[i].bytes;
    }
    *bytes = sum;
    return CASCADE_OK;
}

// An id that stands for (key, version) instead of the content.
static void
make_surrogate(struct put *put)
{
    uint8_t message[80] = "cascade-surrogate-v1";
    struct sha256_stream stream;

    memcpy(message + 24, put->key.bytes, 32);
    memcpy(message + 56, &put->version.time_ns, 8);
    memcpy(message + 64, &put->version.tag, 8);
    sha256_start(&stream, &sha256_initial, 0);
    sha256_add(&stream, message, sizeof(message));
    sha256_finish(&stream, put->id.bytes);
}

static uint32_t
wanted_digest(const struct cascade *store)
{
    return store->settings.dedup == STORE_DEDUP_CONTENT
               ? BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM
               : BLOCK_DIGEST_CHECKSUM;
}

static void
name_block(struct cascade *store, struct put *put,
           const struct block_digest *digest)
{
    if (store->settings.dedup == STORE_DEDUP_CONTENT) {
        put->id = digest->id;
    } else {
        make_surrogate(put);
    }
}

// What the end of the put needs from memory comes while the block is copied: a
// surrogate is known before, the content has to be read first.
static void
expect_bind(struct cascade *store, struct put *put, uint32_t slot)
{
    bool by_content = store->settings.dedup == STORE_DEDUP_CONTENT;

    if (!by_content) {
        make_surrogate(put);
    }
    directory_expect(store->directory, &put->key, by_content ? NULL : &put->id);
    __builtin_prefetch(&store->blocks[slot], 1);
    __builtin_prefetch(&store->policy_lock, 1);
}

static bool
wants_protection(const struct cascade *store, const struct put *put)
{
    return (put->options.flags & CASCADE_PUT_PREFIX) != 0 &&
           store->settings.semantic_eviction;
}

// Among many ranks: the content may be elsewhere, and the key's home decides.
static enum cascade_status
bind_among_ranks(struct cascade *store, struct put *put,
                 const struct directory_bind *bind,
                 struct directory_bound *bound)
{
    struct store_cluster_bind wide = {
        .bind = *bind,
        .deadline_ns = put->deadline_ns,
    };
    enum cascade_status status = store_cluster_bind(store, &wide);

    *bound = wide.bound;
    put->is_elsewhere = wide.elsewhere;
    put->place_lost = wide.place_lost;
    put->custodian = wide.custodian;
    return status;
}

// Binds the key to the copy at `place`, or to one that was there. With an error
// `bound->place_taken` tells that the copy is listed all the same.
static enum cascade_status
bind_place(struct cascade *store, struct put *put,
           const struct block_place *place, struct directory_bound *bound)
{
    struct directory_bind bind = {
        .key = put->key,
        .key_data = put->name.data,
        .key_bytes = (uint32_t)put->name.bytes,
        .id = put->id,
        .bytes = put->bytes,
        .version = put->version,
        .place = *place,
    };

    if ((put->options.flags & CASCADE_PUT_IF_ABSENT) != 0) {
        bind.flags |= DIRECTORY_BIND_IF_ABSENT;
    }
    if (store->settings.dedup != STORE_DEDUP_CONTENT) {
        bind.flags |= DIRECTORY_BIND_SURROGATE;
    }
    if (wants_protection(store, put)) {
        bind.flags |= DIRECTORY_BIND_PROTECT;
    }
    return store->cluster != NULL
               ? bind_among_ranks(store, put, &bind, bound)
               : directory_bind(store->directory, &bind, bound);
}

// What happened, for the caller and the metrics.
static void
note_bound(struct cascade *store, const struct put *put,
           const struct directory_bound *bound, enum cascade_tier tier,
           struct cascade_put_result *result)
{
    result->stored = true;
    result->deduplicated = bound->deduplicated;
    result->existed = bound->existed;
    result->protected_prefix = bound->protected_now;
    result->tier = put->is_elsewhere ? CASCADE_TIER_REMOTE_DRAM : tier;
    if (bound->deduplicated) {
        metric_add(store->metrics, METRIC_DEDUP_HITS_TOTAL, 1);
        if (!bound->place_taken) {
            metric_add(store->metrics, METRIC_DEDUP_SAVED_BYTES_TOTAL,
                       put->bytes);
        }
        if (put->is_elsewhere) {
            metric_add(store->metrics, METRIC_DEDUP_REMOTE_HITS_TOTAL, 1);
            metric_add(store->metrics, METRIC_DEDUP_REMOTE_SAVED_BYTES_TOTAL,
                       put->bytes);
        }
    }
    if (bound->place_taken) {
        metric_add(store->metrics, METRIC_PUT_BYTES_TOTAL, put->bytes);
    }
    if (bound->protection_refused) {
        metric_add(store->metrics, METRIC_PROTECTIONS_REFUSED_TOTAL, 1);
    }
}

static struct store_block
describe_block(const struct put *put)
{
    struct store_block block = {
        .id = put->id,
        .parent = put->parent,
        .bytes = put->bytes,
        .depth = put->options.depth,
        .turn = put->options.turn,
        .request_class = put->options.request_class,
        .expected_reuse = put->options.expected_reuse,
    };

    if ((put->options.flags & CASCADE_PUT_SESSION_END) != 0) {
        block.policy_flags = POLICY_SESSION_END;
    }
    return block;
}

// A block that was there was put again: it was used, unless nobody will.
static void
note_use(struct cascade *store, const struct put *put,
         const struct directory_found *found)
{
    store_touch(store, &found->memory);
    if ((put->options.flags & CASCADE_PUT_SESSION_END) != 0) {
        store_mark_session_end(store, &found->id);
    }
}

// After a bind: the copy that serves is known to the policy as it should be.
static void
settle_copy(struct cascade *store, const struct put *put,
            const struct directory_bound *bound,
            const struct block_place *place)
{
    struct directory_found found;

    if (bound->place_taken) {
        if (bound->protected_now) {
            store_mark_protection(store, &put->id);
        }
        return;
    }
    store_discard(store, place);
    if (directory_find(store->directory, &put->key, &found, NULL) ==
        CASCADE_OK) {
        note_use(store, put, &found);
        if (bound->protected_now) {
            store_mark_protection(store, &found.id);
        }
    }
}

// The content was there, but perhaps in the files of another job only, which
// may go any time: then this put has to be written to ours.
static void
own_content(struct cascade *store, const struct put *put)
{
    struct directory_found found;

    if (store->cold != NULL &&
        directory_find_content(store->directory, &put->id, &found) ==
            CASCADE_OK &&
        !found.cold_durable && block_place_is_set(&found.cold)) {
        directory_dirty_bindings(store->directory, &put->id);
    }
}

// A copy that is to be synced, or whose binding a home has to confirm, may not be
// dropped before.
static void
pin_copy(struct cascade *store, struct put *put,
         const struct block_place *place)
{
    if ((is_synced(store) || store->cluster != NULL) &&
        place->tier == CASCADE_TIER_LOCAL_DRAM) {
        put->is_pinned = tier_dram_table.pin(store->dram, place, &put->pin) ==
                         CASCADE_OK;
    }
}

static void
unpin_copy(struct cascade *store, struct put *put)
{
    if (put->is_pinned) {
        tier_dram_table.unpin(store->dram, &put->pin);
        put->is_pinned = false;
    }
}

// The content was there: its copy stays instead of the put's own.
static void
pin_other_copy(struct cascade *store, struct put *put)
{
    struct directory_found found;

    unpin_copy(store, put);
    if (is_synced(store) &&
        directory_find_content(store->directory, &put->id, &found) ==
            CASCADE_OK &&
        !found.cold_durable) {
        pin_copy(store, put, &found.memory);
    }
}

// Into a reserved DRAM slot.
static enum cascade_status
put_into_slot(struct cascade *store, struct put *put, struct tier_slot *slot,
              struct cascade_put_result *result)
{
    struct block_digest digest;
    struct block_place place;
    struct directory_bound bound;
    struct store_block block;
    struct block_label label = {.key = put->key};
    enum cascade_status status;

    expect_bind(store, put, slot->number);
    status = tier_dram_table.write(store->dram, slot, put->spans,
                                   put->span_count, wanted_digest(store),
                                   &digest);
    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, slot);
        return status;
    }
    if (store->settings.dedup == STORE_DEDUP_CONTENT) {
        put->id = digest.id;
    }
    label.id = put->id;
    status = tier_dram_table.commit(store->dram, slot, &label, &digest, &place);
    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, slot);
        return status;
    }
    block = describe_block(put);
    store_admit(store, place.slot, &block, false);
    pin_copy(store, put, &place);
    memset(&bound, 0, sizeof(bound));
    status = bind_place(store, put, &place, &bound);
    if (status != CASCADE_OK) {
        unpin_copy(store, put);
        if (!bound.place_taken) {
            store_discard(store, &place);
        }
        result->existed = bound.existed;
        result->stored = bound.existed;
        return status;
    }
    if (bound.deduplicated) {
        own_content(store, put);
    }
    if (!bound.place_taken) {
        pin_other_copy(store, put);
    }
    settle_copy(store, put, &bound, &place);
    store_free(store, &bound.freed);
    note_bound(store, put, &bound, CASCADE_TIER_LOCAL_DRAM, result);
    return CASCADE_OK;
}

// The payload goes there without its key: whether it is bound is known only
// afterwards, and then a record of its own says so.
static void
label_payload(const struct cascade *store, const struct put *put,
              struct block_label *label)
{
    memset(label, 0, sizeof(*label));
    label->id = put->id;
    label->parent = put->parent;
    label->version = directory_next_version(store->directory);
    label->flags = BLOCK_LABEL_NO_KEY;
    label->depth = put->options.depth;
    label->turn = put->options.turn;
    label->request_class = put->options.request_class;
    label->expected_reuse = put->options.expected_reuse;
    if (store->settings.dedup != STORE_DEDUP_CONTENT) {
        label->flags |= BLOCK_LABEL_SURROGATE;
    }
}

// Writes the block to a slot of the cold tier, and syncs. Under cold_lock.
static enum cascade_status
write_cold(struct cascade *store, struct put *put, struct block_place *place)
{
    struct tier_slot slot;
    struct block_digest digest;
    struct block_label label;
    enum cascade_status status;

    status = store_reclaim_for(store, put->bytes);
    if (status != CASCADE_OK) {
        return status;
    }
    status = tier_segment_table.reserve(store->cold, put->bytes, &slot);
    if (status != CASCADE_OK) {
        return status;
    }
    status = tier_segment_table.write(store->cold, &slot, put->spans,
                                      put->span_count, wanted_digest(store),
                                      &digest);
    if (status == CASCADE_OK) {
        name_block(store, put, &digest);
        label_payload(store, put, &label);
        status = tier_segment_table.commit(store->cold, &slot, &label, &digest,
                                           place);
    }
    if (status != CASCADE_OK) {
        tier_segment_table.abandon(store->cold, &slot);
        return status;
    }
    return tier_segment_sync(store->cold);
}

// Under cold_lock: the binding gets its record. If this fails it stays dirty and
// a flush writes it.
static void
settle_cold(struct cascade *store, const struct put *put,
            const struct block_place *place)
{
    (void)directory_publish(store->directory, &put->id, place, true);
    (void)store_write_keys(store, &put->key, 1);
}

// Straight to the cold tier: DRAM is too small or full. Payload, sync, bind,
// and only then the record of the binding: a put that was refused in between
// leaves bytes without a name.
static enum cascade_status
put_cold(struct cascade *store, struct put *put,
         struct cascade_put_result *result)
{
    struct block_place place;
    struct directory_bound bound;
    enum cascade_status status = store_cold_begin(store, put->deadline_ns);

    if (status != CASCADE_OK) {
        return status;
    }
    status = write_cold(store, put, &place);
    if (status != CASCADE_OK) {
        atomic_store(&store->cold_failed, true);
        metric_add(store->metrics, METRIC_COLD_ERRORS_TOTAL, 1);
        store_cold_end(store);
        return status;
    }
    atomic_store(&store->cold_failed, false);
    memset(&bound, 0, sizeof(bound));
    if (store->cluster == NULL) {
        status = bind_place(store, put, &place, &bound);
        if (status == CASCADE_OK) {
            settle_cold(store, put, &place);
        }
        store_cold_end(store);
    } else {
        // No lock is held while another rank is waited for.
        store_cold_end(store);
        status = bind_place(store, put, &place, &bound);
        if (status == CASCADE_OK && !put->is_elsewhere &&
            store_cold_begin(store, put->deadline_ns) == CASCADE_OK) {
            settle_cold(store, put, &place);
            store_cold_end(store);
        }
    }
    if (status != CASCADE_OK) {
        result->existed = bound.existed;
        result->stored = bound.existed;
        return status;
    }
    store_free(store, &bound.freed);
    metric_add(store->metrics, METRIC_COLD_WRITTEN_BYTES_TOTAL, put->bytes);
    note_bound(store, put, &bound, CASCADE_TIER_SEGMENTS, result);
    return CASCADE_OK;
}

// A block that never fits is not tried: everything would be reclaimed for it.
static bool
cold_takes(const struct cascade *store, const struct put *put)
{
    return store->cold != NULL && !store->settings.cold_look_only &&
           put->bytes <= store->cold_capacity_bytes;
}

static enum cascade_status
refuse(const struct cascade *store, const struct put *put,
       enum cascade_status status)
{
    if (status == CASCADE_TOO_LARGE || status == CASCADE_UNSUPPORTED) {
        return error_set(CASCADE_TOO_LARGE,
                         "a block of %llu bytes is larger than every tier "
                         "(dram_capacity is %llu bytes, cold_capacity %llu); "
                         "raise one of them",
                         (unsigned long long)put->bytes,
                         (unsigned long long)store->dram_capacity_bytes,
                         (unsigned long long)(store->cold != NULL
                                                  ? store->cold_capacity_bytes
                                                  : 0));
    }
    if (status == CASCADE_NO_SPACE) {
        return error_set(CASCADE_NO_SPACE,
                         "no tier has room for a block of %llu bytes; what is "
                         "there is protected or pinned: raise dram_capacity "
                         "or cold_capacity",
                         (unsigned long long)put->bytes);
    }
    return status;
}

// DRAM; else the cold tier; else DRAM at the cost of blocks that cannot be
// written.
static enum cascade_status
put_somewhere(struct cascade *store, struct put *put,
              struct cascade_put_result *result)
{
    struct tier_slot slot;
    enum cascade_status status = store_reserve(store, put->bytes,
                                               put->deadline_ns, &slot);
    enum cascade_status cold_status = CASCADE_UNSUPPORTED;

    if (status == CASCADE_OK) {
        return put_into_slot(store, put, &slot, result);
    }
    if (cold_takes(store, put)) {
        cold_status = put_cold(store, put, result);
        if (cold_status == CASCADE_OK || cold_status == CASCADE_EXISTS) {
            return cold_status;
        }
        log_write(&store->log, LOG_LEVEL_WARNING,
                  "a block could not go straight to the cold tier (%s): %s",
                  cascade_status_name(cold_status), error_message());
    }
    if (status == CASCADE_NO_SPACE) {
        status = store_reserve_dropping(store, put->bytes, &slot);
        if (status == CASCADE_OK) {
            return put_into_slot(store, put, &slot, result);
        }
    }
    if (cold_takes(store, put) && status != CASCADE_NO_SPACE) {
        status = cold_status;
    }
    return refuse(store, put, status);
}

// The key is known and its bytes are not needed.
static bool
is_known(struct cascade *store, const struct put *put,
         struct cascade_put_result *result)
{
    bool by_key = store->settings.dedup == STORE_DEDUP_KEY &&
                  store->settings.rebind == STORE_REBIND_REFUSED;
    struct store_cluster_found wide;
    struct directory_found found;

    if ((put->options.flags & CASCADE_PUT_IF_ABSENT) == 0 && !by_key) {
        return false;
    }
    if (store->cluster != NULL) {
        if (store_cluster_find(store, &put->key, put->deadline_ns, &wide) !=
            CASCADE_OK) {
            return false;
        }
        found = wide.found;
    } else if (store_find(store, &put->key, &found, NULL) != CASCADE_OK) {
        return false;
    }
    if (wants_protection(store, put) &&
        (found.flags & DIRECTORY_PROTECTED) == 0) {
        struct cascade_key key = put->name;

        result->protected_prefix = cascade_protect(store, key, NULL) ==
                                   CASCADE_OK;
    } else {
        result->protected_prefix = (found.flags & DIRECTORY_PROTECTED) != 0;
    }
    note_use(store, put, &found);
    result->stored = true;
    result->existed = true;
    result->deduplicated = true;
    result->tier = block_place_is_set(&found.memory) ? found.memory.tier
                   : block_place_is_set(&found.cold)
                       ? found.cold.tier
                       : (uint8_t)CASCADE_TIER_REMOTE_DRAM;
    metric_add(store->metrics, METRIC_DEDUP_HITS_TOTAL, 1);
    metric_add(store->metrics, METRIC_DEDUP_SAVED_BYTES_TOTAL, put->bytes);
    return true;
}

// The key was bound and stays so: where is its copy?
static void
describe_existing(struct cascade *store, const struct put *put,
                  struct cascade_put_result *result)
{
    struct directory_found found;

    if (result->tier == CASCADE_TIER_NONE &&
        directory_find(store->directory, &put->key, &found, NULL) ==
            CASCADE_OK) {
        result->tier = (enum cascade_tier)(block_place_is_set(&found.memory)
                                               ? found.memory.tier
                                               : found.cold.tier);
        result->protected_prefix = (found.flags & DIRECTORY_PROTECTED) != 0;
    } else if (result->tier == CASCADE_TIER_NONE && store->cluster != NULL) {
        result->tier = CASCADE_TIER_REMOTE_DRAM;
    }
}

static enum cascade_status
prepare(struct cascade *store, struct put *put)
{
    enum cascade_status status = store_key(store, put->name, &put->key);

    if (status == CASCADE_OK) {
        status = sum_spans(put->spans, put->span_count, &put->bytes);
    }
    if (status == CASCADE_OK && put->options.parent.bytes > 0) {
        status = store_key(store, put->options.parent, &put->parent);
    }
    if (status == CASCADE_OK && store->settings.cold_look_only) {
        status = error_set(CASCADE_UNSUPPORTED,
                           "the store was opened with cold_mode=look and "
                           "takes no puts");
    }
    if (status == CASCADE_OK && store->settings.dedup != STORE_DEDUP_CONTENT) {
        put->version = directory_next_version(store->directory);
    }
    return status;
}

// The block, or what another put bound to the key since, is durable. A removal
// of the key ends the matter too, but only while a pin shows that it was one.
static enum cascade_status
check_synced(struct cascade *store, const struct put *put)
{
    struct directory_found found;

    if (store->writer->damaged > 0) {
        return error_set(CASCADE_CORRUPT,
                         "the block was damaged in memory before it was "
                         "written; put it again");
    }
    if (directory_find_content(store->directory, &put->id, &found) ==
        CASCADE_OK) {
        return found.cold_durable
                   ? CASCADE_OK
                   : error_set(CASCADE_BUSY,
                               "the block was not where it had been when it "
                               "was to be written; put it again");
    }
    if (!put->is_pinned && directory_find(store->directory, &put->key, &found,
                                          NULL) != CASCADE_OK) {
        return error_set(CASCADE_NO_SPACE,
                         "the block went before it was written; put it again");
    }
    return CASCADE_OK;
}

// Writes and syncs what was put.
static enum cascade_status
sync_put(struct cascade *store, const struct put *put)
{
    enum cascade_status status;

    if (put->is_elsewhere) {
        return store_cluster_flush_at(store, put->custodian, put->deadline_ns);
    }
    status = store_cold_begin(store, put->deadline_ns);
    if (status == CASCADE_OK) {
        store->writer->damaged = 0;
        status = store_write_keys(store, &put->key, 1);
        if (status == CASCADE_OK) {
            status = check_synced(store, put);
        }
        store_cold_end(store);
    }
    return status;
}

static void
count_put(struct cascade *store, enum cascade_status status, uint64_t begin_ns,
          const struct cascade_put_result *result)
{
    metric_add(store->metrics, METRIC_PUTS_TOTAL, 1);
    metric_count_operation(store->metrics, CASCADE_OPERATION_PUT, status);
    metric_observe_ns(store->metrics, METRIC_PUT_SECONDS,
                      store_now(store) - begin_ns);
    if (result->existed && status == CASCADE_EXISTS) {
        metric_add(store->metrics, METRIC_PUTS_EXISTED_TOTAL, 1);
    }
    if (status == CASCADE_NO_SPACE || status == CASCADE_TOO_LARGE) {
        metric_add(store->metrics, METRIC_PUTS_REFUSED_TOTAL, 1);
    }
}

enum cascade_status
store_put(struct cascade *store, struct cascade_key key,
          const struct cascade_const_span *spans, size_t span_count,
          const struct cascade_put_options *options, uint64_t deadline_ns,
          struct cascade_put_result *result)
{
    struct put put;
    struct cascade_put_result done;
    uint64_t begin_ns = store_now(store);
    enum cascade_status status;

    memset(&put, 0, sizeof(put));
    memset(&done, 0, sizeof(done));
    put.name = key;
    put.spans = spans;
    put.span_count = span_count;
    put.deadline_ns = deadline_ns;
    if (options != NULL) {
        put.options = *options;
    }
    status = prepare(store, &put);
    if (status == CASCADE_OK && is_known(store, &put, &done)) {
        status = CASCADE_EXISTS;
    } else if (status == CASCADE_OK) {
        status = put_somewhere(store, &put, &done);
        for (int i = 0; put.place_lost && i < PLACE_LOST_MAX; i++) {
            put.place_lost = false;
            status = put_somewhere(store, &put, &done);
        }
    }
    if (status == CASCADE_OK && is_synced(store)) {
        status = sync_put(store, &put);
    }
    unpin_copy(store, &put);
    if (status == CASCADE_EXISTS) {
        describe_existing(store, &put, &done);
    }
    count_put(store, status, begin_ns, &done);
    if (result != NULL && (status == CASCADE_OK || status == CASCADE_EXISTS)) {
        *result = done;
    }
    return status;
}
