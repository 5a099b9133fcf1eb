// SPDX-License-Identifier: Apache-2.0
//
// Bulk bytes over MPI, in chunks of which a few are under way per transfer.
//
// The one who lands posts its first receives and announces them; the one who
// pushes begins when both the push and the announcement are there. So a landing
// asked for before the bytes costs no round trip, and nothing is ever sent to
// where no memory is. The tag of MPI is the landing's index, which stays taken
// until the landing has ended. Reads are the same with gets of MPI.
//
// Callbacks run from progress only, and when nothing here is being walked over,
// so that they may begin transfers.

#include <string.h>

#include "fabric/fabric_mpi_inner.h"

static void
end_later(struct fabric_mpi *engine, int32_t index, enum cascade_status status)
{
    struct fabric_mpi_transfer *transfer = &engine->transfers[index];
    transfer->status = status;
    transfer->ending = true;
    transfer->next = engine->transfer_ended;
    engine->transfer_ended = index;
}

// One more chunk. False: MPI refused it.
static bool
begin_chunk(struct fabric_mpi *engine, int32_t index)
{
    struct fabric_mpi_transfer *transfer = &engine->transfers[index];
    uint64_t offset = transfer->chunks_begun * transfer->chunk_bytes;
    uint64_t rest = transfer->bytes - offset;
    int bytes = (int)(rest < transfer->chunk_bytes ? rest
                                                   : transfer->chunk_bytes);
    MPI_Request *request = &engine->chunk_requests[engine->chunk_count];
    int result = MPI_ERR_OTHER;
    switch (transfer->direction) {
    case FABRIC_MPI_PUSH:
        result = MPI_Isend(bytes > 0 ? transfer->source + offset : NULL, bytes,
                           MPI_BYTE, transfer->peer, transfer->mpi_tag,
                           engine->bulk, request);
        break;
    case FABRIC_MPI_LAND:
        result = MPI_Irecv(bytes > 0 ? transfer->target + offset : NULL, bytes,
                           MPI_BYTE, transfer->peer, transfer->mpi_tag,
                           engine->bulk, request);
        break;
    case FABRIC_MPI_READ:
        result = MPI_Rget(transfer->target + offset, bytes, MPI_BYTE,
                          transfer->peer, (MPI_Aint)(transfer->offset + offset),
                          bytes, MPI_BYTE, engine->window, request);
        break;
    case FABRIC_MPI_FREE:
        break;
    }
    if (result != MPI_SUCCESS) {
        return false;
    }
    engine->chunk_transfers[engine->chunk_count++] = index;
    transfer->chunks_begun++;
    transfer->chunks_out++;
    return true;
}

// Begins what the pipeline has room for; ends the transfer when all is done.
static void
advance(struct fabric_mpi *engine, int32_t index)
{
    struct fabric_mpi_transfer *transfer = &engine->transfers[index];
    while (transfer->status == CASCADE_OK &&
           transfer->chunks_begun < transfer->chunks &&
           transfer->chunks_out < FABRIC_MPI_PIPELINE) {
        if (!begin_chunk(engine, index)) {
            transfer->status = CASCADE_IO;
        }
    }
    if (transfer->chunks_out == 0 && !transfer->ending) {
        end_later(engine, index, transfer->status);
    }
}

static int32_t
take(struct fabric_mpi *engine, enum fabric_mpi_direction direction,
     uint16_t peer, uint64_t bytes, struct fabric_transfer *transfer)
{
    int32_t index = engine->transfer_free;
    if (index < 0) {
        return -1;
    }
    struct fabric_mpi_transfer *taken = &engine->transfers[index];
    engine->transfer_free = taken->next;
    engine->transfers_out++;
    *taken = (struct fabric_mpi_transfer){
        .transfer = transfer,
        .direction = direction,
        .status = CASCADE_OK,
        .peer = peer,
        .bytes = bytes,
        .next = -1,
    };
    return index;
}

static void
give_back(struct fabric_mpi *engine, int32_t index)
{
    struct fabric_mpi_transfer *transfer = &engine->transfers[index];
    transfer->transfer = NULL;
    transfer->direction = FABRIC_MPI_FREE;
    transfer->next = engine->transfer_free;
    engine->transfer_free = index;
    engine->transfers_out--;
}

static void
set_chunks(struct fabric_mpi_transfer *transfer, uint64_t chunk_bytes)
{
    transfer->chunk_bytes = chunk_bytes;
    transfer->chunks = (transfer->bytes + chunk_bytes - 1) / chunk_bytes;
    if (transfer->chunks == 0) {
        transfer->chunks = 1; // no bytes are a chunk, too
    }
}

