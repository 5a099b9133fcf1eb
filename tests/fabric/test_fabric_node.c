// SPDX-License-Identifier: Apache-2.0
//
// Ranks of one node, several in this process: meeting, mapping, doorbells and
// pins, and everything that makes a rank one of another node instead. Other
// processes are in test_fabric_node_process.c.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/units.h"
#include "fabric/fabric_node.h"
#include "support/allocator_failing.h"

#define JOB UINT64_C(0xca5cade)
#define RANKS 3
#define REGION_BYTES (4 * MIB)

static struct fabric_node *
open_rank(uint16_t rank, bool disabled)
{
    const struct fabric_node_options options = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .job = JOB,
        .rank = rank,
        .rank_count = RANKS,
        .disabled = disabled,
    };
    struct fabric_node *node = NULL;

    assert_int_equal(fabric_node_open(&options, &node), CASCADE_OK);
    return node;
}

static bool
meet(struct fabric_node *node, uint16_t rank, const struct fabric_node *other)
{
    struct fabric_node_address address;

    fabric_node_own_address(other, &address);
    return fabric_node_meet(node, rank, &address);
}

static struct arena *
offer_arena(struct fabric_node *node)
{
    struct arena *arena = NULL;

    assert_int_equal(
        arena_open(allocator_system(), "offered", REGION_BYTES, false, &arena),
        CASCADE_OK);
    fabric_node_offer(node, FABRIC_NODE_ARENA, arena_file(arena), REGION_BYTES);
    return arena;
}

static void
a_reader_sees_what_the_owner_writes_and_cannot_write(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);
    struct arena *arena = offer_arena(owner);
    char *written = arena_memory(arena);
    const void *seen = NULL;
    const void *again = NULL;
    uint64_t bytes = 0;

    (void)state;
    memcpy(written + MIB, "bytes of a block", sizeof("bytes of a block"));
    assert_false(fabric_node_is_near(reader, 0));
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_ARENA, &seen, &bytes),
        CASCADE_NOT_FOUND);
    assert_true(meet(reader, 0, owner));
    assert_true(fabric_node_is_near(reader, 0));
    assert_string_equal(fabric_node_reason(reader, 0), "it is of this node");
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_ARENA, &seen, &bytes),
        CASCADE_OK);
    assert_int_equal(bytes, REGION_BYTES);
    assert_ptr_not_equal(seen, written);
    assert_string_equal((const char *)seen + MIB, "bytes of a block");
    written[MIB] = 'B';
    assert_int_equal(((const char *)seen)[MIB], 'B');
    assert_int_not_equal(
        mprotect((void *)(uintptr_t)seen, 1, PROT_READ | PROT_WRITE), 0);
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_ARENA, &again, &bytes),
        CASCADE_OK);
    assert_ptr_equal(again, seen);
    // What was not offered is not there.
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_WORDS, &again, &bytes),
        CASCADE_NOT_FOUND);
    // It stays readable when the owner has closed.
    fabric_node_close(owner);
    arena_close(arena);
    assert_string_equal((const char *)seen + MIB, "Bytes of a block");
    fabric_node_close(reader);
}

static void
pins_are_seen_by_their_owner_only(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);
    struct fabric_node *third = open_rank(2, false);
    struct fabric_node_pin *pins[FABRIC_NODE_PINS];
    struct fabric_node_pin *other;

    (void)state;
    assert_null(fabric_node_pin(reader, 0, 7, 1));
    assert_true(meet(reader, 0, owner));
    assert_true(meet(reader, 2, third));
    assert_true(meet(third, 0, owner));
    for (uint32_t i = 0; i < FABRIC_NODE_PINS; i++) {
        pins[i] = fabric_node_pin(reader, 0, 100 + i, 5);
        assert_non_null(pins[i]);
    }
    assert_null(fabric_node_pin(reader, 0, 1, 5));
    // Others have their own places.
    other = fabric_node_pin(third, 0, 100, 5);
    assert_non_null(other);
    assert_int_equal(fabric_node_pins(owner), FABRIC_NODE_PINS + 1);
    assert_int_equal(fabric_node_pins(third), 0);
    for (uint32_t i = 0; i < FABRIC_NODE_PINS; i++) {
        assert_true(fabric_node_is_pinned(owner, 100 + i, 5));
        assert_false(fabric_node_is_pinned(owner, 100 + i, 6));
        assert_false(fabric_node_is_pinned(third, 100 + i, 5));
    }
    fabric_node_unpin(reader, pins[0]);
    assert_true(fabric_node_is_pinned(owner, 100, 5));
    fabric_node_unpin(third, other);
    assert_false(fabric_node_is_pinned(owner, 100, 5));
    assert_true(fabric_node_is_pinned(owner, 101, 5));
    pins[0] = fabric_node_pin(reader, 0, 1, 9);
    assert_true(fabric_node_is_pinned(owner, 1, 9));
    // Death takes them all.
    fabric_node_forget(owner, 1);
    assert_int_equal(fabric_node_pins(owner), 0);
    assert_false(fabric_node_is_pinned(owner, 1, 9));
    assert_false(fabric_node_is_near(owner, 1));
    fabric_node_close(third);
    fabric_node_close(reader);
    fabric_node_close(owner);
}

static void
a_dead_rank_is_not_near_again(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);
    struct arena *arena = offer_arena(owner);
    const void *memory;
    uint64_t bytes;

    (void)state;
    assert_true(meet(reader, 0, owner));
    fabric_node_forget(reader, 0);
    assert_false(fabric_node_is_near(reader, 0));
    assert_false(meet(reader, 0, owner));
    assert_string_equal(fabric_node_reason(reader, 0), "its process has ended");
    assert_null(fabric_node_pin(reader, 0, 1, 1));
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_ARENA, &memory, &bytes),
        CASCADE_NOT_FOUND);
    fabric_node_ring(reader, 0);
    assert_int_equal(atomic_load(fabric_node_doorbell(owner)), 0);
    fabric_node_close(reader);
    fabric_node_close(owner);
    arena_close(arena);
}

