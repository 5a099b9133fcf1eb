// SPDX-License-Identifier: Apache-2.0
//
// The inside of the MPI fabric, shared by fabric_mpi*.c only: one struct per
// open fabric, and what its parts do for each other.
//
//   fabric_mpi.c          the table, open and close
//   fabric_mpi_start.c    MPI itself: start, thread level, end at exit
//   fabric_mpi_message.c  messages: posted receives and a pool of sends
//   fabric_mpi_bulk.c     bulk bytes in chunks; pushes, landings and reads
//   fabric_mpi_window.c   the window and its probe
//
// Invariants:
// - a landing is announced to the one who will push, and nothing is pushed
//   before; so bytes are always received where they belong, and a tag of MPI
//   (the landing's index) is in use by one transfer only;
// - messages carry a number per pair of ranks and are delivered in that order,
//   whichever receive of MPI completes first.
//
// Lock: `gate`, recursive, held by whoever calls MPI for this fabric: the engine
// thread, or the thread that ends MPI under our feet.

#ifndef FABRIC_FABRIC_MPI_INNER_H
#define FABRIC_FABRIC_MPI_INNER_H

#include <mpi.h>
#include <pthread.h>

#include "fabric/fabric_mpi.h"

#define FABRIC_MPI_RECEIVES 32
#define FABRIC_MPI_SENDS 64
#define FABRIC_MPI_TRANSFERS 1024
// Chunks of one transfer under way at once.
#define FABRIC_MPI_PIPELINE 4
#define FABRIC_MPI_CHUNKS (FABRIC_MPI_TRANSFERS * FABRIC_MPI_PIPELINE)
// Landings per pair of ranks, at most and at least.
#define FABRIC_MPI_LANDINGS_MAX 128
#define FABRIC_MPI_LANDINGS_MIN 16
// Of all ranks together; bounds memory where there are many.
#define FABRIC_MPI_LANDINGS_TOTAL 65536

enum fabric_mpi_kind {
    FABRIC_MPI_MESSAGE = 1,
    FABRIC_MPI_LANDING = 2, // memory is ready: struct fabric_mpi_landing
    FABRIC_MPI_REFUSAL = 3, // what was pushed does not fit that landing
};

struct fabric_mpi_header {
    uint64_t sequence;
    uint32_t kind;
    uint32_t bytes;
};

#define FABRIC_MPI_BUFFER_BYTES \
    (sizeof(struct fabric_mpi_header) + FABRIC_MESSAGE_BYTES_MAX)

struct fabric_mpi_landing {
    uint64_t tag;
    uint64_t bytes;
    uint64_t chunk_bytes;
    uint32_t index; // of the transfer over there; the tag of MPI
    uint32_t zero;
};

// A landing that a peer has announced, until it is pushed to.
struct fabric_mpi_announced {
    struct fabric_mpi_landing landing;
    uint16_t from;
    bool refused; // the refusal could not be sent yet
    int32_t next; // of the same peer, or free; -1 ends
};

enum fabric_mpi_direction {
    FABRIC_MPI_FREE = 0,
    FABRIC_MPI_PUSH = 1,
    FABRIC_MPI_LAND = 2,
    FABRIC_MPI_READ = 3,
};

struct fabric_mpi_transfer {
    struct fabric_transfer *transfer;
    enum fabric_mpi_direction direction;
    enum cascade_status status;
    uint16_t peer;
    bool ending; // in the list of those that have ended
    uint64_t tag;
    const uint8_t *source; // push
    uint8_t *target;       // land, read
    uint64_t offset;       // read
    uint64_t bytes;
    uint64_t chunk_bytes;
    uint64_t chunks;
    uint64_t chunks_begun;
    int mpi_tag;
    uint32_t chunks_out;
    int32_t next; // waiting push of the same peer, free or ended; -1 ends
};

struct fabric_mpi_peer {
    uint64_t sequence_out;
    uint64_t sequence_in;
    uint64_t exposed_bytes;
    uint32_t sends_out;
    uint32_t landings_out; // announced to it
    int32_t first_announced;
    int32_t first_waiting; // pushes without a landing
    bool lost;
};

struct fabric_mpi_receive {
    uint64_t sequence;
    uint16_t from;
    bool held; // has come, not delivered
};

struct fabric_mpi {
    struct fabric_mpi_services services;
    struct fabric_mpi_options options;
    pthread_mutex_t gate;
    struct fabric_sink sink;
    bool started;  // the sink is known
    bool closing;  // messages are dropped, nothing is begun
    bool detached; // MPI was ended by its owner; it is not called any more
    bool poisoned; // memory may still be written; never freed
    int quiet_step;
    MPI_Request quiet_request;
    struct fabric_mpi *next; // of this process

    MPI_Comm messages;
    MPI_Comm bulk;
    uint16_t rank;
    uint16_t rank_count;
    uint64_t job;
    bool many_nodes; // ranks say that they run on different ones
    struct fabric_mpi_peer *peers;

