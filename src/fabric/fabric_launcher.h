// SPDX-License-Identifier: Apache-2.0
//
// Whether this process is a rank of an MPI job, told without calling MPI: who
// started it, by the environment; which MPI is loaded already; and whether it
// is only a child of a rank, which inherits the environment but not the right
// to start MPI.
//
// Starting MPI where it was not meant to be started ends jobs (in a child of a
// rank, on a login node of a Cray), so in doubt the answer is no.

#ifndef FABRIC_FABRIC_LAUNCHER_H
#define FABRIC_FABRIC_LAUNCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "cascade/status.h"

// Implementations that a module exists for, as bits.
enum fabric_mpi_family {
    FABRIC_FAMILY_OPENMPI = 1,
    FABRIC_FAMILY_MPICH = 2, // and those with its binary interface
};

#define FABRIC_REASON_BYTES 512

struct fabric_launcher {
    const char *name;  // NULL: none
    uint32_t families; // that it starts; the more likely one is `first`
    enum fabric_mpi_family first;
    int ranks; // 0: not told
    // Names this rank among all that may live on this machine; "" if the
    // launcher tells nothing that would.
    char task[96];
    // Why this is no rank, although the environment says so; "" if it is one.
    char refusal[192];
};

struct fabric_loaded {
    uint32_t family; // 0: no MPI is loaded, or (`version` is set) a foreign one
    bool started;    // MPI_Init was called
    int count;       // of different MPI libraries
    char path[256];
    char version[96];
};

struct fabric_choice {
    bool mpi; // else self
    enum fabric_mpi_family family;
    char reason[FABRIC_REASON_BYTES];
};

// Reads one variable of the environment; NULL if it is not set.
typedef const char *
fabric_variable(void *context, const char *name);

// From the environment only, and from the descriptor that it names.
void
fabric_launcher_look(fabric_variable *variable, void *context,
                     struct fabric_launcher *launcher);

// From the libraries of this process.
void
fabric_launcher_loaded(struct fabric_loaded *loaded);

// Claims to be the one process of that rank. False if another process, of which
// this one may be a child, has. Held until the process ends.
bool
fabric_launcher_claim(const struct fabric_launcher *launcher);

// True if an ancestor is the process in which that MPI was started: this one
// was forked from it.
bool
fabric_launcher_is_forked(const struct fabric_loaded *loaded);

// Decides from facts alone. `which` is "auto", "self" or "mpi"; `modules` are
// the families that a module was found for. `ranks` of a started MPI, 0 if not
// known. INVALID: another word; UNSUPPORTED: an MPI is needed that cannot be
// had; the reason says both why and what to do.
enum cascade_status
fabric_launcher_choose(const char *which,
                       const struct fabric_launcher *launcher,
                       const struct fabric_loaded *loaded, uint32_t modules,
                       struct fabric_choice *choice);

const char *
fabric_family_name(uint32_t family);

#endif
