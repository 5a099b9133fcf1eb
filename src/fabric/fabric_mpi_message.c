// SPDX-License-Identifier: Apache-2.0
//
// Messages over MPI: a fixed number of posted receives of any source, tested
// together, and a fixed number of send buffers. What a receive holds is
// delivered when its number is the next one of its sender; then the receive is
// posted again.
//
// Memory is bounded by the two pools here; MPI itself buffers what came while
// no receive was posted. One peer may hold half of the sends, so that one that
// does not receive leaves room for the others.

#include <string.h>

#include "fabric/fabric_mpi_inner.h"

// One tag for all messages: MPI keeps the order within it.
#define MESSAGE_TAG 1

static uint8_t *
receive_buffer(const struct fabric_mpi *engine, uint32_t index)
{
    return engine->receive_memory + index * FABRIC_MPI_BUFFER_BYTES;
}

static bool
post(struct fabric_mpi *engine, uint32_t index)
{
    engine->receives[index].held = false;
    int result = MPI_Irecv(receive_buffer(engine, index),
                           (int)FABRIC_MPI_BUFFER_BYTES, MPI_BYTE,
                           MPI_ANY_SOURCE, MESSAGE_TAG, engine->messages,
                           &engine->receive_requests[index]);
    if (result != MPI_SUCCESS) {
        engine->receive_requests[index] = MPI_REQUEST_NULL;
    }
    return result == MPI_SUCCESS;
}

// No receive can be posted: nobody will be heard of again.
static void
lose_all(struct fabric_mpi *engine)
{
    engine->services.log_write(engine->services.log, LOG_LEVEL_ERROR,
                               "fabric: MPI receives nothing any more");
    for (uint32_t rank = 0; rank < engine->rank_count; rank++) {
        fabric_mpi_lose(engine, (uint16_t)rank);
    }
}

static void
dispatch(struct fabric_mpi *engine, uint16_t from, const uint8_t *buffer)
{
    struct fabric_mpi_header header;
    memcpy(&header, buffer, sizeof(header));
    const uint8_t *data = buffer + sizeof(header);
    struct fabric_mpi_landing landing;
    switch ((enum fabric_mpi_kind)header.kind) {
    case FABRIC_MPI_MESSAGE:
        if (!engine->closing) {
            engine->sink.message(engine->sink.context, from, data,
                                 header.bytes);
        }
        return;
    case FABRIC_MPI_LANDING:
    case FABRIC_MPI_REFUSAL:
        if (header.bytes != sizeof(landing)) {
            break;
        }
        memcpy(&landing, data, sizeof(landing));
        if (header.kind == FABRIC_MPI_LANDING) {
            fabric_mpi_bulk_announced(engine, from, &landing);
        } else {
            fabric_mpi_bulk_refused(engine, from, &landing);
        }
        return;
    }
    engine->services.log_write(engine->services.log, LOG_LEVEL_ERROR,
                               "fabric: a message of an unknown kind from "
                               "rank %u",
                               (unsigned)from);
}

// Delivers what is next of its sender. True if anything was.
static bool
deliver(struct fabric_mpi *engine)
{
    bool delivered = false;
    bool again = engine->receives_held > 0 && engine->started;
    while (again) {
        again = false;
        for (uint32_t index = 0; index < FABRIC_MPI_RECEIVES; index++) {
            struct fabric_mpi_receive *receive = &engine->receives[index];
            struct fabric_mpi_peer *peer = &engine->peers[receive->from];
            if (!receive->held || receive->sequence != peer->sequence_in) {
                continue;
            }
            peer->sequence_in++;
            engine->receives_held--;
            dispatch(engine, receive->from, receive_buffer(engine, index));
            if (!post(engine, index)) {
                lose_all(engine);
                return true;
            }
            delivered = true;
            again = engine->receives_held > 0;
        }
    }
    return delivered;
}

static void
hold(struct fabric_mpi *engine, uint32_t index, const MPI_Status *status)
{
    int bytes = 0;
    MPI_Get_count(status, MPI_BYTE, &bytes);
    struct fabric_mpi_header header;
    memcpy(&header, receive_buffer(engine, index), sizeof(header));
    if (bytes < (int)sizeof(header) ||
        header.bytes != (size_t)bytes - sizeof(header)) {
        engine->services.log_write(engine->services.log, LOG_LEVEL_ERROR,
                                   "fabric: a broken message from rank %d",
                                   status->MPI_SOURCE);
        (void)post(engine, index);
        return;
    }
    engine->receives[index] = (struct fabric_mpi_receive){
        .sequence = header.sequence,
        .from = (uint16_t)status->MPI_SOURCE,
        .held = true,
    };
    engine->receives_held++;
}

static bool
receive_some(struct fabric_mpi *engine)
{
    int count = 0;
    int result = MPI_Testsome(FABRIC_MPI_RECEIVES, engine->receive_requests,
                              &count, engine->indices, engine->statuses);
    if (count == MPI_UNDEFINED || count <= 0) {
        return false;
    }
    for (int at = 0; at < count; at++) {
        const MPI_Status *status = &engine->statuses[at];
        uint32_t index = (uint32_t)engine->indices[at];
        if (result == MPI_ERR_IN_STATUS && status->MPI_ERROR != MPI_SUCCESS) {
            if (status->MPI_SOURCE >= 0 &&
                status->MPI_SOURCE < engine->rank_count) {
                fabric_mpi_lose(engine, (uint16_t)status->MPI_SOURCE);
            }
            (void)post(engine, index);
            continue;
        }
        hold(engine, index, status);
    }
    return true;
}

