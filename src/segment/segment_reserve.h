// SPDX-License-Identifier: Apache-2.0
//
// A file of a namespace that holds a little space and nothing else, so that a
// full disk can be left again: whoever finds no room for a lease, or for the
// records without which a segment may not go, gives it up first. It is made
// again when there is room. Losing it costs that way out only.
//
// Stateless; no lock. Several stores may make or give it up at once.

#ifndef SEGMENT_SEGMENT_RESERVE_H
#define SEGMENT_SEGMENT_RESERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "segment/segment_root.h"

#define SEGMENT_RESERVE_FILE ".reserve"

// Makes it if it is not there; its size follows from that of segments. Failure
// is not reported.
void
segment_reserve_make(const struct segment_root *root,
                     const struct allocator *allocator, uint64_t segment_bytes);

// Gives its space back to the file system. False: there is none.
bool
segment_reserve_give_up(const struct segment_root *root);

#endif
