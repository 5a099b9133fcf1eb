// SPDX-License-Identifier: Apache-2.0
//
// The real file system behind the table, and whole reads and writes on top of
// any table. Stateless; no lock.

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"

static int
real_open_at(void *self, int directory, const char *path, int flags,
             mode_t mode)
{
    int file = openat(directory, path, flags | O_CLOEXEC, mode);

    (void)self;
    return file >= 0 ? file : -errno;
}

static int
real_close(void *self, int file)
{
    (void)self;
    return close(file) == 0 ? 0 : -errno;
}

static ssize_t
real_pread(void *self, int file, void *data, size_t bytes, uint64_t offset)
{
    ssize_t done = pread(file, data, bytes, (off_t)offset);

    (void)self;
    return done >= 0 ? done : -errno;
}

static ssize_t
real_pwrite(void *self, int file, const void *data, size_t bytes,
            uint64_t offset)
{
    ssize_t done = pwrite(file, data, bytes, (off_t)offset);

    (void)self;
    return done >= 0 ? done : -errno;
}

static int
real_reserve(void *self, int file, uint64_t offset, uint64_t bytes)
{
    (void)self;
    return fallocate(file, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)bytes) ==
                   0
               ? 0
               : -errno;
}

static int
real_sync_data(void *self, int file)
{
    (void)self;
    return fdatasync(file) == 0 ? 0 : -errno;
}

static int
real_sync(void *self, int file)
{
    (void)self;
    return fsync(file) == 0 ? 0 : -errno;
}

static int
real_make_directory_at(void *self, int directory, const char *path, mode_t mode)
{
    (void)self;
    return mkdirat(directory, path, mode) == 0 ? 0 : -errno;
}

static int
real_rename_at(void *self, int from_directory, const char *from,
               int to_directory, const char *to)
{
    (void)self;
    return renameat(from_directory, from, to_directory, to) == 0 ? 0 : -errno;
}

static int
real_unlink_at(void *self, int directory, const char *path, int flags)
{
    (void)self;
    return unlinkat(directory, path, flags) == 0 ? 0 : -errno;
}

static int
real_stat_at(void *self, int directory, const char *path, struct stat *out)
{
    (void)self;
    return fstatat(directory, path, out, 0) == 0 ? 0 : -errno;
}

static const struct file_system real_file_system = {
    .open_at = real_open_at,
    .close = real_close,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .reserve = real_reserve,
    .sync_data = real_sync_data,
    .sync = real_sync,
    .make_directory_at = real_make_directory_at,
    .rename_at = real_rename_at,
    .unlink_at = real_unlink_at,
    .stat_at = real_stat_at,
    .self = NULL,
};

const struct file_system *
file_system_real(void)
{
    return &real_file_system;
}

enum cascade_status
file_read_all(const struct file_system *files, int file, const char *path,
              void *data, size_t bytes, uint64_t offset)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t now = files->pread(files->self, file, (char *)data + done,
                                   bytes - done, offset + done);

        if (now == -EINTR) {
            continue;
        }
        if (now < 0) {
            return error_set_errno((int)-now, "cannot read %s at byte %llu",
                                   path, (unsigned long long)(offset + done));
        }
        if (now == 0) {
            return error_set(CASCADE_STALE, "%s ends at byte %llu, too early",
                             path, (unsigned long long)(offset + done));
        }
        done += (size_t)now;
    }
    return CASCADE_OK;
}

enum cascade_status
file_write_all(const struct file_system *files, int file, const char *path,
               const void *data, size_t bytes, uint64_t offset)
{
    size_t done = 0;

    while (done < bytes) {
        ssize_t now = files->pwrite(files->self, file,
                                    (const char *)data + done, bytes - done,
                                    offset + done);

        if (now == -EINTR) {
            continue;
        }
        if (now < 0) {
            return error_set_errno((int)-now, "cannot write %s at byte %llu",
                                   path, (unsigned long long)(offset + done));
        }
        if (now == 0) {
            return error_set(CASCADE_IO, "%s took no bytes at byte %llu", path,
                             (unsigned long long)(offset + done));
        }
        done += (size_t)now;
    }
    return CASCADE_OK;
}

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

// Grows the array to hold one more name; false if there is no memory.
static bool
grow(const struct allocator *allocator, char ***names, size_t count,
     size_t *room)
{
    char **larger;

    if (count < *room) {
        return true;
    }
    larger = allocator_array(allocator, *room * 2 + 16, sizeof(char *));
    if (larger == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(larger, *names, count * sizeof(char *));
    }
    allocator_release(allocator, *names);
    *names = larger;
    *room = *room * 2 + 16;
    return true;
}

enum cascade_status
file_list(const struct file_system *files, const struct allocator *allocator,
          int directory, const char *path, char ***names, size_t *count)
{
    char **list = NULL;
    size_t used = 0;
    size_t room = 0;
    DIR *stream;
    struct dirent *entry;
    int file = files->open_at(files->self, directory, ".",
                              O_RDONLY | O_DIRECTORY, 0);

    if (file < 0) {
        return error_set_errno(-file, "cannot list %s", path);
    }
    stream = fdopendir(file);
    if (stream == NULL) {
        (void)files->close(files->self, file);
        return error_set(CASCADE_NO_MEMORY, "no memory to list %s", path);
    }
    while ((entry = readdir(stream)) != NULL) {
        size_t bytes = strlen(entry->d_name) + 1;

        if (is_dots(entry->d_name)) {
            continue;
        }
        if (!grow(allocator, &list, used, &room)) {
            goto no_memory;
        }
        list[used] = allocator_array(allocator, bytes, 1);
        if (list[used] == NULL) {
            goto no_memory;
        }
        memcpy(list[used], entry->d_name, bytes);
        used++;
    }
    (void)closedir(stream);
    if (used > 1) {
        qsort(list, used, sizeof(char *), compare_names);
    }
    *names = list;
    *count = used;
    return CASCADE_OK;

no_memory:
    (void)closedir(stream);
    file_names_free(allocator, list, used);
    return error_set(CASCADE_NO_MEMORY, "no memory to list %s", path);
}

void
file_names_free(const struct allocator *allocator, char **names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        allocator_release(allocator, names[i]);
    }
    allocator_release(allocator, names);
}
