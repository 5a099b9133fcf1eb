// SPDX-License-Identifier: Apache-2.0
//
// Listing protected keys of all ranks: the list has digests, and the bytes of a
// key are known to who has put it or keeps it. What is not known here is asked
// of the other ranks, many keys at a time. Takes no lock across a question.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

#define NAMES_MAX 56 // whose bytes fit into one answer
#define NAMES_BYTES (NAMES_MAX * (CASCADE_KEY_BYTES_MAX + sizeof(uint32_t)))

_Static_assert(NAMES_BYTES <= FABRIC_PAYLOAD_BYTES_MAX, "too large");

static void
answer_plain(struct store_cluster *cluster,
             const struct fabric_message *message, enum cascade_status status)
{
    fabric_port_answer(cluster->port, message->answer, status, NULL, 0);
}

// --- names

// The bytes of keys that this rank may know; it may have to read segments.
struct naming {
    struct store_cluster *cluster;
    struct fabric_answer answer;
    uint32_t count;
    struct block_key keys[NAMES_MAX];
    uint8_t reply[NAMES_BYTES];
};

// A key that is bound here without its bytes.
static bool
lacks_name(struct cascade *store, const struct block_key *key)
{
    struct directory_found found;
    uint8_t name[CASCADE_KEY_BYTES_MAX];

    return directory_key_bytes(store->directory, key, name) == 0 &&
           directory_find_binding(store->directory, key, &found) == CASCADE_OK;
}

static void
run_naming(void *context)
{
    struct naming *naming = context;
    struct store_cluster *cluster = naming->cluster;
    struct cascade *store = cluster->store;
    bool lacks = false;
    size_t used = 0;

    for (uint32_t i = 0; i < naming->count && !lacks; i++) {
        lacks = lacks_name(store, &naming->keys[i]);
    }
    if (lacks) {
        (void)store_attach_keys(store);
    }
    for (uint32_t i = 0; i < naming->count; i++) {
        uint8_t *to = naming->reply + used + sizeof(uint32_t);
        uint32_t bytes = directory_key_bytes(store->directory, &naming->keys[i],
                                             to);

        memcpy(naming->reply + used, &bytes, sizeof(bytes));
        used += sizeof(bytes) + bytes;
    }
    fabric_port_answer(cluster->port, naming->answer, CASCADE_OK, naming->reply,
                       used);
    allocator_release(cluster->allocator, naming);
}

static void
hear_names(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    size_t count = message->bytes / sizeof(struct block_key);
    enum cascade_status status = CASCADE_NO_MEMORY;
    struct naming *naming;

    if (count == 0 || count > NAMES_MAX ||
        message->bytes != count * sizeof(struct block_key)) {
        answer_plain(cluster, message, CASCADE_INVALID);
        return;
    }
    naming = allocator_array(cluster->allocator, 1, sizeof(*naming));
    if (naming != NULL) {
        naming->cluster = cluster;
        naming->answer = message->answer;
        naming->count = (uint32_t)count;
        memcpy(naming->keys, message->data, message->bytes);
        status = store_cluster_work(cluster, run_naming, naming);
    }
    if (status != CASCADE_OK) {
        allocator_release(cluster->allocator, naming);
        answer_plain(cluster, message, status);
    }
}

// --- looking

struct listed {
    struct directory_registry_entry entry;
    uint32_t name_bytes; // 0: not known
    uint8_t name[CASCADE_KEY_BYTES_MAX];
};

struct listing {
    struct directory_registry_entry entries[NAMES_MAX];
    struct listed listed[NAMES_MAX];
    size_t count;
    uint64_t cursor;
    uint8_t reply[NAMES_BYTES];
};

