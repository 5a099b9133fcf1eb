// SPDX-License-Identifier: Apache-2.0
//
// What both engines share: choice of backend, short transfers, retries, opening
// files. See segment_io.h.

#include "segment/segment_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "segment/segment_format.h"
#include "segment/segment_io_backend.h"

#define DEPTH_DEFAULT 8
#define DEPTH_MAX 1024
#define REQUEST_BYTES_MAX GIB
// A call that answers "again" more often than this has failed.
#define RETRIES_MAX 1000

struct segment_io {
    struct segment_io_options options;
    const struct segment_io_backend *backend;
    void *self;
    uint32_t in_flight;
};

// Takes in the result of one system call. True if the request is finished.
static bool
note_result(struct segment_io_request *request, ssize_t result)
{
    uint64_t end;

    if (result == -EINTR || result == -EAGAIN) {
        request->retries++;
        if (request->retries <= RETRIES_MAX) {
            return false;
        }
    }
    if (result < 0) {
        request->error = (int)-result;
        return true;
    }
    end = request->resume + (uint64_t)result;
    if (end > request->bytes) {
        request->error = EIO;
        return true;
    }
    if (end <= request->done && request->done < request->bytes) {
        // Nothing more came: the end of the file, or a write that is stuck.
        request->error = request->write ? EIO : 0;
        return true;
    }
    request->done = end;
    // Direct I/O goes on at an aligned byte and repeats a few.
    request->resume = request->file->direct
                          ? units_round_down(end,
                                             request->file->alignment_bytes)
                          : end;
    return end == request->bytes;
}

// Takes in what the backend gave back; one that is not finished goes on.
static bool
is_finished(struct segment_io *io, struct segment_io_request *request,
            ssize_t result)
{
    if (io->options.fault != NULL) {
        result = io->options.fault(io->options.fault_context, request, result);
    }
    if (note_result(request, result)) {
        io->in_flight--;
        return true;
    }
    io->backend->submit(io->self, request);
    return false;
}

