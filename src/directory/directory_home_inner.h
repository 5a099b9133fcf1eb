// SPDX-License-Identifier: Apache-2.0
//
// Records of a home: private to the files directory_home*.c. Plain memory, one
// thread. Records are elements of arrays taken at create, named by their index;
// DIRECTORY_HOME_NONE ends a chain.
//
//   keys:    buckets -> struct directory_home_key, chained by `next`
//   ids:     buckets -> struct directory_home_id, chained by `next`
//   changes: buckets -> the first change of a key's line, chained by `chain`;
//            those that wait behind it follow by `next`
//   claims:  buckets -> struct directory_home_claim, chained by `next`; those
//            who wait for its end follow from `waiters`
//
// Invariants (directory_home_is_valid, directory_home_check.c):
// - the first change of a line is under way, all others wait;
// - a live binding without a custodian has a line, or `missed` is set;
// - a claim ends when its rank tells of a copy, gives it up, or it expires.

#ifndef DIRECTORY_DIRECTORY_HOME_INNER_H
#define DIRECTORY_DIRECTORY_HOME_INNER_H

#include <string.h>

#include "base/check.h"
#include "directory/directory_home.h"

#define DIRECTORY_HOME_NONE UINT32_MAX
#define DIRECTORY_HOME_HOLDERS 3
#define DIRECTORY_HOME_REPLY_BYTES            \
    (sizeof(struct directory_message_count) + \
     DIRECTORY_MESSAGE_COUNT_MAX * sizeof(struct directory_message_found))

#define DIRECTORY_HOME_REQUEST_BYTES          \
    (sizeof(struct directory_message_count) + \
     DIRECTORY_MESSAGE_COUNT_MAX * sizeof(struct directory_message_announce))

// Ends of leases are kept in ticks, rounded up, since the first message.
#define DIRECTORY_HOME_TICK_SHIFT 24

enum directory_home_key_flags {
    DIRECTORY_HOME_USED = 1,
    DIRECTORY_HOME_PROTECTED = 2,
    DIRECTORY_HOME_SURROGATE = 4,
    // Not bound. Kept for its version, or for leases that have not ended.
    DIRECTORY_HOME_REMOVED = 8,
    // More ranks may hold a lease than `holders` has room for: any may.
    DIRECTORY_HOME_MANY = 16,
};

// Digest and id are whole: a binding must not lie.
struct directory_home_key {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint32_t bytes_low;
    uint16_t bytes_high;
    uint16_t custodian; // DIRECTORY_RANK_NONE: changes hands, or REMOVED
    uint16_t holders[DIRECTORY_HOME_HOLDERS];
    uint8_t flags;
    uint8_t holder_count;
    uint32_t lease_end; // the last one; ticks
    uint32_t next;
};

// Which ranks have a copy. These are hints: a rank is asked for the whole id and
// says NOT_FOUND if it has no such content. Therefore a part of the id will do:
// where two ids share it, their ranks are mixed up and somebody is asked in vain.
struct directory_home_id {
    uint32_t check[2];
    uint16_t ranks[DIRECTORY_COPIES_MAX]; // RANK_NONE after the last
    uint32_t next;
};

// Records of both tables with their shares of the buckets, of which there are
// half as many as records.
#define DIRECTORY_HOME_KEY_BYTES \
    (sizeof(struct directory_home_key) + sizeof(uint32_t) / 2)
#define DIRECTORY_HOME_ID_BYTES \
    (sizeof(struct directory_home_id) + sizeof(uint32_t) / 2)

_Static_assert(DIRECTORY_HOME_KEY_BYTES + DIRECTORY_HOME_ID_BYTES <=
                   DIRECTORY_HOME_BYTES_PER_BLOCK,
               "a key and its content are too large");

enum directory_home_stage {
    DIRECTORY_HOME_WAITING = 0,
    DIRECTORY_HOME_RECALLING = 1,
    DIRECTORY_HOME_ASKING = 2, // the custodian, or who is to be one
};

// A change of a binding that cannot be done at once. Its subject is BIND,
// REMOVE, PROTECT, or GONE for the search of a custodian.
struct directory_home_change {
    struct block_key key;
    struct block_id id;
    struct block_version version; // proposed, or given by this home
    uint64_t bytes;
    uint64_t ticket; // 0: nobody waits for the answer (any more)
    uint64_t until_ns;
    uint32_t flags; // enum directory_message_flags
    uint32_t next;
    uint32_t chain;
    uint32_t generation;  // of the record; a token names it
    uint32_t outstanding; // answers to recalls that have not come
    uint32_t asked;       // of the ranks that may adopt
    uint16_t from;
    uint16_t rank;   // that was asked last
    uint8_t subject; // 0: a free record
    uint8_t stage;
    uint8_t holder_count; // ranks that may adopt; all with flag ANY
    uint8_t is_any;
    uint8_t is_void; // who binds has no bytes any more
    uint16_t holders[DIRECTORY_HOME_HOLDERS];
};

