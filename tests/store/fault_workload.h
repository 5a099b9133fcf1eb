// SPDX-License-Identifier: Apache-2.0
//
// A small workload over a store whose surroundings fail, and the model that
// says what may be found in it and after it. The model lies in memory that a
// child process shares, so that the workload may run (and die) in one.

#ifndef STORE_FAULT_WORKLOAD_H
#define STORE_FAULT_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "store_fixture.h"

#define FAULT_KEYS 10
#define FAULT_STATES_MAX 64

// States of a key, oldest first; 0 is absent, else the number of a content.
// [0] is that of the last flush that was acknowledged.
struct fault_key {
    uint64_t states[FAULT_STATES_MAX];
    uint32_t count;
    uint64_t newest; // the last one that a call acknowledged
    bool unsure;     // a call on it failed since
};

struct fault_model {
    struct fault_key keys[FAULT_KEYS];
    uint64_t next_seed;
    uint64_t gets_right;
    uint64_t flushes;
    bool wrong;
};

void
fault_model_init(struct fault_model *model);

// Size of content `seed`.
size_t
fault_bytes(uint64_t seed);

// Puts, gets, flushes, rebinds, removes, evicts, and gets again. Every status
// is allowed; wrong bytes set `wrong`.
void
fault_workload(struct fault_model *model, struct cascade *store);

// Everything acknowledged is durable now.
void
fault_flushed(struct fault_model *model);

// After a restart without faults: each key has one of its states since the last
// acknowledged flush. Where the cold tier is too small for all (`may_forget`)
// it may be absent. False: it has not; says which.
bool
fault_check_restart(struct fault_model *model, struct cascade *store,
                    bool may_forget);

#endif
