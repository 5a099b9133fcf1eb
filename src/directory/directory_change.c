// SPDX-License-Identifier: Apache-2.0
//
// Changes of bindings that bring no content: remove, protect, clear. Each gives
// the binding a new version under its key's shard. Protection takes the next one
// after that of the binding, so that a clear which began before does not miss it.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

enum cascade_status
directory_remove(struct directory *directory, const struct block_key *key,
                 struct directory_freed *freed)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;
    bool served = false;

    memset(freed, 0, sizeof(*freed));
    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && !directory_binding_is_removed(binding)) {
        served = directory_is_served(directory, binding);
        directory_drop_reference(directory, binding, freed);
        // A record of this very version may be on its way to a segment, so a
        // dirty binding counts as one that may be there.
        directory_end_binding(directory, binding,
                              directory_next_version(directory),
                              directory->options.keep_removals);
    }
    directory_shard_unlock(shard);
    return served ? CASCADE_OK : CASCADE_NOT_FOUND;
}

// Under the key's shard: re-labels the reference of a binding with a version
// and sets its protection. NO_SPACE: the budget refuses; nothing changed.
static enum cascade_status
protect_reference(struct directory *directory, const struct binding *binding,
                  struct block_version version, bool protect,
                  struct directory_found *found)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    struct content *content;
    struct reference *reference = NULL;
    enum cascade_status status = CASCADE_NOT_FOUND;

    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL && directory_content_has_place(content)) {
        reference = directory_reference(directory, content, &binding->key,
                                        binding->version);
    }
    if (reference != NULL) {
        status = CASCADE_OK;
        if (!protect) {
            directory_reference_unprotect(directory, content, reference);
        } else if (!directory_reference_protect(directory, content,
                                                reference)) {
            status = error_set(CASCADE_NO_SPACE,
                               "the budget of protected blocks is used up; "
                               "raise prefix_fraction_max or unprotect others");
        }
    }
    if (status == CASCADE_OK) {
        reference->version = version;
        directory_show_content(content, found);
    }
    directory_shard_unlock(shard);
    return status;
}

// Under the key's shard.
static enum cascade_status
protect_binding(struct directory *directory, struct binding *binding,
                struct block_version version, bool protect,
                struct directory_found *found)
{
    struct directory_found seen;
    enum cascade_status status;

    directory_show_binding(binding, &seen);
    status = protect_reference(directory, binding, version, protect, &seen);
    if (status != CASCADE_OK) {
        return status;
    }
    binding->version = version;
    binding->flags = (uint16_t)(binding->flags &
                                ~(DIRECTORY_PROTECTED |
                                  DIRECTORY_PROTECTED_ELSEWHERE));
    binding->flags |= DIRECTORY_DIRTY;
    if (binding->record_segment != DIRECTORY_NO_SEGMENT) {
        binding->flags |= DIRECTORY_OLDER;
        binding->record_segment = DIRECTORY_NO_SEGMENT;
    }
    if (protect) {
        binding->flags |= DIRECTORY_PROTECTED;
    }
    seen.version = version;
    seen.flags = binding->flags;
    *found = seen;
    return CASCADE_OK;
}

enum cascade_status
directory_protect(struct directory *directory, const struct block_key *key,
                  bool protect, struct directory_found *found)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;
    enum cascade_status status = CASCADE_NOT_FOUND;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && !directory_binding_is_removed(binding)) {
        status = protect_binding(directory, binding,
                                 block_version_after(binding->version), protect,
                                 found);
    }
    directory_shard_unlock(shard);
    return status;
}

enum cascade_status
directory_renew(struct directory *directory, const struct block_key *key,
                struct block_version version, struct block_version renewed,
                bool protect, struct directory_found *found)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;
    enum cascade_status status = CASCADE_NOT_FOUND;

    directory_see_version(directory, renewed);
    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && !directory_binding_is_removed(binding) &&
        (binding->flags & DIRECTORY_GUEST) == 0) {
        status = block_version_compare(binding->version, version) != 0
                     ? CASCADE_STALE
                     : protect_binding(directory, binding, renewed, protect,
                                       found);
    }
    directory_shard_unlock(shard);
    return status;
}

// Under the shard of the binding, which goes.
static void
clear_binding(struct directory *directory, struct binding *binding,
              struct directory_freed *freed)
{
    memset(freed, 0, sizeof(*freed));
    if (directory_binding_is_removed(binding)) {
        atomic_fetch_sub(&directory->removals, 1);
    } else {
        directory_drop_reference(directory, binding, freed);
        atomic_fetch_sub(&directory->live_keys, 1);
    }
    directory_binding_delete(directory, binding);
}

void
directory_clear_below(struct directory *directory, struct block_version version,
                      void (*freed)(void *context,
                                    const struct directory_freed *freed),
                      void *context)
{
    uint64_t cleared = atomic_load(&directory->cleared_ns);

    directory_see_version(directory, version);

    // Before the walk: whoever binds behind it sees this.
    while (cleared < version.time_ns &&
           !atomic_compare_exchange_weak(&directory->cleared_ns, &cleared,
                                         version.time_ns)) {
    }
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->key_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->key_buckets; b++) {
            uint32_t record = shard->buckets[b];

            while (record != NO_RECORD) {
                struct binding *binding = &directory->bindings[record];
                struct directory_freed one;

                record = binding->next;
                if (block_version_compare(binding->version, version) > 0) {
                    continue;
                }
                clear_binding(directory, binding, &one);
                if (one.any || one.unprotected) {
                    freed(context, &one);
                }
            }
        }
        directory_shard_unlock(shard);
    }
}

struct block_version
directory_clear(struct directory *directory,
                void (*freed)(void *context,
                              const struct directory_freed *freed),
                void *context)
{
    struct block_version version = directory_next_version(directory);

    directory_clear_below(directory, version, freed, context);
    return version;
}
