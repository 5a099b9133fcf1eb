// SPDX-License-Identifier: Apache-2.0
//
// Get, acquire, prefetch: what they answer, which bytes they touch, and which
// tier they are counted for. Views stay constant whatever happens to their key.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "store_fixture.h"

#define BYTES 50001

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

static bool
is_filled(const uint8_t *data, size_t bytes, uint8_t value)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != value) {
            return false;
        }
    }
    return true;
}

// The same rules for a block in DRAM and one that is only cold.
static void
check_output_rules(struct cascade *store, bool cold)
{
    uint8_t *data = malloc(BYTES + 5000);
    struct cascade_span span = {.data = data, .bytes = BYTES - 1};
    size_t bytes = 77;

    store_must_put(store, "k", 1, BYTES);
    if (cold) {
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
    }
    memset(data, 0xee, BYTES + 5000);
    assert_int_equal(
        cascade_get(store, store_name("k"), &span, 1, NULL, &bytes),
        CASCADE_TOO_SMALL);
    assert_int_equal(bytes, BYTES);
    store_message_has("50001");
    assert_true(is_filled(data, BYTES + 5000, 0xee));
    bytes = 77;
    assert_int_equal(
        cascade_get(store, store_name("none"), &span, 1, NULL, &bytes),
        CASCADE_NOT_FOUND);
    assert_int_equal(bytes, 77);
    assert_true(is_filled(data, BYTES + 5000, 0xee));
    // No room at all asks for the size.
    assert_int_equal(cascade_get(store, store_name("k"), NULL, 0, NULL, &bytes),
                     CASCADE_TOO_SMALL);
    assert_int_equal(bytes, BYTES);
    // A larger output is filled as far as the block goes.
    span.bytes = BYTES + 5000;
    assert_int_equal(cascade_get(store, store_name("k"), &span, 1, NULL, NULL),
                     CASCADE_OK);
    assert_true(store_is(1, data, BYTES));
    assert_true(is_filled(data + BYTES, 5000, 0xee));
    free(data);
}

static void
test_output_rules(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);

    (void)state;
    check_output_rules(store, false);
    check_output_rules(store, true);
    store_end(store);
}

static void
test_scatter(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    uint8_t *apart = malloc(3 * BYTES);
    uint8_t *whole = malloc(BYTES);
    struct cascade_span spans[5];
    size_t bytes;

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    for (int round = 0; round < 2; round++) {
        memset(apart, 0xee, 3 * BYTES);
        spans[0] = (struct cascade_span){.data = apart + 1, .bytes = 1};
        spans[1] = (struct cascade_span){.data = NULL, .bytes = 0};
        spans[2] = (struct cascade_span){.data = apart + 7, .bytes = 4096};
        spans[3] = (struct cascade_span){.data = apart + 10003,
                                         .bytes = BYTES - 4097};
        spans[4] = (struct cascade_span){.data = apart + 2 * BYTES,
                                         .bytes = 100};
        assert_int_equal(
            cascade_get(store, store_name("k"), spans, 5, NULL, &bytes),
            CASCADE_OK);
        assert_int_equal(bytes, BYTES);
        whole[0] = apart[1];
        memcpy(whole + 1, apart + 7, 4096);
        memcpy(whole + 4097, apart + 10003, BYTES - 4097);
        assert_true(store_is(1, whole, BYTES));
        assert_true(is_filled(apart + 2 * BYTES, 100, 0xee));
        assert_int_equal(apart[0], 0xee);
        assert_int_equal(apart[2], 0xee);
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
    }
    free(whole);
    free(apart);
    store_end(store);
}

