// SPDX-License-Identifier: Apache-2.0
//
// The simulation itself: the same seed gives the same run, another seed another
// one; time is virtual; what goes wrong goes wrong as asked; it is fast.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "support/fabric_sim.h"

#define SECOND_NS ((uint64_t)1000000000)
#define MILLISECOND_NS ((uint64_t)1000000)
#define RANKS_MAX 256

enum subject {
    SUBJECT_ECHO = 1,
    SUBJECT_NOTICE = 2,
};

struct rank {
    struct fabric_sim *sim;
    struct fabric_port *port;
    uint16_t rank;
    uint16_t count;
    uint64_t rounds;
    uint64_t notices;
    unsigned wrong;
    unsigned lost;
    enum cascade_status status;
};

static struct rank ranks[RANKS_MAX];

static void
echo(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;

    fabric_port_answer(rank->port, message->answer, CASCADE_OK, message->data,
                       message->bytes);
}

static void
count_notice(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;

    (void)message;
    rank->notices++;
}

static void
on_lost(void *context, uint16_t lost)
{
    struct rank *rank = context;

    (void)lost;
    rank->lost++;
}

static void
open_rank(struct fabric_sim *sim, uint16_t i, uint16_t count,
          uint64_t silence_ns)
{
    struct fabric_port_options options = {
        .allocator = allocator_system(),
        .clock = fabric_sim_clock(sim, i),
        .silence_ns = silence_ns,
    };
    struct rank *rank = &ranks[i];

    memset(rank, 0, sizeof(*rank));
    rank->sim = sim;
    rank->rank = i;
    rank->count = count;
    fabric_sim_fabric(sim, i, &options.fabric);
    assert_int_equal(fabric_port_open(&options, &rank->port), CASCADE_OK);
    fabric_port_handle(rank->port, SUBJECT_ECHO, echo, rank);
    fabric_port_handle(rank->port, SUBJECT_NOTICE, count_notice, rank);
    fabric_port_watch(rank->port, on_lost, rank);
    assert_int_equal(fabric_port_start(rank->port), CASCADE_OK);
    fabric_sim_serve(sim, i, fabric_sim_serve_port, rank->port);
}

static struct fabric_sim *
open_ranks(uint64_t seed, uint16_t count,
           const struct fabric_sim_options *options)
{
    struct fabric_sim *sim = fabric_sim_create(seed, count, options);

    for (uint16_t i = 0; i < count; i++) {
        open_rank(sim, i, count, 0);
    }
    return sim;
}

static void
close_rank(struct fabric_sim *sim, uint16_t i)
{
    fabric_sim_serve(sim, i, NULL, NULL);
    fabric_port_close(ranks[i].port);
    ranks[i].port = NULL;
}

static void
close_ranks(struct fabric_sim *sim, uint16_t count)
{
    for (uint16_t i = 0; i < count; i++) {
        fabric_port_stop(ranks[i].port);
    }
    for (uint16_t i = 0; i < count; i++) {
        if (ranks[i].port != NULL) {
            close_rank(sim, i);
        }
    }
    fabric_sim_destroy(sim);
}

// Asks others at random.
static void
ask_around(void *context)
{
    struct rank *rank = context;

    for (uint64_t i = 0; i < rank->rounds; i++) {
        uint64_t number = rank->rank * 1000000u + i;
        uint64_t reply = 0;
        struct fabric_call call = {
            .to = (uint16_t)fabric_sim_random(rank->sim, rank->count),
            .subject = SUBJECT_ECHO,
            .data = &number,
            .bytes = sizeof(number),
            .reply = &reply,
            .reply_room = sizeof(reply),
            .deadline_ns = UINT64_MAX,
        };

        rank->wrong += fabric_port_ask(rank->port, &call) != CASCADE_OK;
        rank->wrong += reply != number;
    }
}

