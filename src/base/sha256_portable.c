// SPDX-License-Identifier: Apache-2.0
//
// The SHA-256 compression function in plain C: the kernel that every machine
// has. One message at a time.
#include <string.h>

#include "base/sha256_kernels.h"

const uint32_t sha256_round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t
rotate_right(uint32_t x, unsigned bits)
{
    return (x >> bits) | (x << (32 - bits));
}

static uint32_t
load_big_endian(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 |
           (uint32_t)data[2] << 8 | (uint32_t)data[3];
}

static void
expand(uint32_t w[64], const uint8_t *block)
{
    for (size_t i = 0; i < 16; i++) {
        w[i] = load_big_endian(block + 4 * i);
    }
    for (size_t i = 16; i < 64; i++) {
        uint32_t x = w[i - 15];
        uint32_t y = w[i - 2];
        uint32_t s0 = rotate_right(x, 7) ^ rotate_right(x, 18) ^ (x >> 3);
        uint32_t s1 = rotate_right(y, 17) ^ rotate_right(y, 19) ^ (y >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
}

static void
compress_block(struct sha256_state *state, const uint8_t *block)
{
    uint32_t w[64];
    expand(w, block);
    uint32_t a = state->words[0], b = state->words[1];
    uint32_t c = state->words[2], d = state->words[3];
    uint32_t e = state->words[4], f = state->words[5];
    uint32_t g = state->words[6], h = state->words[7];
    for (size_t i = 0; i < 64; i++) {
        uint32_t s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^
                      rotate_right(e, 25);
        uint32_t s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^
                      rotate_right(a, 22);
        uint32_t choice = ((f ^ g) & e) ^ g;
        uint32_t majority = (a & b) | (c & (a | b));
        uint32_t t = h + s1 + choice + sha256_round_constants[i] + w[i];
        h = g;
        g = f;
        f = e;
        e = d + t;
        d = c;
        c = b;
        b = a;
        a = t + s0 + majority;
    }
    state->words[0] += a;
    state->words[1] += b;
    state->words[2] += c;
    state->words[3] += d;
    state->words[4] += e;
    state->words[5] += f;
    state->words[6] += g;
    state->words[7] += h;
}

void
sha256_compress_portable(struct sha256_state *states,
                         const uint8_t *const *data, uint8_t *const *targets,
                         size_t blocks)
{
    for (size_t i = 0; i < blocks; i++) {
        const uint8_t *block = data[0] + i * SHA256_BLOCK_BYTES;
        if (targets == NULL) {
            compress_block(states, block);
        } else {
            // A private copy, so that what is hashed is what is stored.
            uint8_t copy[SHA256_BLOCK_BYTES];
            memcpy(copy, block, sizeof copy);
            __asm__ volatile("" : "+m"(copy));
            compress_block(states, copy);
            memcpy(targets[0] + i * SHA256_BLOCK_BYTES, copy, sizeof copy);
        }
    }
}
