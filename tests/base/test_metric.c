// SPDX-License-Identifier: Apache-2.0
//
// The rows and their cells: no two share a slot, names follow the rules of
// Prometheus, and no count is lost between threads.

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/metric.h"

static struct metric_values values;

static int
clear_values(void **state)
{
    (void)state;
    memset(&values, 0, sizeof(values));
    return 0;
}

static bool
ends_with(const char *text, const char *end)
{
    size_t length = strlen(text);

    return length >= strlen(end) &&
           strcmp(text + length - strlen(end), end) == 0;
}

static void
rows_follow_the_rules(void **state)
{
    uint32_t next = 0;

    (void)state;
    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];

        assert_int_equal(row->first, next);
        next += row->slots;
        assert_int_equal(strspn(row->name, "abcdefghijklmnopqrstuvwxyz_"),
                         strlen(row->name));
        assert_int_equal(ends_with(row->name, "_total"),
                         row->kind == METRIC_KIND_COUNTER);
        assert_int_equal(ends_with(row->name, "_seconds"),
                         row->kind == METRIC_KIND_HISTOGRAM);
        if (strcmp(row->unit, "bytes") == 0) {
            assert_non_null(strstr(row->name, "bytes"));
        }
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(row->name, metric_rows[j].name);
        }
    }
    assert_int_equal(next, METRIC_SLOT_COUNT);
}

static void
cells_are_apart(void **state)
{
    uint64_t expected = 1;

    (void)state;
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        for (uint32_t i = 0; i < metric_rows[id].slots; i++) {
            metric_add_at(&values, (enum metric)id, i, expected++);
        }
    }
    expected = 1;
    for (unsigned id = 0; id < METRIC_COUNT; id++) {
        for (uint32_t i = 0; i < metric_rows[id].slots; i++) {
            assert_int_equal(metric_read_at(&values, (enum metric)id, i),
                             expected++);
        }
    }
}

static void
changes(void **state)
{
    (void)state;
    metric_add(&values, METRIC_PUTS_TOTAL, 3);
    metric_add(&values, METRIC_PUTS_TOTAL, 4);
    metric_set(&values, METRIC_BLOCKS, 9);
    metric_subtract(&values, METRIC_BLOCKS, 2);
    metric_add_tier(&values, METRIC_HITS_TOTAL, 2, 5);
    metric_add_tier(&values, METRIC_HITS_TOTAL, 5, 6);
    metric_set_tier(&values, METRIC_USED_BYTES, 2, 100);
    metric_count_operation(&values, 1, CASCADE_NOT_FOUND);
    assert_int_equal(metric_read(&values, METRIC_PUTS_TOTAL), 7);
    assert_int_equal(metric_read(&values, METRIC_BLOCKS), 7);
    assert_int_equal(metric_read_tier(&values, METRIC_HITS_TOTAL, 2), 5);
    assert_int_equal(metric_sum(&values, METRIC_HITS_TOTAL), 11);
    assert_int_equal(metric_read_tier(&values, METRIC_USED_BYTES, 2), 100);
    assert_int_equal(metric_read_at(&values, METRIC_OPERATIONS_TOTAL,
                                    CASCADE_STATUS_COUNT + CASCADE_NOT_FOUND),
                     1);
    assert_int_equal(metric_sum(&values, METRIC_OPERATIONS_TOTAL), 1);
}

static void
nowhere_is_fine(void **state)
{
    struct histogram histogram;

    (void)state;
    metric_add(NULL, METRIC_PUTS_TOTAL, 1);
    metric_set_tier(NULL, METRIC_USED_BYTES, 2, 1);
    metric_observe_ns(NULL, METRIC_PUT_SECONDS, 1);
    assert_int_equal(metric_read(NULL, METRIC_PUTS_TOTAL), 0);
    metric_histogram(NULL, METRIC_PUT_SECONDS, &histogram);
    assert_int_equal(histogram.count, 0);
}

#define THREADS 4
#define ROUNDS 50000

static void *
count_much(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < ROUNDS; i++) {
        metric_add(&values, METRIC_GETS_TOTAL, 1);
        metric_observe_ns(&values, METRIC_GET_SECONDS, i);
    }
    return NULL;
}

static void
no_count_is_lost(void **state)
{
    pthread_t threads[THREADS];
    struct histogram histogram;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, NULL),
                         0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(metric_read(&values, METRIC_GETS_TOTAL), THREADS * ROUNDS);
    metric_histogram(&values, METRIC_GET_SECONDS, &histogram);
    assert_int_equal(histogram.count, THREADS * ROUNDS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_follow_the_rules),
        cmocka_unit_test_setup(cells_are_apart, clear_values),
        cmocka_unit_test_setup(changes, clear_values),
        cmocka_unit_test(nowhere_is_fine),
        cmocka_unit_test_setup(no_count_is_lost, clear_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
