// SPDX-License-Identifier: Apache-2.0
//
// What only the DRAM tier promises: padding, alignment, addresses, closing,
// slot numbers, generations that wrap, failing allocations. What all tiers
// promise is in tests/conformance.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/units.h"
#include "tier/tier_dram_inner.h"

#define BLOCKS 16

// More than are walked over in TIER_DRAM_COUNT_CALLS least steps.
#define MANY ((TIER_DRAM_COUNT_CALLS + 4) * TIER_DRAM_COUNT_SLOTS)

static struct tier_dram *
open_dram(uint64_t capacity_bytes)
{
    const struct tier_dram_options options = {
        .capacity_bytes = capacity_bytes,
        .blocks_max = BLOCKS,
        .huge_pages = true,
        .rank = 9,
        .allocator = allocator_system(),
    };
    struct tier_dram *dram = NULL;

    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_OK);
    return dram;
}

static enum cascade_status
put(struct tier_dram *dram, uint8_t value, uint64_t bytes,
    struct block_place *place)
{
    static uint8_t data[64 * KIB];
    const struct cascade_const_span span = {.data = data, .bytes = bytes};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;
    enum cascade_status status = tier_dram_table.reserve(dram, bytes, &slot);

    if (status != CASCADE_OK) {
        return status;
    }
    assert_true(bytes <= sizeof(data));
    memset(data, value, bytes);
    assert_int_equal(tier_dram_table.write(dram, &slot, &span, 1,
                                           BLOCK_DIGEST_CHECKSUM, &digest),
                     CASCADE_OK);
    return tier_dram_table.commit(dram, &slot, &label, &digest, place);
}

static void
the_last_granule_is_padded_with_zeros(void **state)
{
    struct tier_dram *dram = open_dram(4 * KIB);
    struct block_place place;

    (void)state;
    assert_int_equal(put(dram, 0xff, 4096, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.release(dram, &place, true), CASCADE_OK);
    for (uint64_t bytes = 1; bytes < 4096; bytes += 409) {
        const uint8_t *memory;

        assert_int_equal(put(dram, 0xaa, bytes, &place), CASCADE_OK);
        assert_int_equal(place.rank, 9);
        assert_int_equal(place.offset % 4096, 0);
        memory = tier_dram_memory(dram, &place);
        for (uint64_t i = 0; i < 4096; i++) {
            assert_int_equal(memory[i], i < bytes ? 0xaa : 0);
        }
        assert_int_equal(tier_dram_table.release(dram, &place, true),
                         CASCADE_OK);
        assert_int_equal(put(dram, 0xff, 4096, &place), CASCADE_OK);
        assert_int_equal(tier_dram_table.release(dram, &place, true),
                         CASCADE_OK);
    }
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
memory_is_that_of_the_arena(void **state)
{
    struct tier_dram *dram = open_dram(MIB);
    const uint8_t *arena = arena_memory(tier_dram_arena(dram));
    struct block_place place;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, 10000, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    assert_ptr_equal(pin.memory, arena + place.offset);
    assert_ptr_equal(pin.memory, tier_dram_memory(dram, &place));
    assert_int_equal(tier_dram_pins(dram), 1);
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(tier_dram_pins(dram), 0);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
closing_refuses_while_something_is_out(void **state)
{
    struct tier_dram *dram = open_dram(MIB);
    struct block_place place;
    struct tier_slot slot;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, 100, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_BUSY);
    assert_int_equal(tier_dram_table.release(dram, &place, false), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_BUSY);
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(tier_dram_table.reserve(dram, 100, &slot), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_BUSY);
    tier_dram_table.abandon(dram, &slot);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
    assert_int_equal(tier_dram_close(NULL), CASCADE_OK);
}

static void
slot_numbers_are_below_the_maximum_and_unique(void **state)
{
    struct tier_dram *dram = open_dram(MIB);
    struct block_place places[BLOCKS];
    struct block_place other;
    struct tier_pin pin;
    uint32_t seen = 0;

    (void)state;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        // Blocks without bytes take a slot, but no space.
        assert_int_equal(put(dram, 1, i % 2 * 100, &places[i]), CASCADE_OK);
        assert_true(places[i].slot < BLOCKS);
        assert_int_equal(seen >> places[i].slot & 1, 0);
        seen |= 1u << places[i].slot;
    }
    assert_int_equal(put(dram, 1, 1, &other), CASCADE_NO_SPACE);
    assert_int_equal(put(dram, 1, 0, &other), CASCADE_NO_SPACE);
    // A slot that is leaving is not given out before its last pin is gone.
    assert_int_equal(tier_dram_table.pin(dram, &places[5], &pin), CASCADE_OK);
    assert_int_equal(tier_dram_table.release(dram, &places[5], false),
                     CASCADE_OK);
    assert_int_equal(put(dram, 1, 1, &other), CASCADE_NO_SPACE);
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(put(dram, 1, 1, &other), CASCADE_OK);
    assert_int_equal(other.slot, places[5].slot);
    assert_int_not_equal(other.generation, places[5].generation);
    assert_true(tier_dram_is_valid(dram));
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
a_place_with_other_numbers_is_stale_and_leaves_no_pin(void **state)
{
    struct tier_dram *dram = open_dram(MIB);
    struct block_place place;
    struct block_place wrong;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, 100, &place), CASCADE_OK);
    wrong = place;
    wrong.bytes = 200;
    assert_int_equal(tier_dram_table.pin(dram, &wrong, &pin), CASCADE_STALE);
    wrong = place;
    wrong.offset += 4096;
    assert_int_equal(tier_dram_table.pin(dram, &wrong, &pin), CASCADE_STALE);
    // A slot that was never used.
    wrong = place;
    wrong.slot++;
    wrong.generation = 0;
    assert_int_equal(tier_dram_table.pin(dram, &wrong, &pin), CASCADE_STALE);
    assert_int_equal(tier_dram_table.release(dram, &wrong, false),
                     CASCADE_STALE);
    assert_int_equal(tier_dram_pins(dram), 0);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
device_spans_are_refused(void **state)
{
    struct tier_dram *dram = open_dram(MIB);
    uint8_t byte = 0;
    const struct cascade_span span = {
        .data = &byte, .bytes = 100, .memory = CASCADE_MEMORY_DEVICE};
    struct block_place place;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, 100, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    assert_int_equal(tier_dram_table.read(dram, &pin, &span, 1, false),
                     CASCADE_UNSUPPORTED);
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
options_out_of_range_are_refused(void **state)
{
    const struct tier_dram_options good = {
        .capacity_bytes = MIB,
        .blocks_max = 4,
        .allocator = allocator_system(),
    };
    struct tier_dram_options options = good;
    struct tier_dram *dram = NULL;

    (void)state;
    options.capacity_bytes = 0;
    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_INVALID);
    options.capacity_bytes = UINT64_MAX;
    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_INVALID);
    options = good;
    options.blocks_max = 0;
    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_INVALID);
    options = good;
    options.granule_bytes = 5000;
    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_INVALID);
    assert_null(dram);
}

