// SPDX-License-Identifier: Apache-2.0
//
// Cases of the cold tier. The limit is plain O_DIRECT I/O of the same bytes in
// the shape that was the best before the rounds. Cold means: evicted from DRAM,
// the cache of the system dropped, and the bytes that came from the device
// counted beside the result. A block that did not come from segments is a miss.

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 2 * run->blocks * run->block_bytes +
           bench_dram_bytes(run, 2 * run->blocks);
}

static uint64_t
run_bytes(const struct bench_run *run)
{
    return run->blocks * run->block_bytes;
}

static uint64_t
cold_bytes(const struct bench_run *run)
{
    return 2 * run_bytes(run) + GIB;
}

static void
raw_path(const struct bench_run *run, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/raw", run->folder);
}

static enum cascade_status
write_raw(const struct bench_run *run, struct raw_shape shape, uint64_t *ns)
{
    char path[BENCH_PATH_BYTES + 8];

    raw_path(run, path, sizeof(path));
    (void)unlink(path);
    return raw_io_write(path, run->source.data, run_bytes(run), shape, ns);
}

// Reads the raw file as gets do, as many blocks at a time as there are threads,
// or as one batch.
static enum cascade_status
read_raw(const struct bench_run *run, bool by_block, struct raw_shape shape,
         uint64_t *ns)
{
    char path[BENCH_PATH_BYTES + 8];

    raw_path(run, path, sizeof(path));
    return raw_io_read(path, run->target.data, run_bytes(run),
                       by_block ? run->threads * run->block_bytes : 0, shape,
                       ns);
}

