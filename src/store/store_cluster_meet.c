// SPDX-License-Identifier: Apache-2.0
//
// What ranks tell each other at open: that they fit together, what their
// segments hold, and which bindings are theirs. Two rounds of questions and one
// barrier; docs/DIRECTORY_PROTOCOL.md, Open.

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "cascade/version.h"
#include "store/store_cluster.h"

#define WIRE_FORMAT 1

// What ranks tell each other first: everything that must be the same, and how
// to reach memory.
struct hello {
    char release[32];
    uint8_t namespace_digest[32];
    uint32_t wire_format;
    uint32_t dedup;
    uint32_t rebind;
    uint32_t has_cold;
    char namespace_name[64]; // its beginning, for messages
    struct fabric_node_address node;
};

struct loaded {
    struct block_version highest;
    struct block_version clear;
};

static void
describe_self(const struct store_cluster *cluster, struct hello *hello)
{
    const struct store_settings *settings = &cluster->store->settings;
    struct block_key digest;

    memset(hello, 0, sizeof(*hello));
    (void)snprintf(hello->release, sizeof(hello->release), "%s",
                   CASCADE_VERSION_STRING);
    block_key_of(settings->namespace_name, "hello", 5, &digest);
    memcpy(hello->namespace_digest, digest.bytes, sizeof(digest.bytes));
    (void)snprintf(hello->namespace_name, sizeof(hello->namespace_name),
                   "%.60s", settings->namespace_name);
    hello->wire_format = WIRE_FORMAT;
    hello->dedup = settings->dedup;
    hello->rebind = settings->rebind;
    hello->has_cold = settings->cold_path[0] != '\0';
    if (cluster->node != NULL) {
        fabric_node_own_address(cluster->node, &hello->node);
    }
}

// What does not fit, as a sentence naming both sides; or OK.
static enum cascade_status
compare_hello(uint16_t rank, const struct hello *own, uint16_t other,
              const struct hello *theirs)
{
    if (theirs->wire_format != own->wire_format) {
        return error_set(CASCADE_VERSION,
                         "rank %u speaks format %u (release %.32s), rank %u "
                         "format %u (release %.32s); run one release",
                         (unsigned)other, theirs->wire_format, theirs->release,
                         (unsigned)rank, own->wire_format, own->release);
    }
    if (memcmp(theirs->namespace_digest, own->namespace_digest,
               sizeof(own->namespace_digest)) != 0) {
        return error_set(CASCADE_INVALID,
                         "rank %u has namespace %.64s, rank %u %.64s; give all "
                         "ranks of a job the same",
                         (unsigned)other, theirs->namespace_name,
                         (unsigned)rank, own->namespace_name);
    }
    if (theirs->dedup != own->dedup || theirs->rebind != own->rebind ||
        theirs->has_cold != own->has_cold) {
        return error_set(CASCADE_INVALID,
                         "rank %u and rank %u differ in %s; give all ranks of "
                         "a job the same",
                         (unsigned)other, (unsigned)rank,
                         theirs->dedup != own->dedup     ? "dedup"
                         : theirs->rebind != own->rebind ? "rebind"
                                                         : "cold_path");
    }
    return CASCADE_OK;
}

static void
hear_hello(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct hello own;

    describe_self(cluster, &own);
    fabric_port_answer(cluster->port, message->answer, CASCADE_OK, &own,
                       sizeof(own));
}

// --- loaded

static void
tell_loaded(struct store_cluster *cluster, struct fabric_answer answer)
{
    struct cascade *store = cluster->store;
    struct loaded own = {
        .highest = directory_next_version(store->directory),
        .clear = store->clear_version,
    };

    fabric_port_answer(cluster->port, answer, CASCADE_OK, &own, sizeof(own));
}

// Answered when this rank has loaded.
static void
hear_loaded(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;

    if (cluster->loaded) {
        tell_loaded(cluster, message->answer);
    } else if (cluster->waiting_count < cluster->rank_count) {
        cluster->waiting_for_load[cluster->waiting_count++] = message->answer;
    } else {
        fabric_port_answer(cluster->port, message->answer, CASCADE_BUSY, NULL,
                           0);
    }
}

