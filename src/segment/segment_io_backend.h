// SPDX-License-Identifier: Apache-2.0
//
// What an engine's backend does: start one system call, and give back the
// result of one. Short transfers, retries and faults are segment_io.c's.
// Called by one thread at a time; no lock.

#ifndef SEGMENT_SEGMENT_IO_BACKEND_H
#define SEGMENT_SEGMENT_IO_BACKEND_H

#include "segment/segment_io.h"

struct segment_io_backend {
    const char *name;

    // Takes what it needs for `options->depth` calls in flight. UNSUPPORTED:
    // the system has no such interface or refuses it. NO_MEMORY.
    enum cascade_status (*create)(const struct segment_io_options *options,
                                  void **self);
    void (*destroy)(void *self);

    // Starts the call for the bytes from request->resume on, or for the first
    // of them: the head alone is short and goes on. Never blocks for
    // long in io_uring; pread leaves the work to `wait`.
    void (*submit)(void *self, struct segment_io_request *request);

    // Waits for any call; one is in flight. `result` is bytes or -errno.
    struct segment_io_request *(*wait)(void *self, ssize_t *result);

    // A call that has ended; NULL if none has. Never blocks for long.
    struct segment_io_request *(*poll)(void *self, ssize_t *result);
};

// Sets request->parts to what is left from request->resume on; returns their
// number.
static inline unsigned
segment_io_parts(struct segment_io_request *request)
{
    uint64_t head = request->head_bytes;
    uint64_t resume = request->resume;
    unsigned count = 0;

    if (resume < head) {
        request->parts[count].iov_base = (uint8_t *)request->head + resume;
        request->parts[count].iov_len = head - resume;
        count++;
        resume = head;
    }
    request->parts[count].iov_base = (uint8_t *)request->data + (resume - head);
    request->parts[count].iov_len = request->bytes - resume;
    return count + 1;
}

// Requests in the order they came.
struct segment_io_queue {
    struct segment_io_request *first;
    struct segment_io_request *last;
};

static inline void
segment_io_queue_push(struct segment_io_queue *queue,
                      struct segment_io_request *request)
{
    request->next = NULL;
    if (queue->first == NULL) {
        queue->first = request;
    } else {
        queue->last->next = request;
    }
    queue->last = request;
}

static inline struct segment_io_request *
segment_io_queue_pop(struct segment_io_queue *queue)
{
    struct segment_io_request *request = queue->first;

    if (request != NULL) {
        queue->first = request->next;
        request->next = NULL;
    }
    return request;
}

extern const struct segment_io_backend segment_io_uring;
extern const struct segment_io_backend segment_io_pread;

#endif
