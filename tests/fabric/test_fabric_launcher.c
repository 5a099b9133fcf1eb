// SPDX-License-Identifier: Apache-2.0
//
// Who started this process, and which fabric follows from that: tables of
// environments and of facts. No MPI is needed.

#include "fabric/fabric_launcher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct environment {
    const char *pairs[12];
};

static const char *
variable(void *context, const char *name)
{
    const struct environment *environment = context;
    for (size_t at = 0; environment->pairs[at] != NULL; at += 2) {
        if (strcmp(environment->pairs[at], name) == 0) {
            return environment->pairs[at + 1];
        }
    }
    return NULL;
}

static void
look_tells_launchers_apart(void **state)
{
    (void)state;
    static struct {
        struct environment environment;
        const char *name; // what its name must contain; NULL: none
        uint32_t families;
        uint32_t first;
        int ranks;
        const char *task;
    } rows[] = {
        {{{NULL}}, NULL, 0, FABRIC_FAMILY_MPICH, 0, ""},
        // An allocation without a launcher of MPI; sbatch's own script.
        {{{"SLURM_JOB_ID", "7", "SLURM_NTASKS", "4", "SLURM_PROCID", "0",
           NULL}},
         NULL,
         0,
         FABRIC_FAMILY_MPICH,
         0,
         ""},
        {{{"OMPI_COMM_WORLD_SIZE", "4", "PMIX_NAMESPACE", "job1", "PMIX_RANK",
           "3", NULL}},
         "Open MPI",
         FABRIC_FAMILY_OPENMPI,
         FABRIC_FAMILY_OPENMPI,
         4,
         "job1..3"},
        {{{"PMI_RANK", "1", "PMI_SIZE", "8", "MPI_LOCALNRANKS", "8", NULL}},
         "MPICH",
         FABRIC_FAMILY_MPICH,
         FABRIC_FAMILY_MPICH,
         8,
         ""},
        // The launcher of MPICH inside an allocation.
        {{{"PMI_RANK", "1", "PMI_SIZE", "2", "MPI_LOCALNRANKS", "2",
           "SLURM_JOB_ID", "9", NULL}},
         "MPICH",
         FABRIC_FAMILY_MPICH,
         FABRIC_FAMILY_MPICH,
         2,
         ""},
        {{{"PMI_RANK", "1", "PMI_SIZE", "2", "SLURM_JOB_ID", "9",
           "SLURM_STEP_ID", "0", "SLURM_PROCID", "1", NULL}},
         "srun",
         FABRIC_FAMILY_MPICH | FABRIC_FAMILY_OPENMPI,
         FABRIC_FAMILY_MPICH,
         2,
         "9.0.1"},
        {{{"PMIX_RANK", "0", "PMIX_NAMESPACE", "slurm.pmix.5.0", "SLURM_JOB_ID",
           "5", "SLURM_STEP_NUM_TASKS", "16", NULL}},
         "srun",
         FABRIC_FAMILY_MPICH | FABRIC_FAMILY_OPENMPI,
         FABRIC_FAMILY_OPENMPI,
         16,
         "slurm.pmix.5.0..0"},
        {{{"PALS_RANKID", "2", "PALS_APID", "abc", "SLURM_NTASKS", "32",
           "PMI_CONTROL_PORT", "1,2", NULL}},
         "PALS",
         FABRIC_FAMILY_MPICH,
         FABRIC_FAMILY_MPICH,
         32,
         "abc..2"},
    };
    for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
        struct fabric_launcher launcher;
        fabric_launcher_look(variable, &rows[at].environment, &launcher);
        if (rows[at].name == NULL) {
            assert_null(launcher.name);
        } else {
            assert_non_null(launcher.name);
            assert_non_null(strstr(launcher.name, rows[at].name));
        }
        assert_int_equal(launcher.families, rows[at].families);
        assert_int_equal(launcher.first, rows[at].first);
        assert_int_equal(launcher.ranks, rows[at].ranks);
        assert_string_equal(launcher.task, rows[at].task);
        assert_string_equal(launcher.refusal, "");
    }
}

static void
look_sees_a_child_by_its_descriptor(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    char number[16];
    (void)snprintf(number, sizeof(number), "%d", pair[0]);
    struct environment environment = {{"PMI_RANK", "1", "PMI_SIZE", "2",
                                       "MPI_LOCALNRANKS", "2", "PMI_FD", number,
                                       NULL}};
    struct fabric_launcher launcher;
    fabric_launcher_look(variable, &environment, &launcher);
    assert_string_equal(launcher.refusal, "");
    assert_memory_equal(launcher.task, "pmi.", 4);
    close(pair[0]);
    fabric_launcher_look(variable, &environment, &launcher);
    assert_string_not_equal(launcher.refusal, "");
    close(pair[1]);
}

#define OPENMPI FABRIC_FAMILY_OPENMPI
#define MPICH FABRIC_FAMILY_MPICH

