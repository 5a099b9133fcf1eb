// SPDX-License-Identifier: Apache-2.0
//
// Folders that appear whole, small files that are replaced whole, and names of
// folders. Knows nothing of what is in them. Stateless; no lock.

#include "segment/segment_root.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"

#define TEMPORARY_TRIES 16
#define PLAIN_BYTES_MAX 160 // longer encoded names are cut here

// Creates one file with its content, synced.
static enum cascade_status
write_file(const struct segment_root *root, int directory,
           const struct segment_root_file *file)
{
    const struct file_system *files = root->files;
    enum cascade_status status;
    int descriptor = files->open_at(files->self, directory, file->name,
                                    O_WRONLY | O_CREAT | O_TRUNC,
                                    root->file_mode);
    int result;

    if (descriptor < 0) {
        return error_set_errno(-descriptor, "cannot create %s in %s",
                               file->name, root->path);
    }
    status = segment_root_adorn(root, descriptor, false, file->name);
    if (status == CASCADE_OK) {
        status = file_write_all(files, descriptor, file->name, file->data,
                                file->bytes, 0);
    }
    if (status == CASCADE_OK) {
        result = files->sync_data(files->self, descriptor);
        if (result < 0) {
            status = error_set_errno(-result, "cannot sync %s", file->name);
        }
    }
    (void)files->close(files->self, descriptor);
    return status;
}

// Makes a folder of this store's own, under the first free temporary name.
static enum cascade_status
make_temporary(const struct segment_root *root, int parent, const char *path,
               char *name, size_t size)
{
    const struct file_system *files = root->files;
    int result = -EEXIST;

    for (unsigned i = 0; i < TEMPORARY_TRIES && result == -EEXIST; i++) {
        (void)snprintf(name, size, SEGMENT_ROOT_TEMPORARY "%016llx-%u",
                       (unsigned long long)root->tag, i);
        result = files->make_directory_at(files->self, parent, name,
                                          segment_root_folder_mode(root));
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot create a folder in %s", path);
    }
    return CASCADE_OK;
}

static enum cascade_status
fill_temporary(const struct segment_root *root, int parent, const char *name,
               const struct segment_root_file *born, size_t count)
{
    const struct file_system *files = root->files;
    enum cascade_status status;
    int folder = files->open_at(files->self, parent, name,
                                O_RDONLY | O_DIRECTORY, 0);

    if (folder < 0) {
        return error_set_errno(-folder, "cannot open %s", name);
    }
    status = segment_root_adorn(root, folder, true, name);
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        status = write_file(root, folder, &born[i]);
    }
    if (status == CASCADE_OK) {
        status = segment_root_sync(root, folder, name);
    }
    (void)files->close(files->self, folder);
    return status;
}

static void
remove_temporary(const struct segment_root *root, int parent, const char *name,
                 const struct segment_root_file *born, size_t count)
{
    const struct file_system *files = root->files;
    int folder = files->open_at(files->self, parent, name,
                                O_RDONLY | O_DIRECTORY, 0);

    if (folder >= 0) {
        for (size_t i = 0; i < count; i++) {
            (void)files->unlink_at(files->self, folder, born[i].name, 0);
        }
        (void)files->close(files->self, folder);
    }
    (void)files->unlink_at(files->self, parent, name, AT_REMOVEDIR);
}

uint32_t
segment_root_folder_mode(const struct segment_root *root)
{
    return root->file_mode | ((root->file_mode & 0444) >> 2);
}

enum cascade_status
segment_root_sync(const struct segment_root *root, int directory,
                  const char *path)
{
    int result = root->files->sync(root->files->self, directory);

    if (result < 0) {
        return error_set_errno(-result, "cannot sync the folder %s", path);
    }
    return CASCADE_OK;
}

