// SPDX-License-Identifier: Apache-2.0
//
// Checks of the directory of the cold tier, each with a file of its own that is
// removed before it is used.

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/units.h"
#include "tools/doctor.h"

#define TRIAL_BYTES ((size_t)(1 << 20))
#define TRIAL_ALIGNMENT ((size_t)(64 << 10))
#define SPACE_COMFORTABLE (4 * GIB)
#define SPACE_LEAST (512 * MIB)

// Opens a nameless file in the directory. Returns the descriptor or -errno.
static int
open_trial(const char *directory, int flags)
{
    char path[PATH_MAX];
    int created;
    int descriptor;

    if ((size_t)snprintf(path, sizeof(path), "%s/.cascade-doctor-XXXXXX",
                         directory) >= sizeof(path)) {
        return -ENAMETOOLONG;
    }
    created = mkostemp(path, O_CLOEXEC);
    if (created < 0) {
        return -errno;
    }
    // Opened again by name: O_DIRECT is decided there.
    descriptor = open(path, O_RDWR | O_CLOEXEC | flags);
    if (descriptor < 0) {
        descriptor = -errno;
    }
    (void)unlink(path);
    (void)close(created);
    return descriptor;
}

static void
fill_pattern(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)(i % 251);
    }
}

// Writes the pattern with one write, reads it back, compares.
// Returns 0, -errno, or -EILSEQ for other bytes.
static int
write_and_read(int descriptor, uint8_t *data)
{
    fill_pattern(data, TRIAL_BYTES);
    if (pwrite(descriptor, data, TRIAL_BYTES, 0) != (ssize_t)TRIAL_BYTES) {
        return errno != 0 ? -errno : -EIO;
    }
    memset(data, 0, TRIAL_BYTES);
    if (pread(descriptor, data, TRIAL_BYTES, 0) != (ssize_t)TRIAL_BYTES) {
        return errno != 0 ? -errno : -EIO;
    }
    for (size_t i = 0; i < TRIAL_BYTES; i++) {
        if (data[i] != i % 251) {
            return -EILSEQ;
        }
    }
    return 0;
}

static uint32_t
direct_alignment(int descriptor)
{
#ifdef STATX_DIOALIGN
    struct statx facts;

    if (statx(descriptor, "", AT_EMPTY_PATH, STATX_DIOALIGN, &facts) == 0 &&
        (facts.stx_mask & STATX_DIOALIGN) != 0) {
        return facts.stx_dio_offset_align;
    }
#else
    (void)descriptor;
#endif
    return 0;
}

// Reads the pattern through a ring. Returns 0, -errno or -EILSEQ.
static int
read_through_ring(int descriptor, uint8_t *data)
{
    struct io_uring ring;
    struct io_uring_sqe *entry;
    struct io_uring_cqe *completion;
    int error = io_uring_queue_init(8, &ring, 0);

    if (error != 0) {
        return error;
    }
    memset(data, 0, TRIAL_BYTES);
    entry = io_uring_get_sqe(&ring);
    io_uring_prep_read(entry, descriptor, data, (unsigned)TRIAL_BYTES, 0);
    error = io_uring_submit(&ring);
    if (error == 1) {
        error = io_uring_wait_cqe(&ring, &completion);
        if (error == 0) {
            error = completion->res < 0                   ? completion->res
                    : completion->res == (int)TRIAL_BYTES ? 0
                                                          : -EIO;
            io_uring_cqe_seen(&ring, completion);
        }
    } else if (error >= 0) {
        error = -EIO;
    }
    io_uring_queue_exit(&ring);
    if (error == 0 &&
        (data[1] != 1 || data[TRIAL_BYTES - 1] != (TRIAL_BYTES - 1) % 251)) {
        error = -EILSEQ;
    }
    return error;
}

// Tells of a directory in which nothing can be tried. The check `directory`
// has the remedy.
static void
not_tried(struct doctor_finding *finding, int error)
{
    doctor_found(finding, DOCTOR_WARNING, "not tried: no file can be made: %s",
                 strerror(error));
    doctor_remedy(finding, "see the check `directory`");
}

