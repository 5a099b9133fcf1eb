// SPDX-License-Identifier: Apache-2.0
//
// What the files of the simulated fabric share: fabric_sim.c has time, the
// queue of events and what goes wrong; fabric_sim_fiber.c who runs;
// fabric_sim_table.c and fabric_sim_bulk.c the fabric of a rank. Not for anyone
// else.

#ifndef SUPPORT_FABRIC_SIM_INNER_H
#define SUPPORT_FABRIC_SIM_INNER_H

#include <ucontext.h>

#include "support/fabric_sim.h"

enum fabric_sim_event_kind {
    SIM_EVENT_MESSAGE = 1,
    SIM_EVENT_BULK = 2,
    SIM_EVENT_FIBER = 3, // somebody wanted to be woken
    SIM_EVENT_LOST = 4,  // a death becomes known
};

struct fabric_sim_event {
    uint64_t due_ns;
    uint64_t order; // of events of one moment
    enum fabric_sim_event_kind kind;
    uint32_t value; // rank
    void *thing;
};

struct fabric_sim_message {
    struct fabric_sim_message *next;
    uint16_t from;
    uint16_t to;
    uint32_t incarnation; // of the sender
    uint32_t bytes;
    uint8_t size_class;
    uint8_t data[];
};

struct fabric_sim_pair {
    uint64_t last_ns; // when its last message arrives
    uint32_t under_way;
    uint32_t cuts; // reasons why nothing passes
    struct fabric_sim_message *held_first;
    struct fabric_sim_message *held_last;
};

enum fabric_sim_fiber_state {
    SIM_FIBER_RUNNABLE = 1,
    SIM_FIBER_PARKED = 2,
    SIM_FIBER_ENDED = 3,
};

struct fabric_sim_fiber {
    struct fabric_sim *sim;
    uint32_t id;
    uint16_t rank; // whose events wake it
    enum fabric_sim_fiber_state state;
    bool serves;
    bool deaf; // woken by time alone
    const char *name;
    void (*run)(void *context);
    uint64_t (*serve)(void *context);
    void *context;
    uint64_t until_ns;  // virtual
    uint64_t queued_ns; // earliest event that will wake it
    uint32_t seen;
    // Of its rank, while it is parked.
    struct fabric_sim_fiber *next;
    struct fabric_sim_fiber *previous;
    struct fabric_sim_fiber *all_next;
    uint32_t events; // in the queue that name it
    ucontext_t machine;
    void *stack;
    void *address_fiber; // of sanitizers
    void *thread_fiber;
};

struct fabric_sim_endpoint {
    struct fabric_sim *sim;
    uint16_t rank;
    uint32_t incarnation;
    bool started;
    bool dead;
    bool told; // its own port was told that all are lost
    struct fabric_sink sink;
    struct fabric_sim_message *inbox_first;
    struct fabric_sim_message *inbox_last;
    struct fabric_transfer *done_first;
    struct fabric_transfer *done_last;
    uint16_t *lost; // ranks to be told of
    uint32_t lost_count;
    _Atomic uint32_t doorbell;
};

struct fabric_sim_bulk {
    struct fabric_sim_bulk *next;
    bool is_read;
    bool half; // of a read
    bool scheduled;
    uint16_t from;
    uint16_t to;
    uint64_t where; // tag or offset
    const void *from_memory;
    void *to_memory;
    uint64_t from_bytes;
    uint64_t to_bytes;
    struct fabric_transfer *push;
    struct fabric_transfer *land; // or the read
    struct fabric_sim_endpoint *pusher;
    struct fabric_sim_endpoint *lander;
};

struct fabric_sim_clock {
    struct clock_source source;
    struct fabric_sim *sim;
    uint64_t since_ns;  // virtual, of the last change
    uint64_t steady_ns; // then
    uint64_t wall_ahead_ns;
    int64_t ppm;
};

struct fabric_sim_rank {
    struct fabric_sim_endpoint *endpoint;
    uint32_t incarnation;      // last given
    uint32_t incarnation_lost; // what comes of it or earlier is dropped
    struct fabric_sim_clock clock;
    struct fabric_sim_fiber *parked;
    struct fabric_sim_fiber *server;
    struct fabric_sim_bulk *bulks; // towards this rank
    const void *exposed;
    uint64_t exposed_bytes;
    bool silent;
};

