// SPDX-License-Identifier: Apache-2.0
//
// Cases that ask another rank what a key is bound to: keys whose home is the
// last rank and whose blocks it has, each asked for once, so that no lease
// answers. `rank_lookup` asks without a pause; `rank_lookup_idle` after pauses
// in which both ranks fall asleep; `rank_lookup_batch` asks for many keys in one
// batch, and its limit one by one.

#include <string.h>
#include <time.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench_ranks.h"
#include "store/store_cluster.h"

#define BATCH_KEYS 256
#define PAUSE_NS (20 * NS_PER_MS)

struct questions {
    uint64_t *numbers; // of keys whose home is the last rank
    size_t next;
    struct cascade_item items[BATCH_KEYS];
    uint8_t keys[BATCH_KEYS][BENCH_KEY_BYTES];
};

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return 2 * bench_dram_bytes(run, run->blocks);
}

// Finds as many keys as there are blocks; all ranks find the same.
static enum cascade_status
find_keys(struct bench_run *run, struct questions *questions)
{
    const struct store_cluster *cluster = run->store->cluster;
    size_t found = 0;

    questions->numbers = allocator_array(allocator_system(), run->blocks,
                                         sizeof(*questions->numbers));
    if (questions->numbers == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for keys");
    }
    for (uint64_t number = 0; found < run->blocks; number++) {
        uint8_t room[BENCH_KEY_BYTES];
        struct cascade_key key = bench_key(0, number, room);
        struct block_key digest;

        block_key_of(run->store->settings.namespace_name, key.data, key.bytes,
                     &digest);
        if (store_cluster_key_home(cluster, &digest) == run->rank_count - 1) {
            questions->numbers[found++] = number;
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
put_keys(struct bench_run *run, const struct questions *questions)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < run->blocks && status == CASCADE_OK; i++) {
        memcpy(run->source.data, &i, sizeof(i));
        status = bench_put(run, 0, questions->numbers[i], run->source.data,
                           NULL, NULL);
    }
    return status;
}

static enum cascade_status
set_up(struct bench_run *run)
{
    struct questions *questions = allocator_array(allocator_system(), 1,
                                                  sizeof(*questions));
    enum cascade_status status;

    run->state = questions;
    if (questions == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for questions");
    }
    status = buffer_take(units_max(run->block_bytes, sizeof(size_t)),
                         &run->source);
    if (status == CASCADE_OK) {
        status = bench_ranks_open(run, bench_dram_bytes(run, run->blocks), 0,
                                  2);
    }
    if (status == CASCADE_OK) {
        status = find_keys(run, questions);
    }
    if (status == CASCADE_OK && run->rank == run->rank_count - 1) {
        status = put_keys(run, questions);
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

static void
tear_down(struct bench_run *run)
{
    struct questions *questions = run->state;

    if (questions != NULL) {
        allocator_release(allocator_system(), questions->numbers);
        allocator_release(allocator_system(), questions);
        run->state = NULL;
    }
    bench_tear_down(run);
}

// Every key is asked for once: what a round, the warm-up included, may ask.
static size_t
round_keys(const struct bench_run *run)
{
    return run->blocks / (run->rounds + 1);
}

// --- one by one

// Asks for the next key.
static enum cascade_status
ask(struct bench_run *run, struct bench_latencies *latencies,
    struct bench_sample *sample)
{
    struct questions *questions = run->state;
    uint8_t room[BENCH_KEY_BYTES];
    uint64_t elapsed_ns;
    enum cascade_status status;

    check(questions->next < run->blocks);
    elapsed_ns = bench_now();
    status = cascade_exists(
        run->store, bench_key(0, questions->numbers[questions->next++], room));
    elapsed_ns = bench_now() - elapsed_ns;
    sample->work.ns += elapsed_ns;
    sample->work.bytes++;
    if (latencies != NULL && run->round > 0) {
        bench_note_latency(latencies, elapsed_ns);
    }
    if (status == CASCADE_NOT_FOUND) {
        sample->misses++;
        return CASCADE_OK;
    }
    return status;
}

static enum cascade_status
ask_many(struct bench_run *run, uint64_t pause_ns, struct bench_sample *sample)
{
    const struct timespec pause = {.tv_nsec = (long)pause_ns};
    uint64_t count = units_min(run->operations, round_keys(run));
    enum cascade_status status = CASCADE_OK;

    for (uint64_t i = 0; i < count && run->rank == 0 && status == CASCADE_OK;
         i++) {
        if (pause_ns > 0) {
            (void)nanosleep(&pause, NULL);
        }
        status = ask(run, &run->latencies, sample);
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

static enum cascade_status
work_hot(struct bench_run *run, struct bench_sample *sample)
{
    return ask_many(run, 0, sample);
}

static enum cascade_status
work_idle(struct bench_run *run, struct bench_sample *sample)
{
    return ask_many(run, PAUSE_NS, sample);
}

// --- many in one batch

// One batch at least, and as many keys one by one.
static size_t
batch_keys(const struct bench_run *run)
{
    return units_min(BATCH_KEYS, round_keys(run) / 2);
}

static enum cascade_status
ask_batch(struct bench_run *run, struct bench_sample *sample)
{
    struct questions *questions = run->state;
    size_t count = batch_keys(run);
    uint64_t elapsed_ns;
    enum cascade_status status;

    check(count > 0 && questions->next + count <= run->blocks);
    memset(questions->items, 0, sizeof(questions->items));
    for (size_t i = 0; i < count; i++) {
        questions->items[i].size = sizeof(questions->items[i]);
        questions->items[i].operation = CASCADE_OPERATION_EXISTS;
        questions->items[i].key = bench_key(
            0, questions->numbers[questions->next++], questions->keys[i]);
    }
    elapsed_ns = bench_now();
    status = cascade_batch(run->store, questions->items, count, NULL);
    elapsed_ns = bench_now() - elapsed_ns;
    sample->work.ns += elapsed_ns;
    sample->work.bytes += count;
    if (run->round > 0) {
        bench_note_latency(&run->latencies, elapsed_ns);
    }
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        if (questions->items[i].status == CASCADE_NOT_FOUND) {
            sample->misses++;
        } else {
            status = questions->items[i].status;
        }
    }
    return status;
}

static enum cascade_status
work_batch(struct bench_run *run, struct bench_sample *sample)
{
    uint64_t count = units_min(run->operations,
                               round_keys(run) / batch_keys(run) - 1);
    enum cascade_status status = CASCADE_OK;

    for (uint64_t i = 0; i < count && run->rank == 0 && status == CASCADE_OK;
         i++) {
        status = ask_batch(run, sample);
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

static enum cascade_status
limit_batch(struct bench_run *run, struct bench_speed *speed)
{
    struct bench_sample sample = {.misses = 0};
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0;
         i < batch_keys(run) && run->rank == 0 && status == CASCADE_OK; i++) {
        status = ask(run, &run->limit_latencies, &sample);
    }
    *speed = sample.work;
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

const struct bench_driver bench_driver_rank_lookup = {
    .name = "rank_lookup",
    .limit = "time_bar",
    .needs_ranks = true,
    .bar_quantile = 0.5,
    .bar_ns = 10 * NS_PER_US,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_hot,
    .tear_down = tear_down,
};

const struct bench_driver bench_driver_rank_lookup_idle = {
    .name = "rank_lookup_idle",
    .limit = "time_bar",
    .needs_ranks = true,
    .bar_quantile = 0.5,
    .bar_ns = 100 * NS_PER_US,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_idle,
    .tear_down = tear_down,
};

// Its bytes are keys: the ratio is how many times faster a key is in a batch.
const struct bench_driver bench_driver_rank_lookup_batch = {
    .name = "rank_lookup_batch",
    .limit = "one_by_one",
    .holds_bytes = true,
    .needs_ranks = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work_batch,
    .limit_work = limit_batch,
    .tear_down = tear_down,
};
