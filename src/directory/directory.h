// SPDX-License-Identifier: Apache-2.0
//
// The catalogue: key -> binding (content id, version), content id -> places and
// the set of bindings that name it. This is the one-rank case: this process is
// the home of every key and every id, so each call below is what a home does
// when a message asks for it. It moves no bytes and knows no tier; what must
// happen to a copy under an id's lock is a callback.
//
// Invariants (directory_is_valid checks them):
// - a live binding (k -> id, v) and the reference (k, v) of id exist together;
// - a content record exists while it has a reference;
// - no place is listed twice; the highest version of a key wins;
// - protected bytes = sum of bytes of contents with a protected reference.
//
// Locks: 256 key shards, then 256 id shards; a thread holds at most one of
// each, key before id; callbacks run under an id shard and may take leaf locks
// (policy, extents) only. No call waits for I/O.

#ifndef DIRECTORY_DIRECTORY_H
#define DIRECTORY_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/pool.h"
#include "block/block_id.h"
#include "block/block_key.h"
#include "block/block_label.h"
#include "block/block_place.h"
#include "block/block_version.h"
#include "cascade/cascade.h"

struct directory;

#define DIRECTORY_NO_SEGMENT UINT32_MAX

struct directory_options {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct pool *pool;     // shares out the end of a load; may be NULL
    uint64_t version_tag;  // of this store, random
    uint32_t max_keys;     // bindings, removals kept included
    uint32_t max_ids;      // contents
    uint32_t memory_slots; // whose contents directory_find_slot knows
    uint64_t protected_bytes_max;
    bool rebind_allowed;
    bool keep_removals; // a cold tier may hold older bindings
    // Other ranks give versions, and their homes order them
    // (docs/DIRECTORY_PROTOCOL.md). Then the hooks below are called, from under
    // locks of the directory; they may take leaf locks only.
    bool shared;
    void *context;
    // A binding of this rank ended because its bytes have gone.
    void (*binding_gone)(void *context, const struct block_key *key,
                         struct block_version version);
    // This rank has no copy of the content any more.
    void (*content_gone)(void *context, const struct block_id *id);
};

// What a binding is.
enum directory_flags {
    DIRECTORY_PROTECTED = 1,
    DIRECTORY_REMOVED = 2, // kept so that older records stay hidden
    DIRECTORY_DIRTY = 4,   // no durable record has this version
    DIRECTORY_OLDER = 8,   // older records of this key may be on segments
    DIRECTORY_SURROGATE = 16,
    // Protected by its record, but the budget of this store had no room for it
    // when it was loaded. Its record keeps saying so.
    DIRECTORY_PROTECTED_ELSEWHERE = 32,
    // Not this rank's to keep: never written, never counted as dirty, never
    // protected. Of shared directories.
    DIRECTORY_GUEST = 64,
    // A guest in place of what this rank kept of the key, a binding or a
    // removal: if it goes, its home hears of that, and segments may hold it.
    DIRECTORY_REPLACED = 128,
};

// Everything known about a key, or about a content (then key and version are
// of one of its bindings).
struct directory_found {
    struct block_key key;
    struct block_version version;
    struct block_id id;
    uint32_t flags; // enum directory_flags of the binding
    uint32_t record_segment;
    uint64_t bytes;
    uint32_t checksum;
    bool content_protected;
    bool cold_durable;         // the cold place is synced and of this job
    bool cold_hit;             // read there since it was written
    bool memory_put;           // a put of this store relies on the copy there
    bool guest;                // all that names the content are guests
    struct block_place memory; // tier NONE if there is none
    struct block_place cold;   // likewise
};

// A content that lost its last reference: the caller releases its copies. Or,
// with `unprotected`, one that stays and lost its last protected reference.
struct directory_freed {
    bool any;
    bool unprotected;
    struct block_id id;
    struct block_place memory;
    struct block_place cold;
};

enum directory_bind_flags {
    DIRECTORY_BIND_PROTECT = 1,
    DIRECTORY_BIND_IF_ABSENT = 2,
    DIRECTORY_BIND_SURROGATE = 4,
    DIRECTORY_BIND_GUEST = 8,
    // Under `version` or not at all: it was given elsewhere.
    DIRECTORY_BIND_EXACT = 16,
};

struct directory_bind {
    struct block_key key;
    const void *key_data; // kept where the key heap has room
    uint32_t key_bytes;
    struct block_id id;
    uint64_t bytes;
    uint32_t flags;               // enum directory_bind_flags
    struct block_version version; // reserved before; zero = give one
    struct block_place place;     // the caller's new copy
};

struct directory_bound {
    struct block_version version;
    bool existed;      // the key was bound (to this or other content)
    bool kept;         // to this content, by this rank; under its old version
    bool deduplicated; // the content had a copy before
    bool place_taken;  // the caller's copy is published; else it releases it
    bool protected_now;
    bool protection_refused;
    struct directory_freed freed; // old content of a moved binding
};

enum cascade_status
directory_create(const struct directory_options *options,
                 struct directory **directory);

