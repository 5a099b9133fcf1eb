// SPDX-License-Identifier: Apache-2.0
//
// Records, pools and shards of the directory: private to src/directory. Plain
// data structures; the caller holds the lock that a comment names.
//
//   key shard:  buckets -> struct binding, chained by `next`
//   id shard:   buckets -> struct content, chained by `next`
//               content.references -> struct reference, chained by `next`
//
// Records are elements of three arrays taken at create; free ones form lists
// under one mutex per pool. Index NO_RECORD ends a chain.

#ifndef DIRECTORY_TABLE_H
#define DIRECTORY_TABLE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "directory/directory.h"
#include "directory/directory_keys.h"

#define DIRECTORY_SHARDS 256
#define NO_RECORD UINT32_MAX

struct binding {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint32_t next;
    // DIRECTORY_NO_SEGMENT: none known. With REPLACED, which of `replaced`: no
    // record of a guest is anywhere.
    uint32_t record_segment;
    uint32_t key_handle;
    uint16_t key_bytes; // 0: bytes not known
    uint16_t flags;     // enum directory_flags
};

// The key is that of the binding, which lives at least as long.
struct reference {
    struct block_version version;
    uint32_t binding; // and REFERENCE_PROTECTED, REFERENCE_GUEST
    uint32_t next;
};

#define REFERENCE_PROTECTED ((uint32_t)1 << 31)
#define REFERENCE_GUEST ((uint32_t)1 << 30)

// A place without what its content says already (bytes, checksum).
struct listed_place {
    uint32_t offset_low;
    uint16_t offset_high;
    uint16_t rank;
    uint32_t slot;
    uint32_t generation;
    uint8_t tier; // NONE: no copy
    uint8_t flags;
    uint8_t durable; // of a cold place: synced and of this job
    uint8_t hit : 1; // of a cold place: read since it was written
    uint8_t put : 1; // of a place in memory: a put of this store relies on it
};

// The id may be read without the shard (directory_find_slot): then it is a
// guess, to be confirmed under the shard.
struct content {
    _Atomic uint64_t id[BLOCK_ID_BYTES / sizeof(uint64_t)];
    uint64_t cold_time_ns; // version of the record that a load found there
    uint64_t bytes;
    struct listed_place memory;
    struct listed_place cold;
    uint32_t checksum;
    uint32_t next;
    uint32_t references;
    uint32_t protected_references; // CONTENT_FREE: it is no content now
};

#define CONTENT_FREE UINT32_MAX

// Fixed array of records with a free list.
struct record_pool {
    pthread_mutex_t lock;
    uint32_t *next_free; // per record
    uint32_t first_free;
    uint32_t used; // high-water mark: records past it were never taken
    uint32_t capacity;
    uint32_t taken;
};

struct directory_shard {
    _Alignas(64) pthread_mutex_t lock;
    uint32_t *buckets; // a part of the one table of all shards
};

struct directory {
    struct directory_options options;
    struct directory_shard key_shards[DIRECTORY_SHARDS];
    struct directory_shard id_shards[DIRECTORY_SHARDS];
    uint32_t key_buckets; // per shard, power of two
    uint32_t id_buckets;
    uint32_t *key_table; // the buckets of all shards, one after another
    uint32_t *id_table;
    struct binding *bindings;
    struct content *contents;
    struct reference *references;
    // Per slot in memory, one more than who was last there. 0: nobody.
    _Atomic uint32_t *slot_contents;
    struct record_pool binding_pool;
    struct record_pool content_pool;
    struct record_pool reference_pool;
    // Of shared directories: what guests stand in place of.
    struct record_pool replaced_pool;
    struct block_version *replaced;
    struct directory_keys keys;
    _Atomic uint64_t version_time_ns; // last version given or seen
    _Atomic uint64_t protected_bytes;
    _Atomic uint64_t protected_contents;
    _Atomic uint64_t live_keys;
    _Atomic uint64_t removals;
    _Atomic uint64_t dirty_bytes;
    _Atomic uint64_t dirty_contents;
    _Atomic uint64_t cleared_ns;        // of the newest clear of this store
    struct block_version clear_version; // highest one found while loading
    bool loaded;                        // from then on a load only adds
    _Atomic bool load_is_full; // what nothing names is gone, and it is full
    pthread_mutex_t load_lock; // over clear_version and the following
    pthread_cond_t load_settled;
    uint32_t loads_ahead; // batches that hold records taken ahead
    bool load_is_short;   // no batch takes any ahead
};

static inline void
directory_shard_lock(struct directory_shard *shard)
{
    check(pthread_mutex_lock(&shard->lock) == 0);
}

static inline void
directory_shard_unlock(struct directory_shard *shard)
{
    check(pthread_mutex_unlock(&shard->lock) == 0);
}

static inline bool
directory_is_listed(const struct listed_place *listed)
{
    return listed->tier != CASCADE_TIER_NONE;
}

static inline bool
directory_content_has_place(const struct content *content)
{
    return directory_is_listed(&content->memory) ||
           directory_is_listed(&content->cold);
}

static inline bool
directory_binding_is_removed(const struct binding *binding)
{
    return (binding->flags & DIRECTORY_REMOVED) != 0;
}

// --- pools. Any thread.

enum cascade_status
record_pool_init(struct record_pool *pool, const struct allocator *allocator,
                 uint32_t capacity);

void
record_pool_fini(struct record_pool *pool, const struct allocator *allocator);

