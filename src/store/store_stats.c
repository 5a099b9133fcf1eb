// SPDX-License-Identifier: Apache-2.0
//
// Statistics and the list of keys: reads of what the parts count themselves.
// Gauges are brought up to date when they are asked for and by the background,
// so that a reader of the shared page sees them move.

#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"
#include "store/store_metrics.h"

#define LIST_BATCH 256
#define SEGMENTS_LISTED_MAX 65536

static void
update_dram(struct cascade *store)
{
    struct tier_usage usage;

    if (store->dram == NULL) {
        return;
    }
    tier_dram_table.usage(store->dram, &usage);
    metric_set_tier(store->metrics, METRIC_USED_BYTES, CASCADE_TIER_LOCAL_DRAM,
                    usage.used_bytes);
    metric_set_tier(store->metrics, METRIC_CAPACITY_BYTES,
                    CASCADE_TIER_LOCAL_DRAM, usage.capacity_bytes);
    metric_set_tier(store->metrics, METRIC_TIER_BLOCKS, CASCADE_TIER_LOCAL_DRAM,
                    usage.blocks);
    metric_set(store->metrics, METRIC_POPULATED_BYTES,
               arena_ready_bytes(tier_dram_arena(store->dram)));
    metric_set(store->metrics, METRIC_METADATA_BYTES_PER_BLOCK,
               store_bytes_per_slot(store));
    metric_set(store->metrics, METRIC_PINS, tier_dram_pins_seen(store->dram));
}

static void
update_cold(struct cascade *store)
{
    struct tier_segment_usage usage;
    struct tier_usage blocks;

    if (store->cold == NULL) {
        return;
    }
    tier_segment_usage_of(store->cold, &usage);
    tier_segment_table.usage(store->cold, &blocks);
    metric_set_tier(store->metrics, METRIC_USED_BYTES, CASCADE_TIER_SEGMENTS,
                    usage.own_bytes);
    metric_set_tier(store->metrics, METRIC_CAPACITY_BYTES,
                    CASCADE_TIER_SEGMENTS, store->cold_capacity_bytes);
    metric_set_tier(store->metrics, METRIC_TIER_BLOCKS, CASCADE_TIER_SEGMENTS,
                    blocks.blocks);
    metric_set(store->metrics, METRIC_SEGMENTS_SEALED_TOTAL, usage.sealed);
}

_Static_assert(METRIC_RUNG_COUNT == TIER_REMOTE_FETCH + 1,
               "labels follow the rungs");

static void
update_cluster(struct cascade *store)
{
    struct store_cluster *cluster = store->cluster;
    struct store_registry_usage registry;
    struct tier_remote_usage remote;
    struct fabric_port_usage port;

    if (cluster == NULL || !atomic_load(&cluster->serving)) {
        return;
    }
    tier_remote_usage(cluster->remote, &remote);
    for (uint32_t rung = TIER_REMOTE_NEAR; rung <= TIER_REMOTE_FETCH; rung++) {
        metric_set_at(store->metrics, METRIC_REMOTE_READS_TOTAL, rung,
                      remote.reads[rung]);
        metric_set_at(store->metrics, METRIC_REMOTE_READ_BYTES_TOTAL, rung,
                      remote.read_bytes[rung]);
    }
    metric_set(store->metrics, METRIC_REMOTE_STALE_TOTAL, remote.stale);
    metric_set(store->metrics, METRIC_REMOTE_LATE_TOTAL, remote.late);
    metric_set(store->metrics, METRIC_REMOTE_PINS_GIVEN_TOTAL, remote.grants);
    metric_set(store->metrics, METRIC_REMOTE_PINS_EXPIRED_TOTAL,
               remote.pins_expired);
    metric_set(store->metrics, METRIC_REMOTE_PINS, remote.pins_out);
    fabric_port_usage(cluster->port, &port);
    metric_set(store->metrics, METRIC_FABRIC_MESSAGES_TOTAL,
               port.messages_sent);
    metric_set(store->metrics, METRIC_FABRIC_MESSAGES_REPEATED_TOTAL,
               port.messages_repeated);
    metric_set(store->metrics, METRIC_FABRIC_BYTES_TOTAL, port.bytes_sent);
    metric_set(store->metrics, METRIC_FABRIC_CALLS_TIMED_OUT_TOTAL,
               port.calls_timed_out);
    store_cluster_registry_usage(cluster, &registry);
    metric_set(store->metrics, METRIC_PROTECTED_KEYS_LISTED, registry.listed);
    metric_set(store->metrics, METRIC_PROTECTED_KEYS_MISSING, registry.missing);
}

void
store_update_gauges(struct cascade *store)
{
    struct directory_usage usage;

    update_dram(store);
    update_cold(store);
    update_cluster(store);
    directory_usage(store->directory, &usage);
    metric_set(store->metrics, METRIC_BLOCKS, usage.contents);
    metric_set(store->metrics, METRIC_KEYS, usage.keys);
    metric_set(store->metrics, METRIC_DIRECTORY_BYTES_PER_BLOCK,
               usage.bytes_per_key + usage.bytes_per_content);
    metric_set(store->metrics, METRIC_PROTECTED_BLOCKS,
               usage.protected_contents);
    metric_set(store->metrics, METRIC_PROTECTED_BYTES, usage.protected_bytes);
    metric_set(store->metrics, METRIC_DIRTY_BLOCKS, usage.dirty_contents);
    metric_set(store->metrics, METRIC_DIRTY_BYTES, usage.dirty_bytes);
    metric_set(store->metrics, METRIC_VIEWS_OUT,
               atomic_load(&store->views_out));
    metric_set(store->metrics, METRIC_LOG_SUPPRESSED_TOTAL,
               log_suppressed(&store->log));
}

