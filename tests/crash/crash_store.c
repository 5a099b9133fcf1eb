// SPDX-License-Identifier: Apache-2.0
//
// Lives of whole stores on one disk that loses power. See crash_store.h.

#include "crash/crash_store.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "cascade/cascade.h"
#include "crash/crash_model.h"
#include "store/store_internal.h"
#include "support/allocator_keeping.h"
#include "support/clock_fake.h"
#include "support/file_sectors.h"

#define LEASE_NS ((uint64_t)10 * NS_PER_S)
#define BYTES_MAX (4 * MIB)

struct world {
    struct file_sectors disk;
    struct clock_fake clock;
    struct crash_model model;
    struct cascade *store;
    const struct crash_store_options *options;
    struct crash_store_counts *counts;
    uint64_t random;
    const char *rebind;
    const char *dedup;
    const char *sync;
    const char *cold_capacity;
    bool may_forget; // the cold tier is too small for all
    bool large;      // some blocks are written in several requests
};

static uint64_t
pick(struct world *world, uint64_t below)
{
    return file_sectors_next(&world->random) % below;
}

static bool
is_on(const struct world *world)
{
    return !world->disk.off && world->model.wrong[0] == '\0';
}

static struct cascade_key
key_of(uint32_t key)
{
    static const char *const names[CRASH_KEYS] = {"a", "b", "c", "d", "e",
                                                  "f", "g", "h", "i", "j"};

    return (struct cascade_key){names[key], 1};
}

static uint32_t
newest(const struct world *world, uint32_t key)
{
    const struct crash_key *one = &world->model.keys[key];

    return one->states[one->count - 1];
}

// One key alone is durable, as with sync=put.
static void
settle_key(struct world *world, uint32_t key)
{
    struct crash_key *one = &world->model.keys[key];

    one->states[0] = one->states[one->count - 1];
    one->count = 1;
}

// A failure while the power is on: the model knows no other faults.
static void
must(struct world *world, enum cascade_status status, const char *what)
{
    if (status != CASCADE_OK && !world->disk.off) {
        crash_model_complain(&world->model, "%s: %s: %s", what,
                             cascade_status_name(status),
                             cascade_error_message());
    }
}

static void
put_content(struct world *world, uint32_t key, uint32_t content)
{
    struct cascade_const_span span = {
        .data = crash_model_bytes(&world->model, content),
        .bytes = (size_t)world->model.contents[content].bytes,
    };
    struct cascade_put_options options = {
        .size = sizeof(options),
        .flags = pick(world, 8) == 0 ? CASCADE_PUT_PREFIX : 0,
    };
    enum cascade_status status;

    crash_model_push(&world->model, key, content);
    status = cascade_put(world->store, key_of(key), &span, 1, &options, NULL);
    world->counts->puts++;
    if (status == CASCADE_EXISTS) {
        // The key stays with what it had.
        world->model.keys[key].count--;
        return;
    }
    must(world, status, "put");
    if (status == CASCADE_OK && strcmp(world->sync, "put") == 0) {
        settle_key(world, key);
    }
}

static void
put_some(struct world *world)
{
    static const uint32_t sizes[] = {0, 100, 4096, 9000, 40000, 70001};
    static const uint32_t large[] = {1048576, 1048577, 1500000, 2097152,
                                     3300000};
    uint64_t bytes = pick(world, 12) == 0 ? 200000 + pick(world, 200000)
                                          : sizes[pick(world, 6)];
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    uint32_t other = newest(world, (uint32_t)pick(world, CRASH_KEYS));

    if (world->large && pick(world, 3) == 0) {
        bytes = large[pick(world, 5)];
        world->counts->large++;
    }
    // One put in four is of bytes that are there already.
    if (other == 0 || pick(world, 4) != 0) {
        other = crash_model_content(&world->model,
                                    file_sectors_next(&world->random), bytes);
    }
    put_content(world, key, other);
}

