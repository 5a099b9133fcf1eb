// SPDX-License-Identifier: Apache-2.0
//
// Telling the policy which blocks were used, without making readers wait for
// whoever asks the policy. A reader notes the slot in the buffer of its lane;
// the notes reach the policy when somebody holds policy_lock anyway, or when a
// reader has noted a few and finds policy_lock free.
//
// Invariant: the notes of one thread reach the policy in their order, and all
// of them before anything else is asked of it or changed in it: with one thread
// it is as if each touch had been made at once. A note of a slot is therefore
// never about the block that comes into it next, but for the moment between a
// read and its note, which costs that block's neighbours one undeserved use.
//
// Bounds: a lane holds TOUCHES notes. If it is full and policy_lock is taken,
// the oldest notes are dropped and counted.
//
// Locks: a lane's lock is a leaf, held for a few stores or one small copy. A
// reader never waits for policy_lock.

#include <string.h>

#include "base/check.h"
#include "store/store_internal.h"

#define TOUCHES STORE_TOUCHES_PER_LANE

// As many notes are worth a look at policy_lock; and no call of a reader does
// many more touches than this for others.
#define TOUCHES_WORTH 8

static void
lock(struct store_touch_lane *lane)
{
    check(pthread_mutex_lock(&lane->lock) == 0);
}

static void
unlock(struct store_touch_lane *lane)
{
    check(pthread_mutex_unlock(&lane->lock) == 0);
}

// Notes a slot; the number of notes that wait. A full ring loses the oldest.
static uint32_t
note(struct cascade *store, struct store_touch_lane *lane, uint32_t slot)
{
    uint32_t count;

    lock(lane);
    count = atomic_load_explicit(&lane->count, memory_order_relaxed);
    lane->slots[(lane->first + count) % TOUCHES] = slot;
    if (count == TOUCHES) {
        lane->first = (lane->first + 1) % TOUCHES;
        metric_add(store->metrics, METRIC_TOUCHES_DROPPED_TOTAL, 1);
    } else {
        count++;
        atomic_store_explicit(&lane->count, count, memory_order_relaxed);
    }
    unlock(lane);
    return count;
}

// Under policy_lock. The lane is free again before the policy works.
static void
drain(struct cascade *store, struct store_touch_lane *lane)
{
    uint32_t slots[TOUCHES];
    uint32_t count;

    if (atomic_load_explicit(&lane->count, memory_order_relaxed) == 0) {
        return;
    }
    lock(lane);
    count = atomic_load_explicit(&lane->count, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = lane->slots[(lane->first + i) % TOUCHES];
    }
    lane->first = 0;
    atomic_store_explicit(&lane->count, 0, memory_order_relaxed);
    unlock(lane);
    for (uint32_t i = 0; i < count; i++) {
        store_touch_slot(store, slots[i]);
    }
}

void
store_touches_init(struct cascade *store)
{
    for (uint32_t i = 0; i < LANE_COUNT; i++) {
        check(pthread_mutex_init(&store->touches[i].lock, NULL) == 0);
    }
}

void
store_touches_fini(struct cascade *store)
{
    for (uint32_t i = 0; i < LANE_COUNT; i++) {
        (void)pthread_mutex_destroy(&store->touches[i].lock);
    }
}

void
store_touches_drain(struct cascade *store)
{
    for (uint32_t i = 0; i < LANE_COUNT; i++) {
        drain(store, &store->touches[i]);
    }
}

void
store_policy_lock(struct cascade *store)
{
    check(pthread_mutex_lock(&store->policy_lock) == 0);
    store_touches_drain(store);
}

void
store_policy_unlock(struct cascade *store)
{
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
}

void
store_touch(struct cascade *store, const struct block_place *place)
{
    struct store_touch_lane *lane = &store->touches[lane_of_thread()];

    if (place->tier != CASCADE_TIER_LOCAL_DRAM) {
        return;
    }
    if (note(store, lane, place->slot) >= TOUCHES_WORTH &&
        pthread_mutex_trylock(&store->policy_lock) == 0) {
        drain(store, lane);
        store_policy_unlock(store);
    }
}
