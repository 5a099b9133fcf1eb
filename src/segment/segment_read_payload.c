// SPDX-License-Identifier: Apache-2.0
//
// Reads payloads, many at once: parts of all requests are issued in order with
// the engine's depth in flight, come back in any order, and are checked in the
// order of their request, so that one running CRC per request is enough. What
// came back is checked after the next parts were issued, so that the disk works
// meanwhile. See segment_read.h.
//
// Invariant: the call returns only when nothing is in flight: no memory is
// written to after that, whatever failed.

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "segment/segment_reader.h"

// Checked, and copied, in steps that stay in the caches of a core.
#define STEP_BYTES (64 * KIB)

// The last parts of a stream are shorter, down to this: nothing is read while
// the last one is checked. A multiple of every alignment, a part of a chunk.
#define TAIL_BYTES (512 * KIB)

// This many times what is not issued yet may be in flight beyond what the engine
// asks for: a long stream is deep, which a thread that has to wait for its core
// needs, and gets shallow towards its end. Where the disk ends all it has
// together, each turn is that much shorter than the one before: its bytes are on
// their way while those of the one before are checked. More turns would cost
// more waits than they save.
#define FLIGHT_TIMES 2

// Where the issue of parts has come to.
struct issue {
    struct segment_read_request *requests;
    size_t count;
    size_t next;      // request
    uint64_t at;      // byte of its payload
    bool header_done; // its header was issued
    uint64_t left;    // bytes of payload that are not issued
};

static enum cascade_status
corrupt(const struct segment_read_request *request, const char *what)
{
    return error_set(CASCADE_CORRUPT, "%s at byte %llu of %s is damaged", what,
                     (unsigned long long)request->offset, request->file->path);
}

static uint32_t
header_bytes_of(const struct segment_read_request *request)
{
    return segment_format_block_header_bytes(request->bytes,
                                             request->facts->alignment_bytes);
}

static bool
memory_is_aligned(const struct segment_read_request *request)
{
    const struct segment_io_file *file = request->file;

    return request->memory != NULL &&
           request->offset % file->alignment_bytes == 0 &&
           (uintptr_t)request->memory % file->memory_alignment_bytes == 0;
}

// Sets up the read of `bytes` at `offset`, rounded out, into staging memory.
static void
aim_at_staging(struct segment_reader *reader, struct segment_reader_part *part,
               uint64_t offset, uint64_t bytes)
{
    uint32_t alignment = part->request->file->alignment_bytes;

    check(reader->stage_count > 0);
    part->staging = reader->stages[--reader->stage_count];
    part->io.offset = units_round_down(offset, alignment);
    part->lead = offset - part->io.offset;
    part->io.bytes = units_round_up(part->lead + bytes, alignment);
    part->io.data = part->staging;
    part->is_staged = true;
}

static struct segment_reader_part *
new_part(struct segment_reader *reader, struct segment_read_request *request)
{
    struct segment_reader_part *part = reader->parts;

    while (part->request != NULL) {
        part++;
        check(part < reader->parts + reader->part_count);
    }
    memset(part, 0, sizeof(*part));
    part->request = request;
    part->io.file = request->file;
    part->io.owner = part;
    reader->used++;
    return part;
}

static void
free_part(struct segment_reader *reader, struct segment_reader_part *part)
{
    segment_io_drop(part->request->file, part->io.offset, part->io.bytes);
    if (part->staging != NULL) {
        reader->stages[reader->stage_count++] = part->staging;
    }
    part->request = NULL;
    reader->used--;
}

static void
submit(struct segment_reader *reader, struct segment_reader_part *part)
{
    reader->flying_bytes += part->io.bytes;
    segment_io_submit(reader->io, &part->io);
}

static void
issue_header(struct segment_reader *reader,
             struct segment_read_request *request)
{
    struct segment_reader_part *part = new_part(reader, request);
    uint32_t header_bytes = header_bytes_of(request);

    part->is_header = true;
    part->bytes = header_bytes;
    aim_at_staging(reader, part, request->offset - header_bytes, header_bytes);
    submit(reader, part);
}

// How long the part at `at` should be; the last request's halve what is left.
static uint64_t
part_bytes(const struct segment_read_request *request, uint64_t at,
           uint64_t most_bytes, bool is_last)
{
    uint64_t left = request->bytes - at;

    if (is_last) {
        most_bytes = units_min(most_bytes,
                               units_round_up(left / 2 + 1, TAIL_BYTES));
    }
    return units_min(most_bytes, left);
}

// How many bytes from `at` on can be read to where they belong; 0 if they have
// to be staged.
static uint64_t
direct_bytes(const struct segment_reader *reader,
             const struct segment_read_request *request, uint64_t at,
             bool is_last)
{
    uint64_t bytes = part_bytes(request, at,
                                segment_io_direct_bytes(reader->io), is_last);
    uint64_t rounded = units_round_up(bytes, request->file->alignment_bytes);

    if (!memory_is_aligned(request)) {
        return 0;
    }
    if (at + rounded <= request->memory_bytes) {
        return bytes;
    }
    return units_round_down(bytes, TAIL_BYTES);
}

