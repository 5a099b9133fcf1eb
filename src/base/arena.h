// SPDX-License-Identifier: Apache-2.0
//
// The memory of the DRAM tier: one anonymous file mapped shared, so that its
// descriptor can be passed to other processes of the node. Usable at once; its
// pages arrive when they are touched, or before that through
// arena_populate_step. Kept out of forked children. It does not say what lies
// where (extent.h does).
//
// Invariant: the size never changes (sealed against shrinking and growing, so
// that no peer can make an access fault).
//
// Threads: arena_populate_step may run beside any use of the memory, from any
// number of threads; it changes no byte. No lock.

#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"

struct arena;

// Maps `bytes`, rounded up to the page, zeroed. With `huge_pages` the system is
// asked for large pages and gives them where it can. `name` shows in
// /proc/<pid>/maps.
// NO_MEMORY: the system or a limit of the process refuses that much. INVALID:
// no bytes. IO: no anonymous files here.
enum cascade_status
arena_open(const struct allocator *allocator, const char *name, uint64_t bytes,
           bool huge_pages, struct arena **arena) MUST_USE;

// Unmaps; no pointer into it may be used any more. NULL does nothing.
void
arena_close(struct arena *arena);

void *
arena_memory(const struct arena *arena);

uint64_t
arena_bytes(const struct arena *arena);

// The descriptor, for passing to a peer. Owned by the arena.
int
arena_file(const struct arena *arena);

// True if the system says that it gives large pages to memory like this, or
// has given one.
bool
arena_has_huge_pages(const struct arena *arena);

// Makes the system provide about `bytes` more (at least one large page), in
// turn from the low and from the high end, which is how an extent map fills it.
// May block in the system that long. True if something is left to do; after a
// failure, which it remembers, there is nothing left: pages then arrive when
// they are touched.
bool
arena_populate_step(struct arena *arena, uint64_t bytes);

// How much was populated by steps.
uint64_t
arena_ready_bytes(const struct arena *arena);

#endif
