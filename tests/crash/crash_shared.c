// SPDX-License-Identifier: Apache-2.0
//
// Lives of two stores on one disk that loses power. See crash_shared.h.
//
// Keys below OWNED are put and removed by the first store only, each time with
// other bytes; struct crash_model says what may be found of them. The others
// are put by both, sometimes with different bytes: any bytes that were tried are
// right, and once a store that had acknowledged the key has flushed, it is found.

#include "crash/crash_shared.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "crash/crash_world.h"
#include "store/store_internal.h"
#include "support/file_faulty.h"

#define STORES 2
#define OWNED 4
#define REFRESH_NS ((uint64_t)2 * NS_PER_S)

// Live segments are sealed and small ones merged often.
#define ACTS 40

struct one {
    struct cascade *store; // NULL: closed
    struct file_faulty files;
    bool acknowledged[CRASH_KEYS]; // by this store since it opened
};

struct world {
    struct crash_world base;
    struct one stores[STORES];
    bool safe[CRASH_KEYS]; // must be found
    const struct crash_shared_options *options;
    struct crash_shared_counts *counts;
    bool large;
    const char *dedup;
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

static uint64_t
bytes_for(struct world *world)
{
    static const uint32_t small[] = {0, 100, 4096, 9000, 40000, 70001};
    static const uint32_t large[] = {1048576, 1048577, 1500000, 2097152,
                                     3300000};

    if (world->large && pick(world, 3) == 0) {
        return large[pick(world, 5)];
    }
    return small[pick(world, 6)];
}

// New bytes, or for a key of both often what was tried before.
static uint32_t
content_for(struct world *world, uint32_t key)
{
    const struct crash_key *known = &world->base.model.keys[key];
    uint32_t other = 0;

    if (pick(world, 4) != 0 && key >= OWNED && known->count > 1) {
        return known->states[known->count - 1];
    }
    if (pick(world, 4) == 0) {
        known = &world->base.model.keys[pick(world, CRASH_KEYS)];
        other = known->states[known->count - 1];
    }
    return other != 0
               ? other
               : crash_model_content(&world->base.model,
                                     file_sectors_next(&world->base.random),
                                     bytes_for(world));
}

static void
put_some(struct world *world, struct one *one, uint32_t key)
{
    uint32_t content = content_for(world, key);
    struct cascade_const_span span = {
        .data = crash_model_bytes(&world->base.model, content),
        .bytes = (size_t)world->base.model.contents[content].bytes,
    };
    struct cascade_put_options options = {
        .size = sizeof(options),
        .flags = key >= OWNED && pick(world, 8) == 0 ? CASCADE_PUT_PREFIX : 0,
    };
    enum cascade_status status;

    crash_model_push(&world->base.model, key, content);
    status = cascade_put(one->store, crash_world_key(key), &span, 1, &options,
                         NULL);
    world->counts->puts++;
    world->counts->large += span.bytes >= MIB;
    if (status == CASCADE_EXISTS) {
        // The key stays with what it had.
        world->base.model.keys[key].count--;
        return;
    }
    crash_world_must(&world->base, status, "put");
    one->acknowledged[key] = one->acknowledged[key] || status == CASCADE_OK;
}

static void
drop_one(struct world *world, struct one *one, uint32_t key)
{
    enum cascade_status status = cascade_remove(one->store,
                                                crash_world_key(key));

    crash_model_push(&world->base.model, key, 0);
    if (status == CASCADE_OK) {
        one->acknowledged[key] = true;
    } else if (status != CASCADE_NOT_FOUND) {
        crash_world_must(&world->base, status, "remove");
    }
}

// In a session: own keys are what they are; others' may come late.
static void
look_at_one(struct world *world, struct one *one, uint32_t key)
{
    const struct crash_key *known = &world->base.model.keys[key];
    const char *how;
    uint32_t seen = crash_world_look(&world->base, one->store, key, &how);
    bool right = seen != CRASH_CONTENTS_MAX;

    if (!is_on(world)) {
        return;
    }
    if (one->acknowledged[key]) {
        right = key < OWNED ? seen == known->states[known->count - 1]
                            : right && seen != 0;
    }
    if (!right) {
        crash_model_complain(&world->base.model,
                             "key %u is %u in the session (%s), newest is %u",
                             key, seen, how, known->states[known->count - 1]);
    }
}

// What this store acknowledged is durable.
static void
note_durable(struct world *world, struct one *one)
{
    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        struct crash_key *known = &world->base.model.keys[key];

        if (!one->acknowledged[key]) {
            continue;
        }
        world->safe[key] = key >= OWNED;
        if (key < OWNED) {
            known->states[0] = known->states[known->count - 1];
            known->count = 1;
        }
    }
}