struct directory_home_claim {
    struct block_id id;
    uint64_t end_ns;
    uint32_t waiters; // first of those who wait
    uint32_t next;
    uint16_t rank;
    bool is_used;
};

struct directory_home_waiter {
    uint64_t ticket;
    uint32_t next;
    uint16_t rank;
    bool is_used;
};

// An array with a list of the records that were given back.
struct directory_home_pool {
    uint8_t *records;
    size_t record_bytes;
    size_t link; // where a record has its `next`
    uint32_t first_free;
    uint32_t used; // those beyond were never taken
    uint32_t taken;
    uint32_t capacity;
};

struct directory_home_buckets {
    uint32_t *first;
    uint32_t count;
};

struct directory_home {
    struct directory_home_options options;
    struct directory_home_pool key_pool;
    struct directory_home_pool id_pool;
    struct directory_home_pool change_pool;
    struct directory_home_pool claim_pool;
    struct directory_home_pool waiter_pool;
    struct directory_home_key *keys;
    struct directory_home_id *ids;
    struct directory_home_change *changes;
    struct directory_home_claim *claims;
    struct directory_home_waiter *waiters;
    struct directory_home_buckets key_buckets;
    struct directory_home_buckets id_buckets;
    struct directory_home_buckets change_buckets;
    struct directory_home_buckets claim_buckets;
    struct block_version floor;   // the highest version that was forgotten
    struct block_version cleared; // of the last clear
    bool has_origin;
    uint64_t origin_ns; // of the ticks
    uint64_t now_ns;    // as last told
    uint64_t due_ns;    // nothing ends before
    uint64_t sweep_ns;  // no removal can go before
    uint32_t hand;      // where the sweep of removals goes on
    uint32_t generation;
    uint32_t cursor; // where the search for missed ones goes on
    bool missed;     // a binding may lack a custodian and a line
    uint64_t removed;
    uint64_t protected_keys;
    uint64_t lines;
    uint64_t recalls;
    uint64_t handed;
    // Messages lie anywhere; their structures are read from here.
    _Alignas(8) uint8_t request[DIRECTORY_HOME_REQUEST_BYTES];
    _Alignas(8) uint8_t reply[DIRECTORY_HOME_REPLY_BYTES];
};

// --- tables (directory_home_table.c) ---

enum cascade_status
directory_home_pool_init(struct directory_home_pool *pool,
                         const struct allocator *allocator, uint32_t capacity,
                         size_t record_bytes, size_t link);

// DIRECTORY_HOME_NONE if all are taken.
uint32_t
directory_home_pool_take(struct directory_home_pool *pool);

void
directory_home_pool_give(struct directory_home_pool *pool, uint32_t record);

enum cascade_status
directory_home_buckets_init(struct directory_home_buckets *buckets,
                            const struct allocator *allocator,
                            uint32_t records);

struct directory_home_key *
directory_home_key(struct directory_home *home, const struct block_key *key);

// A record that is REMOVED; NULL if the table is full. `may_forget`: also after
// forgetting removals whose leases have ended, which raises the floor.
struct directory_home_key *
directory_home_key_add(struct directory_home *home, const struct block_key *key,
                       bool may_forget);

// Forgets the record; its version goes into the floor.
void
directory_home_key_delete(struct directory_home *home,
                          struct directory_home_key *entry);

// Ends the binding; its record stays as a removal.
void
directory_home_key_remove(struct directory_home *home,
                          struct directory_home_key *entry,
                          struct block_version version);

// Ends the binding: the record goes, or stays as a removal as long as leases do.
void
directory_home_key_end(struct directory_home *home,
                       struct directory_home_key *entry,
                       struct block_version version);

// Sets what the key is bound to, and tells of protection.
void
directory_home_key_set(struct directory_home *home,
                       struct directory_home_key *entry,
                       const struct block_id *id, struct block_version version,
                       uint64_t bytes, uint32_t flags, uint16_t custodian);

// PROTECTED and SURROGATE as messages say them.
uint32_t
directory_home_key_flags(const struct directory_home_key *entry);

void
directory_home_raise_floor(struct directory_home *home,
                           struct block_version version);

// What a new version of the key must exceed; `entry` may be NULL.
struct block_version
directory_home_highest(const struct directory_home *home,
                       const struct directory_home_key *entry);

