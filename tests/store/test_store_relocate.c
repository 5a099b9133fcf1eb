// SPDX-License-Identifier: Apache-2.0
//
// Blocks that stay move together so that large ones find room: what moves and
// what does not, what it is good for, and that nobody ever sees other bytes
// while readers, viewers, protectors and removers go on.
//
// Usage: [seed].

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/extent.h"
#include "store_fixture.h"

#define LARGE EXTENT_BIG_BYTES
#define SMALL (LARGE / 8)
#define SMALLS 64

static const char *const options[] = {"dram_capacity", "128MiB", "dedup", "key",
                                      "segment_size",  "64MiB",  NULL};

static uint64_t seed = 20261124;
static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    world.files.lazy = true;
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static enum cascade_status
try_put(struct cascade *store, const char *kind, uint32_t i, size_t bytes,
        uint32_t flags)
{
    char key[32];

    (void)snprintf(key, sizeof(key), "%s %u", kind, i);
    return store_put_seed(store, key, i + bytes, bytes, flags, NULL);
}

static void
put(struct cascade *store, const char *kind, uint32_t i, size_t bytes,
    uint32_t flags)
{
    assert_int_equal(try_put(store, kind, i, bytes, flags), CASCADE_OK);
}

static void
must_get(struct cascade *store, const char *kind, uint32_t i, size_t bytes)
{
    char key[32];

    (void)snprintf(key, sizeof(key), "%s %u", kind, i);
    store_must_get(store, key, i + bytes, bytes);
}

static struct directory_found
find(struct cascade *store, const char *kind, uint32_t i)
{
    struct directory_found found;
    struct block_key digest;
    char key[32];

    (void)snprintf(key, sizeof(key), "%s %u", kind, i);
    assert_int_equal(store_key(store, store_name(key), &digest), CASCADE_OK);
    assert_int_equal(directory_find(store->directory, &digest, &found, NULL),
                     CASCADE_OK);
    return found;
}

static bool
is_here(struct cascade *store, const char *kind, uint32_t i)
{
    struct directory_found found = find(store, kind, i);

    return block_place_is_set(&found.memory);
}

static bool
is_wall(uint32_t i)
{
    return i % 8 == 3;
}

// Small blocks fill the arena, and every eighth stays: no room for a large one.
static struct cascade *
start_walled(bool cold)
{
    struct cascade *store = store_start(&world, cold, options);

    for (uint32_t i = 0; i < SMALLS; i++) {
        put(store, "s", i, SMALL, is_wall(i) ? CASCADE_PUT_PREFIX : 0);
    }
    return store;
}

static void
check_walls(struct cascade *store)
{
    for (uint32_t i = 0; i < SMALLS; i++) {
        if (is_wall(i)) {
            assert_true(is_here(store, "s", i));
            must_get(store, "s", i, SMALL);
        }
    }
    assert_true(tier_dram_is_valid(store->dram));
    assert_true(directory_is_valid(store->directory));
    assert_true(store->policy->is_valid(store->policy_state));
}

static uint64_t
relocations(struct cascade *store)
{
    return metric_read(store->metrics, METRIC_RELOCATIONS_TOTAL);
}

static void
test_walls_make_room_for_large_blocks(void **state)
{
    struct cascade *store = start_walled(false);
    struct tier_usage usage;
    uint64_t moved;

    (void)state;
    // As long as no large block came nothing is moved.
    store_settle(store);
    assert_int_equal(relocations(store), 0);
    assert_int_equal(try_put(store, "l", 0, LARGE, 0), CASCADE_NO_SPACE);
    store_settle(store);
    moved = relocations(store);
    assert_in_range(moved, 1, SMALLS / 8);
    put(store, "l", 0, LARGE, 0);
    // It comes to an end.
    store_settle(store);
    assert_int_equal(relocations(store), moved);
    // All that is not a wall can be large, and nothing is left over.
    for (uint32_t i = 1; i < 7; i++) {
        put(store, "l", i, LARGE, 0);
    }
    for (uint32_t i = 0; i < 7; i++) {
        must_get(store, "l", i, LARGE);
    }
    check_walls(store);
    tier_dram_table.usage(store->dram, &usage);
    assert_true(usage.used_bytes * 100 >= usage.capacity_bytes * 97);
    store_end(store);
}

