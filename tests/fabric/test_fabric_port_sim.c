// SPDX-License-Identifier: Apache-2.0
//
// Ports among several simulated ranks, where something goes wrong: losses one
// by one, silence, death and another life, barriers that do not come about,
// messages that nobody sends. What must hold otherwise is in
// tests/conformance/fabric_suite.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "fabric/fabric_channel.h"
#include "support/fabric_sim.h"

#define RANKS 3
#define SECOND_NS ((uint64_t)1000000000)
#define MILLISECOND_NS ((uint64_t)1000000)

enum subject {
    SUBJECT_ECHO = 1,
    SUBJECT_KEEP = 2,
    SUBJECT_NUMBER = 3,
    SUBJECT_EMPTY = 4, // a notice without bytes
};

struct rank {
    struct fabric_sim *sim;
    struct fabric_port *port;
    struct fabric fabric;
    struct fabric_answer kept;
    uint64_t number[RANKS]; // the next from each
    unsigned wrong;
    unsigned lost[RANKS];
    enum cascade_status status;
    char message[ERROR_MESSAGE_BYTES];
    uint16_t to;
    uint64_t rounds;
    uint64_t patience_ns;
};

static struct rank ranks[RANKS];

static void
echo(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;

    fabric_port_answer(rank->port, message->answer, CASCADE_OK, message->data,
                       message->bytes);
}

static void
keep(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;

    rank->kept = message->answer;
}

static void
take_number(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;
    uint64_t number;

    memcpy(&number, message->data, sizeof(number));
    rank->wrong += number != rank->number[message->from];
    rank->number[message->from] = number + 1;
    fabric_port_answer(rank->port, message->answer, CASCADE_OK, NULL, 0);
}

static void
take_empty(void *context, const struct fabric_message *message)
{
    struct rank *rank = context;

    rank->wrong += message->bytes != 0;
    fabric_port_answer(rank->port, message->answer, CASCADE_OK, NULL, 0);
}

static void
on_lost(void *context, uint16_t lost)
{
    struct rank *rank = context;

    rank->lost[lost]++;
    rank->number[lost] = 0;
}

static void
open_rank(struct fabric_sim *sim, uint16_t i, uint64_t silence_ns)
{
    struct rank *rank = &ranks[i];
    struct fabric_port_options options = {
        .allocator = allocator_system(),
        .clock = fabric_sim_clock(sim, i),
        .silence_ns = silence_ns,
    };

    memset(rank, 0, sizeof(*rank));
    rank->sim = sim;
    rank->patience_ns = 3600 * SECOND_NS;
    fabric_sim_fabric(sim, i, &options.fabric);
    rank->fabric = options.fabric;
    assert_int_equal(fabric_port_open(&options, &rank->port), CASCADE_OK);
    fabric_port_handle(rank->port, SUBJECT_ECHO, echo, rank);
    fabric_port_handle(rank->port, SUBJECT_KEEP, keep, rank);
    fabric_port_handle(rank->port, SUBJECT_NUMBER, take_number, rank);
    fabric_port_handle(rank->port, SUBJECT_EMPTY, take_empty, rank);
    fabric_port_watch(rank->port, on_lost, rank);
    assert_int_equal(fabric_port_start(rank->port), CASCADE_OK);
    fabric_sim_serve(sim, i, fabric_sim_serve_port, rank->port);
}

// Only rank 0 takes silence for a loss.
static struct fabric_sim *
open_ranks(uint64_t seed, uint32_t capabilities, uint64_t silence_ns)
{
    const struct fabric_sim_options options = {.capabilities = capabilities};
    struct fabric_sim *sim = fabric_sim_create(seed, RANKS, &options);

    for (uint16_t i = 0; i < RANKS; i++) {
        open_rank(sim, i, i == 0 ? silence_ns : 0);
    }
    return sim;
}

static void
close_rank(struct fabric_sim *sim, uint16_t i)
{
    fabric_sim_serve(sim, i, NULL, NULL);
    assert_int_equal(ranks[i].wrong, 0);
    fabric_port_close(ranks[i].port);
}

static void
close_ranks(struct fabric_sim *sim)
{
    for (uint16_t i = 0; i < RANKS; i++) {
        close_rank(sim, i);
    }
    fabric_sim_destroy(sim);
}

