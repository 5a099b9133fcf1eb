// SPDX-License-Identifier: Apache-2.0
//
// Limits of machines built from files: RAM, control groups of both versions,
// limits of the process, processors.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/units.h"
#include "support/scratch.h"

static struct scratch scratch;

static int
make_machine(void **state)
{
    (void)state;
    scratch_make(&scratch);
    scratch_write(&scratch, "proc/meminfo",
                  "MemTotal:       8388608 kB\nMemFree:  1 kB\n");
    scratch_write(&scratch, "proc/self/status",
                  "Name:\tx\nCpus_allowed:\tff\n"
                  "Cpus_allowed_list:\t0-3,8,10-11\nMems:\t0\n");
    return 0;
}

static int
remove_machine(void **state)
{
    (void)state;
    scratch_remove(&scratch);
    return 0;
}

static struct machine_limits
look(void)
{
    struct machine_limits limits;

    machine_read(file_system_real(), scratch.path, &limits);
    return limits;
}

static void
plain(void **state)
{
    struct machine_limits limits = look();

    (void)state;
    assert_int_equal(limits.memory_bytes, 8 * GIB);
    assert_int_equal(limits.cgroup_bytes, MACHINE_UNLIMITED);
    assert_int_equal(limits.cpus, 7);
    assert_int_equal(limits.ranks_on_node, 1);
    assert_string_equal(machine_memory_reason(&limits), "the RAM");
}

static void
group_of_version_two(void **state)
{
    struct machine_limits limits;

    (void)state;
    scratch_write(&scratch, "proc/self/cgroup", "0::/job/step_0/task\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/memory.max", "1073741824\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/step_0/memory.max", "max\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/step_0/task/memory.max",
                  "2147483648\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/step_0/cpu.max",
                  "150000 100000\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/cpu.max", "max 100000\n");
    limits = look();
    assert_int_equal(limits.memory_bytes, GIB);
    assert_int_equal(limits.cpus, 2);
    assert_string_equal(machine_memory_reason(&limits), "the cgroup limit");
}

static void
throttled_group(void **state)
{
    (void)state;
    scratch_write(&scratch, "proc/self/cgroup", "0::/job\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/memory.max", "2147483648\n");
    scratch_write(&scratch, "sys/fs/cgroup/job/memory.high", "1073741824\n");
    assert_int_equal(look().memory_bytes, GIB);
}

// What launchers say.
static const char *const *environment;

static const char *
look_up(const char *name)
{
    for (const char *const *pair = environment; *pair != NULL; pair += 2) {
        if (strcmp(pair[0], name) == 0) {
            return pair[1];
        }
    }
    return NULL;
}

static void
jobs(void **state)
{
    static const char *const none[] = {NULL};
    static const char *const per_node[] = {"SLURM_MEM_PER_NODE", "2048",
                                           "SLURM_STEP_TASKS_PER_NODE",
                                           "4(x2),1", NULL};
    static const char *const per_cpu[] = {"SLURM_MEM_PER_CPU",
                                          "512",
                                          "SLURM_CPUS_ON_NODE",
                                          "2",
                                          "OMPI_COMM_WORLD_LOCAL_SIZE",
                                          "8",
                                          NULL};
    static const char *const garbage[] = {"SLURM_MEM_PER_NODE",
                                          "0",
                                          "SLURM_MEM_PER_CPU",
                                          "many",
                                          "MPI_LOCALNRANKS",
                                          "-3",
                                          NULL};
    struct machine_limits limits = look();

    (void)state;
    environment = none;
    machine_read_job(look_up, &limits);
    assert_int_equal(limits.memory_bytes, 8 * GIB);
    assert_int_equal(limits.ranks_on_node, 1);
    environment = garbage;
    machine_read_job(look_up, &limits);
    assert_int_equal(limits.memory_bytes, 8 * GIB);
    assert_int_equal(limits.ranks_on_node, 1);
    environment = per_node;
    machine_read_job(look_up, &limits);
    assert_int_equal(limits.memory_bytes, 2 * GIB);
    assert_int_equal(limits.ranks_on_node, 4);
    assert_string_equal(machine_memory_reason(&limits),
                        "the memory of the job");
    limits = look();
    environment = per_cpu;
    machine_read_job(look_up, &limits);
    assert_int_equal(limits.memory_bytes, GIB);
    assert_int_equal(limits.ranks_on_node, 8);
}

