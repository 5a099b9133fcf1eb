// SPDX-License-Identifier: Apache-2.0
//
// Reading what one file holds: footer, index file, or the walk of a tail; and
// sealing an adopted tail. Runs on pool threads, one handle each, for the
// scanner, who alone changes handles that are not in service yet.
//
// Invariant: a payload of a tail is shown only after its checksum matched, so
// no place of this tier is ever unverified. A record of a tail whose payload
// is bad never was.
// Locks: table_lock for the moment a handle changes its state.

#include "tier/tier_segment_inner.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define SHOWN_AT_ONCE 64

struct collect {
    struct segment_index *index;
    bool no_memory;
};

static bool
collect_entry(void *context, const struct segment_entry *entry)
{
    struct collect *collect = context;

    if (segment_index_reserve(collect->index, 1) != CASCADE_OK) {
        collect->no_memory = true;
        return false;
    }
    segment_index_add(collect->index, entry);
    return true;
}

// What a load found out, before it becomes visible.
struct found {
    struct segment_file *file; // opened; moves to the handle
    enum tier_segment_state state;
    bool incomplete;
    bool corrupt;
    bool index_used;
    bool is_ours;
    uint64_t records;
    uint64_t bytes;
};

// Whatever says it, header or trailer: what lies here by mistake would bring
// bindings, and clears, of another namespace.
static bool
is_of_this_place(const struct tier_segment *cold,
                 const struct tier_segment_handle *handle,
                 const struct segment_file *file)
{
    return file->facts.kind != SEGMENT_FILE_INDEX &&
           file->facts.number == handle->file_number &&
           memcmp(file->facts.namespace_digest, cold->namespace_digest,
                  sizeof(cold->namespace_digest)) == 0;
}

// Entries of a whole footer. False: it is damaged, so that the file is walked.
static enum cascade_status
read_footer(struct tier_segment_reader *reader, const struct segment_file *file,
            struct segment_index *index, bool *whole)
{
    struct collect collect = {.index = index};
    enum cascade_status status = segment_read_entries(reader->reader, file,
                                                      collect_entry, &collect);

    if (collect.no_memory || status == CASCADE_NO_MEMORY) {
        return CASCADE_NO_MEMORY;
    }
    *whole = status == CASCADE_OK;
    if (!*whole) {
        const struct allocator *allocator = index->allocator;

        segment_index_fini(index);
        segment_index_init(index, allocator);
    }
    return CASCADE_OK;
}

// The entries that an adopter's index file names. Not whole: the index is
// damaged, missing, or another file's.
static enum cascade_status
read_index(struct tier_segment *cold, struct tier_segment_reader *reader,
           const struct tier_segment_handle *handle,
           const struct segment_file *subject, struct segment_index *index,
           struct found *found)
{
    struct segment_file *file = NULL;
    enum cascade_status status;
    bool whole = false;

    if (handle->index[0] == '\0') {
        return CASCADE_OK;
    }
    status = segment_read_open(reader->reader, cold->root.directory,
                               handle->index, handle->index, &file, NULL);
    if (status != CASCADE_OK) {
        return status == CASCADE_NO_MEMORY ? status : CASCADE_OK;
    }
    if (file->sealed && file->facts.kind == SEGMENT_FILE_INDEX &&
        memcmp(file->facts.subject_uuid, subject->facts.uuid, 16) == 0) {
        status = read_footer(reader, file, index, &whole);
        found->records = file->record_count;
    }
    segment_read_close(reader->io, file);
    if (status == CASCADE_OK && whole) {
        found->index_used = true;
        found->state = TIER_SEGMENT_SEALED;
    }
    return status;
}

// True if the walk found what the trailer counts.
static bool
is_all(const struct segment_file *file,
       const struct segment_walk_result *result)
{
    return result->entries == file->entry_count && result->bad_payloads == 0 &&
           block_version_compare(result->lowest, file->lowest) == 0 &&
           block_version_compare(result->highest, file->highest) == 0;
}

static enum cascade_status
walk(struct tier_segment_reader *reader, const struct segment_file *file,
     struct segment_index *index, struct found *found)
{
    struct collect collect = {.index = index};
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result result = {0};
    enum cascade_status status = segment_walk(reader->reader, file, &options,
                                              file->data_bytes, collect_entry,
                                              &collect, &result);