// The old place is stale; the slot, and what is known of it, is the same.
static void
test_the_old_place_is_stale(void **state)
{
    struct cascade *store = start_walled(false);
    struct directory_found before[SMALLS];
    uint32_t changed = 0;

    (void)state;
    for (uint32_t i = 0; i < SMALLS; i++) {
        before[i] = find(store, "s", i);
    }
    (void)try_put(store, "l", 0, LARGE, 0);
    store_settle(store);
    for (uint32_t i = 0; i < SMALLS; i++) {
        struct directory_found now;
        struct tier_pin pin;

        if (!is_wall(i)) {
            continue;
        }
        now = find(store, "s", i);
        assert_int_equal(now.memory.slot, before[i].memory.slot);
        assert_true(
            (store->blocks[now.memory.slot].flags & STORE_SLOT_PROTECTED) != 0);
        if (now.memory.offset == before[i].memory.offset) {
            assert_int_equal(now.memory.generation,
                             before[i].memory.generation);
            continue;
        }
        changed++;
        assert_int_not_equal(now.memory.generation,
                             before[i].memory.generation);
        assert_int_equal(
            tier_dram_table.pin(store->dram, &before[i].memory, &pin),
            CASCADE_STALE);
        assert_int_equal(tier_dram_table.pin(store->dram, &now.memory, &pin),
                         CASCADE_OK);
        tier_dram_table.unpin(store->dram, &pin);
    }
    assert_int_equal(changed, relocations(store));
    check_walls(store);
    store_end(store);
}

static void
test_a_view_stays_where_it_is(void **state)
{
    struct cascade *store = start_walled(false);
    struct cascade_view views[8];
    struct block_place places[8];

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        char key[32];

        (void)snprintf(key, sizeof(key), "s %u", i * 8 + 3);
        places[i] = find(store, "s", i * 8 + 3).memory;
        assert_int_equal(
            cascade_acquire(store, store_name(key), NULL, &views[i]),
            CASCADE_OK);
    }
    (void)try_put(store, "l", 0, LARGE, 0);
    store_settle(store);
    assert_int_equal(relocations(store), 0);
    for (uint32_t i = 0; i < 8; i++) {
        struct block_place now = find(store, "s", i * 8 + 3).memory;

        assert_int_equal(now.offset, places[i].offset);
        assert_true(store_is(i * 8 + 3 + SMALL, views[i].data, SMALL));
        cascade_release(store, &views[i]);
    }
    atomic_store(&store->walls_changed, true);
    store_settle(store);
    assert_true(relocations(store) > 0);
    put(store, "l", 0, LARGE, 0);
    check_walls(store);
    store_end(store);
}

// Large ones gather at the low end.
static void
test_large_walls_move_down(void **state)
{
    struct cascade *store = store_start(&world, false, options);

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        put(store, "w", i, LARGE, i % 3 == 2 ? CASCADE_PUT_PREFIX : 0);
    }
    assert_int_equal(try_put(store, "l", 0, 3 * LARGE, 0), CASCADE_NO_SPACE);
    store_settle(store);
    assert_true(find(store, "w", 2).memory.offset < 2 * LARGE);
    assert_true(find(store, "w", 5).memory.offset < 2 * LARGE);
    put(store, "l", 0, 3 * LARGE, 0);
    put(store, "l", 1, 3 * LARGE, 0);
    must_get(store, "l", 0, 3 * LARGE);
    must_get(store, "w", 2, LARGE);
    must_get(store, "w", 5, LARGE);
    store_end(store);
}

// What is in the way and dirty is written before, not dropped.
static void
test_dirty_blocks_in_the_way_are_kept(void **state)
{
    struct cascade *store = start_walled(true);

    (void)state;
    put(store, "l", 0, LARGE, 0);
    store_settle(store);
    store_settle(store);
    assert_true(relocations(store) > 0);
    put(store, "l", 1, LARGE, 0);
    assert_true(is_here(store, "l", 1));
    check_walls(store);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    store_end(store);
    store = store_start(&world, true, options);
    for (uint32_t i = 0; i < SMALLS; i++) {
        must_get(store, "s", i, SMALL);
    }
    must_get(store, "l", 0, LARGE);
    must_get(store, "l", 1, LARGE);
    assert_int_equal(store_stats_now(store).cold_writes_dropped, 0);
    store_end(store);
}

// A wall that is not what was put is found by the move and forgotten.
static void
test_a_damaged_wall_does_not_move(void **state)
{
    struct cascade *store = start_walled(false);

    (void)state;
    for (uint32_t i = 0; i < SMALLS; i++) {
        struct block_place place = find(store, "s", i).memory;

        if (is_wall(i)) {
            ((uint8_t *)arena_memory(
                tier_dram_arena(store->dram)))[place.offset + 77] ^= 1;
        }
    }
    (void)try_put(store, "l", 0, LARGE, 0);
    for (uint32_t i = 0; i < 4; i++) {
        store_settle(store);
    }
    assert_int_equal(relocations(store), 0);
    assert_true(store_stats_now(store).corrupt_blocks > 0);
    assert_true(tier_dram_is_valid(store->dram));
    store_end(store);
}

