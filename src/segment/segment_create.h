// SPDX-License-Identifier: Apache-2.0
//
// The birth of a file of segments: exclusive creation, alignment, uuid, header.
// Shared by the writer and by index files. No lock; the caller's.

#ifndef SEGMENT_SEGMENT_CREATE_H
#define SEGMENT_SEGMENT_CREATE_H

#include <sys/types.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_format.h"
#include "segment/segment_io.h"

// Creates `name` and writes its header, one alignment unit long, and makes that
// durable, not the name. `facts` gets alignment (at least the given one) and, if it has none, a
// uuid. `path` outlives the file. On failure nothing is left open, and the file
// is unlinked as far as that works. EXISTS, NO_SPACE, IO, NO_MEMORY,
// PERMISSION, INVALID (an alignment that no file can have).
enum cascade_status
segment_create(struct segment_io *io, const struct allocator *allocator,
               int directory, const char *name, const char *path, mode_t mode,
               struct segment_facts *facts,
               struct segment_io_file *file) MUST_USE;

// Makes the directory's entry durable.
enum cascade_status
segment_create_sync_directory(const struct segment_io *io, int directory,
                              const char *path) MUST_USE;

#endif
