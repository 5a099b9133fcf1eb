// SPDX-License-Identifier: Apache-2.0
//
// The engine through pread and pwrite of the file table, on the caller's
// thread: what is submitted is done by the wait that gives it back. The engine
// for file systems without io_uring, and for tests with faults in the table.

#include "base/error.h"
#include "segment/segment_io_backend.h"

struct pread_engine {
    const struct file_system *files;
    const struct allocator *allocator;
    struct segment_io_queue queue;
};

static enum cascade_status
pread_create(const struct segment_io_options *options, void **self)
{
    struct pread_engine *engine = allocator_array(options->allocator, 1,
                                                  sizeof(*engine));

    if (engine == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a file engine");
    }
    engine->files = options->files;
    engine->allocator = options->allocator;
    *self = engine;
    return CASCADE_OK;
}

static void
pread_destroy(void *self)
{
    struct pread_engine *engine = self;

    allocator_release(engine->allocator, engine);
}

static void
pread_submit(void *self, struct segment_io_request *request)
{
    struct pread_engine *engine = self;

    segment_io_queue_push(&engine->queue, request);
}

static struct segment_io_request *
pread_wait(void *self, ssize_t *result)
{
    struct pread_engine *engine = self;
    const struct file_system *files = engine->files;
    struct segment_io_request *request = segment_io_queue_pop(&engine->queue);
    void *data;
    size_t bytes;
    uint64_t offset = request->offset + request->resume;

    (void)segment_io_parts(request);
    data = request->parts[0].iov_base;
    bytes = request->parts[0].iov_len;
    if (request->write) {
        *result = files->pwrite(files->self, request->file->file, data, bytes,
                                offset);
    } else {
        *result = files->pread(files->self, request->file->file, data, bytes,
                               offset);
    }
    return request;
}

static struct segment_io_request *
pread_poll(void *self, ssize_t *result)
{
    (void)self;
    (void)result;
    return NULL; // nothing happens before somebody waits
}

const struct segment_io_backend segment_io_pread = {
    .name = "pread",
    .create = pread_create,
    .destroy = pread_destroy,
    .submit = pread_submit,
    .wait = pread_wait,
    .poll = pread_poll,
};
