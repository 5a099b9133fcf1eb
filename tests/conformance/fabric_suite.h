// SPDX-License-Identifier: Apache-2.0
//
// What every fabric must do under a port. Every rank of a start runs it at the
// same time, each with its own fabric: as fibers of a simulation, as processes
// under mpirun, or alone. It needs no test framework and prints what is wrong
// to standard error.

#ifndef CONFORMANCE_FABRIC_SUITE_H
#define CONFORMANCE_FABRIC_SUITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "fabric/fabric_port.h"

struct fabric_suite {
    const char *name; // printed
    // For fabric_port_open; handlers are the suite's. The suite opens the port
    // on it and closes it, and with it the fabric.
    struct fabric_port_options options;
    uint64_t bulk_bytes_max; // largest of the sizes that are tried; 0: 64 MiB
    uint64_t messages;       // of the test of order, per pair; 0: 300
    // Time limit of one case, of the port's clock; 0: 60 s.
    uint64_t patience_ns;
    // How many threads of a rank ask at once (not in a simulation); 0: none.
    unsigned threads;
    // Called when the port has started and before it is stopped; for a
    // simulation, which has to serve it. May be NULL.
    void (*started)(void *context, struct fabric_port *port);
    void (*stopping)(void *context, struct fabric_port *port);
    // Lets others run and a moment pass; NULL: sched_yield.
    void (*pause)(void *context);
    void *context;
};

// Runs all cases at this rank; how many checks failed here. All ranks must call
// it. The results of the others are not known to it.
int
fabric_suite_run(const struct fabric_suite *suite);

#endif
