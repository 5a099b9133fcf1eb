// SPDX-License-Identifier: Apache-2.0
//
// Signals that are relayed: who is told, what becomes of handlers of before,
// and how a process ends. Each case is a child of its own; the parent sees how
// it ended.

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/signal_relay.h"

static volatile sig_atomic_t handled;

static void
note(int number)
{
    handled = number;
}

// How a child that runs `work` ends, as wait tells it.
static int
outcome(void (*work)(void))
{
    int ended = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        work();
        _exit(7);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

static int
event_make(void)
{
    int event = eventfd(0, EFD_NONBLOCK);

    check(event >= 0);
    return event;
}

static uint64_t
event_count(int event)
{
    uint64_t count = 0;

    return read(event, &count, sizeof(count)) == (ssize_t)sizeof(count) ? count
                                                                        : 0;
}

static struct signal_relay
relay_make(uint32_t signals, int event)
{
    struct signal_relay relay = {0};

    check(signal_relay_open(signals, event, &relay) == CASCADE_OK);
    return relay;
}

static void
term_waits_for_two(void)
{
    int events[2] = {event_make(), event_make()};
    struct signal_relay one = relay_make(SIGNAL_RELAY_TERM, events[0]);
    struct signal_relay two = relay_make(SIGNAL_RELAY_TERM | SIGNAL_RELAY_USR1,
                                         events[1]);

    check(raise(SIGTERM) == 0);
    check(event_count(events[0]) == 1 && event_count(events[1]) == 1);
    check(signal_relay_take(&one) && !signal_relay_take(&one));
    signal_relay_answer(&one);
    signal_relay_answer(&one);
    check(write(STDOUT_FILENO, "", 0) == 0); // still here
    signal_relay_close(&two);
    _exit(1); // too far
}

static void
test_term_ends_when_all_have_answered(void **state)
{
    int ended = outcome(term_waits_for_two);

    (void)state;
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
}

static void
second_term(void)
{
    struct signal_relay relay = relay_make(SIGNAL_RELAY_TERM, event_make());

    (void)relay;
    check(raise(SIGTERM) == 0);
    check(raise(SIGTERM) == 0);
    _exit(1); // too far
}

static void
test_second_term_ends_at_once(void **state)
{
    int ended = outcome(second_term);

    (void)state;
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
}

static void
handler_of_before(void)
{
    struct sigaction action = {.sa_handler = note};
    struct sigaction now;
    int event = event_make();
    struct signal_relay relay;

    check(sigaction(SIGTERM, &action, NULL) == 0);
    relay = relay_make(SIGNAL_RELAY_TERM, event);
    check(raise(SIGTERM) == 0);
    check(handled == SIGTERM && event_count(event) == 1);
    check(signal_relay_take(&relay));
    signal_relay_answer(&relay);
    signal_relay_close(&relay);
    signal_relay_close(&relay);
    check(sigaction(SIGTERM, NULL, &now) == 0);
    check(now.sa_handler == note);
}

static void
test_handler_of_before_is_called_and_put_back(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(outcome(handler_of_before)), 7);
}

static void
ignored_term_and_usr1(void)
{
    int event = event_make();
    struct signal_relay relay;

    check(signal(SIGTERM, SIG_IGN) != SIG_ERR);
    relay = relay_make(SIGNAL_RELAY_TERM | SIGNAL_RELAY_USR1, event);
    check(raise(SIGUSR1) == 0 && raise(SIGTERM) == 0 && raise(SIGUSR1) == 0);
    check(event_count(event) == 3 && signal_relay_take(&relay));
    signal_relay_close(&relay);
    check(raise(SIGTERM) == 0);
}

static void
test_usr1_and_an_ignored_term_end_nothing(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(outcome(ignored_term_and_usr1)), 7);
}

static void
forked_child(void)
{
    int event = event_make();
    struct signal_relay relay = relay_make(SIGNAL_RELAY_TERM, event);
    int ended = 0;
    pid_t child = fork();

    if (child == 0) {
        check(raise(SIGTERM) == 0);
        _exit(1); // too far
    }
    check(child > 0 && waitpid(child, &ended, 0) == child);
    check(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGTERM);
    check(event_count(event) == 0 && !signal_relay_take(&relay));
    signal_relay_close(&relay);
}

static void
test_forked_child_ends_alone(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(outcome(forked_child)), 7);
}

static void
test_relays_are_bounded(void **state)
{
    struct signal_relay relays[SIGNAL_RELAY_MAX + 1] = {{0}};
    int event = event_make();

    (void)state;
    for (unsigned i = 0; i < SIGNAL_RELAY_MAX; i++) {
        relays[i] = relay_make(SIGNAL_RELAY_USR1, event);
    }
    assert_int_equal(
        signal_relay_open(SIGNAL_RELAY_USR1, event, &relays[SIGNAL_RELAY_MAX]),
        CASCADE_NO_SPACE);
    for (unsigned i = 0; i <= SIGNAL_RELAY_MAX; i++) {
        signal_relay_close(&relays[i]);
    }
    (void)close(event);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_term_ends_when_all_have_answered),
        cmocka_unit_test(test_second_term_ends_at_once),
        cmocka_unit_test(test_handler_of_before_is_called_and_put_back),
        cmocka_unit_test(test_usr1_and_an_ignored_term_end_nothing),
        cmocka_unit_test(test_forked_child_ends_alone),
        cmocka_unit_test(test_relays_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
