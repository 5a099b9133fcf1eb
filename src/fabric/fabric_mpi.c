// SPDX-License-Identifier: Apache-2.0
//
// The fabric over MPI: its table, open and close. Messages, bulk bytes and the
// window are in files of their own (fabric_mpi_inner.h lists them).
//
// The end is an agreement of all ranks, in steps that can be left at a deadline
// and gone on with later: nobody begins anything; everything sent has arrived;
// receives that nobody will fill are cancelled. A fabric whose ranks do not
// come stays in the list of the process, and is tried again before MPI ends.
// One that still has bytes under way then is given up: its memory is never
// freed, and MPI is not ended.

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "fabric/fabric_mpi_inner.h"

#define YIELD_NS 200000u
#define NAP_NS 20000
#define NAP_LONG_NS 500000

// --- waiting

uint64_t
fabric_mpi_now_ns(const struct fabric_mpi *engine)
{
    const struct clock_source *clock = engine->services.clock;
    return clock->steady_ns(clock->self);
}

void
fabric_mpi_nap(const struct fabric_mpi *engine, uint64_t since_ns)
{
    uint64_t waited_ns = fabric_mpi_now_ns(engine) - since_ns;
    if (waited_ns < YIELD_NS) {
        sched_yield();
        return;
    }
    struct timespec nap = {.tv_nsec = waited_ns < 100 * YIELD_NS ? NAP_NS
                                                                 : NAP_LONG_NS};
    nanosleep(&nap, NULL);
}

enum cascade_status
fabric_mpi_wait(struct fabric_mpi *engine, MPI_Request *request,
                uint64_t deadline_ns)
{
    uint64_t since_ns = fabric_mpi_now_ns(engine);
    for (;;) {
        int done = 0;
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
            return engine->services.error_set(CASCADE_IO,
                                              "MPI fails between the ranks");
        }
        if (done) {
            return CASCADE_OK;
        }
        if (fabric_mpi_now_ns(engine) >= deadline_ns) {
            return engine->services.error_set(
                CASCADE_TIMEOUT,
                "not all ranks of the MPI job have come; all must open the "
                "store, as often and in the same order");
        }
        fabric_mpi_nap(engine, since_ns);
    }
}

enum cascade_status
fabric_mpi_least(struct fabric_mpi *engine, int *value, uint64_t deadline_ns)
{
    int mine = *value;
    MPI_Request request;
    if (MPI_Iallreduce(&mine, value, 1, MPI_INT, MPI_MIN, engine->messages,
                       &request) != MPI_SUCCESS) {
        return engine->services.error_set(CASCADE_IO, "MPI reduces nothing");
    }
    return fabric_mpi_wait(engine, &request, deadline_ns);
}

static bool
turn(struct fabric_mpi *engine)
{
    bool moved = fabric_mpi_message_progress(engine);
    return fabric_mpi_bulk_progress(engine) || moved;
}

// --- the table

static bool
begin_call(struct fabric_mpi *engine)
{
    pthread_mutex_lock(&engine->gate);
    if (engine->detached || engine->closing) {
        pthread_mutex_unlock(&engine->gate);
        return false;
    }
    return true;
}

static enum cascade_status
end_call(struct fabric_mpi *engine, enum cascade_status status)
{
    pthread_mutex_unlock(&engine->gate);
    return status;
}

static enum cascade_status
check_peer(const struct fabric_mpi *engine, uint16_t rank)
{
    if (rank >= engine->rank_count) {
        return engine->services.error_set(
            CASCADE_INVALID, "rank %u of %u does not exist", (unsigned)rank,
            (unsigned)engine->rank_count);
    }
    return engine->peers[rank].lost ? CASCADE_CLOSED : CASCADE_OK;
}

static void
mpi_start(void *self, const struct fabric_sink *sink)
{
    struct fabric_mpi *engine = self;
    pthread_mutex_lock(&engine->gate);
    engine->sink = *sink;
    engine->started = true;
    pthread_mutex_unlock(&engine->gate);
}

