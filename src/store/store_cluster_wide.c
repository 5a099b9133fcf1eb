// SPDX-License-Identifier: Apache-2.0
//
// What concerns all ranks or the home of a key: remove, protection, clear,
// flush. No collective: one rank asks, the others answer by themselves. What a
// rank does for another waits for no third.

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define ROUNDS_MAX 8

static const struct block_version highest_version = {UINT64_MAX, UINT64_MAX};

// To the home of a key, which answers with a status alone.
static enum cascade_status
ask_home(struct store_cluster *cluster, const struct block_key *key,
         uint8_t subject, const void *data, size_t bytes, uint64_t deadline_ns)
{
    uint8_t reply[64];
    struct fabric_call call = {
        .to = store_cluster_key_home(cluster, key),
        .subject = subject,
        .data = data,
        .bytes = bytes,
        .reply = reply,
        .reply_room = sizeof(reply),
        .deadline_ns = deadline_ns,
    };
    enum cascade_status status = fabric_port_ask(cluster->port, &call);

    if (status == CASCADE_TIMEOUT || status == CASCADE_CLOSED) {
        return error_set(status,
                         "rank %u, the home of the key, did not answer (%s); "
                         "whether it happened is unknown",
                         (unsigned)call.to, cascade_status_name(status));
    }
    return status;
}

enum cascade_status
store_cluster_remove(struct cascade *store, const struct block_key *key,
                     uint64_t deadline_ns)
{
    struct directory_message_remove request = {.key = *key};

    directory_leases_drop(store->cluster->leases, key, highest_version);
    return ask_home(store->cluster, key, DIRECTORY_SUBJECT_REMOVE, &request,
                    sizeof(request), deadline_ns);
}

enum cascade_status
store_cluster_protect(struct cascade *store, const struct block_key *key,
                      bool protect, uint64_t deadline_ns)
{
    struct directory_message_protect request = {
        .key = *key,
        .flags = protect ? DIRECTORY_MESSAGE_PROTECTED : 0,
    };
    enum cascade_status status = CASCADE_STALE;

    for (int round = 0; round < ROUNDS_MAX && status == CASCADE_STALE;
         round++) {
        status = ask_home(store->cluster, key, DIRECTORY_SUBJECT_PROTECT,
                          &request, sizeof(request), deadline_ns);
    }
    if (status == CASCADE_NO_SPACE) {
        status = error_set(status,
                           "the budget of protected blocks of the rank that "
                           "keeps it is used up; raise prefix_fraction_max or "
                           "unprotect others");
    }
    return status;
}

// --- clear

static void
hear_version(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct block_version version = directory_next_version(
        cluster->store->directory);

    fabric_port_answer(cluster->port, message->answer, CASCADE_OK, &version,
                       sizeof(version));
}

static void
hear_clear(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct cascade *store = cluster->store;
    struct block_version version;

    if (message->bytes != sizeof(version)) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_INVALID,
                           NULL, 0);
        return;
    }
    memcpy(&version, message->data, sizeof(version));
    // The same again, or one that another followed: all of it is done.
    if (block_version_compare(version, cluster->cleared) > 0) {
        cluster->cleared = version;
        directory_leases_clear(cluster->leases, version);
        directory_home_clear(cluster->home, version);
        directory_clear_below(store->directory, version, store_free_cleared,
                              store);
        store_note_clear(store, version);
        store_cluster_registry_clear(cluster, version);
    }
    fabric_port_answer(cluster->port, message->answer, CASCADE_OK, NULL, 0);
}

void
store_cluster_clear_again(struct store_cluster *cluster)
{
    for (; cluster->clear_next < cluster->rank_count; cluster->clear_next++) {
        if (cluster->clear_next != cluster->rank &&
            fabric_port_tell(cluster->port, cluster->clear_next,
                             DIRECTORY_SUBJECT_CLEAR, &cluster->cleared,
                             sizeof(cluster->cleared)) == CASCADE_BUSY) {
            return;
        }
    }
}

void
store_cluster_wide_lost(struct store_cluster *cluster, uint16_t rank)
{
    (void)rank;
    if (!block_version_is_zero(cluster->cleared)) {
        cluster->clear_next = 0;
        store_cluster_clear_again(cluster);
    }
}

enum cascade_status
store_cluster_clear(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    struct block_version *versions = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*versions));
    struct block_version highest;
    enum cascade_status status;

    if (versions == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to ask all ranks");
    }
    status = store_cluster_ask_all(cluster, DIRECTORY_SUBJECT_VERSION, NULL, 0,
                                   versions, sizeof(*versions), deadline_ns,
                                   "clear");
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK; r++) {
        directory_see_version(store->directory, versions[r]);
    }
    allocator_release(cluster->allocator, versions);
    if (status == CASCADE_OK) {
        highest = directory_next_version(store->directory);
        status = store_cluster_ask_all(cluster, DIRECTORY_SUBJECT_CLEAR,
                                       &highest, sizeof(highest), NULL, 0,
                                       deadline_ns, "clear");
    }
    return status;
}

