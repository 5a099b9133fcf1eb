// SPDX-License-Identifier: Apache-2.0
//
// A queue of reads and writes of open files: io_uring, or pread and pwrite with
// the same results. Not a cache and not a format. Files are opened for direct
// I/O where the file system takes it, else buffered and dropped from the page
// cache.
//
// Invariant: a request that was submitted comes out of wait exactly once, and
// its memory is the engine's until then.
// Threads: an engine is used by one thread at a time; it has no lock.

#ifndef SEGMENT_SEGMENT_IO_H
#define SEGMENT_SEGMENT_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "base/file.h"
#include "cascade/status.h"

enum segment_io_kind {
    // io_uring where the kernel has it and `files` is the real file system
    // (so that a table with faults in it is not gone around), else pread.
    SEGMENT_IO_AUTO = 0,
    SEGMENT_IO_URING = 1,
    SEGMENT_IO_PREAD = 2,
};

// A file opened for the engine.
struct segment_io_file {
    int file; // -1 = none
    bool direct;
    uint32_t alignment_bytes; // of offsets and lengths
    uint32_t memory_alignment_bytes;
    const char *path; // for messages; outlives the file
};

struct segment_io_request {
    const struct segment_io_file *file;
    bool write;
    void *data;
    uint64_t bytes; // of head and data together
    uint64_t offset;
    // What lies at `offset`, before the bytes of `data`, has memory of its own:
    // whole alignment units, fewer than `bytes`; 0 = there is none.
    void *head;
    uint64_t head_bytes;
    // Out: 0, or the positive errno. `done` is less than `bytes` after a
    // failure, and where a read met the end of the file.
    int error;
    uint64_t done;
    void *owner; // the caller's
    // The engine's.
    uint64_t resume; // where the system call under way began
    uint32_t retries;
    struct iovec parts[2]; // of the system call under way
    struct segment_io_request *next;
};

// For tests: sees the result of each system call (bytes or -errno) and returns
// what the engine shall take for it. Called on the engine's thread.
typedef ssize_t
segment_io_fault(void *context, const struct segment_io_request *request,
                 ssize_t result);

struct segment_io_options {
    enum segment_io_kind kind;
    uint32_t depth;         // requests in flight; 0 = 8
    uint64_t request_bytes; // whole MiB; 0 = 1 MiB
    uint64_t direct_bytes;  // whole MiB; 0 = request_bytes
    uint64_t flight_bytes;  // near the end of a read; 0 = what depth allows
    const struct file_system *files;
    const struct allocator *allocator;
    segment_io_fault *fault; // may be NULL
    void *fault_context;
};

struct segment_io;

// UNSUPPORTED: io_uring was asked for and the system has none. NO_MEMORY.
enum cascade_status
segment_io_create(const struct segment_io_options *options,
                  struct segment_io **io) MUST_USE;

// Nothing may be in flight. NULL does nothing.
void
segment_io_destroy(struct segment_io *io);

// "io_uring" or "pread".
const char *
segment_io_name(const struct segment_io *io);

uint32_t
segment_io_depth(const struct segment_io *io);

// How long the requests of one long read or write should be.
uint64_t
segment_io_request_bytes(const struct segment_io *io);

// The same where no staging memory is needed: fewer and longer ones.
uint64_t
segment_io_direct_bytes(const struct segment_io *io);

// How many bytes of a read should be in flight near its end: more would share
// the disk, come in together, and leave all checking to the end.
uint64_t
segment_io_flight_bytes(const struct segment_io *io);

const struct file_system *
segment_io_files(const struct segment_io *io);

// Opens `name` in `directory` with O_DIRECT, or without where that is refused.
// `alignment_bytes` = largest of 4 KiB, the page, what statx says and
// `alignment_bytes_min`. EXISTS: O_EXCL and the name is taken; else status and
// message as error_set_errno says.
enum cascade_status
segment_io_open(const struct segment_io *io, int directory, const char *name,
                const char *path, int flags, mode_t mode,
                uint32_t alignment_bytes_min,
                struct segment_io_file *file) MUST_USE;

void
segment_io_close(const struct segment_io *io, struct segment_io_file *file);

// True if one more request can be submitted before waiting.
bool
segment_io_has_room(const struct segment_io *io);

// Starts a request; there must be room. Never fails: failures are in the
// request that wait gives back.
void
segment_io_submit(struct segment_io *io, struct segment_io_request *request);

// The next finished request, in any order; NULL if none is in flight. Blocks.
struct segment_io_request *
segment_io_wait(struct segment_io *io);

// The same without waiting: NULL if none has finished yet.
struct segment_io_request *
segment_io_poll(struct segment_io *io);

// One request alone: submit and wait. Nothing else may be in flight.
void
segment_io_run(struct segment_io *io, struct segment_io_request *request);

// Status and message of a finished request: OK, or what its errno means, or
// IO for a short write; STALE for a read that met the end of the file.
enum cascade_status
segment_io_status(const struct segment_io_request *request) MUST_USE;

// Tells the system that these pages are not needed; buffered files only.
void
segment_io_drop(const struct segment_io_file *file, uint64_t offset,
                uint64_t bytes);

#endif
