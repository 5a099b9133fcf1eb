// SPDX-License-Identifier: Apache-2.0
//
// Remote memory between two ranks of one process: every rung, hints, damage, and
// what cannot be read. Readers against an evicting owner in processes of their
// own are in test_tier_remote_process.c.

#include "tier/tier_remote.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "remote_fixture.h"
#include "support/allocator_failing.h"

#define BUFFER_BYTES (20 * MIB)

static uint8_t *buffer;
static uint8_t *expected;

static int
make_buffers(void **state)
{
    (void)state;
    buffer = malloc(BUFFER_BYTES);
    expected = malloc(BUFFER_BYTES);
    return buffer != NULL && expected != NULL ? 0 : -1;
}

static int
free_buffers(void **state)
{
    (void)state;
    free(buffer);
    free(expected);
    return 0;
}

static void
read_and_compare(struct fixture *fixture, const struct fixture_block *block,
                 uint64_t content, enum tier_remote_rung rung)
{
    uint64_t bytes = block->place.bytes;
    // Odd pieces, one of them empty, and more room than is needed.
    const struct cascade_span spans[] = {
        {.data = buffer, .bytes = bytes / 3},
        {.data = buffer + bytes / 3, .bytes = 0},
        {.data = buffer + bytes / 3, .bytes = bytes - bytes / 3 + 5},
    };
    struct tier_remote_read read = fixture_read_of(block, spans);

    read.span_count = 3;
    memset(buffer, 0xee, bytes + 5);
    fixture_fill(expected, bytes, content);
    assert_int_equal(tier_remote_read(fixture->ranks[1].remote, &read),
                     CASCADE_OK);
    assert_int_equal(read.rung, rung);
    assert_memory_equal(&read.place, &block->place, sizeof(read.place));
    assert_true(bytes == 0 || memcmp(buffer, expected, bytes) == 0);
    assert_int_equal(buffer[bytes], 0xee);
    assert_true(read.given || bytes == 0);
}

static void
read_all_sizes(const struct fixture_kind *kind, enum tier_remote_rung rung)
{
    static const uint64_t sizes[] = {
        0,       1,       4 * KIB,      MIB - 1,     MIB,
        MIB + 1, 3 * MIB, 3 * MIB + 77, 8 * MIB + 1, 17 * MIB + 3};
    struct fixture fixture;
    struct tier_remote_usage usage;
    const char *reason = NULL;

    fixture_open(&fixture, kind);
    assert_int_equal(tier_remote_rung_to(fixture.ranks[1].remote, 0, &reason),
                     rung);
    assert_non_null(reason);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct fixture_block *block = fixture_put(&fixture, sizes[i], i);

        read_and_compare(&fixture, block, i, rung);
        read_and_compare(&fixture, block, i, rung);
    }
    tier_remote_usage(fixture.ranks[1].remote, &usage);
    assert_int_equal(usage.reads[rung], 20);
    assert_int_equal(usage.late, 0);
    tier_remote_usage(fixture.ranks[0].remote, &usage);
    assert_int_equal(usage.grants, 20);
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
memory_of_the_node_is_read_without_the_fabric(void **state)
{
    (void)state;
    read_all_sizes(&fixture_near, TIER_REMOTE_NEAR);
}

static void
one_sided_reads_take_chunks(void **state)
{
    (void)state;
    read_all_sizes(&fixture_read, TIER_REMOTE_READ);
}

static void
the_owner_sends_chunks(void **state)
{
    (void)state;
    read_all_sizes(&fixture_fetch, TIER_REMOTE_FETCH);
}

static void
a_rung_can_be_forced(void **state)
{
    struct fixture_kind kind = fixture_fetch;

    (void)state;
    kind.far = false;
    kind.rung = TIER_REMOTE_FETCH;
    read_all_sizes(&kind, TIER_REMOTE_FETCH);
    kind.rung = TIER_REMOTE_READ;
    kind.capabilities |= FABRIC_READ;
    read_all_sizes(&kind, TIER_REMOTE_READ);
}

static void
wait_for_touches(struct fixture_rank *rank, uint32_t count)
{
    uint32_t touches = 0;

    while (touches < count) {
        assert_int_equal(pthread_mutex_lock(&rank->lock), 0);
        touches = rank->touches;
        assert_int_equal(pthread_mutex_unlock(&rank->lock), 0);
        (void)sched_yield();
    }
}

