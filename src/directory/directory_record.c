// SPDX-License-Identifier: Apache-2.0
//
// What segments know of bindings: which record holds which version, and which
// removals must be kept. A record that lands late is outranked by a version that
// is given afterwards.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Under the key's shard: a live binding gets a new version, and its reference
// with it.
static void
renew_version(struct directory *directory, struct binding *binding)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    struct block_version version = directory_next_version(directory);
    struct content *content;
    struct reference *reference = NULL;

    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL) {
        reference = directory_reference(directory, content, &binding->key,
                                        binding->version);
    }
    if (reference != NULL) {
        reference->version = version;
        binding->version = version;
        binding->record_segment = DIRECTORY_NO_SEGMENT;
        binding->flags |= DIRECTORY_DIRTY;
    }
    directory_shard_unlock(shard);
}

// What a removal must be called to hide that record. Among ranks another one may
// have bound the key since: a removal of the record's own version will do.
static struct block_version
outranking(struct directory *directory, struct block_version removal,
           struct block_version record)
{
    if (!directory->options.shared || block_version_is_zero(record)) {
        return directory_next_version(directory);
    }
    return block_version_compare(removal, record) > 0 ? removal : record;
}

// Under the key's shard: a record that is not of the newest version landed in a
// segment made after the newer version was given. Only a version given now
// outranks it for as long as that segment lives. A live binding needs that only
// if the record's version is the greater one: that of a put which was refused.
static void
outrank_record(struct directory *directory, const struct block_key *key,
               struct block_version version, struct binding *binding)
{
    if (binding == NULL) {
        binding = directory_binding_add(directory, key, NULL);
        if (binding == NULL) {
            return;
        }
        binding->flags = DIRECTORY_REMOVED;
        atomic_fetch_add(&directory->removals, 1);
    }
    binding->flags |= DIRECTORY_OLDER;
    if (directory_binding_is_removed(binding)) {
        binding->version = outranking(directory, binding->version, version);
        binding->record_segment = DIRECTORY_NO_SEGMENT;
        binding->flags |= DIRECTORY_DIRTY;
    } else if ((binding->flags & DIRECTORY_GUEST) == 0 &&
               block_version_compare(binding->version, version) < 0) {
        renew_version(directory, binding);
    }
}

void
directory_note_record(struct directory *directory, const struct block_key *key,
                      struct block_version version, bool removal,
                      uint32_t segment)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL &&
        block_version_compare(binding->version, version) == 0) {
        // A removal may have the version of what it removed, whose record
        // lands late: then its own is wanted still.
        if (directory_binding_is_removed(binding) == removal &&
            (binding->flags & DIRECTORY_GUEST) == 0) {
            binding->flags = (uint16_t)(binding->flags & ~DIRECTORY_DIRTY);
            binding->record_segment = segment;
        }
    } else {
        outrank_record(directory, key, version, binding);
    }
    directory_shard_unlock(shard);
}

void
directory_forget_record(struct directory *directory,
                        const struct block_key *key, uint32_t segment)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && (binding->flags & DIRECTORY_REPLACED) == 0 &&
        binding->record_segment == segment) {
        binding->record_segment = DIRECTORY_NO_SEGMENT;
        binding->flags |= DIRECTORY_DIRTY | DIRECTORY_OLDER;
    }
    directory_shard_unlock(shard);
}

// Takes the key of reference number `index` of the content, if there is one.
static bool
reference_at(struct directory *directory, const struct block_id *id,
             uint32_t index, struct block_key *key)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    const struct content *content;
    uint32_t record = NO_RECORD;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL) {
        record = content->references;
        while (record != NO_RECORD && index > 0) {
            record = directory->references[record].next;
            index--;
        }
        if (record != NO_RECORD) {
            *key = *directory_reference_key(directory, record);
        }
    }
    directory_shard_unlock(shard);
    return record != NO_RECORD;
}

void
directory_dirty_bindings(struct directory *directory, const struct block_id *id)
{
    struct block_key key;

    for (uint32_t i = 0; reference_at(directory, id, i, &key); i++) {
        struct directory_shard *shard = directory_key_shard(directory, &key);
        struct binding *binding;

        directory_shard_lock(shard);
        binding = directory_binding(directory, &key);
        if (binding != NULL &&
            (binding->flags & (DIRECTORY_REMOVED | DIRECTORY_GUEST)) == 0) {
            if (binding->record_segment != DIRECTORY_NO_SEGMENT) {
                binding->flags |= DIRECTORY_OLDER;
            }
            binding->flags |= DIRECTORY_DIRTY;
        }
        directory_shard_unlock(shard);
    }
}

static bool
is_needed(const struct directory *directory, const struct binding *removal,
          struct block_version older_than, uint32_t oldest_segment)
{
    if (!directory->options.shared) {
        return block_version_compare(removal->version, older_than) >= 0;
    }
    return (removal->flags & DIRECTORY_DIRTY) != 0 ||
           removal->record_segment == DIRECTORY_NO_SEGMENT ||
           removal->record_segment != oldest_segment;
}

bool
directory_drop_removal(struct directory *directory, const struct block_key *key,
                       struct block_version older_than, uint32_t oldest_segment)
{
    struct directory_shard *shard = directory_key_shard(directory, key);
    struct binding *binding;
    bool dropped = false;

    directory_shard_lock(shard);
    binding = directory_binding(directory, key);
    if (binding != NULL && directory_binding_is_removed(binding) &&
        !is_needed(directory, binding, older_than, oldest_segment)) {
        directory_binding_delete(directory, binding);
        atomic_fetch_sub(&directory->removals, 1);
        dropped = true;
    }
    directory_shard_unlock(shard);
    return dropped;
}
