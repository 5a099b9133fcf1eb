// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 with the SHA instructions of Armv8, one or two messages interleaved:
// one message alone waits for the latency of its own rounds, a second one fills
// that wait. Loops over messages have a constant length and are unrolled, so
// that the arrays below live in registers.
#include "base/sha256_kernels.h"

#if SHA256_ARM

#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>

#if defined(__clang__)
#define TARGET __attribute__((target("sha2")))
#else
#define TARGET __attribute__((target("+crypto")))
#endif
#define INLINE static inline __attribute__((always_inline)) TARGET
#define STREAMS_MAX 2

struct stream {
    uint32x4_t abcd;
    uint32x4_t efgh;
    uint32x4_t words[4];
};

// With a target the very bytes that are hashed are also stored there: the
// empty instruction forbids the compiler to read them a second time.
INLINE void
load_words(struct stream *stream, const uint8_t *block, uint8_t *target)
{
    SHA256_UNROLL
    for (int i = 0; i < 4; i++) {
        uint8x16_t raw = vld1q_u8(block + 16 * i);
        if (target != NULL) {
            __asm__ volatile("" : "+w"(raw));
            vst1q_u8(target + 16 * i, raw);
        }
        stream->words[i] = vreinterpretq_u32_u8(vrev32q_u8(raw));
    }
}

// Four rounds with their constants, and unless they are among the last sixteen
// the words that the rounds sixteen later need.
INLINE void
four_rounds(struct stream *stream, const int group, const uint32_t *constants,
            const bool last_rounds)
{
    uint32x4_t now = stream->words[group];
    uint32x4_t sum = vaddq_u32(now, vld1q_u32(constants));
    uint32x4_t abcd = stream->abcd;
    if (!last_rounds) {
        uint32x4_t next = vsha256su0q_u32(now, stream->words[(group + 1) % 4]);
        stream->words[group] = vsha256su1q_u32(next,
                                               stream->words[(group + 2) % 4],
                                               stream->words[(group + 3) % 4]);
    }
    stream->abcd = vsha256hq_u32(abcd, stream->efgh, sum);
    stream->efgh = vsha256h2q_u32(stream->efgh, abcd, sum);
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
    for (int i = 0; i < count; i++) {
        streams[i].abcd = vld1q_u32(&states[i].words[0]);
        streams[i].efgh = vld1q_u32(&states[i].words[4]);
    }
    for (size_t block = 0; block < blocks; block++) {
        size_t at = block * SHA256_BLOCK_BYTES;
        uint32x4_t abcd[STREAMS_MAX];
        uint32x4_t efgh[STREAMS_MAX];
        SHA256_UNROLL
        for (int i = 0; i < count; i++) {
            abcd[i] = streams[i].abcd;
            efgh[i] = streams[i].efgh;
            load_words(&streams[i], data[i] + at,
                       targets != NULL ? targets[i] + at : NULL);
        }
        const uint32_t *constants = sha256_round_constants;
        SHA256_NO_UNROLL
        for (int rounds = 0; rounds < 48; rounds += 16) {
            sixteen_rounds(streams, count, constants, false);
            constants += 16;
        }
        sixteen_rounds(streams, count, constants, true);
        SHA256_UNROLL
        for (int i = 0; i < count; i++) {
            streams[i].abcd = vaddq_u32(streams[i].abcd, abcd[i]);
            streams[i].efgh = vaddq_u32(streams[i].efgh, efgh[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        vst1q_u32(&states[i].words[0], streams[i].abcd);
        vst1q_u32(&states[i].words[4], streams[i].efgh);
    }
}

bool
sha256_arm_available(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0;
}

TARGET void
sha256_compress_arm_1(struct sha256_state *states, const uint8_t *const *data,
                      uint8_t *const *targets, size_t blocks)
{
    if (targets == NULL) {
        compress(states, data, NULL, blocks, 1);
    } else {
        compress(states, data, targets, blocks, 1);
    }
}

TARGET void
sha256_compress_arm_2(struct sha256_state *states, const uint8_t *const *data,
                      uint8_t *const *targets, size_t blocks)
{
    if (targets == NULL) {
        compress(states, data, NULL, blocks, 2);
    } else {
        compress(states, data, targets, blocks, 2);
    }
}

#endif
