// SPDX-License-Identifier: Apache-2.0
//
// Metrics as readers see them: the text for Prometheus, struct cascade_stats,
// and docs/METRICS.md, which is what the table says (CASCADE_WRITE_TABLES=1
// writes it).

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metric.h"
#include "base/units.h"
#include "store/store_metrics.h"
#include "support/generated.h"

#define TEXT_BYTES ((size_t)1 << 17)

static struct metric_values values;
static char text[TEXT_BYTES];

static int
fill(void **state)
{
    (void)state;
    memset(&values, 0, sizeof(values));
    metric_add(&values, METRIC_PUTS_TOTAL, 12);
    metric_add_tier(&values, METRIC_HITS_TOTAL, CASCADE_TIER_LOCAL_DRAM, 5);
    metric_add_at(&values, METRIC_MISSES_TOTAL, METRIC_REASON_EVICTED, 2);
    metric_add_at(&values, METRIC_MISSES_TOTAL, METRIC_REASON_DAMAGED, 1);
    metric_add_at(&values, METRIC_MISSES_TOTAL, METRIC_REASON_NEVER_SEEN, 4);
    metric_count_operation(&values, CASCADE_OPERATION_GET, CASCADE_NOT_FOUND);
    metric_set_tier(&values, METRIC_USED_BYTES, CASCADE_TIER_SEGMENTS, 99);
    metric_observe_ns(&values, METRIC_PUT_SECONDS, 1500);
    metric_observe_ns(&values, METRIC_PUT_SECONDS, 1000 * NS_PER_S);
    return 0;
}

static void
assert_line(const char *line)
{
    if (strstr(text, line) == NULL) {
        fail_msg("no line: %s", line);
    }
}

static void
lines(void **state)
{
    (void)state;
    assert_int_equal(store_metrics_text(&values, text, sizeof(text), NULL),
                     CASCADE_OK);
    assert_line("# TYPE cascade_puts_total counter\ncascade_puts_total 12\n");
    assert_line("\ncascade_hits_total{tier=\"local_dram\"} 5\n");
    assert_line("\ncascade_hits_total{tier=\"segments\"} 0\n");
    assert_line("\ncascade_misses_total{reason=\"evicted\"} 2\n");
    assert_line("\ncascade_operations_total{op=\"get\",result=\"not_found\"} "
                "1\n");
    assert_line("\ncascade_used_bytes{tier=\"segments\"} 99\n");
    assert_line("\ncascade_put_seconds_bucket{le=\"1.024e-06\"} 0\n");
    assert_line("\ncascade_put_seconds_bucket{le=\"2.048e-06\"} 1\n");
    assert_line("\ncascade_put_seconds_bucket{le=\"137.438953\"} 1\n");
    assert_line("\ncascade_put_seconds_bucket{le=\"+Inf\"} 2\n");
    assert_line("\ncascade_put_seconds_sum 1000.000001500\n");
    assert_line("\ncascade_put_seconds_count 2\n");
    assert_null(strstr(text, "tier=\"none\""));
}

static void
too_small(void **state)
{
    size_t needed = 0;
    size_t again = 0;

    (void)state;
    assert_int_equal(store_metrics_text(&values, NULL, 0, &needed),
                     CASCADE_TOO_SMALL);
    assert_int_equal(store_metrics_text(&values, text, needed - 1, &again),
                     CASCADE_TOO_SMALL);
    assert_int_equal(again, needed);
    memset(text, 'x', sizeof(text));
    assert_int_equal(store_metrics_text(&values, text, needed, &again),
                     CASCADE_OK);
    assert_int_equal(strlen(text) + 1, needed);
    assert_int_equal(text[needed], 'x');
}

static void
statistics(void **state)
{
    struct cascade_stats stats = {0};

    (void)state;
    stats.size = sizeof(stats);
    assert_int_equal(store_metrics_stats(&values, &stats), CASCADE_OK);
    assert_int_equal(stats.size, sizeof(stats));
    assert_int_equal(stats.puts, 12);
    assert_int_equal(stats.hits[CASCADE_TIER_LOCAL_DRAM], 5);
    assert_int_equal(stats.misses, 7);
    assert_int_equal(stats.misses_evicted, 2);
    assert_int_equal(stats.misses_corrupt, 1);
    assert_int_equal(stats.used_bytes[CASCADE_TIER_SEGMENTS], 99);
}

