// SPDX-License-Identifier: Apache-2.0
//
// Time as an argument. A clock is a table and a self pointer, so that tests
// drive time by hand and no module asks the system directly.

#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock_source {
    // Nanoseconds since the epoch; may jump in both directions.
    uint64_t (*wall_ns)(void *self);
    // Nanoseconds that never go back and count suspended time
    // (CLOCK_BOOTTIME); for leases and deadlines.
    uint64_t (*steady_ns)(void *self);
    void *self;
};

// The system's clock. Lives for ever.
const struct clock_source *
clock_system(void);

uint64_t
clock_wall_ns(const struct clock_source *clock);

uint64_t
clock_steady_ns(const struct clock_source *clock);

// The moment `timeout_ns` from now on the steady clock; UINT64_MAX (never) if
// the sum does not fit.
uint64_t
clock_deadline_ns(const struct clock_source *clock, uint64_t timeout_ns);

#endif