// Tries each shape three times and keeps the one with the best time.
static enum cascade_status
choose_shape(struct bench_run *run, bool write, bool by_block)
{
    uint64_t best_ns = UINT64_MAX;

    for (int again = 0; again < 3; again++) {
        for (size_t i = 0; raw_shapes[i].request_bytes != 0; i++) {
            enum cascade_status status;
            uint64_t ns;

            status = write ? write_raw(run, raw_shapes[i], &ns)
                           : read_raw(run, by_block, raw_shapes[i], &ns);
            if (status != CASCADE_OK) {
                return status;
            }
            if (ns < best_ns) {
                best_ns = ns;
                run->shape = raw_shapes[i];
            }
        }
        if (run->tiny) {
            break;
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
take_buffers(struct bench_run *run)
{
    enum cascade_status status = buffer_take(run_bytes(run), &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(run_bytes(run), &run->target);
    }
    if (status == CASCADE_OK) {
        bench_fill_source(run, 0);
    }
    return status;
}

static enum cascade_status
set_up_write(struct bench_run *run)
{
    enum cascade_status status = take_buffers(run);

    return status == CASCADE_OK ? choose_shape(run, true, false) : status;
}

// Everything unpinned leaves DRAM, and the system forgets the files.
static enum cascade_status
make_cold(struct bench_run *run)
{
    enum cascade_status status = cascade_evict(
        run->store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL);

    if (status == CASCADE_OK) {
        bench_folder_drop_cache(run);
    }
    return status;
}

static enum cascade_status
get_one(struct bench_run *run, size_t i, bool *missed)
{
    size_t bytes = 0;
    uint64_t start_ns = bench_now();
    enum cascade_status status = bench_get(
        run, 0, i, run->target.data + i * run->block_bytes, &bytes);

    if (run->round > 0) {
        bench_note_latency(&run->latencies, bench_now() - start_ns);
    }
    *missed = status == CASCADE_NOT_FOUND || bytes != run->block_bytes;
    return status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
}

static enum cascade_status
get_some(struct bench_run *run, uint32_t thread, void *context)
{
    bool *missed = context;
    size_t blocks = run->blocks / run->threads;
    enum cascade_status status = CASCADE_OK;

    // Turn by turn, so that threads read beside each other as the limit does.
    for (size_t i = 0; i < blocks && status == CASCADE_OK; i++) {
        size_t block = i * run->threads + thread;

        status = get_one(run, block, &missed[block]);
    }
    return status;
}

// Gets block after block in each thread, timed, and compares.
static enum cascade_status
get_all(struct bench_run *run, struct bench_sample *sample)
{
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    enum cascade_status status;

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, run_bytes(run));
    status = bench_parallel(run, get_some, missed, &sample->work.ns);
    sample->cpu_ns = run->parallel_cpu_ns;
    if (status == CASCADE_OK) {
        bench_compare_target(run, 0, missed, sample);
    }
    allocator_release(allocator_system(), missed);
    return status;
}

// Runs a round of reads from a cold store.
static enum cascade_status
read_cold(struct bench_run *run, struct bench_sample *sample,
          enum cascade_status (*get)(struct bench_run *run,
                                     struct bench_sample *sample))
{
    struct cascade_stats before = {.size = sizeof(before)};
    struct cascade_stats after = {.size = sizeof(after)};
    enum cascade_status status = make_cold(run);
    uint64_t device_bytes = bench_device_bytes();
    uint64_t from_segments;

    if (status == CASCADE_OK) {
        status = cascade_stats_read(run->store, &before);
    }
    if (status == CASCADE_OK) {
        status = get(run, sample);
    }
    if (status == CASCADE_OK) {
        status = cascade_stats_read(run->store, &after);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    sample->device_bytes = bench_device_bytes() - device_bytes;
    from_segments = after.hits[CASCADE_TIER_SEGMENTS] -
                    before.hits[CASCADE_TIER_SEGMENTS];
    if (from_segments + sample->misses < run->blocks) {
        sample->misses += run->blocks - sample->misses - from_segments;
    }
    return CASCADE_OK;
}

// The puts and what the store wrote ahead are outside of the timed part; the
// bytes that the flush found dirty are what it is timed for.
static enum cascade_status
write_store(struct bench_run *run, struct bench_sample *sample)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    struct bench_sample check = {.misses = 0};
    enum cascade_status status = bench_put_all(run);
    uint64_t start_ns;

    if (status == CASCADE_OK) {
        status = cascade_stats_read(run->store, &stats);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    start_ns = bench_now();
    status = cascade_flush(run->store, NULL);
    sample->work.ns = bench_now() - start_ns;
    if (status == CASCADE_OK) {
        uint32_t round = run->round;

        // The reads that compare are no part of the latencies.
        run->round = 0;
        status = read_cold(run, &check, get_all);
        run->round = round;
    }
    if (status != CASCADE_OK) {
        return status;
    }
    if (run->round > 0) {
        bench_note_latency(&run->latencies, sample->work.ns);
    }
    sample->work.bytes = units_min(stats.dirty_bytes, check.verified_bytes);
    sample->verified_bytes = check.verified_bytes;
    sample->wrong_bytes = check.wrong_bytes;
    sample->misses = check.misses;
    return CASCADE_OK;
}

static enum cascade_status
work_write(struct bench_run *run, struct bench_sample *sample)
{
    enum cascade_status status = bench_open_warm(
        run, bench_dram_bytes(run, 2 * run->blocks), cold_bytes(run));
    struct cascade *store = run->store;

    if (status != CASCADE_OK) {
        return status;
    }
    status = write_store(run, sample);
    run->store = NULL;
    if (status == CASCADE_OK) {
        status = cascade_close(store);
    } else {
        (void)!cascade_close(store);
    }
    bench_folder_remove(run, "cold");
    return status;
}

static enum cascade_status
limit_write(struct bench_run *run, struct bench_speed *speed)
{
    speed->bytes = run_bytes(run);
    return write_raw(run, run->shape, &speed->ns);
}

static enum cascade_status
set_up_read(struct bench_run *run, bool by_block)
{
    enum cascade_status status = take_buffers(run);
    uint64_t ns;

    if (status == CASCADE_OK) {
        status = write_raw(run, raw_shapes[0], &ns);
    }
    if (status == CASCADE_OK) {
        status = choose_shape(run, false, by_block);
    }
    if (status == CASCADE_OK) {
        status = bench_open_warm(run, bench_dram_bytes(run, 2 * run->blocks),
                                 cold_bytes(run));
    }
    if (status == CASCADE_OK) {
        status = bench_put_all(run);
    }
    if (status == CASCADE_OK) {
        status = cascade_flush(run->store, NULL);
    }
    if (status == CASCADE_OK) {
        status = cascade_register_memory(run->store, run->target.data,
                                         run_bytes(run));
    }
    return status;
}

static enum cascade_status
set_up_get(struct bench_run *run)
{
    return set_up_read(run, true);
}

static enum cascade_status
set_up_batch(struct bench_run *run)
{
    enum cascade_status status = set_up_read(run, false);

    return status == CASCADE_OK ? bench_make_items(run) : status;
}

static enum cascade_status
work_get(struct bench_run *run, struct bench_sample *sample)
{
    return read_cold(run, sample, get_all);
}

static enum cascade_status
work_batch(struct bench_run *run, struct bench_sample *sample)
{
    return read_cold(run, sample, bench_work_batch);
}

static enum cascade_status
limit_get(struct bench_run *run, struct bench_speed *speed)
{
    speed->bytes = run_bytes(run);
    return read_raw(run, true, run->shape, &speed->ns);
}

static enum cascade_status
limit_batch(struct bench_run *run, struct bench_speed *speed)
{
    speed->bytes = run_bytes(run);
    return read_raw(run, false, run->shape, &speed->ns);
}

static void
tear_down_read(struct bench_run *run)
{
    if (run->store != NULL) {
        // Also where it was never registered.
        (void)!cascade_unregister_memory(run->store, run->target.data);
    }
    bench_tear_down(run);
}

const struct bench_driver bench_driver_cold_write = {
    .name = "cold_write",
    .limit = "raw_write",
    .moves_bytes = true,
    .needs_folder = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_write,
    .work = work_write,
    .limit_work = limit_write,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_cold_get = {
    .name = "cold_get",
    .limit = "raw_read",
    .moves_bytes = true,
    .needs_folder = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_get,
    .work = work_get,
    .limit_work = limit_get,
    .tear_down = tear_down_read,
};

const struct bench_driver bench_driver_cold_batch = {
    .name = "cold_batch",
    .limit = "raw_read",
    .moves_bytes = true,
    .needs_folder = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_batch,
    .work = work_batch,
    .limit_work = limit_batch,
    .tear_down = tear_down_read,
};
