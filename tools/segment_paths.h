// SPDX-License-Identifier: Apache-2.0
//
// The segment and index files that paths on a command line mean: a file is
// itself, a folder is all such files below it, in the order of their names.

#ifndef TOOLS_SEGMENT_PATHS_H
#define TOOLS_SEGMENT_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct segment_paths {
    char **paths;
    size_t count;
    size_t room;
    uint64_t bytes; // of all files
};

// Adds what `path` means. NOT_FOUND, PERMISSION, IO, NO_MEMORY. A folder
// without such files adds nothing.
enum cascade_status
segment_paths_add(struct segment_paths *paths, char *path) MUST_USE;

void
segment_paths_release(struct segment_paths *paths);

#endif
