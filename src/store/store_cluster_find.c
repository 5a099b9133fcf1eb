// SPDX-License-Identifier: Apache-2.0
//
// Finding and reading what other ranks may keep: a lease or a lookup tells what
// a key is bound to; the bytes come from the own catalogue or from the memory of
// whoever has them. A block that is read often becomes a guest here. Leases are
// installed as answers arrive, on the engine thread.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define LOOKUP_MAX 256
// Reads are forgotten after a while, so that only what is hot comes closer.
#define REMOTE_HALF_LIFE_NS (600 * NS_PER_S)

// Many keys of one home.
struct lookup {
    struct fabric_call call;
    struct store_cluster *cluster;
    uint64_t asked_ns;
    uint32_t count;
    uint32_t items[LOOKUP_MAX]; // which keys of the caller
    struct {
        struct directory_message_count head;
        struct directory_message_lookup keys[LOOKUP_MAX];
    } request;
    struct {
        struct directory_message_count head;
        struct directory_message_found found[LOOKUP_MAX];
    } reply;
};

// The answer to a lookup of one key.
struct lookup_one {
    struct fabric_call call;
    struct store_cluster *cluster;
    uint64_t asked_ns;
    struct {
        struct directory_message_count head;
        struct directory_message_lookup key;
    } request;
    struct {
        struct directory_message_count head;
        struct directory_message_found found;
    } reply;
};

static struct directory_lease
lease_of(const struct directory_message_found *found, uint64_t asked_ns)
{
    uint64_t margin_ns = STORE_LEASE_MARGIN(found->lease_ns);

    return (struct directory_lease){
        .id = found->id,
        .version = found->version,
        .bytes = found->bytes,
        .end_ns = found->lease_ns > 0 ? asked_ns + found->lease_ns - margin_ns
                                      : 0,
        .flags = found->flags,
        .custodian = found->custodian,
    };
}

static void
install(struct store_cluster *cluster, const struct block_key *key,
        const struct directory_message_found *found, uint64_t asked_ns)
{
    struct directory_lease lease;

    directory_see_version(cluster->store->directory, found->version);
    if (found->status == CASCADE_OK && found->lease_ns > 0) {
        lease = lease_of(found, asked_ns);
        directory_leases_install(cluster->leases, key, &lease);
    }
}

static void
one_arrived(struct fabric_call *call)
{
    struct lookup_one *lookup = call->context;

    if (call->status == CASCADE_OK &&
        call->reply_bytes == sizeof(lookup->reply)) {
        install(lookup->cluster, &lookup->request.key.key, &lookup->reply.found,
                lookup->asked_ns);
    }
}

static enum cascade_status
look_up(struct store_cluster *cluster, const struct block_key *key,
        uint64_t deadline_ns, struct directory_lease *lease)
{
    struct lookup_one lookup;
    enum cascade_status status;

    memset(&lookup, 0, sizeof(lookup));
    lookup.cluster = cluster;
    lookup.asked_ns = store_now(cluster->store);
    lookup.request.head.count = 1;
    lookup.request.key.key = *key;
    lookup.call.to = store_cluster_key_home(cluster, key);
    lookup.call.subject = DIRECTORY_SUBJECT_LOOKUP;
    lookup.call.data = &lookup.request;
    lookup.call.bytes = sizeof(lookup.request);
    lookup.call.reply = &lookup.reply;
    lookup.call.reply_room = sizeof(lookup.reply);
    lookup.call.deadline_ns = deadline_ns;
    lookup.call.arrived = one_arrived;
    lookup.call.context = &lookup;
    status = fabric_port_ask(cluster->port, &lookup.call);
    if (status == CASCADE_OK &&
        (lookup.call.reply_bytes != sizeof(lookup.reply) ||
         lookup.reply.head.count != 1)) {
        status = error_set(CASCADE_INVALID,
                           "rank %u answers in another format; are all ranks "
                           "of one release?",
                           (unsigned)lookup.call.to);
    }
    if (status == CASCADE_OK) {
        status = (enum cascade_status)lookup.reply.found.status;
        *lease = lease_of(&lookup.reply.found, lookup.asked_ns);
    } else if (status == CASCADE_TIMEOUT || status == CASCADE_CLOSED) {
        status = error_set(
            status, "rank %u, the home of the key, did not answer (%s)",
            (unsigned)lookup.call.to, cascade_status_name(status));
    }
    return status;
}

