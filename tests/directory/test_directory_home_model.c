// SPDX-License-Identifier: Apache-2.0
//
// Seeds of the model of home_model.h: none may find a fault; with a mutation,
// some must.
//
//   directory_directory_home_model [SEEDS [FIRST]]
//   directory_directory_home_model trace SEED

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/clock.h"
#include "home_model.h"

#define SEEDS 20000
#define MUTATION_SEEDS 5000

// Seeds that found something once, in the protocol or in the model.
static const uint64_t known[] = {21, 50, 397933};

static uint64_t seeds = SEEDS;
static uint64_t first = 1;

static void
known_seeds_find_nothing_any_more(void **state)
{
    struct home_model *model = home_model_create();

    (void)state;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const char *fault =
            home_model_run(model, known[i], HOME_MUTATION_NONE, false).fault;

        if (fault != NULL) {
            fail_msg("seed %llu: %s", (unsigned long long)known[i], fault);
        }
    }
    home_model_destroy(model);
}

static void
no_seed_finds_a_fault(void **state)
{
    struct home_model *model = home_model_create();
    const struct clock_source *clock = clock_system();
    uint64_t operations = 0;
    uint64_t messages = 0;
    uint64_t began_ns = clock->steady_ns(clock->self);
    double seconds;

    (void)state;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct home_model_result result = home_model_run(
            model, seed, HOME_MUTATION_NONE, false);

        operations += result.operations;
        messages += result.messages;
        if (result.fault != NULL) {
            fail_msg("seed %llu: %s; see: directory_directory_home_model "
                     "trace %llu",
                     (unsigned long long)seed, result.fault,
                     (unsigned long long)seed);
        }
    }
    seconds = (double)(clock->steady_ns(clock->self) - began_ns) / 1e9;
    print_message("seeds %llu to %llu: %llu operations, %llu messages, %.0f "
                  "operations per second\n",
                  (unsigned long long)first,
                  (unsigned long long)(first + seeds - 1),
                  (unsigned long long)operations, (unsigned long long)messages,
                  (double)operations / seconds);
    home_model_destroy(model);
}

static void
every_mutation_is_found(void **state)
{
    struct home_model *model = home_model_create();

    (void)state;
    for (int m = HOME_MUTATION_NONE + 1; m < HOME_MUTATION_COUNT; m++) {
        const char *fault = NULL;
        uint64_t seed = first;

        for (; fault == NULL && seed < first + MUTATION_SEEDS; seed++) {
            fault =
                home_model_run(model, seed, (enum home_mutation)m, false).fault;
        }
        print_message("mutation %d: %s after %llu seeds\n", m,
                      fault != NULL ? fault : "NOTHING",
                      (unsigned long long)(seed - first));
        assert_non_null(fault);
    }
    home_model_destroy(model);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_seeds_find_nothing_any_more),
        cmocka_unit_test(no_seed_finds_a_fault),
        cmocka_unit_test(every_mutation_is_found),
    };

    if (argc > 2 && strcmp(argv[1], "trace") == 0) {
        struct home_model *model = home_model_create();
        struct home_model_result result = home_model_run(
            model, strtoull(argv[2], NULL, 10), HOME_MUTATION_NONE, true);

        printf("%s\n", result.fault != NULL ? result.fault : "no fault");
        home_model_destroy(model);
        return result.fault != NULL ? 1 : 0;
    }
    if (argc > 1) {
        seeds = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        first = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
