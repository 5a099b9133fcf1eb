// SPDX-License-Identifier: Apache-2.0
//
// The cold tier: segments of one namespace under one root, this writer's and
// everybody else's. Through the tier table it takes and serves single blocks;
// the functions below do what only segments can: many records in one pass,
// sync, seal, restart, reclaim, adoption. It decides nothing: which records
// are current, what is written, reclaimed or reinserted, the store says.
//
// Locks: one writer lock (append, sync, seal), one table lock (segments); no
// lock is held while a callback runs. Waits are bounded by the I/O itself.

#ifndef TIER_SEGMENT_H
#define TIER_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/allocator.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pool.h"
#include "tier/tier.h"

struct segment_lease_holder;
struct tier_segment;

enum tier_segment_io {
    TIER_SEGMENT_IO_AUTO = 0,
    TIER_SEGMENT_IO_URING = 1,
    TIER_SEGMENT_IO_PREAD = 2,
};

struct tier_segment_entry;

// Called from several threads at once where there is a pool, for records of one
// segment; they are valid during the call.
typedef void
tier_segment_visit_many(void *context, const struct tier_segment_entry *entries,
                        size_t count);

struct tier_segment_options {
    const char *root;           // cold_path; created if its parent exists
    const char *namespace_name; // encoded as a folder name inside
    bool rebind_allowed;
    bool look_only;           // no directory, no lease, no write, no unlink
    uint64_t segment_bytes;   // seal at or past this size
    uint64_t alignment_bytes; // 0 = largest of 4 KiB, page, file system's
    uint64_t capacity_bytes;  // told to the tier for usage only
    uint64_t lease_ns;
    uint64_t write_rate; // bytes per second, 0 = unlimited
    uint32_t file_mode;
    const char *group; // "" = leave
    enum tier_segment_io io;
    const struct file_system *files;
    const struct clock_source *clock;
    const struct allocator *allocator;
    struct pool *pool;    // may be NULL
    struct log *log;      // may be NULL
    uint64_t version_tag; // of this store; also names its writer directory
    // Ranks of one job share a namespace that others may not; 0 = the store
    // is a job of its own.
    uint64_t job;
    // NULL = this process as the system describes it; tests play others.
    const struct segment_lease_holder *holder;
    // Gets what an open finds, where there are many, instead of its visit. May
    // be NULL.
    tier_segment_visit_many *visit_many;
};

// One record found at open, at refresh, or read back for reclaim.
struct tier_segment_entry {
    struct block_label label; // key_data is valid during the visit, if known
    struct block_place place; // not set for BIND, REMOVAL and CLEAR
    uint32_t segment;         // handle of the segment that holds the record
    bool own;                 // of this store: own or adopted directory
    bool sibling;             // of another rank of this job
    bool durable;             // sealed, or synced as far as one can know
    bool again;               // not a new record: only its place counts
};

// Called from several threads at once where there is a pool.
typedef void
tier_segment_visit(void *context, const struct tier_segment_entry *entry);

// Opens the root and reads every footer and unsealed tail. Each record is shown
// to `visit` in no order; the caller keeps the highest version per key and
// serves nothing before this returns. `floor` is set to the version below which
// bindings must not be served, because a file is missing unexplained (zero if
// none; only where rebinding is allowed): the caller drops what is below it.
// `highest` is the highest version seen in any record or header.
// LOCKED: rebind_allowed and another live store owns the namespace (the message
// says who and until when). NOT_FOUND: the parent of root is missing.
// PERMISSION, NO_SPACE, IO, NO_MEMORY, INVALID (the namespace has the other
// rebind kind), VERSION (root of a newer release).
enum cascade_status
tier_segment_open(const struct tier_segment_options *options,
                  tier_segment_visit *visit, void *context,
                  struct block_version *floor, struct block_version *highest,
                  struct tier_segment **cold);

// Seals, releases the lease, closes. Pins must be gone. The status is that of
// the seal; everything is closed in any case.
enum cascade_status
tier_segment_close(struct tier_segment *cold);

// The table of this tier; self is the struct tier_segment.
// reserve/write/commit append one block directly, write streams through
// aligned staging memory with the header written last; pin holds the segment.
extern const struct tier_table tier_segment_table;

// One record to append.
struct tier_segment_put {
    struct block_label label;
    const void *payload; // NULL for BIND, REMOVAL, CLEAR; else readable up to
                         // its size rounded up to the arena's granule
    uint64_t bytes;
    uint32_t checksum;          // expected; what does not match is CORRUPT
    enum cascade_status status; // out
    struct block_place place;   // out, where payload was given
    uint32_t segment;           // out: handle that holds the record
};

// Appends the records: payloads under 1 MiB packed in batch records, binds
// packed in bind records, written in large aligned requests. Not yet durable.
// Returns the first failure (each item has its own status); after a failed or
// short write the segment takes no more appends and the next call goes to a
// new one. CORRUPT for an item whose payload does not match its checksum.
// CLOSED: this writer lost its lease. NO_SPACE, IO. UNSUPPORTED: look_only.
enum cascade_status
tier_segment_append(struct tier_segment *cold, struct tier_segment_put *puts,
                    size_t count);

