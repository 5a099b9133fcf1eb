// SPDX-License-Identifier: Apache-2.0
//
// The duel: each order leads where it serves best, the small caches stay whole,
// and their size follows the cache.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy_duel.h"

#define ENTRIES 1000
#define SEED UINT64_C(20260214)

static struct policy_duel duel;
static struct policy_curves curves;
static void *memory;
static uint32_t now;

static int
begin(void **state)
{
    (void)state;
    memset(&duel, 0, sizeof(duel));
    memset(&curves, 0, sizeof(curves));
    now = 0;
    memory = allocator_array(allocator_system(), 1, policy_duel_bytes(ENTRIES));
    assert_non_null(memory);
    policy_curve_init(&curves);
    policy_duel_init(&duel, memory, ENTRIES);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    allocator_release(allocator_system(), memory);
    return 0;
}

static void
use(uint32_t block, uint32_t hits, uint32_t depth)
{
    policy_duel_use(&duel, &curves, block, hits, depth, ENTRIES, ++now);
}

// A set that is used again and again, slower than one-time blocks wash through
// the cache: whoever gives up newcomers first keeps it.
static void
newcomers_lose_where_a_scan_passes(void **state)
{
    uint32_t once = 1000000;

    (void)state;
    assert_int_equal(duel.leader, POLICY_DUEL_RECENT);
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < ENTRIES / 2; i++) {
            use(i, round, 0);
            use(once++, 0, 0);
            use(once++, 0, 0);
        }
    }
    assert_int_equal(duel.leader, POLICY_DUEL_NARROW);
    assert_true(policy_duel_is_valid(&duel));
}

// Blocks that come back soon after their first use, and never later: who keeps
// the often used keeps the dead.
static void
the_latest_win_where_only_they_return(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 40000; i++) {
        use(i, 0, 0);
        if (i >= ENTRIES / 4) {
            use(i - ENTRIES / 4, 1, 0);
        }
    }
    assert_int_equal(duel.leader, POLICY_DUEL_RECENT);
    assert_true(policy_duel_is_valid(&duel));
}

// Of a request only the run that ends with its root is a hit.
static void
hits_are_those_of_a_reader(void **state)
{
    (void)state;
    use(10, 0, 0); // a root alone
    use(23, 0, 3);
    use(22, 0, 2);
    // Block 21 is not used.
    use(10, 1, 0);
    use(23, 1, 3);
    use(22, 1, 2);
    use(21, 0, 1); // missing: what lies deeper is of no use
    use(10, 2, 0);
    use(99, 0, 0); // another request
    assert_true(duel.caches[POLICY_DUEL_RECENT].hits == 2);
}

static void
its_size_follows_the_cache(void **state)
{
    (void)state;
    assert_int_equal(duel.shift, 0);
    assert_int_equal(duel.limit, ENTRIES);
    policy_duel_limit(&duel, 10);
    assert_int_equal(duel.limit, 10);
    for (uint32_t i = 0; i < 100; i++) {
        use(i, 0, 0);
    }
    assert_int_equal(duel.caches[0].count, 10);
    policy_duel_limit(&duel, 0);
    use(1, 0, 0);
    assert_int_equal(duel.caches[0].count, 1);
    assert_true(policy_duel_is_valid(&duel));
    // However large the cache, the duel is small.
    assert_true(policy_duel_bytes(UINT32_MAX) < 1 << 19);
}

static void
random_uses_keep_it_whole(void **state)
{
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    for (uint32_t i = 0; i < 60000; i++) {
        uint32_t draw;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        draw = (uint32_t)(random >> 33);
        policy_curve_wait(&curves, draw % 7, draw % 5000);
        policy_curve_reuse(&curves, draw % 5, draw % 3000);
        use(draw % 3000 * 17, draw % 300, draw % 4);
        if (i % 1000 == 0) {
            policy_curve_learn(&curves, 100, 0.9f);
            policy_duel_limit(&duel, draw % ENTRIES);
        }
        if (i % 500 == 0) {
            assert_true(policy_duel_is_valid(&duel));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(newcomers_lose_where_a_scan_passes,
                                        begin, end),
        cmocka_unit_test_setup_teardown(the_latest_win_where_only_they_return,
                                        begin, end),
        cmocka_unit_test_setup_teardown(hits_are_those_of_a_reader, begin, end),
        cmocka_unit_test_setup_teardown(its_size_follows_the_cache, begin, end),
        cmocka_unit_test_setup_teardown(random_uses_keep_it_whole, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
