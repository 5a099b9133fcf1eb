// SPDX-License-Identifier: Apache-2.0
//
// Replay of a trace through a real store: what each request needs is looked up,
// got and compared byte by byte, and what is missing is put, as an engine does
// it. Not a simulation: `cascade simulate` counts without bytes.
//
// One thread drives it, or one of each rank: then each has the requests that are
// routed to it, and the first adds up. What must outlive a killed process (totals and marks)
// lies in memory that parent and child share; the parent reads it only after
// the child has ended.
//
// Invariant: a byte is counted as verified only after it was compared with the
// content of its hash id, outside of the timed part.

#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/attributes.h"
#include "base/histogram.h"
#include "bench/buffer.h"
#include "bench/route.h"
#include "bench/trace.h"
#include "cascade/cascade.h"
#include "tools/progress.h"

struct replay_options {
    const char *trace_path;
    const char *cold_path;    // NULL = no cold tier
    const char *samples_path; // NULL = none
    uint64_t dram_bytes;
    uint64_t cold_bytes;
    uint64_t block_bytes;
    uint64_t requests_max; // 0 = all
    uint64_t protect_count;
    uint64_t seed;
    double restart_at; // fraction of the requests; 0 = no restart
    bool kill;         // the restart is a kill -9 after the flush
    bool json;
    enum route route; // NONE: one rank
    size_t setting_count;
    const char *const *settings; // further options of the store, "name=value"
};

// Marks of a block, by its index in the trace.
#define REPLAY_WANTED_PROTECTED 1u // chosen to be protected
#define REPLAY_PROTECTED 2u        // the store accepted it
#define REPLAY_LOST 4u             // protected, but not in memory or wrong
#define REPLAY_EXPECTED 8u         // was there and flushed before the restart

// A moment of the run, for the windows of the samples.
struct replay_moment {
    uint64_t requests;
    uint64_t refs;
    uint64_t hits[CASCADE_TIER_COUNT];
    uint64_t verified_bytes;
    uint64_t get_ns;
    uint64_t put_bytes;
    uint64_t put_ns;
};

// What is added up. Counters of the stores are summed over restarts.
struct replay_totals {
    uint64_t requests;
    uint64_t refs;
    uint64_t prefix_hits; // got and right
    uint64_t block_hits;  // there before the request, contiguous or not
    uint64_t hits[CASCADE_TIER_COUNT];
    uint64_t verified_bytes; // of hits
    uint64_t checked_bytes;  // compared beside the hits: protection, restart
    uint64_t wrong_bytes;
    uint64_t failed_calls; // statuses that no healthy run sees
    uint64_t unanswered;   // calls for which another rank was too slow
    uint64_t get_ns;
    uint64_t puts;
    uint64_t put_bytes;
    uint64_t puts_refused;
    uint64_t put_ns;
    _Atomic uint64_t get_latency[HISTOGRAM_SLOTS]; // all hits of a request
    _Atomic uint64_t put_latency[HISTOGRAM_SLOTS]; // all puts of a request
    uint64_t protect_checks;
    uint64_t protect_lost;
    uint64_t restart_expected;
    uint64_t restart_served;
    uint64_t restart_open_ns;
    uint64_t restarts;
    uint64_t dedup_hits;
    uint64_t dedup_bytes_saved;
    uint64_t promotions;
    uint64_t remote_bytes; // of batches that came from other ranks alone
    uint64_t remote_ns;
    uint64_t evictions[CASCADE_TIER_COUNT];
    uint64_t demotions;
    uint64_t cold_bytes_written;
    uint64_t cold_writes_dropped;
    uint64_t corrupt_blocks;
    uint64_t segments_reclaimed;
    uint64_t elapsed_ns;
    struct replay_moment last; // the last sample
};

// What is known of a block of a request.
struct replay_look {
    enum cascade_tier tier; // NONE: it is not there
    bool got;
};

