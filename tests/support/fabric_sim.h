// SPDX-License-Identifier: Apache-2.0
//
// Many ranks in one thread, under a seed. Time is virtual: it stands while
// anyone can run, and jumps to the next event when nobody can. Messages are
// delayed, reordered, lost and doubled as the options say; pairs are cut and
// healed, ranks fall silent, die and come again. The same seed and the same
// calls give the same run (fabric_sim_trace).
//
// What may wait runs as a fiber: fabric_port_wait on a fiber lets the others
// run (the fabric is FABRIC_INLINE, its `idle` changes fibers). A fiber must
// not wait with a lock in hand that another fiber takes. From outside of
// fibers, a wait runs the others as well.
//
// What is handed to a port from outside of fibers, or from a fiber of another
// rank, is noticed when run or settle is called next, or when something comes
// for that rank.
//
// Each rank needs somebody who makes its turns when it is asked things and none
// of its fibers waits: fabric_sim_serve.
//
// One thread; no lock. Memory is the system's heap; what fails stops the test.

#ifndef SUPPORT_FABRIC_SIM_H
#define SUPPORT_FABRIC_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "fabric/fabric.h"
#include "fabric/fabric_port.h"

struct fabric_sim;

struct fabric_sim_options {
    // FABRIC_RELIABLE, FABRIC_READ as wanted; FABRIC_BULK, FABRIC_SURVIVES and
    // FABRIC_INLINE are always there.
    uint32_t capabilities;
    uint64_t delay_ns_min; // of a message; 0 and 0: 1 to 50 us
    uint64_t delay_ns_max;
    uint32_t loss_ppm; // of a million messages; none with FABRIC_RELIABLE
    uint32_t double_ppm;
    uint32_t busy_ppm; // sends that are refused for no reason
    // Bulk and reads take up to that long, beyond the delay of a message.
    uint64_t bulk_delay_ns_max;
    // A dead rank is told to the others after that time. 0: never; they see
    // that it is silent (`silence_ns` of the port).
    uint64_t lost_after_ns;
    uint32_t under_way_max; // messages per pair; then BUSY; 0: 256
    size_t stack_bytes;     // of a fiber; 0: 512 KiB
};

// `options` may be NULL: unreliable in kind, but nothing is lost or doubled.
struct fabric_sim *
fabric_sim_create(uint64_t seed, uint16_t rank_count,
                  const struct fabric_sim_options *options);

// After all fabrics were closed. Fibers that have not ended are dropped.
void
fabric_sim_destroy(struct fabric_sim *sim);

// The fabric of a rank, for a port. Asked for again, after the one before was
// killed or closed, it is the rank's next incarnation.
void
fabric_sim_fabric(struct fabric_sim *sim, uint16_t rank, struct fabric *fabric);

// The clocks of a rank begin at moments of their own.
const struct clock_source *
fabric_sim_clock(struct fabric_sim *sim, uint16_t rank);

// All clocks show what that of rank 0 does: ranks of one machine.
void
fabric_sim_one_clock(struct fabric_sim *sim);

// What others may read of that rank (FABRIC_READ).
void
fabric_sim_expose(struct fabric_sim *sim, uint16_t rank, const void *memory,
                  uint64_t bytes);

// --- who runs

// A fiber of that rank, which run waits for. `name` is kept: static text.
void
fabric_sim_spawn(struct fabric_sim *sim, uint16_t rank, const char *name,
                 void (*run)(void *context), void *context);

// Who serves the rank, on a fiber of its own that run does not wait for: called
// whenever something came for the rank or was handed to its port, and at the
// latest at the moment of the rank's steady clock that it returned. NULL: from
// now on nobody (not from within `serve`).
void
fabric_sim_serve(struct fabric_sim *sim, uint16_t rank,
                 uint64_t (*serve)(void *context), void *context);

// A `serve` whose context is a port: makes its turns.
uint64_t
fabric_sim_serve_port(void *port);

// Until all spawned fibers have ended. False: that took more than `for_ns` of
// virtual time, or nothing can happen any more; who is stuck was printed.
bool
fabric_sim_run(struct fabric_sim *sim, uint64_t for_ns);

// Lets virtual time pass, for those who serve.
void
fabric_sim_settle(struct fabric_sim *sim, uint64_t for_ns);

// On a fiber: the others run for that long.
void
fabric_sim_sleep(struct fabric_sim *sim, uint64_t for_ns);

// On a fiber: waits until the condition holds; asked whenever it gets its turn.
void
fabric_sim_until(struct fabric_sim *sim, bool (*holds)(void *context),
                 void *context);

// --- what goes wrong

// Nothing passes between the two, in both directions. A reliable fabric keeps
// messages until the pair is healed, any other loses them.
void
fabric_sim_cut(struct fabric_sim *sim, uint16_t one, uint16_t other);

void
fabric_sim_heal(struct fabric_sim *sim, uint16_t one, uint16_t other);

// The rank is cut off from all, or healed. Its memory can still be read.
void
fabric_sim_silence(struct fabric_sim *sim, uint16_t rank, bool silent);

// Nothing leaves or reaches the rank any more. Its own fabric says CLOSED and
// that all others are lost, so that its fibers end and its port can be closed.
// What it was landing is damaged.
void
fabric_sim_kill(struct fabric_sim *sim, uint16_t rank);

// The n-th message from now (from 1) is lost, also on a reliable fabric.
void
fabric_sim_lose(struct fabric_sim *sim, uint64_t number);

// The wall clock jumps; the steady clock jumps ahead (a suspended machine).
void
fabric_sim_jump(struct fabric_sim *sim, uint16_t rank, int64_t wall_ns,
                uint64_t steady_ns);

// Both clocks of the rank run faster by that many millionths, or slower.
void
fabric_sim_drift(struct fabric_sim *sim, uint16_t rank, int32_t ppm);

// --- what is known

// Virtual time since the beginning.
uint64_t
fabric_sim_now_ns(const struct fabric_sim *sim);

// Below `bound`, from the seed.
uint64_t
fabric_sim_random(struct fabric_sim *sim, uint64_t bound);

// A hash of all that happened, in its order.
uint64_t
fabric_sim_trace(const struct fabric_sim *sim);

struct fabric_sim_usage {
    uint64_t messages; // given to fabrics
    uint64_t lost;
    uint64_t doubled;
    uint64_t delivered;
    uint64_t slices; // changes of fibers
    uint64_t bulk;   // transfers that met
    uint64_t reads;
};

void
fabric_sim_usage(const struct fabric_sim *sim, struct fabric_sim_usage *usage);

#endif
