// SPDX-License-Identifier: Apache-2.0
//
// Records, pools, chains and reference sets of the directory. Locks are the
// caller's, except the pools' own mutexes, which are leaves.

#include "directory/directory_table.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"

#define ID_WORDS (BLOCK_ID_BYTES / sizeof(uint64_t))

enum cascade_status
record_pool_init(struct record_pool *pool, const struct allocator *allocator,
                 uint32_t capacity)
{
    pool->next_free = allocator_array(allocator, capacity, sizeof(uint32_t));
    if (pool->next_free == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a table of %u records; lower "
                         "max_blocks",
                         capacity);
    }
    pool->first_free = NO_RECORD;
    pool->used = 0;
    pool->taken = 0;
    pool->capacity = capacity;
    check(pthread_mutex_init(&pool->lock, NULL) == 0);
    return CASCADE_OK;
}

void
record_pool_fini(struct record_pool *pool, const struct allocator *allocator)
{
    if (pool->next_free != NULL) {
        allocator_release(allocator, pool->next_free);
        (void)pthread_mutex_destroy(&pool->lock);
        pool->next_free = NULL;
    }
}

void
record_pool_give(struct record_pool *pool, uint32_t record)
{
    record_pool_give_some(pool, &record, 1);
}

uint32_t
record_pool_take_some(struct record_pool *pool, uint32_t *records,
                      uint32_t count)
{
    uint32_t taken = 0;

    pthread_mutex_lock(&pool->lock);
    while (taken < count && pool->first_free != NO_RECORD) {
        records[taken] = pool->first_free;
        pool->first_free = pool->next_free[records[taken]];
        taken++;
    }
    while (taken < count && pool->used < pool->capacity) {
        records[taken++] = pool->used++;
    }
    pool->taken += taken;
    pthread_mutex_unlock(&pool->lock);
    return taken;
}

void
record_pool_give_some(struct record_pool *pool, const uint32_t *records,
                      uint32_t count)
{
    pthread_mutex_lock(&pool->lock);
    check(pool->taken >= count);
    for (uint32_t i = 0; i < count; i++) {
        pool->next_free[records[i]] = pool->first_free;
        pool->first_free = records[i];
    }
    pool->taken -= count;
    pthread_mutex_unlock(&pool->lock);
}

uint32_t
record_pool_take(struct record_pool *pool)
{
    uint32_t record;

    return record_pool_take_some(pool, &record, 1) == 1 ? record : NO_RECORD;
}

static uint64_t
id_hash(const struct block_id *id)
{
    uint64_t hash;

    memcpy(&hash, id->bytes, sizeof(hash));
    return hash;
}

// The shard is the low byte of the hash, the bucket its other bits.
static uint32_t
bucket_of(uint64_t hash, uint32_t buckets)
{
    return (uint32_t)(hash >> 8) & (buckets - 1);
}