enum cascade_status
store_cluster_find(struct cascade *store, const struct block_key *key,
                   uint64_t deadline_ns, struct store_cluster_found *found)
{
    struct store_cluster *cluster = store->cluster;
    enum cascade_status status = CASCADE_OK;

    memset(found, 0, sizeof(*found));
    if (!directory_leases_find(cluster->leases, key, store_now(store),
                               &found->lease)) {
        status = look_up(cluster, key, deadline_ns, &found->lease);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    if (directory_find_content(store->directory, &found->lease.id,
                               &found->found) != CASCADE_OK) {
        memset(&found->found, 0, sizeof(found->found));
        found->found.bytes = found->lease.bytes;
    }
    found->found.key = *key;
    found->found.version = found->lease.version;
    found->found.id = found->lease.id;
    found->found.flags = (found->lease.flags & DIRECTORY_MESSAGE_PROTECTED) != 0
                             ? DIRECTORY_PROTECTED
                             : 0;
    return CASCADE_OK;
}

// --- many keys

static void
many_arrived(struct fabric_call *call)
{
    struct lookup *lookup = call->context;

    if (call->status != CASCADE_OK ||
        lookup->reply.head.count != lookup->count ||
        call->reply_bytes !=
            sizeof(lookup->reply.head) +
                lookup->count * sizeof(lookup->reply.found[0])) {
        return;
    }
    for (uint32_t i = 0; i < lookup->count; i++) {
        install(lookup->cluster, &lookup->request.keys[i].key,
                &lookup->reply.found[i], lookup->asked_ns);
    }
}

// The lookup that goes to this home, begun if need be.
static struct lookup *
lookup_to(struct store_cluster *cluster, struct lookup **lookups, size_t *count,
          uint16_t home)
{
    size_t i = 0;

    while (i < *count && lookups[i]->call.to != home) {
        i++;
    }
    if (i == *count) {
        lookups[i] = allocator_array(cluster->allocator, 1, sizeof(**lookups));
        if (lookups[i] == NULL) {
            return NULL;
        }
        lookups[i]->call.to = home;
        lookups[i]->cluster = cluster;
        ++*count;
    }
    return lookups[i];
}

static void
send_lookups(struct store_cluster *cluster, struct lookup **lookups,
             size_t count, uint64_t deadline_ns)
{
    for (size_t i = 0; i < count; i++) {
        struct lookup *lookup = lookups[i];

        lookup->asked_ns = store_now(cluster->store);
        lookup->request.head.count = lookup->count;
        lookup->call.subject = DIRECTORY_SUBJECT_LOOKUP;
        lookup->call.data = &lookup->request;
        lookup->call.bytes = sizeof(lookup->request.head) +
                             lookup->count * sizeof(lookup->request.keys[0]);
        lookup->call.reply = &lookup->reply;
        lookup->call.reply_room = sizeof(lookup->reply);
        lookup->call.deadline_ns = deadline_ns;
        lookup->call.arrived = many_arrived;
        lookup->call.context = lookup;
        fabric_port_begin(cluster->port, &lookup->call);
    }
    for (size_t i = 0; i < count; i++) {
        fabric_port_wait(cluster->port, &lookups[i]->call, 1);
    }
}

// One message per home instead of one per key. What fails here is asked for
// again, one by one.
void
store_cluster_expect(struct cascade *store, const struct cascade_item *items,
                     size_t count, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    struct lookup *lookups[LOOKUP_MAX];
    size_t lookup_count = 0;
    uint64_t now_ns = store_now(store);

    check(count <= LOOKUP_MAX);
    for (size_t i = 0; i < count; i++) {
        struct directory_lease lease;
        struct block_key key;
        struct lookup *lookup;

        if (items[i].key.data == NULL || items[i].key.bytes == 0 ||
            items[i].key.bytes > CASCADE_KEY_BYTES_MAX) {
            continue;
        }
        block_key_of(store->settings.namespace_name, items[i].key.data,
                     items[i].key.bytes, &key);
        if (directory_leases_find(cluster->leases, &key, now_ns, &lease)) {
            continue;
        }
        lookup = lookup_to(cluster, lookups, &lookup_count,
                           store_cluster_key_home(cluster, &key));
        if (lookup == NULL) {
            break;
        }
        lookup->request.keys[lookup->count++].key = key;
    }
    send_lookups(cluster, lookups, lookup_count, deadline_ns);
    for (size_t i = 0; i < lookup_count; i++) {
        allocator_release(cluster->allocator, lookups[i]);
    }
}

// --- guests

struct install_request {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    struct block_place place;
    uint32_t surrogate;
    uint32_t zero;
};

struct install_reply {
    uint32_t taken; // the copy is listed
    uint32_t zero;
};

// On the engine thread: only while the lease of that very version is there, so
// that a recall that came first is not undone.
static void
hear_install(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct cascade *store = cluster->store;
    struct install_request request;
    struct install_reply reply = {0};
    struct directory_lease lease;
    struct directory_bound bound;

    if (message->from != cluster->rank || message->bytes != sizeof(request)) {
        fabric_port_answer(cluster->port, message->answer, CASCADE_INVALID,
                           NULL, 0);
        return;
    }
    memcpy(&request, message->data, sizeof(request));
    memset(&bound, 0, sizeof(bound));
    if (directory_leases_find(cluster->leases, &request.key, store_now(store),
                              &lease) &&
        block_version_compare(lease.version, request.version) == 0) {
        struct directory_bind bind = {
            .key = request.key,
            .id = request.id,
            .bytes = request.place.bytes,
            .flags = DIRECTORY_BIND_GUEST | DIRECTORY_BIND_EXACT,
            .version = request.version,
            .place = request.place,
        };

        if (request.surrogate != 0) {
            bind.flags |= DIRECTORY_BIND_SURROGATE;
        }
        if (directory_bind(store->directory, &bind, &bound) == CASCADE_OK) {
            reply.taken = bound.place_taken;
            store_free(store, &bound.freed);
        }
    }
    fabric_port_answer(cluster->port, message->answer, CASCADE_OK, &reply,
                       sizeof(reply));
}

void
store_cluster_installs(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_INSTALL, hear_install,
                       cluster);
}