static void
flush(struct world *world, struct one *one)
{
    enum cascade_status status = cascade_flush(one->store, NULL);

    crash_world_must(&world->base, status, "flush");
    if (status != CASCADE_OK) {
        return;
    }
    for (unsigned i = 0; i < STORES; i++) {
        if (one == &world->stores[i] || world->options->flush_for_both) {
            note_durable(world, &world->stores[i]);
        }
    }
    world->counts->flushes++;
}

static enum cascade_status
open_one(struct world *world, struct one *one)
{
    const char *const pairs[] = {
        "cold_capacity", "1GiB",           "rebind", "refused", "dedup",
        world->dedup,    "cold_admission", "all",    NULL,
    };

    memset(one, 0, sizeof(*one));
    file_faulty_init(&one->files, &world->base.disk.table);
    return crash_world_open(&world->base, &one->files.table, pairs,
                            &one->store);
}

// Whatever it was doing, nothing that it does reaches the disk any more.
static void
kill_one(struct one *one)
{
    one->files.counted = FILE_FAULTY_ALL & ~(uint32_t)FILE_FAULTY_CLOSE;
    one->files.error = EIO;
    one->files.fail_count = UINT64_MAX;
    one->files.fail_from = 1;
    one->files.calls = 0;
    if (one->store != NULL) {
        (void)!cascade_close(one->store);
    }
    one->store = NULL;
    memset(one->acknowledged, 0, sizeof(one->acknowledged));
}

static void
close_one(struct world *world, struct one *one)
{
    enum cascade_status status = cascade_close(one->store);

    one->store = NULL;
    crash_world_must(&world->base, status, "close");
    if (status == CASCADE_OK && !world->base.disk.off) {
        note_durable(world, one);
    }
    memset(one->acknowledged, 0, sizeof(one->acknowledged));
}

// After an open: what may be there is there. `settled`: and what was found lies
// on the disk for good; otherwise only the system's memory may hold it.
static void
compare(struct world *world, struct one *one, bool settled)
{
    bool first = one == &world->stores[0];

    for (uint32_t key = 0; key < CRASH_KEYS && is_on(world); key++) {
        const char *how;
        uint32_t seen;

        if (key < OWNED && !first) {
            continue;
        }
        seen = crash_world_look(&world->base, one->store, key, &how);
        if (!is_on(world)) {
            return;
        }
        if (key < OWNED) {
            (void)crash_model_found(&world->base.model, key, seen, settled,
                                    how);
            continue;
        }
        world->base.model.checked++;
        if (seen == CRASH_CONTENTS_MAX || (seen == 0 && world->safe[key])) {
            crash_model_complain(&world->base.model,
                                 "key %u, which both put, was found as %u "
                                 "(%s) by store %u; it was%s flushed",
                                 key, seen, how, first ? 0 : 1,
                                 world->safe[key] ? "" : " not");
        }
    }
}

static void
start_one(struct world *world, struct one *one, bool settled)
{
    crash_world_must(&world->base, open_one(world, one), "open");
    if (one->store != NULL) {
        compare(world, one, settled);
    }
}

// Everyone still alive renews, looks at the root and takes over what is free.
static void
pass_a_lease(struct world *world)
{
    for (uint64_t passed = 0; passed <= CRASH_LEASE_NS; passed += REFRESH_NS) {
        clock_fake_pass(&world->base.clock, REFRESH_NS);
        for (unsigned i = 0; i < STORES && is_on(world); i++) {
            if (world->stores[i].store != NULL) {
                (void)store_background_step(world->stores[i].store);
            }
        }
    }
}

