// SPDX-License-Identifier: Apache-2.0
//
// Remembering blocks that are gone: lists, sizes, and what is forgotten when
// there is no more room.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy_ghost.h"

#define ENTRIES 10
#define SEED UINT64_C(42)

static void
start(struct policy_ghost *ghost, uint32_t entries)
{
    void *memory = allocator_array(allocator_system(), 1,
                                   policy_ghost_bytes(entries));

    assert_non_null(memory);
    memset(ghost, 0, sizeof(*ghost));
    assert_ptr_equal(policy_ghost_init(ghost, memory, entries),
                     (char *)memory + policy_ghost_bytes(entries));
    assert_true(policy_ghost_is_valid(ghost));
}

static void
end(struct policy_ghost *ghost)
{
    assert_true(policy_ghost_is_valid(ghost));
    allocator_release(allocator_system(), ghost->nodes);
}

static void
a_block_is_taken_from_its_list_once(void **state)
{
    struct policy_ghost ghost;

    (void)state;
    start(&ghost, ENTRIES);
    policy_ghost_add(&ghost, 0, 7, 100);
    policy_ghost_add(&ghost, 1, 8, 200);
    policy_ghost_add(&ghost, 1, 7, 300); // it moves
    assert_int_equal(ghost.lists[0].bytes, 0);
    assert_int_equal(ghost.lists[1].bytes, 500);
    assert_int_equal(policy_ghost_take(&ghost, 9), POLICY_GHOST_NONE);
    assert_int_equal(policy_ghost_take(&ghost, 7), 1);
    assert_int_equal(policy_ghost_take(&ghost, 7), POLICY_GHOST_NONE);
    assert_int_equal(ghost.lists[1].bytes, 200);
    end(&ghost);
}

static void
the_oldest_are_forgotten_first(void **state)
{
    struct policy_ghost ghost;

    (void)state;
    start(&ghost, ENTRIES);
    for (uint64_t i = 0; i < 8; i++) {
        policy_ghost_add(&ghost, 0, i, 10);
    }
    policy_ghost_trim(&ghost, 0, 35);
    assert_int_equal(ghost.lists[0].count, 3);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(policy_ghost_take(&ghost, i),
                         i < 5 ? POLICY_GHOST_NONE : 0);
    }
    end(&ghost);
}

static void
a_full_table_forgets_of_the_longer_list(void **state)
{
    struct policy_ghost ghost;

    (void)state;
    start(&ghost, ENTRIES);
    policy_ghost_add(&ghost, 1, 1000, 1);
    for (uint64_t i = 0; i < 5 * ENTRIES; i++) {
        policy_ghost_add(&ghost, 0, i, 1);
        assert_true(policy_ghost_is_valid(&ghost));
    }
    assert_int_equal(ghost.lists[0].count, ENTRIES - 1);
    assert_int_equal(policy_ghost_take(&ghost, 1000), 1);
    assert_int_equal(policy_ghost_take(&ghost, 5 * ENTRIES - 1), 0);
    end(&ghost);
}

static void
a_table_without_room_remembers_nothing(void **state)
{
    struct policy_ghost ghost;

    (void)state;
    start(&ghost, 0);
    policy_ghost_add(&ghost, 0, 1, 1);
    assert_int_equal(policy_ghost_take(&ghost, 1), POLICY_GHOST_NONE);
    end(&ghost);
}

static void
random_steps_keep_it_valid(void **state)
{
    struct policy_ghost ghost;
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    start(&ghost, ENTRIES);
    for (uint32_t step = 0; step < 20000; step++) {
        uint64_t hash;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        hash = (random >> 33) % (3 * ENTRIES);
        switch (random >> 60) {
        case 0:
            policy_ghost_trim(&ghost, hash % 2, hash);
            break;
        case 1:
        case 2:
        case 3:
        case 4:
            (void)policy_ghost_take(&ghost, hash);
            break;
        default:
            policy_ghost_add(&ghost, random >> 59 & 1, hash, hash + 1);
            break;
        }
        assert_true(policy_ghost_is_valid(&ghost));
    }
    end(&ghost);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_is_taken_from_its_list_once),
        cmocka_unit_test(the_oldest_are_forgotten_first),
        cmocka_unit_test(a_full_table_forgets_of_the_longer_list),
        cmocka_unit_test(a_table_without_room_remembers_nothing),
        cmocka_unit_test(random_steps_keep_it_valid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
