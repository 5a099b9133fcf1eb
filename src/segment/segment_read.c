// SPDX-License-Identifier: Apache-2.0
//
// Opens files, reads footers and headers. Payloads: segment_read_payload.c.
// See segment_read.h.

#include "segment/segment_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "segment/segment_reader.h"

#define HEADER_ROOM (SEGMENT_HEADER_BYTES_MAX + 2 * SEGMENT_ALIGNMENT_MAX)

// Of the staging memory, so that it may be large pages.
#define STAGING_ALIGNMENT (2 * MIB)

// Reads `bytes` at `offset` rounded out into `memory`; `data` is where the
// wanted ones begin. STALE if the file ends before.
static enum cascade_status
read_rounded(struct segment_reader *reader, const struct segment_io_file *file,
             uint64_t offset, uint64_t bytes, void *memory, uint8_t **data)
{
    uint64_t start = units_round_down(offset, file->alignment_bytes);
    uint64_t end = units_round_up(offset + bytes, file->alignment_bytes);
    struct segment_io_request request = {
        .file = file,
        .data = memory,
        .bytes = end - start,
        .offset = start,
    };

    segment_io_run(reader->io, &request);
    if (request.error != 0 || request.done < offset + bytes - start) {
        return segment_io_status(&request);
    }
    *data = (uint8_t *)memory + (offset - start);
    return CASCADE_OK;
}

// Takes in the trailer, if there is one.
static enum cascade_status
read_trailer(struct segment_reader *reader, struct segment_file *file)
{
    struct segment_trailer trailer;
    enum cascade_status status;
    uint8_t *data = NULL;

    file->data_bytes = file->bytes;
    if (file->bytes < 2 * (uint64_t)file->facts.alignment_bytes) {
        return CASCADE_OK;
    }
    status = read_rounded(reader, &file->io, file->bytes - sizeof(trailer),
                          sizeof(trailer), reader->header, &data);
    if (status != CASCADE_OK) {
        return status;
    }
    memcpy(&trailer, data, sizeof(trailer));
    if (!segment_format_check_trailer(&trailer, &file->facts, file->bytes)) {
        return CASCADE_OK;
    }
    file->sealed = true;
    file->data_bytes = trailer.index_offset;
    file->entry_count = trailer.entry_count;
    file->record_count = trailer.record_count;
    file->next_seq = trailer.next_seq;
    file->lowest.time_ns = trailer.lowest_time_ns;
    file->lowest.tag = trailer.lowest_tag;
    file->highest.time_ns = trailer.highest_time_ns;
    file->highest.tag = trailer.highest_tag;
    file->index_crc = trailer.index_crc;
    return CASCADE_OK;
}

// True if an intact trailer tells what is needed to read a file of records whose
// header is damaged: its uuid and unit of alignment, and where it belongs.
static bool
read_head_from_trailer(struct segment_reader *reader, struct segment_file *file)
{
    struct segment_trailer trailer;
    uint8_t *data = NULL;

    if (file->bytes < 2 * SEGMENT_ALIGNMENT_MIN ||
        read_rounded(reader, &file->io, file->bytes - sizeof(trailer),
                     sizeof(trailer), reader->header, &data) != CASCADE_OK) {
        return false;
    }
    memcpy(&trailer, data, sizeof(trailer));
    if (!segment_format_alignment_is_valid(trailer.alignment) ||
        trailer.kind != SEGMENT_FILE_RECORDS) {
        return false;
    }
    memset(&file->facts, 0, sizeof(file->facts));
    file->facts.kind = SEGMENT_FILE_HEADLESS;
    file->facts.alignment_bytes = trailer.alignment;
    file->facts.number = trailer.number;
    memcpy(file->facts.uuid, trailer.uuid, sizeof(trailer.uuid));
    memcpy(file->facts.namespace_digest, trailer.namespace_digest,
           sizeof(trailer.namespace_digest));
    return segment_format_check_trailer(&trailer, &file->facts, file->bytes);
}

