// SPDX-License-Identifier: Apache-2.0
//
// What the fuzz targets share: a file in memory. See fuzz.h.

#include "fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// A descriptor that no system call knows.
#define MEMORY_FILE 1000000

struct memory_file {
    const uint8_t *data;
    size_t bytes;
};

static int
memory_open_at(void *self, int directory, const char *path, int flags,
               mode_t mode)
{
    (void)self;
    (void)directory;
    (void)path;
    (void)flags;
    (void)mode;
    return MEMORY_FILE;
}

static int
memory_close(void *self, int file)
{
    (void)self;
    return file == MEMORY_FILE ? 0 : -EBADF;
}

static ssize_t
memory_pread(void *self, int file, void *data, size_t bytes, uint64_t offset)
{
    const struct memory_file *memory = self;

    if (file != MEMORY_FILE) {
        return -EBADF;
    }
    if (offset >= memory->bytes) {
        return 0;
    }
    if (bytes > memory->bytes - offset) {
        bytes = memory->bytes - offset;
    }
    memcpy(data, memory->data + offset, bytes);
    return (ssize_t)bytes;
}

static int
memory_stat_at(void *self, int directory, const char *path, struct stat *out)
{
    const struct memory_file *memory = self;

    (void)directory;
    (void)path;
    memset(out, 0, sizeof(*out));
    out->st_mode = S_IFREG | 0600;
    out->st_size = (off_t)memory->bytes;
    return 0;
}

void
fuzz_fail(const char *what, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: broken: %s\n", file, line, what);
    abort();
}

const struct file_system *
fuzz_file(const uint8_t *data, size_t bytes)
{
    static struct memory_file memory;
    static struct file_system table = {
        .open_at = memory_open_at,
        .close = memory_close,
        .pread = memory_pread,
        .stat_at = memory_stat_at,
        .self = &memory,
    };

    memory.data = data;
    memory.bytes = bytes;
    return &table;
}

const char *
fuzz_path(const uint8_t *data, size_t bytes)
{
    static char path[64];
    static int file = -1;

    if (file < 0) {
        file = memfd_create("fuzz", MFD_CLOEXEC);
        FUZZ_REQUIRE(file >= 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    }
    FUZZ_REQUIRE(ftruncate(file, 0) == 0);
    FUZZ_REQUIRE(pwrite(file, data, bytes, 0) == (ssize_t)bytes);
    return path;
}
