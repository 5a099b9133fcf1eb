// SPDX-License-Identifier: Apache-2.0
//
// Reads all of a segment file and compares every checksum. Judges one file;
// prints nothing.
//
// What is damage: a payload that does not match its checksum; a record header
// that was one and does not match; a footer, or an entry of it, that does not
// match. What is none: the end of a file whose writer is at work or died there.

#ifndef TOOLS_SEGMENT_VERIFY_H
#define TOOLS_SEGMENT_VERIFY_H

#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_read.h"

struct segment_verify_counts {
    uint64_t records;
    uint64_t payloads;
    uint64_t payload_bytes;
    uint64_t unfinished; // payloads that the file ends within
    uint64_t damaged;
};

struct segment_verify {
    struct segment_reader *walker;
    struct segment_reader *checker; // another one
    // Called for each damage; `entry` is NULL where the block is not known.
    void (*damaged)(void *context, uint64_t offset, const char *what,
                    const struct segment_entry *entry);
    // Called now and then with the payload bytes read of this file.
    void (*progressed)(void *context, uint64_t bytes);
    void *context;
};

// Damage is counted and OK. IO, NO_MEMORY: the file could not be read.
enum cascade_status
segment_verify_file(const struct segment_verify *verify,
                    const struct segment_file *file,
                    struct segment_verify_counts *counts) MUST_USE;

#endif
