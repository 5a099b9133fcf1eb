// SPDX-License-Identifier: Apache-2.0
//
// The smallest program: a store in memory, a put, a get, and what the answers
// say. Without cold_path nothing is written to disk.
//
//     cc 01_put_get.c $(pkg-config --cflags --libs cascade) && ./a.out

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cascade/cascade.h>

#define BLOCK_BYTES ((size_t)2 << 20)

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

static struct cascade *
open_store(void)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;

    expect(options != NULL, "no memory for options");
    expect(cascade_options_set(options, "dram_capacity", "64MiB") == CASCADE_OK,
           "dram_capacity");
    expect(cascade_open(options, &store) == CASCADE_OK, "open");
    cascade_options_destroy(options);
    return store;
}

static void
put_and_get(struct cascade *store, uint8_t *block, uint8_t *out)
{
    struct cascade_const_span from = {.data = block, .bytes = BLOCK_BYTES};
    struct cascade_span to = {.data = out, .bytes = BLOCK_BYTES};
    struct cascade_put_result result;
    size_t bytes = 0;

    expect(cascade_put(store, key_of("turn 1"), &from, 1, NULL, &result) ==
               CASCADE_OK,
           "put");
    expect(result.stored && !result.deduplicated, "a new block is stored");
    expect(cascade_get(store, key_of("turn 1"), &to, 1, NULL, &bytes) ==
               CASCADE_OK,
           "get");
    expect(bytes == BLOCK_BYTES && memcmp(block, out, bytes) == 0,
           "the bytes that were put");

    // The same bytes under another key: one copy, two names.
    expect(cascade_put(store, key_of("the same"), &from, 1, NULL, &result) ==
               CASCADE_OK,
           "put of known bytes");
    expect(result.stored && result.deduplicated, "it is deduplicated");

    // Other bytes under the same key: the key moves to them.
    block[0] ^= 1;
    expect(cascade_put(store, key_of("turn 1"), &from, 1, NULL, NULL) ==
               CASCADE_OK,
           "put of other bytes");
    expect(cascade_get(store, key_of("turn 1"), &to, 1, NULL, NULL) ==
                   CASCADE_OK &&
               memcmp(block, out, BLOCK_BYTES) == 0,
           "the newer bytes");
    expect(cascade_get(store, key_of("the same"), &to, 1, NULL, NULL) ==
                   CASCADE_OK &&
               out[0] == (block[0] ^ 1),
           "the other key still names the older ones");
}

// What is not a success leaves the output alone.
static void
miss_and_refusal(struct cascade *store, uint8_t *out)
{
    struct cascade_span to = {.data = out, .bytes = BLOCK_BYTES};
    size_t bytes = 0;

    out[0] = 77;
    expect(cascade_get(store, key_of("never put"), &to, 1, NULL, &bytes) ==
               CASCADE_NOT_FOUND,
           "a miss is NOT_FOUND");
    to.bytes = 100;
    expect(cascade_get(store, key_of("turn 1"), &to, 1, NULL, &bytes) ==
               CASCADE_TOO_SMALL,
           "100 bytes do not hold it");
    expect(bytes == BLOCK_BYTES && out[0] == 77,
           "the size needed is told, the output untouched");
    (void)printf("refused as it should: %s\n", cascade_error_message());

    expect(cascade_remove(store, key_of("turn 1")) == CASCADE_OK, "remove");
    expect(cascade_exists(store, key_of("turn 1")) == CASCADE_NOT_FOUND,
           "what was removed is gone");
}

int
main(void)
{
    struct cascade *store = open_store();
    uint8_t *block = malloc(BLOCK_BYTES);
    uint8_t *out = malloc(BLOCK_BYTES);

    expect(block != NULL && out != NULL, "no memory for blocks");
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        block[i] = (uint8_t)(i * 31 % 251);
    }
    put_and_get(store, block, out);
    miss_and_refusal(store, out);
    expect(cascade_close(store) == CASCADE_OK, "close");
    free(out);
    free(block);
    (void)printf("put, got, deduplicated, moved, missed, removed\n");
    return 0;
}
