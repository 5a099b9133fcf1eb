// SPDX-License-Identifier: Apache-2.0
//
// The product's options through the public functions, and the documentation of
// them: docs/OPTIONS.md is what this table says. With CASCADE_WRITE_TABLES=1 in
// the environment the page is written instead of compared.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/file.h"
#include "base/option.h"
#include "store/store_options.h"
#include "support/allocator_failing.h"
#include "support/generated.h"
#include "support/scratch.h"

static void
every_default_is_accepted(void **state)
{
    struct cascade_options *options = cascade_options_create();
    size_t count = 0;

    (void)state;
    assert_non_null(options);
    for (; cascade_options_describe(count) != NULL; count++) {
        const struct cascade_option_info *info = cascade_options_describe(
            count);
        char value[256];

        if (cascade_options_set(options, info->name, info->default_text) !=
            CASCADE_OK) {
            fail_msg("%s: %s", info->name, error_message());
        }
        assert_int_equal(
            cascade_options_get(options, info->name, value, sizeof(value)),
            CASCADE_OK);
        assert_string_equal(value, info->default_text);
        assert_string_equal(cascade_options_origin(options, info->name),
                            "program");
        assert_true(strlen(info->unit) > 0 && strlen(info->range) > 0);
    }
    assert_int_equal(count, STORE_OPTION_COUNT);
    cascade_options_destroy(options);
    cascade_options_destroy(NULL);
}

// The options that interfaces rely on are all there.
static void
promised_names(void **state)
{
    static const char *const names[] = {
        "dram_capacity",
        "gpu_capacity",
        "gpu_devices",
        "cold_path",
        "cold_capacity",
        "segment_size",
        "dedup",
        "semantic_eviction",
        "eviction_policy",
        "prefix_fraction_max",
        "locality_aware",
        "promotion_threshold",
        "namespace",
        "fabric",
        "verify",
        "threads",
        "sync",
        "cold_write_rate",
        "cold_file_mode",
        "cold_group",
        "metrics_listen",
        "log_level",
        "max_blocks",
        "rebind",
    };
    struct cascade_options *options = cascade_options_create();

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_string_equal(cascade_options_origin(options, names[i]),
                            "default");
    }
    assert_null(cascade_options_origin(options, "dram"));
    cascade_options_destroy(options);
}

static void
answers(void **state)
{
    struct cascade_options *options = cascade_options_create();
    char value[8] = "before";

    (void)state;
    assert_int_equal(cascade_options_set(options, "dram_capacty", "1GiB"),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "did you mean dram_capacity?"));
    assert_int_equal(cascade_options_get(options, "nothing", value, 8),
                     CASCADE_INVALID);
    assert_int_equal(cascade_options_set(options, "cold_path", "/a/b/c/d"),
                     CASCADE_OK);
    assert_int_equal(cascade_options_get(options, "cold_path", value, 8),
                     CASCADE_TOO_SMALL);
    assert_string_equal(value, "before");
    assert_int_equal(cascade_options_set(NULL, "dedup", "off"),
                     CASCADE_INVALID);
    assert_int_equal(cascade_options_set(options, "dedup", NULL),
                     CASCADE_INVALID);
    assert_null(cascade_options_describe(STORE_OPTION_COUNT));
    cascade_options_destroy(options);
}

static void
environment_and_its_file(void **state)
{
    struct scratch scratch;
    char file[256];
    static char capacity[] = "CASCADE_DRAM_CAPACITY=64MiB";
    static char folder[] = "CASCADE_RUNTIME_DIR=/x";
    char *environment[] = {capacity, file, folder, NULL};
    struct cascade_options *options = cascade_options_create();

    (void)state;
    scratch_make(&scratch);
    scratch_write(&scratch, "c.conf", "dram_capacity = 1MiB\nthreads = 3\n");
    (void)snprintf(file, sizeof(file), "CASCADE_CONF=%s/c.conf", scratch.path);
    assert_int_equal(store_options_load_environment(options, environment),
                     CASCADE_OK);
    assert_string_equal(option_text(options->set, STORE_OPTION_DRAM_CAPACITY),
                        "64MiB");
    assert_string_equal(cascade_options_origin(options, "dram_capacity"),
                        "environment");
    assert_string_equal(cascade_options_origin(options, "threads"), "file");
    scratch_write(&scratch, "c.conf", "dram_capacity = 1MiB\nthread = 3\n");
    assert_int_equal(store_options_load_environment(options, environment),
                     CASCADE_INVALID);
    assert_non_null(strstr(error_message(), "c.conf:2: "));
    assert_non_null(strstr(error_message(), "did you mean threads?"));
    scratch_remove(&scratch);
    assert_int_equal(store_options_load_environment(options, environment),
                     CASCADE_NOT_FOUND);
    cascade_options_destroy(options);
}

static void
each_allocation_fails(void **state)
{
    struct allocator_failing fault;
    uint64_t n = 0;

    (void)state;
    do {
        struct cascade_options *options;
        struct cascade_options *copy = NULL;

        n++;
        allocator_failing_init(&fault, n);
        options = store_options_create(&fault.table, file_system_real());
        if (options != NULL &&
            cascade_options_set(options, "threads", "2") == CASCADE_OK) {
            copy = store_options_copy(&fault.table, options);
        }
        assert_int_equal(copy != NULL, fault.calls < n);
        cascade_options_destroy(copy);
        cascade_options_destroy(options);
        assert_int_equal(fault.live, 0);
    } while (fault.calls >= n);
    assert_int_equal(n, 9);
}

static void
page_agrees(void **state)
{
    static const char *const types[] = {"size", "count", "number", "flag",
                                        "word", "text",  "time"};
    struct generated page;
    const struct cascade_option_info *info;

    (void)state;
    generated_begin(&page, "docs/OPTIONS.md");
    generated_print(
        &page,
        "# Options\n\n"
        "Each option can be set in a file (`name = value`, `#` begins a "
        "comment), in the environment\n(`CASCADE_` and the name in capitals) "
        "and by the program; the later of these wins. `CASCADE_CONF`\nnames "
        "the file. Sizes accept `4096`, `64KiB`, `4GiB`, `1GB`: `GiB` is 2^30, "
        "`GB` is 1e9. The range of a text is its length in bytes.\n\nThis page "
        "is made from the table in "
        "`src/store/store_option_table.h`; a test keeps them the same.\n\n"
        "| option | type | unit | default | range | meaning |\n"
        "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; (info = cascade_options_describe(i)) != NULL; i++) {
        generated_print(&page, "| `%s` | %s | %s | ", info->name,
                        types[info->type], info->unit);
        generated_cell(&page, info->default_text);
        generated_print(&page, " | ");
        generated_cell(&page, info->range);
        generated_print(&page, " | %s |\n", info->sentence);
    }
    generated_end(&page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_accepted),
        cmocka_unit_test(promised_names),
        cmocka_unit_test(answers),
        cmocka_unit_test(environment_and_its_file),
        cmocka_unit_test(each_allocation_fails),
        cmocka_unit_test(page_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
