// SPDX-License-Identifier: Apache-2.0
//
// What homes and peers ask of a rank that holds copies: end a binding, adopt or
// renew one, pin a copy. Handlers run on the engine thread, in the order of
// messages; what may read the disk is done by the workers for peers, and waits
// for no other rank.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// How long a load for a peer may take.
#define WORK_NS (30 * NS_PER_S)

enum cascade_status
store_cluster_work(struct store_cluster *cluster, pool_job *job, void *context)
{
    if (cluster->workers == NULL) {
        job(context);
        return CASCADE_OK;
    }
    return pool_submit(cluster->workers, job, context);
}

static void
answer_plain(struct store_cluster *cluster,
             const struct fabric_message *message, enum cascade_status status)
{
    if (message->answer.ticket != 0) {
        fabric_port_answer(cluster->port, message->answer, status, NULL, 0);
    }
}

// --- recall

static void
hear_recall(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct cascade *store = cluster->store;
    struct directory_message_recall recall;
    struct directory_freed freed;

    if (message->bytes != sizeof(recall)) {
        answer_plain(cluster, message, CASCADE_INVALID);
        return;
    }
    memcpy(&recall, message->data, sizeof(recall));
    directory_leases_drop(cluster->leases, &recall.key, recall.below);
    directory_end(store->directory, &recall.key, recall.below,
                  (recall.flags & DIRECTORY_MESSAGE_KEEP_REMOVAL) != 0, &freed);
    store_free(store, &freed);
    answer_plain(cluster, message, CASCADE_OK);
}

// --- adopt

static enum cascade_status
adopt(struct cascade *store, const struct directory_message_adopt *adopt)
{
    struct directory_bind bind = {
        .key = adopt->key,
        .id = adopt->id,
        .version = adopt->version,
        .flags = DIRECTORY_BIND_GUEST | DIRECTORY_BIND_EXACT,
    };
    struct directory_bound bound;
    enum cascade_status status;

    if (!directory_has_copy(store->directory, &adopt->id)) {
        return CASCADE_NOT_FOUND;
    }
    directory_see_version(store->directory, adopt->version);
    if ((adopt->flags & DIRECTORY_MESSAGE_SURROGATE) != 0) {
        bind.flags |= DIRECTORY_BIND_SURROGATE;
    }
    if ((adopt->flags & DIRECTORY_MESSAGE_PROTECTED) != 0) {
        bind.flags |= DIRECTORY_BIND_PROTECT;
    }
    status = directory_confirm(store->directory, &adopt->key, adopt->version);
    if (status == CASCADE_OK) {
        return status;
    }
    memset(&bound, 0, sizeof(bound));
    status = directory_bind(store->directory, &bind, &bound);
    if (status == CASCADE_OK) {
        store_free(store, &bound.freed);
        status = directory_confirm(store->directory, &adopt->key,
                                   adopt->version);
    }
    return status == CASCADE_OK ? CASCADE_OK : CASCADE_NOT_FOUND;
}

// The guest had no protection. Where the budget refuses it, the block is better
// kept without than not at all.
static void
protect_adopted(struct cascade *store,
                const struct directory_message_adopt *adopt)
{
    struct directory_found found;
    enum cascade_status status = CASCADE_OK;

    if ((adopt->flags & DIRECTORY_MESSAGE_PROTECTED) != 0) {
        status = directory_renew(store->directory, &adopt->key, adopt->version,
                                 adopt->version, true, &found);
        store_mark_protection(store, &adopt->id);
    }
    if (status == CASCADE_NO_SPACE) {
        metric_add(store->metrics, METRIC_PROTECTIONS_REFUSED_TOTAL, 1);
    }
}

static void
hear_adopt(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct directory_message_adopt said;
    enum cascade_status status;

    if (message->bytes != sizeof(said)) {
        answer_plain(cluster, message, CASCADE_INVALID);
        return;
    }
    memcpy(&said, message->data, sizeof(said));
    status = adopt(cluster->store, &said);
    if (status == CASCADE_OK) {
        protect_adopted(cluster->store, &said);
    }
    answer_plain(cluster, message, status);
}

