// SPDX-License-Identifier: Apache-2.0
//
// Metrics for readers: the text for Prometheus and struct cascade_stats, both
// from the array of base/metric.h. Reads only; works on a page of another
// process as well. No lock.

#ifndef STORE_STORE_METRICS_H
#define STORE_STORE_METRICS_H

#include <stddef.h>

#include "base/attributes.h"
#include "cascade/cascade.h"

struct metric_values;

// All metrics as Prometheus text, terminated. `*needed` (may be NULL) is the
// size with the terminator, also on TOO_SMALL, when `text` holds nothing of
// use. Counts may grow between two calls: leave some room. `text` may be NULL
// if `size` is 0.
enum cascade_status
store_metrics_text(const struct metric_values *values, char *text, size_t size,
                   size_t *needed) MUST_USE;

// Fills the fields that fit into stats->size bytes (0 means all) and leaves
// `size` and `reserved` alone. INVALID: size is too small to be one.
enum cascade_status
store_metrics_stats(const struct metric_values *values,
                    struct cascade_stats *stats) MUST_USE;

#endif
