// SPDX-License-Identifier: Apache-2.0
//
// Leases by rename: renewal against adoption, two adopters, release, expiry on
// the observer's clock alone, processes that are gone, notes of processes that
// came before.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "segment/segment_lease.h"
#include "segment/segment_lease_owner.h"
#include "segment/segment_lease_watch.h"
#include "support/clock_fake.h"
#include "support/file_faulty.h"
#include "support/scratch.h"

#define LEASE_NS (20 * NS_PER_S)

// One namespace as one process sees it.
struct view {
    struct segment_root root;
    struct segment_lease lease;
    struct segment_lease_watch watch;
    struct segment_lease_holder self;
};

static struct scratch scratch;
static struct clock_fake fake;
static struct file_faulty files;

static void
open_view(struct view *view, uint64_t tag)
{
    struct segment_root_options options = {
        .path = scratch.path,
        .namespace_name = "n",
        .rebind_allowed = true,
        .group = "",
        .tag = tag,
        .files = &files.table,
    };

    segment_lease_holder_read(&view->self);
    view->self.job = tag;
    view->self.lease_ns = LEASE_NS;
    assert_int_equal(segment_root_open(&options, &view->root), CASCADE_OK);
    assert_int_equal(segment_lease_create(&view->root, &fake.source,
                                          &view->self, &view->lease),
                     CASCADE_OK);
    assert_int_equal(segment_lease_watch_init(&view->watch, &view->root,
                                              &fake.source, &view->self,
                                              allocator_system()),
                     CASCADE_OK);
}

static void
close_view(struct view *view)
{
    segment_lease_watch_fini(&view->watch);
    segment_lease_close(&view->lease);
    segment_root_close(&view->root);
}

static void
look(struct view *view, const struct view *at,
     struct segment_lease_sight *sight)
{
    segment_lease_look(&view->root, allocator_system(), at->lease.writer,
                       sight);
}

static enum segment_lease_verdict
judge(struct view *view, const struct view *at)
{
    struct segment_lease_sight sight;

    look(view, at, &sight);
    return segment_lease_watch_judge(&view->watch, at->lease.writer, &sight,
                                     NULL);
}

static int
set_up(void **state)
{
    (void)state;
    scratch_make(&scratch);
    clock_fake_init(&fake, 0);
    file_faulty_init(&files, NULL);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static void
test_renewal_and_adoption_exclude_each_other(void **state)
{
    struct view one;
    struct view two;
    struct view three;
    struct segment_lease_sight before;
    struct segment_lease_sight sight;

    (void)state;
    open_view(&one, 1);
    fake.wall_ns++;
    open_view(&two, 2);
    fake.wall_ns++;
    open_view(&three, 3);
    look(&two, &one, &before);
    assert_int_equal(before.state, SEGMENT_LEASE_NUMBERED);
    assert_int_equal(before.number, 0);
    assert_true(before.known);
    assert_int_equal(before.holder.process, getpid());
    // The writer was first: the adopter fails and sees it alive.
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_OK);
    assert_int_equal(segment_lease_take(&two.root, one.lease.writer, &before,
                                        two.lease.writer),
                     CASCADE_NOT_FOUND);
    look(&two, &one, &sight);
    assert_int_equal(sight.number, 1);
    // The adopter was first: the writer knows it, for good. Another adopter
    // that saw the same state fails.
    look(&three, &one, &before);
    assert_int_equal(segment_lease_take(&two.root, one.lease.writer, &sight,
                                        two.lease.writer),
                     CASCADE_OK);
    assert_int_equal(segment_lease_take(&three.root, one.lease.writer, &before,
                                        three.lease.writer),
                     CASCADE_NOT_FOUND);
    assert_true(segment_lease_may_write(&one.lease));
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_CLOSED);
    assert_false(segment_lease_may_write(&one.lease));
    assert_true(segment_lease_is_lost(&one.lease));
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_CLOSED);
    assert_int_equal(segment_lease_release(&one.lease), CASCADE_CLOSED);
    look(&three, &one, &sight);
    assert_int_equal(sight.state, SEGMENT_LEASE_ADOPTED);
    assert_string_equal(sight.adopter, two.lease.writer);
    close_view(&one);
    close_view(&two);
    close_view(&three);
}

