// SPDX-License-Identifier: Apache-2.0
//
// A message that waits to be sent, or to be acknowledged, or for its turn: its
// header as it goes over the wire, and its bytes right behind. Parcels come
// from pools of a few sizes that grow to a bound and are given back at close;
// the path of a message takes no other memory.
//
// For every request that came, one small parcel is set aside, so that the
// answer cannot fail for want of memory.
//
// Threads: any; a lock of the pool's own, held for a few instructions except
// when it grows.

#ifndef FABRIC_FABRIC_PARCEL_H
#define FABRIC_FABRIC_PARCEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "fabric/fabric.h"

#define FABRIC_HEADER_MAGIC 0x43464d31u // changes with the layout
#define FABRIC_PARCEL_CLASSES 3

enum fabric_kind {
    FABRIC_KIND_NOTICE = 1,
    FABRIC_KIND_REQUEST = 2,
    FABRIC_KIND_ANSWER = 3,
    FABRIC_KIND_RECEIPT = 4,  // only says what came; has no number
    FABRIC_KIND_PROBE = 5,    // wants a receipt; has no number
    FABRIC_KIND_FAREWELL = 6, // the sender takes the receiver for lost
};

// Begins every message. Little endian, without holes.
struct fabric_header {
    uint32_t magic;
    uint8_t kind;
    uint8_t subject;
    uint16_t status;         // of an answer
    uint32_t incarnation;    // of the sender
    uint32_t to_incarnation; // of the receiver; 0: not known yet
    uint64_t job;
    uint64_t number; // per pair and direction, from 1; 0: has none
    uint64_t heard;  // all up to this number came
    uint64_t held;   // bit i: heard + 1 + i came as well
    uint64_t ticket; // of a request; its answer repeats it
    uint32_t bytes;  // that follow
    uint32_t zero;
};

_Static_assert(sizeof(struct fabric_header) == 64, "as it goes over the wire");

struct fabric_call;

struct fabric_parcel {
    struct fabric_parcel *next;
    struct fabric_call *call; // whose request it is, until it was registered
    uint64_t sent_ns;         // last; 0: never
    uint16_t to;
    uint8_t size_class;
    bool came;    // the receiver holds it already
    bool counted; // in the depth of the queue
    bool again;   // was sent more than once
    // What goes over the wire.
    struct fabric_header header;
    uint8_t payload[];
};

struct fabric_parcel_chunk;

struct fabric_parcels {
    const struct allocator *allocator;
    pthread_mutex_t lock; // of all below
    struct fabric_parcel *free[FABRIC_PARCEL_CLASSES];
    struct fabric_parcel *reserve;
    struct fabric_parcel_chunk *chunks;
    uint64_t bytes;
    uint64_t bytes_max;
};

// NO_MEMORY.
enum cascade_status
fabric_parcels_init(struct fabric_parcels *parcels,
                    const struct allocator *allocator,
                    uint64_t bytes_max) MUST_USE;

// Frees all parcels, also those that are in use.
void
fabric_parcels_fini(struct fabric_parcels *parcels);

// One with room for that many bytes (at most FABRIC_MESSAGE_BYTES_MAX less the
// header), or NULL at the bound or if there is no memory. The header is zero.
struct fabric_parcel *
fabric_parcels_take(struct fabric_parcels *parcels, size_t bytes);

void
fabric_parcels_give(struct fabric_parcels *parcels,
                    struct fabric_parcel *parcel);

// Sets a small one aside, beyond the bound if need be. False: no memory.
bool
fabric_parcels_reserve(struct fabric_parcels *parcels);

// For the answer to a request for which one was set aside: never NULL. It may
// have less room than asked for: `*fits` is false then.
struct fabric_parcel *
fabric_parcels_take_reserved(struct fabric_parcels *parcels, size_t bytes,
                             bool *fits);

#endif
