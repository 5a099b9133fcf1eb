// SPDX-License-Identifier: Apache-2.0
//
// The optimum: by hand where it refuses and where ties decide, against all
// choices there are on small random traces, its published scores on the carried
// trace, and those of the classic policies, which never pass it.

#include <inttypes.h>
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
#include "bench/random.h"
#include "bench/simulate_opt.h"
#include "support/allocator_failing.h"

#define BLOCKS 6
#define REQUESTS 14
#define SEED UINT64_C(4711)

static struct simulate_result
run(const struct trace *trace, uint32_t capacity_blocks)
{
    struct simulate_result result;

    assert_int_equal(
        simulate_opt_run(allocator_system(), trace, capacity_blocks, &result),
        CASCADE_OK);
    return result;
}

// Requests of one block each.
static struct trace
single_blocks(uint32_t *refs, struct trace_request *requests, uint32_t count)
{
    static uint64_t ids[BLOCKS] = {1, 2, 3, 4, 5, 6};

    for (uint32_t i = 0; i < count; i++) {
        requests[i] = (struct trace_request){
            .ref_first = i, .ref_count = 1, .input_length = 512};
    }
    return (struct trace){
        .requests = requests,
        .refs = refs,
        .ids = ids,
        .request_count = count,
        .ref_count = count,
        .id_count = BLOCKS,
        .refs_per_request_max = 1,
    };
}

static void
what_is_never_used_again_is_refused(void **state)
{
    uint32_t refs[] = {0, 1, 2, 3, 0, 1};
    struct trace_request requests[6];
    struct trace trace = single_blocks(refs, requests, 6);
    struct simulate_result result = run(&trace, 2);

    (void)state;
    assert_int_equal(result.prefix_hits, 2);
    assert_int_equal(result.insertions, 2);
    assert_int_equal(result.evictions, 0);
    assert_int_equal(run(&trace, 1).prefix_hits, 1);
}

static void
on_ties_the_deepest_goes(void **state)
{
    // One prompt of three blocks, twice; there is room for two.
    static uint32_t refs[] = {0, 1, 2, 0, 1, 2};
    static uint64_t ids[] = {1, 2, 3};
    struct trace_request requests[] = {
        {.ref_first = 0, .ref_count = 3, .input_length = 1536},
        {.ref_first = 3, .ref_count = 3, .input_length = 1536},
    };
    const struct trace trace = {
        .requests = requests,
        .refs = refs,
        .ids = ids,
        .request_count = 2,
        .ref_count = 6,
        .id_count = 3,
        .refs_per_request_max = 3,
    };

    (void)state;
    assert_int_equal(run(&trace, 2).prefix_hits, 2);
    assert_int_equal(run(&trace, 2).block_hits, 2);
    assert_int_equal(run(&trace, 1).prefix_hits, 1);
    assert_int_equal(run(&trace, 3).prefix_hits, 3);
}

static uint32_t
most(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

// Every choice: refuse, or put it in the place of any that is cached.
static uint32_t
best_from(const uint32_t *refs, uint32_t count, uint32_t cached, uint32_t room)
{
    uint32_t bit;
    uint32_t best;

    if (count == 0) {
        return 0;
    }
    bit = 1u << refs[0];
    if ((cached & bit) != 0) {
        return 1 + best_from(refs + 1, count - 1, cached, room);
    }
    best = best_from(refs + 1, count - 1, cached, room);
    if (room > 0) {
        return most(best,
                    best_from(refs + 1, count - 1, cached | bit, room - 1));
    }
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if ((cached >> i & 1) != 0) {
            best = most(best, best_from(refs + 1, count - 1,
                                        (cached & ~(1u << i)) | bit, 0));
        }
    }
    return best;
}

static void
no_choice_is_better(void **state)
{
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    for (uint32_t round = 0; round < 60; round++) {
        uint32_t refs[REQUESTS];
        struct trace_request requests[REQUESTS];
        struct trace trace;

        for (uint32_t i = 0; i < REQUESTS; i++) {
            refs[i] = random_below(&random, BLOCKS);
        }
        trace = single_blocks(refs, requests, REQUESTS);
        for (uint32_t capacity = 1; capacity <= 2; capacity++) {
            assert_int_equal(run(&trace, capacity).prefix_hits,
                             best_from(refs, REQUESTS, 0, capacity));
        }
    }
}

static void
want_of_memory_is_an_error(void **state)
{
    uint32_t refs[] = {0, 1, 0, 1};
    struct trace_request requests[4];
    struct trace trace = single_blocks(refs, requests, 4);
    struct allocator_failing failing;
    uint64_t calls;

    (void)state;
    for (calls = 1;; calls++) {
        struct simulate_result result = {.requests = 99};
        enum cascade_status status;

        allocator_failing_init(&failing, calls);
        status = simulate_opt_run(&failing.table, &trace, 1, &result);
        assert_int_equal(failing.live, 0);
        if (status == CASCADE_OK) {
            break;
        }
        assert_int_equal(status, CASCADE_NO_MEMORY);
        assert_int_equal(result.requests, 99);
    }
    assert_true(calls > 3);
}

// Scores that are known, at 1, 5, 10, 25 and 50 % of the distinct blocks.
static const double capacities[] = {1, 5, 10, 25, 50};

struct known {
    const char *policy;
    double scores[5];
};

static const struct known known[] = {
    {"fifo", {5.1, 17.6, 24.8, 32.7, 35.6}},
    {"lru", {5.2, 19.6, 27.9, 35.3, 36.3}},
    {"s3fifo", {7.5, 18.7, 24.5, 34.4, 36.2}},
    {"sieve", {5.8, 12.7, 19.5, 33.6, 36.3}},
    {"arc", {6.4, 21.2, 28.4, 33.5, 36.3}},
    {"lfu-da", {5.5, 20.6, 28.8, 35.4, 36.3}},
    {"slru", {5.8, 17.8, 27.5, 34.1, 36.3}},
    {"opt", {24.6, 36.6, 36.6, 36.6, 36.6}},
};

static void
scores_are_those_that_are_known(void **state)
{
    // All cells, or, where time is short, two capacities.
    bool all = getenv("CASCADE_TEST_FULL") != NULL;
    const char *source = getenv("CASCADE_SOURCE_DIR");
    struct trace trace;
    char path[512];

    (void)state;
    assert_non_null(source);
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    assert_int_equal(trace_load(allocator_system(), path, 0, &trace),
                     CASCADE_OK);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const struct policy_table *policy = policy_find(known[i].policy);

        for (size_t j = all ? 0 : 1; j < (all ? 5 : 3); j++) {
            const struct simulate_settings settings = {
                .policy = policy,
                .capacity_blocks = simulate_capacity(&trace, capacities[j]),
                .seed = 1,
            };
            struct simulate_result result;
            double score;

            if (policy == NULL) {
                result = run(&trace, settings.capacity_blocks);
            } else {
                assert_int_equal(simulate_run(allocator_system(), &trace,
                                              &settings, &result),
                                 CASCADE_OK);
            }
            score = simulate_pct(result.prefix_hits, &result);
            print_message("%s at %g %%: %.2f, known %.1f\n", known[i].policy,
                          capacities[j], score, known[i].scores[j]);
            assert_true(fabs(score - known[i].scores[j]) <= 0.3);
        }
    }
    trace_release(&trace);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_never_used_again_is_refused),
        cmocka_unit_test(on_ties_the_deepest_goes),
        cmocka_unit_test(no_choice_is_better),
        cmocka_unit_test(want_of_memory_is_an_error),
        cmocka_unit_test(scores_are_those_that_are_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
