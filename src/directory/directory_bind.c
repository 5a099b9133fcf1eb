// SPDX-License-Identifier: Apache-2.0
//
// Bind: the moment at which a put happens. Under the key's shard the conditions
// are looked at, the copy is listed and named under the id's shard, and only
// then the binding changes; so nobody sees a key whose content has no name.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Under the id's shard: lists the caller's copy unless there is such a one.
static void
take_place(struct directory *directory, struct content *content,
           const struct directory_bind *bind, struct directory_bound *bound)
{
    bool was_dirty = directory_content_is_dirty(directory, content);

    bound->deduplicated = directory_content_has_place(content);
    bound->place_taken = false;
    if (!block_place_is_set(&bind->place)) {
        return;
    }
    if (!bound->deduplicated) {
        // A record without its payload may have brought the content in.
        content->bytes = bind->bytes;
        content->checksum = bind->place.checksum;
    }
    if (bind->place.tier == CASCADE_TIER_SEGMENTS) {
        if (!directory_content_has_place(content)) {
            directory_list_place(directory, content, &bind->place);
            bound->place_taken = true;
        }
        return;
    }
    if (!directory_is_listed(&content->memory)) {
        directory_list_place(directory, content, &bind->place);
        content->checksum = bind->place.checksum;
        bound->place_taken = true;
        directory_content_account(directory, content, was_dirty);
    }
    if ((bind->flags & DIRECTORY_BIND_GUEST) == 0) {
        content->memory.put = 1;
    }
}

// Under the key's shard: puts (key, version) into the set of the id and lists
// the copy. NO_SPACE: a pool is empty, nothing changed.
static enum cascade_status
name_content(struct directory *directory, const struct directory_bind *bind,
             const struct binding *binding, struct block_version version,
             struct directory_bound *bound)
{
    struct directory_shard *shard = directory_id_shard(directory, &bind->id);
    struct content *content;
    struct reference *reference = NULL;

    directory_shard_lock(shard);
    content = directory_content(directory, &bind->id);
    if (content == NULL && block_place_is_set(&bind->place)) {
        content = directory_content_add(directory, &bind->id, bind->bytes,
                                        bind->place.checksum, NULL);
    }
    if (content != NULL) {
        reference = directory_reference_add(
            directory, content, binding, version,
            (bind->flags & DIRECTORY_BIND_GUEST) != 0, NULL);
        if (reference == NULL && content->references == NO_RECORD) {
            directory_content_delete(directory, content);
        }
    }
    if (reference == NULL) {
        directory_shard_unlock(shard);
        return error_set(CASCADE_NO_SPACE,
                         "the index is full; raise max_blocks");
    }
    take_place(directory, content, bind, bound);
    if ((bind->flags & DIRECTORY_BIND_PROTECT) != 0) {
        bound->protected_now = directory_reference_protect(directory, content,
                                                           reference);
        bound->protection_refused = !bound->protected_now;
    }
    directory_shard_unlock(shard);
    return CASCADE_OK;
}

// Under the key's shard: the conditions of a bind.
static enum cascade_status
may_bind(struct directory *directory, const struct binding *old,
         const struct directory_bind *bind, struct directory_bound *bound)
{
    // What a guest is bound to may have changed at its home.
    if (old == NULL || directory_binding_is_removed(old) ||
        (old->flags & DIRECTORY_GUEST) != 0 ||
        !directory_is_served(directory, old)) {
        return CASCADE_OK;
    }
    bound->existed = true;
    if ((bind->flags & DIRECTORY_BIND_IF_ABSENT) != 0) {
        return CASCADE_EXISTS;
    }
    if (!directory->options.rebind_allowed &&
        !block_id_equal(&old->id, &bind->id)) {
        return CASCADE_EXISTS;
    }
    return CASCADE_OK;
}

// Under the key's shard: what a guest is going to stand in place of is noted. A
// guest that stands there already passes it on. NO_SPACE: nothing changed.
static enum cascade_status
note_replaced(struct directory *directory, struct binding *binding,
              uint32_t *record)
{
    bool is_guest = (binding->flags & DIRECTORY_GUEST) != 0;

    *record = NO_RECORD;
    if ((binding->flags & DIRECTORY_REPLACED) != 0) {
        *record = binding->record_segment;
    } else if (!is_guest && !block_version_is_zero(binding->version) &&
               directory->options.shared) {
        *record = record_pool_take(&directory->replaced_pool);
        if (*record == NO_RECORD) {
            return error_set(CASCADE_NO_SPACE,
                             "too many keys of this rank are being bound anew; "
                             "raise max_blocks");
        }
        directory->replaced[*record] = binding->version;
    }
    return CASCADE_OK;
}

static void
forget_replaced(struct directory *directory, const struct binding *binding,
                uint32_t record)
{
    if (record != NO_RECORD && (binding->flags & DIRECTORY_REPLACED) == 0) {
        record_pool_give(&directory->replaced_pool, record);
    }
}