static enum cascade_status
mpi_send(void *self, uint16_t to, const void *data, size_t bytes)
{
    struct fabric_mpi *engine = self;
    if (!begin_call(engine)) {
        return CASCADE_CLOSED;
    }
    enum cascade_status status = check_peer(engine, to);
    if (status == CASCADE_OK && bytes > FABRIC_MESSAGE_BYTES_MAX) {
        status = engine->services.error_set(
            CASCADE_INVALID, "a message of %zu bytes; %zu is the most", bytes,
            FABRIC_MESSAGE_BYTES_MAX);
    }
    if (status == CASCADE_OK) {
        status = fabric_mpi_message_send(engine, to, FABRIC_MPI_MESSAGE, data,
                                         bytes);
    }
    return end_call(engine, status);
}

static enum cascade_status
mpi_push(void *self, uint16_t to, uint64_t tag, const void *memory,
         uint64_t bytes, struct fabric_transfer *transfer)
{
    struct fabric_mpi *engine = self;
    if (!begin_call(engine)) {
        return CASCADE_CLOSED;
    }
    enum cascade_status status = check_peer(engine, to);
    if (status == CASCADE_OK) {
        status = fabric_mpi_bulk_push(engine, to, tag, memory, bytes, transfer);
    }
    return end_call(engine, status);
}

static enum cascade_status
mpi_land(void *self, uint16_t from, uint64_t tag, void *memory, uint64_t bytes,
         struct fabric_transfer *transfer)
{
    struct fabric_mpi *engine = self;
    if (!begin_call(engine)) {
        return CASCADE_CLOSED;
    }
    enum cascade_status status = check_peer(engine, from);
    if (status == CASCADE_OK) {
        status = fabric_mpi_bulk_land(engine, from, tag, memory, bytes,
                                      transfer);
    }
    return end_call(engine, status);
}

static enum cascade_status
mpi_read(void *self, uint16_t from, uint64_t offset, void *memory,
         uint64_t bytes, struct fabric_transfer *transfer)
{
    struct fabric_mpi *engine = self;
    if (!begin_call(engine)) {
        return CASCADE_CLOSED;
    }
    enum cascade_status status = check_peer(engine, from);
    if (status == CASCADE_OK) {
        status = fabric_mpi_bulk_read(engine, from, offset, memory, bytes,
                                      transfer);
    }
    return end_call(engine, status);
}

static bool
mpi_progress(void *self)
{
    struct fabric_mpi *engine = self;
    if (!begin_call(engine)) {
        return false;
    }
    bool moved = turn(engine);
    pthread_mutex_unlock(&engine->gate);
    return moved;
}

// --- the end

// The steps of fabric_mpi_quiet.
enum quiet_step {
    QUIET_BEGIN,
    QUIET_ALL_CLOSING, // waits until all ranks have begun to close
    QUIET_SENDING,     // ... until what this rank sent has arrived
    QUIET_ALL_SENT,    // ... until that is so everywhere
    QUIET_CANCELLING,
    QUIET_DONE,
};

static bool
barrier(struct fabric_mpi *engine, enum quiet_step next)
{
    engine->quiet_step = next;
    return MPI_Ibarrier(engine->messages, &engine->quiet_request) ==
           MPI_SUCCESS;
}

static bool
barrier_is_over(struct fabric_mpi *engine)
{
    int done = 0;
    return MPI_Test(&engine->quiet_request, &done, MPI_STATUS_IGNORE) ==
               MPI_SUCCESS &&
           done;
}

// True if the receives are cancelled or full, and every landing has ended.
static bool
is_cancelled(struct fabric_mpi *engine)
{
    int done = 0;
    return MPI_Testall(FABRIC_MPI_RECEIVES, engine->receive_requests, &done,
                       engine->statuses) == MPI_SUCCESS &&
           done && engine->chunk_count == 0;
}