void
doctor_directory(const char *directory, struct doctor_finding *finding)
{
    int descriptor = open_trial(directory, 0);

    if (descriptor >= 0) {
        (void)close(descriptor);
        doctor_found(finding, DOCTOR_OK, "%s can be written", directory);
        return;
    }
    doctor_found(finding, DOCTOR_FAIL, "no file can be made in %s: %s",
                 directory, strerror(-descriptor));
    if (descriptor == -ENOENT) {
        doctor_remedy(finding, "mkdir -p %s", directory);
    } else {
        doctor_remedy(finding,
                      "give this user write access to %s, or set "
                      "cold_path to another directory",
                      directory);
    }
}

void
doctor_direct(const char *directory, struct doctor_finding *finding)
{
    int descriptor = open_trial(directory, O_DIRECT);
    uint32_t alignment;
    uint8_t *data;
    int error;

    if (descriptor == -EINVAL || descriptor == -EOPNOTSUPP) {
        doctor_found(finding, DOCTOR_WARNING,
                     "the file system of %s has no O_DIRECT", directory);
        doctor_remedy(finding, "use a directory on ext4, xfs or Lustre; until "
                               "then cold reads go through the page cache");
        return;
    }
    if (descriptor < 0) {
        not_tried(finding, -descriptor);
        return;
    }
    data = allocator_aligned(allocator_system(), TRIAL_BYTES, TRIAL_ALIGNMENT);
    error = data == NULL ? -ENOMEM : write_and_read(descriptor, data);
    alignment = direct_alignment(descriptor);
    allocator_release(allocator_system(), data);
    (void)close(descriptor);
    if (error == -EILSEQ) {
        doctor_found(finding, DOCTOR_FAIL,
                     "%s returned other bytes than were written", directory);
        doctor_remedy(finding, "do not use this file system; check the device "
                               "and its driver");
    } else if (error != 0) {
        doctor_found(finding, DOCTOR_WARNING, "direct I/O fails: %s",
                     strerror(-error));
        doctor_remedy(finding, "use a directory on another file system");
    } else if (alignment > 0) {
        doctor_found(finding, DOCTOR_OK, "written and read, alignment %u",
                     alignment);
    } else {
        doctor_found(finding, DOCTOR_OK, "written and read");
    }
}

void
doctor_ring(const char *directory, struct doctor_finding *finding)
{
    int descriptor = open_trial(directory, 0);
    uint8_t *data;
    int error;

    if (descriptor < 0) {
        not_tried(finding, -descriptor);
        return;
    }
    data = allocator_aligned(allocator_system(), TRIAL_BYTES, TRIAL_ALIGNMENT);
    error = data == NULL ? -ENOMEM : write_and_read(descriptor, data);
    if (error == 0) {
        error = read_through_ring(descriptor, data);
    }
    allocator_release(allocator_system(), data);
    (void)close(descriptor);
    if (error == 0) {
        doctor_found(finding, DOCTOR_OK, "read a file through a ring");
        return;
    }
    doctor_found(finding, error == -EILSEQ ? DOCTOR_FAIL : DOCTOR_WARNING,
                 "a read through a ring fails: %s", strerror(-error));
    doctor_remedy(finding,
                  "allow it: sysctl kernel.io_uring_disabled=0, and a seccomp "
                  "profile of the container that lets io_uring pass; until "
                  "then cold I/O runs in threads");
}

void
doctor_space(const char *directory, struct doctor_finding *finding)
{
    struct statvfs facts;
    uint64_t free_bytes;

    if (statvfs(directory, &facts) != 0) {
        not_tried(finding, errno);
        return;
    }
    free_bytes = (uint64_t)facts.f_bavail * facts.f_frsize;
    doctor_found(finding,
                 free_bytes < SPACE_LEAST         ? DOCTOR_FAIL
                 : free_bytes < SPACE_COMFORTABLE ? DOCTOR_WARNING
                                                  : DOCTOR_OK,
                 "%.1f GB free of %.1f GB", (double)free_bytes / 1e9,
                 (double)facts.f_blocks * (double)facts.f_frsize / 1e9);
    if (finding->verdict != DOCTOR_OK) {
        doctor_remedy(finding,
                      "free some, set cold_path elsewhere, or set a small "
                      "segment_size and cold_capacity");
    }
}