// --- renew

struct renewal {
    struct store_cluster *cluster;
    struct fabric_answer answer;
    struct directory_message_renew renew;
};

// In memory and pinned; NOT_FOUND without bytes.
static enum cascade_status
pin_content(struct cascade *store, const struct block_id *id,
            struct tier_pin *pin)
{
    uint64_t deadline_ns = store_now(store) + WORK_NS;
    enum cascade_status status = CASCADE_STALE;

    for (int round = 0; round < 8 && status == CASCADE_STALE; round++) {
        struct directory_found found;

        if (directory_find_content(store->directory, id, &found) !=
            CASCADE_OK) {
            return CASCADE_NOT_FOUND;
        }
        if (block_place_is_set(&found.memory)) {
            status = tier_dram_table.pin(store->dram, &found.memory, pin);
        } else if (block_place_is_set(&found.cold)) {
            status = store_load(store, &found, deadline_ns, true, NULL, pin);
        } else {
            return CASCADE_NOT_FOUND;
        }
        if (status == CASCADE_CORRUPT) {
            status = CASCADE_STALE; // another place may do
        }
    }
    return status == CASCADE_STALE ? CASCADE_NOT_FOUND : status;
}

static enum cascade_status
renew(struct cascade *store, const struct directory_message_renew *said)
{
    bool protect = (said->flags & DIRECTORY_MESSAGE_PROTECTED) != 0;
    struct directory_found binding;
    struct directory_found found;
    struct tier_pin pin;
    enum cascade_status status;

    if (directory_find_binding(store->directory, &said->key, &binding) !=
            CASCADE_OK ||
        (binding.flags & DIRECTORY_REMOVED) != 0) {
        return CASCADE_NOT_FOUND;
    }
    // The home has it as this rank's, so a name that waits for its word has it.
    if ((binding.flags & DIRECTORY_GUEST) != 0 &&
        directory_confirm(store->directory, &said->key, said->version) !=
            CASCADE_OK) {
        return CASCADE_NOT_FOUND;
    }
    if (!protect) {
        status = directory_renew(store->directory, &said->key, said->version,
                                 said->renewed, false, &found);
    } else {
        status = pin_content(store, &binding.id, &pin);
        if (status == CASCADE_OK) {
            status = directory_renew(store->directory, &said->key,
                                     said->version, said->renewed, true,
                                     &found);
            tier_dram_table.unpin(store->dram, &pin);
        }
    }
    if (status == CASCADE_OK) {
        store_mark_protection(store, &binding.id);
    } else if (status == CASCADE_NO_SPACE) {
        metric_add(store->metrics, METRIC_PROTECTIONS_REFUSED_TOTAL, 1);
    }
    return status;
}

static void
run_renewal(void *context)
{
    struct renewal *renewal = context;
    struct store_cluster *cluster = renewal->cluster;
    enum cascade_status status = renew(cluster->store, &renewal->renew);

    fabric_port_answer(cluster->port, renewal->answer, status, NULL, 0);
    allocator_release(cluster->allocator, renewal);
}

static void
hear_renew(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct renewal *renewal;
    enum cascade_status status;

    if (message->bytes != sizeof(renewal->renew)) {
        answer_plain(cluster, message, CASCADE_INVALID);
        return;
    }
    renewal = allocator_array(cluster->allocator, 1, sizeof(*renewal));
    if (renewal == NULL) {
        answer_plain(cluster, message, CASCADE_NO_MEMORY);
        return;
    }
    renewal->cluster = cluster;
    renewal->answer = message->answer;
    memcpy(&renewal->renew, message->data, sizeof(renewal->renew));
    status = store_cluster_work(cluster, run_renewal, renewal);
    if (status != CASCADE_OK) {
        allocator_release(cluster->allocator, renewal);
        answer_plain(cluster, message, status);
    }
}

// --- the owner's side of remote reads

struct grant {
    struct store_cluster *cluster;
    struct tier_remote_ask *ask;
};

