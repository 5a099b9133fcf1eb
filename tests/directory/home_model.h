// SPDX-License-Identifier: Apache-2.0
//
// The protocol of docs/DIRECTORY_PROTOCOL.md without a store: a few ranks with
// real homes and real tables of leases, and toys for the rest: a catalogue of
// names, a port with deadlines, channels that keep the order per pair of ranks
// and nothing else. A seed decides what clients do and which message comes next.
//
// What is checked, at every answer and again when all is quiet:
// - a get never sees a binding older than one whose change was answered before
//   the get began, or that an earlier get has seen; nor bytes of another one;
// - nothing is not found unless an eviction, a removal, a clear or a death can
//   explain it; a protected binding has no eviction to explain it;
// - a get never sees what was bound before a clear that was answered before it,
//   or before a removal that found nothing;
// - a put-if-absent that succeeds has found nothing that nobody took away;
// - when quiet: each binding has one custodian, which has its bytes; no lease is
//   older; no home has anything under way.

#ifndef DIRECTORY_HOME_MODEL_H
#define DIRECTORY_HOME_MODEL_H

#include <stdbool.h>
#include <stdint.h>

// What is broken on purpose.
enum home_mutation {
    HOME_MUTATION_NONE = 0,
    HOME_MUTATION_NO_RECALL,      // answers before recalls are acknowledged
    HOME_MUTATION_LEASE_CHANGING, // leases what is being recalled
    HOME_MUTATION_LATE_LEASE,     // a rank installs leases out of order
    HOME_MUTATION_KEEP_LEASE,     // a recall does not drop the lease
    HOME_MUTATION_KEEP_NAME,      // nor the name
    HOME_MUTATION_GONE_VERSION,   // a late GONE names the present version
    HOME_MUTATION_FAST_CLOCK,     // a rank's leases outlive the home's
    HOME_MUTATION_NO_CLEAR_FLOOR, // cleared leases may come back
    HOME_MUTATION_TWO_ADOPT,      // a silent adopter counts as a refusal
    HOME_MUTATION_EVICT_PROTECTED,
    HOME_MUTATION_KEEP_REPLACED, // no word of what a refused name replaced
    HOME_MUTATION_ADOPT_OVER,    // an adoption takes the place of a newer name
    HOME_MUTATION_COUNT
};

struct home_model_result {
    uint64_t operations; // that clients got an answer to
    uint64_t messages;
    const char *fault; // NULL: none
    uint32_t events;
};

struct home_model;

// Ranks, keys, clocks and deaths follow from the seed.
struct home_model *
home_model_create(void);

void
home_model_destroy(struct home_model *model);

struct home_model_result
home_model_run(struct home_model *model, uint64_t seed,
               enum home_mutation mutation, bool trace);

#endif