// Finds out what the file system wants for direct I/O.
static void
set_alignments(struct segment_io_file *file, uint32_t alignment_bytes_min)
{
    uint64_t memory = SEGMENT_ALIGNMENT_MIN;
    uint64_t offsets;
    long page = sysconf(_SC_PAGESIZE);

    if (page > 0) {
        memory = units_max(memory, (uint64_t)page);
    }
    offsets = units_max(memory, alignment_bytes_min);
#ifdef STATX_DIOALIGN
    {
        struct statx facts;

        if (statx(file->file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 &&
            (facts.stx_mask & STATX_DIOALIGN) != 0) {
            memory = units_max(memory, facts.stx_dio_mem_align);
            offsets = units_max(offsets, facts.stx_dio_offset_align);
        }
    }
#endif
    file->memory_alignment_bytes = (uint32_t)units_min(memory,
                                                       SEGMENT_ALIGNMENT_MAX);
    file->alignment_bytes = (uint32_t)units_min(units_max(offsets, memory),
                                                SEGMENT_ALIGNMENT_MAX);
}

enum cascade_status
segment_io_create(const struct segment_io_options *options,
                  struct segment_io **io)
{
    bool real = options->files == file_system_real();
    enum cascade_status status = CASCADE_UNSUPPORTED;
    struct segment_io *made;

    made = allocator_array(options->allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a file engine");
    }
    made->options = *options;
    if (made->options.depth == 0) {
        made->options.depth = DEPTH_DEFAULT;
    }
    if (made->options.request_bytes == 0) {
        made->options.request_bytes = SEGMENT_CHUNK_BYTES;
    }
    if (made->options.direct_bytes == 0) {
        made->options.direct_bytes = made->options.request_bytes;
    }
    if (made->options.flight_bytes == 0) {
        made->options.flight_bytes = UINT64_MAX;
    }
    check(made->options.depth <= DEPTH_MAX);
    check(made->options.direct_bytes % SEGMENT_CHUNK_BYTES == 0 &&
          made->options.direct_bytes <= REQUEST_BYTES_MAX);
    check(made->options.request_bytes % SEGMENT_CHUNK_BYTES == 0 &&
          made->options.request_bytes <= REQUEST_BYTES_MAX);
    if (options->kind == SEGMENT_IO_URING ||
        (options->kind == SEGMENT_IO_AUTO && real)) {
        made->backend = &segment_io_uring;
        status = made->backend->create(&made->options, &made->self);
    }
    if (options->kind != SEGMENT_IO_URING && status == CASCADE_UNSUPPORTED) {
        made->backend = &segment_io_pread;
        status = made->backend->create(&made->options, &made->self);
    }
    if (status != CASCADE_OK) {
        allocator_release(options->allocator, made);
        return status;
    }
    *io = made;
    return CASCADE_OK;
}

void
segment_io_destroy(struct segment_io *io)
{
    if (io == NULL) {
        return;
    }
    check(io->in_flight == 0);
    io->backend->destroy(io->self);
    allocator_release(io->options.allocator, io);
}

const char *
segment_io_name(const struct segment_io *io)
{
    return io->backend->name;
}

uint32_t
segment_io_depth(const struct segment_io *io)
{
    return io->options.depth;
}

uint64_t
segment_io_request_bytes(const struct segment_io *io)
{
    return io->options.request_bytes;
}

uint64_t
segment_io_direct_bytes(const struct segment_io *io)
{
    return io->options.direct_bytes;
}

uint64_t
segment_io_flight_bytes(const struct segment_io *io)
{
    return io->options.flight_bytes;
}

const struct file_system *
segment_io_files(const struct segment_io *io)
{
    return io->options.files;
}

enum cascade_status
segment_io_open(const struct segment_io *io, int directory, const char *name,
                const char *path, int flags, mode_t mode,
                uint32_t alignment_bytes_min, struct segment_io_file *file)
{
    const struct file_system *files = io->options.files;
    int direct = -EINVAL;
    int opened = -EINVAL;

    // A file is created without O_DIRECT: a file system that refuses the flag
    // would refuse it after it has made the file.
    if ((flags & O_CREAT) != 0) {
        opened = files->open_at(files->self, directory, name, flags, mode);
        if (opened == -EEXIST) {
            return error_set(CASCADE_EXISTS, "%s exists already", path);
        }
        if (opened < 0) {
            return error_set_errno(-opened, "cannot create %s", path);
        }
        flags &= ~(O_CREAT | O_EXCL | O_TRUNC);
    }
    direct = files->open_at(files->self, directory, name, flags | O_DIRECT,
                            mode);
    if (direct >= 0) {
        if (opened >= 0) {
            (void)files->close(files->self, opened);
        }
        opened = direct;
    } else if (opened < 0) {
        if (direct != -EINVAL) {
            return error_set_errno(-direct, "cannot open %s", path);
        }
        opened = files->open_at(files->self, directory, name, flags, mode);
        if (opened < 0) {
            return error_set_errno(-opened, "cannot open %s", path);
        }
    }
    file->file = opened;
    file->direct = direct >= 0;
    file->path = path;
    set_alignments(file, alignment_bytes_min);
    return CASCADE_OK;
}

void
segment_io_close(const struct segment_io *io, struct segment_io_file *file)
{
    const struct file_system *files = io->options.files;

    if (file->file >= 0) {
        (void)files->close(files->self, file->file);
        file->file = -1;
    }
}

bool
segment_io_has_room(const struct segment_io *io)
{
    return io->in_flight < io->options.depth;
}

void
segment_io_submit(struct segment_io *io, struct segment_io_request *request)
{
    check(segment_io_has_room(io));
    check(request->bytes > 0 && request->bytes <= REQUEST_BYTES_MAX);
    check(request->head_bytes < request->bytes &&
          request->head_bytes % request->file->alignment_bytes == 0);
    request->error = 0;
    request->done = 0;
    request->resume = 0;
    request->retries = 0;
    io->in_flight++;
    io->backend->submit(io->self, request);
}

struct segment_io_request *
segment_io_wait(struct segment_io *io)
{
    while (io->in_flight > 0) {
        ssize_t result = 0;
        struct segment_io_request *request = io->backend->wait(io->self,
                                                               &result);

        if (is_finished(io, request, result)) {
            return request;
        }
    }
    return NULL;
}

struct segment_io_request *
segment_io_poll(struct segment_io *io)
{
    while (io->in_flight > 0) {
        ssize_t result = 0;
        struct segment_io_request *request = io->backend->poll(io->self,
                                                               &result);

        if (request == NULL) {
            return NULL;
        }
        if (is_finished(io, request, result)) {
            return request;
        }
    }
    return NULL;
}

void
segment_io_run(struct segment_io *io, struct segment_io_request *request)
{
    check(io->in_flight == 0);
    segment_io_submit(io, request);
    check(segment_io_wait(io) == request);
}

enum cascade_status
segment_io_status(const struct segment_io_request *request)
{
    const char *path = request->file->path;
    unsigned long long end = (unsigned long long)(request->offset +
                                                  request->done);

    if (request->error != 0 && request->write) {
        return error_set_errno(request->error, "cannot write %s at byte %llu",
                               path, end);
    }
    if (request->error != 0) {
        return error_set_errno(request->error, "cannot read %s at byte %llu",
                               path, end);
    }
    if (request->done < request->bytes) {
        return error_set(CASCADE_STALE, "%s ends at byte %llu, too early", path,
                         end);
    }
    return CASCADE_OK;
}

void
segment_io_drop(const struct segment_io_file *file, uint64_t offset,
                uint64_t bytes)
{
    if (!file->direct && file->file >= 0) {
        (void)posix_fadvise(file->file, (off_t)offset, (off_t)bytes,
                            POSIX_FADV_DONTNEED);
    }
}
