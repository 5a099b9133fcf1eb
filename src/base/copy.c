// SPDX-License-Identifier: Apache-2.0
//
// Streaming copies: the aligned middle of the target is written with
// non-temporal stores, its ragged ends with plain ones. The stores of other
// cores may see non-temporal ones late, so a fence ends each copy.

#include "base/copy.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)

#include <immintrin.h>

// Below this a slice is not worth the fence.
#define SLICE_BYTES_MIN ((size_t)4096)

// How far ahead of the stores the source is asked for, where that helps. On
// processors of AMD (seen on one of family 25) the hardware stops at each page,
// a hint carries it over, and hints farther ahead get in the way of the
// hardware's own. On those of Intel (seen on one of model 207) any hint of this
// kind takes a third of the speed.
#define HINT_BYTES 512

#define INLINE static inline __attribute__((always_inline))

#define TARGET_AVX512 __attribute__((target("avx512f")))
#define TARGET_AVX __attribute__((target("avx")))

static bool
sse2_available(void)
{
    return true;
}

static bool
avx_available(void)
{
    return __builtin_cpu_supports("avx") != 0;
}

static bool
avx512_available(void)
{
    return __builtin_cpu_supports("avx512f") != 0;
}

static bool
is_amd(void)
{
    return __builtin_cpu_is("amd") != 0;
}

INLINE void
hint(const char *from, bool hints)
{
    if (hints) {
        _mm_prefetch(from + HINT_BYTES, _MM_HINT_NTA);
    }
}

INLINE void
lines_sse2(void *target, const void *source, size_t bytes, bool hints)
{
    char *to = target;
    const char *from = source;
    for (size_t at = 0; at < bytes; at += COPY_STREAMING_LINE_BYTES) {
        hint(from + at, hints);
        __m128i a = _mm_loadu_si128((const void *)(from + at));
        __m128i b = _mm_loadu_si128((const void *)(from + at + 16));
        __m128i c = _mm_loadu_si128((const void *)(from + at + 32));
        __m128i d = _mm_loadu_si128((const void *)(from + at + 48));
        _mm_stream_si128((void *)(to + at), a);
        _mm_stream_si128((void *)(to + at + 16), b);
        _mm_stream_si128((void *)(to + at + 32), c);
        _mm_stream_si128((void *)(to + at + 48), d);
    }
    _mm_sfence();
}

TARGET_AVX INLINE void
lines_avx(void *target, const void *source, size_t bytes, bool hints)
{
    char *to = target;
    const char *from = source;
    for (size_t at = 0; at < bytes; at += COPY_STREAMING_LINE_BYTES) {
        hint(from + at, hints);
        __m256i a = _mm256_loadu_si256((const void *)(from + at));
        __m256i b = _mm256_loadu_si256((const void *)(from + at + 32));
        _mm256_stream_si256((void *)(to + at), a);
        _mm256_stream_si256((void *)(to + at + 32), b);
    }
    _mm_sfence();
}

TARGET_AVX512 INLINE void
lines_avx512(void *target, const void *source, size_t bytes, bool hints)
{
    char *to = target;
    const char *from = source;
    for (size_t at = 0; at < bytes; at += COPY_STREAMING_LINE_BYTES) {
        hint(from + at, hints);
        __m512i a = _mm512_loadu_si512((const void *)(from + at));
        _mm512_stream_si512((void *)(to + at), a);
    }
    _mm_sfence();
}

static void
stream_sse2(void *target, const void *source, size_t bytes)
{
    lines_sse2(target, source, bytes, false);
}

static void
stream_sse2_hinted(void *target, const void *source, size_t bytes)
{
    lines_sse2(target, source, bytes, true);
}

TARGET_AVX static void
stream_avx(void *target, const void *source, size_t bytes)
{
    lines_avx(target, source, bytes, false);
}

TARGET_AVX static void
stream_avx_hinted(void *target, const void *source, size_t bytes)
{
    lines_avx(target, source, bytes, true);
}

TARGET_AVX512 static void
stream_avx512(void *target, const void *source, size_t bytes)
{
    lines_avx512(target, source, bytes, false);
}

TARGET_AVX512 static void
stream_avx512_hinted(void *target, const void *source, size_t bytes)
{
    lines_avx512(target, source, bytes, true);
}

static const struct copy_kernel kernels[] = {
    {"avx512", false, avx512_available, stream_avx512},
    {"avx512", true, avx512_available, stream_avx512_hinted},
    {"avx", false, avx_available, stream_avx},
    {"avx", true, avx_available, stream_avx_hinted},
    {"sse2", false, sse2_available, stream_sse2},
    {"sse2", true, sse2_available, stream_sse2_hinted},
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

static const struct copy_kernel *
choose_kernel(void)
{
    bool hints = is_amd();
    size_t i = 0;
    while (kernels[i].hints != hints || !kernels[i].available()) {
        i++;
    }
    return &kernels[i];
}

const struct copy_kernel *
copy_kernel_at(size_t index)
{
    return index < KERNEL_COUNT ? &kernels[index] : NULL;
}

const char *
copy_streaming_name(void)
{
    return choose_kernel()->name;
}

void
copy_bytes_streaming(void *target, const void *source, size_t bytes)
{
    char *to = target;
    const char *from = source;
    if (bytes < SLICE_BYTES_MIN) {
        if (bytes > 0) {
            memcpy(to, from, bytes);
        }
        return;
    }
    size_t head = (size_t)(-(uintptr_t)to % COPY_STREAMING_LINE_BYTES);
    size_t middle = (bytes - head) / COPY_STREAMING_LINE_BYTES *
                    COPY_STREAMING_LINE_BYTES;
    memcpy(to, from, head);
    choose_kernel()->copy(to + head, from + head, middle);
    memcpy(to + head + middle, from + head + middle, bytes - head - middle);
}

#else

const struct copy_kernel *
copy_kernel_at(size_t index)
{
    (void)index;
    return NULL;
}

const char *
copy_streaming_name(void)
{
    return "memcpy";
}

void
copy_bytes_streaming(void *target, const void *source, size_t bytes)
{
    if (bytes > 0) {
        memcpy(target, source, bytes);
    }
}

#endif

void
copy_bytes(void *target, const void *source, size_t bytes)
{
    if (bytes >= COPY_STREAMING_BYTES_MIN) {
        copy_bytes_streaming(target, source, bytes);
    } else if (bytes > 0) {
        memcpy(target, source, bytes);
    }
}
