// SPDX-License-Identifier: Apache-2.0
//
// Completion queues: submissions wait in the order of their arrival, threads of
// the store's pool run them, completions wait until they are taken. The eventfd
// is readable exactly while a completion waits.
//
// Invariant: every entry is free, waiting, running or done; the ones that are
// not free number at most `depth`. A pool job takes the oldest waiting entry,
// whichever that is, so a cancelled entry leaves a job that finds nothing.
// The queue's lock guards everything in it; it is never held while items run.

#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "store/store_internal.h"

#define DEPTH_MAX 65536

enum entry_state {
    ENTRY_FREE = 0,
    ENTRY_WAITING = 1,
    ENTRY_RUNNING = 2,
    ENTRY_DONE = 3
};

struct entry {
    enum entry_state state;
    uint64_t ticket;
    uint64_t order; // of becoming done
    uint64_t deadline_ns;
    struct cascade_completion completion;
};

struct cascade_queue {
    struct cascade *store;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct entry *entries;
    size_t depth;
    size_t used; // not free
    size_t done;
    size_t jobs; // in the pool, waiting or running
    uint64_t next_ticket;
    uint64_t next_order;
    bool closing;
    int event;
};

static void
lock(struct cascade_queue *queue)
{
    check(pthread_mutex_lock(&queue->lock) == 0);
}

static void
unlock(struct cascade_queue *queue)
{
    check(pthread_mutex_unlock(&queue->lock) == 0);
}

// Under the lock, after any change of state.
static void
note_depth(struct cascade_queue *queue)
{
    metric_set_at(queue->store->metrics, METRIC_QUEUE_DEPTH,
                  METRIC_QUEUE_SUBMISSIONS, queue->used - queue->done);
    metric_set_at(queue->store->metrics, METRIC_QUEUE_DEPTH,
                  METRIC_QUEUE_COMPLETIONS, queue->done);
}

// Under the lock: the entry with the smallest ticket (or order) in that state.
static struct entry *
oldest(struct cascade_queue *queue, enum entry_state state)
{
    struct entry *best = NULL;

    for (size_t i = 0; i < queue->depth; i++) {
        struct entry *entry = &queue->entries[i];

        if (entry->state != state) {
            continue;
        }
        if (best == NULL ||
            (state == ENTRY_DONE ? entry->order < best->order
                                 : entry->ticket < best->ticket)) {
            best = entry;
        }
    }
    return best;
}

// Under the lock.
static void
finish(struct cascade_queue *queue, struct entry *entry,
       enum cascade_status status)
{
    uint64_t one = 1;

    entry->state = ENTRY_DONE;
    entry->order = queue->next_order++;
    entry->completion.status = status;
    if (queue->done++ == 0) {
        check(write(queue->event, &one, sizeof(one)) == (ssize_t)sizeof(one));
    }
    note_depth(queue);
    check(pthread_cond_broadcast(&queue->changed) == 0);
}

static void
fail_items(const struct cascade_completion *completion,
           enum cascade_status status)
{
    for (size_t i = 0; i < completion->item_count; i++) {
        completion->items[i].status = status;
    }
}

// A job of the pool.
static void
run_oldest(void *context)
{
    struct cascade_queue *queue = context;
    struct entry *entry;

    lock(queue);
    entry = oldest(queue, ENTRY_WAITING);
    if (entry != NULL) {
        struct cascade_completion work = entry->completion;
        uint64_t deadline_ns = entry->deadline_ns;
        enum cascade_status status = CASCADE_OK;

        entry->state = ENTRY_RUNNING;
        unlock(queue);
        if (store_now(queue->store) >= deadline_ns) {
            status = CASCADE_TIMEOUT;
            fail_items(&work, status);
        } else {
            store_run_items(queue->store, work.items, work.item_count,
                            deadline_ns);
        }
        lock(queue);
        finish(queue, entry, status);
    }
    queue->jobs--;
    check(pthread_cond_broadcast(&queue->changed) == 0);
    unlock(queue);
}

