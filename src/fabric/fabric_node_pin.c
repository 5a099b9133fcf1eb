// SPDX-License-Identifier: Apache-2.0
//
// What goes through the pages: doorbells and pins.
//
// A pin, in the reader: takes a bit, writes the place, reads the owner's word.
// In the owner: changes the word, reads bits and places. All of them are
// sequentially consistent, so there is one order of them all: if the reader's
// look at the word comes before the change, the owner's look at the place comes
// after its writing. Fences would do as well, but no sanitizer knows them.
//
// Locks: none, but the node's mutex for a death.

#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fabric/fabric_node_inner.h"

_Atomic uint32_t *
fabric_node_doorbell(struct fabric_node *node)
{
    return node->page != NULL ? &fabric_node_head(node->page)->doorbell : NULL;
}

void
fabric_node_ring(struct fabric_node *node, uint16_t rank)
{
    if (fabric_node_is_near(node, rank)) {
        struct fabric_node_head *head = fabric_node_head(
            node->peers[rank].page);

        atomic_fetch_add(&head->doorbell, 1);
        (void)syscall(SYS_futex, &head->doorbell, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

struct fabric_node_pin *
fabric_node_pin(struct fabric_node *node, uint16_t owner, uint32_t slot,
                uint32_t generation)
{
    struct fabric_node_peer *peer = &node->peers[owner];
    struct fabric_node_bits *bits;
    struct fabric_node_place *place;
    uint64_t in_use;
    uint64_t bit;
    int index;

    if (!fabric_node_is_near(node, owner) || !peer->may_pin) {
        return NULL;
    }
    bits = fabric_node_bits(peer->page, node->rank);
    in_use = atomic_load_explicit(&bits->in_use, memory_order_relaxed);
    do {
        if (in_use == UINT64_MAX) {
            return NULL;
        }
        index = __builtin_ctzll(~in_use);
        bit = UINT64_C(1) << index;
    } while (!atomic_compare_exchange_weak_explicit(
        &bits->in_use, &in_use, in_use | bit, memory_order_seq_cst,
        memory_order_relaxed));
    place = &fabric_node_places(peer->page, node->rank_count,
                                node->rank)[index];
    atomic_store_explicit(&place->slot_generation,
                          (uint64_t)slot << 32 | generation,
                          memory_order_seq_cst);
    return &peer->pins[index];
}

void
fabric_node_unpin(struct fabric_node *node, struct fabric_node_pin *pin)
{
    struct fabric_node_bits *bits = fabric_node_bits(
        node->peers[pin->owner].page, node->rank);

    atomic_fetch_and_explicit(&bits->in_use, ~(UINT64_C(1) << pin->index),
                              memory_order_release);
}

bool
fabric_node_is_pinned(struct fabric_node *node, uint32_t slot,
                      uint32_t generation)
{
    uint64_t wanted = (uint64_t)slot << 32 | generation;
    uint32_t count = atomic_load_explicit(&node->reader_count,
                                          memory_order_seq_cst);

    for (uint32_t i = 0; i < count; i++) {
        uint16_t reader = node->readers[i];
        struct fabric_node_place *places = fabric_node_places(
            node->page, node->rank_count, reader);
        uint64_t in_use = atomic_load_explicit(
            &fabric_node_bits(node->page, reader)->in_use,
            memory_order_seq_cst);

        for (; in_use != 0; in_use &= in_use - 1) {
            if (atomic_load_explicit(
                    &places[__builtin_ctzll(in_use)].slot_generation,
                    memory_order_seq_cst) == wanted) {
                return true;
            }
        }
    }
    return false;
}

uint64_t
fabric_node_pins(const struct fabric_node *node)
{
    uint32_t count = atomic_load(&node->reader_count);
    uint64_t pins = 0;

    for (uint32_t i = 0; i < count; i++) {
        pins += (uint64_t)__builtin_popcountll(atomic_load(
            &fabric_node_bits(node->page, node->readers[i])->in_use));
    }
    return pins;
}

void
fabric_node_forget(struct fabric_node *node, uint16_t rank)
{
    struct fabric_node_peer *peer = &node->peers[rank];

    check(pthread_mutex_lock(&node->mutex) == 0);
    atomic_store(&peer->reason, "its process has ended");
    atomic_store(&peer->state, FABRIC_NODE_DEAD);
    // A child of the peer may keep the description open, so that closing it
    // would not end the watching.
    if (peer->process >= 0) {
        (void)epoll_ctl(node->events, EPOLL_CTL_DEL, peer->process, NULL);
        (void)close(peer->process);
        peer->process = -1;
    }
    if (node->page != NULL) {
        atomic_store(&fabric_node_bits(node->page, rank)->in_use, 0);
    }
    check(pthread_mutex_unlock(&node->mutex) == 0);
}
