// SPDX-License-Identifier: Apache-2.0
//
// Who may ask a running store to drain: signals (option drain_signals) and
// other processes of the same user through the page of metrics (option
// drain_requests). A thread of its own does the work, so that the lease goes on
// being renewed meanwhile; it begins with the first that can ask, and sleeps on
// an eventfd.
//
// Lock: none of its own. The thread begins in open or in the background, which
// is one thread; it ends in close, after the background has.

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"
#include "base/metric_page_ask.h"
#include "store/store_internal.h"

static void
answer_request(struct cascade *store,
               const struct metric_page_question *question)
{
    struct cascade_drain_result result = {.size = sizeof(result)};
    struct metric_page_answer answer;
    struct directory_usage usage;

    answer.status = store_drain(
        store, store_deadline(store, question->timeout_ns), &result);
    if (answer.status != CASCADE_OK) {
        directory_usage(store->directory, &usage);
        result.blocks_left = usage.dirty_contents;
        result.bytes_left = usage.dirty_bytes;
    }
    answer.numbers[0] = result.blocks_written;
    answer.numbers[1] = result.bytes_written;
    answer.numbers[2] = result.blocks_left;
    answer.numbers[3] = result.bytes_left;
    metric_page_ask_answer(store->page.page, question->ticket, &answer);
}

static void
answer_signal(struct cascade *store)
{
    struct cascade_drain_result result = {.size = sizeof(result)};
    uint64_t begin_ns = store_now(store);

    if (store_drain(store,
                    store_deadline(store, store->settings.drain_deadline_ns),
                    &result) == CASCADE_OK) {
        log_write(&store->log, LOG_LEVEL_INFO,
                  "drained %llu blocks of %llu bytes in %.3f s for a signal; "
                  "%llu blocks of %llu bytes are left",
                  (unsigned long long)result.blocks_written,
                  (unsigned long long)result.bytes_written,
                  (double)(store_now(store) - begin_ns) / (double)NS_PER_S,
                  (unsigned long long)result.blocks_left,
                  (unsigned long long)result.bytes_left);
    }
}

// A handler of the program's own may run on this thread: that is no event.
static bool
wait_for_event(int event)
{
    uint64_t count;
    ssize_t got;

    do {
        got = read(event, &count, sizeof(count));
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof(count);
}

static void *
run(void *context)
{
    struct cascade *store = context;

    while (wait_for_event(store->drain_event)) {
        struct metric_page_question question;

        if (atomic_load(&store->drain_stop)) {
            break;
        }
        if (metric_page_ask_next(store->page.page, &question)) {
            answer_request(store, &question);
        }
        if (signal_relay_take(&store->drain_relay)) {
            answer_signal(store);
            signal_relay_answer(&store->drain_relay);
        }
    }
    return NULL;
}

static enum cascade_status
start_thread(struct cascade *store)
{
    if (store->drain_runs) {
        return CASCADE_OK;
    }
    if (store->drain_event <= 0) {
        store->drain_event = eventfd(0, EFD_CLOEXEC);
        if (store->drain_event < 0) {
            return error_set(CASCADE_NO_MEMORY,
                             "the system gave no eventfd; raise the limit of "
                             "open files (ulimit -n)");
        }
    }
    if (pthread_create(&store->drain_thread, NULL, run, store) != 0) {
        return error_set(CASCADE_NO_MEMORY,
                         "the system gave no thread to drain; raise the limit "
                         "of processes (ulimit -u)");
    }
    (void)pthread_setname_np(store->drain_thread, "cascade-drain");
    store->drain_runs = true;
    return CASCADE_OK;
}

static void
wake(struct cascade *store)
{
    const uint64_t one = 1;

    (void)!write(store->drain_event, &one, sizeof(one));
}

enum cascade_status
store_drain_start(struct cascade *store)
{
    uint32_t signals = store->settings.drain_signals;
    enum cascade_status status = CASCADE_OK;

    if (store->cold == NULL || store->settings.cold_look_only) {
        return CASCADE_OK;
    }
    if (signals != 0) {
        status = start_thread(store);
        if (status == CASCADE_OK) {
            status = signal_relay_open(signals, store->drain_event,
                                       &store->drain_relay);
        }
    }
    if (status == CASCADE_OK && store->page.shared &&
        store->settings.drain_requests) {
        metric_page_ask_accept(store->page.page);
    }
    return status;
}

void
store_drain_look(struct cascade *store)
{
    struct metric_page_question question;

    if (store->drain_seen_ticket != 0 &&
        !metric_page_ask_next(store->page.page, &question)) {
        store->drain_seen_ticket = 0;
    }
    if (metric_page_ask_next(store->page.page, &question) &&
        question.ticket != store->drain_seen_ticket &&
        start_thread(store) == CASCADE_OK) {
        store->drain_seen_ticket = question.ticket;
        wake(store);
    }
}

void
store_drain_stop(struct cascade *store)
{
    if (store->drain_runs) {
        atomic_store(&store->drain_stop, true);
        wake(store);
        check(pthread_join(store->drain_thread, NULL) == 0);
        store->drain_runs = false;
    }
}

void
store_drain_end(struct cascade *store)
{
    store_drain_stop(store);
    signal_relay_close(&store->drain_relay);
    if (store->drain_event > 0) {
        (void)close(store->drain_event);
        store->drain_event = 0;
    }
}
