// SPDX-License-Identifier: Apache-2.0
//
// One struct per peer. Peers that have anything under way are in one list, and
// are looked at when the earliest of their moments has come, or at every step
// while something could not be sent. The moment may be too early, never late.

#include "fabric/fabric_channel.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"

#define RECEIPT_DELAY_NS ((uint64_t)100000)
#define RECEIPT_EVERY 16 // messages that came, at the latest
#define RESEND_NS_MIN ((uint64_t)1000000)
#define RESEND_NS_MAX ((uint64_t)200000000)
#define ROUND_TRIP_NS_FIRST ((uint64_t)2000000)
#define BLOCKED_NS ((uint64_t)20000) // until the fabric is asked again
#define NEVER UINT64_MAX

struct parcel_queue {
    struct fabric_parcel *first;
    struct fabric_parcel *last;
    uint64_t count;
};

struct peer {
    _Atomic bool alive;
    bool active; // in the list of the channel
    bool rang;   // in the list of those that were sent something
    bool broken; // the fabric refused with CLOSED; lost at the next step
    uint16_t rank;
    uint32_t incarnation; // 0: not heard of yet
    struct peer *active_next;
    struct peer *active_previous;
    struct peer *rang_next;

    // To the peer.
    uint64_t number; // last given
    struct parcel_queue waiting;
    struct parcel_queue under_way; // not heard of; by number
    uint64_t resend_ns;
    uint64_t round_trip_ns;
    uint32_t tries;

    // From the peer.
    uint64_t heard;            // all up to it were delivered
    uint64_t held;             // bit i: heard + 1 + i is in `early`
    struct parcel_queue early; // by number
    uint32_t unreceipted;
    uint64_t receipt_ns;

    // Silence.
    uint64_t expected;
    uint64_t expected_ns; // since when something is expected; NEVER
    uint64_t probe_ns;
};

struct fabric_channel {
    struct fabric_channel_options options;
    bool reliable;
    bool blocked; // a peer has something that the fabric did not take
    struct peer *active;
    struct peer *rang;
    uint64_t due_ns;
    struct fabric_channel_usage usage;
    struct peer peers[];
};

static void
push(struct parcel_queue *queue, struct fabric_parcel *parcel)
{
    parcel->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = parcel;
    } else {
        queue->first = parcel;
    }
    queue->last = parcel;
    queue->count++;
}

static struct fabric_parcel *
pop(struct parcel_queue *queue)
{
    struct fabric_parcel *parcel = queue->first;

    if (parcel != NULL) {
        queue->first = parcel->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
        queue->count--;
    }
    return parcel;
}

static void
soon(struct fabric_channel *channel, uint64_t due_ns)
{
    if (due_ns < channel->due_ns) {
        channel->due_ns = due_ns;
    }
}

static void
activate(struct fabric_channel *channel, struct peer *peer)
{
    if (peer->active) {
        return;
    }
    peer->active = true;
    peer->active_previous = NULL;
    peer->active_next = channel->active;
    if (channel->active != NULL) {
        channel->active->active_previous = peer;
    }
    channel->active = peer;
}

static void
deactivate(struct fabric_channel *channel, struct peer *peer)
{
    if (!peer->active) {
        return;
    }
    if (peer->active_previous != NULL) {
        peer->active_previous->active_next = peer->active_next;
    } else {
        channel->active = peer->active_next;
    }
    if (peer->active_next != NULL) {
        peer->active_next->active_previous = peer->active_previous;
    }
    peer->active = false;
}

static void
drop_all(struct fabric_channel *channel, struct parcel_queue *queue)
{
    struct fabric_parcel *parcel;

    while ((parcel = pop(queue)) != NULL) {
        if (parcel->sent_ns == 0) {
            channel->options.sent(channel->options.context, parcel);
        }
        fabric_parcels_give(channel->options.parcels, parcel);
    }
}

// As it was before anything was heard of it.
static void
reset(struct fabric_channel *channel, struct peer *peer)
{
    drop_all(channel, &peer->waiting);
    drop_all(channel, &peer->under_way);
    while (peer->early.first != NULL) {
        fabric_parcels_give(channel->options.parcels, pop(&peer->early));
    }
    deactivate(channel, peer);
    peer->broken = false;
    peer->number = 0;
    peer->resend_ns = NEVER;
    peer->round_trip_ns = ROUND_TRIP_NS_FIRST;
    peer->tries = 0;
    peer->heard = 0;
    peer->held = 0;
    peer->unreceipted = 0;
    peer->receipt_ns = NEVER;
    peer->expected = 0;
    peer->expected_ns = NEVER;
    peer->probe_ns = NEVER;
}

