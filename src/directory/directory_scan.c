// SPDX-License-Identifier: Apache-2.0
//
// Walks over all bindings, and the keys' bytes. A walk holds one key shard at a
// time and copies out what it shows.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Under the key's shard: copies a binding and its key out.
static void
copy_out(struct directory *directory, const struct binding *binding,
         struct directory_found *found, uint8_t *key, uint32_t *key_bytes)
{
    directory_show_binding(binding, found);
    if (key_bytes != NULL) {
        *key_bytes = binding->key_bytes;
    }
    if (key != NULL && binding->key_bytes > 0) {
        memcpy(key, directory_keys_at(&directory->keys, binding->key_handle),
               binding->key_bytes);
    }
}

// Adds what the id's shard knows of the content.
static void
add_content(struct directory *directory, struct directory_found *found)
{
    struct directory_shard *shard = directory_id_shard(directory, &found->id);
    const struct content *content;

    if ((found->flags & DIRECTORY_REMOVED) != 0) {
        return;
    }
    directory_shard_lock(shard);
    content = directory_content(directory, &found->id);
    if (content != NULL) {
        directory_show_content(content, found);
    }
    directory_shard_unlock(shard);
}

// Copies matching bindings of one bucket, whole or not at all. False: no room.
static bool
scan_bucket(struct directory *directory, uint32_t record, uint32_t any_flags,
            struct directory_found *found, size_t room, size_t *count,
            uint8_t *keys, size_t key_stride, uint32_t *key_bytes)
{
    size_t at = *count;

    for (; record != NO_RECORD; record = directory->bindings[record].next) {
        const struct binding *binding = &directory->bindings[record];

        if (any_flags != 0 && (binding->flags & any_flags) == 0) {
            continue;
        }
        if (at == room) {
            return false;
        }
        copy_out(directory, binding, &found[at],
                 keys != NULL ? keys + at * key_stride : NULL,
                 key_bytes != NULL ? &key_bytes[at] : NULL);
        at++;
    }
    *count = at;
    return true;
}

size_t
directory_scan(struct directory *directory, uint64_t *cursor,
               uint32_t any_flags, struct directory_found *found, size_t room,
               uint8_t *keys, size_t key_stride, uint32_t *key_bytes)
{
    uint64_t end = (uint64_t)DIRECTORY_SHARDS * directory->key_buckets;
    size_t count = 0;
    bool full = false;

    check(room >= 64);
    while (*cursor < end && !full) {
        uint32_t s = (uint32_t)(*cursor / directory->key_buckets);
        struct directory_shard *shard = &directory->key_shards[s];

        directory_shard_lock(shard);
        while (*cursor / directory->key_buckets == s) {
            uint32_t b = (uint32_t)(*cursor % directory->key_buckets);

            full = !scan_bucket(directory, shard->buckets[b], any_flags, found,
                                room, &count, keys, key_stride, key_bytes);
            if (full) {
                // A bucket longer than the whole room would never move on.
                check(count > 0);
                break;
            }
            ++*cursor;
        }
        directory_shard_unlock(shard);
    }
    for (size_t i = 0; i < count; i++) {
        add_content(directory, &found[i]);
    }
    return count;
}

uint32_t
directory_key_bytes(struct directory *directory, const struct block_key *digest,
                    uint8_t *key)
{
    struct directory_shard *shard = directory_key_shard(directory, digest);
    const struct binding *binding;
    uint32_t bytes = 0;

    directory_shard_lock(shard);
    binding = directory_binding(directory, digest);
    if (binding != NULL && binding->key_bytes > 0) {
        bytes = binding->key_bytes;
        memcpy(key, directory_keys_at(&directory->keys, binding->key_handle),
               bytes);
    }
    directory_shard_unlock(shard);
    return bytes;
}

// Under the key's shard.
void
directory_binding_attach_key(struct directory *directory,
                             struct binding *binding, const void *key,
                             uint32_t key_bytes)
{
    if (key == NULL || key_bytes == 0 || binding->key_bytes != 0) {
        return;
    }
    binding->key_handle = directory_keys_add(&directory->keys, key, key_bytes);
    if (binding->key_handle != DIRECTORY_NO_KEY) {
        binding->key_bytes = (uint16_t)key_bytes;
    }
}

void
directory_attach_key(struct directory *directory,
                     const struct block_key *digest, const void *key,
                     uint32_t key_bytes)
{
    struct directory_shard *shard = directory_key_shard(directory, digest);
    struct binding *binding;

    directory_shard_lock(shard);
    binding = directory_binding(directory, digest);
    if (binding != NULL) {
        directory_binding_attach_key(directory, binding, key, key_bytes);
    }
    directory_shard_unlock(shard);
}