// True if the header before the payload can come with its first part: a small
// request of its own costs a disk as much as a long one.
static bool
header_is_aligned(const struct segment_read_request *request)
{
    return header_bytes_of(request) % request->file->alignment_bytes == 0;
}

// Adds the header to the part of a payload that begins it.
static void
add_header(struct segment_reader *reader, struct segment_reader_part *part)
{
    uint32_t header_bytes = header_bytes_of(part->request);

    part->staging = reader->stages[--reader->stage_count];
    part->io.head = part->staging;
    part->io.head_bytes = header_bytes;
    part->io.offset -= header_bytes;
    part->io.bytes += header_bytes;
}

// Issues the part at `at` and returns its length.
static uint64_t
issue_part(struct segment_reader *reader, struct segment_read_request *request,
           uint64_t at, bool is_last)
{
    struct segment_reader_part *part = new_part(reader, request);
    uint64_t bytes = direct_bytes(reader, request, at, is_last);

    part->at = at;
    part->bytes = bytes;
    if (bytes > 0) {
        part->io.offset = request->offset + at;
        part->io.bytes = units_round_up(bytes, request->file->alignment_bytes);
        part->io.data = (uint8_t *)request->memory + at;
        if (at == 0 && request->facts != NULL && header_is_aligned(request)) {
            add_header(reader, part);
        }
    } else {
        part->bytes = part_bytes(request, at,
                                 segment_io_request_bytes(reader->io), is_last);
        aim_at_staging(reader, part, request->offset + at, part->bytes);
    }
    submit(reader, part);
    return part->bytes;
}

// A request that needs no I/O or cannot have any; true if it is finished.
static bool
is_settled(struct segment_read_request *request)
{
    if (request->memory != NULL && request->memory_bytes < request->bytes) {
        request->status = error_set(CASCADE_TOO_SMALL,
                                    "the memory for a block of %llu bytes is "
                                    "too small",
                                    (unsigned long long)request->bytes);
        return true;
    }
    if (request->bytes > CASCADE_BLOCK_BYTES_MAX ||
        request->offset % SEGMENT_PACK_BYTES != 0 ||
        (request->facts != NULL &&
         request->offset < header_bytes_of(request))) {
        request->status = corrupt(request, "the place");
        return true;
    }
    if (request->bytes == 0) {
        request->status = request->checksum == segment_format_checksum(NULL, 0)
                              ? CASCADE_OK
                              : corrupt(request, "the place");
        return true;
    }
    return false;
}

// Issues one part if there is one; false when all are issued.
static bool
issue_next(struct segment_reader *reader, struct issue *issue)
{
    while (issue->next < issue->count) {
        struct segment_read_request *request = &issue->requests[issue->next];

        if (issue->at == 0 && !issue->header_done) {
            request->status = CASCADE_OK;
            request->running = 0;
            request->chunk = 0;
            request->checked = 0;
            if (is_settled(request)) {
                issue->left -= request->bytes;
                issue->next++;
                continue;
            }
            issue->header_done = true;
            if (request->facts != NULL &&
                (direct_bytes(reader, request, 0,
                              issue->next + 1 == issue->count) == 0 ||
                 !header_is_aligned(request))) {
                issue_header(reader, request);
                return true;
            }
        }
        if (issue->at < request->bytes && request->status == CASCADE_OK) {
            uint64_t bytes = issue_part(reader, request, issue->at,
                                        issue->next + 1 == issue->count);

            issue->at += bytes;
            issue->left -= bytes;
            return true;
        }
        issue->left -= request->bytes - issue->at; // of one that failed
        issue->next++;
        issue->at = 0;
        issue->header_done = false;
    }
    return false;
}

static enum cascade_status
check_header(const struct segment_read_request *request, const uint8_t *data)
{
    uint32_t header_bytes = header_bytes_of(request);
    uint64_t header_offset = request->offset - header_bytes;
    struct segment_record_header record;
    struct segment_entry entry;
    uint32_t crc;

    if (!segment_format_peek_record(data, header_bytes, request->facts->uuid,
                                    header_offset,
                                    request->facts->alignment_bytes, &record) ||
        record.header_bytes != header_bytes ||
        record.kind != SEGMENT_RECORD_BLOCK ||
        !segment_format_check_record(data, &record, &crc)) {
        return corrupt(request, "the header of the block");
    }
    segment_format_get_item(data, &record, 0, crc, &entry, NULL, NULL);
    if (entry.offset != request->offset || entry.bytes != request->bytes ||
        entry.checksum != request->checksum ||
        (request->id != NULL &&
         !block_id_equal(&entry.label.id, request->id))) {
        return corrupt(request, "the header of the block");
    }
    return CASCADE_OK;
}

