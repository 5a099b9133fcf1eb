// SPDX-License-Identifier: Apache-2.0
//
// A rank whose blocks are only in memory when the warning before the limit of
// time comes: opens what the environment says, puts blocks, and waits. Says
// "ready", and "drained" when nothing is left that a kill would lose; then it
// goes on until it is killed. Fails after LIMIT_NS.

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/units.h"
#include "cascade/cascade.h"

#define BLOCKS 8
#define BLOCK_BYTES ((size_t)300 << 10)
#define LIMIT_NS (300 * NS_PER_S)

static int
fail(const char *what)
{
    (void)fprintf(stderr, "slurm_job: %s: %s\n", what, cascade_error_message());
    return 1;
}

static bool
put_blocks(struct cascade *store)
{
    static uint8_t data[BLOCK_BYTES];

    for (int i = 0; i < BLOCKS; i++) {
        char text[32];
        int bytes = snprintf(text, sizeof(text), "job.%d.%d",
                             (int)cascade_rank(store), i);
        const struct cascade_key key = {text, (size_t)bytes};
        const struct cascade_const_span span = {data, sizeof(data), 0, 0};

        memset(data, i + 1, sizeof(data));
        data[0] = (uint8_t)cascade_rank(store);
        if (cascade_put(store, key, &span, 1, NULL, NULL) != CASCADE_OK) {
            return false;
        }
    }
    return true;
}

static void
say(const struct cascade *store, const char *word)
{
    (void)printf("%s %d of %d\n", word, (int)cascade_rank(store),
                 (int)cascade_rank_count(store));
    (void)fflush(stdout);
}

int
main(void)
{
    struct cascade_options *options = cascade_options_create();
    uint64_t deadline_ns = clock_deadline_ns(clock_system(), LIMIT_NS);
    struct cascade_stats stats = {.size = sizeof(stats)};
    struct cascade *store;
    bool drained = false;

    if (options == NULL ||
        cascade_options_load_environment(options) != CASCADE_OK ||
        cascade_open(options, &store) != CASCADE_OK) {
        return fail("open");
    }
    cascade_options_destroy(options);
    if (!put_blocks(store)) {
        return fail("put");
    }
    say(store, "ready");
    while (clock_steady_ns(clock_system()) < deadline_ns) {
        const struct timespec nap = {.tv_nsec = (long)(50 * NS_PER_MS)};

        if (cascade_stats_read(store, &stats) != CASCADE_OK) {
            return fail("stats");
        }
        if (!drained && stats.dirty_bytes == 0) {
            drained = true;
            say(store, "drained");
        }
        (void)nanosleep(&nap, NULL);
    }
    return fail("nobody ended it");
}
