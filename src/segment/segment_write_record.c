// SPDX-License-Identifier: Apache-2.0
//
// Submits the parts of one record: payload with its CRCs, header, skip record.
// See segment_write_state.h.

#include <string.h>

#include "segment/segment_write_state.h"

void
segment_write_set_entry(struct segment_entry *entry,
                        const struct block_label *label, uint64_t seq,
                        uint64_t header_offset, uint32_t item)
{
    memset(entry, 0, sizeof(*entry));
    entry->label = *label;
    entry->label.key_data = NULL;
    entry->label.key_bytes = 0;
    entry->key_bytes_written = segment_write_key_bytes(label);
    entry->seq = seq;
    entry->header_offset = header_offset;
    entry->item = item;
}

// Copies a part of a payload, padded, to a piece of staging memory and submits
// it; the CRCs are the copy's.
static void
write_staged(struct segment_writer *writer, const uint8_t *from, uint64_t bytes,
             uint64_t offset, uint64_t seq, uint32_t *crcs)
{
    struct segment_write_queue *queue = &writer->queue;
    uint64_t padded = units_round_up(bytes, writer->facts.alignment_bytes);
    struct segment_write_piece *piece = segment_write_queue_take(
        queue, SEGMENT_WRITE_LARGE);

    memcpy(piece->memory, from, bytes);
    memset((uint8_t *)piece->memory + bytes, 0, padded - bytes);
    segment_format_chunk_crcs(piece->memory, bytes, crcs);
    segment_write_queue_submit(queue, piece->memory, padded, offset, piece,
                               seq);
}

// Submits a part of a payload as it is, but for what is behind the last whole
// alignment unit, and takes the CRCs while it is on its way: nobody writes to a
// block that is being written.
static void
write_direct(struct segment_writer *writer, const uint8_t *from, uint64_t bytes,
             uint64_t offset, uint64_t seq, uint32_t *crcs)
{
    struct segment_write_queue *queue = &writer->queue;
    uint32_t alignment = writer->facts.alignment_bytes;
    uint64_t whole = units_round_down(bytes, alignment);

    if (whole > 0) {
        segment_write_queue_submit(queue, from, whole, offset, NULL, seq);
    }
    if (whole < bytes) {
        struct segment_write_piece *piece = segment_write_queue_take(
            queue, SEGMENT_WRITE_SMALL);

        memcpy(piece->memory, from + whole, bytes - whole);
        memset((uint8_t *)piece->memory + (bytes - whole), 0,
               alignment - (bytes - whole));
        segment_write_queue_submit(queue, piece->memory, alignment,
                                   offset + whole, piece, seq);
    }
    segment_format_chunk_crcs(from, bytes, crcs);
}

void
segment_write_payload(struct segment_writer *writer, const void *data,
                      uint64_t bytes, uint64_t offset, uint64_t seq,
                      uint32_t *crcs)
{
    struct segment_write_queue *queue = &writer->queue;
    bool direct = (uintptr_t)data % writer->file.memory_alignment_bytes == 0;
    uint64_t step = direct ? segment_io_direct_bytes(writer->io)
                           : units_min(segment_io_request_bytes(writer->io),
                                       queue->piece_bytes[SEGMENT_WRITE_LARGE]);

    for (uint64_t at = 0; at < bytes && queue->status == CASCADE_OK;
         at += step) {
        const uint8_t *from = (const uint8_t *)data + at;
        uint64_t now = units_min(step, bytes - at);

        if (direct) {
            write_direct(writer, from, now, offset + at, seq, crcs);
        } else {
            write_staged(writer, from, now, offset + at, seq, crcs);
        }
        crcs += segment_format_chunk_count(now);
    }
}

void
segment_write_skip(struct segment_writer *writer, uint64_t header_offset,
                   uint64_t record_bytes, uint64_t seq)
{
    uint32_t alignment = writer->facts.alignment_bytes;
    struct segment_write_piece *piece = segment_write_queue_take(
        &writer->queue, SEGMENT_WRITE_SMALL);

    segment_format_begin_record(piece->memory, alignment, SEGMENT_RECORD_SKIP,
                                writer->facts.uuid, seq, header_offset,
                                record_bytes, 0);
    (void)segment_format_end_record(piece->memory);
    segment_write_queue_submit(&writer->queue, piece->memory, alignment,
                               header_offset, piece, seq);
}

void
segment_write_block_header(struct segment_writer *writer,
                           const struct block_label *label,
                           uint64_t header_offset, uint64_t bytes, uint64_t seq,
                           const uint32_t *crcs, struct segment_entry *entry)
{
    uint32_t alignment = writer->facts.alignment_bytes;
    uint32_t header_bytes = segment_format_block_header_bytes(bytes, alignment);
    uint32_t variable = segment_format_variable_start(1);
    struct segment_write_piece *piece = segment_write_queue_take(
        &writer->queue, SEGMENT_WRITE_SMALL);

    segment_write_set_entry(entry, label, seq, header_offset, 0);
    entry->offset = header_offset + header_bytes;
    entry->bytes = bytes;
    entry->checksum = segment_format_checksum(
        crcs, segment_format_chunk_count(bytes));
    segment_format_begin_record(
        piece->memory, header_bytes, SEGMENT_RECORD_BLOCK, writer->facts.uuid,
        seq, header_offset, header_bytes + units_round_up(bytes, alignment), 1);
    segment_format_add_item(piece->memory, 0, &variable, label, header_bytes,
                            bytes, crcs);
    entry->header_crc = segment_format_end_record(piece->memory);
    segment_write_queue_submit(&writer->queue, piece->memory, header_bytes,
                               header_offset, piece, seq);
}
