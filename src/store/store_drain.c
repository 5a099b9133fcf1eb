// SPDX-License-Identifier: Apache-2.0
//
// Drain: before this process or machine goes, what is only in memory is
// written, the most valuable first, until a deadline. Not a flush: the deadline
// is part of the plan, and what was written by then counts. Who asks for it is
// store_drain_service.c's.
//
// The order: removals and bindings without a payload of their own, which cost
// next to nothing; protected blocks; then the policy's order backwards, hottest
// first, but never a block before those that its prompt begins with, for an end
// without its beginning serves nobody. All of it runs under cold_lock, and
// cold_write_rate holds here too: many who drain at once are what it is for.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_internal.h"

// Blocks that are put meanwhile may need more than one round.
#define ROUNDS_MAX 4

// Payload between two looks at the clock, where no rate is set.
#define BATCH_BYTES (16 * MIB)
#define BATCH_BYTES_MIN (256 * KIB)

// With a rate, a batch is what this part of a second takes.
#define RATE_PART 4

// Writes that may fail before the cold tier counts as lost.
#define FAILURES_MAX 8

// Slots in the order in which they are to be written.
struct drain_order {
    uint32_t *slots;
    uint32_t *victims;
    uint8_t *listed; // by slot
    uint32_t count;
};

static void
order_release(struct cascade *store, struct drain_order *order)
{
    allocator_release(store->around.allocator, order->slots);
    allocator_release(store->around.allocator, order->victims);
    allocator_release(store->around.allocator, order->listed);
}

static bool
order_make(struct cascade *store, struct drain_order *order)
{
    const struct allocator *allocator = store->around.allocator;

    memset(order, 0, sizeof(*order));
    order->slots = allocator_array(allocator, store->slots, sizeof(uint32_t));
    order->victims = allocator_array(allocator, store->slots, sizeof(uint32_t));
    order->listed = allocator_array(allocator, store->slots, 1);
    if (order->slots == NULL || order->victims == NULL ||
        order->listed == NULL) {
        order_release(store, order);
        return false;
    }
    return true;
}

// What the policy knows of a slot; false if there is no block in it.
static bool
look_at(struct cascade *store, uint32_t slot, struct store_slot *block)
{
    check(pthread_mutex_lock(&store->policy_lock) == 0);
    *block = store->blocks[slot];
    check(pthread_mutex_unlock(&store->policy_lock) == 0);
    return (block->flags & STORE_SLOT_RESIDENT) != 0;
}

// Lists the slot, and before it what its prompt begins with.
static void
list_with_beginning(struct cascade *store, uint32_t slot,
                    struct drain_order *order)
{
    uint32_t begin = order->count;
    struct store_slot block;

    while (slot < store->slots && order->listed[slot] == 0 &&
           look_at(store, slot, &block)) {
        order->listed[slot] = 1;
        order->slots[order->count++] = slot;
        slot = block.parent_slot;
    }
    for (uint32_t end = order->count; begin + 1 < end; begin++) {
        uint32_t swapped = order->slots[begin];

        end--;
        order->slots[begin] = order->slots[end];
        order->slots[end] = swapped;
    }
}

static void
list_protected(struct cascade *store, struct drain_order *order)
{
    struct store_slot block;

    for (uint32_t slot = 0; slot < store->slots; slot++) {
        if (look_at(store, slot, &block) &&
            (block.flags & STORE_SLOT_PROTECTED) != 0) {
            list_with_beginning(store, slot, order);
        }
    }
}

static void
list_hottest(struct cascade *store, struct drain_order *order)
{
    struct policy_cursor cursor;
    uint32_t count = 0;
    uint32_t slot;
    bool more = true;

    memset(&cursor, 0, sizeof(cursor));
    while (more && count < store->slots) {
        store_policy_lock(store);
        more = store->policy->choose(store->policy_state, &cursor, &slot);
        store_policy_unlock(store);
        if (more) {
            order->victims[count++] = slot;
        }
    }
    while (count > 0) {
        list_with_beginning(store, order->victims[--count], order);
    }
    // Whatever a policy passes over for reasons of its own.
    for (slot = 0; slot < store->slots; slot++) {
        list_with_beginning(store, slot, order);
    }
}

static uint64_t
batch_bytes(const struct cascade *store)
{
    uint64_t rate = store->settings.cold_write_rate;

    return rate == 0 ? BATCH_BYTES
                     : units_min(BATCH_BYTES,
                                 units_max(rate / RATE_PART, BATCH_BYTES_MIN));
}

