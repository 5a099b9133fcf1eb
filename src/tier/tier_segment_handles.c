// SPDX-License-Identifier: Apache-2.0
//
// Handles of segment files: numbers that places carry, references that keep a
// file readable, a bounded number of open files, and the readers that threads
// borrow. It neither lists nor writes.
//
// Locks: table_lock over every change; no I/O under it but closing.

#include "tier/tier_segment_inner.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

// Requests in flight of one reader, and their length where the memory needs no
// staging: enough that a fast disk never waits for the checks.
#define READ_DEPTH 16
#define READ_DIRECT_BYTES (2 * MIB)
#define READ_FLIGHT_BYTES (4 * MIB)

static bool
in_service(const struct tier_segment_handle *handle)
{
    return handle->state == TIER_SEGMENT_TAIL ||
           handle->state == TIER_SEGMENT_ACTIVE ||
           handle->state == TIER_SEGMENT_SEALED;
}

static bool
grow(struct tier_segment *cold)
{
    uint32_t room = cold->handle_room * 2 + 64;
    struct tier_segment_handle **handles;
    uint32_t *generations;

    handles = allocator_array(cold->allocator, room, sizeof(*handles));
    generations = allocator_array(cold->allocator, room, sizeof(*generations));
    if (handles == NULL || generations == NULL) {
        allocator_release(cold->allocator, handles);
        allocator_release(cold->allocator, generations);
        return false;
    }
    if (cold->handle_count > 0) {
        memcpy(handles, cold->handles, cold->handle_count * sizeof(*handles));
        memcpy(generations, cold->generations,
               cold->handle_count * sizeof(*generations));
    }
    allocator_release(cold->allocator, cold->handles);
    allocator_release(cold->allocator, cold->generations);
    cold->handles = handles;
    cold->generations = generations;
    cold->handle_room = room;
    return true;
}

static bool
contains(const uint64_t *sorted, uint64_t count, uint64_t value)
{
    uint64_t low = 0;
    uint64_t high = count;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (sorted[middle] < value) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && sorted[low] == value;
}

// Closes the open file that was unused for longest. Under table_lock.
static void
close_oldest(struct tier_segment *cold)
{
    struct tier_segment_handle *oldest = NULL;

    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->file != NULL && handle->references == 0 &&
            (oldest == NULL || handle->used_at < oldest->used_at)) {
            oldest = handle;
        }
    }
    if (oldest != NULL) {
        tier_segment_handle_close(cold, oldest);
    }
}

struct tier_segment_handle *
tier_segment_handle_add(struct tier_segment *cold, uint32_t directory,
                        uint64_t file_number)
{
    struct tier_segment_handle *handle;
    char name[TIER_SEGMENT_NAME_BYTES];
    uint32_t number = cold->handle_free;

    while (number < cold->handle_count && cold->handles[number] != NULL) {
        number++;
    }
    if (number == cold->handle_room && !grow(cold)) {
        return NULL;
    }
    handle = allocator_array(cold->allocator, 1, sizeof(*handle));
    if (handle == NULL) {
        return NULL;
    }
    if (number == cold->handle_count) {
        cold->handle_count++;
    }
    cold->handle_free = number + 1;
    if (cold->directories[directory].highest_number < file_number) {
        cold->directories[directory].highest_number = file_number;
    }
    handle->number = number;
    handle->generation = ++cold->generations[number];
    handle->directory = directory;
    handle->file_number = file_number;
    tier_segment_file_name(name, sizeof(name), file_number, "seg");
    (void)snprintf(handle->path, sizeof(handle->path), "%s/%s",
                   cold->directories[directory].writer, name);
    cold->handles[number] = handle;
    return handle;
}

void
tier_segment_handle_free(struct tier_segment *cold,
                         struct tier_segment_handle *handle)
{
    check(handle->references == 0);
    tier_segment_handle_close(cold, handle);
    cold->handles[handle->number] = NULL;
    if (handle->number < cold->handle_free) {
        cold->handle_free = handle->number;
    }
    allocator_release(cold->allocator, handle->durable);
    allocator_release(cold->allocator, handle->released);
    allocator_release(cold->allocator, handle);
}

