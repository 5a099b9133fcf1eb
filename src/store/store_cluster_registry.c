// SPDX-License-Identifier: Apache-2.0
//
// The list of protected keys of all ranks, as every rank has it. A home tells
// the changes of its keys to each rank, one message at a time, and the next one
// when that was answered: so a slow rank gets what is now instead of all that
// was. Whoever wants to know that its changes are known everywhere asks the
// homes, which answer when all live ranks have. Nothing rests on the list.
//
// Invariant: what is listed of a key is the last thing that its home told; keys
// come from one home, in order. What there is no room for is missing and counted:
// a home also tells how many protected keys it has.
// Engine thread, except the list of this rank, which list_lock guards, a leaf.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define KEYS_MAX (1u << 18)
#define TELL_MAX 256
#define WAITS_MAX 1024

struct told_key {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    uint32_t flags; // DIRECTORY_MESSAGE_PROTECTED or 0
    uint32_t zero;
};

struct tell {
    struct directory_message_count head;
    uint64_t protected_keys; // of this home
    struct told_key keys[TELL_MAX];
};

_Static_assert(sizeof(struct told_key) == 96, "no holes");
_Static_assert(sizeof(struct tell) <= FABRIC_PAYLOAD_BYTES_MAX, "too large");

// What another rank has been told.
struct listener {
    struct fabric_call call;
    struct store_cluster *cluster;
    uint64_t told;    // changes that it has answered
    uint64_t telling; // those it will have answered
    bool is_telling;
    bool is_lost;
};

// Wants to know when all have been told of that many changes.
struct wait {
    struct fabric_answer answer;
    uint64_t sequence;
};

struct store_cluster_registry {
    struct directory_registry *own; // keys whose home this rank is
    struct listener *listeners;     // by rank
    struct wait waits[WAITS_MAX];
    size_t wait_count;
    struct tell tell; // to be sent
    struct directory_registry_entry changes[TELL_MAX];

    pthread_mutex_t list_lock;
    struct directory_registry *list; // of all homes
    uint64_t *protected_keys;        // of each home, as it told last
};

// --- telling

// Up to where all live ranks have been told.
static uint64_t
told_to_all(const struct store_cluster *cluster)
{
    uint64_t told = UINT64_MAX;

    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        const struct listener *listener = &cluster->registry->listeners[r];

        if (!listener->is_lost) {
            told = units_min(told, listener->told);
        }
    }
    return told;
}

static void
answer_waits(struct store_cluster *cluster)
{
    struct store_cluster_registry *registry = cluster->registry;
    uint64_t told = told_to_all(cluster);
    size_t kept = 0;

    directory_registry_forget(registry->own, told);
    for (size_t i = 0; i < registry->wait_count; i++) {
        if (registry->waits[i].sequence <= told) {
            fabric_port_answer(cluster->port, registry->waits[i].answer,
                               CASCADE_OK, NULL, 0);
        } else {
            registry->waits[kept++] = registry->waits[i];
        }
    }
    registry->wait_count = kept;
}

static void
tell_ended(struct fabric_call *call)
{
    struct listener *listener = call->context;
    struct store_cluster *cluster = listener->cluster;

    listener->is_telling = false;
    if (call->status == CASCADE_OK) {
        listener->told = listener->telling;
        answer_waits(cluster);
        store_cluster_registry_turn(cluster);
    }
    // Else with the next turn: of the timer, or because the rank is lost.
}

static void
tell(struct store_cluster *cluster, uint16_t rank)
{
    struct store_cluster_registry *registry = cluster->registry;
    struct listener *listener = &registry->listeners[rank];
    struct tell *message = &registry->tell;
    struct directory_home_usage usage;
    size_t count = directory_registry_since(registry->own, listener->told,
                                            registry->changes, TELL_MAX,
                                            &listener->telling);

    directory_home_usage(cluster->home, &usage);
    memset(&message->head, 0, sizeof(message->head));
    message->head.count = (uint32_t)count;
    message->protected_keys = usage.protected_keys;
    for (size_t i = 0; i < count; i++) {
        const struct directory_registry_entry *change = &registry->changes[i];

        message->keys[i] = (struct told_key){
            .key = change->key,
            .id = change->id,
            .version = change->version,
            .bytes = change->bytes,
            .flags = change->is_protected ? DIRECTORY_MESSAGE_PROTECTED : 0,
        };
    }
    listener->is_telling = true;
    listener->call = (struct fabric_call){
        .to = rank,
        .subject = STORE_SUBJECT_PROTECTED,
        .data = message,
        .bytes = offsetof(struct tell, keys) + count * sizeof(message->keys[0]),
        .deadline_ns = UINT64_MAX,
        .ended = tell_ended,
        .context = listener,
    };
    fabric_port_begin(cluster->port, &listener->call);
}

