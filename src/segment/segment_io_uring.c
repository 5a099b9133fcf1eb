// SPDX-License-Identifier: Apache-2.0
//
// The engine through io_uring. Nothing is registered: requests are long, and
// memory comes from many places.
//
// Invariant: `waiting` holds, in order, the requests that the ring has and the
// kernel has not; `in_kernel` counts the others. If the kernel refuses to take
// requests for good, they are given back as failed, never lost.

#include <errno.h>
#include <liburing.h>

#include "base/check.h"
#include "base/error.h"
#include "segment/segment_io_backend.h"

struct uring_engine {
    struct io_uring ring;
    const struct allocator *allocator;
    struct segment_io_queue waiting;
    uint32_t in_kernel;
    int broken; // errno of a submission that failed for good
};

static bool
is_passing(int result)
{
    return result == -EINTR || result == -EAGAIN || result == -EBUSY;
}

static void
note_submitted(struct uring_engine *engine, int result)
{
    for (int i = 0; i < result; i++) {
        struct segment_io_request *request = segment_io_queue_pop(
            &engine->waiting);

        check(request != NULL);
        engine->in_kernel++;
    }
    if (result < 0 && !is_passing(result)) {
        engine->broken = -result;
    }
}

static enum cascade_status
uring_create(const struct segment_io_options *options, void **self)
{
    struct uring_engine *engine = allocator_array(options->allocator, 1,
                                                  sizeof(*engine));
    int result;

    if (engine == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a file engine");
    }
    result = io_uring_queue_init(options->depth, &engine->ring, 0);
    if (result < 0) {
        allocator_release(options->allocator, engine);
        return error_set(CASCADE_UNSUPPORTED,
                         "io_uring is not to be had here (errno %d); use the "
                         "pread engine",
                         -result);
    }
    engine->allocator = options->allocator;
    *self = engine;
    return CASCADE_OK;
}

static void
uring_destroy(void *self)
{
    struct uring_engine *engine = self;

    io_uring_queue_exit(&engine->ring);
    allocator_release(engine->allocator, engine);
}

static void
uring_submit(void *self, struct segment_io_request *request)
{
    struct uring_engine *engine = self;
    struct io_uring_sqe *entry;
    const struct iovec *parts = request->parts;
    unsigned count = segment_io_parts(request);
    uint64_t offset = request->offset + request->resume;

    segment_io_queue_push(&engine->waiting, request);
    if (engine->broken != 0) {
        return;
    }
    entry = io_uring_get_sqe(&engine->ring);
    check(entry != NULL); // the ring holds as many as may be in flight
    if (count > 1 && request->write) {
        io_uring_prep_writev(entry, request->file->file, parts, count, offset);
    } else if (count > 1) {
        io_uring_prep_readv(entry, request->file->file, parts, count, offset);
    } else if (request->write) {
        io_uring_prep_write(entry, request->file->file, parts->iov_base,
                            (unsigned)parts->iov_len, offset);
    } else {
        io_uring_prep_read(entry, request->file->file, parts->iov_base,
                           (unsigned)parts->iov_len, offset);
    }
    io_uring_sqe_set_data(entry, request);
    note_submitted(engine, io_uring_submit(&engine->ring));
}

static struct segment_io_request *
take_done(struct uring_engine *engine, struct io_uring_cqe *done,
          ssize_t *result)
{
    struct segment_io_request *request = io_uring_cqe_get_data(done);

    engine->in_kernel--;
    *result = done->res;
    io_uring_cqe_seen(&engine->ring, done);
    return request;
}

static struct segment_io_request *
uring_poll(void *self, ssize_t *result)
{
    struct uring_engine *engine = self;
    struct io_uring_cqe *done = NULL;

    if (engine->in_kernel == 0 ||
        io_uring_peek_cqe(&engine->ring, &done) != 0) {
        return NULL;
    }
    return take_done(engine, done, result);
}

static struct segment_io_request *
uring_wait(void *self, ssize_t *result)
{
    struct uring_engine *engine = self;

    for (;;) {
        struct io_uring_cqe *done = NULL;
        int status;

        if (engine->waiting.first != NULL && engine->broken == 0) {
            note_submitted(engine, io_uring_submit(&engine->ring));
        }
        if (engine->in_kernel == 0) {
            if (engine->broken == 0) {
                continue;
            }
            *result = -engine->broken;
            return segment_io_queue_pop(&engine->waiting);
        }
        status = io_uring_wait_cqe(&engine->ring, &done);
        if (status < 0) {
            check(is_passing(status)); // the kernel still owns the memory
            continue;
        }
        return take_done(engine, done, result);
    }
}

const struct segment_io_backend segment_io_uring = {
    .name = "io_uring",
    .create = uring_create,
    .destroy = uring_destroy,
    .submit = uring_submit,
    .wait = uring_wait,
    .poll = uring_poll,
};
