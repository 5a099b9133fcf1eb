// SPDX-License-Identifier: Apache-2.0
//
// The log. The lock of the struct guards the sink and the counts per kind; the
// level and the counter of left-out lines are atomics read without it.

#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/units.h"

static void
write_to_standard_error(void *self, enum log_level level, const char *line)
{
    (void)self;
    (void)level;
    (void)fprintf(stderr, "cascade: %s\n", line);
}

// The place of the kind; another kind with the same place takes it over, which
// costs no more than a few lines above the bound.
static struct log_kind *
kind_of(struct log *log, const char *format)
{
    uintptr_t hash = (uintptr_t)format;
    struct log_kind *kind;

    hash ^= hash >> 6;
    hash ^= hash >> 12;
    kind = &log->kinds[hash % LOG_KINDS];
    if (kind->format != format) {
        *kind = (struct log_kind){.format = format};
    }
    return kind;
}

// Whether one more line of the kind may be written now. `*left_out` is how
// many of them were left out before it.
static bool
admit(struct log *log, struct log_kind *kind, uint32_t *left_out)
{
    uint64_t second = clock_steady_ns(log->clock) / NS_PER_S;

    *left_out = 0;
    if (kind->second != second) {
        *left_out = kind->left_out;
        kind->second = second;
        kind->written = 0;
        kind->left_out = 0;
    }
    if (kind->written >= LOG_REPEATS_PER_SECOND) {
        kind->left_out++;
        atomic_fetch_add_explicit(&log->suppressed, 1, memory_order_relaxed);
        return false;
    }
    kind->written++;
    return true;
}

void
log_init(struct log *log, const struct clock_source *clock,
         enum log_level level)
{
    *log = (struct log){.clock = clock, .sink = write_to_standard_error};
    atomic_init(&log->level, (int)level);
    atomic_init(&log->suppressed, 0);
    check(pthread_mutex_init(&log->lock, NULL) == 0);
}

void
log_fini(struct log *log)
{
    check(pthread_mutex_destroy(&log->lock) == 0);
}

void
log_set_level(struct log *log, enum log_level level)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

void
log_set_sink(struct log *log, log_sink *sink, void *self)
{
    check(pthread_mutex_lock(&log->lock) == 0);
    log->sink = sink != NULL ? sink : write_to_standard_error;
    log->sink_self = self;
    check(pthread_mutex_unlock(&log->lock) == 0);
}

void
log_write(struct log *log, enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    struct log_kind *kind;
    uint32_t left_out;
    va_list arguments;
    int head;

    if (log == NULL ||
        (int)level > atomic_load_explicit(&log->level, memory_order_relaxed)) {
        return;
    }
    head = snprintf(line, sizeof(line), "%s: ", log_level_name(level));
    va_start(arguments, format);
    (void)vsnprintf(line + head, sizeof(line) - (size_t)head, format,
                    arguments);
    va_end(arguments);
    check(pthread_mutex_lock(&log->lock) == 0);
    kind = kind_of(log, format);
    if (admit(log, kind, &left_out)) {
        log->sink(log->sink_self, level, line);
        if (left_out > 0) {
            (void)snprintf(line, sizeof(line),
                           "%s: lines like the last one left out: %u",
                           log_level_name(level), left_out);
            log->sink(log->sink_self, level, line);
        }
    }
    check(pthread_mutex_unlock(&log->lock) == 0);
}

uint64_t
log_suppressed(const struct log *log)
{
    return atomic_load_explicit(&log->suppressed, memory_order_relaxed);
}

const char *
log_level_name(enum log_level level)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};

    return names[level];
}