static void
test_time_is_counted_apart(void **state)
{
    struct view one;
    struct view two;

    (void)state;
    open_view(&one, 1);
    fake.wall_ns++;
    open_view(&two, 2);
    one.lease.lease_ns = LEASE_NS;
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    assert_false(segment_lease_is_due(&one.lease));
    clock_fake_pass(&fake, LEASE_NS / 4);
    assert_true(segment_lease_is_due(&one.lease));
    clock_fake_jump(&fake, 5); // wall time means nothing
    assert_true(segment_lease_may_write(&one.lease));
    clock_fake_pass(&fake, LEASE_NS / 4);
    assert_false(segment_lease_may_write(&one.lease));
    clock_fake_pass(&fake, LEASE_NS / 2 - 1);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    clock_fake_pass(&fake, 1);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_EXPIRED);
    // It wakes in time after all: the count begins anew.
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_OK);
    assert_true(segment_lease_may_write(&one.lease));
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    assert_int_equal(segment_lease_release(&one.lease), CASCADE_OK);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ENDED);
    close_view(&one);
    close_view(&two);
}

static void
test_longer_lease_of_the_holder_counts(void **state)
{
    struct view one;
    struct view two;

    (void)state;
    open_view(&one, 1);
    fake.wall_ns++;
    open_view(&two, 2);
    two.watch.lease_ns = NS_PER_S;
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    clock_fake_pass(&fake, LEASE_NS - 1);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    clock_fake_pass(&fake, 1);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_EXPIRED);
    close_view(&one);
    close_view(&two);
}

static void
test_failing_rename_keeps_the_lease_for_half_its_time(void **state)
{
    struct view one;

    (void)state;
    open_view(&one, 1);
    files.counted = FILE_FAULTY_RENAME;
    files.fail_from = files.calls + 1;
    files.fail_count = 1;
    files.error = 5;
    clock_fake_pass(&fake, LEASE_NS / 3);
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_IO);
    assert_true(segment_lease_may_write(&one.lease));
    clock_fake_pass(&fake, LEASE_NS / 3);
    assert_false(segment_lease_may_write(&one.lease));
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_OK);
    assert_true(segment_lease_may_write(&one.lease));
    close_view(&one);
}

static void
test_process_is_gone_only_where_that_can_be_known(void **state)
{
    struct segment_lease_holder self;
    struct segment_lease_holder other;
    pid_t child;
    int how;

    (void)state;
    segment_lease_holder_read(&self);
    assert_true(self.process_start > 0);
    assert_true(self.pid_namespace > 0);
    assert_true(self.boot[0] != '\0');
    assert_false(segment_lease_holder_is_gone(&self, &self));
    other = self;
    other.process_start++;
    assert_true(segment_lease_holder_is_gone(&other, &self));
    other.pid_namespace++;
    assert_false(segment_lease_holder_is_gone(&other, &self));
    other = self;
    other.process_start++;
    other.boot[0]++;
    assert_false(segment_lease_holder_is_gone(&other, &self));
    other = (struct segment_lease_holder){0};
    assert_false(segment_lease_holder_is_gone(&other, &other));
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(0);
    }
    assert_int_equal(waitpid(child, &how, 0), child);
    other = self;
    other.process = (uint64_t)child;
    assert_true(segment_lease_holder_is_gone(&other, &self));
}

static void *
end_later(void *context)
{
    char byte;

    // The main thread has ended; this one goes on until it is told.
    (void)!read(*(const int *)context, &byte, 1);
    _exit(0);
}

// In some containers nobody asks how a process ended: it stays in the table.
static void
test_process_that_nobody_asks_after_is_gone(void **state)
{
    struct segment_lease_holder self;
    struct segment_lease_holder other;
    int go[2];
    int told[2];
    siginfo_t how;
    pid_t child;

    (void)state;
    segment_lease_holder_read(&self);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(told), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        pthread_t thread;

        segment_lease_holder_read(&other);
        (void)!write(told[1], &other, sizeof(other));
        if (pthread_create(&thread, NULL, end_later, &go[0]) != 0) {
            _exit(1);
        }
        pthread_exit(NULL);
    }
    assert_int_equal(read(told[0], &other, sizeof(other)), sizeof(other));
    // Its first thread may be gone by now, and be shown as ended; it is not.
    assert_false(segment_lease_holder_is_gone(&other, &self));
    assert_int_equal(write(go[1], "x", 1), 1);
    assert_int_equal(waitid(P_PID, (id_t)child, &how, WEXITED | WNOWAIT), 0);
    assert_true(segment_lease_holder_is_gone(&other, &self));
    assert_int_equal(waitpid(child, NULL, 0), child);
    for (int i = 0; i < 2; i++) {
        (void)close(go[i]);
        (void)close(told[i]);
    }
}

