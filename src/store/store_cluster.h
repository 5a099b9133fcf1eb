// SPDX-License-Identifier: Apache-2.0
//
// One store among many ranks: what connects its catalogue, its part of the homes
// and its memory with those of the others. docs/DIRECTORY_PROTOCOL.md is what
// these files do; a store without peers has none of this (store->cluster is
// NULL) and pays nothing for it.
//
//   store_cluster.c       open and close, and how one rank asks others
//   store_cluster_meet.c  what ranks tell each other at open
//   store_cluster_home.c  messages of the own home; the outbox of the hooks
//   store_cluster_hold.c  what homes and peers ask of a rank that holds copies
//   store_cluster_find.c  leases, lookups, reads from other ranks, guests
//   store_cluster_bind.c  the end of a put: claim, name, bind, confirm
//   store_cluster_settle.c  puts that no home has answered
//   store_cluster_wide.c  flush, clear, protection, statistics of all ranks
//   store_cluster_registry.c, _list.c  the protected keys of all ranks
//   store_cluster_adopt.c  what is found on segments while ranks serve
//   store_cluster_spill.c  what leaves memory here goes to a rank with room
//
// Threads: handlers and callbacks run on the engine thread of the port and never
// block; work for peers that reads the disk runs on threads of its own, never on
// those that may wait for a peer. Locks: outbox_lock, unconfirmed_lock and that
// of the list of protected keys are leaves. No lock of the store is held while a
// peer is waited for.

#ifndef STORE_STORE_CLUSTER_H
#define STORE_STORE_CLUSTER_H

#include "directory/directory_home.h"
#include "directory/directory_lease.h"
#include "fabric/fabric_node.h"
#include "fabric/fabric_port.h"
#include "store/store_internal.h"
#include "tier/tier_remote.h"

enum store_subject {
    STORE_SUBJECT_HELLO = DIRECTORY_SUBJECTS_END, // hello -> hello
    STORE_SUBJECT_LOADED,    // loaded -> loaded, once that rank has loaded
    STORE_SUBJECT_NAME,      // name -> named: name your copy
    STORE_SUBJECT_INSTALL,   // to oneself: a guest copy, in turn with recalls
    STORE_SUBJECT_FLUSH,     // wait -> nothing
    STORE_SUBJECT_SETTLE,    // to oneself: wait -> nothing
    STORE_SUBJECT_STATS,     // nothing -> struct cascade_stats
    STORE_SUBJECT_PROTECTED, // tell -> nothing: changes of protected keys
    STORE_SUBJECT_SYNC,      // nothing -> nothing, when all know of them
    STORE_SUBJECT_NAMES,     // digests of keys -> their bytes
    STORE_SUBJECT_ROOM,      // nothing -> bytes that the rank would take
    STORE_SUBJECT_SPILL,     // offers -> taken
    STORE_SUBJECT_REMOTE,    // first of TIER_REMOTE_SUBJECTS
    STORE_SUBJECT_END = STORE_SUBJECT_REMOTE + TIER_REMOTE_SUBJECTS
};

_Static_assert((int)STORE_SUBJECT_END <= FABRIC_SUBJECTS_MAX, "too many");

// Binds that timed out: asked again by the background.
#define STORE_UNCONFIRMED_MAX 1024

// Questions of the home that may fail for lack of memory before it is told.
#define STORE_FAILED_ASKS_MAX 8192

// Of what a home promised, this much is not used, for clocks that run apart.
#define STORE_LEASE_MARGIN(lease_ns) ((lease_ns) / 8)

struct store_unconfirmed {
    struct block_key key;
    struct block_version version;
    uint64_t number;   // in the order of their noting
    uint64_t again_ns; // not asked again before
    bool if_absent;    // as it was asked
    bool is_asked;     // a question is out
};

// Who waits until all puts that were unconfirmed are known.
struct store_settling {
    // On the engine thread, once: OK, TIMEOUT, or CLOSED.
    void (*ended)(struct store_settling *settling, enum cascade_status status);
    uint64_t deadline_ns;
    // Its own.
    uint64_t number;
    struct store_settling *next;
};

struct store_outbox {
    struct directory_message_gone *gone;
    size_t gone_count;
    size_t gone_room;
    struct directory_message_copy *copies;
    size_t copies_count;
    size_t copies_room;
};

struct store_cluster_adopt;
struct store_cluster_registry;
struct store_cluster_spill;