// A pin that came after the search stops the move, and nothing has changed.
struct late {
    struct cascade *store;
    struct tier_pin pin;
    struct tier_slot target;
};

static enum cascade_status
move_late(void *context, struct block_place *place)
{
    struct late *late = context;

    return tier_dram_move(late->store->dram, &late->pin, &late->target, place);
}

static void
test_a_late_pin_stops_the_move(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    struct late late = {.store = store};
    struct cascade_const_span span;
    struct block_digest digest;
    struct directory_found found;
    struct tier_pin other;

    (void)state;
    put(store, "s", 1, 50000, 0);
    found = find(store, "s", 1);
    assert_int_equal(tier_dram_table.reserve(store->dram, 50000, &late.target),
                     CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(store->dram, &found.memory, &late.pin),
                     CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(store->dram, &found.memory, &other),
                     CASCADE_OK);
    span = (struct cascade_const_span){.data = late.pin.memory, .bytes = 50000};
    assert_int_equal(tier_dram_table.write(store->dram, &late.target, &span, 1,
                                           BLOCK_DIGEST_CHECKSUM, &digest),
                     CASCADE_OK);
    assert_int_equal(directory_move(store->directory, &found.id, &found.memory,
                                    move_late, &late),
                     CASCADE_BUSY);
    assert_int_equal(find(store, "s", 1).memory.offset, found.memory.offset);
    tier_dram_table.unpin(store->dram, &other);
    assert_int_equal(directory_move(store->directory, &found.id, &found.memory,
                                    move_late, &late),
                     CASCADE_OK);
    assert_int_not_equal(find(store, "s", 1).memory.offset,
                         found.memory.offset);
    assert_int_equal(directory_move(store->directory, &found.id, &found.memory,
                                    move_late, &late),
                     CASCADE_STALE);
    must_get(store, "s", 1, 50000);
    assert_true(tier_dram_is_valid(store->dram));
    store_end(store);
}

// --- while others go on

#define KEYS 60
#define VIEWS 6
#define STRESS_BYTES_MAX 60000
#define STRESS_MOVES 100
#define STRESS_CALLS 8000

struct stress {
    struct cascade *store;
    _Atomic bool stop;
    _Atomic bool wrong;
    _Atomic uint64_t gets;
    _Atomic uint64_t views;
    _Atomic uint64_t calls;
};

struct actor {
    struct stress *stress;
    uint64_t random;
};

static uint32_t
pick(struct actor *actor, uint32_t below)
{
    actor->random = actor->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(actor->random >> 33) % below;
}

static struct cascade_key
key_of(uint32_t key, char text[16])
{
    (void)snprintf(text, 16, "key %u", key);
    return store_name(text);
}

static size_t
bytes_of(uint32_t key)
{
    return STRESS_BYTES_MAX / 4 + key * 700;
}

static void
judge(struct stress *stress, uint32_t key, const void *data, size_t bytes)
{
    if (bytes != bytes_of(key) || !store_is(key, data, bytes)) {
        atomic_store(&stress->wrong, true);
    }
}

static void *
run_reader(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    uint8_t *data = malloc(STRESS_BYTES_MAX);

    check(data != NULL);
    while (!atomic_load(&stress->stop)) {
        struct cascade_span span = {.data = data, .bytes = STRESS_BYTES_MAX};
        uint32_t key = pick(actor, KEYS);
        size_t bytes = 0;
        char text[16];

        if (cascade_get(stress->store, key_of(key, text), &span, 1, NULL,
                        &bytes) == CASCADE_OK) {
            judge(stress, key, data, bytes);
            atomic_fetch_add(&stress->gets, 1);
        }
    }
    free(data);
    return NULL;
}

// Looks at the view once more and gives it back.
static void
let_go(struct stress *stress, uint32_t key, struct cascade_view *view)
{
    if (view->data != NULL) {
        judge(stress, key, view->data, view->bytes);
        cascade_release(stress->store, view);
        view->data = NULL;
    }
}

// Views stay out for a while, and their bytes what they were.
static void *
run_viewer(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    struct cascade_view views[VIEWS] = {{.data = NULL}};
    uint32_t keys[VIEWS] = {0};

    for (uint32_t i = 0; !atomic_load(&stress->stop); i = (i + 1) % VIEWS) {
        char text[16];

        let_go(stress, keys[i], &views[i]);
        keys[i] = pick(actor, KEYS);
        if (cascade_acquire(stress->store, key_of(keys[i], text), NULL,
                            &views[i]) == CASCADE_OK) {
            judge(stress, keys[i], views[i].data, views[i].bytes);
            atomic_fetch_add(&stress->views, 1);
        }
    }
    for (uint32_t i = 0; i < VIEWS; i++) {
        let_go(stress, keys[i], &views[i]);
    }
    return NULL;
}

