// SPDX-License-Identifier: Apache-2.0
//
// Order and exactly-once between each pair of ranks, over a fabric that may
// lose, double and reorder; where it says FABRIC_RELIABLE, only the checks of
// headers and incarnations are left. It knows no requests and no answers.
//
// Over an unreliable fabric every message has a number. The receiver delivers
// numbers in order, keeps up to FABRIC_CHANNEL_WINDOW that came too early,
// drops what it had, and says what it heard: on every message that goes the
// other way, or on a receipt of its own shortly after. What is not heard of is
// sent again, at doubling intervals, as long as the peer is not lost.
//
// A peer of a higher incarnation was started anew: its predecessor is lost,
// with everything that was for it, and numbers start from 1 again. What comes
// from a predecessor is dropped. A rank that was taken for lost and is heard of
// again under the same incarnation is told so (FAREWELL), and takes this rank
// for lost in turn.
//
// Threads: the engine thread only, except fabric_channel_is_alive. `deliver`,
// `sent` and `lost` are called from receive and step, and `sent` from send.

#ifndef FABRIC_FABRIC_CHANNEL_H
#define FABRIC_FABRIC_CHANNEL_H

#include "fabric/fabric_parcel.h"

struct fabric_channel;

#define FABRIC_CHANNEL_WINDOW 64 // messages under way per pair

struct fabric_channel_options {
    const struct allocator *allocator;
    struct fabric fabric;
    struct fabric_parcels *parcels;
    uint64_t silence_ns; // as in fabric_port.h
    void *context;
    // A message whose turn it is; notices, requests and answers only. Fields
    // other than kind, number and bytes are as the peer wrote them.
    void (*deliver)(void *context, uint16_t from,
                    const struct fabric_header *header, const void *payload);
    // That parcel left the queue: it was sent for the first time, or never
    // will be.
    void (*sent)(void *context, const struct fabric_parcel *parcel);
    // The rank was lost; once per incarnation of it.
    void (*lost)(void *context, uint16_t rank);
};

struct fabric_channel_usage {
    uint64_t sent;
    uint64_t received;
    uint64_t repeated; // sent again
    uint64_t doubled;  // came again and were dropped
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t malformed;
    uint64_t stale; // of or to an earlier incarnation
};

enum cascade_status
fabric_channel_open(const struct fabric_channel_options *options,
                    struct fabric_channel **channel) MUST_USE;

// Parcels that it holds go back. NULL does nothing.
void
fabric_channel_close(struct fabric_channel *channel);

// Takes the parcel, whose kind, subject, status, ticket, bytes and `to` are
// set, and sends it when its turn comes. It is dropped if the rank is lost.
void
fabric_channel_send(struct fabric_channel *channel,
                    struct fabric_parcel *parcel, uint64_t now_ns);

// Something came from the fabric.
void
fabric_channel_receive(struct fabric_channel *channel, uint16_t from,
                       const void *data, size_t bytes, uint64_t now_ns);

// Sends what could not be sent before, what is to be sent again, and receipts.
// True if anything was sent.
bool
fabric_channel_step(struct fabric_channel *channel, uint64_t now_ns);

// When step has something to do by itself; UINT64_MAX: never.
uint64_t
fabric_channel_due_ns(const struct fabric_channel *channel, uint64_t now_ns);

// How many answers the port waits for from that rank, for `silence_ns`.
void
fabric_channel_expect(struct fabric_channel *channel, uint16_t rank,
                      uint64_t answers, uint64_t now_ns);

// The fabric says that the rank is gone.
void
fabric_channel_lose(struct fabric_channel *channel, uint16_t rank);

// Any thread.
bool
fabric_channel_is_alive(const struct fabric_channel *channel, uint16_t rank);

// Nothing waits to be sent or to be heard of.
bool
fabric_channel_is_drained(const struct fabric_channel *channel);

// Calls `each` for every rank to which something was sent since the last call.
void
fabric_channel_sent_to(struct fabric_channel *channel,
                       void (*each)(void *context, uint16_t rank),
                       void *context);

void
fabric_channel_usage(const struct fabric_channel *channel,
                     struct fabric_channel_usage *usage);

#endif