struct store_cluster {
    struct cascade *store;
    const struct allocator *allocator;
    struct fabric_port *port;
    struct fabric_node *node; // NULL: none
    struct tier_remote *remote;
    struct directory_home *home;
    struct directory_leases *leases;
    struct store_cluster_registry *registry;
    struct store_cluster_spill *spill;
    struct store_cluster_adopt *adopt;
    struct pool *workers; // for peers; NULL: on the engine thread
    uint16_t rank;
    uint16_t rank_count;
    uint64_t job;
    uint32_t capabilities; // of the fabric
    struct fabric_timer home_timer;
    struct fabric_timer tidy_timer;
    struct fabric_timer failed_timer;
    struct fabric_post start_post;

    // Engine thread only.
    uint64_t failed[STORE_FAILED_ASKS_MAX]; // the home's, for lack of memory
    size_t failed_count;
    bool loaded; // the own segments are in the catalogue
    struct fabric_answer *waiting_for_load;
    size_t waiting_count;
    struct block_version cleared; // the newest clear that was heard of
    uint16_t clear_next;          // whom to tell it again; rank_count: nobody
    struct store_settling *settling; // the first of those who wait

    _Atomic bool serving;
    _Atomic uint64_t work; // for peers, under way

    pthread_mutex_t outbox_lock;
    struct store_outbox outbox;
    bool outbox_posted;
    struct fabric_post outbox_post;

    pthread_mutex_t unconfirmed_lock;
    struct store_unconfirmed unconfirmed[STORE_UNCONFIRMED_MAX];
    size_t unconfirmed_count;
    size_t unconfirmed_asked; // questions that are out
    uint64_t unconfirmed_number;
};

// What a get knows after it asked for a key.
struct store_cluster_found {
    struct directory_found found; // without places: no copy here
    struct directory_lease lease;
};

// --- store_cluster.c

// The fabric that the options ask for; a NULL table: one rank, none is needed.
enum cascade_status
store_fabric(struct cascade *store, struct fabric *fabric);

// Before the catalogue is made: the fabric, or none (then store->cluster stays
// NULL). NOT_FOUND, UNSUPPORTED, ...: what is asked for is not there.
enum cascade_status
store_cluster_open(struct cascade *store);

// After DRAM is there and before segments are read: peers meet.
enum cascade_status
store_cluster_meet(struct cascade *store);

// After the own segments were read: bindings go to their homes, and everybody
// waits for everybody.
enum cascade_status
store_cluster_announce(struct cascade *store, uint64_t deadline_ns);

// Peers are served until all have come here, or the deadline.
void
store_cluster_leave(struct cascade *store, uint64_t deadline_ns);

// Nothing of this rank is reached any more.
void
store_cluster_stop(struct cascade *store);

void
store_cluster_close(struct cascade *store);

// Hooks of the directory.
void
store_cluster_binding_gone(void *context, const struct block_key *key,
                           struct block_version version);

void
store_cluster_content_gone(void *context, const struct block_id *id);

// Tells the id's home that there is a copy here.
void
store_cluster_copy_here(struct store_cluster *cluster,
                        const struct block_id *id);

// Asks one rank and waits. The answer's status; `reply_bytes` must come exactly
// with OK, else INVALID.
enum cascade_status
store_cluster_ask(struct store_cluster *cluster, uint16_t to, uint8_t subject,
                  const void *data, size_t bytes, void *reply,
                  size_t reply_bytes, uint64_t deadline_ns);

// Asks every rank, this one included, and waits. `replies` has room for that of
// each rank in turn. The status of the first that failed, with a message that
// names it and `what` was asked.
enum cascade_status
store_cluster_ask_all(struct store_cluster *cluster, uint8_t subject,
                      const void *data, size_t bytes, void *replies,
                      size_t reply_bytes, uint64_t deadline_ns,
                      const char *what);

uint16_t
store_cluster_key_home(const struct store_cluster *cluster,
                       const struct block_key *key);

uint16_t
store_cluster_id_home(const struct store_cluster *cluster,
                      const struct block_id *id);

// --- store_cluster_meet.c

void
store_cluster_greetings(struct store_cluster *cluster);

// All ranks fit together, and know who is of their node.
enum cascade_status
store_cluster_greet(struct store_cluster *cluster, uint64_t deadline_ns);

// Tells the home of the key of one binding, after the open. BUSY: not now.
enum cascade_status
store_cluster_announce_key(struct cascade *store, const struct block_key *key,
                           uint64_t deadline_ns);

// --- store_cluster_adopt.c

enum cascade_status
store_cluster_adopt_open(struct store_cluster *cluster);

void
store_cluster_adopt_close(struct store_cluster *cluster);

