// SPDX-License-Identifier: Apache-2.0
//
// Records found on segments become bindings and places: the highest version
// wins, whatever the order. Under the key's shard, the id's inside; clears are
// gathered under load_lock.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Looks at one record of a store that serves.
#define SERVED_TRIES 2

// Contents that only a place brought in, without any binding, go; the number of
// those. What another load is about to name stays.
static uint32_t
drop_unnamed(struct directory *directory)
{
    uint32_t dropped = 0;

    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->id_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->id_buckets; b++) {
            uint32_t record = shard->buckets[b];

            while (record != NO_RECORD) {
                struct content *content = &directory->contents[record];

                record = content->next;
                if (content->references == NO_RECORD &&
                    content->protected_references == 0) {
                    directory_content_delete(directory, content);
                    dropped++;
                }
            }
        }
        directory_shard_unlock(shard);
    }
    return dropped;
}

// A new content. While loading, contents that nothing names (any more) make room
// for it: what names one of them later is then forgotten, not lied about. The
// shard is held and let go meanwhile, so that another load may bring the same
// content. NULL: the index is full of what is named.
static struct content *
add_loaded(struct directory *directory, struct directory_shard *shard,
           const struct block_id *id, uint64_t bytes, uint32_t checksum)
{
    struct content *content = directory_content_add(directory, id, bytes,
                                                    checksum);
    uint32_t dropped = 1;

    while (content == NULL && !directory->loaded && dropped > 0 &&
           !atomic_load(&directory->load_is_full)) {
        directory_shard_unlock(shard);
        dropped = drop_unnamed(directory);
        directory_shard_lock(shard);
        content = directory_content(directory, id);
        if (content == NULL) {
            content = directory_content_add(directory, id, bytes, checksum);
        }
        if (content == NULL && dropped == 0) {
            atomic_store(&directory->load_is_full, true);
        }
    }
    return content;
}

// While loading there is no protection yet, and its count tells how many loads
// are about to name the content: between its place and its name it is theirs.
static void
let_go(struct directory *directory, const struct block_id *id)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    check(content != NULL && content->protected_references > 0);
    content->protected_references--;
    directory_shard_unlock(shard);
}

// Under the key's shard: takes the old reference away, if there is one. The
// content stays, with its places: a record read later may name it.
static void
unload_reference(struct directory *directory, const struct binding *binding)
{
    struct directory_shard *shard;
    struct content *content;

    if ((binding->flags & DIRECTORY_REMOVED) != 0) {
        return;
    }
    shard = directory_id_shard(directory, &binding->id);
    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL) {
        (void)directory_reference_delete(directory, content, &binding->key,
                                         binding->version);
    }
    directory_shard_unlock(shard);
}

// Under the key's shard: names the content of a loaded binding. Places without
// a binding yet are noted by load_place, so the content may exist already.
static enum cascade_status
load_reference(struct directory *directory, const struct block_label *label,
               const struct binding *binding)
{
    struct directory_shard *shard = directory_id_shard(directory, &label->id);
    struct content *content;
    bool named = false;

    directory_shard_lock(shard);
    content = directory_content(directory, &label->id);
    if (content == NULL) {
        content = add_loaded(directory, shard, &label->id, 0, 0);
    }
    named = content != NULL &&
            directory_reference_add(directory, content, binding, label->version,
                                    false) != NULL;
    if (content != NULL && content->references == NO_RECORD &&
        content->protected_references == 0) {
        directory_content_delete(directory, content);
    }
    directory_shard_unlock(shard);
    return named ? CASCADE_OK
                 : error_set(CASCADE_NO_SPACE,
                             "the cold path holds more keys than the index; "
                             "raise max_blocks");
}

// One of this job rather than another's; of two of this job the younger one,
// which may have been written because the older was damaged.
static bool
is_better_place(const struct directory *directory,
                const struct content *content, const struct block_label *label,
                bool own)
{
    return !directory_is_listed(&content->cold) ||
           (own && (content->cold.durable == 0 ||
                    (!directory->loaded &&
                     label->version.time_ns > content->cold_time_ns)));
}

