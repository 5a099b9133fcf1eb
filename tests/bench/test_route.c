// SPDX-License-Identifier: Apache-2.0
//
// Tests of sharing requests out over ranks.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "bench/route.h"

#define RANKS 4
#define REQUESTS 400
#define REFS 3

// Conversations of two turns: block 0 is common, the second turn of
// conversation c has one block more than the first.
struct fixture {
    struct trace_request requests[REQUESTS];
    uint32_t refs[REQUESTS * REFS];
    uint64_t ids[REQUESTS * REFS];
    struct trace trace;
};

static struct fixture fixture;

static int
make_trace(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        uint32_t conversation = i % (REQUESTS / 2);
        uint32_t *blocks = fixture.refs + i * REFS;

        fixture.requests[i] = (struct trace_request){
            .ref_first = i * REFS,
            .ref_count = i < REQUESTS / 2 ? REFS - 1 : REFS,
        };
        blocks[0] = 0;
        blocks[1] = 1 + conversation;
        blocks[2] = 1 + REQUESTS + conversation;
    }
    fixture.trace = (struct trace){
        .requests = fixture.requests,
        .refs = fixture.refs,
        .ids = fixture.ids,
        .request_count = REQUESTS,
        .ref_count = REQUESTS * REFS,
        .id_count = REQUESTS * REFS,
        .refs_per_request_max = REFS,
    };
    return 0;
}

static void
share_out(enum route route, uint64_t seed, uint16_t *ranks)
{
    assert_int_equal(route_requests(allocator_system(), &fixture.trace, route,
                                    RANKS, seed, ranks),
                     CASCADE_OK);
}

static size_t
turns_together(const uint16_t *ranks)
{
    size_t count = 0;

    for (size_t i = 0; i < REQUESTS / 2; i++) {
        count += ranks[i] == ranks[i + REQUESTS / 2];
    }
    return count;
}

static void
test_a_conversation_stays_with_its_rank(void **state)
{
    uint16_t ranks[REQUESTS];
    size_t of_rank[RANKS] = {0};

    (void)state;
    share_out(ROUTE_AFFINITY, 1, ranks);
    assert_int_equal(turns_together(ranks), REQUESTS / 2);
    for (size_t i = 0; i < REQUESTS; i++) {
        of_rank[ranks[i]]++;
    }
    for (size_t r = 0; r < RANKS; r++) {
        assert_int_equal(of_rank[r], REQUESTS / RANKS);
    }
}

// All requests are one conversation: a rank gets no more than it should.
static void
test_nobody_gets_everything(void **state)
{
    uint16_t ranks[REQUESTS];
    size_t most = 0;
    size_t of_rank[RANKS] = {0};

    (void)state;
    for (size_t i = 0; i < REQUESTS; i++) {
        fixture.refs[i * REFS + 1] = 1;
    }
    share_out(ROUTE_AFFINITY, 1, ranks);
    for (size_t i = 0; i < REQUESTS; i++) {
        of_rank[ranks[i]]++;
    }
    for (size_t r = 0; r < RANKS; r++) {
        most = of_rank[r] > most ? of_rank[r] : most;
    }
    assert_in_range(most, REQUESTS / RANKS, REQUESTS / 3);
}

static void
test_random_is_spread_and_repeatable(void **state)
{
    uint16_t ranks[REQUESTS];
    uint16_t again[REQUESTS];
    uint16_t other[REQUESTS];

    (void)state;
    share_out(ROUTE_RANDOM, 7, ranks);
    share_out(ROUTE_RANDOM, 7, again);
    share_out(ROUTE_RANDOM, 8, other);
    assert_memory_equal(ranks, again, sizeof(ranks));
    assert_memory_not_equal(ranks, other, sizeof(ranks));
    assert_in_range(turns_together(ranks), 1, REQUESTS / 4);
}

static void
test_names(void **state)
{
    enum route route;

    (void)state;
    assert_true(route_find("affinity", &route));
    assert_int_equal(route, ROUTE_AFFINITY);
    assert_true(route_find("random", &route));
    assert_string_equal(route_name(route), "random");
    assert_false(route_find("none", &route));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_conversation_stays_with_its_rank,
                               make_trace),
        cmocka_unit_test_setup(test_nobody_gets_everything, make_trace),
        cmocka_unit_test_setup(test_random_is_spread_and_repeatable,
                               make_trace),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
