// SPDX-License-Identifier: Apache-2.0
//
// Batches: runs of items that do not depend on each other are shared out over
// the threads of the store, the caller's included; the rest runs in order. Gets
// of blocks that are only on segments are read together before that. The
// blocks that a batch of gets used are touched from the last to the first, so
// that the root of a prompt ends up as the most recent.
//
// Invariant: items that change the same key run in the order of the list, and
// a look at a key sees every change before it in the list.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// Longest run that is handed out at once; its touches fit on the stack.
#define RUN_MAX 256

struct run {
    struct cascade *store;
    struct cascade_item *items;
    uint64_t deadline_ns;
    struct block_place served[RUN_MAX];
    bool touched[RUN_MAX]; // memory of an item that was not served
};

static bool
is_look(enum cascade_operation operation)
{
    return operation == CASCADE_OPERATION_GET ||
           operation == CASCADE_OPERATION_ACQUIRE ||
           operation == CASCADE_OPERATION_EXISTS ||
           operation == CASCADE_OPERATION_PREFETCH ||
           operation == CASCADE_OPERATION_LOCATE;
}

static bool
is_same_key(const struct cascade_item *a, const struct cascade_item *b)
{
    return a->key.bytes == b->key.bytes && a->key.data != NULL &&
           b->key.data != NULL &&
           memcmp(a->key.data, b->key.data, a->key.bytes) == 0;
}

static enum cascade_status
run_item(struct run *run, struct cascade_item *item, struct block_place *served)
{
    struct cascade *store = run->store;
    struct cascade_call call = {.size = sizeof(call)};
    uint64_t now_ns = store_now(store);
    uint64_t deadline_ns = run->deadline_ns;
    uint64_t evicted = 0;
    enum cascade_status status;

    if (now_ns >= deadline_ns) {
        return error_set(CASCADE_TIMEOUT,
                         "the deadline passed before the item was begun");
    }
    call.timeout_ns = deadline_ns - now_ns;
    switch (item->operation) {
    case CASCADE_OPERATION_PUT:
        return store_put(store, item->key, item->put_spans,
                         item->put_span_count, item->put_options, deadline_ns,
                         &item->put_result);
    case CASCADE_OPERATION_GET:
        return store_get(store, item->key, item->get_spans,
                         item->get_span_count, deadline_ns, &item->bytes,
                         served);
    case CASCADE_OPERATION_ACQUIRE:
        return store_acquire(store, item->key, deadline_ns, &item->view);
    case CASCADE_OPERATION_EXISTS:
        return cascade_exists(store, item->key);
    case CASCADE_OPERATION_REMOVE:
        return cascade_remove(store, item->key);
    case CASCADE_OPERATION_PROTECT:
        return cascade_protect(store, item->key, &call);
    case CASCADE_OPERATION_UNPROTECT:
        return cascade_unprotect(store, item->key);
    case CASCADE_OPERATION_PREFETCH:
        return store_prefetch(store, item->key, deadline_ns);
    case CASCADE_OPERATION_RELEASE:
        cascade_release(store, &item->view);
        return CASCADE_OK;
    case CASCADE_OPERATION_FLUSH:
        return store_flush(store, deadline_ns);
    case CASCADE_OPERATION_EVICT:
        status = cascade_evict(store, item->tier, &call, &evicted);
        item->bytes = evicted;
        return status;
    case CASCADE_OPERATION_CLEAR:
        return cascade_clear(store);
    case CASCADE_OPERATION_LOCATE:
        return cascade_locate(store, item->key, &item->location);
    }
    return error_set(CASCADE_INVALID, "%d is not an operation",
                     (int)item->operation);
}

static void
run_one(void *context, size_t index)
{
    struct run *run = context;
    struct cascade_item *item = &run->items[index];

    if (block_place_is_set(&run->served[index])) {
        return; // read with the others
    }
    item->status = run_item(run, item, &run->served[index]);
    if (item->status == CASCADE_NOT_FOUND && run->touched[index]) {
        item->status = error_set(CASCADE_CORRUPT,
                                 "the block went while it was read");
    }
}

// How many items from the first on may run at the same time.
static size_t
length_of_run(const struct cascade_item *items, size_t count)
{
    size_t length = 1;
    bool looks = is_look(items[0].operation);

    if (!looks && items[0].operation != CASCADE_OPERATION_PUT) {
        return 1;
    }
    for (; length < count && length < RUN_MAX; length++) {
        const struct cascade_item *item = &items[length];

        if (looks ? !is_look(item->operation)
                  : item->operation != CASCADE_OPERATION_PUT) {
            break;
        }
        if (!looks) {
            size_t i = 0;

            while (i < length && !is_same_key(&items[i], item)) {
                i++;
            }
            if (i < length) {
                break;
            }
        }
    }
    return length;
}

// Deepest block first.
static void
touch_run(struct run *run, size_t length)
{
    for (size_t i = length; i > 0; i--) {
        if (run->items[i - 1].operation == CASCADE_OPERATION_GET &&
            run->items[i - 1].status == CASCADE_OK) {
            store_touch(run->store, &run->served[i - 1]);
        }
    }
}

void
store_run_items(struct cascade *store, struct cascade_item *items, size_t count,
                uint64_t deadline_ns)
{
    struct run run = {.store = store, .deadline_ns = deadline_ns};

    while (count > 0) {
        size_t length = length_of_run(items, count);

        run.items = items;
        memset(run.served, 0, length * sizeof(run.served[0]));
        memset(run.touched, 0, length * sizeof(run.touched[0]));
        if (length > 1 && is_look(items[0].operation) &&
            store->cluster != NULL) {
            store_cluster_expect(store, items, length, deadline_ns);
        } else if (length > 1 && is_look(items[0].operation)) {
            store_load_many(store, items, length, deadline_ns, run.served,
                            run.touched);
        }
        pool_parallel_for(store->pool, run_one, &run, length);
        touch_run(&run, length);
        items += length;
        count -= length;
    }
}

enum cascade_status
cascade_batch(struct cascade *store, struct cascade_item *items,
              size_t item_count, const struct cascade_call *call)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (items == NULL && item_count > 0) {
        return error_set(CASCADE_INVALID, "items is NULL, item_count is %zu",
                         item_count);
    }
    store_run_items(store, items, item_count,
                    store_deadline(store, call != NULL ? call->timeout_ns : 0));
    return CASCADE_OK;
}
