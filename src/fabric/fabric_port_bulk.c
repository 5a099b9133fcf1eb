// SPDX-License-Identifier: Apache-2.0
//
// Bulk on its way to the fabric. What is queued lies in the transfer itself:
// until the fabric has taken it, its words for the implementation hold what was
// asked for.

#include "base/check.h"
#include "fabric/fabric_port_inner.h"

enum bulk_kind {
    BULK_PUSH = 0,
    BULK_LAND = 1,
    BULK_READ = 2,
};

// Which word holds what.
enum bulk_word {
    WORD_NEXT = 0,
    WORD_KIND = 1,
    WORD_RANK = 2,
    WORD_WHERE = 3, // tag or offset
    WORD_MEMORY = 4,
    WORD_BYTES = 5,
};

static struct fabric_transfer *
next_of(const struct fabric_transfer *transfer)
{
    return (struct fabric_transfer *)(uintptr_t)transfer->engine[WORD_NEXT];
}

static void
append(struct fabric_transfer **first, struct fabric_transfer **last,
       struct fabric_transfer *transfer)
{
    transfer->engine[WORD_NEXT] = 0;
    if (*last != NULL) {
        (*last)->engine[WORD_NEXT] = (uint64_t)(uintptr_t)transfer;
    } else {
        *first = transfer;
    }
    *last = transfer;
}

// As the fabric calls it.
static void
ended(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct fabric_port *port = transfer->port;

    port->bulk_open--;
    transfer->ended = transfer->then;
    transfer->ended(transfer, status);
}

static enum cascade_status
begin(struct fabric_port *port, struct fabric_transfer *transfer)
{
    const struct fabric_table *table = port->fabric.table;
    void *self = port->fabric.self;
    uint16_t rank = (uint16_t)transfer->engine[WORD_RANK];
    uint64_t where = transfer->engine[WORD_WHERE];
    void *memory = (void *)(uintptr_t)transfer->engine[WORD_MEMORY];
    uint64_t bytes = transfer->engine[WORD_BYTES];

    if (!fabric_channel_is_alive(port->channel, rank)) {
        return CASCADE_CLOSED;
    }
    switch ((enum bulk_kind)transfer->engine[WORD_KIND]) {
    case BULK_PUSH:
        if (!(port->fabric.capabilities & FABRIC_BULK)) {
            return CASCADE_UNSUPPORTED;
        }
        return table->push(self, rank, where, memory, bytes, transfer);
    case BULK_LAND:
        if (!(port->fabric.capabilities & FABRIC_BULK)) {
            return CASCADE_UNSUPPORTED;
        }
        return table->land(self, rank, where, memory, bytes, transfer);
    case BULK_READ:
        if (!(port->fabric.capabilities & FABRIC_READ)) {
            return CASCADE_UNSUPPORTED;
        }
        return table->read(self, rank, where, memory, bytes, transfer);
    }
    return CASCADE_INVALID;
}

// True unless the fabric had no room for it.
static bool
try_begin(struct fabric_port *port, struct fabric_transfer *transfer)
{
    uint64_t words[6];
    enum cascade_status status;

    for (size_t i = 0; i < 6; i++) {
        words[i] = transfer->engine[i];
    }
    port->bulk_open++;
    status = begin(port, transfer);
    if (status == CASCADE_OK) {
        return true;
    }
    if (status == CASCADE_BUSY) {
        port->bulk_open--;
        for (size_t i = 0; i < 6; i++) {
            transfer->engine[i] = words[i];
        }
        return false;
    }
    ended(transfer, status);
    return true;
}

bool
fabric_port_bulk_turn(struct fabric_port *port, struct fabric_transfer *given)
{
    struct fabric_transfer *list = port->retry_first;
    bool any = false;

    port->retry_first = NULL;
    port->retry_last = NULL;
    for (int round = 0; round < 2; round++) {
        while (list != NULL) {
            struct fabric_transfer *transfer = list;

            list = next_of(transfer);
            if (try_begin(port, transfer)) {
                any = true;
            } else {
                append(&port->retry_first, &port->retry_last, transfer);
            }
        }
        list = round == 0 ? given : NULL;
    }
    return any;
}

void
fabric_port_end_bulk(struct fabric_port *port, int32_t rank)
{
    struct fabric_transfer *list = port->retry_first;

    port->retry_first = NULL;
    port->retry_last = NULL;
    while (list != NULL) {
        struct fabric_transfer *transfer = list;

        list = next_of(transfer);
        if (rank < 0 || transfer->engine[WORD_RANK] == (uint64_t)rank) {
            port->bulk_open++;
            ended(transfer, CASCADE_CLOSED);
        } else {
            append(&port->retry_first, &port->retry_last, transfer);
        }
    }
}

static void
hand_in(struct fabric_port *port, enum bulk_kind kind, uint16_t rank,
        uint64_t where, void *memory, uint64_t bytes,
        struct fabric_transfer *transfer)
{
    check(rank < port->fabric.rank_count && transfer->ended != NULL);
    transfer->port = port;
    transfer->then = transfer->ended;
    transfer->ended = ended;
    transfer->engine[WORD_KIND] = (uint64_t)kind;
    transfer->engine[WORD_RANK] = rank;
    transfer->engine[WORD_WHERE] = where;
    transfer->engine[WORD_MEMORY] = (uint64_t)(uintptr_t)memory;
    transfer->engine[WORD_BYTES] = bytes;
    pthread_mutex_lock(&port->lock);
    append(&port->bulk_first, &port->bulk_last, transfer);
    pthread_mutex_unlock(&port->lock);
    fabric_port_hand_over(port, true);
}

void
fabric_port_push(struct fabric_port *port, uint16_t to, uint64_t tag,
                 const void *memory, uint64_t bytes,
                 struct fabric_transfer *transfer)
{
    hand_in(port, BULK_PUSH, to, tag, (void *)(uintptr_t)memory, bytes,
            transfer);
}

void
fabric_port_land(struct fabric_port *port, uint16_t from, uint64_t tag,
                 void *memory, uint64_t bytes, struct fabric_transfer *transfer)
{
    hand_in(port, BULK_LAND, from, tag, memory, bytes, transfer);
}

void
fabric_port_read(struct fabric_port *port, uint16_t from, uint64_t offset,
                 void *memory, uint64_t bytes, struct fabric_transfer *transfer)
{
    hand_in(port, BULK_READ, from, offset, memory, bytes, transfer);
}
