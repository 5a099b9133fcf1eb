// SPDX-License-Identifier: Apache-2.0
//
// The store joins its peers and leaves them: fabric, node, port, home, remote
// memory, in this order and back. And how one rank asks others and waits.

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/error.h"
#include "fabric/fabric_module.h"
#include "store/store_cluster.h"

#define BOUNCE_BYTES_MAX (64 * MIB)
#define PIN_LEASE_NS (10 * NS_PER_S)
#define TIDY_NS (NS_PER_S / 10)
#define WORKERS 2
#define WORK_MAX 4096

uint16_t
store_cluster_key_home(const struct store_cluster *cluster,
                       const struct block_key *key)
{
    return directory_home_rank(directory_shard_of_key(key),
                               cluster->rank_count);
}

uint16_t
store_cluster_id_home(const struct store_cluster *cluster,
                      const struct block_id *id)
{
    return directory_home_rank(directory_shard_of_id(id), cluster->rank_count);
}

enum cascade_status
store_cluster_ask(struct store_cluster *cluster, uint16_t to, uint8_t subject,
                  const void *data, size_t bytes, void *reply,
                  size_t reply_bytes, uint64_t deadline_ns)
{
    struct fabric_call call = {
        .to = to,
        .subject = subject,
        .data = data,
        .bytes = bytes,
        .reply = reply,
        .reply_room = reply_bytes,
        .deadline_ns = deadline_ns,
    };
    enum cascade_status status = fabric_port_ask(cluster->port, &call);

    if (status == CASCADE_OK && call.reply_bytes != reply_bytes) {
        return error_set(CASCADE_INVALID,
                         "rank %u answered with %zu bytes instead of %zu; are "
                         "all ranks of one release?",
                         (unsigned)to, call.reply_bytes, reply_bytes);
    }
    if (status == CASCADE_TIMEOUT || status == CASCADE_CLOSED) {
        return error_set(status,
                         status == CASCADE_TIMEOUT
                             ? "rank %u did not answer before the deadline"
                             : "rank %u is gone, or this store is closing",
                         (unsigned)to);
    }
    return status;
}

enum cascade_status
store_cluster_ask_all(struct store_cluster *cluster, uint8_t subject,
                      const void *data, size_t bytes, void *replies,
                      size_t reply_bytes, uint64_t deadline_ns,
                      const char *what)
{
    struct fabric_call *calls = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*calls));
    enum cascade_status status = CASCADE_OK;

    if (calls == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to ask all ranks");
    }
    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        calls[r].to = r;
        calls[r].subject = subject;
        calls[r].data = data;
        calls[r].bytes = bytes;
        if (reply_bytes > 0) {
            calls[r].reply = (uint8_t *)replies + (size_t)r * reply_bytes;
        }
        calls[r].reply_room = reply_bytes;
        calls[r].deadline_ns = deadline_ns;
        fabric_port_begin(cluster->port, &calls[r]);
    }
    fabric_port_wait(cluster->port, calls, cluster->rank_count);
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK; r++) {
        status = calls[r].status;
        if (status == CASCADE_OK && calls[r].reply_bytes != reply_bytes) {
            status = CASCADE_VERSION;
        }
        if (status != CASCADE_OK) {
            status = error_set(status, "%s did not succeed at rank %u (%s)",
                               what, (unsigned)r, cascade_status_name(status));
        }
    }
    allocator_release(cluster->allocator, calls);
    return status;
}

static void
tidy(struct fabric_timer *timer)
{
    struct store_cluster *cluster = timer->context;

    store_cluster_post(cluster); // what found no room before
    store_cluster_registry_turn(cluster);
    store_cluster_clear_again(cluster);
    store_cluster_settle_step(cluster);
    tier_remote_step(cluster->remote, store_now(cluster->store));
    fabric_port_arm(cluster->port, &cluster->tidy_timer, TIDY_NS);
}

static void
begin_tidying(struct fabric_post *post)
{
    struct store_cluster *cluster = post->context;

    fabric_port_arm(cluster->port, &cluster->tidy_timer, TIDY_NS);
}

static void
rank_lost(void *context, uint16_t rank)
{
    struct store_cluster *cluster = context;

    log_write(&cluster->store->log, LOG_LEVEL_WARNING,
              "rank %u is gone; what only it held is lost", (unsigned)rank);
    directory_home_lost(cluster->home, rank, store_now(cluster->store));
    tier_remote_lost(cluster->remote, rank);
    store_cluster_wide_lost(cluster, rank);
    store_cluster_registry_lost(cluster, rank);
    store_cluster_home_turn(cluster);
}

static void
ring_peer(void *context, uint16_t rank)
{
    fabric_node_ring(context, rank);
}

static enum cascade_status
open_port(struct store_cluster *cluster, const struct fabric *fabric)
{
    struct cascade *store = cluster->store;
    struct fabric_port_options options = {
        .allocator = cluster->allocator,
        .clock = store->around.clock,
        .log = &store->log,
        .fabric = *fabric,
    };

    if (cluster->node != NULL) {
        options.ring = ring_peer;
        options.ring_context = cluster->node;
        options.doorbell = fabric_node_doorbell(cluster->node);
    }
    return fabric_port_open(&options, &cluster->port);
}

