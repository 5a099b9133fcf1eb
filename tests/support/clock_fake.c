// SPDX-License-Identifier: Apache-2.0
//
// A clock that a test moves by hand. See clock_fake.h.

#include "support/clock_fake.h"

#define WALL_START_NS ((uint64_t)1700000000 * 1000000000)
#define STEADY_START_NS ((uint64_t)5000 * 1000000000)

static uint64_t
fake_wall_ns(void *self)
{
    struct clock_fake *fake = self;

    return __atomic_fetch_add(&fake->wall_ns, fake->step_ns, __ATOMIC_SEQ_CST);
}

static uint64_t
fake_steady_ns(void *self)
{
    struct clock_fake *fake = self;

    return __atomic_fetch_add(&fake->steady_ns, fake->step_ns,
                              __ATOMIC_SEQ_CST);
}

void
clock_fake_init(struct clock_fake *fake, uint64_t step_ns)
{
    fake->source.wall_ns = fake_wall_ns;
    fake->source.steady_ns = fake_steady_ns;
    fake->source.self = fake;
    fake->wall_ns = WALL_START_NS;
    fake->steady_ns = STEADY_START_NS;
    fake->step_ns = step_ns;
}

void
clock_fake_pass(struct clock_fake *fake, uint64_t ns)
{
    __atomic_fetch_add(&fake->wall_ns, ns, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&fake->steady_ns, ns, __ATOMIC_SEQ_CST);
}

void
clock_fake_jump(struct clock_fake *fake, uint64_t wall_ns)
{
    __atomic_store_n(&fake->wall_ns, wall_ns, __ATOMIC_SEQ_CST);
}
