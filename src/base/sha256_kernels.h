// SPDX-License-Identifier: Apache-2.0
//
// The kernels of sha256.h, for sha256.c and its siblings alone. A kernel whose
// instructions the target lacks is left out of the build, not stubbed.
#ifndef BASE_SHA256_KERNELS_H
#define BASE_SHA256_KERNELS_H

#include "base/sha256.h"

#if defined(__x86_64__)
#define SHA256_X86 1
#else
#define SHA256_X86 0
#endif
#if defined(__aarch64__)
#define SHA256_ARM 1
#else
#define SHA256_ARM 0
#endif

// Completely unrolls the following loop of constant length, or forbids it.
#if defined(__clang__)
#define SHA256_UNROLL _Pragma("clang loop unroll(full)")
#define SHA256_NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define SHA256_UNROLL _Pragma("GCC unroll 64")
#define SHA256_NO_UNROLL _Pragma("GCC unroll 1")
#endif

// The 64 round constants of FIPS 180-4, section 4.2.2.
extern const uint32_t sha256_round_constants[64];

void
sha256_compress_portable(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks);

#if SHA256_ARM
bool
sha256_arm_available(void);
void
sha256_compress_arm_1(struct sha256_state *states, const uint8_t *const *data,
                      uint8_t *const *targets, size_t blocks);
void
sha256_compress_arm_2(struct sha256_state *states, const uint8_t *const *data,
                      uint8_t *const *targets, size_t blocks);
#endif

#if SHA256_X86
bool
sha256_sha_ni_available(void);
void
sha256_compress_sha_ni_1(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks);
void
sha256_compress_sha_ni_2(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks);
void
sha256_compress_sha_ni_3(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks);
bool
sha256_avx2_available(void);
void
sha256_compress_avx2(struct sha256_state *states, const uint8_t *const *data,
                     uint8_t *const *targets, size_t blocks);
bool
sha256_avx512_available(void);
void
sha256_compress_avx512(struct sha256_state *states, const uint8_t *const *data,
                       uint8_t *const *targets, size_t blocks);
#endif

#endif
