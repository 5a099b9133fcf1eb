// SPDX-License-Identifier: Apache-2.0
//
// The checksum is folded out of the registers that are stored. CRC32C is the
// rest of a division in the ring of polynomials over two elements: a running
// value may be replaced by any other that has the same rest. So 16 bytes are
// carried over a distance by multiplying their halves with the rests of the
// powers of x for that distance, and are added to the bytes found there. What
// is left at the end goes through the instruction for CRC32C, as bytes.
// (V. Gopal et al., Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ, Intel 2009.)
//
// Elsewhere the target is read again while the first cache holds it.

#include "base/copy_checksum.h"

#include <string.h>

#include "base/crc32c.h"

// Between a copy and a second reading of its target.
#define CHUNK_BYTES ((size_t)16 << 10)

// Copies chunk by chunk; for ends that are not whole lines, and for processors
// without a kernel.
static uint32_t
copy_plainly(uint8_t *target, const uint8_t *source, size_t bytes,
             uint32_t seed)
{
    while (bytes > 0) {
        size_t part = bytes < CHUNK_BYTES ? bytes : CHUNK_BYTES;

        memcpy(target, source, part);
        seed = crc32c(seed, target, part);
        target += part;
        source += part;
        bytes -= part;
    }
    return seed;
}

#if defined(__x86_64__)

#include <immintrin.h>

// Below this a slice is not worth the fence.
#define SLICE_BYTES_MIN ((size_t)4096)

// The multiplications leave the processor no room to look far ahead by itself.
// A page ahead, so that the next one is known when the hardware gets there. On
// processors of AMD (seen on one of family 25) less far, and past the second
// cache: what is read once is in its way. On those of Intel that is slower.
#define FAR_BYTES 4096
#define NEAR_BYTES 3072

#define INLINE static inline __attribute__((always_inline))

#define LINE COPY_CHECKSUM_LINE_BYTES
#define HALF (LINE / 2)

// The rests of powers of x, bits reflected: x^(8 * distance + 31) for the half
// of 16 bytes that comes first, x^(8 * distance - 33) for the other. What the
// exponents lack to 64 and 0 is what a product of two reflected halves and the
// place of a rest in its half add.
#define FIRST_OVER_LINE 0x6992cea2
#define SECOND_OVER_LINE 0x0d3b6092
#define FIRST_OVER_HALF 0x740eef02
#define SECOND_OVER_HALF 0x9e4addf8

#define TARGET_WIDE __attribute__((target("avx2,vpclmulqdq,pclmul,sse4.2")))
#define TARGET_NARROW __attribute__((target("pclmul,sse4.2")))

static bool
wide_available(void)
{
    return __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("vpclmulqdq") &&
           __builtin_cpu_supports("sse4.2");
}

static bool
narrow_available(void)
{
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
}

// Asks for a line of the source ahead of the loads.
INLINE void
ask(const char *from, bool near)
{
    if (near) {
        _mm_prefetch(from + NEAR_BYTES, _MM_HINT_NTA);
    } else {
        _mm_prefetch(from + FAR_BYTES, _MM_HINT_T0);
    }
}

// The checksum of the sums, which stand for all bytes so far.
TARGET_NARROW static uint32_t
finish(const uint64_t *sums, size_t count)
{
    uint64_t value = 0;

    for (size_t i = 0; i < count; i++) {
        value = _mm_crc32_u64(value, sums[i]);
    }
    return (uint32_t)value;
}

