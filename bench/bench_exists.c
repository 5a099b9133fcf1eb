// SPDX-License-Identifier: Apache-2.0
//
// Cases that ask whether a key is known, one call each and many in one batch.

#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"

#define BATCH_KEYS 1024

struct questions {
    struct cascade_item items[BATCH_KEYS];
    uint8_t keys[BATCH_KEYS][BENCH_KEY_BYTES];
};

// As many blocks as the index shall hold, put in batches.
static enum cascade_status
set_up_exists(struct bench_run *run)
{
    size_t bytes = run->blocks * run->block_bytes;
    enum cascade_status status = buffer_take(bytes, &run->source);

    if (status == CASCADE_OK) {
        status = bench_open_warm(run, bench_dram_bytes(run, run->blocks), 0);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    return bench_put_all(run);
}

static uint64_t
memory_bytes_exists(const struct bench_run *run)
{
    return run->blocks * run->block_bytes + bench_dram_bytes(run, run->blocks);
}

// The key of a question: every other one is for a key that was never put.
static struct cascade_key
next_key(const struct bench_run *run, uint64_t i, uint64_t *number,
         uint8_t room[BENCH_KEY_BYTES])
{
    // Full period over 2^64; its high bits say which block.
    *number = *number * UINT64_C(6364136223846793005) + 1;
    return bench_key(i % 2, (*number >> 32) % run->blocks, room);
}

static void
count_answer(uint64_t i, enum cascade_status status,
             struct bench_sample *sample)
{
    if (i % 2 == 0) {
        sample->misses += status == CASCADE_NOT_FOUND;
    } else {
        sample->wrong_bytes += status == CASCADE_OK;
    }
}

static enum cascade_status
work_exists(struct bench_run *run, struct bench_sample *sample)
{
    uint64_t number = run->round;

    for (uint64_t i = 0; i < run->operations; i++) {
        uint8_t room[BENCH_KEY_BYTES];
        struct cascade_key key = next_key(run, i, &number, room);
        uint64_t elapsed_ns = bench_now();
        enum cascade_status status;

        status = cascade_exists(run->store, key);
        elapsed_ns = bench_now() - elapsed_ns;
        sample->work.ns += elapsed_ns;
        if (run->round > 0) {
            bench_note_latency(&run->latencies, elapsed_ns);
        }
        if (status != CASCADE_OK && status != CASCADE_NOT_FOUND) {
            return status;
        }
        count_answer(i, status, sample);
    }
    return CASCADE_OK;
}

// Each batch is one operation.
static enum cascade_status
ask_batch(struct bench_run *run, struct questions *questions, uint64_t *number,
          struct bench_sample *sample)
{
    enum cascade_status status;
    uint64_t elapsed_ns;

    memset(questions, 0, sizeof(*questions));
    for (uint64_t i = 0; i < BATCH_KEYS; i++) {
        questions->items[i].size = sizeof(questions->items[i]);
        questions->items[i].operation = CASCADE_OPERATION_EXISTS;
        questions->items[i].key = next_key(run, i, number, questions->keys[i]);
    }
    elapsed_ns = bench_now();
    status = cascade_batch(run->store, questions->items, BATCH_KEYS, NULL);
    elapsed_ns = bench_now() - elapsed_ns;
    sample->work.ns += elapsed_ns;
    if (run->round > 0) {
        bench_note_latency(&run->latencies, elapsed_ns);
    }
    for (uint64_t i = 0; i < BATCH_KEYS && status == CASCADE_OK; i++) {
        status = questions->items[i].status;
        if (status == CASCADE_NOT_FOUND) {
            status = CASCADE_OK;
        }
        count_answer(i, questions->items[i].status, sample);
    }
    return status;
}

static enum cascade_status
work_exists_batch(struct bench_run *run, struct bench_sample *sample)
{
    struct questions *questions = allocator_array(allocator_system(), 1,
                                                  sizeof(*questions));
    enum cascade_status status = CASCADE_OK;
    uint64_t number = run->round;

    if (questions == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a batch");
    }
    for (uint64_t i = 0; i < run->operations && status == CASCADE_OK; i++) {
        status = ask_batch(run, questions, &number, sample);
    }
    allocator_release(allocator_system(), questions);
    return status;
}

const struct bench_driver bench_driver_exists = {
    .name = "exists",
    .limit = "time_bar",
    .moves_bytes = false,
    .memory_bytes = memory_bytes_exists,
    .set_up = set_up_exists,
    .work = work_exists,
    .bar_quantile = 0.99,
    .bar_ns = 5 * NS_PER_US,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_exists_batch = {
    .name = "exists_batch",
    .limit = "time_bar",
    .moves_bytes = false,
    .memory_bytes = memory_bytes_exists,
    .set_up = set_up_exists,
    .work = work_exists_batch,
    .bar_quantile = 0.5,
    .bar_ns = NS_PER_S / 1000,
    .limit_work = NULL,
    .tear_down = bench_tear_down,
};
