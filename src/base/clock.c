// SPDX-License-Identifier: Apache-2.0
//
// The system's clocks behind the clock table. Stateless; no lock.

#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/check.h"

static uint64_t
read_clock(clockid_t which)
{
    struct timespec now;

    check(clock_gettime(which, &now) == 0);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t
system_wall_ns(void *self)
{
    (void)self;
    return read_clock(CLOCK_REALTIME);
}

static uint64_t
system_steady_ns(void *self)
{
    (void)self;
    return read_clock(CLOCK_BOOTTIME);
}

static const struct clock_source system_clock = {
    .wall_ns = system_wall_ns,
    .steady_ns = system_steady_ns,
    .self = NULL,
};

const struct clock_source *
clock_system(void)
{
    return &system_clock;
}

uint64_t
clock_wall_ns(const struct clock_source *clock)
{
    return clock->wall_ns(clock->self);
}

uint64_t
clock_steady_ns(const struct clock_source *clock)
{
    return clock->steady_ns(clock->self);
}

uint64_t
clock_deadline_ns(const struct clock_source *clock, uint64_t timeout_ns)
{
    uint64_t now = clock_steady_ns(clock);

    if (timeout_ns > UINT64_MAX - now) {
        return UINT64_MAX;
    }
    return now + timeout_ns;
}