static uint64_t
trace_of(uint64_t seed, uint32_t capabilities)
{
    const struct fabric_sim_options options = {
        .capabilities = capabilities,
        .loss_ppm = 30000,
        .double_ppm = 30000,
        .busy_ppm = 10000,
    };
    struct fabric_sim *sim = open_ranks(seed, 8, &options);
    uint64_t trace;

    for (uint16_t i = 0; i < 8; i++) {
        ranks[i].rounds = 50;
        fabric_sim_spawn(sim, i, "ask around", ask_around, &ranks[i]);
        fabric_sim_spawn(sim, i, "ask around too", ask_around, &ranks[i]);
    }
    assert_true(fabric_sim_run(sim, 3600 * SECOND_NS));
    for (uint16_t i = 0; i < 8; i++) {
        assert_int_equal(ranks[i].wrong, 0);
    }
    trace = fabric_sim_trace(sim);
    close_ranks(sim, 8);
    return trace;
}

static void
test_a_seed_is_a_run(void **state)
{
    (void)state;
    for (uint32_t reliable = 0; reliable < 2; reliable++) {
        uint64_t first = trace_of(7, reliable * FABRIC_RELIABLE);

        assert_int_equal(first, trace_of(7, reliable * FABRIC_RELIABLE));
        assert_int_not_equal(first, trace_of(8, reliable * FABRIC_RELIABLE));
    }
}

static void
wait_in_vain(void *context)
{
    struct rank *rank = context;
    struct fabric_call call = {
        .to = 1,
        .subject = SUBJECT_ECHO,
        .deadline_ns = clock_deadline_ns(fabric_sim_clock(rank->sim, 0),
                                         3600 * SECOND_NS),
    };

    rank->status = fabric_port_ask(rank->port, &call);
}

static void
test_waiting_costs_no_time(void **state)
{
    struct fabric_sim *sim = open_ranks(1, 2, NULL);

    (void)state;
    fabric_sim_cut(sim, 0, 1);
    fabric_sim_spawn(sim, 0, "wait in vain", wait_in_vain, &ranks[0]);
    assert_false(fabric_sim_run(sim, SECOND_NS));
    assert_true(fabric_sim_run(sim, 3700 * SECOND_NS));
    assert_int_equal(ranks[0].status, CASCADE_TIMEOUT);
    assert_true(fabric_sim_now_ns(sim) >= 3600 * SECOND_NS);
    fabric_sim_heal(sim, 0, 1);
    close_ranks(sim, 2);
}

static void
test_a_cut_pair_goes_on_when_healed(void **state)
{
    (void)state;
    for (uint32_t reliable = 0; reliable < 2; reliable++) {
        const struct fabric_sim_options options = {
            .capabilities = reliable * FABRIC_RELIABLE,
        };
        struct fabric_sim *sim = open_ranks(3, 3, &options);

        fabric_sim_cut(sim, 0, 1);
        fabric_sim_silence(sim, 1, true);
        fabric_sim_spawn(sim, 0, "wait in vain", wait_in_vain, &ranks[0]);
        assert_false(fabric_sim_run(sim, SECOND_NS));
        fabric_sim_heal(sim, 0, 1);
        assert_false(fabric_sim_run(sim, SECOND_NS));
        fabric_sim_silence(sim, 1, false);
        assert_true(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[0].status, CASCADE_OK);
        close_ranks(sim, 3);
    }
}

static void
test_a_death_is_told(void **state)
{
    const struct fabric_sim_options options = {
        .lost_after_ns = 5 * MILLISECOND_NS,
    };
    struct fabric_sim *sim = open_ranks(4, 3, &options);

    (void)state;
    fabric_sim_spawn(sim, 0, "wait in vain", wait_in_vain, &ranks[0]);
    fabric_sim_kill(sim, 1);
    assert_true(fabric_sim_run(sim, SECOND_NS));
    assert_int_equal(ranks[0].status, CASCADE_CLOSED);
    assert_int_equal(ranks[0].lost, 1);
    assert_int_equal(ranks[1].lost, 2);
    fabric_sim_settle(sim, SECOND_NS);
    assert_int_equal(ranks[2].lost, 1);
    assert_false(fabric_port_is_alive(ranks[0].port, 1));
    // It comes again and is asked again.
    close_rank(sim, 1);
    open_rank(sim, 1, 3, 0);
    ranks[1].rounds = 20;
    fabric_sim_spawn(sim, 1, "ask around", ask_around, &ranks[1]);
    assert_true(fabric_sim_run(sim, SECOND_NS));
    assert_int_equal(ranks[1].wrong, 0);
    assert_true(fabric_port_is_alive(ranks[0].port, 1));
    fabric_sim_spawn(sim, 0, "wait in vain", wait_in_vain, &ranks[0]);
    assert_true(fabric_sim_run(sim, SECOND_NS));
    assert_int_equal(ranks[0].status, CASCADE_OK);
    close_ranks(sim, 3);
}

