// SPDX-License-Identifier: Apache-2.0
//
// The store under every policy of the table: the option takes their names and
// no others, and under pressure the bytes are right, protected blocks stay and
// the capacity holds. Who goes first is the policies' own test.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "store_fixture.h"

#define BYTES 40000
#define KEYS 150
#define PROTECTED 5
#define SEED UINT64_C(91)

static struct store_world world;

static int
begin(void **state)
{
    (void)state;
    store_world_make(&world);
    world.files.lazy = true;
    return 0;
}

static int
finish(void **state)
{
    (void)state;
    store_world_remove(&world);
    return 0;
}

static const char *
key_of(uint64_t number, char text[32])
{
    (void)snprintf(text, 32, "block %" PRIu64, number);
    return text;
}

// As an engine does: what is not there is made and put.
static void
use(struct cascade *store, uint64_t number)
{
    char text[32];
    const char *key = key_of(number, text);
    enum cascade_status status = store_get_seed(store, key, number, BYTES);

    if (status == CASCADE_NOT_FOUND) {
        store_must_put(store, key, number, BYTES);
    } else {
        assert_int_equal(status, CASCADE_OK);
    }
}

static void
run_policy(const char *name, bool cold)
{
    const uint32_t steps = cold ? 400 : 1500;
    const char *const pairs[] = {"eviction_policy", name, NULL};
    struct cascade *store = store_start(&world, cold, pairs);
    struct cascade_stats stats;
    uint64_t random = SEED;
    char text[32];

    print_message("%s, seed %" PRIu64 "\n", name, SEED);
    for (uint64_t i = 0; i < PROTECTED; i++) {
        assert_int_equal(store_put_seed(store, key_of(i, text), i, BYTES,
                                        CASCADE_PUT_PREFIX, NULL),
                         CASCADE_OK);
    }
    for (uint32_t step = 0; step < steps; step++) {
        uint64_t first;

        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        first = (random >> 33) % KEYS;
        use(store, first * ((random >> 20) % KEYS) / KEYS);
        if (cold && step % 16 == 0) {
            store_settle(store);
        }
    }
    stats = store_stats_now(store);
    assert_true(stats.evictions[CASCADE_TIER_LOCAL_DRAM] > steps / 10);
    assert_true(stats.used_bytes[CASCADE_TIER_LOCAL_DRAM] <=
                stats.capacity_bytes[CASCADE_TIER_LOCAL_DRAM]);
    for (uint64_t i = 0; i < PROTECTED; i++) {
        assert_int_equal(store_tier_of(store, key_of(i, text)),
                         CASCADE_TIER_LOCAL_DRAM);
        store_must_get(store, text, i, BYTES);
    }
    assert_true(store->policy->is_valid(store->policy_state));
    assert_string_equal(store->policy->name, name);
    store_end(store);
}

static void
memory_alone(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        run_policy(policy_at(i)->name, false);
    }
}

static void
memory_and_segments(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        run_policy(policy_at(i)->name, true);
        store_world_remove(&world);
        (void)begin(NULL);
    }
}

static void
the_option_names_the_policies(void **state)
{
    struct cascade_options *options = cascade_options_create();
    const char *words = NULL;
    size_t count = 1;
    size_t policies = 0;

    (void)state;
    for (; policy_at(policies) != NULL; policies++) {
        assert_int_equal(cascade_options_set(options, "eviction_policy",
                                             policy_at(policies)->name),
                         CASCADE_OK);
    }
    assert_int_equal(cascade_options_set(options, "eviction_policy", "opt"),
                     CASCADE_INVALID);
    // As many words as policies, so there is none without one.
    for (words = error_message(); *words != '\0'; words++) {
        count += *words == '|';
    }
    assert_int_equal(count, policies);
    cascade_options_destroy(options);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_alone, begin, finish),
        cmocka_unit_test_setup_teardown(memory_and_segments, begin, finish),
        cmocka_unit_test(the_option_names_the_policies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