static enum cascade_status
read_head(struct segment_reader *reader, struct segment_file *file,
          bool *foreign)
{
    enum cascade_status status;
    uint8_t *data = NULL;

    if (file->bytes < sizeof(struct segment_file_header)) {
        return error_set(CASCADE_STALE,
                         "%s is too short for a segment header; it is new or "
                         "its writer died early",
                         file->path);
    }
    status = read_rounded(reader, &file->io, 0,
                          sizeof(struct segment_file_header), reader->header,
                          &data);
    if (status != CASCADE_OK) {
        return status;
    }
    status = segment_format_get_file_header(
        data, sizeof(struct segment_file_header), file->path, &file->facts);
    if ((status == CASCADE_NOT_FOUND || status == CASCADE_CORRUPT) &&
        read_head_from_trailer(reader, file)) {
        status = CASCADE_OK;
    }
    *foreign = status == CASCADE_NOT_FOUND;
    return status;
}

static enum cascade_status
file_bytes_of(const struct segment_io *io, int directory, const char *name,
              const char *path, uint64_t *bytes)
{
    const struct file_system *files = segment_io_files(io);
    struct stat facts;
    int result = files->stat_at(files->self, directory, name, &facts);

    if (result < 0) {
        return error_set_errno(-result, "cannot look at %s", path);
    }
    *bytes = (uint64_t)facts.st_size;
    return CASCADE_OK;
}

// Reads the whole index into `memory`, one request after another.
static enum cascade_status
read_index(struct segment_reader *reader, const struct segment_file *file,
           uint8_t *memory, uint64_t bytes)
{
    uint64_t step = segment_io_request_bytes(reader->io);

    for (uint64_t at = 0; at < bytes; at += step) {
        uint64_t now = units_min(step, bytes - at);
        enum cascade_status status;
        uint8_t *data = NULL;

        status = read_rounded(reader, &file->io, file->data_bytes + at, now,
                              memory + at, &data);
        if (status != CASCADE_OK) {
            return status;
        }
        // An index offset below this machine's alignment was rounded down.
        memmove(memory + at, data, now);
    }
    return CASCADE_OK;
}

static enum cascade_status
visit_index(const struct segment_file *file, const void *index,
            segment_read_visit *visit, void *context)
{
    const struct segment_footer_entry *entries = index;
    uint64_t end = file->facts.kind == SEGMENT_FILE_INDEX
                       ? file->facts.subject_bytes
                       : file->data_bytes;
    struct segment_entry entry;

    if (crc32c(0, index, file->entry_count * sizeof(*entries)) !=
        file->index_crc) {
        return error_set(CASCADE_CORRUPT,
                         "the index of %s is damaged; its records are walked",
                         file->path);
    }
    for (uint64_t i = 0; i < file->entry_count; i++) {
        if (!segment_format_get_entry(&entries[i], end, &entry)) {
            return error_set(CASCADE_CORRUPT,
                             "the index of %s names places outside the file",
                             file->path);
        }
    }
    for (uint64_t i = 0; i < file->entry_count; i++) {
        (void)segment_format_get_entry(&entries[i], end, &entry);
        if (!visit(context, &entry)) {
            break;
        }
    }
    return CASCADE_OK;
}

// An array, of which only what is used is ever touched: aligned memory would be
// cleared at once, and there are as many readers as threads that read.
static bool
make_staging(struct segment_reader *reader, uint32_t depth)
{
    reader->stage_bytes = units_max(segment_io_request_bytes(reader->io),
                                    SEGMENT_HEADER_BYTES_MAX) +
                          2 * SEGMENT_ALIGNMENT_MAX;
    reader->staging_bytes = reader->stage_bytes * depth;
    reader->staging_memory = allocator_array(
        reader->allocator, reader->staging_bytes + STAGING_ALIGNMENT, 1);
    if (reader->staging_memory == NULL) {
        return false;
    }
    reader->staging = reader->staging_memory +
                      -(uintptr_t)reader->staging_memory % STAGING_ALIGNMENT;
    return true;
}

