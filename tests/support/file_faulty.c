// SPDX-License-Identifier: Apache-2.0
//
// A file system whose N-th call fails. See file_faulty.h.

#include "support/file_faulty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

// True if this call is one of those that fail.
static bool
fails(struct file_faulty *faulty, enum file_faulty_call call)
{
    uint64_t number;

    if ((faulty->counted & (uint32_t)call) == 0) {
        return false;
    }
    number = __atomic_add_fetch(&faulty->calls, 1, __ATOMIC_RELAXED);
    return faulty->fail_from != 0 && number >= faulty->fail_from &&
           number - faulty->fail_from < faulty->fail_count;
}

static bool
is_zero(const void *data, size_t bytes)
{
    const uint8_t *at = data;

    return bytes > 0 && at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0;
}

static void
note_write(struct file_faulty *faulty, int file, uint8_t unsynced)
{
    if (file >= 0 && file < FILE_FAULTY_FILES_MAX) {
        __atomic_store_n(&faulty->unsynced[file], unsynced, __ATOMIC_RELAXED);
    }
}

static int
faulty_open_at(void *self, int directory, const char *path, int flags,
               mode_t mode)
{
    struct file_faulty *faulty = self;

    if (faulty->refuse_direct && (flags & O_DIRECT) != 0) {
        return -EINVAL;
    }
    if (fails(faulty, FILE_FAULTY_OPEN) && faulty->error != 0) {
        return -faulty->error;
    }
    return faulty->under->open_at(faulty->under->self, directory, path, flags,
                                  mode);
}

static int
faulty_close(void *self, int file)
{
    struct file_faulty *faulty = self;
    int result;

    if (file >= 0 && file < FILE_FAULTY_FILES_MAX &&
        __atomic_exchange_n(&faulty->unsynced[file], 0, __ATOMIC_RELAXED) !=
            0) {
        __atomic_add_fetch(&faulty->closed_unsynced, 1, __ATOMIC_RELAXED);
    }
    result = faulty->under->close(faulty->under->self, file);

    if (fails(faulty, FILE_FAULTY_CLOSE) && faulty->error != 0) {
        return -faulty->error;
    }
    return result;
}

static ssize_t
faulty_pread(void *self, int file, void *data, size_t bytes, uint64_t offset)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_PREAD)) {
        if (faulty->error != 0) {
            return -faulty->error;
        }
        bytes = (bytes + 1) / 2;
    }
    return faulty->under->pread(faulty->under->self, file, data, bytes, offset);
}

static ssize_t
faulty_pwrite(void *self, int file, const void *data, size_t bytes,
              uint64_t offset)
{
    struct file_faulty *faulty = self;
    const struct file_system *under = faulty->under;

    note_write(faulty, file, 1);
    if (fails(faulty, FILE_FAULTY_PWRITE)) {
        size_t half = bytes / 2 / 4096 * 4096;

        if (faulty->error == 0 && half > 0) {
            return under->pwrite(under->self, file, data, half, offset);
        }
        if (faulty->torn && half > 0) {
            (void)under->pwrite(under->self, file, data, half, offset);
        }
        if (faulty->error != 0) {
            return -faulty->error;
        }
    }
    if (faulty->sparse && is_zero(data, bytes)) {
        return (ssize_t)bytes;
    }
    return under->pwrite(under->self, file, data, bytes, offset);
}

static int
faulty_reserve(void *self, int file, uint64_t offset, uint64_t bytes)
{
    struct file_faulty *faulty = self;
    const struct file_system *under = faulty->under;

    if (fails(faulty, FILE_FAULTY_RESERVE) && faulty->error != 0) {
        return -faulty->error;
    }
    return under->reserve == NULL
               ? -EOPNOTSUPP
               : under->reserve(under->self, file, offset, bytes);
}

static int
faulty_sync_data(void *self, int file)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_SYNC_DATA) && faulty->error != 0) {
        return -faulty->error;
    }
    note_write(faulty, file, 0);
    if (faulty->lazy) {
        return 0;
    }
    return faulty->under->sync_data(faulty->under->self, file);
}

static int
faulty_sync(void *self, int file)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_SYNC) && faulty->error != 0) {
        return -faulty->error;
    }
    note_write(faulty, file, 0);
    if (faulty->lazy) {
        return 0;
    }
    return faulty->under->sync(faulty->under->self, file);
}

static int
faulty_make_directory_at(void *self, int directory, const char *path,
                         mode_t mode)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_MAKE_DIRECTORY) && faulty->error != 0) {
        return -faulty->error;
    }
    return faulty->under->make_directory_at(faulty->under->self, directory,
                                            path, mode);
}

static int
faulty_rename_at(void *self, int from_directory, const char *from,
                 int to_directory, const char *to)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_RENAME) && faulty->error != 0) {
        return -faulty->error;
    }
    return faulty->under->rename_at(faulty->under->self, from_directory, from,
                                    to_directory, to);
}

static int
faulty_unlink_at(void *self, int directory, const char *path, int flags)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_UNLINK) && faulty->error != 0) {
        return -faulty->error;
    }
    return faulty->under->unlink_at(faulty->under->self, directory, path,
                                    flags);
}

static int
faulty_stat_at(void *self, int directory, const char *path, struct stat *out)
{
    struct file_faulty *faulty = self;

    if (fails(faulty, FILE_FAULTY_STAT) && faulty->error != 0) {
        return -faulty->error;
    }
    return faulty->under->stat_at(faulty->under->self, directory, path, out);
}

void
file_faulty_init(struct file_faulty *faulty, const struct file_system *under)
{
    memset(faulty, 0, sizeof(*faulty));
    faulty->under = under != NULL ? under : file_system_real();
    faulty->counted = FILE_FAULTY_ALL;
    faulty->fail_count = 1;
    faulty->error = EIO;
    faulty->table.open_at = faulty_open_at;
    faulty->table.close = faulty_close;
    faulty->table.pread = faulty_pread;
    faulty->table.pwrite = faulty_pwrite;
    faulty->table.reserve = faulty_reserve;
    faulty->table.sync_data = faulty_sync_data;
    faulty->table.sync = faulty_sync;
    faulty->table.make_directory_at = faulty_make_directory_at;
    faulty->table.rename_at = faulty_rename_at;
    faulty->table.unlink_at = faulty_unlink_at;
    faulty->table.stat_at = faulty_stat_at;
    faulty->table.self = faulty;
}

uint64_t
file_faulty_unsynced(const struct file_faulty *faulty)
{
    uint64_t count = __atomic_load_n(&faulty->closed_unsynced,
                                     __ATOMIC_RELAXED);

    for (size_t i = 0; i < FILE_FAULTY_FILES_MAX; i++) {
        count += __atomic_load_n(&faulty->unsynced[i], __ATOMIC_RELAXED);
    }
    return count;
}
