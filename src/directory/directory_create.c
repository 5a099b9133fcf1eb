// SPDX-License-Identifier: Apache-2.0
//
// Tables are taken and given back. No lock: nobody else knows the directory yet,
// or any more.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "directory/directory_table.h"

// A name that replaces another is there beside it for a moment: one for each
// thread that may be at it.
#define MORE_REFERENCES (POOL_THREADS_MAX + 1)

// So many guests may stand in place of something, for a part of all keys.
#define REPLACED_PART 8
#define REPLACED_MIN 1024

static uint32_t
buckets_for(uint32_t records)
{
    uint32_t buckets = 4;

    while ((uint64_t)buckets * DIRECTORY_SHARDS < records) {
        buckets *= 2;
    }
    return buckets;
}

// One table for all shards, so that it may lie in large pages.
static uint32_t *
create_buckets(const struct allocator *allocator,
               struct directory_shard *shards, uint32_t buckets)
{
    size_t count = (size_t)buckets * DIRECTORY_SHARDS;
    uint32_t *table = allocator_array(allocator, count, sizeof(*table));

    if (table == NULL) {
        return NULL;
    }
    memset(table, 0xff, count * sizeof(*table));
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        shards[s].buckets = table + (size_t)s * buckets;
    }
    return table;
}

static void
init_locks(struct directory *directory)
{
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        check(pthread_mutex_init(&directory->key_shards[s].lock, NULL) == 0);
        check(pthread_mutex_init(&directory->id_shards[s].lock, NULL) == 0);
    }
    check(pthread_mutex_init(&directory->load_lock, NULL) == 0);
    check(pthread_cond_init(&directory->load_settled, NULL) == 0);
}

// For guests in place of what this rank kept: puts that their homes have not
// answered, and copies of what was removed here and bound elsewhere since.
static enum cascade_status
create_replaced(struct directory *directory)
{
    const struct allocator *allocator = directory->options.allocator;
    uint32_t count = directory->options.max_keys / REPLACED_PART + REPLACED_MIN;

    directory->replaced = allocator_array(allocator, count,
                                          sizeof(struct block_version));
    if (directory->replaced == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for an index of %u keys; lower max_blocks",
                         directory->options.max_keys);
    }
    return record_pool_init(&directory->replaced_pool, allocator, count);
}

// Everything that may fail; directory_destroy takes back what was taken.
static enum cascade_status
create_tables(struct directory *directory)
{
    const struct allocator *allocator = directory->options.allocator;
    uint32_t keys = directory->options.max_keys;
    uint32_t ids = directory->options.max_ids;
    uint32_t slots = directory->options.memory_slots;
    uint32_t references = keys <= UINT32_MAX - 1 - MORE_REFERENCES
                              ? keys + MORE_REFERENCES
                              : keys;
    enum cascade_status status;

    directory->bindings = allocator_array(allocator, keys,
                                          sizeof(struct binding));
    directory->contents = allocator_array(allocator, ids,
                                          sizeof(struct content));
    directory->references = allocator_array(allocator, references,
                                            sizeof(struct reference));
    directory->slot_contents = allocator_array(allocator, slots > 0 ? slots : 1,
                                               sizeof(uint32_t));
    directory->key_table = create_buckets(allocator, directory->key_shards,
                                          directory->key_buckets);
    directory->id_table = create_buckets(allocator, directory->id_shards,
                                         directory->id_buckets);
    if (directory->bindings == NULL || directory->contents == NULL ||
        directory->references == NULL || directory->slot_contents == NULL ||
        directory->key_table == NULL || directory->id_table == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for an index of %u keys; lower max_blocks",
                         keys);
    }
    status = record_pool_init(&directory->binding_pool, allocator, keys);
    if (status == CASCADE_OK) {
        status = record_pool_init(&directory->content_pool, allocator, ids);
    }
    if (status == CASCADE_OK) {
        status = record_pool_init(&directory->reference_pool, allocator,
                                  references);
    }
    if (status == CASCADE_OK && directory->options.shared) {
        status = create_replaced(directory);
    }
    if (status == CASCADE_OK) {
        status = directory_keys_init(&directory->keys, allocator, keys);
    }
    return status;
}

enum cascade_status
directory_create(const struct directory_options *options,
                 struct directory **directory)
{
    struct directory *made = allocator_aligned(
        options->allocator, sizeof(*made), _Alignof(struct directory));
    enum cascade_status status;

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the index");
    }
    // References name bindings with what is left of their word.
    check(options->max_keys < REFERENCE_GUEST);
    made->options = *options;
    made->key_buckets = buckets_for(options->max_keys);
    made->id_buckets = buckets_for(options->max_ids);
    init_locks(made);
    status = create_tables(made);
    if (status != CASCADE_OK) {
        directory_destroy(made);
        return status;
    }
    *directory = made;
    return CASCADE_OK;
}

void
directory_destroy(struct directory *directory)
{
    const struct allocator *allocator;

    if (directory == NULL) {
        return;
    }
    allocator = directory->options.allocator;
    directory_keys_fini(&directory->keys, allocator);
    record_pool_fini(&directory->replaced_pool, allocator);
    record_pool_fini(&directory->reference_pool, allocator);
    record_pool_fini(&directory->content_pool, allocator);
    record_pool_fini(&directory->binding_pool, allocator);
    for (uint32_t s = 0; s < DIRECTORY_SHARDS; s++) {
        (void)pthread_mutex_destroy(&directory->key_shards[s].lock);
        (void)pthread_mutex_destroy(&directory->id_shards[s].lock);
    }
    (void)pthread_cond_destroy(&directory->load_settled);
    (void)pthread_mutex_destroy(&directory->load_lock);
    allocator_release(allocator, directory->key_table);
    allocator_release(allocator, directory->id_table);
    allocator_release(allocator, directory->slot_contents);
    allocator_release(allocator, directory->replaced);
    allocator_release(allocator, directory->references);
    allocator_release(allocator, directory->contents);
    allocator_release(allocator, directory->bindings);
    allocator_release(allocator, directory);
}
