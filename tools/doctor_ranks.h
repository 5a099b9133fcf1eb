// SPDX-License-Identifier: Apache-2.0
//
// Between ranks: how each would read what another has, and why not in a better
// way, found by opening a store on all of them and reading.

#ifndef TOOLS_DOCTOR_RANKS_H
#define TOOLS_DOCTOR_RANKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"
#include "tools/doctor.h"

#define DOCTOR_REASON_BYTES 232

// How `reader` reads what `owner` has.
struct doctor_pair {
    uint32_t rung;  // enum tier_remote_rung
    uint32_t tried; // bytes were read; of far jobs only some pairs try
    uint32_t right; // and were those that the owner put
    uint32_t zero;
    uint64_t ns; // of the read
    char reason[DOCTOR_REASON_BYTES];
};

// What one rank tells of itself.
struct doctor_rank {
    char host[64];
    char
        failed[DOCTOR_FAILED_BYTES]; // checks that failed there; "" if none did
    uint32_t pid;
    uint32_t zero;
};

struct doctor_ranks {
    uint16_t rank;
    uint16_t count;
    // The first rank has those of all: [reader * count + owner].
    struct doctor_rank *ranks;
    struct doctor_pair *pairs;
};

#define DOCTOR_PROBE_BYTES ((uint64_t)1 << 20)

// Collective among the ranks of the job. `failed` names what failed on this
// one. The caller releases it.
enum cascade_status
doctor_ranks_try(const char *failed, struct doctor_ranks *ranks) MUST_USE;

void
doctor_ranks_release(struct doctor_ranks *ranks);

// What the first rank prints: a verdict, then `doctor_ranks_print`.
void
doctor_ranks_judge(const struct doctor_ranks *ranks,
                   struct doctor_finding *finding);

void
doctor_ranks_print(const struct doctor_ranks *ranks, bool json);

#endif