#define SIM_CLASSES 3

struct fabric_sim {
    struct fabric_sim_options options;
    uint16_t rank_count;
    uint64_t job;
    uint64_t random[2];
    uint64_t now_ns;
    uint64_t trace;
    uint64_t lose_at; // counts down; 0: none
    struct fabric_sim_rank *ranks;
    struct fabric_sim_pair *pairs;
    struct fabric_sim_message *spare[SIM_CLASSES];

    struct fabric_sim_event *events; // a heap
    size_t event_count;
    size_t event_room;
    uint64_t event_order;

    struct fabric_sim_fiber **runnable;
    size_t runnable_count;
    size_t runnable_room;
    struct fabric_sim_fiber *fibers;
    struct fabric_sim_fiber *spare_fibers;
    struct fabric_sim_fiber *current;
    uint32_t fiber_count;
    uint32_t spawned; // and not ended
    ucontext_t machine;
    void *address_fiber;
    void *thread_fiber;
    const void *stack_bottom;
    size_t stack_bytes;
    struct fabric_sim_usage usage;
};

// --- fabric_sim.c

void
sim_trace(struct fabric_sim *sim, uint64_t what, uint64_t more);

void
sim_schedule(struct fabric_sim *sim, uint64_t due_ns,
             enum fabric_sim_event_kind kind, uint32_t value, void *thing);

struct fabric_sim_pair *
sim_pair(struct fabric_sim *sim, uint16_t from, uint16_t to);

uint64_t
sim_delay_ns(struct fabric_sim *sim);

// Virtual time of a moment of the rank's steady clock.
uint64_t
sim_virtual_ns(struct fabric_sim *sim, uint16_t rank, uint64_t steady_ns);

// Runs a fiber or the next event, if that is before `end_ns`. False: neither.
bool
sim_advance(struct fabric_sim *sim, uint64_t end_ns);

// --- fabric_sim_bulk.c

enum fabric_sim_word {
    SIM_WORD_NEXT = 0, // of a transfer that has ended
    SIM_WORD_STATUS = 1,
};

enum cascade_status
sim_push(void *endpoint, uint16_t to, uint64_t tag, const void *memory,
         uint64_t bytes, struct fabric_transfer *transfer);

enum cascade_status
sim_land(void *endpoint, uint16_t from, uint64_t tag, void *memory,
         uint64_t bytes, struct fabric_transfer *transfer);

enum cascade_status
sim_read(void *endpoint, uint16_t from, uint64_t offset, void *memory,
         uint64_t bytes, struct fabric_transfer *transfer);

void
sim_bulk_event(struct fabric_sim *sim, struct fabric_sim_bulk *bulk);

// Ends whatever the endpoint has with others; the others' sides as well.
void
sim_end_transfers(struct fabric_sim *sim, struct fabric_sim_endpoint *endpoint);

// --- fabric_sim_table.c

bool
sim_happens(struct fabric_sim *sim, uint32_t ppm);

void
sim_arrive(struct fabric_sim *sim, struct fabric_sim_message *message);

// What a healed pair held is on its way.
void
sim_release_held(struct fabric_sim *sim, uint16_t from, uint16_t to);

void
sim_free_message(struct fabric_sim *sim, struct fabric_sim_message *message);

// --- fabric_sim_fiber.c

void
sim_run_one(struct fabric_sim *sim);

// Whoever waits at that rank has a look.
void
sim_wake(struct fabric_sim *sim, uint16_t rank);

// The same at every rank whose port was given something from outside.
void
sim_look_around(struct fabric_sim *sim);

void
sim_fiber_event(struct fabric_sim *sim, struct fabric_sim_fiber *fiber);

// The current fiber gives way until its rank is woken (not if deaf), or until
// then.
void
sim_park(struct fabric_sim *sim, uint16_t rank, uint64_t until_ns, bool deaf);

void
sim_print_stuck(const struct fabric_sim *sim);

void
sim_drop_fibers(struct fabric_sim *sim);

#endif
