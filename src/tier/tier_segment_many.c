// SPDX-License-Identifier: Apache-2.0
//
// Many blocks of the cold tier at once, in the order in which they lie on the
// disk, and copied to their callers while others are on their way. It decides
// nothing about what is read.
//
// Locks: table_lock for references, none over I/O.

#include "tier/tier_segment_inner.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/copy_checksum.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/units.h"

// Blocks of this size and more go around the caches on their way to the caller:
// those of a batch would drive each other out.
#define STREAMING_BYTES_MIN MIB

// A block under way.
struct item {
    struct tier_segment_get *get;
    struct tier_segment_handle *held;
    size_t span; // of the spans; where the next byte goes
    uint64_t offset;
};

void
tier_segment_fill_request(const struct tier_segment_handle *handle,
                          const struct block_place *place,
                          const struct block_id *id, void *memory,
                          uint64_t memory_bytes,
                          struct segment_read_request *request)
{
    check(handle != NULL);
    check(handle->file != NULL);
    memset(request, 0, sizeof(*request));
    request->file = &handle->file->io;
    request->offset = place->offset;
    request->bytes = place->bytes;
    request->checksum = place->checksum;
    request->memory = memory;
    request->memory_bytes = memory_bytes;
    // Larger blocks have a record of their own, whose header must be theirs.
    // Smaller ones may lie in a batch: the checksum alone tells.
    if (place->bytes >= SEGMENT_BATCH_BLOCK_BYTES && id != NULL) {
        request->facts = &handle->facts;
        request->id = id;
    }
}

// Copies bytes that came in to the spans, with their checksum on the way.
static uint32_t
give(void *context, uint64_t at, const void *data, uint64_t bytes, uint32_t crc)
{
    struct item *item = context;
    const struct tier_segment_get *get = item->get;
    bool streams = get->place.bytes >= STREAMING_BYTES_MIN;
    const uint8_t *from = data;

    (void)at; // they come in order
    item->get->given = true;
    while (bytes > 0) {
        const struct cascade_span *span = &get->spans[item->span];
        uint64_t now = units_min(bytes, span->bytes - item->offset);
        uint8_t *to = (uint8_t *)span->data + item->offset;

        if (now > 0 && streams) {
            crc = copy_checksum(to, from, now, crc);
        } else if (now > 0) {
            memcpy(to, from, now);
            crc = crc32c(crc, from, now);
        }
        from += now;
        bytes -= now;
        item->offset += now;
        if (item->offset == span->bytes) {
            item->span++;
            item->offset = 0;
        }
    }
    return crc;
}

static int
compare_places(const void *a, const void *b)
{
    const struct block_place *x = &((const struct item *)a)->get->place;
    const struct block_place *y = &((const struct item *)b)->get->place;

    if (x->slot != y->slot) {
        return x->slot < y->slot ? -1 : 1;
    }
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void
hold(struct tier_segment *cold, struct item *item,
     struct segment_reader *reader)
{
    struct tier_segment_get *get = item->get;

    item->held = tier_segment_handle_hold_place(cold, &get->place);
    get->status = item->held == NULL
                      ? CASCADE_STALE
                      : tier_segment_handle_open(cold, item->held, reader);
}

// Reads what could be opened; requests are packed to the front.
static void
read_held(struct item *items, struct segment_read_request *requests,
          size_t count, struct segment_reader *reader)
{
    enum cascade_status first;
    size_t used = 0;

    for (size_t i = 0; i < count; i++) {
        const struct tier_segment_get *get = items[i].get;
        struct segment_read_request *request = &requests[used];

        if (get->status == CASCADE_OK) {
            tier_segment_fill_request(items[i].held, &get->place,
                                      block_id_is_zero(&get->id) ? NULL
                                                                 : &get->id,
                                      get->memory, get->memory_bytes, request);
            if (get->span_count > 0) {
                request->take = give;
                request->take_context = &items[i];
            }
            used++;
        }
    }
    first = segment_read_payloads(reader, requests, used);
    (void)first; // each has its own
    used = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].get->status == CASCADE_OK) {
            items[i].get->status = requests[used++].status;
        }
    }
}

void
tier_segment_read_many(struct tier_segment *cold, struct tier_segment_get *gets,
                       size_t count)
{
    struct segment_read_request *requests;
    struct item *items;
    struct tier_segment_reader *reader = NULL;
    enum cascade_status status;

    requests = allocator_array(cold->allocator, count, sizeof(*requests));
    items = allocator_array(cold->allocator, count, sizeof(*items));
    status = requests == NULL || items == NULL
                 ? error_set(CASCADE_NO_MEMORY, "no memory to read blocks")
                 : tier_segment_reader_take(cold, &reader);
    for (size_t i = 0; i < count; i++) {
        gets[i].given = false;
        gets[i].status = status;
    }
    if (status != CASCADE_OK) {
        goto release;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].get = &gets[i];
    }
    qsort(items, count, sizeof(*items), compare_places);
    for (size_t i = 0; i < count; i++) {
        hold(cold, &items[i], reader->reader);
    }
    read_held(items, requests, count, reader->reader);
    for (size_t i = 0; i < count; i++) {
        if (items[i].held != NULL) {
            tier_segment_handle_drop(cold, items[i].held);
        }
    }
    tier_segment_reader_give(cold, reader);

release:
    allocator_release(cold->allocator, items);
    allocator_release(cold->allocator, requests);
}
