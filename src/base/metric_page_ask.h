// SPDX-License-Identifier: Apache-2.0
//
// Asking the owner of a page for something: today, to bring what is only in
// memory to stable storage within a time. The question and the answer lie in
// the page, so it is a matter among processes of one user. The owner looks now
// and then; it takes one question at a time.
//
// Who writes: `accepts`, the numbers and then `answered` the owner; `asked`
// whoever asks, by one compare-and-swap from the state in which every question
// has its answer. A stale read costs one more look. No lock.

#ifndef BASE_METRIC_PAGE_ASK_H
#define BASE_METRIC_PAGE_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attributes.h"
#include "cascade/status.h"

struct metric_page;
struct metric_page_handle;
struct metric_page_place;

#define METRIC_PAGE_ASK_NUMBERS 4

struct metric_page_question {
    uint32_t ticket; // never 0
    uint64_t timeout_ns;
};

struct metric_page_answer {
    enum cascade_status status;
    uint64_t numbers[METRIC_PAGE_ASK_NUMBERS];
};

// The owner says that it looks.
void
metric_page_ask_accept(struct metric_page *page);

// A question without an answer, if there is one.
bool
metric_page_ask_next(struct metric_page *page,
                     struct metric_page_question *question);

void
metric_page_ask_answer(struct metric_page *page, uint32_t ticket,
                       const struct metric_page_answer *answer);

// Maps a page for asking, as metric_page_attach does for reading; let go with
// metric_page_detach.
enum cascade_status
metric_page_ask_attach(const struct metric_page_place *place, const char *path,
                       struct metric_page_handle *handle) MUST_USE;

// Asks. UNSUPPORTED: the owner takes no questions. BUSY: another question
// waits for its answer.
enum cascade_status
metric_page_ask_send(struct metric_page *page, uint64_t timeout_ns,
                     uint32_t *ticket) MUST_USE;

// Whether the answer is there. One that another question has overtaken is lost:
// its status is then STALE.
bool
metric_page_ask_answered(struct metric_page *page, uint32_t ticket,
                         struct metric_page_answer *answer);

#endif
