// SPDX-License-Identifier: Apache-2.0
//
// Puts that the home of their key has not answered: their names are guests until
// it is known what became of them. The background asks again, each of them now
// and then and only a few at once; a flush waits until those before it are
// known. Nothing blocks here but store_cluster_settle.
//
// Engine thread, but for the noting; unconfirmed_lock is a leaf.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define ASKED_MAX 16 // questions that are out
#define AGAIN_NS NS_PER_S
#define ASK_NS (10 * NS_PER_S)

static void
lock(struct store_cluster *cluster)
{
    check(pthread_mutex_lock(&cluster->unconfirmed_lock) == 0);
}

static void
unlock(struct store_cluster *cluster)
{
    check(pthread_mutex_unlock(&cluster->unconfirmed_lock) == 0);
}

void
store_cluster_note_unconfirmed(struct store_cluster *cluster,
                               const struct block_key *key,
                               struct block_version version, bool if_absent)
{
    bool noted = false;

    lock(cluster);
    if (cluster->unconfirmed_count < STORE_UNCONFIRMED_MAX) {
        cluster->unconfirmed[cluster->unconfirmed_count++] =
            (struct store_unconfirmed){
                .key = *key,
                .version = version,
                .number = ++cluster->unconfirmed_number,
                .if_absent = if_absent,
            };
        noted = true;
    }
    unlock(cluster);
    if (!noted) {
        log_write(&cluster->store->log, LOG_LEVEL_WARNING,
                  "too many puts are unconfirmed; one is forgotten");
    }
}

// Under the lock: NULL if it is known by now.
static struct store_unconfirmed *
find(struct store_cluster *cluster, const struct block_key *key,
     struct block_version version)
{
    for (size_t i = 0; i < cluster->unconfirmed_count; i++) {
        struct store_unconfirmed *one = &cluster->unconfirmed[i];

        if (block_version_compare(one->version, version) == 0 &&
            block_key_equal(&one->key, key)) {
            return one;
        }
    }
    return NULL;
}

// The question has ended; with `known` the matter has.
static void
note_asked(struct store_cluster *cluster, const struct block_key *key,
           struct block_version version, bool known)
{
    struct store_unconfirmed *one;

    lock(cluster);
    cluster->unconfirmed_asked--;
    one = find(cluster, key, version);
    if (one != NULL && known) {
        *one = cluster->unconfirmed[--cluster->unconfirmed_count];
    } else if (one != NULL) {
        one->is_asked = false;
        one->again_ns = store_now(cluster->store) + AGAIN_NS;
    }
    unlock(cluster);
}

// --- who waits

// Under the lock: all that were noted up to that number are known.
static bool
is_settled(const struct store_cluster *cluster, uint64_t number)
{
    for (size_t i = 0; i < cluster->unconfirmed_count; i++) {
        if (cluster->unconfirmed[i].number <= number) {
            return false;
        }
    }
    return true;
}

static void
tell_waiters(struct store_cluster *cluster)
{
    struct store_settling **link = &cluster->settling;
    uint64_t now_ns = store_now(cluster->store);

    while (*link != NULL) {
        struct store_settling *settling = *link;
        bool settled;

        lock(cluster);
        settled = is_settled(cluster, settling->number);
        unlock(cluster);
        if (settled || now_ns >= settling->deadline_ns) {
            *link = settling->next;
            settling->ended(settling, settled ? CASCADE_OK : CASCADE_TIMEOUT);
            link = &cluster->settling; // it may have changed meanwhile
        } else {
            link = &settling->next;
        }
    }
}

// --- asking

static void
ask_ended(struct fabric_call *call)
{
    struct store_home_bind *ask = call->context;
    struct store_cluster *cluster = ask->cluster;
    const struct directory_message_bind *asked = &ask->request;
    bool known = call->status == CASCADE_OK;

    if (call->status == CASCADE_EXISTS || call->status == CASCADE_STALE) {
        // Not tried again under a higher version: a removal may lie between.
        store_cluster_take_back(cluster->store, &asked->key, asked->version);
        known = true;
    }
    note_asked(cluster, &asked->key, asked->version, known);
    allocator_release(cluster->allocator, ask);
    tell_waiters(cluster);
}

// False: the name went meanwhile.
static bool
describe(struct cascade *store, const struct store_unconfirmed *one,
         struct directory_bind *bind, struct directory_bound *bound)
{
    struct directory_found found;

