// SPDX-License-Identifier: Apache-2.0
//
// The home of this rank's share of keys and ids, wired: messages go to it, its
// questions and answers go out, time passes for it; and the outbox, through
// which hooks of the catalogue reach the homes. Engine thread, except the hooks,
// which may be called under locks of the catalogue: outbox_lock is a leaf.

#include <string.h>

#include "base/check.h"
#include "store/store_cluster.h"

#define HOME_LINE_MAX 65536
#define HOME_CLAIM_NS (2 * NS_PER_S)
#define HOME_PATIENCE_NS (10 * NS_PER_S)
#define OUTBOX_FIRST 64
#define REPLY_BYTES 256

// A question of the home that is out.
struct home_ask {
    struct fabric_call call;
    struct store_cluster *cluster;
    uint64_t token;
    uint8_t reply[REPLY_BYTES];
};

void
store_cluster_home_turn(struct store_cluster *cluster)
{
    uint64_t now_ns = store_now(cluster->store);
    uint64_t next_ns = directory_home_step(cluster->home, now_ns);

    fabric_port_disarm(cluster->port, &cluster->home_timer);
    if (next_ns != UINT64_MAX) {
        fabric_port_arm(cluster->port, &cluster->home_timer,
                        next_ns > now_ns ? next_ns - now_ns : 0);
    }
    store_cluster_registry_turn(cluster);
}

static void
home_timer_ran(struct fabric_timer *timer)
{
    store_cluster_home_turn(timer->context);
}

static void
home_message(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;

    directory_home_receive(cluster->home, message->from, message->subject,
                           message->data, message->bytes,
                           message->answer.ticket, store_now(cluster->store));
    store_cluster_home_turn(cluster);
}

static void
home_answered(struct fabric_call *call)
{
    struct home_ask *ask = call->context;
    struct store_cluster *cluster = ask->cluster;

    directory_home_answered(cluster->home, ask->token, call->status, ask->reply,
                            call->reply_bytes, store_now(cluster->store));
    allocator_release(cluster->allocator, ask);
    store_cluster_home_turn(cluster);
}

// Engine thread: without memory the question fails, on a later turn.
static void
home_failed(struct fabric_timer *timer)
{
    struct store_cluster *cluster = timer->context;

    while (cluster->failed_count > 0) {
        directory_home_answered(
            cluster->home, cluster->failed[--cluster->failed_count],
            CASCADE_NO_MEMORY, NULL, 0, store_now(cluster->store));
    }
    store_cluster_home_turn(cluster);
}

static void
fail_ask(struct store_cluster *cluster, uint64_t token)
{
    check(cluster->failed_count < STORE_FAILED_ASKS_MAX);
    cluster->failed[cluster->failed_count++] = token;
    if (!cluster->failed_timer.armed) {
        fabric_port_arm(cluster->port, &cluster->failed_timer, 0);
    }
}

static void
home_asks(void *context, uint16_t to, uint8_t subject, const void *data,
          size_t bytes, uint64_t token, uint64_t deadline_ns)
{
    struct store_cluster *cluster = context;
    struct home_ask *ask = allocator_array(cluster->allocator, 1, sizeof(*ask));

    if (ask == NULL) {
        fail_ask(cluster, token);
        return;
    }
    ask->cluster = cluster;
    ask->token = token;
    ask->call.to = to;
    ask->call.subject = subject;
    ask->call.data = data;
    ask->call.bytes = bytes;
    ask->call.reply = ask->reply;
    ask->call.reply_room = sizeof(ask->reply);
    ask->call.deadline_ns = deadline_ns;
    ask->call.ended = home_answered;
    ask->call.context = ask;
    fabric_port_begin(cluster->port, &ask->call);
}

static void
home_answers(void *context, uint16_t to, uint64_t ticket,
             enum cascade_status status, const void *data, size_t bytes)
{
    struct store_cluster *cluster = context;
    struct fabric_answer answer = {.to = to, .ticket = ticket};