void
store_cluster_registry_turn(struct store_cluster *cluster)
{
    struct store_cluster_registry *registry = cluster->registry;
    uint64_t sequence = directory_registry_sequence(registry->own);

    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        struct listener *listener = &registry->listeners[r];

        if (!listener->is_telling && !listener->is_lost &&
            listener->told < sequence) {
            tell(cluster, r);
        }
    }
}

void
store_cluster_registry_note(struct store_cluster *cluster,
                            const struct directory_registry_entry *entry)
{
    if (!directory_registry_note(cluster->registry->own, entry)) {
        log_write(&cluster->store->log, LOG_LEVEL_WARNING,
                  "there are more protected keys than the lists of ranks have "
                  "room for; raise max_blocks");
    }
}

// --- hearing

static void
answer_plain(struct store_cluster *cluster,
             const struct fabric_message *message, enum cascade_status status)
{
    fabric_port_answer(cluster->port, message->answer, status, NULL, 0);
}

// Every key must be the sender's to tell.
static bool
is_tell(const struct store_cluster *cluster,
        const struct fabric_message *message, struct tell *tell)
{
    const size_t least = offsetof(struct tell, keys);

    if (message->bytes < least || message->bytes > sizeof(*tell)) {
        return false;
    }
    memcpy(tell, message->data, message->bytes);
    if (tell->head.count > TELL_MAX ||
        message->bytes != least + tell->head.count * sizeof(tell->keys[0])) {
        return false;
    }
    for (uint32_t i = 0; i < tell->head.count; i++) {
        if (store_cluster_key_home(cluster, &tell->keys[i].key) !=
            message->from) {
            return false;
        }
    }
    return true;
}

static void
hear_protected(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct store_cluster_registry *registry = cluster->registry;
    struct tell *tell = &registry->tell; // nothing is being made to be sent

    if (!is_tell(cluster, message, tell)) {
        answer_plain(cluster, message, CASCADE_INVALID);
        return;
    }
    check(pthread_mutex_lock(&registry->list_lock) == 0);
    registry->protected_keys[message->from] = tell->protected_keys;
    for (uint32_t i = 0; i < tell->head.count; i++) {
        const struct told_key *key = &tell->keys[i];
        struct directory_registry_entry entry = {
            .key = key->key,
            .id = key->id,
            .version = key->version,
            .bytes = key->bytes,
            .is_protected = (key->flags & DIRECTORY_MESSAGE_PROTECTED) != 0,
        };

        (void)directory_registry_note(registry->list, &entry);
    }
    // Nobody else hears of it from here.
    directory_registry_forget(registry->list,
                              directory_registry_sequence(registry->list));
    check(pthread_mutex_unlock(&registry->list_lock) == 0);
    answer_plain(cluster, message, CASCADE_OK);
}

// Answered when all have heard of what this home did before.
static void
hear_sync(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct store_cluster_registry *registry = cluster->registry;

    if (registry->wait_count == WAITS_MAX) {
        answer_plain(cluster, message, CASCADE_BUSY);
        return;
    }
    registry->waits[registry->wait_count++] = (struct wait){
        .answer = message->answer,
        .sequence = directory_registry_sequence(registry->own),
    };
    answer_waits(cluster);
}

void
store_cluster_registry_clear(struct store_cluster *cluster,
                             struct block_version version)
{
    struct store_cluster_registry *registry = cluster->registry;

    check(pthread_mutex_lock(&registry->list_lock) == 0);
    directory_registry_clear(registry->list, version);
    check(pthread_mutex_unlock(&registry->list_lock) == 0);
    store_cluster_registry_turn(cluster);
}

struct lost_home {
    const struct store_cluster *cluster;
    uint16_t rank;
};

static bool
is_of_another(void *context, const struct block_key *key)
{
    const struct lost_home *lost = context;

    return store_cluster_key_home(lost->cluster, key) != lost->rank;
}