enum cascade_status
segment_reader_create(const struct segment_reader_options *options,
                      struct segment_reader **reader)
{
    const struct allocator *allocator = options->allocator;
    struct segment_reader *made = allocator_array(allocator, 1, sizeof(*made));
    uint32_t depth;

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a segment reader");
    }
    made->io = options->io;
    made->allocator = allocator;
    depth = segment_io_depth(options->io);
    made->part_count = 2 * depth;
    made->stages = allocator_array(allocator, depth, sizeof(*made->stages));
    made->parts = allocator_array(allocator, made->part_count,
                                  sizeof(*made->parts));
    made->header = allocator_aligned(allocator, HEADER_ROOM,
                                     SEGMENT_ALIGNMENT_MAX);
    if (made->stages == NULL || made->parts == NULL || made->header == NULL ||
        !make_staging(made, depth)) {
        segment_reader_destroy(made);
        return error_set(CASCADE_NO_MEMORY, "no memory for a segment reader");
    }
    while (made->stage_count < depth) {
        made->stages[made->stage_count] = made->staging +
                                          made->stage_count * made->stage_bytes;
        made->stage_count++;
    }
    *reader = made;
    return CASCADE_OK;
}

void
segment_reader_destroy(struct segment_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    allocator_release(reader->allocator, reader->header);
    allocator_release(reader->allocator, reader->staging_memory);
    allocator_release(reader->allocator, reader->parts);
    allocator_release(reader->allocator, reader->stages);
    allocator_release(reader->allocator, reader);
}

enum cascade_status
segment_read_open(struct segment_reader *reader, int directory,
                  const char *name, const char *path,
                  struct segment_file **file, bool *foreign)
{
    size_t path_bytes = strlen(path) + 1;
    struct segment_file *made = allocator_array(reader->allocator, 1,
                                                sizeof(*made));
    enum cascade_status status = CASCADE_NO_MEMORY;
    bool is_foreign = false;

    if (made != NULL) {
        made->allocator = reader->allocator;
        made->io.file = -1;
        made->path = allocator_array(reader->allocator, path_bytes, 1);
    }
    if (made == NULL || made->path == NULL) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to open %s", path);
        goto close_file;
    }
    memcpy(made->path, path, path_bytes);
    status = segment_io_open(reader->io, directory, name, made->path, O_RDONLY,
                             0, SEGMENT_ALIGNMENT_MIN, &made->io);
    if (status != CASCADE_OK) {
        goto close_file;
    }
    status = file_bytes_of(reader->io, directory, name, path, &made->bytes);
    if (status == CASCADE_OK) {
        status = read_head(reader, made, &is_foreign);
    }
    if (status == CASCADE_OK) {
        status = read_trailer(reader, made);
    }
    if (status != CASCADE_OK) {
        goto close_file;
    }
    *file = made;
    if (foreign != NULL) {
        *foreign = false;
    }
    return CASCADE_OK;

close_file:
    segment_read_close(reader->io, made);
    if (foreign != NULL) {
        *foreign = is_foreign;
    }
    return status;
}

void
segment_read_close(const struct segment_io *io, struct segment_file *file)
{
    if (file == NULL) {
        return;
    }
    segment_io_close(io, &file->io);
    allocator_release(file->allocator, file->path);
    allocator_release(file->allocator, file);
}

