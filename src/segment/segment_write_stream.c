// SPDX-License-Identifier: Apache-2.0
//
// One block that comes in pieces: space first, payload in order, header last.
// See segment_write.h.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "segment/segment_write_state.h"

struct segment_write_stream {
    struct segment_writer *writer;
    uint64_t bytes;
    uint64_t fed;
    uint64_t header_offset;
    uint64_t payload_offset;
    uint64_t record_bytes;
    uint64_t seq;
    bool failed;
    uint32_t crcs[]; // one per chunk
};

static void
end_stream(struct segment_write_stream *stream)
{
    struct segment_writer *writer = stream->writer;

    check(writer->open_streams > 0);
    writer->open_streams--;
    allocator_release(writer->allocator, stream);
}

enum cascade_status
segment_write_begin(struct segment_writer *writer, uint64_t bytes,
                    struct segment_write_stream **stream)
{
    uint32_t alignment = writer->facts.alignment_bytes;
    struct segment_write_stream *made;
    uint32_t header_bytes;

    if (bytes > CASCADE_BLOCK_BYTES_MAX) {
        return error_set(CASCADE_TOO_LARGE,
                         "a block of %llu bytes is larger than any segment "
                         "takes",
                         (unsigned long long)bytes);
    }
    if (!segment_write_takes_more(writer)) {
        return segment_write_closed(writer);
    }
    made = allocator_array(writer->allocator, 1,
                           sizeof(*made) + segment_format_chunk_count(bytes) *
                                               sizeof(uint32_t));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to write a block to %s",
                         writer->path);
    }
    header_bytes = segment_format_block_header_bytes(bytes, alignment);
    made->writer = writer;
    made->bytes = bytes;
    made->header_offset = writer->end;
    made->payload_offset = writer->end + header_bytes;
    made->record_bytes = header_bytes + units_round_up(bytes, alignment);
    made->seq = writer->next_seq++;
    writer->end += made->record_bytes;
    writer->open_streams++;
    *stream = made;
    return CASCADE_OK;
}

enum cascade_status
segment_write_feed(struct segment_write_stream *stream, const void *data,
                   uint64_t bytes)
{
    struct segment_writer *writer = stream->writer;

    if (bytes > stream->bytes - stream->fed ||
        (bytes % SEGMENT_CHUNK_BYTES != 0 &&
         bytes != stream->bytes - stream->fed)) {
        stream->failed = true;
        return error_set(CASCADE_INVALID,
                         "a piece of %llu bytes does not fit into what is left "
                         "of the block",
                         (unsigned long long)bytes);
    }
    if (stream->failed || !segment_write_takes_more(writer)) {
        stream->failed = true;
        return segment_write_closed(writer);
    }
    segment_write_payload(writer, data, bytes,
                          stream->payload_offset + stream->fed, stream->seq,
                          stream->crcs + stream->fed / SEGMENT_CHUNK_BYTES);
    segment_write_queue_drain(&writer->queue);
    if (writer->queue.status != CASCADE_OK) {
        stream->failed = true;
        return writer->queue.status;
    }
    stream->fed += bytes;
    return CASCADE_OK;
}

uint32_t
segment_write_stream_checksum(const struct segment_write_stream *stream)
{
    return segment_format_checksum(stream->crcs,
                                   segment_format_chunk_count(stream->fed));
}

uint64_t
segment_write_stream_offset(const struct segment_write_stream *stream)
{
    return stream->payload_offset;
}

enum cascade_status
segment_write_finish(struct segment_write_stream *stream,
                     const struct block_label *label, uint32_t checksum,
                     struct segment_entry *entry)
{
    struct segment_writer *writer = stream->writer;
    struct segment_entry made;
    enum cascade_status status;

    if (stream->failed || !segment_write_takes_more(writer)) {
        return segment_write_closed(writer);
    }
    if (stream->fed != stream->bytes ||
        !segment_write_label_is_valid(label, stream->bytes) ||
        (label->flags & SEGMENT_NO_PAYLOAD) != 0) {
        return error_set(CASCADE_INVALID,
                         "a block of %s is not whole, or its label is not that "
                         "of a block",
                         writer->path);
    }
    if (segment_write_stream_checksum(stream) != checksum) {
        return error_set(CASCADE_CORRUPT,
                         "a block changed before it was written to %s",
                         writer->path);
    }
    status = segment_index_reserve(&writer->index, 1);
    if (status != CASCADE_OK) {
        return status;
    }
    segment_write_block_header(writer, label, stream->header_offset,
                               stream->bytes, stream->seq, stream->crcs, &made);
    segment_write_queue_drain(&writer->queue);
    if (writer->queue.status != CASCADE_OK) {
        stream->failed = true;
        return writer->queue.status;
    }
    segment_index_add(&writer->index, &made);
    *entry = made;
    end_stream(stream);
    return CASCADE_OK;
}

void
segment_write_abort(struct segment_write_stream *stream)
{
    struct segment_writer *writer = stream->writer;

    if (segment_write_takes_more(writer)) {
        segment_write_skip(writer, stream->header_offset, stream->record_bytes,
                           stream->seq);
        segment_write_queue_drain(&writer->queue);
    }
    end_stream(stream);
}
