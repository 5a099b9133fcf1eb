// SPDX-License-Identifier: Apache-2.0
//
// Life of a segment file as its writer sees it: create, append, sync, seal.
// Records are built in segment_write_group.c and segment_write_record.c.
// See segment_write.h.

#include "segment/segment_write.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "segment/segment_create.h"
#include "segment/segment_write_state.h"

#define LARGE_PIECE_BYTES (4 * MIB)
#define STAGING_BYTES_DEFAULT (16 * MIB)
#define LARGE_PIECES_MIN 2

// Appends from this size on find their space reserved: one change of the file's
// layout instead of one for each request.
#define RESERVE_BYTES_MIN (4 * MIB)

// The queue tells which record failed; its items did not make it.
static void
note_failed(void *context, uint64_t seq, enum cascade_status status)
{
    segment_write_note_failed(context, seq, status);
}

static void
check_items(struct segment_write_item *items, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++) {
        struct segment_write_item *item = &items[i];

        memset(&item->entry, 0, sizeof(item->entry));
        item->status = CASCADE_OK;
        if (!segment_write_label_is_valid(&item->label, item->bytes) ||
            (item->bytes > 0 && item->payload == NULL)) {
            item->status = error_set(
                CASCADE_INVALID,
                "a record for %s has a key or payload out of range", path);
        }
    }
}

static void
set_unwritten(struct segment_write_item *items, size_t count,
              enum cascade_status status)
{
    for (size_t i = 0; i < count; i++) {
        if (items[i].status == CASCADE_OK && items[i].entry.seq == 0) {
            items[i].status = status;
        }
    }
}

// Asks for the space of an append. What comes of it is the file system's
// business: without space the writes fail, and say so.
static void
reserve(const struct segment_writer *writer,
        const struct segment_write_item *items, size_t count)
{
    const struct file_system *files = segment_io_files(writer->io);
    uint32_t alignment = writer->facts.alignment_bytes;
    uint64_t bytes = 0;

    for (size_t i = 0; i < count; i++) {
        if (items[i].status == CASCADE_OK &&
            items[i].bytes >= SEGMENT_BATCH_BLOCK_BYTES) {
            bytes += segment_format_block_header_bytes(items[i].bytes,
                                                       alignment) +
                     units_round_up(items[i].bytes, alignment);
        } else if (items[i].status == CASCADE_OK) {
            bytes += units_round_up(items[i].bytes, SEGMENT_PACK_BYTES);
        }
    }
    if (bytes >= RESERVE_BYTES_MIN && files->reserve != NULL) {
        (void)files->reserve(files->self, writer->file.file, writer->end,
                             bytes);
    }
}

static char *
copy_text(const struct allocator *allocator, const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = allocator_array(allocator, bytes, 1);

    if (copy != NULL) {
        memcpy(copy, text, bytes);
    }
    return copy;
}

static enum cascade_status
make_memory(struct segment_writer *writer, uint64_t staging_bytes)
{
    uint64_t piece_bytes[SEGMENT_WRITE_PIECE_KINDS];
    uint32_t piece_count[SEGMENT_WRITE_PIECE_KINDS];
    uint64_t small = segment_format_block_header_bytes(
        CASCADE_BLOCK_BYTES_MAX, writer->facts.alignment_bytes);
    uint64_t large;

    small = units_max(small, SEGMENT_WRITE_BATCH_HEADER_BYTES);
    piece_bytes[SEGMENT_WRITE_SMALL] = units_round_up(
        small, writer->facts.alignment_bytes);
    // One more than can be in flight, so that a header is built while all
    // others are on their way.
    piece_count[SEGMENT_WRITE_SMALL] = segment_io_depth(writer->io) + 1;
    large = staging_bytes == 0 ? STAGING_BYTES_DEFAULT : staging_bytes;
    piece_bytes[SEGMENT_WRITE_LARGE] = LARGE_PIECE_BYTES;
    piece_count[SEGMENT_WRITE_LARGE] = (uint32_t)units_max(
        large / LARGE_PIECE_BYTES, LARGE_PIECES_MIN);
    return segment_write_queue_init(&writer->queue, writer->io, &writer->file,
                                    writer->allocator, piece_bytes,
                                    piece_count);
}

bool
segment_write_label_is_valid(const struct block_label *label, uint64_t bytes)
{
    if (segment_write_key_bytes(label) > CASCADE_KEY_BYTES_MAX ||
        bytes > CASCADE_BLOCK_BYTES_MAX) {
        return false;
    }
    return (label->flags & SEGMENT_NO_PAYLOAD) == 0 || bytes == 0;
}

enum cascade_status
segment_write_closed(const struct segment_writer *writer)
{
    return error_set(CASCADE_CLOSED,
                     "%s takes no more records after a failed write or its "
                     "seal; go on in another segment",
                     writer->path);
}

