// SPDX-License-Identifier: Apache-2.0
//
// Lives of whole stores on one disk that loses power. See crash_store.h.

#include "crash/crash_store.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "crash/crash_world.h"
#include "store/store_internal.h"

struct world {
    struct crash_world base;
    struct cascade *store;
    const struct crash_store_options *options;
    struct crash_store_counts *counts;
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
    return crash_world_pick(&world->base, below);
}

static bool
is_on(const struct world *world)
{
    return crash_world_is_on(&world->base);
}

static uint32_t
newest(const struct world *world, uint32_t key)
{
    const struct crash_key *one = &world->base.model.keys[key];

    return one->states[one->count - 1];
}

// One key alone is durable, as with sync=put.
static void
settle_key(struct world *world, uint32_t key)
{
    struct crash_key *one = &world->base.model.keys[key];

    one->states[0] = one->states[one->count - 1];
    one->count = 1;
}

static void
put_content(struct world *world, uint32_t key, uint32_t content)
{
    struct cascade_const_span span = {
        .data = crash_model_bytes(&world->base.model, content),
        .bytes = (size_t)world->base.model.contents[content].bytes,
    };
    struct cascade_put_options options = {
        .size = sizeof(options),
        .flags = pick(world, 8) == 0 ? CASCADE_PUT_PREFIX : 0,
    };
    enum cascade_status status;

    crash_model_push(&world->base.model, key, content);
    status = cascade_put(world->store, crash_world_key(key), &span, 1, &options,
                         NULL);
    world->counts->puts++;
    if (status == CASCADE_EXISTS) {
        // The key stays with what it had.
        world->base.model.keys[key].count--;
        return;
    }
    crash_world_must(&world->base, status, "put");
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
        other = crash_model_content(
            &world->base.model, file_sectors_next(&world->base.random), bytes);
    }
    put_content(world, key, other);
}

static void
drop_one(struct world *world)
{
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    enum cascade_status status = cascade_remove(world->store,
                                                crash_world_key(key));

    crash_model_push(&world->base.model, key, 0);
    if (status != CASCADE_NOT_FOUND) {
        crash_world_must(&world->base, status, "remove");
    }
}

static void
flush(struct world *world)
{
    enum cascade_status status = cascade_flush(world->store, NULL);

    crash_world_must(&world->base, status, "flush");
    if (status == CASCADE_OK) {
        crash_model_synced(&world->base.model);
        world->counts->flushes++;
    }
}