// One dies; the survivor may take over, before or after the next one opens.
static void
lose_one(struct world *world, struct one *one)
{
    kill_one(one);
    world->counts->deaths++;
    if (pick(world, 2) == 0) {
        pass_a_lease(world);
    }
    if (is_on(world)) {
        start_one(world, one, false);
    }
}

static void
act(struct world *world)
{
    struct one *one = &world->stores[pick(world, STORES)];
    bool first = one == &world->stores[0];
    uint32_t key = first ? (uint32_t)pick(world, CRASH_KEYS)
                         : OWNED + (uint32_t)pick(world, CRASH_KEYS - OWNED);
    uint64_t what = pick(world, 100);

    if (what < 42 && key < OWNED && pick(world, 4) == 0) {
        drop_one(world, one, key);
    } else if (what < 42) {
        put_some(world, one, key);
    } else if (what < 55) {
        flush(world, one);
    } else if (what < 60) {
        crash_world_must(
            &world->base,
            cascade_evict(one->store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            "evict");
    } else if (what < 75) {
        clock_fake_pass(&world->base.clock, pick(world, 2) * REFRESH_NS);
        (void)store_background_step(one->store);
    } else if (what < 81) {
        close_one(world, one);
        if (is_on(world)) {
            start_one(world, one, false);
        }
    } else if (what < 85) {
        lose_one(world, one);
    } else {
        look_at_one(world, one, key);
    }
}

static void
set_up(struct world *world, const struct crash_shared_options *options,
       struct crash_shared_counts *counts)
{
    static const char *const dedups[] = {"content", "key", "off"};

    memset(world->stores, 0, sizeof(world->stores));
    memset(world->safe, 0, sizeof(world->safe));
    world->options = options;
    world->counts = counts;
    crash_world_seed(&world->base, options->seed);
    world->dedup = dedups[pick(world, 3)];
    world->large = pick(world, 4) == 0;
    crash_world_make(&world->base, options->lies);
}

// Both are there, the power goes at some write, and both come back.
static void
live(struct world *world)
{
    uint64_t acts = 1 + pick(world, ACTS);
    unsigned order = (unsigned)pick(world, STORES);

    if (pick(world, 8) != 0) {
        file_sectors_cut_after(&world->base.disk, 1 + pick(world, 150));
    }
    for (uint64_t i = 0; i < acts && is_on(world); i++) {
        act(world);
        clock_fake_pass(&world->base.clock, 1000);
    }
    if (world->base.model.wrong[0] != '\0') {
        return;
    }
    world->base.disk.off = true;
    for (unsigned i = 0; i < STORES; i++) {
        kill_one(&world->stores[i]);
    }
    file_sectors_restart(&world->base.disk);
    file_sectors_cut_after(&world->base.disk, 0);
    world->counts->cuts++;
    if (pick(world, 3) == 0) {
        clock_fake_pass(&world->base.clock, CRASH_LEASE_NS + NS_PER_S);
    }
    start_one(world, &world->stores[order], true);
    if (pick(world, 2) == 0) {
        pass_a_lease(world);
    }
    if (is_on(world)) {
        start_one(world, &world->stores[1 - order], order == 1);
    }
}

bool
crash_shared_run(const struct crash_shared_options *options,
                 struct crash_shared_counts *counts, char *wrong, size_t size)
{
    static struct world world;
    char found[CRASH_WRONG_BYTES];
    bool right;

    set_up(&world, options, counts);
    for (unsigned i = 0; i < STORES; i++) {
        start_one(&world, &world.stores[i], true);
    }
    for (uint32_t life = 0; life < options->lives && is_on(&world); life++) {
        live(&world);
    }
    world.base.disk.off = true;
    for (unsigned i = 0; i < STORES; i++) {
        kill_one(&world.stores[i]);
    }
    counts->changes += world.base.disk.changes;
    counts->checked += world.base.model.checked;
    right = crash_world_end(&world.base, found, sizeof(found));
    if (!right) {
        (void)snprintf(wrong, size, "dedup=%s%s: %s", world.dedup,
                       world.large ? ", large" : "", found);
    }
    return right;
}