static struct fabric_mpi_landing
describe(const struct fabric_mpi *engine, int32_t index)
{
    const struct fabric_mpi_transfer *transfer = &engine->transfers[index];
    return (struct fabric_mpi_landing){
        .tag = transfer->tag,
        .bytes = transfer->bytes,
        .chunk_bytes = transfer->chunk_bytes,
        .index = (uint32_t)index,
    };
}

// Push and landing have met. False: they do not fit, the landing is to be
// refused.
static bool
meet(struct fabric_mpi *engine, int32_t index,
     const struct fabric_mpi_landing *landing)
{
    struct fabric_mpi_transfer *push = &engine->transfers[index];
    if (landing->bytes != push->bytes || landing->chunk_bytes == 0 ||
        landing->chunk_bytes > INT32_MAX) {
        engine->services.log_write(
            engine->services.log, LOG_LEVEL_ERROR,
            "fabric: rank %u lands %llu bytes where %llu are pushed",
            (unsigned)push->peer, (unsigned long long)landing->bytes,
            (unsigned long long)push->bytes);
        end_later(engine, index, CASCADE_INVALID);
        return false;
    }
    push->mpi_tag = (int)landing->index;
    set_chunks(push, landing->chunk_bytes);
    advance(engine, index);
    return true;
}

static void
send_refusals(struct fabric_mpi *engine)
{
    for (uint32_t rank = 0; rank < engine->rank_count; rank++) {
        int32_t *link = &engine->peers[rank].first_announced;
        while (*link >= 0) {
            int32_t at = *link;
            struct fabric_mpi_announced *entry = &engine->announced[at];
            if (!entry->refused) {
                link = &entry->next;
                continue;
            }
            enum cascade_status status = fabric_mpi_message_send(
                engine, (uint16_t)rank, FABRIC_MPI_REFUSAL, &entry->landing,
                sizeof(entry->landing));
            if (status == CASCADE_BUSY) {
                return;
            }
            *link = entry->next;
            entry->next = engine->announced_free;
            engine->announced_free = at;
            engine->refusals--;
        }
    }
}

// Removes the requests that are done from the array. The transfers that had
// one go on or end.
static bool
finish_chunks(struct fabric_mpi *engine)
{
    if (engine->chunk_count == 0) {
        return false;
    }
    int count = 0;
    int result = MPI_Testsome((int)engine->chunk_count, engine->chunk_requests,
                              &count, engine->indices, engine->statuses);
    if (count == MPI_UNDEFINED || count <= 0) {
        return false;
    }
    for (int at = 0; at < count; at++) {
        int32_t index = engine->chunk_transfers[engine->indices[at]];
        struct fabric_mpi_transfer *transfer = &engine->transfers[index];
        transfer->chunks_out--;
        if (result == MPI_ERR_IN_STATUS &&
            engine->statuses[at].MPI_ERROR != MPI_SUCCESS) {
            transfer->status = CASCADE_IO;
        }
        engine->chunk_requests[engine->indices[at]] = MPI_REQUEST_NULL;
        engine->indices[at] = index;
    }
    uint32_t kept = 0;
    for (uint32_t at = 0; at < engine->chunk_count; at++) {
        if (engine->chunk_requests[at] != MPI_REQUEST_NULL) {
            engine->chunk_requests[kept] = engine->chunk_requests[at];
            engine->chunk_transfers[kept] = engine->chunk_transfers[at];
            kept++;
        }
    }
    engine->chunk_count = kept;
    for (int at = 0; at < count; at++) {
        advance(engine, engine->indices[at]);
    }
    return true;
}

// Tells the owners of those that have ended.
static bool
tell_ended(struct fabric_mpi *engine)
{
    int32_t index = engine->transfer_ended;
    engine->transfer_ended = -1;
    bool told = index >= 0;
    while (index >= 0) {
        struct fabric_mpi_transfer *ended = &engine->transfers[index];
        struct fabric_transfer *transfer = ended->transfer;
        enum cascade_status status = ended->status;
        int32_t next = ended->next;
        if (ended->direction == FABRIC_MPI_LAND) {
            engine->peers[ended->peer].landings_out--;
        }
        give_back(engine, index);
        transfer->ended(transfer, status);
        index = next;
    }
    return told;
}

