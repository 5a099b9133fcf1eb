// SPDX-License-Identifier: Apache-2.0
//
// The life of a port, and what callers hand in besides messages: posts and
// timers.

#include "fabric/fabric_port.h"

#include <signal.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "fabric/fabric_port_inner.h"

static void
take_from_fabric(void *context, uint16_t from, const void *data, size_t bytes)
{
    struct fabric_port *port = context;

    fabric_channel_receive(port->channel, from, data, bytes, port->now_ns);
}

static void
lost_by_fabric(void *context, uint16_t rank)
{
    struct fabric_port *port = context;

    fabric_channel_lose(port->channel, rank);
}

static void
lost_by_channel(void *context, uint16_t rank)
{
    struct fabric_port *port = context;

    log_write(port->options.log, LOG_LEVEL_WARNING, "rank %u is lost", rank);
    fabric_port_end_calls(port, rank);
    fabric_port_end_bulk(port, rank);
    fabric_port_barrier_lost(port, rank);
    if (port->lost != NULL) {
        port->lost(port->lost_context, rank);
    }
}

static enum cascade_status
take_memory(struct fabric_port *port)
{
    const struct allocator *allocator = port->options.allocator;
    size_t count = port->fabric.rank_count;
    const struct fabric_channel_options options = {
        .allocator = allocator,
        .fabric = port->fabric,
        .parcels = &port->parcels,
        .silence_ns = port->options.silence_ns,
        .context = port,
        .deliver = fabric_port_deliver,
        .sent = fabric_port_left_queue,
        .lost = lost_by_channel,
    };

    port->depth = allocator_array(allocator, count, sizeof(*port->depth));
    port->expected = allocator_array(allocator, count, sizeof(*port->expected));
    if (port->fabric.rank == 0) {
        port->arrivals = allocator_array(allocator, count,
                                         sizeof(*port->arrivals));
    }
    if (port->depth == NULL || port->expected == NULL ||
        (port->fabric.rank == 0 && port->arrivals == NULL)) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for %zu peers; free some memory", count);
    }
    return fabric_channel_open(&options, &port->channel);
}

static void
release_memory(struct fabric_port *port)
{
    const struct allocator *allocator = port->options.allocator;

    fabric_channel_close(port->channel);
    allocator_release(allocator, port->arrivals);
    allocator_release(allocator, port->expected);
    allocator_release(allocator, port->depth);
}