static void
test_record_is_believed_whole_or_not(void **state)
{
    struct segment_lease_holder holder;
    struct segment_lease_holder back;
    struct segment_lease_record record;

    (void)state;
    segment_lease_holder_read(&holder);
    holder.job = 99;
    holder.lease_ns = LEASE_NS;
    segment_lease_holder_encode(&holder, &record);
    assert_true(segment_lease_holder_decode(&record, &back));
    assert_memory_equal(&holder, &back, sizeof(back));
    for (size_t i = 0; i < sizeof(record); i++) {
        ((uint8_t *)&record)[i] ^= 0x10;
        assert_false(segment_lease_holder_decode(&record, &back));
        ((uint8_t *)&record)[i] ^= 0x10;
    }
}

static void
test_note_hands_patience_on(void **state)
{
    struct view one;
    struct view two;
    struct view three;

    (void)state;
    open_view(&one, 1);
    fake.wall_ns++;
    open_view(&two, 2);
    assert_int_equal(judge(&two, &one), SEGMENT_LEASE_ALIVE);
    segment_lease_watch_save(&two.watch);
    clock_fake_pass(&fake, LEASE_NS - 1);
    open_view(&three, 3);
    assert_int_equal(judge(&three, &one), SEGMENT_LEASE_ALIVE);
    segment_lease_watch_fini(&three.watch);
    // Another boot does not share the note.
    three.self.boot[0]++;
    clock_fake_pass(&fake, 1);
    assert_int_equal(segment_lease_watch_init(&three.watch, &three.root,
                                              &fake.source, &three.self,
                                              allocator_system()),
                     CASCADE_OK);
    assert_int_equal(judge(&three, &one), SEGMENT_LEASE_ALIVE);
    three.self.boot[0]--;
    segment_lease_watch_fini(&three.watch);
    assert_int_equal(segment_lease_watch_init(&three.watch, &three.root,
                                              &fake.source, &three.self,
                                              allocator_system()),
                     CASCADE_OK);
    assert_int_equal(judge(&three, &one), SEGMENT_LEASE_EXPIRED);
    // A renewal since the note makes the note worthless.
    assert_int_equal(segment_lease_renew(&one.lease), CASCADE_OK);
    assert_int_equal(judge(&three, &one), SEGMENT_LEASE_ALIVE);
    close_view(&one);
    close_view(&two);
    close_view(&three);
}

static struct view owner;
static struct view stranger;
static enum cascade_status stranger_status;
static int (*rename_below)(void *self, int from_directory, const char *from,
                           int to_directory, const char *to);

// Between a rank's first look at the owner and its lease.1: the owner ends and
// a stranger claims, overlooking the rank, which is still at lease.0.
static int
rename_late(void *self, int from_directory, const char *from, int to_directory,
            const char *to)
{
    if (strcmp(to, "lease.1") == 0) {
        files.table.rename_at = rename_below;
        assert_int_equal(segment_lease_release(&owner.lease), CASCADE_OK);
        stranger_status = segment_lease_owner_claim(&stranger.watch,
                                                    &stranger.lease);
    }
    return rename_below(self, from_directory, from, to_directory, to);
}

static void
test_joining_rank_and_stranger_are_never_both_in(void **state)
{
    struct view rank;

    (void)state;
    open_view(&owner, 1);
    fake.wall_ns++;
    assert_int_equal(segment_lease_owner_claim(&owner.watch, &owner.lease),
                     CASCADE_OK);
    open_view(&rank, 2);
    rank.self.job = 1;
    rank.watch.self.job = 1;
    fake.wall_ns++;
    open_view(&stranger, 3);
    assert_int_equal(
        segment_lease_owner_claim(&stranger.watch, &stranger.lease),
        CASCADE_LOCKED);
    stranger_status = CASCADE_INVALID;
    rename_below = files.table.rename_at;
    files.table.rename_at = rename_late;
    assert_int_equal(segment_lease_owner_claim(&rank.watch, &rank.lease),
                     CASCADE_LOCKED);
    assert_int_equal(stranger_status, CASCADE_OK);
    close_view(&owner);
    close_view(&rank);
    close_view(&stranger);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_renewal_and_adoption_exclude_each_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_is_counted_apart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_longer_lease_of_the_holder_counts,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_failing_rename_keeps_the_lease_for_half_its_time, set_up,
            tear_down),
        cmocka_unit_test(test_process_is_gone_only_where_that_can_be_known),
        cmocka_unit_test(test_process_that_nobody_asks_after_is_gone),
        cmocka_unit_test(test_record_is_believed_whole_or_not),
        cmocka_unit_test_setup_teardown(test_note_hands_patience_on, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            test_joining_rank_and_stranger_are_never_both_in, set_up,
            tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
