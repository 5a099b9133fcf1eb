// SPDX-License-Identifier: Apache-2.0
//
// Questions and answers in a page; see the header. `asked` is the ticket and
// the time in one word, so that nobody sees the one without the other. No lock.

#include "base/metric_page_ask.h"

#include <stdatomic.h>
#include <string.h>

#include "base/error.h"
#include "base/metric_page.h"
#include "base/units.h"

#define TICKET_SHIFT 32

static uint32_t
ticket_of(uint64_t word)
{
    return (uint32_t)(word >> TICKET_SHIFT);
}

void
metric_page_ask_accept(struct metric_page *page)
{
    atomic_store(&page->head.ask.accepts, 1);
}

bool
metric_page_ask_next(struct metric_page *page,
                     struct metric_page_question *question)
{
    uint64_t asked = atomic_load(&page->head.ask.asked);

    if (ticket_of(asked) == atomic_load(&page->head.ask.answered)) {
        return false;
    }
    question->ticket = ticket_of(asked);
    question->timeout_ns = (uint64_t)(uint32_t)asked * NS_PER_MS;
    return true;
}

void
metric_page_ask_answer(struct metric_page *page, uint32_t ticket,
                       const struct metric_page_answer *answer)
{
    struct metric_page_ask *ask = &page->head.ask;

    atomic_store(&ask->status, (uint32_t)answer->status);
    for (unsigned i = 0; i < METRIC_PAGE_ASK_NUMBERS; i++) {
        atomic_store(&ask->numbers[i], answer->numbers[i]);
    }
    atomic_store(&ask->answered, ticket);
}

enum cascade_status
metric_page_ask_send(struct metric_page *page, uint64_t timeout_ns,
                     uint32_t *ticket)
{
    struct metric_page_ask *ask = &page->head.ask;
    uint64_t asked = atomic_load(&ask->asked);
    uint64_t milliseconds = units_min(units_max(timeout_ns / NS_PER_MS, 1),
                                      UINT32_MAX);
    uint32_t next = ticket_of(asked) + 1;

    if (atomic_load(&ask->accepts) == 0) {
        return error_set(CASCADE_UNSUPPORTED,
                         "process %llu takes no requests (drain_requests is "
                         "off, or it has no cold tier)",
                         (unsigned long long)page->head.owner.pid);
    }
    next += next == 0 ? 1 : 0;
    if (ticket_of(asked) != atomic_load(&ask->answered) ||
        !atomic_compare_exchange_strong(&ask->asked, &asked,
                                        (uint64_t)next << TICKET_SHIFT |
                                            milliseconds)) {
        return error_set(CASCADE_BUSY,
                         "process %llu is at work for another request",
                         (unsigned long long)page->head.owner.pid);
    }
    *ticket = next;
    return CASCADE_OK;
}

bool
metric_page_ask_answered(struct metric_page *page, uint32_t ticket,
                         struct metric_page_answer *answer)
{
    struct metric_page_ask *ask = &page->head.ask;
    struct metric_page_answer read;

    if (ticket_of(atomic_load(&ask->asked)) != ticket) {
        memset(answer, 0, sizeof(*answer));
        answer->status = CASCADE_STALE;
        return true;
    }
    if (atomic_load(&ask->answered) != ticket) {
        return false;
    }
    read.status = (enum cascade_status)atomic_load(&ask->status);
    for (unsigned i = 0; i < METRIC_PAGE_ASK_NUMBERS; i++) {
        read.numbers[i] = atomic_load(&ask->numbers[i]);
    }
    if (ticket_of(atomic_load(&ask->asked)) != ticket) {
        memset(&read, 0, sizeof(read));
        read.status = CASCADE_STALE;
    }
    *answer = read;
    return true;
}
