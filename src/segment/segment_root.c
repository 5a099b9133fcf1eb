// SPDX-License-Identifier: Apache-2.0
//
// Opening and making the root and the namespace's folder. Stateless but for the
// struct that it fills; no lock.

#include "segment/segment_root.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"

#define IDENTITY_FOLDER ".cascade"
#define IDENTITY_FILE "root"
#define DESCRIPTOR_FILE "namespace"
#define GROUP_BUFFER_BYTES 4096

// On disk, little endian, the checksum over all before it.
struct identity_record {
    char magic[8];
    uint32_t version;
    uint32_t unused;
    uint8_t uuid[16];
    uint8_t zero[28];
    uint32_t checksum;
};
_Static_assert(sizeof(struct identity_record) == 64, "identity layout");

struct namespace_record {
    char magic[8];
    uint32_t version;
    uint32_t rebind_allowed;
    uint32_t name_bytes;
    char name[256];
    uint8_t zero[232];
    uint32_t checksum;
};
_Static_assert(sizeof(struct namespace_record) == 512, "namespace layout");

static const char identity_magic[8] = "CSCDROOT";
static const char namespace_magic[8] = "CSCDSPCE";

// Reads a record of exactly `bytes` from folder/file. NOT_FOUND: one of the two
// is not there.
static enum cascade_status
read_record(const struct segment_root *root, int parent, const char *folder,
            const char *file, void *record, size_t bytes)
{
    const struct file_system *files = root->files;
    char name[SEGMENT_ROOT_FOLDER_BYTES + 32];
    enum cascade_status status;
    int descriptor;

    (void)snprintf(name, sizeof(name), "%s/%s", folder, file);
    descriptor = files->open_at(files->self, parent, name, O_RDONLY, 0);
    if (descriptor == -ENOTDIR || descriptor == -ELOOP) {
        return error_set(CASCADE_INVALID,
                         "%s in %s is not a folder; move it away, or choose "
                         "another path",
                         folder, root->path);
    }
    if (descriptor < 0) {
        return error_set_errno(-descriptor, "cannot open %s in %s", name,
                               root->path);
    }
    status = file_read_all(files, descriptor, name, record, bytes, 0);
    (void)files->close(files->self, descriptor);
    if (status == CASCADE_STALE) {
        return error_set(CASCADE_IO, "%s in %s is too short: it is damaged",
                         name, root->path);
    }
    return status;
}

static enum cascade_status
check_record(const void *record, size_t bytes, const char *magic,
             uint32_t version, uint32_t checksum, const char *path)
{
    if (memcmp(record, magic, 8) != 0) {
        return error_set(CASCADE_IO, "%s does not describe a Cascade folder",
                         path);
    }
    if (version > SEGMENT_ROOT_VERSION) {
        return error_set(CASCADE_VERSION,
                         "%s has format %u, this release reads up to %u; use a "
                         "newer release",
                         path, version, SEGMENT_ROOT_VERSION);
    }
    if (crc32c(0, record, bytes - sizeof(uint32_t)) != checksum) {
        return error_set(CASCADE_IO, "the description of %s is damaged", path);
    }
    return CASCADE_OK;
}

static enum cascade_status
open_identity(struct segment_root *root, int parent, bool look_only)
{
    struct identity_record record = {0};
    struct segment_root_file born = {IDENTITY_FILE, &record, sizeof(record)};
    bool existed;
    enum cascade_status status = read_record(
        root, parent, IDENTITY_FOLDER, IDENTITY_FILE, &record, sizeof(record));

    if (status == CASCADE_NOT_FOUND && !look_only) {
        memcpy(record.magic, identity_magic, sizeof(record.magic));
        record.version = SEGMENT_ROOT_VERSION;
        if (RAND_bytes(record.uuid, (int)sizeof(record.uuid)) != 1) {
            return error_set(CASCADE_IO, "the system gave no random bytes");
        }
        record.checksum = crc32c(0, &record,
                                 sizeof(record) - sizeof(record.checksum));
        status = segment_root_publish(root, parent, root->path, IDENTITY_FOLDER,
                                      &born, 1, &existed);
        if (status == CASCADE_OK) {
            status = read_record(root, parent, IDENTITY_FOLDER, IDENTITY_FILE,
                                 &record, sizeof(record));
        }
    }
    if (status == CASCADE_OK) {
        status = check_record(&record, sizeof(record), identity_magic,
                              record.version, record.checksum, root->path);
    }
    if (status == CASCADE_OK) {
        memcpy(root->uuid, record.uuid, sizeof(root->uuid));
    }
    return status;
}

