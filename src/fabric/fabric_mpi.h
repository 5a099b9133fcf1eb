// SPDX-License-Identifier: Apache-2.0
//
// What the library and a module of the MPI fabric (fabric_openmpi.so,
// fabric_mpich.so) know of each other. The library links no MPI and the module
// links nothing of the library: it gets what it needs as services, and leaves
// one symbol. This header includes no MPI.
//
// The module makes no blocking call of MPI once MPI has been started, except in
// threads of their own that are given up at a deadline (windows). It calls MPI
// from the engine thread only, and from whoever opens and closes. It uses
// neither MPI's atomics nor windows that MPI allocates.

#ifndef FABRIC_FABRIC_MPI_H
#define FABRIC_FABRIC_MPI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/log.h"
#include "cascade/status.h"
#include "fabric/fabric.h"

// Changes with anything in this header or in fabric.h.
#define FABRIC_MPI_ABI 1

// The symbol of type `const struct fabric_mpi_module`.
#define FABRIC_MPI_SYMBOL "cascade_fabric_mpi_module"

// One-sided reads. They need a window, whose creation may fail, or hang.
enum fabric_windows {
    FABRIC_WINDOWS_OFF = 0,
    // Tried under a deadline if ranks are of several nodes; kept if gets finish
    // while the target is away from MPI, and are right.
    FABRIC_WINDOWS_AUTO = 1,
    // Kept if gets are right. For tests, and where AUTO has said yes before.
    FABRIC_WINDOWS_ON = 2,
};

// Functions of the library, called by the module. Allocator and clock live as
// long as the process, the log until close.
struct fabric_mpi_services {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct log *log; // may be NULL
    void (*log_write)(struct log *log, enum log_level level, const char *format,
                      ...) PRINTF_LIKE(3, 4);
    enum cascade_status (*error_set)(enum cascade_status status,
                                     const char *format, ...) PRINTF_LIKE(2, 3);
};

struct fabric_mpi_options {
    struct fabric_mpi_services services;
    // What other ranks may read one-sided; its first FABRIC_MPI_PROBE_BYTES are
    // overwritten and put back during open. NULL: nothing.
    void *memory;
    uint64_t memory_bytes;
    enum fabric_windows windows; // the least of all ranks counts
    uint64_t chunk_bytes;        // of bulk transfers
    // How long open waits for the other ranks, close for them, and open for a
    // window.
    uint64_t open_timeout_ns;
    uint64_t close_timeout_ns;
    uint64_t window_timeout_ns;
    // How long MPI_Finalize may take at the exit of the process, when all ranks
    // have come to it; then the process leaves without.
    uint64_t finalize_timeout_ns;
};

#define FABRIC_MPI_PROBE_BYTES ((uint64_t)1 << 16)

struct fabric_mpi_module {
    uint32_t abi; // FABRIC_MPI_ABI; read before anything else
    uint32_t zero;
    const char *mpi; // "openmpi" or "mpich"

    // Number of ranks if MPI has been started in this process and not ended;
    // else 0. Starts nothing.
    int (*ranks)(void);

    // Collective: all ranks open as often and in the same order. Starts MPI if
    // nobody has; then MPI ends when the process exits. UNSUPPORTED: MPI gives
    // too few threads, or too many ranks; TIMEOUT: other ranks did not come;
    // NO_MEMORY; CLOSED: MPI was ended in this process.
    enum cascade_status (*open)(const struct fabric_mpi_options *options,
                                struct fabric *fabric);
};

#endif
