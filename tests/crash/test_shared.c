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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "crash/crash_shared.h"
#include "support/file_sectors.h"

#define LIVES 6

static uint64_t cuts_wanted = 100;
static uint64_t first_seed = 1;

static void
test_cuts(void **state)
{
    struct crash_shared_options options = {.lives = LIVES};
    struct crash_shared_counts counts = {0};
    clock_t begin = clock();
    char wrong[700];

    (void)state;
    options.seed = first_seed;
    while (counts.cuts < cuts_wanted) {
        if (!crash_shared_run(&options, &counts, wrong, sizeof(wrong))) {
            fail_msg("%s\nrepeat with: crash_shared repeat %llu", wrong,
                     (unsigned long long)options.seed);
        }
        options.seed++;
    }
    print_message(
        "seeds %llu to %llu: %llu cuts (%.0f per second of processor), %llu "
        "deaths of one, %llu changes, %llu puts, %llu of them large, %llu "
        "flushes, %llu states checked\n",
        (unsigned long long)first_seed, (unsigned long long)options.seed - 1,
        (unsigned long long)counts.cuts,
        (double)counts.cuts / ((double)(clock() - begin) / CLOCKS_PER_SEC),
        (unsigned long long)counts.deaths, (unsigned long long)counts.changes,
        (unsigned long long)counts.puts, (unsigned long long)counts.large,
        (unsigned long long)counts.flushes, (unsigned long long)counts.checked);
}

// Each lie must be found out, or the test proves nothing.
static void
expect_caught(struct crash_shared_options options, const char *what)
{
    struct crash_shared_counts counts = {0};
    char wrong[700] = "";

    for (options.seed = 1; options.seed <= 100; options.seed++) {
        if (!crash_shared_run(&options, &counts, wrong, sizeof(wrong))) {
            print_message("%s: caught after %llu cuts: %s\n", what,
                          (unsigned long long)counts.cuts, wrong);
            return;
        }
    }
    fail_msg("%s was not noticed in %llu cuts", what,
             (unsigned long long)counts.cuts);
}

static void
test_lost_syncs_are_noticed(void **state)
{
    struct crash_shared_options options = {.lives = LIVES};

    (void)state;
    options.lies = FILE_SECTORS_NO_DATA_SYNC;
    expect_caught(options, "no sync of files");
    options.lies = FILE_SECTORS_NO_FOLDER_SYNC;
    expect_caught(options, "no sync of folders");
}

static void
test_a_claim_for_both_is_refuted(void **state)
{
    struct crash_shared_options options = {
        .lives = LIVES,
        .flush_for_both = true,
    };

    (void)state;
    expect_caught(options, "a flush that counts for both");
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
