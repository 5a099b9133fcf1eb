// SPDX-License-Identifier: Apache-2.0
//
// The store: what it owns, in the order in which it is opened (and closed in
// reverse), and the functions that its files share. Not for other floors.
//
// Lock order, outermost first; a thread that holds one takes only later ones:
//   1. cold_lock         one writer of segments at a time (timed)
//   2. loads_lock        table of loads in progress
//   3. window_lock       one search for a run of victims at a time
//   4. key shard         (directory)
//   5. id shard          (directory)
//   6. policy_lock       victims' order and what is known of each slot
//   7. extent mutex      (DRAM tier), locks of the cold tier, pools, lanes of
//                        touches
//   room_lock, background_lock and clear_lock are taken alone.
// No lock is held across a wait for another store. cold_lock alone is held
// across I/O.

#ifndef STORE_STORE_INTERNAL_H
#define STORE_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/lane.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/metric_page.h"
#include "base/pool.h"
#include "base/signal_relay.h"
#include "base/units.h"
#include "block/block_digest.h"
#include "directory/directory.h"
#include "fabric/fabric.h"
#include "policy/policy.h"
#include "store/store_options.h"
#include "tier/tier.h"
#include "tier/tier_dram.h"
#include "tier/tier_segment.h"

#define STORE_LOADS_MAX 512
#define STORE_WRITE_BATCH 2048
// Lists by content id among them; a power of two.
#define STORE_WRITE_LISTS 2048
#define STORE_TOUCHES_PER_LANE 256
#define STORE_WINDOW_SLOTS_MAX 8192
#define STORE_WANTED_MAX 1024

// What is told of a block that enters a DRAM slot.
struct store_block {
    struct block_id id;
    struct block_key parent; // zero = none
    uint64_t bytes;
    uint32_t depth;
    uint32_t turn;
    uint32_t request_class;
    float expected_reuse;
    uint32_t policy_flags;
};

// What the store keeps of it: hints for its record on a segment, and what room
// is made by. Size and id are known by the tier and the directory. Guarded by
// policy_lock.
struct store_slot {
    uint32_t parent_slot;  // POLICY_NONE = not in memory; may have gone since
    uint32_t parent_check; // directory_key_check of its key
    uint32_t request_class;
    uint16_t depth;          // what is larger is the largest
    uint16_t turn;           // likewise
    uint16_t expected_reuse; // in parts of STORE_REUSE_CERTAIN
    uint8_t rank;            // enum store_rank, as of the last walk
    uint8_t flags;           // enum store_slot_flags
};

#define STORE_REUSE_CERTAIN UINT16_MAX

enum store_slot_flags {
    STORE_SLOT_RESIDENT = 1, // the policy has it
    STORE_SLOT_PROTECTED = 2,
    STORE_SLOT_SESSION_END = 4,
    STORE_SLOT_WANTED = 8, // in the list of dirty blocks to be written first
    STORE_SLOT_HIT = 16,   // used since it came
    STORE_SLOT_SPILLED =
        32, // another rank has a copy, to be the one that counts
};

// Place in the policy's order, coldest first.
enum store_rank {
    STORE_RANK_HOTTEST = 254,
    STORE_RANK_STAYS = 255, // the policy does not offer it
};

// Uses of DRAM slots that the policy has not been told: a ring, guarded by its
// lock; `count` may be read without.
struct store_touch_lane {
    pthread_mutex_t lock;
    _Atomic uint32_t count;
    uint32_t first; // the oldest
    uint32_t slots[STORE_TOUCHES_PER_LANE];
    uint8_t gap[LANE_BYTES];
};

// Space to put records for the cold tier together. Guarded by cold_lock.
struct store_writer {
    struct directory_found found[STORE_WRITE_BATCH]; // of a scan
    uint32_t key_bytes[STORE_WRITE_BATCH];
    uint8_t keys[STORE_WRITE_BATCH][CASCADE_KEY_BYTES_MAX];
    struct tier_segment_put puts[STORE_WRITE_BATCH]; // to be appended
    struct tier_pin pins[STORE_WRITE_BATCH];
    // Payloads among them, by content id: numbers from 1, the last one first.
    uint16_t lists[STORE_WRITE_LISTS];
    uint16_t earlier[STORE_WRITE_BATCH];
    size_t count;
    uint64_t bytes;
    uint64_t left;    // blocks that could not be written
    uint64_t written; // payloads that reached segments, and their bytes
    uint64_t written_bytes;
    uint64_t damaged; // blocks that were not what had been put
};

