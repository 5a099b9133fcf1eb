// SPDX-License-Identifier: Apache-2.0
//
// The checks behind `cascade doctor`. Each tries one thing that the cache uses
// and says what it found and, unless all is well, what to do.

#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include <stdbool.h>

#include "base/attributes.h"

#define DOCTOR_TEXT_BYTES 384

// Names of checks, with spaces.
#define DOCTOR_FAILED_BYTES 128

enum doctor_verdict {
    DOCTOR_OK = 0,
    DOCTOR_WARNING = 1, // it goes on, slower or with less
    DOCTOR_FAIL = 2     // it will not work
};

struct doctor_finding {
    enum doctor_verdict verdict;
    char found[DOCTOR_TEXT_BYTES];
    char remedy[DOCTOR_TEXT_BYTES]; // "" if nothing is to be done
};

// Sets the verdict and what was found; the remedy becomes empty.
void
doctor_found(struct doctor_finding *finding, enum doctor_verdict verdict,
             const char *format, ...) PRINTF_LIKE(3, 4);

// What to do.
void
doctor_remedy(struct doctor_finding *finding, const char *format, ...)
    PRINTF_LIKE(2, 3);

// The checks; `directory` is where the cold tier is or will be. A check that
// writes there removes what it wrote.
void
doctor_directory(const char *directory, struct doctor_finding *finding);
void
doctor_direct(const char *directory, struct doctor_finding *finding);
void
doctor_ring(const char *directory, struct doctor_finding *finding);
void
doctor_space(const char *directory, struct doctor_finding *finding);
void
doctor_memory(const char *directory, struct doctor_finding *finding);
void
doctor_cgroup(const char *directory, struct doctor_finding *finding);
void
doctor_shared_memory(const char *directory, struct doctor_finding *finding);
void
doctor_huge_pages(const char *directory, struct doctor_finding *finding);
void
doctor_locked_memory(const char *directory, struct doctor_finding *finding);
void
doctor_open_files(const char *directory, struct doctor_finding *finding);
void
doctor_hash(const char *directory, struct doctor_finding *finding);
void
doctor_gpu(const char *directory, struct doctor_finding *finding);
void
doctor_mpi(const char *directory, struct doctor_finding *finding);

// Whether a store opened here would be one of many ranks.
bool
doctor_is_rank(void);

#endif
