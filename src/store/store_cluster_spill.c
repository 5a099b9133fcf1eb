// SPDX-License-Identifier: Apache-2.0
//
// Spill: what is about to leave the memory of a rank goes to a rank with free
// memory. Both parts are steps of the background. The one
// that is short of room looks who has some and offers its coldest blocks; the
// one that has room reads them, as guests, under a lease. When the first drops
// its copy, the home of the key finds the guest and makes it the custodian
// (docs/DIRECTORY_PROTOCOL.md): there is no message of spill that moves custody,
// so one that is lost or late costs a block at most. With a cold tier the first
// stays the custodian, and reads the guest before its own segments.
//
// Invariant: nothing here makes an eviction wait; a put that finds no room waits
// for what is on its way as it does for the cold tier, at most put_wait. At most
// one offer of a rank is under way, and at most INBOX_MAX wait at one. A rank
// takes what leaves a part of its memory free, and evicts nothing for it.
//
// Locks: inbox_lock, a leaf. Questions end on the engine thread.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// Offers begin when less than this part of memory is free; that part at the cold
// end is offered at once.
#define SHORT_PART 8
#define OFFER_PART 16
// A rank takes no more when less than this part of its memory would be free.
#define KEEP_PART 4
#define OFFERS_MAX 48
#define INBOX_MAX 8
// A put that waited for another rank in vain spares those after it the wait.
#define VAIN_NS (5 * NS_PER_S)

#define ASKED_MAX 8 // ranks that are asked for room at a time
#define ASK_NS (NS_PER_S / 5)
#define ASK_AGAIN_NS NS_PER_S
#define OFFER_NS (5 * NS_PER_S)
#define TAKE_NS NS_PER_S
// Contents that were taken are remembered as bits of a hash; after half as many
// as there are bits it begins anew.
#define TAKEN_BITS 65536u

struct offer {
    struct block_key key;
    struct block_id id;
    uint64_t bytes;
    uint32_t name_bytes;
    uint32_t zero;
};

// An offer with the bytes of its key behind it, at most.
#define OFFER_BYTES (sizeof(struct offer) + CASCADE_KEY_BYTES_MAX)

_Static_assert(sizeof(struct offer) == 80, "no holes");
_Static_assert(OFFERS_MAX *OFFER_BYTES <= FABRIC_PAYLOAD_BYTES_MAX,
               "too large");

struct taken {
    uint8_t is_taken[OFFERS_MAX]; // by the order of offers
};

// Offers of another rank that wait for the background.
struct inbox_message {
    struct fabric_answer answer;
    uint16_t from;
    size_t bytes;
    uint8_t data[];
};

struct room_call {
    struct fabric_call call;
    struct store_cluster *cluster;
    uint64_t bytes; // the answer
};

struct store_cluster_spill {
    pthread_mutex_t inbox_lock;
    struct inbox_message *inbox[INBOX_MAX];
    size_t inbox_count;

    // Of the background.
    uint16_t ask_next;
    uint64_t asked_ns;
    uint8_t data[OFFERS_MAX * OFFER_BYTES];

    // Filled by the background while nothing is under way, else by the engine.
    _Atomic uint32_t under_way;
    struct room_call rooms[ASKED_MAX];
    struct fabric_call call;
    struct taken taken;
    struct block_place places[OFFERS_MAX]; // that were offered
    size_t offered;
    _Atomic uint64_t taken_bits[TAKEN_BITS / 64];
    uint32_t taken_count;
    _Atomic uint64_t vain_until_ns;
    _Atomic uint32_t best_rank; // rank_count: none is known
    _Atomic uint64_t best_bytes;
};

// The background has something to do, and those that wait for room look again.
static void
go_on(struct store_cluster_spill *spill, struct cascade *store)
{
    if (atomic_fetch_sub(&spill->under_way, 1) == 1) {
        store_background_kick(store);
        store_room_changed(store);
    }
}

static bool
is_on(const struct cascade *store)
{
    return store->cluster != NULL && store->settings.spill &&
           store->dram != NULL;
}

