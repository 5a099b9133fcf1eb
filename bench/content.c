// SPDX-License-Identifier: Apache-2.0
//
// Contents from numbers: word i is a mix of the number's key and i (the
// finishing steps of SplitMix64: Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014). Words are stored as this machine
// stores them; contents never leave the process that compares them, but by way
// of the store under test.

#include "bench/content.h"

#include <string.h>

#include "base/units.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)
#define PIECE_WORDS 512
#define PIECE_BYTES (PIECE_WORDS * sizeof(uint64_t))

static uint64_t
mix(uint64_t word)
{
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

// One multiplication is enough for a word: the key is well mixed.
static void
make_piece(uint64_t key, uint64_t first, uint64_t *words)
{
    for (uint64_t i = 0; i < PIECE_WORDS; i++) {
        uint64_t word = key + (first + i) * GOLDEN;

        word = (word ^ (word >> 32)) * UINT64_C(0xd6e8feb86659fd93);
        words[i] = word ^ (word >> 32);
    }
}

static uint64_t
key_of(uint64_t number)
{
    return mix(mix(number + GOLDEN) + GOLDEN);
}

void
content_fill(uint64_t number, void *data, size_t bytes)
{
    uint64_t words[PIECE_WORDS];
    uint64_t key = key_of(number);
    uint8_t *to = data;

    for (uint64_t first = 0; bytes > 0; first += PIECE_WORDS) {
        size_t piece = (size_t)units_min(bytes, PIECE_BYTES);

        make_piece(key, first, words);
        memcpy(to, words, piece);
        to += piece;
        bytes -= piece;
    }
}

uint64_t
content_wrong_bytes(uint64_t number, const void *data, size_t bytes)
{
    uint64_t words[PIECE_WORDS];
    uint64_t key = key_of(number);
    const uint8_t *from = data;
    uint64_t wrong = 0;

    for (uint64_t first = 0; bytes > 0; first += PIECE_WORDS) {
        size_t piece = (size_t)units_min(bytes, PIECE_BYTES);
        const uint8_t *right;

        make_piece(key, first, words);
        right = (const uint8_t *)words;
        if (memcmp(from, right, piece) != 0) {
            for (size_t i = 0; i < piece; i++) {
                wrong += from[i] != right[i];
            }
        }
        from += piece;
        bytes -= piece;
    }
    return wrong;
}

void
content_poison(void *data, size_t bytes)
{
    memset(data, 0xa5, bytes);
}
