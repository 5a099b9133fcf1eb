// SPDX-License-Identifier: Apache-2.0
//
// The public calls about ranks: who am I, how many are there, wait for all, the
// sum of what all have counted, and what all protect.

#include <string.h>

#include "base/error.h"
#include "store/store_cluster.h"

int32_t
cascade_rank(const struct cascade *store)
{
    return store != NULL && store->cluster != NULL ? store->cluster->rank : 0;
}

int32_t
cascade_rank_count(const struct cascade *store)
{
    return store != NULL && store->cluster != NULL ? store->cluster->rank_count
                                                   : 1;
}

enum cascade_status
cascade_barrier(struct cascade *store, const struct cascade_call *call)
{
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK && store->cluster != NULL) {
        status = fabric_port_barrier(
            store->cluster->port,
            store_deadline(store, call != NULL ? call->timeout_ns : 0));
    }
    return status;
}

enum cascade_status
cascade_sync(struct cascade *store, const struct cascade_call *call)
{
    enum cascade_status status = store_enter(store);
    uint64_t deadline_ns;

    if (status != CASCADE_OK || store->cluster == NULL) {
        return status;
    }
    deadline_ns = store_deadline(store, call != NULL ? call->timeout_ns : 0);
    status = store_cluster_settle(store, deadline_ns);
    return status == CASCADE_OK
               ? store_cluster_registry_sync(store, deadline_ns)
               : status;
}

// Passes on what is protected.
struct protected_only {
    bool (*visit)(void *context, const struct cascade_entry *entry);
    void *context;
};

static bool
visit_protected(void *context, const struct cascade_entry *entry)
{
    const struct protected_only *only = context;

    return !entry->protected_prefix || only->visit(only->context, entry);
}

enum cascade_status
cascade_list_protected(struct cascade *store, const struct cascade_call *call,
                       bool (*visit)(void *context,
                                     const struct cascade_entry *entry),
                       void *context)
{
    struct protected_only only = {.visit = visit, .context = context};
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK && visit == NULL) {
        status = error_set(CASCADE_INVALID, "the visitor is NULL");
    }
    if (status != CASCADE_OK) {
        return status;
    }
    return store->cluster != NULL
               ? store_cluster_list_protected(
                     store,
                     store_deadline(store, call != NULL ? call->timeout_ns : 0),
                     visit, context)
               : cascade_list(store, visit_protected, &only);
}

enum cascade_status
cascade_stats_read_all(struct cascade *store, const struct cascade_call *call,
                       struct cascade_stats *stats)
{
    struct cascade_stats sum;
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (store->cluster == NULL) {
        return cascade_stats_read(store, stats);
    }
    if (stats == NULL || stats->size < 2 * sizeof(uint32_t)) {
        return error_set(CASCADE_INVALID,
                         "the place for the statistics is NULL or has no size");
    }
    status = store_cluster_stats(
        store, store_deadline(store, call != NULL ? call->timeout_ns : 0),
        &sum);
    if (status == CASCADE_OK) {
        size_t bytes = stats->size < sizeof(sum) ? stats->size : sizeof(sum);
        uint32_t size = stats->size;

        memcpy(stats, &sum, bytes);
        stats->size = size;
    }
    return status;
}
