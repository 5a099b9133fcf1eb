// SPDX-License-Identifier: Apache-2.0
//
// Scratch folders, by the plain calls of the system.

#include "support/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"

static int
remove_one(const char *path, const struct stat *found, int kind,
           struct FTW *place)
{
    (void)found;
    (void)kind;
    (void)place;
    return remove(path);
}

void
scratch_make(struct scratch *scratch)
{
    const char *parent = getenv("TMPDIR");

    (void)snprintf(scratch->path, sizeof(scratch->path),
                   "%.80s/cascade-test-XXXXXX",
                   parent != NULL && parent[0] != '\0' ? parent : "/tmp");
    check(mkdtemp(scratch->path) != NULL);
}

void
scratch_write(const struct scratch *scratch, const char *name, const char *text)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", scratch->path, name);
    for (char *at = path + strlen(scratch->path) + 1;
         (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(path, 0700);
        *at = '/';
    }
    file = fopen(path, "w");
    check(file != NULL);
    check(fputs(text, file) >= 0);
    check(fclose(file) == 0);
}

void
scratch_remove(struct scratch *scratch)
{
    (void)nftw(scratch->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    scratch->path[0] = '\0';
}