static void
ask(struct rank *rank, uint16_t to, enum subject subject, const void *data,
    size_t bytes)
{
    uint8_t reply[8];
    struct fabric_call call = {
        .to = to,
        .subject = (uint8_t)subject,
        .data = data,
        .bytes = bytes,
        .reply = reply,
        .reply_room = sizeof(reply),
        .deadline_ns = clock_deadline_ns(
            fabric_sim_clock(rank->sim, fabric_port_rank(rank->port)),
            rank->patience_ns),
    };

    rank->status = fabric_port_ask(rank->port, &call);
}

static void
ask_echo(void *context)
{
    struct rank *rank = context;

    ask(rank, rank->to, SUBJECT_ECHO, "x", 1);
}

static void
ask_keep(void *context)
{
    struct rank *rank = context;

    ask(rank, rank->to, SUBJECT_KEEP, "x", 1);
}

static void
ask_numbers(void *context)
{
    struct rank *rank = context;

    for (uint64_t i = 0; i < rank->rounds; i++) {
        uint64_t next = i + 1;

        if (i % 2 == 1) {
            continue;
        }
        ask(rank, rank->to, SUBJECT_NUMBER, &i, sizeof(i));
        rank->wrong += rank->status != CASCADE_OK;
        rank->wrong += fabric_port_tell(rank->port, rank->to, SUBJECT_NUMBER,
                                        &next, sizeof(next)) != CASCADE_OK;
    }
    ask(rank, rank->to, SUBJECT_ECHO, NULL, 0);
    rank->wrong += rank->status != CASCADE_OK;
}

static void
test_any_one_message_may_be_lost(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 60; n++) {
        struct fabric_sim *sim = open_ranks(n, 0, 0);

        fabric_sim_lose(sim, n);
        for (uint16_t i = 0; i < 2; i++) {
            ranks[i].to = 2;
            ranks[i].rounds = 10;
            fabric_sim_spawn(sim, i, "numbers", ask_numbers, &ranks[i]);
        }
        assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
        assert_int_equal(ranks[2].number[0], 10);
        assert_int_equal(ranks[2].number[1], 10);
        close_ranks(sim);
    }
}

static void
test_silence_is_taken_for_a_loss(void **state)
{
    (void)state;
    for (uint32_t reliable = 0; reliable < 2; reliable++) {
        struct fabric_sim *sim = open_ranks(
            30 + reliable, reliable * FABRIC_RELIABLE, 100 * MILLISECOND_NS);

        // A handler that takes long is not silence.
        ranks[0].to = 1;
        ranks[0].patience_ns = 2 * SECOND_NS;
        fabric_sim_spawn(sim, 0, "ask", ask_keep, &ranks[0]);
        assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
        assert_int_equal(ranks[0].status, CASCADE_TIMEOUT);
        fabric_port_answer(ranks[1].port, ranks[1].kept, CASCADE_OK, NULL, 0);
        // Nor is having nothing to say.
        fabric_sim_settle(sim, 10 * SECOND_NS);
        assert_true(fabric_port_is_alive(ranks[0].port, 1));
        assert_int_equal(ranks[0].lost[1] + ranks[1].lost[0], 0);
        // Not answering probes is.
        fabric_sim_silence(sim, 1, true);
        fabric_sim_spawn(sim, 0, "ask", ask_echo, &ranks[0]);
        assert_true(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[0].status, CASCADE_CLOSED);
        assert_int_equal(ranks[0].lost[1], 1);
        assert_int_equal(ranks[2].lost[1], 0);
        // Who is heard of again is told that it was given up.
        fabric_sim_silence(sim, 1, false);
        ranks[1].to = 0;
        fabric_sim_spawn(sim, 1, "ask", ask_echo, &ranks[1]);
        assert_true(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[1].status, CASCADE_CLOSED);
        assert_int_equal(ranks[1].lost[0], 1);
        assert_int_equal(
            fabric_port_tell(ranks[1].port, 0, SUBJECT_ECHO, NULL, 0),
            CASCADE_CLOSED);
        close_ranks(sim);
    }
}

