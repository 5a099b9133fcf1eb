// SPDX-License-Identifier: Apache-2.0
//
// Cases that put into local DRAM: content that is not there yet, content that
// is, and known keys. Everything that was put is got again and compared before
// its bytes count.

#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

// What a round of puts shares with its threads.
struct puts {
    uint64_t generation; // of the keys
    bool *missed;        // per block
    bool known;          // the content has to be there already
};

static uint64_t
memory_bytes(const struct bench_run *run)
{
    // The store holds two rounds: the old one goes when the later one is there.
    return 2 * run->blocks * run->block_bytes +
           bench_dram_bytes(run, 2 * run->blocks);
}

static enum cascade_status
take_buffers(struct bench_run *run)
{
    size_t bytes = run->blocks * run->block_bytes;
    enum cascade_status status = buffer_take(bytes, &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        status = bench_open_warm(run, bench_dram_bytes(run, 2 * run->blocks),
                                 0);
    }
    return status;
}

static enum cascade_status
put_blocks(struct bench_run *run, uint32_t thread, void *context)
{
    struct puts *puts = context;
    size_t blocks = run->blocks / run->threads;

    for (size_t i = thread * blocks; i < (thread + 1) * blocks; i++) {
        struct cascade_put_result result = {.stored = false};
        uint64_t start_ns = bench_now();
        enum cascade_status status = bench_put(
            run, puts->generation, i, run->source.data + i * run->block_bytes,
            NULL, &result);

        if (run->round > 0) {
            bench_note_latency(&run->latencies, bench_now() - start_ns);
        }
        if (status != CASCADE_OK && status != CASCADE_NO_SPACE) {
            return status;
        }
        puts->missed[i] = !result.stored ||
                          (puts->known && !result.deduplicated);
    }
    return CASCADE_OK;
}

static enum cascade_status
get_back(struct bench_run *run, struct puts *puts)
{
    content_poison(run->target.data, run->blocks * run->block_bytes);
    for (size_t i = 0; i < run->blocks; i++) {
        size_t bytes = 0;
        enum cascade_status status = bench_get(
            run, puts->generation, i, run->target.data + i * run->block_bytes,
            &bytes);

        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
        puts->missed[i] |= status == CASCADE_NOT_FOUND ||
                           bytes != run->block_bytes;
    }
    return CASCADE_OK;
}

static enum cascade_status
forget(struct bench_run *run, uint64_t generation)
{
    for (size_t i = 0; i < run->blocks; i++) {
        uint8_t room[BENCH_KEY_BYTES];
        enum cascade_status status = cascade_remove(
            run->store, bench_key(generation, i, room));

        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
    }
    return CASCADE_OK;
}

// Puts source under the keys of a generation, timed; gets it back, compares it
// with the contents of `content`, and forgets the keys.
static enum cascade_status
put_round(struct bench_run *run, uint64_t content, bool known,
          struct bench_sample *sample)
{
    struct puts puts = {.generation = run->round + 1, .known = known};
    enum cascade_status status;

