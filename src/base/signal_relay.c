// SPDX-License-Identifier: Apache-2.0
//
// The table of those who are told of signals. The handler reads it without a
// lock: it takes only slots whose `state` is in use, and `inside` tells those
// who close a relay when no handler can still have its eventfd in hand.
//
// Locks: `table_lock` orders opening and closing; the handler takes none.

#include "base/signal_relay.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"

#define SIGNALS 2

struct slot {
    _Atomic uint32_t signals; // 0: free
    _Atomic int event;
    _Atomic bool came;
    _Atomic bool ends; // the process waits for this one to answer
};

static const int numbers[SIGNALS] = {SIGUSR1, SIGTERM};

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct slot slots[SIGNAL_RELAY_MAX];
static struct sigaction before[SIGNALS];
static bool installed[SIGNALS]; // under table_lock
static _Atomic int owner;       // process that opened the relays
static _Atomic unsigned inside; // handlers at work
static _Atomic unsigned unanswered;
static _Atomic bool is_ending;

static unsigned
index_of(int signal_number)
{
    return signal_number == SIGTERM ? 1 : 0;
}

// What the system does with SIGTERM if nobody handles it.
static void
end_process(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    sigset_t set;

    (void)sigemptyset(&usual.sa_mask);
    (void)sigaction(SIGTERM, &usual, NULL);
    (void)kill(getpid(), SIGTERM);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void
answer_one(void)
{
    if (atomic_fetch_sub(&unanswered, 1) == 1) {
        end_process();
    }
}

static bool
is_usual(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) == 0 &&
           action->sa_handler == SIG_DFL;
}

static void
call_before(const struct sigaction *action, int signal_number, siginfo_t *info,
            void *context)
{
    if ((action->sa_flags & SA_SIGINFO) != 0) {
        action->sa_sigaction(signal_number, info, context);
    } else if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN) {
        action->sa_handler(signal_number);
    }
}

static void
tell_all(uint32_t bit, bool ends)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < SIGNAL_RELAY_MAX; i++) {
        if ((atomic_load(&slots[i].signals) & bit) == 0) {
            continue;
        }
        if (ends && !atomic_exchange(&slots[i].ends, true)) {
            atomic_fetch_add(&unanswered, 1);
        }
        atomic_store(&slots[i].came, true);
        (void)!write(atomic_load(&slots[i].event), &one, sizeof(one));
    }
}

// The handler. Calls only what a handler may call.
static void
handle(int signal_number, siginfo_t *info, void *context)
{
    unsigned index = index_of(signal_number);
    const struct sigaction *old = &before[index];
    bool is_term = signal_number == SIGTERM && is_usual(old);
    int cause = errno;

    if (getpid() != atomic_load(&owner)) {
        if (is_usual(old)) {
            struct sigaction usual = *old;

            (void)sigaction(signal_number, &usual, NULL);
            (void)raise(signal_number);
        }
    } else if (is_term && atomic_exchange(&is_ending, true)) {
        end_process();
    } else {
        atomic_fetch_add(&inside, 1);
        if (is_term) {
            // So that nobody who answers at once is taken for the last.
            atomic_fetch_add(&unanswered, 1);
        }
        tell_all(1u << index, is_term);
        atomic_fetch_sub(&inside, 1);
        if (is_term) {
            answer_one();
        }
    }
    call_before(old, signal_number, info, context);
    errno = cause;
}

// Under table_lock.
static void
install(unsigned index)
{
    struct sigaction ours = {.sa_sigaction = handle};

    if (installed[index]) {
        return;
    }
    // Known before the handler can ask for it.
    check(sigaction(numbers[index], NULL, &before[index]) == 0);
    ours.sa_mask = before[index].sa_mask;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    if (!is_usual(&before[index])) {
        ours.sa_flags = SA_SIGINFO | (before[index].sa_flags &
                                      (SA_RESTART | SA_ONSTACK | SA_NODEFER));
    }
    check(sigaction(numbers[index], &ours, NULL) == 0);
    installed[index] = true;
}

// Under table_lock: the handler goes when nobody needs it, unless another one
// has come on top of it.
static void
uninstall(unsigned index)
{
    struct sigaction now;

    for (unsigned i = 0; i < SIGNAL_RELAY_MAX; i++) {
        if ((atomic_load(&slots[i].signals) & (1u << index)) != 0) {
            return;
        }
    }
    if (installed[index] && sigaction(numbers[index], NULL, &now) == 0 &&
        (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == handle) {
        (void)sigaction(numbers[index], &before[index], NULL);
        installed[index] = false;
    }
}

enum cascade_status
signal_relay_open(uint32_t signals, int event, struct signal_relay *relay)
{
    uint32_t found = 0;

    check(pthread_mutex_lock(&table_lock) == 0);
    if (atomic_load(&owner) != (int)getpid()) {
        // A forked child begins with an empty table and its parent's handlers.
        for (unsigned i = 0; i < SIGNAL_RELAY_MAX; i++) {
            atomic_store(&slots[i].signals, 0);
        }
        atomic_store(&unanswered, 0);
        atomic_store(&is_ending, false);
        atomic_store(&owner, (int)getpid());
    }
    for (uint32_t i = 0; i < SIGNAL_RELAY_MAX && found == 0; i++) {
        if (atomic_load(&slots[i].signals) == 0) {
            atomic_store(&slots[i].event, event);
            atomic_store(&slots[i].came, false);
            atomic_store(&slots[i].ends, false);
            atomic_store(&slots[i].signals, signals);
            found = i + 1;
        }
    }
    for (unsigned i = 0; i < SIGNALS && found != 0; i++) {
        if ((signals & (1u << i)) != 0) {
            install(i);
        }
    }
    check(pthread_mutex_unlock(&table_lock) == 0);
    if (found == 0) {
        return error_set(CASCADE_NO_SPACE,
                         "%d stores of this process listen to signals already; "
                         "open the others with drain_signals=none",
                         SIGNAL_RELAY_MAX);
    }
    relay->slot = found;
    return CASCADE_OK;
}

bool
signal_relay_take(const struct signal_relay *relay)
{
    return relay->slot != 0 &&
           atomic_exchange(&slots[relay->slot - 1].came, false);
}

void
signal_relay_answer(const struct signal_relay *relay)
{
    if (relay->slot != 0 &&
        atomic_exchange(&slots[relay->slot - 1].ends, false)) {
        answer_one();
    }
}

void
signal_relay_close(struct signal_relay *relay)
{
    struct slot *slot;
    uint32_t signals;

    if (relay->slot == 0) {
        return;
    }
    slot = &slots[relay->slot - 1];
    check(pthread_mutex_lock(&table_lock) == 0);
    signals = atomic_exchange(&slot->signals, 0);
    for (unsigned i = 0; i < SIGNALS; i++) {
        if ((signals & (1u << i)) != 0) {
            uninstall(i);
        }
    }
    while (atomic_load(&inside) > 0) {
        (void)sched_yield();
    }
    signal_relay_answer(relay);
    relay->slot = 0;
    check(pthread_mutex_unlock(&table_lock) == 0);
}
