// SPDX-License-Identifier: Apache-2.0
//
// Tier 4: memory of other ranks. A read asks the owner for a pin, moves the
// bytes by the best rung there is between the two, checks, and lets go:
//
//   1 near   same node: memcpy from the owner's arena, mapped here; pinned
//            through the shared page, without a message if a hint says where
//   2 read   one-sided, where the fabric's probe has shown that it progresses
//   3 fetch  the owner sends, this rank has posted the receive
//
// Invariant: bytes are given out only if the pin was good from before the first
// byte was read until after the last (near: the owner's word of the slot is
// unchanged while pinned; read: this rank's own deadline, counted from before
// the pin was asked for, has not passed) and, on rungs 2 and 3 or with `verify`,
// the checksum is right. What arrives late lands in memory of this tier's own,
// never in the caller's.
//
// It does not know what an id is bound to; which content a rank holds is
// answered by whoever wires it (`grant`). Locks: none across a transfer.

#ifndef TIER_TIER_REMOTE_H
#define TIER_TIER_REMOTE_H

#include "base/allocator.h"
#include "base/clock.h"
#include "base/metric.h"
#include "base/pool.h"
#include "block/block_id.h"
#include "fabric/fabric_node.h"
#include "fabric/fabric_port.h"
#include "tier/tier_dram.h"

struct tier_remote;

enum tier_remote_rung {
    TIER_REMOTE_ANY = 0,
    TIER_REMOTE_NEAR = 1,
    TIER_REMOTE_READ = 2,
    TIER_REMOTE_FETCH = 3,
};

// Subjects of this tier at the port; `subject` of the options is the first.
enum tier_remote_subject {
    TIER_REMOTE_SUBJECT_PIN = 0,   // id -> grant
    TIER_REMOTE_SUBJECT_UNPIN = 1, // a list of tokens, a notice
    TIER_REMOTE_SUBJECT_FETCH = 2, // id, tag -> grant; and the bytes are pushed
    TIER_REMOTE_SUBJECT_TOUCH = 3, // a list of slots that were read, a notice
    TIER_REMOTE_SUBJECT_DAMAGE = 4, // id and place of a bad copy, a notice
    TIER_REMOTE_SUBJECT_CHUNK = 5,  // of a rank to itself: the next chunk
    TIER_REMOTE_SUBJECTS = 6,
};

// What an owner says of a copy.
struct tier_remote_grant {
    struct block_place place; // in its DRAM
    uint64_t token;           // for unpin; 0: not pinned
    uint64_t lease_ns;        // the pin ends that long after it was given
};

// Owner's side, of whoever wires it: a pinned copy of the content in the own
// DRAM. Called on the engine thread; must not block. Calls `granted` now or
// later, but before the port is closed, from any thread, once: OK with a pin
// that is from then on this tier's to end, or why not (NOT_FOUND: no such
// content here; NO_SPACE: it is only cold and memory has no room; other errors
// of a load).
struct tier_remote_ask {
    struct block_id id;
    uint16_t from;
    void (*granted)(struct tier_remote_ask *ask, enum cascade_status status,
                    const struct tier_pin *pin);
};

typedef void
tier_remote_grant_ask(void *context, struct tier_remote_ask *ask);

struct tier_remote_options {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct fabric_port *port;
    uint32_t capabilities;    // of the port's fabric (enum fabric_capabilities)
    struct fabric_node *node; // may be NULL: all are far
    struct tier_dram *dram;   // the own tier; NULL: serves nothing
    struct pool *pool;        // may be NULL
    uint8_t subject;          // first of TIER_REMOTE_SUBJECTS
    enum tier_remote_rung rung; // forced, or ANY
    uint64_t lease_ns;          // of pins by message
    // Of rungs 2 and 3; 0 = 8 MiB. Less if bounce memory is short.
    uint64_t chunk_bytes;
    // Own memory for what is on its way: a read has a few chunks of it, and
    // waits for them until its deadline. 0: only rung 1 reads.
    uint64_t bounce_bytes;
    bool skip_pins; // for the negative control of tests only
    tier_remote_grant_ask *ask;
    // The own copies in these slots were read by peers (recency).
    void (*touched)(void *context, const uint32_t *slots, size_t count);
    // A peer read from there what is not the content, twice. To be checked
    // before it is believed. May be NULL, as `touched` may.
    void (*damaged)(void *context, const struct block_id *id,
                    const struct block_place *place);
    void *context;
};

// Before the port starts and before others use `dram`, which is watched by
// `node` from then on, if both are.
// NO_MEMORY. INVALID: bounce_bytes are less than TIER_REMOTE_BOUNCE_BYTES_MIN.
#define TIER_REMOTE_BOUNCE_BYTES_MIN ((uint64_t)4 << 20)

enum cascade_status
tier_remote_open(const struct tier_remote_options *options,
                 struct tier_remote **remote) MUST_USE;

// After the port was closed (what is under way ends then), and when nobody reads
// and no ask is open, and before `node` and `dram` are closed. Pins that others
// had by message end; those in the page count no more.
void
tier_remote_close(struct tier_remote *remote);

// A read of the content from that rank.
struct tier_remote_read {
    uint16_t rank;
    struct block_id id;
    uint64_t bytes;                   // what the block must have
    const struct block_place *hint;   // as last seen there; may be NULL
    const struct cascade_span *spans; // hold the block
    size_t span_count;
    bool verify; // check also what is copied inside the node
    uint64_t deadline_ns;

    // Out.
    struct block_place place; // where it was read
    enum tier_remote_rung rung;
    // False: the spans were not written to, whatever the status.
    bool given;
};

// OK. NOT_FOUND, STALE: not there (any more); look elsewhere. CORRUPT: twice not
// what its checksum says; the owner was told. TIMEOUT, CLOSED (rank lost),
// NO_SPACE (owner or bounce memory), others: that rank cannot serve it now.
// Spans are unspecified if it fails and `given` is set.
enum cascade_status
tier_remote_read(struct tier_remote *remote,
                 struct tier_remote_read *read) MUST_USE;

// The rung that would be used, and why not a better one (a static sentence).
enum tier_remote_rung
tier_remote_rung_to(struct tier_remote *remote, uint16_t rank,
                    const char **reason);

// Engine thread, now and then: ends pins whose lease has ended, sends unpins
// and touches that wait, frees what no peer reads any more.
void
tier_remote_step(struct tier_remote *remote, uint64_t now_ns);

// Engine thread: that rank is lost, and with it its pins.
void
tier_remote_lost(struct tier_remote *remote, uint16_t rank);

struct tier_remote_usage {
    uint64_t reads[4]; // by rung (0 unused)
    uint64_t read_bytes[4];
    uint64_t grants;   // given to others
    uint64_t pins_out; // of others here, by message
    uint64_t pins_expired;
    uint64_t stale;
    uint64_t corrupt;
    uint64_t late; // transfers that ended after their deadline
};

void
tier_remote_usage(struct tier_remote *remote, struct tier_remote_usage *usage);

#endif