static void
a_doorbell_is_rung(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);

    (void)state;
    fabric_node_ring(reader, 0);
    assert_int_equal(atomic_load(fabric_node_doorbell(owner)), 0);
    assert_true(meet(reader, 0, owner));
    fabric_node_ring(reader, 0);
    fabric_node_ring(reader, 0);
    assert_int_equal(atomic_load(fabric_node_doorbell(owner)), 2);
    assert_int_equal(atomic_load(fabric_node_doorbell(reader)), 0);
    fabric_node_close(reader);
    fabric_node_close(owner);
}

static void
check_far(struct fabric_node *reader, const struct fabric_node_address *address,
          const char *reason)
{
    assert_false(fabric_node_meet(reader, 0, address));
    assert_false(fabric_node_is_near(reader, 0));
    if (strstr(fabric_node_reason(reader, 0), reason) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", fabric_node_reason(reader, 0),
                 reason);
    }
}

static void
whatever_fails_means_another_node(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);
    struct fabric_node *closed = open_rank(2, false);
    struct fabric_node_address address;
    struct fabric_node_address wrong;

    (void)state;
    fabric_node_own_address(owner, &address);
    wrong = address;
    wrong.boot_id[3]++;
    check_far(reader, &wrong, "another kernel");
    wrong = address;
    memset(wrong.socket, 0, sizeof(wrong.socket));
    check_far(reader, &wrong, "offers nothing");
    wrong = address;
    memset(wrong.socket, 'x', sizeof(wrong.socket)); // no end
    check_far(reader, &wrong, "its socket is not here");
    wrong = address;
    wrong.socket[0]++;
    check_far(reader, &wrong, "its socket is not here");
    // Somebody else answers under that name.
    fabric_node_own_address(closed, &wrong);
    check_far(reader, &wrong, "passed no descriptors");
    fabric_node_close(closed);
    check_far(reader, &wrong, "its socket is not here");
    assert_false(meet(reader, 1, reader));
    assert_non_null(strstr(fabric_node_reason(reader, 1), "itself"));
    // None of it spoils a later meeting.
    assert_true(fabric_node_meet(reader, 0, &address));
    fabric_node_close(reader);
    fabric_node_close(owner);
}

static void
a_disabled_rank_offers_and_meets_nothing(void **state)
{
    struct fabric_node *owner = open_rank(0, true);
    struct fabric_node *reader = open_rank(1, false);
    struct arena *arena = offer_arena(owner);
    struct fabric_node_address address;

    (void)state;
    fabric_node_own_address(owner, &address);
    assert_int_equal(address.socket[0], 0);
    assert_int_equal(address.region_bytes[FABRIC_NODE_ARENA], 0);
    check_far(reader, &address, "offers nothing");
    assert_false(meet(owner, 1, reader));
    assert_null(fabric_node_doorbell(owner));
    assert_false(fabric_node_is_pinned(owner, 0, 1));
    assert_int_equal(fabric_node_pins(owner), 0);
    fabric_node_forget(owner, 1);
    fabric_node_close(reader);
    fabric_node_close(owner);
    arena_close(arena);
}

static void
memory_that_could_shrink_is_not_mapped(void **state)
{
    struct fabric_node *owner = open_rank(0, false);
    struct fabric_node *reader = open_rank(1, false);
    int file = memfd_create("unsealed", MFD_CLOEXEC);
    const void *memory;
    uint64_t bytes;

    (void)state;
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, (off_t)REGION_BYTES), 0);
    fabric_node_offer(owner, FABRIC_NODE_WORDS, file, REGION_BYTES);
    assert_true(meet(reader, 0, owner));
    assert_int_equal(
        fabric_node_map(reader, 0, FABRIC_NODE_WORDS, &memory, &bytes),
        CASCADE_IO);
    (void)close(file);
    fabric_node_close(reader);
    fabric_node_close(owner);
}

static void
no_memory_is_survived(void **state)
{
    struct allocator_failing failing;
    uint64_t calls = 1;

    (void)state;
    for (uint64_t fail_at = 1; fail_at <= calls; fail_at++) {
        struct fabric_node *node = NULL;
        struct fabric_node_options options = {
            .allocator = &failing.table,
            .clock = clock_system(),
            .job = JOB,
            .rank_count = RANKS,
        };

        allocator_failing_init(&failing, fail_at);
        assert_int_equal(fabric_node_open(&options, &node), CASCADE_NO_MEMORY);
        assert_null(node);
        assert_int_equal(failing.live, 0);
        allocator_failing_init(&failing, 0);
        assert_int_equal(fabric_node_open(&options, &node), CASCADE_OK);
        calls = failing.calls;
        fabric_node_close(node);
        assert_int_equal(failing.live, 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_sees_what_the_owner_writes_and_cannot_write),
        cmocka_unit_test(pins_are_seen_by_their_owner_only),
        cmocka_unit_test(a_dead_rank_is_not_near_again),
        cmocka_unit_test(a_doorbell_is_rung),
        cmocka_unit_test(whatever_fails_means_another_node),
        cmocka_unit_test(a_disabled_rank_offers_and_meets_nothing),
        cmocka_unit_test(memory_that_could_shrink_is_not_mapped),
        cmocka_unit_test(no_memory_is_survived),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