    puts.missed = allocator_array(allocator_system(), run->blocks, 1);
    if (puts.missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    status = bench_parallel(run, put_blocks, &puts, &sample->work.ns);
    sample->cpu_ns = run->parallel_cpu_ns;
    if (status == CASCADE_OK) {
        status = get_back(run, &puts);
    }
    if (status == CASCADE_OK) {
        bench_compare_target(run, content, puts.missed, sample);
        status = forget(run, puts.generation);
    }
    allocator_release(allocator_system(), puts.missed);
    return status;
}

static enum cascade_status
work_put(struct bench_run *run, struct bench_sample *sample)
{
    bench_fill_source(run, run->round + 1);
    return put_round(run, run->round + 1, false, sample);
}

static enum cascade_status
limit_put(struct bench_run *run, struct bench_speed *speed)
{
    return strcmp(run->what->dedup, "content") == 0
               ? bench_limit_sha256(run, speed)
               : bench_limit_copy(run, speed);
}

static enum cascade_status
set_up_known(struct bench_run *run)
{
    enum cascade_status status = take_buffers(run);

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
work_known(struct bench_run *run, struct bench_sample *sample)
{
    return put_round(run, 0, true, sample);
}

// Puts other bytes under known keys; they must be left as they are.
static enum cascade_status
work_if_absent(struct bench_run *run, struct bench_sample *sample)
{
    const struct cascade_put_options options = {
        .size = sizeof(options),
        .flags = CASCADE_PUT_IF_ABSENT,
    };
    enum cascade_status status = CASCADE_OK;
    uint64_t begin_ns = bench_now();

    content_poison(run->source.data, run->block_bytes);
    for (uint64_t i = 0; i < run->operations; i++) {
        uint64_t start_ns = bench_now();

        status = bench_put(run, 0, i % run->blocks, run->source.data, &options,
                           NULL);
        if (run->round > 0) {
            bench_note_latency(&run->latencies, bench_now() - start_ns);
        }
        if (status != CASCADE_EXISTS) {
            sample->misses++;
        }
    }
    sample->work.ns = bench_now() - begin_ns;
    for (size_t i = 0; i < run->blocks; i++) {
        size_t bytes = 0;

        content_poison(run->target.data, run->block_bytes);
        status = bench_get(run, 0, i, run->target.data, &bytes);
        if (status != CASCADE_OK) {
            return status;
        }
        sample->misses += bytes != run->block_bytes;
        sample->wrong_bytes += content_wrong_bytes(
            bench_content(run, 0, i), run->target.data, run->block_bytes);
        sample->verified_bytes += run->block_bytes;
    }
    return CASCADE_OK;
}

// An arena that holds all blocks, of which only the first is put.
static uint64_t
memory_bytes_first(const struct bench_run *run)
{
    return (run->blocks + 2) * run->block_bytes;
}

static enum cascade_status
set_up_first(struct bench_run *run)
{
    enum cascade_status status = buffer_take(run->block_bytes, &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(run->block_bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        content_fill(bench_content(run, 0, 0), run->source.data,
                     run->block_bytes);
    }
    return status;
}

// From the begin of the open until the put has returned.
static enum cascade_status
work_first(struct bench_run *run, struct bench_sample *sample)
{
    size_t bytes = 0;
    uint64_t start_ns = bench_now();
    enum cascade_status status = bench_open(run, run->blocks * run->block_bytes,
                                            0);

    if (status == CASCADE_OK) {
        status = bench_put(run, 0, 0, run->source.data, NULL, NULL);
    }
    sample->work.ns = bench_now() - start_ns;
    if (run->round > 0) {
        bench_note_latency(&run->latencies, sample->work.ns);
    }
    content_poison(run->target.data, run->block_bytes);
    if (status == CASCADE_OK) {
        status = bench_get(run, 0, 0, run->target.data, &bytes);
    }
    if (status == CASCADE_OK) {
        uint64_t wrong = content_wrong_bytes(
            bench_content(run, 0, 0), run->target.data, run->block_bytes);

        sample->wrong_bytes += wrong;
        sample->verified_bytes += run->block_bytes - wrong;
        status = cascade_close(run->store);
        run->store = NULL;
    }
    return status;
}

const struct bench_driver bench_driver_put = {
    .name = "put",
    .limit = NULL, // by dedup: sha256 or memcpy
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = take_buffers,
    .work = work_put,
    .limit_work = limit_put,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_put_known = {
    .name = "put_known",
    .limit = "sha256",
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_known,
    .work = work_known,
    .limit_work = bench_limit_sha256,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_if_absent = {
    .name = "if_absent",
    .limit = "time_bar",
    .moves_bytes = false,
    .memory_bytes = memory_bytes,
    .set_up = set_up_known,
    .work = work_if_absent,
    .bar_quantile = 0.5,
    .bar_ns = 5 * NS_PER_US,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_first_put = {
    .name = "first_put",
    .limit = "time_bar",
    .moves_bytes = false,
    .memory_bytes = memory_bytes_first,
    .set_up = set_up_first,
    .work = work_first,
    .bar_quantile = 0.5,
    .bar_ns = NS_PER_S / 10,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};
