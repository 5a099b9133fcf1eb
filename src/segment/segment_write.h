// SPDX-License-Identifier: Apache-2.0
//
// Writes one segment file: groups what it is given into block, batch and bind
// records, writes them with large aligned requests, and seals the file with
// footer and trailer. It does not decide what is written nor when to seal.
//
// Invariant: bytes that were written as a record are never written again; an
// item is OK only after all its bytes and its header are in the file with CRCs
// taken from the payload that was written. After a failed write the file takes
// no more records; after a failed sync it is condemned.
// Locks: none; all calls on one writer are made under the caller's lock.

#ifndef SEGMENT_SEGMENT_WRITE_H
#define SEGMENT_SEGMENT_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/allocator.h"
#include "base/attributes.h"
#include "block/block_label.h"
#include "cascade/status.h"
#include "segment/segment_format.h"
#include "segment/segment_io.h"

struct segment_writer;

struct segment_write_options {
    struct segment_io *io; // the writer's alone while a call runs
    const struct allocator *allocator;
    int directory;    // open folder, or AT_FDCWD
    const char *name; // in that folder; copied
    const char *path; // for messages; copied
    mode_t mode;      // 0 = 0600
    // alignment_bytes 0 = found out; kind is set here; a uuid of zeros is
    // drawn from the system.
    struct segment_facts facts;
    uint64_t staging_bytes; // 0 = 16 MiB; in pieces of 4 MiB, at least two
};

// Creates the file exclusively, writes its header, and syncs the directory.
// IO and NO_SPACE as the system says; EXISTS if the name is taken. On failure
// nothing is left that this call made (as far as unlink works).
enum cascade_status
segment_write_create(const struct segment_write_options *options,
                     struct segment_writer **writer) MUST_USE;

// Closes the file as it is; unsealed if it was not sealed. NULL does nothing.
void
segment_write_close(struct segment_writer *writer);

// One record to append.
struct segment_write_item {
    struct block_label label; // BIND, REMOVAL, CLEAR: no payload
    const void *payload;      // NULL without payload or for 0 bytes
    uint64_t bytes;
    uint32_t checksum;          // expected
    enum cascade_status status; // out
    struct segment_entry entry; // out, where status is OK; key_data NULL
};

// Appends all items. Each gets its own status: OK, CORRUPT (the payload does
// not match its checksum; not written), NO_SPACE, IO, NO_MEMORY, INVALID (key
// or payload too long), CLOSED (the file takes no more). The answer is the
// first that is not OK. Not durable before sync.
enum cascade_status
segment_write_append(struct segment_writer *writer,
                     struct segment_write_item *items, size_t count);

// A block that comes in pieces. Several may be open at once, also between
// appends.
struct segment_write_stream;

// Reserves space for one block of `bytes`. CLOSED, NO_MEMORY, TOO_LARGE.
enum cascade_status
segment_write_begin(struct segment_writer *writer, uint64_t bytes,
                    struct segment_write_stream **stream) MUST_USE;

// Writes the next piece: whole MiB, but for the last. Any memory; aligned
// memory is written without a copy. On failure the stream can only be aborted.
// INVALID: more than was announced. IO, NO_SPACE, CLOSED.
enum cascade_status
segment_write_feed(struct segment_write_stream *stream, const void *data,
                   uint64_t bytes) MUST_USE;

// The checksum of all that was fed.
uint32_t
segment_write_stream_checksum(const struct segment_write_stream *stream);

// Offset of the payload in the file.
uint64_t
segment_write_stream_offset(const struct segment_write_stream *stream);

// Writes the header. On success the stream is gone and `entry` is filled (key
// data NULL); on failure the stream can only be aborted. CORRUPT: `checksum`
// is not that of what was fed. INVALID: bytes are missing.
enum cascade_status
segment_write_finish(struct segment_write_stream *stream,
                     const struct block_label *label, uint32_t checksum,
                     struct segment_entry *entry) MUST_USE;

// Gives the space up: a skip record if the file still takes one, else a hole
// that the walk passes. The stream is gone.
void
segment_write_abort(struct segment_write_stream *stream);

// Makes what was appended durable. After a failure the file is condemned:
// entries since the last good sync must be written elsewhere.
enum cascade_status
segment_write_sync(struct segment_writer *writer) MUST_USE;

// Sync, footer, trailer, sync. No stream may be open (BUSY). Also possible
// after a failed append: the footer names what was written in full. CLOSED:
// sealed already or condemned. A failed seal condemns; the file stays readable
// by walking.
enum cascade_status
segment_write_seal(struct segment_writer *writer) MUST_USE;

struct segment_write_state {
    uint64_t bytes;           // end of the file so far
    uint64_t entries;         // appended
    uint64_t durable_entries; // of those, synced
    uint64_t records;         // that have entries
    uint32_t open_streams;
    bool takes_more; // appends are possible
    bool condemned;
    bool sealed;
    struct block_version highest; // of the entries; zero if none
};

void
segment_write_state_of(const struct segment_writer *writer,
                       struct segment_write_state *state);

// Entry `number` (below state.entries), in the order of success. Valid until
// the next call on the writer. Key data is not kept.
void
segment_write_entry(const struct segment_writer *writer, uint64_t number,
                    struct segment_entry *entry);

const struct segment_facts *
segment_write_facts(const struct segment_writer *writer);

// The open file, for readers of this process: its blocks may be read at once.
const struct segment_io_file *
segment_write_file(const struct segment_writer *writer);

#endif
