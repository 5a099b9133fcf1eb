// SPDX-License-Identifier: Apache-2.0
//
// Verifies one file: walks its records and reads their payloads, many at once;
// then compares with the footer, or looks for spoiled headers if there is
// none. See segment_verify.h.

#include "tools/segment_verify.h"

#include <stdbool.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "segment/segment_walk.h"

// Payloads read at once, and the most bytes of them.
#define PENDING_MAX 64
#define PENDING_BYTES_MAX (64 * MIB)

struct pending {
    struct segment_entry entry;
    uint8_t key[CASCADE_KEY_BYTES_MAX];
};

struct work {
    const struct segment_verify *verify;
    const struct segment_file *file;
    struct segment_verify_counts *counts;
    enum cascade_status status; // of reading
    uint64_t end;               // records lie below
    uint64_t pending_bytes;
    size_t pending_count;
    struct pending pending[PENDING_MAX];
};

static void
tell_damage(const struct work *work, uint64_t offset, const char *what,
            const struct segment_entry *entry)
{
    work->counts->damaged++;
    work->verify->damaged(work->verify->context, offset, what, entry);
}

struct search {
    uint64_t offset;
    bool found;
};

static bool
match_entry(void *context, const struct segment_entry *entry)
{
    struct search *search = context;

    search->found = entry->offset == search->offset &&
                    segment_format_has_payload(entry);
    return !search->found;
}

// Whether nobody would read the payload: the footer leaves out what failed to
// be written, on a full disk for example.
static bool
is_left_out(const struct work *work, const struct segment_entry *entry)
{
    struct search search = {.offset = entry->offset};

    return work->file->sealed &&
           segment_read_entries(work->verify->checker, work->file, match_entry,
                                &search) == CASCADE_OK &&
           !search.found;
}

// Judges one payload that was read. False if reading itself failed.
static bool
judge(struct work *work, const struct segment_entry *entry,
      enum cascade_status status)
{
    switch ((int)status) {
    case CASCADE_OK:
        return true;
    case CASCADE_CORRUPT:
        if (is_left_out(work, entry)) {
            work->counts->unfinished++;
        } else {
            tell_damage(work, entry->offset,
                        "the payload does not match its checksum", entry);
        }
        return true;
    case CASCADE_STALE:
        if (work->file->sealed) {
            tell_damage(work, entry->offset, "the file ends before the payload",
                        entry);
        } else {
            work->counts->unfinished++;
        }
        return true;
    default:
        work->status = status;
        return false;
    }
}

// Reads what is pending and judges it. False if reading failed.
static bool
read_pending(struct work *work)
{
    struct segment_read_request requests[PENDING_MAX];
    size_t count = work->pending_count;

    if (count == 0) {
        return true;
    }
    memset(requests, 0, sizeof(requests));
    for (size_t i = 0; i < count; i++) {
        const struct segment_entry *entry = &work->pending[i].entry;

        requests[i].file = &work->file->io;
        requests[i].offset = entry->offset;
        requests[i].bytes = entry->bytes;
        requests[i].checksum = entry->checksum;
    }
    (void)segment_read_payloads(work->verify->checker, requests, count);
    work->pending_count = 0;
    work->pending_bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct segment_entry *entry = &work->pending[i].entry;

        work->counts->payloads++;
        work->counts->payload_bytes += entry->bytes;
        if (!judge(work, entry, requests[i].status)) {
            return false;
        }
    }
    work->verify->progressed(work->verify->context,
                             work->counts->payload_bytes);
    return true;
}

// Called for each entry of the walk; keeps it until enough are there.
static bool
take_entry(void *context, const struct segment_entry *entry)
{
    struct work *work = context;
    struct pending *pending = &work->pending[work->pending_count];
    struct block_label *label = &pending->entry.label;

    if (!segment_format_has_payload(entry)) {
        return true;
    }
    pending->entry = *entry;
    check(entry->label.key_bytes <= sizeof(pending->key));
    if (entry->label.key_bytes > 0) {
        memcpy(pending->key, entry->label.key_data, entry->label.key_bytes);
        label->key_data = pending->key;
    }
    work->pending_count++;
    work->pending_bytes += entry->bytes;
    if (work->pending_count == PENDING_MAX ||
        work->pending_bytes >= PENDING_BYTES_MAX) {
        return read_pending(work);
    }
    return true;
}

// Compares an entry of the footer with the header of its record.
static bool
compare_entry(void *context, const struct segment_entry *entry)
{
    struct work *work = context;
    struct block_label label;
    enum cascade_status status = segment_read_label(work->verify->checker,
                                                    work->file, entry, &label);

    if (status == CASCADE_CORRUPT || status == CASCADE_STALE) {
        tell_damage(work, entry->header_offset,
                    "the record header does not match the footer", entry);
    } else if (status != CASCADE_OK) {
        work->status = status;
        return false;
    }
    return true;
}

static bool
ignore_entry(void *context, const struct segment_entry *entry)
{
    (void)context;
    (void)entry;
    return true;
}

// Compares the footer with what the walk found. An index file has only a
// footer, about another file.
static enum cascade_status
verify_footer(struct work *work, const struct segment_walk_result *walked)
{
    bool subject_elsewhere = work->file->facts.kind == SEGMENT_FILE_INDEX;
    bool complete = walked->bad_headers == 0 &&
                    walked->entries == work->file->entry_count;
    enum cascade_status status = segment_read_entries(
        work->verify->walker, work->file,
        subject_elsewhere || complete ? ignore_entry : compare_entry, work);

    if (status == CASCADE_CORRUPT || status == CASCADE_STALE) {
        tell_damage(work, work->file->data_bytes,
                    "the footer does not match its checksum", NULL);
        status = CASCADE_OK;
    }
    return status == CASCADE_OK ? work->status : status;
}

