// SPDX-License-Identifier: Apache-2.0
//
// The barrier: everybody asks rank 0, which answers when all have asked as
// often. Who runs out of time asks who is missing. It is counted, so that a
// rank that gave up waiting still counts as having come.

#include <string.h>

#include "base/error.h"
#include "fabric/fabric_port_inner.h"

#define MISSING_NS ((uint64_t)200000000) // for asking who is missing

static void
answer_arrival(struct fabric_port *port, struct fabric_port_arrival *arrival,
               enum cascade_status status)
{
    struct fabric_answer answer = arrival->answer;

    arrival->answer.ticket = 0;
    fabric_port_answer(port, answer, status, NULL, 0);
}

static void
release(struct fabric_port *port)
{
    while (port->barrier_count == port->fabric.rank_count) {
        uint64_t done = port->barrier_next++;

        port->barrier_count = 0;
        for (uint16_t i = 0; i < port->fabric.rank_count; i++) {
            if (port->arrivals[i].number == done) {
                answer_arrival(port, &port->arrivals[i], CASCADE_OK);
            }
            if (port->arrivals[i].number > done) {
                port->barrier_count++;
            }
        }
    }
}

// A rank has come to a barrier.
static void
arrive(void *context, const struct fabric_message *message)
{
    struct fabric_port *port = context;
    struct fabric_port_arrival *arrival;
    uint64_t number;

    if (port->arrivals == NULL || message->bytes != sizeof(number) ||
        message->answer.ticket == 0) {
        fabric_port_answer(port, message->answer, CASCADE_INVALID, NULL, 0);
        return;
    }
    memcpy(&number, message->data, sizeof(number));
    arrival = &port->arrivals[message->from];
    if (number <= arrival->number) {
        fabric_port_answer(port, message->answer, CASCADE_INVALID, NULL, 0);
        return;
    }
    // It gave up the one before.
    answer_arrival(port, arrival, CASCADE_TIMEOUT);
    if (arrival->number < port->barrier_next && number >= port->barrier_next) {
        port->barrier_count++;
    }
    arrival->number = number;
    arrival->answer = message->answer;
    for (uint16_t i = 0; i < port->fabric.rank_count; i++) {
        if (!fabric_channel_is_alive(port->channel, i)) {
            answer_arrival(port, arrival, CASCADE_CLOSED);
            return;
        }
    }
    release(port);
}

// Who has not come to that barrier.
static void
tell_missing(void *context, const struct fabric_message *message)
{
    struct fabric_port *port = context;
    uint64_t number;

    if (port->arrivals == NULL || message->bytes != sizeof(number)) {
        fabric_port_answer(port, message->answer, CASCADE_INVALID, NULL, 0);
        return;
    }
    memcpy(&number, message->data, sizeof(number));
    for (uint16_t i = 0; i < port->fabric.rank_count; i++) {
        if (port->arrivals[i].number < number) {
            fabric_port_answer(port, message->answer, CASCADE_OK, &i,
                               sizeof(i));
            return;
        }
    }
    fabric_port_answer(port, message->answer, CASCADE_NOT_FOUND, NULL, 0);
}

static enum cascade_status
timed_out(struct fabric_port *port, uint64_t number)
{
    uint16_t missing = 0;
    struct fabric_call call = {
        .data = &number,
        .bytes = sizeof(number),
        .reply = &missing,
        .reply_room = sizeof(missing),
        .deadline_ns = clock_deadline_ns(port->options.clock, MISSING_NS),
    };

    fabric_port_submit(port, &call, FABRIC_PORT_SUBJECT_MISSING, true);
    fabric_port_wait_one(port, &call);
    if (call.status != CASCADE_OK) {
        missing = 0;
    }
    return error_set(CASCADE_TIMEOUT,
                     "rank %u has not come to the meeting of all ranks in "
                     "time; see what it does",
                     missing);
}

void
fabric_port_barrier_init(struct fabric_port *port)
{
    struct fabric_port_handler *handlers = port->handlers;

    port->barrier_next = 1;
    handlers[FABRIC_PORT_SUBJECT_BARRIER].handle = arrive;
    handlers[FABRIC_PORT_SUBJECT_BARRIER].context = port;
    handlers[FABRIC_PORT_SUBJECT_MISSING].handle = tell_missing;
    handlers[FABRIC_PORT_SUBJECT_MISSING].context = port;
}

void
fabric_port_barrier_lost(struct fabric_port *port, uint16_t rank)
{
    (void)rank;
    for (uint16_t i = 0; port->arrivals != NULL && i < port->fabric.rank_count;
         i++) {
        answer_arrival(port, &port->arrivals[i], CASCADE_CLOSED);
    }
}

enum cascade_status
fabric_port_barrier(struct fabric_port *port, uint64_t deadline_ns)
{
    uint64_t number = atomic_fetch_add(&port->barriers, 1) + 1;
    struct fabric_call call = {
        .data = &number,
        .bytes = sizeof(number),
        .deadline_ns = deadline_ns,
    };

    fabric_port_submit(port, &call, FABRIC_PORT_SUBJECT_BARRIER, true);
    fabric_port_wait_one(port, &call);
    if (call.status == CASCADE_TIMEOUT) {
        return timed_out(port, number);
    }
    if (call.status == CASCADE_CLOSED) {
        return error_set(CASCADE_CLOSED,
                         "a rank was lost, so not all can meet");
    }
    if (call.status != CASCADE_OK) {
        return error_set(call.status, "the ranks could not meet: %s",
                         cascade_status_sentence(call.status));
    }
    return CASCADE_OK;
}
