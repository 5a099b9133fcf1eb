// SPDX-License-Identifier: Apache-2.0
//
// Walks folders for segment files. Links are not followed, but for those on
// the command line.

#include "tools/segment_paths.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"

static int
compare_names(const FTSENT **left, const FTSENT **right)
{
    return strcmp((*left)->fts_name, (*right)->fts_name);
}

static bool
is_segment_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot != NULL &&
           (strcmp(dot, ".seg") == 0 || strcmp(dot, ".idx") == 0);
}

static enum cascade_status
add_file(struct segment_paths *paths, const char *path, uint64_t bytes)
{
    size_t length = strlen(path);
    char *copy = allocator_array(allocator_system(), length + 1, 1);

    if (paths->count == paths->room && copy != NULL) {
        size_t room = units_max(2 * paths->room, 64);
        char **larger = allocator_array(allocator_system(), room,
                                        sizeof(*larger));

        if (larger != NULL) {
            if (paths->count > 0) {
                memcpy(larger, paths->paths, paths->count * sizeof(*larger));
            }
            allocator_release(allocator_system(), paths->paths);
            paths->paths = larger;
            paths->room = room;
        }
    }
    if (copy == NULL || paths->count == paths->room) {
        allocator_release(allocator_system(), copy);
        return error_set(CASCADE_NO_MEMORY, "no memory for the name of %s",
                         path);
    }
    memcpy(copy, path, length + 1);
    paths->paths[paths->count++] = copy;
    paths->bytes += bytes;
    return CASCADE_OK;
}

static enum cascade_status
add_entry(struct segment_paths *paths, const FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_F:
        if (entry->fts_level == FTS_ROOTLEVEL ||
            is_segment_name(entry->fts_name)) {
            return add_file(paths, entry->fts_path,
                            (uint64_t)entry->fts_statp->st_size);
        }
        return CASCADE_OK;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        // What vanishes while we look was not there.
        if (entry->fts_errno == ENOENT && entry->fts_level > FTS_ROOTLEVEL) {
            return CASCADE_OK;
        }
        return error_set_errno(entry->fts_errno, "cannot read %s",
                               entry->fts_path);
    default:
        return CASCADE_OK;
    }
}

enum cascade_status
segment_paths_add(struct segment_paths *paths, char *path)
{
    char *const roots[] = {path, NULL};
    FTS *walk = fts_open(roots, FTS_COMFOLLOW | FTS_PHYSICAL | FTS_NOCHDIR,
                         compare_names);
    enum cascade_status status = CASCADE_OK;

    if (walk == NULL) {
        return error_set_errno(errno, "cannot read %s", path);
    }
    while (status == CASCADE_OK) {
        const FTSENT *entry = fts_read(walk);

        if (entry == NULL) {
            break;
        }
        status = add_entry(paths, entry);
    }
    (void)fts_close(walk);
    return status;
}

void
segment_paths_release(struct segment_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++) {
        allocator_release(allocator_system(), paths->paths[i]);
    }
    allocator_release(allocator_system(), paths->paths);
    memset(paths, 0, sizeof(*paths));
}
