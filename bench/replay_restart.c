// SPDX-License-Identifier: Apache-2.0
//
// The restart in the middle of a replay: what was there when the flush had
// returned must be there, with the right bytes, in the store that is opened
// next. Opening and ending the stores is replay.c's.

#include <inttypes.h>
#include <time.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/replay.h"
#include "tools/output.h"

#define CHECK_BATCH 64

// Longest wait for protected blocks to come back into memory.
#define RELOAD_WAIT_NS (30 * NS_PER_S)

enum cascade_status
replay_before_restart(struct replay *replay)
{
    enum cascade_status status = cascade_flush(replay->store, NULL);

    for (size_t i = 0; i < replay->trace->id_count && status == CASCADE_OK;
         i++) {
        status = cascade_exists(replay->store, replay_key(replay, (uint32_t)i));
        if (status == CASCADE_OK) {
            replay->marks[i] |= REPLAY_EXPECTED;
            replay->totals->restart_expected++;
        } else if (status == CASCADE_NOT_FOUND) {
            status = CASCADE_OK;
        }
    }
    return status;
}

// Waits, in small steps and bounded, until a protected block is in memory.
static enum cascade_status
wait_for_memory(struct replay *replay, uint32_t block, uint64_t deadline_ns)
{
    struct cascade_location location;
    enum cascade_status status;

    for (;;) {
        const struct timespec step = {.tv_nsec = (long)NS_PER_MS};

        status = cascade_locate(replay->store, replay_key(replay, block),
                                &location);
        if (status != CASCADE_OK || location.tier <= CASCADE_TIER_REMOTE_DRAM ||
            clock_steady_ns(clock_system()) > deadline_ns) {
            return status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
        }
        (void)nanosleep(&step, NULL);
    }
}

static enum cascade_status
check_batch(struct replay *replay, const uint32_t *blocks, size_t count)
{
    struct replay_totals *totals = replay->totals;
    enum cascade_status status;
    uint64_t elapsed_ns;
    size_t got;

    status = replay_get(replay, blocks, count, &got, &elapsed_ns);
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        if (replay->items[i].status == CASCADE_OK) {
            totals->restart_served++;
            totals->checked_bytes += replay->options->block_bytes;
        } else {
            progress_stop(&replay->progress);
            output_note("block %" PRIu64 " was flushed, but is not there "
                        "after the restart",
                        replay->trace->ids[blocks[i]]);
        }
    }
    return CASCADE_OK;
}

enum cascade_status
replay_after_restart(struct replay *replay)
{
    uint64_t deadline_ns = clock_deadline_ns(clock_system(), RELOAD_WAIT_NS);
    size_t batch_max = units_min(CHECK_BATCH,
                                 replay->trace->refs_per_request_max);
    uint32_t blocks[CHECK_BATCH];
    enum cascade_status status = CASCADE_OK;
    size_t count = 0;

    for (size_t i = 0; i < replay->trace->id_count && status == CASCADE_OK;
         i++) {
        if ((replay->marks[i] & REPLAY_PROTECTED) != 0) {
            status = wait_for_memory(replay, (uint32_t)i, deadline_ns);
        }
    }
    for (size_t i = 0; i < replay->trace->id_count && status == CASCADE_OK;
         i++) {
        if ((replay->marks[i] & REPLAY_EXPECTED) != 0) {
            blocks[count++] = (uint32_t)i;
        }
        if (count == batch_max) {
            status = check_batch(replay, blocks, count);
            count = 0;
        }
    }
    return status == CASCADE_OK && count > 0
               ? check_batch(replay, blocks, count)
               : status;
}
