// SPDX-License-Identifier: Apache-2.0
//
// What the files of the port share. Not for anyone else.
//
// Two locks. `engine` is held during a step and makes its holder the engine
// thread; everything without another note is under it. `lock` guards what
// callers hand in, is held for a few instructions, and is taken inside `engine`,
// never the other way round.

#ifndef FABRIC_FABRIC_PORT_INNER_H
#define FABRIC_FABRIC_PORT_INNER_H

#include <pthread.h>

#include "fabric/fabric_channel.h"
#include "fabric/fabric_port.h"

#define FABRIC_PORT_QUEUE_MAX 1024u // notices and requests per rank
#define FABRIC_PORT_PARCEL_BYTES_MAX ((uint64_t)128 << 20)
#define FABRIC_PORT_BUCKETS 256u // a power of two
// Subjects of the port's own.
#define FABRIC_PORT_SUBJECT_BARRIER FABRIC_SUBJECTS_MAX
#define FABRIC_PORT_SUBJECT_MISSING (FABRIC_SUBJECTS_MAX + 1)
#define FABRIC_PORT_SUBJECTS (FABRIC_SUBJECTS_MAX + 2)

enum fabric_call_state {
    FABRIC_CALL_IDLE = 0,
    FABRIC_CALL_OPEN = 1,
    FABRIC_CALL_AWAITED = 2, // somebody sleeps on the state
    FABRIC_CALL_ENDED = 3,
};

struct fabric_parcel_list {
    struct fabric_parcel *first;
    struct fabric_parcel *last;
};

// Who handles a subject.
struct fabric_port_handler {
    fabric_handler *handle;
    void *context;
};

// At rank 0: who has come to which barrier.
struct fabric_port_arrival {
    uint64_t number; // of the last barrier that it came to
    struct fabric_answer answer;
};

struct fabric_port {
    struct fabric_port_options options;
    struct fabric fabric;
    struct fabric_parcels parcels;
    struct fabric_channel *channel;
    struct fabric_port_handler handlers[FABRIC_PORT_SUBJECTS];
    void (*lost)(void *context, uint16_t rank);
    void *lost_context;
    pthread_t thread;
    bool has_thread;
    bool started;

    pthread_mutex_t engine;

    // What was handed in; under `lock`.
    pthread_mutex_t lock;
    struct fabric_parcel_list handed;
    struct fabric_post *posts_first;
    struct fabric_post *posts_last;
    struct fabric_transfer *bulk_first;
    struct fabric_transfer *bulk_last;
    struct fabric_call *refused; // to end on the engine thread
    uint32_t *depth;             // per rank: notices and requests not sent
    uint64_t depth_all;          // and answers
    bool stopped;

    // Any thread.
    _Atomic bool handed_any;
    _Atomic bool stopping;
    _Atomic bool busy;       // calls or bulk are open, as of the last step
    _Atomic bool all_ring;   // every peer rings the doorbell
    _Atomic uint32_t asleep; // the thread, and callers without one
    _Atomic uint32_t own_doorbell;
    _Atomic uint32_t *doorbell;
    _Atomic uint64_t due_ns; // as of the last step
    _Atomic uint64_t wakes;

    // Of the engine.
    struct fabric_call *buckets[FABRIC_PORT_BUCKETS];
    uint64_t calls_open;
    uint64_t ticket;      // last given
    uint64_t deadline_ns; // no call ends earlier
    uint64_t *expected;   // per rank: calls that are open
    struct fabric_parcel_list loopback;
    struct fabric_transfer *retry_first; // bulk that the fabric did not take
    struct fabric_transfer *retry_last;
    uint64_t bulk_open;
    struct fabric_timer *timers; // by their moments
    uint64_t now_ns;             // of this step
    uint64_t calls_timed_out;
    uint64_t unhandled;
    uint64_t malformed;
    uint64_t looped; // messages to oneself
    uint64_t looped_bytes;

    // Barrier.
    _Atomic uint64_t barriers; // called here
    uint64_t barrier_next;     // at rank 0: the first that is not complete
    uint32_t barrier_count;    // ranks that have come to it
    struct fabric_port_arrival *arrivals; // NULL at other ranks
};

// --- fabric_port.c

// Wakes the engine thread if it sleeps, and lets an inline fabric know.
void
fabric_port_ring(struct fabric_port *port);

// The same after something was handed in, unless the caller will step itself.
void
fabric_port_hand_over(struct fabric_port *port, bool ring);

// --- fabric_port_engine.c; with `engine` held

// One step; true if anything happened.
bool
fabric_port_turn(struct fabric_port *port);

// True if the engine lock was free; `*any` as of the step then.
bool
fabric_port_try_turn(struct fabric_port *port, bool *any);

// Whether the calling thread is in a step of that port.
bool
fabric_port_is_engine(const struct fabric_port *port);

void *
fabric_port_thread(void *port);

// Without a thread: sends what is queued, for at most a second.
void
fabric_port_drain_inline(struct fabric_port *port);

// A parcel was sent for the first time or dropped.
void
fabric_port_left_queue(void *port, const struct fabric_parcel *parcel);

// --- fabric_port_call.c; with `engine` held

// Puts a call whose request is about to be sent among the open ones.
void
fabric_port_register(struct fabric_port *port, struct fabric_parcel *parcel);

// A message whose turn has come.
void
fabric_port_deliver(void *port, uint16_t from,
                    const struct fabric_header *header, const void *payload);

// Ends those whose deadline has passed.
bool
fabric_port_expire(struct fabric_port *port);

// Ends open calls: to that rank, or all with a negative one.
void
fabric_port_end_calls(struct fabric_port *port, int32_t rank);

// Tells whoever waits.
void
fabric_port_end_call(struct fabric_call *call, enum cascade_status status);

// Hands in a call; whether it was queued.
void
fabric_port_submit(struct fabric_port *port, struct fabric_call *call,
                   uint8_t subject, bool ring);

// --- fabric_port_wait.c

void
fabric_port_wait_one(struct fabric_port *port, struct fabric_call *call);

// Sleeps until the word is not `seen`, or for that long.
void
fabric_port_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t for_ns,
                  bool shared);

void
fabric_port_wake(_Atomic uint32_t *word, bool shared);

// --- fabric_port_bulk.c; with `engine` held

bool
fabric_port_bulk_turn(struct fabric_port *port, struct fabric_transfer *given);

// Ends what the fabric never took: for that rank, or all with a negative one.
void
fabric_port_end_bulk(struct fabric_port *port, int32_t rank);

// --- fabric_port_barrier.c; with `engine` held

void
fabric_port_barrier_init(struct fabric_port *port);

void
fabric_port_barrier_lost(struct fabric_port *port, uint16_t rank);

#endif