// What leaves memory here is nowhere else.
static bool
is_last(const struct cascade *store)
{
    return store->cold == NULL || store->settings.cold_look_only;
}

static uint32_t
bit_of(const struct block_id *id)
{
    uint32_t hash;

    memcpy(&hash, id->bytes, sizeof(hash));
    return hash % TAKEN_BITS;
}

static void
remember_taken(struct store_cluster_spill *spill, const struct block_id *id)
{
    uint32_t bit = bit_of(id);

    if (++spill->taken_count > TAKEN_BITS / 2) {
        spill->taken_count = 0;
        for (size_t i = 0; i < TAKEN_BITS / 64; i++) {
            atomic_store(&spill->taken_bits[i], 0);
        }
    }
    atomic_fetch_or(&spill->taken_bits[bit / 64], (uint64_t)1 << bit % 64);
}

// What more this rank would take.
static uint64_t
spare_bytes(const struct cascade *store)
{
    struct tier_usage usage;
    uint64_t keep;

    tier_dram_table.usage(store->dram, &usage);
    keep = usage.used_bytes + usage.capacity_bytes / KEEP_PART;
    return usage.capacity_bytes > keep ? usage.capacity_bytes - keep : 0;
}

static bool
is_short(const struct cascade *store)
{
    struct tier_usage usage;

    tier_dram_table.usage(store->dram, &usage);
    return usage.capacity_bytes - usage.used_bytes <
           usage.capacity_bytes / SHORT_PART;
}

// --- who has room

static void
hear_room(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    uint64_t bytes = is_on(cluster->store) ? spare_bytes(cluster->store) : 0;

    fabric_port_answer(cluster->port, message->answer, CASCADE_OK, &bytes,
                       sizeof(bytes));
}

static void
room_told(struct fabric_call *call)
{
    struct room_call *room = call->context;
    struct store_cluster_spill *spill = room->cluster->spill;

    if (call->status == CASCADE_OK &&
        call->reply_bytes == sizeof(room->bytes) &&
        room->bytes > atomic_load(&spill->best_bytes)) {
        atomic_store(&spill->best_bytes, room->bytes);
        atomic_store(&spill->best_rank, call->to);
    }
    go_on(spill, room->cluster->store);
}

// Asks some ranks, others each time.
static void
ask_for_room(struct cascade *store, uint64_t now_ns)
{
    struct store_cluster *cluster = store->cluster;
    struct store_cluster_spill *spill = cluster->spill;
    uint32_t count = (uint32_t)units_min(ASKED_MAX, cluster->rank_count - 1u);

    spill->asked_ns = now_ns;
    atomic_store(&spill->best_bytes, 0);
    atomic_store(&spill->best_rank, cluster->rank_count);
    atomic_store(&spill->under_way, count);
    for (uint32_t i = 0; i < count; i++) {
        struct room_call *room = &spill->rooms[i];

        spill->ask_next = (uint16_t)((spill->ask_next + 1u) %
                                     cluster->rank_count);
        if (spill->ask_next == cluster->rank) {
            spill->ask_next = (uint16_t)((spill->ask_next + 1u) %
                                         cluster->rank_count);
        }
        room->cluster = cluster;
        room->call = (struct fabric_call){
            .to = spill->ask_next,
            .subject = STORE_SUBJECT_ROOM,
            .reply = &room->bytes,
            .reply_room = sizeof(room->bytes),
            .deadline_ns = now_ns + ASK_NS,
            .ended = room_told,
            .context = room,
        };
        fabric_port_begin(cluster->port, &room->call);
    }
}

// --- offering

// What the slot holds may be offered: it is this rank's to keep, and was not.
static bool
may_be_offered(struct cascade *store, uint32_t slot,
               struct directory_found *found)
{
    bool was_spilled;

