// SPDX-License-Identifier: Apache-2.0
//
// Fibers: who runs next is drawn from the seed. A fiber that waits is parked at
// a rank, and is runnable again when something came for that rank, when another
// fiber did something with its port, or when its moment has come.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "support/fabric_sim_inner.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#include <sanitizer/common_interface_defs.h>
#define WITH_ADDRESS_SANITIZER 1
#else
#define WITH_ADDRESS_SANITIZER 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define WITH_THREAD_SANITIZER 1
#else
#define WITH_THREAD_SANITIZER 0
#endif

#define GUARD_BYTES ((size_t)4096)
#define STUCK_MAX 20
#define NEVER UINT64_MAX

static uint32_t
doorbell_of(const struct fabric_sim *sim, uint16_t rank)
{
    const struct fabric_sim_endpoint *endpoint = sim->ranks[rank].endpoint;

    return endpoint == NULL ? 0
                            : atomic_load_explicit(&endpoint->doorbell,
                                                   memory_order_relaxed);
}

static void
add_runnable(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    if (sim->runnable_count == sim->runnable_room) {
        sim->runnable_room = sim->runnable_room == 0 ? 64
                                                     : 2 * sim->runnable_room;
        sim->runnable = realloc(sim->runnable,
                                sim->runnable_room * sizeof(*sim->runnable));
        check(sim->runnable != NULL);
    }
    fiber->state = SIM_FIBER_RUNNABLE;
    sim->runnable[sim->runnable_count++] = fiber;
}

static void
unpark(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    if (fiber->previous != NULL) {
        fiber->previous->next = fiber->next;
    } else {
        sim->ranks[fiber->rank].parked = fiber->next;
    }
    if (fiber->next != NULL) {
        fiber->next->previous = fiber->previous;
    }
    add_runnable(sim, fiber);
}

// From the scheduler into the fiber, until it gives way.
static void
enter(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    sim->current = fiber;
    sim->usage.slices++;
#if WITH_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(&sim->address_fiber,
                                   (uint8_t *)fiber->stack + GUARD_BYTES,
                                   sim->options.stack_bytes);
#endif
#if WITH_THREAD_SANITIZER
    sim->thread_fiber = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber->thread_fiber, 0);
#endif
    check(swapcontext(&sim->machine, &fiber->machine) == 0);
#if WITH_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(sim->address_fiber, NULL, NULL);
#endif
    sim->current = NULL;
}

// From the fiber to the scheduler, until it is its turn again.
static void
give_way(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
#if WITH_ADDRESS_SANITIZER
    __sanitizer_start_switch_fiber(
        fiber->state == SIM_FIBER_ENDED ? NULL : &fiber->address_fiber,
        sim->stack_bottom, sim->stack_bytes);
#endif
#if WITH_THREAD_SANITIZER
    __tsan_switch_to_fiber(sim->thread_fiber, 0);
#endif
    check(swapcontext(&fiber->machine, &sim->machine) == 0);
#if WITH_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(fiber->address_fiber, &sim->stack_bottom,
                                    &sim->stack_bytes);
#endif
}

static void
serve_on(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    while (fiber->serve != NULL) {
        uint64_t due_ns = fiber->serve(fiber->context);

        if (due_ns != NEVER) {
            due_ns = sim_virtual_ns(sim, fiber->rank, due_ns);
        }
        if (due_ns <= sim->now_ns) {
            due_ns = sim->now_ns + 1;
        }
        if (fiber->serve != NULL) {
            sim_park(sim, fiber->rank, due_ns, false);
        }
    }
}

// The pointer comes in two halves, as makecontext passes only ints.
static void
fiber_main(unsigned high, unsigned low)
{
    struct fabric_sim_fiber *fiber =
        (struct fabric_sim_fiber *)(uintptr_t)((uint64_t)high << 32 | low);
    struct fabric_sim *sim = fiber->sim;

#if WITH_ADDRESS_SANITIZER
    __sanitizer_finish_switch_fiber(NULL, &sim->stack_bottom,
                                    &sim->stack_bytes);
#endif
    if (fiber->serves) {
        serve_on(sim, fiber);
    } else {
        fiber->run(fiber->context);
        sim->spawned--;
    }
    fiber->state = SIM_FIBER_ENDED;
    give_way(sim, fiber);
    check(false);
}

