// SPDX-License-Identifier: Apache-2.0
//
// The fabric of a simulated rank. A message is an event until it arrives, then
// lies in the inbox of its rank until progress. Bulk meets in a list of the
// rank that lands it. Ended transfers wait for progress as well.

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/fabric_sim_inner.h"

#define PROGRESS_MESSAGES 64
#define RETRY_NS ((uint64_t)1000000) // while a pair is cut
#define GONE_NS ((uint64_t)1000000)  // until transfers of the dead end
#define DAMAGE 0xa5

enum word {
    WORD_NEXT = 0,
    WORD_STATUS = 1,
};

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

static bool
happens(struct fabric_sim *sim, uint32_t ppm)
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
           happens(sim, sim->options.loss_ppm);
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
        happens(sim, sim->options.busy_ppm)) {
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
        happens(sim, sim->options.double_ppm)) {
        sim->usage.doubled++;
        pair->under_way++;
        dispatch(sim, make_message(sim, endpoint->rank, to, data, bytes));
    }
    return CASCADE_OK;
}

static void
finish(struct fabric_sim_endpoint *endpoint, struct fabric_transfer *transfer,
       enum cascade_status status)
{
    if (transfer == NULL) {
        return;
    }
    transfer->engine[WORD_NEXT] = 0;
    transfer->engine[WORD_STATUS] = (uint64_t)status;
    if (endpoint->done_last != NULL) {
        endpoint->done_last->engine[WORD_NEXT] = (uint64_t)(uintptr_t)transfer;
    } else {
        endpoint->done_first = transfer;
    }
    endpoint->done_last = transfer;
    sim_wake(endpoint->sim, endpoint->rank);
}

// Both sides of it, and then it is gone; unless an event still names it.
static void
end_bulk(struct fabric_sim_bulk *bulk, enum cascade_status status)
{
    if (bulk->pusher != NULL) {
        finish(bulk->pusher, bulk->push, status);
    }
    if (bulk->lander != NULL) {
        finish(bulk->lander, bulk->land, status);
    }
    bulk->push = NULL;
    bulk->land = NULL;
    bulk->pusher = NULL;
    bulk->lander = NULL;
}

static void
unlink_bulk(struct fabric_sim *sim, struct fabric_sim_bulk *bulk)
{
    struct fabric_sim_bulk **where = &sim->ranks[bulk->to].bulks;

    while (*where != bulk) {
        where = &(*where)->next;
    }
    *where = bulk->next;
}

// Of that pair and tag, with that side free; a fresh one if there is none.
static struct fabric_sim_bulk *
meet(struct fabric_sim *sim, uint16_t from, uint16_t to, uint64_t tag,
     bool pushing)
{
    struct fabric_sim_bulk **where = &sim->ranks[to].bulks;

    while (*where != NULL) {
        struct fabric_sim_bulk *bulk = *where;

        if (!bulk->is_read && !bulk->scheduled && bulk->from == from &&
            bulk->where == tag && (pushing ? bulk->push : bulk->land) == NULL) {
            return bulk;
        }
        where = &bulk->next;
    }
    *where = calloc(1, sizeof(**where));
    check(*where != NULL);
    (*where)->from = from;
    (*where)->to = to;
    (*where)->where = tag;
    return *where;
}

static uint64_t
bulk_due_ns(struct fabric_sim *sim)
{
    return sim->now_ns + sim_delay_ns(sim) +
           fabric_sim_random(sim, sim->options.bulk_delay_ns_max + 1);
}

static void
depart(struct fabric_sim *sim, struct fabric_sim_bulk *bulk)
{
    if (bulk->push != NULL && bulk->land != NULL) {
        bulk->scheduled = true;
        sim->usage.bulk++;
        sim_schedule(sim, bulk_due_ns(sim), SIM_EVENT_BULK, 0, bulk);
    }
}

static bool
is_gone(struct fabric_sim *sim, uint16_t rank)
{
    const struct fabric_sim_rank *there = &sim->ranks[rank];

    return there->incarnation_lost > 0 &&
           there->incarnation_lost == there->incarnation;
}

static enum cascade_status
push(void *self, uint16_t to, uint64_t tag, const void *memory, uint64_t bytes,
     struct fabric_transfer *transfer)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_bulk *bulk;

    if (endpoint->dead || is_gone(sim, to)) {
        return CASCADE_CLOSED;
    }
    if (happens(sim, sim->options.busy_ppm)) {
        return CASCADE_BUSY;
    }
    bulk = meet(sim, endpoint->rank, to, tag, true);
    bulk->push = transfer;
    bulk->pusher = endpoint;
    bulk->from_memory = memory;
    bulk->from_bytes = bytes;
    depart(sim, bulk);
    return CASCADE_OK;
}

static enum cascade_status
land(void *self, uint16_t from, uint64_t tag, void *memory, uint64_t bytes,
     struct fabric_transfer *transfer)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_bulk *bulk;

    if (endpoint->dead || is_gone(sim, from)) {
        return CASCADE_CLOSED;
    }
    if (happens(sim, sim->options.busy_ppm)) {
        return CASCADE_BUSY;
    }
    bulk = meet(sim, from, endpoint->rank, tag, false);
    bulk->land = transfer;
    bulk->lander = endpoint;
    bulk->to_memory = memory;
    bulk->to_bytes = bytes;
    depart(sim, bulk);
    return CASCADE_OK;
}