// A record was found on segments while the store serves. True: it is to be
// loaded. Any thread.
bool
store_cluster_takes_entry(struct cascade *store,
                          const struct tier_segment_entry *entry);

// The background's: homes are told of those. True if there are more.
bool
store_cluster_adopt_step(struct cascade *store);

// --- store_cluster_home.c

enum cascade_status
store_cluster_open_home(struct store_cluster *cluster);

void
store_cluster_home(struct store_cluster *cluster);

// Engine thread: time passes for the home; after anything that it was told.
void
store_cluster_home_turn(struct store_cluster *cluster);

// What the hooks noted goes out soon.
void
store_cluster_post(struct store_cluster *cluster);

// --- store_cluster_hold.c

void
store_cluster_hold(struct store_cluster *cluster);

// The owner's side of tier 4.
void
store_cluster_grant(void *context, struct tier_remote_ask *ask);

// Peers read the copies in these slots.
void
store_cluster_touched(void *context, const uint32_t *slots, size_t count);

// A peer read a bad copy there.
void
store_cluster_damaged(void *context, const struct block_id *id,
                      const struct block_place *place);

// Something for a peer that may read the disk.
enum cascade_status
store_cluster_work(struct store_cluster *cluster, pool_job *job, void *context);

// --- store_cluster_find.c

// The key's binding, and its copy here if there is one. NOT_FOUND. Others: the
// home could not be asked.
enum cascade_status
store_cluster_find(struct cascade *store, const struct block_key *key,
                   uint64_t deadline_ns, struct store_cluster_found *found);

// Asks for leases on many keys at once, so that what follows finds them.
void
store_cluster_expect(struct cascade *store, const struct cascade_item *items,
                     size_t count, uint64_t deadline_ns);

// What a read from other ranks came to.
struct store_cluster_read {
    const struct cascade_span *spans;
    size_t span_count;
    uint64_t deadline_ns;
    bool keep;     // as a guest in own memory, pinned
    bool is_spill; // because another rank is short of memory
    struct block_place served;
    struct tier_pin pin; // with `keep`
    bool given;          // spans were written to
    bool damaged;
    enum cascade_status remembered;
};

// From any rank that has the content. OK. STALE: nobody had it; the lease is
// dropped, ask again. NO_SPACE with `keep`: no room here.
enum cascade_status
store_cluster_read(struct cascade *store, const struct block_key *key,
                   const struct store_cluster_found *found,
                   struct store_cluster_read *read);

// The same, where this rank has the block on segments: from another one's memory.
enum cascade_status
store_cluster_read_spilled(struct cascade *store,
                           const struct store_cluster_found *found,
                           struct store_cluster_read *read);

void
store_cluster_installs(struct store_cluster *cluster);

// --- store_cluster_bind.c

struct store_cluster_bind {
    struct directory_bind bind; // as for a store without peers
    bool place_pinned;          // the caller holds a pin on bind.place
    uint64_t deadline_ns;
    // Out.
    struct directory_bound bound;
    bool elsewhere; // another rank keeps it; the own copy is not needed
    uint16_t custodian;
    bool place_lost; // the own copy went meanwhile: put again
    bool is_same;    // with EXISTS: bound to this content
};

// Looks whether another rank has the content and has it named; else binds the
// own copy. OK, EXISTS; TIMEOUT: unknown; others: it was not bound.
enum cascade_status
store_cluster_bind(struct cascade *store, struct store_cluster_bind *bind);

void
store_cluster_names(struct store_cluster *cluster);

// One question to the home of a key.
struct store_home_bind {
    struct fabric_call call; // its context is this
    struct store_cluster *cluster;
    uint64_t asked_ns;
    struct directory_message_bind request;
    struct directory_message_bound reply;
};

// Fills it; a yes confirms the name as it arrives.
void
store_cluster_prepare_bind(struct store_cluster *cluster,
                           struct store_home_bind *ask,
                           const struct directory_bind *bind,
                           const struct directory_bound *bound,
                           uint64_t deadline_ns);

// The name that waits under that version goes.
void
store_cluster_take_back(struct cascade *store, const struct block_key *key,
                        struct block_version version);

// --- store_cluster_settle.c

// Any thread: the home did not answer. `if_absent` as it was asked.
void
store_cluster_note_unconfirmed(struct store_cluster *cluster,
                               const struct block_key *key,
                               struct block_version version, bool if_absent);

// Engine thread, now and then: asks again for some.
void
store_cluster_settle_step(struct store_cluster *cluster);

