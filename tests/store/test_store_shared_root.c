// SPDX-License-Identifier: Apache-2.0
//
// Several live stores on one root, in one process and in two: with
// rebind=refused each sees what the others sealed; with rebind=allowed the
// second is refused. A store that dies is adopted; a segment that vanishes is
// a miss.

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ftw.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/units.h"
#include "store_fixture.h"
#include "support/clock_fake.h"

#define BYTES 20000

static const char *const refused[] = {"rebind", "refused", "lease_time", "6",
                                      NULL};

struct shared_world {
    struct store_world world;
    struct clock_fake clock;
};

static int
begin(void **state)
{
    static struct shared_world shared;

    store_world_make(&shared.world);
    shared.world.files.lazy = true;
    clock_fake_init(&shared.clock, 1000);
    shared.world.around.clock = &shared.clock.source;
    *state = &shared;
    return 0;
}

static int
finish(void **state)
{
    struct shared_world *shared = *state;

    store_world_remove(&shared->world);
    return 0;
}

// The next refresh is due, and nobody's lease has ended.
static void
refresh(struct shared_world *shared, struct cascade *store)
{
    clock_fake_pass(&shared->clock, 2 * NS_PER_S);
    store_settle(store);
}

// Seals what the store has, by leaving and coming back.
static void
seal(struct shared_world *shared, struct cascade **store)
{
    store_end(*store);
    *store = store_start(&shared->world, true, refused);
}

static void
test_sees_what_others_sealed(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, refused);
    struct cascade *b = store_start(&shared->world, true, refused);

    store_must_put(a, "ka", 1, BYTES);
    store_must_put(b, "kb", 2, BYTES);
    assert_int_equal(store_get_seed(b, "ka", 1, BYTES), CASCADE_NOT_FOUND);
    seal(shared, &a);
    refresh(shared, b);
    store_must_get(b, "ka", 1, BYTES);
    assert_int_equal(store_stats_now(b).hits[CASCADE_TIER_SEGMENTS], 1);
    assert_int_equal(store_tier_of(b, "ka"), CASCADE_TIER_LOCAL_DRAM);
    assert_int_equal(cascade_evict(b, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(store_tier_of(b, "ka"), CASCADE_TIER_SEGMENTS);
    store_must_get(b, "ka", 1, BYTES);
    seal(shared, &b);
    refresh(shared, a);
    store_must_get(a, "kb", 2, BYTES);
    store_must_get(a, "ka", 1, BYTES);
    // Other bytes under a key that the other bound: both are right answers.
    assert_int_equal(store_put_seed(a, "kb", 3, BYTES, 0, NULL),
                     CASCADE_EXISTS);
    store_end(a);
    store_end(b);
}

static int
remove_segment(const char *path, const struct stat *found, int kind,
               struct FTW *place)
{
    size_t length = strlen(path);

    (void)found;
    (void)kind;
    (void)place;
    if (length > 4 && strcmp(path + length - 4, ".seg") == 0) {
        check(unlink(path) == 0);
    }
    return 0;
}

static void
remove_segments(const struct shared_world *shared)
{
    (void)nftw(shared->world.cold_path, remove_segment, 16, FTW_PHYS);
}

static void
test_a_vanished_segment_is_a_miss(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, refused);
    struct cascade *b;

    store_must_put(a, "ka", 1, BYTES);
    store_must_put(a, "kc", 3, BYTES);
    store_end(a);
    b = store_start(&shared->world, true, refused);
    assert_int_equal(cascade_exists(b, store_name("ka")), CASCADE_OK);
    remove_segments(shared);
    assert_int_equal(store_get_seed(b, "ka", 1, BYTES), CASCADE_NOT_FOUND);
    refresh(shared, b);
    assert_int_equal(store_get_seed(b, "kc", 3, BYTES), CASCADE_NOT_FOUND);
    // It can be put again, and is found again.
    store_must_put(b, "ka", 1, BYTES);
    assert_int_equal(cascade_flush(b, NULL), CASCADE_OK);
    store_end(b);
    b = store_start(&shared->world, true, refused);
    store_must_get(b, "ka", 1, BYTES);
    store_end(b);
}

// What a store flushed is in its own files: another's copy, which may go any
// time, makes nothing clean.
static void
test_others_copies_are_not_ours(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, refused);
    struct cascade *b = store_start(&shared->world, true, refused);

    store_must_put(a, "k", 1, BYTES);
    seal(shared, &a);
    // b has put the same before it saw a's, and after it.
    store_must_put(b, "k", 1, BYTES);
    refresh(shared, b);
    assert_int_equal(store_stats_now(b).dirty_blocks, 1);
    assert_int_equal(cascade_flush(b, NULL), CASCADE_OK);
    assert_int_equal(store_stats_now(b).dirty_blocks, 0);
    assert_true(store_stats_now(b).cold_bytes_written >= BYTES);
    store_end(a);
    store_end(b);
}