static void
test_tiers_are_counted(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_stats stats;
    uint64_t evicted = 0;

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    store_must_get(store, "k", 1, BYTES);
    stats = store_stats_now(store);
    assert_int_equal(stats.hits[CASCADE_TIER_LOCAL_DRAM], 1);
    assert_int_equal(stats.hit_bytes[CASCADE_TIER_LOCAL_DRAM], BYTES);
    assert_int_equal(store_tier_of(store, "k"), CASCADE_TIER_LOCAL_DRAM);
    assert_int_equal(
        cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, &evicted),
        CASCADE_OK);
    assert_int_equal(evicted, 1);
    stats = store_stats_now(store);
    assert_int_equal(stats.evictions[CASCADE_TIER_LOCAL_DRAM], 1);
    assert_int_equal(stats.used_bytes[CASCADE_TIER_LOCAL_DRAM], 0);
    assert_int_equal(stats.tier_blocks[CASCADE_TIER_LOCAL_DRAM], 0);
    assert_int_equal(store_tier_of(store, "k"), CASCADE_TIER_SEGMENTS);
    store_must_get(store, "k", 1, BYTES);
    store_must_get(store, "k", 1, BYTES);
    stats = store_stats_now(store);
    assert_int_equal(stats.hits[CASCADE_TIER_SEGMENTS], 1);
    assert_int_equal(stats.hit_bytes[CASCADE_TIER_SEGMENTS], BYTES);
    assert_int_equal(stats.hits[CASCADE_TIER_LOCAL_DRAM], 2);
    assert_int_equal(stats.promotions, 1);
    assert_int_equal(stats.gets, 3);
    assert_int_equal(stats.misses, 0);
    store_end(store);
}

static void
test_misses_are_counted(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_stats stats;

    (void)state;
    assert_int_equal(store_get_seed(store, "k", 1, BYTES), CASCADE_NOT_FOUND);
    store_must_put(store, "k", 1, BYTES);
    assert_int_equal(cascade_remove(store, store_name("k")), CASCADE_OK);
    assert_int_equal(cascade_remove(store, store_name("k")), CASCADE_NOT_FOUND);
    assert_int_equal(store_get_seed(store, "k", 1, BYTES), CASCADE_NOT_FOUND);
    stats = store_stats_now(store);
    assert_int_equal(stats.gets, 2);
    assert_int_equal(stats.misses, 2);
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.blocks, 0);
    assert_int_equal(stats.used_bytes[CASCADE_TIER_LOCAL_DRAM], 0);
    store_end(store);
}

static void
test_prefetch(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_stats stats;

    (void)state;
    assert_int_equal(cascade_prefetch(store, store_name("k"), NULL),
                     CASCADE_NOT_FOUND);
    store_must_put(store, "k", 1, BYTES);
    assert_int_equal(cascade_prefetch(store, store_name("k"), NULL),
                     CASCADE_OK);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(cascade_prefetch(store, store_name("k"), NULL),
                     CASCADE_OK);
    assert_int_equal(store_tier_of(store, "k"), CASCADE_TIER_LOCAL_DRAM);
    stats = store_stats_now(store);
    assert_int_equal(stats.promotions, 1);
    assert_int_equal(stats.gets, 0);
    assert_int_equal(stats.pins, 0);
    store_must_get(store, "k", 1, BYTES);
    assert_int_equal(store_stats_now(store).hits[CASCADE_TIER_LOCAL_DRAM], 1);
    store_end(store);
}

// What is done to the key of a view that is out.
static void
disturb(struct cascade *store, int how)
{
    char key[32];

    switch (how) {
    case 0:
        store_must_put(store, "k", 2, BYTES);
        break;
    case 1:
        assert_int_equal(cascade_remove(store, store_name("k")), CASCADE_OK);
        break;
    case 2:
        assert_int_equal(cascade_clear(store), CASCADE_OK);
        break;
    case 3:
        assert_int_equal(
            cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
            CASCADE_OK);
        break;
    default:
        break;
    }
    // Everything else is put again and again over what is free.
    for (uint64_t i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "other %llu", (unsigned long long)i);
        store_must_put(store, key, 100 + i, BYTES);
    }
}

// Also to those who never ask for the statistics.
static void
pins_are_in_the_text(struct cascade *store, uint64_t pins)
{
    static char text[1 << 17];
    char line[64];

    assert_int_equal(cascade_metrics_text(store, text, sizeof(text), NULL),
                     CASCADE_OK);
    (void)snprintf(line, sizeof(line), "\ncascade_pins %llu\n",
                   (unsigned long long)pins);
    assert_non_null(strstr(text, line));
}

