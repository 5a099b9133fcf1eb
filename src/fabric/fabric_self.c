// SPDX-License-Identifier: Apache-2.0
//
// Messages lie one behind the other in two halves of memory: one is written
// while the other is read, and they change places when the read one is empty.
// So a handler that sends never writes into what is being read. Bulk is copied
// when both sides have come. One thread at a time; no lock.

#include "fabric/fabric_self.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

#define HALF_BYTES (4 * FABRIC_MESSAGE_BYTES_MAX)
#define MESSAGES_MAX 64 // handed over in one progress

struct half {
    size_t used;
    size_t taken;
    uint8_t *memory;
};

struct fabric_self {
    const struct allocator *allocator;
    struct fabric_sink sink;
    struct half halves[2];
    struct half *writing;
    struct half *reading;
    // Bulk whose other side has not come, and what has met and is to be ended.
    struct fabric_transfer *pushes;
    struct fabric_transfer *lands;
    struct fabric_transfer *met;
};

// Words of a transfer.
enum word {
    WORD_NEXT = 0,
    WORD_TAG = 1,
    WORD_MEMORY = 2,
    WORD_BYTES = 3,
    WORD_STATUS = 4,
};

static struct fabric_transfer *
next_of(const struct fabric_transfer *transfer)
{
    return (struct fabric_transfer *)(uintptr_t)transfer->engine[WORD_NEXT];
}

static void
put_first(struct fabric_transfer **list, struct fabric_transfer *transfer)
{
    transfer->engine[WORD_NEXT] = (uint64_t)(uintptr_t)*list;
    *list = transfer;
}

// Takes the one with that tag out of the list, or NULL.
static struct fabric_transfer *
take(struct fabric_transfer **list, uint64_t tag)
{
    struct fabric_transfer *before = NULL;
    struct fabric_transfer *transfer = *list;

    while (transfer != NULL && transfer->engine[WORD_TAG] != tag) {
        before = transfer;
        transfer = next_of(transfer);
    }
    if (transfer == NULL) {
        return NULL;
    }
    if (before != NULL) {
        before->engine[WORD_NEXT] = transfer->engine[WORD_NEXT];
    } else {
        *list = next_of(transfer);
    }
    return transfer;
}

static void
start(void *context, const struct fabric_sink *sink)
{
    struct fabric_self *self = context;

    self->sink = *sink;
}

static enum cascade_status
send(void *context, uint16_t to, const void *data, size_t bytes)
{
    struct fabric_self *self = context;
    struct half *half = self->writing;
    size_t step = sizeof(size_t) +
                  (size_t)units_round_up(bytes, sizeof(size_t));

    check(to == 0 && bytes <= FABRIC_MESSAGE_BYTES_MAX);
    if (HALF_BYTES - half->used < step) {
        return CASCADE_BUSY;
    }
    memcpy(half->memory + half->used, &bytes, sizeof(bytes));
    if (bytes > 0) {
        memcpy(half->memory + half->used + sizeof(bytes), data, bytes);
    }
    half->used += step;
    return CASCADE_OK;
}

static void
meet(struct fabric_self *self, struct fabric_transfer *from,
     struct fabric_transfer *to)
{
    uint64_t bytes = from->engine[WORD_BYTES];
    enum cascade_status status = CASCADE_OK;

    if (bytes != to->engine[WORD_BYTES]) {
        status = CASCADE_INVALID;
    } else if (bytes > 0) {
        memcpy((void *)(uintptr_t)to->engine[WORD_MEMORY],
               (const void *)(uintptr_t)from->engine[WORD_MEMORY], bytes);
    }
    from->engine[WORD_STATUS] = (uint64_t)status;
    to->engine[WORD_STATUS] = (uint64_t)status;
    put_first(&self->met, from);
    put_first(&self->met, to);
}

static enum cascade_status
push(void *context, uint16_t to, uint64_t tag, const void *memory,
     uint64_t bytes, struct fabric_transfer *transfer)
{
    struct fabric_self *self = context;
    struct fabric_transfer *other = take(&self->lands, tag);

    check(to == 0);
    transfer->engine[WORD_TAG] = tag;
    transfer->engine[WORD_MEMORY] = (uint64_t)(uintptr_t)memory;
    transfer->engine[WORD_BYTES] = bytes;
    if (other != NULL) {
        meet(self, transfer, other);
    } else {
        put_first(&self->pushes, transfer);
    }
    return CASCADE_OK;
}