TARGET_WIDE INLINE uint32_t
lines_wide(void *target, const void *source, size_t bytes, uint32_t value,
           bool near)
{
    const __m256i over = _mm256_set_epi64x(SECOND_OVER_LINE, FIRST_OVER_LINE,
                                           SECOND_OVER_LINE, FIRST_OVER_LINE);
    const char *from = source;
    char *to = target;
    uint64_t sums[LINE / sizeof(uint64_t)];
    __m256i sum[4];

    for (int i = 0; i < 4; i++) {
        sum[i] = _mm256_loadu_si256((const void *)(from + 32 * i));
        _mm256_stream_si256((void *)(to + 32 * i), sum[i]);
    }
    sum[0] = _mm256_xor_si256(sum[0], _mm256_set_epi64x(0, 0, 0, value));
    for (size_t at = LINE; at < bytes; at += LINE) {
        __m256i data[4];

        ask(from + at, near);
        ask(from + at + HALF, near);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            data[i] = _mm256_loadu_si256((const void *)(from + at + 32 * i));
            _mm256_stream_si256((void *)(to + at + 32 * i), data[i]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            sum[i] = _mm256_xor_si256(
                _mm256_xor_si256(_mm256_clmulepi64_epi128(sum[i], over, 0x00),
                                 _mm256_clmulepi64_epi128(sum[i], over, 0x11)),
                data[i]);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_si256((void *)(sums + 4 * i), sum[i]);
    }
    _mm_sfence();
    return finish(sums, LINE / sizeof(uint64_t));
}

TARGET_NARROW INLINE uint32_t
lines_narrow(void *target, const void *source, size_t bytes, uint32_t value,
             bool near)
{
    const __m128i over = _mm_set_epi64x(SECOND_OVER_HALF, FIRST_OVER_HALF);
    const char *from = source;
    char *to = target;
    uint64_t sums[HALF / sizeof(uint64_t)];
    __m128i sum[4];

    for (int i = 0; i < 4; i++) {
        sum[i] = _mm_loadu_si128((const void *)(from + 16 * i));
        _mm_stream_si128((void *)(to + 16 * i), sum[i]);
    }
    sum[0] = _mm_xor_si128(sum[0], _mm_set_epi64x(0, value));
    for (size_t at = HALF; at < bytes; at += HALF) {
        __m128i data[4];

        ask(from + at, near);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            data[i] = _mm_loadu_si128((const void *)(from + at + 16 * i));
            _mm_stream_si128((void *)(to + at + 16 * i), data[i]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            sum[i] = _mm_xor_si128(
                _mm_xor_si128(_mm_clmulepi64_si128(sum[i], over, 0x00),
                              _mm_clmulepi64_si128(sum[i], over, 0x11)),
                data[i]);
        }
    }
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((void *)(sums + 2 * i), sum[i]);
    }
    _mm_sfence();
    return finish(sums, HALF / sizeof(uint64_t));
}

TARGET_WIDE static uint32_t
copy_wide(void *target, const void *source, size_t bytes, uint32_t value)
{
    return lines_wide(target, source, bytes, value, false);
}

TARGET_WIDE static uint32_t
copy_wide_near(void *target, const void *source, size_t bytes, uint32_t value)
{
    return lines_wide(target, source, bytes, value, true);
}

TARGET_NARROW static uint32_t
copy_narrow(void *target, const void *source, size_t bytes, uint32_t value)
{
    return lines_narrow(target, source, bytes, value, false);
}

TARGET_NARROW static uint32_t
copy_narrow_near(void *target, const void *source, size_t bytes, uint32_t value)
{
    return lines_narrow(target, source, bytes, value, true);
}

static const struct copy_checksum_kernel kernels[] = {
    {"vpclmulqdq", false, wide_available, copy_wide},
    {"vpclmulqdq", true, wide_available, copy_wide_near},
    {"pclmulqdq", false, narrow_available, copy_narrow},
    {"pclmulqdq", true, narrow_available, copy_narrow_near},
};

#define KERNEL_COUNT (sizeof(kernels) / sizeof(kernels[0]))

static const struct copy_checksum_kernel *
choose_kernel(void)
{
    bool near = __builtin_cpu_is("amd") != 0;

    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        if (kernels[i].near == near && kernels[i].available()) {
            return &kernels[i];
        }
    }
    return NULL;
}

const struct copy_checksum_kernel *
copy_checksum_kernel_at(size_t index)
{
    return index < KERNEL_COUNT ? &kernels[index] : NULL;
}

const char *
copy_checksum_name(void)
{
    const struct copy_checksum_kernel *kernel = choose_kernel();

    return kernel != NULL ? kernel->name : "plain";
}

uint32_t
copy_checksum(void *target, const void *source, size_t bytes, uint32_t seed)
{
    const struct copy_checksum_kernel *kernel = choose_kernel();
    const uint8_t *from = source;
    uint8_t *to = target;
    size_t head = (size_t)(-(uintptr_t)to % LINE);
    size_t middle;

    if (kernel == NULL || bytes < SLICE_BYTES_MIN) {
        return copy_plainly(to, from, bytes, seed);
    }
    middle = (bytes - head) / LINE * LINE;
    seed = copy_plainly(to, from, head, seed);
    seed = ~kernel->copy(to + head, from + head, middle, ~seed);
    return copy_plainly(to + head + middle, from + head + middle,
                        bytes - head - middle, seed);
}

#else

const struct copy_checksum_kernel *
copy_checksum_kernel_at(size_t index)
{
    (void)index;
    return NULL;
}

const char *
copy_checksum_name(void)
{
    return "plain";
}

uint32_t
copy_checksum(void *target, const void *source, size_t bytes, uint32_t seed)
{
    return copy_plainly(target, source, bytes, seed);
}

#endif
