// SPDX-License-Identifier: Apache-2.0
//
// Staging memory and requests of the segment writer. See segment_write_queue.h.

#include "segment/segment_write_queue.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"

static void
reap(struct segment_write_queue *queue)
{
    struct segment_io_request *done = segment_io_wait(queue->io);
    struct segment_write_request *request;
    enum cascade_status status;

    check(done != NULL);
    request = done->owner;
    request->busy = false;
    if (request->piece != NULL) {
        request->piece->busy = false;
    }
    status = segment_io_status(done);
    if (status == CASCADE_OK) {
        return;
    }
    if (queue->status == CASCADE_OK) {
        queue->status = status;
    }
    if (queue->failed != NULL) {
        queue->failed(queue->failed_context, request->seq, status);
    }
}

static enum cascade_status
make_pieces(struct segment_write_queue *queue, uint32_t kind)
{
    uint64_t bytes = queue->piece_bytes[kind];
    uint32_t count = queue->piece_count[kind];

    queue->pieces[kind] = allocator_array(queue->allocator, count,
                                          sizeof(*queue->pieces[kind]));
    queue->memory[kind] = allocator_aligned(
        queue->allocator, bytes * count, queue->file->memory_alignment_bytes);
    if (queue->pieces[kind] == NULL || queue->memory[kind] == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory to stage writes of %s; lower the staging "
                         "size",
                         queue->file->path);
    }
    for (uint32_t i = 0; i < count; i++) {
        queue->pieces[kind][i].memory = (uint8_t *)queue->memory[kind] +
                                        i * bytes;
    }
    return CASCADE_OK;
}

enum cascade_status
segment_write_queue_init(struct segment_write_queue *queue,
                         struct segment_io *io,
                         const struct segment_io_file *file,
                         const struct allocator *allocator,
                         const uint64_t piece_bytes[SEGMENT_WRITE_PIECE_KINDS],
                         const uint32_t piece_count[SEGMENT_WRITE_PIECE_KINDS])
{
    enum cascade_status status = CASCADE_OK;

    memset(queue, 0, sizeof(*queue));
    queue->io = io;
    queue->file = file;
    queue->allocator = allocator;
    queue->request_count = segment_io_depth(io);
    queue->requests = allocator_array(allocator, queue->request_count,
                                      sizeof(*queue->requests));
    if (queue->requests == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for writes of %s",
                         file->path);
    }
    for (uint32_t kind = 0; kind < SEGMENT_WRITE_PIECE_KINDS; kind++) {
        queue->piece_bytes[kind] = piece_bytes[kind];
        queue->piece_count[kind] = piece_count[kind];
        if (status == CASCADE_OK) {
            status = make_pieces(queue, kind);
        }
    }
    if (status != CASCADE_OK) {
        segment_write_queue_fini(queue);
    }
    return status;
}

void
segment_write_queue_fini(struct segment_write_queue *queue)
{
    for (uint32_t kind = 0; kind < SEGMENT_WRITE_PIECE_KINDS; kind++) {
        allocator_release(queue->allocator, queue->memory[kind]);
        allocator_release(queue->allocator, queue->pieces[kind]);
    }
    allocator_release(queue->allocator, queue->requests);
    memset(queue, 0, sizeof(*queue));
}

struct segment_write_piece *
segment_write_queue_take(struct segment_write_queue *queue,
                         enum segment_write_piece_kind kind)
{
    for (;;) {
        for (uint32_t i = 0; i < queue->piece_count[kind]; i++) {
            struct segment_write_piece *piece = &queue->pieces[kind][i];

            if (!piece->busy) {
                piece->busy = true;
                return piece;
            }
        }
        reap(queue);
    }
}

void
segment_write_queue_return(struct segment_write_piece *piece)
{
    piece->busy = false;
}

void
segment_write_queue_submit(struct segment_write_queue *queue, const void *data,
                           uint64_t bytes, uint64_t offset,
                           struct segment_write_piece *piece, uint64_t seq)
{
    struct segment_write_request *request = NULL;

    while (!segment_io_has_room(queue->io)) {
        reap(queue);
    }
    if (queue->status != CASCADE_OK) {
        if (piece != NULL) {
            piece->busy = false;
        }
        return;
    }
    for (uint32_t i = 0; i < queue->request_count && request == NULL; i++) {
        if (!queue->requests[i].busy) {
            request = &queue->requests[i];
        }
    }
    check(request != NULL);
    memset(request, 0, sizeof(*request));
    request->busy = true;
    request->piece = piece;
    request->seq = seq;
    request->io.file = queue->file;
    request->io.write = true;
    // The engine only reads from it, as pwrite does.
    memcpy(&request->io.data, &data, sizeof(data));
    request->io.bytes = bytes;
    request->io.offset = offset;
    request->io.owner = request;
    segment_io_submit(queue->io, &request->io);
}

void
segment_write_queue_drain(struct segment_write_queue *queue)
{
    for (;;) {
        bool busy = false;

        for (uint32_t i = 0; i < queue->request_count; i++) {
            busy = busy || queue->requests[i].busy;
        }
        if (!busy) {
            return;
        }
        reap(queue);
    }
}
