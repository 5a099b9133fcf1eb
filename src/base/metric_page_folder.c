// SPDX-License-Identifier: Apache-2.0
//
// Folders of pages. /dev/shm and /tmp are writable by all, so a folder is used
// only if it is a real folder of this user in which nobody else may write.
// Stateless; no lock.

#include "base/metric_page_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/metric_page.h"

bool
metric_page_folder_path(const struct metric_page_place *place, unsigned turn,
                        char *path, size_t size)
{
    static const char *const parents[] = {"/dev/shm", "/tmp"};
    int length;

    if (place->folder != NULL && place->folder[0] != '\0') {
        length = snprintf(path, size, "%s", place->folder);
        return turn == 0 && length > 0 && (size_t)length < size;
    }
    if (turn >= sizeof(parents) / sizeof(parents[0])) {
        return false;
    }
    (void)snprintf(path, size, "%s/cascade-%u", parents[turn],
                   (unsigned)geteuid());
    return true;
}

enum cascade_status
metric_page_folder_open(const struct metric_page_place *place, const char *path,
                        bool make, int *folder)
{
    const struct file_system *files = place->files;
    struct stat found;
    int opened;
    int failed;

    if (make) {
        failed = files->make_directory_at(files->self, AT_FDCWD, path, 0700);
        if (failed != 0 && failed != -EEXIST) {
            return error_set_errno(-failed, "cannot make the folder %s", path);
        }
    }
    opened = files->open_at(files->self, AT_FDCWD, path,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (opened < 0) {
        return error_set_errno(-opened, "cannot open the folder %s", path);
    }
    failed = files->stat_at(files->self, opened, ".", &found);
    if (failed != 0) {
        (void)files->close(files->self, opened);
        return error_set_errno(-failed, "cannot look at the folder %s", path);
    }
    if (found.st_uid != geteuid() || (found.st_mode & 022) != 0) {
        (void)files->close(files->self, opened);
        return error_set(CASCADE_PERMISSION,
                         "the folder %s is not this user's alone; remove it or "
                         "set CASCADE_RUNTIME_DIR",
                         path);
    }
    *folder = opened;
    return CASCADE_OK;
}
