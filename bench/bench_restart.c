// SPDX-License-Identifier: Apache-2.0
//
// Case of the restart: from the begin of the open until a key drawn at random
// was got and every key was found, by as many threads as the case says, with the
// cache of the system dropped before. After the clock has stopped, every block
// is got and compared, or one of every few. The limit is a stated time for a
// number of blocks.

#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

// The bar: so many blocks are served within so much time.
#define BAR_BLOCKS 1000000
#define BAR_NS (2 * NS_PER_S)

// Of the opens that are timed: to populate an arena is no part of a restart. The
// puts have room for all blocks, so that none is dropped unwritten where the disk
// is behind.
#define DRAM_BYTES_MAX (512 * MIB)

// More blocks than this are not all read in each round, but one of every few.
#define CHECKED_MAX ((size_t)100000)

struct find {
    _Atomic uint64_t misses;
};

static uint64_t
put_dram_bytes(const struct bench_run *run)
{
    return bench_dram_bytes(run, run->blocks);
}

static uint64_t
restart_dram_bytes(const struct bench_run *run)
{
    return units_min(put_dram_bytes(run), DRAM_BYTES_MAX);
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
    return 2 * run->blocks * run->block_bytes + put_dram_bytes(run);
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
    const struct cascade_call call = {
        .size = sizeof(call),
        .timeout_ns = BENCH_CALL_NS,
    };
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
        status = bench_open(run, put_dram_bytes(run), cold_bytes(run));
    }
    if (status == CASCADE_OK) {
        status = bench_put_all(run);
    }
    if (status == CASCADE_OK) {
        status = cascade_flush(run->store, &call);
    }
    return status == CASCADE_OK ? close_store(run) : status;
}

static enum cascade_status
find_part(struct bench_run *run, uint32_t thread, void *context)
{
    struct find *find = context;
    size_t first = run->blocks / run->threads * thread;
    uint64_t misses = 0;

    for (size_t i = first; i < first + run->blocks / run->threads; i++) {
        enum cascade_status status = cascade_exists(run->store,
                                                    run->items[i].key);

        if (status == CASCADE_NOT_FOUND) {
            misses++;
        } else if (status != CASCADE_OK) {
            return status;
        }
    }
    atomic_fetch_add(&find->misses, misses);
    return CASCADE_OK;
}

static enum cascade_status
find_all(struct bench_run *run, uint64_t *misses)
{
    struct find find = {0};
    uint64_t ns;
    enum cascade_status status = bench_parallel(run, find_part, &find, &ns);

    *misses = atomic_load(&find.misses);
    return status;
}

// The block of a key that the clock draws lies at its place in target.
static enum cascade_status
get_any(struct bench_run *run, uint64_t start_ns, size_t *at)
{
    size_t bytes = 0;

    *at = start_ns / NS_PER_US % run->blocks;
    return bench_get(run, 0, *at, run->target.data + *at * run->block_bytes,
                     &bytes);
}

static uint64_t
wrong_bytes_at(const struct bench_run *run, size_t at)
{
    return content_wrong_bytes(bench_content(run, 0, at),
                               run->target.data + at * run->block_bytes,
                               run->block_bytes);
}

// Gets one of every few blocks, others in each round, and compares.
static enum cascade_status
check_some(struct bench_run *run, struct bench_sample *check)
{
    size_t step = run->blocks / CHECKED_MAX + 1;

    for (size_t i = run->round % step; i < run->blocks; i += step) {
        size_t bytes = 0;
        enum cascade_status status = bench_get(
            run, 0, i, run->target.data + i * run->block_bytes, &bytes);

        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
        if (status == CASCADE_NOT_FOUND || bytes != run->block_bytes) {
            check->misses++;
        } else {
            uint64_t wrong = wrong_bytes_at(run, i);

            check->wrong_bytes += wrong;
            check->verified_bytes += run->block_bytes - wrong;
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
check_blocks(struct bench_run *run, struct bench_sample *check)
{
    uint32_t round = run->round;
    enum cascade_status status;

    if (run->blocks > CHECKED_MAX) {
        return check_some(run, check);
    }
    run->round = 0; // its duration is no latency
    status = bench_work_batch(run, check);
    run->round = round;
    return status;
}

static enum cascade_status
work(struct bench_run *run, struct bench_sample *sample)
{
    struct bench_sample check = {.misses = 0};
    enum cascade_status status;
    uint64_t start_ns;
    uint64_t wrong_bytes;
    size_t at = 0;

    content_poison(run->target.data, run->blocks * run->block_bytes);
    bench_folder_drop_cache(run);
    start_ns = bench_now();
    status = bench_open(run, restart_dram_bytes(run), cold_bytes(run));
    if (status == CASCADE_OK) {
        status = get_any(run, start_ns, &at);
    }
    if (status == CASCADE_OK) {
        status = find_all(run, &sample->misses);
    }
    sample->work.ns = bench_now() - start_ns;
    if (status != CASCADE_OK) {
        return status;
    }
    if (run->round > 0) {
        bench_note_latency(&run->latencies, sample->work.ns);
    }
    wrong_bytes = wrong_bytes_at(run, at);
    status = check_blocks(run, &check);
    if (status != CASCADE_OK) {
        return status;
    }
    sample->misses = units_max(sample->misses, check.misses);
    sample->verified_bytes = check.verified_bytes;
    sample->wrong_bytes = check.wrong_bytes + wrong_bytes;
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