    if (collect.no_memory || status == CASCADE_NO_MEMORY) {
        return error_set(CASCADE_NO_MEMORY, "no memory to read %s", file->path);
    }
    found->state = TIER_SEGMENT_TAIL;
    found->records = result.records;
    // A crash may leave the trailer without its index; the trailer says what a
    // walk has to find. Less means that the file said more once.
    found->incomplete = status != CASCADE_OK ||
                        (file->sealed && !is_all(file, &result));
    found->corrupt = status == CASCADE_OK && found->incomplete;
    return CASCADE_OK;
}

static enum cascade_status
read_file(struct tier_segment *cold, struct tier_segment_reader *reader,
          struct tier_segment_handle *handle, struct segment_index *index,
          struct found *found)
{
    struct stat seen;
    bool foreign = false;
    bool whole = false;
    enum cascade_status status = segment_read_open(
        reader->reader, cold->root.directory, handle->path, handle->path,
        &found->file, &foreign);

    if (status == CASCADE_NO_MEMORY) {
        return status;
    }
    found->is_ours = !foreign;
    if (status == CASCADE_NOT_FOUND && !foreign) {
        found->state = TIER_SEGMENT_GONE;
        return CASCADE_OK;
    }
    if (status != CASCADE_OK || !is_of_this_place(cold, handle, found->file)) {
        found->state = TIER_SEGMENT_DAMAGED;
        found->incomplete = true;
        found->corrupt = foreign || status == CASCADE_CORRUPT;
        if (cold->files->stat_at(cold->files->self, cold->root.directory,
                                 handle->path, &seen) == 0) {
            found->bytes = (uint64_t)seen.st_size;
        }
        log_write(cold->options.log, LOG_LEVEL_WARNING,
                  "segment left alone path=%s status=%s", handle->path,
                  cascade_status_name(status));
        return CASCADE_OK;
    }
    status = read_index(cold, reader, handle, found->file, index, found);
    if (status != CASCADE_OK || found->index_used) {
        return status;
    }
    if (found->file->sealed) {
        status = read_footer(reader, found->file, index, &whole);
        if (status != CASCADE_OK) {
            return status;
        }
        found->records = found->file->record_count;
        found->state = TIER_SEGMENT_SEALED;
        if (whole) {
            return CASCADE_OK;
        }
        log_write(cold->options.log, LOG_LEVEL_WARNING,
                  "footer damaged, records are walked path=%s", handle->path);
    }
    return walk(reader, found->file, index, found);
}

// Makes what was found visible.
static void
install(struct tier_segment *cold, struct tier_segment_handle *handle,
        const struct segment_index *index, struct found *found)
{
    (void)pthread_mutex_lock(&cold->table_lock);
    handle->incomplete = found->incomplete;
    handle->corrupt = found->corrupt;
    handle->index_used = found->index_used;
    handle->records = found->records;
    handle->blocks = 0;
    handle->bytes = found->bytes;
    handle->lowest = index->lowest;
    handle->highest = index->highest;
    if (handle->state != TIER_SEGMENT_RETIRED) {
        handle->state = found->state;
    }
    if (found->file != NULL) {
        handle->facts = found->file->facts;
        handle->facts_known = found->state != TIER_SEGMENT_DAMAGED;
        handle->bytes = found->file->bytes;
        cold->highest = tier_segment_later(cold->highest,
                                           handle->facts.created);
    }
    cold->highest = tier_segment_later(cold->highest, index->highest);
    for (uint64_t i = 0; i < index->count; i++) {
        if ((index->entries[i].flags & (BLOCK_LABEL_BIND | BLOCK_LABEL_REMOVAL |
                                        BLOCK_LABEL_CLEAR)) == 0) {
            handle->blocks++;
        }
    }
    if (!found->is_ours) {
        cold->foreign_files++;
    }
    cold->losses += found->state == TIER_SEGMENT_GONE ||
                    found->state == TIER_SEGMENT_DAMAGED;
    (void)pthread_mutex_unlock(&cold->table_lock);
}

enum cascade_status
tier_segment_load(struct tier_segment *cold, struct tier_segment_handle *handle,
                  struct segment_index *index)
{
    struct tier_segment_reader *reader;
    struct found found = {.is_ours = true};
    enum cascade_status status = tier_segment_reader_take(cold, &reader);

