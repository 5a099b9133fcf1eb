// SPDX-License-Identifier: Apache-2.0
//
// What the home of a key decides about its binding at this rank: a guest is
// confirmed or taken back, a binding ends. Each under the key's shard, with the
// id's inside. See docs/DIRECTORY_PROTOCOL.md for who decides when.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Under the key's shard: the reference of a guest becomes one that keeps.
static bool
keep_reference(struct directory *directory, const struct binding *binding)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    struct content *content;
    struct reference *reference = NULL;

    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL) {
        reference = directory_reference(directory, content, &binding->key,
                                        binding->version);
    }
    if (reference != NULL) {
        bool was_dirty = directory_content_is_dirty(directory, content);

        reference->binding &= ~REFERENCE_GUEST;
        if (directory_is_listed(&content->memory)) {
            content->memory.put = 1;
        }
        directory_content_account(directory, content, was_dirty);
    }
    directory_shard_unlock(shard);
    return reference != NULL;
}

enum cascade_status
directory_confirm(struct directory *directory, const struct block_key *key,
                  struct block_version version)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;
    enum cascade_status status = CASCADE_STALE;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && !directory_binding_is_removed(binding) &&
        block_version_compare(binding->version, version) == 0) {
        if ((binding->flags & DIRECTORY_GUEST) == 0) {
            status = CASCADE_OK;
        } else if (keep_reference(directory, binding)) {
            (void)directory_take_replaced(directory, binding);
            binding->flags = (uint16_t)(binding->flags & ~DIRECTORY_GUEST);
            binding->flags |= DIRECTORY_DIRTY;
            status = CASCADE_OK;
        }
    }
    directory_shard_unlock(shard);
    return status;
}

void
directory_end(struct directory *directory, const struct block_key *key,
              struct block_version below, bool keep,
              struct directory_freed *freed)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;

    memset(freed, 0, sizeof(*freed));
    directory_see_version(directory, below);
    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && !directory_binding_is_removed(binding) &&
        block_version_compare(binding->version, below) < 0) {
        bool is_guest = (binding->flags & DIRECTORY_GUEST) != 0;
        struct block_version version = binding->version;

        // A removal of its own version hides what segments hold of it, and
        // nothing that was bound since. Of what a guest stands in place of it is
        // kept in any case: it may be a removal itself.
        directory_drop_reference(directory, binding, freed);
        if (is_guest) {
            version = directory_take_replaced(directory, binding);
            keep = !block_version_is_zero(version);
        }
        directory_end_binding(directory, binding, version,
                              keep && directory->options.keep_removals);
    }
    directory_shard_unlock(shard);
}

void
directory_retract(struct directory *directory, const struct block_key *key,
                  struct block_version version, struct directory_freed *freed)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;

    memset(freed, 0, sizeof(*freed));
    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && (binding->flags & DIRECTORY_GUEST) != 0 &&
        block_version_compare(binding->version, version) == 0) {
        directory_drop_reference(directory, binding, freed);
        directory_end_guest(directory, binding);
    }
    directory_shard_unlock(shard);
}
