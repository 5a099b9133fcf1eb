// SPDX-License-Identifier: Apache-2.0
//
// MPI itself, which a process has once: started here if nobody has, and then
// ended when the process exits. Whoever started it ends it.
//
// The end: fabrics of this process that are not quiet yet are tried once more.
// If all are, this process waits, asleep, for all others to come to the same
// point, as every program of MPI must; then MPI is finalised. If not, it is not,
// since that could wait for ever: the launcher then ends the job.
//
// Even then MPI_Finalize can hang (seen with MPICH 4.0 on UCX 1.13 over TCP). There
// a rank asks each peer to confirm all that it sent, which a peer does that has not
// begun to finalise but still runs its transport. A rank that has all confirmed goes
// on to a barrier in the process manager, where it answers nobody: also not the
// peer that asks later. So once all have met for the last time, nobody runs the
// transport until all are in MPI_Finalize: each sleeps longer than they are apart.
// A watch ends the process if it takes too long all the same.
//
// If the host ends MPI while a fabric is open, we are told by an attribute
// of MPI_COMM_SELF, and never call MPI again.
//
// Lock: `lock` guards the list of fabrics. A child of fork is another process
// and has none.

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "fabric/fabric_mpi_inner.h"

// How long the exit of a process waits for ranks that have not closed.
#define EXIT_TIMEOUT_NS ((uint64_t)60 * 1000 * 1000 * 1000)

// How long the transport runs after all ranks have met for the first time, so that
// late messages arrive, and how long it rests after the last time.
#define SETTLE_NS ((uint64_t)10 * 1000 * 1000)
#define REST_NS ((uint64_t)50 * 1000 * 1000)
#define POLL_NS ((uint64_t)200 * 1000)

static struct {
    pthread_mutex_t lock;
    struct fabric_mpi *first;
    pid_t owner; // that watches for the end; 0: nobody yet
    bool ours;   // we started MPI
    int status;  // with which the process exits
    uint64_t finalize_timeout_ns;
    MPI_Comm farewell;
} process = {.lock = PTHREAD_MUTEX_INITIALIZER, .farewell = MPI_COMM_NULL};

// Brings every fabric of the process to rest. False if one cannot be.
static bool
quiet_all(uint64_t timeout_ns)
{
    bool all = true;
    pthread_mutex_lock(&process.lock);
    for (struct fabric_mpi *engine = process.first; engine != NULL;
         engine = engine->next) {
        pthread_mutex_lock(&engine->gate);
        if (!engine->closing) {
            // It still has a user, to whom it ends like a dead rank.
            fabric_mpi_message_cancel(engine);
        }
        bool quiet = engine->closing && !engine->poisoned &&
                     fabric_mpi_quiet(engine,
                                      fabric_mpi_now_ns(engine) + timeout_ns) &&
                     fabric_mpi_window_close(engine, fabric_mpi_now_ns(engine) +
                                                         timeout_ns);
        all = all && quiet;
        engine->detached = true;
        pthread_mutex_unlock(&engine->gate);
    }
    pthread_mutex_unlock(&process.lock);
    return all;
}

static uint64_t
monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
nap(uint64_t duration_ns)
{
    struct timespec duration = {
        .tv_sec = (time_t)(duration_ns / 1000000000u),
        .tv_nsec = (long)(duration_ns % 1000000000u),
    };
    nanosleep(&duration, NULL);
}

// Meets all ranks that end, asleep meanwhile.
static void
meet_all(void)
{
    MPI_Request request;
    int done = 0;
    if (MPI_Ibarrier(process.farewell, &request) != MPI_SUCCESS) {
        return;
    }
    while (!done &&
           MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS &&
           !done) {
        nap(POLL_NS);
    }
}

static void
say_farewell(void)
{
    meet_all();
    uint64_t until_ns = monotonic_ns() + SETTLE_NS;
    while (monotonic_ns() < until_ns) {
        int arrived = 0;
        MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, process.farewell, &arrived,
                   MPI_STATUS_IGNORE);
        sched_yield();
    }
    meet_all();
    nap(REST_NS);
}

static void *
watch_finalize(void *argument)
{
    (void)argument;
    nap(process.finalize_timeout_ns);
    static const char message[] =
        "cascade: MPI_Finalize hangs although all ranks have come; leaving\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof(message) - 1);
    (void)written;
    _exit(process.status);
}