static void
test_views_are_constant(void **state)
{
    (void)state;
    for (int how = 0; how < 5; how++) {
        struct cascade *store = store_start(&world, how % 2 == 0, NULL);
        struct cascade_view view = {0};

        store_must_put(store, "k", 1, BYTES);
        assert_int_equal(cascade_acquire(store, store_name("k"), NULL, &view),
                         CASCADE_OK);
        assert_int_equal(view.bytes, BYTES);
        assert_int_equal(view.tier, CASCADE_TIER_LOCAL_DRAM);
        pins_are_in_the_text(store, 1);
        assert_int_equal(store_stats_now(store).views_out, 1);
        assert_int_equal(store_stats_now(store).pins, 1);
        disturb(store, how);
        assert_true(store_is(1, view.data, BYTES));
        assert_int_equal(cascade_close(store), CASCADE_BUSY);
        store_message_has("1 views");
        assert_true(store_is(1, view.data, BYTES));
        // The store goes on after a refused close.
        store_must_put(store, "after", 5, 100);
        store_must_get(store, "after", 5, 100);
        cascade_release(store, &view);
        assert_null(view.data);
        cascade_release(store, &view);
        pins_are_in_the_text(store, 0);
        assert_int_equal(store_stats_now(store).views_out, 0);
        assert_int_equal(store_stats_now(store).pins, 0);
        assert_int_equal(cascade_clear(store), CASCADE_OK);
        assert_int_equal(
            store_stats_now(store).used_bytes[CASCADE_TIER_LOCAL_DRAM], 0);
        store_end(store);
    }
}

// A view of a cold block, of no bytes, and of the same block twice.
static void
test_views_of_all_kinds(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_view views[3] = {{0}};

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    store_must_put(store, "nothing", 2, 0);
    assert_int_equal(cascade_acquire(store, store_name("x"), NULL, &views[0]),
                     CASCADE_NOT_FOUND);
    assert_null(views[0].data);
    assert_int_equal(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL),
                     CASCADE_OK);
    assert_int_equal(cascade_acquire(store, store_name("k"), NULL, &views[0]),
                     CASCADE_OK);
    assert_int_equal(views[0].tier, CASCADE_TIER_SEGMENTS);
    assert_int_equal(cascade_acquire(store, store_name("k"), NULL, &views[1]),
                     CASCADE_OK);
    assert_int_equal(views[1].tier, CASCADE_TIER_LOCAL_DRAM);
    assert_ptr_equal(views[0].data, views[1].data);
    assert_int_equal(
        cascade_acquire(store, store_name("nothing"), NULL, &views[2]),
        CASCADE_OK);
    assert_int_equal(views[2].bytes, 0);
    assert_non_null(views[2].data);
    cascade_release(store, &views[0]);
    assert_true(store_is(1, views[1].data, BYTES));
    cascade_release(store, &views[1]);
    cascade_release(store, &views[2]);
    store_end(store);
}

// Puts among views that fill everything end in bounded time and say so.
static void
test_puts_among_views(void **state)
{
    static const char *const pairs[] = {"put_wait", "0.2", NULL};

    (void)state;
    for (int cold = 0; cold < 2; cold++) {
        struct cascade *store = store_start(&world, cold == 1, pairs);
        struct cascade_view views[4] = {{0}};
        char key[8];
        size_t out = 0;
        enum cascade_status status;

        for (; out < 4; out++) {
            (void)snprintf(key, sizeof(key), "v%zu", out);
            store_must_put(store, key, 10 + out, 512 * 1024);
            assert_int_equal(
                cascade_acquire(store, store_name(key), NULL, &views[out]),
                CASCADE_OK);
        }
        status = store_put_seed(store, "more", 1, 512 * 1024, 0, NULL);
        assert_int_equal(status, cold == 1 ? CASCADE_OK : CASCADE_NO_SPACE);
        if (cold == 0) {
            store_message_has("raise dram_capacity");
            assert_int_equal(store_stats_now(store).puts_refused, 1);
            assert_int_equal(store_get_seed(store, "more", 1, 512 * 1024),
                             CASCADE_NOT_FOUND);
        } else {
            // Served past DRAM; a view of it finds no room and says so.
            struct cascade_call call = {.timeout_ns = 300000000};
            struct cascade_view view = {0};

            store_must_get(store, "more", 1, 512 * 1024);
            assert_int_equal(
                cascade_acquire(store, store_name("more"), &call, &view),
                CASCADE_NO_SPACE);
            store_message_has("release views");
        }
        for (size_t i = 0; i < out; i++) {
            assert_true(store_is(10 + i, views[i].data, 512 * 1024));
            cascade_release(store, &views[i]);
        }
        store_must_put(store, "more", 1, 512 * 1024);
        store_end(store);
    }
}

