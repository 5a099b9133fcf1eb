// SPDX-License-Identifier: Apache-2.0
//
// Counters, gauges and histograms in flat arrays of atomics, laid out by the
// rows of base/metric_table.h. There is one array for each lane (base/lane.h),
// so that threads that count the same thing do not share a cache line. They lie
// in a page that others may read (base/metric_page.h) or anywhere else. Not the
// text (store/store_metrics.h).
//
// Invariant: every cell is one 64-bit atomic, changed with relaxed operations;
// nothing may be concluded from the order in which two cells change. What a
// counter or histogram says is the sum over all lanes; a gauge lives in the
// first lane alone, and so does a counter that is set. No lock.
// A NULL array takes and gives nothing, so that parts work without metrics.

#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/lane.h"
#include "cascade/status.h"

enum metric_kind {
    METRIC_KIND_COUNTER = 0,
    METRIC_KIND_GAUGE = 1,
    METRIC_KIND_HISTOGRAM = 2
};

// How the cells of a row are told apart.
enum metric_labels {
    METRIC_LABELS_NONE = 0,
    METRIC_LABELS_TIER = 1,             // by enum cascade_tier
    METRIC_LABELS_OPERATION_RESULT = 2, // by operation, then status
    METRIC_LABELS_REASON = 3,           // by enum metric_reason
    METRIC_LABELS_QUEUE = 4,            // by enum metric_queue
    METRIC_LABELS_RUNG = 5              // by enum tier_remote_rung
};

// Why a get or acquire had no block.
enum metric_reason {
    METRIC_REASON_NEVER_SEEN = 0,
    METRIC_REASON_EVICTED = 1,
    METRIC_REASON_OTHER_NAMESPACE = 2, // or written in another format
    METRIC_REASON_DAMAGED = 3,
    METRIC_REASON_PEER_GONE = 4,
    METRIC_REASON_DEADLINE = 5
};
#define METRIC_REASON_COUNT 6

enum metric_queue {
    METRIC_QUEUE_SUBMISSIONS = 0, // batches not yet started
    METRIC_QUEUE_COMPLETIONS = 1, // completions not yet taken
    METRIC_QUEUE_COLD_WRITES = 2, // blocks waiting for the cold tier
    METRIC_QUEUE_TRANSFERS = 3    // reads and writes under way
};
#define METRIC_QUEUE_COUNT 4

// The public header's counts; this floor does not include it (checked by
// store/store_metrics.c).
#define METRIC_TIER_COUNT 6
#define METRIC_OPERATION_COUNT 13
// How a block came from another rank (tier/tier_remote.h); 0 is none of them.
#define METRIC_RUNG_COUNT 4

#define METRIC_CELLS_NONE 1
#define METRIC_CELLS_TIER METRIC_TIER_COUNT
#define METRIC_CELLS_OPERATION_RESULT \
    (METRIC_OPERATION_COUNT * CASCADE_STATUS_COUNT)
#define METRIC_CELLS_REASON METRIC_REASON_COUNT
#define METRIC_CELLS_QUEUE METRIC_QUEUE_COUNT
#define METRIC_CELLS_RUNG METRIC_RUNG_COUNT
#define METRIC_SLOTS_COUNTER 1
#define METRIC_SLOTS_GAUGE 1
#define METRIC_SLOTS_HISTOGRAM HISTOGRAM_SLOTS

enum metric {
#define METRIC(id, name, kind, labels, unit, sentence) METRIC_##id,
#include "base/metric_table.h"
#undef METRIC
    METRIC_COUNT
};

// Where the cells of each row begin and end.
enum metric_slot {
#define METRIC(id, name, kind, labels, unit, sentence) \
    METRIC_FIRST_##id,                                 \
        METRIC_LAST_##id = METRIC_FIRST_##id +         \
                           METRIC_CELLS_##labels * METRIC_SLOTS_##kind - 1,
#include "base/metric_table.h"
#undef METRIC
    METRIC_SLOT_COUNT
};

struct metric_row {
    const char *name; // without the prefix
    enum metric_kind kind;
    enum metric_labels labels;
    const char *unit;
    const char *sentence;
    uint32_t first; // slot
    uint32_t slots;
};

extern const struct metric_row metric_rows[METRIC_COUNT];

// The slots of one lane, with those that fill it up to whole LANE_BYTES.
#define METRIC_LANE_SLOTS                                                   \
    ((METRIC_SLOT_COUNT * sizeof(uint64_t) / LANE_BYTES + 1) * LANE_BYTES / \
     sizeof(uint64_t))

struct metric_values {
    _Atomic uint64_t slots[LANE_COUNT][METRIC_LANE_SLOTS];
};

// A number that changes whenever the rows do: a reader with another one must
// not read.
uint64_t
metric_stamp(void);

// Counters and gauges without labels. A cell that the row does not have is a
// programmer error, here and below.
void
metric_add(struct metric_values *values, enum metric id, uint64_t amount);

void
metric_subtract(struct metric_values *values, enum metric id, uint64_t amount);

void
metric_set(struct metric_values *values, enum metric id, uint64_t value);

uint64_t
metric_read(const struct metric_values *values, enum metric id);

// Rows with one label: `index` is the tier, the reason or the queue.
void
metric_add_at(struct metric_values *values, enum metric id, uint32_t index,
              uint64_t amount);

void
metric_subtract_at(struct metric_values *values, enum metric id, uint32_t index,
                   uint64_t amount);

void
metric_set_at(struct metric_values *values, enum metric id, uint32_t index,
              uint64_t value);

uint64_t
metric_read_at(const struct metric_values *values, enum metric id,
               uint32_t index);

// The same by their usual names.
void
metric_add_tier(struct metric_values *values, enum metric id, uint32_t tier,
                uint64_t amount);

void
metric_set_tier(struct metric_values *values, enum metric id, uint32_t tier,
                uint64_t value);

uint64_t
metric_read_tier(const struct metric_values *values, enum metric id,
                 uint32_t tier);

// Counts one operation that ended: `operation` is an enum cascade_operation.
void
metric_count_operation(struct metric_values *values, uint32_t operation,
                       enum cascade_status status);

// The sum over all cells of a counter or gauge.
uint64_t
metric_sum(const struct metric_values *values, enum metric id);

// Counts a duration in a histogram.
void
metric_observe_ns(struct metric_values *values, enum metric id, uint64_t ns);

// Copies a histogram; all zero for NULL values.
void
metric_histogram(const struct metric_values *values, enum metric id,
                 struct histogram *histogram);

// Names of labels' values: "local_dram", "put", "evicted", "cold_writes".
// Static text.
const char *
metric_tier_name(uint32_t tier);

const char *
metric_operation_name(uint32_t operation);

const char *
metric_reason_name(uint32_t reason);

const char *
metric_queue_name(uint32_t queue);

const char *
metric_rung_name(uint32_t rung);

#endif
