// SPDX-License-Identifier: Apache-2.0
//
// What a rank keeps as the home of its share of all keys and ids: which binding
// of a key is the newest, who keeps it (its custodian), who may hold a lease on
// it; and which ranks have a copy of a content. A state machine: messages in,
// messages out, time as an argument. It moves no bytes, knows no fabric and no
// tier, never waits, and takes no lock: the engine thread alone calls it.
//
// The rules that it keeps are in docs/DIRECTORY_PROTOCOL.md. In short:
// - a change of a binding (bind, remove, protect) is ordered here, one at a
//   time per key; the others wait in a bounded line;
// - it is answered when everybody who may serve the old binding has
//   acknowledged its recall or that rank's lease has ended;
// - no lease is given on a binding that is being changed;
// - a version that was given, seen or forgotten here is never undercut;
// - repeated and late messages change nothing twice.
//
// Memory: at most DIRECTORY_HOME_BYTES_PER_BLOCK for a key and its content
// together, two tables of fixed size. A full table answers NO_SPACE.

#ifndef DIRECTORY_HOME_H
#define DIRECTORY_HOME_H

#include <stdbool.h>
#include <stddef.h>

#include "base/allocator.h"
#include "cascade/status.h"
#include "directory/directory_message.h"
#include "directory/directory_registry.h"

struct directory_home;

#define DIRECTORY_HOME_BYTES_PER_BLOCK 128

// How it speaks. Called from within the functions below, never back into them.
struct directory_home_out {
    void *context;
    // A request to a rank, about what `token` remembers: its answer (or its
    // failure) comes back through directory_home_answered with the same token.
    // `deadline_ns` on the steady clock.
    void (*ask)(void *context, uint16_t to, uint8_t subject, const void *data,
                size_t bytes, uint64_t token, uint64_t deadline_ns);
    // The answer to the request that came with that ticket.
    void (*answer)(void *context, uint16_t to, uint64_t ticket,
                   enum cascade_status status, const void *data, size_t bytes);
    // A version above all seen, for what is changed here.
    struct block_version (*next_version)(void *context);
    void (*see_version)(void *context, struct block_version version);
    // A protected key, its version or its content changed, or it is none any
    // more (for the registry).
    void (*protection)(void *context,
                       const struct directory_registry_entry *entry);
};

struct directory_home_options {
    const struct allocator *allocator;
    struct directory_home_out out;
    uint16_t rank;
    uint16_t rank_count;
    uint32_t max_keys; // of this home
    uint32_t max_ids;
    // Changes that wait for something, all keys together; claims; and those who
    // wait for the end of a claim. What finds no room is answered with BUSY.
    uint32_t line_max;
    uint64_t salt; // random, so that nobody knows which keys share a bucket
    bool rebind_allowed;
    bool keep_removals; // there is a cold tier
    uint64_t lease_ns;  // of a binding
    uint64_t claim_ns;  // of a claim on an id
    // For a custodian that is recalled; and how long a change waits for adopt
    // and renew before it is answered with TIMEOUT. Those two are asked without
    // a deadline: they end with an answer or with CLOSED.
    uint64_t patience_ns;
};

enum cascade_status
directory_home_create(const struct directory_home_options *options,
                      struct directory_home **home);

void
directory_home_destroy(struct directory_home *home);

// A request or notice for a home, from a rank (which may be this one). Answered
// now or later through `answer`; ticket 0 wants none. What is malformed is
// answered with INVALID and changes nothing.
void
directory_home_receive(struct directory_home *home, uint16_t from,
                       uint8_t subject, const void *data, size_t bytes,
                       uint64_t ticket, uint64_t now_ns);

// What became of an `ask`.
void
directory_home_answered(struct directory_home *home, uint64_t token,
                        enum cascade_status status, const void *data,
                        size_t bytes, uint64_t now_ns);

// Answers beside OK and those in directory_message.h: BUSY, no room in the lines;
// NO_SPACE, a table is full; TIMEOUT, unknown; CANCELLED, the sender said GONE for
// what it wanted to bind.

// Lets time pass: leases, claims and patience that have ended. Cheap; returns
// when it wants to be called again (UINT64_MAX: not before something comes).
uint64_t
directory_home_step(struct directory_home *home, uint64_t now_ns);

// That rank is lost: its leases count until they end, its claims end, copies
// there are forgotten, what it was custodian of is handed to another copy or
// ends.
void
directory_home_lost(struct directory_home *home, uint16_t rank,
                    uint64_t now_ns);

// Forgets every binding below the version and gives none below it any more.
void
directory_home_clear(struct directory_home *home, struct block_version version);

// Calls `visit` with every protected key of this home.
void
directory_home_protected(struct directory_home *home,
                         void (*visit)(void *context,
                                       const struct block_key *key,
                                       struct block_version version),
                         void *context);

struct directory_home_usage {
    uint64_t keys;
    uint64_t ids;
    uint64_t protected_keys;
    uint64_t changing; // keys with a change under way
    uint64_t waiting;  // changes in line
    uint64_t recalls;  // sent since the start
    uint64_t handed;   // bindings that changed their custodian
    uint64_t bytes_per_key;
    uint64_t bytes_per_id;
};

void
directory_home_usage(const struct directory_home *home,
                     struct directory_home_usage *usage);

// For tests: every invariant.
bool
directory_home_is_valid(struct directory_home *home);

#endif
