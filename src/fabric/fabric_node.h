// SPDX-License-Identifier: Apache-2.0
//
// Ranks of one node: memory that they map from each other, doorbells, and the
// page through which readers pin without a message. Two ranks are of one node
// if the boot id is the same and a descriptor passed over a UNIX socket works;
// names of hosts say nothing. Whatever fails here only means "another node".
//
// Each rank offers up to FABRIC_NODE_REGIONS descriptors (its arena, the words
// of its slots), which peers map read-only when they first need them, and one
// page of its own, which its peers map to write: doorbell and pins.
//
// A peer's death is known by a pidfd that it passed, never by its number or by
// a closed socket; then its pins are wiped.
//
// Threads: one small thread listens, serves descriptors and watches pidfds. All
// functions from any thread. Sockets are abstract UNIX sockets, named by job,
// rank and a random number; only processes of the same user are served.

#ifndef FABRIC_FABRIC_NODE_H
#define FABRIC_FABRIC_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "base/clock.h"
#include "base/log.h"
#include "cascade/status.h"

struct fabric_node;

enum fabric_node_region {
    FABRIC_NODE_ARENA = 0, // bytes of blocks
    FABRIC_NODE_WORDS = 1, // an atomic word per slot (tier_dram.h)
    FABRIC_NODE_REGIONS = 2,
};

// What a rank tells the others of itself at open, as it goes over the wire.
struct fabric_node_address {
    uint8_t boot_id[16];
    uint8_t socket[64]; // abstract name; zeroes: this rank offers nothing
    uint64_t region_bytes[FABRIC_NODE_REGIONS];
    uint32_t pins_max; // in the page, for each reader
    uint32_t zero;
};

// Reads of one reader under way at one owner: threads beyond that pin by
// message.
#define FABRIC_NODE_PINS 64

struct fabric_node_options {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct log *log; // may be NULL
    uint64_t job;
    uint16_t rank;
    uint16_t rank_count;
    bool disabled; // every peer is taken for another node (tests, an option)
};

enum cascade_status
fabric_node_open(const struct fabric_node_options *options,
                 struct fabric_node **node) MUST_USE;

// Peers that map something keep it; nothing is served any more.
void
fabric_node_close(struct fabric_node *node);

// Before the address is told to anybody: offers a descriptor (which stays the
// caller's) of that many bytes. It must be sealed against shrinking.
void
fabric_node_offer(struct fabric_node *node, enum fabric_node_region region,
                  int file, uint64_t bytes);

void
fabric_node_own_address(const struct fabric_node *node,
                        struct fabric_node_address *address);

// What the rank told. Tries to connect and to pass a descriptor; true if it is
// of this node. Bounded by a second.
bool
fabric_node_meet(struct fabric_node *node, uint16_t rank,
                 const struct fabric_node_address *address);

// Of this node, and not known to be dead.
bool
fabric_node_is_near(const struct fabric_node *node, uint16_t rank);

// Why not, as a static sentence; for `cascade doctor` and logs.
const char *
fabric_node_reason(const struct fabric_node *node, uint16_t rank);

// The region of a near rank, mapped read-only when first asked for; its pages
// come as they are read, for asking for all of them would make the owner's
// memory be there as a whole. It stays mapped until close. NOT_FOUND: not near,
// or not offered. NO_MEMORY, IO: it cannot be mapped; asked for again it is
// tried again.
enum cascade_status
fabric_node_map(struct fabric_node *node, uint16_t rank,
                enum fabric_node_region region, const void **memory,
                uint64_t *bytes) MUST_USE;

// --- doorbells

// The own one, for fabric_port.
_Atomic uint32_t *
fabric_node_doorbell(struct fabric_node *node);

// Rings a near rank: adds one and wakes whoever sleeps on it. Others: nothing.
void
fabric_node_ring(struct fabric_node *node, uint16_t rank);

// --- pins through the page

// Reader: takes one of its places in the owner's page, writes (slot,
// generation) there, sequentially consistent. NULL: all are in use, or the rank
// is not near. The caller then reads the owner's word of that slot, sequentially
// consistent as well; if it is not as expected it must drop the pin and must not
// read.
struct fabric_node_pin;

struct fabric_node_pin *
fabric_node_pin(struct fabric_node *node, uint16_t owner, uint32_t slot,
                uint32_t generation);

void
fabric_node_unpin(struct fabric_node *node, struct fabric_node_pin *pin);

// Owner: true if a reader's place names that slot and generation. To be asked
// after the word of the slot was changed, sequentially consistent.
bool
fabric_node_is_pinned(struct fabric_node *node, uint32_t slot,
                      uint32_t generation);

// Owner: places in use now, of all readers.
uint64_t
fabric_node_pins(const struct fabric_node *node);

// For tests: what an owner sees after the peer's death.
void
fabric_node_forget(struct fabric_node *node, uint16_t rank);

#endif
