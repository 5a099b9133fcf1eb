// SPDX-License-Identifier: Apache-2.0
//
// Power cuts under two stores that share a root.
//
//   crash_shared [cuts [first seed]]
//   crash_shared repeat <seed>
//
// A failure names its seed.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crash/crash_runner.h"
#include "crash/crash_shared.h"
#include "support/file_sectors.h"

#define LIVES 6

static bool
run(uint64_t seed, const void *options, void *counts, char *wrong, size_t size)
{
    struct crash_shared_options one = *(
        const struct crash_shared_options *)options;

    one.seed = seed;
    return crash_shared_run(&one, counts, wrong, size);
}

static uint64_t
cuts_of(const void *counts)
{
    return ((const struct crash_shared_counts *)counts)->cuts;
}

static struct crash_runner runner = {
    .program = "crash_shared",
    .cuts = 100,
    .first_seed = 1,
    .seeds_max = 100,
    .run = run,
    .cuts_of = cuts_of,
};

static void
test_cuts(void **state)
{
    const struct crash_shared_options options = {.lives = LIVES};
    struct crash_shared_counts counts = {0};

    (void)state;
    crash_runner_cuts(&runner, &options, &counts);
    print_message(
        "%llu deaths of one, %llu changes, %llu puts, %llu of them "
        "large, %llu flushes, %llu states checked\n",
        (unsigned long long)counts.deaths, (unsigned long long)counts.changes,
        (unsigned long long)counts.puts, (unsigned long long)counts.large,
        (unsigned long long)counts.flushes, (unsigned long long)counts.checked);
}

static void
expect_caught(uint32_t lies, bool flush_for_both, const char *what)
{
    const struct crash_shared_options options = {
        .lives = LIVES,
        .lies = lies,
        .flush_for_both = flush_for_both,
    };
    struct crash_shared_counts counts = {0};

    crash_runner_expect_caught(&runner, &options, &counts, what);
}

static void
test_lost_syncs_are_noticed(void **state)
{
    (void)state;
    expect_caught(FILE_SECTORS_NO_DATA_SYNC, false, "no sync of files");
    expect_caught(FILE_SECTORS_NO_FOLDER_SYNC, false, "no sync of folders");
}

static void
test_a_claim_for_both_is_refuted(void **state)
{
    (void)state;
    expect_caught(0, true, "a flush that counts for both");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_lost_syncs_are_noticed),
        cmocka_unit_test(test_a_claim_for_both_is_refuted),
    };
    const struct CMUnitTest only[] = {cmocka_unit_test(test_cuts)};

    if (crash_runner_arguments(&runner, argc, argv)) {
        return cmocka_run_group_tests(only, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
