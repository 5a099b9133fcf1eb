// SPDX-License-Identifier: Apache-2.0
//
// Put: what it answers and what the counters say, request by request.

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store_fixture.h"

#define KIB_20 20480

static int
begin(void **state)
{
    static struct store_world world;

    store_world_make(&world);
    *state = &world;
    return 0;
}

static int
finish(void **state)
{
    store_world_remove(*state);
    return 0;
}

// One request: a put, its answer, and what the counters gain.
struct request {
    const char *what;
    const char *key;
    uint64_t seed;
    size_t bytes;
    uint32_t flags;
    enum cascade_status status;
    bool stored;
    bool deduplicated;
    bool existed;
    uint64_t gained_hits;
    uint64_t gained_saved;
    uint64_t gained_bytes;
    uint64_t gained_existed;
    uint64_t blocks; // afterwards
    uint64_t keys;
};

static void
run_requests(struct cascade *store, const struct request *requests,
             size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct request *request = &requests[i];
        struct cascade_stats before = store_stats_now(store);
        struct cascade_stats after;
        struct cascade_put_result result = {0};
        enum cascade_status status = store_put_seed(
            store, request->key, request->seed, request->bytes, request->flags,
            &result);

        after = store_stats_now(store);
        print_message("  %s\n", request->what);
        assert_int_equal(status, request->status);
        assert_int_equal(result.stored, request->stored);
        assert_int_equal(result.deduplicated, request->deduplicated);
        assert_int_equal(result.existed, request->existed);
        assert_int_equal(after.puts - before.puts, 1);
        assert_int_equal(after.dedup_hits - before.dedup_hits,
                         request->gained_hits);
        assert_int_equal(after.dedup_bytes_saved - before.dedup_bytes_saved,
                         request->gained_saved);
        assert_int_equal(after.put_bytes - before.put_bytes,
                         request->gained_bytes);
        assert_int_equal(after.puts_existed - before.puts_existed,
                         request->gained_existed);
        assert_int_equal(after.blocks, request->blocks);
        // No copy beside those that are known.
        assert_int_equal(after.tier_blocks[CASCADE_TIER_LOCAL_DRAM],
                         request->blocks);
        assert_int_equal(after.keys, request->keys);
    }
}

#define RUN(store, requests) \
    run_requests(store, requests, sizeof(requests) / sizeof((requests)[0]))

static void
test_content(void **state)
{
    static const struct request requests[] = {
        {"a new block", "a", 1, 5000, 0, CASCADE_OK, true, false, false, 0, 0,
         5000, 0, 1, 1},
        {"the same bytes under another key", "b", 1, 5000, 0, CASCADE_OK, true,
         true, false, 1, 5000, 0, 0, 1, 2},
        {"the same bytes under the same key", "a", 1, 5000, 0, CASCADE_OK, true,
         true, true, 1, 5000, 0, 0, 1, 2},
        {"other bytes: the key moves", "a", 2, 7000, 0, CASCADE_OK, true, false,
         true, 0, 0, 7000, 0, 2, 2},
        {"the last key of the first content moves", "b", 2, 7000, 0, CASCADE_OK,
         true, true, true, 1, 7000, 0, 0, 1, 2},
        {"if absent and known", "a", 3, 100, CASCADE_PUT_IF_ABSENT,
         CASCADE_EXISTS, true, true, true, 1, 100, 0, 1, 1, 2},
        {"if absent and new", "c", 3, 100, CASCADE_PUT_IF_ABSENT, CASCADE_OK,
         true, false, false, 0, 0, 100, 0, 2, 3},
        {"a block of no bytes", "nothing", 4, 0, 0, CASCADE_OK, true, false,
         false, 0, 0, 0, 0, 3, 4},
        {"no bytes again", "nothing too", 5, 0, 0, CASCADE_OK, true, true,
         false, 1, 0, 0, 0, 3, 5},
    };
    struct cascade *store = store_start(*state, false, NULL);

    RUN(store, requests);
    store_must_get(store, "a", 2, 7000);
    store_must_get(store, "b", 2, 7000);
    store_must_get(store, "c", 3, 100);
    store_must_get(store, "nothing", 4, 0);
    store_end(store);
}