struct tier_segment_handle *
tier_segment_handle_hold(struct tier_segment *cold, uint32_t number,
                         uint32_t generation)
{
    struct tier_segment_handle *handle = NULL;

    (void)pthread_mutex_lock(&cold->table_lock);
    if (number < cold->handle_count) {
        handle = cold->handles[number];
    }
    if (handle != NULL &&
        (handle->generation != generation || !in_service(handle))) {
        handle = NULL;
    }
    if (handle != NULL) {
        handle->references++;
        handle->used_at = ++cold->uses;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return handle;
}

struct tier_segment_handle *
tier_segment_handle_hold_place(struct tier_segment *cold,
                               const struct block_place *place)
{
    struct tier_segment_handle *handle;
    bool out;

    if (place->tier != CASCADE_TIER_SEGMENTS) {
        return NULL;
    }
    handle = tier_segment_handle_hold(cold, place->slot, place->generation);
    if (handle == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    out = contains(handle->released, handle->released_count, place->offset) ||
          (handle->condemned &&
           !contains(handle->durable, handle->durable_count, place->offset));
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (out) {
        tier_segment_handle_drop(cold, handle);
        return NULL;
    }
    return handle;
}

void
tier_segment_handle_drop(struct tier_segment *cold,
                         struct tier_segment_handle *handle)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    check(handle->references > 0);
    handle->references--;
    if (handle->references == 0) {
        (void)pthread_cond_broadcast(&cold->changed);
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
}

enum cascade_status
tier_segment_handle_open(struct tier_segment *cold,
                         struct tier_segment_handle *handle,
                         struct segment_reader *reader)
{
    struct segment_file *file = NULL;
    struct segment_file *spare = NULL;
    bool foreign = false;
    bool is_open;
    enum cascade_status status;

    (void)pthread_mutex_lock(&cold->table_lock);
    is_open = handle->file != NULL;
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (is_open) {
        return CASCADE_OK;
    }
    status = segment_read_open(reader, cold->root.directory, handle->path,
                               handle->path, &file, &foreign);
    if (status == CASCADE_NOT_FOUND) {
        return error_set(CASCADE_STALE, "the segment %s is gone", handle->path);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    if (handle->file != NULL) {
        spare = file; // another thread was first
    } else if (handle->facts_known &&
               memcmp(handle->facts.uuid, file->facts.uuid, 16) != 0) {
        spare = file; // somebody put another file there
        status = error_set(CASCADE_STALE, "the segment %s was replaced",
                           handle->path);
    } else {
        while (cold->open_files >= TIER_SEGMENT_OPEN_FILES_MAX) {
            uint32_t before = cold->open_files;

            close_oldest(cold);
            if (cold->open_files == before) {
                break;
            }
        }
        handle->file = file;
        cold->open_files++;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (spare != NULL) {
        segment_read_close(cold->writer_io, spare);
    }
    return status;
}

void
tier_segment_handle_close(struct tier_segment *cold,
                          struct tier_segment_handle *handle)
{
    if (handle->file != NULL) {
        segment_read_close(cold->writer_io, handle->file);
        handle->file = NULL;
        cold->open_files--;
    }
}

// Fills an empty reader slot. The slot is the caller's (busy).
static enum cascade_status
make_reader(struct tier_segment *cold, struct tier_segment_reader *slot)
{
    struct segment_io_options io = {
        .kind = (enum segment_io_kind)cold->options.io,
        .depth = READ_DEPTH,
        .direct_bytes = READ_DIRECT_BYTES,
        .flight_bytes = READ_FLIGHT_BYTES,
        .files = cold->files,
        .allocator = cold->allocator,
    };
    struct segment_reader_options options = {.allocator = cold->allocator};
    enum cascade_status status = segment_io_create(&io, &slot->io);

    if (status != CASCADE_OK) {
        return status;
    }
    options.io = slot->io;
    status = segment_reader_create(&options, &slot->reader);
    if (status != CASCADE_OK) {
        segment_io_destroy(slot->io);
        slot->io = NULL;
        slot->reader = NULL;
    }
    return status;
}

enum cascade_status
tier_segment_reader_take(struct tier_segment *cold,
                         struct tier_segment_reader **reader)
{
    struct tier_segment_reader *slot = NULL;
    enum cascade_status status = CASCADE_OK;

    (void)pthread_mutex_lock(&cold->table_lock);
    while (slot == NULL) {
        // One that is made already is better than a new one.
        for (uint32_t i = 0; i < TIER_SEGMENT_READERS; i++) {
            struct tier_segment_reader *one = &cold->readers[i];

            if (!one->busy && (slot == NULL ||
                               (slot->reader == NULL && one->reader != NULL))) {
                slot = one;
            }
        }
        if (slot == NULL) {
            (void)pthread_cond_wait(&cold->changed, &cold->table_lock);
        }
    }
    slot->busy = true;
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (slot->reader == NULL) {
        status = make_reader(cold, slot);
    }
    if (status != CASCADE_OK) {
        tier_segment_reader_give(cold, slot);
        return status;
    }
    *reader = slot;
    return CASCADE_OK;
}

void
tier_segment_reader_give(struct tier_segment *cold,
                         struct tier_segment_reader *reader)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    reader->busy = false;
    (void)pthread_cond_broadcast(&cold->changed);
    (void)pthread_mutex_unlock(&cold->table_lock);
}

void
tier_segment_place_of(const struct tier_segment_handle *handle, bool own,
                      const struct segment_entry *entry,
                      struct block_place *place)
{
    memset(place, 0, sizeof(*place));
    if (!segment_format_has_payload(entry)) {
        return;
    }
    place->tier = CASCADE_TIER_SEGMENTS;
    place->flags = own ? BLOCK_PLACE_OWN : 0;
    place->slot = handle->number;
    place->generation = handle->generation;
    place->checksum = entry->checksum;
    place->offset = entry->offset;
    place->bytes = entry->bytes;
}

void
tier_segment_saw(struct tier_segment *cold, struct block_version version)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    cold->highest = tier_segment_later(cold->highest, version);
    (void)pthread_mutex_unlock(&cold->table_lock);
}