// The slot holds the block: it becomes a guest if it may. The copy stays pinned
// in any case, for the caller to read.
static enum cascade_status
install_guest(struct cascade *store, const struct store_cluster_found *found,
              struct tier_slot *slot, uint32_t checksum, bool is_spill,
              struct tier_pin *pin)
{
    struct store_cluster *cluster = store->cluster;
    struct block_label label = {.id = found->found.id};
    struct block_digest digest = {.id = found->found.id, .checksum = checksum};
    struct store_block block = {
        .id = found->found.id,
        .bytes = found->found.bytes,
        // It was the coldest where it comes from: nothing of this rank goes
        // before it, unless it is used.
        .policy_flags = is_spill ? POLICY_SESSION_END : 0,
    };
    struct install_request request;
    struct install_reply reply = {0};
    enum cascade_status status = tier_dram_table.commit(
        store->dram, slot, &label, &digest, &pin->place);

    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, slot);
        return status;
    }
    check(tier_dram_table.pin(store->dram, &pin->place, pin) == CASCADE_OK);
    store_admit(store, pin->place.slot, &block, false);
    memset(&request, 0, sizeof(request));
    request.key = found->found.key;
    request.id = found->found.id;
    request.version = found->found.version;
    request.place = pin->place;
    request.surrogate = (found->lease.flags & DIRECTORY_MESSAGE_SURROGATE) != 0;
    // To oneself, and to the end: the place is in the message.
    if (store_cluster_ask(cluster, cluster->rank, STORE_SUBJECT_INSTALL,
                          &request, sizeof(request), &reply, sizeof(reply),
                          UINT64_MAX) != CASCADE_OK ||
        reply.taken == 0) {
        store_discard(store, &pin->place); // readable until it is unpinned
        return CASCADE_OK;
    }
    metric_add(store->metrics,
               is_spill ? METRIC_SPILLS_TAKEN_TOTAL : METRIC_PROMOTIONS_TOTAL,
               1);
    store_cluster_copy_here(cluster, &found->found.id);
    return CASCADE_OK;
}

