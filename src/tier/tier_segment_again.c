// SPDX-License-Identifier: Apache-2.0
//
// Looking again: a place turned out stale because another store, or a site's
// purge, took its file away. What was seen of other files long ago was not kept,
// since usually nobody asks; so now they are all shown once more. It decides
// nothing about places; whoever calls lists what it is shown.
//
// Bounded: a loss of files is answered by one look, whoever asks and however
// many blocks were in them; whoever comes meanwhile waits for that one look, up
// to his deadline.
// Locks: the caller becomes the scanner; table_lock for moments.

#include "tier/tier_segment_inner.h"

#include <time.h>

#include "base/error.h"
#include "base/units.h"

#define WAIT_NS ((long)50 * (long)NS_PER_MS) // then the clock is asked again

struct again {
    struct tier_segment *cold;
    uint64_t deadline_ns;
    tier_segment_visit *visit;
    void *context;
    struct tier_segment_handle **handles; // held
    enum cascade_status *statuses;
    uint32_t count;
};

static bool
is_late(const struct tier_segment *cold, uint64_t deadline_ns)
{
    return clock_steady_ns(cold->clock) >= deadline_ns;
}

// Becomes the scanner. False: the deadline passed before.
static bool
begin_scan(struct tier_segment *cold, uint64_t deadline_ns)
{
    struct timespec until;
    bool begun;

    (void)pthread_mutex_lock(&cold->table_lock);
    while (cold->scanning && !is_late(cold, deadline_ns)) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        if (until.tv_nsec >= (long)NS_PER_S) {
            until.tv_nsec -= (long)NS_PER_S;
            until.tv_sec++;
        }
        (void)pthread_cond_timedwait(&cold->changed, &cold->table_lock, &until);
    }
    begun = !cold->scanning;
    cold->scanning = true;
    (void)pthread_mutex_unlock(&cold->table_lock);
    return begun;
}

static void
end_scan(struct tier_segment *cold)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    cold->scanning = false;
    (void)pthread_cond_broadcast(&cold->changed);
    (void)pthread_mutex_unlock(&cold->table_lock);
}

// True if files went of which the last look knew nothing.
static bool
has_lost(struct tier_segment *cold, const struct block_place *place)
{
    if (place == NULL || cold->losses != cold->losses_shown) {
        return true;
    }
    return tier_segment_is_served(cold, place) &&
           !tier_segment_is_there(cold, place);
}

// Holds every sealed file that is not the own writer's. Tails were walked, and
// shown, by the scan.
static enum cascade_status
hold_all(struct again *again)
{
    struct tier_segment *cold = again->cold;
    enum cascade_status status = CASCADE_OK;

    (void)pthread_mutex_lock(&cold->table_lock);
    again->handles = allocator_array(cold->allocator, cold->handle_count,
                                     sizeof(struct tier_segment_handle *));
    again->statuses = allocator_array(cold->allocator, cold->handle_count,
                                      sizeof(enum cascade_status));
    if (cold->handle_count > 0 &&
        (again->handles == NULL || again->statuses == NULL)) {
        status = CASCADE_NO_MEMORY;
    }
    for (uint32_t i = 0; i < cold->handle_count && status == CASCADE_OK; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->state == TIER_SEGMENT_SEALED &&
            cold->directories[handle->directory].relation != TIER_SEGMENT_OWN) {
            handle->references++;
            again->handles[again->count++] = handle;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return status == CASCADE_OK
               ? CASCADE_OK
               : error_set(status, "no memory to look at the segments again");
}

// A file that cannot be read now has nothing to show.
static void
show_one(void *context, size_t index)
{
    struct again *again = context;
    struct tier_segment *cold = again->cold;
    struct tier_segment_handle *handle = again->handles[index];
    struct tier_segment_reader *reader;
    struct segment_index found;
    enum cascade_status status;

    if (is_late(cold, again->deadline_ns)) {
        again->statuses[index] = CASCADE_TIMEOUT;
        return;
    }
    status = tier_segment_reader_take(cold, &reader);
    if (status != CASCADE_OK) {
        again->statuses[index] = status;
        return;
    }
    segment_index_init(&found, cold->allocator);
    status = tier_segment_index_of(cold, handle, reader->reader, &found);
    tier_segment_reader_give(cold, reader);
    if (status == CASCADE_OK) {
        tier_segment_show(cold, handle, &found, true, NULL, again->visit,
                          again->context);
    }
    segment_index_fini(&found);
    again->statuses[index] = status == CASCADE_NO_MEMORY ? status : CASCADE_OK;
}

static enum cascade_status
show_all(struct again *again)
{
    struct tier_segment *cold = again->cold;
    enum cascade_status status = hold_all(again);

    if (status == CASCADE_OK) {
        pool_parallel_for(cold->options.pool, show_one, again, again->count);
    }
    for (uint32_t i = 0; i < again->count; i++) {
        tier_segment_handle_drop(cold, again->handles[i]);
        if (status == CASCADE_OK && again->statuses[i] != CASCADE_OK) {
            status = error_set(again->statuses[i],
                               "the segments of others could not all be "
                               "looked at again");
        }
    }
    allocator_release(cold->allocator, again->handles);
    allocator_release(cold->allocator, again->statuses);
    return status;
}

bool
tier_segment_is_alone(struct tier_segment *cold)
{
    bool alone = true;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->directory_count; i++) {
        const struct tier_segment_directory *directory = &cold->directories[i];

        alone = alone &&
                (directory->gone || directory->relation == TIER_SEGMENT_OWN ||
                 directory->relation == TIER_SEGMENT_ADOPTED);
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return alone;
}

enum cascade_status
tier_segment_look_again(struct tier_segment *cold,
                        const struct block_place *place, uint64_t deadline_ns,
                        tier_segment_visit *visit, void *context)
{
    struct again again = {
        .cold = cold,
        .deadline_ns = deadline_ns,
        .visit = visit,
        .context = context,
    };
    enum cascade_status status = CASCADE_OK;

    if (!begin_scan(cold, deadline_ns)) {
        return error_set(CASCADE_TIMEOUT,
                         "the segments of others were still being looked at "
                         "when the deadline passed");
    }
    if (has_lost(cold, place)) {
        status = tier_segment_scan(cold, false, false, visit, context);
        if (status == CASCADE_OK) {
            status = show_all(&again);
        }
        if (status == CASCADE_OK) {
            cold->losses_shown = cold->losses;
        }
    }
    end_scan(cold);
    return status;
}