    store_policy_lock(store);
    was_spilled = (store->blocks[slot].flags & STORE_SLOT_SPILLED) != 0;
    store_policy_unlock(store);
    return !was_spilled &&
           directory_find_slot(store->directory, slot, found) == CASCADE_OK &&
           !found->guest && !found->content_protected &&
           found->memory.tier == CASCADE_TIER_LOCAL_DRAM;
}

static size_t
add_offer(struct cascade *store, const struct directory_found *found,
          uint8_t *to)
{
    struct offer offer = {
        .key = found->key,
        .id = found->id,
        .bytes = found->bytes,
    };

    offer.name_bytes = directory_key_bytes(store->directory, &found->key,
                                           to + sizeof(offer));
    memcpy(to, &offer, sizeof(offer));
    return sizeof(offer) + offer.name_bytes;
}

// The other rank has a copy: this one goes first when room is needed.
static void
mark_spilled(struct cascade *store, const struct block_place *place)
{
    struct directory_found found;

    if (directory_find_slot(store->directory, place->slot, &found) ==
            CASCADE_OK &&
        found.memory.generation == place->generation) {
        store_policy_lock(store);
        if ((store->blocks[place->slot].flags & STORE_SLOT_RESIDENT) != 0) {
            store->blocks[place->slot].flags |= STORE_SLOT_SPILLED;
        }
        store_policy_unlock(store);
        remember_taken(store->cluster->spill, &found.id);
    }
}

static void
offer_ended(struct fabric_call *call)
{
    struct store_cluster *cluster = call->context;
    struct store_cluster_spill *spill = cluster->spill;
    size_t taken = 0;

    if (call->status == CASCADE_OK &&
        call->reply_bytes == sizeof(spill->taken)) {
        for (size_t i = 0; i < spill->offered; i++) {
            if (spill->taken.is_taken[i] != 0) {
                taken++;
                mark_spilled(cluster->store, &spill->places[i]);
                metric_add(cluster->store->metrics, METRIC_SPILLS_TOTAL, 1);
                metric_add(cluster->store->metrics, METRIC_SPILL_BYTES_TOTAL,
                           spill->places[i].bytes);
            }
        }
    }
    if (taken == 0) {
        atomic_store(&spill->best_rank, cluster->rank_count); // ask again
    }
    go_on(spill, cluster->store);
}

// The coldest blocks, as far as the other rank has room. True if there are any.
static bool
offer_coldest(struct cascade *store, uint16_t rank, uint64_t room_bytes)
{
    struct store_cluster *cluster = store->cluster;
    struct store_cluster_spill *spill = cluster->spill;
    uint64_t limit = units_min(store->dram_capacity_bytes / OFFER_PART,
                               room_bytes);
    struct policy_cursor cursor;
    uint64_t looked = 0;
    uint64_t offered_bytes = 0;
    size_t used = 0;
    bool more = true;

    spill->offered = 0;
    memset(&cursor, 0, sizeof(cursor));
    while (more && spill->offered < OFFERS_MAX &&
           looked < store->dram_capacity_bytes / OFFER_PART) {
        struct directory_found found;
        uint32_t slot;

        store_policy_lock(store);
        more = store->policy->choose(store->policy_state, &cursor, &slot);
        store_policy_unlock(store);
        if (!more) {
            break;
        }
        looked += units_max(tier_dram_slot_bytes(store->dram, slot), 1);
        if (may_be_offered(store, slot, &found) &&
            found.bytes <= limit - offered_bytes) {
            offered_bytes += found.bytes;
            used += add_offer(store, &found, spill->data + used);
            spill->places[spill->offered++] = found.memory;
        }
    }
    if (spill->offered == 0) {
        return false;
    }
    atomic_store(&spill->best_bytes, room_bytes - offered_bytes);
    atomic_store(&spill->under_way, 1);
    spill->call = (struct fabric_call){
        .to = rank,
        .subject = STORE_SUBJECT_SPILL,
        .data = spill->data,
        .bytes = used,
        .reply = &spill->taken,
        .reply_room = sizeof(spill->taken),
        .deadline_ns = store_now(store) + OFFER_NS,
        .ended = offer_ended,
        .context = cluster,
    };
    fabric_port_begin(cluster->port, &spill->call);
    return true;
}