static void
step_quiet(struct fabric_mpi *engine)
{
    switch ((enum quiet_step)engine->quiet_step) {
    case QUIET_BEGIN:
        for (uint32_t rank = 0; rank < engine->rank_count; rank++) {
            fabric_mpi_bulk_drop_waiting(engine, (uint16_t)rank);
        }
        (void)barrier(engine, QUIET_ALL_CLOSING);
        break;
    case QUIET_ALL_CLOSING:
        if (barrier_is_over(engine)) {
            engine->quiet_step = QUIET_SENDING;
        }
        break;
    case QUIET_SENDING:
        if (engine->send_free_count == FABRIC_MPI_SENDS &&
            !fabric_mpi_bulk_is_sending(engine)) {
            (void)barrier(engine, QUIET_ALL_SENT);
        }
        break;
    case QUIET_ALL_SENT:
        if (barrier_is_over(engine)) {
            fabric_mpi_message_cancel(engine);
            fabric_mpi_bulk_cancel(engine);
            engine->quiet_step = QUIET_CANCELLING;
        }
        break;
    case QUIET_CANCELLING:
        if (is_cancelled(engine)) {
            engine->quiet_step = QUIET_DONE;
        }
        break;
    case QUIET_DONE:
        break;
    }
}

bool
fabric_mpi_quiet(struct fabric_mpi *engine, uint64_t deadline_ns)
{
    uint64_t since_ns = fabric_mpi_now_ns(engine);
    while (engine->quiet_step != QUIET_DONE) {
        bool moved = fabric_mpi_bulk_progress(engine);
        if (engine->quiet_step != QUIET_CANCELLING) {
            moved = fabric_mpi_message_progress(engine) || moved;
        }
        step_quiet(engine);
        uint64_t now_ns = fabric_mpi_now_ns(engine);
        if (now_ns >= deadline_ns) {
            return engine->quiet_step == QUIET_DONE;
        }
        if (moved) {
            since_ns = now_ns;
        } else {
            fabric_mpi_nap(engine, since_ns);
        }
    }
    return true;
}

static void
release(struct fabric_mpi *engine)
{
    const struct allocator *allocator = engine->services.allocator;
    void *const memory[] = {
        engine->peers,           engine->receive_memory, engine->send_memory,
        engine->transfers,       engine->announced,      engine->chunk_requests,
        engine->chunk_transfers, engine->indices,        engine->statuses,
    };
    for (size_t at = 0; at < sizeof(memory) / sizeof(memory[0]); at++) {
        allocator->release(allocator->self, memory[at]);
    }
    pthread_mutex_destroy(&engine->gate);
    allocator->release(allocator->self, engine);
}

static void
free_communicators(struct fabric_mpi *engine)
{
    MPI_Comm *const communicators[] = {&engine->messages, &engine->bulk,
                                       &engine->window_comm};
    for (size_t at = 0; at < 3; at++) {
        if (*communicators[at] != MPI_COMM_NULL) {
            MPI_Comm_free(communicators[at]);
        }
    }
}

static void
mpi_close(void *self)
{
    struct fabric_mpi *engine = self;
    pthread_mutex_lock(&engine->gate);
    engine->started = true; // whatever comes is dropped
    bool quiet = false;
    engine->closing = true;
    if (!engine->detached) {
        uint64_t deadline_ns = fabric_mpi_now_ns(engine) +
                               engine->options.close_timeout_ns;
        quiet = fabric_mpi_quiet(engine, deadline_ns) &&
                fabric_mpi_window_close(engine, deadline_ns);
    }
    engine->poisoned = engine->chunk_count > 0 || engine->window_hangs;
    fabric_mpi_bulk_end(engine);
    bool detached = engine->detached;
    bool clean = quiet && !engine->poisoned;
    pthread_mutex_unlock(&engine->gate);
    if (clean || detached) {
        fabric_mpi_leave(engine);
        if (clean) {
            free_communicators(engine);
            release(engine);
        }
        return;
    }
    engine->services.log_write(
        engine->services.log, LOG_LEVEL_WARNING,
        "fabric: not all ranks closed in time; %s",
        engine->poisoned ? "MPI is not ended by this process"
                         : "it is tried again when the process exits");
    // The caller's log need not outlive this.
    engine->services.log = NULL;
}

