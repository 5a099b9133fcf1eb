// SPDX-License-Identifier: Apache-2.0
//
// A system prompt with which many prompts begin is protected: it stays in
// memory while ten times the memory passes through. Also: how many leading
// blocks of a prompt are there, and what happens when the budget of
// protection is used up.
//
//     cc 02_prefix.c $(pkg-config --cflags --libs cascade) && ./a.out

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cascade/cascade.h>

#define MIB ((size_t)1 << 20)
#define BLOCK_BYTES MIB
#define PASSING_BLOCKS 160
#define TURNS 4

static void
expect(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "surprise: %s; last message: %s\n", what,
                      cascade_error_message());
        exit(1);
    }
}

static struct cascade_key
key_of(const char *text)
{
    return (struct cascade_key){.data = text, .bytes = strlen(text)};
}

// 16 MiB of memory, a quarter of which may be protected.
static struct cascade *
open_store(void)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;

    expect(options != NULL, "no memory for options");
    expect(cascade_options_set(options, "dram_capacity", "16MiB") == CASCADE_OK,
           "dram_capacity");
    expect(cascade_options_set(options, "prefix_fraction_max", "0.25") ==
               CASCADE_OK,
           "prefix_fraction_max");
    expect(cascade_open(options, &store) == CASCADE_OK, "open");
    cascade_options_destroy(options);
    return store;
}

// Puts a block whose bytes depend on `seed` alone.
static struct cascade_put_result
put(struct cascade *store, const char *key, uint32_t seed,
    const struct cascade_put_options *options)
{
    static uint8_t block[BLOCK_BYTES];
    struct cascade_const_span span = {.data = block, .bytes = BLOCK_BYTES};
    struct cascade_put_result result;

    for (size_t i = 0; i < BLOCK_BYTES; i += sizeof(seed)) {
        memcpy(block + i, &seed, sizeof(seed));
    }
    expect(cascade_put(store, key_of(key), &span, 1, options, &result) ==
               CASCADE_OK,
           "put");
    return result;
}

// A conversation: each block names the one before it and its place, so that a
// full store forgets it from its end.
static void
put_conversation(struct cascade *store)
{
    static const char *const turns[TURNS] = {"turn 1", "turn 2", "turn 3",
                                             "turn 4"};
    struct cascade_key keys[TURNS + 2];
    struct cascade_put_options options = {.size = sizeof(options)};
    size_t matched = 0;

    keys[0] = key_of("system prompt");
    for (uint32_t i = 0; i < TURNS; i++) {
        options.parent = keys[i];
        options.depth = i + 1;
        options.turn = i;
        (void)put(store, turns[i], 1000 + i, &options);
        keys[i + 1] = key_of(turns[i]);
    }
    keys[TURNS + 1] = key_of("turn 5");
    expect(cascade_prefix_match(store, keys, TURNS + 2, &matched) == CASCADE_OK,
           "prefix_match");
    expect(matched == TURNS + 1, "all but the last are there");
    (void)printf("%zu of %d blocks of the prompt are there\n", matched,
                 TURNS + 2);
}

static void
fill_memory(struct cascade *store)
{
    struct cascade_location location;
    char key[32];

    for (uint32_t i = 0; i < PASSING_BLOCKS; i++) {
        (void)snprintf(key, sizeof(key), "passing %u", i);
        (void)put(store, key, 2000 + i, NULL);
    }
    expect(cascade_exists(store, key_of("passing 0")) == CASCADE_NOT_FOUND,
           "an ordinary block had to go");
    expect(cascade_locate(store, key_of("system prompt"), &location) ==
                   CASCADE_OK &&
               location.tier == CASCADE_TIER_LOCAL_DRAM &&
               location.protected_prefix,
           "the protected one is still in memory");
}

// Protection has a budget; beyond it a block is stored like any other.
static void
use_up_the_budget(struct cascade *store)
{
    struct cascade_put_options options = {.size = sizeof(options),
                                          .flags = CASCADE_PUT_PREFIX};
    struct cascade_put_result result = {.protected_prefix = true};
    struct cascade_stats stats = {.size = sizeof(stats)};
    uint32_t count = 1; // the system prompt
    char key[32];

    while (count < 16 && result.protected_prefix) {
        (void)snprintf(key, sizeof(key), "prefix %u", count);
        result = put(store, key, 3000 + count, &options);
        count += result.protected_prefix ? 1 : 0;
    }
    expect(count == 4 && result.stored && !result.protected_prefix,
           "4 MiB are protected; the fifth block is stored without it");
    expect(cascade_protect(store, key_of("passing 159"), NULL) ==
               CASCADE_NO_SPACE,
           "protect says the same");
    (void)printf("refused as it should: %s\n", cascade_error_message());
    expect(cascade_unprotect(store, key_of("prefix 1")) == CASCADE_OK,
           "unprotect");
    expect(cascade_protect(store, key_of("passing 159"), NULL) == CASCADE_OK,
           "now there is room");
    expect(cascade_stats_read(store, &stats) == CASCADE_OK &&
               stats.protected_blocks == 4 && stats.protections_refused == 2,
           "the counters say so too");
}

int
main(void)
{
    struct cascade *store = open_store();
    struct cascade_put_options options = {.size = sizeof(options),
                                          .flags = CASCADE_PUT_PREFIX};

    expect(put(store, "system prompt", 1, &options).protected_prefix,
           "the system prompt is protected");
    put_conversation(store);
    fill_memory(store);
    use_up_the_budget(store);
    expect(cascade_close(store) == CASCADE_OK, "close");
    return 0;
}
