// SPDX-License-Identifier: Apache-2.0
//
// Raw I/O over io_uring, one ring per call, one thread.

#include "bench/raw_io.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"

struct raw_io {
    struct io_uring ring;
    const char *path;
    int file;
    bool write;
    uint8_t *data;
    struct raw_shape shape;
};

const struct raw_shape raw_shapes[] = {
    {1 * MIB, 8},  {2 * MIB, 16},   {4 * MIB, 4},
    {16 * MIB, 2}, {256 * KIB, 16}, {0, 0},
};

static void
submit(struct raw_io *io, uint64_t offset, uint64_t bytes)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&io->ring);

    if (io->write) {
        io_uring_prep_write(entry, io->file, io->data + offset, (unsigned)bytes,
                            offset);
    } else {
        io_uring_prep_read(entry, io->file, io->data + offset, (unsigned)bytes,
                           offset);
    }
    io_uring_sqe_set_data64(entry, bytes);
}

// Waits for one request. A short one is a failure: the file is long enough.
static enum cascade_status
wait_one(struct raw_io *io)
{
    struct io_uring_cqe *done;
    int result;

    do {
        result = io_uring_submit_and_wait(&io->ring, 1);
    } while (result == -EINTR);
    if (result >= 0) {
        result = io_uring_peek_cqe(&io->ring, &done);
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot use %s", io->path);
    }
    result = done->res;
    if (result >= 0 && (uint64_t)result != done->user_data) {
        io_uring_cqe_seen(&io->ring, done);
        return error_set(CASCADE_IO, "a short transfer on %s", io->path);
    }
    io_uring_cqe_seen(&io->ring, done);
    return result < 0 ? error_set_errno(-result, "cannot use %s", io->path)
                      : CASCADE_OK;
}

// Moves [begin, end) with requests in flight, and waits for all of them.
static enum cascade_status
move_unit(struct raw_io *io, uint64_t begin, uint64_t end)
{
    enum cascade_status status = CASCADE_OK;
    uint32_t flying = 0;

    while (begin < end || flying > 0) {
        while (begin < end && flying < io->shape.depth) {
            uint64_t bytes = units_min(io->shape.request_bytes, end - begin);

            submit(io, begin, bytes);
            begin += bytes;
            flying++;
        }
        status = wait_one(io);
        if (status != CASCADE_OK) {
            return status;
        }
        flying--;
    }
    return CASCADE_OK;
}

static enum cascade_status
move(struct raw_io *io, uint64_t bytes, uint64_t unit_bytes, uint64_t *ns)
{
    int result = io_uring_queue_init(io->shape.depth, &io->ring, 0);
    enum cascade_status status = CASCADE_OK;
    uint64_t start_ns;

    if (result < 0) {
        return error_set(CASCADE_UNSUPPORTED, "io_uring is not available here");
    }
    start_ns = clock_steady_ns(clock_system());
    for (uint64_t at = 0; at < bytes && status == CASCADE_OK;
         at += unit_bytes) {
        status = move_unit(io, at, units_min(bytes, at + unit_bytes));
    }
    if (status == CASCADE_OK && io->write && fdatasync(io->file) != 0) {
        status = error_set_errno(errno, "cannot sync %s", io->path);
    }
    *ns = clock_steady_ns(clock_system()) - start_ns;
    io_uring_queue_exit(&io->ring);
    return status;
}

static enum cascade_status
open_and_move(struct raw_io *io, int flags, uint64_t bytes, uint64_t unit_bytes,
              uint64_t *ns)
{
    enum cascade_status status;

    io->file = open(io->path, flags | O_DIRECT | O_CLOEXEC, 0600);
    if (io->file < 0) {
        return error_set_errno(errno,
                               "cannot open %s around the page cache; name a "
                               "folder on a disk",
                               io->path);
    }
    status = move(io, bytes, unit_bytes == 0 ? bytes : unit_bytes, ns);
    (void)close(io->file);
    return status;
}

enum cascade_status
raw_io_write(const char *path, const void *data, uint64_t bytes,
             struct raw_shape shape, uint64_t *ns)
{
    // The ring takes one kind of pointer for both directions.
    struct raw_io io = {
        .path = path,
        .write = true,
        .data = (uint8_t *)(uintptr_t)data,
        .shape = shape,
    };

    return open_and_move(&io, O_WRONLY | O_CREAT | O_EXCL, bytes, 0, ns);
}

enum cascade_status
raw_io_read(const char *path, void *data, uint64_t bytes, uint64_t unit_bytes,
            struct raw_shape shape, uint64_t *ns)
{
    struct raw_io io = {.path = path, .data = data, .shape = shape};

    return open_and_move(&io, O_RDONLY, bytes, unit_bytes, ns);
}