static void
end_at_exit(int status, void *argument)
{
    (void)argument;
    int ended = 0;
    process.status = status;
    if (process.owner != getpid() || !process.ours ||
        MPI_Finalized(&ended) != MPI_SUCCESS || ended) {
        return;
    }
    if (!quiet_all(EXIT_TIMEOUT_NS)) {
        return;
    }
    (void)fflush(NULL);
    if (process.farewell != MPI_COMM_NULL) {
        say_farewell();
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, watch_finalize, NULL) == 0) {
        pthread_detach(thread);
    }
    MPI_Finalize();
}

// MPI_Finalize begins, whoever calls it.
static int
before_end(MPI_Comm communicator, int key, void *value, void *state)
{
    (void)communicator;
    (void)key;
    (void)value;
    (void)state;
    (void)quiet_all(EXIT_TIMEOUT_NS);
    return MPI_SUCCESS;
}

static void
watch_end(void)
{
    if (process.owner == getpid()) {
        return;
    }
    process.owner = getpid();
    process.first = NULL;
    int key = MPI_KEYVAL_INVALID;
    if (MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, before_end, &key, NULL) ==
        MPI_SUCCESS) {
        MPI_Comm_set_attr(MPI_COMM_SELF, key, NULL);
    }
    (void)on_exit(end_at_exit, NULL);
}

static const char *
level_name(int level)
{
    if (level == MPI_THREAD_SINGLE) {
        return "MPI_THREAD_SINGLE";
    }
    if (level == MPI_THREAD_FUNNELED) {
        return "MPI_THREAD_FUNNELED";
    }
    return level == MPI_THREAD_SERIALIZED ? "MPI_THREAD_SERIALIZED"
                                          : "MPI_THREAD_MULTIPLE";
}

static enum cascade_status
check_level(const struct fabric_mpi_services *services, bool ours)
{
    int level = MPI_THREAD_SINGLE;
    MPI_Query_thread(&level);
    if (level == MPI_THREAD_MULTIPLE) {
        return CASCADE_OK;
    }
    if (level == MPI_THREAD_SERIALIZED && ours) {
        services->log_write(services->log, LOG_LEVEL_WARNING,
                            "fabric: MPI gives MPI_THREAD_SERIALIZED only; "
                            "nothing else in this process may call MPI");
        return CASCADE_OK;
    }
    if (ours) {
        return services->error_set(
            CASCADE_UNSUPPORTED,
            "this MPI gives %s only, and the fabric calls it from a thread of "
            "its own; build MPI with threads, or set fabric=self",
            level_name(level));
    }
    return services->error_set(
        CASCADE_UNSUPPORTED,
        "MPI was started in this process with %s, and the fabric calls it "
        "from a thread of its own; start it with MPI_THREAD_MULTIPLE (in "
        "mpi4py before MPI is imported: mpi4py.rc.thread_level = 'multiple'), "
        "or set fabric=self",
        level_name(level));
}

enum cascade_status
fabric_mpi_start(const struct fabric_mpi_options *options)
{
    const struct fabric_mpi_services *services = &options->services;
    int started = 0;
    int ended = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (ended) {
        return services->error_set(CASCADE_CLOSED,
                                   "MPI was ended in this process and cannot "
                                   "be started again");
    }
    pthread_mutex_lock(&process.lock);
    if (!started) {
        int level = MPI_THREAD_SINGLE;
        if (MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level) !=
            MPI_SUCCESS) {
            pthread_mutex_unlock(&process.lock);
            return services->error_set(CASCADE_IO, "MPI does not start");
        }
        process.ours = true;
    }
    bool ours = process.ours;
    process.finalize_timeout_ns = options->finalize_timeout_ns;
    watch_end();
    pthread_mutex_unlock(&process.lock);
    return check_level(services, ours);
}

int
fabric_mpi_ranks(void)
{
    int started = 0;
    int ended = 0;
    int count = 0;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (started && !ended) {
        MPI_Comm_size(MPI_COMM_WORLD, &count);
    }
    return count;
}

MPI_Comm *
fabric_mpi_farewell(void)
{
    return &process.farewell;
}

void
fabric_mpi_enter(struct fabric_mpi *engine)
{
    pthread_mutex_lock(&process.lock);
    engine->next = process.first;
    process.first = engine;
    pthread_mutex_unlock(&process.lock);
}

void
fabric_mpi_leave(struct fabric_mpi *engine)
{
    pthread_mutex_lock(&process.lock);
    struct fabric_mpi **link = &process.first;
    while (*link != NULL && *link != engine) {
        link = &(*link)->next;
    }
    if (*link != NULL) {
        *link = engine->next;
    }
    pthread_mutex_unlock(&process.lock);
}
