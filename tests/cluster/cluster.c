// SPDX-License-Identifier: Apache-2.0
//
// See cluster.h.

#include "cluster/cluster.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

#define NS_PER_MS ((uint64_t)1000000)

static int rank_known = -1;

void
cluster_fail(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "%s:%d: rank %d: %s (%s)\n", file, line, rank_known,
                  condition, error_message());
    (void)fflush(stderr);
    _exit(1);
}

struct fabric_module_options
cluster_options(void)
{
    return (struct fabric_module_options){
        .allocator = allocator_system(),
        .clock = clock_system(),
        .finalize_timeout_ns = 2000 * NS_PER_MS,
    };
}

struct fabric
cluster_open(const struct fabric_module_options *options)
{
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES];
    enum cascade_status status = fabric_module_open("mpi", options, &fabric,
                                                    reason);
    if (status != CASCADE_OK) {
        (void)fprintf(stderr, "%s\n", reason);
    }
    expect(status == CASCADE_OK);
    expect(fabric.rank < fabric.rank_count);
    expect(fabric.job != 0);
    rank_known = fabric.rank;
    return fabric;
}

uint64_t
cluster_now_ns(void)
{
    return clock_steady_ns(clock_system());
}

void
cluster_turn(const struct fabric *fabric)
{
    static uint64_t last_ns;
    uint64_t now_ns = cluster_now_ns();
    if (last_ns == 0 || fabric->table->progress(fabric->self)) {
        last_ns = now_ns;
        return;
    }
    expect(now_ns - last_ns < 60 * 1000 * NS_PER_MS);
    if (now_ns - last_ns < NS_PER_MS / 5) {
        sched_yield();
    } else {
        struct timespec nap = {.tv_nsec = 50000};
        nanosleep(&nap, NULL);
    }
}

uint8_t
cluster_byte(uint64_t stream, uint64_t at)
{
    uint64_t mixed = (at / 8 + stream * 0x9e3779b97f4a7c15u + 1) *
                     0xff51afd7ed558ccdu;
    return (uint8_t)(mixed >> (8 * (at % 8)));
}

void
cluster_fill(uint8_t *memory, uint64_t bytes, uint64_t stream)
{
    for (uint64_t at = 0; at < bytes; at++) {
        memory[at] = cluster_byte(stream, at);
    }
}

bool
cluster_is_filled(const uint8_t *memory, uint64_t bytes, uint64_t stream)
{
    for (uint64_t at = 0; at < bytes; at++) {
        if (memory[at] != cluster_byte(stream, at)) {
            return false;
        }
    }
    return true;
}

static void
note_end(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct cluster_transfer *owner = transfer->context;
    owner->ended++;
    owner->status = status;
}

struct fabric_transfer *
cluster_transfer(struct cluster_transfer *transfer)
{
    memset(transfer, 0, sizeof(*transfer));
    transfer->transfer.ended = note_end;
    transfer->transfer.context = transfer;
    return &transfer->transfer;
}

void
cluster_finish(const struct fabric *fabric,
               const struct cluster_transfer *transfer)
{
    while (transfer->ended == 0) {
        cluster_turn(fabric);
    }
    expect(transfer->ended == 1);
}