// A cold block that some thread is bringing into DRAM.
struct store_load {
    struct block_id id;
    bool active;
};

struct store_cluster;

// What the environment gives, so that tests can replace it.
struct store_surroundings {
    const struct allocator *allocator;
    const struct clock_source *clock;
    const struct file_system *files;
    bool background; // false: tests call the steps by hand
    // The arena's memory is taken as blocks come, not ahead of them: for who has
    // few and ends soon.
    bool short_lived;
    uint64_t seed; // 0 = random
    // NULL: the one that the options ask for. The store closes it.
    const struct fabric *fabric;
};

struct cascade {
    struct store_surroundings around;
    struct cascade_options *options;
    struct store_settings settings;
    struct log log;
    struct metric_page_place page_place;
    struct metric_page_handle page;
    struct metric_values *metrics;
    uint8_t *fork_guard; // a page that a forked child finds wiped
    struct pool *pool;
    struct directory *directory;

    struct store_cluster *cluster; // NULL: the only rank

    struct tier_dram *dram; // NULL: no DRAM tier
    struct tier dram_tier;
    struct arena *arena; // of the DRAM tier, until that has it
    uint64_t dram_capacity_bytes;
    uint32_t slots;
    uint64_t granule_bytes;
    pthread_mutex_t policy_lock;
    const struct policy_table *policy;
    void *policy_state;
    struct store_slot *blocks; // per DRAM slot
    struct store_touch_lane touches[LANE_COUNT];
    uint32_t slots_seen;               // no slot from here on was ever used
    uint64_t admissions;               // guarded by policy_lock
    uint32_t wanted[STORE_WANTED_MAX]; // slots to be written before others
    uint32_t wanted_count;

    pthread_mutex_t window_lock;
    uint32_t *window_slots;      // STORE_WINDOW_SLOTS_MAX
    uint64_t ranked_admissions;  // when the blocks were last ranked
    bool ranks_hold_back;        // what is ranked to stay might go by now
    _Atomic bool windows_needed; // a large block has come
    _Atomic bool walls_changed;  // since a relocation was last looked for
    uint32_t relocation_tries;   // in vain, one after the other; background's

    struct tier_segment *cold; // NULL: no cold tier
    struct tier cold_tier;
    uint64_t cold_capacity_bytes;
    // Whoever set `cold_taken` (store_cold_begin) holds what is called cold_lock.
    pthread_mutex_t cold_lock;
    pthread_cond_t cold_free;
    bool cold_taken;
    struct store_writer *writer;         // the one in use
    struct store_writer *reclaim_writer; // takes its place during a reclaim
    pthread_mutex_t clear_lock;          // taken alone
    struct block_version clear_version;  // newest clear; zero = none
    uint32_t clear_segment;              // that holds its record
    bool clear_dirty;                    // no durable record has it
    _Atomic bool cold_failed;            // the last write to it failed

    pthread_mutex_t loads_lock;
    pthread_cond_t loads_changed;
    struct store_load loads[STORE_LOADS_MAX];
    size_t loads_active; // of those; guarded by loads_lock

    pthread_mutex_t room_lock;
    pthread_cond_t room_changed;
    uint64_t room_events; // guarded by room_lock
    _Atomic uint32_t
        room_waiters; // puts that wait for dirty blocks to be written
    _Atomic uint64_t room_refusals; // searches that met only those, of late
    _Atomic bool writer_is_behind;  // as the background last saw it

    pthread_mutex_t background_lock;
    pthread_cond_t background_wake;
    pthread_t background_thread;
    _Atomic bool background_runs;
    bool background_stop;
    bool background_kicked;
    uint64_t refresh_due_ns;
    bool lease_lost;          // and the log says so
    _Atomic bool look_wanted; // a record was seen whose payload was not
    uint64_t reload_cursor;   // protected blocks still to be loaded
    bool reload_done;

    // Drains on request: store_drain_service.c.
    struct signal_relay drain_relay;
    int drain_event; // 0: none yet
    bool drain_runs;
    _Atomic bool drain_stop;
    uint32_t drain_seen_ticket; // the background's
    pthread_t drain_thread;

    _Atomic uint64_t views_out;
    _Atomic uint64_t queues_open;
    _Atomic bool closing;
    pthread_mutex_t regions_lock;
    struct store_region *regions;
};

// A range of caller memory that was registered.
struct store_region {
    struct store_region *next;
    void *data;
    size_t bytes;
};

// --- store.c: what every call begins with

