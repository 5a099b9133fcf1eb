// SPDX-License-Identifier: Apache-2.0
//
// A cache on hundreds of ranks under a seed: random puts, gets, removals,
// protection and batches over keys that all share, with less memory than they
// need and messages that are late, lost, doubled and refused. What a key is
// bound to is a matter of its number and of an epoch that only grows, so that
// every read can be checked without a model of the order: bytes are of the key,
// and never of an epoch that had ended everywhere before the read began.
//
// Usage: [ranks] [operations of each] [first seed] [seeds]. Prints what was done
// and how long it took.

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/check.h"
#include "base/clock.h"
#include "store/store_cluster.h"
#include "store_ranks.h"

#define KEYS_PER_RANK 128
#define BYTES_MAX 4096
#define BATCH 8
// Every rank is told of a change of protection, so they are few.
#define PROTECT_ONE_IN 100

static struct many {
    uint64_t seed;
    uint64_t random;
    uint16_t ranks;
    uint32_t operations; // of each rank
    uint32_t epoch;
    uint16_t entered; // ranks that came to the meeting of this epoch
    // Sums over all seeds.
    uint64_t done;
    uint64_t hits;
    uint64_t misses;
    uint64_t remote_hits;
    uint64_t puts;
    uint64_t unknown; // TIMEOUT and the like: allowed, counted
    uint64_t refused; // NO_SPACE
    uint64_t evictions;
    uint64_t promotions;
    uint64_t deduplicated;
} many;

static uint32_t
pick(uint32_t below)
{
    many.random = many.random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(many.random >> 33) % below;
}

static uint32_t
keys(void)
{
    return (uint32_t)many.ranks * KEYS_PER_RANK;
}

static struct cascade_key
name_of(uint32_t key, char text[32])
{
    (void)snprintf(text, 32, "key-%u", key);
    return store_name(text);
}

// Pairs of keys have the same content, so that there is something to share.
static uint64_t
content_of(uint32_t key, uint32_t epoch)
{
    return ((uint64_t)(epoch + 1) << 32) + key / 2;
}

static size_t
bytes_of(uint32_t key)
{
    return 64 + (size_t)(key / 2) * 7919 % (BYTES_MAX - 64);
}

static void
fail_with(const char *what, uint32_t key)
{
    (void)fprintf(stderr,
                  "%s: key %u, epoch %u; again with: store_store_ranks_many %u "
                  "%u %llu 1\n",
                  what, key, many.epoch, (unsigned)many.ranks, many.operations,
                  (unsigned long long)many.seed);
    abort();
}

static bool
is_known(enum cascade_status status)
{
    if (status == CASCADE_TIMEOUT || status == CASCADE_BUSY ||
        status == CASCADE_NO_SPACE || status == CASCADE_STALE) {
        many.unknown += status == CASCADE_NO_SPACE ? 0 : 1;
        many.refused += status == CASCADE_NO_SPACE ? 1 : 0;
        return false;
    }
    return true;
}

static void
check_bytes(uint32_t key, const uint8_t *data, size_t bytes)
{
    static uint8_t expected[BYTES_MAX];

    if (bytes != bytes_of(key)) {
        fail_with("a block of another size", key);
    }
    store_fill(content_of(key, many.epoch), expected, bytes);
    if (memcmp(data, expected, bytes) != 0) {
        fail_with("wrong bytes", key);
    }
}

static void
put(struct cascade *store, uint32_t key, uint32_t flags)
{
    uint8_t data[BYTES_MAX];
    struct cascade_const_span span = {.data = data, .bytes = bytes_of(key)};
    struct cascade_put_options options = {.size = sizeof(options),
                                          .flags = flags};
    struct cascade_put_result result = {.stored = false};
    enum cascade_status status;
    char text[32];

    store_fill(content_of(key, many.epoch), data, span.bytes);
    status = cascade_put(store, name_of(key, text), &span, 1, &options,
                         &result);
    many.puts++;
    many.deduplicated += result.deduplicated ? 1 : 0;
    if (is_known(status)) {
        store_ranks_must(status, "put");
    }
}

static void
get(struct cascade *store, uint32_t key)
{
    uint8_t data[BYTES_MAX];
    struct cascade_span span = {.data = data, .bytes = sizeof(data)};
    size_t bytes = 0;
    enum cascade_status status;
    char text[32];

    memset(data, 0xee, sizeof(data));
    status = cascade_get(store, name_of(key, text), &span, 1, NULL, &bytes);
    if (status == CASCADE_NOT_FOUND) {
        many.misses++;
    } else if (is_known(status)) {
        store_ranks_must(status, "get");
        many.hits++;
        check_bytes(key, data, bytes);
    }
}

