// SPDX-License-Identifier: Apache-2.0
//
// A program that uses MPI itself, as mpi4py does, with a fabric in it:
//   beside    both use MPI at the same time, from two threads
//   funneled  MPI was started with too few threads: the fabric refuses
//   ended     the host ends MPI while the fabric is open

#include <mpi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/cluster.h"

#define ROUNDS 400
#define WORDS 3000

struct mail {
    uint32_t received;
};

static void
take_message(void *context, uint16_t from, const void *data, size_t bytes)
{
    struct mail *mail = context;
    uint32_t number = 0;
    expect(bytes >= 4);
    memcpy(&number, data, sizeof(number));
    expect(number == mail->received);
    expect(cluster_is_filled((const uint8_t *)data + 4, bytes - 4,
                             from * 10000u + number));
    mail->received++;
}

static void
ignore_loss(void *context, uint16_t rank)
{
    (void)context;
    (void)rank;
}

static _Atomic bool over;

// The engine thread of this program: messages and bulk bytes round the ring.
static void *
run_fabric(void *argument)
{
    const struct fabric *fabric = argument;
    struct mail mail = {0};
    struct fabric_sink sink = {&mail, take_message, ignore_loss};
    uint16_t to = (uint16_t)((fabric->rank + 1) % fabric->rank_count);
    uint16_t from = (uint16_t)((fabric->rank + fabric->rank_count - 1) %
                               fabric->rank_count);
    static uint8_t message[20000];
    static uint8_t source[300000];
    static uint8_t target[300000];
    fabric->table->start(fabric->self, &sink);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        size_t bytes = 4 + round * 47 % 19000;
        memcpy(message, &round, sizeof(round));
        cluster_fill(message + 4, bytes - 4, fabric->rank * 10000u + round);
        while (fabric->table->send(fabric->self, to, message, bytes) ==
               CASCADE_BUSY) {
            cluster_turn(fabric);
        }
        if (round % 8 == 0) {
            struct cluster_transfer push;
            struct cluster_transfer land;
            cluster_fill(source, sizeof(source), fabric->rank + round);
            expect(fabric->table->land(fabric->self, from, round, target,
                                       sizeof(target),
                                       cluster_transfer(&land)) == CASCADE_OK);
            expect(fabric->table->push(fabric->self, to, round, source,
                                       sizeof(source),
                                       cluster_transfer(&push)) == CASCADE_OK);
            cluster_finish(fabric, &push);
            cluster_finish(fabric, &land);
            expect(cluster_is_filled(target, sizeof(target), from + round));
        }
    }
    while (mail.received < ROUNDS) {
        cluster_turn(fabric);
    }
    // Whoever is slower still needs this one's turns.
    while (!atomic_load(&over)) {
        cluster_turn(fabric);
    }
    return NULL;
}

// The host's own use of MPI, meanwhile. Non-blocking, so that two cores do for
// all the threads.
static void
run_host(int rank, int count)
{
    static int words[WORDS];
    static int sums[WORDS];
    for (int round = 0; round < ROUNDS / 4; round++) {
        for (int at = 0; at < WORDS; at++) {
            words[at] = rank + at + round;
        }
        MPI_Request request;
        int done = 0;
        expect(MPI_Iallreduce(words, sums, WORDS, MPI_INT, MPI_SUM,
                              MPI_COMM_WORLD, &request) == MPI_SUCCESS);
        while (!done) {
            expect(MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS);
            sched_yield();
        }
        for (int at = 0; at < WORDS; at++) {
            expect(sums[at] == count * (at + round) + count * (count - 1) / 2);
        }
    }
}

static void
test_beside(int rank, int count)
{
    struct fabric_module_options options = cluster_options();
    struct fabric fabric = cluster_open(&options);
    expect(fabric.rank == rank && fabric.rank_count == count);
    pthread_t thread;
    expect(pthread_create(&thread, NULL, run_fabric, &fabric) == 0);
    run_host(rank, count);
    // All have all when all have come here.
    MPI_Barrier(MPI_COMM_WORLD);
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    fabric.table->close(fabric.self);
}

static void
test_funneled(void)
{
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES];
    struct fabric_module_options options = cluster_options();
    expect(fabric_module_open("auto", &options, &fabric, reason) ==
           CASCADE_UNSUPPORTED);
}

static void
test_ended(void)
{
    struct fabric_module_options options = cluster_options();
    static struct mail mail;
    struct fabric_sink sink = {&mail, take_message, ignore_loss};
    struct fabric fabric = cluster_open(&options);
    fabric.table->start(fabric.self, &sink);
    expect(!fabric.table->progress(fabric.self));
    MPI_Finalize();
    expect(!fabric.table->progress(fabric.self));
    expect(fabric.table->send(fabric.self, 0, "x", 1) == CASCADE_CLOSED);
    fabric.table->close(fabric.self);
    char reason[FABRIC_REASON_BYTES];
    expect(fabric_module_open("mpi", &options, &fabric, reason) != CASCADE_OK);
}

int
main(int count, char **names)
{
    const char *mode = count > 1 ? names[1] : "";
    int wanted = strcmp(mode, "funneled") == 0 ? MPI_THREAD_FUNNELED
                                               : MPI_THREAD_MULTIPLE;
    int level = MPI_THREAD_SINGLE;
    int rank = 0;
    int ranks = 0;
    expect(MPI_Init_thread(NULL, NULL, wanted, &level) == MPI_SUCCESS);
    expect(level == wanted);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (strcmp(mode, "beside") == 0) {
        test_beside(rank, ranks);
    } else if (strcmp(mode, "funneled") == 0) {
        test_funneled();
    } else if (strcmp(mode, "ended") == 0) {
        test_ended();
        return 0;
    } else {
        return 2;
    }
    return MPI_Finalize() == MPI_SUCCESS ? 0 : 1;
}
