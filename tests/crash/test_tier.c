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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "crash/crash_tier.h"
#include "support/file_sectors.h"

#define LIVES 8

static uint64_t cuts_wanted = 1500;
static uint64_t first_seed = 1;

static void
tell(const struct crash_tier_counts *counts, clock_t begin, uint64_t seed)
{
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;

    print_message(
        "seeds %llu to %llu: %llu cuts (%.0f per second of processor), %llu "
        "kills, "
        "%llu changes, %llu syncs, %llu records, %llu seals, %llu "
        "reclaims, %llu recycled files, %llu states checked, %llu of "
        "them unsynced\n",
        (unsigned long long)first_seed, (unsigned long long)seed,
        (unsigned long long)counts->cuts, (double)counts->cuts / seconds,
        (unsigned long long)counts->kills, (unsigned long long)counts->changes,
        (unsigned long long)counts->syncs, (unsigned long long)counts->appended,
        (unsigned long long)counts->sealed,
        (unsigned long long)counts->reclaimed,
        (unsigned long long)counts->recycled,
        (unsigned long long)counts->checked,
        (unsigned long long)counts->survived);
}

static void
test_cuts(void **state)
{
    struct crash_tier_options options = {.lives = LIVES};
    struct crash_tier_counts counts = {0};
    clock_t begin = clock();
    char wrong[600];

    (void)state;
    options.seed = first_seed;
    while (counts.cuts < cuts_wanted) {
        if (!crash_tier_run(&options, &counts, wrong, sizeof(wrong))) {
            fail_msg("%s\nrepeat with: crash_tier repeat %llu", wrong,
                     (unsigned long long)options.seed);
        }
        options.seed++;
    }
    tell(&counts, begin, options.seed - 1);
}

// Each lie must be found out, or the test proves nothing.
static void
expect_caught(struct crash_tier_options *options, const char *what)
{
    struct crash_tier_counts counts = {0};
    char wrong[600] = "";

    options->lives = LIVES;
    for (options->seed = 1; options->seed <= 400; options->seed++) {
        if (!crash_tier_run(options, &counts, wrong, sizeof(wrong))) {
            print_message("%s: caught after %llu cuts: %s\n", what,
                          (unsigned long long)counts.cuts, wrong);
            return;
        }
    }
    fail_msg("%s was not noticed in %llu cuts", what,
             (unsigned long long)counts.cuts);
}

static void
test_a_lost_sync_is_noticed(void **state)
{
    struct crash_tier_options data = {.lies = FILE_SECTORS_NO_DATA_SYNC};

    (void)state;
    expect_caught(&data, "no sync of files");
}

static void
test_a_lost_folder_sync_is_noticed(void **state)
{
    struct crash_tier_options folder = {.lies = FILE_SECTORS_NO_FOLDER_SYNC};

    (void)state;
    expect_caught(&folder, "no sync of folders");
}

static void
test_an_early_bind_is_noticed(void **state)
{
    struct crash_tier_options options = {.early_bind = true};

    (void)state;
    expect_caught(&options, "a bind record before its payload's sync");
}

static void
test_file_order_is_noticed(void **state)
{
    struct crash_tier_options options = {.file_order = true};

    (void)state;
    expect_caught(&options, "file order instead of versions");
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

    if (argc == 3 && strcmp(argv[1], "repeat") == 0) {
        first_seed = strtoull(argv[2], NULL, 10);
        cuts_wanted = 1;
        return cmocka_run_group_tests(only, NULL, NULL);
    }
    if (argc > 1) {
        cuts_wanted = strtoull(argv[1], NULL, 10);
    }
    if (argc > 2) {
        first_seed = strtoull(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