// NO_RECORD if the pool is empty.
uint32_t
record_pool_take(struct record_pool *pool);

void
record_pool_give(struct record_pool *pool, uint32_t record);

// Takes up to `count`; how many. Faster than one by one.
uint32_t
record_pool_take_some(struct record_pool *pool, uint32_t *records,
                      uint32_t count);

void
record_pool_give_some(struct record_pool *pool, const uint32_t *records,
                      uint32_t count);

// Records taken ahead by one thread, for what it is about to add. Without any
// the pool is asked.
struct record_spare {
    uint32_t *records;
    uint32_t count;
};

static inline uint32_t
record_spare_take(struct record_spare *spare, struct record_pool *pool)
{
    return spare != NULL && spare->count > 0 ? spare->records[--spare->count]
                                             : record_pool_take(pool);
}

// --- key shards. The caller holds the shard's lock.

struct directory_shard *
directory_key_shard(struct directory *directory, const struct block_key *key);

// The binding of the key, removals included; NULL if there is none.
struct binding *
directory_binding(struct directory *directory, const struct block_key *key);

// A new binding, filled with the key only; NULL if there is no record for it.
// `spare` may be NULL.
struct binding *
directory_binding_add(struct directory *directory, const struct block_key *key,
                      struct record_spare *spare);

void
directory_binding_delete(struct directory *directory, struct binding *binding);

// Bucket `bucket` of shard `shard`: index of its first binding.
uint32_t
directory_binding_first(const struct directory *directory, uint32_t shard,
                        uint32_t bucket);

// --- id shards. The caller holds the shard's lock.

struct directory_shard *
directory_id_shard(struct directory *directory, const struct block_id *id);

struct content *
directory_content(struct directory *directory, const struct block_id *id);

// `spare` may be NULL.
struct content *
directory_content_add(struct directory *directory, const struct block_id *id,
                      uint64_t bytes, uint32_t checksum,
                      struct record_spare *spare);

void
directory_content_delete(struct directory *directory, struct content *content);

// All that names it are guests.
bool
directory_content_is_guest(const struct directory *directory,
                           const struct content *content);

// In memory, kept by a binding of this rank, and not durable on segments of this
// job.
bool
directory_content_is_dirty(const struct directory *directory,
                           const struct content *content);

// Keeps the sums of dirty contents: call after any change of places or names,
// with what the content was before.
void
directory_content_account(struct directory *directory,
                          const struct content *content, bool was_dirty);

// Adds (key of the binding, version), unprotected; NULL if there is no record
// for it. `spare` may be NULL.
struct reference *
directory_reference_add(struct directory *directory, struct content *content,
                        const struct binding *binding,
                        struct block_version version, bool is_guest,
                        struct record_spare *spare);

const struct block_key *
directory_reference_key(const struct directory *directory, uint32_t record);

// Lists a copy where there was none, or another one.
void
directory_list_place(struct directory *directory, struct content *content,
                     const struct block_place *place);

// A listed place with what the content says; all zero if there is none.
struct block_place
directory_place_of(const struct content *content,
                   const struct listed_place *listed);

struct block_id
directory_content_id(const struct content *content);

// The reference (key, version); NULL if there is none.
struct reference *
directory_reference(struct directory *directory, const struct content *content,
                    const struct block_key *key, struct block_version version);

// Removes (key, version) if it is there. True if none is left.
bool
directory_reference_delete(struct directory *directory, struct content *content,
                           const struct block_key *key,
                           struct block_version version);

// The same; a content without references goes and is described in `freed`
// (any = false if it stayed).
void
directory_reference_remove(struct directory *directory, struct content *content,
                           const struct block_key *key,
                           struct block_version version,
                           struct directory_freed *freed);

// Marks a reference protected and takes its content's bytes from the budget;
// false if the budget refuses.
bool
directory_reference_protect(struct directory *directory,
                            struct content *content,
                            struct reference *reference);

void
directory_reference_unprotect(struct directory *directory,
                              struct content *content,
                              struct reference *reference);

// --- steps of several changes (directory_binding.c). The caller holds the
// shard of the key; that of the id is taken inside.

// Fills what is known of the content; its shard is held.
void
directory_show_content(const struct content *content,
                       struct directory_found *found);

// Fills what is known of the binding and zeroes the rest.
void
directory_show_binding(const struct binding *binding,
                       struct directory_found *found);

// Removes the reference of a live binding.
void
directory_drop_reference(struct directory *directory,
                         const struct binding *binding,
                         struct directory_freed *freed);

// The content of the binding has a place.
bool
directory_is_served(struct directory *directory, const struct binding *binding);

// A live binding ends at `version`. With `keep` it stays as a removal, so that
// older records do not come back; else it is deleted.
void
directory_end_binding(struct directory *directory, struct binding *binding,
                      struct block_version version, bool keep);

// Under the key's shard: what this rank kept before the guest, a zero version if
// nothing. Forgets it.
struct block_version
directory_take_replaced(struct directory *directory, struct binding *binding);

// A guest ends, by its own rank's will or for want of bytes: its home hears of
// what it stood in place of, which stays as a removal.
void
directory_end_guest(struct directory *directory, struct binding *binding);

// A record of the key may lie on segments.
bool
directory_may_be_on_segments(const struct directory *directory,
                             const struct binding *binding);

// Keeps the bytes of a key that was known by digest only.
void
directory_binding_attach_key(struct directory *directory,
                             struct binding *binding, const void *key,
                             uint32_t key_bytes);

#endif
