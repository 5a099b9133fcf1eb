// SPDX-License-Identifier: Apache-2.0
//
// What this process may really use of the machine: memory and processors, the
// smallest of what the hardware has and what containers and jobs allow. Read
// from the files of the system under a root given as an argument, so that tests
// build a machine of their own. Nothing is kept; no lock.

#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdint.h>

#include "cascade/status.h"

struct file_system;

#define MACHINE_UNLIMITED UINT64_MAX

struct machine_limits {
    uint64_t memory_bytes;        // the smallest of the four below
    uint64_t ram_bytes;           // MemTotal
    uint64_t cgroup_bytes;        // smallest limit of the groups, v1 or v2
    uint64_t address_space_bytes; // RLIMIT_AS
    uint64_t job_bytes;           // what a job may use of this node
    uint64_t memlock_bytes;       // RLIMIT_MEMLOCK
    uint32_t cpus;                // affinity and quota, rounded up, at least 1
    uint32_t ranks_on_node;       // share the memory; at least 1
};

// Reads the limits from `root`/proc and `root`/sys ("" is the running system).
// Never fails: what cannot be read does not limit, except that a machine that
// does not tell its processors has one. Of the running system what /proc would
// say is asked of the system itself where there is no /proc.
void
machine_read(const struct file_system *files, const char *root,
             struct machine_limits *limits);

// Takes what launchers and SLURM tell in the environment: the memory of the job
// on this node (SLURM_MEM_PER_NODE, SLURM_MEM_PER_CPU), which a site may enforce
// without a control group, and how many ranks share the node. `look_up` answers
// as getenv does.
void
machine_read_job(const char *(*look_up)(const char *name),
                 struct machine_limits *limits);

// What sets memory_bytes: "the RAM", "the cgroup limit", "the memory of the job"
// or "the address space limit (ulimit -v)". Static text.
const char *
machine_memory_reason(const struct machine_limits *limits);

#endif
