// SPDX-License-Identifier: Apache-2.0
//
// Small stores for the tests of the store. See store_fixture.h.

#include "store_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "support/alignment.h"

// Steps after which a background that always has more to do is at fault.
#define STEPS_MAX 4096

static uint64_t
mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void
store_world_make(struct store_world *world)
{
    memset(world, 0, sizeof(*world));
    scratch_make(&world->scratch);
    (void)snprintf(world->cold_path, sizeof(world->cold_path), "%s/kv",
                   world->scratch.path);
    file_faulty_init(&world->files, NULL);
    allocator_failing_init(&world->memory, 0);
    world->around.allocator = &world->memory.table;
    world->around.clock = clock_system();
    world->around.files = &world->files.table;
}

void
store_world_remove(struct store_world *world)
{
    assert_int_equal(world->memory.live, 0);
    scratch_remove(&world->scratch);
}

void
store_options_pairs(struct cascade_options *options, const char *const *pairs)
{
    for (; pairs != NULL && pairs[0] != NULL; pairs += 2) {
        if (cascade_options_set(options, pairs[0], pairs[1]) != CASCADE_OK) {
            fail_msg("%s = %s: %s", pairs[0], pairs[1],
                     cascade_error_message());
        }
    }
}

struct cascade_options *
store_options_small(void)
{
    static const char *const small[] = {
        "dram_capacity",
        "2MiB",
        "segment_size",
        "1MiB",
        "cold_capacity",
        "1GiB",
        "cold_io",
        "pread",
        "max_blocks",
        "4096",
        "threads",
        "2",
        "stats_page",
        "false",
        "put_wait",
        "20",
        "log_level",
        "error",
        "cold_admission",
        "all",
        NULL,
    };
    struct cascade_options *options = cascade_options_create();

    char alignment[16];

    assert_non_null(options);
    store_options_pairs(options, small);
    (void)snprintf(alignment, sizeof(alignment), "%u", alignment_of_tests());
    assert_int_equal(cascade_options_set(options, "cold_alignment", alignment),
                     CASCADE_OK);
    return options;
}

enum cascade_status
store_try(struct store_world *world, bool cold, const char *const *pairs,
          struct cascade **store)
{
    struct cascade_options *options = store_options_small();
    enum cascade_status status;

    if (cold) {
        status = cascade_options_set(options, "cold_path", world->cold_path);
        assert_int_equal(status, CASCADE_OK);
    }
    store_options_pairs(options, pairs);
    status = store_open_in(options, &world->around, store);
    cascade_options_destroy(options);
    return status;
}

struct cascade *
store_start(struct store_world *world, bool cold, const char *const *pairs)
{
    struct cascade *store = NULL;
    enum cascade_status status = store_try(world, cold, pairs, &store);

    if (status != CASCADE_OK) {
        fail_msg("open: %s: %s", cascade_status_name(status),
                 cascade_error_message());
    }
    return store;
}

void
store_end(struct cascade *store)
{
    enum cascade_status status = cascade_close(store);

    if (status != CASCADE_OK) {
        fail_msg("close: %s: %s", cascade_status_name(status),
                 cascade_error_message());
    }
}

void
store_fill(uint64_t seed, void *data, size_t bytes)
{
    uint8_t *at = data;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = mix(seed * 0x100000001u + i);

        memcpy(at + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
}

bool
store_is(uint64_t seed, const void *data, size_t bytes)
{
    const uint8_t *at = data;

    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = mix(seed * 0x100000001u + i);

        if (memcmp(at + i, &word, bytes - i < 8 ? bytes - i : 8) != 0) {
            return false;
        }
    }
    return true;
}

struct cascade_key
store_name(const char *text)
{
    return (struct cascade_key){text, strlen(text)};
}

enum cascade_status
store_put_seed(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes, uint32_t flags, struct cascade_put_result *result)
{
    uint8_t *data = malloc(bytes + 1);
    struct cascade_const_span span = {.data = data, .bytes = bytes};
    struct cascade_put_options options = {.size = sizeof(options),
                                          .flags = flags};
    enum cascade_status status;

    check(data != NULL);
    store_fill(seed, data, bytes);
    status = cascade_put(store, store_name(key), &span, 1, &options, result);
    free(data);
    return status;
}

enum cascade_status
store_get_seed(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes)
{
    uint8_t *data = malloc(bytes + 1);
    struct cascade_span span = {.data = data, .bytes = bytes};
    size_t answered = bytes + 1;
    enum cascade_status status;

    check(data != NULL);
    status = cascade_get(store, store_name(key), &span, 1, NULL, &answered);
    if (status == CASCADE_OK &&
        (answered != bytes || !store_is(seed, data, bytes))) {
        (void)fprintf(stderr, "wrong bytes under %s: not content %llu\n", key,
                      (unsigned long long)seed);
        abort();
    }
    free(data);
    return status;
}

void
store_must_put(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes)
{
    struct cascade_put_result result;
    enum cascade_status status = store_put_seed(store, key, seed, bytes, 0,
                                                &result);

    if (status != CASCADE_OK || !result.stored) {
        fail_msg("put %s: %s: %s", key, cascade_status_name(status),
                 cascade_error_message());
    }
}

void
store_must_get(struct cascade *store, const char *key, uint64_t seed,
               size_t bytes)
{
    enum cascade_status status = store_get_seed(store, key, seed, bytes);

    if (status != CASCADE_OK) {
        fail_msg("get %s: %s: %s", key, cascade_status_name(status),
                 cascade_error_message());
    }
}

struct cascade_stats
store_stats_now(struct cascade *store)
{
    struct cascade_stats stats = {.size = sizeof(stats)};

    assert_int_equal(cascade_stats_read(store, &stats), CASCADE_OK);
    return stats;
}

enum cascade_tier
store_tier_of(struct cascade *store, const char *key)
{
    struct cascade_location location;

    return cascade_locate(store, store_name(key), &location) == CASCADE_OK
               ? location.tier
               : CASCADE_TIER_NONE;
}

void
store_message_has(const char *part)
{
    if (strstr(cascade_error_message(), part) == NULL) {
        fail_msg("the message \"%s\" does not say \"%s\"",
                 cascade_error_message(), part);
    }
}

void
store_settle(struct cascade *store)
{
    int steps = 0;

    while (store_background_step(store)) {
        assert_true(++steps < STEPS_MAX);
    }
}
