// SPDX-License-Identifier: Apache-2.0
//
// What leftovers.c and leftovers_remove.c share. Not for others. No lock.

#ifndef TOOLS_LEFTOVERS_INNER_H
#define TOOLS_LEFTOVERS_INNER_H

#include "base/allocator.h"
#include "base/clock.h"
#include "base/file.h"
#include "segment/segment_io.h"
#include "segment/segment_lease.h"
#include "segment/segment_lease_watch.h"
#include "segment/segment_read.h"
#include "segment/segment_root.h"
#include "tools/leftovers.h"

struct leftovers {
    const struct file_system *files;
    const struct allocator *allocator;
    const struct clock_source *clock;
    char path[SEGMENT_ROOT_PATH_BYTES];
    int root_folder;
    struct segment_io *io;
    struct segment_reader *reader;
    struct segment_root root; // of the namespace being shown
    bool has_root;
    bool rebind_allowed;
    struct segment_lease_watch watch;
    struct segment_lease_holder self;
    uint64_t foreign;
};

// Whether a name can be that of something of ours in a namespace's folder, in
// a writer's directory or in a half-made folder.
bool
leftovers_is_known(const char *name);

// What became of the writer of a directory, or of who adopted it.
enum leftover_state
leftovers_state(struct leftovers *left, const char *writer,
                struct segment_lease_sight *sight, uint64_t *silent_for_ns);

// What is in the namespace that was entered; `visit` may be NULL. `whole` sums
// it up.
enum cascade_status
leftovers_look(struct leftovers *left, const char *folder,
               const char *namespace_name, leftover_visit *visit, void *context,
               struct leftover *whole) MUST_USE;

#endif
