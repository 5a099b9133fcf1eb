// SPDX-License-Identifier: Apache-2.0
//
// From cells to text and to struct cascade_stats. Reads only; no lock.

#include "store/store_metrics.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/metric.h"
#include "base/units.h"

static_assert(METRIC_TIER_COUNT == CASCADE_TIER_COUNT &&
                  METRIC_OPERATION_COUNT == CASCADE_OPERATION_COUNT,
              "labels follow the public enums");

// Text that counts what it would have written past its room.
struct writer {
    char *text;
    size_t size;
    size_t used;
};

static void PRINTF_LIKE(2, 3)
    print(struct writer *writer, const char *format, ...)
{
    size_t room = writer->used < writer->size ? writer->size - writer->used : 0;
    char *at = room > 0 ? writer->text + writer->used : NULL;
    va_list arguments;

    va_start(arguments, format);
    writer->used += (size_t)vsnprintf(at, room, format, arguments);
    va_end(arguments);
}

// A status as a label: "not_found".
static void
result_name(uint32_t status, char *name, size_t size)
{
    const char *text = cascade_status_name((enum cascade_status)status);
    size_t i = 0;

    for (; text[i] != '\0' && i + 1 < size; i++) {
        name[i] = (char)tolower((unsigned char)text[i]);
    }
    name[i] = '\0';
}

// The labels of one cell, with braces. False: a cell that is not printed.
static bool
label_text(enum metric_labels labels, uint32_t index, uint64_t value,
           char *text, size_t size)
{
    char result[32];

    text[0] = '\0';
    switch (labels) {
    case METRIC_LABELS_NONE:
        return true;
    case METRIC_LABELS_TIER:
        (void)snprintf(text, size, "{tier=\"%s\"}", metric_tier_name(index));
        return index != CASCADE_TIER_NONE;
    case METRIC_LABELS_OPERATION_RESULT:
        result_name(index % CASCADE_STATUS_COUNT, result, sizeof(result));
        (void)snprintf(text, size, "{op=\"%s\",result=\"%s\"}",
                       metric_operation_name(index / CASCADE_STATUS_COUNT),
                       result);
        return value != 0;
    case METRIC_LABELS_REASON:
        (void)snprintf(text, size, "{reason=\"%s\"}",
                       metric_reason_name(index));
        return true;
    case METRIC_LABELS_QUEUE:
        (void)snprintf(text, size, "{queue=\"%s\"}", metric_queue_name(index));
        return true;
    case METRIC_LABELS_RUNG:
        (void)snprintf(text, size, "{rung=\"%s\"}", metric_rung_name(index));
        return index != 0;
    }
    return false;
}

static void
print_cells(struct writer *writer, const struct metric_values *values,
            enum metric id)
{
    const struct metric_row *row = &metric_rows[id];
    char labels[96];

    for (uint32_t i = 0; i < row->slots; i++) {
        uint64_t value = metric_read_at(values, id, i);

        if (label_text(row->labels, i, value, labels, sizeof(labels))) {
            print(writer, "cascade_%s%s %llu\n", row->name, labels,
                  (unsigned long long)value);
        }
    }
}

// Cumulative counts at every doubling: finer steps are for quantiles.
static void
print_histogram(struct writer *writer, const struct metric_values *values,
                enum metric id)
{
    const char *name = metric_rows[id].name;
    struct histogram histogram;
    uint64_t below = 0;

    metric_histogram(values, id, &histogram);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
        below += histogram.counts[i];
        if (i % HISTOGRAM_STEPS == 0) {
            print(writer, "cascade_%s_bucket{le=\"%.9g\"} %llu\n", name,
                  (double)histogram_bound_ns(i + 1) / (double)NS_PER_S,
                  (unsigned long long)below);
        }
    }
    print(writer, "cascade_%s_bucket{le=\"+Inf\"} %llu\n", name,
          (unsigned long long)histogram.count);
    print(writer, "cascade_%s_sum %.9f\n", name,
          (double)histogram.sum_ns / (double)NS_PER_S);
    print(writer, "cascade_%s_count %llu\n", name,
          (unsigned long long)histogram.count);
}

enum cascade_status
store_metrics_text(const struct metric_values *values, char *text, size_t size,
                   size_t *needed)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct writer writer = {.text = text, .size = size};

    for (unsigned i = 0; i < METRIC_COUNT; i++) {
        const struct metric_row *row = &metric_rows[i];

        print(&writer, "# HELP cascade_%s %s\n# TYPE cascade_%s %s\n",
              row->name, row->sentence, row->name, kinds[row->kind]);
        if (row->kind == METRIC_KIND_HISTOGRAM) {
            print_histogram(&writer, values, (enum metric)i);
        } else {
            print_cells(&writer, values, (enum metric)i);
        }
    }
    if (needed != NULL) {
        *needed = writer.used + 1;
    }
    if (writer.used >= size) {
        return error_set(CASCADE_TOO_SMALL,
                         "the text of the metrics needs %zu bytes",
                         writer.used + 1);
    }
    return CASCADE_OK;
}