static void *
make_stack(size_t bytes)
{
    void *stack = mmap(NULL, bytes + GUARD_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    check(stack != MAP_FAILED);
    check(mprotect(stack, GUARD_BYTES, PROT_NONE) == 0);
    return stack;
}

static struct fabric_sim_fiber *
make_fiber(struct fabric_sim *sim, uint16_t rank, const char *name)
{
    struct fabric_sim_fiber *fiber = calloc(1, sizeof(*fiber));
    uint64_t word = (uint64_t)(uintptr_t)fiber;

    check(fiber != NULL && rank < sim->rank_count);
    if (sim->spare_fibers != NULL) {
        struct fabric_sim_fiber *spare = sim->spare_fibers;

        sim->spare_fibers = spare->next;
        fiber->stack = spare->stack;
        free(spare);
    } else {
        fiber->stack = make_stack(sim->options.stack_bytes);
    }
    fiber->sim = sim;
    fiber->id = ++sim->fiber_count;
    fiber->rank = rank;
    fiber->name = name;
    fiber->queued_ns = NEVER;
    fiber->all_next = sim->fibers;
    sim->fibers = fiber;
    check(getcontext(&fiber->machine) == 0);
    fiber->machine.uc_stack.ss_sp = (uint8_t *)fiber->stack + GUARD_BYTES;
    fiber->machine.uc_stack.ss_size = sim->options.stack_bytes;
    fiber->machine.uc_link = NULL;
    // The type is of the C library.
    makecontext(&fiber->machine, (void (*)(void))(uintptr_t)fiber_main, 2,
                (unsigned)(word >> 32), (unsigned)word);
#if WITH_THREAD_SANITIZER
    fiber->thread_fiber = __tsan_create_fiber(0);
#endif
    add_runnable(sim, fiber);
    return fiber;
}

// Keeps the stack of one that has ended, if no event names it any more.
static void
retire(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    struct fabric_sim_fiber **where = &sim->fibers;

    if (fiber->events > 0) {
        return;
    }
    while (*where != fiber) {
        where = &(*where)->all_next;
    }
    *where = fiber->all_next;
#if WITH_THREAD_SANITIZER
    __tsan_destroy_fiber(fiber->thread_fiber);
#endif
    fiber->next = sim->spare_fibers;
    sim->spare_fibers = fiber;
}

static void
want_event(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    if (fiber->until_ns == NEVER || fiber->queued_ns <= fiber->until_ns) {
        return;
    }
    fiber->queued_ns = fiber->until_ns;
    fiber->events++;
    sim_schedule(sim, fiber->until_ns, SIM_EVENT_FIBER, 0, fiber);
}

static void
look_at_doorbell(struct fabric_sim *sim, uint16_t rank)
{
    struct fabric_sim_fiber *next;

    for (struct fabric_sim_fiber *fiber = sim->ranks[rank].parked;
         fiber != NULL; fiber = next) {
        next = fiber->next;
        if (!fiber->deaf && fiber->seen != doorbell_of(sim, rank)) {
            unpark(sim, fiber);
        }
    }
}

void
sim_run_one(struct fabric_sim *sim)
{
    size_t pick = (size_t)fabric_sim_random(sim, sim->runnable_count);
    struct fabric_sim_fiber *fiber = sim->runnable[pick];
    uint16_t rank = fiber->rank;

    sim->runnable[pick] = sim->runnable[--sim->runnable_count];
    sim_trace(sim, fiber->id, sim->now_ns);
    enter(sim, fiber);
    if (fiber->state == SIM_FIBER_ENDED) {
        retire(sim, fiber);
    }
    // What it did may concern others that wait at the rank.
    look_at_doorbell(sim, rank);
}

void
sim_look_around(struct fabric_sim *sim)
{
    for (uint16_t i = 0; i < sim->rank_count; i++) {
        look_at_doorbell(sim, i);
    }
}

void
sim_wake(struct fabric_sim *sim, uint16_t rank)
{
    struct fabric_sim_fiber *next;

    for (struct fabric_sim_fiber *fiber = sim->ranks[rank].parked;
         fiber != NULL; fiber = next) {
        next = fiber->next;
        if (!fiber->deaf) {
            unpark(sim, fiber);
        }
    }
}

void
sim_fiber_event(struct fabric_sim *sim, struct fabric_sim_fiber *fiber)
{
    fiber->events--;
    if (fiber->queued_ns <= sim->now_ns) {
        fiber->queued_ns = NEVER;
    }
    if (fiber->state == SIM_FIBER_ENDED) {
        retire(sim, fiber);
    } else if (fiber->state == SIM_FIBER_PARKED) {
        if (fiber->until_ns <= sim->now_ns) {
            unpark(sim, fiber);
        } else {
            want_event(sim, fiber);
        }
    }
}

void
sim_park(struct fabric_sim *sim, uint16_t rank, uint64_t until_ns, bool deaf)
{
    struct fabric_sim_fiber *fiber = sim->current;
    struct fabric_sim_fiber **parked = &sim->ranks[rank].parked;

    check(fiber != NULL);
    fiber->rank = rank;
    fiber->state = SIM_FIBER_PARKED;
    fiber->deaf = deaf;
    fiber->until_ns = until_ns;
    fiber->seen = doorbell_of(sim, rank);
    fiber->previous = NULL;
    fiber->next = *parked;
    if (*parked != NULL) {
        (*parked)->previous = fiber;
    }
    *parked = fiber;
    if (!deaf && sim->ranks[rank].endpoint != NULL &&
        sim->ranks[rank].endpoint->inbox_first != NULL) {
        unpark(sim, fiber);
    } else {
        want_event(sim, fiber);
    }
    give_way(sim, fiber);
}

void
sim_print_stuck(const struct fabric_sim *sim)
{
    int printed = 0;

    (void)fprintf(stderr, "stuck at %llu ns: %u fibers have not ended\n",
                  (unsigned long long)sim->now_ns, sim->spawned);
    for (const struct fabric_sim_fiber *fiber = sim->fibers;
         fiber != NULL && printed < STUCK_MAX; fiber = fiber->all_next) {
        if (fiber->serves || fiber->state == SIM_FIBER_ENDED) {
            continue;
        }
        (void)fprintf(stderr, "  %s at rank %u %s%s\n",
                      fiber->name == NULL ? "?" : fiber->name, fiber->rank,
                      fiber->state == SIM_FIBER_RUNNABLE ? "can run" : "waits",
                      fiber->until_ns == NEVER ? " for ever" : "");
        printed++;
    }
}

void
sim_drop_fibers(struct fabric_sim *sim)
{
    while (sim->fibers != NULL) {
        struct fabric_sim_fiber *fiber = sim->fibers;

        sim->fibers = fiber->all_next;
#if WITH_THREAD_SANITIZER
        __tsan_destroy_fiber(fiber->thread_fiber);
#endif
        fiber->next = sim->spare_fibers;
        sim->spare_fibers = fiber;
    }
    while (sim->spare_fibers != NULL) {
        struct fabric_sim_fiber *fiber = sim->spare_fibers;

        sim->spare_fibers = fiber->next;
        check(munmap(fiber->stack, sim->options.stack_bytes + GUARD_BYTES) ==
              0);
        free(fiber);
    }
}

void
fabric_sim_spawn(struct fabric_sim *sim, uint16_t rank, const char *name,
                 void (*run)(void *context), void *context)
{
    struct fabric_sim_fiber *fiber = make_fiber(sim, rank, name);

    fiber->run = run;
    fiber->context = context;
    sim->spawned++;
}

void
fabric_sim_serve(struct fabric_sim *sim, uint16_t rank,
                 uint64_t (*serve)(void *context), void *context)
{
    struct fabric_sim_fiber *server = sim->ranks[rank].server;

    if (server != NULL) {
        check(server != sim->current);
        server->serve = NULL;
        sim->ranks[rank].server = NULL;
        if (server->state == SIM_FIBER_PARKED) {
            unpark(sim, server);
        }
    }
    if (serve != NULL) {
        server = make_fiber(sim, rank, "server");
        server->serves = true;
        server->serve = serve;
        server->context = context;
        sim->ranks[rank].server = server;
    }
}

uint64_t
fabric_sim_serve_port(void *port)
{
    while (fabric_port_step(port)) {
    }
    return fabric_port_due_ns(port);
}

void
fabric_sim_sleep(struct fabric_sim *sim, uint64_t for_ns)
{
    check(sim->current != NULL);
    sim_park(sim, sim->current->rank, sim->now_ns + for_ns, true);
}

void
fabric_sim_until(struct fabric_sim *sim, bool (*holds)(void *context),
                 void *context)
{
    check(sim->current != NULL);
    while (!holds(context)) {
        sim_park(sim, sim->current->rank, sim->now_ns + 100000, false);
    }
}
