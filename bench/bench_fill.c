// SPDX-License-Identifier: Apache-2.0
//
// How much of a full arena is blocks, when their sizes are mixed: half of the
// bytes in four large sizes, half in small ones, some of them protected. The
// block size of the case is the largest; its blocks are what the arena holds.
//
// It is a share and no speed: bytes that are there and right, and the bytes of
// the arena, both as of one second.

#include <string.h>

#include "base/units.h"
#include "bench/bench.h"
#include "bench/content.h"

// Bytes put in a round, in arenas.
#define TURNS 2

#define PROTECT_EVERY 16

// A row of sizes that is the same each time it is walked.
struct sizes {
    uint64_t random;
    uint64_t large_bytes;
    uint64_t small_bytes;
};

static uint64_t
arena_bytes(const struct bench_run *run)
{
    return run->blocks * run->block_bytes;
}

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return arena_bytes(run) + 2 * run->block_bytes;
}

static uint64_t
next_random(struct sizes *sizes)
{
    sizes->random = sizes->random * UINT64_C(6364136223846793005) +
                    1442695040888963407;
    return sizes->random >> 33;
}

// False: enough was put. Sizes are those of real models, scaled to the largest:
// 56, 160, 256 of 320, and 64 KiB to 4 MiB of 320 MiB.
static bool
next_size(const struct bench_run *run, struct sizes *sizes, uint64_t *bytes)
{
    static const uint64_t large[] = {56, 160, 256, 320};
    uint64_t most = run->block_bytes;

    if (sizes->large_bytes + sizes->small_bytes >= TURNS * arena_bytes(run)) {
        return false;
    }
    if (sizes->large_bytes <= sizes->small_bytes) {
        *bytes = most / 320 * large[next_random(sizes) % 4];
        sizes->large_bytes += *bytes;
    } else {
        *bytes = units_max(most / 5120 << next_random(sizes) % 7, 1);
        sizes->small_bytes += *bytes;
    }
    return true;
}

static enum cascade_status
set_up(struct bench_run *run)
{
    enum cascade_status status = buffer_take(run->block_bytes, &run->source);

    if (status == CASCADE_OK) {
        status = buffer_take(run->block_bytes, &run->target);
    }
    return status == CASCADE_OK ? bench_open(run, arena_bytes(run), 0) : status;
}

static enum cascade_status
put_all(struct bench_run *run, uint64_t generation)
{
    struct sizes sizes = {.random = run->seed + generation};
    enum cascade_status status = CASCADE_OK;
    uint64_t bytes;

    for (uint64_t i = 0; status == CASCADE_OK && next_size(run, &sizes, &bytes);
         i++) {
        uint8_t room[BENCH_KEY_BYTES];
        struct cascade_const_span span = {.data = run->source.data,
                                          .bytes = bytes};
        struct cascade_put_options options = {.size = sizeof(options)};

        if (i % PROTECT_EVERY == 0) {
            options.flags = CASCADE_PUT_PREFIX;
        }
        content_fill(bench_content(run, generation, i), run->source.data,
                     bytes);
        status = cascade_put(run->store, bench_key(generation, i, room), &span,
                             1, &options, NULL);
        // Protected ones stand in the way: the arena stays emptier.
        status = status == CASCADE_NO_SPACE ? CASCADE_OK : status;
    }
    return status;
}

// What is still there is compared and counted.
static enum cascade_status
count_live(struct bench_run *run, uint64_t generation,
           struct bench_sample *sample)
{
    struct sizes sizes = {.random = run->seed + generation};
    enum cascade_status status = CASCADE_OK;
    uint64_t bytes;

    for (uint64_t i = 0;
         (status == CASCADE_OK || status == CASCADE_NOT_FOUND) &&
         next_size(run, &sizes, &bytes);
         i++) {
        uint8_t room[BENCH_KEY_BYTES];
        struct cascade_key key = bench_key(generation, i, room);
        struct cascade_span span = {.data = run->target.data, .bytes = bytes};
        size_t got = 0;
        uint64_t wrong;

        status = cascade_get(run->store, key, &span, 1, NULL, &got);
        if (status != CASCADE_OK) {
            continue;
        }
        wrong = got == bytes
                    ? content_wrong_bytes(bench_content(run, generation, i),
                                          run->target.data, bytes)
                    : bytes;
        sample->wrong_bytes += wrong;
        sample->verified_bytes += bytes - wrong;
        sample->work.bytes += bytes - wrong;
        status = cascade_remove(run->store, key);
    }
    return status == CASCADE_NOT_FOUND ? CASCADE_OK : status;
}

static enum cascade_status
work(struct bench_run *run, struct bench_sample *sample)
{
    enum cascade_status status = put_all(run, run->round + 1);

    sample->work.ns = NS_PER_S;
    return status == CASCADE_OK ? count_live(run, run->round + 1, sample)
                                : status;
}

static enum cascade_status
limit_arena(struct bench_run *run, struct bench_speed *speed)
{
    *speed = (struct bench_speed){.bytes = arena_bytes(run), .ns = NS_PER_S};
    return CASCADE_OK;
}

const struct bench_driver bench_driver_fill = {
    .name = "fill",
    .limit = "arena",
    .holds_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work,
    .limit_work = limit_arena,
    .tear_down = bench_tear_down,
};
