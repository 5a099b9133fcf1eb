// SPDX-License-Identifier: Apache-2.0
//
// Creates files of segments. See segment_create.h.

#include "segment/segment_create.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"

static bool
uuid_is_zero(const uint8_t uuid[16])
{
    static const uint8_t zero[16];

    return memcmp(uuid, zero, sizeof(zero)) == 0;
}

static enum cascade_status
write_header(struct segment_io *io, const struct allocator *allocator,
             const struct segment_io_file *file,
             const struct segment_facts *facts)
{
    struct segment_io_request request = {
        .file = file,
        .write = true,
        .bytes = facts->alignment_bytes,
    };

    request.data = allocator_aligned(allocator, facts->alignment_bytes,
                                     file->memory_alignment_bytes);
    if (request.data == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the header of %s",
                         file->path);
    }
    segment_format_put_file_header(facts, request.data);
    segment_io_run(io, &request);
    allocator_release(allocator, request.data);
    return segment_io_status(&request);
}

// Records come only behind a durable header: so a file that a crash left without
// one is no longer than that, and nothing that was flushed lies in it.
static enum cascade_status
sync_header(const struct segment_io *io, const struct segment_io_file *file)
{
    const struct file_system *files = segment_io_files(io);
    int result = files->sync_data(files->self, file->file);

    return result < 0 ? error_set_errno(-result, "cannot sync %s", file->path)
                      : CASCADE_OK;
}

enum cascade_status
segment_create(struct segment_io *io, const struct allocator *allocator,
               int directory, const char *name, const char *path, mode_t mode,
               struct segment_facts *facts, struct segment_io_file *file)
{
    const struct file_system *files = segment_io_files(io);
    struct segment_facts made = *facts;
    struct segment_io_file opened;
    enum cascade_status status;

    if (made.alignment_bytes != 0 &&
        !segment_format_alignment_is_valid(made.alignment_bytes)) {
        return error_set(CASCADE_INVALID,
                         "alignment %u of %s is not a power of two from 4 KiB "
                         "to 256 KiB",
                         made.alignment_bytes, path);
    }
    if (uuid_is_zero(made.uuid) && getrandom(made.uuid, sizeof(made.uuid), 0) !=
                                       (ssize_t)sizeof(made.uuid)) {
        return error_set(CASCADE_IO, "the system gave no random uuid for %s",
                         path);
    }
    status = segment_io_open(io, directory, name, path,
                             O_RDWR | O_CREAT | O_EXCL, mode == 0 ? 0600 : mode,
                             made.alignment_bytes, &opened);
    if (status != CASCADE_OK) {
        return status;
    }
    made.alignment_bytes = opened.alignment_bytes;
    status = write_header(io, allocator, &opened, &made);
    if (status == CASCADE_OK) {
        status = sync_header(io, &opened);
    }
    if (status != CASCADE_OK) {
        segment_io_close(io, &opened);
        (void)files->unlink_at(files->self, directory, name, 0);
        return status;
    }
    *facts = made;
    *file = opened;
    return CASCADE_OK;
}

enum cascade_status
segment_create_sync_directory(const struct segment_io *io, int directory,
                              const char *path)
{
    const struct file_system *files = segment_io_files(io);
    int result;
    int opened = -1;

    if (directory < 0) {
        opened = files->open_at(files->self, directory, ".",
                                O_RDONLY | O_DIRECTORY, 0);
        if (opened < 0) {
            return error_set_errno(-opened, "cannot open the folder of %s",
                                   path);
        }
    }
    result = files->sync(files->self, opened >= 0 ? opened : directory);
    if (opened >= 0) {
        (void)files->close(files->self, opened);
    }
    if (result < 0) {
        return error_set_errno(-result, "cannot sync the folder of %s", path);
    }
    return CASCADE_OK;
}
