// SPDX-License-Identifier: Apache-2.0
//
// Records found on segments become bindings and places: the highest version
// wins, whatever the order. Under the key's shard, the id's inside; clears are
// gathered under load_lock. The end of a load: directory_load_finish.c.
//
// At an open there are many, by several threads. So a thread asks the memory for
// all that a batch is going to read, and takes records for it ahead: those may
// be the last ones, so that whoever finds none gives its own back, waits until
// all others did, and looks again. From then on nobody takes any ahead.

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "directory/directory_table.h"

// Looks at one record of a store that serves.
#define SERVED_TRIES 2

// One thread's part of a load.
struct loader {
    struct directory *directory;
    bool ahead; // records were taken ahead
    struct record_spare bindings;
    struct record_spare contents;
    struct record_spare references;
    uint32_t records[3][DIRECTORY_LOAD_BATCH];
    uint64_t live_keys; // that came
    uint64_t removals;
};

// Contents that only a place brought in, without any binding, go; the number of
// those.
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
                if (content->references == NO_RECORD) {
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
// content. NULL: the index is full of what is named, or of what was taken ahead.
static struct content *
add_loaded(struct loader *loader, struct directory_shard *shard,
           const struct block_id *id, uint64_t bytes, uint32_t checksum)
{
    struct directory *directory = loader->directory;
    struct content *content = directory_content_add(
        directory, id, bytes, checksum, &loader->contents);
    uint32_t dropped = 1;

    while (content == NULL && !directory->loaded && !loader->ahead &&
           dropped > 0 && !atomic_load(&directory->load_is_full)) {
        directory_shard_unlock(shard);
        dropped = drop_unnamed(directory);
        directory_shard_lock(shard);
        content = directory_content(directory, id);
        if (content == NULL) {
            content = directory_content_add(directory, id, bytes, checksum,
                                            NULL);
        }
        if (content == NULL && dropped == 0) {
            atomic_store(&directory->load_is_full, true);
        }
    }
    return content;
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

// Under the id's shard: lists a copy found on segments, if it is the better one.
static void
list_loaded(struct directory *directory, struct content *content,
            const struct block_label *label, const struct block_place *place,
            bool durable)
{
    bool own = (place->flags & BLOCK_PLACE_OWN) != 0;
    bool was_dirty = directory_content_is_dirty(directory, content);

    if (!is_better_place(directory, content, label, own)) {
        return;
    }
    directory_list_place(directory, content, place);
    content->cold_time_ns = label->version.time_ns;
    content->cold.durable = own && durable ? 1 : 0;
    content->bytes = place->bytes;
    content->checksum = place->checksum;
    directory_content_account(directory, content, was_dirty);
}

// Brings the content of a record into the index: its copy, if the record has
// one, and, under the key's shard, the name that `binding` is going to be, unless
// that is NULL. In one step, so that no other load takes a content away that is
// about to be named. NO_SPACE: nothing changed.
static enum cascade_status
load_content(struct loader *loader, const struct block_label *label,
             const struct block_place *place, bool durable,
             const struct binding *binding)
{
    struct directory *directory = loader->directory;
    struct directory_shard *shard = directory_id_shard(directory, &label->id);
    struct content *content;
    bool done = false;

    directory_shard_lock(shard);
    content = directory_content(directory, &label->id);
    if (content == NULL) {
        content = add_loaded(loader, shard, &label->id,
                             place != NULL ? place->bytes : 0,
                             place != NULL ? place->checksum : 0);
    }
    done = content != NULL &&
           (binding == NULL ||
            directory_reference_add(directory, content, binding, label->version,
                                    false, &loader->references) != NULL);
    if (done && place != NULL) {
        list_loaded(directory, content, label, place, durable);
    } else if (!done && content != NULL && content->references == NO_RECORD) {
        directory_content_delete(directory, content);
    }
    directory_shard_unlock(shard);
    return done ? CASCADE_OK
                : error_set(CASCADE_NO_SPACE,
                            "the cold path holds more keys or blocks in use "
                            "than the index; raise max_blocks");
}

// While the store serves: the copy of a content that something names. What
// nothing names nobody would take away.
static void
load_place(struct directory *directory, const struct block_label *label,
           const struct block_place *place, bool durable)
{
    struct directory_shard *shard = directory_id_shard(directory, &label->id);
    struct content *content;

    directory_shard_lock(shard);
    content = directory_content(directory, &label->id);
    if (content != NULL) {
        list_loaded(directory, content, label, place, durable);
    }
    directory_shard_unlock(shard);
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

// Under the key's shard: the fields of a binding that a record gave.
static void
set_loaded(struct directory *directory, struct binding *binding,
           const struct block_label *label, uint32_t segment, bool durable,
           bool older)
{
    bool removal = (label->flags & BLOCK_LABEL_REMOVAL) != 0;

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
}

// Under the key's shard: the binding that the record becomes, and what it is
// bound to. NO_SPACE: nothing changed.
static enum cascade_status
take_record(struct loader *loader, const struct directory_record *record,
            const struct block_place *place, struct binding *binding)
{
    struct directory *directory = loader->directory;
    const struct block_label *label = record->label;
    bool removal = (label->flags & BLOCK_LABEL_REMOVAL) != 0;
    bool older = binding != NULL;

    if (binding == NULL) {
        binding = directory_binding_add(directory, &label->key,
                                        &loader->bindings);
    }
    if (binding == NULL) {
        return error_set(CASCADE_NO_SPACE,
                         "the cold path holds more keys than the index; raise "
                         "max_blocks");
    }
    if (!removal) {
        enum cascade_status status = load_content(loader, label, place,
                                                  record->durable, binding);

        if (status != CASCADE_OK) {
            if (!older) {
                directory_binding_delete(directory, binding);
            }
            return status;
        }
    }
    if (older) {
        unload_reference(directory, binding);
        atomic_fetch_sub((binding->flags & DIRECTORY_REMOVED) != 0
                             ? &directory->removals
                             : &directory->live_keys,
                         1);
    }
    set_loaded(directory, binding, label, record->segment, record->durable,
               older);
    directory_binding_attach_key(directory, binding, label->key_data,
                                 label->key_bytes);
    if (removal) {
        loader->removals++;
    } else {
        loader->live_keys++;
    }
    return CASCADE_OK;
}

// A record with its copy, if `place` is not NULL. NO_SPACE: nothing changed.
static enum cascade_status
load_record(struct loader *loader, const struct directory_record *record,
            const struct block_place *place)
{
    struct directory *directory = loader->directory;
    const struct block_label *label = record->label;
    struct directory_shard *shard;
    struct binding *binding;
    enum cascade_status status = CASCADE_OK;

    if ((label->flags & BLOCK_LABEL_NO_KEY) != 0) {
        return place == NULL
                   ? CASCADE_OK
                   : load_content(loader, label, place, record->durable, NULL);
    }
    shard = directory_key_shard(directory, &label->key);
    directory_shard_lock(shard);
    binding = directory_binding(directory, &label->key);
    if (binding != NULL &&
        (!outranks(label, binding) ||
         (directory->loaded && (binding->flags & DIRECTORY_REMOVED) == 0))) {
        if (place != NULL) {
            status = load_content(loader, label, place, record->durable, NULL);
        }
        if (status == CASCADE_OK) {
            binding->flags |= DIRECTORY_OLDER;
            directory_binding_attach_key(directory, binding, label->key_data,
                                         label->key_bytes);
        }
    } else {
        status = take_record(loader, record, place, binding);
    }
    directory_shard_unlock(shard);
    return status;
}

// While the store serves, a place is listed once something names it. A binding
// that was there may go in between, because another place turned out stale:
// then the record brings it back.
static enum cascade_status
load_served(struct loader *loader, const struct directory_record *record)
{
    struct directory *directory = loader->directory;
    struct directory_found found;
    enum cascade_status status = CASCADE_OK;

    for (unsigned i = 0; i < SERVED_TRIES && status == CASCADE_OK; i++) {
        status = load_record(loader, record, NULL);
        if (status == CASCADE_OK) {
            load_place(directory, record->label, record->place,
                       record->durable);
        }
        if (directory_find_content(directory, &record->label->id, &found) ==
            CASCADE_OK) {
            break;
        }
    }
    return status;
}

static void
load_clear(struct directory *directory, const struct block_label *label)
{
    if (directory->loaded) {
        return;
    }
    check(pthread_mutex_lock(&directory->load_lock) == 0);
    if (block_version_compare(label->version, directory->clear_version) > 0) {
        directory->clear_version = label->version;
    }
    check(pthread_mutex_unlock(&directory->load_lock) == 0);
}

static enum cascade_status
load_one(struct loader *loader, const struct directory_record *record)
{
    struct directory *directory = loader->directory;
    bool has_payload = record->place != NULL &&
                       block_place_is_set(record->place);

    if ((record->label->flags & BLOCK_LABEL_CLEAR) != 0) {
        load_clear(directory, record->label);
        return CASCADE_OK;
    }
    if (directory->loaded && has_payload) {
        return load_served(loader, record);
    }
    return load_record(loader, record, has_payload ? record->place : NULL);
}

// With the lock held.
static void
wait_for_ahead(struct directory *directory)
{
    while (directory->loads_ahead > 0) {
        check(pthread_cond_wait(&directory->load_settled,
                                &directory->load_lock) == 0);
    }
}

// Who takes none ahead waits for those who did, to find what they give back.
static void
take_ahead(struct loader *loader, uint32_t count)
{
    struct directory *directory = loader->directory;

    if (directory->loaded) {
        return;
    }
    check(pthread_mutex_lock(&directory->load_lock) == 0);
    loader->ahead = !directory->load_is_short;
    if (loader->ahead) {
        directory->loads_ahead++;
    } else {
        wait_for_ahead(directory);
    }
    check(pthread_mutex_unlock(&directory->load_lock) == 0);
    if (!loader->ahead) {
        return;
    }
    loader->bindings.records = loader->records[0];
    loader->contents.records = loader->records[1];
    loader->references.records = loader->records[2];
    loader->bindings.count = record_pool_take_some(
        &directory->binding_pool, loader->bindings.records, count);
    loader->contents.count = record_pool_take_some(
        &directory->content_pool, loader->contents.records, count);
    loader->references.count = record_pool_take_some(
        &directory->reference_pool, loader->references.records, count);
    for (uint32_t i = 0; i < loader->contents.count; i++) {
        directory->contents[loader->contents.records[i]].protected_references =
            CONTENT_FREE;
    }
}

static void
give_spare(struct record_spare *spare, struct record_pool *pool)
{
    record_pool_give_some(pool, spare->records, spare->count);
    spare->count = 0;
}

static void
give_ahead(struct loader *loader)
{
    struct directory *directory = loader->directory;

    if (!loader->ahead) {
        return;
    }
    loader->ahead = false;
    give_spare(&loader->bindings, &directory->binding_pool);
    give_spare(&loader->contents, &directory->content_pool);
    give_spare(&loader->references, &directory->reference_pool);
    check(pthread_mutex_lock(&directory->load_lock) == 0);
    if (--directory->loads_ahead == 0) {
        check(pthread_cond_broadcast(&directory->load_settled) == 0);
    }
    check(pthread_mutex_unlock(&directory->load_lock) == 0);
}

// Afterwards a table without a free record is full.
static void
settle_ahead(struct loader *loader)
{
    struct directory *directory = loader->directory;

    give_ahead(loader);
    check(pthread_mutex_lock(&directory->load_lock) == 0);
    directory->load_is_short = true;
    wait_for_ahead(directory);
    check(pthread_mutex_unlock(&directory->load_lock) == 0);
}

static enum cascade_status
load_batch(struct directory *directory, const struct directory_record *records,
           size_t count)
{
    struct loader loader;
    struct block_version highest = {0, 0};
    enum cascade_status status = CASCADE_OK;

    loader.directory = directory;
    loader.ahead = false;
    loader.bindings.count = 0;
    loader.contents.count = 0;
    loader.references.count = 0;
    loader.live_keys = 0;
    loader.removals = 0;
    for (size_t i = 0; i < count; i++) {
        const struct block_label *label = records[i].label;

        directory_expect(directory, &label->key, &label->id);
        if (block_version_compare(highest, label->version) < 0) {
            highest = label->version;
        }
    }
    directory_see_version(directory, highest);
    take_ahead(&loader, (uint32_t)count);
    for (size_t i = 0; i < count && status == CASCADE_OK; i++) {
        status = load_one(&loader, &records[i]);
        if (status == CASCADE_NO_SPACE && !directory->loaded && loader.ahead) {
            settle_ahead(&loader);
            status = load_one(&loader, &records[i]);
        }
    }
    give_ahead(&loader);
    atomic_fetch_add(&directory->live_keys, loader.live_keys);
    atomic_fetch_add(&directory->removals, loader.removals);
    return status;
}

enum cascade_status
directory_load_many(struct directory *directory,
                    const struct directory_record *records, size_t count)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < count && status == CASCADE_OK;
         i += DIRECTORY_LOAD_BATCH) {
        status = load_batch(directory, records + i,
                            units_min(DIRECTORY_LOAD_BATCH, count - i));
    }
    return status;
}

enum cascade_status
directory_load(struct directory *directory, const struct block_label *label,
               const struct block_place *place, uint32_t segment, bool durable)
{
    const struct directory_record record = {
        .label = label,
        .place = place,
        .segment = segment,
        .durable = durable,
    };

    return load_batch(directory, &record, 1);
}
