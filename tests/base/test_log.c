// SPDX-License-Identifier: Apache-2.0
//
// The log: levels, the bound on repeats (on a clock of the test's own), and
// lines from several threads.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"

struct sink {
    unsigned lines;
    char last[LOG_LINE_BYTES];
    char before[LOG_LINE_BYTES];
};

static uint64_t now_ns;

static uint64_t
read_now(void *self)
{
    (void)self;
    return now_ns;
}

static const struct clock_source test_clock = {.wall_ns = read_now,
                                               .steady_ns = read_now};

static void
keep_line(void *self, enum log_level level, const char *line)
{
    struct sink *sink = self;

    (void)level;
    sink->lines++;
    memcpy(sink->before, sink->last, sizeof(sink->last));
    (void)snprintf(sink->last, sizeof(sink->last), "%s", line);
}

static void
levels(void **state)
{
    struct sink sink = {0};
    struct log log;

    (void)state;
    log_init(&log, &test_clock, LOG_LEVEL_WARNING);
    log_set_sink(&log, keep_line, &sink);
    log_write(&log, LOG_LEVEL_ERROR, "blocks lost %d", 3);
    assert_string_equal(sink.last, "error: blocks lost 3");
    log_write(&log, LOG_LEVEL_WARNING, "less");
    log_write(&log, LOG_LEVEL_INFO, "silent");
    log_write(NULL, LOG_LEVEL_ERROR, "nowhere");
    assert_int_equal(sink.lines, 2);
    log_set_level(&log, LOG_LEVEL_DEBUG);
    log_write(&log, LOG_LEVEL_DEBUG, "loud");
    assert_string_equal(sink.last, "debug: loud");
    log_set_level(&log, LOG_LEVEL_ERROR);
    log_write(&log, LOG_LEVEL_WARNING, "silent too");
    assert_int_equal(sink.lines, 3);
    log_fini(&log);
}

static void
write_same(struct log *log, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        log_write(log, LOG_LEVEL_ERROR, "disk full %u", i);
    }
}

static void
repeats_are_bounded(void **state)
{
    struct sink sink = {0};
    struct log log;

    (void)state;
    now_ns = 10 * NS_PER_S;
    log_init(&log, &test_clock, LOG_LEVEL_WARNING);
    log_set_sink(&log, keep_line, &sink);
    write_same(&log, 1000);
    assert_int_equal(sink.lines, LOG_REPEATS_PER_SECOND);
    assert_int_equal(log_suppressed(&log), 1000 - LOG_REPEATS_PER_SECOND);
    now_ns += NS_PER_S;
    write_same(&log, 1);
    assert_int_equal(sink.lines, LOG_REPEATS_PER_SECOND + 2);
    assert_string_equal(sink.before, "error: disk full 0");
    assert_string_equal(sink.last,
                        "error: lines like the last one left out: 992");
    write_same(&log, 1);
    assert_string_equal(sink.last, "error: disk full 0");
    log_fini(&log);
}

static void
long_lines_are_cut(void **state)
{
    static char text[3 * LOG_LINE_BYTES];
    struct sink sink = {0};
    struct log log;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    log_init(&log, &test_clock, LOG_LEVEL_WARNING);
    log_set_sink(&log, keep_line, &sink);
    log_write(&log, LOG_LEVEL_ERROR, "%s", text);
    assert_int_equal(strlen(sink.last), LOG_LINE_BYTES - 1);
    log_fini(&log);
}

static void *
write_much(void *log)
{
    write_same(log, 1000);
    return NULL;
}

static void
threads_share(void **state)
{
    struct sink sink = {0};
    pthread_t threads[4];
    struct log log;

    (void)state;
    log_init(&log, &test_clock, LOG_LEVEL_WARNING);
    log_set_sink(&log, keep_line, &sink);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_much, &log),
                         0);
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(sink.lines, LOG_REPEATS_PER_SECOND);
    assert_int_equal(sink.lines + log_suppressed(&log), 4000);
    log_fini(&log);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(repeats_are_bounded),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(threads_share),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