// Lists a copy found on segments. While loading it stays until it is let go.
static enum cascade_status
load_place(struct directory *directory, const struct block_label *label,
           const struct block_place *place, bool durable)
{
    const struct block_id *id = &label->id;
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;
    bool own = (place->flags & BLOCK_PLACE_OWN) != 0;
    bool was_dirty = false;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content == NULL && directory->loaded) {
        // Nothing names it, and nobody would take it away.
        directory_shard_unlock(shard);
        return CASCADE_OK;
    }
    if (content == NULL) {
        content = add_loaded(directory, shard, id, place->bytes,
                             place->checksum);
    }
    if (content != NULL) {
        was_dirty = directory_content_is_dirty(directory, content);
    }
    if (content != NULL && is_better_place(directory, content, label, own)) {
        directory_list_place(directory, content, place);
        content->cold_time_ns = label->version.time_ns;
        content->cold.durable = own && durable ? 1 : 0;
        content->bytes = place->bytes;
        content->checksum = place->checksum;
        directory_content_account(directory, content, was_dirty);
    }
    if (content != NULL && !directory->loaded) {
        content->protected_references++;
    }
    directory_shard_unlock(shard);
    return content != NULL ? CASCADE_OK
                           : error_set(CASCADE_NO_SPACE,
                                       "the cold path holds more blocks in use "
                                       "than the index; raise max_blocks");
}

// The highest version wins; of two equal ones, the removal.
static bool
outranks(const struct block_label *label, const struct binding *binding)
{
    int order = block_version_compare(label->version, binding->version);

    return order > 0 ||
           (order == 0 && (label->flags & BLOCK_LABEL_REMOVAL) != 0 &&
            (binding->flags & DIRECTORY_REMOVED) == 0);
}

// Under the key's shard.
static enum cascade_status
load_binding(struct directory *directory, const struct block_label *label,
             uint32_t segment, bool durable)
{
    bool removal = (label->flags & BLOCK_LABEL_REMOVAL) != 0;
    struct binding *binding = directory_binding(directory, &label->key);
    bool older = binding != NULL;

    if (binding != NULL &&
        (!outranks(label, binding) ||
         (directory->loaded && (binding->flags & DIRECTORY_REMOVED) == 0))) {
        binding->flags |= DIRECTORY_OLDER;
        directory_binding_attach_key(directory, binding, label->key_data,
                                     label->key_bytes);
        return CASCADE_OK;
    }
    if (binding == NULL) {
        binding = directory_binding_add(directory, &label->key);
        if (binding == NULL) {
            return error_set(CASCADE_NO_SPACE,
                             "the cold path holds more keys than the index; "
                             "raise max_blocks");
        }
    } else {
        unload_reference(directory, binding);
        atomic_fetch_sub((binding->flags & DIRECTORY_REMOVED) != 0
                             ? &directory->removals
                             : &directory->live_keys,
                         1);
    }
    binding->id = label->id;
    binding->version = label->version;
    binding->record_segment = durable ? segment : DIRECTORY_NO_SEGMENT;
    binding->flags = (uint16_t)((older ? DIRECTORY_OLDER : 0) |
                                (durable ? 0 : DIRECTORY_DIRTY) |
                                (removal ? DIRECTORY_REMOVED : 0));
    if (!durable) {
        binding->flags |= DIRECTORY_OLDER;
    }
    if ((label->flags & BLOCK_LABEL_PROTECTED) != 0) {
        binding->flags |= directory->loaded ? DIRECTORY_PROTECTED_ELSEWHERE
                                            : DIRECTORY_PROTECTED;
    }
    if ((label->flags & BLOCK_LABEL_SURROGATE) != 0) {
        binding->flags |= DIRECTORY_SURROGATE;
    }
    directory_binding_attach_key(directory, binding, label->key_data,
                                 label->key_bytes);
    atomic_fetch_add(removal ? &directory->removals : &directory->live_keys, 1);
    if (removal || load_reference(directory, label, binding) == CASCADE_OK) {
        return CASCADE_OK;
    }
    atomic_fetch_sub(&directory->live_keys, 1);
    directory_binding_delete(directory, binding);
    return CASCADE_NO_SPACE;
}

static enum cascade_status
load_key(struct directory *directory, const struct block_label *label,
         uint32_t segment, bool durable)
{
    struct directory_shard *shard = directory_key_shard(directory, &label->key);
    enum cascade_status status;

    if ((label->flags & BLOCK_LABEL_NO_KEY) != 0) {
        return CASCADE_OK;
    }
    directory_shard_lock(shard);
    status = load_binding(directory, label, segment, durable);
    directory_shard_unlock(shard);
    return status;
}

// While the store serves, a place is listed once something names it. A binding
// that was there may go in between, because another place turned out stale:
// then the record brings it back.
static enum cascade_status
load_served(struct directory *directory, const struct block_label *label,
            const struct block_place *place, uint32_t segment, bool durable)
{
    struct directory_found found;
    enum cascade_status status = CASCADE_OK;

    for (unsigned i = 0; i < SERVED_TRIES && status == CASCADE_OK; i++) {
        status = load_key(directory, label, segment, durable);
        if (status == CASCADE_OK) {
            status = load_place(directory, label, place, durable);
        }
        if (directory_find_content(directory, &label->id, &found) ==
            CASCADE_OK) {
            break;
        }
    }
    return status;
}