static enum cascade_status
publish_namespace(const struct segment_root *root, int parent,
                  const struct segment_root_options *options,
                  const char *folder)
{
    struct namespace_record record = {0};
    struct segment_root_file born[2] = {
        {DESCRIPTOR_FILE, &record, sizeof(record)},
        {SEGMENT_ROOT_OWNER_NOBODY, "", 0},
    };
    bool existed;

    memcpy(record.magic, namespace_magic, sizeof(record.magic));
    record.version = SEGMENT_ROOT_VERSION;
    record.rebind_allowed = options->rebind_allowed;
    record.name_bytes = (uint32_t)strlen(options->namespace_name);
    memcpy(record.name, options->namespace_name, record.name_bytes);
    record.checksum = crc32c(0, &record,
                             sizeof(record) - sizeof(record.checksum));
    return segment_root_publish(root, parent, root->path, folder, born,
                                options->rebind_allowed ? 2 : 1, &existed);
}

static const char *
rebind_name(bool allowed)
{
    return allowed ? "rebind=allowed" : "rebind=refused";
}

static enum cascade_status
check_namespace(struct segment_root *root,
                const struct segment_root_options *options,
                const struct namespace_record *record)
{
    size_t bytes = strlen(options->namespace_name);
    bool allowed = record->rebind_allowed != 0;
    enum cascade_status status = check_record(record, sizeof(*record),
                                              namespace_magic, record->version,
                                              record->checksum, root->path);

    if (status != CASCADE_OK) {
        return status;
    }
    if (record->name_bytes != bytes ||
        memcmp(record->name, options->namespace_name, bytes) != 0) {
        return error_set(CASCADE_INVALID,
                         "%s belongs to another namespace; choose another name "
                         "than \"%s\"",
                         root->path, options->namespace_name);
    }
    if (allowed != options->rebind_allowed && !options->look_only) {
        return error_set(CASCADE_INVALID,
                         "namespace \"%s\" was made with %s and is opened with "
                         "%s; open it as it was made, or use another namespace",
                         options->namespace_name, rebind_name(allowed),
                         rebind_name(options->rebind_allowed));
    }
    root->rebind_allowed = allowed;
    return CASCADE_OK;
}

static enum cascade_status
open_namespace(struct segment_root *root, int parent,
               const struct segment_root_options *options)
{
    const struct file_system *files = root->files;
    char folder[SEGMENT_ROOT_FOLDER_BYTES];
    struct namespace_record record;
    enum cascade_status status;
    size_t used;

    segment_root_encode(options->namespace_name, folder);
    status = read_record(root, parent, folder, DESCRIPTOR_FILE, &record,
                         sizeof(record));
    if (status == CASCADE_NOT_FOUND && !options->look_only) {
        status = publish_namespace(root, parent, options, folder);
        if (status == CASCADE_OK) {
            status = read_record(root, parent, folder, DESCRIPTOR_FILE, &record,
                                 sizeof(record));
        }
        if (status == CASCADE_NOT_FOUND) {
            return error_set(CASCADE_INVALID,
                             "%s/%s is no folder of Cascade; move it away, or "
                             "choose another namespace",
                             root->path, folder);
        }
    }
    if (status != CASCADE_OK) {
        return status;
    }
    used = strlen(root->path);
    if (used + 1 + strlen(folder) >= sizeof(root->path)) {
        return error_set(CASCADE_INVALID, "the path %s is too long",
                         root->path);
    }
    (void)snprintf(root->path + used, sizeof(root->path) - used, "/%s", folder);
    status = check_namespace(root, options, &record);
    if (status != CASCADE_OK) {
        return status;
    }
    root->directory = files->open_at(files->self, parent, folder,
                                     O_RDONLY | O_DIRECTORY, 0);
    if (root->directory < 0) {
        return error_set_errno(-root->directory, "cannot open %s", root->path);
    }
    return CASCADE_OK;
}

// Makes the root's own folder and syncs its parent.
static enum cascade_status
make_root(struct segment_root *root)
{
    const struct file_system *files = root->files;
    char parent[SEGMENT_ROOT_PATH_BYTES];
    enum cascade_status status;
    char *slash;
    int directory;
    int result = files->make_directory_at(files->self, AT_FDCWD, root->path,
                                          segment_root_folder_mode(root));

    memcpy(parent, root->path, sizeof(parent));
    slash = strrchr(parent, '/');
    if (slash == NULL) {
        (void)snprintf(parent, sizeof(parent), ".");
    } else {
        slash[slash == parent ? 1 : 0] = '\0';
    }
    if (result == -ENOENT) {
        return error_set(CASCADE_NOT_FOUND,
                         "the folder %s is missing; create it, or choose "
                         "another cold_path than %s",
                         parent, root->path);
    }
    if (result == -ENOTDIR) {
        return error_set(CASCADE_INVALID,
                         "a file is in the way of %s; choose another cold_path",
                         root->path);
    }
    if (result < 0 && result != -EEXIST) {
        return error_set_errno(-result, "cannot create the cold_path %s",
                               root->path);
    }
    directory = files->open_at(files->self, AT_FDCWD, parent,
                               O_RDONLY | O_DIRECTORY, 0);
    if (directory < 0) {
        return error_set_errno(-directory, "cannot open %s", parent);
    }
    status = segment_root_sync(root, directory, parent);
    (void)files->close(files->self, directory);
    return status;
}

