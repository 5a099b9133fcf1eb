// SPDX-License-Identifier: Apache-2.0
//
// Requests and answers. An open call is known by its ticket alone: an answer
// whose ticket is not open any more came late and is dropped. A ticket holds
// the incarnation, so that no answer to a predecessor of this rank fits.

#include <string.h>

#include "base/check.h"
#include "fabric/fabric_port_inner.h"

#define TICKET_BITS 40

static struct fabric_call **
bucket_of(struct fabric_port *port, uint64_t ticket)
{
    return &port->buckets[ticket & (FABRIC_PORT_BUCKETS - 1)];
}

static void
count_expected(struct fabric_port *port, uint16_t to, bool more)
{
    if (more) {
        port->expected[to]++;
        port->calls_open++;
    } else {
        port->expected[to]--;
        port->calls_open--;
    }
    if (to != port->fabric.rank) {
        fabric_channel_expect(port->channel, to, port->expected[to],
                              port->now_ns);
    }
}

static void
unlink_call(struct fabric_port *port, struct fabric_call *call)
{
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        *bucket_of(port, call->ticket) = call->next;
    }
    if (call->next != NULL) {
        call->next->previous = call->previous;
    }
    count_expected(port, call->to, false);
}

static struct fabric_call *
find_call(struct fabric_port *port, uint64_t ticket, uint16_t from)
{
    struct fabric_call *call = *bucket_of(port, ticket);

    while (call != NULL && (call->ticket != ticket || call->to != from)) {
        call = call->next;
    }
    return call;
}

static void
take_answer(struct fabric_port *port, uint16_t from,
            const struct fabric_header *header, const void *payload)
{
    struct fabric_call *call = find_call(port, header->ticket, from);
    enum cascade_status status = CASCADE_INVALID;

    if (call == NULL) {
        return;
    }
    unlink_call(port, call);
    if (header->status < CASCADE_STATUS_COUNT) {
        status = (enum cascade_status)header->status;
    }
    call->reply_bytes = header->bytes;
    if (header->bytes > call->reply_room) {
        status = CASCADE_TOO_SMALL;
    } else if (header->bytes > 0) {
        memcpy(call->reply, payload, header->bytes);
    }
    call->status = status;
    if (call->arrived != NULL) {
        call->arrived(call);
    }
    fabric_port_end_call(call, call->status);
}

static void
take_message(struct fabric_port *port, uint16_t from,
             const struct fabric_header *header, const void *payload)
{
    const struct fabric_port_handler *handler = NULL;
    struct fabric_message message = {
        .from = from,
        .subject = header->subject,
        .data = payload,
        .bytes = header->bytes,
        .answer = {.to = from},
    };

    if (header->kind == FABRIC_KIND_REQUEST) {
        if (header->ticket == 0 || !fabric_parcels_reserve(&port->parcels)) {
            port->malformed++;
            return;
        }
        message.answer.ticket = header->ticket;
    }
    if (header->subject < FABRIC_PORT_SUBJECTS) {
        handler = &port->handlers[header->subject];
    }
    if (handler == NULL || handler->handle == NULL) {
        port->unhandled++;
        fabric_port_answer(port, message.answer, CASCADE_UNSUPPORTED, NULL, 0);
        return;
    }
    handler->handle(handler->context, &message);
}

static void
end_listed(struct fabric_call *list, enum cascade_status status)
{
    while (list != NULL) {
        struct fabric_call *call = list;

        list = call->next;
        fabric_port_end_call(call, status);
    }
}

void
fabric_port_end_call(struct fabric_call *call, enum cascade_status status)
{
    call->status = status;
    if (call->ended != NULL) {
        atomic_store_explicit(&call->state, FABRIC_CALL_IDLE,
                              memory_order_relaxed);
        call->ended(call);
        return;
    }
    // From here on the call may be gone; waking an address harms nobody.
    if (atomic_exchange_explicit(&call->state, FABRIC_CALL_ENDED,
                                 memory_order_acq_rel) == FABRIC_CALL_AWAITED) {
        fabric_port_wake(&call->state, false);
    }
}

