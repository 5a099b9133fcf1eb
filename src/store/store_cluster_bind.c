// SPDX-License-Identifier: Apache-2.0
//
// The end of a put among many ranks: who has the content, who is to keep the
// binding, and the question to the key's home. A name is a guest in the
// catalogue until its home has said yes; then, on the engine thread and in the
// order of messages, it is confirmed. unconfirmed_lock is a leaf.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// Binds under ever higher versions before a put is given up.
#define ROUNDS_MAX 16
#define NAME_NS (10 * NS_PER_S)

static const struct block_version highest_version = {UINT64_MAX, UINT64_MAX};

// On the engine thread: yes.
static void
bind_arrived(struct fabric_call *call)
{
    struct store_home_bind *ask = call->context;
    struct store_cluster *cluster = ask->cluster;
    uint64_t lease_ns = ask->reply.lease_ns;
    struct directory_lease lease = {
        .id = ask->request.id,
        .version = ask->request.version,
        .bytes = ask->request.bytes,
        .end_ns = ask->asked_ns + lease_ns - STORE_LEASE_MARGIN(lease_ns),
        .flags = ask->request.flags &
                 (DIRECTORY_MESSAGE_PROTECTED | DIRECTORY_MESSAGE_SURROGATE),
        .custodian = cluster->rank,
    };

    if (call->status != CASCADE_OK || call->reply_bytes != sizeof(ask->reply)) {
        return;
    }
    if (directory_confirm(cluster->store->directory, &ask->request.key,
                          ask->request.version) != CASCADE_OK) {
        // The name went meanwhile, and its home believes in it.
        store_cluster_binding_gone(cluster->store, &ask->request.key,
                                   ask->request.version);
    } else if (lease_ns > 0) {
        directory_leases_install(cluster->leases, &ask->request.key, &lease);
    }
}

static bool
is_conditional(const struct directory_bind *bind)
{
    return (bind->flags & DIRECTORY_BIND_IF_ABSENT) != 0;
}

void
store_cluster_prepare_bind(struct store_cluster *cluster,
                           struct store_home_bind *ask,
                           const struct directory_bind *bind,
                           const struct directory_bound *bound,
                           uint64_t deadline_ns)
{
    memset(ask, 0, sizeof(*ask));
    ask->cluster = cluster;
    ask->asked_ns = store_now(cluster->store);
    ask->request.key = bind->key;
    ask->request.id = bind->id;
    ask->request.version = bound->version;
    ask->request.bytes = bind->bytes;
    if (is_conditional(bind)) {
        ask->request.flags |= DIRECTORY_MESSAGE_IF_ABSENT;
    }
    if ((bind->flags & DIRECTORY_BIND_SURROGATE) != 0) {
        ask->request.flags |= DIRECTORY_MESSAGE_SURROGATE;
    }
    if (bound->protected_now) {
        ask->request.flags |= DIRECTORY_MESSAGE_PROTECTED;
    }
    ask->call.to = store_cluster_key_home(cluster, &bind->key);
    ask->call.subject = DIRECTORY_SUBJECT_BIND;
    ask->call.data = &ask->request;
    ask->call.bytes = sizeof(ask->request);
    ask->call.reply = &ask->reply;
    ask->call.reply_room = sizeof(ask->reply);
    ask->call.deadline_ns = deadline_ns;
    ask->call.arrived = bind_arrived;
    ask->call.context = ask;
}

// The name becomes a guest. The condition is the home's to judge, unless this
// rank keeps the binding.
static enum cascade_status
bind_here(struct cascade *store, const struct directory_bind *bind,
          struct directory_bound *bound)
{
    struct directory_bind guest = *bind;
    enum cascade_status status;

    guest.flags |= DIRECTORY_BIND_GUEST;
    if ((guest.flags & DIRECTORY_BIND_EXACT) == 0) {
        guest.version = directory_next_version(store->directory);
    }
    memset(bound, 0, sizeof(*bound));
    directory_leases_drop(store->cluster->leases, &bind->key, highest_version);
    status = directory_bind(store->directory, &guest, bound);
    if (status == CASCADE_OK) {
        store_free(store, &bound->freed);
        memset(&bound->freed, 0, sizeof(bound->freed));
    }
    return status;
}

