// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 with the SHA instructions of x86, one to three messages interleaved.
//
// One message alone waits for the latency of its own rounds; two more fill that
// wait; a fourth gains nothing, for the registers run out. All loops over
// messages have a constant length and are unrolled, so that the arrays below
// live in registers.
#include "base/sha256_kernels.h"

#if SHA256_X86

#include <cpuid.h>
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define STREAMS_MAX 3

// The instructions want the state as (a, b, e, f) and (c, d, g, h).
struct stream {
    __m128i abef;
    __m128i cdgh;
    __m128i words[4];
};

INLINE void
load_state(struct stream *stream, const struct sha256_state *state)
{
    __m128i low = _mm_loadu_si128((const void *)&state->words[0]);
    __m128i high = _mm_loadu_si128((const void *)&state->words[4]);
    low = _mm_shuffle_epi32(low, 0xb1);
    high = _mm_shuffle_epi32(high, 0x1b);
    stream->abef = _mm_alignr_epi8(low, high, 8);
    stream->cdgh = _mm_blend_epi16(high, low, 0xf0);
}

INLINE void
store_state(const struct stream *stream, struct sha256_state *state)
{
    __m128i low = _mm_shuffle_epi32(stream->abef, 0x1b);
    __m128i high = _mm_shuffle_epi32(stream->cdgh, 0xb1);
    _mm_storeu_si128((void *)&state->words[0],
                     _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128((void *)&state->words[4], _mm_alignr_epi8(high, low, 8));
}

// With a target the very bytes that are hashed are also stored there: the
// empty instruction forbids the compiler to read them a second time.
INLINE void
load_words(struct stream *stream, const uint8_t *block, uint8_t *target)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    SHA256_UNROLL
    for (int i = 0; i < 4; i++) {
        __m128i raw = _mm_loadu_si128((const void *)(block + 16 * i));
        if (target != NULL) {
            __asm__ volatile("" : "+x"(raw));
            _mm_storeu_si128((void *)(target + 16 * i), raw);
        }
        stream->words[i] = _mm_shuffle_epi8(raw, swap);
    }
}

// Four rounds with their constants, and unless they are among the last sixteen
// the words that the rounds sixteen later need.
INLINE void
four_rounds(struct stream *stream, const int group, const uint32_t *constants,
            const bool last_rounds)
{
    __m128i now = stream->words[group];
    __m128i sum = _mm_add_epi32(now, _mm_loadu_si128((const void *)constants));
    stream->cdgh = _mm_sha256rnds2_epu32(stream->cdgh, stream->abef, sum);
    sum = _mm_shuffle_epi32(sum, 0x0e);
    stream->abef = _mm_sha256rnds2_epu32(stream->abef, stream->cdgh, sum);
    if (!last_rounds) {
        __m128i second = stream->words[(group + 1) % 4];
        __m128i third = stream->words[(group + 2) % 4];
        __m128i last = stream->words[(group + 3) % 4];
        __m128i next = _mm_sha256msg1_epu32(now, second);
        next = _mm_add_epi32(next, _mm_alignr_epi8(last, third, 4));
        stream->words[group] = _mm_sha256msg2_epu32(next, last);
    }
    // Keeps the compiler from mixing the streams more finely, which would
    // spill registers; the processor mixes them itself.
    __asm__ volatile("" : "+x"(stream->abef), "+x"(stream->cdgh));
}

INLINE void
sixteen_rounds(struct stream *streams, const int count,
               const uint32_t *constants, const bool last_rounds)
{
    SHA256_UNROLL
    for (int group = 0; group < 4; group++) {
        SHA256_UNROLL
        for (int i = 0; i < count; i++) {
            four_rounds(&streams[i], group, constants + 4 * group, last_rounds);
        }
    }
}

INLINE void
compress(struct sha256_state *states, const uint8_t *const *data,
         uint8_t *const *targets, size_t blocks, const int count)
{
    struct stream streams[STREAMS_MAX];
    const uint8_t *at[STREAMS_MAX];
    uint8_t *to[STREAMS_MAX];
    SHA256_UNROLL
    for (int i = 0; i < count; i++) {
        load_state(&streams[i], &states[i]);
        at[i] = data[i];
        to[i] = targets != NULL ? targets[i] : NULL;
    }
    while (blocks-- > 0) {
        __m128i abef[STREAMS_MAX];
        __m128i cdgh[STREAMS_MAX];
        SHA256_UNROLL
        for (int i = 0; i < count; i++) {
            abef[i] = streams[i].abef;
            cdgh[i] = streams[i].cdgh;
            load_words(&streams[i], at[i], to[i]);
            at[i] += SHA256_BLOCK_BYTES;
            to[i] = targets != NULL ? to[i] + SHA256_BLOCK_BYTES : NULL;
        }
        // Rolled up: unrolled further, the loop outgrows the front end.
        const uint32_t *constants = sha256_round_constants;
        SHA256_NO_UNROLL
        for (int rounds = 0; rounds < 48; rounds += 16) {
            sixteen_rounds(streams, count, constants, false);
            constants += 16;
        }
        sixteen_rounds(streams, count, constants, true);
        SHA256_UNROLL
        for (int i = 0; i < count; i++) {
            streams[i].abef = _mm_add_epi32(streams[i].abef, abef[i]);
            streams[i].cdgh = _mm_add_epi32(streams[i].cdgh, cdgh[i]);
        }
    }
    SHA256_UNROLL
    for (int i = 0; i < count; i++) {
        store_state(&streams[i], &states[i]);
    }
}

bool
sha256_sha_ni_available(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("ssse3") &&
           __builtin_cpu_supports("sse4.1") &&
           __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

TARGET void
sha256_compress_sha_ni_1(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks)
{
    if (targets == NULL) {
        compress(states, data, NULL, blocks, 1);
    } else {
        compress(states, data, targets, blocks, 1);
    }
}

TARGET void
sha256_compress_sha_ni_2(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks)
{
    if (targets == NULL) {
        compress(states, data, NULL, blocks, 2);
    } else {
        compress(states, data, targets, blocks, 2);
    }
}

TARGET void
sha256_compress_sha_ni_3(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks)
{
    if (targets == NULL) {
        compress(states, data, NULL, blocks, 3);
    } else {
        compress(states, data, targets, blocks, 3);
    }
}

#endif
