// SPDX-License-Identifier: Apache-2.0
//
// Ownership of a namespace whose keys may be bound again: one job at a time.
// Namespaces with rebind=refused have no owner and never come here.
//
// The owner is a file name in the namespace's folder: owner.<writer>, valid as
// long as that writer's own lease, or owner.released. It is taken by a rename
// from the state that was seen, as a lease is. A store opens in this order:
//
//   publish   its directory appears with lease.0
//   claim     owner.<me>; or it sees that a live writer of its own job owns it
//   establish lease.0 becomes lease.1
//   look      no other live writer beyond lease.0 is of another job; else back
//             off: LOCKED
//
// Safe: of two stores of different jobs that both came in, the one that looked
// second established itself before it looked, and so did the first; so the
// second saw the first. This needs no owner file, and holds also if others
// deleted it and two stores make it anew, and where a rank joins its job while
// the owner ends and a stranger claims.
// Live: without the owner file two fresh stores could see each other and both
// back off. The rename lets one of them through, and the loser is still at
// lease.0, which the winner overlooks. A rank that joins just then may be
// refused together with the stranger; opening again helps.
//
// No lock; the caller's.

#ifndef SEGMENT_LEASE_OWNER_H
#define SEGMENT_LEASE_OWNER_H

#include "base/attributes.h"
#include "segment/segment_lease.h"
#include "segment/segment_lease_watch.h"

// Claim, establish, look. After a failure the caller gives its lease up.
// LOCKED: the message names host, process, since when, and how long silence
// must last. CLOSED, IO, NO_MEMORY, PERMISSION, NO_SPACE.
enum cascade_status
segment_lease_owner_claim(struct segment_lease_watch *watch,
                          struct segment_lease *lease) MUST_USE;

#endif