enum cascade_status
directory_load(struct directory *directory, const struct block_label *label,
               const struct block_place *place, uint32_t segment, bool durable)
{
    bool has_payload = place != NULL && block_place_is_set(place);
    bool held = false;
    enum cascade_status status = CASCADE_OK;

    directory_see_version(directory, label->version);
    if ((label->flags & BLOCK_LABEL_CLEAR) != 0) {
        if (directory->loaded) {
            return CASCADE_OK;
        }
        check(pthread_mutex_lock(&directory->load_lock) == 0);
        if (block_version_compare(label->version, directory->clear_version) >
            0) {
            directory->clear_version = label->version;
        }
        check(pthread_mutex_unlock(&directory->load_lock) == 0);
        return CASCADE_OK;
    }
    if (directory->loaded && has_payload) {
        return load_served(directory, label, place, segment, durable);
    }
    if (has_payload) {
        status = load_place(directory, label, place, durable);
        held = status == CASCADE_OK;
    }
    if (status == CASCADE_OK) {
        status = load_key(directory, label, segment, durable);
    }
    if (held) {
        let_go(directory, &label->id);
    }
    return status;
}

// Under the key's shard: what a loaded binding turns into. `served` is set if
// its content has a place.
static void
settle_protection(struct directory *directory, struct binding *binding,
                  bool *served)
{
    struct directory_shard *shard = directory_id_shard(directory, &binding->id);
    struct content *content;
    struct reference *reference;

    *served = false;
    directory_shard_lock(shard);
    content = directory_content(directory, &binding->id);
    if (content != NULL && directory_is_listed(&content->cold)) {
        *served = true;
    }
    if (content != NULL && directory_is_listed(&content->memory)) {
        *served = true;
    }
    if (*served && (binding->flags & DIRECTORY_PROTECTED) != 0) {
        reference = directory_reference(directory, content, &binding->key,
                                        binding->version);
        if (reference == NULL ||
            !directory_reference_protect(directory, content, reference)) {
            binding->flags = (uint16_t)(binding->flags & ~DIRECTORY_PROTECTED);
            binding->flags |= DIRECTORY_PROTECTED_ELSEWHERE;
        }
    }
    directory_shard_unlock(shard);
}

static void
settle_binding(struct directory *directory, struct binding *binding,
               struct block_version floor)
{
    bool removed = (binding->flags & DIRECTORY_REMOVED) != 0;
    bool served = false;

    if (block_version_compare(binding->version, directory->clear_version) < 0) {
        unload_reference(directory, binding);
        atomic_fetch_sub(removed ? &directory->removals : &directory->live_keys,
                         1);
        directory_binding_delete(directory, binding);
        return;
    }
    if (removed) {
        return;
    }
    settle_protection(directory, binding, &served);
    if (served && block_version_compare(binding->version, floor) >= 0) {
        return;
    }
    unload_reference(directory, binding);
    if (!directory->options.rebind_allowed) {
        // Its payload may be seen later, and is a right answer then.
        atomic_fetch_sub(&directory->live_keys, 1);
        directory_binding_delete(directory, binding);
        return;
    }
    // Nothing older may be served in its place: it stays as a removal.
    memset(&binding->id, 0, sizeof(binding->id));
    // Below the floor that has to be written, for the next load may not know.
    binding->flags = (uint16_t)((binding->flags & DIRECTORY_DIRTY) |
                                DIRECTORY_REMOVED | DIRECTORY_OLDER |
                                (served ? DIRECTORY_DIRTY : 0));
    atomic_fetch_sub(&directory->live_keys, 1);
    atomic_fetch_add(&directory->removals, 1);
}

void
directory_load_finish(struct directory *directory, struct block_version floor)
{
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        struct directory_shard *shard = &directory->key_shards[s];

        directory_shard_lock(shard);
        for (uint32_t b = 0; b < directory->key_buckets; b++) {
            uint32_t record = shard->buckets[b];

            while (record != NO_RECORD) {
                struct binding *binding = &directory->bindings[record];

                record = binding->next;
                settle_binding(directory, binding, floor);
            }
        }
        directory_shard_unlock(shard);
    }
    (void)drop_unnamed(directory);
    directory->loaded = true;
}
