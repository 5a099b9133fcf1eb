// SPDX-License-Identifier: Apache-2.0
//
// Flush: what was acknowledged before it began is durable when it says OK.
// Payloads first, a sync, then the bindings that have no payload of their own;
// the writing itself is store_cold.c's. Runs under cold_lock.

#include <stdio.h>

#include "base/error.h"
#include "store/store_cluster.h"

// Rounds of a flush: puts that go on meanwhile may need more than one.
#define ROUNDS_MAX 4

// This store has to write it. What others' files alone hold is theirs to keep,
// unless a put here relied on it; then there is a copy in memory, or it was
// counted as dropped.
static bool
is_ours(const struct directory_found *found)
{
    return (found->flags & DIRECTORY_REMOVED) != 0 || found->cold_durable ||
           block_place_is_set(&found->memory);
}

// Walks over all dirty bindings once. `*seen` counts those that are ours.
static enum cascade_status
walk_dirty(struct cascade *store, store_add_record *add, uint64_t deadline_ns,
           uint64_t *seen)
{
    struct store_writer *writer = store->writer;
    enum cascade_status status = CASCADE_OK;
    uint64_t cursor = 0;
    size_t count = 1;

    while (count > 0 && status == CASCADE_OK) {
        count = directory_scan(store->directory, &cursor, DIRECTORY_DIRTY,
                               writer->found, STORE_WRITE_BATCH,
                               writer->keys[0], CASCADE_KEY_BYTES_MAX,
                               writer->key_bytes);
        for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
            *seen += is_ours(&writer->found[i]) ? 1 : 0;
            status = add(store, &writer->found[i], writer->keys[i],
                         writer->key_bytes[i]);
        }
        // The keys are in the scan's memory: write before it is used again.
        if (status == CASCADE_OK) {
            status = store_write_pending(store);
        }
        if (status == CASCADE_OK && store_now(store) >= deadline_ns) {
            status = error_set(CASCADE_TIMEOUT,
                               "the deadline passed before everything was "
                               "written; what was written stays");
        }
    }
    return status;
}

// Bindings of before `start` that segments lack after all: what was written
// first had to go again for what came after it.
static uint64_t
count_unwritten(struct cascade *store, struct block_version start)
{
    struct store_writer *writer = store->writer;
    uint64_t cursor = 0;
    uint64_t unwritten = 0;
    size_t count = 1;

    while (count > 0) {
        count = directory_scan(store->directory, &cursor, DIRECTORY_DIRTY,
                               writer->found, STORE_WRITE_BATCH, NULL, 0, NULL);
        for (size_t i = 0; i < count; i++) {
            const struct directory_found *found = &writer->found[i];

            unwritten += block_version_compare(found->version, start) < 0 &&
                         is_ours(found);
        }
    }
    return unwritten;
}

enum cascade_status
store_write_bindings(struct cascade *store, uint64_t deadline_ns)
{
    uint64_t seen = 0;

    return walk_dirty(store, store_add_bind, deadline_ns, &seen);
}

enum cascade_status
store_write_all(struct cascade *store, uint64_t deadline_ns, uint64_t *left)
{
    struct block_version start = directory_next_version(store->directory);
    enum cascade_status status;
    uint64_t seen = 1;

    store->writer->left = 0;
    store->writer->damaged = 0;
    status = store_write_clear(store);
    for (int round = 0; round < ROUNDS_MAX && status == CASCADE_OK && seen > 0;
         round++) {
        uint64_t bound = 0;

        seen = 0;
        status = walk_dirty(store, store_add_payload, deadline_ns, &seen);
        if (status == CASCADE_OK && seen > 0) {
            status = walk_dirty(store, store_add_bind, deadline_ns, &bound);
        }
    }
    if (status == CASCADE_OK && seen > 0) {
        store->writer->left = count_unwritten(store, start);
        if (store->writer->left > 0) {
            status = error_set(CASCADE_NO_SPACE,
                               "the cold tier (cold_capacity is %llu bytes) "
                               "cannot hold what is in memory; raise "
                               "cold_capacity",
                               (unsigned long long)store->cold_capacity_bytes);
        }
    }
    *left = status == CASCADE_OK ? 0 : store->writer->left;
    if (status == CASCADE_OK && store->writer->damaged > 0) {
        status = error_set(CASCADE_CORRUPT,
                           "%llu blocks were damaged in memory before they "
                           "were written and are forgotten; put them again",
                           (unsigned long long)store->writer->damaged);
    }
    return status;
}

enum cascade_status
store_flush_own(struct cascade *store, uint64_t deadline_ns)
{
    uint64_t begin_ns = store_now(store);
    uint64_t left = 0;
    enum cascade_status status;

    if (store->cold == NULL || store->settings.cold_look_only) {
        return CASCADE_OK;
    }
    status = store_cold_begin(store, deadline_ns);
    if (status == CASCADE_OK) {
        status = store_write_all(store, deadline_ns, &left);
        store_cold_end(store);
    }
    if (status != CASCADE_OK && left > 0) {
        char cause[ERROR_MESSAGE_BYTES];

        (void)snprintf(cause, sizeof(cause), "%s", error_message());
        status = error_set(status,
                           "%llu blocks did not reach the cold tier: "
                           "%.400s",
                           (unsigned long long)left, cause);
    }
    // Who reads the shared page next sees what the flush did.
    store_update_gauges(store);
    metric_count_operation(store->metrics, CASCADE_OPERATION_FLUSH, status);
    metric_observe_ns(store->metrics, METRIC_FLUSH_SECONDS,
                      store_now(store) - begin_ns);
    return status;
}

enum cascade_status
store_flush(struct cascade *store, uint64_t deadline_ns)
{
    if (store->cluster != NULL && store->cold != NULL) {
        return store_cluster_flush(store, deadline_ns);
    }
    return store_flush_own(store, deadline_ns);
}
