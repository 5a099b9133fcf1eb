// SPDX-License-Identifier: Apache-2.0
//
// Bulk of the simulated fabric. Both sides meet in a list of the rank that
// lands, and the bytes are copied when their event comes; a read takes its two
// halves at two moments. What has ended waits for progress.

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/fabric_sim_inner.h"

#define RETRY_NS ((uint64_t)1000000) // while a pair is cut
#define GONE_NS ((uint64_t)1000000)  // until transfers of the dead end
#define DAMAGE 0xa5

static void
finish(struct fabric_sim_endpoint *endpoint, struct fabric_transfer *transfer,
       enum cascade_status status)
{
    if (transfer == NULL) {
        return;
    }
    transfer->engine[SIM_WORD_NEXT] = 0;
    transfer->engine[SIM_WORD_STATUS] = (uint64_t)status;
    if (endpoint->done_last != NULL) {
        endpoint->done_last->engine[SIM_WORD_NEXT] = (uint64_t)(uintptr_t)
            transfer;
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

enum cascade_status
sim_push(void *self, uint16_t to, uint64_t tag, const void *memory,
         uint64_t bytes, struct fabric_transfer *transfer)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_bulk *bulk;

    if (endpoint->dead || is_gone(sim, to)) {
        return CASCADE_CLOSED;
    }
    if (sim_happens(sim, sim->options.busy_ppm)) {
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

enum cascade_status
sim_land(void *self, uint16_t from, uint64_t tag, void *memory, uint64_t bytes,
         struct fabric_transfer *transfer)
{
    struct fabric_sim_endpoint *endpoint = self;
    struct fabric_sim *sim = endpoint->sim;
    struct fabric_sim_bulk *bulk;

    if (endpoint->dead || is_gone(sim, from)) {
        return CASCADE_CLOSED;
    }
    if (sim_happens(sim, sim->options.busy_ppm)) {
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

enum cascade_status
sim_read(void *self, uint16_t from, uint64_t offset, void *memory,
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
