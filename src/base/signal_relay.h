// SPDX-License-Identifier: Apache-2.0
//
// Signals for threads: the handler only sets a flag and writes to an eventfd,
// somebody's thread does the work. Not a way to send signals. The table behind
// it is the one of its kind in the process, as signals are.
//
// What was there before stays in force: a handler that the program had is
// called too, at once. Where SIGTERM would have ended the process, it does so
// when all who are told have answered; a second SIGTERM meanwhile ends it at
// once. SIGUSR1 never ends it. A forked child is told nothing: there a signal
// does what it did before.
//
// Any thread may open and close; signals may come at any time.

#ifndef BASE_SIGNAL_RELAY_H
#define BASE_SIGNAL_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

// Relays that can be open in a process.
#define SIGNAL_RELAY_MAX 64

enum signal_relay_signals {
    SIGNAL_RELAY_USR1 = 1,
    SIGNAL_RELAY_TERM = 2
};

// One who is told. `slot` is its place in the table, from 1; 0: closed.
struct signal_relay {
    uint32_t slot;
};

// From now on these signals (enum signal_relay_signals) add 1 to the eventfd,
// which stays the caller's and open until the relay is closed. NO_SPACE: too
// many relays.
enum cascade_status
signal_relay_open(uint32_t signals, int event,
                  struct signal_relay *relay) MUST_USE;

// Whether a signal came since the last time.
bool
signal_relay_take(const struct signal_relay *relay);

// The work is done. If a signal is to end the process and nobody else is still
// at work for it, the process ends here.
void
signal_relay_answer(const struct signal_relay *relay);

// Answers, and is told no more. The last one puts the handler of before back if
// nobody has set another. A closed relay does nothing.
void
signal_relay_close(struct signal_relay *relay);

#endif
