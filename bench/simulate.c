// SPDX-License-Identifier: Apache-2.0
//
// The simulation's cache: slots numbered from 0, each holding one block of the
// trace, and for every block of the trace the slot that it is in.
//
// Invariant: a slot below `used` is resident in the policy; slot_of and ref_of
// are each other's inverse.

#include "bench/simulate.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/error.h"
#include "bench/random.h"

struct cache {
    const struct trace *trace;
    const struct simulate_settings *settings;
    const struct policy_table *policy;
    void *state;
    uint32_t *slot_of;  // by block of the trace; POLICY_NONE = not cached
    uint32_t *ref_of;   // by slot
    uint32_t *last_use; // by block: the last request that asks for it; with
                        // hints only
    uint64_t random;
    uint32_t used;
};

static bool
is_partial(const struct trace_request *request, uint32_t place)
{
    return place + 1 == request->ref_count &&
           (uint64_t)request->ref_count * SIMULATE_BLOCK_TOKENS >
               request->input_length;
}

static void
count_hits(const struct cache *cache, const struct trace_request *request,
           struct simulate_result *result)
{
    const uint32_t *refs = &cache->trace->refs[request->ref_first];
    bool leading = true;

    for (uint32_t i = 0; i < request->ref_count; i++) {
        bool cached = cache->slot_of[refs[i]] != POLICY_NONE;

        leading = leading && cached;
        result->prefix_hits += leading;
        result->block_hits += cached;
    }
    result->requests++;
    result->block_refs += request->ref_count;
}

// The conversation goes on, as far as the hint knows.
static bool
hint_goes_on(struct cache *cache, uint32_t number,
             const struct trace_request *request)
{
    uint32_t full = request->ref_count;
    bool right;
    bool goes_on;

    if (full > 1 && is_partial(request, full - 1)) {
        full--;
    }
    goes_on =
        full > 0 &&
        cache->last_use[cache->trace->refs[request->ref_first + full - 1]] >
            number;
    right = random_fraction(&cache->random) < cache->settings->hints_right;
    return right ? goes_on : !goes_on;
}

// A slot that holds nothing; POLICY_NONE: the policy lets none go.
static uint32_t
make_room(struct cache *cache, struct simulate_result *result)
{
    struct policy_cursor cursor;
    uint32_t victim;

    if (cache->used < cache->settings->capacity_blocks) {
        return cache->used++;
    }
    memset(&cursor, 0, sizeof(cursor));
    if (!cache->policy->choose(cache->state, &cursor, &victim)) {
        return POLICY_NONE;
    }
    check(victim < cache->used);
    cache->policy->remove(cache->state, victim, true);
    cache->slot_of[cache->ref_of[victim]] = POLICY_NONE;
    result->evictions++;
    return victim;
}

static void
insert(struct cache *cache, const struct trace_request *request, uint32_t place,
       const bool *goes_on, struct simulate_result *result)
{
    struct policy_facts facts = simulate_facts(cache->trace, request, place);
    uint32_t ref = cache->trace->refs[request->ref_first + place];
    uint32_t slot = make_room(cache, result);

    if (slot == POLICY_NONE) {
        return;
    }
    if (cache->settings->block_bytes > 0) {
        facts.bytes = cache->settings->block_bytes;
    }
    if (cache->settings->hashes != NULL) {
        facts.hash = cache->settings->hashes[ref];
    }
    if (goes_on != NULL && *goes_on) {
        facts.expected_reuse = (float)cache->settings->hints_right;
    } else if (goes_on != NULL) {
        facts.flags |= POLICY_SESSION_END;
    }
    cache->policy->insert(cache->state, slot, &facts);
    cache->slot_of[ref] = slot;
    cache->ref_of[slot] = ref;
    result->insertions++;
}

