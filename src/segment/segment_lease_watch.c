// SPDX-License-Identifier: Apache-2.0
//
// Observation of leases; see the header. No lock.

#include "segment/segment_lease_watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/units.h"

static const char note_magic[8] = "CSCDSEEN";

// On disk before the rows; the checksum is over the rows.
struct note_header {
    char magic[8];
    uint32_t count;
    uint32_t checksum;
};
_Static_assert(sizeof(struct note_header) == 16, "note layout");
_Static_assert(sizeof(struct segment_lease_seen) ==
                   SEGMENT_LEASE_WRITER_BYTES + 16,
               "note row layout");

static bool
note_name(const struct segment_lease_watch *watch, char *name, size_t size)
{
    uint32_t hash = crc32c(0, watch->self.boot, strlen(watch->self.boot));

    // A process that does not know its clock shares nothing.
    if (!segment_lease_holder_same_clock(&watch->self, &watch->self)) {
        return false;
    }
    (void)snprintf(name, size, SEGMENT_LEASE_NOTE_PREFIX "%08x%016llx", hash,
                   (unsigned long long)watch->self.time_namespace);
    return true;
}

static void
load(struct segment_lease_watch *watch)
{
    const struct file_system *files = watch->root->files;
    struct note_header header;
    uint64_t now_ns = clock_steady_ns(watch->clock);
    char name[64];
    uint32_t kept = 0;
    int file;

    if (!note_name(watch, name, sizeof(name))) {
        return;
    }
    file = files->open_at(files->self, watch->root->directory, name, O_RDONLY,
                          0);
    if (file < 0) {
        return;
    }
    if (file_read_all(files, file, name, &header, sizeof(header), 0) ==
            CASCADE_OK &&
        memcmp(header.magic, note_magic, sizeof(note_magic)) == 0 &&
        header.count <= SEGMENT_LEASE_WATCHED_MAX &&
        file_read_all(files, file, name, watch->seen,
                      header.count * sizeof(*watch->seen),
                      sizeof(header)) == CASCADE_OK &&
        crc32c(0, watch->seen, header.count * sizeof(*watch->seen)) ==
            header.checksum) {
        for (uint32_t i = 0; i < header.count; i++) {
            struct segment_lease_seen *row = &watch->seen[i];

            row->writer[sizeof(row->writer) - 1] = '\0';
            if (segment_lease_is_writer(row->writer) &&
                row->first_ns <= now_ns) {
                watch->seen[kept++] = *row;
            }
        }
    }
    watch->count = kept;
    (void)files->close(files->self, file);
}

static struct segment_lease_seen *
find(struct segment_lease_watch *watch, const char *writer)
{
    for (uint32_t i = 0; i < watch->count; i++) {
        if (strcmp(watch->seen[i].writer, writer) == 0) {
            return &watch->seen[i];
        }
    }
    return NULL;
}

// How long this number has been seen. A full table remembers nothing new,
// which only keeps leases alive.
static uint64_t
note_number(struct segment_lease_watch *watch, const char *writer,
            uint64_t number, uint64_t now_ns)
{
    struct segment_lease_seen *row = find(watch, writer);

    if (row == NULL) {
        if (watch->count == SEGMENT_LEASE_WATCHED_MAX) {
            return 0;
        }
        row = &watch->seen[watch->count++];
        memset(row, 0, sizeof(*row));
        (void)snprintf(row->writer, sizeof(row->writer), "%s", writer);
    } else if (row->number == number && row->first_ns <= now_ns) {
        return now_ns - row->first_ns;
    }
    row->number = number;
    row->first_ns = now_ns;
    watch->changed = true;
    return 0;
}

enum cascade_status
segment_lease_watch_init(struct segment_lease_watch *watch,
                         const struct segment_root *root,
                         const struct clock_source *clock,
                         const struct segment_lease_holder *self,
                         const struct allocator *allocator)
{
    memset(watch, 0, sizeof(*watch));
    watch->allocator = allocator;
    watch->root = root;
    watch->clock = clock;
    watch->self = *self;
    watch->lease_ns = self->lease_ns;
    watch->seen = allocator_array(allocator, SEGMENT_LEASE_WATCHED_MAX,
                                  sizeof(*watch->seen));
    if (watch->seen == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to observe leases");
    }
    load(watch);
    return CASCADE_OK;
}

void
segment_lease_watch_fini(struct segment_lease_watch *watch)
{
    allocator_release(watch->allocator, watch->seen);
    watch->seen = NULL;
}

void
segment_lease_watch_save(struct segment_lease_watch *watch)
{
    size_t bytes = watch->count * sizeof(*watch->seen);
    struct note_header header = {.count = watch->count};
    struct segment_root_file file = {0};
    char name[64];
    char *data;

    if (!watch->changed || !note_name(watch, name, sizeof(name))) {
        return;
    }
    data = allocator_array(watch->allocator, sizeof(header) + bytes, 1);
    if (data == NULL) {
        return;
    }
    memcpy(header.magic, note_magic, sizeof(note_magic));
    header.checksum = crc32c(0, watch->seen, bytes);
    memcpy(data, &header, sizeof(header));
    memcpy(data + sizeof(header), watch->seen, bytes);
    file.name = name;
    file.data = data;
    file.bytes = sizeof(header) + bytes;
    if (segment_root_replace(watch->root, watch->root->directory, &file) ==
        CASCADE_OK) {
        watch->changed = false;
    }
    allocator_release(watch->allocator, data);
}

enum segment_lease_verdict
segment_lease_watch_judge(struct segment_lease_watch *watch, const char *writer,
                          const struct segment_lease_sight *sight,
                          uint64_t *left_ns)
{
    uint64_t now_ns = clock_steady_ns(watch->clock);
    uint64_t grant_ns = SEGMENT_LEASE_NS_MAX;
    uint64_t seen_ns;

    if (left_ns != NULL) {
        *left_ns = 0;
    }
    if (sight->state == SEGMENT_LEASE_ADOPTED ||
        sight->state == SEGMENT_LEASE_FREE ||
        sight->state == SEGMENT_LEASE_MISSING) {
        segment_lease_watch_forget(watch, writer);
        return SEGMENT_LEASE_ENDED;
    }
    if (sight->known) {
        grant_ns = units_min(units_max(watch->lease_ns, sight->holder.lease_ns),
                             SEGMENT_LEASE_NS_MAX);
        if (sight->state == SEGMENT_LEASE_NUMBERED &&
            segment_lease_holder_is_gone(&sight->holder, &watch->self)) {
            return SEGMENT_LEASE_GONE;
        }
    }
    seen_ns = note_number(watch, writer, sight->number, now_ns);
    if (sight->state == SEGMENT_LEASE_NUMBERED && seen_ns >= grant_ns) {
        return SEGMENT_LEASE_EXPIRED;
    }
    // Without the file its writer cannot renew: it stopped long ago.
    if (sight->state == SEGMENT_LEASE_NONE && seen_ns >= grant_ns) {
        return SEGMENT_LEASE_ENDED;
    }
    if (left_ns != NULL) {
        *left_ns = seen_ns >= grant_ns ? 0 : grant_ns - seen_ns;
    }
    return SEGMENT_LEASE_ALIVE;
}

void
segment_lease_watch_forget(struct segment_lease_watch *watch,
                           const char *writer)
{
    struct segment_lease_seen *row = find(watch, writer);

    if (row != NULL) {
        *row = watch->seen[--watch->count];
        watch->changed = true;
    }
}
