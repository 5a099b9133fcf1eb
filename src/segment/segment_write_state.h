// SPDX-License-Identifier: Apache-2.0
//
// The inside of a segment writer, shared by the segment_write*.c files only.
// Under the caller's lock.

#ifndef SEGMENT_SEGMENT_WRITE_STATE_H
#define SEGMENT_SEGMENT_WRITE_STATE_H

#include "segment/segment_index.h"
#include "segment/segment_write.h"
#include "segment/segment_write_queue.h"

struct segment_writer {
    const struct allocator *allocator;
    struct segment_io *io;
    struct segment_io_file file;
    struct segment_facts facts;
    struct segment_write_queue queue;
    struct segment_index index;
    uint32_t *crcs; // of the block that is written
    char *path;
    uint64_t end; // where the next record goes; aligned
    uint64_t next_seq;
    uint64_t durable_entries;
    uint32_t open_streams;
    bool condemned;
    bool sealed;
    // The items of the append under way.
    struct segment_write_item *items;
    size_t item_count;
};

// True if records may still be appended.
static inline bool
segment_write_takes_more(const struct segment_writer *writer)
{
    return writer->queue.status == CASCADE_OK && !writer->condemned &&
           !writer->sealed;
}

// Headers of batch and bind records stay below this (or one alignment unit).
#define SEGMENT_WRITE_BATCH_HEADER_BYTES (64 * KIB)

static inline uint32_t
segment_write_key_bytes(const struct block_label *label)
{
    return label->key_data != NULL ? label->key_bytes : 0;
}

// Error of a writer that takes no more.
enum cascade_status
segment_write_closed(const struct segment_writer *writer);

// Submits payload bytes that begin at chunk boundary `done` of a block whose
// payload lies at `offset`, taking the CRCs of what is written. Aligned memory
// is written as it is, but for the part behind the last whole alignment unit.
void
segment_write_payload(struct segment_writer *writer, const void *data,
                      uint64_t bytes, uint64_t offset, uint64_t seq,
                      uint32_t *crcs);

// Submits a skip record over the range of a record that will not be.
void
segment_write_skip(struct segment_writer *writer, uint64_t header_offset,
                   uint64_t record_bytes, uint64_t seq);

// Builds and submits the header of a block record and fills `entry`.
void
segment_write_block_header(struct segment_writer *writer,
                           const struct block_label *label,
                           uint64_t header_offset, uint64_t bytes, uint64_t seq,
                           const uint32_t *crcs, struct segment_entry *entry);

// What an entry has from its label and record; the payload's part is zero.
void
segment_write_set_entry(struct segment_entry *entry,
                        const struct block_label *label, uint64_t seq,
                        uint64_t header_offset, uint32_t item);

// Items of record `seq` of the append under way did not make it.
void
segment_write_note_failed(struct segment_writer *writer, uint64_t seq,
                          enum cascade_status status);

// Writes the items of the append under way and waits for them.
void
segment_write_items(struct segment_writer *writer);

// Adds the entries of items that were written, those of one record together.
void
segment_write_index_items(struct segment_writer *writer,
                          const struct segment_write_item *items, size_t count);

// True if label and payload can be one record.
bool
segment_write_label_is_valid(const struct block_label *label, uint64_t bytes);

#endif
