// SPDX-License-Identifier: Apache-2.0
//
// What the files tier_remote*.c share. See tier_remote.h for what they do.
//
// A loan is a pin that this rank gives to another, or is about to. A stream is
// a block on its way here in chunks, through bounce memory. Both live in tables
// taken at open, and are named over the wire by index and serial number, so
// that a late message finds that they are gone.
//
// Locks: loan_lock, stream_lock and note_lock are leaves, each over the list
// that its field says; none is held while the port or a tier is called. The
// streams themselves are the engine thread's, but for what their reader fills
// before its first message and reads after an answer.

#ifndef TIER_TIER_REMOTE_INNER_H
#define TIER_TIER_REMOTE_INNER_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/extent.h"
#include "tier/tier_remote.h"

#define TIER_REMOTE_NONE UINT32_MAX
#define TIER_REMOTE_LOANS 1024
#define TIER_REMOTE_STREAMS 256
// Chunks of a stream that are on their way at once.
#define TIER_REMOTE_WINDOW 3
#define TIER_REMOTE_NOTES 1024

// --- messages

// Of PIN and FETCH.
struct tier_remote_wanted {
    struct block_id id;
    uint64_t bytes;
    uint64_t tag;         // FETCH: of the first chunk; the next follow
    uint64_t chunk_bytes; // FETCH
};

struct tier_remote_damage {
    struct block_id id;
    struct block_place place;
};

// Of CHUNK, and its answer.
struct tier_remote_turn {
    uint32_t stream;
    uint32_t serial;
    uint64_t chunk; // those before it were copied
};

struct tier_remote_turn_answer {
    uint64_t memory;
    struct block_place place;
};

static_assert(sizeof(struct tier_remote_wanted) == 56 &&
                  sizeof(struct tier_remote_grant) == 48 &&
                  sizeof(struct tier_remote_damage) == 64 &&
                  sizeof(struct tier_remote_turn) == 16 &&
                  sizeof(struct tier_remote_turn_answer) == 40,
              "messages have no padding");

// --- tables

enum tier_remote_loan_state {
    TIER_REMOTE_LOAN_FREE = 0,
    TIER_REMOTE_LOAN_ASKED = 1,
    TIER_REMOTE_LOAN_HELD = 2,    // until a message or its end
    TIER_REMOTE_LOAN_SENDING = 3, // until the last chunk has gone
};

struct tier_remote_push {
    struct fabric_transfer transfer;
    struct tier_remote_loan *loan;
};

struct tier_remote_loan {
    struct tier_remote *remote;
    struct tier_remote_ask ask;
    struct fabric_answer answer;
    struct tier_remote_wanted wanted;
    bool fetch;
    enum tier_remote_loan_state state; // this and the next under loan_lock
    uint32_t serial;
    uint32_t next; // in the list of free ones
    struct tier_pin pin;
    uint64_t ends_ns;
    struct fabric_post begin;
    // Of the engine, while it is sent.
    uint64_t sent_bytes;
    uint32_t under_way;
    bool failed;
    struct tier_remote_push pushes[TIER_REMOTE_WINDOW];
};

enum tier_remote_stream_state {
    TIER_REMOTE_STREAM_FREE = 0,
    TIER_REMOTE_STREAM_GIVEN = 1,  // its reader has not said anything yet
    TIER_REMOTE_STREAM_QUEUED = 2, // waits for bounce memory
    TIER_REMOTE_STREAM_ASKED = 3,  // the owner was asked to send
    TIER_REMOTE_STREAM_FLOWING = 4,
    TIER_REMOTE_STREAM_FAILED = 5,
};

struct tier_remote_part {
    struct fabric_transfer transfer;
    struct tier_remote_stream *stream;
    uint64_t chunk;
    bool under_way;
    bool landed;
};

struct tier_remote_stream {
    struct tier_remote *remote;
    uint32_t index;
    uint32_t next; // in the list of free or queued ones
    // Filled by its reader.
    uint32_t serial;
    uint16_t rank;
    bool fetch;
    struct tier_remote_wanted wanted;
    struct block_place place; // known from the grant; FETCH: from the answer
    struct fabric_post leave;
    // Of the engine.
    enum tier_remote_stream_state state;
    enum cascade_status failure;
    bool left; // its reader is gone
    bool has_bounce;
    bool waits; // `answer` is wanted, for `turn`
    struct fabric_answer answer;
    uint64_t turn;
    uint64_t chunks;
    uint64_t copied;  // chunks that the reader has taken
    uint64_t started; // chunks
    uint32_t window;
    uint32_t under_way;
    uint64_t part_bytes;
    uint64_t bounce_offset;
    struct fabric_call call;
    struct tier_remote_grant grant;
    struct tier_remote_part parts[TIER_REMOTE_WINDOW];
};