// Opens the root's folder, making it if that is wanted. The descriptor is set
// on success only.
static enum cascade_status
open_folder(struct segment_root *root, bool look_only, int *directory)
{
    const struct file_system *files = root->files;
    enum cascade_status status;
    bool made = false;
    int result = files->open_at(files->self, AT_FDCWD, root->path,
                                O_RDONLY | O_DIRECTORY, 0);

    if (result == -ENOENT && !look_only) {
        status = make_root(root);
        if (status != CASCADE_OK) {
            return status;
        }
        made = true;
        result = files->open_at(files->self, AT_FDCWD, root->path,
                                O_RDONLY | O_DIRECTORY, 0);
    }
    if (result == -ENOTDIR) {
        return error_set(CASCADE_INVALID,
                         "%s is a file, not a folder; choose another cold_path",
                         root->path);
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot open the cold_path %s",
                               root->path);
    }
    if (made) {
        status = segment_root_adorn(root, result, true, root->path);
        if (status != CASCADE_OK) {
            (void)files->close(files->self, result);
            return status;
        }
    }
    *directory = result;
    return CASCADE_OK;
}

static enum cascade_status
find_group(const char *name, gid_t *group)
{
    char buffer[GROUP_BUFFER_BYTES];
    struct group entry;
    struct group *found = NULL;

    *group = (gid_t)-1;
    if (name == NULL || name[0] == '\0') {
        return CASCADE_OK;
    }
    if (getgrnam_r(name, &entry, buffer, sizeof(buffer), &found) != 0 ||
        found == NULL) {
        return error_set(CASCADE_INVALID,
                         "the system knows no group \"%s\"; correct the group "
                         "of the cold tier's files",
                         name);
    }
    *group = entry.gr_gid;
    return CASCADE_OK;
}

enum cascade_status
segment_root_describe(const struct file_system *files, int parent,
                      const char *folder, char name[256], bool *rebind_allowed)
{
    struct segment_root root = {.files = files};
    struct namespace_record record;
    enum cascade_status status;

    (void)snprintf(root.path, sizeof(root.path), "%s", folder);
    status = read_record(&root, parent, folder, DESCRIPTOR_FILE, &record,
                         sizeof(record));
    if (status == CASCADE_INVALID) {
        return error_set(CASCADE_NOT_FOUND, "%s is no folder", folder);
    }
    if (status == CASCADE_OK) {
        status = check_record(&record, sizeof(record), namespace_magic,
                              record.version, record.checksum, folder);
    }
    if (status == CASCADE_OK && record.name_bytes >= sizeof(record.name)) {
        status = error_set(CASCADE_IO, "the description of %s is damaged",
                           folder);
    }
    if (status == CASCADE_OK) {
        memcpy(name, record.name, record.name_bytes);
        name[record.name_bytes] = '\0';
        *rebind_allowed = record.rebind_allowed != 0;
    }
    return status;
}

enum cascade_status
segment_root_open(const struct segment_root_options *options,
                  struct segment_root *root)
{
    struct segment_root opened = {
        .files = options->files,
        .directory = -1,
        .file_mode = options->file_mode == 0 ? 0600 : options->file_mode,
        .tag = options->tag,
    };
    size_t length = strlen(options->path);
    enum cascade_status status;
    int folder = -1;

    while (length > 1 && options->path[length - 1] == '/') {
        length--;
    }
    if (length == 0 ||
        length + SEGMENT_ROOT_FOLDER_BYTES + 2 > sizeof(opened.path)) {
        return error_set(CASCADE_INVALID, "the cold_path is empty or too long");
    }
    if (strlen(options->namespace_name) > SEGMENT_ROOT_NAMESPACE_BYTES_MAX) {
        return error_set(CASCADE_INVALID,
                         "the namespace's name is too long; "
                         "%d bytes are allowed",
                         SEGMENT_ROOT_NAMESPACE_BYTES_MAX);
    }
    memcpy(opened.path, options->path, length);
    status = find_group(options->group, &opened.group);
    if (status != CASCADE_OK) {
        return status;
    }
    status = open_folder(&opened, options->look_only, &folder);
    if (status != CASCADE_OK) {
        return status;
    }
    status = open_identity(&opened, folder, options->look_only);
    if (status == CASCADE_OK) {
        status = open_namespace(&opened, folder, options);
    }
    (void)opened.files->close(opened.files->self, folder);
    if (status == CASCADE_OK) {
        *root = opened;
    } else if (opened.directory >= 0) {
        (void)opened.files->close(opened.files->self, opened.directory);
    }
    return status;
}

void
segment_root_close(struct segment_root *root)
{
    if (root->directory >= 0) {
        (void)root->files->close(root->files->self, root->directory);
        root->directory = -1;
    }
}