enum cascade_status
cascade_queue_open(struct cascade *store, size_t depth,
                   struct cascade_queue **queue)
{
    const struct allocator *allocator;
    struct cascade_queue *made;
    pthread_condattr_t monotonic;
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (depth == 0 || depth > DEPTH_MAX || queue == NULL) {
        return error_set(CASCADE_INVALID,
                         "a queue has a depth of 1 to %d, not %zu", DEPTH_MAX,
                         depth);
    }
    allocator = store->around.allocator;
    made = allocator_array(allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a queue");
    }
    made->entries = allocator_array(allocator, depth, sizeof(struct entry));
    made->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (made->entries == NULL || made->event < 0) {
        if (made->event >= 0) {
            (void)close(made->event);
        }
        allocator_release(allocator, made->entries);
        allocator_release(allocator, made);
        return error_set(CASCADE_NO_MEMORY,
                         "no memory or no file descriptor for a queue");
    }
    made->store = store;
    made->depth = depth;
    made->next_ticket = 1;
    check(pthread_mutex_init(&made->lock, NULL) == 0);
    check(pthread_condattr_init(&monotonic) == 0);
    check(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    check(pthread_cond_init(&made->changed, &monotonic) == 0);
    check(pthread_condattr_destroy(&monotonic) == 0);
    atomic_fetch_add(&store->queues_open, 1);
    *queue = made;
    return CASCADE_OK;
}

enum cascade_status
cascade_queue_close(struct cascade_queue *queue)
{
    const struct allocator *allocator;
    struct entry *entry;
    enum cascade_status status;

    if (queue == NULL) {
        return CASCADE_OK;
    }
    status = store_enter(queue->store);
    if (status != CASCADE_OK) {
        return status;
    }
    lock(queue);
    queue->closing = true;
    while ((entry = oldest(queue, ENTRY_WAITING)) != NULL) {
        fail_items(&entry->completion, CASCADE_CANCELLED);
        finish(queue, entry, CASCADE_CANCELLED);
    }
    while (queue->jobs > 0) {
        check(pthread_cond_wait(&queue->changed, &queue->lock) == 0);
    }
    unlock(queue);
    allocator = queue->store->around.allocator;
    check(atomic_fetch_sub(&queue->store->queues_open, 1) > 0);
    (void)pthread_cond_destroy(&queue->changed);
    (void)pthread_mutex_destroy(&queue->lock);
    (void)close(queue->event);
    allocator_release(allocator, queue->entries);
    allocator_release(allocator, queue);
    return CASCADE_OK;
}

int
cascade_queue_eventfd(const struct cascade_queue *queue)
{
    return queue->event;
}

// Under the lock: fills a free entry and asks the pool for a thread.
static enum cascade_status
enqueue(struct cascade_queue *queue, const struct cascade_completion *work,
        uint64_t deadline_ns, uint64_t *ticket)
{
    struct entry *entry;
    enum cascade_status status;

    if (queue->closing) {
        return error_set(CASCADE_CLOSED, "the queue is closing");
    }
    if (queue->used == queue->depth) {
        return error_set(CASCADE_BUSY,
                         "%zu submissions are out; take completions first",
                         queue->used);
    }
    status = pool_submit(queue->store->pool, run_oldest, queue);
    if (status != CASCADE_OK) {
        return status;
    }
    entry = oldest(queue, ENTRY_FREE);
    check(entry != NULL);
    queue->jobs++;
    queue->used++;
    entry->state = ENTRY_WAITING;
    entry->ticket = queue->next_ticket++;
    entry->deadline_ns = deadline_ns;
    entry->completion = *work;
    entry->completion.ticket = entry->ticket;
    *ticket = entry->ticket;
    note_depth(queue);
    return CASCADE_OK;
}

enum cascade_status
cascade_submit(struct cascade_queue *queue, struct cascade_item *items,
               size_t item_count, const struct cascade_call *call,
               void *user_data, uint64_t *ticket)
{
    struct cascade_completion work = {
        .user_data = user_data,
        .items = items,
        .item_count = item_count,
    };
    uint64_t given = 0;
    uint64_t deadline_ns;
    enum cascade_status status;

    if (queue == NULL) {
        return error_set(CASCADE_INVALID, "the queue is NULL");
    }
    status = store_enter(queue->store);
    if (status != CASCADE_OK) {
        return status;
    }
    if (items == NULL && item_count > 0) {
        return error_set(CASCADE_INVALID, "items is NULL, item_count is %zu",
                         item_count);
    }
    deadline_ns = store_deadline(queue->store,
                                 call != NULL ? call->timeout_ns : 0);
    lock(queue);
    status = enqueue(queue, &work, deadline_ns, &given);
    unlock(queue);
    if (status == CASCADE_OK && ticket != NULL) {
        *ticket = given;
    }
    return status;
}

enum cascade_status
cascade_cancel(struct cascade_queue *queue, uint64_t ticket)
{
    enum cascade_status status = store_enter(queue->store);
    bool found = false;

    if (status != CASCADE_OK) {
        return status;
    }
    status = CASCADE_NOT_FOUND;
    lock(queue);
    for (size_t i = 0; i < queue->depth && !found; i++) {
        struct entry *entry = &queue->entries[i];

        found = entry->state != ENTRY_FREE && entry->ticket == ticket;
        if (found && entry->state == ENTRY_WAITING) {
            fail_items(&entry->completion, CASCADE_CANCELLED);
            finish(queue, entry, CASCADE_CANCELLED);
            status = CASCADE_OK;
        } else if (found) {
            status = CASCADE_BUSY;
        }
    }
    unlock(queue);
    return status == CASCADE_OK
               ? status
               : error_set(status, status == CASCADE_BUSY
                                       ? "the submission has begun already"
                                       : "there is no such submission");
}

// Under the lock: waits for a completion until the timeout.
static void
wait_for_done(struct cascade_queue *queue, uint64_t timeout_ns)
{
    struct timespec until;
    uint64_t nanoseconds;

    check(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    timeout_ns = units_min(timeout_ns, 86400 * NS_PER_S);
    nanoseconds = (uint64_t)until.tv_nsec + timeout_ns;
    until.tv_sec += (time_t)(nanoseconds / NS_PER_S);
    until.tv_nsec = (long)(nanoseconds % NS_PER_S);
    while (queue->done == 0) {
        if (pthread_cond_timedwait(&queue->changed, &queue->lock, &until) !=
            0) {
            break;
        }
    }
}

enum cascade_status
cascade_queue_wait(struct cascade_queue *queue,
                   struct cascade_completion *completions, size_t room,
                   uint64_t timeout_ns, size_t *count)
{
    enum cascade_status status = store_enter(queue->store);
    size_t taken = 0;
    uint64_t drained;

    if (status != CASCADE_OK) {
        return status;
    }
    lock(queue);
    if (queue->done == 0 && timeout_ns > 0) {
        wait_for_done(queue, timeout_ns);
    }
    while (taken < room && queue->done > 0) {
        struct entry *entry = oldest(queue, ENTRY_DONE);

        check(entry != NULL);
        completions[taken++] = entry->completion;
        entry->state = ENTRY_FREE;
        queue->done--;
        queue->used--;
        if (queue->done == 0) {
            check(read(queue->event, &drained, sizeof(drained)) ==
                  (ssize_t)sizeof(drained));
        }
    }
    note_depth(queue);
    unlock(queue);
    *count = taken;
    return taken > 0 ? CASCADE_OK
                     : error_set(CASCADE_TIMEOUT, "no completion came in time");
}
