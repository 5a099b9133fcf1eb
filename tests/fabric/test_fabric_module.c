// SPDX-License-Identifier: Apache-2.0
//
// Choosing and loading, as far as no MPI is started: tests/cluster has the
// rest. The launcher's environment is made up.

#include "fabric/fabric_module.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "support/scratch.h"

static struct fabric_module_options
options_of(const char *path)
{
    return (struct fabric_module_options){
        .allocator = allocator_system(),
        .clock = clock_system(),
        .path = path,
    };
}

static int
forget_launchers(void **state)
{
    (void)state;
    static const char *const names[] = {
        "OMPI_COMM_WORLD_SIZE",
        "PMIX_RANK",
        "PMIX_NAMESPACE",
        "PMI_RANK",
        "PMI_SIZE",
        "PMI_FD",
        "PALS_RANKID",
        "PALS_APID",
        "PMI_CONTROL_PORT",
        "MPI_LOCALNRANKS",
        "SLURM_JOB_ID",
        "CASCADE_FABRIC_MODULE",
    };
    for (size_t at = 0; at < sizeof(names) / sizeof(names[0]); at++) {
        unsetenv(names[at]);
    }
    return 0;
}

static void
alone_it_is_self(void **state)
{
    (void)state;
    static const char *const words[] = {"auto", "self"};
    for (size_t at = 0; at < 2; at++) {
        struct fabric_module_options options = options_of(NULL);
        struct fabric fabric;
        char reason[FABRIC_REASON_BYTES] = "";
        assert_int_equal(
            fabric_module_open(words[at], &options, &fabric, reason),
            CASCADE_OK);
        assert_string_equal(fabric.table->name, "self");
        assert_int_equal(fabric.rank_count, 1);
        assert_string_not_equal(reason, "");
        fabric.table->close(fabric.self);
    }
}

static void
asked_for_without_a_launcher_it_fails(void **state)
{
    (void)state;
    struct fabric_module_options options = options_of(NULL);
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES] = "";
    assert_int_equal(fabric_module_open("mpi", &options, &fabric, reason),
                     CASCADE_UNSUPPORTED);
    assert_non_null(strstr(reason, "PMI_RANK"));
    assert_string_equal(error_message(), reason);
    assert_int_equal(fabric_module_open("tcp", &options, &fabric, reason),
                     CASCADE_INVALID);
}

// What was looked for, where, and what to do.
static void
a_missing_module_is_named(void **state)
{
    (void)state;
    struct scratch scratch;
    scratch_make(&scratch);
    struct fabric_module_options options = options_of(scratch.path);
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES] = "";
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    assert_int_equal(fabric_module_open("auto", &options, &fabric, reason),
                     CASCADE_UNSUPPORTED);
    assert_non_null(strstr(reason, "openmpi"));
    assert_non_null(strstr(reason, scratch.path));
    assert_non_null(strstr(reason, "MPICC="));
    // self needs none of it.
    assert_int_equal(fabric_module_open("self", &options, &fabric, reason),
                     CASCADE_OK);
    fabric.table->close(fabric.self);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    scratch_remove(&scratch);
}

static void
a_file_that_is_no_module_is_refused(void **state)
{
    (void)state;
    struct scratch scratch;
    scratch_make(&scratch);
    char path[600];
    (void)snprintf(path, sizeof(path), "%s/fabric_openmpi.so", scratch.path);
    scratch_write(&scratch, "fabric_openmpi.so", "no library");
    struct fabric fabric;
    char reason[FABRIC_REASON_BYTES] = "";
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    const char *const given[] = {path, scratch.path};
    for (size_t at = 0; at < 2; at++) {
        struct fabric_module_options options = options_of(given[at]);
        assert_int_equal(fabric_module_open("auto", &options, &fabric, reason),
                         CASCADE_UNSUPPORTED);
        assert_non_null(strstr(reason, path));
    }
    // The same by the environment; describe loads nothing.
    setenv("CASCADE_FABRIC_MODULE", scratch.path, 1);
    struct fabric_module_description description;
    fabric_module_describe("auto", NULL, &description);
    assert_string_equal(description.openmpi, path);
    assert_string_equal(description.mpich, "");
    assert_int_equal(description.status, CASCADE_OK);
    assert_true(description.choice.mpi);
    assert_non_null(strstr(description.launcher.name, "Open MPI"));
    unsetenv("CASCADE_FABRIC_MODULE");
    unsetenv("OMPI_COMM_WORLD_SIZE");
    scratch_remove(&scratch);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_it_is_self),
        cmocka_unit_test(asked_for_without_a_launcher_it_fails),
        cmocka_unit_test(a_missing_module_is_named),
        cmocka_unit_test(a_file_that_is_no_module_is_refused),
    };
    return cmocka_run_group_tests(tests, forget_launchers, NULL);
}
