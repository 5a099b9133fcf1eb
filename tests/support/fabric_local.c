// SPDX-License-Identifier: Apache-2.0
//
// See the header. Transfers wait in one list until their other side has come;
// those that have met wait in another until they may end.

#include "support/fabric_local.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"

#define MESSAGES_MAX 32

struct message {
    struct message *next;
    uint16_t from;
    size_t bytes;
    uint8_t data[];
};

enum kind {
    KIND_PUSH,
    KIND_LAND,
    KIND_READ,
};

struct bulk {
    struct bulk *next;
    enum kind kind;
    uint16_t from; // who sends the bytes
    uint16_t to;
    uint64_t tag;
    void *memory;
    uint64_t bytes;
    struct fabric_transfer *transfer;
    enum cascade_status status;
};

struct local_rank {
    struct fabric_local *local;
    uint16_t rank;
    struct fabric_sink sink;
    struct message *first;
    struct message *last;
    const uint8_t *exposed;
    uint64_t exposed_bytes;
    bool told[FABRIC_RANKS_MAX / 64]; // of losses
    _Atomic uint32_t doorbell;
};

struct fabric_local {
    pthread_mutex_t lock;
    uint16_t rank_count;
    struct local_rank *ranks;
    bool lost[FABRIC_RANKS_MAX / 64];
    struct bulk *waiting;
    struct bulk *met;
    uint32_t spoil;
    bool hold;
};

static void
lock(struct fabric_local *local)
{
    check(pthread_mutex_lock(&local->lock) == 0);
}

static void
unlock(struct fabric_local *local)
{
    check(pthread_mutex_unlock(&local->lock) == 0);
}

static void
start(void *self, const struct fabric_sink *sink)
{
    struct local_rank *rank = self;

    rank->sink = *sink;
}

static enum cascade_status
send_message(void *self, uint16_t to, const void *data, size_t bytes)
{
    struct local_rank *rank = self;
    struct local_rank *other = &rank->local->ranks[to];
    struct message *message = malloc(sizeof(*message) + bytes);

    check(message != NULL);
    message->next = NULL;
    message->from = rank->rank;
    message->bytes = bytes;
    memcpy(message->data, data, bytes);
    lock(rank->local);
    if (rank->local->lost[to]) {
        unlock(rank->local);
        free(message);
        return CASCADE_CLOSED;
    }
    if (other->last != NULL) {
        other->last->next = message;
    } else {
        other->first = message;
    }
    other->last = message;
    unlock(rank->local);
    return CASCADE_OK;
}

static uint16_t
owner_of(const struct bulk *bulk)
{
    return bulk->kind == KIND_PUSH ? bulk->from : bulk->to;
}

static void
append(struct bulk **list, struct bulk *bulk)
{
    while (*list != NULL) {
        list = &(*list)->next;
    }
    bulk->next = NULL;
    *list = bulk;
}

static void
move_bytes(struct fabric_local *local, struct bulk *to, const uint8_t *from)
{
    if (to->bytes == 0) {
        return;
    }
    memcpy(to->memory, from, to->bytes);
    if (local->spoil > 0) {
        local->spoil--;
        ((uint8_t *)to->memory)[to->bytes / 2] ^= 0x10;
    }
}

// Takes the other side out of those that wait, or NULL.
static struct bulk *
take_other(struct fabric_local *local, const struct bulk *bulk)
{
    struct bulk **at = &local->waiting;

    while (*at != NULL &&
           ((*at)->kind == bulk->kind || (*at)->from != bulk->from ||
            (*at)->to != bulk->to || (*at)->tag != bulk->tag)) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        struct bulk *other = *at;

        *at = other->next;
        return other;
    }
    return NULL;
}

