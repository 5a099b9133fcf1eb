// SPDX-License-Identifier: Apache-2.0
//
// Collects keys from a store and names them from its segment files. The list
// is sorted by digest while names are looked for, then by key.

#include "tools/key_list.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/file.h"
#include "base/units.h"
#include "segment/segment_read.h"
#include "segment/segment_walk.h"
#include "tools/segment_paths.h"

static bool
grow(struct key_list *list)
{
    size_t room = units_max(2 * list->room, 1024);
    struct key_row *rows;

    if (list->count < list->room) {
        return true;
    }
    rows = allocator_array(allocator_system(), room, sizeof(*rows));
    if (rows == NULL) {
        list->full = true;
        return false;
    }
    if (list->count > 0) {
        memcpy(rows, list->rows, list->count * sizeof(*rows));
    }
    allocator_release(allocator_system(), list->rows);
    list->rows = rows;
    list->room = room;
    return true;
}

static bool
set_key(struct key_list *list, struct key_row *row, const void *key,
        size_t key_bytes)
{
    row->key = allocator_array(allocator_system(), key_bytes, 1);
    if (row->key == NULL) {
        list->full = true;
        return false;
    }
    memcpy(row->key, key, key_bytes);
    row->key_bytes = key_bytes;
    return true;
}

// Called by the store for each key; false ends the visit.
static bool
take_entry(void *context, const struct cascade_entry *entry)
{
    struct key_list *list = context;
    struct key_row *row;

    if (!grow(list)) {
        return false;
    }
    row = &list->rows[list->count];
    memset(row, 0, sizeof(*row));
    memcpy(row->digest, entry->key_digest, sizeof(row->digest));
    memcpy(row->id, entry->id, sizeof(row->id));
    row->bytes = entry->bytes;
    row->protected_prefix = entry->protected_prefix;
    row->in_memory = entry->in_memory;
    row->on_segments = entry->on_segments;
    if (entry->key.bytes == 0) {
        list->nameless++;
    } else if (!set_key(list, row, entry->key.data, entry->key.bytes)) {
        return false;
    }
    list->count++;
    return true;
}

static int
compare_digests(const void *left, const void *right)
{
    const struct key_row *a = left;
    const struct key_row *b = right;

    return memcmp(a->digest, b->digest, sizeof(a->digest));
}

// Keys by their bytes; after them those without a key, by digest.
static int
compare_keys(const void *left, const void *right)
{
    const struct key_row *a = left;
    const struct key_row *b = right;
    int order;

    if (a->key == NULL || b->key == NULL) {
        return a->key != b->key ? (a->key == NULL) - (b->key == NULL)
                                : compare_digests(left, right);
    }
    order = memcmp(a->key, b->key, units_min(a->key_bytes, b->key_bytes));
    if (order != 0) {
        return order;
    }
    return (a->key_bytes > b->key_bytes) - (a->key_bytes < b->key_bytes);
}

static void
sort(struct key_list *list, int (*compare)(const void *, const void *))
{
    if (list->count > 0) {
        qsort(list->rows, list->count, sizeof(*list->rows), compare);
    }
}

// Called for each entry of a segment file; false when nothing is wanted more.
static bool
name_row(void *context, const struct segment_entry *entry)
{
    struct key_list *list = context;
    const struct block_label *label = &entry->label;
    struct key_row wanted = {.key = NULL};
    struct key_row *row;

    if (label->key_bytes == 0) {
        return true;
    }
    memcpy(wanted.digest, label->key.bytes, sizeof(wanted.digest));
    row = bsearch(&wanted, list->rows, list->count, sizeof(wanted),
                  compare_digests);
    if (row == NULL || row->key != NULL) {
        return true;
    }
    if (!set_key(list, row, label->key_data, label->key_bytes)) {
        return false;
    }
    list->nameless--;
    return list->nameless > 0;
}

static void
name_from_file(struct key_list *list, struct segment_io *io,
               struct segment_reader *reader, const char *path)
{
    const struct segment_walk_options options = {.verify = false};
    struct segment_walk_result walked;
    struct segment_file *file;

    if (segment_read_open(reader, AT_FDCWD, path, path, &file, NULL) !=
        CASCADE_OK) {
        return;
    }
    if (file->facts.kind == SEGMENT_FILE_RECORDS) {
        // A file that fails in the middle has named what came before.
        (void)segment_walk(reader, file, &options,
                           file->sealed ? file->data_bytes : 0, name_row, list,
                           &walked);
    }
    segment_read_close(io, file);
}

static enum cascade_status
name_from_files(struct key_list *list, const struct segment_paths *paths)
{
    const struct segment_io_options io_options = {
        .files = file_system_real(),
        .allocator = allocator_system(),
    };
    struct segment_reader_options reader_options = {
        .allocator = allocator_system(),
    };
    struct segment_reader *reader;
    struct segment_io *io;
    enum cascade_status status = segment_io_create(&io_options, &io);

    if (status != CASCADE_OK) {
        return status;
    }
    reader_options.io = io;
    status = segment_reader_create(&reader_options, &reader);
    if (status == CASCADE_OK) {
        for (size_t i = 0; i < paths->count && list->nameless > 0; i++) {
            name_from_file(list, io, reader, paths->paths[i]);
        }
        segment_reader_destroy(reader);
    }
    segment_io_destroy(io);
    return status;
}

static enum cascade_status
full_status(const struct key_list *list, enum cascade_status status)
{
    if (status == CASCADE_OK && list->full) {
        return error_set(CASCADE_NO_MEMORY, "no memory for %zu keys",
                         list->count + 1);
    }
    return status;
}

enum cascade_status
key_list_fill(struct key_list *list, struct cascade *store)
{
    return full_status(list, cascade_list(store, take_entry, list));
}

enum cascade_status
key_list_name(struct key_list *list, char *cold_path)
{
    struct segment_paths paths = {.count = 0};
    enum cascade_status status = CASCADE_OK;

    if (list->nameless > 0) {
        sort(list, compare_digests);
        status = segment_paths_add(&paths, cold_path);
        if (status == CASCADE_OK) {
            status = name_from_files(list, &paths);
        }
        segment_paths_release(&paths);
    }
    sort(list, compare_keys);
    return full_status(list, status);
}

void
key_list_release(struct key_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        allocator_release(allocator_system(), list->rows[i].key);
    }
    allocator_release(allocator_system(), list->rows);
    memset(list, 0, sizeof(*list));
}
