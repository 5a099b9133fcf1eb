// SPDX-License-Identifier: Apache-2.0
//
// One turn of the engine, and the thread that makes turns when nobody else
// does. The thread yields while something came lately, then naps longer and
// longer on the doorbell. Timers wake it and are no reason to stay awake.

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/check.h"
#include "fabric/fabric_port_inner.h"

#define YIELD_NS ((uint64_t)200000) // after the last event
#define NAP_NS_MIN ((uint64_t)20000)
#define NAP_NS_BUSY ((uint64_t)200000)   // while something is under way
#define NAP_NS_QUIET ((uint64_t)5000000) // peers of other nodes do not ring
// Where all peers ring, and nothing has come for a while.
#define NAP_NS_IDLE ((uint64_t)20000000)
#define IDLE_NS ((uint64_t)1000000000)
#define DRAIN_NS ((uint64_t)1000000000)
#define RETRY_NS ((uint64_t)20000)
#define TIMER_SLACK_NS 1000ul

// The port whose turn this thread makes.
static _Thread_local const struct fabric_port *turning;

// What was handed in, taken at once.
struct handed {
    struct fabric_parcel *parcels;
    struct fabric_post *posts;
    struct fabric_transfer *bulk;
    struct fabric_call *refused;
};

static struct handed
take_handed(struct fabric_port *port)
{
    struct handed handed;

    atomic_store_explicit(&port->handed_any, false, memory_order_seq_cst);
    pthread_mutex_lock(&port->lock);
    handed.parcels = port->handed.first;
    handed.posts = port->posts_first;
    handed.bulk = port->bulk_first;
    handed.refused = port->refused;
    port->handed.first = port->handed.last = NULL;
    port->posts_first = port->posts_last = NULL;
    port->bulk_first = port->bulk_last = NULL;
    port->refused = NULL;
    pthread_mutex_unlock(&port->lock);
    return handed;
}

static void
loop_back(struct fabric_port *port, struct fabric_parcel *parcel)
{
    parcel->next = NULL;
    if (port->loopback.last != NULL) {
        port->loopback.last->next = parcel;
    } else {
        port->loopback.first = parcel;
    }
    port->loopback.last = parcel;
}

static void
left_queue(struct fabric_port *port, const struct fabric_parcel *parcel)
{
    pthread_mutex_lock(&port->lock);
    port->depth_all--;
    port->depth[parcel->to] -= parcel->counted;
    pthread_mutex_unlock(&port->lock);
}

static void
send_handed(struct fabric_port *port, struct fabric_parcel *list)
{
    while (list != NULL) {
        struct fabric_parcel *parcel = list;

        list = parcel->next;
        if (parcel->call != NULL) {
            fabric_port_register(port, parcel);
        }
        if (parcel->to == port->fabric.rank) {
            loop_back(port, parcel);
        } else {
            fabric_channel_send(port->channel, parcel, port->now_ns);
        }
    }
}

static void
do_handed(struct fabric_port *port)
{
    struct handed handed = take_handed(port);

    while (handed.refused != NULL) {
        struct fabric_call *call = handed.refused;

        handed.refused = call->next;
        fabric_port_end_call(call, call->status);
    }
    send_handed(port, handed.parcels);
    while (handed.posts != NULL) {
        struct fabric_post *post = handed.posts;

        handed.posts = post->next;
        post->run(post);
    }
    if (handed.bulk != NULL) {
        (void)fabric_port_bulk_turn(port, handed.bulk);
    }
}

// Messages to oneself that were there when it began: their handlers may send
// more.
static bool
do_loopback(struct fabric_port *port)
{
    struct fabric_parcel *list = port->loopback.first;

    if (list == NULL) {
        return false;
    }
    port->loopback.first = port->loopback.last = NULL;
    while (list != NULL) {
        struct fabric_parcel *parcel = list;

        list = parcel->next;
        port->looped++;
        port->looped_bytes += parcel->header.bytes;
        left_queue(port, parcel);
        fabric_port_deliver(port, port->fabric.rank, &parcel->header,
                            parcel->payload);
        fabric_parcels_give(&port->parcels, parcel);
    }
    return true;
}