// From the deepest to the root.
static void
use_blocks(struct cache *cache, const struct trace_request *request,
           const bool *goes_on, struct simulate_result *result)
{
    const uint32_t *refs = &cache->trace->refs[request->ref_first];

    for (uint32_t i = request->ref_count; i-- > 0;) {
        uint32_t slot = cache->slot_of[refs[i]];

        if (slot == POLICY_NONE) {
            insert(cache, request, i, goes_on, result);
            continue;
        }
        cache->policy->touch(cache->state, slot);
        if (goes_on != NULL && !*goes_on) {
            cache->policy->change(cache->state, slot, POLICY_SESSION_END);
        }
    }
}

static enum cascade_status
make_cache(const struct allocator *allocator, struct cache *cache)
{
    const struct trace *trace = cache->trace;
    uint32_t slots = cache->settings->capacity_blocks;
    const struct policy_parameters parameters = {
        .capacity_bytes = slots * (cache->settings->block_bytes > 0
                                       ? cache->settings->block_bytes
                                       : 1),
        .seed = cache->settings->seed,
    };

    cache->state = allocator_array(allocator, 1,
                                   cache->policy->state_bytes(slots));
    cache->slot_of = allocator_array(allocator, trace->id_count,
                                     sizeof(uint32_t));
    cache->last_use = allocator_array(allocator, trace->id_count,
                                      sizeof(uint32_t));
    cache->ref_of = allocator_array(allocator, slots, sizeof(uint32_t));
    if (cache->state == NULL || cache->slot_of == NULL ||
        cache->last_use == NULL || cache->ref_of == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory to simulate %u blocks; a smaller capacity "
                         "takes less",
                         slots);
    }
    memset(cache->slot_of, 0xff, trace->id_count * sizeof(uint32_t));
    for (size_t i = 0; i < trace->request_count; i++) {
        const struct trace_request *request = &trace->requests[i];

        for (uint32_t j = 0; j < request->ref_count; j++) {
            cache->last_use[trace->refs[request->ref_first + j]] = (uint32_t)i;
        }
    }
    cache->policy->init(cache->state, slots, &parameters);
    return CASCADE_OK;
}

uint32_t
simulate_capacity(const struct trace *trace, double capacity_pct)
{
    double blocks = round((double)trace->id_count * capacity_pct / 100);

    return blocks < 1 ? 1 : (uint32_t)fmin(blocks, (double)UINT32_MAX - 1);
}

struct policy_facts
simulate_facts(const struct trace *trace, const struct trace_request *request,
               uint32_t place)
{
    uint32_t ref = trace->refs[request->ref_first + place];

    return (struct policy_facts){
        .bytes = 1,
        .hash = random_mix(trace->ids[ref] + 1),
        .parent = POLICY_NONE,
        .depth = place,
        .flags = is_partial(request, place) ? POLICY_PARTIAL : 0,
    };
}

enum cascade_status
simulate_run(const struct allocator *allocator, const struct trace *trace,
             const struct simulate_settings *settings,
             struct simulate_result *result)
{
    struct cache cache = {
        .trace = trace,
        .settings = settings,
        .policy = settings->policy,
        .random = settings->seed,
    };
    struct simulate_result counted = {.requests = 0};
    enum cascade_status status;

    check(settings->capacity_blocks > 0);
    status = make_cache(allocator, &cache);
    for (size_t i = 0; status == CASCADE_OK && i < trace->request_count; i++) {
        const struct trace_request *request = &trace->requests[i];
        bool goes_on = false;
        bool hinted = settings->hints_right > 0;

        count_hits(&cache, request, &counted);
        if (hinted) {
            goes_on = hint_goes_on(&cache, (uint32_t)i, request);
        }
        use_blocks(&cache, request, hinted ? &goes_on : NULL, &counted);
    }
    allocator_release(allocator, cache.state);
    allocator_release(allocator, cache.slot_of);
    allocator_release(allocator, cache.last_use);
    allocator_release(allocator, cache.ref_of);
    if (status == CASCADE_OK) {
        *result = counted;
    }
    return status;
}
