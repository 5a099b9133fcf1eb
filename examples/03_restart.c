// SPDX-License-Identifier: Apache-2.0
//
// A cold tier: what was flushed is found by the next store on the same folder.
// Also: the folder has one owner at a time, and others may look.
//
//     cc 03_restart.c $(pkg-config --cflags --libs cascade) && ./a.out

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cascade/cascade.h>

#define BLOCKS 8
#define BLOCK_BYTES ((size_t)1 << 20)

static char folder[] = "/tmp/cascade_restart_XXXXXX";

static int
remove_one(const char *path, const struct stat *facts, int kind,
           struct FTW *where)
{
    (void)facts;
    (void)kind;
    (void)where;
    return remove(path);
}

static void
remove_folder(void)
{
    (void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

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

static enum cascade_status
open_as(const char *mode, struct cascade **store)
{
    const char *const settings[][2] = {
        {"dram_capacity", "64MiB"},
        {"cold_path", folder},
        {"cold_mode", mode},
    };
    struct cascade_options *options = cascade_options_create();
    enum cascade_status status;

    expect(options != NULL, "no memory for options");
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        expect(cascade_options_set(options, settings[i][0], settings[i][1]) ==
                   CASCADE_OK,
               settings[i][0]);
    }
    status = cascade_open(options, store);
    cascade_options_destroy(options);
    return status;
}

static void
fill(uint8_t *block, unsigned number)
{
    for (size_t i = 0; i < BLOCK_BYTES; i++) {
        block[i] = (uint8_t)((i + number) * 31 % 251);
    }
}

static void
put_blocks(struct cascade *store)
{
    static uint8_t block[BLOCK_BYTES];
    struct cascade_const_span span = {.data = block, .bytes = BLOCK_BYTES};
    char key[32];

    for (unsigned i = 0; i < BLOCKS; i++) {
        (void)snprintf(key, sizeof(key), "block %u", i);
        fill(block, i);
        expect(cascade_put(store, key_of(key), &span, 1, NULL, NULL) ==
                   CASCADE_OK,
               "put");
    }
}

static void
check_blocks(struct cascade *store, unsigned first, enum cascade_tier tier)
{
    static uint8_t wanted[BLOCK_BYTES];
    static uint8_t out[BLOCK_BYTES];
    struct cascade_span span = {.data = out, .bytes = BLOCK_BYTES};
    struct cascade_location location;
    char key[32];

    for (unsigned i = first; i < BLOCKS; i++) {
        (void)snprintf(key, sizeof(key), "block %u", i);
        fill(wanted, i);
        expect(cascade_locate(store, key_of(key), &location) == CASCADE_OK &&
                   location.tier == tier,
               "the block is in the tier where it should be");
        expect(cascade_get(store, key_of(key), &span, 1, NULL, NULL) ==
                       CASCADE_OK &&
                   memcmp(wanted, out, BLOCK_BYTES) == 0,
               "get returns the bytes that were put");
    }
}

// One owner at a time; looking takes nothing and leaves nothing.
static void
second_store(void)
{
    static uint8_t out[BLOCK_BYTES];
    struct cascade_span span = {.data = out, .bytes = BLOCK_BYTES};
    struct cascade_const_span from = {.data = out, .bytes = BLOCK_BYTES};
    struct cascade *second = NULL;

    expect(open_as("own", &second) == CASCADE_LOCKED && second == NULL,
           "a second owner is refused");
    (void)printf("refused as it should: %s\n", cascade_error_message());
    expect(open_as("look", &second) == CASCADE_OK, "looking is allowed");
    expect(cascade_get(second, key_of("block 1"), &span, 1, NULL, NULL) ==
               CASCADE_OK,
           "what was flushed is seen");
    expect(cascade_put(second, key_of("block 1"), &from, 1, NULL, NULL) ==
               CASCADE_UNSUPPORTED,
           "but nothing can be put");
    expect(cascade_close(second) == CASCADE_OK, "close of the second");
}

int
main(void)
{
    struct cascade *store = NULL;
    uint64_t evicted = 0;

    expect(mkdtemp(folder) != NULL, "no temporary folder");
    expect(atexit(remove_folder) == 0, "atexit");

    expect(open_as("own", &store) == CASCADE_OK, "open");
    put_blocks(store);
    check_blocks(store, 0, CASCADE_TIER_LOCAL_DRAM);
    expect(cascade_flush(store, NULL) == CASCADE_OK, "flush");
    second_store();

    // Memory can be emptied at any time: the blocks are on segments.
    expect(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, &evicted) ==
                   CASCADE_OK &&
               evicted == BLOCKS,
           "evict");
    check_blocks(store, 0, CASCADE_TIER_SEGMENTS);

    // A removal is on stable storage after a flush or a close, as puts are.
    expect(cascade_remove(store, key_of("block 0")) == CASCADE_OK, "remove");
    expect(cascade_close(store) == CASCADE_OK, "close");

    expect(open_as("own", &store) == CASCADE_OK, "open again");
    expect(cascade_exists(store, key_of("block 0")) == CASCADE_NOT_FOUND,
           "what was removed stays removed");
    check_blocks(store, 1, CASCADE_TIER_SEGMENTS);
    check_blocks(store, 1, CASCADE_TIER_LOCAL_DRAM); // reading brought them
    expect(cascade_close(store) == CASCADE_OK, "close");
    (void)printf("%d blocks survived the restart, one stayed removed\n",
                 BLOCKS - 1);
    return 0;
}