static void
note_loaded(struct fabric_post *post)
{
    struct store_cluster *cluster = post->context;

    cluster->loaded = true;
    for (size_t i = 0; i < cluster->waiting_count; i++) {
        tell_loaded(cluster, cluster->waiting_for_load[i]);
    }
    cluster->waiting_count = 0;
}

enum cascade_status
store_cluster_greet(struct store_cluster *cluster, uint64_t deadline_ns)
{
    struct hello *hellos = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*hellos));
    struct hello own;
    bool all_near = true;
    enum cascade_status status;

    if (hellos == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to meet other ranks");
    }
    describe_self(cluster, &own);
    status = store_cluster_ask_all(cluster, STORE_SUBJECT_HELLO, NULL, 0,
                                   hellos, sizeof(*hellos), deadline_ns,
                                   "the greeting");
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK; r++) {
        status = compare_hello(cluster->rank, &own, r, &hellos[r]);
        if (status == CASCADE_OK && r != cluster->rank) {
            all_near = cluster->node != NULL &&
                       fabric_node_meet(cluster->node, r, &hellos[r].node) &&
                       all_near;
        }
    }
    if (status == CASCADE_OK) {
        fabric_port_all_ring(cluster->port, all_near);
    }
    allocator_release(cluster->allocator, hellos);
    return status;
}

static enum cascade_status
share_loaded(struct store_cluster *cluster, uint64_t deadline_ns)
{
    struct cascade *store = cluster->store;
    struct loaded *all = allocator_array(cluster->allocator,
                                         cluster->rank_count, sizeof(*all));
    struct fabric_post post = {.run = note_loaded, .context = cluster};
    struct block_version clear = store->clear_version;
    enum cascade_status status;

    if (all == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to meet other ranks");
    }
    // Runs before the question to oneself, which is queued behind it.
    fabric_port_post(cluster->port, &post);
    status = store_cluster_ask_all(cluster, STORE_SUBJECT_LOADED, NULL, 0, all,
                                   sizeof(*all), deadline_ns, "loading");
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK; r++) {
        directory_see_version(store->directory, all[r].highest);
        if (block_version_compare(all[r].clear, clear) > 0) {
            clear = all[r].clear;
        }
    }
    if (status == CASCADE_OK &&
        block_version_compare(clear, store->clear_version) > 0) {
        directory_clear_below(store->directory, clear, store_free_cleared,
                              store);
    }
    allocator_release(cluster->allocator, all);
    return status;
}

// --- announce

#define ANNOUNCE_MAX 256

struct announce {
    struct directory_message_count head;
    struct directory_message_announce entries[ANNOUNCE_MAX];
};

static void
fill_announce(const struct directory_found *found,
              struct directory_message_announce *entry)
{
    memset(entry, 0, sizeof(*entry));
    entry->key = found->key;
    entry->id = found->id;
    entry->version = found->version;
    entry->bytes = found->bytes;
    if ((found->flags & DIRECTORY_REMOVED) != 0) {
        entry->flags |= DIRECTORY_MESSAGE_REMOVED;
    }
    if ((found->flags & DIRECTORY_PROTECTED) != 0) {
        entry->flags |= DIRECTORY_MESSAGE_PROTECTED;
    }
    if ((found->flags & DIRECTORY_SURROGATE) != 0) {
        entry->flags |= DIRECTORY_MESSAGE_SURROGATE;
    }
}

static enum cascade_status
announce_one_home(struct store_cluster *cluster, uint16_t home,
                  struct announce *announce, uint64_t deadline_ns)
{
    enum cascade_status status = CASCADE_OK;