// Makes everything appended so far durable, renews the lease, and only then
// answers. A failed sync condemns the segment: what was appended since the last
// good sync is not durable and must be written again (its places answer STALE).
enum cascade_status
tier_segment_sync(struct tier_segment *cold);

// Seals the active segment (footer, trailer, syncs) if it holds a record.
enum cascade_status
tier_segment_seal(struct tier_segment *cold);

// One block to read. `memory` is where the payload goes.
struct tier_segment_get {
    struct block_place place;
    struct block_id id;    // the record must be this block's
    void *memory;          // room: bytes rounded up to the alignment makes the
    uint64_t memory_bytes; // read direct when memory is aligned too
    // These get the block too, as it comes in; they hold it. No spans = no.
    const struct cascade_span *spans;
    size_t span_count;
    bool given; // out: spans were written to, also if the status is not OK
    enum cascade_status status; // out: OK, STALE, CORRUPT, IO
};

// Reads many blocks with enough bytes in flight, verifying every checksum, in
// the order of files and offsets. Memory and spans are left alone after it
// returns; where the status is not OK they are unspecified.
void
tier_segment_read_many(struct tier_segment *cold, struct tier_segment_get *gets,
                       size_t count);

// Lists the root again: new sealed segments of others are shown to `visit`,
// vanished ones become STALE, leases are observed, expired writers are adopted
// (always where rebinding is allowed; else when `adopt`). Renews the own lease
// when due. Cheap when nothing changed. CLOSED: the own lease was lost.
enum cascade_status
tier_segment_refresh(struct tier_segment *cold, bool adopt,
                     tier_segment_visit *visit, void *context);

// After a place turned out stale: lists the root again, as a refresh does but
// without adopting, and then shows `again` whatever is in service and not this
// writer's own, so that the caller finds the block where else it is. Does nothing
// if no file went since the last time. With `place` NULL it looks in any case.
// OK: everything was shown, or there is nothing to look for. TIMEOUT: the
// deadline (steady clock) passed before. NO_MEMORY, IO: the root cannot be
// listed.
enum cascade_status
tier_segment_look_again(struct tier_segment *cold,
                        const struct block_place *place, uint64_t deadline_ns,
                        tier_segment_visit *visit, void *context);

// True if the file of the place is in service, as far as is known.
bool
tier_segment_is_served(struct tier_segment *cold,
                       const struct block_place *place);

// True if the last look at the root found no folder of another writer that this
// one does not hold: so that every record there is has been seen.
bool
tier_segment_is_alone(struct tier_segment *cold);

// The oldest sealed segment of this job. NOT_FOUND: none.
struct tier_segment_info {
    uint32_t segment;
    bool adopted; // another writer made it
    uint64_t file_bytes;
    uint64_t records;
    struct block_version created;
    char path[512]; // below the root
};
enum cascade_status
tier_segment_oldest(struct tier_segment *cold, struct tier_segment_info *info);

// All sealed or adopted segments of this job, oldest first; at most `room`.
size_t
tier_segment_own(struct tier_segment *cold, struct tier_segment_info *infos,
                 size_t room);

// Shows every record of one segment, keys included. STALE, CORRUPT, IO.
enum cascade_status
tier_segment_entries(struct tier_segment *cold, uint32_t segment,
                     tier_segment_visit *visit, void *context);

// True if the file of the place is in service and still has its name: what
// another store took away is noticed by a refresh otherwise.
bool
tier_segment_is_there(struct tier_segment *cold,
                      const struct block_place *place);

// Takes a segment out of service, waits (bounded by `deadline_ns` of the steady
// clock) for its readers, renews the lease, unlinks. TIMEOUT: readers remain;
// it is out of service and is unlinked by a later call.
enum cascade_status
tier_segment_retire(struct tier_segment *cold, uint32_t segment,
                    uint64_t deadline_ns);

// Frees a little space that is kept for a full disk, for the records without
// which a segment may not go; a refresh takes it back when there is room. False:
// there is none, and nothing changed.
bool
tier_segment_use_reserve(struct tier_segment *cold);

// Creation version of the oldest segment of any writer; a removal of a higher
// version is needed only while one older than it exists. `segment` (may be NULL):
// which one it is; UINT32_MAX if there is none, or its age is not known.
struct block_version
tier_segment_oldest_version(struct tier_segment *cold, uint32_t *segment);

struct tier_segment_usage {
    uint64_t own_bytes; // files of own and adopted directories
    uint64_t own_segments;
    uint64_t foreign_bytes;
    uint64_t foreign_segments;
    uint64_t active_bytes;
    uint64_t written_bytes; // since open
    uint64_t sealed;        // since open
    uint64_t damaged_files; // found at open or refresh and left alone
    uint64_t foreign_files; // files that are not ours, left alone
    uint64_t free_bytes;    // of the file system
    const char *io_name;    // "io_uring, O_DIRECT", "pread" ...
};
void
tier_segment_usage_of(struct tier_segment *cold,
                      struct tier_segment_usage *usage);

#endif
