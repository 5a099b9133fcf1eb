// SPDX-License-Identifier: Apache-2.0
//
// Owners that are stopped and continued, or killed, as real processes with short
// leases: the next owner comes in when it may, and a sleeper that wakes changes
// nothing any more.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define BYTES 5000
#define TRIES_MAX 2000
#define TRY_MS 10

// The lease below, less what an owner on a busy machine is late to renew it.
#define LEASE_LEFT_NS (NS_PER_S / 2)

static const char *const pairs[] = {"lease_time", "2", NULL};

// For owners that must keep it on a machine that is busy otherwise.
static const char *const long_pairs[] = {"lease_time", "20", NULL};

struct owner {
    pid_t process;
    int to;   // a byte tells it to go on
    int from; // what it says
};

static void
say(int pipe, uint8_t byte)
{
    check(write(pipe, &byte, 1) == 1);
}

static uint8_t
hear(int pipe)
{
    uint8_t byte = 0;

    check(read(pipe, &byte, 1) == 1);
    return byte;
}

// The life of an owner: binds the key, flushes, waits to be told, binds it anew
// and flushes again. Says what came of that. It ends with the test at the latest,
// even if it is stopped.
static void
own(struct store_world *world, const char *const *options, int commands,
    int answers)
{
    struct cascade *store = NULL;
    enum cascade_status status;

    world->around.background = true;
    check(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    check(store_try(world, true, options, &store) == CASCADE_OK);
    check(store_put_seed(store, "k", 1, BYTES, 0, NULL) == CASCADE_OK);
    check(cascade_flush(store, NULL) == CASCADE_OK);
    say(answers, 0);
    (void)hear(commands);
    status = store_put_seed(store, "k", 3, BYTES, 0, NULL);
    if (status == CASCADE_OK) {
        status = cascade_flush(store, NULL);
    }
    say(answers, (uint8_t)status);
    (void)!cascade_close(store);
    _exit(0);
}

static struct owner
start_owner(struct store_world *world, const char *const *options)
{
    struct owner owner;
    int commands[2];
    int answers[2];

    check(pipe(commands) == 0 && pipe(answers) == 0);
    owner.process = fork();
    check(owner.process >= 0);
    if (owner.process == 0) {
        (void)close(commands[1]);
        (void)close(answers[0]);
        own(world, options, commands[0], answers[1]);
    }
    (void)close(commands[0]);
    (void)close(answers[1]);
    owner.to = commands[1];
    owner.from = answers[0];
    assert_int_equal(hear(owner.from), 0);
    return owner;
}

static void
end_owner(struct owner *owner)
{
    int status;

    assert_int_equal(waitpid(owner->process, &status, 0), owner->process);
    (void)close(owner->to);
    (void)close(owner->from);
}

// Opens as soon as that is possible.
static struct cascade *
open_when_free(struct store_world *world, const char *const *options)
{
    struct cascade *store = NULL;

    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        enum cascade_status status = store_try(world, true, options, &store);

        if (status == CASCADE_OK) {
            return store;
        }
        assert_int_equal(status, CASCADE_LOCKED);
        (void)poll(NULL, 0, TRY_MS);
    }
    fail_msg("the lease never ran out");
    return NULL;
}

static void
test_stopped_and_continued(void **state)
{
    struct store_world world;
    struct cascade *store;
    struct owner owner;
    uint64_t stopped_ns;

    (void)state;
    store_world_make(&world);
    owner = start_owner(&world, pairs);
    assert_int_equal(store_try(&world, true, pairs, &store), CASCADE_LOCKED);
    assert_int_equal(kill(owner.process, SIGSTOP), 0);
    stopped_ns = clock_steady_ns(clock_system());
    store = open_when_free(&world, pairs);
    assert_true(clock_steady_ns(clock_system()) - stopped_ns > LEASE_LEFT_NS);
    store_must_get(store, "k", 1, BYTES);
    store_must_put(store, "k", 2, BYTES);
    assert_int_equal(cascade_flush(store, NULL), CASCADE_OK);
    assert_int_equal(kill(owner.process, SIGCONT), 0);
    say(owner.to, 1);
    assert_int_equal(hear(owner.from), CASCADE_CLOSED);
    store_must_get(store, "k", 2, BYTES);
    end_owner(&owner);
    store_end(store);
    store = store_start(&world, true, pairs);
    store_must_get(store, "k", 2, BYTES);
    store_end(store);
    store_world_remove(&world);
}

// Stopped for less than a lease, it is still the owner.
static void
test_stopped_for_a_moment(void **state)
{
    struct store_world world;
    struct cascade *store;
    struct owner owner;

    (void)state;
    store_world_make(&world);
    owner = start_owner(&world, long_pairs);
    assert_int_equal(kill(owner.process, SIGSTOP), 0);
    assert_int_equal(store_try(&world, true, long_pairs, &store),
                     CASCADE_LOCKED);
    assert_int_equal(kill(owner.process, SIGCONT), 0);
    say(owner.to, 1);
    assert_int_equal(hear(owner.from), CASCADE_OK);
    end_owner(&owner);
    store = open_when_free(&world, long_pairs);
    store_must_get(store, "k", 3, BYTES);
    store_end(store);
    store_world_remove(&world);
}

static void
test_killed(void **state)
{
    struct store_world world;
    struct cascade *store;
    struct owner owner;

    (void)state;
    store_world_make(&world);
    owner = start_owner(&world, long_pairs);
    assert_int_equal(kill(owner.process, SIGKILL), 0);
    end_owner(&owner);
    // Its process is known to be gone: nobody waits.
    store = store_start(&world, true, long_pairs);
    store_must_get(store, "k", 1, BYTES);
    store_end(store);
    store_world_remove(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_and_continued),
        cmocka_unit_test(test_stopped_for_a_moment),
        cmocka_unit_test(test_killed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
