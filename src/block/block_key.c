// SPDX-License-Identifier: Apache-2.0
//
// Key digests. Stateless; no lock. Short inputs dominate, so the message is
// put together on the stack and hashed in one call.

#include "block/block_key.h"

#include <openssl/sha.h>

#include "base/check.h"
#include "cascade/cascade.h"

#define NAMESPACE_BYTES_MAX 255

void
block_key_of(const char *namespace_name, const void *key, size_t key_bytes,
             struct block_key *digest)
{
    uint8_t message[8 + NAMESPACE_BYTES_MAX + CASCADE_KEY_BYTES_MAX] = {0};
    size_t length = strlen(namespace_name);

    check(length <= NAMESPACE_BYTES_MAX);
    check(key_bytes >= 1 && key_bytes <= CASCADE_KEY_BYTES_MAX);
    message[0] = (uint8_t)length;
    memcpy(message + 8, namespace_name, length);
    memcpy(message + 8 + length, key, key_bytes);
    check(SHA256(message, 8 + length + key_bytes, digest->bytes) != NULL);
}
