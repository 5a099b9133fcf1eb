// SPDX-License-Identifier: Apache-2.0
//
// The digest of a key inside its namespace: what tables, footers and messages
// carry in place of the key's bytes. SHA-256 over the namespace's length (8
// bytes, little endian), the namespace and the key, so that no key of one
// namespace can stand for one of another.

#ifndef BLOCK_KEY_H
#define BLOCK_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct block_key {
    uint8_t bytes[32];
};

// Pure. `key_bytes` is 1 to CASCADE_KEY_BYTES_MAX.
void
block_key_of(const char *namespace_name, const void *key, size_t key_bytes,
             struct block_key *digest);

static inline bool
block_key_equal(const struct block_key *a, const struct block_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static inline bool
block_key_is_zero(const struct block_key *key)
{
    static const struct block_key zero;

    return block_key_equal(key, &zero);
}

// Eight bytes of the digest as a number, for tables: shard from the top bits.
static inline uint64_t
block_key_hash(const struct block_key *key)
{
    uint64_t hash;

    memcpy(&hash, key->bytes, sizeof(hash));
    return hash;
}

#endif