static enum cascade_status
add_bulk(struct local_rank *rank, struct bulk given)
{
    struct fabric_local *local = rank->local;
    struct bulk *bulk = malloc(sizeof(*bulk));
    struct bulk *other;
    uint16_t other_rank;

    check(bulk != NULL);
    *bulk = given;
    lock(local);
    if (bulk->kind == KIND_READ) {
        const struct local_rank *owner = &local->ranks[bulk->from];

        check(bulk->tag + bulk->bytes <= owner->exposed_bytes);
        move_bytes(local, bulk, owner->exposed + bulk->tag);
        append(&local->met, bulk);
        unlock(local);
        return CASCADE_OK;
    }
    other = take_other(local, bulk);
    if (other == NULL) {
        append(&local->waiting, bulk);
        unlock(local);
        return CASCADE_OK;
    }
    check(other->bytes == bulk->bytes);
    if (bulk->kind == KIND_LAND) {
        move_bytes(local, bulk, other->memory);
    } else {
        move_bytes(local, other, bulk->memory);
    }
    append(&local->met, bulk);
    append(&local->met, other);
    other_rank = owner_of(other);
    unlock(local);
    // The other may have been ended and freed by now.
    fabric_local_ring(local, other_rank);
    return CASCADE_OK;
}

static enum cascade_status
push(void *self, uint16_t to, uint64_t tag, const void *memory, uint64_t bytes,
     struct fabric_transfer *transfer)
{
    struct local_rank *rank = self;

    return add_bulk(rank, (struct bulk){.kind = KIND_PUSH,
                                        .from = rank->rank,
                                        .to = to,
                                        .tag = tag,
                                        .memory = (void *)(uintptr_t)memory,
                                        .bytes = bytes,
                                        .transfer = transfer});
}

static enum cascade_status
land(void *self, uint16_t from, uint64_t tag, void *memory, uint64_t bytes,
     struct fabric_transfer *transfer)
{
    struct local_rank *rank = self;

    return add_bulk(rank, (struct bulk){.kind = KIND_LAND,
                                        .from = from,
                                        .to = rank->rank,
                                        .tag = tag,
                                        .memory = memory,
                                        .bytes = bytes,
                                        .transfer = transfer});
}

static enum cascade_status
read_exposed(void *self, uint16_t from, uint64_t offset, void *memory,
             uint64_t bytes, struct fabric_transfer *transfer)
{
    struct local_rank *rank = self;

    return add_bulk(rank, (struct bulk){.kind = KIND_READ,
                                        .from = from,
                                        .to = rank->rank,
                                        .tag = offset,
                                        .memory = memory,
                                        .bytes = bytes,
                                        .transfer = transfer});
}

// Ends what has met, or with `all` whatever there is of this rank.
static bool
end_bulk(struct local_rank *rank, struct bulk **list, bool all,
         enum cascade_status status)
{
    struct fabric_local *local = rank->local;
    struct bulk *ending = NULL;
    bool any = false;

    lock(local);
    for (struct bulk **at = list; *at != NULL && (all || !local->hold);) {
        struct bulk *bulk = *at;

        if (owner_of(bulk) == rank->rank) {
            *at = bulk->next;
            append(&ending, bulk);
        } else {
            at = &bulk->next;
        }
    }
    unlock(local);
    while (ending != NULL) {
        struct bulk *bulk = ending;

        ending = bulk->next;
        bulk->transfer->ended(bulk->transfer, status);
        free(bulk);
        any = true;
    }
    return any;
}

static bool
tell_losses(struct local_rank *rank)
{
    struct fabric_local *local = rank->local;
    bool any = false;

    for (uint16_t i = 0; i < local->rank_count; i++) {
        bool tell;

        lock(local);
        tell = local->lost[i] && !rank->told[i] && i != rank->rank;
        rank->told[i] = rank->told[i] || tell;
        unlock(local);
        if (tell) {
            rank->sink.lost(rank->sink.context, i);
            any = true;
        }
    }
    return any;
}

static struct message *
take_message(struct local_rank *rank)
{
    struct message *message;

    lock(rank->local);
    message = rank->first;
    if (message != NULL) {
        rank->first = message->next;
        if (rank->first == NULL) {
            rank->last = NULL;
        }
    }
    unlock(rank->local);
    return message;
}

