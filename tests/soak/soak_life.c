// SPDX-License-Identifier: Apache-2.0
//
// One process of an arena: opens its store, checks what earlier ones left, and
// lets its threads loose on it until it is told to end, or killed. Ends with
// what enum soak_exit says.

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/units.h"
#include "soak_life.h"
#include "store/store_internal.h"

#define PATIENCE_NS (15 * NS_PER_S)

static enum cascade_status
open_store(struct life *life)
{
    const struct soak_arena *arena = life->arena;
    struct store_surroundings around = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .files = arena->kind->real ? file_system_real() : &life->files.table,
        .background = true,
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    check(options != NULL);
    file_faulty_init(&life->files, NULL);
    life->files.lazy = true;
    for (const char *const *pair = arena->kind->options; *pair != NULL;
         pair += 2) {
        check(cascade_options_set(options, pair[0], pair[1]) == CASCADE_OK);
    }
    check(cascade_options_set(options, "cold_path", arena->root) == CASCADE_OK);
    check(cascade_options_set(options, "cold_admission", "all") == CASCADE_OK);
    status = store_open_in(options, &around, &life->store);
    cascade_options_destroy(options);
    soak_count(arena->truth, SOAK_OPENS, 1);
    return status;
}

// A get that has patience where others are at work: what one of them moves from
// file to file just then is found at the next look at the root.
static enum cascade_status
get_patiently(struct life *life, uint32_t key, bool patient, void *data,
              size_t *bytes)
{
    const struct timespec moment = {.tv_nsec = 50 * (long)NS_PER_MS};
    const struct cascade_span span = {.data = data, .bytes = SOAK_BYTES_MAX};
    uint64_t begin_ns = clock_steady_ns(clock_system());
    enum cascade_status status;
    char text[32];

    for (;;) {
        status = cascade_get(life->store, soak_name(key, text), &span, 1, NULL,
                             bytes);
        if (!patient || status != CASCADE_NOT_FOUND ||
            clock_steady_ns(clock_system()) - begin_ns > PATIENCE_NS) {
            return status;
        }
        soak_count(life->arena->truth, SOAK_LATE, 1);
        (void)nanosleep(&moment, NULL);
    }
}

// What a new store finds of what was flushed before it opened. Where one owner
// follows another, this is the truth from now on.
static void
check_found(struct life *life, const uint64_t *flushed)
{
    const struct soak_arena *arena = life->arena;
    struct soak_truth *truth = arena->truth;
    uint8_t *data = malloc(SOAK_BYTES_MAX);

    check(data != NULL);
    for (uint32_t key = 0; key < SOAK_KEYS; key++) {
        uint64_t to = atomic_load(&truth->tried[key]);
        uint64_t seen = 0;
        size_t bytes = 0;
        bool removed = false;
        enum cascade_status status = get_patiently(
            life, key, arena->kind->fixed && flushed[key] > 0, data, &bytes);

        soak_count(truth, SOAK_GETS, 1);
        if (status == CASCADE_OK) {
            seen = soak_state(arena->kind, key, 1, to, data, bytes);
            soak_count(truth, SOAK_BYTES_VERIFIED, bytes);
            if (seen < units_max(flushed[key], 1)) {
                soak_count(truth, SOAK_WRONG, 1);
                (void)fprintf(
                    stderr,
                    "%s: WRONG BYTES of key %u after a restart: state "
                    "%llu (0: none), flushed %llu, tried %llu\n",
                    arena->kind->name, key, (unsigned long long)seen,
                    (unsigned long long)flushed[key], (unsigned long long)to);
            }
        } else if (status != CASCADE_NOT_FOUND &&
                   !soak_is_refusal(life, status)) {
            soak_unexpected(arena, "get after a restart", status);
        }
        // A later change that a failing disk swallowed leaves a removal: the
        // older block is not served in its place.
        removed = arena->kind->faulty && to > flushed[key];
        for (uint64_t state = flushed[key]; state <= to; state++) {
            removed = removed ||
                      (!arena->kind->fixed && state % SOAK_REMOVED == 0);
        }
        if (seen == 0 && !removed && !arena->kind->tight && flushed[key] > 0) {
            soak_count(truth, SOAK_LOST, 1);
            (void)fprintf(
                stderr, "%s: LOST key %u: flushed %llu, tried %llu, %s\n",
                arena->kind->name, key, (unsigned long long)flushed[key],
                (unsigned long long)to, cascade_status_name(status));
        }
        if (!arena->kind->fixed) {
            atomic_store(&truth->done[key], seen);
            atomic_store(&truth->unsure[key], seen == 0);
        }
    }
    free(data);
}