// The cold tier must not lose the hottest blocks to the colder ones.
static enum cascade_status
check_room(const struct cascade *store)
{
    const struct store_writer *writer = store->writer;
    uint64_t room = store->cold_capacity_bytes / 4 * 3;

    if (writer->written_bytes + writer->bytes > room) {
        return error_set(CASCADE_NO_SPACE,
                         "cold_capacity is %llu bytes and takes no more of "
                         "what is in memory; raise it",
                         (unsigned long long)store->cold_capacity_bytes);
    }
    return CASCADE_OK;
}

// Writes the slots in order. OK also where the deadline came first.
static enum cascade_status
write_in_order(struct cascade *store, const struct drain_order *order,
               uint64_t deadline_ns)
{
    struct store_writer *writer = store->writer;
    enum cascade_status status = CASCADE_OK;
    enum cascade_status failed = CASCADE_OK;
    unsigned failures = 0;
    uint32_t i = 0;

    while (i < order->count && failures < FAILURES_MAX &&
           store_now(store) < deadline_ns) {
        for (status = CASCADE_OK; i < order->count && status == CASCADE_OK &&
                                  writer->bytes < batch_bytes(store) &&
                                  check_room(store) == CASCADE_OK;
             i++) {
            status = store_add_slot(store, order->slots[i]);
        }
        if (status == CASCADE_OK) {
            status = store_write_pending(store);
        }
        if (status == CASCADE_OK && i < order->count) {
            status = check_room(store);
        }
        if (status != CASCADE_OK) {
            failed = status;
            failures += status == CASCADE_IO ? 1 : FAILURES_MAX;
        }
    }
    return failed;
}

static enum cascade_status
write_bindings(struct cascade *store, uint64_t deadline_ns)
{
    enum cascade_status status = store_write_bindings(store, deadline_ns);

    return status == CASCADE_TIMEOUT ? CASCADE_OK : status;
}

// Under cold_lock.
static enum cascade_status
drain(struct cascade *store, uint64_t deadline_ns)
{
    enum cascade_status status = store_write_clear(store);

    if (status == CASCADE_OK) {
        status = write_bindings(store, deadline_ns);
    }
    for (int round = 0; round < ROUNDS_MAX && status == CASCADE_OK; round++) {
        uint64_t before = store->writer->written;
        struct drain_order order;

        if (store->dram == NULL || store_now(store) >= deadline_ns) {
            break;
        }
        if (!order_make(store, &order)) {
            return error_set(CASCADE_NO_MEMORY,
                             "no memory for the order of %u blocks",
                             store->slots);
        }
        list_protected(store, &order);
        list_hottest(store, &order);
        status = write_in_order(store, &order, deadline_ns);
        order_release(store, &order);
        if (store->writer->written == before) {
            break;
        }
    }
    // Keys of contents that are durable only now.
    if (status == CASCADE_OK) {
        status = write_bindings(store, deadline_ns);
    }
    return status;
}

enum cascade_status
store_drain(struct cascade *store, uint64_t deadline_ns,
            struct cascade_drain_result *result)
{
    struct cascade_drain_result made = {.size = result->size};
    struct directory_usage usage;
    enum cascade_status status;

    if (store->cold == NULL || store->settings.cold_look_only) {
        return error_set(CASCADE_UNSUPPORTED,
                         "there is nowhere to drain to; set cold_path, and "
                         "cold_mode=own");
    }
    status = store_cold_begin(store, deadline_ns);
    if (status == CASCADE_OK) {
        store->writer->written = 0;
        store->writer->written_bytes = 0;
        store->writer->left = 0;
        store->writer->damaged = 0;
        status = drain(store, deadline_ns);
        made.blocks_written = store->writer->written;
        made.bytes_written = store->writer->written_bytes;
        store_cold_end(store);
    }
    store_update_gauges(store);
    directory_usage(store->directory, &usage);
    made.blocks_left = usage.dirty_contents;
    made.bytes_left = usage.dirty_bytes;
    if (status == CASCADE_OK || status == CASCADE_TIMEOUT) {
        *result = made;
        return CASCADE_OK;
    }
    log_write(&store->log, LOG_LEVEL_WARNING,
              "a drain ended early with %llu blocks written: %s",
              (unsigned long long)made.blocks_written, error_message());
    return status;
}

enum cascade_status
cascade_drain(struct cascade *store, uint64_t timeout_ns,
              struct cascade_drain_result *result)
{
    struct cascade_drain_result made = {.size = sizeof(made)};
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK && result != NULL && result->size != 0 &&
        result->size != sizeof(*result)) {
        status = error_set(CASCADE_INVALID,
                           "the result of a drain has %u bytes, not %zu; set "
                           "its size",
                           result->size, sizeof(*result));
    }
    if (status == CASCADE_OK) {
        status = store_drain(store, store_deadline(store, timeout_ns), &made);
    }
    if (status == CASCADE_OK && result != NULL) {
        made.size = result->size;
        *result = made;
    }
    return status;
}
