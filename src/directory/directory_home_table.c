// SPDX-License-Identifier: Apache-2.0
//
// The tables of a home: pools, chains, and the fields of a record that change
// together. No messages, no decisions. One thread.

#include "base/error.h"
#include "directory/directory_home_inner.h"

// Records that are looked at for each key that comes.
#define SWEEP_STEP 8

enum cascade_status
directory_home_pool_init(struct directory_home_pool *pool,
                         const struct allocator *allocator, uint32_t capacity,
                         size_t record_bytes, size_t link)
{
    pool->records = allocator_array(allocator, capacity, record_bytes);
    if (pool->records == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a directory of %u records; lower "
                         "max_blocks",
                         capacity);
    }
    pool->record_bytes = record_bytes;
    pool->link = link;
    pool->first_free = DIRECTORY_HOME_NONE;
    pool->capacity = capacity;
    return CASCADE_OK;
}

uint32_t
directory_home_pool_take(struct directory_home_pool *pool)
{
    uint32_t record = DIRECTORY_HOME_NONE;
    uint8_t *memory;

    if (pool->first_free != DIRECTORY_HOME_NONE) {
        record = pool->first_free;
        memory = pool->records + record * pool->record_bytes;
        memcpy(&pool->first_free, memory + pool->link, sizeof(uint32_t));
        memset(memory, 0, pool->record_bytes);
    } else if (pool->used < pool->capacity) {
        record = pool->used++;
    }
    if (record != DIRECTORY_HOME_NONE) {
        pool->taken++;
    }
    return record;
}

void
directory_home_pool_give(struct directory_home_pool *pool, uint32_t record)
{
    uint8_t *memory = pool->records + record * pool->record_bytes;

    check(record < pool->used && pool->taken > 0);
    memset(memory, 0, pool->record_bytes);
    memcpy(memory + pool->link, &pool->first_free, sizeof(uint32_t));
    pool->first_free = record;
    pool->taken--;
}

enum cascade_status
directory_home_buckets_init(struct directory_home_buckets *buckets,
                            const struct allocator *allocator, uint32_t records)
{
    buckets->count = records / 2 + 1;
    buckets->first = allocator_array(allocator, buckets->count,
                                     sizeof(uint32_t));
    if (buckets->first == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a directory of %u records; lower "
                         "max_blocks",
                         records);
    }
    memset(buckets->first, 0xff, buckets->count * sizeof(uint32_t));
    return CASCADE_OK;
}

// Keys come from others, who could choose many for one bucket if they knew how
// it is found.
static uint32_t *
bucket_of(const struct directory_home *home,
          const struct directory_home_buckets *buckets, const void *digest)
{
    uint64_t hash;

    memcpy(&hash, digest, sizeof(hash));
    hash = (hash ^ home->options.salt) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
    return &buckets->first[hash % buckets->count];
}

struct directory_home_key *
directory_home_key(struct directory_home *home, const struct block_key *key)
{
    uint32_t record = *bucket_of(home, &home->key_buckets, key->bytes);

    while (record != DIRECTORY_HOME_NONE) {
        struct directory_home_key *entry = &home->keys[record];

        if (block_key_equal(&entry->key, key)) {
            return entry;
        }
        record = entry->next;
    }
    return NULL;
}

void
directory_home_raise_floor(struct directory_home *home,
                           struct block_version version)
{
    if (block_version_compare(version, home->floor) > 0) {
        home->floor = version;
    }
}

struct block_version
directory_home_highest(const struct directory_home *home,
                       const struct directory_home_key *entry)
{
    if (entry != NULL &&
        block_version_compare(entry->version, home->floor) > 0) {
        return entry->version;
    }
    return home->floor;
}

uint64_t
directory_home_lease_end(const struct directory_home *home,
                         const struct directory_home_key *entry)
{
    if (entry->lease_end == 0) {
        return 0;
    }
    return home->origin_ns +
           ((uint64_t)entry->lease_end << DIRECTORY_HOME_TICK_SHIFT);
}

static void
set_protected(struct directory_home *home, struct directory_home_key *entry,
              bool is_protected)
{
    bool was_protected = (entry->flags & DIRECTORY_HOME_PROTECTED) != 0;

    if (was_protected && !is_protected) {
        home->protected_keys--;
        entry->flags &= (uint8_t)~DIRECTORY_HOME_PROTECTED;
    }
    if (!was_protected && is_protected) {
        home->protected_keys++;
        entry->flags |= DIRECTORY_HOME_PROTECTED;
    }
    if (was_protected || is_protected) {
        struct directory_registry_entry told = {
            .key = entry->key,
            .id = entry->id,
            .version = entry->version,
            .bytes = directory_home_key_bytes(entry),
            .is_protected = is_protected,
        };

        home->options.out.protection(home->options.out.context, &told);
    }
}

