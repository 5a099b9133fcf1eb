// SPDX-License-Identifier: Apache-2.0
//
// Slots that readers in other processes watch, with a watcher that the test
// plays: they stay, or their space lingers, and nothing waits for it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/units.h"
#include "tier/tier_dram.h"

#define BLOCKS 16
#define BLOCK_BYTES (4 * KIB)

// What a peer has written down.
struct watch {
    uint32_t slot;
    uint32_t generation; // 0: nothing
    uint32_t questions;
};

static bool
is_watched(void *context, uint32_t slot, uint32_t generation)
{
    struct watch *watch = context;

    watch->questions++;
    return watch->generation == generation && watch->slot == slot;
}

static void
watch_place(struct watch *watch, const struct block_place *place)
{
    watch->slot = place->slot;
    watch->generation = place->generation;
}

static struct tier_dram *
open_dram(uint64_t blocks, struct watch *watch)
{
    const struct tier_dram_options options = {
        .capacity_bytes = blocks * BLOCK_BYTES,
        .blocks_max = BLOCKS,
        .shares_words = true,
        .allocator = allocator_system(),
    };
    struct tier_dram *dram = NULL;

    assert_int_equal(tier_dram_open(&options, &dram), CASCADE_OK);
    *watch = (struct watch){.generation = 0};
    tier_dram_watch(dram, is_watched, watch);
    return dram;
}

static enum cascade_status
put(struct tier_dram *dram, uint8_t value, struct block_place *place)
{
    static uint8_t data[BLOCK_BYTES];
    const struct cascade_const_span span = {.data = data,
                                            .bytes = sizeof(data)};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;
    enum cascade_status status = tier_dram_table.reserve(dram, sizeof(data),
                                                         &slot);

    if (status != CASCADE_OK) {
        return status;
    }
    memset(data, value, sizeof(data));
    assert_int_equal(tier_dram_table.write(dram, &slot, &span, 1,
                                           BLOCK_DIGEST_CHECKSUM, &digest),
                     CASCADE_OK);
    return tier_dram_table.commit(dram, &slot, &label, &digest, place);
}

static enum cascade_status
release(struct tier_dram *dram, const struct block_place *place,
        bool only_unpinned)
{
    return tier_dram_table.release(dram, place, only_unpinned);
}

