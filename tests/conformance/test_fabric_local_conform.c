// SPDX-License-Identifier: Apache-2.0
//
// Ports with their threads under the conformance suite: several ranks in one
// process. Under the sanitizer of threads this is the proof of the port.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "conformance/fabric_suite.h"
#include "support/fabric_local.h"

#define RANKS 3

struct place {
    struct fabric_suite suite;
    int failures;
};

static void *
run_suite(void *context)
{
    struct place *place = context;

    place->failures = fabric_suite_run(&place->suite);
    return NULL;
}

static void
test_ranks_with_threads(void **state)
{
    struct fabric_local *local = fabric_local_make(RANKS);
    static struct place places[RANKS];
    pthread_t threads[RANKS];

    (void)state;
    for (uint16_t i = 0; i < RANKS; i++) {
        places[i] = (struct place){
            .suite = {.name = "local",
                      .options = {.allocator = allocator_system(),
                                  .clock = clock_system(),
                                  .fabric = fabric_local_rank(local, i,
                                                              FABRIC_BULK),
                                  .doorbell = fabric_local_doorbell(local, i),
                                  .ring = fabric_local_ring,
                                  .ring_context = local},
                      .bulk_bytes_max = 4 * MIB,
                      .messages = 200,
                      .threads = 3},
        };
    }
    for (uint16_t i = 0; i < RANKS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, run_suite, &places[i]), 0);
    }
    for (uint16_t i = 0; i < RANKS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(places[i].failures, 0);
    }
    fabric_local_free(local);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_with_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
