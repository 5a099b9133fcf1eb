// SPDX-License-Identifier: Apache-2.0
//
// Virtual time: a heap of events by moment, clocks derived from it, and what
// tests let go wrong.

#include "support/fabric_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "support/fabric_sim_inner.h"

#define DELAY_NS_MIN 1000u
#define DELAY_NS_MAX 50000u
#define UNDER_WAY_MAX 256u
#define STACK_BYTES ((size_t)512 << 10)
// What a slice costs: without it, two that wake each other would stop time.
#define SLICE_NS 20u
#define WALL_START_NS ((uint64_t)1700000000 * 1000000000)
#define SECOND_NS ((uint64_t)1000000000)

static uint64_t
next_random(struct fabric_sim *sim)
{
    uint64_t first = sim->random[0];
    uint64_t second = sim->random[1];

    // xoroshiro128+
    second ^= first;
    sim->random[0] = (first << 24 | first >> 40) ^ second ^ second << 16;
    sim->random[1] = second << 37 | second >> 27;
    return sim->random[0] + sim->random[1];
}

static uint64_t
steady_at(const struct fabric_sim_clock *clock, uint64_t virtual_ns)
{
    uint64_t passed = virtual_ns - clock->since_ns;
    int64_t drift = (int64_t)((__int128)passed * clock->ppm / 1000000);

    return clock->steady_ns + passed + (uint64_t)drift;
}

static uint64_t
steady_ns(void *self)
{
    const struct fabric_sim_clock *clock = self;

    return steady_at(clock, clock->sim->now_ns);
}

static uint64_t
wall_ns(void *self)
{
    const struct fabric_sim_clock *clock = self;

    return steady_ns(self) + clock->wall_ahead_ns;
}

// From now on counted from here.
static struct fabric_sim_clock *
settle_clock(struct fabric_sim *sim, uint16_t rank)
{
    struct fabric_sim_clock *clock = &sim->ranks[rank].clock;

    clock->steady_ns = steady_at(clock, sim->now_ns);
    clock->since_ns = sim->now_ns;
    return clock;
}

static bool
is_before(const struct fabric_sim_event *one,
          const struct fabric_sim_event *other)
{
    return one->due_ns != other->due_ns ? one->due_ns < other->due_ns
                                        : one->order < other->order;
}

static struct fabric_sim_event
take_event(struct fabric_sim *sim)
{
    struct fabric_sim_event first = sim->events[0];
    struct fabric_sim_event last = sim->events[--sim->event_count];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= sim->event_count) {
            break;
        }
        if (child + 1 < sim->event_count &&
            is_before(&sim->events[child + 1], &sim->events[child])) {
            child++;
        }
        if (!is_before(&sim->events[child], &last)) {
            break;
        }
        sim->events[at] = sim->events[child];
        at = child;
    }
    sim->events[at] = last;
    return first;
}

// A death becomes known to all others.
static void
tell_lost(struct fabric_sim *sim, uint16_t rank, uint32_t incarnation)
{
    struct fabric_sim_rank *dead = &sim->ranks[rank];

    if (dead->incarnation_lost < incarnation) {
        dead->incarnation_lost = incarnation;
    }
    if (dead->incarnation != incarnation) {
        return; // it is back already
    }
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        struct fabric_sim_endpoint *endpoint = sim->ranks[i].endpoint;

        if (i == rank || endpoint == NULL || endpoint->dead) {
            continue;
        }
        endpoint->lost = realloc(endpoint->lost, (endpoint->lost_count + 1) *
                                                     sizeof(*endpoint->lost));
        check(endpoint->lost != NULL);
        endpoint->lost[endpoint->lost_count++] = rank;
        sim_wake(sim, i);
    }
}

static void
do_event(struct fabric_sim *sim, const struct fabric_sim_event *event)
{
    switch (event->kind) {
    case SIM_EVENT_MESSAGE:
        sim_arrive(sim, event->thing);
        break;
    case SIM_EVENT_BULK:
        sim_bulk_event(sim, event->thing);
        break;
    case SIM_EVENT_FIBER:
        sim_fiber_event(sim, event->thing);
        break;
    case SIM_EVENT_LOST:
        tell_lost(sim, (uint16_t)event->value,
                  (uint32_t)(uintptr_t)event->thing);
        break;
    }
}

static void
change_cuts(struct fabric_sim *sim, uint16_t one, uint16_t other, int by)
{
    for (int i = 0; i < 2; i++) {
        uint16_t from = i == 0 ? one : other;
        uint16_t to = i == 0 ? other : one;
        struct fabric_sim_pair *pair = sim_pair(sim, from, to);

        pair->cuts += (uint32_t)by;
        if (pair->cuts == 0) {
            sim_release_held(sim, from, to);
        }
    }
}

void
sim_trace(struct fabric_sim *sim, uint64_t what, uint64_t more)
{
    sim->trace = (sim->trace ^ what) * 0x100000001b3u;
    sim->trace = (sim->trace ^ more ^ sim->trace >> 29) * 0x100000001b3u;
}

