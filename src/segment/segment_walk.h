// SPDX-License-Identifier: Apache-2.0
//
// Finds the records of a file that has no footer: the tail of a live or dead
// writer, or a file whose footer is damaged. Read-only; writes no index
// (segment_index.h does).
//
// Invariant: only headers with this file's uuid, their own offset, a sequence
// above the last one's and a matching checksum are shown, so that bytes of a
// file's former life never come back. No lock; the reader is the caller's.

#ifndef SEGMENT_SEGMENT_WALK_H
#define SEGMENT_SEGMENT_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_read.h"

struct segment_walk_options {
    bool verify; // read payloads; what does not match is not shown
};

struct segment_walk_result {
    uint64_t walked_bytes; // end of the last record found
    uint64_t next_seq;
    uint64_t records;     // of which entries were shown
    uint64_t entries;     // shown
    uint64_t bad_headers; // places where the walk went on by the alignment
    uint64_t bad_payloads;
    struct block_version lowest; // of the entries shown; zero if none
    struct block_version highest;
};

// Shows the entries in file order, keys included (valid during the visit).
// False from the visit stops the walk. `bytes` 0 = to the end of the file as it
// was opened; else no further than that (an index file's walked length). IO;
// a file that became shorter ends there.
enum cascade_status
segment_walk(struct segment_reader *reader, const struct segment_file *file,
             const struct segment_walk_options *options, uint64_t bytes,
             segment_read_visit *visit, void *context,
             struct segment_walk_result *result);

#endif