enum cascade_status
segment_read_entries(struct segment_reader *reader,
                     const struct segment_file *file, segment_read_visit *visit,
                     void *context)
{
    // Bounded by the file's length when the trailer was checked.
    uint64_t bytes = file->entry_count * sizeof(struct segment_footer_entry);
    uint64_t room = bytes + 3 * (uint64_t)SEGMENT_ALIGNMENT_MAX;
    uint8_t *memory = reader->staging;
    enum cascade_status status;

    if (!file->sealed) {
        return error_set(CASCADE_INVALID, "%s has no index", file->path);
    }
    if (room > reader->staging_bytes) {
        memory = allocator_aligned(reader->allocator, room,
                                   SEGMENT_ALIGNMENT_MAX);
        if (memory == NULL) {
            return error_set(CASCADE_NO_MEMORY, "no memory for the index of %s",
                             file->path);
        }
    }
    status = read_index(reader, file, memory, bytes);
    if (status == CASCADE_OK) {
        status = visit_index(file, memory, visit, context);
    }
    if (memory != reader->staging) {
        allocator_release(reader->allocator, memory);
    }
    return status;
}

enum cascade_status
segment_read_header(struct segment_reader *reader,
                    const struct segment_file *file, uint64_t header_offset,
                    bool *found, struct segment_record_header *record,
                    const void **header, uint32_t *header_crc)
{
    uint32_t alignment = file->facts.alignment_bytes;
    struct segment_record_header seen;
    enum cascade_status status;
    uint8_t *data = NULL;

    status = read_rounded(reader, &file->io, header_offset, alignment,
                          reader->header, &data);
    if (status != CASCADE_OK) {
        return status;
    }
    *found = false;
    if (!segment_format_peek_record(data, alignment, file->facts.uuid,
                                    header_offset, alignment, &seen)) {
        return CASCADE_OK;
    }
    if (seen.header_bytes > alignment) {
        status = read_rounded(reader, &file->io, header_offset,
                              seen.header_bytes, reader->header, &data);
        if (status == CASCADE_STALE) {
            return CASCADE_OK;
        }
        if (status != CASCADE_OK) {
            return status;
        }
    }
    if (segment_format_check_record(data, &seen, header_crc)) {
        *found = true;
        *record = seen;
        *header = data;
    }
    return CASCADE_OK;
}

enum cascade_status
segment_read_window(struct segment_reader *reader,
                    const struct segment_file *file, uint64_t offset,
                    uint64_t *bytes, const void **data)
{
    struct segment_io_request request = {
        .file = &file->io,
        .data = reader->staging,
        .bytes = units_min(*bytes, segment_io_request_bytes(reader->io)),
        .offset = units_round_down(offset, file->io.alignment_bytes),
    };
    uint64_t lead = offset - request.offset;

    request.bytes = units_round_up(request.bytes + lead,
                                   file->io.alignment_bytes);
    segment_io_run(reader->io, &request);
    if (request.error != 0) {
        return segment_io_status(&request);
    }
    *bytes = request.done > lead ? units_min(*bytes, request.done - lead) : 0;
    *data = reader->staging + lead;
    return CASCADE_OK;
}

enum cascade_status
segment_read_label(struct segment_reader *reader,
                   const struct segment_file *file,
                   const struct segment_entry *entry, struct block_label *label)
{
    struct segment_record_header record = {.item_count = 0};
    struct segment_entry whole;
    const void *header = NULL;
    uint32_t header_crc = 0;
    bool found = false;
    enum cascade_status status;

    status = segment_read_header(reader, file, entry->header_offset, &found,
                                 &record, &header, &header_crc);
    if (status != CASCADE_OK) {
        return status;
    }
    if (found && header_crc == entry->header_crc && record.seq == entry->seq &&
        entry->item < record.item_count) {
        segment_format_get_item(header, &record, entry->item, header_crc,
                                &whole, NULL, NULL);
        if (block_key_equal(&whole.label.key, &entry->label.key) &&
            block_id_equal(&whole.label.id, &entry->label.id) &&
            block_version_compare(whole.label.version, entry->label.version) ==
                0) {
            *label = whole.label;
            return CASCADE_OK;
        }
    }
    return error_set(CASCADE_CORRUPT,
                     "the record header at byte %llu of %s is damaged",
                     (unsigned long long)entry->header_offset, file->path);
}