static void
a_hint_saves_the_message(void **state)
{
    struct fixture fixture;

    (void)state;
    fixture_open(&fixture, &fixture_near);
    for (int i = 0; i < 10; i++) {
        struct fixture_block *block = fixture_put(&fixture, 100 * KIB, 7);
        const struct cascade_span span = {.data = buffer, .bytes = 100 * KIB};
        struct tier_remote_read read = fixture_read_of(block, &span);
        struct block_place hint = block->place;
        enum cascade_status status;

        read.hint = &hint;
        read.deadline_ns = 0; // no message could be answered
        read.verify = i % 2 == 0;
        assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                         CASCADE_OK);
        fixture_fill(expected, 100 * KIB, 7);
        assert_memory_equal(buffer, expected, 100 * KIB);
        // Made up in part, and nobody has it: at most the owner may answer.
        hint.offset = UINT64_MAX - 10;
        read.id.bytes[0]++;
        memset(buffer, 1, 1);
        status = tier_remote_read(fixture.ranks[1].remote, &read);
        assert_true(status == CASCADE_TIMEOUT || status == CASCADE_NOT_FOUND);
        assert_false(read.given);
        assert_int_equal(buffer[0], 1);
    }
    fixture_step(&fixture, 1, 0);
    wait_for_touches(&fixture.ranks[0], 10);
    fixture_close(&fixture);
}

static void
a_stale_hint_costs_a_message(void **state)
{
    struct fixture fixture;
    struct fixture_block *old;
    struct fixture_block *block;
    struct block_place hint;
    const struct cascade_span span = {.data = buffer, .bytes = BUFFER_BYTES};
    struct tier_remote_read read;
    struct tier_remote_usage usage;

    (void)state;
    fixture_open(&fixture, &fixture_near);
    old = fixture_put(&fixture, 5000, 1);
    hint = old->place;
    fixture_remove(&fixture, old);
    block = fixture_put(&fixture, 5000, 2);
    assert_int_equal(block->place.slot, hint.slot);
    read = fixture_read_of(block, &span);
    read.hint = &hint;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_OK);
    fixture_fill(expected, 5000, 2);
    assert_memory_equal(buffer, expected, 5000);
    assert_memory_equal(&read.place, &block->place, sizeof(read.place));
    tier_remote_usage(fixture.ranks[1].remote, &usage);
    assert_int_equal(usage.stale, 1);
    // Nobody has the old content.
    read = fixture_read_of(old, &span);
    read.hint = &hint;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_STALE);
    assert_false(read.given);
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
check_refusals(const struct fixture_kind *kind)
{
    struct fixture fixture;
    const struct cascade_span span = {.data = buffer, .bytes = BUFFER_BYTES};
    const struct cascade_span small = {.data = buffer, .bytes = 10};
    struct fixture_block *block;
    struct tier_remote_read read;

    fixture_open(&fixture, kind);
    block = fixture_put(&fixture, 70000, 3);
    read = fixture_read_of(block, &span);
    read.id.bytes[5]++;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_NOT_FOUND);
    read = fixture_read_of(block, &span);
    read.bytes++;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_STALE);
    read = fixture_read_of(block, &small);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_TOO_SMALL);
    assert_false(read.given);
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
what_cannot_be_read_says_why(void **state)
{
    const struct fixture_kind nothing = {.far = true};
    struct fixture fixture;
    const struct cascade_span span = {.data = buffer, .bytes = BUFFER_BYTES};
    struct tier_remote_read read;

    (void)state;
    check_refusals(&fixture_near);
    check_refusals(&fixture_read);
    check_refusals(&fixture_fetch);
    fixture_open(&fixture, &nothing);
    read = fixture_read_of(fixture_put(&fixture, 10, 3), &span);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_UNSUPPORTED);
    fixture_close(&fixture);
}