// The same when b has seen a's copy, and perhaps read it, before its put.
static void
test_a_put_is_ours_though_others_have_it(void **state)
{
    struct shared_world *shared = *state;

    for (int read = 0; read < 2; read++) {
        struct cascade *a = store_start(&shared->world, true, refused);
        struct cascade *b = store_start(&shared->world, true, refused);
        uint64_t seed = 10 + (uint64_t)read;

        store_must_put(a, "k", seed, BYTES);
        seal(shared, &a);
        refresh(shared, b);
        assert_int_equal(cascade_exists(b, store_name("k")), CASCADE_OK);
        if (read == 1) {
            store_must_get(b, "k", seed, BYTES);
        }
        store_must_put(b, "k", seed, BYTES);
        remove_segments(shared);
        assert_int_equal(cascade_flush(b, NULL), CASCADE_OK);
        assert_true(store_stats_now(b).cold_bytes_written >= BYTES);
        store_end(b);
        store_end(a);
        b = store_start(&shared->world, true, refused);
        store_must_get(b, "k", seed, BYTES);
        assert_int_equal(cascade_clear(b), CASCADE_OK);
        store_end(b);
        remove_segments(shared);
    }
}

static void
test_rebinding_has_one_owner(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, NULL);
    struct cascade *b = NULL;
    char pid[32];

    store_must_put(a, "k", 1, BYTES);
    assert_int_equal(store_try(&shared->world, true, NULL, &b), CASCADE_LOCKED);
    assert_null(b);
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    store_message_has(pid);
    // Another namespace is another matter, and so is the other kind of this.
    {
        static const char *const other[] = {"namespace", "other", NULL};

        b = store_start(&shared->world, true, other);
        store_must_put(b, "k", 2, BYTES);
        store_end(b);
    }
    assert_int_equal(store_try(&shared->world, true, refused, &b),
                     CASCADE_INVALID);
    store_message_has("rebind");
    store_must_get(a, "k", 1, BYTES);
    store_end(a);
    b = store_start(&shared->world, true, NULL);
    store_must_get(b, "k", 1, BYTES);
    store_end(b);
}

// Another process puts, flushes and dies.
static void
die_with(struct shared_world *shared, const char *const *pairs, const char *key,
         uint64_t seed)
{
    int ended = 0;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct cascade *store = NULL;

        check(store_try(&shared->world, true, pairs, &store) == CASCADE_OK);
        check(store_put_seed(store, key, seed, BYTES, 0, NULL) == CASCADE_OK);
        check(cascade_flush(store, NULL) == CASCADE_OK);
        check(store_put_seed(store, "unflushed", seed, 100, 0, NULL) ==
              CASCADE_OK);
        (void)kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
}

static void
test_the_dead_are_adopted(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, refused);

    store_must_put(a, "ka", 1, BYTES);
    die_with(shared, refused, "kd", 4);
    for (int i = 0; i < 8 && cascade_exists(a, store_name("kd")) != CASCADE_OK;
         i++) {
        refresh(shared, a);
    }
    store_must_get(a, "kd", 4, BYTES);
    assert_int_equal(store_get_seed(a, "unflushed", 4, 100), CASCADE_NOT_FOUND);
    store_must_get(a, "ka", 1, BYTES);
    assert_true(store_stats_now(a).used_bytes[CASCADE_TIER_SEGMENTS] > BYTES);
    store_end(a);
    a = store_start(&shared->world, true, refused);
    store_must_get(a, "kd", 4, BYTES);
    store_must_get(a, "ka", 1, BYTES);
    store_end(a);
}

static void
test_the_owner_is_inherited(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a;

    for (uint64_t i = 1; i < 5; i++) {
        die_with(shared, NULL, "k", i);
    }
    a = store_start(&shared->world, true, NULL);
    store_must_get(a, "k", 4, BYTES);
    store_end(a);
}

static void
count_losses(void *self, enum log_level level, const char *line)
{
    uint32_t *count = self;

    if (level == LOG_LEVEL_ERROR && strstr(line, "lost its lease") != NULL) {
        (*count)++;
    }
}

