// SPDX-License-Identifier: Apache-2.0
//
// For programs that run as ranks: expectations that end the job, driving a
// fabric's table by hand, and bytes that tell where they come from.

#ifndef TESTS_CLUSTER_CLUSTER_H
#define TESTS_CLUSTER_CLUSTER_H

#include "fabric/fabric_module.h"

// Ends this rank, and so the job, with a message.
#define expect(condition)                                 \
    do {                                                  \
        if (!(condition)) {                               \
            cluster_fail(__FILE__, __LINE__, #condition); \
        }                                                 \
    } while (0)

NO_RETURN void
cluster_fail(const char *file, int line, const char *condition);

// Opens the fabric of the job ("mpi"); ends the program if there is none.
struct fabric
cluster_open(const struct fabric_module_options *options);

struct fabric_module_options
cluster_options(void);

// One turn; yields, later naps, if nothing happened for a while. Fails when
// nothing has happened for a minute.
void
cluster_turn(const struct fabric *fabric);

uint64_t
cluster_now_ns(void);

// Byte `at` of a stream.
uint8_t
cluster_byte(uint64_t stream, uint64_t at);

void
cluster_fill(uint8_t *memory, uint64_t bytes, uint64_t stream);

bool
cluster_is_filled(const uint8_t *memory, uint64_t bytes, uint64_t stream);

// A transfer and what it said.
struct cluster_transfer {
    struct fabric_transfer transfer;
    int ended; // how often
    enum cascade_status status;
};

struct fabric_transfer *
cluster_transfer(struct cluster_transfer *transfer);

// Drives until it has ended.
void
cluster_finish(const struct fabric *fabric,
               const struct cluster_transfer *transfer);

#endif
