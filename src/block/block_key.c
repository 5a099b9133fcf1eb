// SPDX-License-Identifier: Apache-2.0
//
// Key digests. Stateless; no lock. Every call of the store makes one, so the
// message goes straight to the compression function: a general digest library
// takes several times as long to set up as to hash.

#include "block/block_key.h"

#include <assert.h>
#include <string.h>

#include "base/check.h"
#include "base/sha256.h"
#include "cascade/cascade.h"

#define NAMESPACE_BYTES_MAX 255

static_assert(sizeof(struct block_key) == SHA256_DIGEST_BYTES,
              "a key is a digest");

void
block_key_of(const char *namespace_name, const void *key, size_t key_bytes,
             struct block_key *digest)
{
    size_t length = strlen(namespace_name);
    uint8_t head[8] = {(uint8_t)length};
    struct sha256_stream stream;

    check(length <= NAMESPACE_BYTES_MAX);
    check(key_bytes >= 1 && key_bytes <= CASCADE_KEY_BYTES_MAX);
    sha256_start(&stream, &sha256_initial, 0);
    sha256_add(&stream, head, sizeof(head));
    sha256_add(&stream, namespace_name, length);
    sha256_add(&stream, key, key_bytes);
    sha256_finish(&stream, digest->bytes);
}
