// SPDX-License-Identifier: Apache-2.0
//
// Every allocation and every file call fails in turn, over open, a workload
// and close. Nothing crashes, nothing leaks, no get gives wrong bytes, and what
// a flush acknowledged is there after a restart without faults. Workloads with
// failing files run in a child, which dies like a process: with its store open
// or closed, whatever the fault made of that.
//
// Usage: [stride]: 1 fails every call; by default every 23rd.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fault_workload.h"
#include "support/clock_fake.h"

static uint64_t stride = 23;

// How many allocations there were.
static uint64_t
fail_allocation(uint64_t n)
{
    struct store_world world;
    struct fault_model model;
    struct cascade *store = NULL;
    enum cascade_status status;
    uint64_t calls;

    store_world_make(&world);
    world.files.lazy = true;
    fault_model_init(&model);
    world.memory.fail_at = n;
    status = store_try(&world, true, NULL, &store);
    if (status == CASCADE_OK) {
        fault_workload(&model, store);
        assert_false(model.wrong);
        status = cascade_close(store);
        assert_int_not_equal(status, CASCADE_BUSY);
        if (status == CASCADE_OK) {
            fault_flushed(&model);
        }
    } else {
        assert_int_equal(status, CASCADE_NO_MEMORY);
        assert_null(store);
        assert_string_not_equal(cascade_error_message(), "");
    }
    calls = world.memory.calls;
    if (world.memory.live != 0) {
        fail_msg("allocation %llu: %llu are left", (unsigned long long)n,
                 (unsigned long long)world.memory.live);
    }
    // And the next store finds what was flushed.
    world.memory.fail_at = 0;
    store = store_start(&world, true, NULL);
    if (!fault_check_restart(&model, store, false)) {
        fail_msg("allocation %llu", (unsigned long long)n);
    }
    store_end(store);
    store_world_remove(&world);
    return calls;
}

static void
test_allocations(void **state)
{
    uint64_t total = fail_allocation(0);

    (void)state;
    for (uint64_t n = 1; n <= total; n += stride) {
        (void)fail_allocation(n);
    }
    print_message("%llu allocations failed in turn\n",
                  (unsigned long long)total);
}

struct fault {
    const char *name;
    int error;
    uint64_t count;
    bool torn;
    bool tight; // the cold tier is smaller than the workload
    bool dies;  // the child does not close its store
    uint64_t stride;
};

struct shared {
    struct fault_model model;
    uint64_t calls;
    uint64_t reclaimed;
};

static const char *const tight_pairs[] = {"cold_capacity", "1MiB",
                                          "dram_capacity", "1MiB", NULL};

static void
run_child(struct store_world *world, struct shared *shared,
          const struct fault *fault, uint64_t n)
{
    struct cascade *store = NULL;

    world->files.fail_from = n;
    world->files.fail_count = fault->count;
    world->files.error = fault->error;
    world->files.torn = fault->torn;
    if (store_try(world, true, fault->tight ? tight_pairs : NULL, &store) ==
        CASCADE_OK) {
        for (int round = 0; round < (fault->tight ? 4 : 1); round++) {
            fault_workload(&shared->model, store);
        }
        shared->reclaimed = store_stats_now(store).segments_reclaimed;
        if (!fault->dies && cascade_close(store) == CASCADE_OK) {
            fault_flushed(&shared->model);
        }
    }
    shared->calls = world->files.calls;
    _exit(shared->model.wrong ? 1 : 0);
}

static void
run_once(const struct fault *fault, struct shared *shared, uint64_t n)
{
    struct store_world world;
    struct cascade *store = NULL;
    int ended = 0;
    bool right;
    pid_t child;

    store_world_make(&world);
    world.files.lazy = true;
    memset(shared, 0, sizeof(*shared));
    fault_model_init(&shared->model);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        run_child(&world, shared, fault, n);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0) {
        fail_msg("%s, file call %llu: the child ended with %x", fault->name,
                 (unsigned long long)n, (unsigned)ended);
    }
    if (store_try(&world, true, fault->tight ? tight_pairs : NULL, &store) !=
        CASCADE_OK) {
        fail_msg("%s, file call %llu: open: %s", fault->name,
                 (unsigned long long)n, cascade_error_message());
    }
    right = fault_check_restart(&shared->model, store, fault->tight);
    if (!right) {
        fail_msg("%s, file call %llu: see above", fault->name,
                 (unsigned long long)n);
    }
    store_end(store);
    store_world_remove(&world);
}

static void
test_file_calls(void **state)
{
    const struct fault *fault = *state;
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t gets = 0;
    uint64_t flushes = 0;
    uint64_t total;

    assert_true(shared != MAP_FAILED);
    run_once(fault, shared, 0);
    total = shared->calls;
    assert_true(total > 100 && shared->model.flushes >= 3);
    assert_true(!fault->tight || shared->reclaimed > 0);
    for (uint64_t n = 1; n <= total; n += fault->stride * stride) {
        run_once(fault, shared, n);
        gets += shared->model.gets_right;
        flushes += shared->model.flushes;
    }
    print_message("%s: %llu file calls, %llu gets right, %llu flushes "
                  "acknowledged\n",
                  fault->name, (unsigned long long)total,
                  (unsigned long long)gets, (unsigned long long)flushes);
    (void)munmap(shared, sizeof(*shared));
}

static const struct fault faults[] = {
    {"EIO once", EIO, 1, false, false, false, 1},
    {"EIO once, torn, then death", EIO, 1, true, false, true, 2},
    {"short once", 0, 1, false, false, false, 3},
    {"ENOSPC from then on", ENOSPC, UINT64_MAX, true, false, false, 2},
    {"EDQUOT a few times", EDQUOT, 5, false, false, true, 3},
    {"EIO once, little room", EIO, 1, false, true, false, 2},
    {"ENOSPC a few times, little room", ENOSPC, 7, true, true, true, 5},
};

int
main(int argc, char **argv)
{
    enum {
        COUNT = sizeof(faults) / sizeof(faults[0])
    };
    struct CMUnitTest tests[COUNT + 1];

    if (argc > 1) {
        stride = strtoull(argv[1], NULL, 10);
    }
    memset(tests, 0, sizeof(tests));
    for (size_t i = 0; i < COUNT; i++) {
        union {
            const void *given;
            void *taken;
        } fault = {.given = &faults[i]};

        tests[i].name = faults[i].name;
        tests[i].test_func = test_file_calls;
        tests[i].initial_state = fault.taken;
    }
    tests[COUNT].name = "allocations";
    tests[COUNT].test_func = test_allocations;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
