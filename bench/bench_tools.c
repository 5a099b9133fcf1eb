// SPDX-License-Identifier: Apache-2.0
//
// What drivers share: keys, contents, the store of a run, comparing, threads.

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

#define THREADS_MAX 64

// A store that has populated nothing for this long has ended it, or cannot.
#define POPULATE_WAIT_NS NS_PER_S

// Metrics may get longer between the question for their size and the answer.
#define METRICS_SLACK 4096

struct worker {
    struct bench_run *run;
    enum cascade_status (*work)(struct bench_run *run, uint32_t thread,
                                void *context);
    void *context;
    pthread_barrier_t *barrier;
    pthread_t thread;
    uint32_t number;
    uint64_t start_ns;
    uint64_t end_ns;
    enum cascade_status status;
    char message[ERROR_MESSAGE_BYTES];
};

uint64_t
bench_now(void)
{
    return clock_steady_ns(clock_system());
}

uint64_t
bench_cpu_ns(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
               NS_PER_S +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) *
               NS_PER_US;
}

struct cascade_key
bench_key(uint64_t generation, uint64_t number, uint8_t room[BENCH_KEY_BYTES])
{
    memcpy(room, &generation, sizeof(generation));
    memcpy(room + sizeof(generation), &number, sizeof(number));
    return (struct cascade_key){.data = room, .bytes = BENCH_KEY_BYTES};
}

uint64_t
bench_content(const struct bench_run *run, uint64_t generation, uint64_t number)
{
    return (run->seed << 48) + (generation << 32) + number;
}

static enum cascade_status
set_number(struct cascade_options *options, const char *name, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    return cascade_options_set(options, name, text);
}

static enum cascade_status
set_options(const struct bench_run *run, struct cascade_options *options,
            uint64_t dram_bytes, uint64_t cold_bytes)
{
    char path[BENCH_PATH_BYTES + 8];
    enum cascade_status status;

    status = set_number(options, "dram_capacity", dram_bytes);
    if (status == CASCADE_OK) {
        status = set_number(options, "threads", run->threads);
    }
    if (status == CASCADE_OK) {
        status = set_number(options, "max_blocks",
                            units_max((uint64_t)run->blocks * 3, 4096));
    }
    // What is measured between ranks stays between them.
    if (status == CASCADE_OK && run->of_ranks) {
        status = cascade_options_set(options, "locality_aware", "false");
    }
    if (status == CASCADE_OK && run->what->dedup[0] != '\0') {
        status = cascade_options_set(options, "dedup", run->what->dedup);
    }
    if (status != CASCADE_OK || cold_bytes == 0) {
        return status;
    }
    (void)snprintf(path, sizeof(path), "%s/cold", run->folder);
    status = cascade_options_set(options, "cold_path", path);
    if (status == CASCADE_OK) {
        status = set_number(options, "cold_capacity", cold_bytes);
    }
    if (status == CASCADE_OK && run->what->segment_bytes > 0) {
        status = set_number(options, "segment_size", run->what->segment_bytes);
    }
    return status;
}

static void
note_options(struct bench_run *run)
{
    const struct cascade_option_info *info;
    size_t used = 0;

    for (size_t i = 0; (info = cascade_options_describe(i)) != NULL; i++) {
        char value[512];

        if (cascade_option_effective(run->store, info->name, value,
                                     sizeof(value)) != CASCADE_OK) {
            continue;
        }
        used += (size_t)snprintf(run->options_text + used,
                                 sizeof(run->options_text) - used, "%s=%s\n",
                                 info->name, value);
        if (used >= sizeof(run->options_text)) {
            return;
        }
    }
}

enum cascade_status
bench_open(struct bench_run *run, uint64_t dram_bytes, uint64_t cold_bytes)
{
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    if (options == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for options");
    }
    status = cascade_options_load_environment(options);
    if (status == CASCADE_OK) {
        status = set_options(run, options, dram_bytes, cold_bytes);
    }
    if (status == CASCADE_OK) {
        status = cascade_open(options, &run->store);
    }
    cascade_options_destroy(options);
    if (status == CASCADE_OK) {
        note_options(run);
    }
    return status;
}

// Bytes of memory that the store has pages for; 0 if that is not known.
static uint64_t
populated_bytes(struct bench_run *run)
{
    static const char name[] = "\ncascade_populated_bytes ";
    uint64_t bytes = 0;
    size_t size = 0;
    char *text;

    if (cascade_metrics_text(run->store, NULL, 0, &size) != CASCADE_TOO_SMALL) {
        return 0;
    }
    size += METRICS_SLACK;
    text = allocator_array(allocator_system(), size, 1);
    if (text != NULL &&
        cascade_metrics_text(run->store, text, size, NULL) == CASCADE_OK) {
        const char *at = strstr(text, name);

        bytes = at == NULL ? 0 : strtoull(at + sizeof(name) - 1, NULL, 10);
    }
    allocator_release(allocator_system(), text);
    return bytes;
}

enum cascade_status
bench_open_warm(struct bench_run *run, uint64_t dram_bytes, uint64_t cold_bytes)
{
    enum cascade_status status = bench_open(run, dram_bytes, cold_bytes);
    uint64_t until_ns = bench_now() + POPULATE_WAIT_NS;
    const struct timespec pause = {.tv_nsec = 10 * (long)NS_PER_MS};
    uint64_t bytes = 0;

    while (status == CASCADE_OK && bench_now() < until_ns) {
        uint64_t now_bytes = populated_bytes(run);

        if (now_bytes >= dram_bytes) {
            break;
        }
        if (now_bytes != bytes) {
            bytes = now_bytes;
            until_ns = bench_now() + POPULATE_WAIT_NS;
        }
        nanosleep(&pause, NULL);
    }
    return status;
}