static void
check_wire_damage(const struct fixture_kind *kind)
{
    struct fixture fixture;
    const struct cascade_span span = {.data = buffer, .bytes = BUFFER_BYTES};
    struct fixture_block *block;
    struct tier_remote_read read;
    struct tier_remote_usage usage;
    uint64_t bytes = 3 * MIB + 5;

    fixture_open(&fixture, kind);
    block = fixture_put(&fixture, bytes, 3);
    fabric_local_spoil(fixture.local, 1);
    read = fixture_read_of(block, &span);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_OK);
    fixture_fill(expected, bytes, 3);
    assert_memory_equal(buffer, expected, bytes);
    fabric_local_spoil(fixture.local, 100);
    read = fixture_read_of(block, &span);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_CORRUPT);
    fabric_local_spoil(fixture.local, 0);
    tier_remote_usage(fixture.ranks[1].remote, &usage);
    assert_int_equal(usage.corrupt, 1);
    assert_true(fixture_wait_unpinned(&fixture));
    // Messages of one pair keep their order.
    read = fixture_read_of(block, &span);
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_OK);
    assert_int_equal(fixture.ranks[0].damages, 1);
    assert_memory_equal(&fixture.ranks[0].damaged, &block->place,
                        sizeof(block->place));
    fixture_close(&fixture);
}

static void
damage_on_the_wire_is_seen(void **state)
{
    (void)state;
    check_wire_damage(&fixture_read);
    check_wire_damage(&fixture_fetch);
}

static void
damage_in_memory_is_seen_where_it_is_asked_for(void **state)
{
    struct fixture fixture;
    const struct cascade_span span = {.data = buffer, .bytes = BUFFER_BYTES};
    struct fixture_block *block;
    struct tier_remote_read read;
    uint8_t *bytes;

    (void)state;
    fixture_open(&fixture, &fixture_near);
    block = fixture_put(&fixture, 2 * MIB, 3);
    bytes = (uint8_t *)(uintptr_t)tier_dram_memory(fixture.ranks[0].dram,
                                                   &block->place);
    bytes[MIB + 7] ^= 1;
    read = fixture_read_of(block, &span);
    read.verify = true;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_CORRUPT);
    read.hint = &block->place;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_CORRUPT);
    read.verify = false;
    assert_int_equal(tier_remote_read(fixture.ranks[1].remote, &read),
                     CASCADE_OK);
    assert_true(fixture_wait_unpinned(&fixture));
    fixture_close(&fixture);
}

static void
no_memory_is_survived(void **state)
{
    struct fixture fixture;
    struct allocator_failing failing;
    uint64_t calls = 1;

    (void)state;
    fixture_open(&fixture, &fixture_near);
    for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
        struct tier_remote *remote = NULL;
        struct fabric_port *port = NULL;
        const struct fabric_port_options port_options = {
            .allocator = allocator_system(),
            .clock = clock_system(),
            .fabric = fabric_local_rank(fixture.local, 1, 0),
        };
        struct tier_remote_options options = {
            .allocator = &failing.table,
            .clock = clock_system(),
            .bounce_bytes = FIXTURE_BOUNCE_BYTES,
        };

        assert_int_equal(fabric_port_open(&port_options, &port), CASCADE_OK);
        options.port = port;
        allocator_failing_init(&failing, fail_at);
        assert_int_equal(tier_remote_open(&options, &remote),
                         CASCADE_NO_MEMORY);
        assert_int_equal(failing.live, 0);
        allocator_failing_init(&failing, 0);
        assert_int_equal(tier_remote_open(&options, &remote), CASCADE_OK);
        calls = failing.calls;
        tier_remote_close(remote);
        assert_int_equal(failing.live, 0);
        options.bounce_bytes = TIER_REMOTE_BOUNCE_BYTES_MIN - 1;
        assert_int_equal(tier_remote_open(&options, &remote), CASCADE_INVALID);
        fabric_port_close(port);
    }
    fixture_close(&fixture);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_the_node_is_read_without_the_fabric),
        cmocka_unit_test(one_sided_reads_take_chunks),
        cmocka_unit_test(the_owner_sends_chunks),
        cmocka_unit_test(a_rung_can_be_forced),
        cmocka_unit_test(a_hint_saves_the_message),
        cmocka_unit_test(a_stale_hint_costs_a_message),
        cmocka_unit_test(what_cannot_be_read_says_why),
        cmocka_unit_test(damage_on_the_wire_is_seen),
        cmocka_unit_test(damage_in_memory_is_seen_where_it_is_asked_for),
        cmocka_unit_test(no_memory_is_survived),
    };

    return cmocka_run_group_tests(tests, make_buffers, free_buffers);
}
