// SPDX-License-Identifier: Apache-2.0
//
// What options mean on machines of the test's own making.

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
#include "base/machine.h"
#include "base/units.h"
#include "store/store_options.h"

static const struct machine_limits small_machine = {
    .memory_bytes = 8 * GIB,
    .ram_bytes = 16 * GIB,
    .cgroup_bytes = 8 * GIB,
    .address_space_bytes = MACHINE_UNLIMITED,
    .memlock_bytes = 8 * MIB,
    .cpus = 6,
    .ranks_on_node = 1,
};

// Resolves with pairs of name and value, ended by NULL.
static enum cascade_status
resolve(const struct machine_limits *machine, const char *const *pairs,
        struct store_settings *settings)
{
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    assert_non_null(options);
    for (; *pairs != NULL; pairs += 2) {
        assert_int_equal(cascade_options_set(options, pairs[0], pairs[1]),
                         CASCADE_OK);
    }
    status = store_settings_resolve(options, machine, settings);
    cascade_options_destroy(options);
    return status;
}

#define PAIRS(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

static void
defaults(void **state)
{
    const char *const none[] = {NULL};
    struct store_settings settings;

    (void)state;
    assert_int_equal(resolve(&small_machine, none, &settings), CASCADE_OK);
    assert_true(settings.dram_capacity_bytes <= 2 * GIB &&
                settings.dram_capacity_bytes > 2 * GIB - 2 * MIB);
    assert_int_equal(settings.gpu_capacity_bytes, 0);
    assert_int_equal(settings.cold_capacity_bytes, 0);
    assert_int_equal(settings.segment_bytes, 256 * MIB);
    assert_int_equal(settings.threads, 6);
    assert_int_equal(settings.timeout_ns, 30 * NS_PER_S);
    assert_int_equal(settings.put_wait_ns, NS_PER_S);
    assert_int_equal(settings.lease_ns, 30 * NS_PER_S);
    assert_int_equal(settings.max_blocks,
                     settings.dram_capacity_bytes / (64 * KIB));
    assert_int_equal(settings.promotion_threshold, 3);
    assert_true(settings.prefix_fraction_max == 0.25);
    assert_true(settings.semantic_eviction && settings.locality_aware);
    assert_true(settings.stats_page && settings.huge_pages);
    assert_int_equal(settings.dedup, STORE_DEDUP_CONTENT);
    assert_int_equal(settings.verify, STORE_VERIFY_CROSSING);
    assert_int_equal(settings.rebind, STORE_REBIND_ALLOWED);
    assert_int_equal(settings.sync, STORE_SYNC_SEAL);
    assert_int_equal(settings.cold_io, STORE_COLD_IO_AUTO);
    assert_int_equal(settings.log_level, LOG_LEVEL_WARNING);
    assert_int_equal(settings.cold_file_mode, 0640);
    assert_string_equal(settings.namespace_name, "default");
    assert_string_equal(settings.eviction_policy, "cascade");
    assert_string_equal(settings.cold_path, "");
}

// The order of the words in the table is that of the enums.
static void
words(void **state)
{
    struct store_settings s;

    (void)state;
    assert_int_equal(
        resolve(&small_machine,
                PAIRS("dedup", "key", "verify", "always", "rebind", "refused",
                      "sync", "put", "cold_io", "uring", "log_level", "error",
                      "huge_pages", "off", "stats_page", "no"),
                &s),
        CASCADE_OK);
    assert_int_equal(s.dedup, STORE_DEDUP_KEY);
    assert_int_equal(s.verify, STORE_VERIFY_ALWAYS);
    assert_int_equal(s.rebind, STORE_REBIND_REFUSED);
    assert_int_equal(s.sync, STORE_SYNC_PUT);
    assert_int_equal(s.cold_io, STORE_COLD_IO_URING);
    assert_int_equal(s.log_level, LOG_LEVEL_ERROR);
    assert_false(s.huge_pages || s.stats_page);
    assert_int_equal(resolve(&small_machine,
                             PAIRS("dedup", "off", "verify", "off", "cold_io",
                                   "pread", "log_level", "debug"),
                             &s),
                     CASCADE_OK);
    assert_int_equal(s.dedup, STORE_DEDUP_OFF);
    assert_int_equal(s.verify, STORE_VERIFY_OFF);
    assert_int_equal(s.cold_io, STORE_COLD_IO_PREAD);
    assert_int_equal(s.log_level, LOG_LEVEL_DEBUG);
}