uint64_t
directory_home_lease_end(const struct directory_home *home,
                         const struct directory_home_key *entry);

// Gives the rank a lease from now on; 0: none.
uint64_t
directory_home_lease(struct directory_home *home,
                     struct directory_home_key *entry, uint16_t rank);

// All leases have ended or were given back.
void
directory_home_lease_clear(struct directory_home_key *entry);

struct directory_home_id *
directory_home_id(struct directory_home *home, const struct block_id *id);

// NULL if the table is full.
struct directory_home_id *
directory_home_id_add(struct directory_home *home, const struct block_id *id);

void
directory_home_id_delete(struct directory_home *home,
                         struct directory_home_id *entry);

static inline bool
directory_home_id_is_used(const struct directory_home_id *entry)
{
    return entry->ranks[0] != DIRECTORY_RANK_NONE;
}

// --- lines and questions (directory_home_line.c) ---

static inline bool
directory_home_is_live(const struct directory_home_key *entry)
{
    return entry != NULL && (entry->flags & DIRECTORY_HOME_REMOVED) == 0;
}

static inline uint64_t
directory_home_key_bytes(const struct directory_home_key *entry)
{
    return (uint64_t)entry->bytes_high << 32 | entry->bytes_low;
}

// The first change of the key's line; NULL: nothing is under way.
struct directory_home_change *
directory_home_line(struct directory_home *home, const struct block_key *key);

// A record of its own for the change, in front of the line or at its end. NULL:
// there is none.
struct directory_home_change *
directory_home_line_add(struct directory_home *home,
                        const struct directory_home_change *change,
                        bool in_front);

// The first of a line has ended.
void
directory_home_line_end(struct directory_home *home,
                        struct directory_home_change *first);

// Whose question it was; NULL: it has ended.
struct directory_home_change *
directory_home_change_of(struct directory_home *home, uint64_t token);

// Somebody may serve, or keep, what the change ends.
bool
directory_home_recall_needed(const struct directory_home *home,
                             const struct directory_home_key *entry,
                             const struct directory_home_change *change);

void
directory_home_send_recalls(struct directory_home *home,
                            struct directory_home_change *change,
                            const struct directory_home_key *entry);

void
directory_home_ask_renew(struct directory_home *home,
                         struct directory_home_change *change,
                         const struct directory_home_key *entry);

void
directory_home_ask_adopt(struct directory_home *home,
                         struct directory_home_change *change,
                         const struct directory_home_key *entry, uint16_t rank);

// The rank has no bytes for what it asked to bind: a change of that version that
// has not begun will not; one that has leaves the binding without a custodian.
void
directory_home_void(struct directory_home *home, const struct block_key *key,
                    struct block_version version, uint16_t rank);

// A recall that nobody waits for.
void
directory_home_recall_notice(struct directory_home *home, uint16_t to,
                             const struct block_key *key,
                             struct block_version below, uint32_t flags);

void
directory_home_answer(struct directory_home *home, uint16_t to, uint64_t ticket,
                      enum cascade_status status, const void *data,
                      size_t bytes);

// --- changes (directory_home_change.c) ---

// Carries the change out, or puts it in line. `change` is copied.
void
directory_home_change(struct directory_home *home,
                      const struct directory_home_change *change);

// Looks for a custodian, if the binding has none and nobody looks yet.
void
directory_home_hand_over(struct directory_home *home,
                         struct directory_home_key *entry);

// Looks for custodians where there was no room for that before.
void
directory_home_search_missed(struct directory_home *home);

// Recalls whose time has come. Returns when the next one's does.
uint64_t
directory_home_changes_step(struct directory_home *home);

// --- what comes once, at open (directory_home_announce.c) ---

void
directory_home_announce(struct directory_home *home, uint16_t from,
                        const struct directory_message_announce *announced,
                        uint32_t count, uint64_t ticket);

// --- the home of ids (directory_home_claim.c) ---

void
directory_home_claim(struct directory_home *home, uint16_t from,
                     const struct directory_message_claim *claim,
                     uint64_t ticket);

void
directory_home_copies(struct directory_home *home, uint16_t from,
                      const struct directory_message_copy *copies,
                      uint32_t count, uint64_t ticket);

void
directory_home_find(struct directory_home *home, uint16_t from,
                    const struct directory_message_find *find, uint32_t count,
                    uint64_t ticket);

// Claims that have ended. Returns when the next one does.
uint64_t
directory_home_claims_step(struct directory_home *home);

void
directory_home_claims_lost(struct directory_home *home, uint16_t rank);

#endif