// --- reads

// Ranks to try, best first, without this one.
struct candidates {
    uint16_t ranks[DIRECTORY_COPIES_MAX + 2];
    size_t count;
    size_t next;
};

static void
add_candidate(const struct store_cluster *cluster,
              struct candidates *candidates, uint16_t rank)
{
    if (rank >= cluster->rank_count || rank == cluster->rank) {
        return;
    }
    for (size_t i = 0; i < candidates->count; i++) {
        if (candidates->ranks[i] == rank) {
            return;
        }
    }
    if (candidates->count <
        sizeof(candidates->ranks) / sizeof(candidates->ranks[0])) {
        candidates->ranks[candidates->count++] = rank;
    }
}

static void
ask_copies(struct store_cluster *cluster, const struct block_id *id,
           uint64_t deadline_ns, struct candidates *candidates)
{
    struct {
        struct directory_message_count head;
        struct directory_message_find find;
    } request = {.head = {.count = 1}, .find = {.id = *id}};
    struct {
        struct directory_message_count head;
        struct directory_message_copies copies;
    } reply;

    if (store_cluster_ask(cluster, store_cluster_id_home(cluster, id),
                          DIRECTORY_SUBJECT_FIND, &request, sizeof(request),
                          &reply, sizeof(reply), deadline_ns) != CASCADE_OK) {
        return;
    }
    for (uint32_t i = 0; i < reply.copies.count && i < DIRECTORY_COPIES_MAX;
         i++) {
        add_candidate(cluster, candidates, reply.copies.ranks[i]);
    }
}

// One rank. The spans are the caller's, or the own slot's.
static enum cascade_status
read_from(struct cascade *store, const struct store_cluster_found *found,
          uint16_t rank, const struct cascade_span *spans, size_t span_count,
          bool verify, struct store_cluster_read *read,
          struct block_place *place)
{
    struct store_cluster *cluster = store->cluster;
    const struct block_place *hint = &found->lease.hint;
    struct tier_remote_read remote = {
        .rank = rank,
        .id = found->found.id,
        .bytes = found->found.bytes,
        .hint = block_place_is_set(hint) && hint->rank == rank ? hint : NULL,
        .spans = spans,
        .span_count = span_count,
        .verify = verify || store->settings.verify == STORE_VERIFY_ALWAYS,
        .deadline_ns = read->deadline_ns,
    };
    enum cascade_status status = tier_remote_read(cluster->remote, &remote);

    if (spans == read->spans) {
        read->given = read->given || remote.given;
    }
    if (status == CASCADE_OK) {
        // As its owner calls it: so it is read next time.
        directory_leases_hint(cluster->leases, &found->found.key,
                              found->found.version, &remote.place);
        *place = remote.place;
        place->tier = CASCADE_TIER_REMOTE_DRAM;
        place->rank = rank;
    }
    return status;
}

static bool
is_miss(enum cascade_status status)
{
    return status == CASCADE_NOT_FOUND || status == CASCADE_STALE;
}

// From whoever has it.
static enum cascade_status
read_anywhere(struct cascade *store, const struct store_cluster_found *found,
              const struct cascade_span *spans, size_t span_count, bool verify,
              struct store_cluster_read *read, struct block_place *place)
{
    struct store_cluster *cluster = store->cluster;
    struct candidates candidates = {.count = 0};
    bool asked = false;

