// SPDX-License-Identifier: Apache-2.0
//
// What is the default policy's own: hints before guesses, what it remembers,
// how cursors meet parents in another queue, and how much memory it takes. What
// all policies promise is in test_policy_conform.c, its scores are in
// tests/bench/test_policy_scores.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy.h"

#define ENTRIES 64

static const struct policy_table *const table = &policy_cascade;
static void *policy;

static int
begin(void **state)
{
    (void)state;
    policy = allocator_array(allocator_system(), 1,
                             table->state_bytes(ENTRIES));
    assert_non_null(policy);
    table->init(policy, ENTRIES, NULL);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    assert_true(table->is_valid(policy));
    allocator_release(allocator_system(), policy);
    return 0;
}

static void
insert(uint32_t entry, uint64_t hash, uint32_t parent, uint32_t flags,
       float expected_reuse)
{
    const struct policy_facts facts = {
        .bytes = 1,
        .hash = hash,
        .parent = parent,
        .flags = flags,
        .expected_reuse = expected_reuse,
    };

    table->insert(policy, entry, &facts);
}

static void
assert_order(const uint32_t *expected, uint32_t count)
{
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    for (uint32_t i = 0; i < count; i++) {
        assert_true(table->choose(policy, &cursor, &victim));
        assert_int_equal(victim, expected[i]);
    }
    assert_false(table->choose(policy, &cursor, &victim));
}

static void
nothing_known_is_recency(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++) {
        insert(i, 100 + i, POLICY_NONE, 0, 0);
    }
    assert_order((const uint32_t[]){0, 1, 2, 3}, 4);
    table->touch(policy, 1);
    table->touch(policy, 0);
    assert_order((const uint32_t[]){2, 3, 1, 0}, 4);
}

static void
hints_come_before_guesses(void **state)
{
    (void)state;
    insert(0, 100, POLICY_NONE, 0, 0.9f);
    insert(1, 101, POLICY_NONE, 0, 0.1f);
    insert(2, 102, POLICY_NONE, 0, 0);
    insert(3, 103, POLICY_NONE, POLICY_SESSION_END, 0.9f);
    insert(4, 104, POLICY_NONE, 0, 0.5f);
    insert(5, 105, POLICY_NONE, POLICY_PARTIAL, 0);
    insert(6, 106, POLICY_NONE, POLICY_PARTIAL | POLICY_PROTECTED, 0);
    insert(7, 107, POLICY_NONE, 0, 0.93f); // hardly more than 0.9
    assert_order((const uint32_t[]){5, 3, 2, 1, 4, 0, 7}, 7);
    table->touch(policy, 5); // asked for again: a block like others
    table->touch(policy, 3); // goes on after all
    assert_order((const uint32_t[]){2, 5, 1, 4, 0, 7, 3}, 7);
    table->change(policy, 0, POLICY_SESSION_END);
    table->change(policy, 6, 0);
    assert_order((const uint32_t[]){6, 0, 2, 5, 1, 4, 7, 3}, 8);
}

// Puts a block, in the place of the one that is chosen if all are taken.
static uint32_t
put(uint32_t *used, uint64_t hash)
{
    struct policy_cursor cursor = {.count = 0};
    uint32_t entry = *used;

    if (*used < ENTRIES) {
        ++*used;
    } else {
        assert_true(table->choose(policy, &cursor, &entry));
        table->remove(policy, entry, true);
    }
    insert(entry, hash, POLICY_NONE, 0, 0);
    return entry;
}

// Eight blocks are used in turn, so slowly that recency never finds one, while
// others are used once: who learns that keeps the eight.
static void
it_learns_who_returns(void **state)
{
    uint64_t holds[ENTRIES] = {0};
    uint64_t once = 1000;
    uint32_t used = 0;
    uint32_t hits = 0;

    (void)state;
    for (uint32_t round = 0; round < 1600; round++) {
        uint64_t wanted = 100 + round % 8;
        uint32_t entry = 0;

        for (uint32_t i = 0; i < 25; i++) {
            entry = put(&used, once);
            holds[entry] = once++;
        }
        for (entry = 0; entry < used && holds[entry] != wanted; entry++) {
        }
        if (entry < used) {
            table->touch(policy, entry);
            hits += round >= 1500;
        } else {
            entry = put(&used, wanted);
            holds[entry] = wanted;
        }
    }
    assert_in_range(hits, 95, 100);
}

// A child without hits, passed over others in its parent's queue: the parent
// comes after it and no other is met twice.
static void
a_parent_is_met_behind_the_cursor(void **state)
{
    struct policy_cursor cursor = {.count = 0};
    bool seen[ENTRIES] = {false};
    uint32_t victim;
    uint32_t count = 0;

    (void)state;
    insert(0, 100, POLICY_NONE, 0, 0);
    insert(1, 101, 0, 0, 0.9f);
    insert(2, 102, POLICY_NONE, 0, 0);
    insert(3, 103, POLICY_NONE, 0, 0);
    while (table->choose(policy, &cursor, &victim)) {
        assert_false(seen[victim]);
        seen[victim] = true;
        count++;
        if (victim == 1) {
            table->remove(policy, 1, true);
        }
    }
    assert_int_equal(count, 4);
}

static void
memory_is_bounded(void **state)
{
    const uint32_t many = 4000000;
    size_t fixed = table->state_bytes(0);
    size_t bytes = table->state_bytes(many) - fixed;

    (void)state;
    assert_true(fixed < 64 << 10);
    assert_true(bytes / many <= 40 + 16);
    assert_true(table->state_bytes(10) - fixed < 16 << 10);
    print_message("fixed %zu bytes, of a thousand blocks %zu more, "
                  "per block of millions %zu\n",
                  fixed, table->state_bytes(1000) - fixed, bytes / many);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_known_is_recency, begin, end),
        cmocka_unit_test_setup_teardown(hints_come_before_guesses, begin, end),
        cmocka_unit_test_setup_teardown(it_learns_who_returns, begin, end),
        cmocka_unit_test_setup_teardown(a_parent_is_met_behind_the_cursor,
                                        begin, end),
        cmocka_unit_test_setup_teardown(memory_is_bounded, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