static void
lose(struct fabric_channel *channel, struct peer *peer)
{
    if (!atomic_load_explicit(&peer->alive, memory_order_relaxed)) {
        return;
    }
    atomic_store_explicit(&peer->alive, false, memory_order_release);
    reset(channel, peer);
    channel->options.lost(channel->options.context, peer->rank);
}

// Hands a message to the fabric. False: it was not taken.
static bool
hand_over(struct fabric_channel *channel, struct peer *peer,
          struct fabric_header *header)
{
    const struct fabric *fabric = &channel->options.fabric;
    size_t bytes = sizeof(*header) + header->bytes;
    enum cascade_status status;

    header->magic = FABRIC_HEADER_MAGIC;
    header->incarnation = fabric->incarnation;
    header->to_incarnation = peer->incarnation;
    header->job = fabric->job;
    header->heard = peer->heard;
    header->held = peer->held;
    status = fabric->table->send(fabric->self, peer->rank, header, bytes);
    if (status == CASCADE_BUSY) {
        channel->blocked = true;
        return false;
    }
    if (status != CASCADE_OK) {
        peer->broken = true;
        channel->blocked = true;
        activate(channel, peer);
        return false;
    }
    channel->usage.sent++;
    channel->usage.bytes_sent += bytes;
    peer->unreceipted = 0;
    peer->receipt_ns = NEVER;
    if (!peer->rang) {
        peer->rang = true;
        peer->rang_next = channel->rang;
        channel->rang = peer;
    }
    return true;
}

static bool
send_bare(struct fabric_channel *channel, struct peer *peer,
          enum fabric_kind kind)
{
    struct fabric_header header = {.kind = (uint8_t)kind};

    return hand_over(channel, peer, &header);
}

// After how long without a sign a message is sent again.
static uint64_t
resend_delay_ns(const struct peer *peer)
{
    uint64_t delay_ns = RESEND_NS_MIN + 2 * peer->round_trip_ns;
    uint32_t doublings = peer->tries < 16 ? peer->tries : 16;

    delay_ns <<= doublings;
    return delay_ns < RESEND_NS_MAX ? delay_ns : RESEND_NS_MAX;
}

static void
expect(struct fabric_channel *channel, struct peer *peer, uint64_t now_ns)
{
    if (channel->options.silence_ns == 0) {
        return;
    }
    if (peer->expected_ns == NEVER) {
        peer->expected_ns = now_ns;
    }
    if (peer->probe_ns == NEVER) {
        peer->probe_ns = now_ns + channel->options.silence_ns / 4;
    }
    activate(channel, peer);
    soon(channel, peer->probe_ns);
}

// Sends what waits for the peer, as far as the window and the fabric allow.
static bool
flush(struct fabric_channel *channel, struct peer *peer, uint64_t now_ns)
{
    bool any = false;

    while (peer->waiting.first != NULL && !peer->broken &&
           peer->under_way.count < FABRIC_CHANNEL_WINDOW) {
        struct fabric_parcel *parcel = peer->waiting.first;

        parcel->header.number = peer->number + 1;
        if (!hand_over(channel, peer, &parcel->header)) {
            break;
        }
        any = true;
        peer->number++;
        (void)pop(&peer->waiting);
        channel->options.sent(channel->options.context, parcel);
        if (channel->reliable) {
            fabric_parcels_give(channel->options.parcels, parcel);
            continue;
        }
        parcel->sent_ns = now_ns == 0 ? 1 : now_ns;
        push(&peer->under_way, parcel);
        if (peer->resend_ns == NEVER) {
            peer->resend_ns = now_ns + resend_delay_ns(peer);
            soon(channel, peer->resend_ns);
        }
        expect(channel, peer, now_ns);
    }
    if (peer->waiting.first != NULL || peer->under_way.first != NULL) {
        activate(channel, peer);
    }
    return any;
}

// Sends again what was not heard of for long.
static bool
resend(struct fabric_channel *channel, struct peer *peer, uint64_t now_ns)
{
    uint64_t delay_ns = resend_delay_ns(peer);
    bool any = false;

    for (struct fabric_parcel *parcel = peer->under_way.first; parcel != NULL;
         parcel = parcel->next) {
        if (parcel->came || now_ns - parcel->sent_ns < delay_ns) {
            continue;
        }
        if (!hand_over(channel, peer, &parcel->header)) {
            break;
        }
        any = true;
        parcel->sent_ns = now_ns;
        parcel->again = true;
        channel->usage.repeated++;
    }
    if (any) {
        peer->tries++;
    }
    peer->resend_ns = now_ns + resend_delay_ns(peer);
    return any;
}

