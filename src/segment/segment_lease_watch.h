// SPDX-License-Identifier: Apache-2.0
//
// What an observer remembers of others' leases: which number it saw, and since
// when. And the verdict whether a holder lives.
//
// Processes that come and go (a command in a shell) never live for a lease, so
// they hand their memory on: a note in the namespace, one per machine start
// and time namespace, says "this number was there at that steady time". Steady
// time is one clock for all processes there, so the note is as good as having
// looked oneself. Two clones of one virtual machine under one root could fool
// each other; nothing else can.
//
// No lock; the caller's.

#ifndef SEGMENT_LEASE_WATCH_H
#define SEGMENT_LEASE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "segment/segment_lease.h"

#define SEGMENT_LEASE_WATCHED_MAX 1024
#define SEGMENT_LEASE_NOTE_PREFIX ".seen-"

// As it lies in the note.
struct segment_lease_seen {
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    uint64_t number;
    uint64_t first_ns; // steady
};

struct segment_lease_watch {
    const struct allocator *allocator;
    const struct segment_root *root;
    const struct clock_source *clock;
    struct segment_lease_holder self;
    uint64_t lease_ns; // of this store: what it grants at least
    struct segment_lease_seen *seen;
    uint32_t count;
    bool changed; // since the note
};

enum segment_lease_verdict {
    SEGMENT_LEASE_ALIVE = 0,
    SEGMENT_LEASE_EXPIRED = 1, // silent for a lease: fence before taking
    SEGMENT_LEASE_GONE = 2,    // its process ended: fence before taking
    SEGMENT_LEASE_ENDED = 3,   // final: released, adopted or missing
};

// NO_MEMORY. Reads the note of earlier processes, if it is sound.
enum cascade_status
segment_lease_watch_init(struct segment_lease_watch *watch,
                         const struct segment_root *root,
                         const struct clock_source *clock,
                         const struct segment_lease_holder *self,
                         const struct allocator *allocator) MUST_USE;

void
segment_lease_watch_fini(struct segment_lease_watch *watch);

// Writes the note if something changed. Failure costs others' patience only
// and is not reported.
void
segment_lease_watch_save(struct segment_lease_watch *watch);

// Whether the writer of a directory lives, from what was just seen there.
// `left_ns` (may be NULL) is set to how long silence must last until EXPIRED.
enum segment_lease_verdict
segment_lease_watch_judge(struct segment_lease_watch *watch, const char *writer,
                          const struct segment_lease_sight *sight,
                          uint64_t *left_ns);

// Forgets all that is not in use: writers whose directories are gone.
void
segment_lease_watch_forget(struct segment_lease_watch *watch,
                           const char *writer);

#endif
