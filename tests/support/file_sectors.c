// SPDX-License-Identifier: Apache-2.0
//
// A disk that can lose power: the calls. What a cut leaves is worked out in
// file_sectors_cut.c.

#include "support/file_sectors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "support/file_sectors_inner.h"

enum outcome {
    DONE = 0,      // it works
    DONE_LATE = 1, // the power went behind it: it counts, and fails
    NOT_DONE = 2,
};

// Each call that changes something asks here first.
static enum outcome
change(struct file_sectors *disk)
{
    if (disk->off) {
        return NOT_DONE;
    }
    disk->changes++;
    if (disk->cut_at == 0 || disk->changes < disk->cut_at) {
        return DONE;
    }
    disk->off = true;
    return file_sectors_next(&disk->random) % 2 == 0 ? DONE_LATE : NOT_DONE;
}

static const struct file_system *
real(void)
{
    return file_system_real();
}

static struct file_sectors_node *
node_of(const struct file_sectors *disk, int file)
{
    return file >= 0 && file < FILE_SECTORS_OPEN_MAX ? disk->open[file] : NULL;
}

// The folder that `path` lies in, and its name there. NULL: not on this disk,
// or not there.
static struct file_sectors_node *
resolve(const struct file_sectors *disk, int directory, const char *path,
        const char **name)
{
    struct file_sectors_node *at = node_of(disk, directory);
    size_t mount = strlen(disk->path);

    if (path[0] == '/') {
        if (strncmp(path, disk->path, mount) != 0 ||
            (path[mount] != '/' && path[mount] != '\0')) {
            return NULL;
        }
        at = disk->root;
        path += mount;
    }
    while (*path == '/') {
        path++;
    }
    while (at != NULL && strchr(path, '/') != NULL) {
        char part[256];
        size_t bytes = strcspn(path, "/");

        check(bytes < sizeof(part));
        memcpy(part, path, bytes);
        part[bytes] = '\0';
        at = file_sectors_find(&at->now, part);
        path += bytes;
        while (*path == '/') {
            path++;
        }
    }
    *name = path;
    return at;
}

// No room for a name.
static bool
is_full(const struct file_sectors *disk)
{
    return disk->bytes_max != 0 && file_sectors_sum(disk) >= disk->bytes_max;
}

static bool
is_here(const char *name)
{
    return name[0] == '\0' || strcmp(name, ".") == 0;
}

static int
disk_open_at(void *self, int directory, const char *path, int flags,
             mode_t mode)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *folder;
    struct file_sectors_node *node;
    const char *name = NULL;
    enum outcome outcome = DONE;
    int file = -EIO;

    flags &= ~O_DIRECT;
    (void)pthread_mutex_lock(&disk->lock);
    folder = resolve(disk, directory, path, &name);
    if (folder == NULL) {
        file = real()->open_at(NULL, directory, path, flags, mode);
        goto unlock;
    }
    node = is_here(name) ? folder : file_sectors_find(&folder->now, name);
    if (disk->off) {
        goto unlock;
    }
    if (node == NULL && (flags & O_CREAT) != 0) {
        if (is_full(disk)) {
            file = -ENOSPC;
            goto unlock;
        }
        outcome = change(disk);
        if (outcome == NOT_DONE) {
            goto unlock;
        }
    }
    file = real()->open_at(NULL, directory, path, flags, mode);
    if (file < 0) {
        goto unlock;
    }
    check(file < FILE_SECTORS_OPEN_MAX);
    file_sectors_forget_open(disk, file);
    if (node == NULL) {
        node = file_sectors_new(disk, false);
        file_sectors_link(disk, folder, name, node);
    } else if ((flags & O_TRUNC) != 0) {
        node = file_sectors_new(disk, false);
        file_sectors_unlink(disk, folder, name);
        file_sectors_link(disk, folder, name, node);
    }
    if (outcome == DONE_LATE) {
        (void)real()->close(NULL, file);
        file = -EIO;
        goto unlock;
    }
    disk->open[file] = node;
    node->open++;

unlock:
    (void)pthread_mutex_unlock(&disk->lock);
    return file;
}