void
fabric_port_register(struct fabric_port *port, struct fabric_parcel *parcel)
{
    struct fabric_call *call = parcel->call;
    struct fabric_call **bucket;

    parcel->call = NULL;
    if (!fabric_channel_is_alive(port->channel, call->to)) {
        fabric_port_end_call(call, CASCADE_CLOSED);
        return;
    }
    port->ticket = (port->ticket + 1) & (((uint64_t)1 << TICKET_BITS) - 1);
    call->ticket = (uint64_t)port->fabric.incarnation << TICKET_BITS |
                   port->ticket;
    parcel->header.ticket = call->ticket;
    bucket = bucket_of(port, call->ticket);
    call->previous = NULL;
    call->next = *bucket;
    if (*bucket != NULL) {
        (*bucket)->previous = call;
    }
    *bucket = call;
    count_expected(port, call->to, true);
    if (call->deadline_ns < port->deadline_ns) {
        port->deadline_ns = call->deadline_ns;
    }
}

void
fabric_port_deliver(void *context, uint16_t from,
                    const struct fabric_header *header, const void *payload)
{
    struct fabric_port *port = context;

    if (header->kind == FABRIC_KIND_ANSWER) {
        take_answer(port, from, header, payload);
    } else {
        take_message(port, from, header, payload);
    }
}

bool
fabric_port_expire(struct fabric_port *port)
{
    struct fabric_call *ended = NULL;
    struct fabric_call *next;

    if (port->now_ns < port->deadline_ns) {
        return false;
    }
    port->deadline_ns = UINT64_MAX;
    for (size_t i = 0; i < FABRIC_PORT_BUCKETS; i++) {
        for (struct fabric_call *call = port->buckets[i]; call != NULL;
             call = next) {
            next = call->next;
            if (call->deadline_ns <= port->now_ns) {
                unlink_call(port, call);
                call->next = ended;
                ended = call;
                port->calls_timed_out++;
            } else if (call->deadline_ns < port->deadline_ns) {
                port->deadline_ns = call->deadline_ns;
            }
        }
    }
    end_listed(ended, CASCADE_TIMEOUT);
    return ended != NULL;
}

void
fabric_port_end_calls(struct fabric_port *port, int32_t rank)
{
    struct fabric_call *ended = NULL;
    struct fabric_call *next;

    for (size_t i = 0; i < FABRIC_PORT_BUCKETS; i++) {
        for (struct fabric_call *call = port->buckets[i]; call != NULL;
             call = next) {
            next = call->next;
            if (rank < 0 || call->to == rank) {
                unlink_call(port, call);
                call->next = ended;
                ended = call;
            }
        }
    }
    end_listed(ended, CASCADE_CLOSED);
}

// Puts a parcel into the queue. OK, BUSY or CLOSED; the parcel is the caller's
// unless OK.
static enum cascade_status
hand_in(struct fabric_port *port, struct fabric_parcel *parcel, bool bounded)
{
    enum cascade_status status = CASCADE_OK;

    pthread_mutex_lock(&port->lock);
    if (port->stopped) {
        status = CASCADE_CLOSED;
    } else if (bounded && port->depth[parcel->to] >= FABRIC_PORT_QUEUE_MAX) {
        status = CASCADE_BUSY;
    } else {
        parcel->counted = bounded;
        port->depth[parcel->to] += bounded;
        port->depth_all++;
        parcel->next = NULL;
        if (port->handed.last != NULL) {
            port->handed.last->next = parcel;
        } else {
            port->handed.first = parcel;
        }
        port->handed.last = parcel;
    }
    pthread_mutex_unlock(&port->lock);
    return status;
}

