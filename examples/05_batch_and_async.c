// SPDX-License-Identifier: Apache-2.0
//
// Many operations in one call, and operations that complete later: a batch, a
// completion queue with its eventfd, and a cancel.
//
//     cc 05_batch_and_async.c $(pkg-config --cflags --libs cascade) && ./a.out

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cascade/cascade.h>

#define BLOCKS 16
#define BLOCK_BYTES ((size_t)1 << 20)
#define SUBMISSIONS 4
#define PER_SUBMISSION (BLOCKS / SUBMISSIONS)

static uint8_t blocks[BLOCKS][BLOCK_BYTES];
static uint8_t outs[BLOCKS][BLOCK_BYTES];
static char keys[BLOCKS][16];

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
put_all(struct cascade *store)
{
    struct cascade_const_span spans[BLOCKS];
    struct cascade_item items[BLOCKS];

    memset(items, 0, sizeof(items));
    for (unsigned i = 0; i < BLOCKS; i++) {
        (void)snprintf(keys[i], sizeof(keys[i]), "block %u", i);
        memset(blocks[i], (int)i + 1, BLOCK_BYTES);
        spans[i] = (struct cascade_const_span){.data = blocks[i],
                                               .bytes = BLOCK_BYTES};
        items[i].size = sizeof(items[i]);
        items[i].operation = CASCADE_OPERATION_PUT;
        items[i].key = key_of(keys[i]);
        items[i].put_spans = &spans[i];
        items[i].put_span_count = 1;
    }
    expect(cascade_batch(store, items, BLOCKS, NULL) == CASCADE_OK, "batch");
    for (unsigned i = 0; i < BLOCKS; i++) {
        expect(items[i].status == CASCADE_OK && items[i].put_result.stored,
               "each item has a status of its own");
    }
}

static void
make_get(struct cascade_item *item, struct cascade_span *span, unsigned number)
{
    *span = (struct cascade_span){.data = outs[number], .bytes = BLOCK_BYTES};
    memset(item, 0, sizeof(*item));
    item->size = sizeof(*item);
    item->operation = CASCADE_OPERATION_GET;
    item->key = key_of(keys[number]);
    item->get_spans = span;
    item->get_span_count = 1;
}

// Takes all completions that are there; waits for the eventfd before.
static size_t
take(struct cascade_queue *queue)
{
    struct pollfd wait = {.fd = cascade_queue_eventfd(queue), .events = POLLIN};
    struct cascade_completion done[SUBMISSIONS];
    size_t count = 0;

    expect(poll(&wait, 1, 30000) == 1, "a completion comes");
    expect(cascade_queue_wait(queue, done, SUBMISSIONS, 0, &count) ==
               CASCADE_OK,
           "queue_wait");
    for (size_t i = 0; i < count; i++) {
        const unsigned *first = done[i].user_data;

        expect(done[i].status == CASCADE_OK, "the submission ran");
        for (unsigned k = 0; k < PER_SUBMISSION; k++) {
            expect(done[i].items[k].status == CASCADE_OK &&
                       memcmp(outs[*first + k], blocks[*first + k],
                              BLOCK_BYTES) == 0,
                   "its gets returned the bytes that were put");
        }
    }
    return count;
}

static void
get_all_later(struct cascade *store)
{
    static struct cascade_item items[BLOCKS];
    static struct cascade_span spans[BLOCKS];
    unsigned firsts[SUBMISSIONS];
    struct cascade_queue *queue = NULL;
    uint64_t ticket = 0;
    size_t taken = 0;

    expect(cascade_queue_open(store, SUBMISSIONS, &queue) == CASCADE_OK,
           "queue_open");
    for (unsigned i = 0; i < SUBMISSIONS; i++) {
        firsts[i] = i * PER_SUBMISSION;
        for (unsigned k = firsts[i]; k < firsts[i] + PER_SUBMISSION; k++) {
            make_get(&items[k], &spans[k], k);
        }
        expect(cascade_submit(queue, &items[firsts[i]], PER_SUBMISSION, NULL,
                              &firsts[i], &ticket) == CASCADE_OK,
               "submit");
    }
    // The queue is as deep as it was opened: take before you submit more.
    expect(cascade_submit(queue, items, 1, NULL, NULL, NULL) == CASCADE_BUSY,
           "a full queue says so");
    while (taken < SUBMISSIONS) {
        taken += take(queue);
    }
    expect(cascade_cancel(queue, ticket) == CASCADE_NOT_FOUND,
           "what was taken cannot be cancelled");
    expect(cascade_queue_close(queue) == CASCADE_OK, "queue_close");
}

// One item that fails does not stop the others.
static void
mixed_batch(struct cascade *store)
{
    struct cascade_item items[3];
    struct cascade_span span;

    memset(items, 0, sizeof(items));
    items[0].size = sizeof(items[0]);
    items[0].operation = CASCADE_OPERATION_REMOVE;
    items[0].key = key_of("block 3");
    make_get(&items[1], &span, 3);
    items[2].size = sizeof(items[2]);
    items[2].operation = CASCADE_OPERATION_EXISTS;
    items[2].key = key_of("block 4");
    expect(cascade_batch(store, items, 3, NULL) == CASCADE_OK, "batch");
    expect(items[0].status == CASCADE_OK &&
               items[1].status == CASCADE_NOT_FOUND &&
               items[2].status == CASCADE_OK,
           "a look sees the changes before it in the list");
}

int
main(void)
{
    struct cascade *store = open_store();

    put_all(store);
    get_all_later(store);
    mixed_batch(store);
    expect(cascade_close(store) == CASCADE_OK, "close");
    (void)printf("%d blocks put in one batch and got in %d submissions\n",
                 BLOCKS, SUBMISSIONS);
    return 0;
}
