// SPDX-License-Identifier: Apache-2.0
//
// The body of a SHA-256 kernel that keeps one message per vector lane: a
// template, included once by each file that instantiates it. Before including,
// define LANES (8 or 16) and LANES_TARGET (a target attribute, or nothing);
// optionally LANES_ROTATE(x, n), LANES_XOR(x, y, z), LANES_CHOOSE(x, y, z) and
// LANES_MAJORITY(x, y, z) where the processor has single instructions for
// them, and LANES_OPAQUE(x) for vectors that live in registers. It defines the
// static function lanes_compress.
//
// The vectors are those of gcc and clang, so the same text runs on any
// processor with any number of lanes: the wide instance can be tested on a
// machine without wide registers.
#include <string.h>

#include "base/sha256_kernels.h"

#ifndef LANES_ROTATE
#define LANES_ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
#endif
#ifndef LANES_XOR
#define LANES_XOR(x, y, z) ((x) ^ (y) ^ (z))
#endif
#ifndef LANES_CHOOSE
#define LANES_CHOOSE(x, y, z) ((((y) ^ (z)) & (x)) ^ (z))
#endif
#ifndef LANES_MAJORITY
#define LANES_MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))
#endif

// Hides from the compiler where a vector came from.
#ifndef LANES_OPAQUE
#define LANES_OPAQUE(x) __asm__ volatile("" : "+m"(x))
#endif

#define LANES_INLINE static inline __attribute__((always_inline)) LANES_TARGET

typedef uint32_t lanes_vector __attribute__((vector_size(4 * LANES)));
typedef uint8_t lanes_bytes __attribute__((vector_size(4 * LANES)));

#define LANES_UPPER 4 // lanes of 32 bits in one part of 128 bits

#if LANES == 8
#define LANES_LOW_32 0, 8, 1, 9, 4, 12, 5, 13
#define LANES_HIGH_32 2, 10, 3, 11, 6, 14, 7, 15
#define LANES_LOW_64 0, 1, 8, 9, 4, 5, 12, 13
#define LANES_HIGH_64 2, 3, 10, 11, 6, 7, 14, 15
#define LANES_EVEN_128 0, 1, 2, 3, 8, 9, 10, 11
#define LANES_ODD_128 4, 5, 6, 7, 12, 13, 14, 15
#define LANES_SWAP                                                            \
    3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16, 23, \
        22, 21, 20, 27, 26, 25, 24, 31, 30, 29, 28
#elif LANES == 16
#define LANES_LOW_32 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define LANES_HIGH_32 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LANES_LOW_64 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define LANES_HIGH_64 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LANES_EVEN_128 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define LANES_ODD_128 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define LANES_EVEN_256 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define LANES_ODD_256 \
    8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define LANES_SWAP                                                            \
    3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16, 23, \
        22, 21, 20, 27, 26, 25, 24, 31, 30, 29, 28, 35, 34, 33, 32, 39, 38,   \
        37, 36, 43, 42, 41, 40, 47, 46, 45, 44, 51, 50, 49, 48, 55, 54, 53,   \
        52, 59, 58, 57, 56, 63, 62, 61, 60
#endif

#define LANES_PAIR(x, y, LOW, HIGH)                              \
    do {                                                         \
        lanes_vector low = __builtin_shufflevector(x, y, LOW);   \
        lanes_vector high = __builtin_shufflevector(x, y, HIGH); \
        (x) = low;                                               \
        (y) = high;                                              \
    } while (0)

// Turns rows (one message each) into columns (one word each): first within
// parts of 128 bits, then between them.
LANES_INLINE void
lanes_transpose(lanes_vector rows[LANES])
{
    SHA256_UNROLL
    for (int i = 0; i < LANES; i += LANES_UPPER) {
        LANES_PAIR(rows[i], rows[i + 1], LANES_LOW_32, LANES_HIGH_32);
        LANES_PAIR(rows[i + 2], rows[i + 3], LANES_LOW_32, LANES_HIGH_32);
        LANES_PAIR(rows[i], rows[i + 2], LANES_LOW_64, LANES_HIGH_64);
        LANES_PAIR(rows[i + 1], rows[i + 3], LANES_LOW_64, LANES_HIGH_64);
        lanes_vector second = rows[i + 2];
        rows[i + 2] = rows[i + 1];
        rows[i + 1] = second;
    }
    SHA256_UNROLL
    for (int i = 0; i < LANES; i += 2 * LANES_UPPER) {
        SHA256_UNROLL
        for (int k = i; k < i + LANES_UPPER; k++) {
            LANES_PAIR(rows[k], rows[k + LANES_UPPER], LANES_EVEN_128,
                       LANES_ODD_128);
        }
    }
#if LANES == 16
    SHA256_UNROLL
    for (int k = 0; k < 2 * LANES_UPPER; k++) {
        LANES_PAIR(rows[k], rows[k + 2 * LANES_UPPER], LANES_EVEN_256,
                   LANES_ODD_256);
    }
#endif
}

