// SPDX-License-Identifier: Apache-2.0
//
// The fabric of one rank, through its table.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fabric/fabric_self.h"
#include "support/allocator_failing.h"

struct seen {
    unsigned count;
    size_t bytes[4096];
    uint8_t first[4096];
    struct fabric *fabric; // to send from within a message
    unsigned echoes;
};

static void
take(void *context, uint16_t from, const void *data, size_t bytes)
{
    struct seen *seen = context;

    assert_int_equal(from, 0);
    assert_true(seen->count < 4096);
    seen->bytes[seen->count] = bytes;
    seen->first[seen->count] = bytes > 0 ? *(const uint8_t *)data : 0;
    seen->count++;
    if (seen->echoes > 0) {
        seen->echoes--;
        assert_int_equal(
            seen->fabric->table->send(seen->fabric->self, 0, data, bytes),
            CASCADE_OK);
    }
}

static void
lost(void *context, uint16_t rank)
{
    (void)context;
    (void)rank;
    fail();
}

static void
open_self(struct fabric *fabric, struct seen *seen)
{
    struct fabric_sink sink = {.context = seen, .message = take, .lost = lost};

    memset(seen, 0, sizeof(*seen));
    seen->fabric = fabric;
    assert_int_equal(fabric_self_open(allocator_system(), fabric), CASCADE_OK);
    fabric->table->start(fabric->self, &sink);
}

static void
test_messages_come_in_order(void **state)
{
    static uint8_t data[FABRIC_MESSAGE_BYTES_MAX];
    static struct seen seen;
    struct fabric fabric;

    (void)state;
    open_self(&fabric, &seen);
    for (unsigned i = 0; i < 300; i++) {
        data[0] = (uint8_t)i;
        assert_int_equal(fabric.table->send(fabric.self, 0, data, i),
                         CASCADE_OK);
    }
    assert_int_equal(seen.count, 0);
    while (fabric.table->progress(fabric.self)) {
    }
    assert_int_equal(seen.count, 300);
    for (unsigned i = 0; i < 300; i++) {
        assert_int_equal(seen.bytes[i], i);
        assert_int_equal(seen.first[i], i == 0 ? 0 : (uint8_t)i);
    }
    fabric.table->close(fabric.self);
}

static void
test_what_does_not_fit_is_busy(void **state)
{
    static uint8_t data[FABRIC_MESSAGE_BYTES_MAX];
    static struct seen seen;
    struct fabric fabric;
    unsigned sent = 0;

    (void)state;
    open_self(&fabric, &seen);
    while (fabric.table->send(fabric.self, 0, data, sizeof(data)) ==
           CASCADE_OK) {
        sent++;
        assert_true(sent < 1000);
    }
    assert_true(sent > 0);
    while (fabric.table->progress(fabric.self)) {
    }
    assert_int_equal(seen.count, sent);
    assert_int_equal(fabric.table->send(fabric.self, 0, data, sizeof(data)),
                     CASCADE_OK);
    fabric.table->close(fabric.self);
}

static void
test_a_handler_may_send(void **state)
{
    static struct seen seen;
    struct fabric fabric;

    (void)state;
    open_self(&fabric, &seen);
    seen.echoes = 1000;
    assert_int_equal(fabric.table->send(fabric.self, 0, "x", 1), CASCADE_OK);
    while (fabric.table->progress(fabric.self)) {
    }
    assert_int_equal(seen.count, 1001);
    fabric.table->close(fabric.self);
}

static enum cascade_status ended_status;
static unsigned ended_count;

static void
ended(struct fabric_transfer *transfer, enum cascade_status status)
{
    (void)transfer;
    ended_status = status;
    ended_count++;
}

static void
test_bulk_meets_whoever_is_first(void **state)
{
    static struct seen seen;
    struct fabric fabric;
    char from[] = "0123456789";
    char to[sizeof(from)];
    struct fabric_transfer push = {.ended = ended};
    struct fabric_transfer land = {.ended = ended};

    (void)state;
    open_self(&fabric, &seen);
    for (int i = 0; i < 2; i++) {
        memset(to, 0, sizeof(to));
        ended_count = 0;
        if (i == 0) {
            assert_int_equal(fabric.table->push(fabric.self, 0, 7, from,
                                                sizeof(from), &push),
                             CASCADE_OK);
        }
        assert_int_equal(
            fabric.table->land(fabric.self, 0, 7, to, sizeof(to), &land),
            CASCADE_OK);
        if (i == 1) {
            assert_int_equal(fabric.table->push(fabric.self, 0, 7, from,
                                                sizeof(from), &push),
                             CASCADE_OK);
        }
        assert_int_equal(ended_count, 0);
        assert_true(fabric.table->progress(fabric.self));
        assert_int_equal(ended_count, 2);
        assert_int_equal(ended_status, CASCADE_OK);
        assert_string_equal(from, to);
    }
    // What is under way at the end is closed.
    ended_count = 0;
    assert_int_equal(
        fabric.table->land(fabric.self, 0, 8, to, sizeof(to), &land),
        CASCADE_OK);
    fabric.table->close(fabric.self);
    assert_int_equal(ended_count, 1);
    assert_int_equal(ended_status, CASCADE_CLOSED);
}

static void
test_no_memory_is_told(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct allocator_failing failing;
        struct fabric fabric;
        enum cascade_status status;

        allocator_failing_init(&failing, n);
        status = fabric_self_open(&failing.table, &fabric);
        if (status == CASCADE_OK) {
            assert_true(n > 1);
            fabric.table->close(fabric.self);
            assert_int_equal(failing.live, 0);
            break;
        }
        assert_int_equal(status, CASCADE_NO_MEMORY);
        assert_int_equal(failing.live, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_in_order),
        cmocka_unit_test(test_what_does_not_fit_is_busy),
        cmocka_unit_test(test_a_handler_may_send),
        cmocka_unit_test(test_bulk_meets_whoever_is_first),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