enum cascade_status
fabric_mpi_bulk_open(struct fabric_mpi *engine)
{
    const struct allocator *allocator = engine->services.allocator;
    uint32_t per_pair = FABRIC_MPI_LANDINGS_TOTAL /
                        (uint32_t)engine->rank_count;
    per_pair = per_pair > FABRIC_MPI_LANDINGS_MAX ? FABRIC_MPI_LANDINGS_MAX
                                                  : per_pair;
    engine->landings_per_pair = per_pair < FABRIC_MPI_LANDINGS_MIN
                                    ? FABRIC_MPI_LANDINGS_MIN
                                    : per_pair;
    uint32_t announced = engine->landings_per_pair * engine->rank_count;
    engine->transfers = allocator->allocate(
        allocator->self, FABRIC_MPI_TRANSFERS * sizeof(*engine->transfers), 0);
    engine->announced = allocator->allocate(
        allocator->self, announced * sizeof(*engine->announced), 0);
    engine->chunk_requests = allocator->allocate(
        allocator->self, FABRIC_MPI_CHUNKS * sizeof(MPI_Request), 0);
    engine->chunk_transfers = allocator->allocate(
        allocator->self, FABRIC_MPI_CHUNKS * sizeof(int32_t), 0);
    if (engine->transfers == NULL || engine->announced == NULL ||
        engine->chunk_requests == NULL || engine->chunk_transfers == NULL) {
        return engine->services.error_set(CASCADE_NO_MEMORY,
                                          "no memory for transfers of MPI");
    }
    engine->transfer_ended = -1;
    engine->transfer_free = 0;
    for (int32_t index = 0; index < FABRIC_MPI_TRANSFERS; index++) {
        engine->transfers[index].next = index + 1 < FABRIC_MPI_TRANSFERS
                                            ? index + 1
                                            : -1;
    }
    engine->announced_free = 0;
    for (uint32_t index = 0; index < announced; index++) {
        engine->announced[index].next = index + 1 < announced
                                            ? (int32_t)index + 1
                                            : -1;
    }
    return CASCADE_OK;
}

enum cascade_status
fabric_mpi_bulk_push(struct fabric_mpi *engine, uint16_t to, uint64_t tag,
                     const void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer)
{
    int32_t index = take(engine, FABRIC_MPI_PUSH, to, bytes, transfer);
    if (index < 0) {
        return CASCADE_BUSY;
    }
    struct fabric_mpi_transfer *push = &engine->transfers[index];
    push->source = memory;
    push->tag = tag;
    struct fabric_mpi_peer *peer = &engine->peers[to];
    int32_t *link = &peer->first_announced;
    while (*link >= 0) {
        int32_t at = *link;
        struct fabric_mpi_announced *entry = &engine->announced[at];
        if (entry->refused || entry->landing.tag != tag) {
            link = &entry->next;
            continue;
        }
        if (!meet(engine, index, &entry->landing)) {
            entry->refused = true;
            engine->refusals++;
            return CASCADE_OK;
        }
        *link = entry->next;
        entry->next = engine->announced_free;
        engine->announced_free = at;
        return CASCADE_OK;
    }
    push->next = peer->first_waiting;
    peer->first_waiting = index;
    return CASCADE_OK;
}

enum cascade_status
fabric_mpi_bulk_land(struct fabric_mpi *engine, uint16_t from, uint64_t tag,
                     void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer)
{
    struct fabric_mpi_peer *peer = &engine->peers[from];
    if (peer->landings_out >= engine->landings_per_pair) {
        return CASCADE_BUSY;
    }
    int32_t index = take(engine, FABRIC_MPI_LAND, from, bytes, transfer);
    if (index < 0) {
        return CASCADE_BUSY;
    }
    struct fabric_mpi_transfer *land = &engine->transfers[index];
    land->target = memory;
    land->tag = tag;
    land->mpi_tag = index;
    set_chunks(land, engine->options.chunk_bytes);
    struct fabric_mpi_landing landing = describe(engine, index);
    enum cascade_status status = fabric_mpi_message_send(
        engine, from, FABRIC_MPI_LANDING, &landing, sizeof(landing));
    if (status != CASCADE_OK) {
        give_back(engine, index);
        return status;
    }
    peer->landings_out++;
    advance(engine, index);
    return CASCADE_OK;
}