static enum cascade_status
open_node(struct store_cluster *cluster)
{
    struct cascade *store = cluster->store;
    struct fabric_node_options options = {
        .allocator = cluster->allocator,
        .clock = store->around.clock,
        .log = &store->log,
        .job = cluster->job,
        .rank = cluster->rank,
        .rank_count = cluster->rank_count,
        .disabled = store->settings.rung > TIER_REMOTE_NEAR,
    };

    return fabric_node_open(&options, &cluster->node);
}

static enum cascade_status
open_cluster(struct store_cluster *cluster, const struct fabric *fabric,
             bool *taken)
{
    struct cascade *store = cluster->store;
    bool is_inline = (fabric->capabilities & FABRIC_INLINE) != 0;
    enum cascade_status status = CASCADE_OK;

    cluster->waiting_for_load = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(struct fabric_answer));
    if (cluster->waiting_for_load == NULL) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to meet other ranks");
    }
    if (status == CASCADE_OK && !is_inline) {
        status = open_node(cluster);
    }
    if (status == CASCADE_OK) {
        status = open_port(cluster, fabric);
        *taken = status == CASCADE_OK;
    }
    if (status == CASCADE_OK) {
        status = store_cluster_open_home(cluster);
    }
    if (status == CASCADE_OK) {
        status = store_cluster_registry_open(cluster);
    }
    if (status == CASCADE_OK) {
        status = store_cluster_spill_open(cluster);
    }
    if (status == CASCADE_OK) {
        status = store_cluster_adopt_open(cluster);
    }
    if (status == CASCADE_OK) {
        status = directory_leases_create(
            cluster->allocator, store->settings.max_blocks, &cluster->leases);
    }
    if (status == CASCADE_OK && !is_inline) {
        status = pool_create(cluster->allocator, "cascade-peer", WORKERS,
                             WORK_MAX, &cluster->workers);
    }
    return status;
}

// One-sided reads are tried where the other rungs may not be enough.
static enum fabric_windows
windows_wanted(const struct cascade *store)
{
    if (store->arena == NULL) {
        return FABRIC_WINDOWS_OFF;
    }
    switch ((enum tier_remote_rung)store->settings.rung) {
    case TIER_REMOTE_ANY:
        return FABRIC_WINDOWS_AUTO;
    case TIER_REMOTE_READ:
        return FABRIC_WINDOWS_ON;
    case TIER_REMOTE_NEAR:
    case TIER_REMOTE_FETCH:
        break;
    }
    return FABRIC_WINDOWS_OFF;
}

enum cascade_status
store_fabric(struct cascade *store, struct fabric *fabric)
{
    // In the order of enum store_fabric.
    static const char *const words[] = {"auto", "self", "mpi"};
    struct fabric_module_options options = {
        // MPI may outlive the store, and surroundings of tests do not.
        .allocator = allocator_system(),
        .clock = clock_system(),
        .log = &store->log,
        .windows = windows_wanted(store),
        .open_timeout_ns = store->settings.timeout_ns,
    };
    char reason[FABRIC_REASON_BYTES];
    enum cascade_status status = CASCADE_OK;

    if (store->arena != NULL) {
        options.memory = arena_memory(store->arena);
        options.memory_bytes = arena_bytes(store->arena);
    }
    memset(fabric, 0, sizeof(*fabric));
    if (store->around.fabric != NULL) {
        *fabric = *store->around.fabric;
    } else if (store->settings.fabric != STORE_FABRIC_SELF) {
        status = fabric_module_open(words[store->settings.fabric], &options,
                                    fabric, reason);
        log_write(&store->log, LOG_LEVEL_INFO, "fabric: %s", reason);
        if (status != CASCADE_OK) {
            status = error_set(status, "fabric = %s: %s",
                               words[store->settings.fabric], reason);
        }
    }
    if (status == CASCADE_OK && fabric->table != NULL &&
        fabric->rank_count == 1) {
        fabric->table->close(fabric->self);
        memset(fabric, 0, sizeof(*fabric));
    }
    return status;
}

enum cascade_status
store_cluster_open(struct cascade *store)
{
    struct fabric fabric;
    struct store_cluster *cluster;
    bool taken = false;
    enum cascade_status status = store_fabric(store, &fabric);

    if (status != CASCADE_OK || fabric.table == NULL) {
        return status;
    }
    if (store->settings.rung == TIER_REMOTE_READ &&
        (fabric.capabilities & FABRIC_READ) == 0) {
        fabric.table->close(fabric.self);
        return error_set(CASCADE_UNSUPPORTED,
                         "fabric_rung = read: this fabric has no one-sided "
                         "reads here; set fabric_rung=auto");
    }
    cluster = allocator_array(store->around.allocator, 1, sizeof(*cluster));
    if (cluster == NULL) {
        fabric.table->close(fabric.self);
        return error_set(CASCADE_NO_MEMORY, "no memory for many ranks");
    }
    cluster->store = store;
    cluster->allocator = store->around.allocator;
    cluster->rank = fabric.rank;
    cluster->rank_count = fabric.rank_count;
    cluster->job = fabric.job;
    cluster->capabilities = fabric.capabilities;
    check(pthread_mutex_init(&cluster->outbox_lock, NULL) == 0);
    check(pthread_mutex_init(&cluster->unconfirmed_lock, NULL) == 0);
    store->cluster = cluster;
    status = open_cluster(cluster, &fabric, &taken);
    if (status != CASCADE_OK && !taken) {
        fabric.table->close(fabric.self);
    }
    return status;
}

