// SPDX-License-Identifier: Apache-2.0
//
// Cases that read local DRAM: get, acquire, and a batch of gets. The limit of a
// get copies the same bytes from private memory into the same target, block by
// block.

#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 2 * run->blocks * run->block_bytes +
           bench_dram_bytes(run, run->blocks);
}

// A store that holds every block of source, and a target of the same size.
static enum cascade_status
set_up(struct bench_run *run)
{
    size_t bytes = run->blocks * run->block_bytes;
    enum cascade_status status = buffer_take(bytes, &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        status = bench_open_warm(run, bench_dram_bytes(run, run->blocks), 0);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    for (size_t i = 0; i < run->blocks && status == CASCADE_OK; i++) {
        status = bench_put(run, 0, i, run->source.data + i * run->block_bytes,
                           NULL, NULL);
    }
    return status;
}

static enum cascade_status
get_blocks(struct bench_run *run, uint32_t thread, void *context)
{
    bool *missed = context;
    size_t blocks = run->blocks / run->threads;

    for (size_t i = thread * blocks; i < (thread + 1) * blocks; i++) {
        size_t bytes = 0;
        uint64_t start_ns = bench_now();
        enum cascade_status status = bench_get(
            run, 0, i, run->target.data + i * run->block_bytes, &bytes);

        if (run->round > 0) {
            bench_note_latency(&run->latencies, bench_now() - start_ns);
        }
        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
        missed[i] = status == CASCADE_NOT_FOUND || bytes != run->block_bytes;
    }
    return CASCADE_OK;
}

static enum cascade_status
work_get(struct bench_run *run, struct bench_sample *sample)
{
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    enum cascade_status status;

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, run->blocks * run->block_bytes);
    status = bench_parallel(run, get_blocks, missed, &sample->work.ns);
    sample->cpu_ns = run->parallel_cpu_ns;
    if (status == CASCADE_OK) {
        bench_compare_target(run, 0, missed, sample);
    }
    allocator_release(allocator_system(), missed);
    return status;
}

// Only the acquire is timed; the view is compared and given back outside.
static enum cascade_status
work_acquire(struct bench_run *run, struct bench_sample *sample)
{
    const size_t blocks = run->blocks;

    check(blocks > 0);
    for (uint64_t i = 0; i < run->operations; i++) {
        uint64_t block = i % blocks;
        struct cascade_view view;
        uint8_t room[BENCH_KEY_BYTES];
        struct cascade_key key = bench_key(0, block, room);
        uint64_t start_ns = bench_now();
        enum cascade_status status = cascade_acquire(run->store, key, NULL,
                                                     &view);
        uint64_t elapsed_ns = bench_now() - start_ns;

        sample->work.ns += elapsed_ns;
        if (run->round > 0) {
            bench_note_latency(&run->latencies, elapsed_ns);
        }
        if (status == CASCADE_NOT_FOUND) {
            sample->misses++;
            continue;
        }
        if (status != CASCADE_OK) {
            return status;
        }
        if (i < run->blocks) {
            uint64_t wrong = run->block_bytes;

            if (view.bytes == run->block_bytes) {
                wrong = content_wrong_bytes(bench_content(run, 0, block),
                                            view.data, view.bytes);
            }
            sample->wrong_bytes += wrong;
            sample->verified_bytes += run->block_bytes - wrong;
        }
        cascade_release(run->store, &view);
    }
    return CASCADE_OK;
}

static enum cascade_status
set_up_batch(struct bench_run *run)
{
    enum cascade_status status = set_up(run);

    return status == CASCADE_OK ? bench_make_items(run) : status;
}

const struct bench_driver bench_driver_get = {
    .name = "get",
    .limit = "memcpy",
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_get,
    .limit_work = bench_limit_copy,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_acquire = {
    .name = "acquire",
    .limit = "time_bar",
    .moves_bytes = false,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_acquire,
    .bar_quantile = 0.5,
    .bar_ns = 2 * NS_PER_US,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_batch_get = {
    .name = "batch_get",
    .limit = "memcpy",
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_batch,
    .work = bench_work_batch,
    .limit_work = bench_limit_copy_whole,
    .tear_down = bench_tear_down,
};