static void
test_refused_rebind(void **state)
{
    static const char *const refused[] = {"rebind", "refused", NULL};
    static const struct request requests[] = {
        {"a new block", "a", 1, 5000, 0, CASCADE_OK, true, false, false, 0, 0,
         5000, 0, 1, 1},
        {"other bytes are refused", "a", 2, 6000, 0, CASCADE_EXISTS, true,
         false, true, 0, 0, 0, 1, 1, 1},
        {"the same bytes are right", "a", 1, 5000, 0, CASCADE_OK, true, true,
         true, 1, 5000, 0, 0, 1, 1},
    };
    struct cascade *store = store_start(*state, false, refused);

    RUN(store, requests);
    store_must_get(store, "a", 1, 5000);
    store_end(store);
}

static void
test_dedup_off(void **state)
{
    static const char *const off[] = {"dedup", "off", NULL};
    static const struct request requests[] = {
        {"a new block", "a", 1, 5000, 0, CASCADE_OK, true, false, false, 0, 0,
         5000, 0, 1, 1},
        {"the same bytes are kept twice", "b", 1, 5000, 0, CASCADE_OK, true,
         false, false, 0, 0, 5000, 0, 2, 2},
        {"the same key again", "b", 1, 5000, 0, CASCADE_OK, true, false, true,
         0, 0, 5000, 0, 2, 2},
    };
    struct cascade *store = store_start(*state, false, off);

    RUN(store, requests);
    store_must_get(store, "b", 1, 5000);
    store_end(store);
}

static void
test_dedup_by_key(void **state)
{
    static const char *const by_key[] = {"dedup", "key", "rebind", "refused",
                                         NULL};
    static const struct request requests[] = {
        {"a new block", "a", 1, 5000, 0, CASCADE_OK, true, false, false, 0, 0,
         5000, 0, 1, 1},
        {"the key is known: no byte is read", "a", 2, 6000, 0, CASCADE_EXISTS,
         true, true, true, 1, 6000, 0, 1, 1, 1},
    };
    struct cascade *store = store_start(*state, false, by_key);

    RUN(store, requests);
    store_must_get(store, "a", 1, 5000);
    store_end(store);
}

