// SPDX-License-Identifier: Apache-2.0
//
// The folder of a run: made, emptied, its cached pages dropped.

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/bench.h"

#define WALK_FILES 16

static int
remove_entry(const char *path, const struct stat *facts, int kind,
             struct FTW *place)
{
    (void)facts;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

static int
drop_entry(const char *path, const struct stat *facts, int kind,
           struct FTW *place)
{
    int file;

    (void)facts;
    (void)place;
    if (kind != FTW_F) {
        return 0;
    }
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        // Advice only: what was read from the device is counted as well.
        (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        (void)close(file);
    }
    return 0;
}

enum cascade_status
bench_folder_make(struct bench_run *run, const char *parent)
{
    int used = snprintf(run->folder, sizeof(run->folder),
                        "%s/cascade-bench-XXXXXX", parent);

    if (used < 0 || (size_t)used >= sizeof(run->folder)) {
        run->folder[0] = '\0';
        return error_set(CASCADE_INVALID, "%s is too long a path", parent);
    }
    if (mkdtemp(run->folder) == NULL) {
        run->folder[0] = '\0';
        return error_set_errno(errno, "cannot make a folder in %s", parent);
    }
    return CASCADE_OK;
}

void
bench_folder_remove(const struct bench_run *run, const char *name)
{
    char path[2 * BENCH_PATH_BYTES];

    if (run->folder[0] != '\0') {
        (void)snprintf(path, sizeof(path), "%s/%s", run->folder, name);
        (void)nftw(path, remove_entry, WALK_FILES, FTW_DEPTH | FTW_PHYS);
    }
}

void
bench_folder_drop_cache(const struct bench_run *run)
{
    (void)nftw(run->folder, drop_entry, WALK_FILES, FTW_PHYS);
}

uint64_t
bench_device_bytes(void)
{
    FILE *file = fopen("/proc/self/io", "re");
    uint64_t bytes = 0;
    char line[128];

    if (file == NULL) {
        return 0;
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, "read_bytes:", strlen("read_bytes:")) == 0) {
            bytes = strtoull(line + strlen("read_bytes:"), NULL, 10);
        }
    }
    (void)fclose(file);
    return bytes;
}