// In the child every call is refused; the parent goes on with its views.
static void
check_child(struct cascade *store, struct cascade_queue *queue,
            struct cascade_view *view)
{
    uint8_t data[16];
    struct cascade_const_span put_span = {.data = data, .bytes = 16};
    struct cascade_span get_span = {.data = data, .bytes = 16};
    struct cascade_key key = store_name("k");
    struct cascade_view other = {0};
    struct cascade_location location;
    struct cascade_stats stats = {.size = sizeof(stats)};
    struct cascade_item item = {.operation = CASCADE_OPERATION_EXISTS};
    struct cascade_completion completion;
    struct cascade_queue *made;
    size_t count;
    char text[64];

#define FORKED(call) check((call) == CASCADE_FORKED)
    FORKED(cascade_put(store, key, &put_span, 1, NULL, NULL));
    FORKED(cascade_get(store, key, &get_span, 1, NULL, NULL));
    FORKED(cascade_acquire(store, key, NULL, &other));
    FORKED(cascade_exists(store, key));
    FORKED(cascade_prefix_match(store, &key, 1, &count));
    FORKED(cascade_prefix_match(store, &key, 0, &count));
    FORKED(cascade_locate(store, key, &location));
    FORKED(cascade_remove(store, key));
    FORKED(cascade_protect(store, key, NULL));
    FORKED(cascade_unprotect(store, key));
    FORKED(cascade_prefetch(store, key, NULL));
    FORKED(cascade_flush(store, NULL));
    FORKED(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL));
    FORKED(cascade_clear(store));
    FORKED(cascade_list(store, NULL, NULL));
    FORKED(cascade_register_memory(store, data, 16));
    FORKED(cascade_unregister_memory(store, data));
    FORKED(cascade_batch(store, &item, 1, NULL));
    FORKED(cascade_queue_open(store, 1, &made));
    FORKED(cascade_submit(queue, &item, 1, NULL, NULL, NULL));
    FORKED(cascade_cancel(queue, 1));
    FORKED(cascade_queue_wait(queue, &completion, 1, 0, &count));
    FORKED(cascade_queue_close(queue));
    FORKED(cascade_stats_read(store, &stats));
    FORKED(cascade_metrics_text(store, text, sizeof(text), NULL));
    FORKED(cascade_option_effective(store, "rebind", text, sizeof(text)));
    FORKED(cascade_close(store));
    check(strstr(cascade_error_message(), "fork") != NULL);
#undef FORKED
    cascade_release(store, view);
}

static void
test_fork(void **state)
{
    struct cascade *store = store_start(&world, true, NULL);
    struct cascade_queue *queue;
    struct cascade_view view = {0};
    int ended = 1;
    pid_t child;

    (void)state;
    store_must_put(store, "k", 1, BYTES);
    assert_int_equal(cascade_acquire(store, store_name("k"), NULL, &view),
                     CASCADE_OK);
    assert_int_equal(cascade_queue_open(store, 2, &queue), CASCADE_OK);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        check_child(store, queue, &view);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_true(WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    assert_true(store_is(1, view.data, BYTES));
    assert_int_equal(cascade_queue_close(queue), CASCADE_OK);
    cascade_release(store, &view);
    store_must_get(store, "k", 1, BYTES);
    store_must_put(store, "l", 2, BYTES);
    store_end(store);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_rules, begin, finish),
        cmocka_unit_test_setup_teardown(test_scatter, begin, finish),
        cmocka_unit_test_setup_teardown(test_tiers_are_counted, begin, finish),
        cmocka_unit_test_setup_teardown(test_misses_are_counted, begin, finish),
        cmocka_unit_test_setup_teardown(test_prefetch, begin, finish),
        cmocka_unit_test_setup_teardown(test_views_are_constant, begin, finish),
        cmocka_unit_test_setup_teardown(test_views_of_all_kinds, begin, finish),
        cmocka_unit_test_setup_teardown(test_puts_among_views, begin, finish),
        cmocka_unit_test_setup_teardown(test_fork, begin, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