struct failing {
    int left;
    int out;
};

static void *
failing_allocate(void *self, size_t bytes, size_t alignment)
{
    struct failing *failing = self;

    if (failing->left-- == 0) {
        return NULL;
    }
    failing->out++;
    return allocator_system()->allocate(NULL, bytes, alignment);
}

static void
failing_release(void *self, void *memory)
{
    struct failing *failing = self;

    failing->out -= memory != NULL;
    allocator_system()->release(NULL, memory);
}

static void
each_allocation_may_fail(void **state)
{
    struct failing failing = {0};
    const struct allocator allocator = {
        .allocate = failing_allocate,
        .release = failing_release,
        .self = &failing,
    };
    const struct tier_dram_options options = {
        .capacity_bytes = MIB,
        .blocks_max = 4,
        .allocator = &allocator,
    };
    enum cascade_status status = CASCADE_NO_MEMORY;
    int n;

    (void)state;
    for (n = 0; status != CASCADE_OK; n++) {
        struct tier_dram *dram = NULL;

        failing = (struct failing){.left = n};
        status = tier_dram_open(&options, &dram);
        if (status == CASCADE_OK) {
            struct block_place place;
            int out = failing.out;

            failing.left = 0; // work needs no more
            assert_int_equal(put(dram, 1, 5000, &place), CASCADE_OK);
            assert_int_equal(failing.out, out);
            assert_int_equal(tier_dram_close(dram), CASCADE_OK);
        } else {
            assert_int_equal(status, CASCADE_NO_MEMORY);
            assert_null(dram);
        }
        assert_int_equal(failing.out, 0);
    }
    assert_true(n > 4);
}

// A tier of MANY slots in which the first `count` are taken, without bytes.
static struct tier_dram *
open_many(uint32_t count)
{
    const struct tier_dram_options options = {
        .capacity_bytes = (uint64_t)MANY * 64,
        .blocks_max = MANY,
        .granule_bytes = 64,
        .allocator = allocator_system(),
    };
    struct tier_dram *dram = NULL;

    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_OK);
    for (uint32_t i = 0; i < count; i++) {
        struct block_place place;

        assert_int_equal(put(dram, 1, 1, &place), CASCADE_OK);
        assert_int_equal(place.slot, i);
    }
    return dram;
}

// Calls until that many are seen.
static uint32_t
calls_until(struct tier_dram *dram, uint64_t pins)
{
    uint32_t calls = 1;

    while (tier_dram_pins_seen(dram) != pins) {
        calls++;
        assert_true(calls <= 2 * TIER_DRAM_COUNT_CALLS);
    }
    return calls;
}

