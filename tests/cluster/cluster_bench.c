// SPDX-License-Identifier: Apache-2.0
//
// What the port over the MPI fabric costs, beside bare MPI in the same job: the
// round trip of a small request, and bulk bytes from rank 1 to rank 0. Run by 2
// ranks (others only take part in the barriers):
//   cluster_bench quick|full
// Every stream is checked. Medians of rounds that take turns, and their ratio.

#include <mpi.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/cluster.h"
#include "fabric/fabric_port.h"

#define SECOND_NS ((uint64_t)1000000000)
#define SUBJECT_ECHO 1
#define REQUEST_BYTES 64
#define ROUNDS_MAX 32

struct bench {
    struct fabric_port *port;
    int rank;
    uint32_t requests;
    uint32_t rounds;
    uint64_t bytes;
    uint8_t *memory;
};

static int
compare(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;
    return *a < *b ? -1 : *a > *b;
}

static uint64_t
sorted(uint64_t *values, size_t count, unsigned percent)
{
    qsort(values, count, sizeof(*values), compare);
    return values[(count - 1) * percent / 100];
}

static void
echo(void *context, const struct fabric_message *message)
{
    struct bench *bench = context;
    fabric_port_answer(bench->port, message->answer, CASCADE_OK, message->data,
                       message->bytes);
}

static void
meet(struct bench *bench)
{
    expect(fabric_port_barrier(bench->port, cluster_now_ns() +
                                                60 * SECOND_NS) == CASCADE_OK);
}