// Engine thread: asks again for all, and tells when those are known that are
// unconfirmed now, or the deadline has passed; perhaps at once.
void
store_cluster_settle_begin(struct store_cluster *cluster,
                           struct store_settling *settling);

// The same, and waits. TIMEOUT: some are unknown still.
enum cascade_status
store_cluster_settle(struct cascade *store, uint64_t deadline_ns);

void
store_cluster_settles(struct store_cluster *cluster);

// The port has stopped: nothing will be known any more.
void
store_cluster_settle_stop(struct store_cluster *cluster);

// --- store_cluster_wide.c

enum cascade_status
store_cluster_remove(struct cascade *store, const struct block_key *key,
                     uint64_t deadline_ns);

enum cascade_status
store_cluster_protect(struct cascade *store, const struct block_key *key,
                      bool protect, uint64_t deadline_ns);

enum cascade_status
store_cluster_clear(struct cascade *store, uint64_t deadline_ns);

enum cascade_status
store_cluster_flush(struct cascade *store, uint64_t deadline_ns);

// What that rank keeps.
enum cascade_status
store_cluster_flush_at(struct cascade *store, uint16_t rank,
                       uint64_t deadline_ns);

// The sum over all ranks.
enum cascade_status
store_cluster_stats(struct cascade *store, uint64_t deadline_ns,
                    struct cascade_stats *sum);

// Engine thread: that rank is lost, and may have told some ranks only of a clear.
void
store_cluster_wide_lost(struct store_cluster *cluster, uint16_t rank);

// Engine thread: tells others of a clear again, as far as there is room now.
void
store_cluster_clear_again(struct store_cluster *cluster);

void
store_cluster_wide(struct store_cluster *cluster);

// --- store_cluster_registry.c

enum cascade_status
store_cluster_registry_open(struct store_cluster *cluster);

void
store_cluster_registry_close(struct store_cluster *cluster);

// Engine thread: a change of a key of this home.
void
store_cluster_registry_note(struct store_cluster *cluster,
                            const struct directory_registry_entry *entry);

// Engine thread: tells all ranks what changed; after anything that may have.
void
store_cluster_registry_turn(struct store_cluster *cluster);

// Engine thread.
void
store_cluster_registry_clear(struct store_cluster *cluster,
                             struct block_version version);

void
store_cluster_registry_lost(struct store_cluster *cluster, uint16_t rank);

// What this rank changed before is known to all live ranks. TIMEOUT, BUSY.
enum cascade_status
store_cluster_registry_sync(struct cascade *store, uint64_t deadline_ns);

// Protected keys of all ranks from `*cursor` on (start with 0); 0: the end.
size_t
store_cluster_registry_scan(struct store_cluster *cluster, uint64_t *cursor,
                            struct directory_registry_entry *entries,
                            size_t room);

struct store_registry_usage {
    uint64_t listed;
    uint64_t missing; // for want of room
};

void
store_cluster_registry_usage(struct store_cluster *cluster,
                             struct store_registry_usage *usage);

void
store_cluster_registry(struct store_cluster *cluster);

// --- store_cluster_list.c

// Visits every protected key that this rank knows of. NO_SPACE: all that had
// room were visited.
enum cascade_status
store_cluster_list_protected(struct cascade *store, uint64_t deadline_ns,
                             bool (*visit)(void *context,
                                           const struct cascade_entry *entry),
                             void *context);

void
store_cluster_list(struct store_cluster *cluster);

// --- store_cluster_spill.c

enum cascade_status
store_cluster_spill_open(struct store_cluster *cluster);

void
store_cluster_spill_close(struct store_cluster *cluster);

void
store_cluster_spill(struct store_cluster *cluster);

// Another rank has taken the content, and may have it still.
bool
store_cluster_was_spilled(struct cascade *store, const struct block_id *id);

// It has not.
void
store_cluster_forget_spilled(struct cascade *store, const struct block_id *id);

// The background's; true if there is more to do at once.
bool
store_cluster_spill_step(struct cascade *store);

// Memory is full: the background looks at once.
void
store_cluster_spill_wanted(struct cascade *store);

// Another rank has room, or is asked: what leaves memory may be on its way.
bool
store_cluster_is_spilling(struct cascade *store);

// A put has waited for that as long as it may, and nothing came of it: for some
// seconds none waits.
void
store_cluster_spill_in_vain(struct cascade *store);

// That is so, and it has not got yet what is in the slot: others go
// first, if there are any.
bool
store_cluster_spill_waits(struct cascade *store, uint32_t slot);

#endif
