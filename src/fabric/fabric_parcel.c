// SPDX-License-Identifier: Apache-2.0
//
// Parcels in chunks of one size class each. Free ones are a stack per class.

#include "fabric/fabric_parcel.h"

#include <stdalign.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

struct fabric_parcel_chunk {
    struct fabric_parcel_chunk *next;
};

static const struct {
    size_t payload_bytes;
    size_t count; // in a chunk
} classes[FABRIC_PARCEL_CLASSES] = {
    {256, 64},
    {4 * KIB, 8},
    {FABRIC_MESSAGE_BYTES_MAX - sizeof(struct fabric_header), 2},
};

static size_t
class_of(size_t bytes)
{
    size_t i = 0;

    while (i + 1 < FABRIC_PARCEL_CLASSES && classes[i].payload_bytes < bytes) {
        i++;
    }
    check(bytes <= classes[i].payload_bytes);
    return i;
}

// With the lock held.
static bool
grow(struct fabric_parcels *parcels, size_t size_class, bool beyond)
{
    size_t step = sizeof(struct fabric_parcel) +
                  classes[size_class].payload_bytes;
    size_t head = sizeof(struct fabric_parcel_chunk);
    size_t bytes;
    struct fabric_parcel_chunk *chunk;

    step = units_round_up(step, alignof(max_align_t));
    head = units_round_up(head, alignof(max_align_t));
    bytes = head + step * classes[size_class].count;
    if (!beyond && parcels->bytes + bytes > parcels->bytes_max) {
        return false;
    }
    chunk = allocator_array(parcels->allocator, 1, bytes);
    if (chunk == NULL) {
        return false;
    }
    chunk->next = parcels->chunks;
    parcels->chunks = chunk;
    parcels->bytes += bytes;
    for (size_t i = 0; i < classes[size_class].count; i++) {
        struct fabric_parcel *parcel = (void *)((uint8_t *)chunk + head +
                                                i * step);

        parcel->size_class = (uint8_t)size_class;
        parcel->next = parcels->free[size_class];
        parcels->free[size_class] = parcel;
    }
    return true;
}

// With the lock held.
static struct fabric_parcel *
pop(struct fabric_parcels *parcels, size_t size_class, bool beyond)
{
    struct fabric_parcel *parcel;

    if (parcels->free[size_class] == NULL &&
        !grow(parcels, size_class, beyond)) {
        return NULL;
    }
    parcel = parcels->free[size_class];
    parcels->free[size_class] = parcel->next;
    return parcel;
}

static void
clear(struct fabric_parcel *parcel)
{
    uint8_t size_class = parcel->size_class;

    memset(parcel, 0, sizeof(*parcel));
    parcel->size_class = size_class;
}

enum cascade_status
fabric_parcels_init(struct fabric_parcels *parcels,
                    const struct allocator *allocator, uint64_t bytes_max)
{
    memset(parcels, 0, sizeof(*parcels));
    parcels->allocator = allocator;
    parcels->bytes_max = bytes_max;
    check(pthread_mutex_init(&parcels->lock, NULL) == 0);
    if (!grow(parcels, 0, true)) {
        fabric_parcels_fini(parcels);
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for messages; free some memory");
    }
    return CASCADE_OK;
}

void
fabric_parcels_fini(struct fabric_parcels *parcels)
{
    while (parcels->chunks != NULL) {
        struct fabric_parcel_chunk *chunk = parcels->chunks;

        parcels->chunks = chunk->next;
        allocator_release(parcels->allocator, chunk);
    }
    pthread_mutex_destroy(&parcels->lock);
}

struct fabric_parcel *
fabric_parcels_take(struct fabric_parcels *parcels, size_t bytes)
{
    struct fabric_parcel *parcel;

    pthread_mutex_lock(&parcels->lock);
    parcel = pop(parcels, class_of(bytes), false);
    pthread_mutex_unlock(&parcels->lock);
    if (parcel != NULL) {
        clear(parcel);
    }
    return parcel;
}

void
fabric_parcels_give(struct fabric_parcels *parcels,
                    struct fabric_parcel *parcel)
{
    pthread_mutex_lock(&parcels->lock);
    parcel->next = parcels->free[parcel->size_class];
    parcels->free[parcel->size_class] = parcel;
    pthread_mutex_unlock(&parcels->lock);
}

bool
fabric_parcels_reserve(struct fabric_parcels *parcels)
{
    struct fabric_parcel *parcel;

    pthread_mutex_lock(&parcels->lock);
    parcel = pop(parcels, 0, true);
    if (parcel != NULL) {
        parcel->next = parcels->reserve;
        parcels->reserve = parcel;
    }
    pthread_mutex_unlock(&parcels->lock);
    return parcel != NULL;
}

struct fabric_parcel *
fabric_parcels_take_reserved(struct fabric_parcels *parcels, size_t bytes,
                             bool *fits)
{
    struct fabric_parcel *parcel;
    struct fabric_parcel *larger = NULL;
    size_t size_class = class_of(bytes);

    pthread_mutex_lock(&parcels->lock);
    parcel = parcels->reserve;
    // Answered twice, or what never wanted an answer.
    check(parcel != NULL);
    parcels->reserve = parcel->next;
    if (size_class > 0) {
        larger = pop(parcels, size_class, true);
    }
    if (larger != NULL) {
        parcel->next = parcels->free[0];
        parcels->free[0] = parcel;
        parcel = larger;
    }
    pthread_mutex_unlock(&parcels->lock);
    *fits = size_class == 0 || larger != NULL;
    clear(parcel);
    return parcel;
}
