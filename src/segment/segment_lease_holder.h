// SPDX-License-Identifier: Apache-2.0
//
// Who holds a lease: what a lease file says, and whether the process that it
// names is known to be gone. Knows nothing of time.
//
// Pure but for the questions to the system; no lock.

#ifndef SEGMENT_LEASE_HOLDER_H
#define SEGMENT_LEASE_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/file.h"

#define SEGMENT_LEASE_HOST_BYTES 64
#define SEGMENT_LEASE_BOOT_BYTES 40

// Zeros and empty text mean "the system did not say" and match nothing.
struct segment_lease_holder {
    char boot[SEGMENT_LEASE_BOOT_BYTES]; // id of this start of the machine
    char host[SEGMENT_LEASE_HOST_BYTES];
    uint64_t process;        // id in its own namespace
    uint64_t process_start;  // in ticks since the start of the machine
    uint64_t pid_namespace;  // inode
    uint64_t time_namespace; // inode
    uint64_t job;            // stores of one job share a namespace; never 0
    uint64_t lease_ns;
    uint64_t since_wall_ns; // for people only
};

// The content of a lease file. Little endian, checksum over all before it.
struct segment_lease_record {
    char magic[8];
    uint32_t version;
    uint32_t unused;
    char boot[SEGMENT_LEASE_BOOT_BYTES];
    char host[SEGMENT_LEASE_HOST_BYTES];
    uint64_t process;
    uint64_t process_start;
    uint64_t pid_namespace;
    uint64_t time_namespace;
    uint64_t job;
    uint64_t lease_ns;
    uint64_t since_wall_ns;
    uint8_t zero[76];
    uint32_t checksum;
};
_Static_assert(sizeof(struct segment_lease_record) == 256, "lease layout");

// Fills what the system says of this process; the rest is zero.
void
segment_lease_holder_read(struct segment_lease_holder *holder);

void
segment_lease_holder_encode(const struct segment_lease_holder *holder,
                            struct segment_lease_record *record);

// False: damaged, or of a newer release. `holder` is then untouched.
bool
segment_lease_holder_decode(const struct segment_lease_record *record,
                            struct segment_lease_holder *holder);

// True only if the process certainly does not run any more: same start of the
// machine, same PID namespace, and no such process or one that began at another
// time.
bool
segment_lease_holder_is_gone(const struct segment_lease_holder *holder,
                             const struct segment_lease_holder *self);

// True if steady times of the two can be compared.
bool
segment_lease_holder_same_clock(const struct segment_lease_holder *a,
                                const struct segment_lease_holder *b);

#endif
