// SPDX-License-Identifier: Apache-2.0
//
// Bytes that follow from key and state, their sizes, and the verdict on what
// came back. Stateless; no lock.

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "soak.h"
#include "store/store_fixture.h"

// Every so many states the content is one of a few that all keys share.
#define SHARED_EVERY 9
#define SHARED 8

uint32_t
soak_pick(struct soak_random *random, uint32_t below)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random->state >> 33) % below;
}

void
soak_count(struct soak_truth *truth, enum soak_counter counter, uint64_t more)
{
    atomic_fetch_add_explicit(&truth->counters[counter], more,
                              memory_order_relaxed);
}

static uint64_t
content_of(const struct soak_kind *kind, uint32_t key, uint64_t state)
{
    if (kind->fixed) {
        return UINT64_C(1) << 60 | key;
    }
    if (state % SHARED_EVERY == 0) {
        return UINT64_C(1) << 61 | (key + state) % SHARED;
    }
    return (uint64_t)key << 40 | state;
}

// From nothing to SOAK_BYTES_MAX, evenly on a logarithmic scale.
size_t
soak_bytes(const struct soak_kind *kind, uint32_t key, uint64_t state)
{
    struct soak_random random = {content_of(kind, key, state) * 2 + 1};
    double part;

    (void)soak_pick(&random, 2);
    if (soak_pick(&random, 32) == 0) {
        return 0;
    }
    part = soak_pick(&random, 1000000) / 1e6;
    return (size_t)exp(part * log((double)SOAK_BYTES_MAX));
}

void
soak_fill(const struct soak_kind *kind, uint32_t key, uint64_t state,
          void *data)
{
    store_fill(content_of(kind, key, state), data,
               soak_bytes(kind, key, state));
}

struct cascade_key
soak_name(uint32_t key, char text[32])
{
    (void)snprintf(text, 32, "key %u", key);
    return (struct cascade_key){text, strlen(text)};
}

uint64_t
soak_state(const struct soak_kind *kind, uint32_t key, uint64_t from,
           uint64_t to, const void *data, size_t bytes)
{
    for (uint64_t state = to; state >= units_max(from, 1); state--) {
        if ((kind->fixed || state % SOAK_REMOVED != 0) &&
            soak_bytes(kind, key, state) == bytes &&
            store_is(content_of(kind, key, state), data, bytes)) {
            return state;
        }
    }
    return 0;
}

static bool
may_be_absent(const struct soak_arena *arena, uint32_t key, uint64_t from,
              uint64_t to)
{
    const struct soak_kind *kind = arena->kind;

    if (kind->fixed || kind->tight || kind->faulty || from == 0 ||
        atomic_load(&arena->truth->unsure[key])) {
        return true;
    }
    for (uint64_t state = from; state <= to; state++) {
        if (state % SOAK_REMOVED == 0) {
            return true;
        }
    }
    return false;
}

void
soak_judge(const struct soak_arena *arena, uint32_t key, uint64_t from,
           const void *data, size_t bytes, const char *what)
{
    uint64_t to = atomic_load(&arena->truth->tried[key]);

    soak_count(arena->truth, SOAK_GETS, 1);
    if (data == NULL) {
        soak_count(arena->truth, SOAK_MISSES, 1);
        if (!may_be_absent(arena, key, from, to)) {
            soak_count(arena->truth, SOAK_UNEXPECTED, 1);
            (void)fprintf(stderr,
                          "%s: process %d: key %u is absent, states %llu to "
                          "%llu (%s)\n",
                          arena->kind->name, (int)getpid(), key,
                          (unsigned long long)from, (unsigned long long)to,
                          what);
        }
        return;
    }
    if (soak_state(arena->kind, key, from, to, data, bytes) == 0) {
        uint64_t old = soak_state(arena->kind, key, 1, to, data, bytes);

        soak_count(arena->truth, SOAK_WRONG, 1);
        (void)fprintf(stderr,
                      "%s: process %d: WRONG BYTES of key %u: %zu bytes, state "
                      "%llu (0: none), allowed %llu to %llu (%s)\n",
                      arena->kind->name, (int)getpid(), key, bytes,
                      (unsigned long long)old, (unsigned long long)from,
                      (unsigned long long)to, what);
        return;
    }
    soak_count(arena->truth, SOAK_BYTES_VERIFIED, bytes);
}

void
soak_unexpected(const struct soak_arena *arena, const char *what,
                enum cascade_status status)
{
    soak_count(arena->truth, SOAK_UNEXPECTED, 1);
    (void)fprintf(stderr, "%s: process %d: %s: %s: %s\n", arena->kind->name,
                  (int)getpid(), what, cascade_status_name(status),
                  cascade_error_message());
}
