// SPDX-License-Identifier: Apache-2.0
//
// Steps that several changes of a binding share. The caller holds the shard of
// the key; the shard of the id is taken inside.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

void
directory_show_content(const struct content *content,
                       struct directory_found *found)
{
    found->id = directory_content_id(content);
    found->bytes = content->bytes;
    found->checksum = content->checksum;
    found->content_protected = content->protected_references > 0;
    found->cold_durable = content->cold.durable != 0;
    found->cold_hit = content->cold.hit != 0;
    found->memory_put = content->memory.put != 0;
    found->memory = directory_place_of(content, &content->memory);
    found->cold = directory_place_of(content, &content->cold);
}

void
directory_show_binding(const struct binding *binding,
                       struct directory_found *found)
{
    memset(found, 0, sizeof(*found));
    found->key = binding->key;
    found->version = binding->version;
    found->id = binding->id;
    found->flags = binding->flags;
    found->record_segment = binding->record_segment;
}

// Under the key's shard: removes the reference of a live binding.
void
directory_drop_reference(struct directory *directory,
                         const struct binding *binding,
                         struct directory_freed *freed)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    struct content *content;

    memset(freed, 0, sizeof(*freed));
    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL) {
        directory_reference_remove(directory, content, &binding->key,
                                   binding->version, freed);
    }
    directory_shard_unlock(shard);
}

// Under the key's shard: the content of the binding has a place.
bool
directory_is_served(struct directory *directory, const struct binding *binding)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    const struct content *content;
    bool served;

    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    served = content != NULL && directory_content_has_place(content);
    directory_shard_unlock(shard);
    return served;
}

struct block_version
directory_take_replaced(struct directory *directory, struct binding *binding)
{
    struct block_version version = {0};

    if ((binding->flags & DIRECTORY_REPLACED) != 0) {
        version = directory->replaced[binding->record_segment];
        record_pool_give(&directory->replaced_pool, binding->record_segment);
        binding->record_segment = DIRECTORY_NO_SEGMENT;
        binding->flags = (uint16_t)(binding->flags & ~DIRECTORY_REPLACED);
    }
    return version;
}

// Under the key's shard: a live binding ends at `version`. It is kept as a
// removal where older records could come back.
void
directory_end_binding(struct directory *directory, struct binding *binding,
                      struct block_version version, bool keep)
{
    (void)directory_take_replaced(directory, binding);
    atomic_fetch_sub(&directory->live_keys, 1);
    if (!keep) {
        directory_binding_delete(directory, binding);
        return;
    }
    binding->version = version;
    memset(&binding->id, 0, sizeof(binding->id));
    binding->record_segment = DIRECTORY_NO_SEGMENT;
    binding->flags = DIRECTORY_REMOVED | DIRECTORY_DIRTY | DIRECTORY_OLDER;
    atomic_fetch_add(&directory->removals, 1);
}

void
directory_end_guest(struct directory *directory, struct binding *binding)
{
    const struct directory_options *options = &directory->options;
    struct block_version replaced = directory_take_replaced(directory, binding);
    bool any = !block_version_is_zero(replaced);

    if (any && options->binding_gone != NULL) {
        options->binding_gone(options->context, &binding->key, replaced);
    }
    directory_end_binding(directory, binding, replaced,
                          any && options->keep_removals);
}

bool
directory_may_be_on_segments(const struct directory *directory,
                             const struct binding *binding)
{
    return directory->options.keep_removals &&
           (directory->options.shared ||
            (binding->flags & DIRECTORY_OLDER) != 0 ||
            binding->record_segment != DIRECTORY_NO_SEGMENT);
}