enum cascade_status
segment_write_create(const struct segment_write_options *options,
                     struct segment_writer **writer)
{
    const struct file_system *files = segment_io_files(options->io);
    struct segment_writer *made = allocator_array(options->allocator, 1,
                                                  sizeof(*made));
    enum cascade_status status;

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to write %s",
                         options->path);
    }
    made->allocator = options->allocator;
    made->io = options->io;
    made->facts = options->facts;
    made->facts.kind = SEGMENT_FILE_RECORDS;
    made->path = copy_text(options->allocator, options->path);
    made->crcs = allocator_array(
        options->allocator, segment_format_chunk_count(CASCADE_BLOCK_BYTES_MAX),
        sizeof(uint32_t));
    if (made->path == NULL || made->crcs == NULL) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to write %s",
                           options->path);
        goto release_memory;
    }
    status = segment_create(options->io, options->allocator, options->directory,
                            options->name, made->path, options->mode,
                            &made->facts, &made->file);
    if (status != CASCADE_OK) {
        goto release_memory;
    }
    status = make_memory(made, options->staging_bytes);
    if (status != CASCADE_OK) {
        goto remove_file;
    }
    status = segment_create_sync_directory(options->io, options->directory,
                                           made->path);
    if (status != CASCADE_OK) {
        goto release_queue;
    }
    segment_index_init(&made->index, options->allocator);
    made->queue.failed = note_failed;
    made->queue.failed_context = made;
    made->end = made->facts.alignment_bytes;
    made->next_seq = 1;
    *writer = made;
    return CASCADE_OK;

release_queue:
    segment_write_queue_fini(&made->queue);
remove_file:
    segment_io_close(options->io, &made->file);
    (void)files->unlink_at(files->self, options->directory, options->name, 0);
release_memory:
    allocator_release(options->allocator, made->crcs);
    allocator_release(options->allocator, made->path);
    allocator_release(options->allocator, made);
    return status;
}

void
segment_write_close(struct segment_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    check(writer->open_streams == 0);
    segment_write_queue_fini(&writer->queue);
    segment_index_fini(&writer->index);
    segment_io_close(writer->io, &writer->file);
    allocator_release(writer->allocator, writer->crcs);
    allocator_release(writer->allocator, writer->path);
    allocator_release(writer->allocator, writer);
}

enum cascade_status
segment_write_append(struct segment_writer *writer,
                     struct segment_write_item *items, size_t count)
{
    enum cascade_status status = segment_index_reserve(&writer->index, count);

    check_items(items, count, writer->path);
    if (status == CASCADE_OK && segment_write_takes_more(writer)) {
        writer->items = items;
        writer->item_count = count;
        reserve(writer, items, count);
        segment_write_items(writer);
        writer->items = NULL;
        writer->item_count = 0;
    }
    if (status == CASCADE_OK && !segment_write_takes_more(writer)) {
        status = segment_write_closed(writer);
    }
    set_unwritten(items, count, status);
    segment_write_index_items(writer, items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].status != CASCADE_OK) {
            return items[i].status;
        }
    }
    return CASCADE_OK;
}

enum cascade_status
segment_write_sync(struct segment_writer *writer)
{
    const struct file_system *files = segment_io_files(writer->io);
    uint64_t entries = writer->index.count;
    int result;

    if (writer->condemned) {
        return error_set(CASCADE_CLOSED,
                         "%s failed to sync before; write again elsewhere",
                         writer->path);
    }
    result = files->sync_data(files->self, writer->file.file);
    if (result < 0) {
        writer->condemned = true;
        return error_set_errno(-result, "cannot sync %s", writer->path);
    }
    writer->durable_entries = entries;
    segment_io_drop(&writer->file, 0, 0);
    return CASCADE_OK;
}

enum cascade_status
segment_write_seal(struct segment_writer *writer)
{
    struct segment_write_queue *queue = &writer->queue;
    struct segment_write_piece *piece;
    enum cascade_status status;
    uint64_t file_bytes = writer->end;

    if (writer->open_streams > 0) {
        return error_set(CASCADE_BUSY, "%s has blocks being written",
                         writer->path);
    }
    if (writer->sealed || writer->condemned) {
        return error_set(CASCADE_CLOSED, "%s is sealed or condemned already",
                         writer->path);
    }
    status = segment_write_sync(writer);
    if (status != CASCADE_OK) {
        return status;
    }
    piece = segment_write_queue_take(queue, SEGMENT_WRITE_LARGE);
    status = segment_index_write(
        &writer->index, writer->io, &writer->file, &writer->facts, writer->end,
        writer->next_seq, piece->memory,
        queue->piece_bytes[SEGMENT_WRITE_LARGE], &file_bytes);
    segment_write_queue_return(piece);
    if (status == CASCADE_OK) {
        status = segment_write_sync(writer);
    }
    if (status != CASCADE_OK) {
        writer->condemned = true;
        return status;
    }
    writer->end = file_bytes;
    writer->sealed = true;
    return CASCADE_OK;
}

void
segment_write_state_of(const struct segment_writer *writer,
                       struct segment_write_state *state)
{
    memset(state, 0, sizeof(*state));
    state->bytes = writer->end;
    state->entries = writer->index.count;
    state->durable_entries = writer->durable_entries;
    state->records = writer->index.records;
    state->open_streams = writer->open_streams;
    state->takes_more = segment_write_takes_more(writer);
    state->condemned = writer->condemned;
    state->sealed = writer->sealed;
    state->highest = writer->index.highest;
}

void
segment_write_entry(const struct segment_writer *writer, uint64_t number,
                    struct segment_entry *entry)
{
    check(number < writer->index.count);
    check(segment_format_get_entry(&writer->index.entries[number], writer->end,
                                   entry));
}

const struct segment_facts *
segment_write_facts(const struct segment_writer *writer)
{
    return &writer->facts;
}

const struct segment_io_file *
segment_write_file(const struct segment_writer *writer)
{
    return &writer->file;
}