static void
wait_for(MPI_Request *request)
{
    int done = 0;
    for (;;) {
        expect(MPI_Test(request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS);
        if (done) {
            return;
        }
        sched_yield();
    }
}

// --- round trips

static uint64_t
ask_once(struct bench *bench, uint32_t number)
{
    uint8_t request[REQUEST_BYTES];
    uint8_t reply[REQUEST_BYTES];
    cluster_fill(request, sizeof(request), number);
    uint64_t begun_ns = cluster_now_ns();
    struct fabric_call call = {
        .to = 1,
        .subject = SUBJECT_ECHO,
        .data = request,
        .bytes = sizeof(request),
        .reply = reply,
        .reply_room = sizeof(reply),
        .deadline_ns = begun_ns + 60 * SECOND_NS,
    };
    expect(fabric_port_ask(bench->port, &call) == CASCADE_OK);
    uint64_t took_ns = cluster_now_ns() - begun_ns;
    expect(call.reply_bytes == sizeof(reply));
    expect(cluster_is_filled(reply, sizeof(reply), number));
    return took_ns;
}

// The same by bare MPI; rank 1 answers.
static uint64_t
exchange_once(struct bench *bench)
{
    uint8_t bytes[REQUEST_BYTES] = {0};
    uint64_t begun_ns = cluster_now_ns();
    MPI_Request request;
    int other = 1 - bench->rank;
    for (int step = 0; step < 2; step++) {
        if ((step == 0) == (bench->rank == 0)) {
            MPI_Isend(bytes, REQUEST_BYTES, MPI_BYTE, other, 7, MPI_COMM_WORLD,
                      &request);
        } else {
            MPI_Irecv(bytes, REQUEST_BYTES, MPI_BYTE, other, 7, MPI_COMM_WORLD,
                      &request);
        }
        wait_for(&request);
    }
    return cluster_now_ns() - begun_ns;
}

static void
measure_round_trips(struct bench *bench)
{
    uint64_t *times = calloc(bench->requests, sizeof(*times));
    expect(times != NULL);
    meet(bench);
    if (bench->rank == 0) {
        for (uint32_t at = 0; at < bench->requests; at++) {
            times[at] = ask_once(bench, at);
        }
        printf("round trip of %d bytes, port: %.1f us, p99 %.1f us\n",
               REQUEST_BYTES, (double)sorted(times, bench->requests, 50) / 1000,
               (double)sorted(times, bench->requests, 99) / 1000);
    }
    meet(bench);
    if (bench->rank < 2) {
        for (uint32_t at = 0; at < bench->requests; at++) {
            times[at] = exchange_once(bench);
        }
    }
    if (bench->rank == 0) {
        printf("round trip of %d bytes, bare: %.1f us, p99 %.1f us\n",
               REQUEST_BYTES, (double)sorted(times, bench->requests, 50) / 1000,
               (double)sorted(times, bench->requests, 99) / 1000);
    }
    meet(bench);
    free(times);
}

// --- bulk bytes from rank 1 to rank 0

struct flight {
    struct fabric_transfer transfer;
    enum cascade_status status;
    _Atomic bool over;
};

static void
land_over(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct flight *flight = transfer->context;
    flight->status = status;
    atomic_store(&flight->over, true);
}

static uint64_t
stream_port(struct bench *bench, uint32_t round)
{
    struct flight flight = {.transfer = {.ended = land_over}};
    flight.transfer.context = &flight;
    meet(bench);
    uint64_t begun_ns = cluster_now_ns();
    if (bench->rank == 0) {
        fabric_port_land(bench->port, 1, round, bench->memory, bench->bytes,
                         &flight.transfer);
    } else {
        fabric_port_push(bench->port, 0, round, bench->memory, bench->bytes,
                         &flight.transfer);
    }
    while (!atomic_load(&flight.over)) {
        if (cluster_now_ns() - begun_ns < SECOND_NS / 2000) {
            sched_yield();
            continue;
        }
        struct timespec nap = {.tv_nsec = 100000};
        nanosleep(&nap, NULL);
    }
    expect(flight.status == CASCADE_OK);
    return cluster_now_ns() - begun_ns;
}

// One message of MPI for all of it, tested by one thread.
static uint64_t
stream_bare(struct bench *bench)
{
    meet(bench);
    uint64_t begun_ns = cluster_now_ns();
    MPI_Request request;
    if (bench->rank == 0) {
        MPI_Irecv(bench->memory, (int)bench->bytes, MPI_BYTE, 1, 8,
                  MPI_COMM_WORLD, &request);
    } else {
        MPI_Isend(bench->memory, (int)bench->bytes, MPI_BYTE, 0, 8,
                  MPI_COMM_WORLD, &request);
    }
    wait_for(&request);
    return cluster_now_ns() - begun_ns;
}

static double
gigabytes(const struct bench *bench, uint64_t took_ns)
{
    return (double)bench->bytes / (double)took_ns;
}

static void
measure_streams(struct bench *bench)
{
    uint64_t port_ns[ROUNDS_MAX];
    uint64_t bare_ns[ROUNDS_MAX];
    bench->memory = calloc(1, bench->bytes);
    expect(bench->memory != NULL);
    if (bench->rank == 1) {
        cluster_fill(bench->memory, bench->bytes, 99);
    }
    for (uint32_t round = 0; round < bench->rounds; round++) {
        if (bench->rank == 0) {
            memset(bench->memory, 0, bench->bytes);
        }
        port_ns[round] = stream_port(bench, round);
        expect(round > 0 || cluster_is_filled(bench->memory, bench->bytes, 99));
        bare_ns[round] = stream_bare(bench);
    }
    if (bench->rank == 0) {
        double port = gigabytes(bench, sorted(port_ns, bench->rounds, 50));
        double bare = gigabytes(bench, sorted(bare_ns, bench->rounds, 50));
        printf("bulk of %llu MiB: port %.2f GB/s, bare %.2f GB/s, ratio %.2f\n",
               (unsigned long long)(bench->bytes >> 20), port, bare,
               port / bare);
    }
    free(bench->memory);
}

int
main(int count, char **names)
{
    bool full = count > 1 && strcmp(names[1], "full") == 0;
    int level = MPI_THREAD_SINGLE;
    MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level);
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = cluster_open(&options);
    struct bench bench = {
        .rank = fabric.rank,
        .requests = full ? 20000 : 500,
        .rounds = full ? 15 : 3,
    };
    struct fabric_port_options port = {
        .allocator = options.allocator,
        .clock = options.clock,
        .fabric = fabric,
    };
    expect(fabric_port_open(&port, &bench.port) == CASCADE_OK);
    fabric_port_handle(bench.port, SUBJECT_ECHO, echo, &bench);
    expect(fabric_port_start(bench.port) == CASCADE_OK);
    meet(&bench);
    measure_round_trips(&bench);
    if (fabric.rank_count == 2) {
        static const uint64_t sizes[] = {1 << 16, 1 << 20, 16 << 20, 160 << 20};
        for (size_t at = 0; at < (full ? 4 : 2); at++) {
            bench.bytes = sizes[at];
            measure_streams(&bench);
        }
    }
    meet(&bench);
    fabric_port_close(bench.port);
    return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