static const struct fabric_table table = {
    .name = "mpi",
    .start = mpi_start,
    .send = mpi_send,
    .push = mpi_push,
    .land = mpi_land,
    .read = mpi_read,
    .progress = mpi_progress,
    .close = mpi_close,
};

// --- open

// A communicator of our own; the others may come later.
static enum cascade_status
duplicate(struct fabric_mpi *engine, MPI_Comm from, MPI_Comm *to,
          uint64_t deadline_ns)
{
    MPI_Request request;
    if (MPI_Comm_idup(from, to, &request) != MPI_SUCCESS) {
        *to = MPI_COMM_NULL;
        return engine->services.error_set(CASCADE_IO,
                                          "MPI gives no communicator");
    }
    enum cascade_status status = fabric_mpi_wait(engine, &request, deadline_ns);
    if (status != CASCADE_OK) {
        return status;
    }
    MPI_Comm_set_errhandler(*to, MPI_ERRORS_RETURN);
    return CASCADE_OK;
}

// What all ranks tell each other: the job's number and their memory.
struct introduction {
    uint64_t job;
    uint64_t exposed_bytes;
    uint64_t node; // of the name that MPI gives it
};

static uint64_t
node_number(void)
{
    char name[MPI_MAX_PROCESSOR_NAME];
    int length = 0;
    MPI_Get_processor_name(name, &length);
    uint64_t hash = 0xcbf29ce484222325u; // FNV-1a
    for (int i = 0; i < length; i++) {
        hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3u;
    }
    return hash;
}

static enum cascade_status
introduce(struct fabric_mpi *engine, uint64_t deadline_ns)
{
    const struct allocator *allocator = engine->services.allocator;
    struct introduction own = {.exposed_bytes = engine->options.memory_bytes,
                               .node = node_number()};
    while (engine->rank == 0 && own.job == 0) {
        if (getrandom(&own.job, sizeof(own.job), 0) != sizeof(own.job)) {
            own.job = fabric_mpi_now_ns(engine);
        }
    }
    struct introduction *all = allocator->allocate(
        allocator->self, engine->rank_count * sizeof(*all), 0);
    if (all == NULL) {
        return engine->services.error_set(CASCADE_NO_MEMORY,
                                          "no memory for the ranks of MPI");
    }
    MPI_Request request;
    if (MPI_Iallgather(&own, sizeof(own), MPI_BYTE, all, sizeof(own), MPI_BYTE,
                       engine->messages, &request) != MPI_SUCCESS) {
        allocator->release(allocator->self, all);
        return engine->services.error_set(CASCADE_IO, "MPI gathers nothing");
    }
    enum cascade_status status = fabric_mpi_wait(engine, &request, deadline_ns);
    if (status != CASCADE_OK) {
        return status; // MPI may still write to `all`
    }
    engine->job = all[0].job;
    for (uint32_t rank = 0; rank < engine->rank_count; rank++) {
        engine->peers[rank].exposed_bytes = all[rank].exposed_bytes;
        engine->many_nodes = engine->many_nodes || all[rank].node != own.node;
        engine->peers[rank].first_announced = -1;
        engine->peers[rank].first_waiting = -1;
    }
    allocator->release(allocator->self, all);
    return CASCADE_OK;
}