static void
look_at_one(struct world *world)
{
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    const char *how;
    uint32_t seen = crash_world_look(&world->base, world->store, key, &how);

    if (seen != newest(world, key) &&
        !(seen == 0 && (world->may_forget || world->base.disk.off))) {
        crash_model_complain(&world->base.model,
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
            crash_model_push(&world->base.model, key, 0);
        }
        crash_world_must(&world->base, cascade_clear(world->store), "clear");
    } else if (what < 75) {
        flush(world);
    } else if (what < 79) {
        crash_world_must(
            &world->base,
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
    const char *const pairs[] = {
        "cold_capacity",
        world->cold_capacity,
        "rebind",
        world->rebind,
        "dedup",
        world->dedup,
        "sync",
        world->sync,
        NULL,
    };

    return crash_world_open(&world->base, &world->base.disk.table, pairs,
                            &world->store);
}

// The machine comes back; the dead store's lease has to run out.
static void
start_again(struct world *world)
{
    enum cascade_status status;

    for (unsigned i = 0;; i++) {
        file_sectors_cut_after(&world->base.disk, i < 2 && pick(world, 4) == 0
                                                      ? 1 + pick(world, 40)
                                                      : 0);
        status = open_once(world);
        if (status == CASCADE_LOCKED) {
            clock_fake_pass(&world->base.clock, CRASH_LEASE_NS);
            status = open_once(world);
        }
        if (!world->base.disk.off) {
            break;
        }
        if (status == CASCADE_OK) {
            (void)!cascade_close(world->store);
        }
        file_sectors_restart(&world->base.disk);
        world->counts->cuts++;
    }
    file_sectors_cut_after(&world->base.disk, 0);
    if (status != CASCADE_OK) {
        world->store = NULL;
        crash_model_complain(&world->base.model, "the store did not open: %s",
                             cascade_error_message());
    }
}

static void
compare(struct world *world)
{
    for (uint32_t key = 0; key < CRASH_KEYS && world->store != NULL; key++) {
        struct crash_key *one = &world->base.model.keys[key];
        const char *how;
        uint32_t seen = crash_world_look(&world->base, world->store, key, &how);

        if (world->may_forget && seen == 0) {
            // Reclaim may have evicted it; what else there was may not return.
            crash_model_push(&world->base.model, key, 0);
        }
        world->counts->survived += seen != one->states[0];
        (void)crash_model_found(&world->base.model, key, seen,
                                !world->may_forget || seen != 0, how);
    }
}

static void
live(struct world *world)
{
    uint64_t acts = 1 + pick(world, 40);
    enum cascade_status status;

    if (pick(world, 8) != 0) {
        file_sectors_cut_after(&world->base.disk, 1 + pick(world, 100));
    }
    for (uint64_t i = 0; i < acts && is_on(world); i++) {
        act(world);
        clock_fake_pass(&world->base.clock, 1000);
    }
    if (pick(world, 5) != 0) {
        world->base.disk.off = true;
    }
    status = cascade_close(world->store);
    crash_world_must(&world->base, status, "close");
    world->store = NULL;
    if (status == CASCADE_OK && !world->base.disk.off) {
        crash_model_synced(&world->base.model);
    }
    file_sectors_restart(&world->base.disk);
    world->counts->cuts++;
    if (pick(world, 4) == 0) {
        uint64_t far_ns = pick(world, 400) * 86400 * NS_PER_S;

        clock_fake_jump(&world->base.clock,
                        pick(world, 2) == 0
                            ? world->base.clock.wall_ns + far_ns
                            : world->base.clock.wall_ns - far_ns);
    }
}

static void
set_up(struct world *world, const struct crash_store_options *options,
       struct crash_store_counts *counts)
{
    static const char *const dedups[] = {"content", "key", "off"};

    world->options = options;
    world->counts = counts;
    crash_world_seed(&world->base, options->seed);
    world->rebind = pick(world, 5) == 0 ? "refused" : "allowed";
    world->dedup = dedups[pick(world, 3)];
    world->sync = pick(world, 4) == 0 ? "put" : "seal";
    world->may_forget = pick(world, 4) == 0;
    world->large = !world->may_forget && pick(world, 8) == 0;
    world->cold_capacity = world->may_forget ? "4MiB" : "1GiB";
    world->store = NULL;
    crash_world_make(&world->base, options->lies);
}

bool
crash_store_run(const struct crash_store_options *options,
                struct crash_store_counts *counts, char *wrong, size_t size)
{
    static struct world world;
    char found[CRASH_WRONG_BYTES];
    bool right;

    set_up(&world, options, counts);
    start_again(&world);
    for (uint32_t life = 0; life < options->lives && is_on(&world); life++) {
        live(&world);
        start_again(&world);
        compare(&world);
    }
    if (world.store != NULL) {
        world.base.disk.off = true;
        (void)!cascade_close(world.store);
    }
    counts->changes += world.base.disk.changes;
    counts->checked += world.base.model.checked;
    right = crash_world_end(&world.base, found, sizeof(found));
    if (!right) {
        (void)snprintf(
            wrong, size, "rebind=%s, dedup=%s, sync=%s, cold_capacity=%s: %s",
            world.rebind, world.dedup, world.sync, world.cold_capacity, found);
    }
    return right;
}