static void
drop_one(struct world *world)
{
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    enum cascade_status status = cascade_remove(world->store, key_of(key));

    crash_model_push(&world->model, key, 0);
    if (status != CASCADE_NOT_FOUND) {
        must(world, status, "remove");
    }
}

static void
flush(struct world *world)
{
    enum cascade_status status = cascade_flush(world->store, NULL);

    must(world, status, "flush");
    if (status == CASCADE_OK) {
        crash_model_synced(&world->model);
        world->counts->flushes++;
    }
}

static uint32_t
look(struct world *world, uint32_t key, const char **how)
{
    static uint8_t data[BYTES_MAX];
    struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    const struct crash_key *one = &world->model.keys[key];
    size_t bytes = 0;
    enum cascade_status status = cascade_get(world->store, key_of(key), &span,
                                             1, NULL, &bytes);

    *how = cascade_status_name(status);
    if (status != CASCADE_OK) {
        return 0;
    }
    for (uint32_t i = one->count; i > 0; i--) {
        const struct crash_content *content =
            &world->model.contents[one->states[i - 1]];

        if (one->states[i - 1] != 0 && content->bytes == bytes &&
            memcmp(data, crash_model_bytes(&world->model, one->states[i - 1]),
                   bytes) == 0) {
            return one->states[i - 1];
        }
    }
    // Whatever these bytes are, they are no state of this key.
    return CRASH_CONTENTS_MAX;
}

static void
look_at_one(struct world *world)
{
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    const char *how;
    uint32_t seen = look(world, key, &how);

    if (seen != newest(world, key) &&
        !(seen == 0 && (world->may_forget || world->disk.off))) {
        crash_model_complain(&world->model,
                             "key %u is %u in the session (%s), newest is %u",
                             key, seen, how, newest(world, key));
    }
}

