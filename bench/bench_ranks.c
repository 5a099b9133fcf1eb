// SPDX-License-Identifier: Apache-2.0
//
// Cases that read memory of other ranks. `rank_get`: the first rank gets what
// the last one put. `rank_scale`: all ranks get one hot set, of which each has
// put its part, at the same time; the limit is all ranks copying at the same
// time. Nothing is kept closer after it was read.

#include "bench/bench_ranks.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/content.h"

#define KEY_TEXT_BYTES 48
#define BOOT_ID_BYTES 36
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

// What a rank tells the first.
struct part {
    char boot_id[BOOT_ID_BYTES];
    uint32_t zero;
    uint64_t start_ns;
    uint64_t end_ns;
    struct bench_sample sample;
};

enum cascade_status
bench_ranks_open(struct bench_run *run, uint64_t dram_bytes,
                 uint64_t cold_bytes, int32_t ranks)
{
    enum cascade_status status = bench_open(run, dram_bytes, cold_bytes);

    if (status != CASCADE_OK) {
        return status;
    }
    run->rank = cascade_rank(run->store);
    run->rank_count = cascade_rank_count(run->store);
    if (run->rank_count < ranks) {
        return error_set(CASCADE_INVALID,
                         "%s is for %d ranks or more: mpirun -n %d cascade "
                         "bench %s",
                         run->what->name, (int)ranks, (int)ranks,
                         run->what->name);
    }
    return CASCADE_OK;
}

enum cascade_status
bench_ranks_meet(struct bench_run *run)
{
    return cascade_barrier(run->store, NULL);
}

static void
read_boot_id(char boot_id[BOOT_ID_BYTES])
{
    int file = open(BOOT_ID, O_RDONLY | O_CLOEXEC);

    memset(boot_id, 0, BOOT_ID_BYTES);
    if (file >= 0) {
        if (read(file, boot_id, BOOT_ID_BYTES) != BOOT_ID_BYTES) {
            memset(boot_id, 0, BOOT_ID_BYTES);
        }
        (void)close(file);
    }
}

static struct cascade_key
part_key(int32_t rank, char text[KEY_TEXT_BYTES])
{
    int bytes = snprintf(text, KEY_TEXT_BYTES, "part of rank %d", (int)rank);

    return (struct cascade_key){.data = text, .bytes = (size_t)bytes};
}

static enum cascade_status
put_part(struct bench_run *run, const struct part *part)
{
    const struct cascade_const_span span = {.data = part,
                                            .bytes = sizeof(*part)};
    char text[KEY_TEXT_BYTES];

    return cascade_put(run->store, part_key(run->rank, text), &span, 1, NULL,
                       NULL);
}

static enum cascade_status
get_part(struct bench_run *run, int32_t rank, struct part *part)
{
    const struct cascade_span span = {.data = part, .bytes = sizeof(*part)};
    char text[KEY_TEXT_BYTES];
    size_t bytes = 0;

    return cascade_get(run->store, part_key(rank, text), &span, 1, NULL,
                       &bytes);
}

static void
add_part(struct bench_sample *sum, const struct bench_sample *part)
{
    sum->work.bytes += part->work.bytes;
    sum->verified_bytes += part->verified_bytes;
    sum->wrong_bytes += part->wrong_bytes;
    sum->misses += part->misses;
    sum->device_bytes += part->device_bytes;
    sum->cpu_ns += part->cpu_ns;
}

enum cascade_status
bench_ranks_add(struct bench_run *run, uint64_t start_ns, uint64_t end_ns,
                struct bench_sample *sample, uint64_t *ns)
{
    struct part own = {
        .start_ns = start_ns,
        .end_ns = end_ns,
        .sample = *sample,
    };
    bool one_clock = true;
    uint64_t met_ns;
    enum cascade_status status = bench_ranks_meet(run);