static enum cascade_status
read_exposed(void *self, uint16_t from, uint64_t offset, void *memory,
             uint64_t bytes, struct fabric_transfer *transfer)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_rank *rank = &sim->ranks[endpoint->rank];
    struct fabric_sim_bulk *bulk;

    if (!(sim->options.capabilities & FABRIC_READ)) {
        return CASCADE_UNSUPPORTED;
    }
    if (endpoint->dead || is_gone(sim, from)) {
        return CASCADE_CLOSED;
    }
    bulk = calloc(1, sizeof(*bulk));
    check(bulk != NULL);
    bulk->is_read = true;
    bulk->scheduled = true;
    bulk->from = from;
    bulk->to = endpoint->rank;
    bulk->where = offset;
    bulk->to_memory = memory;
    bulk->to_bytes = bytes;
    bulk->land = transfer;
    bulk->lander = endpoint;
    bulk->next = rank->bulks;
    rank->bulks = bulk;
    sim->usage.reads++;
    sim_schedule(sim, bulk_due_ns(sim), SIM_EVENT_BULK, 0, bulk);
    return CASCADE_OK;
}

// A read takes its halves at two moments, as real ones may be torn.
static bool
take_half(struct fabric_sim *sim, struct fabric_sim_bulk *bulk)
{
    const struct fabric_sim_rank *rank = &sim->ranks[bulk->from];
    uint64_t middle = bulk->to_bytes / 2;
    uint64_t first = bulk->half ? middle : 0;
    uint64_t end = bulk->half ? bulk->to_bytes : middle;

    if (rank->endpoint == NULL || rank->endpoint->dead) {
        end_bulk(bulk, CASCADE_CLOSED);
        return true;
    }
    if (bulk->where > rank->exposed_bytes ||
        bulk->to_bytes > rank->exposed_bytes - bulk->where) {
        end_bulk(bulk, CASCADE_INVALID);
        return true;
    }
    if (end > first) {
        memcpy((uint8_t *)bulk->to_memory + first,
               (const uint8_t *)rank->exposed + bulk->where + first,
               end - first);
    }
    if (!bulk->half) {
        bulk->half = true;
        sim_schedule(sim, bulk_due_ns(sim), SIM_EVENT_BULK, 0, bulk);
        return false;
    }
    end_bulk(bulk, CASCADE_OK);
    return true;
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

        list = (struct fabric_transfer *)(uintptr_t)transfer->engine[WORD_NEXT];
        transfer->ended(transfer,
                        (enum cascade_status)transfer->engine[WORD_STATUS]);
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
    .push = push,
    .land = land,
    .read = read_exposed,
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
sim_bulk_event(struct fabric_sim *sim, struct fabric_sim_bulk *bulk)
{
    bool over = true;

    sim_trace(sim, sim->now_ns, bulk->where);
    if (bulk->land == NULL && bulk->push == NULL) {
        // Its ranks have gone meanwhile.
    } else if (bulk->is_read) {
        over = take_half(sim, bulk);
    } else if (bulk->push == NULL || bulk->land == NULL) {
        end_bulk(bulk, CASCADE_CLOSED);
    } else if (sim_pair(sim, bulk->from, bulk->to)->cuts > 0) {
        sim_schedule(sim, sim->now_ns + RETRY_NS, SIM_EVENT_BULK, 0, bulk);
        over = false;
    } else if (bulk->from_bytes != bulk->to_bytes) {
        end_bulk(bulk, CASCADE_INVALID);
    } else {
        if (bulk->to_bytes > 0) {
            memcpy(bulk->to_memory, bulk->from_memory, bulk->to_bytes);
        }
        end_bulk(bulk, CASCADE_OK);
    }
    if (over) {
        unlink_bulk(sim, bulk);
        free(bulk);
    }
}

void
sim_end_transfers(struct fabric_sim *sim, struct fabric_sim_endpoint *endpoint)
{
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        struct fabric_sim_bulk *next;

        for (struct fabric_sim_bulk *bulk = sim->ranks[i].bulks; bulk != NULL;
             bulk = next) {
            bool ours = false;

            next = bulk->next;
            if (bulk->pusher == endpoint) {
                finish(endpoint, bulk->push, CASCADE_CLOSED);
                bulk->push = NULL;
                bulk->pusher = NULL;
                ours = true;
            }
            if (bulk->lander == endpoint) {
                if (bulk->to_bytes > 0) {
                    *(uint8_t *)bulk->to_memory = DAMAGE;
                }
                finish(endpoint, bulk->land, CASCADE_CLOSED);
                bulk->land = NULL;
                bulk->lander = NULL;
                ours = true;
            }
            // The other side, or nobody, learns of it a little later.
            if (ours && !bulk->scheduled) {
                bulk->scheduled = true;
                sim_schedule(sim, sim->now_ns + GONE_NS, SIM_EVENT_BULK, 0,
                             bulk);
            }
        }
    }
    // What waits for this rank to push or land will wait in vain.
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        for (struct fabric_sim_bulk *bulk = sim->ranks[i].bulks; bulk != NULL;
             bulk = bulk->next) {
            if (!bulk->is_read && !bulk->scheduled &&
                (bulk->from == endpoint->rank || i == endpoint->rank)) {
                bulk->scheduled = true;
                sim_schedule(sim, sim->now_ns + GONE_NS, SIM_EVENT_BULK, 0,
                             bulk);
            }
        }
    }
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