static void
a_watched_block_goes_back_into_service(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(2, &watch);
    struct block_place place;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    watch_place(&watch, &place);
    assert_int_equal(release(dram, &place, true), CASCADE_BUSY);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    tier_dram_table.unpin(dram, &pin);
    watch.generation--;
    assert_int_equal(release(dram, &place, true), CASCADE_OK);
    assert_true(tier_dram_is_valid(dram));
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

// The watcher comes between the first question and the second.
static bool
comes_late(void *context, uint32_t slot, uint32_t generation)
{
    struct watch *watch = context;

    (void)slot;
    (void)generation;
    return watch->questions++ > 0;
}

static void
a_watcher_that_comes_meanwhile_is_seen(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(2, &watch);
    struct tier_usage usage;
    struct block_place place;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    tier_dram_watch(dram, comes_late, &watch);
    assert_int_equal(release(dram, &place, true), CASCADE_BUSY);
    assert_int_equal(watch.questions, 2);
    tier_dram_table.usage(dram, &usage);
    assert_int_equal(usage.blocks, 1);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    tier_dram_table.unpin(dram, &pin);
    tier_dram_watch(dram, is_watched, &watch);
    assert_int_equal(release(dram, &place, true), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
space_that_is_watched_lingers_and_comes_back(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(2, &watch);
    struct block_place one;
    struct block_place two;
    struct block_place third;
    struct tier_usage usage;

    (void)state;
    assert_int_equal(put(dram, 1, &one), CASCADE_OK);
    assert_int_equal(put(dram, 2, &two), CASCADE_OK);
    watch_place(&watch, &one);
    assert_int_equal(release(dram, &one, false), CASCADE_OK);
    assert_int_equal(release(dram, &one, false), CASCADE_STALE);
    // Neither its space nor its number is given out.
    assert_int_equal(put(dram, 3, &third), CASCADE_NO_SPACE);
    assert_memory_equal(tier_dram_memory(dram, &one), "\1\1\1\1", 4);
    tier_dram_table.usage(dram, &usage);
    assert_int_equal(usage.blocks, 1);
    assert_int_equal(usage.used_bytes, 2 * BLOCK_BYTES);
    assert_true(tier_dram_is_valid(dram));
    assert_true(tier_dram_sweep(dram));
    // Others come and go meanwhile.
    for (int i = 0; i < 10; i++) {
        assert_int_equal(release(dram, &two, true), CASCADE_OK);
        assert_int_equal(put(dram, 4, &two), CASCADE_OK);
        assert_int_not_equal(two.slot, one.slot);
        assert_true(tier_dram_is_valid(dram));
    }
    // The reader lets go: who needs room finds it.
    watch.generation = 0;
    assert_int_equal(put(dram, 3, &third), CASCADE_OK);
    assert_int_equal(third.offset, one.offset);
    assert_false(tier_dram_sweep(dram));
    assert_int_equal(release(dram, &two, true), CASCADE_OK);
    assert_int_equal(release(dram, &third, true), CASCADE_OK);
    assert_true(tier_dram_is_valid(dram));
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
the_last_pin_leaves_watched_space_alone(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(1, &watch);
    struct block_place place;
    struct block_place other;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    assert_int_equal(release(dram, &place, true), CASCADE_BUSY);
    assert_int_equal(release(dram, &place, false), CASCADE_OK);
    watch_place(&watch, &place);
    tier_dram_table.unpin(dram, &pin);
    assert_int_equal(put(dram, 2, &other), CASCADE_NO_SPACE);
    watch.generation = 0;
    assert_false(tier_dram_sweep(dram));
    assert_int_equal(put(dram, 2, &other), CASCADE_OK);
    assert_int_equal(release(dram, &other, true), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
a_watched_block_does_not_move(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(4, &watch);
    struct block_place place;
    struct block_place moved;
    struct tier_slot slot;
    struct tier_pin pin;

    (void)state;
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    assert_int_equal(tier_dram_table.reserve(dram, BLOCK_BYTES, &slot),
                     CASCADE_OK);
    memset(slot.memory, 1, BLOCK_BYTES);
    assert_int_equal(tier_dram_table.pin(dram, &place, &pin), CASCADE_OK);
    watch_place(&watch, &place);
    assert_int_equal(tier_dram_move(dram, &pin, &slot, &moved), CASCADE_BUSY);
    assert_int_equal(tier_dram_pins(dram), 1);
    assert_true(tier_dram_holds(dram, &place));
    watch.generation = 0;
    assert_int_equal(tier_dram_move(dram, &pin, &slot, &moved), CASCADE_OK);
    assert_false(tier_dram_holds(dram, &place));
    assert_int_equal(release(dram, &moved, true), CASCADE_OK);
    assert_true(tier_dram_is_valid(dram));
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
lingering_space_does_not_keep_the_tier_open(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(2, &watch);
    struct block_place place;

    (void)state;
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    watch_place(&watch, &place);
    assert_int_equal(release(dram, &place, false), CASCADE_OK);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

static void
a_peer_sees_what_is_in_service(void **state)
{
    struct watch watch;
    struct tier_dram *dram = open_dram(2, &watch);
    uint64_t bytes = tier_dram_words_bytes(dram);
    void *words = mmap(NULL, bytes, PROT_READ, MAP_SHARED,
                       tier_dram_words_file(dram), 0);
    struct block_place place;
    struct block_place wrong;

    (void)state;
    assert_true(words != MAP_FAILED);
    assert_int_equal(put(dram, 1, &place), CASCADE_OK);
    assert_true(tier_dram_peer_holds(words, bytes, &place));
    wrong = place;
    wrong.bytes++;
    assert_false(tier_dram_peer_holds(words, bytes, &wrong));
    wrong = place;
    wrong.generation++;
    assert_false(tier_dram_peer_holds(words, bytes, &wrong));
    wrong = place;
    wrong.slot = UINT32_MAX;
    assert_false(tier_dram_peer_holds(words, bytes, &wrong));
    wrong = place;
    wrong.slot++; // never used
    wrong.generation = 0;
    wrong.bytes = 0;
    assert_false(tier_dram_peer_holds(words, bytes, &wrong));
    assert_int_equal(release(dram, &place, true), CASCADE_OK);
    assert_false(tier_dram_peer_holds(words, bytes, &place));
    assert_int_equal(munmap(words, bytes), 0);
    assert_int_equal(tier_dram_close(dram), CASCADE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watched_block_goes_back_into_service),
        cmocka_unit_test(a_watcher_that_comes_meanwhile_is_seen),
        cmocka_unit_test(space_that_is_watched_lingers_and_comes_back),
        cmocka_unit_test(the_last_pin_leaves_watched_space_alone),
        cmocka_unit_test(a_watched_block_does_not_move),
        cmocka_unit_test(lingering_space_does_not_keep_the_tier_open),
        cmocka_unit_test(a_peer_sees_what_is_in_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
