// SPDX-License-Identifier: Apache-2.0
//
// What this machine has, as far as `info` and `doctor` tell it: processor,
// GPU driver, launcher and modules of MPI. Looks and changes nothing; never pretends: what is
// missing comes with the reason.

#ifndef TOOLS_PROBE_H
#define TOOLS_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/fabric_module.h"

#define PROBE_TEXT_BYTES 256
#define PROBE_GPUS_MAX 16

struct probe_processor {
    char model[PROBE_TEXT_BYTES];
    char features[PROBE_TEXT_BYTES]; // of those that matter here, with spaces
    uint32_t page_bytes;
};

struct probe_gpu {
    char name[PROBE_TEXT_BYTES];
    uint64_t memory_bytes;
};

struct probe_gpus {
    bool hardware; // an NVIDIA display device is on the PCI bus
    bool driver;   // the driver library opened and started
    int driver_version;
    size_t count;
    struct probe_gpu gpus[PROBE_GPUS_MAX];
    char reason[PROBE_TEXT_BYTES]; // why there is none; "" if there is one
};

// What a store opened here would do about other ranks.
struct probe_fabric {
    char which[PROBE_TEXT_BYTES]; // the option fabric, as configured
    struct fabric_module_description found;
};

void
probe_processor(struct probe_processor *processor);

void
probe_gpus(struct probe_gpus *gpus);

// Launcher, modules and choice. No MPI is started.
void
probe_fabric(struct probe_fabric *fabric);

// Whether there is a module of any MPI.
bool
probe_fabric_has_module(const struct probe_fabric *fabric);

// The modules found, with their paths, or that there is none.
void
probe_fabric_modules(const struct probe_fabric *fabric, char *text,
                     size_t size);

// Whether the kernel gives an io_uring. "" in `reason` if so.
bool
probe_ring(char *reason, size_t size);

// Reads a small text file without its last line end. False if it cannot.
bool
probe_read_text(const char *path, char *text, size_t size);

#endif