// What the peer says that it heard.
static void
take_receipt(struct fabric_channel *channel, struct peer *peer,
             const struct fabric_header *header, uint64_t now_ns)
{
    bool moved = false;
    struct fabric_parcel *parcel;

    if (header->heard > peer->number) {
        channel->usage.malformed++;
        return;
    }
    while (peer->under_way.first != NULL &&
           peer->under_way.first->header.number <= header->heard) {
        parcel = pop(&peer->under_way);
        if (!parcel->again) {
            uint64_t took_ns = now_ns - parcel->sent_ns;

            peer->round_trip_ns = (7 * peer->round_trip_ns + took_ns) / 8;
        }
        fabric_parcels_give(channel->options.parcels, parcel);
        moved = true;
    }
    for (parcel = peer->under_way.first; parcel != NULL && header->held != 0;
         parcel = parcel->next) {
        uint64_t place = parcel->header.number - header->heard - 1;

        if (place < FABRIC_CHANNEL_WINDOW && header->held >> place & 1) {
            parcel->came = true;
        }
    }
    if (moved) {
        peer->tries = 0;
        peer->resend_ns = NEVER;
        if (peer->under_way.first != NULL) {
            peer->resend_ns = now_ns + resend_delay_ns(peer);
            soon(channel, peer->resend_ns);
        }
        (void)flush(channel, peer, now_ns);
    }
}

static void
owe_receipt(struct fabric_channel *channel, struct peer *peer, uint64_t due_ns)
{
    if (due_ns < peer->receipt_ns) {
        peer->receipt_ns = due_ns;
    }
    activate(channel, peer);
    soon(channel, peer->receipt_ns);
}

static void
deliver(struct fabric_channel *channel, struct peer *peer,
        const struct fabric_header *header, const void *payload)
{
    peer->heard++;
    peer->held >>= 1;
    channel->usage.received++;
    channel->options.deliver(channel->options.context, peer->rank, header,
                             payload);
}

// Keeps a message that came before its turn. Without memory it will come again.
static void
keep_early(struct fabric_channel *channel, struct peer *peer,
           const struct fabric_header *header, const void *payload)
{
    uint64_t place = header->number - peer->heard - 1;
    struct fabric_parcel *parcel;
    struct fabric_parcel **where = &peer->early.first;

    if (place >= FABRIC_CHANNEL_WINDOW) {
        return;
    }
    if (peer->held >> place & 1) {
        channel->usage.doubled++;
        return;
    }
    parcel = fabric_parcels_take(channel->options.parcels, header->bytes);
    if (parcel == NULL) {
        return;
    }
    parcel->header = *header;
    if (header->bytes > 0) {
        memcpy(parcel->payload, payload, header->bytes);
    }
    while (*where != NULL && (*where)->header.number < header->number) {
        where = &(*where)->next;
    }
    parcel->next = *where;
    *where = parcel;
    if (parcel->next == NULL) {
        peer->early.last = parcel;
    }
    peer->early.count++;
    peer->held |= (uint64_t)1 << place;
}

// A message with a number, over a fabric that promises nothing.
static void
take_numbered(struct fabric_channel *channel, struct peer *peer,
              const struct fabric_header *header, const void *payload,
              uint64_t now_ns)
{
    uint32_t incarnation = peer->incarnation;

    if (header->number <= peer->heard) {
        channel->usage.doubled++;
        owe_receipt(channel, peer, now_ns);
        return;
    }
    if (header->number > peer->heard + 1) {
        keep_early(channel, peer, header, payload);
        owe_receipt(channel, peer, now_ns);
        return;
    }
    deliver(channel, peer, header, payload);
    while (peer->early.first != NULL &&
           peer->early.first->header.number == peer->heard + 1 &&
           peer->incarnation == incarnation) {
        struct fabric_parcel *parcel = pop(&peer->early);

        deliver(channel, peer, &parcel->header, parcel->payload);
        fabric_parcels_give(channel->options.parcels, parcel);
    }
    peer->unreceipted++;
    owe_receipt(channel, peer,
                peer->unreceipted >= RECEIPT_EVERY ? now_ns
                                                   : now_ns + RECEIPT_DELAY_NS);
}

static bool
is_wellformed(const struct fabric_channel *channel,
              const struct fabric_header *header, size_t bytes)
{
    bool numbered = header->kind <= FABRIC_KIND_ANSWER;

    return header->magic == FABRIC_HEADER_MAGIC && header->kind != 0 &&
           header->kind <= FABRIC_KIND_FAREWELL &&
           header->job == channel->options.fabric.job &&
           header->bytes == bytes - sizeof(*header) &&
           header->incarnation != 0 && (header->number != 0) == numbered &&
           (numbered || header->bytes == 0);
}

