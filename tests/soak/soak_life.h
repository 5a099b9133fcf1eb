// SPDX-License-Identifier: Apache-2.0
//
// What the parts of one process of the soak share: soak_life.c, which opens,
// checks and closes, and soak_threads.c, which works in between.

#ifndef SOAK_SOAK_LIFE_H
#define SOAK_SOAK_LIFE_H

#include <pthread.h>

#include "soak.h"
#include "support/file_faulty.h"

#define SOAK_BATCH 4

struct life {
    const struct soak_arena *arena;
    struct cascade *store;
    unsigned process;
    struct file_faulty files;
    _Atomic bool stop;
    _Atomic bool lease_lost;
    _Atomic bool acknowledged[SOAK_KEYS]; // fixed: this process has put it
};

struct thread {
    struct life *life;
    unsigned number;
    struct soak_random random;
    pthread_t thread;
    uint8_t *buffers[SOAK_BATCH];
};

// What a busy or ailing store may answer. CLOSED is noted.
bool
soak_is_refusal(struct life *life, enum cascade_status status);

// Where the disk fails, a store under pressure may drop what it could not write.
// It says so; then a flush promises nothing about that.
bool
soak_has_dropped(struct life *life);

// The states that a flush that begins now makes safe: those acknowledged.
void
soak_note_acknowledged(struct life *life, uint64_t *states);

// Starts all threads of the store; each ends after `stop`.
void
soak_start_threads(struct life *life, struct thread *threads, uint64_t seed);

#endif
