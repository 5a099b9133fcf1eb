// SPDX-License-Identifier: Apache-2.0
//
// Several threads that open one root at the same moment. Interleavings that can
// be told in order are in test_tier_segment_share.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <pthread.h>
#include <cmocka.h>

#include "tier/cold_fixture.h"

#define RACERS 6

struct racer {
    struct cold_store *store;
    pthread_barrier_t *start;
    enum cascade_status status;
};

static void *
race(void *context)
{
    struct racer *racer = context;

    (void)pthread_barrier_wait(racer->start);
    racer->status = cold_open(racer->store);
    return NULL;
}

static void
test_of_many_openers_exactly_one_wins(void **state)
{
    static struct cold_store stores[RACERS];
    struct cold_world world;

    (void)state;
    for (unsigned round = 0; round < 25; round++) {
        pthread_barrier_t start;
        pthread_t threads[RACERS];
        struct racer racers[RACERS];
        unsigned won = 0;

        cold_world_make(&world);
        assert_int_equal(pthread_barrier_init(&start, NULL, RACERS), 0);
        for (unsigned i = 0; i < RACERS; i++) {
            cold_prepare(&world, &stores[i], COLD_HERE, true);
            racers[i] = (struct racer){&stores[i], &start, CASCADE_OK};
            assert_int_equal(
                pthread_create(&threads[i], NULL, race, &racers[i]), 0);
        }
        for (unsigned i = 0; i < RACERS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            if (racers[i].status == CASCADE_OK) {
                won++;
            } else {
                assert_int_equal(racers[i].status, CASCADE_LOCKED);
            }
        }
        assert_int_equal(won, 1);
        for (unsigned i = 0; i < RACERS; i++) {
            if (racers[i].status == CASCADE_OK) {
                assert_int_equal(tier_segment_close(stores[i].cold),
                                 CASCADE_OK);
            }
        }
        (void)pthread_barrier_destroy(&start);
        cold_world_remove(&world);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_many_openers_exactly_one_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