// --- taking

// The block becomes a guest, under a lease: so that the home of the key asks
// here when its custodian has lost it. `*fails`: nothing can be read now.
static bool
take(struct cascade *store, uint16_t from, const struct offer *offer,
     const uint8_t *name, bool *fails)
{
    struct store_cluster_found found;
    struct store_cluster_read read = {
        .deadline_ns = store_now(store) + TAKE_NS,
        .keep = true,
        .is_spill = true,
    };
    enum cascade_status status;

    if (offer->bytes > spare_bytes(store)) {
        return false;
    }
    status = store_cluster_find(store, &offer->key, read.deadline_ns, &found);
    if (status == CASCADE_OK && found.lease.custodian == from &&
        block_id_equal(&found.lease.id, &offer->id) &&
        !block_place_is_set(&found.found.memory)) {
        status = store_cluster_read(store, &offer->key, &found, &read);
        if (status == CASCADE_OK) {
            tier_dram_table.unpin(store->dram, &read.pin);
        }
        if (offer->name_bytes > 0) {
            directory_attach_key(store->directory, &offer->key, name,
                                 offer->name_bytes);
        }
    }
    *fails = status == CASCADE_TIMEOUT || status == CASCADE_CLOSED;
    return status == CASCADE_OK &&
           directory_has_copy(store->directory, &offer->id);
}

static void
take_all(struct cascade *store, struct inbox_message *message)
{
    struct taken taken = {{0}};
    size_t used = 0;
    bool fails = false;

    for (size_t i = 0; i < OFFERS_MAX && !fails && used < message->bytes; i++) {
        struct offer offer;
        const uint8_t *name;

        if (message->bytes - used < sizeof(offer)) {
            break;
        }
        memcpy(&offer, message->data + used, sizeof(offer));
        used += sizeof(offer);
        name = message->data + used;
        if (offer.name_bytes > CASCADE_KEY_BYTES_MAX ||
            offer.name_bytes > message->bytes - used) {
            break;
        }
        used += offer.name_bytes;
        taken.is_taken[i] = take(store, message->from, &offer, name, &fails);
    }
    fabric_port_answer(store->cluster->port, message->answer, CASCADE_OK,
                       &taken, sizeof(taken));
}

static void
hear_spill(void *context, const struct fabric_message *message)
{
    struct store_cluster *cluster = context;
    struct store_cluster_spill *spill = cluster->spill;
    struct inbox_message *kept = NULL;
    bool has_room;

    if (is_on(cluster->store)) {
        kept = allocator_array(cluster->allocator, 1,
                               sizeof(*kept) + message->bytes);
    }
    check(pthread_mutex_lock(&spill->inbox_lock) == 0);
    has_room = kept != NULL && spill->inbox_count < INBOX_MAX;
    if (has_room) {
        kept->answer = message->answer;
        kept->from = message->from;
        kept->bytes = message->bytes;
        memcpy(kept->data, message->data, message->bytes);
        spill->inbox[spill->inbox_count++] = kept;
    }
    check(pthread_mutex_unlock(&spill->inbox_lock) == 0);
    if (has_room) {
        store_background_kick(cluster->store);
    } else {
        allocator_release(cluster->allocator, kept);
        fabric_port_answer(cluster->port, message->answer, CASCADE_BUSY, NULL,
                           0);
    }
}

static struct inbox_message *
next_message(struct store_cluster_spill *spill)
{
    struct inbox_message *message = NULL;

    check(pthread_mutex_lock(&spill->inbox_lock) == 0);
    if (spill->inbox_count > 0) {
        message = spill->inbox[0];
        spill->inbox_count--;
        memmove(&spill->inbox[0], &spill->inbox[1],
                spill->inbox_count * sizeof(spill->inbox[0]));
    }
    check(pthread_mutex_unlock(&spill->inbox_lock) == 0);
    return message;
}

