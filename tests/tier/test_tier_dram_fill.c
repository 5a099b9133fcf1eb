// SPDX-License-Identifier: Apache-2.0
//
// How much of the arena holds blocks when it is full and sizes are mixed: large
// ones take the window that is worth least, small ones the coldest. Real sizes;
// the bytes are never written, so the memory is never there. The store's own
// ranks are tested in test_store_window.c; here they are exact.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/extent.h"
#include "base/units.h"
#include "policy/policy.h"
#include "policy/policy_choice.h"
#include "tier/tier_dram.h"

#define ARENA_BYTES (32 * GIB)
#define BLOCKS 65536
#define SEED UINT64_C(5)

struct world {
    struct tier_dram *dram;
    void *policy;
    struct block_place places[BLOCKS];
    struct tier_pin pins[BLOCKS];
    double rank[BLOCKS];
    bool stays[BLOCKS];
    bool walked[BLOCKS];
    uint32_t windows[8192];
    uint64_t random;
    uint64_t live_bytes;
    uint64_t lost_bytes;
    double rank_sum; // of lost bytes
};

static uint64_t
next_random(struct world *world)
{
    world->random = world->random * UINT64_C(6364136223846793005) +
                    1442695040888963407;
    return world->random >> 33;
}

static void
begin(struct world *world)
{
    const struct tier_dram_options options = {
        .capacity_bytes = ARENA_BYTES,
        .blocks_max = BLOCKS,
        .allocator = allocator_system(),
    };

    memset(world, 0, sizeof(*world));
    world->random = SEED;
    assert_int_equal(tier_dram_open(&options, &world->dram), CASCADE_OK);
    world->policy = calloc(1, policy_lru.state_bytes(BLOCKS));
    assert_non_null(world->policy);
    policy_lru.init(world->policy, BLOCKS, NULL);
}

static void
drop(struct world *world, uint32_t slot)
{
    assert_false(world->stays[slot]);
    assert_int_equal(
        tier_dram_table.release(world->dram, &world->places[slot], true),
        CASCADE_OK);
    policy_lru.remove(world->policy, slot, true);
    world->live_bytes -= world->places[slot].bytes;
}

static void
end(struct world *world)
{
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (world->pins[i].memory != NULL) {
            tier_dram_table.unpin(world->dram, &world->pins[i]);
        }
        if (tier_dram_holds(world->dram, &world->places[i])) {
            (void)tier_dram_table.release(world->dram, &world->places[i],
                                          false);
        }
    }
    assert_true(tier_dram_is_valid(world->dram));
    assert_int_equal(tier_dram_close(world->dram), CASCADE_OK);
    free(world->policy);
}

static double
cost(void *context, uint32_t slot, uint64_t bytes)
{
    const struct world *world = context;

    return world->stays[slot] || !world->walked[slot]
               ? -1
               : policy_window_cost(bytes, world->rank[slot]);
}

static void
rank_all(struct world *world)
{
    struct policy_cursor cursor = {.count = 0};
    struct tier_usage usage;
    uint32_t slot;

    tier_dram_table.usage(world->dram, &usage);
    memset(world->walked, 0, sizeof(world->walked));
    while (policy_lru.choose(world->policy, &cursor, &slot)) {
        world->rank[slot] = (double)cursor.count / (double)usage.blocks;
        world->walked[slot] = true;
    }
}

static bool
make_room(struct world *world, uint64_t bytes)
{
    struct tier_dram_window window = {
        .bytes = bytes,
        .cost = cost,
        .context = world,
        .slots = world->windows,
        .slots_max = 8192,
    };
    struct policy_cursor cursor = {.count = 0};
    uint32_t slot;

    if (bytes < EXTENT_BIG_BYTES) {
        if (policy_lru.choose(world->policy, &cursor, &slot)) {
            drop(world, slot);
            return true;
        }
        return false;
    }
    rank_all(world);
    if (tier_dram_find_window(world->dram, &window) != CASCADE_OK) {
        return false;
    }
    assert_true(window.count > 0);
    for (uint32_t i = 0; i < window.count; i++) {
        uint64_t lost = world->places[window.slots[i]].bytes;

        world->lost_bytes += lost;
        world->rank_sum += (double)lost * world->rank[window.slots[i]];
        drop(world, window.slots[i]);
    }
    return true;
}

