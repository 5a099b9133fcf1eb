// SPDX-License-Identifier: Apache-2.0
//
// Cascade: a tiered cache for the KV blocks of LLM inference.
//
// What will bite you first:
// - A cache may forget, it never lies. A get returns exactly the bytes that are
//   bound to the key, or CASCADE_NOT_FOUND, or an error. A block that was put
//   may be evicted; it can be put again.
// - Outputs change only on success, with one exception: after CASCADE_CORRUPT,
//   CASCADE_IO or CASCADE_TIMEOUT the caller's buffer is unspecified.
// - A store does not survive fork: in the child every call answers
//   CASCADE_FORKED. Open another store there.
// - A view (cascade_acquire) pins its block until it is released. Views that
//   are held for ever keep their space for ever, and cascade_close refuses
//   while one is out.
// - Puts are on stable storage only after cascade_flush (or with sync=put).
//
// Threads: every function may be called from any thread; handles are
// thread-safe except struct cascade_options, which one thread fills. No call
// may use a store after cascade_close returned CASCADE_OK.
//
// Sizes are bytes, times are nanoseconds. Structs that may grow begin with
// `size`: set it to sizeof(the struct); zero means the same.
//
// Errors: every call returns an enum cascade_status; the sentence that names
// the thing and the remedy is cascade_error_message() on the calling thread.

#ifndef CASCADE_CASCADE_H
#define CASCADE_CASCADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cascade/status.h>

#ifdef __cplusplus
extern "C" {
#endif

// ---------------------------------------------------------------------------
// Words and limits

struct cascade;         // a store
struct cascade_options; // options of a store to be opened
struct cascade_queue;   // a completion queue

#define CASCADE_KEY_BYTES_MAX 1024
#define CASCADE_ID_BYTES 32
#define CASCADE_BLOCK_BYTES_MAX ((uint64_t)16 << 30)

// Where copies live. The numbers are what users see.
enum cascade_tier {
    CASCADE_TIER_NONE = 0,
    CASCADE_TIER_LOCAL_GPU = 1,
    CASCADE_TIER_LOCAL_DRAM = 2,
    CASCADE_TIER_REMOTE_GPU = 3,
    CASCADE_TIER_REMOTE_DRAM = 4,
    CASCADE_TIER_SEGMENTS = 5
};
#define CASCADE_TIER_COUNT 6

enum cascade_memory {
    CASCADE_MEMORY_HOST = 0,
    CASCADE_MEMORY_DEVICE = 1 // memory of GPU number `device`
};

// A key: 1 to CASCADE_KEY_BYTES_MAX opaque bytes inside the namespace of the
// store. Never interpreted, never part of a path.
struct cascade_key {
    const void *data;
    size_t bytes;
};

// A piece of caller memory. A list of spans is one block in that order.
struct cascade_span {
    void *data;
    size_t bytes;
    enum cascade_memory memory;
    int32_t device;
};

struct cascade_const_span {
    const void *data;
    size_t bytes;
    enum cascade_memory memory;
    int32_t device;
};

// How long a call may take. NULL, or a timeout of 0, means the default of the
// store (option `timeout`).
struct cascade_call {
    uint32_t size;
    uint32_t reserved;
    uint64_t timeout_ns;
};

// ---------------------------------------------------------------------------
// Version and errors

// "0.1.0", and the numbers of it. Static text.
CASCADE_API const char *
cascade_version(void);

// Why the last failing call on this thread failed: names the thing and what to
// do. "" if nothing failed. Valid until the next failing call on this thread.
CASCADE_API const char *
cascade_error_message(void);

// ---------------------------------------------------------------------------
// Options, by name. Values are text; sizes accept "4096", "64KiB", "4GiB",
// "1GB". Later sources win: default, file, environment, program.

enum cascade_option_type {
    CASCADE_OPTION_BYTES = 0,
    CASCADE_OPTION_COUNT = 1,
    CASCADE_OPTION_REAL = 2,
    CASCADE_OPTION_FLAG = 3, // true / false
    CASCADE_OPTION_WORD = 4, // one of `range`
    CASCADE_OPTION_TEXT = 5,
    CASCADE_OPTION_TIME = 6 // seconds, may have a fraction
};

// One row of the option table. Static text.
struct cascade_option_info {
    const char *name;
    enum cascade_option_type type;
    const char *unit;
    const char *default_text; // what an unset option means
    const char *range;        // "4MiB..16TiB", "content|key|off", "" = any
    const char *sentence;
};

// Options at their defaults; NULL if there is no memory. The caller destroys
// them; a store copies what it needs, so they may go after cascade_open.
CASCADE_API struct cascade_options *
cascade_options_create(void);

// NULL does nothing.
CASCADE_API void
cascade_options_destroy(struct cascade_options *options);

// Sets one option. INVALID: the name is unknown (the message names the nearest
// known one) or the value is not of the type or out of range.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_options_set(struct cascade_options *options, const char *name,
                    const char *value);

