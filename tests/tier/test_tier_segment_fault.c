// SPDX-License-Identifier: Apache-2.0
//
// Each file call and each allocation of a whole life fails in turn, once and
// for good; then the machine "crashes" and another store opens the root. What
// was acknowledged by a sync must be there, and no key may ever be served with
// what it was bound to before.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/units.h"
#include "tier/cold_fixture.h"

#define KEYS 8
#define ROUNDS 4
#define BLOCK_BYTES 9000

static struct cold_store one;
static struct cold_store two;

// What the writer may rely on: per key, the seeds that may be there after a
// restart. 0 stands for "removed".
struct model {
    uint64_t right[KEYS][ROUNDS * 2 + 2];
    size_t count[KEYS];
    bool must[KEYS]; // something was synced: a miss is a loss
};

static void
note_written(struct model *model, uint32_t key, uint64_t seed)
{
    model->right[key][model->count[key]++] = seed;
}

static void
note_synced(struct model *model)
{
    for (unsigned key = 0; key < KEYS; key++) {
        size_t count = model->count[key];

        if (count > 0) {
            model->right[key][0] = model->right[key][count - 1];
            model->count[key] = 1;
            model->must[key] = true;
        }
    }
}

// One life: puts, rebinds, removals, syncs, seals, a reclaim. Goes on after
// failures as a store does, until its lease is lost.
static void
live(struct cold_store *store, struct model *model)
{
    memset(model, 0, sizeof(*model));
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool all = true;

        for (uint32_t key = 0; key < KEYS; key++) {
            uint64_t seed = 1 + round * KEYS + key;
            enum cascade_status status;

            if (key % 4 == round % 4 && round > 0) {
                status = cold_remove(store, key);
                seed = 0;
            } else {
                status = cold_put(store, key, seed, BLOCK_BYTES);
            }
            // What failed may still be in the file.
            note_written(model, key, seed);
            all = all && status == CASCADE_OK;
        }
        if (tier_segment_sync(store->cold) == CASCADE_OK && all) {
            note_synced(model);
        }
        if (round % 2 == 1) {
            enum cascade_status sealed = tier_segment_seal(store->cold);

            (void)sealed;
        }
    }
}

static void
check_after(struct cold_store *store, const struct model *model)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        size_t which = 0;
        bool may_miss = !model->must[key];
        enum cascade_status status;

        for (size_t i = 0; i < model->count[key]; i++) {
            may_miss = may_miss || model->right[key][i] == 0;
        }
        status = cold_get_one_of(store, key, model->right[key],
                                 model->count[key], &which);
        if (status == CASCADE_OK) {
            continue;
        }
        assert_int_equal(status, CASCADE_NOT_FOUND);
        assert_true(may_miss);
    }
}

// Runs a life with faults from call `from` on. False: no call was left to fail.
static bool
run(uint32_t counted, uint64_t from, uint64_t count, int error, bool rebind)
{
    struct cold_world world;
    struct model model = {0};
    enum cascade_status status;
    bool reached;

    cold_world_make(&world);
    cold_prepare(&world, &one, COLD_DIED, rebind);
    one.options.segment_bytes = 128 * KIB;
    world.files.counted = counted;
    world.files.fail_from = from;
    world.files.fail_count = count;
    world.files.error = error;
    status = cold_open(&one);
    if (status == CASCADE_OK) {
        live(&one, &model);
        cold_crash(&one);
    }
    reached = world.files.calls >= from;
    world.files.fail_from = 0;
    status = cold_start(&world, &two, COLD_HERE, rebind);
    if (status != CASCADE_OK) {
        fail_msg("call %llu: %s", (unsigned long long)from, error_message());
    }
    check_after(&two, &model);
    assert_false(two.conflict);
    assert_int_equal(cold_put(&two, 0, 4711, 100), CASCADE_OK);
    assert_int_equal(cold_get(&two, 0, 4711), CASCADE_OK);
    assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
    cold_world_remove(&world);
    return reached;
}

// Each life takes milliseconds: every `step`-th call fails, or each if
// CASCADE_TEST_FULL is set.
static void
sweep(uint32_t counted, uint64_t count, int error, uint64_t step)
{
    uint64_t from = 1;

    step = getenv("CASCADE_TEST_FULL") != NULL ? 1 : step;
    while (run(counted, from, count, error, true)) {
        from += step;
    }
    assert_true(from > 1);
}