// Whether the message is of the peer's present life and for this rank's. What
// follows from its not being so is done.
static bool
is_of_now(struct fabric_channel *channel, struct peer *peer,
          const struct fabric_header *header, uint64_t now_ns)
{
    bool alive = atomic_load_explicit(&peer->alive, memory_order_relaxed);

    if (header->incarnation < peer->incarnation) {
        channel->usage.stale++;
        return false;
    }
    if (header->incarnation > peer->incarnation) {
        if (peer->incarnation != 0) {
            lose(channel, peer);
        }
        if (!alive || peer->incarnation != 0) {
            reset(channel, peer);
            atomic_store_explicit(&peer->alive, true, memory_order_release);
        }
        peer->incarnation = header->incarnation;
    } else if (!alive) {
        channel->usage.stale++;
        if (header->kind != FABRIC_KIND_FAREWELL) {
            (void)send_bare(channel, peer, FABRIC_KIND_FAREWELL);
        }
        return false;
    }
    if (header->to_incarnation != 0 &&
        header->to_incarnation != channel->options.fabric.incarnation) {
        channel->usage.stale++;
        owe_receipt(channel, peer, now_ns);
        return false;
    }
    return true;
}

static void
hear(struct fabric_channel *channel, struct peer *peer, uint64_t now_ns)
{
    bool more = peer->expected > 0 || peer->under_way.first != NULL;

    peer->expected_ns = NEVER;
    peer->probe_ns = NEVER;
    if (more) {
        expect(channel, peer, now_ns);
    }
}

static bool
watch_silence(struct fabric_channel *channel, struct peer *peer,
              uint64_t now_ns)
{
    uint64_t silence_ns = channel->options.silence_ns;
    bool any = false;

    if (peer->expected_ns == NEVER) {
        return false;
    }
    if (peer->expected == 0 && peer->under_way.first == NULL) {
        peer->expected_ns = NEVER;
        peer->probe_ns = NEVER;
        return false;
    }
    if (now_ns - peer->expected_ns >= silence_ns) {
        (void)send_bare(channel, peer, FABRIC_KIND_FAREWELL);
        lose(channel, peer);
        return true;
    }
    if (now_ns >= peer->probe_ns) {
        any = send_bare(channel, peer, FABRIC_KIND_PROBE);
        peer->probe_ns = now_ns + silence_ns / 4;
    }
    return any;
}

static bool
look_at(struct fabric_channel *channel, struct peer *peer, uint64_t now_ns)
{
    bool any = false;

    if (peer->broken) {
        lose(channel, peer);
        return true;
    }
    any |= flush(channel, peer, now_ns);
    if (now_ns >= peer->resend_ns) {
        any |= resend(channel, peer, now_ns);
    }
    if (now_ns >= peer->receipt_ns) {
        any |= send_bare(channel, peer, FABRIC_KIND_RECEIPT);
    }
    any |= watch_silence(channel, peer, now_ns);
    if (peer->broken) {
        return true;
    }
    soon(channel, peer->resend_ns);
    soon(channel, peer->receipt_ns);
    soon(channel, peer->probe_ns);
    if (peer->waiting.first == NULL && peer->under_way.first == NULL &&
        peer->receipt_ns == NEVER && peer->probe_ns == NEVER) {
        deactivate(channel, peer);
    }
    return any;
}

enum cascade_status
fabric_channel_open(const struct fabric_channel_options *options,
                    struct fabric_channel **opened)
{
    size_t count = options->fabric.rank_count;
    struct fabric_channel *channel = allocator_array(
        options->allocator, 1, sizeof(*channel) + count * sizeof(struct peer));

    if (channel == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for %zu peers; free some memory", count);
    }
    channel->options = *options;
    channel->reliable = options->fabric.capabilities & FABRIC_RELIABLE;
    channel->due_ns = NEVER;
    for (size_t i = 0; i < count; i++) {
        channel->peers[i].rank = (uint16_t)i;
        atomic_init(&channel->peers[i].alive, true);
        reset(channel, &channel->peers[i]);
    }
    *opened = channel;
    return CASCADE_OK;
}

void
fabric_channel_close(struct fabric_channel *channel)
{
    if (channel == NULL) {
        return;
    }
    for (size_t i = 0; i < channel->options.fabric.rank_count; i++) {
        reset(channel, &channel->peers[i]);
    }
    allocator_release(channel->options.allocator, channel);
}

