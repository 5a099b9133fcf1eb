// SPDX-License-Identifier: Apache-2.0
//
// Records in one array, named by their number from 1; 0 ends a chain. Each is in
// the chain of its bucket and in the list of all by the order of changes; free
// ones are chained by `next`. No lock.

#include "directory/directory_registry.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"

struct record {
    struct directory_registry_entry entry;
    uint64_t sequence; // 0: free
    uint32_t next;     // in the bucket, or of the free ones
    uint32_t earlier;
    uint32_t later;
};

struct directory_registry {
    const struct allocator *allocator;
    struct record *records; // number 0 is not used
    uint32_t *buckets;
    uint32_t bucket_count;
    uint32_t max;
    uint32_t used; // those above were never taken
    uint32_t first_free;
    uint32_t first; // by the order of changes
    uint32_t last;
    uint64_t sequence;
    struct directory_registry_usage usage;
};

enum cascade_status
directory_registry_create(const struct allocator *allocator, uint32_t max,
                          struct directory_registry **registry)
{
    struct directory_registry *made = allocator_array(allocator, 1,
                                                      sizeof(*made));

    check(max > 0 && max < UINT32_MAX);
    if (made != NULL) {
        made->allocator = allocator;
        made->max = max;
        made->bucket_count = max / 2 + 1;
        made->records = allocator_array(allocator, (size_t)max + 1,
                                        sizeof(*made->records));
        made->buckets = allocator_array(allocator, made->bucket_count,
                                        sizeof(*made->buckets));
    }
    if (made == NULL || made->records == NULL || made->buckets == NULL) {
        directory_registry_destroy(made);
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for a list of %u protected keys; lower "
                         "max_blocks",
                         (unsigned)max);
    }
    *registry = made;
    return CASCADE_OK;
}

void
directory_registry_destroy(struct directory_registry *registry)
{
    if (registry != NULL) {
        allocator_release(registry->allocator, registry->buckets);
        allocator_release(registry->allocator, registry->records);
        allocator_release(registry->allocator, registry);
    }
}

// Digests are random as they are; the home of a key is in other bytes.
static uint32_t *
bucket_of(const struct directory_registry *registry,
          const struct block_key *key)
{
    uint64_t hash;

    memcpy(&hash, key->bytes + 2 * sizeof(hash), sizeof(hash));
    return &registry->buckets[hash % registry->bucket_count];
}

static struct record *
find(const struct directory_registry *registry, const struct block_key *key)
{
    uint32_t number = *bucket_of(registry, key);

    while (number != 0 &&
           !block_key_equal(&registry->records[number].entry.key, key)) {
        number = registry->records[number].next;
    }
    return number != 0 ? &registry->records[number] : NULL;
}

// --- the order of changes

static void
take_out(struct directory_registry *registry, const struct record *record)
{
    struct record *records = registry->records;

    if (record->earlier != 0) {
        records[record->earlier].later = record->later;
    } else {
        registry->first = record->later;
    }
    if (record->later != 0) {
        records[record->later].earlier = record->earlier;
    } else {
        registry->last = record->earlier;
    }
}

static void
put_last(struct directory_registry *registry, struct record *record)
{
    uint32_t number = (uint32_t)(record - registry->records);

    record->sequence = registry->sequence;
    record->earlier = registry->last;
    record->later = 0;
    if (registry->last != 0) {
        registry->records[registry->last].later = number;
    } else {
        registry->first = number;
    }
    registry->last = number;
}

// --- records

static struct record *
add(struct directory_registry *registry, const struct block_key *key)
{
    uint32_t *bucket = bucket_of(registry, key);
    uint32_t number = registry->first_free;
    struct record *record;

    if (number != 0) {
        registry->first_free = registry->records[number].next;
    } else if (registry->used < registry->max) {
        number = ++registry->used;
    } else {
        return NULL;
    }
    record = &registry->records[number];
    memset(record, 0, sizeof(*record));
    record->entry.key = *key;
    record->next = *bucket;
    *bucket = number;
    return record;
}

static void
count(struct directory_registry *registry, const struct record *record,
      uint64_t change)
{
    if (record->entry.is_protected) {
        registry->usage.protected_keys += change;
    } else {
        registry->usage.lifted_keys += change;
    }
}

