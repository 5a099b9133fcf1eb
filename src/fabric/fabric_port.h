// SPDX-License-Identifier: Apache-2.0
//
// The port of a rank: one engine that makes every call of the fabric, and
// requests with answers and deadlines on top of it. Subjects are numbered by
// whoever uses the port; it knows none.
//
// The engine is whoever holds its lock: the port's thread, or a caller that
// waits and finds the lock free, which saves both the change of threads. It is
// called "the engine thread" here and elsewhere. So nobody may wait with a lock
// in hand that a handler takes.
//
// Invariants:
// - messages of one pair of ranks are handled in the order in which they were
//   sent, each once, also if the fabric loses, doubles or reorders them;
// - handlers, `ended` callbacks and posts all run on the engine thread, one
//   after the other, so what only they touch needs no lock. They must not
//   block, and not wait for any rank;
// - a request that timed out is "unknown", not "undone"; its late answer is
//   dropped.
//
// A message to oneself is queued and handled like any other, in order.
//
// Waiting: a caller spins shortly, then sleeps until the engine thread wakes it.
// The engine thread yields for 200 us after the last event, then naps, doubling
// from 20 us (at most 200 us while requests are out or promised), and sleeps on
// a doorbell when it is quiet, which local callers and peers of the node ring;
// peers of other nodes are noticed after at most 5 ms then. With FABRIC_INLINE
// there is no thread: fabric_port_wait drives.

#ifndef FABRIC_FABRIC_PORT_H
#define FABRIC_FABRIC_PORT_H

#include <stdatomic.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/log.h"
#include "fabric/fabric.h"

struct fabric_port;

#define FABRIC_SUBJECTS_MAX 64
// What a request, an answer or a notice may hold.
#define FABRIC_PAYLOAD_BYTES_MAX (FABRIC_MESSAGE_BYTES_MAX - 128)

// A message that came. Valid during the call of the handler, except `answer`,
// which may be kept (by value) until it was answered.
struct fabric_answer {
    uint16_t to;
    uint64_t ticket; // 0: no answer is wanted
};

struct fabric_message {
    uint16_t from;
    uint8_t subject;
    const void *data;
    size_t bytes;
    struct fabric_answer answer;
};

typedef void
fabric_handler(void *context, const struct fabric_message *message);

struct fabric_port_options {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct log *log;      // may be NULL
    struct fabric fabric; // the port closes it
    // Rings the doorbell of a peer of the node; may be NULL. Any thread.
    void (*ring)(void *context, uint16_t rank);
    // Where peers ring; NULL: a word of the port's own. Shared memory, a futex.
    _Atomic uint32_t *doorbell;
    void *ring_context;
    // Heard of nothing for that long, though it was asked: the rank is taken
    // for lost. 0 = never.
    uint64_t silence_ns;
};

// NO_MEMORY, INVALID. On failure the fabric is not closed.
enum cascade_status
fabric_port_open(const struct fabric_port_options *options,
                 struct fabric_port **port) MUST_USE;

// Any thread: every peer rings this port's doorbell when it sends, so that a
// quiet thread may sleep longer. Not so at first.
void
fabric_port_all_ring(struct fabric_port *port, bool all_ring);

// Before start: who handles a subject. Notices and requests without a handler
// are answered with UNSUPPORTED and counted.
void
fabric_port_handle(struct fabric_port *port, uint8_t subject,
                   fabric_handler *handler, void *context);

// Called on the engine thread for a rank that was lost, once per rank.
void
fabric_port_watch(struct fabric_port *port,
                  void (*lost)(void *context, uint16_t rank), void *context);

// Starts the engine thread (none with FABRIC_INLINE). NO_MEMORY.
enum cascade_status
fabric_port_start(struct fabric_port *port) MUST_USE;

// Ends the thread; open calls end with CLOSED. Sends what is queued first, for
// at most a second. Later calls end with CLOSED, answers are dropped, posts run
// at close.
void
fabric_port_stop(struct fabric_port *port);

// Stops if need be, closes the fabric, frees. NULL does nothing.
void
fabric_port_close(struct fabric_port *port);

uint16_t
fabric_port_rank(const struct fabric_port *port);

uint16_t
fabric_port_rank_count(const struct fabric_port *port);

// True if the rank has not been lost.
bool
fabric_port_is_alive(const struct fabric_port *port, uint16_t rank);

// Any thread: a notice, without an answer. Queued (bounded; BUSY), sent in order.
enum cascade_status
fabric_port_tell(struct fabric_port *port, uint16_t to, uint8_t subject,
                 const void *data, size_t bytes) MUST_USE;