// OK; FORKED in a child of the opener; CLOSED; INVALID for NULL.
enum cascade_status
store_enter(const struct cascade *store);

enum cascade_status
store_key(const struct cascade *store, struct cascade_key key,
          struct block_key *digest);

// The namespace was cleared below that version, which a flush is to write.
void
store_note_clear(struct cascade *store, struct block_version version);

// The key's binding with the places of its content, as directory_find. A key
// that is bound to other bytes meanwhile is found with those.
enum cascade_status
store_find(struct cascade *store, const struct block_key *key,
           struct directory_found *found, bool *was_known);

// The moment at which a call must be over.
uint64_t
store_deadline(const struct cascade *store, uint64_t timeout_ns);

uint64_t
store_now(const struct cascade *store);

// Opens with given surroundings; cascade_open uses the system's.
enum cascade_status
store_open_in(const struct cascade_options *options,
              const struct store_surroundings *around, struct cascade **store);

// --- store_open_cold.c

// Opens the cold tier, if there is one, and loads what it holds.
enum cascade_status
store_open_cold(struct cascade *store, uint64_t version_tag);

// --- store_room.c: space in DRAM

// Reserves a slot, evicting clean blocks if it must. With `deadline_ns` not 0
// it also waits for dirty ones to be written, until put_wait or the deadline
// has passed. NO_SPACE, TOO_LARGE, UNSUPPORTED (no DRAM tier).
enum cascade_status
store_reserve(struct cascade *store, uint64_t bytes, uint64_t deadline_ns,
              struct tier_slot *slot);

// As a last resort: drops dirty blocks unwritten and counts them.
enum cascade_status
store_reserve_dropping(struct cascade *store, uint64_t bytes,
                       struct tier_slot *slot);

// The slot of the block that the key names, POLICY_NONE if it is not in DRAM.
uint32_t
store_parent_slot(struct cascade *store, const struct block_key *parent);

// The slot enters the policy; before its place is published.
void
store_admit(struct cascade *store, uint32_t slot,
            const struct store_block *block, bool is_protected);

// The copy is not published (any more): leaves the policy and is released.
void
store_discard(struct cascade *store, const struct block_place *place);

// A content lost its last reference.
void
store_free(struct cascade *store, const struct directory_freed *freed);

// The same for directory_clear, whose context is the store.
void
store_free_cleared(void *context, const struct directory_freed *freed);

// The policy learns whether the content is protected now.
void
store_mark_protection(struct cascade *store, const struct block_id *id);

// The policy learns that the conversation of the content is over.
void
store_mark_session_end(struct cascade *store, const struct block_id *id);

// Memory that a block in DRAM takes beside its payload, at worst, without what
// the directory has of it.
uint64_t
store_bytes_per_slot(const struct cascade *store);

// Takes the copy in a slot out of service if it is unpinned and unprotected;
// a dirty one only with `drop_dirty`. `*dirty` tells that it is dirty.
enum cascade_status
store_evict_slot(struct cascade *store, uint32_t slot, bool drop_dirty,
                 bool *dirty);

// The block in the slot would have to be written before it is dropped.
bool
store_slot_is_dirty(struct cascade *store, uint32_t slot);

// The block in the slot is worth a write to the cold tier now.
bool
store_slot_is_worth_writing(struct cascade *store, uint32_t slot);

// Looks at the next `bytes` to go, whether the writer of the cold tier keeps up.
void
store_look_at_writer(struct cascade *store, uint64_t bytes);

// Wakes those that wait for room.
void
store_room_changed(struct cascade *store);

// --- store_window.c: room for large blocks

// Evicts the run of neighbours that is worth least, so that a slot of `bytes`
// can be had, and reserves that. Dirty blocks in the way are noted to be
// written soon, and `*dirty` is set. NO_SPACE: no such run now. BUSY: slots are
// missing rather than space.
enum cascade_status
store_evict_window(struct cascade *store, uint64_t bytes, bool drop_dirty,
                   struct tier_slot *slot, bool *dirty);

// Ranks the blocks again if many have come since and large ones come at all.
void
store_rank_step(struct cascade *store);

// Under window_lock. True if a block in one of the slots has to be written
// before it may go; those are noted to be written soon.
bool
store_want_dirty(struct cascade *store, const uint32_t *slots, uint32_t count);

// Under window_lock: evicts. What refuses is not asked again soon.
void
store_clear_slots(struct cascade *store, const uint32_t *slots, uint32_t count,
                  bool drop_dirty);

