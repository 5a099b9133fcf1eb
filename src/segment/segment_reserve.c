// SPDX-License-Identifier: Apache-2.0
//
// Space for bad times. See segment_reserve.h.

#include "segment/segment_reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/units.h"

#define RESERVE_BYTES_MIN (64 * KIB)
#define RESERVE_BYTES_MAX (4 * MIB)
#define RESERVE_PART 8 // of a segment

// Bytes that no file system folds to nothing.
static void
fill(uint64_t *words, uint64_t bytes)
{
    uint64_t state = 1;

    for (uint64_t i = 0; i < bytes / sizeof(*words); i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words[i] = state;
    }
}

void
segment_reserve_make(const struct segment_root *root,
                     const struct allocator *allocator, uint64_t segment_bytes)
{
    const struct file_system *files = root->files;
    uint64_t bytes = units_min(
        units_max(segment_bytes / RESERVE_PART, RESERVE_BYTES_MIN),
        RESERVE_BYTES_MAX);
    struct stat found;
    void *content;
    int file;

    if (files->stat_at(files->self, root->directory, SEGMENT_RESERVE_FILE,
                       &found) == 0) {
        return;
    }
    content = allocator_array(allocator, bytes, 1);
    if (content == NULL) {
        return;
    }
    fill(content, bytes);
    file = files->open_at(files->self, root->directory, SEGMENT_RESERVE_FILE,
                          O_WRONLY | O_CREAT | O_EXCL, root->file_mode);
    if (file >= 0) {
        bool made = segment_root_adorn(root, file, false,
                                       SEGMENT_RESERVE_FILE) == CASCADE_OK &&
                    file_write_all(files, file, SEGMENT_RESERVE_FILE, content,
                                   bytes, 0) == CASCADE_OK &&
                    files->sync_data(files->self, file) == 0;

        (void)files->close(files->self, file);
        if (!made) {
            (void)files->unlink_at(files->self, root->directory,
                                   SEGMENT_RESERVE_FILE, 0);
        }
    }
    allocator_release(allocator, content);
}

bool
segment_reserve_give_up(const struct segment_root *root)
{
    const struct file_system *files = root->files;

    // A name without space behind it, as a crash may leave one, helps nobody,
    // but goes all the same.
    return files->unlink_at(files->self, root->directory, SEGMENT_RESERVE_FILE,
                            0) == 0 &&
           files->sync(files->self, root->directory) == 0;
}