    if (directory_find_binding(store->directory, &one->key, &found) !=
            CASCADE_OK ||
        (found.flags & DIRECTORY_GUEST) == 0 ||
        block_version_compare(found.version, one->version) != 0) {
        return false;
    }
    memset(bind, 0, sizeof(*bind));
    memset(bound, 0, sizeof(*bound));
    bind->key = one->key;
    bind->id = found.id;
    bound->version = one->version;
    bound->protected_now = (found.flags & DIRECTORY_PROTECTED) != 0;
    if (one->if_absent) {
        bind->flags |= DIRECTORY_BIND_IF_ABSENT;
    }
    if ((found.flags & DIRECTORY_SURROGATE) != 0) {
        bind->flags |= DIRECTORY_BIND_SURROGATE;
    }
    if (directory_find_content(store->directory, &found.id, &found) ==
        CASCADE_OK) {
        bind->bytes = found.bytes;
    }
    return true;
}

static void
ask_again(struct store_cluster *cluster, const struct store_unconfirmed *one)
{
    struct cascade *store = cluster->store;
    struct store_home_bind *ask;
    struct directory_bind bind;
    struct directory_bound bound;

    if (!describe(store, one, &bind, &bound)) {
        // The home may have it, and no bytes are here.
        store_cluster_binding_gone(store, &one->key, one->version);
        note_asked(cluster, &one->key, one->version, true);
        return;
    }
    ask = allocator_array(cluster->allocator, 1, sizeof(*ask));
    if (ask == NULL) {
        note_asked(cluster, &one->key, one->version, false);
        return;
    }
    store_cluster_prepare_bind(cluster, ask, &bind, &bound,
                               store_now(store) + ASK_NS);
    ask->call.ended = ask_ended;
    fabric_port_begin(cluster->port, &ask->call);
}

// Takes the next one whose time has come.
static bool
take_due(struct store_cluster *cluster, struct store_unconfirmed *taken)
{
    uint64_t now_ns = store_now(cluster->store);
    bool any = false;

    lock(cluster);
    for (size_t i = 0; i < cluster->unconfirmed_count && !any &&
                       cluster->unconfirmed_asked < ASKED_MAX;
         i++) {
        struct store_unconfirmed *one = &cluster->unconfirmed[i];

        if (!one->is_asked && one->again_ns <= now_ns) {
            one->is_asked = true;
            cluster->unconfirmed_asked++;
            *taken = *one;
            any = true;
        }
    }
    unlock(cluster);
    return any;
}

void
store_cluster_settle_step(struct store_cluster *cluster)
{
    struct store_unconfirmed one;

    while (take_due(cluster, &one)) {
        ask_again(cluster, &one);
    }
    tell_waiters(cluster);
}

void
store_cluster_settle_begin(struct store_cluster *cluster,
                           struct store_settling *settling)
{
    lock(cluster);
    settling->number = cluster->unconfirmed_number;
    for (size_t i = 0; i < cluster->unconfirmed_count; i++) {
        cluster->unconfirmed[i].again_ns = 0;
    }
    unlock(cluster);
    settling->next = cluster->settling;
    cluster->settling = settling;
    store_cluster_settle_step(cluster);
}

// A thread of this rank that waits.
struct settle_wait {
    struct store_settling settling;
    struct store_cluster *cluster;
    struct fabric_answer answer;
};

static void
wait_ended(struct store_settling *settling, enum cascade_status status)
{
    struct settle_wait *wait = (struct settle_wait *)settling;
    struct store_cluster *cluster = wait->cluster;

    fabric_port_answer(cluster->port, wait->answer, status, NULL, 0);
    allocator_release(cluster->allocator, wait);
}

static void
hear_settle(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct settle_wait *wait = NULL;
    uint64_t deadline_ns;

    if (message->from == cluster->rank &&
        message->bytes == sizeof(deadline_ns)) {
        wait = allocator_array(cluster->allocator, 1, sizeof(*wait));
    }
    if (wait == NULL) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_NO_MEMORY,
                           NULL, 0);
        return;
    }
    memcpy(&deadline_ns, message->data, sizeof(deadline_ns));
    wait->cluster = cluster;
    wait->answer = message->answer;
    wait->settling.ended = wait_ended;
    wait->settling.deadline_ns = deadline_ns;
    store_cluster_settle_begin(cluster, &wait->settling);
}

enum cascade_status
store_cluster_settle(struct cascade *store, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    enum cascade_status status;
    bool any;

    lock(cluster);
    any = cluster->unconfirmed_count > 0;
    unlock(cluster);
    if (!any) {
        return CASCADE_OK;
    }
    status = store_cluster_ask(cluster, cluster->rank, STORE_SUBJECT_SETTLE,
                               &deadline_ns, sizeof(deadline_ns), NULL, 0,
                               deadline_ns);
    return status == CASCADE_TIMEOUT
               ? error_set(status,
                           "a put is not confirmed by the home of its key")
               : status;
}

void
store_cluster_settles(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_SETTLE, hear_settle,
                       cluster);
}

void
store_cluster_settle_stop(struct store_cluster *cluster)
{
    while (cluster->settling != NULL) {
        struct store_settling *settling = cluster->settling;

        cluster->settling = settling->next;
        settling->ended(settling, CASCADE_CLOSED);
    }
}