    if (status != CASCADE_OK) {
        return status;
    }
    status = read_file(cold, reader, handle, index, &found);
    if (status == CASCADE_OK) {
        install(cold, handle, index, &found);
    }
    // Opened again when it is read: a start must not hold every file open.
    if (found.file != NULL) {
        segment_read_close(reader->io, found.file);
    }
    tier_segment_reader_give(cold, reader);
    return status;
}

void
tier_segment_show(struct tier_segment *cold,
                  const struct tier_segment_handle *handle,
                  const struct segment_index *index, bool again,
                  tier_segment_visit_many *visit_many,
                  tier_segment_visit *visit, void *context)
{
    enum tier_segment_relation relation =
        cold->directories[handle->directory].relation;
    struct tier_segment_entry shown[SHOWN_AT_ONCE];
    struct segment_entry entry;
    size_t count = 0;

    for (uint64_t i = 0; i < index->count; i++) {
        struct tier_segment_entry *next = &shown[count];

        if (!segment_format_get_entry(&index->entries[i], handle->bytes,
                                      &entry)) {
            continue;
        }
        next->segment = handle->number;
        next->own = relation == TIER_SEGMENT_OWN ||
                    relation == TIER_SEGMENT_ADOPTED;
        next->sibling = relation == TIER_SEGMENT_SIBLING;
        next->durable = handle->state == TIER_SEGMENT_SEALED;
        next->again = again;
        next->label = entry.label;
        tier_segment_place_of(handle, next->own, &entry, &next->place);
        if (visit_many == NULL) {
            visit(context, next);
        } else if (++count == SHOWN_AT_ONCE) {
            visit_many(context, shown, count);
            count = 0;
        }
    }
    if (count > 0) {
        visit_many(context, shown, count);
    }
}

// Makes what the dead writer left in the page cache durable.
static enum cascade_status
sync_tail(struct tier_segment *cold, const struct tier_segment_handle *handle)
{
    int file = cold->files->open_at(cold->files->self, cold->root.directory,
                                    handle->path, O_RDONLY, 0);
    int result;

    if (file < 0) {
        return error_set_errno(-file, "cannot open %s", handle->path);
    }
    result = cold->files->sync(cold->files->self, file);
    (void)cold->files->close(cold->files->self, file);
    if (result < 0) {
        return error_set_errno(-result, "cannot sync %s", handle->path);
    }
    return CASCADE_OK;
}

enum cascade_status
tier_segment_seal_adopted(struct tier_segment *cold,
                          struct tier_segment_handle *handle,
                          const struct segment_index *index)
{
    char number[TIER_SEGMENT_NUMBER_BYTES];
    char name[TIER_SEGMENT_NAME_BYTES];
    char path[TIER_SEGMENT_PATH_BYTES];
    struct segment_index_options options = {
        .io = cold->writer_io,
        .allocator = cold->allocator,
        .directory = cold->lease.directory,
        .name = name,
        .path = path,
        .mode = cold->root.file_mode,
        .facts = handle->facts,
    };
    enum cascade_status status = sync_tail(cold, handle);

    if (status != CASCADE_OK) {
        return status;
    }
    memset(options.facts.uuid, 0, sizeof(options.facts.uuid));
    memcpy(options.facts.subject_uuid, handle->facts.uuid, 16);
    options.facts.subject_bytes = handle->bytes;
    options.facts.subject_number = handle->file_number;
    (void)snprintf(options.facts.subject_path,
                   sizeof(options.facts.subject_path), "%s", handle->path);
    tier_segment_file_name(number, sizeof(number), handle->file_number, "idx");
    (void)snprintf(name, sizeof(name), "%s.%s",
                   cold->directories[handle->directory].writer, number);
    (void)snprintf(path, sizeof(path), "%s/%s", cold->lease.writer, name);
    options.next_seq = index->count == 0
                           ? 1
                           : index->entries[index->count - 1].seq + 1;
    (void)pthread_mutex_lock(&cold->writer_lock);
    status = segment_index_create(&options, index);
    if (status == CASCADE_EXISTS) {
        // What an earlier failure left in the own directory.
        (void)cold->files->unlink_at(cold->files->self, cold->lease.directory,
                                     name, 0);
        status = segment_index_create(&options, index);
    }
    (void)pthread_mutex_unlock(&cold->writer_lock);
    if (status != CASCADE_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    (void)snprintf(handle->index, sizeof(handle->index), "%s", path);
    handle->index_used = true;
    handle->state = TIER_SEGMENT_SEALED;
    (void)pthread_mutex_unlock(&cold->table_lock);
    return CASCADE_OK;
}
