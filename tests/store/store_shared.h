// SPDX-License-Identifier: Apache-2.0
//
// Several stores of one namespace with rebind=refused, under a clock that a test
// moves, for the tests of the shared root. Segment files are found by a walk,
// and may be taken away or hidden as another process might. One thread.

#ifndef STORE_SHARED_H
#define STORE_SHARED_H

#include "store_fixture.h"
#include "support/clock_fake.h"

#define STORE_SHARED_FILES_MAX 64

struct store_shared {
    struct store_world world;
    struct clock_fake clock;
    // Segment files that the last walk found: writers in the order of their
    // names, which begin with the time.
    char paths[STORE_SHARED_FILES_MAX][512];
    size_t path_count;
};

// For cmocka: a world before each test, and its end.
int
store_shared_begin(void **state);

int
store_shared_finish(void **state);

// A store that opens a moment later than the last one.
struct cascade *
store_shared_start(struct store_shared *shared);

// The next refresh is due, and nobody's lease has ended.
void
store_shared_refresh(struct store_shared *shared, struct cascade *store);

void
store_shared_list(struct store_shared *shared);

// Deletes what the last walk found.
void
store_shared_remove_listed(struct store_shared *shared);

void
store_must_flush(struct cascade *store);

#endif
