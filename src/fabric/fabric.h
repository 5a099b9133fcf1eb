// SPDX-License-Identifier: Apache-2.0
//
// The corridor: one table that every fabric fills. It carries messages of at
// most FABRIC_MESSAGE_BYTES_MAX between ranks 0 to count - 1, and bulk bytes
// between memory of two of them. It knows nothing of blocks, keys or tiers; it
// may lose, double and reorder messages unless it says FABRIC_RELIABLE
// (fabric_channel.h makes that good, fabric_port.h adds requests and answers).
//
// Threads: every member is called by one thread only, the engine thread of the
// port (fabric_port.h), except `open` of an implementation, and close after
// that thread has ended. No member blocks, waits or spins.
//
// Implementations: fabric_self.c (one rank; the tutorial), fabric_mpi.c (a
// module of its own), tests/support/fabric_sim.c (hundreds of ranks in one
// process, under a seed). The suite in tests/conformance says what each must do.

#ifndef FABRIC_FABRIC_H
#define FABRIC_FABRIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

#define FABRIC_MESSAGE_BYTES_MAX ((size_t)1 << 16)
#define FABRIC_RANKS_MAX 4096

// What a fabric can do, as data.
enum fabric_capabilities {
    FABRIC_RELIABLE = 1, // messages arrive in order and once, per pair
    FABRIC_BULK = 2,     // push and land
    FABRIC_READ = 4,     // read: one-sided, probed to progress
    FABRIC_SURVIVES = 8, // the others go on when a rank has died
    // There is no engine thread: whoever waits drives the port. `idle` gives
    // others their turn (sim), or there is nobody else (self).
    FABRIC_INLINE = 16,
};

// Bulk bytes under way. The caller owns it and the memory, and keeps both until
// `ended` was called, on the engine thread, exactly once. There is no cancel:
// memory that must be had back earlier must not be lent.
struct fabric_transfer {
    void (*ended)(struct fabric_transfer *transfer, enum cascade_status status);
    void *context;
    uint64_t engine[6]; // of the implementation
    // Of the port.
    void *port;
    void (*then)(struct fabric_transfer *transfer, enum cascade_status status);
};

// What the port gives to the fabric.
struct fabric_sink {
    void *context;
    // A message came; `data` is valid during the call.
    void (*message)(void *context, uint16_t from, const void *data,
                    size_t bytes);
    // The rank will not be heard of again.
    void (*lost)(void *context, uint16_t rank);
};

struct fabric_table {
    const char *name; // "self", "mpi", "sim"

    // From now on messages go to the sink, from within progress only.
    void (*start)(void *self, const struct fabric_sink *sink);

    // Sends a copy of `data`. BUSY: too much is under way; again after some
    // progress. CLOSED: that rank is lost. Sending to oneself is legal.
    enum cascade_status (*send)(void *self, uint16_t to, const void *data,
                                size_t bytes);

    // Two-sided bulk: what `push` sends under a tag (unique per ordered pair
    // while in use) goes to the memory that `land` names on the other side,
    // whichever of the two comes first. `bytes` must be the same on both
    // sides; any size, without a 2 GiB limit. OK: `ended` will be called. Else
    // it will not: BUSY as above, CLOSED, UNSUPPORTED.
    enum cascade_status (*push)(void *self, uint16_t to, uint64_t tag,
                                const void *memory, uint64_t bytes,
                                struct fabric_transfer *transfer);
    enum cascade_status (*land)(void *self, uint16_t from, uint64_t tag,
                                void *memory, uint64_t bytes,
                                struct fabric_transfer *transfer);

    // One-sided: bytes at `offset` of what that rank exposed.
    enum cascade_status (*read)(void *self, uint16_t from, uint64_t offset,
                                void *memory, uint64_t bytes,
                                struct fabric_transfer *transfer);

    // A bounded slice of work; calls the sink and `ended`. True if anything
    // happened.
    bool (*progress)(void *self);

    // FABRIC_INLINE only: the caller has nothing to do until `until_ns` of the
    // steady clock or until something arrives; others may run. NULL: nobody
    // else is there, so waiting is in vain.
    void (*idle)(void *self, uint64_t until_ns);

    // Ends. What is under way ends with CLOSED. Nothing may be called after.
    void (*close)(void *self);
};

struct fabric {
    const struct fabric_table *table;
    void *self;
    uint32_t capabilities;
    uint16_t rank;
    uint16_t rank_count;
    // Ranks of one start of one program share it; never 0 if rank_count > 1.
    uint64_t job;
    // A new start of the same rank has a higher one (sim; else 1).
    uint32_t incarnation;
    // FABRIC_INLINE: the port adds one whenever it was given something or has
    // done something, so that `idle` knows whom to wake. May be NULL.
    _Atomic uint32_t *doorbell;
};

#endif
