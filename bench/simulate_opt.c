// SPDX-License-Identifier: Apache-2.0
//
// The cached blocks lie in a treap by when and how deep they are used next, so
// the one to go is the last of it. When a block is used next is found in one
// pass from the end of the trace.
//
// Invariant: between requests the treap holds the cached blocks, at most as
// many as fit, each under the key of its next use.

#include "bench/simulate_opt.h"

#include <stdbool.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "base/treap.h"

#define NEVER UINT64_MAX

struct optimum {
    const struct trace *trace;
    uint64_t *next_use; // by reference: the key of the block's next use
    struct treap cached;
    bool *is_cached; // by block
    uint32_t count;
    uint32_t capacity;
};

// Request and place; a request has one block at a place, so keys are distinct.
static uint64_t
use_key(uint32_t request, uint32_t place)
{
    return (uint64_t)request << 32 | place;
}

// A block that is asked for twice by one request counts at its first place.
static void
find_next_uses(struct optimum *optimum, uint64_t *seen)
{
    const struct trace *trace = optimum->trace;

    memset(seen, 0xff, trace->id_count * sizeof(*seen));
    for (size_t i = trace->request_count; i-- > 0;) {
        const struct trace_request *request = &trace->requests[i];
        const uint32_t *refs = &trace->refs[request->ref_first];

        for (uint32_t j = 0; j < request->ref_count; j++) {
            optimum->next_use[request->ref_first + j] = seen[refs[j]];
        }
        for (uint32_t j = request->ref_count; j-- > 0;) {
            seen[refs[j]] = use_key((uint32_t)i, j);
        }
    }
}

static void
count_hits(const struct optimum *optimum, const struct trace_request *request,
           struct simulate_result *result)
{
    const uint32_t *refs = &optimum->trace->refs[request->ref_first];
    bool leading = true;

    for (uint32_t i = 0; i < request->ref_count; i++) {
        bool cached = optimum->is_cached[refs[i]];

        leading = leading && cached;
        result->prefix_hits += leading;
        result->block_hits += cached;
    }
    result->requests++;
    result->block_refs += request->ref_count;
}

static void
drop(struct optimum *optimum, uint32_t block)
{
    treap_remove(&optimum->cached, block);
    optimum->is_cached[block] = false;
    optimum->count--;
}

// The requested blocks enter with their next use, or leave for good; then the
// cache is cut to its size.
static void
use_blocks(struct optimum *optimum, const struct trace_request *request,
           struct simulate_result *result)
{
    const uint32_t *refs = &optimum->trace->refs[request->ref_first];
    const uint64_t *uses = &optimum->next_use[request->ref_first];

    for (uint32_t i = request->ref_count; i-- > 0;) {
        bool was_cached = optimum->is_cached[refs[i]];

        if (was_cached) {
            drop(optimum, refs[i]);
        }
        if (uses[i] != NEVER) {
            treap_insert(&optimum->cached, refs[i], uses[i]);
            optimum->is_cached[refs[i]] = true;
            optimum->count++;
            result->insertions += !was_cached;
        }
    }
    while (optimum->count > optimum->capacity) {
        drop(optimum, treap_at_or_before(&optimum->cached, NEVER));
        result->evictions++;
    }
}

enum cascade_status
simulate_opt_run(const struct allocator *allocator, const struct trace *trace,
                 uint32_t capacity_blocks, struct simulate_result *result)
{
    struct optimum optimum = {.trace = trace, .capacity = capacity_blocks};
    struct simulate_result counted = {.requests = 0};
    struct treap_node *nodes = allocator_array(allocator, trace->id_count,
                                               sizeof(*nodes));
    uint64_t *seen = allocator_array(allocator, trace->id_count, sizeof(*seen));
    enum cascade_status status = CASCADE_OK;

    check(capacity_blocks > 0);
    optimum.next_use = allocator_array(allocator, trace->ref_count,
                                       sizeof(uint64_t));
    optimum.is_cached = allocator_array(allocator, trace->id_count,
                                        sizeof(bool));
    if (nodes == NULL || seen == NULL || optimum.next_use == NULL ||
        optimum.is_cached == NULL) {
        status = error_set(CASCADE_NO_MEMORY,
                           "no memory to look ahead over %zu block references",
                           trace->ref_count);
    } else {
        treap_init(&optimum.cached, nodes);
        find_next_uses(&optimum, seen);
        for (size_t i = 0; i < trace->request_count; i++) {
            count_hits(&optimum, &trace->requests[i], &counted);
            use_blocks(&optimum, &trace->requests[i], &counted);
        }
        *result = counted;
    }
    allocator_release(allocator, nodes);
    allocator_release(allocator, seen);
    allocator_release(allocator, optimum.next_use);
    allocator_release(allocator, optimum.is_cached);
    return status;
}
