// SPDX-License-Identifier: Apache-2.0
//
// The log: lines for people, by volume. Not the message of a status
// (base/error.h) and not a metric. A line is "level: sentence"; values follow a
// space.
//
// Invariant: per kind of message (its format text) at most
// LOG_REPEATS_PER_SECOND lines are written in a second; the next line of that
// kind after it says how many were left out, and `suppressed` counts them all.
// Thread-safe: a lock in the struct is held while a line is written.

#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"

struct clock_source;

// By rising volume: a level lets itself and everything before it pass.
enum log_level {
    LOG_LEVEL_ERROR = 0,   // something is lost or cannot go on
    LOG_LEVEL_WARNING = 1, // it goes on, with less
    LOG_LEVEL_INFO = 2,    // opens, closes, recovers
    LOG_LEVEL_DEBUG = 3    // for whoever works on the code
};

#define LOG_LINE_BYTES 1024
#define LOG_KINDS 64
#define LOG_REPEATS_PER_SECOND 8

// Called with one terminated line without a line end, under the lock of the
// log; must not log.
typedef void
log_sink(void *self, enum log_level level, const char *line);

struct log_kind {
    const char *format;
    uint64_t second; // of the steady clock
    uint32_t written;
    uint32_t left_out;
};

struct log {
    pthread_mutex_t lock; // guards kinds, sink and the writing
    const struct clock_source *clock;
    log_sink *sink;
    void *sink_self;
    _Atomic int level;
    _Atomic uint64_t suppressed;
    struct log_kind kinds[LOG_KINDS]; // by hash of the format's address
};

// Begins a log that writes to standard error. log_fini ends it.
void
log_init(struct log *log, const struct clock_source *clock,
         enum log_level level);

void
log_fini(struct log *log);

void
log_set_level(struct log *log, enum log_level level);

// NULL is standard error again.
void
log_set_sink(struct log *log, log_sink *sink, void *self);

// Writes one line if the level passes. `format` must be static text: its
// address is the kind of the message. A NULL log takes nothing.
void
log_write(struct log *log, enum log_level level, const char *format, ...)
    PRINTF_LIKE(3, 4);

// How many lines were left out so far.
uint64_t
log_suppressed(const struct log *log);

// "error", "warning", "info", "debug". Static text.
const char *
log_level_name(enum log_level level);

#endif