    if (announce->head.count > 0) {
        status = store_cluster_ask(
            cluster, home, DIRECTORY_SUBJECT_ANNOUNCE, announce,
            sizeof(announce->head) +
                announce->head.count * sizeof(announce->entries[0]),
            NULL, 0, deadline_ns);
        announce->head.count = 0;
    }
    return status;
}

// Walks the catalogue once for each home: messages are full then, and memory is
// that of one.
static enum cascade_status
announce_to(struct store_cluster *cluster, uint16_t home,
            struct announce *announce, struct directory_found *found,
            uint64_t deadline_ns)
{
    uint64_t cursor = 0;
    size_t count = 1;
    enum cascade_status status = CASCADE_OK;

    announce->head.count = 0;
    while (count > 0 && status == CASCADE_OK) {
        count = directory_scan(cluster->store->directory, &cursor, 0, found,
                               ANNOUNCE_MAX, NULL, 0, NULL);
        for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
            if (store_cluster_key_home(cluster, &found[i].key) != home) {
                continue;
            }
            if (announce->head.count == ANNOUNCE_MAX) {
                status = announce_one_home(cluster, home, announce,
                                           deadline_ns);
            }
            fill_announce(&found[i],
                          &announce->entries[announce->head.count++]);
            if ((found[i].flags & DIRECTORY_REMOVED) == 0) {
                store_cluster_copy_here(cluster, &found[i].id);
            }
        }
    }
    return status == CASCADE_OK
               ? announce_one_home(cluster, home, announce, deadline_ns)
               : status;
}

static enum cascade_status
announce_all(struct store_cluster *cluster, uint64_t deadline_ns)
{
    struct announce *announce = allocator_array(cluster->allocator, 1,
                                                sizeof(*announce));
    struct directory_found *found = allocator_array(
        cluster->allocator, ANNOUNCE_MAX, sizeof(*found));
    struct directory_usage usage;
    enum cascade_status status = CASCADE_OK;

    if (announce == NULL || found == NULL) {
        status = error_set(CASCADE_NO_MEMORY,
                           "no memory to announce what segments hold");
    }
    directory_usage(cluster->store->directory, &usage);
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK &&
                         usage.keys + usage.removals > 0;
         r++) {
        status = announce_to(cluster, r, announce, found, deadline_ns);
    }
    allocator_release(cluster->allocator, found);
    allocator_release(cluster->allocator, announce);
    return status;
}

enum cascade_status
store_cluster_announce(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    enum cascade_status status = share_loaded(cluster, deadline_ns);

    if (status == CASCADE_OK) {
        atomic_store(&cluster->serving, true);
        status = announce_all(cluster, deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = store_cluster_registry_sync(store, deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = fabric_port_barrier(cluster->port, deadline_ns);
    }
    return status;
}

enum cascade_status
store_cluster_announce_key(struct cascade *store, const struct block_key *key,
                           uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    struct {
        struct directory_message_count head;
        struct directory_message_announce entry;
    } message = {.head = {.count = 1}};
    struct directory_found found;
    struct directory_found content;
    enum cascade_status status = directory_find_binding(store->directory, key,
                                                        &found);

    if (status != CASCADE_OK || (found.flags & DIRECTORY_GUEST) != 0) {
        return CASCADE_OK; // it went meanwhile
    }
    if (directory_find_content(store->directory, &found.id, &content) ==
        CASCADE_OK) {
        found.bytes = content.bytes;
    }
    found.key = *key;
    fill_announce(&found, &message.entry);
    status = store_cluster_ask(cluster, store_cluster_key_home(cluster, key),
                               DIRECTORY_SUBJECT_ANNOUNCE, &message,
                               sizeof(message), NULL, 0, deadline_ns);
    if (status == CASCADE_OK && (found.flags & DIRECTORY_REMOVED) == 0) {
        store_cluster_copy_here(cluster, &found.id);
    }
    return status;
}

void
store_cluster_greetings(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_HELLO, hear_hello, cluster);
    fabric_port_handle(cluster->port, STORE_SUBJECT_LOADED, hear_loaded,
                       cluster);
}