// The effective value as text, terminated, into `value` of `size` bytes.
// INVALID: unknown name. TOO_SMALL: does not fit.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_options_get(const struct cascade_options *options, const char *name,
                    char *value, size_t size);

// Where the value came from: "default", "file", "environment", "program"; NULL
// if the name is unknown. Static text.
CASCADE_API const char *
cascade_options_origin(const struct cascade_options *options, const char *name);

// Reads `name = value` lines (cascade.conf; # or ; begins a comment; without
// it a line has at most 199 bytes). NOT_FOUND, IO, PERMISSION; INVALID names
// file and line.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_options_load_file(struct cascade_options *options, const char *path);

// Reads CASCADE_<NAME> for every option, first the file named by CASCADE_CONF
// if that is set. INVALID names the variable.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_options_load_environment(struct cascade_options *options);

// Row `index` of the table; NULL past the end. Static.
CASCADE_API const struct cascade_option_info *
cascade_options_describe(size_t index);

// ---------------------------------------------------------------------------
// Open and close

// Opens a store. `options` NULL means defaults and environment. May block
// while the cold tier is read; bounded by its size. On success the caller owns
// `*store`.
// INVALID: an option is wrong for this machine. LOCKED: another live store owns
// the cold path (the message says who). NOT_FOUND, PERMISSION, NO_SPACE, IO:
// the cold path. VERSION: the root was made by a newer release. NO_MEMORY.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_open(const struct cascade_options *options, struct cascade **store);

// Closes the store: stops background work, writes what the cold tier lacks and
// seals. BUSY while views are out or queues are open: the store goes on.
// IO, NO_SPACE: closed, but some blocks did not reach the cold tier (the
// message counts them). NULL is OK.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_close(struct cascade *store);

// ---------------------------------------------------------------------------
// Put

enum cascade_put_flags {
    CASCADE_PUT_PREFIX = 1,     // protect: many prompts begin with it
    CASCADE_PUT_IF_ABSENT = 2,  // leave a known key and its bytes alone
    CASCADE_PUT_SESSION_END = 4 // hint: this conversation is over
};

// What a put may say. All zero is a plain put. Hints outrank guesses of the
// policy and never change what is returned.
struct cascade_put_options {
    uint32_t size;
    uint32_t flags;            // enum cascade_put_flags
    struct cascade_key parent; // key of the block before it in the prompt
    uint32_t depth;            // place in its prompt, root = 0
    uint32_t turn;             // turn of the conversation, first = 0
    uint32_t request_class;    // the caller's own classes
    float expected_reuse;      // probability, 0 = unknown
    uint64_t timeout_ns;       // 0 = default of the store
};

// What a put did. Each says what happened, not what was meant.
struct cascade_put_result {
    bool stored;            // a copy was stored or already there: it can be got
    bool deduplicated;      // the content was there; nothing new is kept
    bool existed;           // the key was bound before
    bool protected_prefix;  // it is protected now
    enum cascade_tier tier; // where the copy is
};

// Stores the block made of `spans` under `key`. The bytes are copied before it
// returns. A key that is bound to other bytes moves to these (rebind=allowed).
// `options` and `result` may be NULL. A block of no bytes is a block.
// EXISTS: if-absent, or rebind=refused and other bytes: the old ones stay.
// NO_SPACE: no tier had room, in bounded time. TOO_LARGE: none ever could.
// INVALID, TIMEOUT, NO_MEMORY, IO, FORKED.
// With sync=put a failure of the cold tier (IO, NO_SPACE, TIMEOUT) leaves the
// block in memory: it can be got, and is not on stable storage.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_put(struct cascade *store, struct cascade_key key,
            const struct cascade_const_span *spans, size_t span_count,
            const struct cascade_put_options *options,
            struct cascade_put_result *result);

// ---------------------------------------------------------------------------
// Get

