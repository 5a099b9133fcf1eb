// SPDX-License-Identifier: Apache-2.0
//
// Case of the restart: from the begin of the open until every key was found,
// with the cache of the system dropped before. After the clock has stopped,
// every block is got and compared. The limit is a stated time for a number of
// blocks.

#include "base/units.h"
#include "bench/bench.h"

// The bar: so many blocks are served within so much time.
#define BAR_BLOCKS 1000000
#define BAR_NS (2 * NS_PER_S)

static uint64_t
dram_bytes(const struct bench_run *run)
{
    return bench_dram_bytes(run, run->blocks);
}

// Small blocks: the alignment of records is most of them.
static uint64_t
cold_bytes(const struct bench_run *run)
{
    return run->blocks *
               (2 * units_round_up(run->block_bytes, 4 * KIB) + 4 * KIB) +
           GIB;
}

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 2 * run->blocks * run->block_bytes + dram_bytes(run);
}

static enum cascade_status
close_store(struct bench_run *run)
{
    struct cascade *store = run->store;

    run->store = NULL;
    return cascade_close(store);
}

static enum cascade_status
set_up(struct bench_run *run)
{
    size_t bytes = run->blocks * run->block_bytes;
    enum cascade_status status = buffer_take(bytes, &run->source);

    run->bar_ns = BAR_NS * run->blocks / BAR_BLOCKS + 1;
    if (status == CASCADE_OK) {
        status = buffer_take(bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        bench_fill_source(run, 0);
        status = bench_make_items(run);
    }
    if (status == CASCADE_OK) {
        status = bench_open(run, dram_bytes(run), cold_bytes(run));
    }
    if (status == CASCADE_OK) {
        status = bench_put_all(run);
    }
    return status == CASCADE_OK ? close_store(run) : status;
}

static enum cascade_status
find_all(struct bench_run *run, uint64_t *misses)
{
    for (size_t i = 0; i < run->blocks; i++) {
        enum cascade_status status = cascade_exists(run->store,
                                                    run->items[i].key);

        if (status == CASCADE_NOT_FOUND) {
            (*misses)++;
        } else if (status != CASCADE_OK) {
            return status;
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
work(struct bench_run *run, struct bench_sample *sample)
{
    struct bench_sample check = {.misses = 0};
    uint32_t round = run->round;
    enum cascade_status status;
    uint64_t start_ns;

    bench_folder_drop_cache(run);
    start_ns = bench_now();
    status = bench_open(run, dram_bytes(run), cold_bytes(run));
    if (status == CASCADE_OK) {
        status = find_all(run, &sample->misses);
    }
    sample->work.ns = bench_now() - start_ns;
    if (status != CASCADE_OK) {
        return status;
    }
    if (round > 0) {
        bench_note_latency(&run->latencies, sample->work.ns);
    }
    run->round = 0;
    status = bench_work_batch(run, &check);
    run->round = round;
    if (status != CASCADE_OK) {
        return status;
    }
    sample->misses = units_max(sample->misses, check.misses);
    sample->verified_bytes = check.verified_bytes;
    sample->wrong_bytes = check.wrong_bytes;
    return close_store(run);
}

const struct bench_driver bench_driver_restart = {
    .name = "restart",
    .limit = "time_bar",
    .moves_bytes = false,
    .needs_folder = true,
    .bar_quantile = 0.5,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};
