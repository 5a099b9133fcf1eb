// SPDX-License-Identifier: Apache-2.0
//
// Progress on a terminal. Costs a clock read per note.

#include "tools/progress.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"

#define FIRST_NS (500 * NS_PER_MS)
#define EVERY_NS (200 * NS_PER_MS)

void
progress_start(struct progress *progress, const char *what,
               uint64_t total_bytes)
{
    progress->what = what;
    progress->total_bytes = total_bytes;
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->shown = false;
    progress->start_ns = clock_steady_ns(clock_system());
    progress->next_ns = progress->start_ns + FIRST_NS;
}

void
progress_note(struct progress *progress, uint64_t done_bytes)
{
    uint64_t now_ns;
    double seconds;

    if (!progress->terminal) {
        return;
    }
    now_ns = clock_steady_ns(clock_system());
    if (now_ns < progress->next_ns) {
        return;
    }
    progress->next_ns = now_ns + EVERY_NS;
    progress->shown = true;
    seconds = (double)(now_ns - progress->start_ns) / (double)NS_PER_S;
    (void)fprintf(stderr, "\r\033[K%.60s: %.2f GB", progress->what,
                  (double)done_bytes / 1e9);
    if (progress->total_bytes > 0) {
        (void)fprintf(
            stderr, " of %.2f GB, %.0f %%", (double)progress->total_bytes / 1e9,
            100.0 * (double)done_bytes / (double)progress->total_bytes);
    }
    (void)fprintf(stderr, ", %.2f GB/s", (double)done_bytes / 1e9 / seconds);
    (void)fflush(stderr);
}

void
progress_stop(struct progress *progress)
{
    if (progress->shown) {
        (void)fputs("\r\033[K", stderr);
        progress->shown = false;
    }
}