// A request. The caller owns it, fills the upper part, and keeps it (and
// `reply`) until it has ended or fabric_port_wait has returned.
struct fabric_call {
    uint16_t to;
    uint8_t subject;
    const void *data; // copied at once
    size_t bytes;
    void *reply; // may be NULL with reply_room 0
    size_t reply_room;
    uint64_t deadline_ns; // of the steady clock
    // If not NULL: called on the engine thread when the call ends, instead of
    // waking a waiter; the call is the caller's again from then on. A deadline
    // ends it with TIMEOUT.
    void (*ended)(struct fabric_call *call);
    // If not NULL: called on the engine thread with the answer, in the order of
    // messages, before the call ends; whatever must happen in that order.
    void (*arrived)(struct fabric_call *call);
    void *context;

    // Set when it has ended. OK and refusals of the other side: what it
    // answered. TIMEOUT, CLOSED (rank lost or port stopping), TOO_SMALL (the
    // answer does not fit; reply_bytes is what it needs), UNSUPPORTED.
    enum cascade_status status;
    size_t reply_bytes;

    // Of the port. The state is 0 before the first use.
    _Atomic uint32_t state;
    uint64_t ticket;
    struct fabric_call *next;
    struct fabric_call *previous;
};

// Any thread. A call that cannot be queued ends at once (BUSY; CLOSED after
// stop); its `ended` is called on the engine thread all the same.
void
fabric_port_begin(struct fabric_port *port, struct fabric_call *call);

// Any thread but the engine thread: returns when all have ended, the late ones
// with TIMEOUT; nothing refers to them any more. Not for calls with `ended`.
void
fabric_port_wait(struct fabric_port *port, struct fabric_call *calls,
                 size_t count);

// begin and wait for one; its status.
enum cascade_status
fabric_port_ask(struct fabric_port *port, struct fabric_call *call) MUST_USE;

// Any thread, once per request that wants an answer, also long after its handler
// has returned. Dropped if the asker was lost. Never fails: answers have room of
// their own (one per request that came).
void
fabric_port_answer(struct fabric_port *port, struct fabric_answer answer,
                   enum cascade_status status, const void *data, size_t bytes);

// Something to be run on the engine thread, in turn with messages. Caller owned
// until it has run.
struct fabric_post {
    void (*run)(struct fabric_post *post);
    void *context;
    struct fabric_post *next;
};

// Any thread.
void
fabric_port_post(struct fabric_port *port, struct fabric_post *post);

// Runs `run` on the engine thread `delay_ns` from now (timers; bounded by
// memory of the caller). Engine thread only.
struct fabric_timer {
    void (*run)(struct fabric_timer *timer);
    void *context;
    uint64_t due_ns;
    struct fabric_timer *next;
    bool armed;
};

void
fabric_port_arm(struct fabric_port *port, struct fabric_timer *timer,
                uint64_t delay_ns);

void
fabric_port_disarm(struct fabric_port *port, struct fabric_timer *timer);

// Any thread: bulk, as in fabric.h. `ended` runs on the engine thread, in any
// case: a transfer that could not begin ends with its status.
void
fabric_port_push(struct fabric_port *port, uint16_t to, uint64_t tag,
                 const void *memory, uint64_t bytes,
                 struct fabric_transfer *transfer);

void
fabric_port_land(struct fabric_port *port, uint16_t from, uint64_t tag,
                 void *memory, uint64_t bytes,
                 struct fabric_transfer *transfer);

void
fabric_port_read(struct fabric_port *port, uint16_t from, uint64_t offset,
                 void *memory, uint64_t bytes,
                 struct fabric_transfer *transfer);

// One turn of the engine, by hand: FABRIC_INLINE and tests. True if anything
// happened.
bool
fabric_port_step(struct fabric_port *port);

// When a step will have something to do though nothing came: timers, deadlines,
// what must be sent again. UINT64_MAX: never. Any thread.
uint64_t
fabric_port_due_ns(struct fabric_port *port);

// Waits until every rank has called it as often, or the deadline: the only
// collective. TIMEOUT (the message names a rank that is missing), CLOSED.
enum cascade_status
fabric_port_barrier(struct fabric_port *port, uint64_t deadline_ns) MUST_USE;

struct fabric_port_usage {
    uint64_t messages_sent;
    uint64_t messages_received;
    uint64_t messages_repeated; // sent again because no receipt came
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t calls_timed_out;
    uint64_t unhandled;
    uint64_t malformed;   // messages that were dropped
    uint64_t queue_depth; // notices, requests and answers not sent yet
    uint64_t wakes;       // of the engine thread from its sleep
};

void
fabric_port_usage(struct fabric_port *port, struct fabric_port_usage *usage);

#endif
