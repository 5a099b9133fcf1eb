// SPDX-License-Identifier: Apache-2.0
//
// Leases on writers' directories: who may write, seal and unlink there. Not
// the files in them, and no flock: renames alone, which every file system
// orders.
//
// A writer's directory holds exactly one lease file:
//
//   lease.<n>       its own writer holds it; renewal renames it to n + 1; 0 is
//                   a writer whose open has not succeeded yet
//   lease.<writer>  that other writer adopted it, and holds it as long as that
//                   one's own directory has a numbered lease
//   lease.released  nobody
//
// Every change is one rename whose source is the state it was decided on, so
// of two that act on the same state one fails (ENOENT) and looks again:
//
// - Renewal against adoption: both rename lease.<n>; if the adopter was first,
//   the writer's renewal fails and it knows that it lost; if the writer was
//   first, the adopter fails and sees it alive.
// - Two adopters: both rename the same source; the second fails.
// - Release against adoption by a judge of expiry: as renewal.
// - What a dead writer had adopted: its death is made final first, by taking
//   its own directory's numbered lease ("fence"), then each directory that
//   names it is taken by a rename of its own. Released, adopted and missing
//   are final: no writer comes back from them. A writer's directory appears
//   whole, with lease.0, so "missing" cannot be "not yet".
//
// Time: the holder counts from before its rename, on its own steady clock, and
// stops writing after half a lease; an observer counts from after it saw the
// number, on its own steady clock, a full lease. No two clocks are compared
// (but see segment_lease_watch.h), so jumps of wall time mean nothing.
//
// Lock: one in the struct, around renewal and release; held over one rename.

#ifndef SEGMENT_LEASE_H
#define SEGMENT_LEASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/clock.h"
#include "segment/segment_lease_holder.h"
#include "segment/segment_root.h"

// "w" time "-" tag, with the terminator.
#define SEGMENT_LEASE_WRITER_BYTES 40
#define SEGMENT_LEASE_PREFIX "lease."
#define SEGMENT_LEASE_RELEASED "released"

// No lease may be longer: what an observer waits where it cannot read one.
#define SEGMENT_LEASE_NS_MAX ((uint64_t)3600 * 1000000000)

struct segment_lease {
    pthread_mutex_t lock; // guards all below
    const struct file_system *files;
    const struct clock_source *clock;
    int directory; // of the writer, open; the lease's own
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    uint64_t number;
    uint64_t renewed_ns; // steady time before the last good rename
    uint64_t lease_ns;
    bool lost;
};

enum segment_lease_state {
    SEGMENT_LEASE_UNCLEAR = 0, // it cannot be read now: taken for held
    SEGMENT_LEASE_NUMBERED = 1,
    SEGMENT_LEASE_ADOPTED = 2,
    SEGMENT_LEASE_FREE = 3,    // released
    SEGMENT_LEASE_MISSING = 4, // there is no such directory
    SEGMENT_LEASE_NONE = 5,    // no lease file: somebody deleted it
};

// What a writer's directory says.
struct segment_lease_sight {
    enum segment_lease_state state;
    uint64_t number;                          // NUMBERED
    char adopter[SEGMENT_LEASE_WRITER_BYTES]; // ADOPTED
    bool known;                               // `holder` could be read
    struct segment_lease_holder holder; // of the writer, whatever came later
};

// Makes the writer's directory with lease.0 in it. `holder` is this process,
// with job and lease_ns set. PERMISSION, NO_SPACE, IO, INVALID.
enum cascade_status
segment_lease_create(const struct segment_root *root,
                     const struct clock_source *clock,
                     const struct segment_lease_holder *holder,
                     struct segment_lease *lease) MUST_USE;

// Closes the directory; the lease stays as it is, as in a crash.
void
segment_lease_close(struct segment_lease *lease);

// One rename. CLOSED: somebody adopted the directory; this writer has ended.
// Others: it could not be said now; writing ends half a lease after the last
// success.
enum cascade_status
segment_lease_renew(struct segment_lease *lease) MUST_USE;

// True if a quarter of the lease has passed since the last renewal.
bool
segment_lease_is_due(struct segment_lease *lease);

// False if the lease was lost or could not be renewed for half its time.
bool
segment_lease_may_write(struct segment_lease *lease);

bool
segment_lease_is_lost(struct segment_lease *lease);

// Gives the directory, and with it all that it adopted, to whoever comes next.
// CLOSED: lost before.
enum cascade_status
segment_lease_release(struct segment_lease *lease) MUST_USE;

// Reads the lease of directory `writer`. Never fails: what cannot be read is
// UNCLEAR.
void
segment_lease_look(const struct segment_root *root,
                   const struct allocator *allocator, const char *writer,
                   struct segment_lease_sight *sight);

// Takes directory `writer`, whose lease was seen as `sight`, for `adopter`.
// NOT_FOUND: it changed since; look again.
enum cascade_status
segment_lease_take(const struct segment_root *root, const char *writer,
                   const struct segment_lease_sight *sight,
                   const char *adopter) MUST_USE;

// Removes a writer's directory of which nobody needs anything: it vanishes under
// its name in one step, so that nobody meets it without a lease. The caller
// holds it or has just released it. Failure leaves litter and is not reported.
void
segment_lease_discard(const struct segment_root *root,
                      const struct allocator *allocator, const char *writer);

// True if the name can be that of a writer's directory.
bool
segment_lease_is_writer(const char *name);

#endif
