// SPDX-License-Identifier: Apache-2.0
//
// Leases in sets: a key belongs to one set of a few places, and a lease that
// finds its set full takes the place at the set's hand, unless it was used since
// the hand passed. 64 shards with one lock each, held for a few loads; a leaf.
//
// Not here: who may believe what for how long (directory_home.h).

#include "directory/directory_lease.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"

#define SHARDS 64
#define WAYS 8 // places of a set

struct lease_entry {
    struct block_key key; // zero: a free place
    struct directory_lease lease;
    uint64_t hit_ns; // of the last remote hit
    bool used;       // since the hand passed
};

struct lease_set {
    struct lease_entry entries[WAYS];
    uint32_t hand;
};

struct lease_shard {
    pthread_mutex_t lock;
    struct lease_set *sets;
    struct block_version floor; // nothing below it is installed
};

struct directory_leases {
    const struct allocator *allocator;
    uint32_t sets_per_shard;
    _Atomic uint64_t count;
    struct lease_shard shards[SHARDS];
};

enum cascade_status
directory_leases_create(const struct allocator *allocator, uint32_t max,
                        struct directory_leases **leases)
{
    struct directory_leases *made = allocator_array(allocator, 1,
                                                    sizeof(*made));

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for leases");
    }
    made->allocator = allocator;
    made->sets_per_shard = max / (SHARDS * WAYS) + 1;
    for (uint32_t s = 0; s < SHARDS; s++) {
        check(pthread_mutex_init(&made->shards[s].lock, NULL) == 0);
    }
    for (uint32_t s = 0; s < SHARDS; s++) {
        made->shards[s].sets = allocator_array(allocator, made->sets_per_shard,
                                               sizeof(struct lease_set));
        if (made->shards[s].sets == NULL) {
            directory_leases_destroy(made);
            return error_set(CASCADE_NO_MEMORY,
                             "no memory for %u leases; lower max_blocks", max);
        }
    }
    *leases = made;
    return CASCADE_OK;
}

void
directory_leases_destroy(struct directory_leases *leases)
{
    if (leases == NULL) {
        return;
    }
    for (uint32_t s = 0; s < SHARDS; s++) {
        allocator_release(leases->allocator, leases->shards[s].sets);
        (void)pthread_mutex_destroy(&leases->shards[s].lock);
    }
    allocator_release(leases->allocator, leases);
}

// Takes the lock of the key's shard.
static struct lease_shard *
lock_shard(struct directory_leases *leases, const struct block_key *key)
{
    struct lease_shard *shard = &leases->shards[block_key_hash(key) % SHARDS];

    pthread_mutex_lock(&shard->lock);
    return shard;
}

static void
unlock_shard(struct lease_shard *shard)
{
    pthread_mutex_unlock(&shard->lock);
}

static struct lease_set *
set_of(const struct directory_leases *leases, const struct lease_shard *shard,
       const struct block_key *key)
{
    return &shard->sets[block_key_hash(key) / SHARDS % leases->sets_per_shard];
}

static struct lease_entry *
entry_of(const struct directory_leases *leases, const struct lease_shard *shard,
         const struct block_key *key)
{
    struct lease_set *set = set_of(leases, shard, key);

    for (uint32_t i = 0; i < WAYS; i++) {
        if (block_key_equal(&set->entries[i].key, key)) {
            return &set->entries[i];
        }
    }
    return NULL;
}

static bool
is_free(const struct lease_entry *entry)
{
    return block_key_is_zero(&entry->key);
}

static void
forget(struct directory_leases *leases, struct lease_entry *entry)
{
    if (!is_free(entry)) {
        atomic_fetch_sub_explicit(&leases->count, 1, memory_order_relaxed);
        memset(entry, 0, sizeof(*entry));
    }
}

bool
directory_leases_find(struct directory_leases *leases,
                      const struct block_key *key, uint64_t now_ns,
                      struct directory_lease *lease)
{
    struct lease_shard *shard = lock_shard(leases, key);
    struct lease_entry *entry = entry_of(leases, shard, key);
    bool found = entry != NULL && now_ns < entry->lease.end_ns;

    if (found) {
        entry->used = true;
        *lease = entry->lease;
    }
    unlock_shard(shard);
    return found;
}