// Under the key's shard: the binding's fields after a successful bind.
// `replaced`: of a guest.
static void
set_binding(struct directory *directory, struct binding *binding,
            const struct directory_bind *bind, struct block_version version,
            bool protected_now, uint32_t replaced)
{
    uint16_t older = binding->flags &
                     (DIRECTORY_OLDER | DIRECTORY_REMOVED | DIRECTORY_REPLACED);
    // A record of what a guest replaces may be on its way.
    bool on_segments = replaced != NO_RECORD || older != 0 ||
                       binding->record_segment != DIRECTORY_NO_SEGMENT;

    if (replaced == NO_RECORD) {
        (void)directory_take_replaced(directory, binding);
    }
    binding->id = bind->id;
    binding->version = version;
    binding->flags = (bind->flags & DIRECTORY_BIND_GUEST) != 0
                         ? DIRECTORY_GUEST
                         : DIRECTORY_DIRTY;
    binding->record_segment = DIRECTORY_NO_SEGMENT;
    if (replaced != NO_RECORD) {
        binding->record_segment = replaced;
        binding->flags |= DIRECTORY_REPLACED;
    }
    if (on_segments) {
        binding->flags |= DIRECTORY_OLDER;
    }
    if (protected_now) {
        binding->flags |= DIRECTORY_PROTECTED;
    }
    if ((bind->flags & DIRECTORY_BIND_SURROGATE) != 0) {
        binding->flags |= DIRECTORY_SURROGATE;
    }
    if (binding->key_handle == DIRECTORY_NO_KEY && bind->key_bytes > 0) {
        binding->key_handle = directory_keys_add(
            &directory->keys, bind->key_data, bind->key_bytes);
        if (binding->key_handle != DIRECTORY_NO_KEY) {
            binding->key_bytes = (uint16_t)bind->key_bytes;
        }
    }
}

// Under the key's shard: the key is bound to this content already. Lists the
// caller's copy if it is needed; the binding keeps its version. False if the
// bind changes more than that.
static bool
bind_again(struct directory *directory, struct binding *binding,
           const struct directory_bind *bind, struct directory_bound *bound)
{
    struct directory_shard *shard = directory_id_shard(directory, &bind->id);
    struct content *content;
    bool done = false;

    if ((bind->flags & DIRECTORY_BIND_PROTECT) != 0 &&
        (binding->flags & DIRECTORY_PROTECTED) == 0) {
        return false;
    }
    directory_shard_lock(shard);
    content = directory_content(directory, &bind->id);
    if (content != NULL && directory_reference(directory, content, &bind->key,
                                               binding->version) != NULL) {
        take_place(directory, content, bind, bound);
        bound->version = binding->version;
        bound->protected_now = (binding->flags & DIRECTORY_PROTECTED) != 0;
        if (content->cold.durable == 0) {
            // Its copy on segments went, and its bindings were not told yet;
            // or it is another job's.
            binding->flags |= DIRECTORY_DIRTY;
        }
        done = true;
    }
    directory_shard_unlock(shard);
    return done;
}

// Under the key's shard.
static enum cascade_status
bind_locked(struct directory *directory, const struct directory_bind *bind,
            struct directory_bound *bound)
{
    struct binding *binding = directory_binding(directory, &bind->key);
    bool is_new = binding == NULL;
    bool was_live = !is_new && !directory_binding_is_removed(binding);
    bool is_guest = (bind->flags & DIRECTORY_BIND_GUEST) != 0;
    uint32_t replaced = NO_RECORD;
    struct binding old;
    enum cascade_status status = may_bind(directory, binding, bind, bound);

    if (status != CASCADE_OK) {
        return status;
    }
    if (was_live && block_id_equal(&binding->id, &bind->id) &&
        (binding->flags & DIRECTORY_GUEST) == 0 &&
        bind_again(directory, binding, bind, bound)) {
        bound->kept = true;
        return CASCADE_OK;
    }
    bound->version = block_version_is_zero(bind->version)
                         ? directory_next_version(directory)
                         : bind->version;
    // A version reserved before a removal or a clear would lose against it.
    if ((!is_new &&
         block_version_compare(bound->version, binding->version) <= 0) ||
        bound->version.time_ns <= atomic_load(&directory->cleared_ns)) {
        if ((bind->flags & DIRECTORY_BIND_EXACT) != 0) {
            return error_set(CASCADE_STALE,
                             "the key was bound or cleared since");
        }
        bound->version = directory_next_version(directory);
    }
    if (is_new) {
        binding = directory_binding_add(directory, &bind->key, NULL);
        if (binding == NULL) {
            return error_set(CASCADE_NO_SPACE,
                             "the index is full; raise max_blocks");
        }
    }
    old = *binding;
    if (is_guest) {
        status = note_replaced(directory, binding, &replaced);
    }
    if (status == CASCADE_OK) {
        status = name_content(directory, bind, binding, bound->version, bound);
    }
    if (status != CASCADE_OK) {
        forget_replaced(directory, binding, replaced);
        if (is_new) {
            directory_binding_delete(directory, binding);
        }
        return status;
    }
    if (was_live) {
        directory_drop_reference(directory, &old, &bound->freed);
    } else {
        atomic_fetch_add(&directory->live_keys, 1);
        if (!is_new) {
            atomic_fetch_sub(&directory->removals, 1);
        }
    }
    set_binding(directory, binding, bind, bound->version, bound->protected_now,
                replaced);
    return CASCADE_OK;
}

enum cascade_status
directory_bind(struct directory *directory, const struct directory_bind *bind,
               struct directory_bound *bound)
{
    struct directory_shard *shard = directory_key_shard(directory, &bind->key);
    struct directory_bound result;
    enum cascade_status status;

    memset(&result, 0, sizeof(result));
    directory_shard_lock(shard);
    status = bind_locked(directory, bind, &result);
    directory_shard_unlock(shard);
    if (status == CASCADE_OK) {
        *bound = result;
    } else {
        bound->existed = result.existed;
    }
    return status;
}