static enum cascade_status
land(void *context, uint16_t from, uint64_t tag, void *memory, uint64_t bytes,
     struct fabric_transfer *transfer)
{
    struct fabric_self *self = context;
    struct fabric_transfer *other = take(&self->pushes, tag);

    check(from == 0);
    transfer->engine[WORD_TAG] = tag;
    transfer->engine[WORD_MEMORY] = (uint64_t)(uintptr_t)memory;
    transfer->engine[WORD_BYTES] = bytes;
    if (other != NULL) {
        meet(self, other, transfer);
    } else {
        put_first(&self->lands, transfer);
    }
    return CASCADE_OK;
}

static enum cascade_status
read_exposed(void *context, uint16_t from, uint64_t offset, void *memory,
             uint64_t bytes, struct fabric_transfer *transfer)
{
    (void)context;
    (void)from;
    (void)offset;
    (void)memory;
    (void)bytes;
    (void)transfer;
    return CASCADE_UNSUPPORTED;
}

static bool
hand_messages(struct fabric_self *self)
{
    struct half *half = self->reading;
    bool any = false;

    if (half->taken == half->used) {
        half->taken = half->used = 0;
        self->reading = self->writing;
        self->writing = half;
        half = self->reading;
    }
    for (int i = 0; i < MESSAGES_MAX && half->taken < half->used; i++) {
        const uint8_t *data = half->memory + half->taken + sizeof(size_t);
        size_t bytes;

        memcpy(&bytes, half->memory + half->taken, sizeof(bytes));
        half->taken += sizeof(bytes) +
                       (size_t)units_round_up(bytes, sizeof(size_t));
        self->sink.message(self->sink.context, 0, data, bytes);
        any = true;
    }
    return any;
}

static bool
progress(void *context)
{
    struct fabric_self *self = context;
    bool any = hand_messages(self);
    struct fabric_transfer *list = self->met;

    self->met = NULL;
    while (list != NULL) {
        struct fabric_transfer *transfer = list;

        list = next_of(transfer);
        transfer->ended(transfer,
                        (enum cascade_status)transfer->engine[WORD_STATUS]);
        any = true;
    }
    return any;
}

static void
end_all(struct fabric_transfer *list)
{
    while (list != NULL) {
        struct fabric_transfer *transfer = list;

        list = next_of(transfer);
        transfer->ended(transfer, CASCADE_CLOSED);
    }
}

static void
close_self(void *context)
{
    struct fabric_self *self = context;

    end_all(self->met);
    end_all(self->pushes);
    end_all(self->lands);
    allocator_release(self->allocator, self->halves[0].memory);
    allocator_release(self->allocator, self->halves[1].memory);
    allocator_release(self->allocator, self);
}

static const struct fabric_table table = {
    .name = "self",
    .start = start,
    .send = send,
    .push = push,
    .land = land,
    .read = read_exposed,
    .progress = progress,
    .idle = NULL,
    .close = close_self,
};

enum cascade_status
fabric_self_open(const struct allocator *allocator, struct fabric *fabric)
{
    struct fabric_self *self = allocator_array(allocator, 1, sizeof(*self));

    if (self == NULL) {
        goto fail;
    }
    self->allocator = allocator;
    for (int i = 0; i < 2; i++) {
        self->halves[i].memory = allocator_array(allocator, 1, HALF_BYTES);
        if (self->halves[i].memory == NULL) {
            goto undo;
        }
    }
    self->writing = &self->halves[0];
    self->reading = &self->halves[1];
    *fabric = (struct fabric){
        .table = &table,
        .self = self,
        .capabilities = FABRIC_RELIABLE | FABRIC_BULK | FABRIC_INLINE,
        .rank = 0,
        .rank_count = 1,
        .incarnation = 1,
    };
    return CASCADE_OK;

undo:
    allocator_release(allocator, self->halves[0].memory);
    allocator_release(allocator, self->halves[1].memory);
    allocator_release(allocator, self);
fail:
    return error_set(CASCADE_NO_MEMORY,
                     "no memory for messages; free some memory");
}
