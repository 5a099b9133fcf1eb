// SPDX-License-Identifier: Apache-2.0
//
// A few ranks in one process, each with an engine thread: a fabric that moves
// everything at once, unless it is told to spoil or to hold bulk. For tests of
// what is above the port. It neither loses nor reorders (fabric_sim.h does).
//
// One lock over all of it.

#ifndef SUPPORT_FABRIC_LOCAL_H
#define SUPPORT_FABRIC_LOCAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "fabric/fabric.h"

struct fabric_local;

struct fabric_local *
fabric_local_make(uint16_t rank_count);

// When every port was closed.
void
fabric_local_free(struct fabric_local *local);

// For the port of that rank; `capabilities` beside FABRIC_RELIABLE.
struct fabric
fabric_local_rank(struct fabric_local *local, uint16_t rank,
                  uint32_t capabilities);

// What others read one-sided.
void
fabric_local_expose(struct fabric_local *local, uint16_t rank,
                    const void *memory, uint64_t bytes);

// The next `count` transfers with bytes arrive with one byte changed.
void
fabric_local_spoil(struct fabric_local *local, uint32_t count);

// While set, no bulk ends.
void
fabric_local_hold(struct fabric_local *local, bool hold);

// Others hear that the rank is lost.
void
fabric_local_lose(struct fabric_local *local, uint16_t rank);

// For the options of a port; the context of ring is the fabric.
_Atomic uint32_t *
fabric_local_doorbell(struct fabric_local *local, uint16_t rank);

void
fabric_local_ring(void *local, uint16_t rank);

#endif
