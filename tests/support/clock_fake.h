// SPDX-License-Identifier: Apache-2.0
//
// A clock that a test moves by hand. Wall and steady time are apart, so that
// wall time can jump. Atomic: other threads may read it.

#ifndef SUPPORT_CLOCK_FAKE_H
#define SUPPORT_CLOCK_FAKE_H

#include <stdint.h>

#include "base/clock.h"

struct clock_fake {
    struct clock_source source; // give this to the code under test
    uint64_t wall_ns;
    uint64_t steady_ns;
    uint64_t step_ns; // both advance by this with every question
};

// Begins at a fixed moment; `step_ns` may be 0.
void
clock_fake_init(struct clock_fake *fake, uint64_t step_ns);

// Time passes on both.
void
clock_fake_pass(struct clock_fake *fake, uint64_t ns);

// Wall time alone is set.
void
clock_fake_jump(struct clock_fake *fake, uint64_t wall_ns);

#endif