// Takes up to `room` slots off the list of those to be written first.
size_t
store_take_wanted(struct cascade *store, uint32_t *slots, size_t room);

// store_relocate.c: moves blocks that stay, some at a time, if large ones come
// at all. True if there may be more to do at once.
bool
store_relocate_step(struct cascade *store);

// --- store_touch.c

// The block was used. Only copies in DRAM count. Waits for nobody.
void
store_touch(struct cascade *store, const struct block_place *place);

// Tells the policy what was noted. Under policy_lock, before anything is asked
// of the policy or changed in it.
void
store_touches_drain(struct cascade *store);

// policy_lock with that done.
void
store_policy_lock(struct cascade *store);

void
store_policy_unlock(struct cascade *store);

void
store_touches_init(struct cascade *store);

void
store_touches_fini(struct cascade *store);

// Under policy_lock: the block in the slot was used.
static inline void
store_touch_slot(struct cascade *store, uint32_t slot)
{
    store->policy->touch(store->policy_state, slot);
    store->blocks[slot].flags = (uint8_t)((store->blocks[slot].flags |
                                           STORE_SLOT_HIT) &
                                          ~STORE_SLOT_SESSION_END);
    if (store->blocks[slot].rank != STORE_RANK_STAYS) {
        store->blocks[slot].rank = STORE_RANK_HOTTEST;
    }
}

// --- store_cold.c, store_flush.c: writing to segments

// Takes cold_lock until the deadline. TIMEOUT.
enum cascade_status
store_cold_begin(struct cascade *store, uint64_t deadline_ns);

void
store_cold_end(struct cascade *store);

// Under cold_lock: adds a record to what is to be written; store_write_pending
// writes and syncs it at the latest. The key must stay until then.
typedef enum cascade_status
store_add_record(struct cascade *store, const struct directory_found *found,
                 const uint8_t *key, uint32_t key_bytes);

// The payload of a binding whose content segments lack, if there is one.
store_add_record store_add_payload;

// A record for a removal, or for a dirty binding whose content is durable.
store_add_record store_add_bind;

// Under cold_lock: the payload of the block in a slot, if it is dirty.
enum cascade_status
store_add_slot(struct cascade *store, uint32_t slot);

// Under cold_lock: writes a clear that no record has yet.
enum cascade_status
store_write_clear(struct cascade *store);

// Under cold_lock: writes everything dirty, bindings included, and syncs.
// Blocks that could not be written are counted in `*left`.
enum cascade_status
store_write_all(struct cascade *store, uint64_t deadline_ns, uint64_t *left);

// Under cold_lock: writes records of removals and of bindings whose content is
// durable. TIMEOUT; what was written stays.
enum cascade_status
store_write_bindings(struct cascade *store, uint64_t deadline_ns);

// Under cold_lock: writes up to `bytes` of the coldest dirty blocks.
// `*written` counts blocks.
enum cascade_status
store_write_coldest(struct cascade *store, uint64_t bytes, uint64_t *written);

// Under cold_lock: writes the blocks in these slots that are dirty.
enum cascade_status
store_write_slots(struct cascade *store, const uint32_t *slots, size_t count,
                  uint64_t *written);

// Under cold_lock: writes the blocks and the bindings of these keys as far as
// segments lack them, and syncs.
enum cascade_status
store_write_keys(struct cascade *store, const struct block_key *keys,
                 size_t count);

// Under cold_lock: adds a payload that was read from a segment which is to go,
// with the hints of its old record. It is written with store_write_pending at
// the latest; until then the payload must stay.
enum cascade_status
store_write_carried(struct cascade *store, const struct directory_found *found,
                    const struct block_label *hints, const void *payload);

// Under cold_lock: writes and syncs what was added.
enum cascade_status
store_write_pending(struct cascade *store);

// --- store_drain.c, store_drain_service.c

// Writes what is only in memory, the most valuable first, until the deadline.
// OK also when that came first. UNSUPPORTED, NO_SPACE, IO, CLOSED, NO_MEMORY.
enum cascade_status
store_drain(struct cascade *store, uint64_t deadline_ns,
            struct cascade_drain_result *result);

// Listens to those who may ask.
enum cascade_status
store_drain_start(struct cascade *store);

// Whether another process has asked; the background's.
void
store_drain_look(struct cascade *store);

// Waits for a drain under way and begins none any more.
void
store_drain_stop(struct cascade *store);

// Also ends the process, if a signal wanted that.
void
store_drain_end(struct cascade *store);

// --- store_reclaim.c