static void
set_removed(struct directory_home *home, struct directory_home_key *entry,
            bool is_removed)
{
    bool was_removed = (entry->flags & DIRECTORY_HOME_REMOVED) != 0;

    if (was_removed && !is_removed) {
        home->removed--;
        entry->flags &= (uint8_t)~DIRECTORY_HOME_REMOVED;
    }
    if (!was_removed && is_removed) {
        uint64_t end_ns = directory_home_lease_end(home, entry);

        home->removed++;
        entry->flags |= DIRECTORY_HOME_REMOVED;
        if (end_ns < home->sweep_ns) {
            home->sweep_ns = end_ns;
        }
    }
}

void
directory_home_key_delete(struct directory_home *home,
                          struct directory_home_key *entry)
{
    uint32_t record = (uint32_t)(entry - home->keys);
    uint32_t *link = bucket_of(home, &home->key_buckets, entry->key.bytes);

    set_protected(home, entry, false);
    set_removed(home, entry, false);
    directory_home_raise_floor(home, entry->version);
    while (*link != record) {
        check(*link != DIRECTORY_HOME_NONE);
        link = &home->keys[*link].next;
    }
    *link = entry->next;
    directory_home_pool_give(&home->key_pool, record);
}

// Forgets the removals that nobody holds a lease below, among so many records
// from where the last call ended. Returns when the first of the others may go.
static uint64_t
sweep(struct directory_home *home, uint32_t records)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < records && home->removed > 0; i++) {
        struct directory_home_key *entry;
        uint64_t end_ns;

        if (home->hand >= home->key_pool.used) {
            home->hand = 0;
        }
        entry = &home->keys[home->hand++];
        if ((entry->flags & DIRECTORY_HOME_REMOVED) == 0) {
            continue;
        }
        end_ns = directory_home_lease_end(home, entry);
        if (end_ns <= home->now_ns) {
            directory_home_key_delete(home, entry);
        } else if (end_ns < next_ns) {
            next_ns = end_ns;
        }
    }
    return next_ns;
}

static uint32_t
take_key(struct directory_home *home)
{
    uint32_t record;

    // A few at a time, so that a full table is rarely walked as a whole.
    (void)sweep(home, SWEEP_STEP);
    record = directory_home_pool_take(&home->key_pool);
    if (record == DIRECTORY_HOME_NONE && home->now_ns >= home->sweep_ns) {
        home->sweep_ns = sweep(home, home->key_pool.used);
        record = directory_home_pool_take(&home->key_pool);
    }
    return record;
}

struct directory_home_key *
directory_home_key_add(struct directory_home *home, const struct block_key *key,
                       bool may_forget)
{
    uint32_t *bucket = bucket_of(home, &home->key_buckets, key->bytes);
    uint32_t record = may_forget ? take_key(home)
                                 : directory_home_pool_take(&home->key_pool);
    struct directory_home_key *entry;

    if (record == DIRECTORY_HOME_NONE) {
        return NULL;
    }
    entry = &home->keys[record];
    entry->key = *key;
    entry->custodian = DIRECTORY_RANK_NONE;
    entry->flags = DIRECTORY_HOME_USED;
    entry->next = *bucket;
    *bucket = record;
    set_removed(home, entry, true);
    return entry;
}

void
directory_home_key_remove(struct directory_home *home,
                          struct directory_home_key *entry,
                          struct block_version version)
{
    if (block_version_compare(version, entry->version) > 0) {
        entry->version = version;
    }
    set_protected(home, entry, false);
    entry->custodian = DIRECTORY_RANK_NONE;
    set_removed(home, entry, true);
}

void
directory_home_key_end(struct directory_home *home,
                       struct directory_home_key *entry,
                       struct block_version version)
{
    directory_home_key_remove(home, entry, version);
    if (directory_home_lease_end(home, entry) <= home->now_ns) {
        directory_home_key_delete(home, entry);
    }
}

