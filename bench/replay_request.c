// SPDX-License-Identifier: Apache-2.0
//
// One request of a replay. Its leading blocks that are there are got in one
// batch; all later ones are made and put in another, each with the block before
// it as parent and if absent, as an engine that computed them does.

#include "base/clock.h"
#include "bench/content.h"
#include "bench/replay.h"
#include "tools/output.h"

// Counts which blocks are there before the request. Sets the leading ones.
static enum cascade_status
look(struct replay *replay, const uint32_t *blocks, size_t count,
     size_t *leading)
{
    bool contiguous = true;

    *leading = 0;
    for (size_t i = 0; i < count; i++) {
        enum cascade_status status = cascade_exists(
            replay->store, replay_key(replay, blocks[i]));

        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
        if (status == CASCADE_OK) {
            replay->totals->block_hits++;
            *leading += contiguous;
        } else {
            contiguous = false;
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
get_leading(struct replay *replay, const uint32_t *blocks, size_t leading,
            size_t *got)
{
    struct replay_totals *totals = replay->totals;
    enum cascade_status status;
    uint64_t elapsed_ns;

    *got = 0;
    if (leading == 0) {
        return CASCADE_OK;
    }
    status = replay_get(replay, blocks, leading, got, &elapsed_ns);
    if (status != CASCADE_OK) {
        return status;
    }
    totals->prefix_hits += *got;
    totals->verified_bytes += *got * replay->options->block_bytes;
    totals->get_ns += elapsed_ns;
    histogram_observe(totals->get_latency, elapsed_ns);
    return CASCADE_OK;
}

// Makes the blocks from `first` on and describes their puts.
static void
prepare_puts(struct replay *replay, const uint32_t *blocks, size_t first,
             size_t count)
{
    uint64_t block_bytes = replay->options->block_bytes;

    for (size_t i = first; i < count; i++) {
        uint32_t wanted = replay->marks[blocks[i]] & REPLAY_WANTED_PROTECTED;
        uint32_t prefix = wanted != 0 ? (uint32_t)CASCADE_PUT_PREFIX : 0;
        size_t at = i - first;

        content_fill(replay_content(replay, blocks[i]),
                     replay_place(replay, at), block_bytes);
        replay->put_spans[at] = (struct cascade_const_span){
            .data = replay_place(replay, at),
            .bytes = block_bytes,
        };
        replay->put_options[at] = (struct cascade_put_options){
            .size = sizeof(replay->put_options[at]),
            .flags = (uint32_t)CASCADE_PUT_IF_ABSENT | prefix,
            .depth = (uint32_t)i,
        };
        if (i > 0) {
            replay->put_options[at].parent = replay_key(replay, blocks[i - 1]);
        }
        replay->items[at] = (struct cascade_item){
            .size = sizeof(replay->items[at]),
            .operation = CASCADE_OPERATION_PUT,
            .key = replay_key(replay, blocks[i]),
            .put_spans = &replay->put_spans[at],
            .put_span_count = 1,
            .put_options = &replay->put_options[at],
        };
    }
}

// What became of one put. A chosen block whose bytes were there already, from
// before a restart, is protected by a call of its own.
static void
count_put(struct replay *replay, uint32_t block,
          const struct cascade_item *item)
{
    struct replay_totals *totals = replay->totals;
    uint8_t *mark = &replay->marks[block];
    bool is_protected = item->put_result.protected_prefix;

    if (item->status == CASCADE_OK) {
        totals->puts++;
        totals->put_bytes += replay->options->block_bytes;
    } else if (item->status == CASCADE_NO_SPACE) {
        totals->puts_refused++;
    } else if (item->status != CASCADE_EXISTS &&
               !replay_is_unanswered(replay, item->status)) {
        totals->failed_calls++;
        progress_stop(&replay->progress);
        output_note("put: %s", cascade_status_sentence(item->status));
    }
    if ((*mark & REPLAY_WANTED_PROTECTED) == 0 ||
        (*mark & REPLAY_PROTECTED) != 0) {
        return;
    }
    if (item->status == CASCADE_EXISTS) {
        is_protected = cascade_protect(replay->store, item->key, NULL) ==
                       CASCADE_OK;
    }
    if (is_protected) {
        *mark |= REPLAY_PROTECTED;
    }
}

static enum cascade_status
put_missing(struct replay *replay, const uint32_t *blocks, size_t first,
            size_t count)
{
    struct replay_totals *totals = replay->totals;
    enum cascade_status status;
    uint64_t elapsed_ns;

    if (first == count) {
        return CASCADE_OK;
    }
    prepare_puts(replay, blocks, first, count);
    elapsed_ns = clock_steady_ns(clock_system());
    status = cascade_batch(replay->store, replay->items, count - first, NULL);
    elapsed_ns = clock_steady_ns(clock_system()) - elapsed_ns;
    if (status != CASCADE_OK) {
        return status;
    }
    totals->put_ns += elapsed_ns;
    histogram_observe(totals->put_latency, elapsed_ns);
    for (size_t i = first; i < count; i++) {
        count_put(replay, blocks[i], &replay->items[i - first]);
    }
    return CASCADE_OK;
}

enum cascade_status
replay_request(struct replay *replay, const struct trace_request *request)
{
    const uint32_t *blocks = replay->trace->refs + request->ref_first;
    size_t count = request->ref_count;
    enum cascade_status status;
    size_t leading;
    size_t got;

    if (replay->ranks != NULL) {
        status = replay_get_by_tier(replay, blocks, count, &got);
    } else {
        status = look(replay, blocks, count, &leading);
        if (status == CASCADE_OK) {
            status = get_leading(replay, blocks, leading, &got);
        }
    }
    if (status == CASCADE_OK) {
        status = put_missing(replay, blocks, got, count);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    replay->totals->requests++;
    replay->totals->refs += count;
    return CASCADE_OK;
}
