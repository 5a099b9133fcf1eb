// SPDX-License-Identifier: Apache-2.0
//
// The extent map against a plain array that says who owns each granule.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/extent.h"
#include "base/units.h"

#define GRANULE (64 * KIB)
#define GRANULES 2000
#define EXTENTS 100
#define SEED UINT64_C(711)

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

// Who owns each granule; 0 = free, else the slot of `live` plus one.
struct model {
    uint32_t owner[GRANULES];
    struct extent live[EXTENTS];
    bool used[EXTENTS];
    uint32_t count;
};

// The least run of free granules that holds `wanted`; 0 if there is none.
static uint32_t
best_run(const struct model *model, uint32_t wanted)
{
    uint32_t best = 0;
    uint32_t run = 0;

    for (uint32_t i = 0; i <= GRANULES; i++) {
        if (i < GRANULES && model->owner[i] == 0) {
            run++;
            continue;
        }
        if (run >= wanted && (best == 0 || run < best)) {
            best = run;
        }
        run = 0;
    }
    return best;
}

// Length of the run of granules around `at` that `owner` has.
static uint32_t
run_around(const struct model *model, uint32_t at)
{
    uint32_t low = at;
    uint32_t high = at + 1;

    while (low > 0 && model->owner[low - 1] == model->owner[at]) {
        low--;
    }
    while (high < GRANULES && model->owner[high] == model->owner[at]) {
        high++;
    }
    return high - low;
}

static void
try_allocate(struct extent_map *map, struct model *model, uint32_t slot,
             uint64_t bytes)
{
    uint32_t wanted = (uint32_t)((bytes + GRANULE - 1) / GRANULE);
    uint32_t best = best_run(model, wanted);
    struct extent extent;
    uint32_t first;
    struct extent again;
    enum cascade_status status = extent_allocate(map, bytes, slot, &extent);

    if (wanted > GRANULES) {
        assert_int_equal(status, CASCADE_TOO_LARGE);
        return;
    }
    assert_int_equal(status, best > 0 ? CASCADE_OK : CASCADE_NO_SPACE);
    if (status != CASCADE_OK) {
        return;
    }
    first = (uint32_t)(extent.offset / GRANULE);
    assert_int_equal(extent.bytes, wanted * GRANULE);
    assert_int_equal(extent.number, slot);
    extent_read(map, slot, &again);
    assert_int_equal(again.offset, extent.offset);
    assert_int_equal(again.bytes, extent.bytes);
    for (uint32_t i = 0; i < wanted; i++) {
        assert_int_equal(model->owner[first + i], 0);
    }
    assert_int_equal(run_around(model, first), best);
    if (bytes >= EXTENT_BIG_BYTES) {
        assert_true(first == 0 || model->owner[first - 1] != 0);
    } else {
        assert_true(first + wanted == GRANULES ||
                    model->owner[first + wanted] != 0);
    }
    for (uint32_t i = 0; i < wanted; i++) {
        model->owner[first + i] = slot + 1;
    }
    model->live[slot] = extent;
    model->used[slot] = true;
    model->count++;
}

static void
release(struct extent_map *map, struct model *model, uint32_t slot)
{
    uint32_t first = (uint32_t)(model->live[slot].offset / GRANULE);

    extent_release(map, model->live[slot].number);
    memset(&model->owner[first], 0,
           model->live[slot].bytes / GRANULE * sizeof(uint32_t));
    model->used[slot] = false;
    model->count--;
}

// At a place of the caller's choice: just if all of it is free.
static void
try_allocate_at(struct extent_map *map, struct model *model, uint32_t slot,
                uint32_t first, uint32_t wanted)
{
    struct extent extent;
    bool fits = first + wanted <= GRANULES;

    for (uint32_t i = first; fits && i < first + wanted; i++) {
        fits = model->owner[i] == 0;
    }
    assert_int_equal(extent_allocate_at(map, first * GRANULE,
                                        wanted * GRANULE - 1, slot, &extent),
                     fits ? CASCADE_OK : CASCADE_NO_SPACE);
    if (!fits) {
        return;
    }
    assert_int_equal(extent.offset, first * GRANULE);
    assert_int_equal(extent.bytes, wanted * GRANULE);
    for (uint32_t i = 0; i < wanted; i++) {
        model->owner[first + i] = slot + 1;
    }
    model->live[slot] = extent;
    model->used[slot] = true;
    model->count++;
}