void
store_cluster_take_back(struct cascade *store, const struct block_key *key,
                        struct block_version version)
{
    struct directory_freed freed;

    directory_retract(store->directory, key, version, &freed);
    store_free(store, &freed);
}

// The home knows a binding of another rank that is newer than one that this rank
// believed to keep.
static void
give_up_kept(struct cascade *store, const struct block_key *key,
             struct block_version newest)
{
    struct block_version below = {newest.time_ns + 1, 0};
    struct directory_freed freed;

    directory_end(store->directory, key, below, true, &freed);
    store_free(store, &freed);
}

// --- bind

// Our own copy is where it was.
static bool
is_still_here(struct cascade *store, const struct directory_bind *bind)
{
    struct directory_found found;
    const struct block_place *have;

    if (directory_find_content(store->directory, &bind->id, &found) !=
        CASCADE_OK) {
        return false;
    }
    have = bind->place.tier == CASCADE_TIER_SEGMENTS ? &found.cold
                                                     : &found.memory;
    return have->tier == bind->place.tier && have->slot == bind->place.slot &&
           have->generation == bind->place.generation;
}

// The home wants a higher version. False: the own copy went meanwhile.
static bool
prepare_next_round(struct cascade *store, struct store_cluster_bind *bind,
                   const struct directory_message_bound *reply, bool is_listed)
{
    directory_see_version(store->directory, reply->version);
    if (bind->bound.kept) {
        give_up_kept(store, &bind->bind.key, reply->version);
    }
    return !is_listed || is_still_here(store, &bind->bind);
}

static enum cascade_status
bind_own(struct cascade *store, struct store_cluster_bind *bind)
{
    struct store_cluster *cluster = store->cluster;
    struct directory_bind request = bind->bind;
    bool is_listed = false;
    bool was_there = false;

    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct store_home_bind ask;
        enum cascade_status status = bind_here(store, &request, &bind->bound);

        if (status != CASCADE_OK) {
            return status;
        }
        was_there = was_there || (bind->bound.deduplicated && !is_listed);
        if (bind->bound.place_taken) {
            is_listed = true;
            memset(&request.place, 0, sizeof(request.place));
        }
        store_cluster_prepare_bind(cluster, &ask, &request, &bind->bound,
                                   bind->deadline_ns);
        status = fabric_port_ask(cluster->port, &ask.call);
        if (status == CASCADE_OK) {
            bind->bound.place_taken = is_listed;
            bind->bound.deduplicated = was_there;
            bind->custodian = cluster->rank;
            return CASCADE_OK;
        }
        if (status == CASCADE_EXISTS) {
            store_cluster_take_back(store, &request.key, bind->bound.version);
            bind->bound.existed = true;
            bind->bound.place_taken = is_listed;
            bind->custodian = ask.reply.custodian;
            bind->is_same = block_id_equal(&ask.reply.id, &request.id);
            return CASCADE_EXISTS;
        }
        if (status == CASCADE_NO_SPACE) {
            // Of a question that was asked once this is an answer.
            store_cluster_take_back(store, &request.key, bind->bound.version);
            bind->bound.place_taken = is_listed;
            return error_set(CASCADE_NO_SPACE,
                             "rank %u, the home of the key, has no room for "
                             "another one; raise max_blocks, or remove keys",
                             (unsigned)ask.call.to);
        }
        if (status != CASCADE_STALE) {
            bind->bound.place_taken = is_listed;
            if (!bind->bound.kept) {
                store_cluster_note_unconfirmed(cluster, &request.key,
                                               bind->bound.version,
                                               is_conditional(&request));
            }
            return error_set(
                status == CASCADE_CLOSED ? status : CASCADE_TIMEOUT,
                "rank %u, the home of the key, did not confirm "
                "the put (%s); whether it counts is unknown",
                (unsigned)ask.call.to, cascade_status_name(status));
        }
        if (!prepare_next_round(store, bind, &ask.reply, is_listed)) {
            bind->place_lost = true;
            bind->bound.place_taken = true;
            return CASCADE_STALE;
        }
    }
    store_cluster_take_back(store, &request.key, bind->bound.version);
    bind->bound.place_taken = is_listed;
    return error_set(CASCADE_BUSY,
                     "the key is bound anew too often to be put; try again");
}

