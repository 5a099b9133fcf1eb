// SPDX-License-Identifier: Apache-2.0
//
// The start of all ranks on one set that is only on the cold tier, of which each
// rank wrote its part: every rank gets every block. `rank_cold` is how long it
// takes until all have all, beside one plain read of the set; `rank_cold_once`
// is the set beside the bytes that all ranks together read from segments: 1 if
// each block was read once.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench_ranks.h"
#include "bench/content.h"

#define FOLDER_KEY "folder of the first rank"
#define READ_METRIC "\ncascade_cold_read_bytes_total "
#define METRICS_BYTES ((size_t)1 << 18)

struct cold_state {
    char own[BENCH_PATH_BYTES]; // the folder that this rank removes
    char *metrics;              // METRICS_BYTES
};

static uint64_t
set_bytes(const struct bench_run *run)
{
    return run->blocks * run->block_bytes;
}

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 2 * set_bytes(run) + bench_dram_bytes(run, 2 * run->blocks);
}

static enum cascade_status
open_store(struct bench_run *run)
{
    return bench_ranks_open(run, bench_dram_bytes(run, 2 * run->blocks),
                            set_bytes(run) + GIB, 2);
}

// Every rank learns the folder of the first, through a store without segments.
static enum cascade_status
share_folder(struct bench_run *run, struct cold_state *state)
{
    const struct cascade_key key = {FOLDER_KEY, sizeof(FOLDER_KEY)};
    const struct cascade_const_span from = {.data = run->folder,
                                            .bytes = sizeof(run->folder)};
    const struct cascade_span to = {.data = run->folder,
                                    .bytes = sizeof(run->folder)};
    enum cascade_status status = bench_ranks_open(
        run, bench_dram_bytes(run, run->blocks), 0, 2);
    size_t bytes;

    memcpy(state->own, run->folder, sizeof(state->own));
    if (status == CASCADE_OK && run->rank == 0) {
        status = cascade_put(run->store, key, &from, 1, NULL, NULL);
    }
    if (status == CASCADE_OK) {
        status = bench_ranks_meet(run);
    }
    if (status == CASCADE_OK && run->rank != 0) {
        status = cascade_get(run->store, key, &to, 1, NULL, &bytes);
    }
    if (status == CASCADE_OK) {
        status = cascade_close(run->store);
        run->store = NULL;
    }
    return status;
}

static void
raw_path(const struct bench_run *run, char *path, size_t size)
{
    (void)snprintf(path, size, "%s/raw", run->folder);
}

static enum cascade_status
read_raw(struct bench_run *run, uint64_t *ns)
{
    char path[BENCH_PATH_BYTES + 8];

    raw_path(run, path, sizeof(path));
    return raw_io_read(path, run->target.data, set_bytes(run), 0, run->shape,
                       ns);
}

// The first rank writes a file to be read plainly, and finds how.
static enum cascade_status
prepare_raw(struct bench_run *run)
{
    char path[BENCH_PATH_BYTES + 8];
    struct raw_shape best = raw_shapes[0];
    uint64_t best_ns = UINT64_MAX;
    uint64_t ns;
    enum cascade_status status;

    raw_path(run, path, sizeof(path));
    status = raw_io_write(path, run->source.data, set_bytes(run), best, &ns);
    for (size_t i = 0; raw_shapes[i].request_bytes != 0 && status == CASCADE_OK;
         i++) {
        run->shape = raw_shapes[i];
        status = read_raw(run, &ns);
        if (ns < best_ns) {
            best_ns = ns;
            best = raw_shapes[i];
        }
    }
    run->shape = best;
    return status;
}

static enum cascade_status
put_part(struct bench_run *run)
{
    size_t ranks = (size_t)run->rank_count;
    enum cascade_status status = CASCADE_OK;

    for (size_t i = (size_t)run->rank; i < run->blocks && status == CASCADE_OK;
         i += ranks) {
        status = bench_put(run, 0, i, run->source.data + i * run->block_bytes,
                           NULL, NULL);
    }
    return status == CASCADE_OK ? cascade_flush(run->store, NULL) : status;
}

