// SPDX-License-Identifier: Apache-2.0
//
// The families of made traces: LRU scores on them what it scored where their
// description comes from, they are what a trace must be, and equal seeds give
// equal traces.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "bench/simulate.h"
#include "bench/workload.h"
#include "support/allocator_failing.h"

#define SIZES 5

static void
make(enum workload_family family, uint64_t seed, double scale,
     struct trace *trace)
{
    const struct workload_settings settings = {
        .family = family, .seed = seed, .scale = scale};

    assert_int_equal(workload_make(allocator_system(), &settings, trace),
                     CASCADE_OK);
}

static void
lru_scores_as_described(void **state)
{
    static const double capacities_pct[SIZES] = {1, 5, 10, 25, 50};
    static const double scores[WORKLOAD_FAMILIES][SIZES] = {
        [WORKLOAD_ZIPF] = {18.9, 39.5, 50.0, 65.6, 78.1},
        [WORKLOAD_SCANS] = {18.9, 22.7, 27.4, 31.9, 33.5},
        [WORKLOAD_PHASES] = {23.4, 50.7, 65.4, 76.5, 76.5},
        [WORKLOAD_AGENTS] = {33.5, 81.7, 86.9, 90.0, 90.6},
        [WORKLOAD_LOOP] = {0},
    };

    (void)state;
    for (unsigned family = 0; family < WORKLOAD_FAMILIES; family++) {
        struct trace trace;

        make(family, 1, 1, &trace);
        for (size_t i = 0; i < SIZES; i++) {
            const struct simulate_settings settings = {
                .policy = &policy_lru,
                .capacity_blocks = simulate_capacity(&trace, capacities_pct[i]),
            };
            struct simulate_result result;
            double pct;

            assert_int_equal(
                simulate_run(allocator_system(), &trace, &settings, &result),
                CASCADE_OK);
            pct = simulate_pct(result.prefix_hits, &result);
            if (fabs(pct - scores[family][i]) > 1.5) {
                fail_msg("%s at %g %%: %.2f instead of %.2f",
                         workload_name(family), capacities_pct[i], pct,
                         scores[family][i]);
            }
        }
        trace_release(&trace);
    }
}

static void
assert_is_trace(const struct trace *trace)
{
    size_t refs = 0;
    uint32_t seen = 0;

    for (size_t i = 0; i < trace->request_count; i++) {
        const struct trace_request *request = &trace->requests[i];

        assert_int_equal(request->ref_first, refs);
        assert_true(request->ref_count > 0);
        assert_true(request->ref_count <= trace->refs_per_request_max);
        assert_true(i == 0 || request->timestamp_ms >=
                                  trace->requests[i - 1].timestamp_ms);
        for (uint32_t j = 0; j < request->ref_count; j++) {
            uint32_t ref = trace->refs[refs + j];

            assert_true(ref <= seen);
            seen += ref == seen;
        }
        refs += request->ref_count;
    }
    assert_int_equal(refs, trace->ref_count);
    assert_int_equal(seen, trace->id_count);
    for (size_t i = 0; i < trace->id_count; i++) {
        assert_int_equal(trace->ids[i], i);
    }
}

static void
seeds_and_scales_make_traces(void **state)
{
    (void)state;
    assert_null(workload_name(WORKLOAD_FAMILIES));
    for (unsigned family = 0; family < WORKLOAD_FAMILIES; family++) {
        struct trace one;
        struct trace same;
        struct trace other;

        make(family, 5, 0.1, &one);
        make(family, 5, 0.1, &same);
        make(family, 6, 0.2, &other);
        assert_is_trace(&one);
        assert_is_trace(&other);
        assert_int_equal(one.ref_count, same.ref_count);
        assert_memory_equal(one.refs, same.refs,
                            one.ref_count * sizeof(one.refs[0]));
        assert_true(other.request_count > one.request_count);
        assert_memory_not_equal(one.refs, other.refs,
                                one.ref_count * sizeof(one.refs[0]));
        trace_release(&one);
        trace_release(&same);
        trace_release(&other);
    }
}

static void
want_of_memory_is_told(void **state)
{
    (void)state;
    for (unsigned family = 0; family < WORKLOAD_FAMILIES; family++) {
        const struct workload_settings settings = {
            .family = family, .seed = 1, .scale = 0.01};
        struct allocator_failing failing;
        enum cascade_status status;
        uint64_t fail_at = 0;
        struct trace trace;

        do {
            allocator_failing_init(&failing, ++fail_at);
            status = workload_make(&failing.table, &settings, &trace);
            if (status != CASCADE_OK) {
                assert_int_equal(status, CASCADE_NO_MEMORY);
                assert_int_equal(failing.live, 0);
            }
        } while (status != CASCADE_OK);
        assert_true(fail_at > 1);
        trace_release(&trace);
        assert_int_equal(failing.live, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_scores_as_described),
        cmocka_unit_test(seeds_and_scales_make_traces),
        cmocka_unit_test(want_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