// --- claim and name

struct name_request {
    struct block_key key;
    struct block_id id;
    // It is bound under that or not at all. Who asks may have bound the key
    // otherwise by the time that this is read.
    struct block_version version;
    uint64_t bytes;
    uint64_t timeout_ns;
    uint32_t flags; // enum directory_bind_flags
    uint32_t key_bytes;
    uint8_t key_data[CASCADE_KEY_BYTES_MAX];
};

struct name_reply {
    struct block_version version; // STALE: what must be exceeded
    uint32_t protected_now;
    uint32_t custodian;
};

// Asks until the version is high enough.
static enum cascade_status
ask_name(struct cascade *store, struct name_request *request,
         struct fabric_call *call)
{
    const struct name_reply *reply = call->reply;
    enum cascade_status status = CASCADE_STALE;

    for (int round = 0; round < ROUNDS_MAX && status == CASCADE_STALE;
         round++) {
        request->version = directory_next_version(store->directory);
        status = fabric_port_ask(store->cluster->port, call);
        if ((status == CASCADE_OK || status == CASCADE_EXISTS ||
             status == CASCADE_STALE) &&
            call->reply_bytes != sizeof(*reply)) {
            return CASCADE_INVALID;
        }
        if (status == CASCADE_STALE) {
            directory_see_version(store->directory, reply->version);
        }
    }
    return status;
}

// Another rank names its copy. OK, EXISTS: that is it; else this rank goes on.
static enum cascade_status
have_it_named(struct cascade *store, struct store_cluster_bind *bind,
              uint16_t rank)
{
    struct store_cluster *cluster = store->cluster;
    struct name_request *request = allocator_array(cluster->allocator, 1,
                                                   sizeof(*request));
    struct name_reply reply;
    uint64_t now_ns = store_now(store);
    struct fabric_call call = {
        .to = rank,
        .subject = STORE_SUBJECT_NAME,
        .reply = &reply,
        .reply_room = sizeof(reply),
        .deadline_ns = units_min(bind->deadline_ns, now_ns + NAME_NS),
    };
    enum cascade_status status;

    if (request == NULL) {
        return CASCADE_NO_MEMORY;
    }
    request->key = bind->bind.key;
    request->id = bind->bind.id;
    request->bytes = bind->bind.bytes;
    request->timeout_ns = call.deadline_ns > now_ns ? call.deadline_ns - now_ns
                                                    : 0;
    request->flags = bind->bind.flags;
    request->key_bytes = bind->bind.key_bytes;
    memcpy(request->key_data, bind->bind.key_data, request->key_bytes);
    call.data = request;
    call.bytes = offsetof(struct name_request, key_data) + request->key_bytes;
    directory_leases_drop(cluster->leases, &bind->bind.key, highest_version);
    status = ask_name(store, request, &call);
    allocator_release(cluster->allocator, request);
    if (status == CASCADE_OK) {
        memset(&bind->bound, 0, sizeof(bind->bound));
        bind->bound.version = reply.version;
        bind->bound.deduplicated = true;
        bind->bound.protected_now = reply.protected_now != 0;
        bind->elsewhere = true;
        bind->custodian = rank;
    } else if (status == CASCADE_EXISTS) {
        memset(&bind->bound, 0, sizeof(bind->bound));
        bind->bound.existed = true;
        bind->custodian = (uint16_t)reply.custodian;
    }
    return status;
}

// Who has it? OK: this rank is the first (`*claimed`), or it cannot be known.
// EXISTS: `*rank` has it.
static enum cascade_status
claim(struct cascade *store, const struct store_cluster_bind *bind,
      uint16_t *rank, bool *claimed)
{
    struct store_cluster *cluster = store->cluster;
    struct directory_message_claim request = {
        .id = bind->bind.id,
        .bytes = bind->bind.bytes,
    };
    struct directory_message_claimed reply = {.rank = DIRECTORY_RANK_NONE};
    struct fabric_call call = {
        .to = store_cluster_id_home(cluster, &bind->bind.id),
        .subject = DIRECTORY_SUBJECT_CLAIM,
        .data = &request,
        .bytes = sizeof(request),
        .reply = &reply,
        .reply_room = sizeof(reply),
        .deadline_ns = units_min(bind->deadline_ns, store_now(store) + NAME_NS),
    };
    enum cascade_status status = fabric_port_ask(cluster->port, &call);

    *claimed = status == CASCADE_OK;
    if (status == CASCADE_EXISTS && call.reply_bytes == sizeof(reply) &&
        reply.rank < cluster->rank_count && reply.rank != cluster->rank) {
        *rank = reply.rank;
        return CASCADE_EXISTS;
    }
    return CASCADE_OK;
}