static void
fill(struct fabric_parcel *parcel, uint16_t to, enum fabric_kind kind,
     const void *data, size_t bytes)
{
    parcel->to = to;
    parcel->header.kind = (uint8_t)kind;
    parcel->header.bytes = (uint32_t)bytes;
    if (bytes > 0) {
        memcpy(parcel->payload, data, bytes);
    }
}

enum cascade_status
fabric_port_tell(struct fabric_port *port, uint16_t to, uint8_t subject,
                 const void *data, size_t bytes)
{
    struct fabric_parcel *parcel;
    enum cascade_status status;

    check(to < port->fabric.rank_count && subject < FABRIC_SUBJECTS_MAX);
    check(bytes <= FABRIC_PAYLOAD_BYTES_MAX);
    if (!fabric_channel_is_alive(port->channel, to)) {
        return CASCADE_CLOSED;
    }
    parcel = fabric_parcels_take(&port->parcels, bytes);
    if (parcel == NULL) {
        return CASCADE_BUSY;
    }
    fill(parcel, to, FABRIC_KIND_NOTICE, data, bytes);
    parcel->header.subject = subject;
    status = hand_in(port, parcel, true);
    if (status != CASCADE_OK) {
        fabric_parcels_give(&port->parcels, parcel);
        return status;
    }
    fabric_port_hand_over(port, true);
    return CASCADE_OK;
}

// To be ended on the engine thread, for it was not taken.
static void
refuse(struct fabric_port *port, struct fabric_call *call,
       enum cascade_status status)
{
    if (call->ended == NULL) {
        fabric_port_end_call(call, status);
        return;
    }
    call->status = status;
    pthread_mutex_lock(&port->lock);
    call->next = port->refused;
    port->refused = call;
    pthread_mutex_unlock(&port->lock);
    fabric_port_hand_over(port, true);
}

void
fabric_port_submit(struct fabric_port *port, struct fabric_call *call,
                   uint8_t subject, bool ring)
{
    struct fabric_parcel *parcel;
    enum cascade_status status;

    check(call->to < port->fabric.rank_count);
    check(call->bytes <= FABRIC_PAYLOAD_BYTES_MAX);
    call->reply_bytes = 0;
    atomic_store_explicit(&call->state, FABRIC_CALL_OPEN, memory_order_relaxed);
    parcel = fabric_parcels_take(&port->parcels, call->bytes);
    if (parcel == NULL) {
        refuse(port, call, CASCADE_BUSY);
        return;
    }
    fill(parcel, call->to, FABRIC_KIND_REQUEST, call->data, call->bytes);
    parcel->header.subject = subject;
    parcel->call = call;
    status = hand_in(port, parcel, true);
    if (status != CASCADE_OK) {
        fabric_parcels_give(&port->parcels, parcel);
        refuse(port, call, status);
        return;
    }
    fabric_port_hand_over(port, ring);
}

void
fabric_port_begin(struct fabric_port *port, struct fabric_call *call)
{
    check(call->subject < FABRIC_SUBJECTS_MAX);
    fabric_port_submit(port, call, call->subject, true);
}

void
fabric_port_answer(struct fabric_port *port, struct fabric_answer answer,
                   enum cascade_status status, const void *data, size_t bytes)
{
    struct fabric_parcel *parcel;
    bool fits;

    if (answer.ticket == 0) {
        return;
    }
    check(bytes <= FABRIC_PAYLOAD_BYTES_MAX);
    parcel = fabric_parcels_take_reserved(&port->parcels, bytes, &fits);
    if (!fits) {
        status = CASCADE_NO_MEMORY;
        bytes = 0;
    }
    fill(parcel, answer.to, FABRIC_KIND_ANSWER, data, bytes);
    parcel->header.status = (uint16_t)status;
    parcel->header.ticket = answer.ticket;
    if (hand_in(port, parcel, false) != CASCADE_OK) {
        fabric_parcels_give(&port->parcels, parcel);
        return;
    }
    fabric_port_hand_over(port, true);
}