static void
run_grant(void *context)
{
    struct grant *grant = context;
    struct store_cluster *cluster = grant->cluster;
    struct tier_remote_ask *ask = grant->ask;
    struct tier_pin pin;
    enum cascade_status status = pin_content(cluster->store, &ask->id, &pin);

    allocator_release(cluster->allocator, grant);
    if (status == CASCADE_OK) {
        store_touch(cluster->store, &pin.place);
    }
    ask->granted(ask, status, status == CASCADE_OK ? &pin : NULL);
}

void
store_cluster_grant(void *context, struct tier_remote_ask *ask)
{
    struct store_cluster *cluster = context;
    struct cascade *store = cluster->store;
    struct directory_found found;
    struct grant *grant;
    struct tier_pin pin;
    enum cascade_status status = directory_find_content(store->directory,
                                                        &ask->id, &found);

    if (status == CASCADE_OK && block_place_is_set(&found.memory) &&
        tier_dram_table.pin(store->dram, &found.memory, &pin) == CASCADE_OK) {
        store_touch(store, &pin.place);
        ask->granted(ask, CASCADE_OK, &pin);
        return;
    }
    if (status != CASCADE_OK) {
        ask->granted(ask, CASCADE_NOT_FOUND, NULL);
        return;
    }
    grant = allocator_array(cluster->allocator, 1, sizeof(*grant));
    if (grant == NULL) {
        ask->granted(ask, CASCADE_NO_MEMORY, NULL);
        return;
    }
    grant->cluster = cluster;
    grant->ask = ask;
    status = store_cluster_work(cluster, run_grant, grant);
    if (status != CASCADE_OK) {
        allocator_release(cluster->allocator, grant);
        ask->granted(ask, status, NULL);
    }
}

void
store_cluster_touched(void *context, const uint32_t *slots, size_t count)
{
    struct store_cluster *cluster = context;

    for (size_t i = 0; i < count; i++) {
        struct block_place place = {
            .tier = CASCADE_TIER_LOCAL_DRAM,
            .slot = slots[i],
        };

        if (slots[i] < cluster->store->slots) {
            store_touch(cluster->store, &place);
        }
    }
}

// --- damage

struct damage {
    struct store_cluster *cluster;
    struct block_id id;
    struct block_place place;
};

// Believed only if it is seen here too: the link may be at fault.
static void
run_damage(void *context)
{
    struct damage *damage = context;
    struct store_cluster *cluster = damage->cluster;
    struct cascade *store = cluster->store;
    struct directory_found found;
    struct tier_pin pin;

    if (directory_find_content(store->directory, &damage->id, &found) ==
            CASCADE_OK &&
        found.memory.slot == damage->place.slot &&
        found.memory.generation == damage->place.generation &&
        tier_dram_table.pin(store->dram, &found.memory, &pin) == CASCADE_OK) {
        bool is_bad = block_digest_checksum(store->pool, pin.memory,
                                            pin.place.bytes,
                                            NULL) != pin.place.checksum;

        tier_dram_table.unpin(store->dram, &pin);
        if (is_bad) {
            store_memory_damaged(store, &found);
        }
    }
    allocator_release(cluster->allocator, damage);
}

void
store_cluster_damaged(void *context, const struct block_id *id,
                      const struct block_place *place)
{
    struct store_cluster *cluster = context;
    struct damage *damage = allocator_array(cluster->allocator, 1,
                                            sizeof(*damage));

    if (damage == NULL) {
        return;
    }
    damage->cluster = cluster;
    damage->id = *id;
    damage->place = *place;
    if (store_cluster_work(cluster, run_damage, damage) != CASCADE_OK) {
        allocator_release(cluster->allocator, damage);
    }
}

void
store_cluster_hold(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, DIRECTORY_SUBJECT_RECALL, hear_recall,
                       cluster);
    fabric_port_handle(cluster->port, DIRECTORY_SUBJECT_ADOPT, hear_adopt,
                       cluster);
    fabric_port_handle(cluster->port, DIRECTORY_SUBJECT_RENEW, hear_renew,
                       cluster);
}
