// SPDX-License-Identifier: Apache-2.0
//
// The simulated fabric under the conformance suite: reliable, and losing,
// doubling and reordering, under several seeds. What comes out of the latter is
// the proof of the channel.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/units.h"
#include "conformance/fabric_suite.h"
#include "support/fabric_sim.h"

#define RANKS_MAX 8
#define SECOND_NS ((uint64_t)1000000000)

struct place {
    struct fabric_sim *sim;
    uint16_t rank;
    struct fabric_suite suite;
    int failures;
};

static void
started(void *context, struct fabric_port *port)
{
    struct place *place = context;

    fabric_sim_serve(place->sim, place->rank, fabric_sim_serve_port, port);
}

static void
stopping(void *context, struct fabric_port *port)
{
    struct place *place = context;

    (void)port;
    fabric_sim_serve(place->sim, place->rank, NULL, NULL);
}

static void
pause_a_moment(void *context)
{
    struct place *place = context;

    fabric_sim_sleep(place->sim, 10000);
}

static void
run_suite(void *context)
{
    struct place *place = context;

    place->failures = fabric_suite_run(&place->suite);
}

static void
conform(const char *name, uint64_t seed, uint16_t ranks,
        const struct fabric_sim_options *options, uint64_t bulk_bytes_max)
{
    struct fabric_sim *sim = fabric_sim_create(seed, ranks, options);
    static struct place places[RANKS_MAX];
    struct fabric_sim_usage usage;

    print_message("%s, %u ranks, seed %llu\n", name, ranks,
                  (unsigned long long)seed);
    for (uint16_t i = 0; i < ranks; i++) {
        places[i] = (struct place){
            .sim = sim,
            .rank = i,
            .suite = {.name = name,
                      .options = {.allocator = allocator_system(),
                                  .clock = fabric_sim_clock(sim, i)},
                      .bulk_bytes_max = bulk_bytes_max,
                      .messages = 150,
                      .patience_ns = 3600 * SECOND_NS,
                      .started = started,
                      .stopping = stopping,
                      .pause = pause_a_moment,
                      .context = &places[i]},
            .failures = -1,
        };
        fabric_sim_fabric(sim, i, &places[i].suite.options.fabric);
        fabric_sim_spawn(sim, i, "suite", run_suite, &places[i]);
    }
    assert_true(fabric_sim_run(sim, 100000 * SECOND_NS));
    for (uint16_t i = 0; i < ranks; i++) {
        assert_int_equal(places[i].failures, 0);
    }
    fabric_sim_usage(sim, &usage);
    if (options->loss_ppm > 0) {
        assert_true(usage.lost > 0 && usage.doubled > 0);
    }
    fabric_sim_destroy(sim);
}

static void
test_reliable(void **state)
{
    const struct fabric_sim_options options = {
        .capabilities = FABRIC_RELIABLE | FABRIC_READ,
        .busy_ppm = 20000,
    };

    (void)state;
    conform("sim, reliable", 1, 1, &options, 64 * MIB);
    conform("sim, reliable", 2, 2, &options, 16 * MIB);
    conform("sim, reliable", 3, 5, &options, MIB);
}

static void
test_lossy(void **state)
{
    const struct fabric_sim_options options = {
        .loss_ppm = 50000,
        .double_ppm = 50000,
        .busy_ppm = 20000,
        .delay_ns_min = 500,
        .delay_ns_max = 400000,
        .bulk_delay_ns_max = 50000000,
    };

    (void)state;
    for (uint64_t seed = 10; seed < 16; seed++) {
        conform("sim, lossy", seed, (uint16_t)(2 + seed % 4), &options, MIB);
    }
}

static void
test_very_lossy(void **state)
{
    const struct fabric_sim_options options = {
        .loss_ppm = 300000,
        .double_ppm = 200000,
        .delay_ns_min = 1000,
        .delay_ns_max = 20000000,
    };

    (void)state;
    conform("sim, very lossy", 20, 3, &options, 100 * KIB);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reliable),
        cmocka_unit_test(test_lossy),
        cmocka_unit_test(test_very_lossy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
