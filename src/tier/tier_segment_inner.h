// SPDX-License-Identifier: Apache-2.0
//
// What the files tier_segment*.c share: the cold tier's state. For them alone.
//
// Locks, in this order; none is held across a callback or a wait for a reader:
//   writer_lock  the open writers, their engine and streams; held over I/O
//   table_lock   handles, directories, counters, readers; held over no I/O
// The lease has a lock of its own, taken under either or none.
// `scanning` (under table_lock) makes one thread at a time the scanner: it
// alone adds handles and directories other than the own writer's, and alone
// touches `watch`.
//
// Invariant: a handle whose generation matches names one file for life. It
// answers STALE from the moment it leaves service; its memory and number are
// reused only when no reference is left.

#ifndef TIER_SEGMENT_INNER_H
#define TIER_SEGMENT_INNER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "segment/segment_index.h"
#include "segment/segment_io.h"
#include "segment/segment_lease.h"
#include "segment/segment_lease_owner.h"
#include "segment/segment_lease_watch.h"
#include "segment/segment_read.h"
#include "segment/segment_root.h"
#include "segment/segment_walk.h"
#include "segment/segment_write.h"
#include "tier/tier_segment.h"

#define TIER_SEGMENT_READERS 8
#define TIER_SEGMENT_OPEN_FILES_MAX 512
#define TIER_SEGMENT_WRITERS 4
#define TIER_SEGMENT_STREAMS 32
#define TIER_SEGMENT_NUMBER_BYTES 32
#define TIER_SEGMENT_NAME_BYTES 80
#define TIER_SEGMENT_PATH_BYTES 128
#define TIER_SEGMENT_FEED_BYTES (4 * MIB)

enum tier_segment_state {
    TIER_SEGMENT_NEW = 0,     // listed, not read yet
    TIER_SEGMENT_TAIL = 1,    // no footer; walked as far as it went
    TIER_SEGMENT_ACTIVE = 2,  // this store's writer has it open
    TIER_SEGMENT_SEALED = 3,  // by footer or by an adopter's index
    TIER_SEGMENT_DAMAGED = 4, // ours, but cannot be read now
    TIER_SEGMENT_RETIRED = 5, // out of service, to be unlinked by us
    TIER_SEGMENT_GONE = 6,    // vanished
};

enum tier_segment_relation {
    TIER_SEGMENT_FOREIGN = 0,
    TIER_SEGMENT_SIBLING = 1, // a live writer of the same job
    TIER_SEGMENT_ADOPTED = 2,
    TIER_SEGMENT_OWN = 3,
};

struct tier_segment_directory {
    char writer[SEGMENT_LEASE_WRITER_BYTES];
    enum tier_segment_relation relation;
    uint64_t highest_number; // of files that ever had a handle
    bool listed;             // by the scan under way
    bool adopted_now;        // by the scan under way
    bool gone;
};

struct tier_segment_handle {
    uint32_t number; // of the handle
    uint32_t generation;
    uint32_t references;
    uint32_t directory; // index into directories
    enum tier_segment_state state;
    uint64_t file_number;
    char path[TIER_SEGMENT_PATH_BYTES];  // below the namespace
    char index[TIER_SEGMENT_PATH_BYTES]; // of an index file; "" = none
    bool index_used;                     // its entries come from there
    bool listed;                         // by the scan under way
    bool shown;                          // its entries were shown to the caller
    bool facts_known;
    bool finishing;  // a thread is unlinking it
    bool incomplete; // records in it may be unknown: counts as missing
    bool corrupt;    // for that reason, and it will not get better
    bool withholds;  // all that is known is void because of it
    struct segment_file *file; // open for reading; NULL = not now
    uint64_t used_at;          // for closing the longest unused
    struct segment_facts facts;
    uint64_t bytes;
    uint64_t records;
    uint64_t blocks;
    struct block_version lowest;
    struct block_version highest;
    // Condemned files only: sorted offsets of the payloads that are durable.
    bool condemned;
    uint64_t *durable;
    uint64_t durable_count;
    // Places taken out of service one by one, sorted offsets.
    uint64_t *released;
    uint64_t released_count;
    uint64_t released_room;
};

