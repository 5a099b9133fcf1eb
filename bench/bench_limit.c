// SPDX-License-Identifier: Apache-2.0
//
// Limits in memory, measured with the buffers, sizes and threads of the run
// itself: three ways to copy, of which the best counts, and one stream of
// SHA-256 by OpenSSL. They share no code with the product.

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <openssl/evp.h>
#include <string.h>

#include "base/error.h"
#include "bench/bench.h"
#include "bench/content.h"

#define LINE_BYTES ((size_t)64)

struct way {
    const char *name;
    void (*copy)(void *to, const void *from, size_t bytes);
};

static void
copy_plain(void *to, const void *from, size_t bytes)
{
    memcpy(to, from, bytes);
}

#if defined(__x86_64__)
static void
copy_repeated(void *to, const void *from, size_t bytes)
{
    __asm__ volatile("rep movsb"
                     : "+D"(to), "+S"(from), "+c"(bytes)
                     :
                     : "memory");
}

__attribute__((target("avx512f"))) static size_t
stream_512(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t done = 0;

    for (; done + 4 * LINE_BYTES <= bytes; done += 4 * LINE_BYTES) {
        __m512i a = _mm512_loadu_si512(from + done);
        __m512i b = _mm512_loadu_si512(from + done + LINE_BYTES);
        __m512i c = _mm512_loadu_si512(from + done + 2 * LINE_BYTES);
        __m512i d = _mm512_loadu_si512(from + done + 3 * LINE_BYTES);

        _mm512_stream_si512((void *)(to + done), a);
        _mm512_stream_si512((void *)(to + done + LINE_BYTES), b);
        _mm512_stream_si512((void *)(to + done + 2 * LINE_BYTES), c);
        _mm512_stream_si512((void *)(to + done + 3 * LINE_BYTES), d);
    }
    return done;
}

static size_t
stream_128(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t step = sizeof(__m128i);
    size_t done = 0;

    for (; done + 4 * step <= bytes; done += 4 * step) {
        __m128i a = _mm_loadu_si128((const void *)(from + done));
        __m128i b = _mm_loadu_si128((const void *)(from + done + step));
        __m128i c = _mm_loadu_si128((const void *)(from + done + 2 * step));
        __m128i d = _mm_loadu_si128((const void *)(from + done + 3 * step));

        _mm_stream_si128((void *)(to + done), a);
        _mm_stream_si128((void *)(to + done + step), b);
        _mm_stream_si128((void *)(to + done + 2 * step), c);
        _mm_stream_si128((void *)(to + done + 3 * step), d);
    }
    return done;
}

// Needs an aligned target; blocks in buffers are, but for odd sizes.
static void
copy_streaming(void *to, const void *from, size_t bytes)
{
    size_t skip = (size_t)(-(uintptr_t)to % LINE_BYTES);
    uint8_t *target = to;
    const uint8_t *source = from;
    size_t done;

    if (bytes < skip + LINE_BYTES) {
        memcpy(to, from, bytes);
        return;
    }
    memcpy(target, source, skip);
    target += skip;
    source += skip;
    bytes -= skip;
    done = __builtin_cpu_supports("avx512f")
               ? stream_512(target, source, bytes)
               : stream_128(target, source, bytes);
    memcpy(target + done, source + done, bytes - done);
    _mm_sfence();
}
#endif

static const struct way ways[] = {
    {"plain", copy_plain},
#if defined(__x86_64__)
    {"non-temporal", copy_streaming},
    {"rep movsb", copy_repeated},
#endif
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

static enum cascade_status
copy_blocks(struct bench_run *run, uint32_t thread, void *context)
{
    const struct way *way = *(const struct way **)context;
    size_t blocks = run->blocks / run->threads;
    size_t offset = thread * blocks * run->block_bytes;

    for (size_t i = 0; i < blocks; i++) {
        uint64_t start_ns = bench_now();

        way->copy(run->target.data + offset, run->source.data + offset,
                  run->block_bytes);
        if (way == &ways[0] && run->round > 0) {
            bench_note_latency(&run->limit_latencies, bench_now() - start_ns);
        }
        offset += run->block_bytes;
    }
    return CASCADE_OK;
}

static enum cascade_status
copy_whole(struct bench_run *run, uint32_t thread, void *context)
{
    const struct way *way = *(const struct way **)context;

    if (thread == 0) {
        way->copy(run->target.data, run->source.data,
                  run->blocks * run->block_bytes);
    }
    return CASCADE_OK;
}

static enum cascade_status
best_copy(struct bench_run *run,
          enum cascade_status (*copy)(struct bench_run *run, uint32_t thread,
                                      void *context),
          struct bench_speed *speed)
{
    size_t bytes = run->blocks * run->block_bytes;
    size_t best = 0;

    for (size_t i = 0; i < WAYS; i++) {
        const struct way *way = &ways[i];
        struct bench_speed found = {.bytes = bytes};
        enum cascade_status status;

        content_poison(run->target.data, bytes);
        status = bench_parallel(run, copy, &way, &found.ns);
        if (status != CASCADE_OK) {
            return status;
        }
        if (i == 0 || found.ns < speed->ns) {
            *speed = found;
            best = i;
        }
    }
    run->limit_detail = ways[best].name;
    return CASCADE_OK;
}

const char *
bench_limit_way(size_t way)
{
    return way < WAYS ? ways[way].name : NULL;
}

enum cascade_status
bench_limit_copy_by(struct bench_run *run, size_t way,
                    struct bench_speed *speed)
{
    const struct way *chosen = &ways[way];

    speed->bytes = run->blocks * run->block_bytes;
    return bench_parallel(run, copy_blocks, &chosen, &speed->ns);
}

enum cascade_status
bench_limit_copy(struct bench_run *run, struct bench_speed *speed)
{
    return best_copy(run, copy_blocks, speed);
}

enum cascade_status
bench_limit_copy_whole(struct bench_run *run, struct bench_speed *speed)
{
    return best_copy(run, copy_whole, speed);
}

static enum cascade_status
hash_blocks(struct bench_run *run, uint32_t thread, void *context)
{
    size_t blocks = run->blocks / run->threads;
    const uint8_t *data = run->source.data + thread * blocks * run->block_bytes;
    uint8_t digest[EVP_MAX_MD_SIZE];

    (void)context;
    for (size_t i = 0; i < blocks; i++) {
        if (EVP_Digest(data, run->block_bytes, digest, NULL, EVP_sha256(),
                       NULL) != 1) {
            return error_set(CASCADE_UNSUPPORTED,
                             "the OpenSSL of this machine has no SHA-256");
        }
        data += run->block_bytes;
    }
    return CASCADE_OK;
}

enum cascade_status
bench_limit_sha256(struct bench_run *run, struct bench_speed *speed)
{
    run->limit_detail = "one stream per thread";
    speed->bytes = run->blocks * run->block_bytes;
    return bench_parallel(run, hash_blocks, NULL, &speed->ns);
}