struct replay {
    const struct replay_options *options;
    const struct trace *trace;
    struct replay_totals *totals; // shared
    uint8_t *marks;               // shared; one per distinct block
    struct cascade *store;
    struct buffer shared;
    struct buffer bytes; // the blocks of one request
    struct cascade_item *items;
    struct cascade_span *get_spans;
    struct cascade_const_span *put_spans;
    struct cascade_put_options *put_options;
    struct replay_look *looks; // where the blocks of a request are
    uint32_t *chosen;          // some of them
    uint16_t *ranks;           // of every request; NULL with one rank
    uint16_t rank;
    uint16_t rank_count;
    uint64_t hits_seen[CASCADE_TIER_COUNT]; // of this store, counted or not
    FILE *samples;
    struct progress progress;
};

// --- replay_store.c

enum cascade_status
replay_open(struct replay *replay) MUST_USE;

enum cascade_status
replay_close(struct replay *replay) MUST_USE;

// --- replay_blocks.c: blocks as the store sees them

// The key of a block: its hash id as eight bytes.
struct cascade_key
replay_key(const struct replay *replay, uint32_t block);

// The number of its content.
uint64_t
replay_content(const struct replay *replay, uint32_t block);

// Where block `index` of a request lies in the buffer.
void *
replay_place(const struct replay *replay, size_t index);

// Gets `count` blocks into the buffer in one batch and compares them. `*got` is
// how many leading ones came back right in size; `*elapsed_ns` is the batch
// alone. Wrong bytes and failures are counted.
enum cascade_status
replay_get(struct replay *replay, const uint32_t *blocks, size_t count,
           size_t *got, uint64_t *elapsed_ns) MUST_USE;

// --- replay_request.c

// Looks, gets, verifies and puts the blocks of one request.
enum cascade_status
replay_request(struct replay *replay,
               const struct trace_request *request) MUST_USE;

// --- replay_ranks.c

// Whether a call failed only because another rank did not answer in time; then
// it is counted. The block is as good as not there.
bool
replay_is_unanswered(struct replay *replay, enum cascade_status status);

// Gets what is there of a request, tier by tier, so that each has its own time.
// `*got`: how many leading blocks came back right in size.
enum cascade_status
replay_get_by_tier(struct replay *replay, const uint32_t *blocks, size_t count,
                   size_t *got) MUST_USE;

// The whole trace on all ranks of the job. In the end the totals and marks of
// the first rank are those of all.
enum cascade_status
replay_run_ranks(struct replay *replay) MUST_USE;

// --- replay_protect.c

// Marks the blocks that most requests begin with.
enum cascade_status
replay_choose_protected(struct replay *replay) MUST_USE;

// Checks that every protected block is in memory and, with `compare`, that its
// bytes are right. Losses are counted and named on standard error.
enum cascade_status
replay_check_protected(struct replay *replay, bool compare) MUST_USE;

// --- replay_restart.c

// Flushes and marks the blocks that must be there after a restart.
enum cascade_status
replay_before_restart(struct replay *replay) MUST_USE;

// Gets and compares every marked block.
enum cascade_status
replay_after_restart(struct replay *replay) MUST_USE;

// --- replay_report.c

// Brings the hits of each tier up to date with the counters of the store. With
// `count` false they were gets beside the trace, and are left out.
enum cascade_status
replay_read_hits(struct replay *replay, bool count) MUST_USE;

enum cascade_status
replay_open_samples(struct replay *replay) MUST_USE;

// Appends a sample of the window since the last one.
enum cascade_status
replay_sample(struct replay *replay) MUST_USE;

// Adds the counters of the store to the totals, before it closes.
enum cascade_status
replay_add_store(struct replay *replay) MUST_USE;

// Prints the result.
void
replay_print(const struct replay *replay);

// Whether nothing was wrong, lost or failed.
bool
replay_is_clean(const struct replay *replay);

// --- replay.c

// Runs the whole trace. What went wrong inside is in the totals; the status is
// for what kept it from running.
enum cascade_status
replay_run(struct replay *replay) MUST_USE;

// Gives back what the run took, after the result was printed.
void
replay_release(struct replay *replay);

#endif
