// SPDX-License-Identifier: Apache-2.0
//
// The fabric of one rank: no MPI, no thread, no wire. The tutorial of what a
// fabric must do. It is never waited for: what was sent is there at the next
// progress.

#ifndef FABRIC_FABRIC_SELF_H
#define FABRIC_FABRIC_SELF_H

#include "base/allocator.h"
#include "fabric/fabric.h"

// Opens it as rank 0 of 1. NO_MEMORY.
enum cascade_status
fabric_self_open(const struct allocator *allocator,
                 struct fabric *fabric) MUST_USE;

#endif
