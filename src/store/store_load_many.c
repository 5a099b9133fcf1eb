// SPDX-License-Identifier: Apache-2.0
//
// The gets of a batch whose blocks are only on segments: read as one stream,
// straight into DRAM and from there to the caller while others are on their
// way. What is not simple (damage, no room, another thread at the same block)
// is left to the ordinary get, which comes after and decides.
//
// Invariant: a served item has its bytes, checked, and its hit counted once.
// Takes no lock across the reads; never waits for another load.

#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "store/store_internal.h"

// Blocks read in one stream; and this part of DRAM at most.
#define GROUP_MAX 256
#define GROUP_PART 2

struct member {
    size_t index; // of the item
    struct directory_found found;
    struct tier_slot slot;
    struct store_load *load;
};

struct group {
    struct cascade *store;
    struct cascade_item *items;
    struct block_place *served;
    bool *touched;
    uint64_t begin_ns;
    uint64_t bytes;
    size_t count;
    struct member members[GROUP_MAX];
    struct tier_segment_get gets[GROUP_MAX];
};

// True if the item is a get into host memory that holds the block.
static bool
can_take(const struct cascade_item *item, uint64_t bytes)
{
    uint64_t room = 0;

    for (size_t i = 0; i < item->get_span_count && room < bytes; i++) {
        const struct cascade_span *span = &item->get_spans[i];

        if (span->memory != CASCADE_MEMORY_HOST ||
            (span->data == NULL && span->bytes > 0)) {
            return false;
        }
        room += units_min(span->bytes, bytes - room);
    }
    return room == bytes;
}

static bool
is_only_cold(struct cascade *store, const struct cascade_item *item,
             struct directory_found *found)
{
    struct block_key key;

    return item->operation == CASCADE_OPERATION_GET &&
           item->get_spans != NULL &&
           store_key(store, item->key, &key) == CASCADE_OK &&
           store_find(store, &key, found, NULL) == CASCADE_OK &&
           !block_place_is_set(&found->memory) &&
           block_place_is_set(&found->cold) && found->bytes > 0 &&
           can_take(item, found->bytes);
}

// Takes the load and a slot for it. `*full` tells that there is no room.
static bool
begin_member(struct group *group, struct member *member, bool *full)
{
    struct cascade *store = group->store;
    struct directory_found now;

    member->load = store_load_try(store, &member->found.id);
    if (member->load == NULL) {
        return false;
    }
    // Another thread may have loaded it since.
    if (directory_find_content(store->directory, &member->found.id, &now) ==
            CASCADE_OK &&
        !block_place_is_set(&now.memory) && block_place_is_set(&now.cold)) {
        *full = store_reserve(store, now.bytes, 0, &member->slot) != CASCADE_OK;
        member->found.cold = now.cold;
        if (!*full) {
            return true;
        }
    }
    store_load_end(store, member->load);
    return false;
}

// Adds the item if its block is to be read. False: the group is full.
static bool
add_item(struct group *group, size_t index)
{
    struct cascade *store = group->store;
    const struct cascade_item *item = &group->items[index];
    struct member *member = &group->members[group->count];
    struct tier_segment_get *get = &group->gets[group->count];
    bool full = false;

    if (!is_only_cold(store, item, &member->found)) {
        return true;
    }
    if (group->bytes + member->found.bytes >
        store->dram_capacity_bytes / GROUP_PART) {
        return group->count == 0; // one alone is for the ordinary get
    }
    member->index = index;
    if (!begin_member(group, member, &full)) {
        return !full || group->count == 0;
    }
    memset(get, 0, sizeof(*get));
    get->place = member->found.cold;
    get->id = member->found.id;
    get->memory = member->slot.memory;
    get->memory_bytes = units_round_up(member->found.bytes,
                                       store->granule_bytes);
    get->spans = item->get_spans;
    get->span_count = item->get_span_count;
    group->bytes += member->found.bytes;
    group->count++;
    return true;
}

static void
note_served(struct group *group, const struct member *member)
{
    struct cascade *store = group->store;
    struct cascade_item *item = &group->items[member->index];
    const struct block_place *place = &member->found.cold;

    item->status = CASCADE_OK;
    item->bytes = member->found.bytes;
    group->served[member->index] = *place;
    metric_add_tier(store->metrics, METRIC_HITS_TOTAL, place->tier, 1);
    metric_add_tier(store->metrics, METRIC_HIT_BYTES_TOTAL, place->tier,
                    place->bytes);
    metric_add(store->metrics, METRIC_GETS_TOTAL, 1);
    metric_count_operation(store->metrics, CASCADE_OPERATION_GET, CASCADE_OK);
    metric_observe_ns(store->metrics, METRIC_GET_SECONDS,
                      store_now(store) - group->begin_ns);
}

static void
finish_member(struct group *group, struct member *member,
              enum cascade_status status, bool given)
{
    struct cascade *store = group->store;
    struct tier_pin pin;

    if (status != CASCADE_OK) {
        tier_dram_table.abandon(store->dram, &member->slot);
        group->touched[member->index] = given;
    } else {
        store_load_note_read(store, &member->found, &member->slot);
        if (store_load_publish(store, &member->found, &member->slot, &pin) ==
            CASCADE_OK) {
            tier_dram_table.unpin(store->dram, &pin);
        }
        // Gone or not: these bytes were bound when the batch began.
        note_served(group, member);
    }
    store_load_end(store, member->load);
}

static void
read_group(struct group *group)
{
    struct cascade *store = group->store;

    tier_segment_read_many(store->cold, group->gets, group->count);
    metric_observe_ns(store->metrics, METRIC_COLD_READ_SECONDS,
                      store_now(store) - group->begin_ns);
    for (size_t i = 0; i < group->count; i++) {
        finish_member(group, &group->members[i], group->gets[i].status,
                      group->gets[i].given);
    }
}

void
store_load_many(struct cascade *store, struct cascade_item *items, size_t count,
                uint64_t deadline_ns, struct block_place *served, bool *touched)
{
    struct group *group;
    size_t next = 0;

    if (store->cold == NULL || store->dram == NULL) {
        return;
    }
    group = allocator_array(store->around.allocator, 1, sizeof(*group));
    if (group == NULL) {
        return;
    }
    group->store = store;
    group->items = items;
    group->served = served;
    group->touched = touched;
    while (next < count && store_now(store) < deadline_ns) {
        group->begin_ns = store_now(store);
        group->count = 0;
        group->bytes = 0;
        while (next < count && group->count < GROUP_MAX &&
               add_item(group, next)) {
            next++;
        }
        if (group->count > 0) {
            read_group(group);
        }
    }
    allocator_release(store->around.allocator, group);
}
