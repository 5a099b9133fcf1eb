// SPDX-License-Identifier: Apache-2.0
//
// Reads segment files: what a file is, its footer, one record's label with the
// key's bytes, and payloads, many at once. It does not walk unsealed files
// (segment_walk.h) and keeps no index.
//
// Invariant: no payload is OK whose checksum did not match, and no length from
// a file is used before it was bounded by the file's length.
// Threads: a segment_file is immutable after open and may be shared; the engine
// and the reader given to a call are the calling thread's alone. No lock.

#ifndef SEGMENT_SEGMENT_READ_H
#define SEGMENT_SEGMENT_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "cascade/status.h"
#include "segment/segment_format.h"
#include "segment/segment_io.h"

// Staging memory and an engine for one thread at a time.
struct segment_reader;

struct segment_reader_options {
    struct segment_io *io;
    const struct allocator *allocator;
};

// Takes about as much memory as the engine has in flight.
enum cascade_status
segment_reader_create(const struct segment_reader_options *options,
                      struct segment_reader **reader) MUST_USE;

void
segment_reader_destroy(struct segment_reader *reader);

struct segment_file {
    struct segment_io_file io;
    struct segment_facts facts;
    uint64_t bytes;        // of the file at open
    uint64_t data_bytes;   // records lie below; the index follows if sealed
    bool sealed;           // the trailer is intact
    uint64_t entry_count;  // if sealed
    uint64_t record_count; // that have entries; if sealed
    struct block_version lowest;  // of the entries, if sealed
    struct block_version highest; // of the entries, if sealed
    uint64_t next_seq;            // if sealed
    uint32_t index_crc;
    const struct allocator *allocator;
    char *path; // copy
};

// Opens a file and reads header and trailer. An unsealed file is OK with
// `sealed` false. NOT_FOUND: there is no such file, or it is not one of ours
// (`foreign` tells, may be NULL). VERSION: of a newer release; left alone.
// CORRUPT: the header is damaged, and no trailer of a file of records stands in
// for it: with one, the kind is SEGMENT_FILE_HEADLESS, and of the facts only
// uuid, alignment, namespace and number are known. STALE: the file is too short
// for a header (it is being created, or its writer died then).
enum cascade_status
segment_read_open(struct segment_reader *reader, int directory,
                  const char *name, const char *path,
                  struct segment_file **file, bool *foreign) MUST_USE;

void
segment_read_close(const struct segment_io *io, struct segment_file *file);

// False stops the visit.
typedef bool
segment_read_visit(void *context, const struct segment_entry *entry);

// Shows every entry of the footer; of an index file, the entries of its
// subject. The visit must not use the same reader. All or nothing: CORRUPT
// before the first visit if the index does not match its checksum (then walk
// the file). STALE: the file became shorter. IO, NO_MEMORY. INVALID: not
// sealed.
enum cascade_status
segment_read_entries(struct segment_reader *reader,
                     const struct segment_file *file, segment_read_visit *visit,
                     void *context);

// Reads the record header of an entry and fills the whole label; its key_data
// points into `reader` until its next call. CORRUPT: the header is damaged or
// is not this entry's.
enum cascade_status
segment_read_label(struct segment_reader *reader,
                   const struct segment_file *file,
                   const struct segment_entry *entry,
                   struct block_label *label) MUST_USE;

// Bytes of a payload at `at`, as they come in: in order, on the reader's thread
// and before the checksum of the whole is known, so that what was made of them
// is void if the request fails. Returns `crc` continued over these bytes, as
// crc32c does: who copies them has them in hand anyway.
typedef uint32_t
segment_read_take(void *context, uint64_t at, const void *data, uint64_t bytes,
                  uint32_t crc);

// One payload to read.
struct segment_read_request {
    const struct segment_io_file *file;
    uint64_t offset; // of the payload
    uint64_t bytes;
    uint32_t checksum;
    // Not NULL: it is a block record's payload, and the header before it must
    // be one of this file and name `id`.
    const struct segment_facts *facts;
    const struct block_id *id;
    // Receives the payload; NULL = verify only. If `bytes` rounded up to the
    // file's alignment fits, and memory and offset are aligned, no copy is
    // made, and what lies behind the payload is overwritten.
    void *memory;
    uint64_t memory_bytes;
    segment_read_take *take; // may be NULL
    void *take_context;
    enum cascade_status status; // out
    uint32_t running;           // the reader's
    uint32_t chunk;             // the reader's: of the chunk that has begun
    uint64_t checked;           // the reader's: bytes that `running` covers
};

// Reads all, with the engine's depth in flight across requests; returns when
// nothing is in flight. Each gets OK,
// CORRUPT (checksum or header do not match), STALE (the file is shorter), IO,
// TOO_SMALL. Memory is unspecified where status is not OK. The answer is the
// first that is not OK.
enum cascade_status
segment_read_payloads(struct segment_reader *reader,
                      struct segment_read_request *requests, size_t count);

// Reads the record header at `header_offset` into the reader, where it stays
// until its next call other than segment_read_payloads. `*found` is false if
// there is no intact header of this file. IO; STALE: the file ends before.
enum cascade_status
segment_read_header(struct segment_reader *reader,
                    const struct segment_file *file, uint64_t header_offset,
                    bool *found, struct segment_record_header *record,
                    const void **header, uint32_t *header_crc) MUST_USE;

// Reads up to `*bytes` at `offset` (a multiple of the file's alignment) into
// the reader's staging memory, valid until its next call. `*bytes` gets what
// there is.
enum cascade_status
segment_read_window(struct segment_reader *reader,
                    const struct segment_file *file, uint64_t offset,
                    uint64_t *bytes, const void **data) MUST_USE;

#endif