enum cascade_status
fabric_mpi_bulk_read(struct fabric_mpi *engine, uint16_t from, uint64_t offset,
                     void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer)
{
    if (!engine->has_window) {
        return CASCADE_UNSUPPORTED;
    }
    uint64_t exposed = engine->peers[from].exposed_bytes;
    if (offset > exposed || bytes > exposed - offset) {
        return engine->services.error_set(
            CASCADE_INVALID,
            "a read of %llu bytes at %llu of rank %u, which exposes %llu",
            (unsigned long long)bytes, (unsigned long long)offset,
            (unsigned)from, (unsigned long long)exposed);
    }
    int32_t index = take(engine, FABRIC_MPI_READ, from, bytes, transfer);
    if (index < 0) {
        return CASCADE_BUSY;
    }
    struct fabric_mpi_transfer *read = &engine->transfers[index];
    read->target = memory;
    read->offset = offset;
    set_chunks(read, engine->options.chunk_bytes);
    advance(engine, index);
    return CASCADE_OK;
}

bool
fabric_mpi_bulk_progress(struct fabric_mpi *engine)
{
    bool moved = finish_chunks(engine);
    if (engine->refusals > 0) {
        send_refusals(engine);
    }
    return tell_ended(engine) || moved;
}

void
fabric_mpi_bulk_announced(struct fabric_mpi *engine, uint16_t from,
                          const struct fabric_mpi_landing *landing)
{
    struct fabric_mpi_peer *peer = &engine->peers[from];
    bool refused = false;
    for (int32_t *link = &peer->first_waiting; *link >= 0;
         link = &engine->transfers[*link].next) {
        int32_t index = *link;
        if (engine->transfers[index].tag != landing->tag) {
            continue;
        }
        *link = engine->transfers[index].next;
        engine->transfers[index].next = -1;
        if (meet(engine, index, landing)) {
            return;
        }
        refused = true;
        break;
    }
    int32_t at = engine->announced_free;
    if (at < 0) {
        // A peer announced more than it may.
        fabric_mpi_lose(engine, from);
        return;
    }
    struct fabric_mpi_announced *entry = &engine->announced[at];
    engine->announced_free = entry->next;
    *entry = (struct fabric_mpi_announced){
        .landing = *landing,
        .from = from,
        .refused = refused,
        .next = peer->first_announced,
    };
    peer->first_announced = at;
    engine->refusals += refused ? 1 : 0;
}

void
fabric_mpi_bulk_refused(struct fabric_mpi *engine, uint16_t from,
                        const struct fabric_mpi_landing *landing)
{
    if (landing->index >= FABRIC_MPI_TRANSFERS) {
        return;
    }
    int32_t index = (int32_t)landing->index;
    struct fabric_mpi_transfer *land = &engine->transfers[index];
    if (land->direction != FABRIC_MPI_LAND || land->peer != from ||
        land->ending) {
        return;
    }
    land->status = CASCADE_INVALID;
    for (uint32_t at = 0; at < engine->chunk_count; at++) {
        if (engine->chunk_transfers[at] == index) {
            MPI_Cancel(&engine->chunk_requests[at]);
        }
    }
}

void
fabric_mpi_bulk_drop_waiting(struct fabric_mpi *engine, uint16_t rank)
{
    struct fabric_mpi_peer *peer = &engine->peers[rank];
    while (peer->first_waiting >= 0) {
        int32_t index = peer->first_waiting;
        peer->first_waiting = engine->transfers[index].next;
        end_later(engine, index, CASCADE_CLOSED);
    }
}

bool
fabric_mpi_bulk_is_sending(const struct fabric_mpi *engine)
{
    for (uint32_t at = 0; at < engine->chunk_count; at++) {
        int32_t index = engine->chunk_transfers[at];
        if (engine->transfers[index].direction != FABRIC_MPI_LAND) {
            return true;
        }
    }
    return false;
}

void
fabric_mpi_bulk_cancel(struct fabric_mpi *engine)
{
    for (uint32_t at = 0; at < engine->chunk_count; at++) {
        int32_t index = engine->chunk_transfers[at];
        engine->transfers[index].status = CASCADE_CLOSED;
        MPI_Cancel(&engine->chunk_requests[at]);
    }
}

void
fabric_mpi_bulk_end(struct fabric_mpi *engine)
{
    for (uint32_t rank = 0; rank < engine->rank_count; rank++) {
        fabric_mpi_bulk_drop_waiting(engine, (uint16_t)rank);
    }
    for (int32_t index = 0; index < FABRIC_MPI_TRANSFERS; index++) {
        struct fabric_mpi_transfer *transfer = &engine->transfers[index];
        if (transfer->transfer != NULL && !transfer->ending) {
            end_later(engine, index, CASCADE_CLOSED);
        }
    }
    while (tell_ended(engine)) {
        // Whoever is told begins nothing any more.
    }
}
