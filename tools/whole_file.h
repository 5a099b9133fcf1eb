// SPDX-License-Identifier: Apache-2.0
//
// A file as one piece of memory, read and written whole: what `put` and `get`
// need. "-" is standard input or output.

#ifndef TOOLS_WHOLE_FILE_H
#define TOOLS_WHOLE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct whole_file {
    void *data;
    size_t bytes;
    size_t room; // allocated
};

// Reads all of `path`. On success the caller releases it. NOT_FOUND,
// PERMISSION, IO; TOO_LARGE: longer than the largest block; NO_MEMORY.
enum cascade_status
whole_file_read(const char *path, struct whole_file *file) MUST_USE;

// Takes `bytes` of memory for a file to be filled. NO_MEMORY.
enum cascade_status
whole_file_reserve(struct whole_file *file, size_t bytes) MUST_USE;

void
whole_file_release(struct whole_file *file);

// Writes `path` so that it is either the old file or all of the new one: a
// temporary file beside it, renamed. Devices, pipes and standard output are
// written in place. PERMISSION, NO_SPACE, NOT_FOUND, IO.
enum cascade_status
whole_file_write(const char *path, const void *data, size_t bytes) MUST_USE;

#endif
