// SPDX-License-Identifier: Apache-2.0
//
// The window against a search that tries every run of neighbours.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/extent_window.h"
#include "base/units.h"

#define GRANULE (4 * KIB)
#define GRANULES 300
#define EXTENTS 64
#define ROUNDS 400
#define SEED UINT64_C(97)

struct world {
    struct extent_map *map;
    struct extent live[EXTENTS];
    bool used[EXTENTS];
    bool stays[EXTENTS];
    double cost[EXTENTS];
    uint32_t asked[EXTENTS];
};

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

static bool
may_go(void *context, const struct extent *extent)
{
    struct world *world = context;

    assert_true(extent->used);
    world->asked[extent->number]++;
    return !world->stays[extent->number];
}

static double
cost(void *context, const struct extent *extent)
{
    const struct world *world = context;

    assert_false(world->stays[extent->number]);
    return world->cost[extent->number];
}

static void
make_world(struct world *world, uint64_t *random)
{
    memset(world, 0, sizeof(*world));
    assert_int_equal(extent_create(allocator_system(), GRANULES * GRANULE,
                                   GRANULE, EXTENTS, &world->map),
                     CASCADE_OK);
    for (int step = 0; step < 400; step++) {
        uint32_t slot = (uint32_t)(next_random(random) % EXTENTS);

        if (world->used[slot] && next_random(random) % 3 == 0) {
            extent_release(world->map, world->live[slot].number);
            world->used[slot] = false;
        } else if (!world->used[slot]) {
            world->used[slot] = extent_allocate(
                                    world->map,
                                    (1 + next_random(random) % 12) * GRANULE,
                                    slot, &world->live[slot]) == CASCADE_OK;
        }
    }
    for (uint32_t i = 0; i < EXTENTS; i++) {
        world->stays[i] = next_random(random) % 10 == 0;
        world->cost[i] = (double)(next_random(random) % 1000) / 16;
    }
}

// The cheapest run from each extent on; negative: there is none.
static double
cheapest(const struct world *world, uint64_t bytes, uint32_t used_max)
{
    struct extent from;
    double best = -1;

    for (bool more = extent_first(world->map, &from); more;
         more = extent_next(world->map, from.number, &from)) {
        struct extent at = from;
        uint64_t sum = 0;
        double price = 0;
        uint32_t used = 0;
        bool end = false;

        while (!end && !(at.used && world->stays[at.number])) {
            sum += at.bytes;
            used += at.used;
            price += at.used ? world->cost[at.number] : 0;
            if (sum >= bytes) {
                if (used <= used_max && (best < 0 || price < best)) {
                    best = price;
                }
                break;
            }
            end = !extent_next(world->map, at.number, &at);
        }
    }
    return best;
}

static void
check_window(const struct world *world, const struct extent_window *window,
             uint64_t bytes, double best)
{
    struct extent at;
    uint64_t sum = 0;
    double price = 0;
    uint32_t used = 0;

    assert_true(extent_at(world->map, window->first, &at));
    for (uint32_t i = 0; i < window->extents; i++) {
        sum += at.bytes;
        used += at.used;
        if (at.used) {
            assert_false(world->stays[at.number]);
            price += world->cost[at.number];
        }
        if (i + 1 < window->extents) {
            assert_true(extent_next(world->map, at.number, &at));
        }
    }
    assert_true(sum >= bytes);
    assert_int_equal(used, window->used);
    assert_true(price > best - 0.01 && price < best + 0.01);
    assert_true(window->cost > best - 0.01 && window->cost < best + 0.01);
}

static void
the_cheapest_run_is_found(void **state)
{
    static struct world world;
    uint64_t random = SEED;
    uint32_t found = 0;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    for (int round = 0; round < ROUNDS; round++) {
        struct extent_window window;
        struct extent_window_question question = {
            .used_max = round % 4 == 0 ? 3 : EXTENTS,
            .may_go = may_go,
            .cost = cost,
            .context = &world,
        };
        double best;

        make_world(&world, &random);
        question.bytes = 1 + next_random(&random) % (60 * GRANULE);
        best = cheapest(&world, question.bytes, question.used_max);
        assert_int_equal(extent_window_find(world.map, &question, &window),
                         best >= 0);
        if (best >= 0) {
            check_window(&world, &window, question.bytes, best);
            found++;
        }
        for (uint32_t i = 0; i < EXTENTS; i++) {
            assert_int_equal(world.asked[i], world.used[i]);
        }
        extent_destroy(world.map);
    }
    assert_in_range(found, ROUNDS / 2, ROUNDS - 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_run_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