// Whether a record header was here: of its magic, its file and its place at
// least two are right, so that damage to any one does not hide it.
static bool
was_header(const struct segment_file *file, uint64_t offset, const void *data)
{
    static const uint8_t no_uuid[16];
    struct segment_record_header record;
    uint8_t model_bytes[SEGMENT_ALIGNMENT_MIN];
    struct segment_record_header model;
    int right;

    memcpy(&record, data, sizeof(record));
    segment_format_begin_record(model_bytes, sizeof(model_bytes),
                                SEGMENT_RECORD_SKIP, no_uuid, 1, offset,
                                sizeof(model_bytes), 0);
    memcpy(&model, model_bytes, sizeof(model));
    right = memcmp(record.magic, model.magic, sizeof(record.magic)) == 0;
    right += memcmp(record.uuid, file->facts.uuid, sizeof(record.uuid)) == 0;
    right += record.offset == offset;
    return right >= 2;
}

// Takes the place at `*offset` in a file without a footer, and moves on.
static enum cascade_status
look_for_header(struct work *work, uint64_t *offset)
{
    const struct segment_file *file = work->file;
    uint32_t alignment = file->facts.alignment_bytes;
    struct segment_record_header record;
    uint64_t bytes = alignment;
    const void *data;
    const void *header;
    uint32_t header_crc;
    bool found = false;
    bool was;
    enum cascade_status status = segment_read_window(work->verify->walker, file,
                                                     *offset, &bytes, &data);

    if (status != CASCADE_OK || bytes < alignment) {
        *offset = work->end;
        return status;
    }
    was = was_header(file, *offset, data);
    if (was) {
        status = segment_read_header(work->verify->walker, file, *offset,
                                     &found, &record, &header, &header_crc);
    }
    if (was && !found && status == CASCADE_OK) {
        tell_damage(work, *offset, "the record header is damaged", NULL);
    }
    *offset += found ? record.record_bytes : alignment;
    return status == CASCADE_STALE ? CASCADE_OK : status;
}

// In a file without a footer: places that were record headers and do not match.
static enum cascade_status
find_spoiled_headers(struct work *work)
{
    uint64_t offset = work->file->facts.alignment_bytes;
    enum cascade_status status = CASCADE_OK;

    while (offset < work->end && status == CASCADE_OK) {
        status = look_for_header(work, &offset);
    }
    return status;
}

// In a file without a footer: something at its end that was a trailer.
static enum cascade_status
find_spoiled_trailer(struct work *work)
{
    const struct segment_file *file = work->file;
    uint32_t alignment = file->facts.alignment_bytes;
    struct segment_trailer trailer;
    struct segment_trailer model;
    uint64_t bytes = alignment;
    const uint8_t *data;
    const void *window;
    enum cascade_status status;

    if (file->bytes % alignment != 0 || file->bytes < 2 * (uint64_t)alignment) {
        return CASCADE_OK;
    }
    status = segment_read_window(work->verify->walker, file,
                                 file->bytes - alignment, &bytes, &window);
    if (status != CASCADE_OK || bytes < alignment) {
        return status;
    }
    data = window;
    memcpy(&trailer, data + alignment - sizeof(trailer), sizeof(trailer));
    memset(&model, 0, sizeof(model));
    segment_format_end_trailer(&model);
    if (memcmp(trailer.magic, model.magic, sizeof(model.magic)) == 0 ||
        memcmp(trailer.uuid, file->facts.uuid, sizeof(trailer.uuid)) == 0) {
        tell_damage(work, file->bytes - sizeof(trailer),
                    "the trailer is damaged", NULL);
    }
    return CASCADE_OK;
}

static enum cascade_status
verify_tail(struct work *work, const struct segment_walk_result *walked)
{
    enum cascade_status status = CASCADE_OK;

    if (walked->bad_headers > 0) {
        status = find_spoiled_headers(work);
    }
    return status == CASCADE_OK ? find_spoiled_trailer(work) : status;
}

enum cascade_status
segment_verify_file(const struct segment_verify *verify,
                    const struct segment_file *file,
                    struct segment_verify_counts *counts)
{
    const struct segment_walk_options options = {.verify = false};
    struct segment_walk_result walked = {.records = 0};
    struct work *work = allocator_array(allocator_system(), 1, sizeof(*work));
    enum cascade_status status = CASCADE_OK;

    memset(counts, 0, sizeof(*counts));
    if (work == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to verify %s",
                         file->path);
    }
    work->verify = verify;
    work->file = file;
    work->counts = counts;
    work->end = file->sealed ? file->data_bytes : file->bytes;
    if (file->facts.kind == SEGMENT_FILE_RECORDS) {
        status = segment_walk(verify->walker, file, &options, work->end,
                              take_entry, work, &walked);
        if (status == CASCADE_OK && work->status == CASCADE_OK) {
            (void)read_pending(work);
        }
        status = status == CASCADE_OK ? work->status : status;
        counts->records = walked.records;
        counts->unfinished += walked.bad_payloads;
    }
    if (status == CASCADE_OK) {
        status = file->sealed ? verify_footer(work, &walked)
                              : verify_tail(work, &walked);
    }
    allocator_release(allocator_system(), work);
    return status;
}