// The asker dies; its successor must not get the answer, and the numbers of
// messages begin anew.
static void
test_another_life(void **state)
{
    (void)state;
    for (uint64_t seed = 40; seed < 60; seed++) {
        struct fabric_sim *sim = open_ranks(seed, 0, 0);
        struct fabric_answer old;

        for (uint16_t i = 0; i < RANKS; i++) {
            ranks[i].to = (uint16_t)((i + 1) % RANKS);
            ranks[i].rounds = 6;
            fabric_sim_spawn(sim, i, "numbers", ask_numbers, &ranks[i]);
        }
        assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
        ranks[1].to = 2;
        fabric_sim_spawn(sim, 1, "ask", ask_keep, &ranks[1]);
        assert_false(fabric_sim_run(sim, SECOND_NS / 10));
        old = ranks[2].kept;
        fabric_sim_kill(sim, 1);
        assert_true(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[1].status, CASCADE_CLOSED);
        // Something for the dead one is under way when it comes again.
        assert_int_equal(
            fabric_port_tell(ranks[0].port, 1, SUBJECT_NUMBER, "12345678", 8),
            CASCADE_OK);
        close_rank(sim, 1);
        open_rank(sim, 1, 0);
        // The successor asks as often and then the same; the late answer is for
        // its predecessor.
        ranks[1].to = 2;
        for (int i = 0; i < 4; i++) {
            fabric_sim_spawn(sim, 1, "ask", ask_echo, &ranks[1]);
            assert_true(fabric_sim_run(sim, SECOND_NS));
            assert_int_equal(ranks[1].status, CASCADE_OK);
        }
        fabric_sim_spawn(sim, 1, "ask", ask_keep, &ranks[1]);
        assert_false(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[2].lost[1], 1);
        fabric_port_answer(ranks[2].port, old, CASCADE_EXISTS, NULL, 0);
        assert_false(fabric_sim_run(sim, SECOND_NS));
        fabric_port_answer(ranks[2].port, ranks[2].kept, CASCADE_OK, NULL, 0);
        assert_true(fabric_sim_run(sim, SECOND_NS));
        assert_int_equal(ranks[1].status, CASCADE_OK);
        // What was for the dead one was dropped with it, and numbers restart.
        ranks[0].to = 1;
        fabric_sim_spawn(sim, 0, "numbers", ask_numbers, &ranks[0]);
        ranks[1].to = 2;
        ranks[1].rounds = 6;
        fabric_sim_spawn(sim, 1, "numbers", ask_numbers, &ranks[1]);
        assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
        assert_int_equal(ranks[0].lost[1], 1);
        assert_int_equal(ranks[1].number[0], 6);
        assert_int_equal(ranks[2].number[1], 6);
        close_ranks(sim);
    }
}

static void
meet_briefly(void *context)
{
    struct rank *rank = context;
    uint16_t i = fabric_port_rank(rank->port);

    rank->status = fabric_port_barrier(
        rank->port,
        clock_deadline_ns(fabric_sim_clock(rank->sim, i), SECOND_NS));
    (void)strncpy(rank->message, error_message(), sizeof(rank->message) - 1);
}

static void
test_a_barrier_names_who_is_missing(void **state)
{
    struct fabric_sim *sim = open_ranks(70, 0, 0);

    (void)state;
    fabric_sim_spawn(sim, 0, "meet", meet_briefly, &ranks[0]);
    fabric_sim_spawn(sim, 1, "meet", meet_briefly, &ranks[1]);
    assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ranks[i].status, CASCADE_TIMEOUT);
        assert_non_null(strstr(ranks[i].message, "rank 2 has not come"));
    }
    // It comes late and passes, for the others count as having come.
    fabric_sim_spawn(sim, 2, "meet", meet_briefly, &ranks[2]);
    assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
    assert_int_equal(ranks[2].status, CASCADE_OK);
    for (uint16_t i = 0; i < RANKS; i++) {
        fabric_sim_spawn(sim, i, "meet", meet_briefly, &ranks[i]);
    }
    assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
    for (uint16_t i = 0; i < RANKS; i++) {
        assert_int_equal(ranks[i].status, CASCADE_OK);
    }
    close_ranks(sim);
}

static void
test_a_barrier_ends_with_a_loss(void **state)
{
    const struct fabric_sim_options options = {
        .lost_after_ns = 10 * MILLISECOND_NS,
    };
    struct fabric_sim *sim = fabric_sim_create(71, RANKS, &options);

    (void)state;
    for (uint16_t i = 0; i < RANKS; i++) {
        open_rank(sim, i, 0);
    }
    fabric_sim_spawn(sim, 0, "meet", meet_briefly, &ranks[0]);
    fabric_sim_spawn(sim, 1, "meet", meet_briefly, &ranks[1]);
    fabric_sim_kill(sim, 2);
    assert_true(fabric_sim_run(sim, 10 * SECOND_NS));
    assert_int_equal(ranks[0].status, CASCADE_CLOSED);
    assert_int_equal(ranks[1].status, CASCADE_CLOSED);
    // The next one as well, at once.
    fabric_sim_spawn(sim, 1, "meet", meet_briefly, &ranks[1]);
    assert_true(fabric_sim_run(sim, SECOND_NS / 2));
    assert_int_equal(ranks[1].status, CASCADE_CLOSED);
    close_ranks(sim);
}

