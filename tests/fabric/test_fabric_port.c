// SPDX-License-Identifier: Apache-2.0
//
// The port over the fabric of one rank, without and with its thread: requests,
// answers, notices, deadlines, posts, timers, bulk, stop. What only shows with
// several ranks is in tests/conformance and test_fabric_port_sim.c.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/fabric_port.h"
#include "fabric/fabric_self.h"
#include "support/allocator_failing.h"
#include "support/clock_fake.h"

#define SECOND_NS ((uint64_t)1000000000)

enum subject {
    SUBJECT_ECHO = 1,
    SUBJECT_KEEP = 2,  // answered when asked to
    SUBJECT_ORDER = 3, // notices with numbers
    SUBJECT_UNKNOWN = 9,
};

struct fixture {
    struct fabric_port *port;
    struct fabric_answer kept;
    _Atomic uint32_t kept_count;
    uint64_t order; // the number that comes next
    unsigned wrong;
    bool inside; // a handler is running
};

static void
enter(struct fixture *fixture)
{
    fixture->wrong += fixture->inside;
    fixture->inside = true;
}

static void
leave(struct fixture *fixture)
{
    fixture->inside = false;
}

static void
echo(void *context, const struct fabric_message *message)
{
    struct fixture *fixture = context;

    enter(fixture);
    fabric_port_answer(fixture->port, message->answer, CASCADE_OK,
                       message->data, message->bytes);
    leave(fixture);
}

static void
keep(void *context, const struct fabric_message *message)
{
    struct fixture *fixture = context;

    enter(fixture);
    fixture->kept = message->answer;
    leave(fixture);
    atomic_fetch_add(&fixture->kept_count, 1);
}

static void
order(void *context, const struct fabric_message *message)
{
    struct fixture *fixture = context;
    uint64_t number;

    enter(fixture);
    memcpy(&number, message->data, sizeof(number));
    fixture->wrong += number != fixture->order;
    fixture->order = number + 1;
    leave(fixture);
}

static void
open_port(struct fixture *fixture, bool with_thread,
          const struct clock_source *clock)
{
    struct fabric_port_options options = {
        .allocator = allocator_system(),
        .clock = clock,
    };

    memset(fixture, 0, sizeof(*fixture));
    assert_int_equal(fabric_self_open(allocator_system(), &options.fabric),
                     CASCADE_OK);
    if (with_thread) {
        options.fabric.capabilities &= ~(uint32_t)FABRIC_INLINE;
    }
    assert_int_equal(fabric_port_open(&options, &fixture->port), CASCADE_OK);
    fabric_port_handle(fixture->port, SUBJECT_ECHO, echo, fixture);
    fabric_port_handle(fixture->port, SUBJECT_KEEP, keep, fixture);
    fabric_port_handle(fixture->port, SUBJECT_ORDER, order, fixture);
    assert_int_equal(fabric_port_start(fixture->port), CASCADE_OK);
}

static void
close_port(struct fixture *fixture)
{
    fabric_port_close(fixture->port);
    assert_int_equal(fixture->wrong, 0);
}

static uint64_t
in_ns(uint64_t ns)
{
    return clock_deadline_ns(clock_system(), ns);
}

static void
settle(struct fabric_port *port)
{
    struct fabric_call call = {.subject = SUBJECT_ECHO,
                               .deadline_ns = in_ns(10 * SECOND_NS)};

    // What was sent before is handled before.
    assert_int_equal(fabric_port_ask(port, &call), CASCADE_OK);
}

static void
ask_sizes(bool with_thread)
{
    static uint8_t out[FABRIC_PAYLOAD_BYTES_MAX];
    static uint8_t in[FABRIC_PAYLOAD_BYTES_MAX];
    const size_t sizes[] = {0, 1, 255, 256, 257, 4096, sizeof(out)};
    struct fixture fixture;

    open_port(&fixture, with_thread, clock_system());
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct fabric_call call = {.subject = SUBJECT_ECHO,
                                   .data = out,
                                   .bytes = sizes[i],
                                   .reply = in,
                                   .reply_room = sizes[i],
                                   .deadline_ns = in_ns(10 * SECOND_NS)};

        for (size_t j = 0; j < sizes[i]; j++) {
            out[j] = (uint8_t)(i * 31 + j);
        }
        assert_int_equal(fabric_port_ask(fixture.port, &call), CASCADE_OK);
        assert_int_equal(call.reply_bytes, sizes[i]);
        assert_memory_equal(in, out, sizes[i]);
        if (sizes[i] > 0) {
            in[0] = 99;
            call.reply_room = sizes[i] - 1;
            assert_int_equal(fabric_port_ask(fixture.port, &call),
                             CASCADE_TOO_SMALL);
            assert_int_equal(call.reply_bytes, sizes[i]);
            assert_int_equal(in[0], 99);
        }
    }
    close_port(&fixture);
}

