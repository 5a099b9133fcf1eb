// SPDX-License-Identifier: Apache-2.0
//
// A thread takes the next lane when it first asks. No lock.

#include "base/lane.h"

#include <stdatomic.h>

uint32_t
lane_of_thread(void)
{
    static _Atomic uint32_t taken;
    static _Thread_local uint32_t number; // 0: none yet

    if (number == 0) {
        uint32_t turn = atomic_fetch_add_explicit(&taken, 1,
                                                  memory_order_relaxed);

        number = turn % LANE_COUNT + 1;
    }
    return number - 1;
}