static enum cascade_status
set_up(struct bench_run *run)
{
    struct cold_state *state = allocator_array(allocator_system(), 1,
                                               sizeof(*state));
    enum cascade_status status;

    run->state = state;
    if (state == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a measurement");
    }
    memcpy(state->own, run->folder, sizeof(state->own));
    state->metrics = allocator_array(allocator_system(), METRICS_BYTES, 1);
    status = state->metrics == NULL
                 ? error_set(CASCADE_NO_MEMORY, "no memory for metrics")
                 : buffer_take(set_bytes(run), &run->source);
    if (status == CASCADE_OK) {
        status = buffer_take(set_bytes(run), &run->target);
    }
    if (status == CASCADE_OK) {
        status = share_folder(run, state);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    if (run->rank == 0) {
        status = prepare_raw(run);
    }
    if (status == CASCADE_OK) {
        status = open_store(run);
    }
    return status == CASCADE_OK ? put_part(run) : status;
}

static void
tear_down(struct bench_run *run)
{
    struct cold_state *state = run->state;

    bench_tear_down(run);
    if (state != NULL) {
        memcpy(run->folder, state->own, sizeof(run->folder));
        allocator_release(allocator_system(), state->metrics);
        allocator_release(allocator_system(), state);
        run->state = NULL;
    }
}

// Bytes that this rank has read from segments so far.
static enum cascade_status
count_read(struct bench_run *run, uint64_t *bytes)
{
    struct cold_state *state = run->state;
    const char *found;
    enum cascade_status status = cascade_metrics_text(
        run->store, state->metrics, METRICS_BYTES, NULL);

    if (status != CASCADE_OK) {
        return status;
    }
    found = strstr(state->metrics, READ_METRIC);
    if (found == NULL) {
        return error_set(CASCADE_INVALID, "the metrics lack%s", READ_METRIC);
    }
    *bytes = strtoull(found + strlen(READ_METRIC), NULL, 10);
    return CASCADE_OK;
}

// Ends the store of all ranks and begins again.
static enum cascade_status
start_again(struct bench_run *run)
{
    enum cascade_status status = cascade_close(run->store);

    run->store = NULL;
    if (status == CASCADE_OK) {
        bench_folder_drop_cache(run);
        status = open_store(run);
    }
    return status;
}

// `*read` becomes what all ranks read from segments meanwhile.
static enum cascade_status
get_cold(struct bench_run *run, struct bench_sample *sample, uint64_t *read)
{
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    struct bench_sample reads = {.misses = 0};
    uint64_t before = 0;
    uint64_t after = 0;
    uint64_t start_ns = 0;
    uint64_t end_ns;
    uint64_t ignored;
    enum cascade_status status = start_again(run);

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, set_bytes(run));
    if (status == CASCADE_OK) {
        status = count_read(run, &before);
    }
    if (status == CASCADE_OK) {
        status = bench_ranks_meet(run);
    }
    sample->device_bytes = bench_device_bytes();
    start_ns = bench_now();
    if (status == CASCADE_OK) {
        status = bench_ranks_get_all(
            run, run->blocks / (size_t)run->rank_count * (size_t)run->rank,
            missed);
    }
    end_ns = bench_now();
    if (status == CASCADE_OK) {
        status = bench_ranks_meet(run); // others may still read here
    }
    sample->device_bytes = bench_device_bytes() - sample->device_bytes;
    if (status == CASCADE_OK) {
        status = count_read(run, &after);
    }
    if (status == CASCADE_OK) {
        bench_compare_target(run, 0, missed, sample);
        reads.work.bytes = after - before;
        status = bench_ranks_add(run, start_ns, end_ns, sample,
                                 &sample->work.ns);
    }
    if (status == CASCADE_OK) {
        status = bench_ranks_add(run, start_ns, end_ns, &reads, &ignored);
        *read = reads.work.bytes;
    }
    allocator_release(allocator_system(), missed);
    return status;
}

static enum cascade_status
work_cold(struct bench_run *run, struct bench_sample *sample)
{
    uint64_t read;
    enum cascade_status status = get_cold(run, sample, &read);

    // However many ranks get it, the set is read once.
    sample->work.bytes = set_bytes(run);
    return status;
}

static enum cascade_status
work_once(struct bench_run *run, struct bench_sample *sample)
{
    uint64_t read = 0;
    enum cascade_status status = get_cold(run, sample, &read);

    sample->work.bytes = set_bytes(run);
    sample->limit.bytes = read;
    sample->limit.ns = sample->work.ns;
    return status;
}

static enum cascade_status
limit_cold(struct bench_run *run, struct bench_speed *speed)
{
    enum cascade_status status = bench_ranks_meet(run);

    speed->bytes = set_bytes(run);
    speed->ns = 1;
    if (status == CASCADE_OK && run->rank == 0) {
        bench_folder_drop_cache(run);
        status = read_raw(run, &speed->ns);
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

const struct bench_driver bench_driver_rank_cold = {
    .name = "rank_cold",
    .limit = "raw_read",
    .moves_bytes = true,
    .needs_folder = true,
    .needs_ranks = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_cold,
    .limit_work = limit_cold,
    .tear_down = tear_down,
};

const struct bench_driver bench_driver_rank_cold_once = {
    .name = "rank_cold_once",
    .limit = "bytes_read",
    .holds_bytes = true,
    .needs_folder = true,
    .needs_ranks = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_once,
    .tear_down = tear_down,
};