    if (block_place_is_set(&found->lease.hint)) {
        add_candidate(cluster, &candidates, found->lease.hint.rank);
    }
    add_candidate(cluster, &candidates, found->lease.custodian);
    for (;;) {
        enum cascade_status status;

        if (candidates.next == candidates.count && !asked) {
            asked = true;
            ask_copies(cluster, &found->found.id, read->deadline_ns,
                       &candidates);
        }
        if (candidates.next == candidates.count) {
            return CASCADE_STALE;
        }
        status = read_from(store, found, candidates.ranks[candidates.next++],
                           spans, span_count, verify, read, place);
        if (status == CASCADE_OK) {
            return status;
        }
        if (status == CASCADE_CORRUPT) {
            read->damaged = true;
        } else if (is_miss(status)) {
            metric_add(store->metrics, METRIC_STALE_PLACES_TOTAL, 1);
        } else if (read->remembered == CASCADE_OK) {
            read->remembered = status;
        }
    }
}

enum cascade_status
store_cluster_read_spilled(struct cascade *store,
                           const struct store_cluster_found *found,
                           struct store_cluster_read *read)
{
    return read_anywhere(store, found, read->spans, read->span_count, false,
                         read, &read->served);
}

// Into an own slot, pinned; a guest from then on if it may be one.
static enum cascade_status
read_into_slot(struct cascade *store, const struct store_cluster_found *found,
               struct store_cluster_read *read, struct tier_pin *pin)
{
    struct tier_slot slot;
    struct cascade_span span;
    struct block_place place;
    enum cascade_status status = store_reserve(store, found->found.bytes, 0,
                                               &slot);

    if (status != CASCADE_OK) {
        return CASCADE_NO_SPACE;
    }
    memset(&span, 0, sizeof(span));
    span.data = slot.memory;
    span.bytes = found->found.bytes;
    span.memory = CASCADE_MEMORY_HOST;
    status = read_anywhere(store, found, &span, 1, true, read, &place);
    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, &slot);
        return status;
    }
    // The rest of the granule is zero, as of every block in the arena.
    memset((uint8_t *)slot.memory + found->found.bytes, 0,
           units_round_up(found->found.bytes, store->granule_bytes) -
               found->found.bytes);
    read->served = place;
    return install_guest(store, found, &slot, place.checksum, read->is_spill,
                         pin);
}

// The block is wanted here often enough to be kept.
static bool
is_hot(struct cascade *store, const struct block_key *key)
{
    return store->settings.locality_aware && store->dram != NULL &&
           directory_leases_note_remote(
               store->cluster->leases, key, store_now(store),
               REMOTE_HALF_LIFE_NS) >= store->settings.promotion_threshold;
}

// Through an own slot to the caller.
static enum cascade_status
read_and_keep(struct cascade *store, const struct store_cluster_found *found,
              struct store_cluster_read *read)
{
    struct tier_pin pin;
    enum cascade_status status = read_into_slot(store, found, read, &pin);

    if (status == CASCADE_OK) {
        read->given = true;
        status = tier_dram_table.read(store->dram, &pin, read->spans,
                                      read->span_count, false);
        tier_dram_table.unpin(store->dram, &pin);
    }
    return status;
}

enum cascade_status
store_cluster_read(struct cascade *store, const struct block_key *key,
                   const struct store_cluster_found *found,
                   struct store_cluster_read *read)
{
    static const struct block_version highest = {UINT64_MAX, UINT64_MAX};
    enum cascade_status status = CASCADE_NO_SPACE;

    if (read->keep) {
        status = read_into_slot(store, found, read, &read->pin);
    } else {
        if (is_hot(store, key)) {
            status = read_and_keep(store, found, read);
        }
        if (status == CASCADE_NO_SPACE) {
            status = read_anywhere(store, found, read->spans, read->span_count,
                                   false, read, &read->served);
        }
    }
    if (status == CASCADE_STALE) {
        directory_leases_drop(store->cluster->leases, key, highest);
    }
    return status;
}
