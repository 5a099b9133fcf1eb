// SPDX-License-Identifier: Apache-2.0
//
// What the lives of whole stores begin with. See crash_world.h.

#include "crash/crash_world.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "store/store_internal.h"
#include "support/allocator_keeping.h"

#define BYTES_MAX (4u << 20)

void
crash_world_seed(struct crash_world *world, uint64_t seed)
{
    world->random = seed * 0xD1B54A32D192ED03u + 1;
}

void
crash_world_make(struct crash_world *world, uint32_t lies)
{
    file_sectors_make(&world->disk, file_sectors_next(&world->random));
    world->disk.lies = lies;
    clock_fake_init(&world->clock, 7);
    crash_model_init(&world->model);
}

bool
crash_world_end(struct crash_world *world, char *wrong, size_t size)
{
    bool right = world->model.wrong[0] == '\0';

    if (!right) {
        (void)snprintf(wrong, size, "%s", world->model.wrong);
    }
    file_sectors_remove(&world->disk);
    return right;
}

uint64_t
crash_world_pick(struct crash_world *world, uint64_t below)
{
    return file_sectors_next(&world->random) % below;
}

bool
crash_world_is_on(const struct crash_world *world)
{
    return !world->disk.off && world->model.wrong[0] == '\0';
}

struct cascade_key
crash_world_key(uint32_t key)
{
    static const char *const names[CRASH_KEYS] = {"a", "b", "c", "d", "e",
                                                  "f", "g", "h", "i", "j"};

    return (struct cascade_key){names[key], 1};
}

void
crash_world_must(struct crash_world *world, enum cascade_status status,
                 const char *what)
{
    if (status != CASCADE_OK && !world->disk.off) {
        crash_model_complain(&world->model, "%s: %s: %s", what,
                             cascade_status_name(status),
                             cascade_error_message());
    }
}

static void
set_pairs(struct crash_world *world, struct cascade_options *options,
          const char *const *pairs)
{
    for (; *pairs != NULL; pairs += 2) {
        crash_world_must(
            world, cascade_options_set(options, pairs[0], pairs[1]), pairs[0]);
    }
}

enum cascade_status
crash_world_open(struct crash_world *world, const struct file_system *files,
                 const char *const *pairs, struct cascade **store)
{
    const char *const common[] = {
        "dram_capacity",
        "2MiB",
        "cold_path",
        world->disk.path,
        "segment_size",
        "1MiB",
        "cold_io",
        "pread",
        "lease_time",
        "10",
        "put_wait",
        "20",
        "max_blocks",
        "256",
        "stats_page",
        "false",
        "threads",
        "2",
        "log_level",
        "error",
        NULL,
    };
    struct store_surroundings around = {
        .allocator = allocator_keeping(),
        .clock = &world->clock.source,
        .files = files,
        .seed = file_sectors_next(&world->random),
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    check(options != NULL);
    set_pairs(world, options, common);
    set_pairs(world, options, pairs);
    *store = NULL;
    status = store_open_in(options, &around, store);
    cascade_options_destroy(options);
    if (status != CASCADE_OK) {
        *store = NULL;
    }
    return status;
}

// The state of the key that has these bytes, the youngest first.
static uint32_t
state_of(const struct crash_world *world, uint32_t key, const void *data,
         size_t bytes)
{
    const struct crash_key *one = &world->model.keys[key];

    for (uint32_t i = one->count; i > 0; i--) {
        uint32_t state = one->states[i - 1];

        if (state != 0 && world->model.contents[state].bytes == bytes &&
            memcmp(data, crash_model_bytes(&world->model, state), bytes) == 0) {
            return state;
        }
    }
    return CRASH_CONTENTS_MAX;
}

uint32_t
crash_world_look(struct crash_world *world, struct cascade *store, uint32_t key,
                 const char **how)
{
    static uint8_t data[BYTES_MAX];
    struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    size_t bytes = 0;
    enum cascade_status status = cascade_get(store, crash_world_key(key), &span,
                                             1, NULL, &bytes);

    *how = cascade_status_name(status);
    return status == CASCADE_OK ? state_of(world, key, data, bytes) : 0;
}
