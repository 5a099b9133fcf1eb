// SPDX-License-Identifier: Apache-2.0
//
// The scores of the default policy: on the recorded trace at least what was set
// out to be reached, on made traces close to the best of the classics, and with
// hints better than without. Without argument a few cells; with one, all sizes
// and several seeds, which takes minutes.

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
#include "bench/workload.h"

#define SIZES 5
#define SEED_FIRST 101

static const double capacities_pct[SIZES] = {1, 5, 10, 25, 50};
static bool all_cells;

static double
score(const struct trace *trace, const char *policy, double capacity_pct,
      double hints_right)
{
    const struct simulate_settings settings = {
        .policy = policy_find(policy),
        .capacity_blocks = simulate_capacity(trace, capacity_pct),
        .seed = 1,
        .hints_right = hints_right,
    };
    struct simulate_result result;

    assert_non_null(settings.policy);
    assert_int_equal(
        simulate_run(allocator_system(), trace, &settings, &result),
        CASCADE_OK);
    return simulate_pct(result.prefix_hits, &result);
}

static void
load_recorded(struct trace *trace)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");
    char path[4096];

    if (source == NULL) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    assert_int_equal(trace_load(allocator_system(), path, 0, trace),
                     CASCADE_OK);
}

static void
the_recorded_trace_reaches_its_bars(void **state)
{
    // Rounded to one digit, as they are published.
    static const double bars[SIZES] = {10.0, 21.2, 28.8, 35.3, 36.2};
    struct trace trace;

    (void)state;
    load_recorded(&trace);
    for (size_t i = 0; i < SIZES; i++) {
        double pct = score(&trace, "cascade", capacities_pct[i], 0);

        print_message("%g %%: %.2f, bar %.1f\n", capacities_pct[i], pct,
                      bars[i]);
        assert_true(round(10 * pct) >= 10 * bars[i]);
    }
    trace_release(&trace);
}

static void
hints_outrank_guesses(void **state)
{
    struct trace trace;

    (void)state;
    load_recorded(&trace);
    for (size_t i = 1; i < (all_cells ? SIZES : 2); i++) {
        double without = score(&trace, "cascade", capacities_pct[i], 0);
        double with = score(&trace, "cascade", capacities_pct[i], 0.8);

        print_message("%g %%: %.2f without hints, %.2f with\n",
                      capacities_pct[i], without, with);
        assert_true(with > without);
        assert_true(capacities_pct[i] != 5 || with >= 26);
    }
    trace_release(&trace);
}

static void
assert_close_to_the_best(enum workload_family family, uint64_t seed,
                         double scale)
{
    static const char *const classics[] = {"lru", "lfu-da", "arc", "s3fifo"};
    const struct workload_settings settings = {
        .family = family, .seed = seed, .scale = scale};
    double limit = family == WORKLOAD_PHASES ? 1.5 : 1;
    struct trace trace;

    assert_int_equal(workload_make(allocator_system(), &settings, &trace),
                     CASCADE_OK);
    for (size_t i = all_cells ? 0 : 1; i < (all_cells ? SIZES : 2); i++) {
        double pct = score(&trace, "cascade", capacities_pct[i], 0);
        double best = 0;

        for (size_t j = 0; j < sizeof(classics) / sizeof(classics[0]); j++) {
            best = fmax(best, score(&trace, classics[j], capacities_pct[i], 0));
        }
        print_message("%s, seed %llu, scale %g, %g %%: %.2f, best classic "
                      "%.2f\n",
                      workload_name(family), (unsigned long long)seed, scale,
                      capacities_pct[i], pct, best);
        assert_true(pct >= best - limit);
    }
    trace_release(&trace);
}

static void
made_traces_are_close_to_the_best_classic(void **state)
{
    uint64_t seeds = all_cells ? 4 : 1;

    (void)state;
    for (unsigned family = 0; family < WORKLOAD_FAMILIES; family++) {
        for (uint64_t seed = SEED_FIRST; seed < SEED_FIRST + seeds; seed++) {
            assert_close_to_the_best(family, seed, 1);
            if (all_cells) {
                assert_close_to_the_best(family, seed, 2);
            }
        }
    }
}

int
main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_recorded_trace_reaches_its_bars),
        cmocka_unit_test(hints_outrank_guesses),
        cmocka_unit_test(made_traces_are_close_to_the_best_classic),
    };

    (void)arguments;
    all_cells = count > 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