void
directory_destroy(struct directory *directory);

// Asks the memory for what a bind of this key, and of this id if it is known
// already, is going to read, so that it comes while the caller copies. Changes
// nothing; `id` may be NULL.
void
directory_expect(const struct directory *directory, const struct block_key *key,
                 const struct block_id *id);

// A version above every version given or seen.
struct block_version
directory_next_version(struct directory *directory);

// Makes later versions higher than this one.
void
directory_see_version(struct directory *directory,
                      struct block_version version);

// The key's binding with the places of its content. NOT_FOUND: not bound,
// removed, or bound to a content without a place; with `was_known` (may be
// NULL) telling whether the key is remembered as gone.
enum cascade_status
directory_find(struct directory *directory, const struct block_key *key,
               struct directory_found *found, bool *was_known);

// The binding itself, removals included. NOT_FOUND: no record of the key.
enum cascade_status
directory_find_binding(struct directory *directory, const struct block_key *key,
                       struct directory_found *found);

// The content, with one of its bindings (a dirty one if there is one).
enum cascade_status
directory_find_content(struct directory *directory, const struct block_id *id,
                       struct directory_found *found);

// A copy of the content is here.
bool
directory_has_copy(struct directory *directory, const struct block_id *id);

// The content whose copy in memory lies in that slot, as directory_find_content.
enum cascade_status
directory_find_slot(struct directory *directory, uint32_t slot,
                    struct directory_found *found);

// The key with that check word by which the content in the slot is known.
// NOT_FOUND: the content or that name has gone.
enum cascade_status
directory_find_key_in(struct directory *directory, uint32_t slot,
                      uint32_t key_check, struct block_key *key);

// Calls `look` under the lock of the id, if the content has a copy in memory: so
// that what follows from its protection is done before that changes again.
typedef void
directory_look_at(void *context, const struct block_place *memory,
                  bool is_protected);

void
directory_look(struct directory *directory, const struct block_id *id,
               directory_look_at *look, void *context);

// Tells the keys of one content apart.
uint32_t
directory_key_check(const struct block_key *key);

// Publishes a copy and binds the key to it, in one step: the moment at which a
// put happens. EXISTS: if-absent and a bound key, or rebind=refused and other
// content; then nothing changed. NO_SPACE: tables are full. STALE, with EXACT:
// the key has a version here that is not below, or is cleared past it. On EXISTS,
// `bound->existed` is set.
enum cascade_status
directory_bind(struct directory *directory, const struct directory_bind *bind,
               struct directory_bound *bound);

// Forgets the key; a removal is kept if older records may exist.
enum cascade_status
directory_remove(struct directory *directory, const struct block_key *key,
                 struct directory_freed *freed);

// Protects or lifts, under a new version. NO_SPACE: the budget refuses.
enum cascade_status
directory_protect(struct directory *directory, const struct block_key *key,
                  bool protect, struct directory_found *found);

// Takes a copy out of service under the lock of its id. `slot` and the tier of
// `place` must match what is listed, else STALE. BUSY: protected and the last
// copy in memory, or the last one at all (as `flags` say), or what `release`
// says. `release` gives the space back and may refuse with BUSY; the place then
// stays. If that was the last copy the bindings go, and `*lost` tells so.
enum directory_withdraw_flags {
    DIRECTORY_WITHDRAW_FORCED = 1,   // though it is protected
    DIRECTORY_WITHDRAW_NOT_LAST = 2, // only if another tier has a copy
    DIRECTORY_WITHDRAW_GUEST = 4,    // only if guests alone name it
};

typedef enum cascade_status
directory_release_copy(void *context, const struct block_place *place);

enum cascade_status
directory_withdraw(struct directory *directory, const struct block_id *id,
                   const struct block_place *place, uint32_t flags,
                   directory_release_copy *release, void *context, bool *lost);

// Lists a copy of a content that exists (a move: promotion, demotion). STALE:
// the content has gone, or has such a copy; the caller gives its own back.
enum cascade_status
directory_publish(struct directory *directory, const struct block_id *id,
                  const struct block_place *place, bool durable);

// Lists a cold copy in place of `old`, which is one that is not there any more,
// or unset: where none is listed. STALE: something else is listed by now, or the
// content has gone.
enum cascade_status
directory_relist(struct directory *directory, const struct block_id *id,
                 const struct block_place *old, const struct block_place *place,
                 bool durable);

// Calls `move` under the lock of the id for a copy in memory that is listed like
// `place`, and lists the place that it gives instead. STALE: there is no such
// copy (any more); else what `move` says.
typedef enum cascade_status
directory_move_copy(void *context, struct block_place *place);

enum cascade_status
directory_move(struct directory *directory, const struct block_id *id,
               const struct block_place *place, directory_move_copy *move,
               void *context);

// Notes that a synced record of (key, version), a removal or not, lies in
// `segment`. If the binding has another version, what it is now will outrank
// that record. With a zero version: that some record of the key may be there,
// after a failure.
void
directory_note_record(struct directory *directory, const struct block_key *key,
                      struct block_version version, bool removal,
                      uint32_t segment);

