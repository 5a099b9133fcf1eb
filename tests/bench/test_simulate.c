// SPDX-License-Identifier: Apache-2.0
//
// The simulation: by hand on small traces, the published scores of LRU on the
// carried trace, and want of memory.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "bench/simulate.h"
#include "support/allocator_failing.h"

// Three prompts of two blocks that share their first, then the first again:
// refs 0 1, 0 2, 0 3, 0 1.
static uint32_t small_refs[] = {0, 1, 0, 2, 0, 3, 0, 1};
static uint64_t small_ids[] = {100, 200, 300, 400};
static struct trace_request small_requests[] = {
    {.ref_first = 0, .ref_count = 2, .input_length = 1024},
    {.ref_first = 2, .ref_count = 2, .input_length = 1024},
    {.ref_first = 4, .ref_count = 2, .input_length = 1024},
    {.ref_first = 6, .ref_count = 2, .input_length = 700},
};
static const struct trace small = {
    .requests = small_requests,
    .refs = small_refs,
    .ids = small_ids,
    .request_count = 4,
    .ref_count = 8,
    .id_count = 4,
    .refs_per_request_max = 2,
};

static struct simulate_result
run(const struct trace *trace, uint32_t capacity_blocks, double hints_right)
{
    const struct simulate_settings settings = {
        .policy = &policy_lru,
        .capacity_blocks = capacity_blocks,
        .hints_right = hints_right,
        .seed = 1,
    };
    struct simulate_result result;

    assert_int_equal(
        simulate_run(allocator_system(), trace, &settings, &result),
        CASCADE_OK);
    return result;
}

static void
hits_are_counted_before_the_request(void **state)
{
    struct simulate_result result = run(&small, 4, 0);

    (void)state;
    assert_int_equal(result.requests, 4);
    assert_int_equal(result.block_refs, 8);
    assert_int_equal(result.prefix_hits, 1 + 1 + 2);
    assert_int_equal(result.block_hits, 4);
    assert_int_equal(result.insertions, 4);
    assert_int_equal(result.evictions, 0);

    // Two slots: the root stays, the second block goes each time, and the
    // deepest is inserted first.
    result = run(&small, 2, 0);
    assert_int_equal(result.prefix_hits, 3);
    assert_int_equal(result.block_hits, 3);
    assert_int_equal(result.insertions, 5);
    assert_int_equal(result.evictions, 3);

    // One slot: the deepest goes when its root comes.
    result = run(&small, 1, 0);
    assert_int_equal(result.prefix_hits, 3);
    assert_int_equal(result.insertions, 8);
    assert_int_equal(result.evictions, 7);
}

static void
a_hole_ends_the_prefix(void **state)
{
    uint32_t refs[] = {0, 1, 2, 0, 3, 2};
    struct trace_request requests[] = {
        {.ref_first = 0, .ref_count = 3},
        {.ref_first = 3, .ref_count = 3},
    };
    struct trace trace = small;
    struct simulate_result result;

    (void)state;
    trace.refs = refs;
    trace.requests = requests;
    trace.request_count = 2;
    trace.ref_count = 6;
    result = run(&trace, 4, 0);
    assert_int_equal(result.prefix_hits, 1);
    assert_int_equal(result.block_hits, 2);
}

static void
only_a_last_block_that_is_not_full_is_partial(void **state)
{
    struct policy_facts facts = simulate_facts(&small, &small_requests[0], 1);

    (void)state;
    assert_int_equal(facts.flags, 0);
    assert_int_equal(facts.bytes, 1);
    assert_int_equal(facts.depth, 1);
    assert_int_equal(facts.parent, POLICY_NONE);
    assert_int_equal(simulate_facts(&small, &small_requests[3], 0).flags, 0);
    assert_int_equal(simulate_facts(&small, &small_requests[3], 1).flags,
                     POLICY_PARTIAL);
    assert_true(facts.hash ==
                simulate_facts(&small, &small_requests[3], 1).hash);
    assert_true(facts.hash !=
                simulate_facts(&small, &small_requests[1], 1).hash);
}

static void
capacities_are_rounded_to_the_nearest(void **state)
{
    struct trace trace = small;

    (void)state;
    trace.id_count = 182790;
    assert_int_equal(simulate_capacity(&trace, 1), 1828);
    assert_int_equal(simulate_capacity(&trace, 5), 9140);
    assert_int_equal(simulate_capacity(&trace, 50), 91395);
    assert_int_equal(simulate_capacity(&small, 0.001), 1);
}

// Two slots: a conversation that ends leaves before one that goes on.
static void
hints_decide_who_goes(void **state)
{
    uint32_t refs[] = {0, 1, 2, 0};
    struct trace_request requests[] = {
        {.ref_first = 0, .ref_count = 1, .input_length = 512},
        {.ref_first = 1, .ref_count = 1, .input_length = 512},
        {.ref_first = 2, .ref_count = 1, .input_length = 512},
        {.ref_first = 3, .ref_count = 1, .input_length = 512},
    };
    struct trace trace = small;

    (void)state;
    trace.refs = refs;
    trace.requests = requests;
    trace.ref_count = 4;
    assert_int_equal(run(&trace, 2, 0).prefix_hits, 0);
    assert_int_equal(run(&trace, 2, 1).prefix_hits, 1);
}

static void
lru_scores_what_was_published(void **state)
{
    static const double capacities_pct[] = {1, 5, 10, 25, 50};
    static const double prefix_hit_pct[] = {5.2, 19.6, 27.9, 35.3, 36.3};
    const char *source = getenv("CASCADE_SOURCE_DIR");
    struct trace trace;
    char path[4096];

    (void)state;
    if (source == NULL) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    assert_int_equal(trace_load(allocator_system(), path, 0, &trace),
                     CASCADE_OK);
    for (size_t i = 0; i < 5; i++) {
        struct simulate_result result = run(
            &trace, simulate_capacity(&trace, capacities_pct[i]), 0);
        double pct = simulate_pct(result.prefix_hits, &result);

        assert_int_equal(result.block_refs, 288500);
        assert_int_equal(lround(10 * pct), lround(10 * prefix_hit_pct[i]));
    }
    trace_release(&trace);
}

static void
want_of_memory_is_told(void **state)
{
    const struct simulate_settings settings = {.policy = &policy_lru,
                                               .capacity_blocks = 2};
    struct simulate_result result;
    struct allocator_failing failing;
    uint64_t fail_at = 0;
    enum cascade_status status;

    (void)state;
    do {
        allocator_failing_init(&failing, ++fail_at);
        memset(&result, 0x5a, sizeof(result));
        status = simulate_run(&failing.table, &small, &settings, &result);
        assert_int_equal(failing.live, 0);
        if (status != CASCADE_OK) {
            assert_int_equal(status, CASCADE_NO_MEMORY);
            assert_int_equal(result.requests, 0x5a5a5a5a5a5a5a5a);
        }
    } while (status != CASCADE_OK);
    assert_true(fail_at > 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_are_counted_before_the_request),
        cmocka_unit_test(a_hole_ends_the_prefix),
        cmocka_unit_test(only_a_last_block_that_is_not_full_is_partial),
        cmocka_unit_test(capacities_are_rounded_to_the_nearest),
        cmocka_unit_test(hints_decide_who_goes),
        cmocka_unit_test(lru_scores_what_was_published),
        cmocka_unit_test(want_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
