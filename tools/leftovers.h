// SPDX-License-Identifier: Apache-2.0
//
// What is left over under a cold_path: namespaces that nobody has open,
// directories of writers that ended, half-made folders, files without a record.
// Finds it, and removes one thing at a time when asked. Not reclaim: that is the
// store's own.
//
// Invariant: nothing of a live or unexpired lease is removed, and no file that
// is not ours. A writer's directory is removed only while this process holds
// its lease, so that no store adopts it meanwhile. Where keys may be bound
// again, one writer's records may outrank another's: there a namespace is
// removed whole or not at all. No lock; one thread.

#ifndef TOOLS_LEFTOVERS_H
#define TOOLS_LEFTOVERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

enum leftover_kind {
    LEFTOVER_NAMESPACE = 0,
    LEFTOVER_WRITER = 1, // directory of a writer that ended
    LEFTOVER_LITTER = 2, // half-made: its maker died, or is at work
    LEFTOVER_EMPTY = 3,  // segment file of an ended writer without a record
    LEFTOVER_KINDS = 4
};

enum leftover_state {
    LEFTOVER_LIVE = 0,    // somebody has it open, or it is not known yet
    LEFTOVER_ENDED = 1,   // nobody can come back to it
    LEFTOVER_UNKNOWN = 2, // silent, but not for a whole lease
};

struct leftover {
    enum leftover_kind kind;
    enum leftover_state state;
    const char *folder;         // of the namespace, inside the root
    const char *namespace_name; // "" where there is none
    const char *name;           // inside the folder; "" for the namespace
    uint64_t bytes;
    uint64_t files;
    uint64_t age_ns;        // since the last change of anything in it
    uint64_t silent_for_ns; // UNKNOWN: how much longer it has to be silent
    bool removable;
    const char *why; // it is not; static text, or ""
};

struct leftovers;

// False stops the visit.
typedef void
leftover_visit(void *context, const struct leftover *leftover);

// Opens a cold_path. NOT_FOUND, IO, PERMISSION, NO_MEMORY; INVALID: it is none.
enum cascade_status
leftovers_open(const char *path, struct leftovers **leftovers) MUST_USE;

void
leftovers_close(struct leftovers *leftovers);

// Shows all that is there, live things included, namespaces before what is in
// them. A visit may remove what it is shown.
enum cascade_status
leftovers_list(struct leftovers *leftovers, leftover_visit *visit,
               void *context) MUST_USE;

// Files and folders under the root that are not ours, seen by the last list.
uint64_t
leftovers_foreign(const struct leftovers *leftovers);

// Removes what was just shown. LOCKED: it is not removable, or somebody came
// back to it. IO, PERMISSION.
enum cascade_status
leftovers_remove(struct leftovers *leftovers,
                 const struct leftover *leftover) MUST_USE;

#endif
