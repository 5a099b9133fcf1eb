// SPDX-License-Identifier: Apache-2.0
//
// A store of equal-size blocks in memory, asked as the simulation asks, has
// exactly the simulation's hits, request for request, under every policy: so
// what is learnt from simulations holds for the store.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "bench/simulate.h"
#include "bench/workload.h"
#include "block/block_id.h"
#include "store_fixture.h"

#define BLOCK_BYTES 4096
#define CAPACITY_BLOCKS 256
#define SEED 7

static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static struct cascade_key
key_of(const uint32_t *ref)
{
    return (struct cascade_key){ref, sizeof(*ref)};
}

static void
put(struct cascade *store, const uint32_t *ref, uint32_t depth)
{
    static uint8_t data[BLOCK_BYTES];
    const struct cascade_const_span span = {.data = data,
                                            .bytes = sizeof(data)};
    const struct cascade_put_options how = {.size = sizeof(how),
                                            .depth = depth};

    store_fill(*ref, data, sizeof(data));
    assert_int_equal(cascade_put(store, key_of(ref), &span, 1, &how, NULL),
                     CASCADE_OK);
}

// True if it was there, and thus used.
static bool
get(struct cascade *store, const uint32_t *ref)
{
    static uint8_t data[BLOCK_BYTES];
    const struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    enum cascade_status status;
    size_t bytes;

    status = cascade_get(store, key_of(ref), &span, 1, NULL, &bytes);
    if (status == CASCADE_OK) {
        assert_true(store_is(*ref, data, sizeof(data)));
        return true;
    }
    assert_int_equal(status, CASCADE_NOT_FOUND);
    return false;
}

static struct simulate_result
run_store(const struct trace *trace, const char *policy)
{
    char capacity[32];
    const char *const pairs[] = {"eviction_policy",
                                 policy,
                                 "dram_capacity",
                                 capacity,
                                 "max_blocks",
                                 "256",
                                 NULL};
    struct simulate_result result = {.requests = trace->request_count};
    struct cascade *store;

    (void)snprintf(capacity, sizeof(capacity), "%u",
                   CAPACITY_BLOCKS * BLOCK_BYTES);
    store = store_start(&world, false, pairs);
    for (size_t i = 0; i < trace->request_count; i++) {
        const struct trace_request *request = &trace->requests[i];
        const uint32_t *refs = &trace->refs[request->ref_first];
        bool leading = true;

        for (uint32_t j = 0; j < request->ref_count; j++) {
            bool here = cascade_exists(store, key_of(&refs[j])) == CASCADE_OK;

            leading = leading && here;
            result.prefix_hits += leading;
            result.block_hits += here;
        }
        for (uint32_t j = request->ref_count; j-- > 0;) {
            if (!get(store, &refs[j])) {
                put(store, &refs[j], j);
                result.insertions++;
            }
        }
        result.block_refs += request->ref_count;
    }
    result.evictions =
        store_stats_now(store).evictions[CASCADE_TIER_LOCAL_DRAM];
    store_end(store);
    return result;
}

// What the store will tell its policy of each block's content.
static uint64_t *
make_hashes(const struct trace *trace)
{
    uint64_t *hashes = allocator_array(allocator_system(), trace->id_count,
                                       sizeof(uint64_t));
    uint8_t data[BLOCK_BYTES];

    assert_non_null(hashes);
    for (uint32_t i = 0; i < trace->id_count; i++) {
        struct block_id id;

        store_fill(i, data, sizeof(data));
        block_id_of(data, sizeof(data), &id);
        memcpy(&hashes[i], id.bytes, sizeof(hashes[i]));
    }
    return hashes;
}

// `only` names the policies to try; NULL: all.
static void
assert_equal_on(const struct trace *trace, const char *only)
{
    uint64_t *hashes = make_hashes(trace);

    for (size_t i = 0; policy_at(i) != NULL; i++) {
        const struct simulate_settings settings = {
            .policy = policy_at(i),
            .capacity_blocks = CAPACITY_BLOCKS,
            .seed = SEED,
            .block_bytes = BLOCK_BYTES,
            .hashes = hashes,
        };
        struct simulate_result simulated;
        struct simulate_result stored;

        if (only != NULL && strstr(only, settings.policy->name) == NULL) {
            continue;
        }
        stored = run_store(trace, settings.policy->name);

        assert_int_equal(
            simulate_run(allocator_system(), trace, &settings, &simulated),
            CASCADE_OK);
        print_message("%-10s store %.2f %%, simulation %.2f %%\n",
                      settings.policy->name,
                      simulate_pct(stored.prefix_hits, &stored),
                      simulate_pct(simulated.prefix_hits, &simulated));
        assert_int_equal(stored.prefix_hits, simulated.prefix_hits);
        assert_int_equal(stored.block_hits, simulated.block_hits);
        assert_int_equal(stored.insertions, simulated.insertions);
        assert_int_equal(stored.evictions, simulated.evictions);
        assert_true(stored.prefix_hits > 0 && stored.evictions > 0);
    }
    allocator_release(allocator_system(), hashes);
}

static void
made_traces(void **state)
{
    static const enum workload_family families[] = {WORKLOAD_SCANS,
                                                    WORKLOAD_AGENTS};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct workload_settings settings = {
            .family = families[i], .seed = SEED, .scale = 0.04};
        struct trace trace;

        assert_int_equal(workload_make(allocator_system(), &settings, &trace),
                         CASCADE_OK);
        assert_equal_on(&trace, NULL);
        trace_release(&trace);
    }
}

// The begin of the recorded hour; a put has no word for a last block that is
// not full, so all count as full.
static void
the_recorded_trace(void **state)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");
    struct trace trace;
    char path[4096];

    (void)state;
    if (source == NULL) {
        skip();
    }
    (void)snprintf(path, sizeof(path), "%s/data/conversation_trace.jsonl.gz",
                   source);
    assert_int_equal(trace_load(allocator_system(), path, 1200, &trace),
                     CASCADE_OK);
    for (size_t i = 0; i < trace.request_count; i++) {
        trace.requests[i].input_length = (uint64_t)trace.requests[i].ref_count *
                                         SIMULATE_BLOCK_TOKENS;
    }
    assert_equal_on(&trace, "lru cascade");
    trace_release(&trace);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_traces, begin, finish),
        cmocka_unit_test_setup_teardown(the_recorded_trace, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