// A free place, or the one whose lease goes.
static struct lease_entry *
make_room(struct directory_leases *leases, struct lease_set *set)
{
    struct lease_entry *entry;

    for (uint32_t i = 0; i < WAYS; i++) {
        if (is_free(&set->entries[i])) {
            return &set->entries[i];
        }
    }
    while (set->entries[set->hand].used) {
        set->entries[set->hand].used = false;
        set->hand = (set->hand + 1) % WAYS;
    }
    entry = &set->entries[set->hand];
    set->hand = (set->hand + 1) % WAYS;
    forget(leases, entry);
    return entry;
}

void
directory_leases_install(struct directory_leases *leases,
                         const struct block_key *key,
                         const struct directory_lease *lease)
{
    struct lease_shard *shard = lock_shard(leases, key);
    struct lease_entry *entry = entry_of(leases, shard, key);

    if (block_version_compare(lease->version, shard->floor) < 0 ||
        (entry != NULL &&
         block_version_compare(lease->version, entry->lease.version) < 0)) {
        unlock_shard(shard);
        return;
    }
    if (entry == NULL) {
        entry = make_room(leases, set_of(leases, shard, key));
        entry->key = *key;
        entry->lease = *lease;
        atomic_fetch_add_explicit(&leases->count, 1, memory_order_relaxed);
    } else {
        struct directory_lease old = entry->lease;

        entry->lease = *lease;
        entry->lease.remote_hits = old.remote_hits;
        if (!block_place_is_set(&lease->hint) &&
            block_id_equal(&old.id, &lease->id)) {
            entry->lease.hint = old.hint;
        }
    }
    unlock_shard(shard);
}

void
directory_leases_drop(struct directory_leases *leases,
                      const struct block_key *key, struct block_version below)
{
    struct lease_shard *shard = lock_shard(leases, key);
    struct lease_entry *entry = entry_of(leases, shard, key);

    if (entry != NULL &&
        block_version_compare(entry->lease.version, below) < 0) {
        forget(leases, entry);
    }
    unlock_shard(shard);
}

void
directory_leases_clear(struct directory_leases *leases,
                       struct block_version version)
{
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct lease_shard *shard = &leases->shards[s];

        pthread_mutex_lock(&shard->lock);
        if (block_version_compare(version, shard->floor) > 0) {
            shard->floor = version;
        }
        for (uint32_t i = 0; i < leases->sets_per_shard * WAYS; i++) {
            struct lease_entry *entry =
                &shard->sets[i / WAYS].entries[i % WAYS];

            if (!is_free(entry) &&
                block_version_compare(entry->lease.version, version) < 0) {
                forget(leases, entry);
            }
        }
        unlock_shard(shard);
    }
}

void
directory_leases_drop_all(struct directory_leases *leases)
{
    for (uint32_t s = 0; s < SHARDS; s++) {
        struct lease_shard *shard = &leases->shards[s];

        pthread_mutex_lock(&shard->lock);
        for (uint32_t i = 0; i < leases->sets_per_shard * WAYS; i++) {
            forget(leases, &shard->sets[i / WAYS].entries[i % WAYS]);
        }
        unlock_shard(shard);
    }
}

void
directory_leases_hint(struct directory_leases *leases,
                      const struct block_key *key, struct block_version version,
                      const struct block_place *hint)
{
    struct lease_shard *shard = lock_shard(leases, key);
    struct lease_entry *entry = entry_of(leases, shard, key);

    if (entry != NULL &&
        block_version_compare(entry->lease.version, version) == 0) {
        entry->lease.hint = *hint;
    }
    unlock_shard(shard);
}

uint32_t
directory_leases_note_remote(struct directory_leases *leases,
                             const struct block_key *key, uint64_t now_ns,
                             uint64_t half_life_ns)
{
    struct lease_shard *shard = lock_shard(leases, key);
    struct lease_entry *entry = entry_of(leases, shard, key);
    uint32_t hits = 0;

    if (entry != NULL) {
        uint64_t halves = half_life_ns > 0 && now_ns > entry->hit_ns
                              ? (now_ns - entry->hit_ns) / half_life_ns
                              : 0;

        hits = halves < 16 ? (uint32_t)entry->lease.remote_hits >> halves : 0;
        hits += hits < UINT16_MAX ? 1 : 0;
        entry->lease.remote_hits = (uint16_t)hits;
        entry->hit_ns = now_ns;
        entry->used = true;
    }
    unlock_shard(shard);
    return hits;
}

uint64_t
directory_leases_count(const struct directory_leases *leases)
{
    return atomic_load_explicit(&leases->count, memory_order_relaxed);
}
