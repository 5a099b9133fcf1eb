// SPDX-License-Identifier: Apache-2.0
//
// A view: the block as it lies in the store, without a copy. It stays as it is
// until it is released, whatever happens to its key meanwhile.
//
//     cc 04_zero_copy.c $(pkg-config --cflags --libs cascade) && ./a.out

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cascade/cascade.h>

#define BLOCK_BYTES ((size_t)4 << 20)

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

// The halves of a block may lie apart in the caller's memory: one put takes
// them as spans.
static void
put_halves(struct cascade *store, int first, int second)
{
    static uint8_t halves[2][BLOCK_BYTES / 2];
    struct cascade_const_span spans[2] = {
        {.data = halves[0], .bytes = sizeof(halves[0])},
        {.data = halves[1], .bytes = sizeof(halves[1])},
    };

    memset(halves[0], first, sizeof(halves[0]));
    memset(halves[1], second, sizeof(halves[1]));
    expect(cascade_put(store, key_of("layer 0"), spans, 2, NULL, NULL) ==
               CASCADE_OK,
           "put");
}

static bool
shows(const struct cascade_view *view, int first, int second)
{
    const uint8_t *data = view->data;

    return view->bytes == BLOCK_BYTES && data[0] == first &&
           data[BLOCK_BYTES / 2 - 1] == first &&
           data[BLOCK_BYTES / 2] == second && data[BLOCK_BYTES - 1] == second;
}

int
main(void)
{
    struct cascade *store = open_store();
    struct cascade_view old;
    struct cascade_view recent;
    struct cascade_stats stats = {.size = sizeof(stats)};

    put_halves(store, 1, 2);
    expect(cascade_acquire(store, key_of("layer 0"), NULL, &old) == CASCADE_OK,
           "acquire");
    expect(shows(&old, 1, 2), "the view shows the block");

    // The key moves on, and even goes; the view does not change.
    put_halves(store, 3, 4);
    expect(cascade_acquire(store, key_of("layer 0"), NULL, &recent) ==
               CASCADE_OK,
           "acquire of the newer block");
    expect(cascade_clear(store) == CASCADE_OK, "clear");
    expect(cascade_exists(store, key_of("layer 0")) == CASCADE_NOT_FOUND,
           "the key is gone");
    expect(shows(&old, 1, 2) && shows(&recent, 3, 4),
           "both views still show what they showed");

    // Its memory is not used again before the release, and a store does not
    // close under a view.
    expect(cascade_stats_read(store, &stats) == CASCADE_OK &&
               stats.views_out == 2 &&
               stats.used_bytes[CASCADE_TIER_LOCAL_DRAM] >= 2 * BLOCK_BYTES,
           "two views hold two blocks");
    expect(cascade_close(store) == CASCADE_BUSY, "close is refused");
    (void)printf("refused as it should: %s\n", cascade_error_message());
    cascade_release(store, &old);
    cascade_release(store, &recent);
    expect(old.data == NULL, "a released view is zero");
    expect(cascade_stats_read(store, &stats) == CASCADE_OK &&
               stats.used_bytes[CASCADE_TIER_LOCAL_DRAM] == 0,
           "the memory is free again");
    expect(cascade_close(store) == CASCADE_OK, "close");
    (void)printf("views stayed as they were while their keys went\n");
    return 0;
}