static void
test_gather(void **state)
{
    struct cascade *store = store_start(*state, false, NULL);
    uint8_t whole[KIB_20];
    uint8_t apart[4][KIB_20];
    static const size_t cuts[] = {0, 1, 4097, 4097, KIB_20};
    struct cascade_const_span spans[5];

    store_fill(9, whole, sizeof(whole));
    for (size_t i = 0; i < 4; i++) {
        memcpy(apart[i] + 1, whole + cuts[i], cuts[i + 1] - cuts[i] - (i == 3));
        spans[i] = (struct cascade_const_span){
            .data = apart[i] + 1, .bytes = cuts[i + 1] - cuts[i] - (i == 3)};
    }
    spans[4] = (struct cascade_const_span){.data = whole + KIB_20 - 1,
                                           .bytes = 1};
    assert_int_equal(cascade_put(store, store_name("k"), spans, 5, NULL, NULL),
                     CASCADE_OK);
    store_must_get(store, "k", 9, KIB_20);
    // An empty span may have no address; no spans at all are no bytes.
    spans[0] = (struct cascade_const_span){0};
    assert_int_equal(cascade_put(store, store_name("e"), spans, 1, NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(cascade_put(store, store_name("f"), NULL, 0, NULL, NULL),
                     CASCADE_OK);
    store_must_get(store, "e", 0, 0);
    store_must_get(store, "f", 0, 0);
    store_end(store);
}

static void
test_bad_arguments(void **state)
{
    struct cascade *store = store_start(*state, false, NULL);
    char data[8] = "1234567";
    char long_key[CASCADE_KEY_BYTES_MAX + 1] = {0};
    struct cascade_const_span span = {.data = data, .bytes = sizeof(data)};
    struct cascade_put_result result = {.stored = true, .tier = 9};
    struct cascade_put_result as_before = result;

#define REFUSES(status, text, key, spans, count)                               \
    do {                                                                       \
        assert_int_equal(cascade_put(store, key, spans, count, NULL, &result), \
                         status);                                              \
        store_message_has(text);                                               \
        assert_memory_equal(&result, &as_before, sizeof(result));              \
    } while (0)
    REFUSES(CASCADE_INVALID, "empty", ((struct cascade_key){NULL, 0}), &span,
            1);
    REFUSES(CASCADE_INVALID, "empty", ((struct cascade_key){data, 0}), &span,
            1);
    REFUSES(CASCADE_INVALID, "1025",
            ((struct cascade_key){long_key, sizeof(long_key)}), &span, 1);
    REFUSES(CASCADE_INVALID, "NULL", store_name("k"), NULL, 1);
    span.data = NULL;
    REFUSES(CASCADE_INVALID, "span 0", store_name("k"), &span, 1);
    span = (struct cascade_const_span){
        .data = data, .bytes = 8, .memory = CASCADE_MEMORY_DEVICE};
    REFUSES(CASCADE_UNSUPPORTED, "device", store_name("k"), &span, 1);
    span = (struct cascade_const_span){.data = data, .bytes = SIZE_MAX};
    REFUSES(CASCADE_TOO_LARGE, "16GiB", store_name("k"), &span, 1);
#undef REFUSES
    assert_int_equal(store_stats_now(store).keys, 0);
    // The longest key is a key.
    span = (struct cascade_const_span){.data = data, .bytes = 8};
    assert_int_equal(
        cascade_put(store,
                    (struct cascade_key){long_key, CASCADE_KEY_BYTES_MAX},
                    &span, 1, NULL, NULL),
        CASCADE_OK);
    store_end(store);
}

// A key is its bytes: no terminator, no path, no case.
static void
test_keys_are_opaque(void **state)
{
    struct cascade *store = store_start(*state, true, NULL);
    static const struct cascade_key keys[] = {
        {"a", 1},        {"a\0", 2},  {"a\0b", 3},    {"\0", 1},
        {"../../x", 7},  {"/", 1},    {".", 1},       {"A", 1},
        {"\xff\xfe", 2}, {"%s%n", 4}, {"default", 7}, {"a\n", 2},
    };
    const size_t count = sizeof(keys) / sizeof(keys[0]);

    for (size_t i = 0; i < count; i++) {
        uint64_t data = i;
        struct cascade_const_span span = {.data = &data, .bytes = 8};

        assert_int_equal(cascade_put(store, keys[i], &span, 1, NULL, NULL),
                         CASCADE_OK);
    }
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    for (size_t i = 0; i < count; i++) {
        uint64_t data = 99;
        struct cascade_span span = {.data = &data, .bytes = 8};

        assert_int_equal(cascade_get(store, keys[i], &span, 1, NULL, NULL),
                         CASCADE_OK);
        assert_int_equal(data, i);
    }
    store_end(store);
}

// What protects: the flag, within the budget; a rebind drops it.
static void
test_prefix(void **state)
{
    static const char *const pairs[] = {"prefix_fraction_max", "0.5", NULL};
    struct cascade *store = store_start(*state, false, pairs);
    struct cascade_put_result result;
    struct cascade_stats stats;

    assert_int_equal(
        store_put_seed(store, "p", 1, 600000, CASCADE_PUT_PREFIX, &result),
        CASCADE_OK);
    assert_true(result.protected_prefix);
    stats = store_stats_now(store);
    assert_int_equal(stats.protected_blocks, 1);
    assert_int_equal(stats.protected_bytes, 600000);
    assert_int_equal(
        store_put_seed(store, "q", 2, 600000, CASCADE_PUT_PREFIX, &result),
        CASCADE_OK);
    assert_true(result.stored);
    assert_false(result.protected_prefix);
    stats = store_stats_now(store);
    assert_int_equal(stats.protected_blocks, 1);
    assert_int_equal(stats.protections_refused, 1);
    // The same bytes under another key need no more of the budget.
    assert_int_equal(
        store_put_seed(store, "r", 1, 600000, CASCADE_PUT_PREFIX, &result),
        CASCADE_OK);
    assert_true(result.protected_prefix && result.deduplicated);
    assert_int_equal(store_stats_now(store).protected_bytes, 600000);
    assert_int_equal(cascade_remove(store, store_name("r")), CASCADE_OK);
    assert_int_equal(store_stats_now(store).protected_blocks, 1);
    assert_int_equal(cascade_remove(store, store_name("p")), CASCADE_OK);
    stats = store_stats_now(store);
    assert_int_equal(stats.protected_blocks, 0);
    assert_int_equal(stats.protected_bytes, 0);
    store_end(store);
}

static void
test_sync_put(void **state)
{
    static const char *const pairs[] = {"sync", "put", NULL};
    struct cascade *store = store_start(*state, true, pairs);

    store_must_put(store, "k", 1, 5000);
    assert_int_equal(store_stats_now(store).dirty_blocks, 0);
    assert_true(store_stats_now(store).cold_bytes_written >= 5000);
    store_end(store);
}

// The hint counts on every way to put a block that is there: it goes first.
static void
test_session_end_of_a_known_block(void **state)
{
    static const char *const pairs[] = {"max_blocks", "64", NULL};
    struct cascade *store = store_start(*state, false, pairs);
    static const uint32_t flags[] = {
        CASCADE_PUT_SESSION_END,
        CASCADE_PUT_SESSION_END | CASCADE_PUT_IF_ABSENT,
    };

    for (uint32_t i = 0; i < 2; i++) {
        const char *ended = i == 0 ? "b" : "c";
        struct policy_cursor cursor;
        uint32_t victim = POLICY_NONE;

        store_must_put(store, "a", 1, 5000);
        store_must_put(store, "b", 2, 5000);
        store_must_put(store, "c", 3, 5000);
        (void)store_put_seed(store, ended, i + 2, 5000, flags[i], NULL);
        memset(&cursor, 0, sizeof(cursor));
        store_policy_lock(store);
        assert_true(
            store->policy->choose(store->policy_state, &cursor, &victim));
        store_policy_unlock(store);
        assert_true((store->blocks[victim].flags & STORE_SLOT_SESSION_END) !=
                    0);
        // It was the victim if its slot is the one that gets free.
        assert_int_equal(cascade_remove(store, store_name(ended)), CASCADE_OK);
        assert_int_equal(store->blocks[victim].flags & STORE_SLOT_RESIDENT, 0);
    }
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_content, begin, finish),
        cmocka_unit_test_setup_teardown(test_refused_rebind, begin, finish),
        cmocka_unit_test_setup_teardown(test_dedup_off, begin, finish),
        cmocka_unit_test_setup_teardown(test_dedup_by_key, begin, finish),
        cmocka_unit_test_setup_teardown(test_gather, begin, finish),
        cmocka_unit_test_setup_teardown(test_bad_arguments, begin, finish),
        cmocka_unit_test_setup_teardown(test_keys_are_opaque, begin, finish),
        cmocka_unit_test_setup_teardown(test_prefix, begin, finish),
        cmocka_unit_test_setup_teardown(test_sync_put, begin, finish),
        cmocka_unit_test_setup_teardown(test_session_end_of_a_known_block,
                                        begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