// Copies the block into `spans` and sets `*bytes` to its size (`bytes` may be
// NULL). Room beyond the block is left alone.
// NOT_FOUND: a miss; nothing is touched. TOO_SMALL: the spans do not hold it;
// they are untouched and `*bytes` IS set to the size needed. CORRUPT: the only
// copies are damaged; from now on it is a miss. TIMEOUT, IO, FORKED. NO_SPACE:
// only another rank has it, on disk, and has no room to load it now.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_get(struct cascade *store, struct cascade_key key,
            const struct cascade_span *spans, size_t span_count,
            const struct cascade_call *call, size_t *bytes);

// A pinned block. Fill nothing; release it.
struct cascade_view {
    const void *data; // device pointer if memory says so
    size_t bytes;
    enum cascade_memory memory;
    int32_t device;
    enum cascade_tier tier;
    uint64_t pin; // opaque
};

// The zero-copy get: pins the block in local memory and shows it. A block from
// the cold tier is read into DRAM first. The data is constant and stays valid
// until cascade_release, whatever is put, removed or cleared meanwhile.
// NOT_FOUND, CORRUPT, TIMEOUT, IO, FORKED; NO_SPACE: no room in local memory.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_acquire(struct cascade *store, struct cascade_key key,
                const struct cascade_call *call, struct cascade_view *view);

// Ends the view and zeroes it. A zeroed view does nothing.
CASCADE_API void
cascade_release(struct cascade *store, struct cascade_view *view);

// ---------------------------------------------------------------------------
// Look (changes nothing, renews nothing)

// OK: the key has a block that some tier can serve. NOT_FOUND, FORKED.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_exists(struct cascade *store, struct cascade_key key);

// How many keys at the start of the list exist.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_prefix_match(struct cascade *store, const struct cascade_key *keys,
                     size_t key_count, size_t *matched);

// Where the nearest copy is.
struct cascade_location {
    enum cascade_tier tier;
    int32_t rank;
    int32_t device; // -1 = none
    bool protected_prefix;
    uint64_t offset; // bytes from the start of the arena or segment file
    uint64_t bytes;
    // Content id; a surrogate of key and version unless dedup=content.
    uint8_t id[CASCADE_ID_BYTES];
};

CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_locate(struct cascade *store, struct cascade_key key,
               struct cascade_location *location);

// ---------------------------------------------------------------------------
// Change

// Forgets the key. Content that no key names is freed (after its last view).
// NOT_FOUND: it was not there. Durable after flush.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_remove(struct cascade *store, struct cascade_key key);

// Protects the key's block from leaving memory (loads it if it is only cold).
// NO_SPACE: the budget (`prefix_fraction_max`) refuses; it stays unprotected.
// NOT_FOUND, UNSUPPORTED (semantic_eviction=false), CORRUPT, IO.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_protect(struct cascade *store, struct cascade_key key,
                const struct cascade_call *call);

// Lifts the protection. OK also if there was none. NOT_FOUND.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_unprotect(struct cascade *store, struct cascade_key key);

// Brings the block closer (cold to DRAM) and copies nothing out. OK also if it
// is close already. NOT_FOUND, NO_SPACE, CORRUPT, TIMEOUT, IO.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_prefetch(struct cascade *store, struct cascade_key key,
                 const struct cascade_call *call);

// Every put, remove and clear acknowledged before the call survives a crash
// afterwards. OK without a cold tier (nothing to do). NO_SPACE, IO: the message
// counts the blocks that did not fit. CORRUPT: the rest is safe, but blocks
// were found damaged in memory and are forgotten (counted). TIMEOUT.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_flush(struct cascade *store, const struct cascade_call *call);

// What a drain did and left. `size` as everywhere.
struct cascade_drain_result {
    uint32_t size;
    uint32_t reserved;
    uint64_t blocks_written;
    uint64_t bytes_written;
    uint64_t blocks_left; // still only in memory
    uint64_t bytes_left;
};

// Writes what is only in memory to the cold tier until `timeout_ns` (0: the
// default) have passed: protected blocks first, then the hottest, each prompt
// from its beginning. OK also where the time came first; `*result` (may be
// NULL) says what is left. What is written survives a crash. Options
// drain_signals and drain_requests let signals and the command `cascade drain`
// ask for it. UNSUPPORTED: no cold tier to write to. NO_SPACE, IO, CLOSED: the
// cold tier took no more.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_drain(struct cascade *store, uint64_t timeout_ns,
              struct cascade_drain_result *result);