// Continues the CRC of a chunk by bytes that are copied and shown on the way.
static void
take_bytes(struct segment_read_request *request, uint64_t at,
           const uint8_t *data, uint64_t bytes, bool is_staged)
{
    for (uint64_t done = 0; done < bytes; done += STEP_BYTES) {
        uint64_t now = units_min(STEP_BYTES, bytes - done);
        const uint8_t *from = data + done;

        if (is_staged && request->memory != NULL) {
            uint8_t *to = (uint8_t *)request->memory + at + done;

            // The copy is what the caller gets, so the copy is what is checked.
            memcpy(to, from, now);
            from = to;
        }
        request->chunk = request->take != NULL
                             ? request->take(request->take_context, at + done,
                                             from, now, request->chunk)
                             : crc32c(request->chunk, from, now);
    }
}

// Checks a part that came back, and copies it to where it belongs.
static enum cascade_status
take_part(const struct segment_reader_part *part)
{
    struct segment_read_request *request = part->request;
    const uint8_t *data = (const uint8_t *)part->io.data + part->lead;
    enum cascade_status status;

    if (part->io.error != 0 ||
        part->io.done < part->io.head_bytes + part->lead + part->bytes) {
        return segment_io_status(&part->io);
    }
    if (part->is_header) {
        return check_header(request, data);
    }
    if (part->io.head_bytes > 0) {
        status = check_header(request, part->io.head);
        if (status != CASCADE_OK) {
            return status;
        }
    }
    for (uint64_t done = 0; done < part->bytes;) {
        uint64_t at = part->at + done;
        uint64_t now = units_min(SEGMENT_CHUNK_BYTES - at % SEGMENT_CHUNK_BYTES,
                                 part->bytes - done);

        take_bytes(request, at, data + done, now, part->is_staged);
        done += now;
        at += now;
        if (at % SEGMENT_CHUNK_BYTES == 0 || at == request->bytes) {
            // The host is little endian, as the table of CRCs is.
            request->running = crc32c(request->running, &request->chunk,
                                      sizeof(request->chunk));
            request->chunk = 0;
        }
    }
    request->checked += part->bytes;
    if (request->checked == request->bytes &&
        request->running != request->checksum) {
        return corrupt(request, "the block");
    }
    return CASCADE_OK;
}

// A part that came back and whose turn it is; NULL if there is none.
static struct segment_reader_part *
next_due(const struct segment_reader *reader)
{
    for (uint32_t i = 0; i < reader->part_count; i++) {
        struct segment_reader_part *part = &reader->parts[i];

        if (part->request != NULL && part->is_done &&
            (part->is_header || part->request->status != CASCADE_OK ||
             part->at == part->request->checked)) {
            return part;
        }
    }
    return NULL;
}

static void
retire(struct segment_reader *reader, struct segment_reader_part *part)
{
    struct segment_read_request *request = part->request;

    if (request->status == CASCADE_OK) {
        request->status = take_part(part);
    }
    free_part(reader, part);
}

// Issues while there is room; false when all are issued.
static bool
issue_more(struct segment_reader *reader, struct issue *issue)
{
    while (reader->used < reader->part_count && reader->stage_count > 0 &&
           reader->flying_bytes < units_max(segment_io_flight_bytes(reader->io),
                                            issue->left * FLIGHT_TIMES) &&
           segment_io_has_room(reader->io)) {
        if (!issue_next(reader, issue)) {
            return false;
        }
    }
    return true;
}

enum cascade_status
segment_read_payloads(struct segment_reader *reader,
                      struct segment_read_request *requests, size_t count)
{
    struct issue issue = {.requests = requests, .count = count};
    bool more = true;

    check(reader->used == 0);
    for (size_t i = 0; i < count; i++) {
        issue.left += requests[i].bytes;
    }
    for (;;) {
        struct segment_reader_part *due = next_due(reader);
        struct segment_io_request *done;

        // Issuing comes before checking, and what has come is replaced first.
        more = more && issue_more(reader, &issue);
        done = due != NULL ? segment_io_poll(reader->io)
                           : segment_io_wait(reader->io);
        if (done != NULL) {
            ((struct segment_reader_part *)done->owner)->is_done = true;
            reader->flying_bytes -= done->bytes;
        } else if (due != NULL) {
            retire(reader, due);
        } else {
            break;
        }
    }
    check(reader->used == 0 && reader->flying_bytes == 0 && !more);
    check(issue.left == 0);
    for (size_t i = 0; i < count; i++) {
        if (requests[i].status != CASCADE_OK) {
            return requests[i].status;
        }
    }
    return CASCADE_OK;
}