static bool
finish_sends(struct fabric_mpi *engine)
{
    if (engine->send_free_count == FABRIC_MPI_SENDS) {
        return false;
    }
    int count = 0;
    int result = MPI_Testsome(FABRIC_MPI_SENDS, engine->send_requests, &count,
                              engine->indices, engine->statuses);
    if (count == MPI_UNDEFINED || count <= 0) {
        return false;
    }
    for (int at = 0; at < count; at++) {
        uint32_t index = (uint32_t)engine->indices[at];
        uint16_t to = engine->send_to[index];
        engine->peers[to].sends_out--;
        engine->send_free[engine->send_free_count++] = (uint8_t)index;
        if (result == MPI_ERR_IN_STATUS &&
            engine->statuses[at].MPI_ERROR != MPI_SUCCESS) {
            fabric_mpi_lose(engine, to);
        }
    }
    return true;
}

enum cascade_status
fabric_mpi_message_open(struct fabric_mpi *engine)
{
    const struct allocator *allocator = engine->services.allocator;
    engine->receive_memory = allocator->allocate(
        allocator->self, FABRIC_MPI_RECEIVES * FABRIC_MPI_BUFFER_BYTES, 64);
    engine->send_memory = allocator->allocate(
        allocator->self, FABRIC_MPI_SENDS * FABRIC_MPI_BUFFER_BYTES, 64);
    for (uint32_t index = 0; index < FABRIC_MPI_RECEIVES; index++) {
        engine->receive_requests[index] = MPI_REQUEST_NULL;
    }
    for (uint32_t index = 0; index < FABRIC_MPI_SENDS; index++) {
        engine->send_requests[index] = MPI_REQUEST_NULL;
        engine->send_free[index] = (uint8_t)(FABRIC_MPI_SENDS - 1 - index);
    }
    engine->send_free_count = FABRIC_MPI_SENDS;
    if (engine->receive_memory == NULL || engine->send_memory == NULL) {
        return engine->services.error_set(CASCADE_NO_MEMORY,
                                          "no memory for messages of MPI");
    }
    for (uint32_t index = 0; index < FABRIC_MPI_RECEIVES; index++) {
        if (!post(engine, index)) {
            return engine->services.error_set(CASCADE_IO,
                                              "MPI posts no receive");
        }
    }
    return CASCADE_OK;
}

enum cascade_status
fabric_mpi_message_send(struct fabric_mpi *engine, uint16_t to,
                        enum fabric_mpi_kind kind, const void *data,
                        size_t bytes)
{
    struct fabric_mpi_peer *peer = &engine->peers[to];
    if (peer->lost || engine->detached) {
        return CASCADE_CLOSED;
    }
    if (engine->send_free_count == 0 ||
        peer->sends_out >= FABRIC_MPI_SENDS / 2) {
        return CASCADE_BUSY;
    }
    uint32_t index = engine->send_free[engine->send_free_count - 1];
    uint8_t *buffer = engine->send_memory + index * FABRIC_MPI_BUFFER_BYTES;
    struct fabric_mpi_header header = {
        .sequence = peer->sequence_out,
        .kind = kind,
        .bytes = (uint32_t)bytes,
    };
    memcpy(buffer, &header, sizeof(header));
    if (bytes > 0) {
        memcpy(buffer + sizeof(header), data, bytes);
    }
    int result = MPI_Isend(buffer, (int)(sizeof(header) + bytes), MPI_BYTE, to,
                           MESSAGE_TAG, engine->messages,
                           &engine->send_requests[index]);
    if (result != MPI_SUCCESS) {
        engine->send_requests[index] = MPI_REQUEST_NULL;
        fabric_mpi_lose(engine, to);
        return CASCADE_CLOSED;
    }
    engine->send_free_count--;
    engine->send_to[index] = to;
    peer->sends_out++;
    peer->sequence_out++;
    return CASCADE_OK;
}

bool
fabric_mpi_message_progress(struct fabric_mpi *engine)
{
    bool moved = receive_some(engine);
    moved = deliver(engine) || moved;
    return finish_sends(engine) || moved;
}

void
fabric_mpi_message_cancel(struct fabric_mpi *engine)
{
    for (uint32_t index = 0; index < FABRIC_MPI_RECEIVES; index++) {
        if (engine->receive_requests[index] != MPI_REQUEST_NULL) {
            MPI_Cancel(&engine->receive_requests[index]);
        }
    }
}

void
fabric_mpi_lose(struct fabric_mpi *engine, uint16_t rank)
{
    struct fabric_mpi_peer *peer = &engine->peers[rank];
    if (peer->lost) {
        return;
    }
    peer->lost = true;
    engine->services.log_write(engine->services.log, LOG_LEVEL_WARNING,
                               "fabric: rank %u is lost", (unsigned)rank);
    fabric_mpi_bulk_drop_waiting(engine, rank);
    if (engine->started && !engine->closing) {
        engine->sink.lost(engine->sink.context, rank);
    }
}