static bool
do_timers(struct fabric_port *port)
{
    bool any = false;

    while (port->timers != NULL && port->timers->due_ns <= port->now_ns) {
        struct fabric_timer *timer = port->timers;

        port->timers = timer->next;
        timer->armed = false;
        timer->run(timer);
        any = true;
    }
    return any;
}

static void
set_due(struct fabric_port *port)
{
    uint64_t due_ns = fabric_channel_due_ns(port->channel, port->now_ns);

    if (port->timers != NULL && port->timers->due_ns < due_ns) {
        due_ns = port->timers->due_ns;
    }
    if (port->deadline_ns < due_ns) {
        due_ns = port->deadline_ns;
    }
    if (port->retry_first != NULL && port->now_ns + RETRY_NS < due_ns) {
        due_ns = port->now_ns + RETRY_NS;
    }
    if (port->loopback.first != NULL) {
        due_ns = 0;
    }
    atomic_store_explicit(&port->due_ns, due_ns, memory_order_relaxed);
    atomic_store_explicit(&port->busy,
                          port->calls_open > 0 || port->bulk_open > 0,
                          memory_order_relaxed);
}

static bool
is_drained(struct fabric_port *port)
{
    bool drained;

    pthread_mutex_lock(&port->lock);
    drained = port->depth_all == 0;
    pthread_mutex_unlock(&port->lock);
    return drained && fabric_channel_is_drained(port->channel);
}

bool
fabric_port_is_engine(const struct fabric_port *port)
{
    return turning == port;
}

// True if anything was done; `*heard` if it was not only that time passed.
static bool
make_turn(struct fabric_port *port, bool *heard)
{
    const struct fabric *fabric = &port->fabric;
    const struct fabric_port *outer = turning;
    bool any = false;

    turning = port;
    port->now_ns = clock_steady_ns(port->options.clock);
    if (atomic_load_explicit(&port->handed_any, memory_order_seq_cst)) {
        do_handed(port);
        any = true;
    }
    any |= do_loopback(port);
    any |= fabric->table->progress(fabric->self);
    any |= fabric_channel_step(port->channel, port->now_ns);
    if (port->retry_first != NULL) {
        any |= fabric_port_bulk_turn(port, NULL);
    }
    *heard = any;
    any |= do_timers(port);
    any |= fabric_port_expire(port);
    fabric_channel_sent_to(port->channel, port->options.ring,
                           port->options.ring_context);
    set_due(port);
    turning = outer;
    return any;
}

bool
fabric_port_turn(struct fabric_port *port)
{
    bool heard;

    return make_turn(port, &heard);
}

bool
fabric_port_try_turn(struct fabric_port *port, bool *any)
{
    if (pthread_mutex_trylock(&port->engine) != 0) {
        return false;
    }
    *any = fabric_port_turn(port);
    pthread_mutex_unlock(&port->engine);
    return true;
}

void
fabric_port_left_queue(void *context, const struct fabric_parcel *parcel)
{
    left_queue(context, parcel);
}

// Sleeps on the doorbell unless it rang since `seen` was read.
static void
nap(struct fabric_port *port, uint32_t seen, uint64_t now_ns, uint64_t nap_ns)
{
    uint64_t due_ns = atomic_load_explicit(&port->due_ns, memory_order_relaxed);

    if (due_ns <= now_ns) {
        return;
    }
    if (due_ns - now_ns < nap_ns) {
        nap_ns = due_ns - now_ns;
    }
    atomic_fetch_add_explicit(&port->asleep, 1, memory_order_seq_cst);
    if (!atomic_load_explicit(&port->handed_any, memory_order_seq_cst) &&
        !atomic_load_explicit(&port->stopping, memory_order_seq_cst)) {
        fabric_port_sleep(port->doorbell, seen, nap_ns, true);
    }
    atomic_fetch_sub_explicit(&port->asleep, 1, memory_order_seq_cst);
}

