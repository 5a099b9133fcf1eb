// SPDX-License-Identifier: Apache-2.0
//
// The window: memory of this rank that others get from, made once at open over
// memory that is ours, in one passive epoch until close.
//
// MPI's calls for it block, may fail and have been seen to hang. They run in a
// thread of their own that is left behind at a deadline; then all ranks agree
// to have no window. Whether gets finish while their target is away from MPI is
// found out by trying: ranks at two distances, one of the two away each time.
//
// No get is relied on for anything but bytes that the owner has promised not
// to change (leases); the memory model asked for is the unified one.

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "fabric/fabric_mpi_inner.h"

#define NS_PER_MS ((uint64_t)1000000)

// How long a target stays away from MPI, when the get begins after it left, and
// when it must have finished.
#define AWAY_NS (40 * NS_PER_MS)
#define SETTLE_NS (3 * NS_PER_MS)
#define FINISH_NS (25 * NS_PER_MS)

// --- calls that may hang

struct visit {
    struct fabric_mpi *engine;
    bool (*call)(struct fabric_mpi *engine);
    bool good;
    _Atomic bool over;
};

static void *
run_visit(void *argument)
{
    struct visit *visit = argument;
    visit->good = visit->call(visit->engine);
    atomic_store(&visit->over, true);
    return NULL;
}

// Runs the call in a thread. False if it failed or is still in there; then the
// thread and its struct stay for ever.
static bool
visit(struct fabric_mpi *engine, bool (*call)(struct fabric_mpi *engine),
      uint64_t deadline_ns)
{
    const struct allocator *allocator = engine->services.allocator;
    struct visit *visit = allocator->allocate(allocator->self, sizeof(*visit),
                                              0);
    pthread_t thread;
    if (visit == NULL) {
        return false;
    }
    visit->engine = engine;
    visit->call = call;
    if (pthread_create(&thread, NULL, run_visit, visit) != 0) {
        allocator->release(allocator->self, visit);
        return false;
    }
    uint64_t since_ns = fabric_mpi_now_ns(engine);
    while (!atomic_load(&visit->over)) {
        if (fabric_mpi_now_ns(engine) >= deadline_ns) {
            engine->window_hangs = true;
            pthread_detach(thread);
            return false;
        }
        fabric_mpi_nap(engine, since_ns);
    }
    pthread_join(thread, NULL);
    bool good = visit->good;
    allocator->release(allocator->self, visit);
    return good;
}

static bool
create(struct fabric_mpi *engine)
{
    if (MPI_Comm_dup(engine->messages, &engine->window_comm) != MPI_SUCCESS) {
        engine->window_comm = MPI_COMM_NULL;
        return false;
    }
    MPI_Comm_set_errhandler(engine->window_comm, MPI_ERRORS_RETURN);
    if (MPI_Win_create(engine->options.memory,
                       (MPI_Aint)engine->options.memory_bytes, 1, MPI_INFO_NULL,
                       engine->window_comm, &engine->window) != MPI_SUCCESS) {
        engine->window = MPI_WIN_NULL;
        return false;
    }
    MPI_Win_set_errhandler(engine->window, MPI_ERRORS_RETURN);
    int *model = NULL;
    int known = 0;
    MPI_Win_get_attr(engine->window, MPI_WIN_MODEL, &model, &known);
    return known && *model == MPI_WIN_UNIFIED &&
           MPI_Win_lock_all(MPI_MODE_NOCHECK, engine->window) == MPI_SUCCESS;
}

static bool
destroy(struct fabric_mpi *engine)
{
    return MPI_Win_unlock_all(engine->window) == MPI_SUCCESS &&
           MPI_Win_free(&engine->window) == MPI_SUCCESS;
}

// --- the probe

static uint8_t
pattern(uint32_t rank, uint64_t at)
{
    return (uint8_t)(at * 31 + (at >> 8) * 7 + rank * 101 + 1);
}

static void
sleep_until(const struct fabric_mpi *engine, uint64_t moment_ns)
{
    for (;;) {
        uint64_t now_ns = fabric_mpi_now_ns(engine);
        if (now_ns >= moment_ns) {
            return;
        }
        struct timespec nap = {.tv_nsec = (long)(moment_ns - now_ns)};
        nanosleep(&nap, NULL);
    }
}

// One get, begun when the target is away. Finished in time: 1. In the end, and
// right: *right.
static bool
get(struct fabric_mpi *engine, uint16_t from, uint8_t *memory, bool *right,
    uint64_t deadline_ns)
{
    uint64_t bytes = engine->peers[from].exposed_bytes;
    if (bytes > FABRIC_MPI_PROBE_BYTES) {
        bytes = FABRIC_MPI_PROBE_BYTES;
    }
    memset(memory, 0xa5, bytes);
    sleep_until(engine, fabric_mpi_now_ns(engine) + SETTLE_NS);
    uint64_t begun_ns = fabric_mpi_now_ns(engine);
    MPI_Request request;
    if (MPI_Rget(memory, (int)bytes, MPI_BYTE, from, 0, (int)bytes, MPI_BYTE,
                 engine->window, &request) != MPI_SUCCESS) {
        *right = false;
        return false;
    }
    enum cascade_status status = fabric_mpi_wait(engine, &request, deadline_ns);
    uint64_t ended_ns = fabric_mpi_now_ns(engine);
    if (status != CASCADE_OK) {
        engine->window_hangs = true; // it may still write to `memory`
        *right = false;
        return false;
    }
    for (uint64_t at = 0; at < bytes; at++) {
        *right = *right && memory[at] == pattern(from, at);
    }
    return ended_ns - begun_ns < FINISH_NS;
}