// Asks one rank for the names that are missing. False: none is.
static bool
ask_names(struct store_cluster *cluster, uint16_t rank, struct listing *listing,
          uint64_t deadline_ns)
{
    struct block_key keys[NAMES_MAX];
    size_t asked[NAMES_MAX];
    size_t count = 0;
    size_t at = 0;
    struct fabric_call call = {
        .to = rank,
        .subject = STORE_SUBJECT_NAMES,
        .data = keys,
        .reply = listing->reply,
        .reply_room = sizeof(listing->reply),
        .deadline_ns = deadline_ns,
    };

    for (size_t i = 0; i < listing->count; i++) {
        if (listing->listed[i].name_bytes == 0) {
            asked[count] = i;
            keys[count++] = listing->listed[i].entry.key;
        }
    }
    call.bytes = count * sizeof(keys[0]);
    if (count == 0 || fabric_port_ask(cluster->port, &call) != CASCADE_OK) {
        return count > 0;
    }
    for (size_t i = 0; i < count; i++) {
        struct listed *listed = &listing->listed[asked[i]];
        uint32_t bytes;

        if (call.reply_bytes - at < sizeof(bytes)) {
            return true;
        }
        memcpy(&bytes, listing->reply + at, sizeof(bytes));
        at += sizeof(bytes);
        if (bytes > CASCADE_KEY_BYTES_MAX || bytes > call.reply_bytes - at) {
            return true;
        }
        memcpy(listed->name, listing->reply + at, bytes);
        listed->name_bytes = bytes;
        at += bytes;
    }
    return true;
}

// Copies the next entries out of the list and finds their names.
static void
fill(struct cascade *store, struct listing *listing, uint64_t deadline_ns)
{
    struct store_cluster *cluster = store->cluster;
    bool more = true;

    listing->count = store_cluster_registry_scan(cluster, &listing->cursor,
                                                 listing->entries, NAMES_MAX);
    for (size_t i = 0; i < listing->count; i++) {
        struct listed *listed = &listing->listed[i];

        listed->entry = listing->entries[i];
        listed->name_bytes = directory_key_bytes(
            store->directory, &listed->entry.key, listed->name);
    }
    for (uint16_t r = 0; r < cluster->rank_count && more; r++) {
        if (fabric_port_is_alive(cluster->port, r)) {
            more = ask_names(cluster, r, listing, deadline_ns);
        }
    }
}

static bool
show(struct cascade *store, const struct listed *listed,
     bool (*visit)(void *context, const struct cascade_entry *entry),
     void *context)
{
    struct directory_found found;
    struct cascade_entry entry = {
        .key = {listed->name, listed->name_bytes},
        .bytes = listed->entry.bytes,
        .protected_prefix = true,
    };

    memcpy(entry.key_digest, listed->entry.key.bytes, sizeof(entry.key_digest));
    memcpy(entry.id, listed->entry.id.bytes, sizeof(entry.id));
    if (directory_find_content(store->directory, &listed->entry.id, &found) ==
        CASCADE_OK) {
        entry.in_memory = block_place_is_set(&found.memory);
        entry.on_segments = block_place_is_set(&found.cold);
    }
    return visit(context, &entry);
}

enum cascade_status
store_cluster_list_protected(struct cascade *store, uint64_t deadline_ns,
                             bool (*visit)(void *context,
                                           const struct cascade_entry *entry),
                             void *context)
{
    struct store_cluster *cluster = store->cluster;
    struct store_registry_usage usage;
    struct listing *listing = allocator_array(cluster->allocator, 1,
                                              sizeof(*listing));
    bool more = true;

    if (listing == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to list keys");
    }
    do {
        fill(store, listing, deadline_ns);
        for (size_t i = 0; i < listing->count && more; i++) {
            more = show(store, &listing->listed[i], visit, context);
        }
    } while (more && listing->count > 0);
    allocator_release(cluster->allocator, listing);
    store_cluster_registry_usage(cluster, &usage);
    if (usage.missing > 0) {
        return error_set(CASCADE_NO_SPACE,
                         "%llu protected keys are not in this rank's list, "
                         "which is full; raise max_blocks",
                         (unsigned long long)usage.missing);
    }
    return CASCADE_OK;
}

void
store_cluster_list(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_NAMES, hear_names, cluster);
}