struct tier_segment_reader {
    struct segment_io *io;
    struct segment_reader *reader;
    bool busy;
};

struct tier_segment_writer {
    struct segment_writer *writer; // NULL = free
    struct tier_segment_handle *handle;
    bool leaving; // takes no more; sealed when its last stream ends
};

struct tier_segment_stream {
    struct segment_write_stream *stream; // NULL = free, unless it ended
    bool ended; // its commit failed late; only abandon remains
    uint32_t generation;
    uint32_t writer; // index into writers
    uint64_t bytes;
};

struct tier_segment {
    struct tier_segment_options options; // texts point into the arrays below
    char namespace_name[SEGMENT_ROOT_NAMESPACE_BYTES_MAX + 1];
    uint8_t namespace_digest[32];
    const struct file_system *files;
    const struct clock_source *clock;
    const struct allocator *allocator;
    struct segment_root root;
    struct segment_lease lease; // not with look_only
    struct segment_lease_watch watch;
    struct segment_lease_holder self;
    bool rebind_allowed;
    bool has_lease;
    bool has_watch;

    pthread_mutex_t writer_lock;
    pthread_cond_t paced; // nobody signals it; a wait with a time limit
    struct segment_io *writer_io;
    struct tier_segment_writer writers[TIER_SEGMENT_WRITERS];
    struct tier_segment_stream streams[TIER_SEGMENT_STREAMS];
    uint32_t current; // index into writers; TIER_SEGMENT_WRITERS = none
    uint64_t next_number;
    uint64_t marked_from;                 // markers below are gone
    struct block_version earlier_highest; // of the own files
    uint64_t pace_ns; // steady time at which the write rate is paid off

    pthread_mutex_t table_lock;
    pthread_cond_t changed; // a reference went, a reader became free
    struct tier_segment_handle **handles;
    uint32_t *generations;
    uint32_t handle_count;
    uint32_t handle_room;
    uint32_t handle_free;  // no free slot below
    uint32_t handle_found; // where the last search ended
    struct tier_segment_directory *directories;
    uint32_t directory_count;
    uint32_t directory_room;
    uint32_t own_directory;
    uint32_t open_files;
    uint64_t uses;
    struct tier_segment_reader readers[TIER_SEGMENT_READERS];
    bool scanning;
    uint64_t losses;              // files that left service behind our back
    uint64_t losses_shown;        // when everything was last shown again
    struct block_version highest; // of all versions seen
    uint64_t written_bytes;
    uint64_t sealed;
    uint64_t foreign_files;
};

// ---------------------------------------------------------------------------
// tier_segment_handles.c

// A new handle in state NEW. NULL: no memory. Under table_lock.
struct tier_segment_handle *
tier_segment_handle_add(struct tier_segment *cold, uint32_t directory,
                        uint64_t file_number);

// Forgets a handle without references. Under table_lock.
void
tier_segment_handle_free(struct tier_segment *cold,
                         struct tier_segment_handle *handle);

// A handle in service with one more reference; NULL: stale. Takes table_lock.
struct tier_segment_handle *
tier_segment_handle_hold(struct tier_segment *cold, uint32_t number,
                         uint32_t generation);

// Same for a place, which may have left service alone.
struct tier_segment_handle *
tier_segment_handle_hold_place(struct tier_segment *cold,
                               const struct block_place *place);

void
tier_segment_handle_drop(struct tier_segment *cold,
                         struct tier_segment_handle *handle);

// Opens the handle's file if it is not open; the caller holds a reference.
// STALE: it vanished. IO, NO_MEMORY.
enum cascade_status
tier_segment_handle_open(struct tier_segment *cold,
                         struct tier_segment_handle *handle,
                         struct segment_reader *reader) MUST_USE;

// Closes the file, if open. Under table_lock, no references.
void
tier_segment_handle_close(struct tier_segment *cold,
                          struct tier_segment_handle *handle);

// Waits for a free reader. NO_MEMORY, UNSUPPORTED (io).
enum cascade_status
tier_segment_reader_take(struct tier_segment *cold,
                         struct tier_segment_reader **reader) MUST_USE;