static enum cascade_status
meet(struct fabric_mpi *engine, uint64_t deadline_ns)
{
    MPI_Request request;
    if (MPI_Ibarrier(engine->messages, &request) != MPI_SUCCESS) {
        return engine->services.error_set(CASCADE_IO, "MPI has no barrier");
    }
    return fabric_mpi_wait(engine, &request, deadline_ns);
}

// Every rank gets from the one `distance` further, in two turns: in each, ranks
// of one kind get and the others are away. *progress: all came in time.
static enum cascade_status
try_distance(struct fabric_mpi *engine, uint32_t distance, uint8_t *memory,
             bool *right, bool *progress, uint64_t deadline_ns)
{
    uint32_t from = (engine->rank + distance) % engine->rank_count;
    for (uint32_t turn = 0; turn < 2; turn++) {
        enum cascade_status status = meet(engine, deadline_ns);
        if (status != CASCADE_OK) {
            return status;
        }
        uint64_t until_ns = fabric_mpi_now_ns(engine) + AWAY_NS;
        bool gets = engine->rank / distance % 2 == turn;
        bool target_gets = from / distance % 2 == turn;
        if (gets && !target_gets && from != engine->rank) {
            bool in_time = get(engine, (uint16_t)from, memory, right,
                               deadline_ns);
            *progress = *progress && in_time;
        }
        sleep_until(engine, until_ns);
    }
    return CASCADE_OK;
}

// Memory gets the pattern, and its own bytes back.
static enum cascade_status
probe(struct fabric_mpi *engine, bool *right, bool *progress,
      uint64_t deadline_ns)
{
    const struct allocator *allocator = engine->services.allocator;
    uint64_t bytes = engine->options.memory_bytes;
    if (bytes > FABRIC_MPI_PROBE_BYTES) {
        bytes = FABRIC_MPI_PROBE_BYTES;
    }
    uint8_t *kept = allocator->allocate(allocator->self,
                                        2 * FABRIC_MPI_PROBE_BYTES, 0);
    if (kept == NULL) {
        return engine->services.error_set(CASCADE_NO_MEMORY,
                                          "no memory to probe the window");
    }
    uint8_t *own = engine->options.memory;
    if (bytes > 0) {
        memcpy(kept, own, bytes);
    }
    for (uint64_t at = 0; at < bytes; at++) {
        own[at] = pattern(engine->rank, at);
    }
    *right = true;
    *progress = true;
    uint8_t *memory = kept + FABRIC_MPI_PROBE_BYTES;
    enum cascade_status status = try_distance(engine, 1, memory, right,
                                              progress, deadline_ns);
    uint32_t half = engine->rank_count / 2;
    if (status == CASCADE_OK && half > 1) {
        status = try_distance(engine, half, memory, right, progress,
                              deadline_ns);
    }
    if (status == CASCADE_OK) {
        status = meet(engine, deadline_ns);
    }
    if (bytes > 0) {
        memcpy(own, kept, bytes);
    }
    if (!engine->window_hangs) {
        allocator->release(allocator->self, kept);
    }
    return status;
}

enum cascade_status
fabric_mpi_window_open(struct fabric_mpi *engine)
{
    uint64_t since_ns = fabric_mpi_now_ns(engine);
    uint64_t open_ns = since_ns + engine->options.open_timeout_ns;
    int windows = (int)engine->options.windows;
    enum cascade_status status = fabric_mpi_least(engine, &windows, open_ns);
    if (status != CASCADE_OK || windows == FABRIC_WINDOWS_OFF) {
        return status;
    }
    int many_nodes = engine->many_nodes ? 1 : 0;
    status = fabric_mpi_least(engine, &many_nodes, open_ns);
    if (status != CASCADE_OK ||
        (windows == FABRIC_WINDOWS_AUTO && !many_nodes)) {
        return status; // memory of the node needs no window
    }
    uint64_t deadline_ns = fabric_mpi_now_ns(engine) +
                           engine->options.window_timeout_ns;
    int good = visit(engine, create, deadline_ns);
    status = fabric_mpi_least(engine, &good, open_ns);
    if (status != CASCADE_OK || !good) {
        engine->window = MPI_WIN_NULL; // others may lack it: it stays
        engine->services.log_write(
            engine->services.log,
            windows == FABRIC_WINDOWS_ON ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
            "fabric: MPI gives no window; no one-sided reads");
        return status;
    }
    bool right = false;
    bool progress = false;
    deadline_ns = fabric_mpi_now_ns(engine) + engine->options.window_timeout_ns;
    status = probe(engine, &right, &progress, deadline_ns);
    if (status == CASCADE_NO_MEMORY) {
        return status;
    }
    good = status == CASCADE_OK && right &&
           (progress || windows == FABRIC_WINDOWS_ON);
    status = fabric_mpi_least(engine, &good, open_ns);
    engine->has_window = status == CASCADE_OK && good;
    engine->services.log_write(
        engine->services.log, LOG_LEVEL_INFO,
        "fabric: one-sided reads are %s; here they were %s and %s",
        engine->has_window ? "used" : "not used", right ? "right" : "wrong",
        progress ? "independent of the target" : "dependent on the target");
    if (status == CASCADE_OK && !good) {
        (void)fabric_mpi_window_close(engine,
                                      fabric_mpi_now_ns(engine) +
                                          engine->options.window_timeout_ns);
    }
    return status;
}

bool
fabric_mpi_window_close(struct fabric_mpi *engine, uint64_t deadline_ns)
{
    if (engine->window == MPI_WIN_NULL || engine->window_hangs) {
        return !engine->window_hangs;
    }
    engine->has_window = false;
    return visit(engine, destroy, deadline_ns);
}