static void
paint(struct model *model, uint32_t slot)
{
    uint64_t first = model->live[slot].offset / GRANULE;

    model->live[slot].number = slot;
    for (uint64_t i = 0; i < model->live[slot].bytes / GRANULE; i++) {
        model->owner[first + i] = slot + 1;
    }
}

static void
swap(struct extent_map *map, struct model *model, uint32_t one, uint32_t other)
{
    struct extent kept = model->live[one];

    if (one == other || !model->used[one] || !model->used[other] ||
        model->live[one].bytes == 0 || model->live[other].bytes == 0) {
        return;
    }
    extent_swap(map, one, other);
    model->live[one] = model->live[other];
    model->live[other] = kept;
    paint(model, one);
    paint(model, other);
}

static void
compare_walk(const struct extent_map *map, const struct model *model)
{
    struct extent extent;
    struct extent_usage usage;
    uint32_t at = 0;
    uint32_t used = 0;
    uint64_t used_bytes = 0;
    bool more = extent_first(map, &extent);

    while (more) {
        struct extent back;

        assert_int_equal(extent.offset, at * GRANULE);
        assert_int_equal(extent.bytes, run_around(model, at) * GRANULE);
        assert_int_equal(model->owner[at], extent.used ? extent.number + 1 : 0);
        at += (uint32_t)(extent.bytes / GRANULE);
        used += extent.used;
        used_bytes += extent.used ? extent.bytes : 0;
        more = extent_next(map, extent.number, &extent);
        if (more) {
            assert_true(extent_previous(map, extent.number, &back));
            assert_int_equal(back.offset + back.bytes, extent.offset);
        }
    }
    assert_int_equal(at, GRANULES);
    assert_int_equal(used, model->count);
    extent_read_usage(map, &usage);
    assert_int_equal(usage.used_extents, used);
    assert_int_equal(usage.used_bytes, used_bytes);
    assert_int_equal(usage.capacity_bytes, GRANULES * GRANULE);
}

static uint64_t
random_bytes(uint64_t *random)
{
    switch (next_random(random) % 8) {
    case 0:
        return EXTENT_BIG_BYTES + next_random(random) % (24 * MIB);
    case 1:
        return 1 + next_random(random) % 100;
    case 2:
        return (GRANULES + 1) * GRANULE - next_random(random) % (2 * GRANULE);
    default:
        return 1 + next_random(random) % (2 * MIB);
    }
}

static void
random_steps_agree_with_an_array(void **state)
{
    static struct model model;
    struct extent_map *map;
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    assert_int_equal(extent_create(allocator_system(), GRANULES * GRANULE + 17,
                                   GRANULE, EXTENTS, &map),
                     CASCADE_OK);
    for (int step = 0; step < 12000; step++) {
        uint32_t slot = (uint32_t)(next_random(&random) % EXTENTS);

        if (step % 4000 == 3999) {
            extent_clear(map);
            memset(&model, 0, sizeof(model));
        } else if (model.used[slot] && step % 3 == 0) {
            swap(map, &model, slot, (uint32_t)(next_random(&random) % EXTENTS));
        } else if (model.used[slot]) {
            release(map, &model, slot);
        } else if (step % 3 == 0) {
            try_allocate_at(map, &model, slot,
                            (uint32_t)(next_random(&random) % (GRANULES + 9)),
                            1 + (uint32_t)(next_random(&random) % 40));
        } else {
            try_allocate(map, &model, slot, random_bytes(&random));
        }
        if (step % 8 == 0) {
            assert_true(extent_is_valid(map));
            compare_walk(map, &model);
        }
    }
    for (uint32_t slot = 0; slot < EXTENTS; slot++) {
        if (model.used[slot]) {
            release(map, &model, slot);
        }
    }
    compare_walk(map, &model);
    assert_true(extent_is_valid(map));
    extent_destroy(map);
}