static void
choose_follows_the_rules(void **state)
{
    (void)state;
    static const struct fabric_launcher none = {.families = 0};
    static const struct fabric_launcher openmpi = {
        .name = "mpirun", .families = OPENMPI, .first = OPENMPI, .ranks = 4};
    static const struct fabric_launcher mpich = {
        .name = "mpiexec", .families = MPICH, .first = MPICH, .ranks = 4};
    static const struct fabric_launcher either = {
        .name = "srun", .families = OPENMPI | MPICH, .first = OPENMPI};
    static const struct fabric_launcher single = {
        .name = "mpirun", .families = OPENMPI, .first = OPENMPI, .ranks = 1};
    static const struct fabric_launcher child = {.name = "mpirun",
                                                 .families = OPENMPI,
                                                 .first = OPENMPI,
                                                 .ranks = 4,
                                                 .refusal = "a child"};
    static const struct fabric_loaded nothing = {.count = 0};
    static const struct fabric_loaded has_openmpi = {
        .family = OPENMPI, .count = 1, .version = "Open MPI"};
    static const struct fabric_loaded has_mpich = {
        .family = MPICH, .count = 1, .version = "MPICH"};
    static const struct fabric_loaded runs_mpich = {
        .family = MPICH, .count = 1, .started = true, .version = "MPICH"};
    static const struct fabric_loaded foreign = {
        .count = 1, .started = true, .version = "Some MPI"};
    static const struct fabric_loaded two = {.family = MPICH, .count = 2};
    const uint32_t both = OPENMPI | MPICH;
    const struct {
        const char *which;
        const struct fabric_launcher *launcher;
        const struct fabric_loaded *loaded;
        uint32_t modules;
        enum cascade_status status;
        uint32_t family; // 0: self
    } rows[] = {
        {"self", &openmpi, &runs_mpich, both, CASCADE_OK, 0},
        {"shm", &openmpi, &nothing, both, CASCADE_INVALID, 0},
        {"auto", &none, &nothing, both, CASCADE_OK, 0},
        {"mpi", &none, &nothing, both, CASCADE_UNSUPPORTED, 0},
        {"auto", &openmpi, &nothing, both, CASCADE_OK, OPENMPI},
        {"mpi", &mpich, &nothing, both, CASCADE_OK, MPICH},
        {"auto", &either, &nothing, both, CASCADE_OK, OPENMPI},
        {"auto", &either, &nothing, MPICH, CASCADE_OK, MPICH},
        {"auto", &either, &has_mpich, both, CASCADE_OK, MPICH},
        // A launcher without a module is an error, not one rank.
        {"auto", &openmpi, &nothing, MPICH, CASCADE_UNSUPPORTED, 0},
        {"auto", &mpich, &nothing, 0, CASCADE_UNSUPPORTED, 0},
        {"auto", &openmpi, &has_mpich, both, CASCADE_UNSUPPORTED, 0},
        {"auto", &single, &nothing, both, CASCADE_OK, 0},
        {"mpi", &single, &nothing, both, CASCADE_OK, OPENMPI},
        {"auto", &child, &nothing, both, CASCADE_OK, 0},
        {"mpi", &child, &nothing, both, CASCADE_UNSUPPORTED, 0},
        // Only loaded, and nobody started a job: as good as none.
        {"auto", &none, &has_openmpi, both, CASCADE_OK, 0},
        // Started: it decides, whatever the launcher says.
        {"auto", &none, &runs_mpich, both, CASCADE_OK, MPICH},
        {"auto", &openmpi, &runs_mpich, both, CASCADE_OK, MPICH},
        {"auto", &mpich, &runs_mpich, OPENMPI, CASCADE_UNSUPPORTED, 0},
        {"auto", &none, &runs_mpich, OPENMPI, CASCADE_OK, 0},
        {"mpi", &none, &foreign, both, CASCADE_UNSUPPORTED, 0},
        {"auto", &none, &foreign, both, CASCADE_OK, 0},
        {"auto", &mpich, &two, both, CASCADE_UNSUPPORTED, 0},
    };
    for (size_t at = 0; at < sizeof(rows) / sizeof(rows[0]); at++) {
        struct fabric_choice choice;
        enum cascade_status status = fabric_launcher_choose(
            rows[at].which, rows[at].launcher, rows[at].loaded,
            rows[at].modules, &choice);
        if (status != rows[at].status ||
            (uint32_t)choice.family != rows[at].family) {
            print_message("row %zu: %s\n", at, choice.reason);
        }
        assert_int_equal(status, rows[at].status);
        assert_int_equal(choice.mpi, rows[at].family != 0);
        assert_int_equal((uint32_t)choice.family, rows[at].family);
        assert_string_not_equal(choice.reason, "");
    }
}

static void
no_mpi_is_loaded_here(void **state)
{
    (void)state;
    struct fabric_loaded loaded;
    fabric_launcher_loaded(&loaded);
    assert_int_equal(loaded.count, 0);
    assert_false(loaded.started);
    assert_false(fabric_launcher_is_forked(&loaded));
}

// Claims once per process; a child that was forked has none.
static void
claim_is_of_one_process(void **state)
{
    (void)state;
    struct fabric_launcher launcher = {.name = "test"};
    (void)snprintf(launcher.task, sizeof(launcher.task), "test.%d",
                   (int)getpid());
    // Another process first: it holds the claim as long as it lives.
    int go[2];
    int ready[2];
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t other = fork();
    if (other == 0) {
        char byte = fabric_launcher_claim(&launcher) ? 'y' : 'n';
        close(go[1]);
        (void)!write(ready[1], &byte, 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_false(fabric_launcher_claim(&launcher));
    close(go[1]);
    assert_int_equal(waitpid(other, NULL, 0), other);
    assert_true(fabric_launcher_claim(&launcher));
    assert_true(fabric_launcher_claim(&launcher));
    pid_t child = fork();
    if (child == 0) {
        _exit(fabric_launcher_claim(&launcher) ? 1 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(go[0]);
    close(ready[0]);
    close(ready[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(look_tells_launchers_apart),
        cmocka_unit_test(look_sees_a_child_by_its_descriptor),
        cmocka_unit_test(choose_follows_the_rules),
        cmocka_unit_test(no_mpi_is_loaded_here),
        cmocka_unit_test(claim_is_of_one_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