static void
drain(struct fabric_port *port)
{
    uint64_t end_ns = clock_deadline_ns(port->options.clock, DRAIN_NS);
    bool drained = false;

    while (!drained && clock_steady_ns(port->options.clock) < end_ns) {
        bool any;

        pthread_mutex_lock(&port->engine);
        any = fabric_port_turn(port);
        drained = is_drained(port);
        pthread_mutex_unlock(&port->engine);
        if (!any && !drained) {
            (void)sched_yield();
        }
    }
}

void
fabric_port_drain_inline(struct fabric_port *port)
{
    const struct fabric *fabric = &port->fabric;
    uint64_t end_ns = clock_deadline_ns(port->options.clock, DRAIN_NS);

    for (;;) {
        bool any = fabric_port_step(port);
        uint64_t until_ns = fabric_port_due_ns(port);

        if (is_drained(port) ||
            clock_steady_ns(port->options.clock) >= end_ns) {
            return;
        }
        if (!any && fabric->table->idle == NULL) {
            return;
        }
        if (!any) {
            fabric->table->idle(fabric->self,
                                until_ns < end_ns ? until_ns : end_ns);
        }
    }
}

// How long the thread naps when nothing has come for so long.
static uint64_t
longest_nap_ns(const struct fabric_port *port, uint64_t quiet_ns)
{
    if (atomic_load_explicit(&port->busy, memory_order_relaxed)) {
        return NAP_NS_BUSY;
    }
    return quiet_ns >= IDLE_NS &&
                   atomic_load_explicit(&port->all_ring, memory_order_relaxed)
               ? NAP_NS_IDLE
               : NAP_NS_QUIET;
}

// A turn of the thread. True if something came, or somebody else makes turns.
static bool
turn_of_thread(struct fabric_port *port, bool *any)
{
    bool heard = true;

    *any = false;
    if (pthread_mutex_trylock(&port->engine) == 0) {
        *any = make_turn(port, &heard);
        pthread_mutex_unlock(&port->engine);
    }
    return heard;
}

void *
fabric_port_thread(void *context)
{
    struct fabric_port *port = context;
    uint64_t event_ns = 0;
    uint64_t nap_ns = 0;
    char name[16];

    (void)snprintf(name, sizeof(name), "fabric %u", port->fabric.rank);
    (void)pthread_setname_np(pthread_self(), name);
    (void)prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    while (!atomic_load_explicit(&port->stopping, memory_order_seq_cst)) {
        uint32_t seen = atomic_load_explicit(port->doorbell,
                                             memory_order_seq_cst);
        bool any;
        bool heard = turn_of_thread(port, &any);
        uint64_t now_ns = clock_steady_ns(port->options.clock);
        uint64_t nap_ns_max;

        if (heard) {
            event_ns = now_ns;
            nap_ns = 0;
        }
        nap_ns_max = longest_nap_ns(port, now_ns - event_ns);
        if (now_ns - event_ns < YIELD_NS) {
            if (!any) {
                (void)sched_yield();
            }
            continue;
        }
        nap_ns = nap_ns == 0 ? NAP_NS_MIN : nap_ns * 2;
        if (nap_ns > nap_ns_max) {
            nap_ns = nap_ns_max;
        }
        nap(port, seen, now_ns, nap_ns);
        if (atomic_load_explicit(port->doorbell, memory_order_seq_cst) !=
            seen) {
            atomic_fetch_add_explicit(&port->wakes, 1, memory_order_relaxed);
            event_ns = clock_steady_ns(port->options.clock);
            nap_ns = 0;
        }
    }
    drain(port);
    return NULL;
}