static void
give_up_claim(struct store_cluster *cluster, const struct block_id *id)
{
    struct {
        struct directory_message_count head;
        struct directory_message_copy copy;
    } message = {
        .head = {.count = 1},
        .copy = {.id = *id, .change = DIRECTORY_COPY_GONE},
    };

    // One that is lost ends by itself.
    if (fabric_port_tell(cluster->port, store_cluster_id_home(cluster, id),
                         DIRECTORY_SUBJECT_COPIES, &message,
                         sizeof(message)) != CASCADE_OK) {
        log_write(&cluster->store->log, LOG_LEVEL_DEBUG,
                  "a claim was not given up: too many messages wait");
    }
}

enum cascade_status
store_cluster_bind(struct cascade *store, struct store_cluster_bind *bind)
{
    struct store_cluster *cluster = store->cluster;
    bool by_content = (bind->bind.flags & DIRECTORY_BIND_SURROGATE) == 0 &&
                      store->settings.dedup == STORE_DEDUP_CONTENT;
    uint16_t rank = DIRECTORY_RANK_NONE;
    bool claimed = false;
    enum cascade_status named = CASCADE_OK;
    enum cascade_status status;

    bind->elsewhere = false;
    bind->place_lost = false;
    bind->is_same = false;
    bind->custodian = cluster->rank;
    if (by_content && !directory_has_copy(store->directory, &bind->bind.id) &&
        claim(store, bind, &rank, &claimed) == CASCADE_EXISTS) {
        named = have_it_named(store, bind, rank);
        if (named == CASCADE_OK || named == CASCADE_EXISTS) {
            return named;
        }
    }
    status = bind_own(store, bind);
    if (status == CASCADE_EXISTS && named == CASCADE_TIMEOUT && bind->is_same) {
        bind->bound.existed = false;
        status = error_set(CASCADE_TIMEOUT,
                           "rank %u did not answer in time; that the key is "
                           "bound may be its doing for this put",
                           (unsigned)rank);
    }
    if (status == CASCADE_OK && bind->bound.place_taken) {
        store_cluster_copy_here(cluster, &bind->bind.id);
    } else if (claimed) {
        give_up_claim(cluster, &bind->bind.id);
    }
    return status;
}

// --- naming for others

struct naming {
    struct store_home_bind ask;
    struct fabric_answer answer;
    struct directory_bind bind;
    struct directory_bound bound;
    uint64_t deadline_ns;
    struct tier_pin pin;
    bool is_pinned;
    void (*ended)(struct fabric_call *call);
    uint8_t key_data[CASCADE_KEY_BYTES_MAX];
};

static void
end_naming(struct store_cluster *cluster, struct naming *naming,
           enum cascade_status status)
{
    struct name_reply reply = {
        .version = status == CASCADE_STALE ? naming->ask.reply.version
                                           : naming->bound.version,
        .protected_now = naming->bound.protected_now,
        .custodian = naming->ask.reply.custodian,
    };

    if (naming->is_pinned) {
        tier_dram_table.unpin(cluster->store->dram, &naming->pin);
    }
    fabric_port_answer(cluster->port, naming->answer, status, &reply,
                       sizeof(reply));
    allocator_release(cluster->allocator, naming);
}