// What peers of the node may map.
static void
offer_memory(struct store_cluster *cluster)
{
    struct tier_dram *dram = cluster->store->dram;
    struct arena *arena;

    if (cluster->node == NULL || dram == NULL) {
        return;
    }
    arena = tier_dram_arena(dram);
    fabric_node_offer(cluster->node, FABRIC_NODE_ARENA, arena_file(arena),
                      arena_bytes(arena));
    fabric_node_offer(cluster->node, FABRIC_NODE_WORDS,
                      tier_dram_words_file(dram), tier_dram_words_bytes(dram));
}

static enum cascade_status
open_remote(struct store_cluster *cluster)
{
    struct cascade *store = cluster->store;
    struct tier_remote_options options = {
        .allocator = cluster->allocator,
        .clock = store->around.clock,
        .port = cluster->port,
        .capabilities = cluster->capabilities,
        .node = cluster->node,
        .dram = store->dram,
        .pool = store->pool,
        .subject = STORE_SUBJECT_REMOTE,
        .rung = store->settings.rung,
        .lease_ns = PIN_LEASE_NS,
        .bounce_bytes = units_max(
            TIER_REMOTE_BOUNCE_BYTES_MIN,
            units_min(store->dram_capacity_bytes / 4, BOUNCE_BYTES_MAX)),
        .damaged = store_cluster_damaged,
        .ask = store_cluster_grant,
        .touched = store_cluster_touched,
        .context = cluster,
    };

    return tier_remote_open(&options, &cluster->remote);
}

enum cascade_status
store_cluster_meet(struct cascade *store)
{
    struct store_cluster *cluster = store->cluster;
    enum cascade_status status;

    offer_memory(cluster);
    status = open_remote(cluster);
    if (status != CASCADE_OK) {
        return status;
    }
    store_cluster_home(cluster);
    store_cluster_greetings(cluster);
    fabric_port_watch(cluster->port, rank_lost, cluster);
    store_cluster_hold(cluster);
    store_cluster_installs(cluster);
    store_cluster_names(cluster);
    store_cluster_settles(cluster);
    store_cluster_wide(cluster);
    store_cluster_registry(cluster);
    store_cluster_list(cluster);
    store_cluster_spill(cluster);
    cluster->tidy_timer = (struct fabric_timer){.run = tidy,
                                                .context = cluster};
    status = fabric_port_start(cluster->port);
    if (status == CASCADE_OK) {
        cluster->start_post = (struct fabric_post){.run = begin_tidying,
                                                   .context = cluster};
        fabric_port_post(cluster->port, &cluster->start_post);
        status = store_cluster_greet(cluster, store_deadline(store, 0));
    }
    return status;
}

void
store_cluster_leave(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;

    if (cluster == NULL || !atomic_load(&cluster->serving)) {
        return;
    }
    if (fabric_port_barrier(cluster->port, deadline_ns) != CASCADE_OK) {
        log_write(&store->log, LOG_LEVEL_WARNING,
                  "not all ranks closed in time: %s", error_message());
    }
}

void
store_cluster_stop(struct cascade *store)
{
    struct store_cluster *cluster = store->cluster;

    if (cluster == NULL || cluster->port == NULL) {
        return;
    }
    if (cluster->workers != NULL) {
        pool_stop(cluster->workers);
    }
    fabric_port_stop(cluster->port);
    store_cluster_settle_stop(cluster);
    atomic_store(&cluster->serving, false);
    // Transfers end with the port, then pins with the tier.
    fabric_port_close(cluster->port);
    cluster->port = NULL;
    tier_remote_close(cluster->remote);
    cluster->remote = NULL;
}

void
store_cluster_close(struct cascade *store)
{
    struct store_cluster *cluster = store->cluster;
    const struct allocator *allocator = store->around.allocator;

    if (cluster == NULL) {
        return;
    }
    store_cluster_stop(store);
    pool_destroy(cluster->workers);
    fabric_node_close(cluster->node);
    directory_leases_destroy(cluster->leases);
    directory_home_destroy(cluster->home);
    store_cluster_adopt_close(cluster);
    store_cluster_spill_close(cluster);
    store_cluster_registry_close(cluster);
    allocator_release(allocator, cluster->outbox.gone);
    allocator_release(allocator, cluster->outbox.copies);
    allocator_release(allocator, cluster->waiting_for_load);
    (void)pthread_mutex_destroy(&cluster->unconfirmed_lock);
    (void)pthread_mutex_destroy(&cluster->outbox_lock);
    allocator_release(allocator, cluster);
    store->cluster = NULL;
}