static void
test_answers_are_what_was_asked(void **state)
{
    (void)state;
    ask_sizes(false);
    ask_sizes(true);
}

static void
test_unknown_subjects_are_refused(void **state)
{
    struct fabric_call call = {.subject = SUBJECT_UNKNOWN,
                               .deadline_ns = in_ns(10 * SECOND_NS)};
    struct fabric_port_usage usage;
    struct fixture fixture;

    (void)state;
    open_port(&fixture, true, clock_system());
    assert_int_equal(fabric_port_ask(fixture.port, &call), CASCADE_UNSUPPORTED);
    assert_int_equal(fabric_port_tell(fixture.port, 0, SUBJECT_UNKNOWN, "", 0),
                     CASCADE_OK);
    settle(fixture.port);
    fabric_port_usage(fixture.port, &usage);
    assert_int_equal(usage.unhandled, 2);
    close_port(&fixture);
}

static void
test_notices_are_bounded_and_in_order(void **state)
{
    struct fixture fixture;
    uint64_t number = 0;

    (void)state;
    open_port(&fixture, false, clock_system());
    for (int round = 0; round < 3; round++) {
        struct fabric_port_usage usage;
        uint64_t before = number;

        while (fabric_port_tell(fixture.port, 0, SUBJECT_ORDER, &number,
                                sizeof(number)) == CASCADE_OK) {
            number++;
            assert_true(number - before < 100000);
        }
        fabric_port_usage(fixture.port, &usage);
        assert_int_equal(usage.queue_depth, number - before);
        while (fabric_port_step(fixture.port)) {
        }
        assert_int_equal(fixture.order, number);
        fabric_port_usage(fixture.port, &usage);
        assert_int_equal(usage.queue_depth, 0);
    }
    close_port(&fixture);
}

static void
test_a_late_answer_is_dropped(void **state)
{
    struct clock_fake clock;
    struct fixture fixture;
    uint32_t reply = 0;
    struct fabric_call late = {
        .subject = SUBJECT_KEEP, .reply = &reply, .reply_room = sizeof(reply)};
    struct fabric_port_usage usage;

    (void)state;
    clock_fake_init(&clock, 0);
    open_port(&fixture, false, &clock.source);
    late.deadline_ns = clock_steady_ns(&clock.source) + 50;
    fabric_port_begin(fixture.port, &late);
    while (fabric_port_step(fixture.port)) {
    }
    assert_int_equal(fixture.kept_count, 1);
    assert_int_equal(fabric_port_due_ns(fixture.port), late.deadline_ns);
    clock_fake_pass(&clock, 50);
    fabric_port_wait(fixture.port, &late, 1);
    assert_int_equal(late.status, CASCADE_TIMEOUT);
    fabric_port_answer(fixture.port, fixture.kept, CASCADE_OK, "abcd", 4);
    while (fabric_port_step(fixture.port)) {
    }
    assert_int_equal(reply, 0);
    assert_int_equal(late.status, CASCADE_TIMEOUT);
    fabric_port_usage(fixture.port, &usage);
    assert_int_equal(usage.calls_timed_out, 1);
    close_port(&fixture);
}

// Its ticket is not taken for that of another call, however many there were.
static void
test_a_late_answer_fits_no_other_call(void **state)
{
    struct fixture fixture;

    (void)state;
    open_port(&fixture, false, clock_system());
    for (unsigned distance = 250; distance < 260; distance++) {
        uint32_t reply = 0;
        struct fabric_answer late;
        struct fabric_call call = {.subject = SUBJECT_KEEP,
                                   .reply = &reply,
                                   .reply_room = sizeof(reply)};

        assert_int_equal(fabric_port_ask(fixture.port, &call), CASCADE_TIMEOUT);
        late = fixture.kept;
        for (unsigned i = 0; i < distance; i++) {
            settle(fixture.port);
        }
        call.deadline_ns = in_ns(10 * SECOND_NS);
        fabric_port_begin(fixture.port, &call);
        settle(fixture.port);
        fabric_port_answer(fixture.port, late, CASCADE_OK, "late", 4);
        settle(fixture.port);
        fabric_port_answer(fixture.port, fixture.kept, CASCADE_OK, "kept", 4);
        fabric_port_wait(fixture.port, &call, 1);
        assert_int_equal(call.status, CASCADE_OK);
        assert_memory_equal(&reply, "kept", 4);
    }
    close_port(&fixture);
}

