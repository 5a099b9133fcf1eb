// SPDX-License-Identifier: Apache-2.0
//
// Every record of one segment with its key's bytes, for reclaim. The footer
// (or the adopter's index) says which records count; a walk over the headers
// brings what footers leave out. A record whose header cannot be read any more
// is shown with what the footer knows.
//
// Locks: a reference on the handle; none over I/O or visits.

#include "tier/tier_segment_inner.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct merge {
    struct tier_segment *cold;
    struct tier_segment_handle *handle;
    const struct segment_footer_entry *entries; // in the order of the file
    uint64_t count;
    uint64_t at;
    bool own;
    tier_segment_visit *visit;
    void *context;
};

struct gather {
    struct segment_index *index;
    bool no_memory;
};

static bool
gather_entry(void *context, const struct segment_entry *entry)
{
    struct gather *gather = context;

    if (segment_index_reserve(gather->index, 1) != CASCADE_OK) {
        gather->no_memory = true;
        return false;
    }
    segment_index_add(gather->index, entry);
    return true;
}

static int
compare_entries(const void *a, const void *b)
{
    const struct segment_footer_entry *x = a;
    const struct segment_footer_entry *y = b;

    if (x->header_offset != y->header_offset) {
        return x->header_offset < y->header_offset ? -1 : 1;
    }
    return (x->item > y->item) - (x->item < y->item);
}

static void
show(struct merge *merge, const struct segment_entry *entry)
{
    struct tier_segment_entry shown = {
        .label = entry->label,
        .segment = merge->handle->number,
        .own = merge->own,
        .durable = merge->handle->state == TIER_SEGMENT_SEALED,
    };

    tier_segment_place_of(merge->handle, merge->own, entry, &shown.place);
    merge->visit(merge->context, &shown);
}

// Shows the entries before this place of the file, which the walk passed over.
static void
show_until(struct merge *merge, uint64_t header_offset, uint32_t item)
{
    struct segment_entry entry;

    while (merge->at < merge->count) {
        const struct segment_footer_entry *next = &merge->entries[merge->at];

        if (next->header_offset > header_offset ||
            (next->header_offset == header_offset && next->item >= item)) {
            return;
        }
        if (segment_format_get_entry(next, merge->handle->bytes, &entry)) {
            show(merge, &entry);
        }
        merge->at++;
    }
}

static bool
merge_entry(void *context, const struct segment_entry *walked)
{
    struct merge *merge = context;

    show_until(merge, walked->header_offset, walked->item);
    if (merge->at < merge->count &&
        merge->entries[merge->at].header_offset == walked->header_offset &&
        merge->entries[merge->at].item == walked->item) {
        show(merge, walked);
        merge->at++;
    }
    return true;
}

// What counts in this file, as its footer, its index file or a walk says.
static enum cascade_status
read_entries(struct tier_segment *cold, struct tier_segment_handle *handle,
             const struct segment_file *records, struct segment_reader *reader,
             struct segment_index *index)
{
    struct gather gather = {.index = index};
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result result;
    struct segment_file *file = NULL;
    enum cascade_status status;

    if (handle->index_used) {
        status = segment_read_open(reader, cold->root.directory, handle->index,
                                   handle->index, &file, NULL);
        if (status == CASCADE_OK) {
            status = segment_read_entries(reader, file, gather_entry, &gather);
            segment_read_close(cold->writer_io, file);
        }
    } else if (records->sealed) {
        status = segment_read_entries(reader, records, gather_entry, &gather);
    } else {
        status = segment_walk(reader, records, &options, 0, gather_entry,
                              &gather, &result);
    }
    if (gather.no_memory) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the entries of %s",
                         handle->path);
    }
    return status;
}

enum cascade_status
tier_segment_index_of(struct tier_segment *cold,
                      struct tier_segment_handle *handle,
                      struct segment_reader *reader,
                      struct segment_index *index)
{
    struct segment_file *file = NULL;
    enum cascade_status status = segment_read_open(
        reader, cold->root.directory, handle->path, handle->path, &file, NULL);

    if (status != CASCADE_OK) {
        return status;
    }
    status = read_entries(cold, handle, file, reader, index);
    segment_read_close(cold->writer_io, file);
    return status;
}

// Opens the file anew: a handle may have been opened before its footer was.
static enum cascade_status
show_all(struct merge *merge, struct segment_reader *reader)
{
    struct segment_walk_options options = {.verify = false};
    struct tier_segment *cold = merge->cold;
    struct segment_walk_result result;
    struct segment_index index;
    struct segment_file *file = NULL;
    enum cascade_status status = segment_read_open(
        reader, cold->root.directory, merge->handle->path, merge->handle->path,
        &file, NULL);

    if (status != CASCADE_OK) {
        return status == CASCADE_NOT_FOUND
                   ? error_set(CASCADE_STALE, "%s is gone", merge->handle->path)
                   : status;
    }
    segment_index_init(&index, cold->allocator);
    status = read_entries(cold, merge->handle, file, reader, &index);
    if (status != CASCADE_OK) {
        goto release;
    }
    if (index.count > 1) {
        qsort(index.entries, index.count, sizeof(*index.entries),
              compare_entries);
    }
    merge->entries = index.entries;
    merge->count = index.count;
    status = segment_walk(reader, file, &options, file->data_bytes, merge_entry,
                          merge, &result);
    if (status == CASCADE_OK) {
        show_until(merge, UINT64_MAX, 0);
    }

release:
    segment_index_fini(&index);
    segment_read_close(cold->writer_io, file);
    return status;
}

bool
tier_segment_is_served(struct tier_segment *cold,
                       const struct block_place *place)
{
    struct tier_segment_handle *handle = tier_segment_handle_hold_place(cold,
                                                                        place);

    if (handle == NULL) {
        return false;
    }
    tier_segment_handle_drop(cold, handle);
    return true;
}

bool
tier_segment_is_there(struct tier_segment *cold,
                      const struct block_place *place)
{
    struct tier_segment_handle *handle = tier_segment_handle_hold_place(cold,
                                                                        place);
    struct stat found;
    bool there;

    if (handle == NULL) {
        return false;
    }
    there = cold->files->stat_at(cold->files->self, cold->root.directory,
                                 handle->path, &found) == 0;
    tier_segment_handle_drop(cold, handle);
    return there;
}

enum cascade_status
tier_segment_entries(struct tier_segment *cold, uint32_t segment,
                     tier_segment_visit *visit, void *context)
{
    struct tier_segment_reader *reader;
    struct tier_segment_handle *handle;
    uint32_t generation = 0;
    enum cascade_status status;

    (void)pthread_mutex_lock(&cold->table_lock);
    if (segment < cold->handle_count) {
        generation = cold->generations[segment];
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    handle = tier_segment_handle_hold(cold, segment, generation);
    if (handle == NULL) {
        return error_set(CASCADE_STALE, "segment %u is gone", segment);
    }
    status = tier_segment_reader_take(cold, &reader);
    if (status == CASCADE_OK) {
        enum tier_segment_relation relation;
        struct merge merge = {
            .cold = cold,
            .handle = handle,
            .visit = visit,
            .context = context,
        };

        (void)pthread_mutex_lock(&cold->table_lock);
        relation = cold->directories[handle->directory].relation;
        (void)pthread_mutex_unlock(&cold->table_lock);
        merge.own = relation == TIER_SEGMENT_OWN ||
                    relation == TIER_SEGMENT_ADOPTED;
        status = show_all(&merge, reader->reader);
        tier_segment_reader_give(cold, reader);
    }
    tier_segment_handle_drop(cold, handle);
    return status;
}
