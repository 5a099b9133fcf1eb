// SPDX-License-Identifier: Apache-2.0
//
// Groups the items of one append into records and submits them. Items go in
// three passes (blocks, batches, binds): file order means nothing, versions
// decide. See segment_write.h.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "segment/segment_write_state.h"

enum item_class {
    CLASS_BLOCK,
    CLASS_BATCH,
    CLASS_BIND
};

static enum item_class
class_of(const struct segment_write_item *item)
{
    if ((item->label.flags & SEGMENT_NO_PAYLOAD) != 0) {
        return CLASS_BIND;
    }
    return item->bytes < SEGMENT_BATCH_BLOCK_BYTES ? CLASS_BATCH : CLASS_BLOCK;
}

// True if the item waits to be written in the pass of `wanted`.
static bool
is_due(const struct segment_write_item *item, enum item_class wanted)
{
    return item->status == CASCADE_OK && item->entry.seq == 0 &&
           class_of(item) == wanted;
}

// A record of which not everything was submitted, because another failed.
static void
note_unsubmitted(struct segment_writer *writer, uint64_t seq)
{
    if (writer->queue.status != CASCADE_OK) {
        segment_write_note_failed(writer, seq, writer->queue.status);
    }
}

static void
write_block(struct segment_writer *writer, struct segment_write_item *item)
{
    uint32_t alignment = writer->facts.alignment_bytes;
    uint32_t header_bytes = segment_format_block_header_bytes(item->bytes,
                                                              alignment);
    uint64_t header_offset = writer->end;
    uint64_t record_bytes = header_bytes +
                            units_round_up(item->bytes, alignment);
    uint64_t seq = writer->next_seq++;
    uint64_t count = segment_format_chunk_count(item->bytes);

    writer->end += record_bytes;
    segment_write_set_entry(&item->entry, &item->label, seq, header_offset, 0);
    segment_write_payload(writer, item->payload, item->bytes,
                          header_offset + header_bytes, seq, writer->crcs);
    if (writer->queue.status == CASCADE_OK &&
        segment_format_checksum(writer->crcs, count) != item->checksum) {
        item->status = error_set(CASCADE_CORRUPT,
                                 "a block changed before it was written to %s",
                                 writer->path);
        segment_write_skip(writer, header_offset, record_bytes, seq);
        return;
    }
    segment_write_block_header(writer, &item->label, header_offset, item->bytes,
                               seq, writer->crcs, &item->entry);
    note_unsubmitted(writer, seq);
}

// How many items, from `first` on, fit into one record; `header_bytes` gets the
// room that their header needs. `last` is behind the last of them.
static uint32_t
choose_items(const struct segment_writer *writer, size_t first,
             enum item_class wanted, uint64_t room, uint32_t *header_bytes,
             size_t *last)
{
    uint32_t alignment = writer->facts.alignment_bytes;
    uint64_t header_max = units_max(SEGMENT_WRITE_BATCH_HEADER_BYTES,
                                    alignment);
    uint64_t header = SEGMENT_RECORD_FIXED_BYTES;
    uint64_t payload = 0;
    uint32_t count = 0;
    size_t i;

    for (i = first; i < writer->item_count && count < UINT16_MAX; i++) {
        const struct segment_write_item *item = &writer->items[i];
        uint64_t more_header;
        uint64_t more_payload;

        if (!is_due(item, wanted)) {
            continue;
        }
        more_header = header +
                      segment_format_item_bytes(
                          segment_write_key_bytes(&item->label), item->bytes);
        more_payload = payload +
                       units_round_up(item->bytes, SEGMENT_PACK_BYTES);
        if (more_header > header_max ||
            units_round_up(more_header, alignment) +
                    units_round_up(more_payload, alignment) >
                room) {
            break;
        }
        header = more_header;
        payload = more_payload;
        count++;
    }
    check(count > 0 || i == writer->item_count);
    *header_bytes = (uint32_t)units_round_up(header, alignment);
    *last = i;
    return count;
}

// Copies payloads behind the header and checks the copies; what does not match
// is CORRUPT and left out. Returns the number of items that stay.
static uint32_t
copy_payloads(struct segment_writer *writer, size_t first, size_t last,
              uint8_t *record, uint64_t *at, uint64_t seq, uint32_t *crcs)
{
    uint64_t header_bytes = *at;
    uint32_t kept = 0;

    for (size_t i = first; i < last; i++) {
        struct segment_write_item *item = &writer->items[i];
        uint64_t padded = units_round_up(item->bytes, SEGMENT_PACK_BYTES);
        uint64_t count = segment_format_chunk_count(item->bytes);

        if (!is_due(item, CLASS_BATCH)) {
            continue;
        }
        if (item->bytes > 0) {
            memcpy(record + *at, item->payload, item->bytes);
            memset(record + *at + item->bytes, 0, padded - item->bytes);
        }
        crcs[kept] = 0;
        segment_format_chunk_crcs(record + *at, item->bytes, &crcs[kept]);
        if (segment_format_checksum(&crcs[kept], count) != item->checksum) {
            item->status = error_set(
                CASCADE_CORRUPT, "a block changed before it was written to %s",
                writer->path);
            continue;
        }
        segment_write_set_entry(&item->entry, &item->label, seq, writer->end,
                                kept);
        item->entry.offset = writer->end + *at;
        item->entry.bytes = item->bytes;
        item->entry.checksum = item->checksum;
        *at += padded;
        kept++;
    }
    check(*at >= header_bytes);
    return kept;
}