static void
test_clocks_jump_and_drift(void **state)
{
    struct fabric_sim *sim = fabric_sim_create(5, 2, NULL);
    const struct clock_source *clock = fabric_sim_clock(sim, 1);
    uint64_t steady = clock_steady_ns(clock);
    uint64_t wall = clock_wall_ns(clock);

    (void)state;
    fabric_sim_settle(sim, SECOND_NS);
    assert_int_equal(clock_steady_ns(clock), steady + SECOND_NS);
    fabric_sim_drift(sim, 1, 100000);
    fabric_sim_settle(sim, SECOND_NS);
    assert_int_equal(clock_steady_ns(clock),
                     steady + 2 * SECOND_NS + SECOND_NS / 10);
    fabric_sim_drift(sim, 1, -100000);
    fabric_sim_jump(sim, 1, -(int64_t)(50 * SECOND_NS), 7 * SECOND_NS);
    fabric_sim_settle(sim, SECOND_NS);
    assert_int_equal(clock_steady_ns(clock), steady + 10 * SECOND_NS);
    assert_int_equal(clock_wall_ns(clock), wall - 40 * SECOND_NS);
    fabric_sim_destroy(sim);
}

static void
tell_much(void *context)
{
    struct rank *rank = context;

    for (uint64_t i = 0; i < rank->rounds;) {
        uint16_t to = (uint16_t)fabric_sim_random(rank->sim, rank->count);

        if (fabric_port_tell(rank->port, to, SUBJECT_NOTICE, &i, sizeof(i)) ==
            CASCADE_OK) {
            i++;
        } else {
            fabric_sim_sleep(rank->sim, 10000);
        }
    }
}

// A million messages among many ranks: printed, with a bound far away.
static void
test_many_messages_among_many_ranks(void **state)
{
    const struct fabric_sim_options options = {
        .capabilities = FABRIC_RELIABLE,
    };
    uint64_t rounds = 200000 / RANKS_MAX;
    struct fabric_sim *sim = open_ranks(6, RANKS_MAX, &options);
    uint64_t since = clock_steady_ns(clock_system());
    struct fabric_sim_usage usage;
    uint64_t took;
    uint64_t came = 0;

    (void)state;
    for (uint16_t i = 0; i < RANKS_MAX; i++) {
        ranks[i].rounds = rounds;
        fabric_sim_spawn(sim, i, "tell much", tell_much, &ranks[i]);
    }
    assert_true(fabric_sim_run(sim, 3600 * SECOND_NS));
    fabric_sim_settle(sim, SECOND_NS);
    took = clock_steady_ns(clock_system()) - since;
    for (uint16_t i = 0; i < RANKS_MAX; i++) {
        came += ranks[i].notices;
    }
    assert_int_equal(came, rounds * RANKS_MAX);
    fabric_sim_usage(sim, &usage);
    print_message("%llu messages, %llu slices in %llu ms\n",
                  (unsigned long long)came, (unsigned long long)usage.slices,
                  (unsigned long long)(took / MILLISECOND_NS));
    close_ranks(sim, RANKS_MAX);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_seed_is_a_run),
        cmocka_unit_test(test_waiting_costs_no_time),
        cmocka_unit_test(test_a_cut_pair_goes_on_when_healed),
        cmocka_unit_test(test_a_death_is_told),
        cmocka_unit_test(test_clocks_jump_and_drift),
        cmocka_unit_test(test_many_messages_among_many_ranks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