    struct fabric_mpi_receive receives[FABRIC_MPI_RECEIVES];
    MPI_Request receive_requests[FABRIC_MPI_RECEIVES];
    uint8_t *receive_memory;
    uint32_t receives_held;

    MPI_Request send_requests[FABRIC_MPI_SENDS];
    uint16_t send_to[FABRIC_MPI_SENDS];
    uint8_t send_free[FABRIC_MPI_SENDS];
    uint32_t send_free_count;
    uint8_t *send_memory;

    struct fabric_mpi_transfer *transfers;
    int32_t transfer_free;
    int32_t transfer_ended; // those to be told
    uint32_t transfers_out;
    struct fabric_mpi_announced *announced;
    int32_t announced_free;
    uint32_t landings_per_pair;
    uint32_t refusals;
    MPI_Request *chunk_requests;
    int32_t *chunk_transfers;
    uint32_t chunk_count;

    // For Testsome.
    int *indices;
    MPI_Status *statuses;

    bool has_window;
    bool window_hangs; // a thread is in there for ever
    MPI_Comm window_comm;
    MPI_Win window;
};

// --- fabric_mpi_start.c

enum cascade_status
fabric_mpi_start(const struct fabric_mpi_options *options);

int
fabric_mpi_ranks(void);

// The communicator on which ranks meet at the end of the process; made by the
// first open.
MPI_Comm *
fabric_mpi_farewell(void);

// Enters and leaves the list of what must be quiet before MPI ends.
void
fabric_mpi_enter(struct fabric_mpi *engine);

void
fabric_mpi_leave(struct fabric_mpi *engine);

// --- fabric_mpi.c

uint64_t
fabric_mpi_now_ns(const struct fabric_mpi *engine);

// Between two tests of a wait that began at `since_ns`: yields, later naps.
void
fabric_mpi_nap(const struct fabric_mpi *engine, uint64_t since_ns);

// Tests until the request is done. TIMEOUT, IO.
enum cascade_status
fabric_mpi_wait(struct fabric_mpi *engine, MPI_Request *request,
                uint64_t deadline_ns);

// Collective: the least value of all ranks.
enum cascade_status
fabric_mpi_least(struct fabric_mpi *engine, int *value, uint64_t deadline_ns);

// Goes on with the end of the fabric, which all ranks must reach: nothing is
// under way any more. True if it is quiet. May be called again.
bool
fabric_mpi_quiet(struct fabric_mpi *engine, uint64_t deadline_ns);

// --- fabric_mpi_message.c

enum cascade_status
fabric_mpi_message_open(struct fabric_mpi *engine);

enum cascade_status
fabric_mpi_message_send(struct fabric_mpi *engine, uint16_t to,
                        enum fabric_mpi_kind kind, const void *data,
                        size_t bytes);

bool
fabric_mpi_message_progress(struct fabric_mpi *engine);

void
fabric_mpi_message_cancel(struct fabric_mpi *engine);

// The rank is not to be heard of again.
void
fabric_mpi_lose(struct fabric_mpi *engine, uint16_t rank);

// --- fabric_mpi_bulk.c

enum cascade_status
fabric_mpi_bulk_open(struct fabric_mpi *engine);

enum cascade_status
fabric_mpi_bulk_push(struct fabric_mpi *engine, uint16_t to, uint64_t tag,
                     const void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer);

enum cascade_status
fabric_mpi_bulk_land(struct fabric_mpi *engine, uint16_t from, uint64_t tag,
                     void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer);

enum cascade_status
fabric_mpi_bulk_read(struct fabric_mpi *engine, uint16_t from, uint64_t offset,
                     void *memory, uint64_t bytes,
                     struct fabric_transfer *transfer);

bool
fabric_mpi_bulk_progress(struct fabric_mpi *engine);

// A peer has announced a landing, or refused one of ours.
void
fabric_mpi_bulk_announced(struct fabric_mpi *engine, uint16_t from,
                          const struct fabric_mpi_landing *landing);

void
fabric_mpi_bulk_refused(struct fabric_mpi *engine, uint16_t from,
                        const struct fabric_mpi_landing *landing);

// Pushes that wait for a landing of that rank end.
void
fabric_mpi_bulk_drop_waiting(struct fabric_mpi *engine, uint16_t rank);

// True if pushes or reads are under way.
bool
fabric_mpi_bulk_is_sending(const struct fabric_mpi *engine);

// Landings that nobody pushed to any more: cancels them.
void
fabric_mpi_bulk_cancel(struct fabric_mpi *engine);

// Whatever is left ends with CLOSED.
void
fabric_mpi_bulk_end(struct fabric_mpi *engine);

// --- fabric_mpi_window.c

// Collective. Any failure only means that there are no one-sided reads; another
// status than OK: the ranks could not agree.
enum cascade_status
fabric_mpi_window_open(struct fabric_mpi *engine);

// Collective. False if it had to be left.
bool
fabric_mpi_window_close(struct fabric_mpi *engine, uint64_t deadline_ns);

#endif
