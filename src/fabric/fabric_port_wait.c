// SPDX-License-Identifier: Apache-2.0
//
// How a caller waits: it makes turns itself while the engine lock is free and
// something happens, then yields for a moment, then sleeps on the state of its
// call until whoever ends it wakes it.

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"
#include "fabric/fabric_port_inner.h"

#define SPIN_NS ((uint64_t)100000)
#define SLEEP_NS_MAX ((uint64_t)20000000)
#define INLINE_SLEEP_NS_MAX ((uint64_t)1000000)

static bool
has_ended(const struct fabric_call *call)
{
    return atomic_load_explicit(&call->state, memory_order_acquire) ==
           FABRIC_CALL_ENDED;
}

// How long to sleep at `now_ns` so as not to miss the deadline.
static uint64_t
until(uint64_t deadline_ns, uint64_t now_ns, uint64_t most_ns)
{
    if (deadline_ns <= now_ns) {
        return 0;
    }
    return deadline_ns - now_ns < most_ns ? deadline_ns - now_ns : most_ns;
}

static void
sleep_on_call(struct fabric_port *port, struct fabric_call *call,
              uint64_t now_ns)
{
    uint32_t open = FABRIC_CALL_OPEN;
    uint64_t sleep_ns = until(call->deadline_ns, now_ns, SLEEP_NS_MAX);

    // Nobody makes turns for this caller from now on but the thread.
    if (atomic_load_explicit(&port->asleep, memory_order_seq_cst) > 0) {
        fabric_port_ring(port);
    }
    if (!atomic_compare_exchange_strong_explicit(
            &call->state, &open, FABRIC_CALL_AWAITED, memory_order_acq_rel,
            memory_order_acquire) &&
        open != FABRIC_CALL_AWAITED) {
        return;
    }
    fabric_port_sleep(&call->state, FABRIC_CALL_AWAITED, sleep_ns, false);
}

static void
wait_with_thread(struct fabric_port *port, struct fabric_call *call)
{
    uint64_t since_ns = clock_steady_ns(port->options.clock);

    while (!has_ended(call)) {
        bool any = false;
        uint64_t now_ns;

        if (fabric_port_try_turn(port, &any) && any) {
            continue;
        }
        if (has_ended(call)) {
            return;
        }
        now_ns = clock_steady_ns(port->options.clock);
        if (now_ns - since_ns < SPIN_NS) {
            (void)sched_yield();
            continue;
        }
        sleep_on_call(port, call, now_ns);
    }
}

static void
wait_inline(struct fabric_port *port, struct fabric_call *call)
{
    const struct fabric *fabric = &port->fabric;

    while (!has_ended(call)) {
        uint32_t seen = atomic_load_explicit(port->doorbell,
                                             memory_order_seq_cst);
        uint64_t until_ns;
        uint64_t now_ns;

        if (fabric_port_step(port)) {
            continue;
        }
        if (has_ended(call)) {
            return;
        }
        until_ns = fabric_port_due_ns(port);
        if (call->deadline_ns < until_ns) {
            until_ns = call->deadline_ns;
        }
        if (fabric->table->idle != NULL) {
            fabric->table->idle(fabric->self, until_ns);
            continue;
        }
        // Another thread of this process may still answer.
        now_ns = clock_steady_ns(port->options.clock);
        atomic_fetch_add_explicit(&port->asleep, 1, memory_order_seq_cst);
        if (!atomic_load_explicit(&port->handed_any, memory_order_seq_cst)) {
            fabric_port_sleep(port->doorbell, seen,
                              until(until_ns, now_ns, INLINE_SLEEP_NS_MAX),
                              true);
        }
        atomic_fetch_sub_explicit(&port->asleep, 1, memory_order_seq_cst);
    }
}

void
fabric_port_sleep(_Atomic uint32_t *word, uint32_t seen, uint64_t for_ns,
                  bool shared)
{
    struct timespec wait = {
        .tv_sec = (time_t)(for_ns / 1000000000u),
        .tv_nsec = (long)(for_ns % 1000000000u),
    };

    (void)syscall(SYS_futex, word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE,
                  seen, &wait, NULL, 0);
}

void
fabric_port_wake(_Atomic uint32_t *word, bool shared)
{
    (void)syscall(SYS_futex, word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE,
                  INT32_MAX, NULL, NULL, 0);
}

void
fabric_port_wait_one(struct fabric_port *port, struct fabric_call *call)
{
    check(!fabric_port_is_engine(port) && call->ended == NULL);
    if (port->fabric.capabilities & FABRIC_INLINE) {
        wait_inline(port, call);
    } else {
        wait_with_thread(port, call);
    }
}

void
fabric_port_wait(struct fabric_port *port, struct fabric_call *calls,
                 size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fabric_port_wait_one(port, &calls[i]);
    }
}

enum cascade_status
fabric_port_ask(struct fabric_port *port, struct fabric_call *call)
{
    check(call->subject < FABRIC_SUBJECTS_MAX);
    // The caller makes the turns itself; for other ranks the thread should be
    // about as well, for they will ask back.
    fabric_port_submit(port, call, call->subject,
                       call->to != port->fabric.rank);
    fabric_port_wait_one(port, call);
    if (call->status == CASCADE_OK) {
        return CASCADE_OK;
    }
    if (call->status == CASCADE_TIMEOUT) {
        return error_set(CASCADE_TIMEOUT,
                         "rank %u did not answer in time; it is unknown "
                         "whether it did what was asked",
                         call->to);
    }
    if (call->status == CASCADE_CLOSED) {
        return error_set(CASCADE_CLOSED,
                         "rank %u is lost, or this one is closing", call->to);
    }
    if (call->status == CASCADE_BUSY) {
        return error_set(CASCADE_BUSY,
                         "too much waits to be sent to rank %u, or it is busy; "
                         "try again later",
                         call->to);
    }
    return error_set(call->status, "rank %u answered: %s", call->to,
                     cascade_status_sentence(call->status));
}