static bool
progress(void *self)
{
    struct local_rank *rank = self;
    bool any = tell_losses(rank);
    struct message *message;

    for (int i = 0; i < MESSAGES_MAX && (message = take_message(rank)) != NULL;
         i++) {
        rank->sink.message(rank->sink.context, message->from, message->data,
                           message->bytes);
        free(message);
        any = true;
    }
    return end_bulk(rank, &rank->local->met, false, CASCADE_OK) || any;
}

static void
close_rank(void *self)
{
    struct local_rank *rank = self;
    struct message *message;

    (void)end_bulk(rank, &rank->local->met, true, CASCADE_CLOSED);
    (void)end_bulk(rank, &rank->local->waiting, true, CASCADE_CLOSED);
    while ((message = take_message(rank)) != NULL) {
        free(message);
    }
}

static const struct fabric_table table = {
    .name = "local",
    .start = start,
    .send = send_message,
    .push = push,
    .land = land,
    .read = read_exposed,
    .progress = progress,
    .close = close_rank,
};

struct fabric_local *
fabric_local_make(uint16_t rank_count)
{
    struct fabric_local *local = calloc(1, sizeof(*local));

    check(local != NULL && rank_count <= FABRIC_RANKS_MAX / 64);
    check(pthread_mutex_init(&local->lock, NULL) == 0);
    local->rank_count = rank_count;
    local->ranks = calloc(rank_count, sizeof(local->ranks[0]));
    check(local->ranks != NULL);
    for (uint16_t i = 0; i < rank_count; i++) {
        local->ranks[i].local = local;
        local->ranks[i].rank = i;
    }
    return local;
}

void
fabric_local_free(struct fabric_local *local)
{
    // A port may have sent to one that was closed already.
    for (uint16_t i = 0; i < local->rank_count; i++) {
        close_rank(&local->ranks[i]);
    }
    check(pthread_mutex_destroy(&local->lock) == 0);
    free(local->ranks);
    free(local);
}

struct fabric
fabric_local_rank(struct fabric_local *local, uint16_t rank,
                  uint32_t capabilities)
{
    return (struct fabric){
        .table = &table,
        .self = &local->ranks[rank],
        .capabilities = capabilities | FABRIC_RELIABLE,
        .rank = rank,
        .rank_count = local->rank_count,
        .job = 1,
        .incarnation = 1,
    };
}

void
fabric_local_expose(struct fabric_local *local, uint16_t rank,
                    const void *memory, uint64_t bytes)
{
    local->ranks[rank].exposed = memory;
    local->ranks[rank].exposed_bytes = bytes;
}

void
fabric_local_spoil(struct fabric_local *local, uint32_t count)
{
    lock(local);
    local->spoil = count;
    unlock(local);
}

void
fabric_local_hold(struct fabric_local *local, bool hold)
{
    lock(local);
    local->hold = hold;
    unlock(local);
    for (uint16_t i = 0; i < local->rank_count; i++) {
        fabric_local_ring(local, i);
    }
}

void
fabric_local_lose(struct fabric_local *local, uint16_t rank)
{
    lock(local);
    local->lost[rank] = true;
    unlock(local);
    for (uint16_t i = 0; i < local->rank_count; i++) {
        fabric_local_ring(local, i);
    }
}

_Atomic uint32_t *
fabric_local_doorbell(struct fabric_local *local, uint16_t rank)
{
    return &local->ranks[rank].doorbell;
}

void
fabric_local_ring(void *context, uint16_t rank)
{
    struct fabric_local *local = context;
    _Atomic uint32_t *doorbell = &local->ranks[rank].doorbell;

    atomic_fetch_add(doorbell, 1);
    (void)syscall(SYS_futex, doorbell, FUTEX_WAKE, 1, NULL, NULL, 0);
}
