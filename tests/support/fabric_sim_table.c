// SPDX-License-Identifier: Apache-2.0
//
// The fabric of a simulated rank. A message is an event until it arrives, then
// lies in the inbox of its rank until progress. Ended transfers wait for
// progress as well; how they end is in fabric_sim_bulk.c.

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/fabric_sim_inner.h"

#define PROGRESS_MESSAGES 64

static const size_t class_bytes[SIM_CLASSES] = {512, 8192,
                                                FABRIC_MESSAGE_BYTES_MAX};

static struct fabric_sim_message *
make_message(struct fabric_sim *sim, uint16_t from, uint16_t to,
             const void *data, size_t bytes)
{
    struct fabric_sim_message *message;
    uint8_t size_class = 0;

    while (class_bytes[size_class] < bytes) {
        size_class++;
    }
    message = sim->spare[size_class];
    if (message != NULL) {
        sim->spare[size_class] = message->next;
    } else {
        message = malloc(sizeof(*message) + class_bytes[size_class]);
        check(message != NULL);
    }
    message->next = NULL;
    message->size_class = size_class;
    message->from = from;
    message->to = to;
    message->incarnation = sim->ranks[from].endpoint->incarnation;
    message->bytes = (uint32_t)bytes;
    if (bytes > 0) {
        memcpy(message->data, data, bytes);
    }
    return message;
}

static void
start(void *self, const struct fabric_sink *sink)
{
    struct fabric_sim_endpoint *endpoint = self;

    endpoint->sink = *sink;
    endpoint->started = true;
}

// On its way, unless the pair is cut.
static void
dispatch(struct fabric_sim *sim, struct fabric_sim_message *message)
{
    struct fabric_sim_pair *pair = sim_pair(sim, message->from, message->to);
    uint64_t due_ns = sim->now_ns + sim_delay_ns(sim);

    if (pair->cuts > 0) {
        if (!(sim->options.capabilities & FABRIC_RELIABLE)) {
            sim->usage.lost++;
            pair->under_way--;
            sim_free_message(sim, message);
            return;
        }
        message->next = NULL;
        if (pair->held_last != NULL) {
            pair->held_last->next = message;
        } else {
            pair->held_first = message;
        }
        pair->held_last = message;
        return;
    }
    if (sim->options.capabilities & FABRIC_RELIABLE) {
        if (due_ns < pair->last_ns) {
            due_ns = pair->last_ns;
        }
        pair->last_ns = due_ns;
    }
    sim_schedule(sim, due_ns, SIM_EVENT_MESSAGE, 0, message);
}

bool
sim_happens(struct fabric_sim *sim, uint32_t ppm)
{
    return ppm > 0 && fabric_sim_random(sim, 1000000) < ppm;
}

static bool
is_lost(struct fabric_sim *sim)
{
    if (sim->lose_at > 0 && --sim->lose_at == 0) {
        return true;
    }
    return !(sim->options.capabilities & FABRIC_RELIABLE) &&
           sim_happens(sim, sim->options.loss_ppm);
}

static enum cascade_status
send(void *self, uint16_t to, const void *data, size_t bytes)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_pair *pair = sim_pair(sim, endpoint->rank, to);

    check(to < sim->rank_count && bytes <= FABRIC_MESSAGE_BYTES_MAX);
    if (endpoint->dead) {
        return CASCADE_CLOSED;
    }
    if (pair->under_way >= sim->options.under_way_max ||
        sim_happens(sim, sim->options.busy_ppm)) {
        return CASCADE_BUSY;
    }
    sim->usage.messages++;
    sim_trace(sim, (uint64_t)endpoint->rank << 16 | to, bytes);
    if (is_lost(sim)) {
        sim->usage.lost++;
        return CASCADE_OK;
    }
    pair->under_way++;
    dispatch(sim, make_message(sim, endpoint->rank, to, data, bytes));
    if (!(sim->options.capabilities & FABRIC_RELIABLE) &&
        sim_happens(sim, sim->options.double_ppm)) {
        sim->usage.doubled++;
        pair->under_way++;
        dispatch(sim, make_message(sim, endpoint->rank, to, data, bytes));
    }
    return CASCADE_OK;
}

static bool
hand_messages(struct fabric_sim_endpoint *endpoint)
{
    struct fabric_sim *sim = endpoint->sim;
    bool any = false;

    for (int i = 0; i < PROGRESS_MESSAGES && endpoint->inbox_first != NULL;
         i++) {
        struct fabric_sim_message *message = endpoint->inbox_first;

        endpoint->inbox_first = message->next;
        if (message->next == NULL) {
            endpoint->inbox_last = NULL;
        }
        sim->usage.delivered++;
        endpoint->sink.message(endpoint->sink.context, message->from,
                               message->data, message->bytes);
        sim_free_message(sim, message);
        any = true;
    }
    return any;
}

