// SPDX-License-Identifier: Apache-2.0
//
// Missing and damaged files: below which version bindings must not be served,
// because a file that nobody can read any more may have changed them. Only
// where keys may be bound again; elsewhere a missing file is a miss.
//
// A writer's numbers have no gaps. A gap is meant if the header of a later file
// says that the writer had retired it, or if its marker (NNNNNNNN.gone) is
// there; else all that the file may have said is at or below the highest
// version that its successor's header repeats.
// Locks: none; called by the scanner while nobody else has the store.

#include "tier/tier_segment_inner.h"

#include <stdio.h>

#include "base/units.h"

static bool
is_explained(struct tier_segment *cold, uint32_t directory, uint64_t number)
{
    char name[TIER_SEGMENT_NUMBER_BYTES];
    char path[TIER_SEGMENT_PATH_BYTES];
    struct stat found;

    tier_segment_file_name(name, sizeof(name), number, "gone");
    (void)snprintf(path, sizeof(path), "%s/%s",
                   cold->directories[directory].writer, name);
    return cold->files->stat_at(cold->files->self, cold->root.directory, path,
                                &found) == 0;
}

// The sound file of this directory with the lowest number from `number` on.
static struct tier_segment_handle *
next_file(struct tier_segment *cold, uint32_t directory, uint64_t number)
{
    struct tier_segment_handle *next = NULL;

    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->directory == directory &&
            handle->facts_known && handle->file_number >= number &&
            (next == NULL || handle->file_number < next->file_number)) {
            next = handle;
        }
    }
    return next;
}

// All that the files before this one may have said is at or below this.
static struct block_version
highest_before(const struct tier_segment *cold,
               const struct tier_segment_handle *handle)
{
    struct block_version all = {cold->highest.time_ns + 1, 0};

    return handle->facts.kind == SEGMENT_FILE_HEADLESS
               ? all
               : handle->facts.earlier_highest;
}

static struct block_version
directory_floor(struct tier_segment *cold, uint32_t directory,
                uint64_t header_bytes)
{
    struct block_version floor = {0};
    uint64_t live = 1;
    uint64_t last = 0;

    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle == NULL || handle->directory != directory) {
            continue;
        }
        if (handle->file_number > last) {
            last = handle->file_number;
        }
        if (handle->facts_known && handle->facts.lowest_live_number > live) {
            live = handle->facts.lowest_live_number;
        }
        // A file that is there but not whole: all that it may have said is
        // below what its successors say of it, or below all that is known. A
        // last file too short for a record is one that a crash left.
        if (handle->incomplete &&
            next_file(cold, directory, handle->file_number + 1) == NULL &&
            (handle->facts_known || handle->bytes > header_bytes)) {
            handle->withholds = true;
            floor.time_ns = cold->highest.time_ns + 1;
            return floor;
        }
    }
    while (live < last) {
        struct tier_segment_handle *next = next_file(cold, directory, live);
        struct tier_segment_handle *after;

        if (next == NULL) {
            break;
        }
        if (next->file_number == live && !next->incomplete) {
            live++;
            continue;
        }
        after = next_file(cold, directory, live + 1);
        if (after != NULL && !is_explained(cold, directory, live)) {
            floor = tier_segment_later(floor, highest_before(cold, after));
        }
        live++;
    }
    return floor;
}

struct block_version
tier_segment_floor(struct tier_segment *cold)
{
    struct block_version floor = {0};
    uint64_t header_bytes = SEGMENT_ALIGNMENT_MIN;

    // Files of one root have headers of one size, mostly.
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        if (cold->handles[i] != NULL && cold->handles[i]->facts_known) {
            header_bytes = units_max(header_bytes,
                                     cold->handles[i]->facts.alignment_bytes);
        }
    }

    for (uint32_t i = 0; i < cold->directory_count && cold->rebind_allowed;
         i++) {
        if (!cold->directories[i].gone) {
            floor = tier_segment_later(floor,
                                       directory_floor(cold, i, header_bytes));
        }
    }
    return floor;
}