static void
automatic_sizes(void **state)
{
    struct machine_limits machine = small_machine;
    struct store_settings s;
    const char *const none[] = {NULL};

    (void)state;
    machine.memory_bytes = 100 * MIB;
    assert_int_equal(resolve(&machine, none, &s), CASCADE_OK);
    assert_int_equal(s.dram_capacity_bytes, 64 * MIB);
    assert_int_equal(s.max_blocks, 4096);
    machine.memory_bytes = 64 * TIB;
    machine.cpus = 1000;
    assert_int_equal(resolve(&machine, none, &s), CASCADE_OK);
    assert_int_equal(s.max_blocks, 4096 * 1024);
    assert_int_equal(s.threads, 256);
    assert_int_equal(s.cold_queue_bytes, 4 * GIB);
    machine.memory_bytes = 8 * GIB;
    machine.ranks_on_node = 4;
    assert_int_equal(resolve(&machine, none, &s), CASCADE_OK);
    assert_true(s.dram_capacity_bytes <= 512 * MIB);
    assert_int_equal(resolve(&machine,
                             PAIRS("dram_capacity", "1MiB", "cold_path", "/c",
                                   "cold_capacity", "1GiB", "threads", "2"),
                             &s),
                     CASCADE_OK);
    assert_int_equal(s.dram_capacity_bytes, MIB);
    assert_int_equal(s.max_blocks, 16384 + 16);
    assert_int_equal(s.threads, 2);
    assert_int_equal(
        resolve(&machine, PAIRS("dram_capacity", "0", "cold_path", "/c"), &s),
        CASCADE_OK);
    assert_int_equal(s.dram_capacity_bytes, 0);
    assert_int_equal(s.max_blocks, 4096);
}

struct refusal {
    const char *name;
    const char *value;
    enum cascade_status status;
    const char *message;
};

static void
refusals(void **state)
{
    static const struct refusal cases[] = {
        {"dram_capacity", "9GiB", CASCADE_INVALID,
         "dram_capacity = 9GiB is more than the 8GiB that the cgroup limit"},
        {"dram_capacity", "0", CASCADE_INVALID, "set cold_path"},
        {"cold_alignment", "5000", CASCADE_INVALID, "power of two"},
        {"cold_file_mode", "0999", CASCADE_INVALID, "0640"},
        {"cold_file_mode", "0440", CASCADE_INVALID, "owner"},
        {"cold_file_mode", "4755", CASCADE_INVALID, "0640"},
        {"namespace", "a/b", CASCADE_INVALID, "0x2f at place 1"},
        {"namespace", "a\nb", CASCADE_INVALID, "0x0a"},
        {"gpu_devices", "0;1", CASCADE_INVALID, "0,1"},
        {"metrics_listen", "0.0.0.0:9", CASCADE_UNSUPPORTED, "cascade stats"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct store_settings settings;
        struct store_settings before;

        memset(&settings, 0x5a, sizeof(settings));
        before = settings;
        assert_int_equal(resolve(&small_machine,
                                 PAIRS(cases[i].name, cases[i].value),
                                 &settings),
                         cases[i].status);
        if (strstr(error_message(), cases[i].message) == NULL) {
            fail_msg("%s = %s: %s", cases[i].name, cases[i].value,
                     error_message());
        }
        assert_memory_equal(&settings, &before, sizeof(settings));
    }
}

static void
longest_texts_fit(void **state)
{
    static char path[4096];
    static char name[256];
    struct store_settings s;

    (void)state;
    memset(path, 'p', sizeof(path) - 1);
    memset(name, 'n', sizeof(name) - 1);
    assert_int_equal(resolve(&small_machine,
                             PAIRS("cold_path", path, "namespace", name), &s),
                     CASCADE_OK);
    assert_string_equal(s.cold_path, path);
    assert_string_equal(s.namespace_name, name);
}

static void
effective_text(void **state)
{
    struct cascade_options *options = cascade_options_create();
    struct store_settings settings;
    char value[64];

    (void)state;
    assert_int_equal(cascade_options_set(options, "dram_capacity", "65536KiB"),
                     CASCADE_OK);
    assert_int_equal(store_settings_resolve(options, &small_machine, &settings),
                     CASCADE_OK);
    assert_int_equal(store_settings_text(options, &settings, "dram_capacity",
                                         value, sizeof(value)),
                     CASCADE_OK);
    assert_string_equal(value, "64MiB");
    assert_int_equal(
        store_settings_text(options, &settings, "threads", value, 64),
        CASCADE_OK);
    assert_string_equal(value, "6");
    assert_int_equal(
        store_settings_text(options, &settings, "verify", value, 64),
        CASCADE_OK);
    assert_string_equal(value, "crossing");
    assert_int_equal(
        store_settings_text(options, &settings, "dram_capacity", value, 3),
        CASCADE_TOO_SMALL);
    assert_int_equal(store_settings_text(options, &settings, "x", value, 64),
                     CASCADE_INVALID);
    cascade_options_destroy(options);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),          cmocka_unit_test(words),
        cmocka_unit_test(automatic_sizes),   cmocka_unit_test(refusals),
        cmocka_unit_test(longest_texts_fit), cmocka_unit_test(effective_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