void
sim_schedule(struct fabric_sim *sim, uint64_t due_ns,
             enum fabric_sim_event_kind kind, uint32_t value, void *thing)
{
    struct fabric_sim_event event = {
        .due_ns = due_ns < sim->now_ns ? sim->now_ns : due_ns,
        .order = ++sim->event_order,
        .kind = kind,
        .value = value,
        .thing = thing,
    };
    size_t at = sim->event_count;

    if (sim->event_count == sim->event_room) {
        sim->event_room = sim->event_room == 0 ? 1024 : 2 * sim->event_room;
        sim->events = realloc(sim->events,
                              sim->event_room * sizeof(*sim->events));
        check(sim->events != NULL);
    }
    sim->event_count++;
    while (at > 0 && is_before(&event, &sim->events[(at - 1) / 2])) {
        sim->events[at] = sim->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->events[at] = event;
}

struct fabric_sim_pair *
sim_pair(struct fabric_sim *sim, uint16_t from, uint16_t to)
{
    return &sim->pairs[(size_t)from * sim->rank_count + to];
}

uint64_t
sim_delay_ns(struct fabric_sim *sim)
{
    uint64_t span = sim->options.delay_ns_max - sim->options.delay_ns_min;

    return sim->options.delay_ns_min + fabric_sim_random(sim, span + 1);
}

uint64_t
sim_virtual_ns(struct fabric_sim *sim, uint16_t rank, uint64_t until_ns)
{
    const struct fabric_sim_clock *clock = &sim->ranks[rank].clock;
    __int128 passed;

    if (until_ns <= clock->steady_ns) {
        return sim->now_ns;
    }
    passed = (__int128)(until_ns - clock->steady_ns) * 1000000 /
                 (1000000 + clock->ppm) +
             1;
    if (passed > (__int128)(UINT64_MAX - clock->since_ns)) {
        return UINT64_MAX;
    }
    return clock->since_ns + (uint64_t)passed;
}

bool
sim_advance(struct fabric_sim *sim, uint64_t end_ns)
{
    struct fabric_sim_event event;

    if (sim->runnable_count > 0 &&
        (sim->event_count == 0 || sim->events[0].due_ns > sim->now_ns)) {
        sim_run_one(sim);
        sim->now_ns += SLICE_NS;
        return true;
    }
    if (sim->event_count == 0 || sim->events[0].due_ns > end_ns) {
        return false;
    }
    event = take_event(sim);
    if (event.due_ns > sim->now_ns) {
        sim->now_ns = event.due_ns;
    }
    do_event(sim, &event);
    return true;
}

struct fabric_sim *
fabric_sim_create(uint64_t seed, uint16_t rank_count,
                  const struct fabric_sim_options *options)
{
    struct fabric_sim *sim = calloc(1, sizeof(*sim));

    check(sim != NULL && rank_count > 0);
    if (options != NULL) {
        sim->options = *options;
    }
    if (sim->options.delay_ns_max == 0) {
        sim->options.delay_ns_min = DELAY_NS_MIN;
        sim->options.delay_ns_max = DELAY_NS_MAX;
    }
    check(sim->options.delay_ns_max >= sim->options.delay_ns_min);
    if (sim->options.under_way_max == 0) {
        sim->options.under_way_max = UNDER_WAY_MAX;
    }
    if (sim->options.stack_bytes == 0) {
        sim->options.stack_bytes = STACK_BYTES;
    }
    sim->rank_count = rank_count;
    sim->random[0] = seed * 0x9e3779b97f4a7c15u + 1;
    sim->random[1] = (seed ^ 0xd1b54a32d192ed03u) * 0xbf58476d1ce4e5b9u + 1;
    for (int i = 0; i < 16; i++) {
        (void)next_random(sim);
    }
    sim->job = next_random(sim) | 1;
    sim->trace = 0xcbf29ce484222325u;
    sim->ranks = calloc(rank_count, sizeof(*sim->ranks));
    sim->pairs = calloc((size_t)rank_count * rank_count, sizeof(*sim->pairs));
    check(sim->ranks != NULL && sim->pairs != NULL);
    for (uint16_t i = 0; i < rank_count; i++) {
        struct fabric_sim_clock *clock = &sim->ranks[i].clock;

        clock->source.steady_ns = steady_ns;
        clock->source.wall_ns = wall_ns;
        clock->source.self = clock;
        clock->sim = sim;
        clock->steady_ns = SECOND_NS +
                           fabric_sim_random(sim, 1000000 * SECOND_NS);
        clock->wall_ahead_ns = WALL_START_NS - clock->steady_ns +
                               fabric_sim_random(sim, SECOND_NS / 1000);
    }
    return sim;
}

void
fabric_sim_destroy(struct fabric_sim *sim)
{
    if (sim == NULL) {
        return;
    }
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        check(sim->ranks[i].endpoint == NULL);
        check(sim->ranks[i].bulks == NULL);
    }
    for (size_t i = 0; i < (size_t)sim->rank_count * sim->rank_count; i++) {
        while (sim->pairs[i].held_first != NULL) {
            struct fabric_sim_message *message = sim->pairs[i].held_first;

            sim->pairs[i].held_first = message->next;
            free(message);
        }
    }
    for (size_t i = 0; i < sim->event_count; i++) {
        if (sim->events[i].kind == SIM_EVENT_MESSAGE ||
            sim->events[i].kind == SIM_EVENT_BULK) {
            free(sim->events[i].thing);
        }
    }
    for (int i = 0; i < SIM_CLASSES; i++) {
        while (sim->spare[i] != NULL) {
            struct fabric_sim_message *message = sim->spare[i];

            sim->spare[i] = message->next;
            free(message);
        }
    }
    sim_drop_fibers(sim);
    free(sim->events);
    free(sim->runnable);
    free(sim->ranks);
    free(sim->pairs);
    free(sim);
}