// Keys come from others, who could choose many for one bucket if they knew how
// it is found.
static uint64_t
salted(const struct directory *directory, uint64_t hash)
{
    hash = (hash ^ directory->options.version_tag) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

struct directory_shard *
directory_key_shard(struct directory *directory, const struct block_key *key)
{
    return &directory->key_shards[block_key_hash(key) % DIRECTORY_SHARDS];
}

static uint32_t *
binding_bucket(struct directory *directory, const struct block_key *key)
{
    struct directory_shard *shard = directory_key_shard(directory, key);

    return &shard->buckets[bucket_of(salted(directory, block_key_hash(key)),
                                     directory->key_buckets)];
}

struct binding *
directory_binding(struct directory *directory, const struct block_key *key)
{
    uint32_t record = *binding_bucket(directory, key);

    while (record != NO_RECORD) {
        struct binding *binding = &directory->bindings[record];

        if (block_key_equal(&binding->key, key)) {
            return binding;
        }
        record = binding->next;
    }
    return NULL;
}

struct binding *
directory_binding_add(struct directory *directory, const struct block_key *key,
                      struct record_spare *spare)
{
    uint32_t record = record_spare_take(spare, &directory->binding_pool);
    uint32_t *bucket = binding_bucket(directory, key);
    struct binding *binding;

    if (record == NO_RECORD) {
        return NULL;
    }
    binding = &directory->bindings[record];
    memset(binding, 0, sizeof(*binding));
    binding->key = *key;
    binding->record_segment = DIRECTORY_NO_SEGMENT;
    binding->key_handle = DIRECTORY_NO_KEY;
    binding->next = *bucket;
    *bucket = record;
    return binding;
}

void
directory_binding_delete(struct directory *directory, struct binding *binding)
{
    uint32_t record = (uint32_t)(binding - directory->bindings);
    uint32_t *link = binding_bucket(directory, &binding->key);

    while (*link != record) {
        check(*link != NO_RECORD);
        link = &directory->bindings[*link].next;
    }
    *link = binding->next;
    (void)directory_take_replaced(directory, binding);
    if (binding->key_handle != DIRECTORY_NO_KEY) {
        directory_keys_remove(&directory->keys, binding->key_handle,
                              binding->key_bytes);
    }
    record_pool_give(&directory->binding_pool, record);
}

uint32_t
directory_binding_first(const struct directory *directory, uint32_t shard,
                        uint32_t bucket)
{
    return directory->key_shards[shard].buckets[bucket];
}

struct directory_shard *
directory_id_shard(struct directory *directory, const struct block_id *id)
{
    return &directory->id_shards[id_hash(id) % DIRECTORY_SHARDS];
}

static uint32_t *
content_bucket(struct directory *directory, const struct block_id *id)
{
    struct directory_shard *shard = directory_id_shard(directory, id);

    return &shard->buckets[bucket_of(id_hash(id), directory->id_buckets)];
}

struct block_id
directory_content_id(const struct content *content)
{
    struct block_id id;

    for (size_t i = 0; i < ID_WORDS; i++) {
        uint64_t word = atomic_load_explicit(&content->id[i],
                                             memory_order_relaxed);

        memcpy(id.bytes + i * sizeof(word), &word, sizeof(word));
    }
    return id;
}

static void
set_content_id(struct content *content, const struct block_id *id)
{
    for (size_t i = 0; i < ID_WORDS; i++) {
        uint64_t word;

        memcpy(&word, id->bytes + i * sizeof(word), sizeof(word));
        atomic_store_explicit(&content->id[i], word, memory_order_relaxed);
    }
}

struct block_place
directory_place_of(const struct content *content,
                   const struct listed_place *listed)
{
    struct block_place place;

    memset(&place, 0, sizeof(place));
    if (!directory_is_listed(listed)) {
        return place;
    }
    place.tier = listed->tier;
    place.flags = listed->flags;
    place.rank = listed->rank;
    place.slot = listed->slot;
    place.generation = listed->generation;
    place.offset = (uint64_t)listed->offset_high << 32 | listed->offset_low;
    place.bytes = content->bytes;
    place.checksum = content->checksum;
    return place;
}

void
directory_list_place(struct directory *directory, struct content *content,
                     const struct block_place *place)
{
    bool is_cold = place->tier == CASCADE_TIER_SEGMENTS;
    struct listed_place *listed = is_cold ? &content->cold : &content->memory;

    check(place->offset >> 48 == 0);
    *listed = (struct listed_place){
        .offset_low = (uint32_t)place->offset,
        .offset_high = (uint16_t)(place->offset >> 32),
        .rank = place->rank,
        .slot = place->slot,
        .generation = place->generation,
        .tier = place->tier,
        .flags = place->flags,
    };
    if (!is_cold && place->slot < directory->options.memory_slots) {
        atomic_store_explicit(&directory->slot_contents[place->slot],
                              (uint32_t)(content - directory->contents) + 1,
                              memory_order_relaxed);
    }
}

struct content *
directory_content(struct directory *directory, const struct block_id *id)
{
    uint32_t record = *content_bucket(directory, id);

    while (record != NO_RECORD) {
        struct content *content = &directory->contents[record];

        struct block_id have = directory_content_id(content);

        if (block_id_equal(&have, id)) {
            return content;
        }
        record = content->next;
    }
    return NULL;
}

static void
forget_places(struct content *content)
{
    memset(&content->memory, 0, sizeof(content->memory));
    memset(&content->cold, 0, sizeof(content->cold));
}

struct content *
directory_content_add(struct directory *directory, const struct block_id *id,
                      uint64_t bytes, uint32_t checksum,
                      struct record_spare *spare)
{
    uint32_t record = record_spare_take(spare, &directory->content_pool);
    uint32_t *bucket = content_bucket(directory, id);
    struct content *content;

    if (record == NO_RECORD) {
        return NULL;
    }
    content = &directory->contents[record];
    forget_places(content);
    set_content_id(content, id);
    content->bytes = bytes;
    content->checksum = checksum;
    content->cold_time_ns = 0;
    content->references = NO_RECORD;
    content->protected_references = 0;
    content->next = *bucket;
    *bucket = record;
    return content;
}

bool
directory_content_is_guest(const struct directory *directory,
                           const struct content *content)
{
    uint32_t record = content->references;

    while (record != NO_RECORD &&
           (directory->references[record].binding & REFERENCE_GUEST) != 0) {
        record = directory->references[record].next;
    }
    return record == NO_RECORD;
}

bool
directory_content_is_dirty(const struct directory *directory,
                           const struct content *content)
{
    return directory_is_listed(&content->memory) &&
           content->cold.durable == 0 &&
           !directory_content_is_guest(directory, content);
}

void
directory_content_account(struct directory *directory,
                          const struct content *content, bool was_dirty)
{
    bool is_dirty = directory_content_is_dirty(directory, content);

    if (is_dirty && !was_dirty) {
        atomic_fetch_add_explicit(&directory->dirty_bytes, content->bytes,
                                  memory_order_relaxed);
        atomic_fetch_add_explicit(&directory->dirty_contents, 1,
                                  memory_order_relaxed);
    }
    if (!is_dirty && was_dirty) {
        atomic_fetch_sub_explicit(&directory->dirty_bytes, content->bytes,
                                  memory_order_relaxed);
        atomic_fetch_sub_explicit(&directory->dirty_contents, 1,
                                  memory_order_relaxed);
    }
}

void
directory_content_delete(struct directory *directory, struct content *content)
{
    uint32_t record = (uint32_t)(content - directory->contents);
    struct block_id id = directory_content_id(content);
    uint32_t *link = content_bucket(directory, &id);

    check(content->references == NO_RECORD);
    if (directory->options.content_gone != NULL &&
        directory_content_has_place(content)) {
        directory->options.content_gone(directory->options.context, &id);
    }
    while (*link != record) {
        check(*link != NO_RECORD);
        link = &directory->contents[*link].next;
    }
    *link = content->next;
    content->protected_references = CONTENT_FREE;
    record_pool_give(&directory->content_pool, record);
}

// Takes the content's bytes from the budget; false if they do not fit.
static bool
take_budget(struct directory *directory, uint64_t bytes)
{
    uint64_t limit = directory->options.protected_bytes_max;
    uint64_t now = atomic_load_explicit(&directory->protected_bytes,
                                        memory_order_relaxed);

    do {
        if (bytes > limit || now > limit - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &directory->protected_bytes, &now, now + bytes, memory_order_relaxed,
        memory_order_relaxed));
    return true;
}

bool
directory_reference_protect(struct directory *directory,
                            struct content *content,
                            struct reference *reference)
{
    if ((reference->binding & REFERENCE_PROTECTED) != 0) {
        return true;
    }
    if (content->protected_references == 0) {
        if (!take_budget(directory, content->bytes)) {
            return false;
        }
        atomic_fetch_add_explicit(&directory->protected_contents, 1,
                                  memory_order_relaxed);
    }
    content->protected_references++;
    reference->binding |= REFERENCE_PROTECTED;
    return true;
}

void
directory_reference_unprotect(struct directory *directory,
                              struct content *content,
                              struct reference *reference)
{
    if ((reference->binding & REFERENCE_PROTECTED) == 0) {
        return;
    }
    reference->binding &= ~REFERENCE_PROTECTED;
    if (--content->protected_references == 0) {
        atomic_fetch_sub_explicit(&directory->protected_bytes, content->bytes,
                                  memory_order_relaxed);
        atomic_fetch_sub_explicit(&directory->protected_contents, 1,
                                  memory_order_relaxed);
    }
}

struct reference *
directory_reference_add(struct directory *directory, struct content *content,
                        const struct binding *binding,
                        struct block_version version, bool is_guest,
                        struct record_spare *spare)
{
    uint32_t record = record_spare_take(spare, &directory->reference_pool);
    bool was_dirty = directory_content_is_dirty(directory, content);
    struct reference *reference;

    if (record == NO_RECORD) {
        return NULL;
    }
    reference = &directory->references[record];
    reference->binding = (uint32_t)(binding - directory->bindings) |
                         (is_guest ? REFERENCE_GUEST : 0);
    reference->version = version;
    reference->next = content->references;
    content->references = record;
    directory_content_account(directory, content, was_dirty);
    return reference;
}

const struct block_key *
directory_reference_key(const struct directory *directory, uint32_t record)
{
    uint32_t binding = directory->references[record].binding;

    return &directory
                ->bindings[binding & ~(REFERENCE_PROTECTED | REFERENCE_GUEST)]
                .key;
}

struct reference *
directory_reference(struct directory *directory, const struct content *content,
                    const struct block_key *key, struct block_version version)
{
    uint32_t record = content->references;

    while (record != NO_RECORD) {
        struct reference *reference = &directory->references[record];

        if (block_version_compare(reference->version, version) == 0 &&
            block_key_equal(directory_reference_key(directory, record), key)) {
            return reference;
        }
        record = reference->next;
    }
    return NULL;
}

bool
directory_reference_delete(struct directory *directory, struct content *content,
                           const struct block_key *key,
                           struct block_version version)
{
    struct reference *reference = directory_reference(directory, content, key,
                                                      version);
    bool was_dirty = directory_content_is_dirty(directory, content);
    uint32_t record;
    uint32_t *link = &content->references;

    if (reference == NULL) {
        return false;
    }
    directory_reference_unprotect(directory, content, reference);
    record = (uint32_t)(reference - directory->references);
    while (*link != record) {
        link = &directory->references[*link].next;
    }
    *link = reference->next;
    record_pool_give(&directory->reference_pool, record);
    directory_content_account(directory, content, was_dirty);
    return content->references == NO_RECORD;
}

void
directory_reference_remove(struct directory *directory, struct content *content,
                           const struct block_key *key,
                           struct block_version version,
                           struct directory_freed *freed)
{
    bool was_protected = content->protected_references > 0;

    memset(freed, 0, sizeof(*freed));
    if (directory_reference_delete(directory, content, key, version)) {
        freed->any = true;
        freed->id = directory_content_id(content);
        freed->memory = directory_place_of(content, &content->memory);
        freed->cold = directory_place_of(content, &content->cold);
        directory_content_delete(directory, content);
    } else if (was_protected && content->protected_references == 0) {
        freed->unprotected = true;
        freed->id = directory_content_id(content);
        freed->memory = directory_place_of(content, &content->memory);
    }
}

void
directory_expect(const struct directory *directory, const struct block_key *key,
                 const struct block_id *id)
{
    uint64_t hash = block_key_hash(key);
    const struct directory_shard *shard =
        &directory->key_shards[hash % DIRECTORY_SHARDS];

    __builtin_prefetch(shard, 1);
    __builtin_prefetch(&shard->buckets[bucket_of(salted(directory, hash),
                                                 directory->key_buckets)],
                       1);
    if (id != NULL) {
        hash = id_hash(id);
        shard = &directory->id_shards[hash % DIRECTORY_SHARDS];
        __builtin_prefetch(shard, 1);
        __builtin_prefetch(
            &shard->buckets[bucket_of(hash, directory->id_buckets)], 1);
    }
}