// Puts, protects, lifts, removes; and flushes where there is a cold tier.
static void *
run_changer(void *context)
{
    struct actor *actor = context;
    struct stress *stress = actor->stress;
    uint8_t *data = malloc(STRESS_BYTES_MAX);

    check(data != NULL);
    while (!atomic_load(&stress->stop)) {
        uint32_t key = pick(actor, KEYS);
        char text[16];
        struct cascade_key name = key_of(key, text);
        struct cascade_const_span span = {.data = data, .bytes = bytes_of(key)};
        enum cascade_status status = CASCADE_OK;

        switch (pick(actor, 16)) {
        case 0:
            status = cascade_remove(stress->store, name);
            break;
        case 1:
        case 2:
        case 3:
            status = cascade_protect(stress->store, name, NULL);
            break;
        case 4:
        case 5:
            status = cascade_unprotect(stress->store, name);
            break;
        case 6:
            if (stress->store->cold != NULL && pick(actor, 20) == 0) {
                status = cascade_flush(stress->store, NULL);
            }
            break;
        default:
            store_fill(key, data, span.bytes);
            status = cascade_put(stress->store, name, &span, 1, NULL, NULL);
            break;
        }
        check(status == CASCADE_OK || status == CASCADE_NOT_FOUND ||
              status == CASCADE_NO_SPACE);
        atomic_fetch_add(&stress->calls, 1);
    }
    free(data);
    return NULL;
}

static void
run_stress(bool cold, const char *const *pairs)
{
    void *(*const roles[])(void *) = {run_reader, run_reader, run_viewer,
                                      run_changer, run_changer};
    pthread_t threads[sizeof(roles) / sizeof(roles[0])];
    struct actor actors[sizeof(roles) / sizeof(roles[0])];
    struct stress stress;
    struct cascade_stats stats;

    memset(&stress, 0, sizeof(stress));
    stress.store = store_start(&world, cold, pairs);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        actors[i] = (struct actor){.stress = &stress,
                                   .random = seed + i * 7919};
        check(pthread_create(&threads[i], NULL, roles[i], &actors[i]) == 0);
    }
    while (!atomic_load(&stress.wrong) &&
           relocations(stress.store) < STRESS_MOVES &&
           atomic_load(&stress.calls) < STRESS_CALLS) {
        atomic_store(&stress.store->windows_needed, true);
        atomic_store(&stress.store->walls_changed, true);
        (void)store_background_step(stress.store);
    }
    atomic_store(&stress.stop, true);
    for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
        check(pthread_join(threads[i], NULL) == 0);
    }
    assert_false(stress.wrong);
    stats = store_stats_now(stress.store);
    print_message("%llu moves, %llu gets, %llu views, %llu changes\n",
                  (unsigned long long)relocations(stress.store),
                  (unsigned long long)stress.gets,
                  (unsigned long long)stress.views,
                  (unsigned long long)stress.calls);
    assert_true(relocations(stress.store) > 0);
    assert_int_equal(stats.corrupt_blocks, 0);
    assert_int_equal(stats.pins, 0);
    assert_true(directory_is_valid(stress.store->directory));
    assert_true(tier_dram_is_valid(stress.store->dram));
    assert_true(stress.store->policy->is_valid(stress.store->policy_state));
    store_end(stress.store);
}

static void
test_stress_in_memory(void **state)
{
    static const char *const pairs[] = {"dram_capacity", "1500KiB", NULL};

    (void)state;
    run_stress(false, pairs);
}

static void
test_stress_with_cold_tier(void **state)
{
    static const char *const pairs[] = {"dram_capacity", "1500KiB", "verify",
                                        "always", NULL};

    (void)state;
    run_stress(true, pairs);
}

int
main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_walls_make_room_for_large_blocks,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_the_old_place_is_stale, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_a_view_stays_where_it_is, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_large_walls_move_down, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_dirty_blocks_in_the_way_are_kept,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_a_damaged_wall_does_not_move,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_a_late_pin_stops_the_move, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_stress_in_memory, begin, finish),
        cmocka_unit_test_setup_teardown(test_stress_with_cold_tier, begin,
                                        finish),
    };

    if (count > 1) {
        seed = strtoull(arguments[1], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
