// SPDX-License-Identifier: Apache-2.0
//
// Protected blocks of a replay: which they are, and whether the store keeps
// its promise. A hash id stands for a whole prefix, so the blocks with the most
// references are those that most prompts begin with.

#include <inttypes.h>
#include <stdlib.h>

#include "base/allocator.h"
#include "base/error.h"
#include "bench/content.h"
#include "bench/replay.h"
#include "tools/output.h"

struct popular {
    uint32_t block;
    uint32_t refs;
};

// Most references first; of equals the one with the smaller id.
static int
compare_popular(const void *left, const void *right)
{
    const struct popular *a = left;
    const struct popular *b = right;

    if (a->refs != b->refs) {
        return a->refs > b->refs ? -1 : 1;
    }
    return a->block < b->block ? -1 : 1;
}

enum cascade_status
replay_choose_protected(struct replay *replay)
{
    const struct trace *trace = replay->trace;
    struct popular *blocks;

    if (replay->options->protect_count == 0) {
        return CASCADE_OK;
    }
    blocks = allocator_array(allocator_system(), trace->id_count,
                             sizeof(*blocks));
    if (blocks == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to count %zu blocks",
                         trace->id_count);
    }
    for (size_t i = 0; i < trace->id_count; i++) {
        blocks[i].block = (uint32_t)i;
    }
    for (size_t i = 0; i < trace->ref_count; i++) {
        blocks[trace->refs[i]].refs++;
    }
    qsort(blocks, trace->id_count, sizeof(*blocks), compare_popular);
    for (size_t i = 0;
         i < trace->id_count && i < replay->options->protect_count; i++) {
        replay->marks[blocks[i].block] |= REPLAY_WANTED_PROTECTED;
    }
    allocator_release(allocator_system(), blocks);
    return CASCADE_OK;
}

static void
lose(struct replay *replay, uint32_t block, const char *why)
{
    if ((replay->marks[block] & REPLAY_LOST) != 0) {
        return;
    }
    replay->marks[block] |= REPLAY_LOST;
    replay->totals->protect_lost++;
    progress_stop(&replay->progress);
    output_note("protected block %" PRIu64 " %s", replay->trace->ids[block],
                why);
}

static enum cascade_status
check_block(struct replay *replay, uint32_t block, bool compare)
{
    struct cascade_location location;
    enum cascade_status status;
    uint64_t wrong_bytes = replay->totals->wrong_bytes;
    uint64_t elapsed_ns;
    size_t got;

    replay->totals->protect_checks++;
    status = cascade_locate(replay->store, replay_key(replay, block),
                            &location);
    if (status == CASCADE_NOT_FOUND) {
        lose(replay, block, "is gone");
        return CASCADE_OK;
    }
    if (status != CASCADE_OK) {
        return replay_is_unanswered(replay, status) ? CASCADE_OK : status;
    }
    if (location.tier > CASCADE_TIER_REMOTE_DRAM) {
        lose(replay, block, "has left memory");
    }
    if (!compare) {
        return CASCADE_OK;
    }
    status = replay_get(replay, &block, 1, &got, &elapsed_ns);
    if (status == CASCADE_OK && got == 0) {
        lose(replay, block, "cannot be got");
    } else if (status == CASCADE_OK) {
        replay->totals->checked_bytes += replay->options->block_bytes;
        if (replay->totals->wrong_bytes != wrong_bytes) {
            lose(replay, block, "has wrong bytes");
        }
    }
    return status;
}

enum cascade_status
replay_check_protected(struct replay *replay, bool compare)
{
    enum cascade_status status = CASCADE_OK;

    if (replay->options->protect_count == 0) {
        return CASCADE_OK;
    }
    for (size_t i = 0; i < replay->trace->id_count && status == CASCADE_OK;
         i++) {
        if ((replay->marks[i] & REPLAY_PROTECTED) != 0) {
            status = check_block(replay, (uint32_t)i, compare);
        }
    }
    return status;
}