uint64_t
bench_dram_bytes(const struct bench_run *run, uint64_t blocks)
{
    uint64_t block_bytes = units_round_up(run->block_bytes, 4 * KIB);
    uint64_t bytes = blocks * block_bytes;

    return bytes + bytes / 4 + 8 * MIB;
}

enum cascade_status
bench_put(struct bench_run *run, uint64_t generation, uint64_t number,
          const void *data, const struct cascade_put_options *options,
          struct cascade_put_result *result)
{
    const struct cascade_const_span span = {
        .data = data,
        .bytes = run->block_bytes,
    };
    uint8_t room[BENCH_KEY_BYTES];

    return cascade_put(run->store, bench_key(generation, number, room), &span,
                       1, options, result);
}

enum cascade_status
bench_get(struct bench_run *run, uint64_t generation, uint64_t number,
          void *data, size_t *bytes)
{
    const struct cascade_span span = {
        .data = data,
        .bytes = run->block_bytes,
    };
    uint8_t room[BENCH_KEY_BYTES];

    return cascade_get(run->store, bench_key(generation, number, room), &span,
                       1, NULL, bytes);
}

void
bench_fill_source(struct bench_run *run, uint64_t generation)
{
    for (size_t i = 0; i < run->blocks; i++) {
        content_fill(bench_content(run, generation, i),
                     run->source.data + i * run->block_bytes, run->block_bytes);
    }
}

void
bench_compare_target(struct bench_run *run, uint64_t generation,
                     const bool *missed, struct bench_sample *sample)
{
    sample->work.bytes = 0;
    for (size_t i = 0; i < run->blocks; i++) {
        uint64_t wrong;

        if (missed[i]) {
            sample->misses++;
            continue;
        }
        wrong = content_wrong_bytes(bench_content(run, generation, i),
                                    run->target.data + i * run->block_bytes,
                                    run->block_bytes);
        sample->wrong_bytes += wrong;
        sample->verified_bytes += run->block_bytes - wrong;
        sample->work.bytes += run->block_bytes - wrong;
    }
}

void
bench_note_latency(struct bench_latencies *latencies, uint64_t ns)
{
    size_t place = atomic_fetch_add(&latencies->count, 1);

    if (place < latencies->room) {
        latencies->ns[place] = ns;
    }
}

void
bench_tear_down(struct bench_run *run)
{
    // What a benchmark has put needs not be kept: a failure here is told by
    // the next measurement.
    (void)!cascade_close(run->store);
    run->store = NULL;
    buffer_release(&run->source);
    buffer_release(&run->target);
    allocator_release(allocator_system(), run->items);
    allocator_release(allocator_system(), run->spans);
    allocator_release(allocator_system(), run->keys);
    allocator_release(allocator_system(), run->ids);
    run->keys = NULL;
    run->items = NULL;
    run->spans = NULL;
    run->ids = NULL;
}

static void *
run_worker(void *self)
{
    struct worker *worker = self;

    (void)pthread_barrier_wait(worker->barrier);
    worker->start_ns = bench_now();
    worker->status = worker->work(worker->run, worker->number, worker->context);
    worker->end_ns = bench_now();
    if (worker->status != CASCADE_OK) {
        (void)snprintf(worker->message, sizeof(worker->message), "%s",
                       error_message());
    }
    return NULL;
}

enum cascade_status
bench_parallel(struct bench_run *run,
               enum cascade_status (*work)(struct bench_run *run,
                                           uint32_t thread, void *context),
               void *context, uint64_t *ns)
{
    struct worker workers[THREADS_MAX];
    pthread_barrier_t barrier;
    uint64_t start_ns = UINT64_MAX;
    uint64_t end_ns = 0;
    uint64_t cpu_ns = bench_cpu_ns();
    enum cascade_status status = CASCADE_OK;

    check(run->threads >= 1 && run->threads <= THREADS_MAX);
    check(pthread_barrier_init(&barrier, NULL, run->threads) == 0);
    for (uint32_t i = 0; i < run->threads; i++) {
        workers[i] = (struct worker){
            .run = run,
            .work = work,
            .context = context,
            .barrier = &barrier,
            .number = i,
        };
        // The first is this thread.
        check(i == 0 || pthread_create(&workers[i].thread, NULL, run_worker,
                                       &workers[i]) == 0);
    }
    (void)run_worker(&workers[0]);
    for (uint32_t i = 0; i < run->threads; i++) {
        check(i == 0 || pthread_join(workers[i].thread, NULL) == 0);
        start_ns = units_min(start_ns, workers[i].start_ns);
        end_ns = units_max(end_ns, workers[i].end_ns);
        if (status == CASCADE_OK && workers[i].status != CASCADE_OK) {
            status = error_set(workers[i].status, "%s", workers[i].message);
        }
    }
    check(pthread_barrier_destroy(&barrier) == 0);
    run->parallel_cpu_ns = bench_cpu_ns() - cpu_ns;
    *ns = end_ns - start_ns;
    return status;
}
