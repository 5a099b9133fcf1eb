// SPDX-License-Identifier: Apache-2.0
//
// Which fabric it is, and the module that holds it. The rules, in order:
//
// 1. an MPI that is started in this process decides;
// 2. one that is only loaded decides which module, the launcher decides whether;
// 3. else the launcher's environment decides both;
// 4. else there is one rank (self).
//
// MPI is never started without a launcher, in a child of a rank, or where a
// GPU-aware MPI would abort for lack of its library.
//
// Modules are fabric_openmpi.so and fabric_mpich.so. They are looked for at the
// path that was given, or in CASCADE_FABRIC_MODULE (a file or a folder); else in
// cascade/ beside the library, in lib/cascade beside the folder of a program,
// and where `make install` puts them. Once loaded they stay.

#ifndef FABRIC_FABRIC_MODULE_H
#define FABRIC_FABRIC_MODULE_H

#include "base/allocator.h"
#include "base/clock.h"
#include "base/log.h"
#include "cascade/status.h"
#include "fabric/fabric.h"
#include "fabric/fabric_launcher.h"
#include "fabric/fabric_mpi.h"

// 0 and NULL are the defaults, except where they say otherwise.
struct fabric_module_options {
    // Both live as long as the process if MPI is used.
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct log *log; // may be NULL
    const char *path;
    // For one-sided reads, as in fabric_mpi.h.
    void *memory;
    uint64_t memory_bytes;
    enum fabric_windows windows;
    uint64_t chunk_bytes;
    uint64_t open_timeout_ns;
    uint64_t close_timeout_ns;
    uint64_t window_timeout_ns;
    uint64_t finalize_timeout_ns;
};

// Opens the fabric that `which` ("auto", "self", "mpi") means here. Collective
// if it is MPI. `reason` gets one sentence on what was chosen and why, also if
// it failed. INVALID: no such word; UNSUPPORTED: no module, no launcher, or an
// MPI that cannot be used; else as fabric_mpi.h.
enum cascade_status
fabric_module_open(const char *which,
                   const struct fabric_module_options *options,
                   struct fabric *fabric,
                   char reason[FABRIC_REASON_BYTES]) MUST_USE;

#define FABRIC_MODULE_PATH_BYTES 512

// What `cascade info` and `cascade doctor` say. Nothing is started or claimed.
struct fabric_module_description {
    struct fabric_launcher launcher;
    struct fabric_loaded loaded;
    // Paths of the modules found; "" if not.
    char openmpi[FABRIC_MODULE_PATH_BYTES];
    char mpich[FABRIC_MODULE_PATH_BYTES];
    enum cascade_status status;
    struct fabric_choice choice;
};

void
fabric_module_describe(const char *which, const char *path,
                       struct fabric_module_description *description);

#endif