struct recorded {
    struct fabric_call call;
    unsigned arrived;
    unsigned ended;
    unsigned turn; // which came first
};

static void
on_arrival(struct fabric_call *call)
{
    struct recorded *recorded = call->context;

    recorded->arrived++;
    assert_int_equal(recorded->ended, 0);
    assert_int_equal(call->status, CASCADE_OK);
}

static void
on_end(struct fabric_call *call)
{
    struct recorded *recorded = call->context;

    recorded->ended++;
}

static void
test_calls_without_a_waiter(void **state)
{
    struct recorded recorded = {
        .call = {.subject = SUBJECT_ECHO,
                 .deadline_ns = in_ns(10 * SECOND_NS),
                 .arrived = on_arrival,
                 .ended = on_end,
                 .context = &recorded},
    };
    struct fixture fixture;

    (void)state;
    open_port(&fixture, false, clock_system());
    for (unsigned i = 1; i <= 3; i++) {
        recorded.ended = 0;
        fabric_port_begin(fixture.port, &recorded.call);
        assert_int_equal(recorded.ended, 0);
        while (fabric_port_step(fixture.port)) {
        }
        assert_int_equal(recorded.arrived, i);
        assert_int_equal(recorded.ended, 1);
    }
    // Stopped: it still ends, once.
    fabric_port_stop(fixture.port);
    recorded.ended = 0;
    fabric_port_begin(fixture.port, &recorded.call);
    (void)fabric_port_step(fixture.port);
    assert_int_equal(recorded.ended, 1);
    assert_int_equal(recorded.call.status, CASCADE_CLOSED);
    close_port(&fixture);
}

static void
test_stop_ends_what_is_open(void **state)
{
    (void)state;
    for (int with_thread = 0; with_thread < 2; with_thread++) {
        struct fixture fixture;
        struct fabric_call open = {.subject = SUBJECT_KEEP,
                                   .deadline_ns = UINT64_MAX};

        open_port(&fixture, with_thread, clock_system());
        fabric_port_begin(fixture.port, &open);
        settle(fixture.port);
        assert_int_equal(fixture.kept_count, 1);
        fabric_port_stop(fixture.port);
        fabric_port_wait(fixture.port, &open, 1);
        assert_int_equal(open.status, CASCADE_CLOSED);
        assert_int_equal(
            fabric_port_tell(fixture.port, 0, SUBJECT_ORDER, "12345678", 8),
            CASCADE_CLOSED);
        fabric_port_answer(fixture.port, fixture.kept, CASCADE_OK, NULL, 0);
        close_port(&fixture);
    }
}

static unsigned runs;

static void
run_post(struct fabric_post *post)
{
    (void)post;
    runs++;
}

static uint64_t fired[4];
static unsigned fired_count;

static void
run_timer(struct fabric_timer *timer)
{
    fired[fired_count++] = timer->due_ns;
}

static void
test_posts_and_timers(void **state)
{
    struct fabric_post post = {.run = run_post};
    struct fabric_timer timers[4];
    struct clock_fake clock;
    struct fixture fixture;

    (void)state;
    clock_fake_init(&clock, 0);
    open_port(&fixture, false, &clock.source);
    runs = 0;
    fabric_port_post(fixture.port, &post);
    assert_int_equal(runs, 0);
    assert_true(fabric_port_step(fixture.port));
    assert_int_equal(runs, 1);
    fired_count = 0;
    for (int i = 0; i < 4; i++) {
        timers[i] = (struct fabric_timer){.run = run_timer};
        fabric_port_arm(fixture.port, &timers[i], (uint64_t)(40 - 10 * i));
    }
    fabric_port_arm(fixture.port, &timers[3], 35); // again, later
    fabric_port_disarm(fixture.port, &timers[2]);
    while (fabric_port_step(fixture.port)) {
    }
    assert_int_equal(fired_count, 0);
    clock_fake_pass(&clock, 36);
    assert_true(fabric_port_step(fixture.port));
    assert_int_equal(fired_count, 2);
    assert_true(fired[0] < fired[1]);
    assert_false(timers[3].armed);
    clock_fake_pass(&clock, 36);
    assert_true(fabric_port_step(fixture.port));
    assert_int_equal(fired_count, 3);
    close_port(&fixture);
}

