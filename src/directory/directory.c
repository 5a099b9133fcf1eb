// SPDX-License-Identifier: Apache-2.0
//
// Looking: what a key is bound to and where the content is; and the versions,
// which order everything. One shard is locked at a time. Nothing changes.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

struct block_version
directory_next_version(struct directory *directory)
{
    uint64_t wall = clock_wall_ns(directory->options.clock);
    uint64_t last = atomic_load(&directory->version_time_ns);
    uint64_t next;

    do {
        next = wall > last ? wall : last + 1;
    } while (!atomic_compare_exchange_weak(&directory->version_time_ns, &last,
                                           next));
    return (struct block_version){next, directory->options.version_tag};
}

void
directory_see_version(struct directory *directory, struct block_version version)
{
    uint64_t last = atomic_load(&directory->version_time_ns);

    while (last < version.time_ns &&
           !atomic_compare_exchange_weak(&directory->version_time_ns, &last,
                                         version.time_ns)) {
    }
}

enum cascade_status
directory_find_binding(struct directory *directory, const struct block_key *key,
                       struct directory_found *found)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    const struct binding *binding;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL) {
        directory_show_binding(binding, found);
    }
    directory_shard_unlock(shard);
    return binding != NULL ? CASCADE_OK : CASCADE_NOT_FOUND;
}

enum cascade_status
directory_find(struct directory *directory, const struct block_key *key,
               struct directory_found *found, bool *was_known)
{
    struct directory_found seen;
    struct directory_shard *shard;
    const struct content *content;
    bool served = false;

    if (was_known != NULL) {
        *was_known = false;
    }
    if (directory_find_binding(directory, key, &seen) != CASCADE_OK) {
        return CASCADE_NOT_FOUND;
    }
    if (was_known != NULL) {
        *was_known = true;
    }
    if ((seen.flags & DIRECTORY_REMOVED) != 0) {
        return CASCADE_NOT_FOUND;
    }
    // The binding may move meanwhile; its id still names the bytes that were
    // bound when this call looked.
    shard = directory_id_shard(directory, &seen.id);
    directory_shard_lock(shard);
    content = directory_content(directory, &seen.id);
    if (content != NULL && directory_content_has_place(content)) {
        directory_show_content(content, &seen);
        served = true;
    }
    directory_shard_unlock(shard);
    if (!served) {
        return CASCADE_NOT_FOUND;
    }
    *found = seen;
    return CASCADE_OK;
}

enum cascade_status
directory_find_content(struct directory *directory, const struct block_id *id,
                       struct directory_found *found)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct directory_found seen;
    const struct content *content;

    memset(&seen, 0, sizeof(seen));
    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL && content->references == NO_RECORD) {
        content = NULL; // being loaded
    }
    if (content != NULL) {
        const struct reference *first =
            &directory->references[content->references];

        directory_show_content(content, &seen);
        seen.key = first->key;
        seen.version = first->version;
    }
    directory_shard_unlock(shard);
    if (content == NULL) {
        return CASCADE_NOT_FOUND;
    }
    *found = seen;
    return CASCADE_OK;
}
