// SPDX-License-Identifier: Apache-2.0
//
// Blocks of a replay: keys, contents, and getting them with every byte
// compared. The clock runs around the batch alone.

#include <inttypes.h>

#include "base/clock.h"
#include "bench/content.h"
#include "bench/replay.h"
#include "tools/output.h"

struct cascade_key
replay_key(const struct replay *replay, uint32_t block)
{
    return (struct cascade_key){
        .data = &replay->trace->ids[block],
        .bytes = sizeof(replay->trace->ids[block]),
    };
}

uint64_t
replay_content(const struct replay *replay, uint32_t block)
{
    return replay->trace->ids[block] +
           replay->options->seed * UINT64_C(0x9e3779b97f4a7c15);
}

void *
replay_place(const struct replay *replay, size_t index)
{
    return replay->bytes.data + index * replay->options->block_bytes;
}

static void
prepare_gets(struct replay *replay, const uint32_t *blocks, size_t count)
{
    uint64_t block_bytes = replay->options->block_bytes;

    content_poison(replay->bytes.data, count * block_bytes);
    for (size_t i = 0; i < count; i++) {
        replay->get_spans[i] = (struct cascade_span){
            .data = replay_place(replay, i),
            .bytes = block_bytes,
        };
        replay->items[i] = (struct cascade_item){
            .size = sizeof(replay->items[i]),
            .operation = CASCADE_OPERATION_GET,
            .key = replay_key(replay, blocks[i]),
            .get_spans = &replay->get_spans[i],
            .get_span_count = 1,
        };
    }
}

// Compares item `i`, which was answered OK. Returns its right bytes.
static void
compare(struct replay *replay, uint32_t block, size_t i)
{
    uint64_t block_bytes = replay->options->block_bytes;
    const struct cascade_item *item = &replay->items[i];
    uint64_t wrong = item->bytes != block_bytes
                         ? block_bytes
                         : content_wrong_bytes(replay_content(replay, block),
                                               replay_place(replay, i),
                                               block_bytes);

    if (wrong > 0) {
        replay->totals->wrong_bytes += wrong;
        progress_stop(&replay->progress);
        output_note("block %" PRIu64 ": %" PRIu64 " wrong bytes of %zu",
                    replay->trace->ids[block], wrong, item->bytes);
    }
}

enum cascade_status
replay_get(struct replay *replay, const uint32_t *blocks, size_t count,
           size_t *got, uint64_t *elapsed_ns)
{
    enum cascade_status status;
    uint64_t start_ns;
    bool leading = true;

    prepare_gets(replay, blocks, count);
    start_ns = clock_steady_ns(clock_system());
    status = cascade_batch(replay->store, replay->items, count, NULL);
    *elapsed_ns = clock_steady_ns(clock_system()) - start_ns;
    *got = 0;
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        enum cascade_status item = replay->items[i].status;

        if (item == CASCADE_OK) {
            compare(replay, blocks[i], i);
            *got += leading;
        } else {
            leading = false;
        }
        if (item != CASCADE_OK && item != CASCADE_NOT_FOUND &&
            !replay_is_unanswered(replay, item)) {
            replay->totals->failed_calls++;
            progress_stop(&replay->progress);
            output_note("get of block %" PRIu64 ": %s",
                        replay->trace->ids[blocks[i]],
                        cascade_status_sentence(item));
        }
    }
    return CASCADE_OK;
}