void
fabric_channel_send(struct fabric_channel *channel,
                    struct fabric_parcel *parcel, uint64_t now_ns)
{
    struct peer *peer = &channel->peers[parcel->to];

    if (!atomic_load_explicit(&peer->alive, memory_order_relaxed)) {
        channel->options.sent(channel->options.context, parcel);
        fabric_parcels_give(channel->options.parcels, parcel);
        return;
    }
    push(&peer->waiting, parcel);
    (void)flush(channel, peer, now_ns);
}

void
fabric_channel_receive(struct fabric_channel *channel, uint16_t from,
                       const void *data, size_t bytes, uint64_t now_ns)
{
    struct fabric_header header;
    const uint8_t *payload = (const uint8_t *)data + sizeof(header);
    struct peer *peer;

    if (bytes < sizeof(header) || bytes > FABRIC_MESSAGE_BYTES_MAX ||
        from >= channel->options.fabric.rank_count) {
        channel->usage.malformed++;
        return;
    }
    memcpy(&header, data, sizeof(header));
    if (!is_wellformed(channel, &header, bytes)) {
        channel->usage.malformed++;
        return;
    }
    peer = &channel->peers[from];
    if (!is_of_now(channel, peer, &header, now_ns)) {
        return;
    }
    channel->usage.bytes_received += bytes;
    hear(channel, peer, now_ns);
    if (!channel->reliable) {
        take_receipt(channel, peer, &header, now_ns);
    }
    switch ((enum fabric_kind)header.kind) {
    case FABRIC_KIND_NOTICE:
    case FABRIC_KIND_REQUEST:
    case FABRIC_KIND_ANSWER:
        if (channel->reliable) {
            deliver(channel, peer, &header, payload);
        } else {
            take_numbered(channel, peer, &header, payload, now_ns);
        }
        break;
    case FABRIC_KIND_PROBE:
        owe_receipt(channel, peer, now_ns);
        break;
    case FABRIC_KIND_FAREWELL:
        lose(channel, peer);
        break;
    case FABRIC_KIND_RECEIPT:
        break;
    }
}

bool
fabric_channel_step(struct fabric_channel *channel, uint64_t now_ns)
{
    bool any = false;
    struct peer *next;

    if (!channel->blocked && now_ns < channel->due_ns) {
        return false;
    }
    channel->blocked = false;
    channel->due_ns = NEVER;
    for (struct peer *peer = channel->active; peer != NULL; peer = next) {
        next = peer->active_next;
        any |= look_at(channel, peer, now_ns);
    }
    return any;
}

uint64_t
fabric_channel_due_ns(const struct fabric_channel *channel, uint64_t now_ns)
{
    uint64_t again_ns = channel->blocked ? now_ns + BLOCKED_NS : NEVER;

    return again_ns < channel->due_ns ? again_ns : channel->due_ns;
}

void
fabric_channel_expect(struct fabric_channel *channel, uint16_t rank,
                      uint64_t answers, uint64_t now_ns)
{
    struct peer *peer = &channel->peers[rank];

    peer->expected = answers;
    if (answers > 0 &&
        atomic_load_explicit(&peer->alive, memory_order_relaxed)) {
        expect(channel, peer, now_ns);
    }
}

void
fabric_channel_lose(struct fabric_channel *channel, uint16_t rank)
{
    if (rank < channel->options.fabric.rank_count &&
        rank != channel->options.fabric.rank) {
        lose(channel, &channel->peers[rank]);
    }
}

bool
fabric_channel_is_alive(const struct fabric_channel *channel, uint16_t rank)
{
    return atomic_load_explicit(&channel->peers[rank].alive,
                                memory_order_acquire);
}

bool
fabric_channel_is_drained(const struct fabric_channel *channel)
{
    for (const struct peer *peer = channel->active; peer != NULL;
         peer = peer->active_next) {
        if (peer->waiting.first != NULL || peer->under_way.first != NULL ||
            peer->receipt_ns != NEVER) {
            return false;
        }
    }
    return true;
}

void
fabric_channel_sent_to(struct fabric_channel *channel,
                       void (*each)(void *context, uint16_t rank),
                       void *context)
{
    while (channel->rang != NULL) {
        struct peer *peer = channel->rang;

        channel->rang = peer->rang_next;
        peer->rang = false;
        if (each != NULL) {
            each(context, peer->rank);
        }
    }
}

void
fabric_channel_usage(const struct fabric_channel *channel,
                     struct fabric_channel_usage *usage)
{
    *usage = channel->usage;
}