// Adds the items of record `seq` to a header that was begun, and closes it.
static void
build_header(struct segment_writer *writer, size_t first, size_t last,
             uint8_t *record, uint64_t seq, uint32_t count,
             const uint32_t *crcs)
{
    uint32_t variable = segment_format_variable_start(count);
    uint32_t header_crc;

    for (size_t i = first; i < last; i++) {
        struct segment_write_item *item = &writer->items[i];
        uint64_t offset = item->entry.offset;

        if (item->entry.seq == seq) {
            segment_format_add_item(
                record, item->entry.item, &variable, &item->label,
                offset == 0 ? 0 : offset - item->entry.header_offset,
                item->bytes, crcs == NULL ? NULL : &crcs[item->entry.item]);
        }
    }
    header_crc = segment_format_end_record(record);
    for (size_t i = first; i < last; i++) {
        if (writer->items[i].entry.seq == seq) {
            writer->items[i].entry.header_crc = header_crc;
        }
    }
}

// Writes one batch record; returns where to go on.
static size_t
write_batch(struct segment_writer *writer, size_t first)
{
    struct segment_write_queue *queue = &writer->queue;
    uint64_t seq = writer->next_seq;
    struct segment_write_piece *piece;
    uint32_t header_bytes = 0;
    size_t last = first;
    uint64_t at;
    uint64_t record_bytes;
    uint32_t count = choose_items(writer, first, CLASS_BATCH,
                                  queue->piece_bytes[SEGMENT_WRITE_LARGE],
                                  &header_bytes, &last);

    if (count == 0) {
        return last;
    }
    piece = segment_write_queue_take(queue, SEGMENT_WRITE_LARGE);
    at = header_bytes;
    count = copy_payloads(writer, first, last, piece->memory, &at, seq,
                          writer->crcs);
    if (count == 0) {
        segment_write_queue_return(piece);
        return last;
    }
    record_bytes = units_round_up(at, writer->facts.alignment_bytes);
    memset((uint8_t *)piece->memory + at, 0, record_bytes - at);
    segment_format_begin_record(piece->memory, header_bytes,
                                SEGMENT_RECORD_BATCH, writer->facts.uuid, seq,
                                writer->end, record_bytes, count);
    build_header(writer, first, last, piece->memory, seq, count, writer->crcs);
    segment_write_queue_submit(queue, piece->memory, record_bytes, writer->end,
                               piece, seq);
    writer->next_seq++;
    writer->end += record_bytes;
    note_unsubmitted(writer, seq);
    return last;
}

static size_t
write_bind(struct segment_writer *writer, size_t first)
{
    struct segment_write_queue *queue = &writer->queue;
    uint64_t seq = writer->next_seq;
    struct segment_write_piece *piece;
    uint32_t header_bytes = 0;
    uint32_t number = 0;
    size_t last = first;
    uint32_t count = choose_items(writer, first, CLASS_BIND,
                                  queue->piece_bytes[SEGMENT_WRITE_SMALL],
                                  &header_bytes, &last);

    if (count == 0) {
        return last;
    }
    for (size_t i = first; i < last; i++) {
        struct segment_write_item *item = &writer->items[i];

        if (is_due(item, CLASS_BIND)) {
            segment_write_set_entry(&item->entry, &item->label, seq,
                                    writer->end, number++);
        }
    }
    piece = segment_write_queue_take(queue, SEGMENT_WRITE_SMALL);
    segment_format_begin_record(piece->memory, header_bytes,
                                SEGMENT_RECORD_BIND, writer->facts.uuid, seq,
                                writer->end, header_bytes, count);
    build_header(writer, first, last, piece->memory, seq, count, NULL);
    segment_write_queue_submit(queue, piece->memory, header_bytes, writer->end,
                               piece, seq);
    writer->next_seq++;
    writer->end += header_bytes;
    note_unsubmitted(writer, seq);
    return last;
}

void
segment_write_note_failed(struct segment_writer *writer, uint64_t seq,
                          enum cascade_status status)
{
    for (size_t i = 0; i < writer->item_count; i++) {
        struct segment_write_item *item = &writer->items[i];

        if (item->entry.seq == seq && item->status == CASCADE_OK) {
            item->status = status;
        }
    }
}

void
segment_write_items(struct segment_writer *writer)
{
    size_t count = writer->item_count;

    for (size_t i = 0; i < count && segment_write_takes_more(writer); i++) {
        if (is_due(&writer->items[i], CLASS_BLOCK)) {
            write_block(writer, &writer->items[i]);
        }
    }
    for (size_t i = 0; i < count && segment_write_takes_more(writer);) {
        i = write_batch(writer, i);
    }
    for (size_t i = 0; i < count && segment_write_takes_more(writer);) {
        i = write_bind(writer, i);
    }
    segment_write_queue_drain(&writer->queue);
}

void
segment_write_index_items(struct segment_writer *writer,
                          const struct segment_write_item *items, size_t count)
{
    for (int pass = CLASS_BLOCK; pass <= CLASS_BIND; pass++) {
        for (size_t i = 0; i < count; i++) {
            if (items[i].status == CASCADE_OK &&
                (int)class_of(&items[i]) == pass) {
                segment_index_add(&writer->index, &items[i].entry);
            }
        }
    }
}
