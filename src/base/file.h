// SPDX-License-Identifier: Apache-2.0
//
// The file system as an argument: a table of the calls that the product makes,
// so that tests fail, shorten or delay the N-th one, or model a crash. Each
// member behaves like the POSIX call of its name but returns -errno instead of
// setting errno. The ring of the asynchronous engine is the one thing that goes
// around it (segment/segment_io.h wraps that itself).

#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "cascade/status.h"

struct file_system {
    int (*open_at)(void *self, int directory, const char *path, int flags,
                   mode_t mode);
    int (*close)(void *self, int file);
    ssize_t (*pread)(void *self, int file, void *data, size_t bytes,
                     uint64_t offset);
    ssize_t (*pwrite)(void *self, int file, const void *data, size_t bytes,
                      uint64_t offset);
    // fallocate that keeps the length: space for bytes that will be written, so
    // that they need none then. NULL, and any failure: they are written without.
    int (*reserve)(void *self, int file, uint64_t offset, uint64_t bytes);
    int (*sync_data)(void *self, int file); // fdatasync
    int (*sync)(void *self, int file);      // fsync, for directories too
    int (*make_directory_at)(void *self, int directory, const char *path,
                             mode_t mode);
    int (*rename_at)(void *self, int from_directory, const char *from,
                     int to_directory, const char *to);
    int (*unlink_at)(void *self, int directory, const char *path, int flags);
    int (*stat_at)(void *self, int directory, const char *path,
                   struct stat *out);
    void *self;
};

// The real one. Lives for ever.
const struct file_system *
file_system_real(void);

// Reads exactly `bytes` at `offset`, over short reads and EINTR. A file that
// ends before is CASCADE_STALE; other failures as error_set_errno says.
// `path` is for the message only.
enum cascade_status
file_read_all(const struct file_system *files, int file, const char *path,
              void *data, size_t bytes, uint64_t offset);

// Writes exactly `bytes` at `offset`, over short writes and EINTR. A call that
// writes nothing is CASCADE_IO.
enum cascade_status
file_write_all(const struct file_system *files, int file, const char *path,
               const void *data, size_t bytes, uint64_t offset);

// Names in a directory (without "." and ".."), sorted; the caller releases each
// name and the array with `file_names_free`.
struct allocator;
enum cascade_status
file_list(const struct file_system *files, const struct allocator *allocator,
          int directory, const char *path, char ***names, size_t *count);

void
file_names_free(const struct allocator *allocator, char **names, size_t count);

#endif