// Empties a tier downwards: everything unpinned and unprotected in `tier` is
// written to the cold tier if that lacks it, then dropped. `*evicted` (may be
// NULL) counts blocks. UNSUPPORTED: not a tier that can be emptied.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_evict(struct cascade *store, enum cascade_tier tier,
              const struct cascade_call *call, uint64_t *evicted);

// Forgets every block of the namespace put before the call. Durable after
// flush. Views stay valid.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_clear(struct cascade *store);

// Visits every key whose bytes are known, in no order, on a snapshot per shard;
// `visit` must not call into the store and returns false to stop.
struct cascade_entry {
    struct cascade_key key; // valid during the visit; 0 bytes: not known
    uint8_t key_digest[32];
    uint8_t id[CASCADE_ID_BYTES];
    uint64_t bytes;
    bool protected_prefix;
    bool in_memory;
    bool on_segments;
};
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_list(struct cascade *store,
             bool (*visit)(void *context, const struct cascade_entry *entry),
             void *context);

// ---------------------------------------------------------------------------
// Caller memory. Registering is a promise that the range stays mapped until it
// is unregistered; transfers into it need no staging where the machine can do
// that. Never required.

CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_register_memory(struct cascade *store, void *data, size_t bytes);

// NOT_FOUND: no such registration. BUSY: a transfer uses it.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_unregister_memory(struct cascade *store, void *data);

// ---------------------------------------------------------------------------
// Batches. One item is one operation; the status is per item.

enum cascade_operation {
    CASCADE_OPERATION_PUT = 0,
    CASCADE_OPERATION_GET = 1,
    CASCADE_OPERATION_ACQUIRE = 2,
    CASCADE_OPERATION_EXISTS = 3,
    CASCADE_OPERATION_REMOVE = 4,
    CASCADE_OPERATION_PROTECT = 5,
    CASCADE_OPERATION_UNPROTECT = 6,
    CASCADE_OPERATION_PREFETCH = 7,
    CASCADE_OPERATION_RELEASE = 8,
    CASCADE_OPERATION_FLUSH = 9,
    CASCADE_OPERATION_EVICT = 10,
    CASCADE_OPERATION_CLEAR = 11,
    CASCADE_OPERATION_LOCATE = 12
};
#define CASCADE_OPERATION_COUNT 13

struct cascade_item {
    uint32_t size;
    enum cascade_operation operation;
    struct cascade_key key;
    // PUT
    const struct cascade_const_span *put_spans;
    size_t put_span_count;
    const struct cascade_put_options *put_options; // may be NULL
    struct cascade_put_result put_result;          // out
    // GET
    const struct cascade_span *get_spans;
    size_t get_span_count;
    size_t bytes; // out: GET, EVICT (blocks)
    // ACQUIRE (out), RELEASE (in)
    struct cascade_view view;
    // EVICT
    enum cascade_tier tier;
    // LOCATE (out)
    struct cascade_location location;
    enum cascade_status status; // out
};

// Runs the items, using the threads of the store, and returns when all have a
// status. Gets are independent; items that change the same key run in order.
// OK when every item was run, whatever its status. INVALID: an argument.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_batch(struct cascade *store, struct cascade_item *items,
              size_t item_count, const struct cascade_call *call);

// ---------------------------------------------------------------------------
// Asynchronous: submit a batch, get its completion from a queue.

struct cascade_completion {
    uint64_t ticket;
    void *user_data;
    struct cascade_item *items; // as submitted, with status
    size_t item_count;
    enum cascade_status status; // OK: all run. CANCELLED, TIMEOUT: none or some
};

// A queue of at most `depth` submissions in flight or not yet taken.
// The caller closes it before the store.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_queue_open(struct cascade *store, size_t depth,
                   struct cascade_queue **queue);

// Cancels what has not started, waits for the rest, drops completions not
// taken. NULL is OK.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_queue_close(struct cascade_queue *queue);

// Becomes readable when a completion waits (for poll and epoll; do not read
// it). Owned by the queue.
CASCADE_API int
cascade_queue_eventfd(const struct cascade_queue *queue);

// Hands the items over; they, their spans and keys must stay until the
// completion was taken. `*ticket` (may be NULL) names it for cancel.
// BUSY: `depth` submissions are out; take completions first. FORKED, CLOSED.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_submit(struct cascade_queue *queue, struct cascade_item *items,
               size_t item_count, const struct cascade_call *call,
               void *user_data, uint64_t *ticket);

// Cancels a submission that has not started: its completion comes with
// CANCELLED. BUSY: it has started and will complete. NOT_FOUND: no such ticket.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_cancel(struct cascade_queue *queue, uint64_t ticket);