static void
act(struct world *world)
{
    uint64_t what = pick(world, 100);

    if (what < 50) {
        put_some(world);
    } else if (what < 60) {
        drop_one(world);
    } else if (what < 62) {
        for (uint32_t key = 0; key < CRASH_KEYS; key++) {
            crash_model_push(&world->model, key, 0);
        }
        must(world, cascade_clear(world->store), "clear");
    } else if (what < 75) {
        flush(world);
    } else if (what < 79) {
        must(world,
             cascade_evict(world->store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
             "evict");
    } else if (what < 87) {
        (void)store_background_step(world->store);
    } else {
        look_at_one(world);
    }
}

static enum cascade_status
open_once(struct world *world)
{
    const char *pairs[][2] = {
        {"dram_capacity", "2MiB"},
        {"cold_path", world->disk.path},
        {"cold_capacity", world->cold_capacity},
        {"segment_size", "1MiB"},
        {"rebind", world->rebind},
        {"dedup", world->dedup},
        {"cold_io", "pread"},
        {"sync", world->sync},
        {"lease_time", "10"},
        {"put_wait", "20"},
        {"max_blocks", "256"},
        {"stats_page", "false"},
        {"threads", "2"},
        {"log_level", "error"},
    };
    struct store_surroundings around = {
        .allocator = allocator_keeping(),
        .clock = &world->clock.source,
        .files = &world->disk.table,
        .seed = file_sectors_next(&world->random),
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    check(options != NULL);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        must(world, cascade_options_set(options, pairs[i][0], pairs[i][1]),
             pairs[i][0]);
    }
    world->store = NULL;
    status = store_open_in(options, &around, &world->store);
    cascade_options_destroy(options);
    return status;
}

// The machine comes back; the dead store's lease has to run out.
static void
start_again(struct world *world)
{
    enum cascade_status status;

    for (unsigned i = 0;; i++) {
        file_sectors_cut_after(&world->disk, i < 2 && pick(world, 4) == 0
                                                 ? 1 + pick(world, 40)
                                                 : 0);
        status = open_once(world);
        if (status == CASCADE_LOCKED) {
            clock_fake_pass(&world->clock, LEASE_NS);
            status = open_once(world);
        }
        if (!world->disk.off) {
            break;
        }
        if (status == CASCADE_OK) {
            (void)!cascade_close(world->store);
        }
        file_sectors_restart(&world->disk);
        world->counts->cuts++;
    }
    file_sectors_cut_after(&world->disk, 0);
    if (status != CASCADE_OK) {
        world->store = NULL;
        crash_model_complain(&world->model, "the store did not open: %s",
                             cascade_error_message());
    }
}

static void
compare(struct world *world)
{
    for (uint32_t key = 0; key < CRASH_KEYS && world->store != NULL; key++) {
        struct crash_key *one = &world->model.keys[key];
        const char *how;
        uint32_t seen = look(world, key, &how);

        if (world->may_forget && seen == 0) {
            // Reclaim may have evicted it; what else there was may not return.
            crash_model_push(&world->model, key, 0);
        }
        world->counts->survived += seen != one->states[0];
        (void)crash_model_found(&world->model, key, seen,
                                !world->may_forget || seen != 0, how);
    }
}

static void
live(struct world *world)
{
    uint64_t acts = 1 + pick(world, 40);
    enum cascade_status status;

    if (pick(world, 8) != 0) {
        file_sectors_cut_after(&world->disk, 1 + pick(world, 100));
    }
    for (uint64_t i = 0; i < acts && is_on(world); i++) {
        act(world);
        clock_fake_pass(&world->clock, 1000);
    }
    if (pick(world, 5) != 0) {
        world->disk.off = true;
    }
    status = cascade_close(world->store);
    must(world, status, "close");
    world->store = NULL;
    if (status == CASCADE_OK && !world->disk.off) {
        crash_model_synced(&world->model);
    }
    file_sectors_restart(&world->disk);
    world->counts->cuts++;
    if (pick(world, 4) == 0) {
        uint64_t far_ns = pick(world, 400) * 86400 * NS_PER_S;

        clock_fake_jump(&world->clock, pick(world, 2) == 0
                                           ? world->clock.wall_ns + far_ns
                                           : world->clock.wall_ns - far_ns);
    }
}

static void
set_up(struct world *world, const struct crash_store_options *options,
       struct crash_store_counts *counts)
{
    static const char *const dedups[] = {"content", "key", "off"};

    world->options = options;
    world->counts = counts;
    world->random = options->seed * 0xD1B54A32D192ED03u + 1;
    world->rebind = pick(world, 5) == 0 ? "refused" : "allowed";
    world->dedup = dedups[pick(world, 3)];
    world->sync = pick(world, 4) == 0 ? "put" : "seal";
    world->may_forget = pick(world, 4) == 0;
    world->large = !world->may_forget && pick(world, 8) == 0;
    world->cold_capacity = world->may_forget ? "4MiB" : "1GiB";
    world->store = NULL;
    file_sectors_make(&world->disk, file_sectors_next(&world->random));
    world->disk.lies = options->lies;
    clock_fake_init(&world->clock, 7);
    crash_model_init(&world->model);
}

bool
crash_store_run(const struct crash_store_options *options,
                struct crash_store_counts *counts, char *wrong, size_t size)
{
    static struct world world;
    bool right;

    set_up(&world, options, counts);
    start_again(&world);
    for (uint32_t life = 0; life < options->lives && is_on(&world); life++) {
        live(&world);
        start_again(&world);
        compare(&world);
    }
    if (world.store != NULL) {
        world.disk.off = true;
        (void)!cascade_close(world.store);
    }
    counts->changes += world.disk.changes;
    counts->checked += world.model.checked;
    right = world.model.wrong[0] == '\0';
    if (!right) {
        (void)snprintf(wrong, size,
                       "seed %llu, rebind=%s, dedup=%s, sync=%s, "
                       "cold_capacity=%s: %.400s",
                       (unsigned long long)options->seed, world.rebind,
                       world.dedup, world.sync, world.cold_capacity,
                       world.model.wrong);
    }
    file_sectors_remove(&world.disk);
    return right;
}
