// SPDX-License-Identifier: Apache-2.0
//
// A line on standard error that says how far long work is. Only on a terminal,
// only after the work has taken a moment, and gone when it ends.

#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what;
    uint64_t total_bytes; // 0 = not known
    uint64_t start_ns;
    uint64_t next_ns;
    bool terminal;
    bool shown;
};

// `what` stays the caller's and must outlive the work.
void
progress_start(struct progress *progress, const char *what,
               uint64_t total_bytes);

void
progress_note(struct progress *progress, uint64_t done_bytes);

// Takes the line away, so that other output can follow.
void
progress_stop(struct progress *progress);

#endif
