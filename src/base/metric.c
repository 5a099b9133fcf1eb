// SPDX-License-Identifier: Apache-2.0
//
// The rows as data, and relaxed changes of cells. No lock.

#include "base/metric.h"

#include <assert.h>
#include <string.h>

#include "base/check.h"

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(_Atomic uint64_t) == 8,
              "cells are read by other processes");

const struct metric_row metric_rows[METRIC_COUNT] = {
#define METRIC(id, name, kind, labels, unit, sentence) \
    {name,                                             \
     METRIC_KIND_##kind,                               \
     METRIC_LABELS_##labels,                           \
     unit,                                             \
     sentence,                                         \
     METRIC_FIRST_##id,                                \
     METRIC_LAST_##id - METRIC_FIRST_##id + 1},
#include "base/metric_table.h"
#undef METRIC
};

// FNV-1a, 64 bits.
static uint64_t
mix(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *at = data;

    for (size_t i = 0; i < bytes; i++) {
        hash = (hash ^ at[i]) * 0x100000001b3u;
    }
    return hash;
}

// The cell of a row in one lane.
static _Atomic uint64_t *
cell_of(struct metric_values *values, uint32_t lane, enum metric id,
        uint32_t index)
{
    check(id < METRIC_COUNT && index < metric_rows[id].slots);
    return &values->slots[lane][metric_rows[id].first + index];
}

// Gauges go up and down and are set: their number has to be in one place.
static uint32_t
lane_of_row(enum metric id)
{
    return metric_rows[id].kind == METRIC_KIND_GAUGE ? 0 : lane_of_thread();
}

uint64_t
metric_stamp(void)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];
        uint32_t numbers[4] = {(uint32_t)row->kind, (uint32_t)row->labels,
                               row->first, row->slots};

        hash = mix(hash, row->name, strlen(row->name) + 1);
        hash = mix(hash, numbers, sizeof(numbers));
    }
    return hash;
}

void
metric_add_at(struct metric_values *values, enum metric id, uint32_t index,
              uint64_t amount)
{
    if (values != NULL) {
        atomic_fetch_add_explicit(cell_of(values, lane_of_row(id), id, index),
                                  amount, memory_order_relaxed);
    }
}

void
metric_subtract_at(struct metric_values *values, enum metric id, uint32_t index,
                   uint64_t amount)
{
    if (values != NULL) {
        atomic_fetch_sub_explicit(cell_of(values, 0, id, index), amount,
                                  memory_order_relaxed);
    }
}

void
metric_set_at(struct metric_values *values, enum metric id, uint32_t index,
              uint64_t value)
{
    if (values != NULL) {
        atomic_store_explicit(cell_of(values, 0, id, index), value,
                              memory_order_relaxed);
    }
}

uint64_t
metric_read_at(const struct metric_values *values, enum metric id,
               uint32_t index)
{
    uint64_t sum = 0;

    check(id < METRIC_COUNT && index < metric_rows[id].slots);
    for (uint32_t i = 0; i < LANE_COUNT && values != NULL; i++) {
        sum += atomic_load_explicit(
            &values->slots[i][metric_rows[id].first + index],
            memory_order_relaxed);
    }
    return sum;
}

void
metric_add(struct metric_values *values, enum metric id, uint64_t amount)
{
    metric_add_at(values, id, 0, amount);
}

void
metric_subtract(struct metric_values *values, enum metric id, uint64_t amount)
{
    metric_subtract_at(values, id, 0, amount);
}

void
metric_set(struct metric_values *values, enum metric id, uint64_t value)
{
    metric_set_at(values, id, 0, value);
}

uint64_t
metric_read(const struct metric_values *values, enum metric id)
{
    return metric_read_at(values, id, 0);
}

void
metric_add_tier(struct metric_values *values, enum metric id, uint32_t tier,
                uint64_t amount)
{
    check(metric_rows[id].labels == METRIC_LABELS_TIER);
    metric_add_at(values, id, tier, amount);
}

void
metric_set_tier(struct metric_values *values, enum metric id, uint32_t tier,
                uint64_t value)
{
    check(metric_rows[id].labels == METRIC_LABELS_TIER);
    metric_set_at(values, id, tier, value);
}

uint64_t
metric_read_tier(const struct metric_values *values, enum metric id,
                 uint32_t tier)
{
    check(metric_rows[id].labels == METRIC_LABELS_TIER);
    return metric_read_at(values, id, tier);
}

void
metric_count_operation(struct metric_values *values, uint32_t operation,
                       enum cascade_status status)
{
    check(operation < METRIC_OPERATION_COUNT &&
          (unsigned)status < CASCADE_STATUS_COUNT);
    metric_add_at(values, METRIC_OPERATIONS_TOTAL,
                  operation * CASCADE_STATUS_COUNT + (uint32_t)status, 1);
}

uint64_t
metric_sum(const struct metric_values *values, enum metric id)
{
    uint64_t sum = 0;

    check(metric_rows[id].kind != METRIC_KIND_HISTOGRAM);
    for (uint32_t i = 0; i < metric_rows[id].slots; i++) {
        sum += metric_read_at(values, id, i);
    }
    return sum;
}

void
metric_observe_ns(struct metric_values *values, enum metric id, uint64_t ns)
{
    check(metric_rows[id].kind == METRIC_KIND_HISTOGRAM);
    if (values != NULL) {
        histogram_observe(cell_of(values, lane_of_thread(), id, 0), ns);
    }
}

void
metric_histogram(const struct metric_values *values, enum metric id,
                 struct histogram *histogram)
{
    check(metric_rows[id].kind == METRIC_KIND_HISTOGRAM);
    *histogram = (struct histogram){0};
    for (uint32_t i = 0; i < LANE_COUNT && values != NULL; i++) {
        histogram_add(&values->slots[i][metric_rows[id].first], histogram);
    }
}

const char *
metric_tier_name(uint32_t tier)
{
    static const char *const names[METRIC_TIER_COUNT] = {
        "none",       "local_gpu",   "local_dram",
        "remote_gpu", "remote_dram", "segments",
    };

    check(tier < METRIC_TIER_COUNT);
    return names[tier];
}

const char *
metric_operation_name(uint32_t operation)
{
    static const char *const names[METRIC_OPERATION_COUNT] = {
        "put",     "get",       "acquire",  "exists",  "remove",
        "protect", "unprotect", "prefetch", "release", "flush",
        "evict",   "clear",     "locate",
    };

    check(operation < METRIC_OPERATION_COUNT);
    return names[operation];
}

const char *
metric_reason_name(uint32_t reason)
{
    static const char *const names[METRIC_REASON_COUNT] = {
        "never_seen", "evicted",   "other_namespace",
        "damaged",    "peer_gone", "deadline",
    };

    check(reason < METRIC_REASON_COUNT);
    return names[reason];
}

const char *
metric_queue_name(uint32_t queue)
{
    static const char *const names[METRIC_QUEUE_COUNT] = {
        "submissions",
        "completions",
        "cold_writes",
        "transfers",
    };

    check(queue < METRIC_QUEUE_COUNT);
    return names[queue];
}

const char *
metric_rung_name(uint32_t rung)
{
    static const char *const names[METRIC_RUNG_COUNT] = {
        "none",
        "near",
        "read",
        "fetch",
    };

    check(rung < METRIC_RUNG_COUNT);
    return names[rung];
}