// Messages often lie a page apart, and a processor takes a reading for one that
// waits for a write a page away: so all are read before any is written.
LANES_INLINE void
lanes_load(lanes_vector words[16], const uint8_t *const *data,
           uint8_t *const *targets, size_t offset)
{
    SHA256_UNROLL
    for (int part = 0; part < 16; part += LANES) {
        lanes_bytes raw[LANES];
        SHA256_UNROLL
        for (int i = 0; i < LANES; i++) {
            memcpy(&raw[i], data[i] + offset + 4 * part, sizeof raw[i]);
            if (targets != NULL) {
                // What is stored is what is hashed, not a second reading.
                LANES_OPAQUE(raw[i]);
            }
        }
        SHA256_UNROLL
        for (int i = 0; i < LANES; i++) {
            if (targets != NULL) {
                memcpy(targets[i] + offset + 4 * part, &raw[i], sizeof raw[i]);
            }
            words[part + i] = (lanes_vector)__builtin_shufflevector(
                raw[i], raw[i], LANES_SWAP);
        }
        lanes_transpose(words + part);
    }
}

// The word of round i + 16, in the place of that of round i.
LANES_INLINE void
lanes_extend(lanes_vector words[16], int i)
{
    lanes_vector x = words[(i + 1) % 16];
    lanes_vector y = words[(i + 14) % 16];
    lanes_vector s0 = LANES_XOR(LANES_ROTATE(x, 7), LANES_ROTATE(x, 18),
                                x >> 3);
    lanes_vector s1 = LANES_XOR(LANES_ROTATE(y, 17), LANES_ROTATE(y, 19),
                                y >> 10);
    words[i % 16] += s0 + words[(i + 9) % 16] + s1;
}

// One round. Instead of moving the eight variables, their names rotate.
LANES_INLINE void
lanes_round(lanes_vector state[8], const lanes_vector *word, int i,
            uint32_t constant)
{
    lanes_vector a = state[(64 - i) % 8];
    lanes_vector b = state[(65 - i) % 8];
    lanes_vector c = state[(66 - i) % 8];
    lanes_vector e = state[(68 - i) % 8];
    lanes_vector f = state[(69 - i) % 8];
    lanes_vector g = state[(70 - i) % 8];
    lanes_vector h = state[(71 - i) % 8];
    lanes_vector s1 = LANES_XOR(LANES_ROTATE(e, 6), LANES_ROTATE(e, 11),
                                LANES_ROTATE(e, 25));
    lanes_vector s0 = LANES_XOR(LANES_ROTATE(a, 2), LANES_ROTATE(a, 13),
                                LANES_ROTATE(a, 22));
    h += (*word + constant) + s1 + LANES_CHOOSE(e, f, g);
    state[(67 - i) % 8] += h;
    state[(71 - i) % 8] = h + s0 + LANES_MAJORITY(a, b, c);
}

LANES_INLINE void
lanes_run(struct sha256_state *states, const uint8_t *const *data,
          uint8_t *const *targets, size_t blocks)
{
    lanes_vector state[8];
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < LANES; i++) {
            state[k][i] = states[i].words[k];
        }
    }
    for (size_t block = 0; block < blocks; block++) {
        lanes_vector words[16];
        lanes_vector saved[8];
        lanes_load(words, data, targets, block * SHA256_BLOCK_BYTES);
        memcpy(saved, state, sizeof saved);
        SHA256_UNROLL
        for (int i = 0; i < 16; i++) {
            lanes_round(state, &words[i], i, sha256_round_constants[i]);
        }
        for (int base = 16; base < 64; base += 16) {
            SHA256_UNROLL
            for (int i = 0; i < 16; i++) {
                lanes_extend(words, i);
                lanes_round(state, &words[i], i,
                            sha256_round_constants[base + i]);
            }
        }
        SHA256_UNROLL
        for (int k = 0; k < 8; k++) {
            state[k] += saved[k];
        }
    }
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < LANES; i++) {
            states[i].words[k] = state[k][i];
        }
    }
}

LANES_TARGET static void
lanes_compress(struct sha256_state *states, const uint8_t *const *data,
               uint8_t *const *targets, size_t blocks)
{
    if (targets == NULL) {
        lanes_run(states, data, NULL, blocks);
    } else {
        lanes_run(states, data, targets, blocks);
    }
}