static void
test_what_cannot_be_sent_is_bounded(void **state)
{
    struct fabric_sim *sim = open_ranks(80, 0, 0);
    uint64_t number = 0;

    (void)state;
    fabric_sim_cut(sim, 0, 1);
    while (fabric_port_tell(ranks[0].port, 1, SUBJECT_NUMBER, &number,
                            sizeof(number)) == CASCADE_OK) {
        number++;
        assert_true(number < 100000);
        fabric_sim_settle(sim, 1000);
    }
    // Others are not concerned.
    ranks[0].to = 2;
    fabric_sim_spawn(sim, 0, "ask", ask_echo, &ranks[0]);
    assert_true(fabric_sim_run(sim, SECOND_NS));
    assert_int_equal(ranks[0].status, CASCADE_OK);
    fabric_sim_heal(sim, 0, 1);
    fabric_sim_settle(sim, 10 * SECOND_NS);
    assert_int_equal(ranks[1].number[0], number);
    close_ranks(sim);
}

// Bytes that no port wrote, and bytes that one wrote with any of them changed.
static void
test_what_is_malformed_is_dropped(void **state)
{
    struct fabric_sim *sim = open_ranks(90, 0, 0);
    const struct fabric *fabric = &ranks[0].fabric;
    struct fabric_header right = {
        .magic = FABRIC_HEADER_MAGIC,
        .kind = FABRIC_KIND_NOTICE,
        .subject = SUBJECT_EMPTY,
        .incarnation = fabric->incarnation,
        .job = fabric->job,
        .number = 1,
    };
    struct fabric_port_usage usage;
    uint64_t malformed = 200;
    uint8_t data[200] = {0};

    (void)state;
    for (size_t bytes = 0; bytes < sizeof(data); bytes++) {
        assert_int_equal(fabric->table->send(fabric->self, 1, data, bytes),
                         CASCADE_OK);
    }
    fabric_sim_settle(sim, SECOND_NS);
    fabric_port_usage(ranks[1].port, &usage);
    assert_int_equal(usage.malformed, sizeof(data));
    assert_int_equal(usage.messages_received, 0);
    // Not one of these may crash it; lives of the sender aside.
    for (size_t byte = 0; byte < sizeof(right); byte++) {
        if (byte >= offsetof(struct fabric_header, incarnation) &&
            byte < offsetof(struct fabric_header, incarnation) + 4) {
            continue;
        }
        for (int bit = 0; bit < 8; bit++) {
            // The number that is next, so that only what is changed counts.
            fabric_port_usage(ranks[1].port, &usage);
            right.number = usage.messages_received + 1;
            memcpy(data, &right, sizeof(right));
            data[byte] ^= (uint8_t)(1 << bit);
            if (data[offsetof(struct fabric_header, kind)] ==
                FABRIC_KIND_FAREWELL) {
                continue;
            }
            assert_int_equal(
                fabric->table->send(fabric->self, 1, data, sizeof(right)),
                CASCADE_OK);
            fabric_sim_settle(sim, MILLISECOND_NS);
            if (byte < 4 || (byte >= offsetof(struct fabric_header, job) &&
                             byte < offsetof(struct fabric_header, number))) {
                // Of another format or another start.
                malformed++;
            }
            fabric_port_usage(ranks[1].port, &usage);
            assert_true(usage.malformed >= malformed);
        }
    }
    fabric_sim_settle(sim, SECOND_NS);
    assert_true(fabric_port_is_alive(ranks[1].port, 0));
    close_ranks(sim);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_one_message_may_be_lost),
        cmocka_unit_test(test_silence_is_taken_for_a_loss),
        cmocka_unit_test(test_another_life),
        cmocka_unit_test(test_a_barrier_names_who_is_missing),
        cmocka_unit_test(test_a_barrier_ends_with_a_loss),
        cmocka_unit_test(test_what_cannot_be_sent_is_bounded),
        cmocka_unit_test(test_what_is_malformed_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