// In a container the path of the group is not there, but its root is.
static void
group_at_the_root(void **state)
{
    (void)state;
    scratch_write(&scratch, "proc/self/cgroup", "0::/../../elsewhere\n");
    scratch_write(&scratch, "sys/fs/cgroup/memory.max", "536870912\n");
    assert_int_equal(look().memory_bytes, 512 * MIB);
}

static void
group_of_version_one(void **state)
{
    (void)state;
    scratch_write(&scratch, "proc/self/cgroup",
                  "12:memory:/slurm/job_1\n4:cpu,cpuacct:/slurm\n0::/\n");
    scratch_write(&scratch,
                  "sys/fs/cgroup/memory/slurm/job_1/memory.limit_in_bytes",
                  "3221225472\n");
    scratch_write(&scratch, "sys/fs/cgroup/memory/memory.limit_in_bytes",
                  "9223372036854771712\n");
    scratch_write(&scratch, "sys/fs/cgroup/cpu/slurm/cpu.cfs_quota_us",
                  "400000\n");
    scratch_write(&scratch, "sys/fs/cgroup/cpu/slurm/cpu.cfs_period_us",
                  "100000\n");
    scratch_write(&scratch, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    scratch_write(&scratch, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(look().memory_bytes, 3 * GIB);
    assert_int_equal(look().cpus, 4);
}

static void
limits_of_the_process(void **state)
{
    struct machine_limits limits;

    (void)state;
    scratch_write(&scratch, "proc/self/limits",
                  "Limit                     Soft Limit           Hard\n"
                  "Max locked memory         8388608              8388608\n"
                  "Max address space         4294967296           unlimited\n");
    limits = look();
    assert_int_equal(limits.memory_bytes, 4 * GIB);
    assert_int_equal(limits.memlock_bytes, 8 * MIB);
    assert_non_null(strstr(machine_memory_reason(&limits), "ulimit -v"));
    scratch_write(&scratch, "proc/self/limits",
                  "Max address space         unlimited            unlimited\n");
    assert_int_equal(look().memory_bytes, 8 * GIB);
}

static void
nothing_and_garbage(void **state)
{
    struct machine_limits limits;

    (void)state;
    machine_read(file_system_real(), "/nowhere", &limits);
    assert_int_equal(limits.memory_bytes, MACHINE_UNLIMITED);
    assert_int_equal(limits.cpus, 1);
    scratch_write(&scratch, "proc/meminfo", "Total: lots\n");
    scratch_write(&scratch, "proc/self/cgroup", "::::\nx\n1:memory\n0::\n");
    scratch_write(&scratch, "proc/self/status", "Cpus_allowed_list: x\n");
    limits = look();
    assert_int_equal(limits.memory_bytes, MACHINE_UNLIMITED);
    assert_int_equal(limits.cpus, 1);
}

static void
the_real_one(void **state)
{
    struct machine_limits limits;

    (void)state;
    machine_read(file_system_real(), "", &limits);
    assert_true(limits.memory_bytes >= MIB);
    assert_true(limits.memory_bytes != MACHINE_UNLIMITED);
    assert_true(limits.cpus >= 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain, make_machine, remove_machine),
        cmocka_unit_test_setup_teardown(group_of_version_two, make_machine,
                                        remove_machine),
        cmocka_unit_test_setup_teardown(group_at_the_root, make_machine,
                                        remove_machine),
        cmocka_unit_test_setup_teardown(group_of_version_one, make_machine,
                                        remove_machine),
        cmocka_unit_test_setup_teardown(throttled_group, make_machine,
                                        remove_machine),
        cmocka_unit_test_setup_teardown(jobs, make_machine, remove_machine),
        cmocka_unit_test_setup_teardown(limits_of_the_process, make_machine,
                                        remove_machine),
        cmocka_unit_test_setup_teardown(nothing_and_garbage, make_machine,
                                        remove_machine),
        cmocka_unit_test(the_real_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