static void
pins_are_seen_wherever_they_are(void **state)
{
    static const uint32_t slots[] = {
        0, TIER_DRAM_COUNT_SLOTS - 1, TIER_DRAM_COUNT_SLOTS, MANY / 2, MANY - 1,
    };
    enum {
        PINNED = sizeof(slots) / sizeof(slots[0])
    };
    struct tier_dram *dram = open_many(MANY);
    struct tier_pin pins[PINNED];

    (void)state;
    for (uint32_t i = 0; i < PINNED; i++) {
        const struct block_place place = {
            .tier = CASCADE_TIER_LOCAL_DRAM,
            .slot = slots[i],
            .generation = tier_dram_generation(dram->slots[slots[i]].word),
            .offset = tier_dram_offset(dram, &dram->slots[slots[i]]),
            .bytes = 1,
        };

        assert_int_equal(tier_dram_table.pin(dram, &place, &pins[i]),
                         CASCADE_OK);
    }
    (void)calls_until(dram, PINNED);
    // What every later call says, whatever part it walks over.
    for (uint32_t i = 0; i < 3 * TIER_DRAM_COUNT_CALLS; i++) {
        assert_int_equal(tier_dram_pins_seen(dram), PINNED);
    }
    for (uint32_t i = PINNED; i > 0; i--) {
        tier_dram_table.unpin(dram, &pins[i - 1]);
        assert_true(calls_until(dram, i - 1) > 1);
    }
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
pins_of_few_slots_are_seen_at_once(void **state)
{
    struct tier_dram *dram = open_many(TIER_DRAM_COUNT_SLOTS - 1);
    struct block_place place;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(tier_dram_pins_seen(dram), 0);
    assert_int_equal(put(dram, 1, 1, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(tier_dram_pins_seen(dram), 1);
    }
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(tier_dram_pins_seen(dram), 0);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

struct counter {
    struct tier_dram *dram;
    _Atomic pid_t thread;
    uint64_t seen;
};

static void *
count_once(void *context)
{
    struct counter *counter = context;

    atomic_store(&counter->thread, (pid_t)syscall(SYS_gettid));
    counter->seen = tier_dram_pins_seen(counter->dram);
    return NULL;
}

// Until the thread waits for something, if the system tells.
static void
wait_until_it_waits(const struct counter *counter)
{
    char letter = 'R';

    while (letter == 'R') {
        char path[64];
        FILE *file;

        (void)sched_yield();
        if (atomic_load(&counter->thread) == 0) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
                       (int)atomic_load(&counter->thread));
        file = fopen(path, "r");
        if (file == NULL || fscanf(file, "%*d (%*[^)]) %c", &letter) != 1) {
            letter = '?';
        }
        if (file != NULL) {
            (void)fclose(file);
        }
    }
}

// A counter begins among few slots; before its turn comes, they became many and
// others counted on. Counting on from there, it must not leave the slots.
static void
a_late_counter_stays_among_the_slots(void **state)
{
    struct tier_dram *dram = open_many(TIER_DRAM_COUNT_SLOTS / 2);
    struct counter counter = {.dram = dram};
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_mutex_lock(&dram->count_mutex), 0);
    assert_int_equal(pthread_create(&thread, NULL, count_once, &counter), 0);
    wait_until_it_waits(&counter);
    for (uint32_t i = TIER_DRAM_COUNT_SLOTS / 2; i < MANY; i++) {
        struct block_place place;

        assert_int_equal(put(dram, 1, 1, &place), CASCADE_OK);
    }
    // As calls of others may leave it.
    dram->count_next = MANY - 1;
    assert_int_equal(pthread_mutex_unlock(&dram->count_mutex), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(counter.seen, 0);
    for (uint32_t i = 0; i <= 2 * TIER_DRAM_COUNT_CALLS; i++) {
        assert_true(dram->count_next <= MANY);
        assert_int_equal(tier_dram_pins_seen(dram), 0);
    }
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_granule_is_padded_with_zeros),
        cmocka_unit_test(memory_is_that_of_the_arena),
        cmocka_unit_test(closing_refuses_while_something_is_out),
        cmocka_unit_test(slot_numbers_are_below_the_maximum_and_unique),
        cmocka_unit_test(a_place_with_other_numbers_is_stale_and_leaves_no_pin),
        cmocka_unit_test(device_spans_are_refused),
        cmocka_unit_test(options_out_of_range_are_refused),
        cmocka_unit_test(each_allocation_may_fail),
        cmocka_unit_test(pins_are_seen_wherever_they_are),
        cmocka_unit_test(pins_of_few_slots_are_seen_at_once),
        cmocka_unit_test(a_late_counter_stays_among_the_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
