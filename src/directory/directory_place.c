// SPDX-License-Identifier: Apache-2.0
//
// Copies come and go: publish, withdraw, and what happens to the bindings of a
// content that lost its last copy. A copy is taken out of service under its id's
// shard, so that no bind relies on one that is leaving.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// Takes one (key, version) off the set of a content that may have lost its last
// place. False when nothing is left to do.
static bool
next_orphan(struct directory *directory, const struct block_id *id,
            struct block_key *key)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    const struct content *content;
    bool found = false;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL && !directory_content_has_place(content) &&
        content->references != NO_RECORD) {
        *key = *directory_reference_key(directory, content->references);
        found = true;
    }
    directory_shard_unlock(shard);
    return found;
}

// Under the key's shard: a binding ends because its bytes have gone. Where other
// ranks give versions too, the removal that is kept has its own: a higher one
// might hide what was bound elsewhere meanwhile.
static void
lose_binding(struct directory *directory, struct binding *binding)
{
    const struct directory_options *options = &directory->options;
    struct block_version version = options->shared
                                       ? binding->version
                                       : directory_next_version(directory);

    if ((binding->flags & DIRECTORY_GUEST) != 0) {
        directory_end_guest(directory, binding);
        return;
    }
    if (options->binding_gone != NULL) {
        options->binding_gone(options->context, &binding->key,
                              binding->version);
    }
    directory_end_binding(directory, binding, version,
                          options->rebind_allowed &&
                              directory_may_be_on_segments(directory, binding));
}

// The bindings of a content without places go. A put that brings the content
// back meanwhile ends the loop.
static void
drop_orphans(struct directory *directory, const struct block_id *id)
{
    struct block_key key;

    while (next_orphan(directory, id, &key)) {
        struct directory_shard *shard = directory_key_shard(directory, &key);
        struct directory_freed freed;
        struct binding *binding;

        directory_shard_lock(shard);
        binding = directory_binding(directory, &key);
        if (binding != NULL && !directory_binding_is_removed(binding) &&
            block_id_equal(&binding->id, id) &&
            !directory_is_served(directory, binding)) {
            directory_drop_reference(directory, binding, &freed);
            lose_binding(directory, binding);
        }
        directory_shard_unlock(shard);
    }
}

// Without this copy another one serves, which is ours if a put relies on it.
static bool
is_last(const struct content *content, const struct listed_place *listed)
{
    if (listed == &content->cold) {
        return !directory_is_listed(&content->memory);
    }
    return !directory_is_listed(&content->cold) ||
           (content->memory.put != 0 && content->cold.durable == 0);
}

static struct listed_place *
matching_place(struct content *content, const struct block_place *place)
{
    struct listed_place *listed = place->tier == CASCADE_TIER_SEGMENTS
                                      ? &content->cold
                                      : &content->memory;
    struct block_place have = directory_place_of(content, listed);

    if (have.tier != place->tier || have.slot != place->slot ||
        have.generation != place->generation || have.offset != place->offset) {
        return NULL;
    }
    return listed;
}

enum cascade_status
directory_withdraw(struct directory *directory, const struct block_id *id,
                   const struct block_place *place, uint32_t flags,
                   directory_release_copy *release, void *context, bool *lost)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;
    struct listed_place *listed = NULL;
    enum cascade_status status = CASCADE_STALE;
    bool orphaned = false;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL) {
        listed = matching_place(content, place);
    }
    if (listed != NULL) {
        bool in_memory = place->tier != CASCADE_TIER_SEGMENTS;

        status = CASCADE_OK;
        if ((content->protected_references > 0 && in_memory &&
             (flags & DIRECTORY_WITHDRAW_FORCED) == 0) ||
            ((flags & DIRECTORY_WITHDRAW_GUEST) != 0 &&
             !directory_content_is_guest(directory, content)) ||
            ((flags & DIRECTORY_WITHDRAW_NOT_LAST) != 0 &&
             is_last(content, listed))) {
            status = CASCADE_BUSY;
        } else if (release != NULL) {
            struct block_place copy = directory_place_of(content, listed);

            status = release(context, &copy);
        }
    }
    if (status == CASCADE_OK) {
        bool was_dirty = directory_content_is_dirty(directory, content);

        memset(listed, 0, sizeof(*listed));
        directory_content_account(directory, content, was_dirty);
        orphaned = !directory_content_has_place(content);
        if (orphaned && directory->options.content_gone != NULL) {
            directory->options.content_gone(directory->options.context, id);
        }
    }
    directory_shard_unlock(shard);
    if (orphaned) {
        drop_orphans(directory, id);
    }
    if (status == CASCADE_OK && lost != NULL) {
        *lost = orphaned;
    }
    return status;
}

enum cascade_status
directory_publish(struct directory *directory, const struct block_id *id,
                  const struct block_place *place, bool durable)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;
    enum cascade_status status = CASCADE_STALE;
    bool was_dirty = false;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL) {
        was_dirty = directory_content_is_dirty(directory, content);
    }
    if (content != NULL && place->tier == CASCADE_TIER_SEGMENTS) {
        bool own = (place->flags & BLOCK_PLACE_OWN) != 0;

        // A durable copy of this job takes the place of any: it is younger than
        // the one that is listed.
        if (!directory_is_listed(&content->cold) ||
            (own && (durable || content->cold.durable == 0))) {
            directory_list_place(directory, content, place);
            content->cold.durable = durable && own ? 1 : 0;
            status = CASCADE_OK;
        }
    } else if (content != NULL && !directory_is_listed(&content->memory)) {
        directory_list_place(directory, content, place);
        status = CASCADE_OK;
    }
    if (content != NULL) {
        directory_content_account(directory, content, was_dirty);
    }
    directory_shard_unlock(shard);
    return status;
}

enum cascade_status
directory_relist(struct directory *directory, const struct block_id *id,
                 const struct block_place *old, const struct block_place *place,
                 bool durable)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;
    enum cascade_status status = CASCADE_STALE;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL &&
        (block_place_is_set(old) ? matching_place(content, old) != NULL
                                 : !directory_is_listed(&content->cold))) {
        bool own = (place->flags & BLOCK_PLACE_OWN) != 0;
        bool was_dirty = directory_content_is_dirty(directory, content);

        directory_list_place(directory, content, place);
        content->cold.durable = own && durable ? 1 : 0;
        // What a record without payload brought in knows neither.
        content->bytes = place->bytes;
        content->checksum = place->checksum;
        directory_content_account(directory, content, was_dirty);
        status = CASCADE_OK;
    }
    directory_shard_unlock(shard);
    return status;
}

enum cascade_status
directory_move(struct directory *directory, const struct block_id *id,
               const struct block_place *place, directory_move_copy *move,
               void *context)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct block_place copy = *place;
    struct content *content;
    enum cascade_status status = CASCADE_STALE;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL && place->tier != CASCADE_TIER_SEGMENTS &&
        matching_place(content, place) != NULL) {
        status = move(context, &copy);
    }
    if (status == CASCADE_OK) {
        directory_list_place(directory, content, &copy);
    }
    directory_shard_unlock(shard);
    return status;
}

void
directory_note_cold_hit(struct directory *directory, const struct block_id *id)
{
    struct directory_shard *shard = directory_id_shard(directory, id);
    struct content *content;

    directory_shard_lock(shard);
    content = directory_content(directory, id);
    if (content != NULL) {
        content->cold.hit = 1;
    }
    directory_shard_unlock(shard);
}