static void
get_batch(struct cascade *store)
{
    uint8_t(*data)[BYTES_MAX] = allocator_array(allocator_system(), BATCH,
                                                sizeof(*data));
    struct cascade_span spans[BATCH];
    struct cascade_item items[BATCH];
    char texts[BATCH][32];
    uint32_t first = pick(keys());

    check(data != NULL); // of this fiber: others run while it waits
    memset(items, 0, sizeof(items));
    memset(spans, 0, sizeof(spans));
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t key = (first + i * 3) % keys();

        spans[i].data = data[i];
        spans[i].bytes = BYTES_MAX;
        spans[i].memory = CASCADE_MEMORY_HOST;
        items[i].size = sizeof(items[i]);
        items[i].operation = CASCADE_OPERATION_GET;
        items[i].key = name_of(key, texts[i]);
        items[i].get_spans = &spans[i];
        items[i].get_span_count = 1;
    }
    (void)!cascade_batch(store, items, BATCH, NULL);
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t key = (first + i * 3) % keys();

        if (items[i].status == CASCADE_NOT_FOUND) {
            many.misses++;
        } else if (is_known(items[i].status)) {
            store_ranks_must(items[i].status, "get of a batch");
            many.hits++;
            check_bytes(key, data[i], items[i].bytes);
        }
    }
    allocator_release(allocator_system(), data);
}

static void
remove_or_protect(struct cascade *store, uint32_t key)
{
    enum cascade_status status;
    char text[32];

    switch (pick(PROTECT_ONE_IN)) {
    case 0:
        status = cascade_protect(store, name_of(key, text), NULL);
        break;
    case 1:
        status = cascade_unprotect(store, name_of(key, text));
        break;
    default:
        status = cascade_remove(store, name_of(key, text));
        break;
    }
    if (is_known(status) && status != CASCADE_NOT_FOUND) {
        store_ranks_must(status, "remove or protect");
    }
}

// All keys are removed everywhere, and the epoch that comes has other contents:
// whoever sees the old ones then sees what was removed.
static void
end_epoch(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    store_ranks_meet(store);
    if (rank == 0) {
        store_ranks_must(cascade_clear(store), "clear");
        many.epoch++;
    }
    store_ranks_meet(store);
    (void)ranks;
}

static void
live(struct store_ranks *ranks, uint16_t rank, struct cascade *store)
{
    struct cascade_stats stats;

    for (uint32_t i = 0; i < many.operations; i++) {
        uint32_t key = pick(keys());
        uint32_t what = pick(100);

        // What a few ranks want often comes closer.
        if (pick(2) == 0) {
            key %= KEYS_PER_RANK * 2;
        }
        if (what < 40) {
            put(store, key, pick(PROTECT_ONE_IN) == 0 ? CASCADE_PUT_PREFIX : 0);
        } else if (what < 90) {
            get(store, key);
        } else if (what < 94) {
            get_batch(store);
        } else {
            remove_or_protect(store, key);
        }
        many.done++;
        if (i == many.operations / 2) {
            end_epoch(ranks, rank, store);
        }
    }
    store_ranks_meet(store);
    stats = store_stats_now(store);
    many.remote_hits += stats.hits[CASCADE_TIER_REMOTE_DRAM];
    many.evictions += stats.evictions[CASCADE_TIER_LOCAL_DRAM];
    many.promotions += stats.promotions;
    check(stats.corrupt_blocks == 0);
}

static void
run(uint64_t seed)
{
    static const char *const pairs[] = {"dram_capacity", "1MiB", "max_blocks",
                                        "40", NULL};
    static const struct fabric_sim_options options = {
        .loss_ppm = 200,
        .double_ppm = 200,
        .busy_ppm = 200,
    };
    static struct store_ranks ranks;

    many.seed = seed;
    many.random = seed * 2 + 1;
    many.epoch = 0;
    store_ranks_make(&ranks, seed, many.ranks, &options);
    store_ranks_run(&ranks, many.ranks, false, pairs, live);
    store_ranks_remove(&ranks);
}

static void
test_reads_are_of_their_key_and_epoch(void **state)
{
    (void)state;
    assert_true(many.hits > many.done / 10);
    assert_true(many.remote_hits > 0 && many.evictions > 0);
    assert_true(many.promotions > 0 && many.deduplicated > 0);
    assert_true(many.unknown < many.done / 100);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_are_of_their_key_and_epoch),
    };
    uint64_t first = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    uint64_t seeds = argc > 4 ? strtoull(argv[4], NULL, 10) : 2;
    uint64_t start_ns = clock_steady_ns(clock_system());

    many.ranks = (uint16_t)(argc > 1 ? strtoull(argv[1], NULL, 10) : 24);
    many.operations = (uint32_t)(argc > 2 ? strtoull(argv[2], NULL, 10) : 400);
    check(many.ranks > 1 && many.ranks <= STORE_RANKS_MAX);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run(seed);
    }
    (void)printf(
        "%u ranks, %llu seeds: %llu operations in %.1f s; %llu hits, "
        "%llu of them remote, %llu misses, %llu puts, %llu "
        "deduplicated, %llu evictions, %llu promotions, %llu refused, %llu "
        "unknown, 0 wrong\n",
        (unsigned)many.ranks, (unsigned long long)seeds,
        (unsigned long long)many.done,
        (double)(clock_steady_ns(clock_system()) - start_ns) / 1e9,
        (unsigned long long)many.hits, (unsigned long long)many.remote_hits,
        (unsigned long long)many.misses, (unsigned long long)many.puts,
        (unsigned long long)many.deduplicated,
        (unsigned long long)many.evictions, (unsigned long long)many.promotions,
        (unsigned long long)many.refused, (unsigned long long)many.unknown);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