static void
drop(struct directory_registry *registry, struct record *record)
{
    uint32_t number = (uint32_t)(record - registry->records);
    uint32_t *link = bucket_of(registry, &record->entry.key);

    while (*link != number) {
        check(*link != 0);
        link = &registry->records[*link].next;
    }
    *link = record->next;
    count(registry, record, UINT64_MAX);
    take_out(registry, record);
    record->sequence = 0;
    record->next = registry->first_free;
    registry->first_free = number;
}

bool
directory_registry_note(struct directory_registry *registry,
                        const struct directory_registry_entry *entry)
{
    struct record *record = find(registry, &entry->key);

    registry->sequence++;
    if (record != NULL) {
        if (block_version_compare(entry->version, record->entry.version) < 0) {
            return true;
        }
        count(registry, record, UINT64_MAX);
        take_out(registry, record);
    } else {
        if (!entry->is_protected) {
            return true; // nobody was told that it is
        }
        record = add(registry, &entry->key);
        if (record == NULL) {
            registry->usage.refused++;
            return false;
        }
    }
    record->entry = *entry;
    count(registry, record, 1);
    put_last(registry, record);
    return true;
}

uint64_t
directory_registry_sequence(const struct directory_registry *registry)
{
    return registry->sequence;
}

size_t
directory_registry_since(const struct directory_registry *registry,
                         uint64_t sequence,
                         struct directory_registry_entry *entries, size_t room,
                         uint64_t *reached)
{
    const struct record *records = registry->records;
    uint32_t number = registry->last;
    uint32_t next = 0;
    size_t given = 0;

    while (number != 0 && records[number].sequence > sequence) {
        next = number;
        number = records[number].earlier;
    }
    *reached = sequence;
    for (; next != 0 && given < room; next = records[next].later) {
        entries[given++] = records[next].entry;
        *reached = records[next].sequence;
    }
    if (next == 0) {
        *reached = registry->sequence;
    }
    return given;
}

void
directory_registry_forget(struct directory_registry *registry,
                          uint64_t sequence)
{
    uint32_t number = registry->first;

    while (registry->usage.lifted_keys > 0 && number != 0 &&
           registry->records[number].sequence <= sequence) {
        struct record *record = &registry->records[number];

        number = record->later;
        if (!record->entry.is_protected) {
            drop(registry, record);
        }
    }
}

void
directory_registry_clear(struct directory_registry *registry,
                         struct block_version version)
{
    for (uint32_t number = 1; number <= registry->used; number++) {
        struct record *record = &registry->records[number];

        if (record->sequence != 0 &&
            block_version_compare(record->entry.version, version) < 0) {
            drop(registry, record);
        }
    }
}

void
directory_registry_filter(struct directory_registry *registry,
                          bool (*is_wanted)(void *context,
                                            const struct block_key *key),
                          void *context)
{
    for (uint32_t number = 1; number <= registry->used; number++) {
        struct record *record = &registry->records[number];

        if (record->sequence != 0 && !is_wanted(context, &record->entry.key)) {
            drop(registry, record);
        }
    }
}

size_t
directory_registry_scan(const struct directory_registry *registry,
                        uint64_t *cursor,
                        struct directory_registry_entry *entries, size_t room)
{
    size_t given = 0;

    while (given < room && *cursor < registry->used) {
        const struct record *record = &registry->records[++*cursor];

        if (record->sequence != 0 && record->entry.is_protected) {
            entries[given++] = record->entry;
        }
    }
    return given;
}

void
directory_registry_usage(const struct directory_registry *registry,
                         struct directory_registry_usage *usage)
{
    *usage = registry->usage;
}

bool
directory_registry_is_valid(const struct directory_registry *registry)
{
    const struct record *records = registry->records;
    uint64_t protected_keys = 0;
    uint64_t listed = 0;
    uint64_t free_ones = 0;
    uint64_t sequence = 0;
    uint32_t earlier = 0;

    for (uint32_t number = registry->first; number != 0;
         number = records[number].later) {
        if (records[number].sequence <= sequence ||
            records[number].earlier != earlier ||
            find(registry, &records[number].entry.key) != &records[number]) {
            return false;
        }
        sequence = records[number].sequence;
        earlier = number;
        protected_keys += records[number].entry.is_protected;
        listed++;
    }
    for (uint32_t number = registry->first_free; number != 0;
         number = records[number].next) {
        if (records[number].sequence != 0) {
            return false;
        }
        free_ones++;
    }
    return registry->last == earlier && sequence <= registry->sequence &&
           listed + free_ones == registry->used &&
           protected_keys == registry->usage.protected_keys &&
           listed - protected_keys == registry->usage.lifted_keys;
}
