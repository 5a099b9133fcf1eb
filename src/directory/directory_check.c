// SPDX-License-Identifier: Apache-2.0
//
// Sums for reports, and the check of every invariant.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

void
directory_usage(struct directory *directory, struct directory_usage *usage)
{
    memset(usage, 0, sizeof(*usage));
    usage->keys = atomic_load(&directory->live_keys);
    usage->removals = atomic_load(&directory->removals);
    check(pthread_mutex_lock(&directory->content_pool.lock) == 0);
    usage->contents = directory->content_pool.taken;
    check(pthread_mutex_unlock(&directory->content_pool.lock) == 0);
    usage->protected_contents = atomic_load(&directory->protected_contents);
    usage->protected_bytes = atomic_load(&directory->protected_bytes);
    usage->dirty_contents = atomic_load(&directory->dirty_contents);
    usage->dirty_bytes = atomic_load(&directory->dirty_bytes);
    // With the lists of free records, and one bucket for each.
    usage->bytes_per_key = sizeof(struct binding) + sizeof(struct reference) +
                           3 * sizeof(uint32_t);
    usage->bytes_per_content = sizeof(struct content) + 2 * sizeof(uint32_t);
}

// Under the id's shard: references have their bindings and sums are right.
static bool
content_is_valid(const struct content *content, uint64_t *protected_bytes)
{
    if (content->references == NO_RECORD) {
        return false;
    }
    if (content->memory.tier == CASCADE_TIER_SEGMENTS) {
        return false;
    }
    if (content->protected_references > 0) {
        *protected_bytes += content->bytes;
    }
    return true;
}

static bool
binding_is_valid(struct directory *directory, const struct binding *binding,
                 uint64_t *live, uint64_t *removed)
{
    struct directory_shard *shard;
    const struct content *content;
    bool valid;

    if ((binding->flags & DIRECTORY_REMOVED) != 0) {
        ++*removed;
        return block_id_is_zero(&binding->id);
    }
    ++*live;
    shard = directory_id_shard(directory, &binding->id);
    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    valid = content != NULL &&
            directory_reference(directory, content, &binding->key,
                                binding->version) != NULL;
    directory_shard_unlock(shard);
    return valid;
}

static bool
bindings_are_valid(struct directory *directory, uint64_t *live)
{
    uint64_t removed = 0;
    bool valid = true;

    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->key_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->key_buckets; b++) {
            uint32_t record = shard->buckets[b];

            for (; record != NO_RECORD;
                 record = directory->bindings[record].next) {
                valid = valid && binding_is_valid(directory,
                                                  &directory->bindings[record],
                                                  live, &removed);
            }
        }
        directory_shard_unlock(shard);
    }
    return valid && *live == atomic_load(&directory->live_keys) &&
           removed == atomic_load(&directory->removals);
}

bool
directory_is_valid(struct directory *directory)
{
    uint64_t live = 0;
    uint64_t protected_bytes = 0;
    bool valid = bindings_are_valid(directory, &live);

    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->id_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->id_buckets; b++) {
            uint32_t record = shard->buckets[b];

            for (; record != NO_RECORD;
                 record = directory->contents[record].next) {
                valid = valid && content_is_valid(&directory->contents[record],
                                                  &protected_bytes);
            }
        }
        directory_shard_unlock(shard);
    }
    return valid &&
           protected_bytes == atomic_load(&directory->protected_bytes) &&
           directory->reference_pool.taken == live;
}