    if (ticket != 0) {
        fabric_port_answer(cluster->port, answer, status, data, bytes);
    }
}

static struct block_version
home_next_version(void *context)
{
    struct store_cluster *cluster = context;

    return directory_next_version(cluster->store->directory);
}

static void
home_sees_version(void *context, struct block_version version)
{
    struct store_cluster *cluster = context;

    directory_see_version(cluster->store->directory, version);
}

// All ranks are told with the next turn.
static void
home_protection(void *context, const struct directory_registry_entry *entry)
{
    store_cluster_registry_note(context, entry);
}

enum cascade_status
store_cluster_open_home(struct store_cluster *cluster)
{
    const struct store_settings *settings = &cluster->store->settings;
    struct directory_home_options options = {
        .allocator = cluster->allocator,
        .out =
            {
                .context = cluster,
                .ask = home_asks,
                .answer = home_answers,
                .next_version = home_next_version,
                .see_version = home_sees_version,
                .protection = home_protection,
            },
        .rank = cluster->rank,
        .rank_count = cluster->rank_count,
        // Shards are even only on average.
        .max_keys = settings->max_blocks * 2,
        .max_ids = settings->max_blocks,
        .line_max = HOME_LINE_MAX,
        .rebind_allowed = settings->rebind == STORE_REBIND_ALLOWED,
        .keep_removals = settings->cold_path[0] != '\0' &&
                         !settings->cold_look_only,
        .lease_ns = settings->binding_lease_ns,
        .claim_ns = HOME_CLAIM_NS,
        .patience_ns = HOME_PATIENCE_NS,
    };

    return directory_home_create(&options, &cluster->home);
}

// --- the outbox

// Engine thread: sends what the hooks noted. Returns how many were sent: the
// port may have no room for more now.
static size_t
send_gone(struct store_cluster *cluster,
          const struct directory_message_gone *gone, size_t count)
{
    struct {
        struct directory_message_count head;
        struct directory_message_gone gone;
    } message = {.head = {.count = 1}};

    for (size_t i = 0; i < count; i++) {
        message.gone = gone[i];
        if (fabric_port_tell(cluster->port,
                             store_cluster_key_home(cluster, &gone[i].key),
                             DIRECTORY_SUBJECT_GONE, &message,
                             sizeof(message)) == CASCADE_BUSY) {
            return i;
        }
    }
    return count;
}

// These are hints: one that finds no room is left out.
static void
send_copies(struct store_cluster *cluster,
            const struct directory_message_copy *copies, size_t count)
{
    struct {
        struct directory_message_count head;
        struct directory_message_copy copy;
    } message = {.head = {.count = 1}};
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < count && status != CASCADE_BUSY; i++) {
        message.copy = copies[i];
        status = fabric_port_tell(
            cluster->port, store_cluster_id_home(cluster, &copies[i].id),
            DIRECTORY_SUBJECT_COPIES, &message, sizeof(message));
    }
}

// Room for one more; false without memory.
static bool
grow(const struct allocator *allocator, void **items, size_t *room,
     size_t count, size_t item_bytes)
{
    size_t wanted = *room > 0 ? *room * 2 : OUTBOX_FIRST;
    void *grown;

    if (count < *room) {
        return true;
    }
    grown = allocator_array(allocator, wanted, item_bytes);
    if (grown == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(grown, *items, count * item_bytes);
    }
    allocator_release(allocator, *items);
    *items = grown;
    *room = wanted;
    return true;
}

// It goes out with the next turn.
static void
note_gone(struct store_cluster *cluster,
          const struct directory_message_gone *gone)
{
    struct store_outbox *outbox = &cluster->outbox;
    void *items;

    check(pthread_mutex_lock(&cluster->outbox_lock) == 0);
    items = outbox->gone;
    if (grow(cluster->allocator, &items, &outbox->gone_room, outbox->gone_count,
             sizeof(*outbox->gone))) {
        outbox->gone = items;
        outbox->gone[outbox->gone_count++] = *gone;
    }
    check(pthread_mutex_unlock(&cluster->outbox_lock) == 0);
}