static void
read_tiers(const struct metric_values *values, enum metric id, uint64_t *field)
{
    for (uint32_t tier = 0; tier < CASCADE_TIER_COUNT; tier++) {
        field[tier] = metric_read_tier(values, id, tier);
    }
}

static void
read_operations(const struct metric_values *values, struct cascade_stats *to)
{
    to->puts = metric_read(values, METRIC_PUTS_TOTAL);
    to->puts_existed = metric_read(values, METRIC_PUTS_EXISTED_TOTAL);
    to->puts_refused = metric_read(values, METRIC_PUTS_REFUSED_TOTAL);
    to->gets = metric_read(values, METRIC_GETS_TOTAL);
    read_tiers(values, METRIC_HITS_TOTAL, to->hits);
    read_tiers(values, METRIC_HIT_BYTES_TOTAL, to->hit_bytes);
    to->misses = metric_sum(values, METRIC_MISSES_TOTAL);
    to->misses_evicted = metric_read_at(values, METRIC_MISSES_TOTAL,
                                        METRIC_REASON_EVICTED);
    to->misses_corrupt = metric_read_at(values, METRIC_MISSES_TOTAL,
                                        METRIC_REASON_DAMAGED);
    to->put_bytes = metric_read(values, METRIC_PUT_BYTES_TOTAL);
}

static void
read_content(const struct metric_values *values, struct cascade_stats *to)
{
    to->dedup_hits = metric_read(values, METRIC_DEDUP_HITS_TOTAL);
    to->dedup_bytes_saved = metric_read(values, METRIC_DEDUP_SAVED_BYTES_TOTAL);
    to->blocks = metric_read(values, METRIC_BLOCKS);
    to->keys = metric_read(values, METRIC_KEYS);
    to->protected_blocks = metric_read(values, METRIC_PROTECTED_BLOCKS);
    to->protected_bytes = metric_read(values, METRIC_PROTECTED_BYTES);
    to->protections_refused = metric_read(values,
                                          METRIC_PROTECTIONS_REFUSED_TOTAL);
    to->corrupt_blocks = metric_read(values, METRIC_CORRUPT_BLOCKS_TOTAL);
    to->stale_places = metric_read(values, METRIC_STALE_PLACES_TOTAL);
    read_tiers(values, METRIC_USED_BYTES, to->used_bytes);
    read_tiers(values, METRIC_CAPACITY_BYTES, to->capacity_bytes);
    read_tiers(values, METRIC_TIER_BLOCKS, to->tier_blocks);
}

static void
read_movement(const struct metric_values *values, struct cascade_stats *to)
{
    read_tiers(values, METRIC_EVICTIONS_TOTAL, to->evictions);
    to->demotions = metric_read(values, METRIC_DEMOTIONS_TOTAL);
    to->promotions = metric_read(values, METRIC_PROMOTIONS_TOTAL);
    to->cold_bytes_written = metric_read(values,
                                         METRIC_COLD_WRITTEN_BYTES_TOTAL);
    to->cold_writes_dropped = metric_read(values,
                                          METRIC_COLD_WRITES_DROPPED_TOTAL);
    to->dirty_bytes = metric_read(values, METRIC_DIRTY_BYTES);
    to->dirty_blocks = metric_read(values, METRIC_DIRTY_BLOCKS);
    to->segments_sealed = metric_read(values, METRIC_SEGMENTS_SEALED_TOTAL);
    to->segments_reclaimed = metric_read(values,
                                         METRIC_SEGMENTS_RECLAIMED_TOTAL);
    to->blocks_reinserted = metric_read(values, METRIC_BLOCKS_REINSERTED_TOTAL);
    to->views_out = metric_read(values, METRIC_VIEWS_OUT);
    to->pins = metric_read(values, METRIC_PINS);
}

enum cascade_status
store_metrics_stats(const struct metric_values *values,
                    struct cascade_stats *stats)
{
    struct cascade_stats made = {0};
    size_t size = stats->size == 0 ? sizeof(made) : stats->size;

    if (size < offsetof(struct cascade_stats, puts)) {
        return error_set(CASCADE_INVALID,
                         "stats.size is %u; set it to sizeof(struct "
                         "cascade_stats), %zu",
                         stats->size, sizeof(made));
    }
    made.size = stats->size;
    made.reserved = stats->reserved;
    read_operations(values, &made);
    read_content(values, &made);
    read_movement(values, &made);
    memcpy(stats, &made, units_min(size, sizeof(made)));
    return CASCADE_OK;
}