// Every number of the struct has a metric behind it, and a different one.
static void
every_field_is_fed(void **state)
{
    struct cascade_stats stats = {0};
    uint64_t numbers[sizeof(stats) / 8];
    size_t first = offsetof(struct cascade_stats, puts) / 8;
    uint64_t next = 1000;

    (void)state;
    memset(&values, 0, sizeof(values));
    for (unsigned i = 0; i < METRIC_SLOT_COUNT; i++) {
        values.slots[i % LANE_COUNT][i] = next++;
    }
    assert_int_equal(store_metrics_stats(&values, &stats), CASCADE_OK);
    memcpy(numbers, &stats, sizeof(stats));
    for (size_t i = first; i < sizeof(stats) / 8; i++) {
        assert_true(numbers[i] >= 1000);
        for (size_t j = first; j < i; j++) {
            assert_true(numbers[i] != numbers[j]);
        }
    }
}

// A caller compiled with a shorter struct gets what it knows and no more.
static void
shorter_struct(void **state)
{
    struct cascade_stats stats;

    (void)state;
    memset(&stats, 0x11, sizeof(stats));
    stats.size = offsetof(struct cascade_stats, gets);
    assert_int_equal(store_metrics_stats(&values, &stats), CASCADE_OK);
    assert_int_equal(stats.puts, 12);
    assert_int_equal(stats.gets, 0x1111111111111111);
    stats.size = 3;
    assert_int_equal(store_metrics_stats(&values, &stats), CASCADE_INVALID);
}

static void
page_agrees(void **state)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    static const char *const labels[] = {"none", "`tier`", "`op`, `result`",
                                         "`reason`", "`queue`"};
    static struct generated page;

    (void)state;
    generated_begin(&page, "docs/METRICS.md");
    generated_print(
        &page, "# Metrics\n\n"
               "All names begin with `cascade_`; a key or an id is never a "
               "label. `cascade stats` shows them for a\nrunning store, "
               "`cascade_metrics_text` gives the text for Prometheus.\n\n"
               "This page is made from the table in "
               "`src/base/metric_table.h`; a test keeps them the same.\n\n"
               "| metric | kind | labels | unit | meaning |\n"
               "| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];

        generated_print(&page, "| `cascade_%s` | %s | %s | %s | %s |\n",
                        row->name, kinds[row->kind], labels[row->labels],
                        row->unit, row->sentence);
    }
    generated_print(&page, "\nValues of `tier`:");
    for (uint32_t i = 1; i < METRIC_TIER_COUNT; i++) {
        generated_print(&page, " `%s`", metric_tier_name(i));
    }
    generated_print(&page, ".\nValues of `reason`:");
    for (uint32_t i = 0; i < METRIC_REASON_COUNT; i++) {
        generated_print(&page, " `%s`", metric_reason_name(i));
    }
    generated_print(&page, ".\nValues of `queue`:");
    for (uint32_t i = 0; i < METRIC_QUEUE_COUNT; i++) {
        generated_print(&page, " `%s`", metric_queue_name(i));
    }
    generated_print(&page, ".\nValues of `op`:");
    for (uint32_t i = 0; i < METRIC_OPERATION_COUNT; i++) {
        generated_print(&page, " `%s`", metric_operation_name(i));
    }
    generated_print(&page, ".\nValues of `result`: the statuses of "
                           "`cascade/status.h` in small letters.\n");
    generated_end(&page);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines, fill),
        cmocka_unit_test_setup(too_small, fill),
        cmocka_unit_test_setup(statistics, fill),
        cmocka_unit_test_setup(every_field_is_fed, fill),
        cmocka_unit_test_setup(shorter_struct, fill),
        cmocka_unit_test(page_agrees),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