static void
test_one_call_fails(void **state)
{
    (void)state;
    sweep(FILE_FAULTY_ALL & ~(uint32_t)FILE_FAULTY_CLOSE, 1, EIO, 13);
}

static void
test_calls_fail_from_then_on(void **state)
{
    (void)state;
    sweep(FILE_FAULTY_PWRITE | FILE_FAULTY_SYNC | FILE_FAULTY_SYNC_DATA |
              FILE_FAULTY_OPEN | FILE_FAULTY_RENAME | FILE_FAULTY_UNLINK |
              FILE_FAULTY_MAKE_DIRECTORY,
          UINT64_MAX, EIO, 11);
}

static void
test_disk_is_full_once_and_for_good(void **state)
{
    (void)state;
    sweep(FILE_FAULTY_PWRITE | FILE_FAULTY_MAKE_DIRECTORY, 1, ENOSPC, 3);
    sweep(FILE_FAULTY_PWRITE | FILE_FAULTY_MAKE_DIRECTORY, 3, ENOSPC, 4);
    sweep(FILE_FAULTY_PWRITE | FILE_FAULTY_MAKE_DIRECTORY, UINT64_MAX, ENOSPC,
          5);
}

// After the disk was full once, later blocks are right and so are earlier ones.
static void
test_goes_on_after_a_full_disk(void **state)
{
    struct cold_world world;
    unsigned failed = 0;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, MIB), CASCADE_OK);
    world.files.counted = FILE_FAULTY_PWRITE;
    world.files.error = ENOSPC;
    world.files.fail_count = 2;
    world.files.fail_from = world.files.calls + 1;
    for (uint32_t key = 2; key < 12; key++) {
        enum cascade_status status = cold_put(&one, key, key, MIB);

        if (status != CASCADE_OK) {
            assert_int_equal(status, CASCADE_NO_SPACE);
            assert_int_equal(cold_get(&one, key, key), CASCADE_NOT_FOUND);
            failed++;
        }
    }
    assert_in_range(failed, 1, 2);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_get(&one, 1, 1), CASCADE_OK);
    for (uint32_t key = 2 + failed; key < 12; key++) {
        assert_int_equal(cold_get(&one, key, key), CASCADE_OK);
    }
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    for (uint32_t key = 2 + failed; key < 12; key++) {
        assert_int_equal(cold_get(&two, key, key), CASCADE_OK);
    }
    assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
    cold_world_remove(&world);
}

static void
test_failed_sync_takes_back_what_it_did_not_save(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 2, 5000), CASCADE_OK);
    world.files.counted = FILE_FAULTY_SYNC_DATA | FILE_FAULTY_SYNC;
    world.files.error = EIO;
    world.files.fail_count = 1;
    world.files.fail_from = world.files.calls + 1;
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_IO);
    assert_int_equal(cold_get(&one, 1, 1), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_STALE);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 2, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_OK);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    cold_world_remove(&world);
}

static void
test_each_allocation_fails(void **state)
{
    bool reached = true;

    (void)state;
    for (uint64_t at = 1; reached;
         at += getenv("CASCADE_TEST_FULL") != NULL ? 1 : 5) {
        struct cold_world world;
        struct model model = {0};
        enum cascade_status status;

        cold_world_make(&world);
        cold_prepare(&world, &one, COLD_DIED, true);
        one.options.segment_bytes = 128 * KIB;
        world.memory.fail_at = at;
        status = cold_open(&one);
        if (status == CASCADE_OK) {
            live(&one, &model);
            cold_crash(&one);
            status = cold_start(&world, &two, COLD_DIED, true);
        }
        reached = world.memory.calls >= at;
        world.memory.fail_at = 0;
        if (status == CASCADE_OK && two.cold != NULL) {
            check_after(&two, &model);
            cold_crash(&two);
        } else if (status != CASCADE_OK) {
            assert_int_equal(status, CASCADE_NO_MEMORY);
        }
        assert_int_equal(world.memory.live, 0);
        assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
        check_after(&two, &model);
        assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
        two.cold = NULL;
        cold_world_remove(&world);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_call_fails),
        cmocka_unit_test(test_calls_fail_from_then_on),
        cmocka_unit_test(test_disk_is_full_once_and_for_good),
        cmocka_unit_test(test_goes_on_after_a_full_disk),
        cmocka_unit_test(test_failed_sync_takes_back_what_it_did_not_save),
        cmocka_unit_test(test_each_allocation_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