static int
disk_close(void *self, int file)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *node;
    int result;

    (void)pthread_mutex_lock(&disk->lock);
    node = node_of(disk, file);
    if (node != NULL) {
        node->open--;
        disk->open[file] = NULL;
    }
    result = real()->close(NULL, file);
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static ssize_t
disk_pread(void *self, int file, void *data, size_t bytes, uint64_t offset)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *node;
    ssize_t result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    node = node_of(disk, file);
    if (node == NULL) {
        result = real()->pread(NULL, file, data, bytes, offset);
    } else if (!disk->off) {
        size_t there = offset < node->now_bytes
                           ? (size_t)(node->now_bytes - offset)
                           : 0;

        there = there < bytes ? there : bytes;
        if (there > 0) {
            memcpy(data, node->now_data + offset, there);
        }
        result = (ssize_t)there;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static ssize_t
disk_pwrite(void *self, int file, const void *data, size_t bytes,
            uint64_t offset)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *node;
    enum outcome outcome;
    ssize_t result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    node = node_of(disk, file);
    if (node == NULL) {
        result = real()->pwrite(NULL, file, data, bytes, offset);
        goto unlock;
    }
    if (disk->bytes_max != 0 && offset + bytes > node->now_bytes &&
        file_sectors_sum(disk) + (offset + bytes - node->now_bytes) >
            disk->bytes_max) {
        result = -ENOSPC;
        goto unlock;
    }
    outcome = change(disk);
    if (outcome != NOT_DONE) {
        file_sectors_write(node, data, bytes, offset);
    }
    result = outcome == DONE ? (ssize_t)bytes : -EIO;

unlock:
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static int
disk_sync(void *self, int file)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *node;
    enum outcome outcome;
    int result = 0;

    (void)pthread_mutex_lock(&disk->lock);
    node = node_of(disk, file);
    if (node != NULL) {
        bool lies = (disk->lies &
                     (node->is_folder ? FILE_SECTORS_NO_FOLDER_SYNC
                                      : FILE_SECTORS_NO_DATA_SYNC)) != 0;

        outcome = change(disk);
        if (outcome != NOT_DONE && !lies) {
            file_sectors_sync(node);
        }
        result = outcome == DONE ? 0 : -EIO;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static int
disk_make_directory_at(void *self, int directory, const char *path, mode_t mode)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *folder;
    const char *name = NULL;
    enum outcome outcome;
    int result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    folder = resolve(disk, directory, path, &name);
    if (folder != NULL && is_full(disk)) {
        (void)pthread_mutex_unlock(&disk->lock);
        return -ENOSPC;
    }
    outcome = folder == NULL ? DONE : change(disk);
    if (outcome != NOT_DONE) {
        result = real()->make_directory_at(NULL, directory, path, mode);
    }
    if (folder != NULL && result == 0) {
        file_sectors_link(disk, folder, name, file_sectors_new(disk, true));
        result = outcome == DONE ? 0 : -EIO;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static int
disk_rename_at(void *self, int from_directory, const char *from,
               int to_directory, const char *to)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *folder;
    struct file_sectors_node *target;
    const char *from_name = NULL;
    const char *to_name = NULL;
    enum outcome outcome;
    int result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    folder = resolve(disk, from_directory, from, &from_name);
    target = resolve(disk, to_directory, to, &to_name);
    check(folder == target); // the product renames within folders only
    outcome = folder == NULL ? DONE : change(disk);
    if (outcome != NOT_DONE) {
        result = real()->rename_at(NULL, from_directory, from, to_directory,
                                   to);
    }
    if (folder != NULL && result == 0) {
        file_sectors_rename(disk, folder, from_name, to_name);
        result = outcome == DONE ? 0 : -EIO;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static int
disk_unlink_at(void *self, int directory, const char *path, int flags)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *folder;
    const char *name = NULL;
    enum outcome outcome;
    int result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    folder = resolve(disk, directory, path, &name);
    outcome = folder == NULL ? DONE : change(disk);
    if (outcome != NOT_DONE) {
        result = real()->unlink_at(NULL, directory, path, flags);
    }
    if (folder != NULL && result == 0) {
        file_sectors_unlink(disk, folder, name);
        result = outcome == DONE ? 0 : -EIO;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

static int
disk_stat_at(void *self, int directory, const char *path, struct stat *out)
{
    struct file_sectors *disk = self;
    struct file_sectors_node *folder;
    struct file_sectors_node *node;
    const char *name = NULL;
    int result = -EIO;

    (void)pthread_mutex_lock(&disk->lock);
    folder = resolve(disk, directory, path, &name);
    if (folder == NULL || !disk->off) {
        result = real()->stat_at(NULL, directory, path, out);
    }
    if (folder != NULL && result == 0) {
        node = is_here(name) ? folder : file_sectors_find(&folder->now, name);
        check(node != NULL);
        out->st_size = (off_t)node->now_bytes;
    }
    (void)pthread_mutex_unlock(&disk->lock);
    return result;
}

uint64_t
file_sectors_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void
file_sectors_make(struct file_sectors *disk, uint64_t seed)
{
    const char *memory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    memset(disk, 0, sizeof(*disk));
    (void)snprintf(disk->path, sizeof(disk->path), "%s/cascade-disk-XXXXXX",
                   memory);
    check(mkdtemp(disk->path) != NULL);
    check(pthread_mutex_init(&disk->lock, NULL) == 0);
    disk->random = seed;
    disk->root = file_sectors_new(disk, true);
    disk->table = (struct file_system){
        .open_at = disk_open_at,
        .close = disk_close,
        .pread = disk_pread,
        .pwrite = disk_pwrite,
        .sync_data = disk_sync,
        .sync = disk_sync,
        .make_directory_at = disk_make_directory_at,
        .rename_at = disk_rename_at,
        .unlink_at = disk_unlink_at,
        .stat_at = disk_stat_at,
        .self = disk,
    };
}

void
file_sectors_remove(struct file_sectors *disk)
{
    file_sectors_remove_names(disk->path);
    disk->root = NULL;
    file_sectors_collect(disk);
    for (unsigned i = 0; i < FILE_SECTORS_GRAVES; i++) {
        free(disk->graves[i].data);
    }
    (void)pthread_mutex_destroy(&disk->lock);
}

void
file_sectors_cut_after(struct file_sectors *disk, uint64_t calls)
{
    (void)pthread_mutex_lock(&disk->lock);
    disk->cut_at = calls == 0 ? 0 : disk->changes + calls;
    (void)pthread_mutex_unlock(&disk->lock);
}

uint64_t
file_sectors_used(struct file_sectors *disk)
{
    uint64_t sum;

    (void)pthread_mutex_lock(&disk->lock);
    sum = file_sectors_sum(disk);
    (void)pthread_mutex_unlock(&disk->lock);
    return sum;
}