static bool
hand_done(struct fabric_sim_endpoint *endpoint)
{
    struct fabric_transfer *list = endpoint->done_first;
    bool any = list != NULL;

    endpoint->done_first = endpoint->done_last = NULL;
    while (list != NULL) {
        struct fabric_transfer *transfer = list;

        list = (struct fabric_transfer *)(uintptr_t)
                   transfer->engine[SIM_WORD_NEXT];
        transfer->ended(transfer,
                        (enum cascade_status)transfer->engine[SIM_WORD_STATUS]);
    }
    return any;
}

static bool
progress(void *self)
{
    struct fabric_sim_endpoint *endpoint = self;
    bool any = false;

    check(endpoint->started);
    if (!endpoint->dead) {
        any |= hand_messages(endpoint);
    }
    any |= hand_done(endpoint);
    while (endpoint->lost_count > 0) {
        uint16_t rank = endpoint->lost[--endpoint->lost_count];

        endpoint->sink.lost(endpoint->sink.context, rank);
        any = true;
    }
    if (endpoint->dead && !endpoint->told) {
        endpoint->told = true;
        any = true;
        for (uint16_t i = 0; i < endpoint->sim->rank_count; i++) {
            if (i != endpoint->rank) {
                endpoint->sink.lost(endpoint->sink.context, i);
            }
        }
    }
    return any;
}

static void
idle(void *self, uint64_t until_ns)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;

    if (until_ns != UINT64_MAX) {
        until_ns = sim_virtual_ns(sim, endpoint->rank, until_ns);
    }
    if (sim->current != NULL) {
        sim_park(sim, endpoint->rank, until_ns, false);
        return;
    }
    // Nobody's fiber: one step of the others.
    if (!sim_advance(sim, until_ns) && until_ns != UINT64_MAX) {
        sim->now_ns = until_ns;
    }
}

static void
close_endpoint(void *self)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;

    sim_end_transfers(sim, endpoint);
    (void)hand_done(endpoint);
    while (endpoint->inbox_first != NULL) {
        struct fabric_sim_message *message = endpoint->inbox_first;

        endpoint->inbox_first = message->next;
        sim_free_message(sim, message);
    }
    if (sim->ranks[endpoint->rank].endpoint == endpoint) {
        sim->ranks[endpoint->rank].endpoint = NULL;
    }
    free(endpoint->lost);
    free(endpoint);
}

static const struct fabric_table table = {
    .name = "sim",
    .start = start,
    .send = send,
    .push = sim_push,
    .land = sim_land,
    .read = sim_read,
    .progress = progress,
    .idle = idle,
    .close = close_endpoint,
};

void
sim_free_message(struct fabric_sim *sim, struct fabric_sim_message *message)
{
    message->next = sim->spare[message->size_class];
    sim->spare[message->size_class] = message;
}

void
sim_arrive(struct fabric_sim *sim, struct fabric_sim_message *message)
{
    struct fabric_sim_endpoint *endpoint = sim->ranks[message->to].endpoint;
    struct fabric_sim_pair *pair = sim_pair(sim, message->from, message->to);

    pair->under_way--;
    sim_trace(sim, sim->now_ns, (uint64_t)message->from << 16 | message->to);
    if (endpoint == NULL || endpoint->dead || !endpoint->started ||
        message->incarnation <= sim->ranks[message->from].incarnation_lost) {
        sim->usage.lost++;
        sim_free_message(sim, message);
        return;
    }
    message->next = NULL;
    if (endpoint->inbox_last != NULL) {
        endpoint->inbox_last->next = message;
    } else {
        endpoint->inbox_first = message;
    }
    endpoint->inbox_last = message;
    sim_wake(sim, message->to);
}

void
sim_release_held(struct fabric_sim *sim, uint16_t from, uint16_t to)
{
    struct fabric_sim_pair *pair = sim_pair(sim, from, to);
    struct fabric_sim_message *list = pair->held_first;

    pair->held_first = pair->held_last = NULL;
    while (list != NULL) {
        struct fabric_sim_message *message = list;

        list = message->next;
        dispatch(sim, message);
    }
}

void
fabric_sim_fabric(struct fabric_sim *sim, uint16_t rank, struct fabric *fabric)
{
    struct fabric_sim_rank *place = &sim->ranks[rank];
    struct fabric_sim_endpoint *endpoint = calloc(1, sizeof(*endpoint));

    check(endpoint != NULL && rank < sim->rank_count);
    check(place->endpoint == NULL || place->endpoint->dead);
    endpoint->sim = sim;
    endpoint->rank = rank;
    endpoint->incarnation = ++place->incarnation;
    place->endpoint = endpoint;
    *fabric = (struct fabric){
        .table = &table,
        .self = endpoint,
        .capabilities = FABRIC_BULK | FABRIC_SURVIVES | FABRIC_INLINE |
                        (sim->options.capabilities &
                         (FABRIC_RELIABLE | FABRIC_READ)),
        .rank = rank,
        .rank_count = sim->rank_count,
        .job = sim->job,
        .incarnation = endpoint->incarnation,
        .doorbell = &endpoint->doorbell,
    };
}