void
store_cluster_registry_lost(struct store_cluster *cluster, uint16_t rank)
{
    struct store_cluster_registry *registry = cluster->registry;
    struct lost_home lost = {.cluster = cluster, .rank = rank};

    registry->listeners[rank].is_lost = true;
    // Nobody can find those keys any more, or change them.
    check(pthread_mutex_lock(&registry->list_lock) == 0);
    directory_registry_filter(registry->list, is_of_another, &lost);
    registry->protected_keys[rank] = 0;
    check(pthread_mutex_unlock(&registry->list_lock) == 0);
    answer_waits(cluster);
    store_cluster_registry_turn(cluster);
}

// --- looking

size_t
store_cluster_registry_scan(struct store_cluster *cluster, uint64_t *cursor,
                            struct directory_registry_entry *entries,
                            size_t room)
{
    struct store_cluster_registry *registry = cluster->registry;
    size_t count;

    check(pthread_mutex_lock(&registry->list_lock) == 0);
    count = directory_registry_scan(registry->list, cursor, entries, room);
    check(pthread_mutex_unlock(&registry->list_lock) == 0);
    return count;
}

void
store_cluster_registry_usage(struct store_cluster *cluster,
                             struct store_registry_usage *usage)
{
    struct store_cluster_registry *registry = cluster->registry;
    struct directory_registry_usage list;
    uint64_t told = 0;

    check(pthread_mutex_lock(&registry->list_lock) == 0);
    directory_registry_usage(registry->list, &list);
    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        told += registry->protected_keys[r];
    }
    check(pthread_mutex_unlock(&registry->list_lock) == 0);
    usage->listed = list.protected_keys;
    usage->missing = told > list.protected_keys ? told - list.protected_keys
                                                : 0;
}

enum cascade_status
store_cluster_registry_sync(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    struct fabric_call *calls = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*calls));
    enum cascade_status status = CASCADE_OK;

    if (calls == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to ask all ranks");
    }
    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        calls[r].to = r;
        calls[r].subject = STORE_SUBJECT_SYNC;
        calls[r].deadline_ns = deadline_ns;
        fabric_port_begin(cluster->port, &calls[r]);
    }
    fabric_port_wait(cluster->port, calls, cluster->rank_count);
    for (uint16_t r = 0; r < cluster->rank_count && status == CASCADE_OK; r++) {
        // Who is lost has nothing to tell, and nothing to be told.
        if (calls[r].status == CASCADE_CLOSED &&
            !fabric_port_is_alive(cluster->port, r)) {
            continue;
        }
        status = calls[r].status;
        if (status != CASCADE_OK) {
            status = error_set(status,
                               "not all ranks know yet what rank %u keeps of "
                               "protected keys (%s); try again",
                               (unsigned)r, cascade_status_name(status));
        }
    }
    allocator_release(cluster->allocator, calls);
    return status;
}

enum cascade_status
store_cluster_registry_open(struct store_cluster *cluster)
{
    uint32_t keys = (uint32_t)units_min(cluster->store->settings.max_blocks,
                                        KEYS_MAX);
    struct store_cluster_registry *made = allocator_array(cluster->allocator, 1,
                                                          sizeof(*made));
    enum cascade_status status = CASCADE_NO_MEMORY;

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for many ranks");
    }
    check(pthread_mutex_init(&made->list_lock, NULL) == 0);
    cluster->registry = made;
    made->listeners = allocator_array(cluster->allocator, cluster->rank_count,
                                      sizeof(*made->listeners));
    made->protected_keys = allocator_array(
        cluster->allocator, cluster->rank_count, sizeof(*made->protected_keys));
    if (made->listeners == NULL || made->protected_keys == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for many ranks");
    }
    for (uint16_t r = 0; r < cluster->rank_count; r++) {
        made->listeners[r].cluster = cluster;
    }
    status = directory_registry_create(cluster->allocator, keys, &made->own);
    if (status == CASCADE_OK) {
        status = directory_registry_create(cluster->allocator, keys,
                                           &made->list);
    }
    return status;
}

void
store_cluster_registry_close(struct store_cluster *cluster)
{
    struct store_cluster_registry *registry = cluster->registry;

    if (registry == NULL) {
        return;
    }
    directory_registry_destroy(registry->list);
    directory_registry_destroy(registry->own);
    allocator_release(cluster->allocator, registry->protected_keys);
    allocator_release(cluster->allocator, registry->listeners);
    (void)pthread_mutex_destroy(&registry->list_lock);
    allocator_release(cluster->allocator, registry);
    cluster->registry = NULL;
}

void
store_cluster_registry(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_PROTECTED, hear_protected,
                       cluster);
    fabric_port_handle(cluster->port, STORE_SUBJECT_SYNC, hear_sync, cluster);
}