// --- from outside

bool
store_cluster_spill_step(struct cascade *store)
{
    struct store_cluster_spill *spill;
    struct inbox_message *message;
    uint64_t now_ns;
    uint32_t rank;

    if (!is_on(store) || !atomic_load(&store->cluster->serving)) {
        return false;
    }
    spill = store->cluster->spill;
    message = next_message(spill);
    if (message != NULL) {
        take_all(store, message);
        allocator_release(store->cluster->allocator, message);
        return true;
    }
    if (atomic_load(&spill->under_way) > 0 || !is_short(store)) {
        return false;
    }
    now_ns = store_now(store);
    rank = atomic_load(&spill->best_rank);
    if (rank < store->cluster->rank_count &&
        offer_coldest(store, (uint16_t)rank, atomic_load(&spill->best_bytes))) {
        return false;
    }
    if (spill->asked_ns == 0 || now_ns - spill->asked_ns >= ASK_AGAIN_NS) {
        ask_for_room(store, now_ns);
    }
    return false;
}

void
store_cluster_spill_wanted(struct cascade *store)
{
    if (is_on(store) && is_last(store) &&
        atomic_load(&store->cluster->spill->under_way) == 0) {
        store_background_kick(store);
    }
}

bool
store_cluster_is_spilling(struct cascade *store)
{
    const struct store_cluster_spill *spill;

    if (!is_on(store) || !is_last(store)) {
        return false;
    }
    spill = store->cluster->spill;
    return store_now(store) >= atomic_load(&spill->vain_until_ns) &&
           (atomic_load(&spill->under_way) > 0 ||
            atomic_load(&spill->best_rank) < store->cluster->rank_count);
}

void
store_cluster_spill_in_vain(struct cascade *store)
{
    if (store->cluster != NULL && store->cluster->spill != NULL) {
        atomic_store(&store->cluster->spill->vain_until_ns,
                     store_now(store) + VAIN_NS);
    }
}

bool
store_cluster_spill_waits(struct cascade *store, uint32_t slot)
{
    struct directory_found found;

    return store_cluster_is_spilling(store) &&
           may_be_offered(store, slot, &found);
}

bool
store_cluster_was_spilled(struct cascade *store, const struct block_id *id)
{
    uint32_t bit = bit_of(id);

    return is_on(store) &&
           (atomic_load(&store->cluster->spill->taken_bits[bit / 64]) >>
                bit % 64 &
            1) != 0;
}

void
store_cluster_forget_spilled(struct cascade *store, const struct block_id *id)
{
    uint32_t bit = bit_of(id);

    atomic_fetch_and(&store->cluster->spill->taken_bits[bit / 64],
                     ~((uint64_t)1 << bit % 64));
}

enum cascade_status
store_cluster_spill_open(struct store_cluster *cluster)
{
    cluster->spill = allocator_array(cluster->allocator, 1,
                                     sizeof(*cluster->spill));
    if (cluster->spill == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for many ranks");
    }
    check(pthread_mutex_init(&cluster->spill->inbox_lock, NULL) == 0);
    cluster->spill->ask_next = cluster->rank;
    atomic_store(&cluster->spill->best_rank, cluster->rank_count);
    return CASCADE_OK;
}

void
store_cluster_spill_close(struct store_cluster *cluster)
{
    struct inbox_message *message;

    if (cluster->spill == NULL) {
        return;
    }
    while ((message = next_message(cluster->spill)) != NULL) {
        allocator_release(cluster->allocator, message);
    }
    (void)pthread_mutex_destroy(&cluster->spill->inbox_lock);
    allocator_release(cluster->allocator, cluster->spill);
    cluster->spill = NULL;
}

void
store_cluster_spill(struct store_cluster *cluster)
{
    fabric_port_handle(cluster->port, STORE_SUBJECT_ROOM, hear_room, cluster);
    fabric_port_handle(cluster->port, STORE_SUBJECT_SPILL, hear_spill, cluster);
}
