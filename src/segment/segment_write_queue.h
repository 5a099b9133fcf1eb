// SPDX-License-Identifier: Apache-2.0
//
// The writer's staging memory and its requests in flight. Not the format.
//
// Invariant: a piece of staging memory is free or belongs to one request or one
// caller; after the first failed request `status` stays not OK and nothing more
// is submitted. Under the writer's lock.

#ifndef SEGMENT_SEGMENT_WRITE_QUEUE_H
#define SEGMENT_SEGMENT_WRITE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_io.h"

// Large pieces hold batch records and copied payload, small ones headers, bind
// records and tails.
enum segment_write_piece_kind {
    SEGMENT_WRITE_LARGE = 0,
    SEGMENT_WRITE_SMALL = 1,
};

#define SEGMENT_WRITE_PIECE_KINDS 2

struct segment_write_piece {
    void *memory;
    bool busy;
};

// Called when a request failed, before anything else is done.
typedef void
segment_write_failed(void *context, uint64_t seq, enum cascade_status status);

struct segment_write_request {
    struct segment_io_request io;
    struct segment_write_piece *piece; // given back when done; may be NULL
    uint64_t seq;                      // of the record that it is a part of
    bool busy;
};

struct segment_write_queue {
    struct segment_io *io;
    const struct segment_io_file *file;
    const struct allocator *allocator;
    struct segment_write_request *requests;
    uint32_t request_count;
    uint64_t piece_bytes[SEGMENT_WRITE_PIECE_KINDS];
    uint32_t piece_count[SEGMENT_WRITE_PIECE_KINDS];
    struct segment_write_piece *pieces[SEGMENT_WRITE_PIECE_KINDS];
    void *memory[SEGMENT_WRITE_PIECE_KINDS];
    enum cascade_status status; // of the first failure
    segment_write_failed *failed;
    void *failed_context;
};

// `file` outlives the queue. NO_MEMORY.
enum cascade_status
segment_write_queue_init(
    struct segment_write_queue *queue, struct segment_io *io,
    const struct segment_io_file *file, const struct allocator *allocator,
    const uint64_t piece_bytes[SEGMENT_WRITE_PIECE_KINDS],
    const uint32_t piece_count[SEGMENT_WRITE_PIECE_KINDS]) MUST_USE;

// Nothing may be in flight.
void
segment_write_queue_fini(struct segment_write_queue *queue);

// A free piece; waits for requests to finish. There is always one in the end,
// since callers hold at most one of each kind themselves.
struct segment_write_piece *
segment_write_queue_take(struct segment_write_queue *queue,
                         enum segment_write_piece_kind kind);

// Gives back a piece that was not submitted.
void
segment_write_queue_return(struct segment_write_piece *piece);

// Submits a write; waits for room. After a failure it does nothing but give
// the piece back.
void
segment_write_queue_submit(struct segment_write_queue *queue, const void *data,
                           uint64_t bytes, uint64_t offset,
                           struct segment_write_piece *piece, uint64_t seq);

// Waits until nothing is in flight.
void
segment_write_queue_drain(struct segment_write_queue *queue);

#endif
