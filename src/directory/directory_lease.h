// SPDX-License-Identifier: Apache-2.0
//
// What this rank may believe of bindings without asking their homes: the leases
// that homes have given, with a hint of where the bytes are. Of fixed size: a
// lease that finds no room replaces one that was not used lately, which is
// always safe (it is asked for again).
//
// Invariant: a lease is installed and dropped by the engine thread only, in the
// order of messages; so what a home has recalled cannot come back. A lease that
// has ended on this rank's steady clock is as none: it counts from the moment
// at which it was asked for, less a margin, so it ends here before it ends at
// the home. A jump of wall time against the steady clock drops all.
//
// Threads: find and note from any; one lock per shard, held for a few loads.

#ifndef DIRECTORY_LEASE_H
#define DIRECTORY_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "block/block_place.h"
#include "cascade/status.h"
#include "directory/directory_message.h"

struct directory_leases;

struct directory_lease {
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    uint64_t end_ns; // steady clock
    uint32_t flags;  // enum directory_message_flags
    uint16_t custodian;
    uint16_t remote_hits;    // reads from other ranks' memory, with decay
    struct block_place hint; // a copy on another rank, as last seen; or none
};

enum cascade_status
directory_leases_create(const struct allocator *allocator, uint32_t max,
                        struct directory_leases **leases);

void
directory_leases_destroy(struct directory_leases *leases);

// True and a copy of the lease if there is one that has not ended.
bool
directory_leases_find(struct directory_leases *leases,
                      const struct block_key *key, uint64_t now_ns,
                      struct directory_lease *lease);

// Engine thread: installs, or replaces the one of an older version.
void
directory_leases_install(struct directory_leases *leases,
                         const struct block_key *key,
                         const struct directory_lease *lease);

// Drops the key's lease if its version is below `below`. Also by callers that
// are about to change the binding (then with the highest version there is).
void
directory_leases_drop(struct directory_leases *leases,
                      const struct block_key *key, struct block_version below);

void
directory_leases_drop_all(struct directory_leases *leases);

// Drops all below the version, and installs none below it any more: a home that
// was not cleared yet may still give them.
void
directory_leases_clear(struct directory_leases *leases,
                       struct block_version version);

// Where the bytes were found, if the lease is still of this version.
void
directory_leases_hint(struct directory_leases *leases,
                      const struct block_key *key, struct block_version version,
                      const struct block_place *hint);

// Counts a read from another rank's memory; the count of this key since it was
// last brought closer, halved for every `half_life_ns` without one. 0: no lease.
uint32_t
directory_leases_note_remote(struct directory_leases *leases,
                             const struct block_key *key, uint64_t now_ns,
                             uint64_t half_life_ns);

uint64_t
directory_leases_count(const struct directory_leases *leases);

#endif