static void
snapshot(const struct soak_arena *arena, uint64_t flushed[SOAK_KEYS])
{
    for (uint32_t key = 0; key < SOAK_KEYS; key++) {
        flushed[key] = atomic_load(&arena->truth->flushed[key]);
    }
}

// Everything acknowledged survives a close that says OK.
static int
close_store(struct life *life)
{
    struct soak_truth *truth = life->arena->truth;
    uint64_t before[SOAK_KEYS];
    enum cascade_status status;
    bool claims;

    __atomic_store_n(&life->files.fail_from, 0, __ATOMIC_RELAXED);
    soak_note_acknowledged(life, before);
    claims = !life->arena->kind->fixed && !soak_has_dropped(life);
    status = cascade_close(life->store);
    if (status == CASCADE_OK && claims) {
        for (uint32_t key = 0; key < SOAK_KEYS; key++) {
            atomic_store(
                &truth->flushed[key],
                units_max(before[key], atomic_load(&truth->flushed[key])));
        }
    }
    if (status == CASCADE_OK) {
        return SOAK_EXIT_CLOSED;
    }
    if (soak_is_refusal(life, status)) {
        return atomic_load(&life->lease_lost) ? SOAK_EXIT_LEASE_LOST
                                              : SOAK_EXIT_CLOSED;
    }
    soak_unexpected(life->arena, "close", status);
    return SOAK_EXIT_CLOSE_FAILED;
}

void
soak_live(const struct soak_arena *arena, unsigned process, uint64_t seed)
{
    static struct life life;
    struct thread threads[SOAK_THREADS];
    uint64_t flushed[SOAK_KEYS];
    const struct timespec moment = {.tv_nsec = 5 * (long)NS_PER_MS};
    enum cascade_status status;

    // Not to outlive a parent that was killed itself.
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    life.arena = arena;
    life.process = process;
    snapshot(arena, flushed);
    status = open_store(&life);
    if (status != CASCADE_OK) {
        soak_unexpected(arena, "open", status);
        _exit(SOAK_EXIT_NOT_OPEN);
    }
    check_found(&life, flushed);
    atomic_store(&arena->truth->ready[process], true);
    soak_start_threads(&life, threads, seed);
    while (!atomic_load(&arena->truth->end[process]) &&
           !atomic_load(&life.lease_lost)) {
        (void)nanosleep(&moment, NULL);
    }
    atomic_store(&life.stop, true);
    for (unsigned i = 0; i < SOAK_THREADS; i++) {
        check(pthread_join(threads[i].thread, NULL) == 0);
    }
    _exit(close_store(&life));
}

void
soak_final_check(const struct soak_arena *arena)
{
    static struct life life;
    uint64_t flushed[SOAK_KEYS];
    enum cascade_status status;

    memset(&life, 0, sizeof(life));
    life.arena = arena;
    snapshot(arena, flushed);
    status = open_store(&life);
    if (status != CASCADE_OK) {
        soak_unexpected(arena, "last open", status);
        return;
    }
    check_found(&life, flushed);
    status = cascade_close(life.store);
    if (status != CASCADE_OK) {
        soak_unexpected(arena, "last close", status);
    }
}