    met_ns = bench_now();
    read_boot_id(own.boot_id);
    if (status == CASCADE_OK && run->rank != 0) {
        status = put_part(run, &own);
    }
    if (status == CASCADE_OK) {
        status = bench_ranks_meet(run);
    }
    for (int32_t r = 1;
         r < run->rank_count && run->rank == 0 && status == CASCADE_OK; r++) {
        struct part part;

        status = get_part(run, r, &part);
        if (status == CASCADE_OK) {
            add_part(sample, &part.sample);
            start_ns = units_min(start_ns, part.start_ns);
            end_ns = units_max(end_ns, part.end_ns);
            one_clock = one_clock &&
                        memcmp(part.boot_id, own.boot_id, BOOT_ID_BYTES) == 0;
        }
    }
    *ns = one_clock ? end_ns - start_ns : met_ns - own.start_ns;
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

enum cascade_status
bench_ranks_get_all(struct bench_run *run, size_t first, bool *missed)
{
    for (size_t step = 0; step < run->blocks; step++) {
        size_t i = (first + step) % run->blocks;
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

// --- the hot set

static uint64_t
memory_bytes(const struct bench_run *run)
{
    // Of one rank; how many there are is not known yet.
    return 2 * run->blocks * run->block_bytes +
           bench_dram_bytes(run, run->blocks);
}

static enum cascade_status
set_up(struct bench_run *run, int32_t ranks, bool by_last)
{
    size_t bytes = run->blocks * run->block_bytes;
    enum cascade_status status = buffer_take(bytes, &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(bytes, &run->target);
    }
    if (status == CASCADE_OK) {
        status = bench_ranks_open(run, bench_dram_bytes(run, run->blocks), 0,
                                  ranks);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    for (size_t i = 0; i < run->blocks && status == CASCADE_OK; i++) {
        int32_t owner = by_last ? run->rank_count - 1
                                : (int32_t)(i % (size_t)run->rank_count);

        if (owner == run->rank) {
            status = bench_put(
                run, 0, i, run->source.data + i * run->block_bytes, NULL, NULL);
        }
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

static enum cascade_status
set_up_get(struct bench_run *run)
{
    return set_up(run, 2, true);
}

static enum cascade_status
set_up_scale(struct bench_run *run)
{
    return set_up(run, 1, false);
}

// The hits in memory of others so far; what came from elsewhere is a miss here.
static enum cascade_status
count_remote(struct bench_run *run, uint64_t *hits)
{
    struct cascade_stats stats = {.size = sizeof(stats)};
    enum cascade_status status = cascade_stats_read(run->store, &stats);

    *hits = stats.hits[CASCADE_TIER_REMOTE_DRAM];
    return status;
}

// `active`: this rank reads. `remote`: how many of its gets come from others.
static enum cascade_status
read_set(struct bench_run *run, bool active, size_t first, size_t remote,
         struct bench_sample *sample)
{
    bool *missed = allocator_array(allocator_system(), run->blocks, 1);
    uint64_t before = 0;
    uint64_t after = 0;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t cpu_ns;
    enum cascade_status status = CASCADE_OK;

    if (missed == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a round");
    }
    content_poison(run->target.data, run->blocks * run->block_bytes);
    status = count_remote(run, &before);
    if (status == CASCADE_OK) {
        status = bench_ranks_meet(run);
    }
    cpu_ns = bench_cpu_ns();
    start_ns = bench_now();
    if (status == CASCADE_OK && active) {
        status = bench_ranks_get_all(run, first, missed);
    }
    end_ns = bench_now();
    sample->cpu_ns = active ? bench_cpu_ns() - cpu_ns : 0;
    if (status == CASCADE_OK) {
        status = count_remote(run, &after);
    }
    if (status == CASCADE_OK && active) {
        bench_compare_target(run, 0, missed, sample);
        if (after - before != remote) {
            sample->misses += run->blocks;
        }
    }
    allocator_release(allocator_system(), missed);
    return status == CASCADE_OK
               ? bench_ranks_add(run, active ? start_ns : UINT64_MAX,
                                 active ? end_ns : 0, sample, &sample->work.ns)
               : status;
}

static enum cascade_status
work_get(struct bench_run *run, struct bench_sample *sample)
{
    return read_set(run, run->rank == 0, 0, run->blocks, sample);
}

static enum cascade_status
work_scale(struct bench_run *run, struct bench_sample *sample)
{
    size_t ranks = (size_t)run->rank_count;
    size_t rank = (size_t)run->rank;
    size_t own = run->blocks / ranks + (rank < run->blocks % ranks);

    return read_set(run, true, run->blocks / ranks * rank, run->blocks - own,
                    sample);
}

// Copies by the first rank alone while the others wait.
static enum cascade_status
limit_get(struct bench_run *run, struct bench_speed *speed)
{
    enum cascade_status status = CASCADE_OK;

    speed->bytes = 1;
    speed->ns = 1;
    if (run->rank == 0) {
        status = bench_limit_copy(run, speed);
    }
    return status == CASCADE_OK ? bench_ranks_meet(run) : status;
}

// All ranks copy at the same time, each way in turn; the best of the ways.
static enum cascade_status
limit_scale(struct bench_run *run, struct bench_speed *speed)
{
    enum cascade_status status = CASCADE_OK;
    struct bench_speed found;

    speed->ns = UINT64_MAX;
    for (size_t way = 0; bench_limit_way(way) != NULL && status == CASCADE_OK;
         way++) {
        struct bench_sample sample = {.misses = 0};
        uint64_t start_ns;

        status = bench_ranks_meet(run);
        start_ns = bench_now();
        if (status == CASCADE_OK) {
            status = bench_limit_copy_by(run, way, &found);
        }
        sample.work.bytes = run->blocks * run->block_bytes;
        if (status == CASCADE_OK) {
            status = bench_ranks_add(run, start_ns, start_ns + found.ns,
                                     &sample, &found.ns);
        }
        if (status == CASCADE_OK && found.ns < speed->ns) {
            speed->bytes = sample.work.bytes;
            speed->ns = found.ns;
            run->limit_detail = bench_limit_way(way);
        }
    }
    return status;
}

const struct bench_driver bench_driver_rank_get = {
    .name = "rank_get",
    .limit = "memcpy",
    .moves_bytes = true,
    .needs_ranks = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_get,
    .work = work_get,
    .limit_work = limit_get,
    .tear_down = bench_tear_down,
};

const struct bench_driver bench_driver_rank_scale = {
    .name = "rank_scale",
    .limit = "memcpy",
    .moves_bytes = true,
    .needs_ranks = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up_scale,
    .work = work_scale,
    .limit_work = limit_scale,
    .tear_down = bench_tear_down,
};