static enum cascade_status
allocate(struct fabric_mpi *engine)
{
    const struct allocator *allocator = engine->services.allocator;
    engine->peers = allocator->allocate(
        allocator->self, engine->rank_count * sizeof(*engine->peers), 0);
    engine->indices = allocator->allocate(allocator->self,
                                          FABRIC_MPI_CHUNKS * sizeof(int), 0);
    engine->statuses = allocator->allocate(
        allocator->self, FABRIC_MPI_CHUNKS * sizeof(MPI_Status), 0);
    if (engine->peers == NULL || engine->indices == NULL ||
        engine->statuses == NULL) {
        return engine->services.error_set(CASCADE_NO_MEMORY,
                                          "no memory for the fabric of MPI");
    }
    return CASCADE_OK;
}

static enum cascade_status
open_parts(struct fabric_mpi *engine)
{
    uint64_t deadline_ns = fabric_mpi_now_ns(engine) +
                           engine->options.open_timeout_ns;
    int rank = 0;
    int count = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    if (count > FABRIC_RANKS_MAX) {
        return engine->services.error_set(CASCADE_UNSUPPORTED,
                                          "%d ranks of MPI; %d is the most",
                                          count, FABRIC_RANKS_MAX);
    }
    engine->rank = (uint16_t)rank;
    engine->rank_count = (uint16_t)count;
    enum cascade_status status = allocate(engine);
    if (status == CASCADE_OK) {
        status = duplicate(engine, MPI_COMM_WORLD, &engine->messages,
                           deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = duplicate(engine, engine->messages, &engine->bulk,
                           deadline_ns);
    }
    MPI_Comm *farewell = fabric_mpi_farewell();
    if (status == CASCADE_OK && *farewell == MPI_COMM_NULL) {
        status = duplicate(engine, engine->messages, farewell, deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = introduce(engine, deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = fabric_mpi_bulk_open(engine);
    }
    if (status == CASCADE_OK) {
        status = fabric_mpi_window_open(engine);
    }
    if (status == CASCADE_OK) {
        status = fabric_mpi_message_open(engine);
    }
    return status;
}

static enum cascade_status
mpi_open(const struct fabric_mpi_options *options, struct fabric *fabric)
{
    const struct allocator *allocator = options->services.allocator;
    enum cascade_status status = fabric_mpi_start(options);
    if (status != CASCADE_OK) {
        return status;
    }
    struct fabric_mpi *engine = allocator->allocate(allocator->self,
                                                    sizeof(*engine), 0);
    if (engine == NULL) {
        return options->services.error_set(CASCADE_NO_MEMORY,
                                           "no memory for the fabric of MPI");
    }
    engine->services = options->services;
    engine->options = *options;
    engine->messages = MPI_COMM_NULL;
    engine->bulk = MPI_COMM_NULL;
    engine->window_comm = MPI_COMM_NULL;
    engine->window = MPI_WIN_NULL;
    engine->quiet_request = MPI_REQUEST_NULL;
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&engine->gate, &attributes);
    pthread_mutexattr_destroy(&attributes);
    status = open_parts(engine);
    if (status != CASCADE_OK) {
        // The other ranks may still be on their way: nothing that MPI knows of
        // is freed, and MPI is not ended here.
        engine->poisoned = true;
        engine->closing = true;
        engine->services.log = NULL;
        fabric_mpi_enter(engine);
        return status;
    }
    fabric_mpi_enter(engine);
    *fabric = (struct fabric){
        .table = &table,
        .self = engine,
        .capabilities = FABRIC_RELIABLE | FABRIC_BULK |
                        (engine->has_window ? FABRIC_READ : 0),
        .rank = engine->rank,
        .rank_count = engine->rank_count,
        .job = engine->job,
        .incarnation = 1,
    };
    return CASCADE_OK;
}

extern const struct fabric_mpi_module cascade_fabric_mpi_module
    __attribute__((visibility("default")));

const struct fabric_mpi_module cascade_fabric_mpi_module = {
    .abi = FABRIC_MPI_ABI,
#ifdef OPEN_MPI
    .mpi = "openmpi",
#else
    .mpi = "mpich",
#endif
    .ranks = fabric_mpi_ranks,
    .open = mpi_open,
};
