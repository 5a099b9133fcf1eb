// SPDX-License-Identifier: Apache-2.0
//
// Plain reads and writes of one file, around the page cache, with many requests
// in flight: what the device gives to a program that does nothing else. The
// limit that the cold tier is held against; shares no code with it.

#ifndef BENCH_RAW_IO_H
#define BENCH_RAW_IO_H

#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

// Sizes, offsets and memory have to be multiples of this.
#define RAW_IO_ALIGNMENT 4096

struct raw_shape {
    uint64_t request_bytes;
    uint32_t depth;
};

// The shapes that are tried; `request_bytes` 0 ends them.
extern const struct raw_shape raw_shapes[];

// Writes a file that is not there yet and syncs its data at the end. `*ns` is
// from the first request to the end of the sync. UNSUPPORTED: no O_DIRECT.
enum cascade_status
raw_io_write(const char *path, const void *data, uint64_t bytes,
             struct raw_shape shape, uint64_t *ns) MUST_USE;

// Reads the first `bytes` of a file. The requests of one unit of `unit_bytes`
// have all ended before those of the next begin (0 = one unit).
enum cascade_status
raw_io_read(const char *path, void *data, uint64_t bytes, uint64_t unit_bytes,
            struct raw_shape shape, uint64_t *ns) MUST_USE;

#endif
