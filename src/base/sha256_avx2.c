// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 of eight messages at once with AVX2.
#include "base/sha256_kernels.h"

#if SHA256_X86

#define LANES 8
#define LANES_TARGET __attribute__((target("avx2")))
#define LANES_OPAQUE(x) __asm__ volatile("" : "+x"(x))
#include "base/sha256_lanes.h"

bool
sha256_avx2_available(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

void
sha256_compress_avx2(struct sha256_state *states, const uint8_t *const *data,
                     uint8_t *const *targets, size_t blocks)
{
    lanes_compress(states, data, targets, blocks);
}

#endif
