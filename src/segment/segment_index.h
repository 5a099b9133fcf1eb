// SPDX-License-Identifier: Apache-2.0
//
// Footers: collects entries, and writes them with the trailer at the end of a
// segment, or alone into an index file that seals another writer's segment
// from the adopter's own directory. An index file wins over the footer of its
// subject, which is never written to.
//
// Invariant: an index is believed as a whole (its CRC32C) or not at all.
// Locks: none; the caller's.

#ifndef SEGMENT_SEGMENT_INDEX_H
#define SEGMENT_SEGMENT_INDEX_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_format.h"
#include "segment/segment_io.h"

// A growing table of entries, without keys' bytes.
struct segment_index {
    const struct allocator *allocator;
    struct segment_footer_entry *entries;
    uint64_t count;
    uint64_t room;
    uint64_t records; // of the entries; those of one record come together
    uint64_t payload_bytes;
    struct block_version lowest;
    struct block_version highest;
};

void
segment_index_init(struct segment_index *index,
                   const struct allocator *allocator);

void
segment_index_fini(struct segment_index *index);

// Makes room for `more` entries. NO_MEMORY: nothing changed.
enum cascade_status
segment_index_reserve(struct segment_index *index, uint64_t more) MUST_USE;

// There must be room.
void
segment_index_add(struct segment_index *index,
                  const struct segment_entry *entry);

// Writes entries and trailer at `offset` (a multiple of the alignment) as the
// last bytes of the file; does not sync. `staging` is aligned memory.
// `file_bytes` gets the length of the file.
enum cascade_status
segment_index_write(const struct segment_index *index, struct segment_io *io,
                    const struct segment_io_file *file,
                    const struct segment_facts *facts, uint64_t offset,
                    uint64_t next_seq, void *staging, uint64_t staging_bytes,
                    uint64_t *file_bytes) MUST_USE;

struct segment_index_options {
    struct segment_io *io;
    const struct allocator *allocator;
    int directory;
    const char *name;
    const char *path;
    mode_t mode; // 0 = 0600
    // kind is set here; subject_* say what is sealed; uuid as in
    // segment_write.h.
    struct segment_facts facts;
    uint64_t next_seq; // of the subject
};

// Writes an index file in full, syncs it and the directory. On failure it is
// unlinked, as far as that works. EXISTS, NO_SPACE, IO, NO_MEMORY.
// Read it back with segment_read_open and segment_read_entries: its entries
// name offsets in the subject.
enum cascade_status
segment_index_create(const struct segment_index_options *options,
                     const struct segment_index *index) MUST_USE;

#endif