// Takes up to `room` completions; waits up to `timeout_ns` for the first
// (0 = do not wait). `*count` is set. TIMEOUT: none came (and `*count` is 0).
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_queue_wait(struct cascade_queue *queue,
                   struct cascade_completion *completions, size_t room,
                   uint64_t timeout_ns, size_t *count);

// ---------------------------------------------------------------------------
// Statistics: local reads, never collective.

struct cascade_stats {
    uint32_t size;
    uint32_t reserved;
    // Operations that ended, by what happened.
    uint64_t puts;
    uint64_t puts_existed;
    uint64_t puts_refused; // NO_SPACE, TOO_LARGE
    uint64_t gets;         // gets and acquires
    uint64_t hits[CASCADE_TIER_COUNT];
    uint64_t hit_bytes[CASCADE_TIER_COUNT];
    uint64_t misses;
    uint64_t misses_evicted; // of these: known once, not there any more
    uint64_t misses_corrupt;
    uint64_t put_bytes;
    // Content
    uint64_t dedup_hits;
    uint64_t dedup_bytes_saved;
    uint64_t blocks; // distinct contents that this rank can serve
    uint64_t keys;   // bindings
    uint64_t protected_blocks;
    uint64_t protected_bytes;
    uint64_t protections_refused;
    uint64_t corrupt_blocks;
    uint64_t stale_places;
    // Space
    uint64_t used_bytes[CASCADE_TIER_COUNT];
    uint64_t capacity_bytes[CASCADE_TIER_COUNT];
    uint64_t tier_blocks[CASCADE_TIER_COUNT];
    // Movement
    uint64_t evictions[CASCADE_TIER_COUNT];
    uint64_t demotions; // written to segments because memory was wanted
    uint64_t promotions;
    uint64_t cold_bytes_written;
    uint64_t cold_writes_dropped;
    uint64_t dirty_bytes; // not yet on the cold tier
    uint64_t dirty_blocks;
    uint64_t segments_sealed;
    uint64_t segments_reclaimed;
    uint64_t blocks_reinserted;
    uint64_t views_out;
    uint64_t pins;
};

CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_stats_read(struct cascade *store, struct cascade_stats *stats);

// All metrics as Prometheus text, terminated, into `text` of `size` bytes.
// `*needed` (may be NULL) is the size with the terminator. TOO_SMALL.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_metrics_text(struct cascade *store, char *text, size_t size,
                     size_t *needed);

// The effective value of an option of an open store.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_option_effective(struct cascade *store, const char *name, char *value,
                         size_t size);

// ---------------------------------------------------------------------------
// Ranks. A store without a fabric is rank 0 of 1. Opening and closing are for
// all ranks of a job together; nothing else but cascade_barrier is.

CASCADE_API int32_t
cascade_rank(const struct cascade *store);

CASCADE_API int32_t
cascade_rank_count(const struct cascade *store);

// Waits until every rank has called it as often as this one. TIMEOUT, CLOSED:
// not all came, and the message names one. OK at once with one rank.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_barrier(struct cascade *store, const struct cascade_call *call);

// What this rank has changed before is known wherever it is to be known: puts
// that were not confirmed are, and every rank's list of protected keys has it.
// Not needed for correct bytes. TIMEOUT. OK at once with one rank.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_sync(struct cascade *store, const struct cascade_call *call);

// Visits every protected key of all ranks, as cascade_list does; in_memory and
// on_segments speak of this rank. A change by another rank may be missing until
// that one has synced. NO_SPACE: the list of this rank had no room for all; what
// is in it was visited. One rank: its own.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_list_protected(struct cascade *store, const struct cascade_call *call,
                       bool (*visit)(void *context,
                                     const struct cascade_entry *entry),
                       void *context);

// The sum of the statistics of all ranks, each read when it is asked.
CASCADE_API CASCADE_MUST_USE enum cascade_status
cascade_stats_read_all(struct cascade *store, const struct cascade_call *call,
                       struct cascade_stats *stats);

// ---------------------------------------------------------------------------
// Content id, "cascade-sha256t-v1" (docs/SEGMENT_FORMAT.md): a tree of SHA-256
// over 4,096-byte leaves. Needs no store.

CASCADE_API void
cascade_content_id(const void *data, size_t bytes,
                   uint8_t id[CASCADE_ID_BYTES]);

#ifdef __cplusplus
}
#endif

#endif
