// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 of sixteen messages at once with AVX-512 (F, BW, VL).
//
// A ternary logic instruction takes its truth table as a constant: bit
// 4 * x + 2 * y + z is the result for the bits x, y and z.
#include "base/sha256_kernels.h"

#if SHA256_X86

#include <immintrin.h>

#define LANES 16
#define LANES_TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#define LANES_TERNARY(x, y, z, table)                                    \
    ((lanes_vector)_mm512_ternarylogic_epi32((__m512i)(x), (__m512i)(y), \
                                             (__m512i)(z), table))
#define LANES_ROTATE(x, n) ((lanes_vector)_mm512_ror_epi32((__m512i)(x), n))
#define LANES_XOR(x, y, z) LANES_TERNARY(x, y, z, 0x96)
#define LANES_CHOOSE(x, y, z) LANES_TERNARY(x, y, z, 0xca)
#define LANES_MAJORITY(x, y, z) LANES_TERNARY(x, y, z, 0xe8)
#define LANES_OPAQUE(x) __asm__ volatile("" : "+v"(x))
#include "base/sha256_lanes.h"

bool
sha256_avx512_available(void)
{
    return __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl");
}

void
sha256_compress_avx512(struct sha256_state *states, const uint8_t *const *data,
                       uint8_t *const *targets, size_t blocks)
{
    lanes_compress(states, data, targets, blocks);
}

#endif