void
directory_home_key_set(struct directory_home *home,
                       struct directory_home_key *entry,
                       const struct block_id *id, struct block_version version,
                       uint64_t bytes, uint32_t flags, uint16_t custodian)
{
    entry->id = *id;
    entry->version = version;
    entry->bytes_low = (uint32_t)bytes;
    entry->bytes_high = (uint16_t)(bytes >> 32);
    entry->custodian = custodian;
    entry->flags &= (uint8_t)~DIRECTORY_HOME_SURROGATE;
    if ((flags & DIRECTORY_MESSAGE_SURROGATE) != 0) {
        entry->flags |= DIRECTORY_HOME_SURROGATE;
    }
    set_removed(home, entry, false);
    set_protected(home, entry, (flags & DIRECTORY_MESSAGE_PROTECTED) != 0);
}

uint32_t
directory_home_key_flags(const struct directory_home_key *entry)
{
    uint32_t flags = 0;

    if ((entry->flags & DIRECTORY_HOME_PROTECTED) != 0) {
        flags |= DIRECTORY_MESSAGE_PROTECTED;
    }
    if ((entry->flags & DIRECTORY_HOME_SURROGATE) != 0) {
        flags |= DIRECTORY_MESSAGE_SURROGATE;
    }
    return flags;
}

void
directory_home_lease_clear(struct directory_home_key *entry)
{
    entry->flags &= (uint8_t)~DIRECTORY_HOME_MANY;
    entry->holder_count = 0;
    entry->lease_end = 0;
}

static void
add_holder(struct directory_home_key *entry, uint16_t rank)
{
    for (uint32_t i = 0; i < entry->holder_count; i++) {
        if (entry->holders[i] == rank) {
            return;
        }
    }
    if (entry->holder_count < DIRECTORY_HOME_HOLDERS) {
        entry->holders[entry->holder_count++] = rank;
    } else {
        entry->flags |= DIRECTORY_HOME_MANY;
    }
}

uint64_t
directory_home_lease(struct directory_home *home,
                     struct directory_home_key *entry, uint16_t rank)
{
    uint64_t lease_ns = home->options.lease_ns;
    uint64_t end = ((home->now_ns - home->origin_ns + lease_ns) >>
                    DIRECTORY_HOME_TICK_SHIFT) +
                   1;

    // Ticks end after years; then there are no more leases.
    if (lease_ns == 0 || end > UINT32_MAX) {
        return 0;
    }
    // Names of ranks whose leases have ended stay while there is room: such a
    // rank may have a copy.
    if (directory_home_lease_end(home, entry) <= home->now_ns &&
        entry->holder_count == DIRECTORY_HOME_HOLDERS) {
        directory_home_lease_clear(entry);
    }
    add_holder(entry, rank);
    if (end > entry->lease_end) {
        entry->lease_end = (uint32_t)end;
    }
    return lease_ns;
}

static bool
is_id(const struct directory_home_id *entry, const struct block_id *id)
{
    return memcmp(entry->check, id->bytes, sizeof(entry->check)) == 0;
}

struct directory_home_id *
directory_home_id(struct directory_home *home, const struct block_id *id)
{
    uint32_t record = *bucket_of(home, &home->id_buckets, id->bytes);

    while (record != DIRECTORY_HOME_NONE) {
        struct directory_home_id *entry = &home->ids[record];

        if (is_id(entry, id)) {
            return entry;
        }
        record = entry->next;
    }
    return NULL;
}

struct directory_home_id *
directory_home_id_add(struct directory_home *home, const struct block_id *id)
{
    uint32_t *bucket = bucket_of(home, &home->id_buckets, id->bytes);
    uint32_t record = directory_home_pool_take(&home->id_pool);
    struct directory_home_id *entry;

    if (record == DIRECTORY_HOME_NONE) {
        return NULL;
    }
    entry = &home->ids[record];
    memcpy(entry->check, id->bytes, sizeof(entry->check));
    memset(entry->ranks, 0xff, sizeof(entry->ranks));
    entry->next = *bucket;
    *bucket = record;
    return entry;
}

void
directory_home_id_delete(struct directory_home *home,
                         struct directory_home_id *entry)
{
    uint32_t record = (uint32_t)(entry - home->ids);
    uint32_t *link = bucket_of(home, &home->id_buckets, entry->check);

    while (*link != record) {
        check(*link != DIRECTORY_HOME_NONE);
        link = &home->ids[*link].next;
    }
    *link = entry->next;
    directory_home_pool_give(&home->id_pool, record);
    memset(entry->ranks, 0xff, sizeof(entry->ranks));
}
