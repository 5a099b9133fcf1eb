// SPDX-License-Identifier: Apache-2.0
//
// Power cuts under whole stores.
//
//   crash_store [cuts [first seed]]
//   crash_store repeat <seed>
//
// A failure names its seed.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crash/crash_runner.h"
#include "crash/crash_store.h"
#include "support/file_sectors.h"

#define LIVES 6

static bool
run(uint64_t seed, const void *options, void *counts, char *wrong, size_t size)
{
    struct crash_store_options one = *(
        const struct crash_store_options *)options;

    one.seed = seed;
    return crash_store_run(&one, counts, wrong, size);
}

static uint64_t
cuts_of(const void *counts)
{
    return ((const struct crash_store_counts *)counts)->cuts;
}

static struct crash_runner runner = {
    .program = "crash_store",
    .cuts = 300,
    .first_seed = 1,
    .seeds_max = 100,
    .run = run,
    .cuts_of = cuts_of,
};

static void
test_cuts(void **state)
{
    const struct crash_store_options options = {.lives = LIVES};
    struct crash_store_counts counts = {0};

    (void)state;
    crash_runner_cuts(&runner, &options, &counts);
    print_message(
        "%llu changes, %llu puts, %llu of them large, %llu flushes, "
        "%llu states checked, %llu of them not flushed\n",
        (unsigned long long)counts.changes, (unsigned long long)counts.puts,
        (unsigned long long)counts.large, (unsigned long long)counts.flushes,
        (unsigned long long)counts.checked,
        (unsigned long long)counts.survived);
}

static void
expect_caught(uint32_t lies, const char *what)
{
    const struct crash_store_options options = {.lives = LIVES, .lies = lies};
    struct crash_store_counts counts = {0};

    crash_runner_expect_caught(&runner, &options, &counts, what);
}

static void
test_lost_syncs_are_noticed(void **state)
{
    (void)state;
    expect_caught(FILE_SECTORS_NO_DATA_SYNC, "no sync of files");
    expect_caught(FILE_SECTORS_NO_FOLDER_SYNC, "no sync of folders");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_lost_syncs_are_noticed),
    };
    const struct CMUnitTest only[] = {cmocka_unit_test(test_cuts)};

    if (crash_runner_arguments(&runner, argc, argv)) {
        return cmocka_run_group_tests(only, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