void
segment_root_encode(const char *namespace_name,
                    char folder[SEGMENT_ROOT_FOLDER_BYTES])
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t length = strlen(namespace_name);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    size_t used = 0;

    for (size_t i = 0; i < length && used + 3 <= PLAIN_BYTES_MAX; i++) {
        char c = namespace_name[i];

        if (strchr(plain, c) != NULL && !(c == '.' && i == 0)) {
            folder[used++] = c;
        } else {
            used += (size_t)snprintf(folder + used, 4, "%%%02X",
                                     (unsigned)(unsigned char)c);
        }
        if (used + 3 > PLAIN_BYTES_MAX && i + 1 < length) {
            check(SHA256((const unsigned char *)namespace_name, length,
                         digest) != NULL);
            folder[used++] = '~';
            for (size_t k = 0; k < 16; k++) {
                used += (size_t)snprintf(folder + used, 3, "%02x", digest[k]);
            }
            break;
        }
    }
    if (length == 0) {
        folder[used++] = '%';
    }
    folder[used] = '\0';
}

enum cascade_status
segment_root_adorn(const struct segment_root *root, int file, bool is_folder,
                   const char *path)
{
    uint32_t mode = root->file_mode;

    // The set-group bit hands the group down to what is made inside.
    if (is_folder) {
        mode = segment_root_folder_mode(root) |
               (root->group == (gid_t)-1 ? 0 : S_ISGID);
    }
    if (root->group != (gid_t)-1 && fchown(file, (uid_t)-1, root->group) != 0) {
        return error_set_errno(errno, "cannot give %s to the group", path);
    }
    if (fchmod(file, mode) != 0) {
        return error_set_errno(errno, "cannot set the mode of %s", path);
    }
    return CASCADE_OK;
}

enum cascade_status
segment_root_replace(const struct segment_root *root, int directory,
                     const struct segment_root_file *file)
{
    const struct file_system *files = root->files;
    char name[64];
    struct segment_root_file temporary = {name, file->data, file->bytes};
    enum cascade_status status;
    int result;

    (void)snprintf(name, sizeof(name), SEGMENT_ROOT_TEMPORARY "%016llx-file",
                   (unsigned long long)root->tag);
    status = write_file(root, directory, &temporary);
    if (status == CASCADE_OK) {
        result = files->rename_at(files->self, directory, name, directory,
                                  file->name);
        if (result < 0) {
            status = error_set_errno(-result, "cannot rename to %s",
                                     file->name);
        }
    }
    if (status != CASCADE_OK) {
        (void)files->unlink_at(files->self, directory, name, 0);
        return status;
    }
    return segment_root_sync(root, directory, root->path);
}

enum cascade_status
segment_root_publish(const struct segment_root *root, int parent,
                     const char *path, const char *name,
                     const struct segment_root_file *born, size_t count,
                     bool *existed)
{
    const struct file_system *files = root->files;
    char temporary[64];
    int result;
    enum cascade_status status = make_temporary(root, parent, path, temporary,
                                                sizeof(temporary));

    if (status != CASCADE_OK) {
        return status;
    }
    status = fill_temporary(root, parent, temporary, born, count);
    if (status != CASCADE_OK) {
        goto remove;
    }
    result = files->rename_at(files->self, parent, temporary, parent, name);
    if (result == -ENOTEMPTY || result == -EEXIST) {
        remove_temporary(root, parent, temporary, born, count);
        *existed = true;
        return CASCADE_OK;
    }
    if (result == -ENOTDIR) {
        status = error_set(CASCADE_INVALID,
                           "a file is in the way of the folder %s in %s; move "
                           "it away, or choose another path",
                           name, path);
        goto remove;
    }
    if (result < 0) {
        status = error_set_errno(-result, "cannot create %s in %s", name, path);
        goto remove;
    }
    status = segment_root_sync(root, parent, path);
    if (status == CASCADE_OK) {
        *existed = false;
    }
    return status;

remove:
    remove_temporary(root, parent, temporary, born, count);
    return status;
}