static enum cascade_status bulk_status[2];
static unsigned bulk_ended;

static void
end_bulk(struct fabric_transfer *transfer, enum cascade_status status)
{
    (void)transfer;
    bulk_status[bulk_ended++] = status;
}

static void
test_bulk_to_oneself(void **state)
{
    struct fabric_transfer push = {.ended = end_bulk};
    struct fabric_transfer land = {.ended = end_bulk};
    struct fabric_transfer read = {.ended = end_bulk};
    char from[] = "some bytes";
    char to[sizeof(from)];
    struct fixture fixture;

    (void)state;
    open_port(&fixture, false, clock_system());
    bulk_ended = 0;
    fabric_port_push(fixture.port, 0, 1, from, sizeof(from), &push);
    fabric_port_land(fixture.port, 0, 1, to, sizeof(to), &land);
    assert_int_equal(bulk_ended, 0);
    while (fabric_port_step(fixture.port)) {
    }
    assert_int_equal(bulk_ended, 2);
    assert_int_equal(bulk_status[0], CASCADE_OK);
    assert_int_equal(bulk_status[1], CASCADE_OK);
    assert_string_equal(from, to);
    // `ended` is the caller's again: the same transfer can be used once more.
    bulk_ended = 0;
    fabric_port_land(fixture.port, 0, 1, to, sizeof(to), &land);
    while (fabric_port_step(fixture.port)) {
    }
    fabric_port_read(fixture.port, 0, 0, to, 1, &read);
    while (fabric_port_step(fixture.port)) {
    }
    assert_int_equal(bulk_ended, 1);
    assert_int_equal(bulk_status[0], CASCADE_UNSUPPORTED);
    close_port(&fixture);
    assert_int_equal(bulk_ended, 2);
    assert_int_equal(bulk_status[1], CASCADE_CLOSED);
}

// After stop, and without a step: everything that was begun still ends.
static void
test_close_ends_what_was_begun_after_stop(void **state)
{
    struct recorded recorded = {
        .call = {.subject = SUBJECT_ECHO,
                 .deadline_ns = UINT64_MAX,
                 .ended = on_end,
                 .context = &recorded},
    };
    struct fabric_transfer land = {.ended = end_bulk};
    struct fabric_post post = {.run = run_post};
    char to[4];

    (void)state;
    for (int with_thread = 0; with_thread < 2; with_thread++) {
        struct fixture fixture;

        open_port(&fixture, with_thread, clock_system());
        fabric_port_stop(fixture.port);
        recorded.ended = 0;
        bulk_ended = 0;
        runs = 0;
        fabric_port_begin(fixture.port, &recorded.call);
        fabric_port_land(fixture.port, 0, 1, to, sizeof(to), &land);
        fabric_port_post(fixture.port, &post);
        close_port(&fixture);
        assert_int_equal(recorded.ended, 1);
        assert_int_equal(recorded.call.status, CASCADE_CLOSED);
        assert_int_equal(bulk_ended, 1);
        assert_int_equal(bulk_status[0], CASCADE_CLOSED);
        assert_int_equal(runs, 1);
    }
}

static void
test_barrier_of_one(void **state)
{
    struct fixture fixture;

    (void)state;
    open_port(&fixture, true, clock_system());
    for (int i = 0; i < 5; i++) {
        assert_int_equal(
            fabric_port_barrier(fixture.port, in_ns(10 * SECOND_NS)),
            CASCADE_OK);
    }
    close_port(&fixture);
}

static void
test_no_memory_is_told(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct fabric_port_options options = {.clock = clock_system()};
        struct allocator_failing failing;
        struct fabric_port *port;
        enum cascade_status status;

        allocator_failing_init(&failing, n);
        options.allocator = &failing.table;
        assert_int_equal(fabric_self_open(allocator_system(), &options.fabric),
                         CASCADE_OK);
        status = fabric_port_open(&options, &port);
        if (status == CASCADE_OK) {
            assert_true(n > 3);
            fabric_port_close(port);
            assert_int_equal(failing.live, 0);
            break;
        }
        assert_int_equal(status, CASCADE_NO_MEMORY);
        assert_int_equal(failing.live, 0);
        options.fabric.table->close(options.fabric.self);
    }
}