enum cascade_status
cascade_stats_read(struct cascade *store, struct cascade_stats *stats)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (stats == NULL) {
        return error_set(CASCADE_INVALID,
                         "the place for the statistics is NULL");
    }
    store_update_gauges(store);
    return store_metrics_stats(store->metrics, stats);
}

enum cascade_status
cascade_metrics_text(struct cascade *store, char *text, size_t size,
                     size_t *needed)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    store_update_gauges(store);
    return store_metrics_text(store->metrics, text, size, needed);
}

static void
attach_key(void *context, const struct tier_segment_entry *entry)
{
    struct cascade *store = context;

    if (entry->label.key_data != NULL) {
        directory_attach_key(store->directory, &entry->label.key,
                             entry->label.key_data, entry->label.key_bytes);
    }
}

// Marks the segments that hold records of keys without bytes.
static void
find_keyless(struct cascade *store, struct directory_found *found,
             uint32_t *key_bytes, uint8_t *wanted)
{
    uint64_t cursor = 0;
    size_t count = 1;

    while (count > 0) {
        count = directory_scan(store->directory, &cursor, 0, found, LIST_BATCH,
                               NULL, 0, key_bytes);
        for (size_t i = 0; i < count; i++) {
            uint32_t segment = found[i].record_segment;

            if (key_bytes[i] == 0 && segment < SEGMENTS_LISTED_MAX) {
                wanted[segment] = 1;
            }
        }
    }
}

enum cascade_status
store_attach_keys(struct cascade *store)
{
    const struct allocator *allocator = store->around.allocator;
    struct directory_found *found;
    uint32_t *key_bytes;
    uint8_t *wanted;
    enum cascade_status status = CASCADE_OK;

    if (store->cold == NULL) {
        return CASCADE_OK;
    }
    found = allocator_array(allocator, LIST_BATCH, sizeof(*found));
    key_bytes = allocator_array(allocator, LIST_BATCH, sizeof(*key_bytes));
    wanted = allocator_array(allocator, SEGMENTS_LISTED_MAX, 1);
    if (found == NULL || key_bytes == NULL || wanted == NULL) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to list keys");
    } else {
        find_keyless(store, found, key_bytes, wanted);
        for (uint32_t i = 0; i < SEGMENTS_LISTED_MAX; i++) {
            // A segment that vanished or is damaged leaves digests only.
            if (wanted[i] != 0) {
                (void)tier_segment_entries(store->cold, i, attach_key, store);
            }
        }
    }
    allocator_release(allocator, wanted);
    allocator_release(allocator, key_bytes);
    allocator_release(allocator, found);
    return status;
}

struct listing {
    struct directory_found found[LIST_BATCH];
    uint32_t key_bytes[LIST_BATCH];
    uint8_t keys[LIST_BATCH][CASCADE_KEY_BYTES_MAX];
};

// False: the visitor wants no more.
static bool
show_entry(const struct listing *listing, size_t i,
           bool (*visit)(void *context, const struct cascade_entry *entry),
           void *context)
{
    const struct directory_found *found = &listing->found[i];
    struct cascade_entry entry = {
        .key = {listing->keys[i], listing->key_bytes[i]},
        .bytes = found->bytes,
        .protected_prefix = (found->flags & DIRECTORY_PROTECTED) != 0,
        .in_memory = block_place_is_set(&found->memory),
        .on_segments = block_place_is_set(&found->cold),
    };

    if ((found->flags & DIRECTORY_REMOVED) != 0 ||
        (!entry.in_memory && !entry.on_segments)) {
        return true;
    }
    memcpy(entry.key_digest, found->key.bytes, sizeof(entry.key_digest));
    memcpy(entry.id, found->id.bytes, sizeof(entry.id));
    return visit(context, &entry);
}

enum cascade_status
cascade_list(struct cascade *store,
             bool (*visit)(void *context, const struct cascade_entry *entry),
             void *context)
{
    const struct allocator *allocator;
    struct listing *listing;
    uint64_t cursor = 0;
    size_t count = 1;
    bool more = true;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK && visit == NULL) {
        status = error_set(CASCADE_INVALID, "the visitor is NULL");
    }
    if (status == CASCADE_OK) {
        status = store_attach_keys(store);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    allocator = store->around.allocator;
    listing = allocator_array(allocator, 1, sizeof(*listing));
    if (listing == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to list keys");
    }
    while (more && count > 0) {
        count = directory_scan(store->directory, &cursor, 0, listing->found,
                               LIST_BATCH, listing->keys[0],
                               CASCADE_KEY_BYTES_MAX, listing->key_bytes);
        for (size_t i = 0; i < count && more; i++) {
            more = show_entry(listing, i, visit, context);
        }
    }
    allocator_release(allocator, listing);
    return CASCADE_OK;
}
