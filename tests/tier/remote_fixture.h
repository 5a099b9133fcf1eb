// SPDX-License-Identifier: Apache-2.0
//
// Ranks with a DRAM tier, a port and remote memory, in this process; blocks
// whose bytes follow from a number. For tests of remote memory.

#ifndef TIER_REMOTE_FIXTURE_H
#define TIER_REMOTE_FIXTURE_H

#include <pthread.h>
#include <stdint.h>

#include "fabric/fabric_node.h"
#include "fabric/fabric_port.h"
#include "support/fabric_local.h"
#include "tier/tier_dram.h"
#include "tier/tier_remote.h"

#define FIXTURE_RANKS 2
#define FIXTURE_BLOCKS 64
#define FIXTURE_SUBJECT 8
#define FIXTURE_READERS 6
#define FIXTURE_LEASE_NS UINT64_C(5000000000)
#define FIXTURE_BOUNCE_BYTES (4 * UINT64_C(1048576))

// What a rank holds of a content.
struct fixture_block {
    struct block_id id;
    struct block_place place;
};

struct fixture_rank {
    struct fabric_port *port;
    struct fabric_node *node;
    struct tier_dram *dram;
    struct tier_remote *remote;
    pthread_mutex_t lock; // over what follows
    struct fixture_block blocks[FIXTURE_BLOCKS];
    uint32_t count;
    bool defer;
    struct tier_remote_ask *deferred;
    uint32_t touches;
    uint32_t damages;
    struct block_place damaged;
    uint64_t asks;
};

struct fixture {
    struct fabric_local *local;
    struct fixture_rank ranks[FIXTURE_RANKS];
};

// What differs from test to test.
struct fixture_kind {
    enum tier_remote_rung rung;
    uint32_t capabilities;
    bool far; // ranks do not meet
    uint64_t bounce_bytes;
    uint64_t dram_bytes; // 0: 64 MiB
};

extern const struct fixture_kind fixture_near;
extern const struct fixture_kind fixture_read;
extern const struct fixture_kind fixture_fetch;

void
fixture_open(struct fixture *fixture, const struct fixture_kind *kind);

void
fixture_close(struct fixture *fixture);

// Fills memory with the bytes of a content.
void
fixture_fill(uint8_t *memory, uint64_t bytes, uint64_t content);

// Puts a content at rank 0 and notes it.
struct fixture_block *
fixture_put(struct fixture *fixture, uint64_t bytes, uint64_t content);

// Takes it out of service, with what others have still pinned.
void
fixture_remove(struct fixture *fixture, struct fixture_block *block);

// A read of that block by rank 1 into memory.
struct tier_remote_read
fixture_read_of(const struct fixture_block *block,
                const struct cascade_span *span);

// Runs a step of the rank on its engine thread, at that moment.
void
fixture_step(struct fixture *fixture, uint16_t rank, uint64_t now_ns);

void
fixture_lost(struct fixture *fixture, uint16_t rank, uint16_t lost);

// Waits until no pin of another rank is out at rank 0; false after a while.
bool
fixture_wait_unpinned(struct fixture *fixture);

// A thread of rank 1 that reads a block a few times.
struct fixture_job {
    struct fixture *fixture;
    struct fixture_block *block;
    uint64_t content;
    uint64_t deadline_ns; // 0: long
    enum cascade_status status;
    bool given;
    uint32_t wrong;
    pthread_t thread;
};

void *
fixture_job_run(void *context);

// One for each job; returns when all have ended.
void
fixture_run_readers(struct fixture *fixture, struct fixture_job *jobs,
                    uint64_t deadline_ns);

#endif