// Under cold_lock: makes room for `bytes` within cold_capacity.
enum cascade_status
store_reclaim_for(struct cascade *store, uint64_t bytes);

// Under cold_lock: rewrites many small segments into the active one.
void
store_merge_small(struct cascade *store);

// --- store_load.c: cold to DRAM

// Where a block goes beside its slot; the spans hold it. Where the load fails
// with anything but STALE or NOT_FOUND they are unspecified.
struct store_load_copy {
    const struct cascade_span *spans;
    size_t span_count;
};

// Brings the content into DRAM, once for all that want it, and pins it there.
// `copy` may be NULL; with one, OK may come without a pin (no place), where the
// content went meanwhile. NO_SPACE: no room in DRAM (read it directly). STALE:
// look again. NOT_FOUND, CORRUPT, TIMEOUT, IO.
enum cascade_status
store_load(struct cascade *store, const struct directory_found *found,
           uint64_t deadline_ns, bool may_wait,
           const struct store_load_copy *copy, struct tier_pin *pin);

// Becomes the one that loads the id; NULL if another is or too many are being
// loaded. Never waits.
struct store_load *
store_load_try(struct cascade *store, const struct block_id *id);

void
store_load_end(struct cascade *store, struct store_load *load);

// The block came from segments into the slot (whose memory may be NULL).
void
store_load_note_read(struct cascade *store, const struct directory_found *found,
                     const struct tier_slot *slot);

// Publishes a slot that holds the block, and pins it; the slot is gone in any
// case. STALE: the content has gone, or has a copy in DRAM already.
enum cascade_status
store_load_publish(struct cascade *store, const struct directory_found *found,
                   struct tier_slot *slot, struct tier_pin *pin);

// --- store_load_many.c

// Of a run of items, serves the gets whose blocks are only on segments, as one
// stream of reads: their status is OK and `served`, which is zero before, tells
// the place. Items that it leaves alone, for whatever reason, are to be run one
// by one; of those in `touched` the caller's memory is not what it was.
void
store_load_many(struct cascade *store, struct cascade_item *items, size_t count,
                uint64_t deadline_ns, struct block_place *served,
                bool *touched);

// The copy in DRAM does not match its checksum: it goes.
void
store_memory_damaged(struct cascade *store,
                     const struct directory_found *found);

// A cold copy did not match or is not there any more: forgets it, unless it is
// found elsewhere. `*lost` is set if it was the last copy. Not OK: it could not be
// looked for (before the deadline), and stays listed.
enum cascade_status
store_cold_damaged(struct cascade *store, const struct block_id *id,
                   const struct block_place *place, enum cascade_status status,
                   uint64_t deadline_ns, bool *lost);

// --- store_background.c

// A record that was found on segments while the store serves.
void
store_note_entry(void *context, const struct tier_segment_entry *entry);

enum cascade_status
store_background_start(struct cascade *store);

void
store_background_stop(struct cascade *store);

// Asks the background to run soon.
void
store_background_kick(struct cascade *store);

// One round of bounded background work. True if there is more to do at once.
bool
store_background_step(struct cascade *store);

// --- store_put.c, store_get.c: one operation, as batches call them

enum cascade_status
store_put(struct cascade *store, struct cascade_key key,
          const struct cascade_const_span *spans, size_t span_count,
          const struct cascade_put_options *options, uint64_t deadline_ns,
          struct cascade_put_result *result);

// `served` (may be NULL) is the place in DRAM to touch; then no touch is made.
enum cascade_status
store_get(struct cascade *store, struct cascade_key key,
          const struct cascade_span *spans, size_t span_count,
          uint64_t deadline_ns, size_t *bytes, struct block_place *served);

enum cascade_status
store_acquire(struct cascade *store, struct cascade_key key,
              uint64_t deadline_ns, struct cascade_view *view);

enum cascade_status
store_prefetch(struct cascade *store, struct cascade_key key,
               uint64_t deadline_ns);

// Of all ranks; store_flush_own of this one alone.
enum cascade_status
store_flush(struct cascade *store, uint64_t deadline_ns);

enum cascade_status
store_flush_own(struct cascade *store, uint64_t deadline_ns);

// --- store_batch.c

// Runs items with their store's threads, in the order that the header promises.
void
store_run_items(struct cascade *store, struct cascade_item *items, size_t count,
                uint64_t deadline_ns);

// --- store_stats.c

// Brings the gauges up to date.
void
store_update_gauges(struct cascade *store);

// Adds the keys' bytes that only segments know.
enum cascade_status
store_attach_keys(struct cascade *store);

#endif
