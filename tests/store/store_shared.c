// SPDX-License-Identifier: Apache-2.0
//
// Several stores on one root. See store_shared.h.

#include "store_shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ftw.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"

static const char *const refused[] = {"rebind", "refused", "lease_time", "6",
                                      NULL};

// The one that a walk fills: its callback has no other way to know it.
static struct store_shared the_shared;

int
store_shared_begin(void **state)
{
    struct store_shared *shared = &the_shared;

    memset(shared, 0, sizeof(*shared));
    store_world_make(&shared->world);
    shared->world.files.lazy = true;
    clock_fake_init(&shared->clock, 1000);
    shared->world.around.clock = &shared->clock.source;
    *state = shared;
    return 0;
}

int
store_shared_finish(void **state)
{
    struct store_shared *shared = *state;

    store_world_remove(&shared->world);
    return 0;
}

struct cascade *
store_shared_start(struct store_shared *shared)
{
    clock_fake_pass(&shared->clock, NS_PER_MS);
    return store_start(&shared->world, true, refused);
}

void
store_shared_refresh(struct store_shared *shared, struct cascade *store)
{
    clock_fake_pass(&shared->clock, NS_PER_S + NS_PER_S / 10);
    store_settle(store);
}

static int
note_segment(const char *path, const struct stat *found, int kind,
             struct FTW *place)
{
    struct store_shared *shared = &the_shared;
    size_t length = strlen(path);

    (void)found;
    (void)kind;
    (void)place;
    if (length > 4 && strcmp(path + length - 4, ".seg") == 0) {
        check(shared->path_count < STORE_SHARED_FILES_MAX &&
              length < sizeof(shared->paths[0]));
        memcpy(shared->paths[shared->path_count++], path, length + 1);
    }
    return 0;
}

static int
compare_paths(const void *a, const void *b)
{
    return strcmp(a, b);
}

void
store_shared_list(struct store_shared *shared)
{
    shared->path_count = 0;
    (void)nftw(shared->world.cold_path, note_segment, 16, FTW_PHYS);
    qsort(shared->paths, shared->path_count, sizeof(shared->paths[0]),
          compare_paths);
}

void
store_shared_remove_listed(struct store_shared *shared)
{
    for (size_t i = 0; i < shared->path_count; i++) {
        check(unlink(shared->paths[i]) == 0);
    }
}

void
store_must_flush(struct cascade *store)
{
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
}