static void
put(struct world *world, uint64_t bytes, bool protected, bool pinned)
{
    const struct policy_facts facts = {
        .bytes = bytes,
        .parent = POLICY_NONE,
        .flags = protected ? POLICY_PROTECTED : 0,
    };
    const struct block_label label = {.depth = 0};
    const struct block_digest digest = {.checksum = 0};
    struct tier_slot reserved;
    struct block_place place;

    while (tier_dram_table.reserve(world->dram, bytes, &reserved) !=
           CASCADE_OK) {
        assert_true(make_room(world, bytes));
    }
    assert_int_equal(
        tier_dram_table.commit(world->dram, &reserved, &label, &digest, &place),
        CASCADE_OK);
    policy_lru.insert(world->policy, place.slot, &facts);
    world->places[place.slot] = place;
    world->stays[place.slot] = protected || pinned;
    world->live_bytes += bytes;
    if (pinned) {
        // A view that is never given back; the policy does not know.
        assert_int_equal(
            tier_dram_table.pin(world->dram, &place, &world->pins[place.slot]),
            CASCADE_OK);
        policy_lru.change(world->policy, place.slot, POLICY_PROTECTED);
    }
}

static const uint64_t big_bytes[] = {56 * MIB, 160 * MIB, 256 * MIB, 320 * MIB};

static uint64_t
small_bytes(struct world *world)
{
    return (64 * KIB) << (next_random(world) % 7);
}

// Live bytes of the arena, the least and the mean once it has been full.
static void
fill(struct world *world, uint32_t puts, uint32_t big_percent,
     uint32_t stays_percent, double *least, double *mean)
{
    uint64_t total = 0;
    uint32_t counted = 0;

    *least = 100;
    *mean = 0;
    for (uint32_t i = 0; i < puts; i++) {
        bool big = next_random(world) % 10000 < big_percent * 100;
        bool stays = total < ARENA_BYTES / 4 &&
                     next_random(world) % 100 < stays_percent;
        uint64_t bytes = big ? big_bytes[next_random(world) % 4]
                             : small_bytes(world);
        double percent;

        total += bytes;
        put(world, bytes, stays && i % 8 != 0, stays && i % 8 == 0);
        percent = 100.0 * (double)world->live_bytes / (double)ARENA_BYTES;
        if (total > 3 * ARENA_BYTES / 2) {
            *least = percent < *least ? percent : *least;
            *mean += percent;
            counted++;
        }
    }
    *mean /= counted;
    print_message("live: least %.1f %%, mean %.2f %%; lost out of turn: mean "
                  "rank %.3f\n",
                  *least, *mean,
                  world->lost_bytes == 0
                      ? 0
                      : world->rank_sum / (double)world->lost_bytes);
}

static void
mixed_sizes_fill_the_arena(void **state)
{
    static struct world world;
    static const struct {
        uint32_t puts;
        uint32_t big_percent;
        uint32_t stays_percent;
    } loads[] = {
        {3000, 100, 0},
        {3000, 100, 8},
        {60000, 1, 0},
        {60000, 1, 3},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++) {
        double least;
        double mean;

        begin(&world);
        fill(&world, loads[i].puts, loads[i].big_percent,
             loads[i].stays_percent, &least, &mean);
        assert_true(mean >= 97);
        // Nearly all of it from the cold end.
        assert_true(world.rank_sum < 0.2 * (double)world.lost_bytes);
        end(&world);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_sizes_fill_the_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