// --- flush

struct flushing {
    struct store_settling settling;
    struct store_cluster *cluster;
    struct fabric_answer answer;
};

static void
run_flush(void *context)
{
    struct flushing *flushing = context;
    struct store_cluster *cluster = flushing->cluster;
    enum cascade_status status = store_flush_own(
        cluster->store, flushing->settling.deadline_ns);

    fabric_port_answer(cluster->port, flushing->answer, status, NULL, 0);
    allocator_release(cluster->allocator, flushing);
}

// Of every put of this rank it is known whether it counts.
static void
flush_settled(struct store_settling *settling, enum cascade_status status)
{
    struct flushing *flushing = (struct flushing *)settling;
    struct store_cluster *cluster = flushing->cluster;

    if (status == CASCADE_OK) {
        status = store_cluster_work(cluster, run_flush, flushing);
    }
    if (status != CASCADE_OK) {
        fabric_port_answer(cluster->port, flushing->answer, status, NULL, 0);
        allocator_release(cluster->allocator, flushing);
    }
}

static void
hear_flush(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    uint64_t timeout_ns;
    struct flushing *flushing;

    if (message->bytes != sizeof(timeout_ns)) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_INVALID,
                           NULL, 0);
        return;
    }
    memcpy(&timeout_ns, message->data, sizeof(timeout_ns));
    flushing = allocator_array(cluster->allocator, 1, sizeof(*flushing));
    if (flushing == NULL) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_NO_MEMORY,
                           NULL, 0);
        return;
    }
    flushing->cluster = cluster;
    flushing->answer = message->answer;
    flushing->settling.ended = flush_settled;
    flushing->settling.deadline_ns = clock_deadline_ns(
        cluster->store->around.clock, timeout_ns);
    store_cluster_settle_begin(cluster, &flushing->settling);
}

enum cascade_status
store_cluster_flush(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    uint64_t now_ns = store_now(store);
    uint64_t timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    return store_cluster_ask_all(cluster, STORE_SUBJECT_FLUSH, &timeout_ns,
                                 sizeof(timeout_ns), NULL, 0, deadline_ns,
                                 "flush");
}

enum cascade_status
store_cluster_flush_at(struct cascade *store, uint16_t rank,
                       uint64_t deadline_ns)
{
    uint64_t now_ns = store_now(store);
    uint64_t timeout_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    return store_cluster_ask(store->cluster, rank, STORE_SUBJECT_FLUSH,
                             &timeout_ns, sizeof(timeout_ns), NULL, 0,
                             deadline_ns);
}

// --- statistics

static void
hear_stats(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct cascade_stats stats;
    enum cascade_status status;

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    status = cascade_stats_read(cluster->store, &stats);
    fabric_port_answer(cluster->port, message->answer, status, &stats,
                       sizeof(stats));
}

// All fields but the first two are counts.
static void
add_stats(struct cascade_stats *sum, const struct cascade_stats *one)
{
    const size_t first = offsetof(struct cascade_stats, puts);
    uint64_t *to = (uint64_t *)((uint8_t *)sum + first);
    const uint64_t *from = (const uint64_t *)((const uint8_t *)one + first);

    for (size_t i = 0; i < (sizeof(*sum) - first) / sizeof(uint64_t); i++) {
        to[i] += from[i];
    }
}

enum cascade_status
store_cluster_stats(struct cascade *store, uint64_t deadline_ns,
                    struct cascade_stats *sum)
{
    struct store_cluster *cluster = store->cluster;
    struct cascade_stats *all = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*all));
    enum cascade_status status;

    if (all == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to ask all ranks");
    }
    status = store_cluster_ask_all(cluster, STORE_SUBJECT_STATS, NULL, 0, all,
                                   sizeof(*all), deadline_ns, "statistics");
    if (status == CASCADE_OK) {
        memset(sum, 0, sizeof(*sum));
        sum->size = sizeof(*sum);
        for (uint16_t r = 0; r < cluster->rank_count; r++) {
            add_stats(sum, &all[r]);
        }
    }
    allocator_release(cluster->allocator, all);
    return status;
}

void
store_cluster_wide(struct store_cluster *cluster)
{
    cluster->clear_next = cluster->rank_count;
    fabric_port_handle(cluster->port, DIRECTORY_SUBJECT_VERSION, hear_version,
                       cluster);
    fabric_port_handle(cluster->port, DIRECTORY_SUBJECT_CLEAR, hear_clear,
                       cluster);
    fabric_port_handle(cluster->port, STORE_SUBJECT_FLUSH, hear_flush, cluster);
    fabric_port_handle(cluster->port, STORE_SUBJECT_STATS, hear_stats, cluster);
}
