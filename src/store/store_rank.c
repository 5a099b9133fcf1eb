// SPDX-License-Identifier: Apache-2.0
//
// The public calls about ranks: who am I, how many are there, wait for all, and
// the sum of what all have counted.

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