// Notes that the record of the binding went away with its segment: it is dirty
// again.
void
directory_forget_record(struct directory *directory,
                        const struct block_key *key, uint32_t segment);

// Notes that the bindings of the content need records again, because the one
// beside its payload went.
void
directory_dirty_bindings(struct directory *directory,
                         const struct block_id *id);

// Notes a read of the cold place; reclaim keeps such blocks.
void
directory_note_cold_hit(struct directory *directory, const struct block_id *id);

// Drops a removal that hides nothing any more: true if it was dropped. One that
// has a version of its own is not needed below `older_than`. Those of a shared
// directory have the version of what they hide, which may lie in segments that
// were made later: they go when their record lies in the oldest segment.
bool
directory_drop_removal(struct directory *directory, const struct block_key *key,
                       struct block_version older_than,
                       uint32_t oldest_segment);

// Forgets every binding below a new version, which is returned. `freed` is
// called for each content that went; it may take leaf locks only.
struct block_version
directory_clear(struct directory *directory,
                void (*freed)(void *context,
                              const struct directory_freed *freed),
                void *context);

// The same below a version that was given elsewhere.
void
directory_clear_below(struct directory *directory, struct block_version version,
                      void (*freed)(void *context,
                                    const struct directory_freed *freed),
                      void *context);

// --- directory_guest.c: what the home of a key decides (shared directories)

// A guest becomes a binding of this rank, to be written and kept. STALE: the key
// is bound otherwise here, or is a binding of this rank already (then OK).
enum cascade_status
directory_confirm(struct directory *directory, const struct block_key *key,
                  struct block_version version);

// The key's binding ends if its version is below `below`. With `keep` a removal
// of the version that it had stays, where segments may hold what ended.
void
directory_end(struct directory *directory, const struct block_key *key,
              struct block_version below, bool keep,
              struct directory_freed *freed);

// Takes back a guest of just this version. What this rank kept of the key before
// does not come back: its home hears that it has gone (`binding_gone`), and it
// stays as a removal of its version.
void
directory_retract(struct directory *directory, const struct block_key *key,
                  struct block_version version, struct directory_freed *freed);

// As directory_protect, from one version to another that was given elsewhere.
// STALE: the binding has another version by now.
enum cascade_status
directory_renew(struct directory *directory, const struct block_key *key,
                struct block_version version, struct block_version renewed,
                bool protect, struct directory_found *found);

// Fills `found` (and the keys' bytes, at key_stride bytes each, lengths in
// key_bytes; both may be NULL) with bindings that have any flag of `any_flags`
// (0 = all) from `*cursor` on (start with 0), at most `room` (at least 64).
// Returns how many; 0 means the end was reached. What stays bound meanwhile is
// shown exactly once.
size_t
directory_scan(struct directory *directory, uint64_t *cursor,
               uint32_t any_flags, struct directory_found *found, size_t room,
               uint8_t *keys, size_t key_stride, uint32_t *key_bytes);

// The key's bytes; 0 if they are not known. `key` holds CASCADE_KEY_BYTES_MAX.
uint32_t
directory_key_bytes(struct directory *directory, const struct block_key *digest,
                    uint8_t *key);

// Gives the bytes of a key that was known by digest only.
void
directory_attach_key(struct directory *directory,
                     const struct block_key *digest, const void *key,
                     uint32_t key_bytes);

// Loading: one record found on segments. The highest version wins. `durable`
// records of this job count as clean. After directory_load_finish a load (of
// what other writers sealed meanwhile) only adds: live bindings stay.
enum cascade_status
directory_load(struct directory *directory, const struct block_label *label,
               const struct block_place *place, uint32_t segment, bool durable);

// Many of them, faster: the memory is asked for all that a batch reads before it
// is read. The first failure ends it.
#define DIRECTORY_LOAD_BATCH 64

struct directory_record {
    const struct block_label *label;
    const struct block_place *place; // NULL or not set: no payload
    uint32_t segment;
    bool durable;
};

enum cascade_status
directory_load_many(struct directory *directory,
                    const struct directory_record *records, size_t count);

// Ends a load: applies clears and `floor`, turns bindings without bytes into
// removals, restores protection within the budget.
void
directory_load_finish(struct directory *directory, struct block_version floor);

struct directory_usage {
    uint64_t keys;     // live bindings
    uint64_t removals; // kept ones
    uint64_t contents;
    uint64_t protected_contents;
    uint64_t protected_bytes;
    uint64_t dirty_contents; // in memory, not durable on segments of this job
    uint64_t dirty_bytes;
    uint64_t bytes_per_key; // of tables, for reports
    uint64_t bytes_per_content;
};

void
directory_usage(struct directory *directory, struct directory_usage *usage);

// Checks every invariant; for tests and debug. Takes all locks in turn, so it
// is exact only while nothing else runs.
bool
directory_is_valid(struct directory *directory);

#endif