// The thread leaves signals to the program.
static int
start_thread(struct fabric_port *port)
{
    sigset_t all;
    sigset_t before;
    int failure;

    sigfillset(&all);
    check(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    failure = pthread_create(&port->thread, NULL, fabric_port_thread, port);
    check(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return failure;
}

// Ends everything that is open, and whatever its callbacks begin.
static void
end_all(struct fabric_port *port)
{
    pthread_mutex_lock(&port->engine);
    do {
        (void)fabric_port_turn(port);
        fabric_port_end_calls(port, -1);
        fabric_port_end_bulk(port, -1);
    } while (atomic_load_explicit(&port->handed_any, memory_order_seq_cst));
    pthread_mutex_unlock(&port->engine);
}

// The fabric is closed: what its last callbacks handed in ends as well.
static void
end_handed(struct fabric_port *port)
{
    while (port->refused != NULL || port->posts_first != NULL ||
           port->bulk_first != NULL) {
        struct fabric_call *call = port->refused;
        struct fabric_post *post = port->posts_first;

        if (call != NULL) {
            port->refused = call->next;
            fabric_port_end_call(call, call->status);
        }
        if (post != NULL) {
            port->posts_first = post->next;
            if (post->next == NULL) {
                port->posts_last = NULL;
            }
            post->run(post);
        }
        if (port->bulk_first != NULL) {
            port->retry_first = port->bulk_first;
            port->retry_last = port->bulk_last;
            port->bulk_first = NULL;
            port->bulk_last = NULL;
            fabric_port_end_bulk(port, -1);
        }
    }
}

static bool
set_stopped(struct fabric_port *port)
{
    bool before;

    pthread_mutex_lock(&port->lock);
    before = port->stopped;
    port->stopped = true;
    pthread_mutex_unlock(&port->lock);
    return before;
}

void
fabric_port_ring(struct fabric_port *port)
{
    atomic_fetch_add_explicit(port->doorbell, 1, memory_order_seq_cst);
    fabric_port_wake(port->doorbell, true);
}

void
fabric_port_hand_over(struct fabric_port *port, bool ring)
{
    atomic_store_explicit(&port->handed_any, true, memory_order_seq_cst);
    if (port->fabric.doorbell != NULL) {
        atomic_fetch_add_explicit(port->fabric.doorbell, 1,
                                  memory_order_relaxed);
    }
    if (ring && atomic_load_explicit(&port->asleep, memory_order_seq_cst) > 0) {
        fabric_port_ring(port);
    }
}

void
fabric_port_all_ring(struct fabric_port *port, bool all_ring)
{
    atomic_store_explicit(&port->all_ring, all_ring, memory_order_relaxed);
}

enum cascade_status
fabric_port_open(const struct fabric_port_options *options,
                 struct fabric_port **opened)
{
    const struct fabric *fabric = &options->fabric;
    struct fabric_port *port;
    enum cascade_status status;

    if (fabric->rank_count == 0 || fabric->rank >= fabric->rank_count ||
        fabric->rank_count > FABRIC_RANKS_MAX || fabric->incarnation == 0 ||
        (fabric->rank_count > 1 && fabric->job == 0)) {
        return error_set(
            CASCADE_INVALID, "rank %u of %u (job %llu) is no place in a fabric",
            fabric->rank, fabric->rank_count, (unsigned long long)fabric->job);
    }
    port = allocator_array(options->allocator, 1, sizeof(*port));
    if (port == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for messages; free some memory");
    }
    port->options = *options;
    port->fabric = options->fabric;
    port->doorbell = options->doorbell != NULL ? options->doorbell
                                               : &port->own_doorbell;
    port->deadline_ns = UINT64_MAX;
    atomic_init(&port->due_ns, 0);
    check(pthread_mutex_init(&port->engine, NULL) == 0);
    check(pthread_mutex_init(&port->lock, NULL) == 0);
    fabric_port_barrier_init(port);
    status = fabric_parcels_init(&port->parcels, options->allocator,
                                 FABRIC_PORT_PARCEL_BYTES_MAX);
    if (status != CASCADE_OK) {
        goto undo_port;
    }
    status = take_memory(port);
    if (status != CASCADE_OK) {
        goto undo_memory;
    }
    *opened = port;
    return CASCADE_OK;

undo_memory:
    release_memory(port);
    fabric_parcels_fini(&port->parcels);
undo_port:
    pthread_mutex_destroy(&port->lock);
    pthread_mutex_destroy(&port->engine);
    allocator_release(options->allocator, port);
    return status;
}

void
fabric_port_handle(struct fabric_port *port, uint8_t subject,
                   fabric_handler *handler, void *context)
{
    check(subject < FABRIC_SUBJECTS_MAX && !port->started);
    port->handlers[subject].handle = handler;
    port->handlers[subject].context = context;
}

void
fabric_port_watch(struct fabric_port *port,
                  void (*lost)(void *context, uint16_t rank), void *context)
{
    check(!port->started);
    port->lost = lost;
    port->lost_context = context;
}

enum cascade_status
fabric_port_start(struct fabric_port *port)
{
    const struct fabric_sink sink = {
        .context = port,
        .message = take_from_fabric,
        .lost = lost_by_fabric,
    };

    check(!port->started);
    port->fabric.table->start(port->fabric.self, &sink);
    port->started = true;
    if (port->fabric.capabilities & FABRIC_INLINE) {
        return CASCADE_OK;
    }
    if (start_thread(port) != 0) {
        return error_set(CASCADE_NO_MEMORY,
                         "no thread for messages; raise the limit of threads");
    }
    port->has_thread = true;
    return CASCADE_OK;
}

void
fabric_port_stop(struct fabric_port *port)
{
    if (atomic_exchange_explicit(&port->stopping, true, memory_order_seq_cst)) {
        return;
    }
    if (port->has_thread) {
        fabric_port_ring(port);
        check(pthread_join(port->thread, NULL) == 0);
    } else if (port->started) {
        fabric_port_drain_inline(port);
    }
    (void)set_stopped(port);
    if (port->started) {
        end_all(port);
    }
}

void
fabric_port_close(struct fabric_port *port)
{
    if (port == NULL) {
        return;
    }
    fabric_port_stop(port);
    if (port->started) {
        end_all(port); // what was begun since
    }
    // Transfers that the fabric still has end here.
    port->fabric.table->close(port->fabric.self);
    end_handed(port);
    release_memory(port);
    fabric_parcels_fini(&port->parcels);
    pthread_mutex_destroy(&port->lock);
    pthread_mutex_destroy(&port->engine);
    allocator_release(port->options.allocator, port);
}

uint16_t
fabric_port_rank(const struct fabric_port *port)
{
    return port->fabric.rank;
}

uint16_t
fabric_port_rank_count(const struct fabric_port *port)
{
    return port->fabric.rank_count;
}

bool
fabric_port_is_alive(const struct fabric_port *port, uint16_t rank)
{
    check(rank < port->fabric.rank_count);
    return fabric_channel_is_alive(port->channel, rank);
}

void
fabric_port_post(struct fabric_port *port, struct fabric_post *post)
{
    post->next = NULL;
    pthread_mutex_lock(&port->lock);
    if (port->posts_last != NULL) {
        port->posts_last->next = post;
    } else {
        port->posts_first = post;
    }
    port->posts_last = post;
    pthread_mutex_unlock(&port->lock);
    fabric_port_hand_over(port, true);
}

void
fabric_port_arm(struct fabric_port *port, struct fabric_timer *timer,
                uint64_t delay_ns)
{
    struct fabric_timer **where = &port->timers;

    if (timer->armed) {
        fabric_port_disarm(port, timer);
    }
    timer->due_ns = clock_deadline_ns(port->options.clock, delay_ns);
    timer->armed = true;
    while (*where != NULL && (*where)->due_ns <= timer->due_ns) {
        where = &(*where)->next;
    }
    timer->next = *where;
    *where = timer;
}

void
fabric_port_disarm(struct fabric_port *port, struct fabric_timer *timer)
{
    struct fabric_timer **where = &port->timers;

    if (!timer->armed) {
        return;
    }
    while (*where != timer) {
        where = &(*where)->next;
    }
    *where = timer->next;
    timer->armed = false;
}

bool
fabric_port_step(struct fabric_port *port)
{
    bool any;

    check(port->started && !fabric_port_is_engine(port));
    pthread_mutex_lock(&port->engine);
    any = fabric_port_turn(port);
    pthread_mutex_unlock(&port->engine);
    if (any && port->fabric.capabilities & FABRIC_INLINE) {
        if (port->fabric.doorbell != NULL) {
            atomic_fetch_add_explicit(port->fabric.doorbell, 1,
                                      memory_order_relaxed);
        }
        if (atomic_load_explicit(&port->asleep, memory_order_seq_cst) > 0) {
            fabric_port_ring(port);
        }
    }
    return any;
}

uint64_t
fabric_port_due_ns(struct fabric_port *port)
{
    if (atomic_load_explicit(&port->handed_any, memory_order_seq_cst)) {
        return 0;
    }
    return atomic_load_explicit(&port->due_ns, memory_order_relaxed);
}

void
fabric_port_usage(struct fabric_port *port, struct fabric_port_usage *usage)
{
    bool engine = fabric_port_is_engine(port);
    struct fabric_channel_usage channel;

    if (!engine) {
        pthread_mutex_lock(&port->engine);
    }
    fabric_channel_usage(port->channel, &channel);
    usage->messages_sent = channel.sent + port->looped;
    usage->messages_received = channel.received + port->looped;
    usage->messages_repeated = channel.repeated;
    usage->bytes_sent = channel.bytes_sent + port->looped_bytes;
    usage->bytes_received = channel.bytes_received + port->looped_bytes;
    usage->calls_timed_out = port->calls_timed_out;
    usage->unhandled = port->unhandled;
    usage->malformed = port->malformed + channel.malformed;
    if (!engine) {
        pthread_mutex_unlock(&port->engine);
    }
    pthread_mutex_lock(&port->lock);
    usage->queue_depth = port->depth_all;
    pthread_mutex_unlock(&port->lock);
    usage->wakes = atomic_load_explicit(&port->wakes, memory_order_relaxed);
}