struct tier_remote_note {
    uint16_t rank;
    bool touch; // else an unpin
    uint64_t value;
};

struct tier_remote {
    struct tier_remote_options options;
    uint16_t rank;
    uint16_t rank_count;
    uint64_t chunk_bytes;
    uint8_t *bounce;

    pthread_mutex_t loan_lock;
    struct tier_remote_loan *loans;
    uint32_t free_loan;
    uint32_t loans_out; // not free
    bool *lost;         // by rank

    pthread_mutex_t stream_lock;
    struct tier_remote_stream *streams;
    uint32_t free_stream;

    // Of the engine.
    struct extent_map *bounce_map;
    uint32_t queue_first;
    uint32_t queue_last;

    _Atomic uint64_t tag;

    pthread_mutex_t note_lock;
    struct tier_remote_note *notes;
    struct tier_remote_note *going; // of the engine: those being sent
    uint32_t note_count;
    bool flush_is_posted;
    struct fabric_post flush;

    _Atomic uint64_t reads[4];
    _Atomic uint64_t read_bytes[4];
    _Atomic uint64_t grants;
    _Atomic uint64_t pins_out;
    _Atomic uint64_t pins_expired;
    _Atomic uint64_t stale;
    _Atomic uint64_t corrupt;
    _Atomic uint64_t late;
};

static inline void
tier_remote_lock(pthread_mutex_t *lock)
{
    check(pthread_mutex_lock(lock) == 0);
}

static inline void
tier_remote_unlock(pthread_mutex_t *lock)
{
    check(pthread_mutex_unlock(lock) == 0);
}

static inline void
tier_remote_count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

// --- tier_remote_loan.c: the owner's side

enum cascade_status
tier_remote_loan_open(struct tier_remote *remote) MUST_USE;

// Nothing fails from here on.
void
tier_remote_loan_listen(struct tier_remote *remote);

void
tier_remote_loan_close(struct tier_remote *remote);

// Ends pins whose time has come, or all of a rank that was lost.
void
tier_remote_loan_expire(struct tier_remote *remote, uint64_t now_ns);

void
tier_remote_loan_lost(struct tier_remote *remote, uint16_t rank);

// --- tier_remote_note.c: unpins and touches, sent together

enum cascade_status
tier_remote_note_open(struct tier_remote *remote) MUST_USE;

void
tier_remote_note_close(struct tier_remote *remote);

void
tier_remote_note_unpin(struct tier_remote *remote, uint16_t rank,
                       uint64_t token);

void
tier_remote_note_touch(struct tier_remote *remote, uint16_t rank,
                       uint32_t slot);

// Engine thread.
void
tier_remote_note_flush(struct tier_remote *remote);

// --- tier_remote_stream.c: blocks in chunks

enum cascade_status
tier_remote_stream_open(struct tier_remote *remote) MUST_USE;

// Nothing fails from here on.
void
tier_remote_stream_listen(struct tier_remote *remote);

void
tier_remote_stream_close(struct tier_remote *remote);

// Moves the block by one-sided reads of the granted place, or (grant NULL) by
// asking the owner to send it, and copies it to the spans, checked. On OK
// `place` is set. CORRUPT: `place` is set as well.
enum cascade_status
tier_remote_stream_read(struct tier_remote *remote,
                        struct tier_remote_read *read,
                        const struct tier_remote_grant *grant,
                        struct block_place *place) MUST_USE;

// --- tier_remote_near.c: memory of the same node

// Copies from the mapping of a near rank: where the hint says, or where the
// owner does. NOT_FOUND with `*unmapped`: it is near but cannot be mapped.
enum cascade_status
tier_remote_near_read(struct tier_remote *remote, struct tier_remote_read *read,
                      struct block_place *place, bool *unmapped) MUST_USE;

// --- tier_remote.c

// Asks the owner to pin by message. `*until_ns`: the pin is good until then, as
// far as this rank can know.
enum cascade_status
tier_remote_ask_pin(struct tier_remote *remote,
                    const struct tier_remote_read *read,
                    struct tier_remote_grant *grant,
                    uint64_t *until_ns) MUST_USE;

// Whether a place that the rank named can be the block of the read.
bool
tier_remote_is_plausible(const struct tier_remote_read *read,
                         const struct block_place *place);

#endif
