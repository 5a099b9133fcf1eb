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

// A content with one of the bindings that name it.
static void
show_with_binding(const struct directory *directory,
                  const struct content *content, struct directory_found *found)
{
    uint32_t shown = content->references;

    // A guest only where there is nothing else.
    found->guest = directory_content_is_guest(directory, content);
    while (!found->guest &&
           (directory->references[shown].binding & REFERENCE_GUEST) != 0) {
        shown = directory->references[shown].next;
    }
    directory_show_content(content, found);
    found->key = *directory_reference_key(directory, shown);
    found->version = directory->references[shown].version;
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
        show_with_binding(directory, content, &seen);
    }
    directory_shard_unlock(shard);
    if (content == NULL) {
        return CASCADE_NOT_FOUND;
    }
    *found = seen;
    return CASCADE_OK;
}

bool
directory_has_copy(struct directory *directory, const struct block_id *id)
{
    struct directory_found found;

    return directory_find_content(directory, id, &found) == CASCADE_OK &&
           (block_place_is_set(&found.memory) ||
            block_place_is_set(&found.cold));
}

// The content that was last listed in the slot, with its id's shard locked; NULL
// (and nothing locked) if it is there no more.
static const struct content *
lock_content_in(struct directory *directory, uint32_t slot,
                struct directory_shard **shard)
{
    const struct content *content;
    struct block_id id;
    uint32_t after = 0;

    if (slot < directory->options.memory_slots) {
        after = atomic_load_explicit(&directory->slot_contents[slot],
                                     memory_order_relaxed);
    }
    if (after == 0) {
        return NULL;
    }
    // The record may be another's by now, or become so.
    id = directory_content_id(&directory->contents[after - 1]);
    *shard = directory_id_shard(directory, &id);
    directory_shard_lock(*shard);
    content = directory_content(directory, &id);
    if (content == NULL || !directory_is_listed(&content->memory) ||
        content->memory.slot != slot || content->references == NO_RECORD) {
        directory_shard_unlock(*shard);
        return NULL;
    }
    return content;
}

enum cascade_status
directory_find_slot(struct directory *directory, uint32_t slot,
                    struct directory_found *found)
{
    struct directory_shard *shard = NULL;
    const struct content *content = lock_content_in(directory, slot, &shard);
    struct directory_found seen;

    if (content == NULL) {
        return CASCADE_NOT_FOUND;
    }
    memset(&seen, 0, sizeof(seen));
    show_with_binding(directory, content, &seen);
    directory_shard_unlock(shard);
    *found = seen;
    return CASCADE_OK;
}

enum cascade_status
directory_find_key_in(struct directory *directory, uint32_t slot,
                      uint32_t key_check, struct block_key *key)
{
    struct directory_shard *shard = NULL;
    const struct content *content = lock_content_in(directory, slot, &shard);
    enum cascade_status status = CASCADE_NOT_FOUND;

    if (content == NULL) {
        return CASCADE_NOT_FOUND;
    }
    for (uint32_t record = content->references;
         record != NO_RECORD && status != CASCADE_OK;
         record = directory->references[record].next) {
        const struct block_key *have = directory_reference_key(directory,
                                                               record);

        if (directory_key_check(have) == key_check) {
            *key = *have;
            status = CASCADE_OK;
        }
    }
    directory_shard_unlock(shard);
    return status;
}

uint32_t
directory_key_check(const struct block_key *key)
{
    uint32_t check_word;

    memcpy(&check_word, key->bytes + sizeof(key->bytes) - sizeof(check_word),
           sizeof(check_word));
    return check_word;
}

void
directory_look(struct directory *directory, const struct block_id *id,
               directory_look_at *look, void *context)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    const struct content *content;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL && directory_is_listed(&content->memory)) {
        struct block_place memory = directory_place_of(content,
                                                       &content->memory);

        look(context, &memory, content->protected_references > 0);
    }
    directory_shard_unlock(shard);
}
