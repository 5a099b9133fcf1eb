// SPDX-License-Identifier: Apache-2.0
//
// Which process is which: this one, a dead one, one with a used-again id, and
// those that cannot be judged.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/process.h"
#include "support/scratch.h"

static enum process_state
state_of(const struct process_identity *identity)
{
    return process_state(file_system_real(), "/proc", identity);
}

static void
this_one_lives(void **state)
{
    struct process_identity self;

    (void)state;
    process_self(file_system_real(), "/proc", &self);
    assert_int_equal(self.pid, getpid());
    assert_true(self.start > 0 && self.space > 0);
    assert_int_equal(strlen(self.boot), 36);
    assert_int_equal(state_of(&self), PROCESS_ALIVE);
    self.start++;
    assert_int_equal(state_of(&self), PROCESS_GONE);
}

static void
a_dead_one_is_gone(void **state)
{
    struct process_identity identity;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    process_self(file_system_real(), "/proc", &identity);
    identity.pid = (uint64_t)child;
    assert_int_equal(state_of(&identity), PROCESS_GONE);
}

static void
others_cannot_be_judged(void **state)
{
    struct process_identity self;
    struct process_identity other;

    (void)state;
    process_self(file_system_real(), "/proc", &self);
    other = self;
    other.host[0] ^= 1;
    assert_int_equal(state_of(&other), PROCESS_UNKNOWN);
    other = self;
    other.space++;
    assert_int_equal(state_of(&other), PROCESS_UNKNOWN);
    other = self;
    other.start = 0;
    assert_int_equal(state_of(&other), PROCESS_UNKNOWN);
    other = self;
    other.boot[0] = other.boot[0] == '0' ? '1' : '0';
    assert_int_equal(state_of(&other), PROCESS_GONE);
}

// The name of a program may hold brackets, spaces and numbers.
static void
strange_names(void **state)
{
    struct process_identity identity;
    struct scratch scratch;

    (void)state;
    scratch_make(&scratch);
    scratch_write(&scratch, "self/stat",
                  "77 (a) R 1) 2) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 "
                  "19 20 21 4242 23 24\n");
    process_self(file_system_real(), scratch.path, &identity);
    assert_int_equal(identity.start, 4242);
    scratch_write(&scratch, "self/stat", "77 (cut) S 3 4");
    process_self(file_system_real(), scratch.path, &identity);
    assert_int_equal(identity.start, 0);
    scratch_remove(&scratch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_one_lives),
        cmocka_unit_test(a_dead_one_is_gone),
        cmocka_unit_test(others_cannot_be_judged),
        cmocka_unit_test(strange_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
