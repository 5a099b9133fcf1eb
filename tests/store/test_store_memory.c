// SPDX-License-Identifier: Apache-2.0
//
// What a block costs beside its bytes, from the sizes of what is kept of it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "directory/directory_table.h"
#include "policy/policy_cascade.h"
#include "store_fixture.h"

#define HOLDER_BYTES_MAX 128
#define ENTRIES 100000

static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static size_t
entry_bytes(const struct policy_table *policy)
{
    return (policy->state_bytes(2 * ENTRIES) - policy->state_bytes(ENTRIES)) /
           ENTRIES;
}

static void
test_a_block_in_memory_takes_little(void **state)
{
    struct cascade *store = store_start(&world, false, NULL);
    size_t policy = sizeof(struct treap_node) +
                    sizeof(struct policy_cascade_entry);
    uint64_t without = tier_dram_bytes_per_block() + sizeof(struct store_slot) +
                       sizeof(uint32_t);
    struct directory_usage usage;

    (void)state;
    directory_usage(store->directory, &usage);
    print_message("tier %llu, store %zu, directory's slot %zu, policy %zu; "
                  "directory: key %llu, content %llu\n",
                  (unsigned long long)tier_dram_bytes_per_block(),
                  sizeof(struct store_slot), sizeof(uint32_t), policy,
                  (unsigned long long)usage.bytes_per_key,
                  (unsigned long long)usage.bytes_per_content);
    assert_ptr_equal(store->policy, &policy_cascade);
    print_message("together %zu\n", (size_t)without + policy);
    assert_true(without + policy <= HOLDER_BYTES_MAX);
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        print_message("%s: %zu with its ghosts\n", policy_at(i)->name,
                      entry_bytes(policy_at(i)));
    }
    (void)store_stats_now(store);
    assert_int_equal(
        metric_read(store->metrics, METRIC_METADATA_BYTES_PER_BLOCK),
        store_bytes_per_slot(store));
    assert_int_equal(
        metric_read(store->metrics, METRIC_DIRECTORY_BYTES_PER_BLOCK),
        usage.bytes_per_key + usage.bytes_per_content);
    store_end(store);
}

// The home's side, stated beside it: it grows only by decision.
static void
test_the_directory_takes_what_is_written_down(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct binding), 96);
    assert_int_equal(sizeof(struct reference), 24);
    assert_int_equal(sizeof(struct content), 104);
}

// The rest of what is known of a block comes back from where it is kept.
static void
test_hints_reach_segments(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    static uint8_t data[5000];
    struct cascade_const_span span = {.data = data, .bytes = sizeof(data)};
    struct cascade_put_options how = {.depth = 3,
                                      .turn = 70000,
                                      .request_class = 0xfffffff1u,
                                      .expected_reuse = 0.25f};
    struct block_key parent;
    struct directory_found found;
    struct store_slot slot;

    (void)state;
    store_must_put(store, "parent", 1, 4000);
    how.parent = store_name("parent");
    assert_int_equal(
        cascade_put(store, store_name("child"), &span, 1, &how, NULL),
        CASCADE_OK);
    assert_int_equal(store_key(store, how.parent, &parent), CASCADE_OK);
    assert_int_equal(directory_find_key_in(store->directory, 1,
                                           directory_key_check(&parent),
                                           &found.key),
                     CASCADE_NOT_FOUND);
    assert_int_equal(directory_find_slot(store->directory, 1, &found),
                     CASCADE_OK);
    assert_int_equal(found.bytes, sizeof(data));
    slot = store->blocks[1];
    assert_int_equal(slot.depth, 3);
    assert_int_equal(slot.turn, UINT16_MAX);
    assert_int_equal(slot.request_class, 0xfffffff1u);
    assert_int_equal(slot.parent_slot, 0);
    assert_int_equal(directory_find_key_in(store->directory, slot.parent_slot,
                                           slot.parent_check, &found.key),
                     CASCADE_OK);
    assert_true(block_key_equal(&found.key, &parent));
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_block_in_memory_takes_little,
                                        begin, finish),
        cmocka_unit_test(test_the_directory_takes_what_is_written_down),
        cmocka_unit_test_setup_teardown(test_hints_reach_segments, begin,
                                        finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