void
tier_segment_reader_give(struct tier_segment *cold,
                         struct tier_segment_reader *reader);

void
tier_segment_place_of(const struct tier_segment_handle *handle, bool own,
                      const struct segment_entry *entry,
                      struct block_place *place);

// A request for a payload of a held and open handle; `id` may be NULL.
void
tier_segment_fill_request(const struct tier_segment_handle *handle,
                          const struct block_place *place,
                          const struct block_id *id, void *memory,
                          uint64_t memory_bytes,
                          struct segment_read_request *request);

// Raises the highest version seen. Takes table_lock.
void
tier_segment_saw(struct tier_segment *cold, struct block_version version);

static inline struct block_version
tier_segment_later(struct block_version a, struct block_version b)
{
    return block_version_compare(a, b) < 0 ? b : a;
}

// ---------------------------------------------------------------------------
// tier_segment_load.c

// Reads a file's header and entries. The index receives the entries; the
// handle is changed (by the scanner alone). NO_MEMORY is the only failure:
// what cannot be read becomes DAMAGED or GONE.
enum cascade_status
tier_segment_load(struct tier_segment *cold, struct tier_segment_handle *handle,
                  struct segment_index *index) MUST_USE;

// Shows the entries, to `visit_many` if it is not NULL. `own` and durable as the
// handle says.
void
tier_segment_show(struct tier_segment *cold,
                  const struct tier_segment_handle *handle,
                  const struct segment_index *index, bool again,
                  tier_segment_visit_many *visit_many,
                  tier_segment_visit *visit, void *context);

// Seals an adopted tail by an index file in the own directory.
enum cascade_status
tier_segment_seal_adopted(struct tier_segment *cold,
                          struct tier_segment_handle *handle,
                          const struct segment_index *index) MUST_USE;

// ---------------------------------------------------------------------------
// tier_segment_scan.c

// Lists the namespace, adopts if asked, reads what is new and shows it.
// The caller is the scanner.
enum cascade_status
tier_segment_scan(struct tier_segment *cold, bool adopt, bool opening,
                  tier_segment_visit *visit, void *context) MUST_USE;

// Version below which bindings may be missing newer ones.
struct block_version
tier_segment_floor(struct tier_segment *cold);

// ---------------------------------------------------------------------------
// tier_segment_entries.c

// Reads the entries of a handle that is held and in service; changes nothing.
// STALE, CORRUPT, IO, NO_MEMORY.
enum cascade_status
tier_segment_index_of(struct tier_segment *cold,
                      struct tier_segment_handle *handle,
                      struct segment_reader *reader,
                      struct segment_index *index) MUST_USE;

// ---------------------------------------------------------------------------
// tier_segment_append.c

// Under writer_lock: renews if the lease ran low. CLOSED, UNSUPPORTED.
enum cascade_status
tier_segment_may_write(struct tier_segment *cold) MUST_USE;

// Under writer_lock: the writer for the next record, of a block of
// `block_bytes`, made if there is none.
enum cascade_status
tier_segment_writer_get(struct tier_segment *cold, uint64_t block_bytes,
                        uint32_t *writer) MUST_USE;

// Under writer_lock: after records were written or a stream ended: seals what
// is full or failed.
enum cascade_status
tier_segment_writer_settle(struct tier_segment *cold, uint32_t writer) MUST_USE;

// Waits until the write rate allows `bytes` more. No lock held.
void
tier_segment_pace(struct tier_segment *cold, uint64_t bytes);

// Seals or closes every open writer; streams must be gone.
enum cascade_status
tier_segment_writers_end(struct tier_segment *cold);

// ---------------------------------------------------------------------------
// tier_segment_retire.c

// Unlinks the retired files that nobody reads any more, and directories that
// became empty. Failure is left to a later call.
void
tier_segment_sweep(struct tier_segment *cold);

// The name of a file of a number: "00000001.seg", "00000001.gone".
void
tier_segment_file_name(char *name, size_t size, uint64_t number,
                       const char *ending);

#endif