// Engine thread: the name becomes a guest here, and its home is asked.
static void
try_naming(struct store_cluster *cluster, struct naming *naming)
{
    struct cascade *store = cluster->store;
    bool wants_protection = (naming->bind.flags & DIRECTORY_BIND_PROTECT) != 0;
    enum cascade_status status = CASCADE_NOT_FOUND;

    // Then the other rank sees what is newest here.
    naming->ask.reply.version = directory_next_version(store->directory);

    if (directory_has_copy(store->directory, &naming->bind.id)) {
        status = bind_here(store, &naming->bind, &naming->bound);
    }
    if (status == CASCADE_OK &&
        (!naming->bound.deduplicated ||
         (wants_protection && !naming->bound.protected_now))) {
        // The copy has just gone, or the budget here is used up: the other
        // rank keeps its own.
        store_cluster_take_back(store, &naming->bind.key,
                                naming->bound.version);
        status = naming->bound.deduplicated ? CASCADE_NO_SPACE
                                            : CASCADE_NOT_FOUND;
    }
    if (status != CASCADE_OK) {
        end_naming(cluster, naming, status);
        return;
    }
    store_cluster_prepare_bind(cluster, &naming->ask, &naming->bind,
                               &naming->bound, naming->deadline_ns);
    naming->ask.call.ended = naming->ended;
    fabric_port_begin(cluster->port, &naming->ask.call);
}

static void
naming_ended(struct fabric_call *call)
{
    struct store_home_bind *ask = call->context;
    struct naming *naming = (struct naming *)ask;
    struct store_cluster *cluster = ask->cluster;
    struct cascade *store = cluster->store;

    if (call->status == CASCADE_OK) {
        if (naming->bound.protected_now) {
            store_mark_protection(store, &naming->bind.id);
        }
        end_naming(cluster, naming, CASCADE_OK);
    } else if (call->status == CASCADE_EXISTS) {
        store_cluster_take_back(store, &naming->bind.key,
                                naming->bound.version);
        end_naming(cluster, naming, CASCADE_EXISTS);
    } else if (call->status != CASCADE_STALE) {
        if (!naming->bound.kept) {
            store_cluster_note_unconfirmed(cluster, &naming->bind.key,
                                           naming->bound.version,
                                           is_conditional(&naming->bind));
        }
        end_naming(cluster, naming, call->status);
    } else {
        directory_see_version(store->directory, ask->reply.version);
        if (naming->bound.kept) {
            give_up_kept(store, &naming->bind.key, ask->reply.version);
        } else {
            store_cluster_take_back(store, &naming->bind.key,
                                    naming->bound.version);
        }
        end_naming(cluster, naming, CASCADE_STALE);
    }
}

static void
hear_name(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct cascade *store = cluster->store;
    const size_t head = offsetof(struct name_request, key_data);
    struct name_request request;
    struct directory_found found;
    struct naming *naming;

    memset(&request, 0, sizeof(request));
    if (message->bytes >= head && message->bytes <= sizeof(request)) {
        memcpy(&request, message->data, message->bytes);
    }
    if (message->bytes != head + request.key_bytes || request.key_bytes == 0) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_INVALID,
                           NULL, 0);
        return;
    }
    naming = allocator_array(cluster->allocator, 1, sizeof(*naming));
    if (naming == NULL) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_NO_MEMORY,
                           NULL, 0);
        return;
    }
    naming->answer = message->answer;
    naming->ended = naming_ended;
    naming->deadline_ns = store_now(store) + request.timeout_ns;
    memcpy(naming->key_data, request.key_data, request.key_bytes);
    naming->bind.key = request.key;
    naming->bind.key_data = naming->key_data;
    naming->bind.key_bytes = request.key_bytes;
    naming->bind.id = request.id;
    naming->bind.bytes = request.bytes;
    naming->bind.flags = request.flags | DIRECTORY_BIND_EXACT;
    naming->bind.version = request.version;
    directory_see_version(store->directory, request.version);
    naming->ask.reply.custodian = DIRECTORY_RANK_NONE;
    // What is pinned is not evicted while the home thinks.
    if (directory_find_content(store->directory, &request.id, &found) ==
            CASCADE_OK &&
        block_place_is_set(&found.memory)) {
        naming->is_pinned = tier_dram_table.pin(store->dram, &found.memory,
                                                &naming->pin) == CASCADE_OK;
    }
    try_naming(cluster, naming);
}

void
store_cluster_names(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_NAME, hear_name, cluster);
}
