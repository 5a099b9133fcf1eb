// SPDX-License-Identifier: Apache-2.0
//
// Power cuts over the real segments and the real cold tier.
//
//   crash_tier [cuts [first seed]]
//   crash_tier repeat <seed>
//
// A failure names its seed.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "crash/crash_runner.h"
#include "crash/crash_tier.h"
#include "support/file_sectors.h"

#define LIVES 8

static bool
run(uint64_t seed, const void *options, void *counts, char *wrong, size_t size)
{
    struct crash_tier_options one = *(const struct crash_tier_options *)options;

    one.seed = seed;
    one.lives = LIVES;
    return crash_tier_run(&one, counts, wrong, size);
}

static uint64_t
cuts_of(const void *counts)
{
    return ((const struct crash_tier_counts *)counts)->cuts;
}

static struct crash_runner runner = {
    .program = "crash_tier",
    .cuts = 1500,
    .first_seed = 1,
    .seeds_max = 400,
    .run = run,
    .cuts_of = cuts_of,
};

static void
test_cuts(void **state)
{
    const struct crash_tier_options options = {.lies = 0};
    struct crash_tier_counts counts = {0};

    (void)state;
    crash_runner_cuts(&runner, &options, &counts);
    print_message(
        "%llu kills, %llu changes, %llu syncs, %llu records, %llu seals, %llu "
        "reclaims, %llu recycled files, %llu states checked, %llu of them "
        "unsynced\n",
        (unsigned long long)counts.kills, (unsigned long long)counts.changes,
        (unsigned long long)counts.syncs, (unsigned long long)counts.appended,
        (unsigned long long)counts.sealed, (unsigned long long)counts.reclaimed,
        (unsigned long long)counts.recycled, (unsigned long long)counts.checked,
        (unsigned long long)counts.survived);
}

static void
expect_caught(struct crash_tier_options options, const char *what)
{
    struct crash_tier_counts counts = {0};

    crash_runner_expect_caught(&runner, &options, &counts, what);
}

static void
test_a_lost_sync_is_noticed(void **state)
{
    struct crash_tier_options data = {.lies = FILE_SECTORS_NO_DATA_SYNC};

    (void)state;
    expect_caught(data, "no sync of files");
}

static void
test_a_lost_folder_sync_is_noticed(void **state)
{
    struct crash_tier_options folder = {.lies = FILE_SECTORS_NO_FOLDER_SYNC};

    (void)state;
    expect_caught(folder, "no sync of folders");
}

static void
test_an_early_bind_is_noticed(void **state)
{
    struct crash_tier_options options = {.early_bind = true};

    (void)state;
    expect_caught(options, "a bind record before its payload's sync");
}

static void
test_file_order_is_noticed(void **state)
{
    struct crash_tier_options options = {.file_order = true};

    (void)state;
    expect_caught(options, "file order instead of versions");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_a_lost_sync_is_noticed),
        cmocka_unit_test(test_a_lost_folder_sync_is_noticed),
        cmocka_unit_test(test_an_early_bind_is_noticed),
        cmocka_unit_test(test_file_order_is_noticed),
    };
    const struct CMUnitTest only[] = {cmocka_unit_test(test_cuts)};

    if (crash_runner_arguments(&runner, argc, argv)) {
        return cmocka_run_group_tests(only, NULL, NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