static void
empty_outbox(struct fabric_post *post)
{
    struct store_cluster *cluster = post->context;
    struct store_outbox taken;
    size_t sent;

    check(pthread_mutex_lock(&cluster->outbox_lock) == 0);
    taken = cluster->outbox;
    memset(&cluster->outbox, 0, sizeof(cluster->outbox));
    cluster->outbox_posted = false;
    check(pthread_mutex_unlock(&cluster->outbox_lock) == 0);
    send_copies(cluster, taken.copies, taken.copies_count);
    sent = send_gone(cluster, taken.gone, taken.gone_count);
    for (; sent < taken.gone_count; sent++) {
        note_gone(cluster, &taken.gone[sent]);
    }
    allocator_release(cluster->allocator, taken.copies);
    allocator_release(cluster->allocator, taken.gone);
}

void
store_cluster_post(struct store_cluster *cluster)
{
    bool wanted;

    check(pthread_mutex_lock(&cluster->outbox_lock) == 0);
    wanted = !cluster->outbox_posted &&
             cluster->outbox.gone_count + cluster->outbox.copies_count > 0;
    cluster->outbox_posted = cluster->outbox_posted || wanted;
    check(pthread_mutex_unlock(&cluster->outbox_lock) == 0);
    if (wanted) {
        cluster->outbox_post.run = empty_outbox;
        cluster->outbox_post.context = cluster;
        fabric_port_post(cluster->port, &cluster->outbox_post);
    }
}

void
store_cluster_binding_gone(void *context, const struct block_key *key,
                           struct block_version version)
{
    struct cascade *store = context;
    struct directory_message_gone gone = {.key = *key, .version = version};

    if (store->cluster != NULL && atomic_load(&store->cluster->serving)) {
        note_gone(store->cluster, &gone);
        store_cluster_post(store->cluster);
    }
}

static void
note_copy(struct store_cluster *cluster, const struct block_id *id,
          enum directory_copy_change change)
{
    struct store_outbox *outbox = &cluster->outbox;
    void *items;

    check(pthread_mutex_lock(&cluster->outbox_lock) == 0);
    items = outbox->copies;
    if (grow(cluster->allocator, &items, &outbox->copies_room,
             outbox->copies_count, sizeof(*outbox->copies))) {
        outbox->copies = items;
        outbox->copies[outbox->copies_count++] =
            (struct directory_message_copy){.id = *id, .change = change};
    }
    check(pthread_mutex_unlock(&cluster->outbox_lock) == 0);
    store_cluster_post(cluster);
}

void
store_cluster_content_gone(void *context, const struct block_id *id)
{
    struct cascade *store = context;

    if (store->cluster != NULL && atomic_load(&store->cluster->serving)) {
        note_copy(store->cluster, id, DIRECTORY_COPY_GONE);
    }
}

void
store_cluster_copy_here(struct store_cluster *cluster,
                        const struct block_id *id)
{
    note_copy(cluster, id, DIRECTORY_COPY_HERE);
}

void
store_cluster_home(struct store_cluster *cluster)
{
    static const uint8_t of_home[] = {
        DIRECTORY_SUBJECT_LOOKUP,   DIRECTORY_SUBJECT_BIND,
        DIRECTORY_SUBJECT_REMOVE,   DIRECTORY_SUBJECT_PROTECT,
        DIRECTORY_SUBJECT_GONE,     DIRECTORY_SUBJECT_CLAIM,
        DIRECTORY_SUBJECT_COPIES,   DIRECTORY_SUBJECT_FIND,
        DIRECTORY_SUBJECT_ANNOUNCE,
    };

    for (size_t i = 0; i < sizeof(of_home); i++) {
        fabric_port_handle(cluster->port, of_home[i], home_message, cluster);
    }
    cluster->home_timer = (struct fabric_timer){.run = home_timer_ran,
                                                .context = cluster};
    cluster->failed_timer = (struct fabric_timer){.run = home_failed,
                                                  .context = cluster};
}
