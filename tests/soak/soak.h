// SPDX-License-Identifier: Apache-2.0
//
// The soak: stores that many threads and processes use and that are killed,
// stopped, starved and lied to by their disks, for minutes; every byte that
// comes back is compared. This header: what the processes of one arena share,
// which is the truth that outlives each of them. An arena is one root with one
// kind of trouble.
//
// The truth of a key is a state, a number that goes up with each change; the
// bytes follow from key and state. `tried`: a call that makes this state has
// begun. `done`: it was acknowledged. `flushed`: a flush that began after that
// has said OK. A get must give a state between the `done` before it and the
// `tried` after it. Everything in struct soak_truth is atomic; no lock.

#ifndef SOAK_SOAK_H
#define SOAK_SOAK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cascade/cascade.h"

#define SOAK_KEYS 96
#define SOAK_BYTES_MAX ((size_t)8 << 20)
#define SOAK_THREADS 6
#define SOAK_PROCESSES 3 // of an arena at a time

// States that divide by this are removals.
#define SOAK_REMOVED 11

enum soak_counter {
    SOAK_OPERATIONS,
    SOAK_GETS,
    SOAK_BYTES_VERIFIED,
    SOAK_MISSES,
    SOAK_PUTS,
    SOAK_REFUSED, // puts and others that had to give up: NO_SPACE, TIMEOUT, IO
    SOAK_FLUSHES,
    SOAK_DRAINS,
    SOAK_OPENS,
    SOAK_KILLS,
    SOAK_STOPS,
    SOAK_TERMS,
    SOAK_ENDS,
    SOAK_LEASES_LOST,
    SOAK_LATE, // looks again for what another process was moving
    SOAK_EIO,
    SOAK_ENOSPC,
    SOAK_SHORT,
    SOAK_WRONG,      // bytes that are not the key's: never
    SOAK_LOST,       // flushed, and not there any more: never
    SOAK_UNEXPECTED, // statuses and ends that nothing explains: never
    SOAK_HANGS,      // never
    SOAK_COUNTERS
};

struct soak_truth {
    _Atomic uint64_t tried[SOAK_KEYS];
    _Atomic uint64_t done[SOAK_KEYS];
    _Atomic uint64_t flushed[SOAK_KEYS];
    _Atomic bool unsure[SOAK_KEYS]; // a change failed: it may be absent
    _Atomic uint64_t counters[SOAK_COUNTERS];
    // Signs of life: when each thread began its operation; 0: none.
    _Atomic uint64_t began_ns[SOAK_PROCESSES][SOAK_THREADS];
    _Atomic int operation[SOAK_PROCESSES][SOAK_THREADS];
    _Atomic bool end[SOAK_PROCESSES]; // close the store and go
    _Atomic bool ready[SOAK_PROCESSES];
};

// A kind of arena.
struct soak_kind {
    const char *name;
    const char *const *options; // pairs, ended by NULL
    unsigned processes;
    bool fixed;  // rebind=refused: content follows from the key alone
    bool tight;  // the cold tier may drop what was flushed
    bool faulty; // file calls fail
    bool real;   // the system's files; else a table that does not sync
};

struct soak_arena {
    const struct soak_kind *kind;
    struct soak_truth *truth;
    char root[256];
    uint64_t seed;
};

// soak_content.c

struct soak_random {
    uint64_t state;
};

uint32_t
soak_pick(struct soak_random *random, uint32_t below);

void
soak_count(struct soak_truth *truth, enum soak_counter counter, uint64_t more);

size_t
soak_bytes(const struct soak_kind *kind, uint32_t key, uint64_t state);

void
soak_fill(const struct soak_kind *kind, uint32_t key, uint64_t state,
          void *data);

// The key's name, in `text`.
struct cascade_key
soak_name(uint32_t key, char text[32]);

// The newest state from `from` to `to` that these bytes are; 0: none.
uint64_t
soak_state(const struct soak_kind *kind, uint32_t key, uint64_t from,
           uint64_t to, const void *data, size_t bytes);

// Judges an answer (`data` NULL: absent) to a get that began when `from` was
// done. Counts and complains.
void
soak_judge(const struct soak_arena *arena, uint32_t key, uint64_t from,
           const void *data, size_t bytes, const char *what);

// An answer that nothing explains.
void
soak_unexpected(const struct soak_arena *arena, const char *what,
                enum cascade_status status);

// soak_life.c

// How a process of an arena ends by itself.
enum soak_exit {
    SOAK_EXIT_CLOSED = 0,
    SOAK_EXIT_LEASE_LOST = 3,
    SOAK_EXIT_NOT_OPEN = 4,
    SOAK_EXIT_CLOSE_FAILED = 5
};

// Runs as process `process` of the arena until told to end; never returns.
void
soak_live(const struct soak_arena *arena, unsigned process, uint64_t seed)
    __attribute__((noreturn));

// Opens the arena once more, in this process, and checks what is there.
void
soak_final_check(const struct soak_arena *arena);

#endif