const struct clock_source *
fabric_sim_clock(struct fabric_sim *sim, uint16_t rank)
{
    return &sim->ranks[rank].clock.source;
}

void
fabric_sim_expose(struct fabric_sim *sim, uint16_t rank, const void *memory,
                  uint64_t bytes)
{
    sim->ranks[rank].exposed = memory;
    sim->ranks[rank].exposed_bytes = bytes;
}

bool
fabric_sim_run(struct fabric_sim *sim, uint64_t for_ns)
{
    uint64_t end_ns = sim->now_ns + for_ns;

    check(sim->current == NULL);
    if (end_ns < for_ns) {
        end_ns = UINT64_MAX;
    }
    sim_look_around(sim);
    while (sim->spawned > 0) {
        if (sim->now_ns > end_ns || !sim_advance(sim, end_ns)) {
            if (sim->now_ns < end_ns && end_ns != UINT64_MAX) {
                sim->now_ns = end_ns;
            }
            sim_print_stuck(sim);
            return false;
        }
    }
    return true;
}

void
fabric_sim_settle(struct fabric_sim *sim, uint64_t for_ns)
{
    uint64_t end_ns = sim->now_ns + for_ns;

    check(sim->current == NULL);
    sim_look_around(sim);
    while (sim->now_ns <= end_ns && sim_advance(sim, end_ns)) {
    }
    if (sim->now_ns < end_ns) {
        sim->now_ns = end_ns;
    }
}

void
fabric_sim_cut(struct fabric_sim *sim, uint16_t one, uint16_t other)
{
    change_cuts(sim, one, other, 1);
}

void
fabric_sim_heal(struct fabric_sim *sim, uint16_t one, uint16_t other)
{
    check(sim_pair(sim, one, other)->cuts > 0);
    change_cuts(sim, one, other, -1);
}

void
fabric_sim_silence(struct fabric_sim *sim, uint16_t rank, bool silent)
{
    if (sim->ranks[rank].silent == silent) {
        return;
    }
    sim->ranks[rank].silent = silent;
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        if (i != rank) {
            change_cuts(sim, rank, i, silent ? 1 : -1);
        }
    }
}

void
fabric_sim_kill(struct fabric_sim *sim, uint16_t rank)
{
    struct fabric_sim_endpoint *endpoint = sim->ranks[rank].endpoint;

    check(endpoint != NULL && !endpoint->dead);
    sim_trace(sim, 0xdead, rank);
    endpoint->dead = true;
    sim_end_transfers(sim, endpoint);
    sim_wake(sim, rank);
    if (sim->options.lost_after_ns > 0) {
        sim_schedule(sim, sim->now_ns + sim->options.lost_after_ns,
                     SIM_EVENT_LOST, rank,
                     (void *)(uintptr_t)endpoint->incarnation);
    }
}

void
fabric_sim_lose(struct fabric_sim *sim, uint64_t number)
{
    sim->lose_at = number;
}

void
fabric_sim_one_clock(struct fabric_sim *sim)
{
    for (uint16_t i = 1; i < sim->rank_count; i++) {
        sim->ranks[i].clock.steady_ns = sim->ranks[0].clock.steady_ns;
        sim->ranks[i].clock.wall_ahead_ns = sim->ranks[0].clock.wall_ahead_ns;
    }
}

void
fabric_sim_jump(struct fabric_sim *sim, uint16_t rank, int64_t wall,
                uint64_t steady)
{
    struct fabric_sim_clock *clock = settle_clock(sim, rank);

    clock->steady_ns += steady;
    clock->wall_ahead_ns += (uint64_t)wall;
    // Moments that somebody waits for may have come.
    sim_wake(sim, rank);
}

void
fabric_sim_drift(struct fabric_sim *sim, uint16_t rank, int32_t ppm)
{
    check(ppm > -500000 && ppm < 500000);
    settle_clock(sim, rank)->ppm = ppm;
    sim_wake(sim, rank);
}

uint64_t
fabric_sim_now_ns(const struct fabric_sim *sim)
{
    return sim->now_ns;
}

uint64_t
fabric_sim_random(struct fabric_sim *sim, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)next_random(sim) * bound) >> 64);
}

uint64_t
fabric_sim_trace(const struct fabric_sim *sim)
{
    return sim->trace;
}

void
fabric_sim_usage(const struct fabric_sim *sim, struct fabric_sim_usage *usage)
{
    *usage = sim->usage;
}