// Who slept until another took over says so, once, however long it lives on.
static void
test_a_lost_lease_is_said_once(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, NULL);
    struct cascade *b = NULL;
    uint32_t said = 0;

    store_must_put(a, "k", 1, BYTES);
    assert_int_equal(cascade_flush(a, NULL), CASCADE_OK);
    log_set_sink(&a->log, count_losses, &said);
    for (int i = 0;
         i < 8 && store_try(&shared->world, true, NULL, &b) != CASCADE_OK;
         i++) {
        clock_fake_pass(&shared->clock, 20 * NS_PER_S);
    }
    assert_non_null(b);
    store_must_get(b, "k", 1, BYTES);
    store_must_put(b, "k", 2, BYTES);
    assert_int_equal(said, 0);
    for (int i = 0; i < 20; i++) {
        clock_fake_pass(&shared->clock, 20 * NS_PER_S);
        (void)store_background_step(a);
        (void)store_background_step(b);
    }
    assert_int_equal(said, 1);
    store_must_get(b, "k", 2, BYTES);
    (void)!cascade_close(a);
    store_end(b);
}

// Two processes at once; each ends by closing, then each sees all.
static void
write_beside(struct shared_world *shared, unsigned which)
{
    struct cascade *store = NULL;
    char key[32];

    check(store_try(&shared->world, true, refused, &store) == CASCADE_OK);
    for (unsigned i = 0; i < 100; i++) {
        (void)snprintf(key, sizeof(key), "%u of %u", i, which);
        check(store_put_seed(store, key, which * 1000 + i, BYTES, 0, NULL) ==
              CASCADE_OK);
        (void)snprintf(key, sizeof(key), "%u of both", i);
        check(store_put_seed(store, key, 5000 + i, BYTES, 0, NULL) ==
              CASCADE_OK);
        if (i % 20 == 0) {
            check(cascade_flush(store, NULL) == CASCADE_OK);
            // The clocks of the two run apart: in all less than a lease, or
            // each would take the other for dead.
            clock_fake_pass(&shared->clock, NS_PER_S + NS_PER_S / 20);
            (void)store_background_step(store);
        }
    }
    check(cascade_close(store) == CASCADE_OK);
}

static void
test_two_processes(void **state)
{
    struct shared_world *shared = *state;
    struct cascade *a;
    int ended = 1;
    pid_t child = fork();
    char key[32];

    assert_true(child >= 0);
    if (child == 0) {
        write_beside(shared, 2);
        _exit(0);
    }
    write_beside(shared, 1);
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    a = store_start(&shared->world, true, refused);
    for (unsigned i = 0; i < 100; i++) {
        for (unsigned which = 1; which <= 2; which++) {
            (void)snprintf(key, sizeof(key), "%u of %u", i, which);
            store_must_get(a, key, which * 1000 + i, BYTES);
        }
        (void)snprintf(key, sizeof(key), "%u of both", i);
        store_must_get(a, key, 5000 + i, BYTES);
    }
    store_end(a);
}

// One that looks sees what is there and changes nothing.
static void
test_look(void **state)
{
    static const char *const look[] = {"cold_mode", "look", NULL};
    struct shared_world *shared = *state;
    struct cascade *a = store_start(&shared->world, true, NULL);
    struct cascade *b = NULL;

    store_must_put(a, "k", 1, BYTES);
    assert_int_equal(cascade_flush(a, NULL), CASCADE_OK);
    b = store_start(&shared->world, true, look);
    store_must_get(b, "k", 1, BYTES);
    assert_int_equal(store_put_seed(b, "k", 2, BYTES, 0, NULL),
                     CASCADE_UNSUPPORTED);
    assert_int_equal(cascade_remove(b, store_name("k")), CASCADE_UNSUPPORTED);
    assert_int_equal(cascade_clear(b), CASCADE_UNSUPPORTED);
    assert_int_equal(cascade_protect(b, store_name("k"), NULL),
                     CASCADE_UNSUPPORTED);
    assert_int_equal(cascade_flush(b, NULL), CASCADE_OK);
    store_end(b);
    store_must_get(a, "k", 1, BYTES);
    store_end(a);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sees_what_others_sealed, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_a_vanished_segment_is_a_miss,
                                        begin, finish),
        cmocka_unit_test_setup_teardown(test_others_copies_are_not_ours, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(
            test_a_put_is_ours_though_others_have_it, begin, finish),
        cmocka_unit_test_setup_teardown(test_rebinding_has_one_owner, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_the_dead_are_adopted, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_the_owner_is_inherited, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_a_lost_lease_is_said_once, begin,
                                        finish),
        cmocka_unit_test_setup_teardown(test_two_processes, begin, finish),
        cmocka_unit_test_setup_teardown(test_look, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
