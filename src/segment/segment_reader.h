// SPDX-License-Identifier: Apache-2.0
//
// The inside of a reader, shared by segment_read.c and segment_read_payload.c
// only. One thread at a time; no lock.

#ifndef SEGMENT_SEGMENT_READER_H
#define SEGMENT_SEGMENT_READER_H

#include "segment/segment_read.h"

// A part of a payload, or the header before it, or both, on its way.
struct segment_reader_part {
    struct segment_io_request io;
    struct segment_read_request *request; // NULL = free
    void *staging;                        // of data or head; may be NULL
    uint64_t lead;  // bytes before the wanted ones, from rounding
    uint64_t at;    // of the payload
    uint64_t bytes; // wanted
    bool is_header; // only; with payload, the header is the request's head
    bool is_staged; // the bytes have to be copied to where they belong
    bool is_done;
};

struct segment_reader {
    struct segment_io *io;
    const struct allocator *allocator;
    uint8_t *staging_memory;
    uint8_t *staging; // in it: of all staged parts, in one piece
    uint64_t staging_bytes;
    uint64_t stage_bytes; // of one
    void **stages;        // the free ones
    uint32_t stage_count;
    uint8_t *header; // SEGMENT_HEADER_BYTES_MAX and rounding
    // Twice as many as can be in flight: those that came back before their
    // turn do not keep others from being issued.
    struct segment_reader_part *parts;
    uint32_t part_count;
    uint32_t used;
    uint64_t flying_bytes; // in flight
};

#endif