#define THREADS 4
#define ROUNDS 2000

static void *
ask_much(void *context)
{
    struct fixture *fixture = context;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t reply = 0;
        uint64_t number = i * 7 + (uintptr_t)&reply;
        struct fabric_call call = {.subject = SUBJECT_ECHO,
                                   .data = &number,
                                   .bytes = sizeof(number),
                                   .reply = &reply,
                                   .reply_room = sizeof(reply),
                                   .deadline_ns = in_ns(60 * SECOND_NS)};

        if (fabric_port_ask(fixture->port, &call) != CASCADE_OK ||
            reply != number) {
            return fixture;
        }
    }
    return NULL;
}

static void
test_many_threads_ask(void **state)
{
    (void)state;
    for (int with_thread = 0; with_thread < 2; with_thread++) {
        pthread_t threads[THREADS];
        struct fixture fixture;

        open_port(&fixture, with_thread, clock_system());
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(
                pthread_create(&threads[i], NULL, ask_much, &fixture), 0);
        }
        for (int i = 0; i < THREADS; i++) {
            void *failed;

            assert_int_equal(pthread_join(threads[i], &failed), 0);
            assert_null(failed);
        }
        close_port(&fixture);
    }
}

// Answers come from another thread, long after the handler returned.
static void *
answer_kept(void *context)
{
    struct fixture *fixture = context;

    for (uint32_t i = 1; i <= 200; i++) {
        while (atomic_load(&fixture->kept_count) < i) {
        }
        fabric_port_answer(fixture->port, fixture->kept, CASCADE_EXISTS, &i,
                           sizeof(i));
    }
    return NULL;
}

static void
test_another_thread_answers(void **state)
{
    (void)state;
    for (int with_thread = 0; with_thread < 2; with_thread++) {
        struct fixture fixture;
        pthread_t thread;

        open_port(&fixture, with_thread, clock_system());
        assert_int_equal(pthread_create(&thread, NULL, answer_kept, &fixture),
                         0);
        for (uint32_t i = 1; i <= 200; i++) {
            uint32_t reply = 0;
            struct fabric_call call = {.subject = SUBJECT_KEEP,
                                       .reply = &reply,
                                       .reply_room = sizeof(reply),
                                       .deadline_ns = in_ns(60 * SECOND_NS)};

            assert_int_equal(fabric_port_ask(fixture.port, &call),
                             CASCADE_EXISTS);
            assert_int_equal(reply, i);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        close_port(&fixture);
    }
}

static int
compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

// A question to oneself costs microseconds; printed, and far from a bound that
// a busy machine could break.
static void
test_asking_oneself_is_quick(void **state)
{
    enum {
        ASKS = 2001
    };
    static uint64_t took[ASKS];

    (void)state;
    for (int with_thread = 0; with_thread < 2; with_thread++) {
        struct fixture fixture;

        open_port(&fixture, with_thread, clock_system());
        for (int i = 0; i < ASKS; i++) {
            uint64_t since = clock_steady_ns(clock_system());

            settle(fixture.port);
            took[i] = clock_steady_ns(clock_system()) - since;
        }
        qsort(took, ASKS, sizeof(took[0]), compare);
        print_message("%s thread: median %llu ns, p99 %llu ns\n",
                      with_thread ? "with" : "without",
                      (unsigned long long)took[ASKS / 2],
                      (unsigned long long)took[ASKS - ASKS / 100]);
        assert_true(took[ASKS / 2] < 1000000);
        close_port(&fixture);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_what_was_asked),
        cmocka_unit_test(test_unknown_subjects_are_refused),
        cmocka_unit_test(test_notices_are_bounded_and_in_order),
        cmocka_unit_test(test_a_late_answer_is_dropped),
        cmocka_unit_test(test_a_late_answer_fits_no_other_call),
        cmocka_unit_test(test_calls_without_a_waiter),
        cmocka_unit_test(test_stop_ends_what_is_open),
        cmocka_unit_test(test_posts_and_timers),
        cmocka_unit_test(test_bulk_to_oneself),
        cmocka_unit_test(test_close_ends_what_was_begun_after_stop),
        cmocka_unit_test(test_barrier_of_one),
        cmocka_unit_test(test_no_memory_is_told),
        cmocka_unit_test(test_many_threads_ask),
        cmocka_unit_test(test_another_thread_answers),
        cmocka_unit_test(test_asking_oneself_is_quick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