static void
no_bytes_take_no_space(void **state)
{
    struct extent_map *map;
    struct extent extent;
    struct extent_usage usage;

    (void)state;
    assert_int_equal(
        extent_create(allocator_system(), 4 * KIB, 4 * KIB, 2, &map),
        CASCADE_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(extent_allocate(map, 0, 0, &extent), CASCADE_OK);
        assert_int_equal(extent.bytes, 0);
        assert_int_equal(extent.number, 0);
    }
    assert_int_equal(extent_allocate(map, 1, 1, &extent), CASCADE_OK);
    assert_int_equal(extent_allocate(map, 0, 0, &extent), CASCADE_OK);
    extent_release(map, 0);
    extent_read_usage(map, &usage);
    assert_int_equal(usage.used_bytes, 4 * KIB);
    assert_int_equal(usage.largest_free_bytes, 0);
    assert_true(extent_is_valid(map));
    extent_destroy(map);
}

static void
each_used_one_may_have_free_ones_beside_it(void **state)
{
    struct extent_map *map;
    struct extent extent;

    (void)state;
    assert_int_equal(
        extent_create(allocator_system(), 9 * 4 * KIB, 4 * KIB, 4, &map),
        CASCADE_OK);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(extent_allocate(map, 8 * KIB, i, &extent), CASCADE_OK);
    }
    for (uint32_t i = 0; i < 4; i++) {
        extent_release(map, i);
        assert_int_equal(extent_allocate(map, 4 * KIB, i, &extent), CASCADE_OK);
        assert_true(extent_is_valid(map));
    }
    extent_destroy(map);
}

static void
bad_arguments_are_refused(void **state)
{
    struct extent_map *map = NULL;
    const struct allocator *system = allocator_system();

    (void)state;
    assert_int_equal(extent_create(system, MIB, 3000, 4, &map),
                     CASCADE_INVALID);
    assert_int_equal(extent_create(system, MIB, 0, 4, &map), CASCADE_INVALID);
    assert_int_equal(extent_create(system, 4095, 4096, 4, &map),
                     CASCADE_INVALID);
    assert_int_equal(extent_create(system, 32 * TIB, 4096, 4, &map),
                     CASCADE_INVALID);
    assert_int_equal(extent_create(system, MIB, 4096, 0, &map),
                     CASCADE_INVALID);
    assert_null(map);
}

struct failing {
    int left;
    int out;
};

static void *
failing_allocate(void *self, size_t bytes, size_t alignment)
{
    struct failing *failing = self;

    if (failing->left-- == 0) {
        return NULL;
    }
    failing->out++;
    return allocator_system()->allocate(NULL, bytes, alignment);
}

static void
failing_release(void *self, void *memory)
{
    struct failing *failing = self;

    failing->out -= memory != NULL;
    allocator_system()->release(NULL, memory);
}

static void
each_allocation_may_fail(void **state)
{
    struct failing failing = {0};
    const struct allocator allocator = {
        .allocate = failing_allocate,
        .release = failing_release,
        .self = &failing,
    };
    enum cascade_status status = CASCADE_NO_MEMORY;

    (void)state;
    for (int n = 0; status != CASCADE_OK; n++) {
        struct extent_map *map = NULL;

        failing = (struct failing){.left = n};
        status = extent_create(&allocator, MIB, 4096, 16, &map);
        if (status == CASCADE_OK) {
            assert_true(n > 0);
            extent_destroy(map);
        } else {
            assert_int_equal(status, CASCADE_NO_MEMORY);
            assert_null(map);
        }
        assert_int_equal(failing.out, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_agree_with_an_array),
        cmocka_unit_test(no_bytes_take_no_space),
        cmocka_unit_test(each_used_one_may_have_free_ones_beside_it),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
