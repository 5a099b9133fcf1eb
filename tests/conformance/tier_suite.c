// SPDX-License-Identifier: Apache-2.0
//
// The tests that every tier must pass. Contents are made from a number, so that
// a block of the wrong content is always seen.

#include "conformance/tier_suite.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"

#define SEED UINT64_C(90210)
#define BYTES_MAX (10 * MIB)
#define TEST(function)                                                        \
    cmocka_unit_test_prestate_setup_teardown(function, open_tier, close_tier, \
                                             &copy)
#define WANTED (BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM)

struct running {
    const struct tier_suite *suite;
    struct tier tier;
    uint8_t *source;
    uint8_t *target;
};

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

static void
fill(uint8_t *data, uint64_t bytes, uint64_t content)
{
    uint64_t state = content * 2654435761 + bytes;

    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t value = (state += UINT64_C(0x9e3779b97f4a7c15)) ^ content;

        memcpy(data + i, &value, units_min(8, bytes - i));
    }
}

static bool
has_content(const uint8_t *data, uint64_t bytes, uint64_t content)
{
    uint64_t state = content * 2654435761 + bytes;

    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t value = (state += UINT64_C(0x9e3779b97f4a7c15)) ^ content;

        if (memcmp(data + i, &value, units_min(8, bytes - i)) != 0) {
            return false;
        }
    }
    return true;
}

// Cuts `bytes` into `count` pieces of uneven size, some of them empty.
static void
cut(struct cascade_span *spans, size_t count, uint8_t *data, uint64_t bytes,
    uint64_t *random)
{
    uint64_t left = bytes;

    for (size_t i = 0; i < count; i++) {
        uint64_t part = i + 1 == count
                            ? left
                            : next_random(random) % (2 * bytes / count + 1);

        part = units_min(part, left);
        spans[i] = (struct cascade_span){.data = data, .bytes = part};
        data += part;
        left -= part;
    }
}

static struct block_label
label_of(uint64_t content, const struct block_digest *digest)
{
    struct block_label label = {
        .id = digest->id,
        .version = {.time_ns = content + 1, .tag = 7},
    };

    memcpy(label.key.bytes, &content, sizeof(content));
    label.key.bytes[31] = 1;
    return label;
}

static enum cascade_status
put(struct running *running, uint64_t bytes, uint64_t content,
    struct block_place *place)
{
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    struct cascade_const_span span = {.data = running->source, .bytes = bytes};
    struct block_digest digest;
    struct block_label label;
    struct tier_slot slot;
    enum cascade_status status = table->reserve(self, bytes, &slot);

    if (status != CASCADE_OK) {
        return status;
    }
    fill(running->source, bytes, content);
    status = table->write(self, &slot, &span, 1, WANTED, &digest);
    assert_int_equal(status, CASCADE_OK);
    label = label_of(content, &digest);
    return table->commit(self, &slot, &label, &digest, place);
}

static struct block_place
must_put(struct running *running, uint64_t bytes, uint64_t content)
{
    struct block_place place;

    assert_int_equal(put(running, bytes, content, &place), CASCADE_OK);
    return place;
}

static struct tier_pin
must_pin(struct running *running, const struct block_place *place)
{
    struct tier_pin pin;

    assert_int_equal(running->tier.table->pin(running->tier.self, place, &pin),
                     CASCADE_OK);
    return pin;
}

static void
assert_stale(struct running *running, const struct block_place *place)
{
    struct tier_pin pin;

    assert_int_equal(running->tier.table->pin(running->tier.self, place, &pin),
                     CASCADE_STALE);
}

static enum cascade_status
read_pinned(struct running *running, const struct tier_pin *pin)
{
    struct cascade_span span = {.data = running->target,
                                .bytes = pin->place.bytes};

    memset(running->target, 0xee, pin->place.bytes);
    return running->tier.table->read(running->tier.self, pin, &span, 1, true);
}

static void
assert_holds(struct running *running, const struct block_place *place,
             uint64_t content)
{
    struct tier_pin pin = must_pin(running, place);

    assert_int_equal(read_pinned(running, &pin), CASCADE_OK);
    assert_true(has_content(running->target, place->bytes, content));
    if ((running->tier.table->capabilities & TIER_ZERO_COPY) != 0) {
        assert_non_null(pin.memory);
        assert_true(has_content(pin.memory, place->bytes, content));
    }
    running->tier.table->unpin(running->tier.self, &pin);
}

static void
release(struct running *running, const struct block_place *place)
{
    assert_int_equal(
        running->tier.table->release(running->tier.self, place,
                                     !running->suite->pins_neighbours),
        CASCADE_OK);
}

static struct tier_usage
usage_of(struct running *running)
{
    struct tier_usage usage;

    running->tier.table->usage(running->tier.self, &usage);
    return usage;
}

static void
blocks_of_all_sizes_come_back(void **state)
{
    static const uint64_t sizes[] = {
        0,       1,   7,       4095,        4096,    4097,    65536,
        MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 5 * MIB, 8 * MIB, 10 * MIB - 3,
    };
    struct running *running = *state;
    struct block_place places[sizeof(sizes) / sizeof(sizes[0])];
    size_t count = sizeof(sizes) / sizeof(sizes[0]);

    for (size_t i = 0; i < count; i++) {
        places[i] = must_put(running, sizes[i], i);
        assert_int_equal(places[i].tier, running->tier.table->tier);
        assert_int_equal(places[i].bytes, sizes[i]);
        assert_true(block_place_is_set(&places[i]));
    }
    assert_int_equal(usage_of(running).blocks, count);
    for (size_t i = 0; i < count; i++) {
        assert_holds(running, &places[i], i);
    }
}

static void
spans_are_gathered_and_scattered(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    uint64_t random = SEED;

    for (uint64_t round = 0; round < 40; round++) {
        uint64_t bytes = next_random(&random) %
                         (round % 10 == 9 ? BYTES_MAX : 9000);
        size_t count = 1 + next_random(&random) % 9;
        struct cascade_span spans[9];
        struct cascade_const_span sources[9];
        struct block_digest digest;
        struct block_digest expected;
        struct block_label label;
        struct block_place place;
        struct tier_slot slot;
        struct tier_pin pin;

        fill(running->source, bytes, round);
        block_digest_of(NULL, running->source, bytes, WANTED, &expected);
        cut(spans, count, running->source, bytes, &random);
        for (size_t i = 0; i < count; i++) {
            sources[i] = (struct cascade_const_span){.data = spans[i].data,
                                                     .bytes = spans[i].bytes};
        }
        assert_int_equal(table->reserve(self, bytes, &slot), CASCADE_OK);
        assert_int_equal(
            table->write(self, &slot, sources, count, WANTED, &digest),
            CASCADE_OK);
        assert_memory_equal(&digest.id, &expected.id, sizeof(digest.id));
        assert_int_equal(digest.checksum, expected.checksum);
        label = label_of(round, &digest);
        assert_int_equal(table->commit(self, &slot, &label, &digest, &place),
                         CASCADE_OK);
        assert_int_equal(place.checksum, expected.checksum);

        memset(running->target, 0xee, bytes + 64);
        cut(spans, count, running->target, bytes, &random);
        spans[count - 1].bytes += 64;
        pin = must_pin(running, &place);
        assert_int_equal(table->read(self, &pin, spans, count, round % 2 == 0),
                         CASCADE_OK);
        table->unpin(self, &pin);
        assert_true(has_content(running->target, bytes, round));
        for (uint64_t i = 0; i < 64; i++) {
            assert_int_equal(running->target[bytes + i], 0xee);
        }
    }
}

static void
spans_of_the_wrong_length_are_refused(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    struct cascade_const_span source = {.data = running->source};
    struct cascade_span target = {.data = running->target, .bytes = 999};
    struct block_place place;
    struct block_digest digest;
    struct tier_slot slot;
    struct tier_pin pin;

    assert_int_equal(table->reserve(self, 1000, &slot), CASCADE_OK);
    source.bytes = 999;
    assert_int_equal(table->write(self, &slot, &source, 1, WANTED, &digest),
                     CASCADE_INVALID);
    source.bytes = 1001;
    assert_int_equal(table->write(self, &slot, &source, 1, WANTED, &digest),
                     CASCADE_INVALID);
    assert_int_equal(table->write(self, &slot, NULL, 0, WANTED, &digest),
                     CASCADE_INVALID);
    table->abandon(self, &slot);

    place = must_put(running, 1000, 1);
    pin = must_pin(running, &place);
    memset(running->target, 0xee, 1000);
    assert_int_equal(table->read(self, &pin, &target, 1, true),
                     CASCADE_TOO_SMALL);
    assert_int_equal(table->read(self, &pin, NULL, 0, true), CASCADE_TOO_SMALL);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(running->target[i], 0xee);
    }
    table->unpin(self, &pin);
}

static void
a_released_place_is_stale(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    struct block_place place = must_put(running, 5000, 1);
    struct block_place other = must_put(running, 5000, 2);

    release(running, &place);
    assert_stale(running, &place);
    assert_int_equal(table->release(running->tier.self, &place, true),
                     CASCADE_STALE);
    assert_int_equal(table->release(running->tier.self, &place, false),
                     CASCADE_STALE);
    assert_holds(running, &other, 2);
    assert_int_equal(usage_of(running).blocks, 1);
}

static void
a_made_up_place_is_stale(void **state)
{
    struct running *running = *state;
    struct block_place place = must_put(running, 5000, 1);
    struct block_place wrong = place;

    wrong.generation++;
    assert_stale(running, &wrong);
    wrong = place;
    wrong.slot = UINT32_MAX;
    assert_stale(running, &wrong);
    wrong = place;
    wrong.tier = CASCADE_TIER_NONE;
    assert_stale(running, &wrong);
    assert_holds(running, &place, 1);
}

static void
an_evictor_leaves_pinned_places(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    struct block_place place = must_put(running, 5000, 1);
    struct tier_pin first = must_pin(running, &place);
    struct tier_pin second = must_pin(running, &place);

    assert_int_equal(table->release(self, &place, true), CASCADE_BUSY);
    table->unpin(self, &first);
    assert_int_equal(table->release(self, &place, true), CASCADE_BUSY);
    assert_int_equal(read_pinned(running, &second), CASCADE_OK);
    assert_true(has_content(running->target, 5000, 1));
    table->unpin(self, &second);
    assert_holds(running, &place, 1);
    release(running, &place);
    assert_stale(running, &place);
}

static void
removal_leaves_the_bytes_to_the_last_pin(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    struct block_place place = must_put(running, 70000, 1);
    struct tier_pin first = must_pin(running, &place);
    struct tier_pin second = must_pin(running, &place);

    assert_int_equal(table->release(self, &place, false), CASCADE_OK);
    assert_stale(running, &place);
    assert_int_equal(table->release(self, &place, false), CASCADE_STALE);
    table->unpin(self, &first);
    for (uint64_t i = 0; i < 20; i++) {
        struct block_place other = must_put(running, 70000, 100 + i);

        release(running, &other);
    }
    assert_int_equal(read_pinned(running, &second), CASCADE_OK);
    assert_true(has_content(running->target, 70000, 1));
    table->unpin(self, &second);
    assert_stale(running, &place);
    assert_int_equal(usage_of(running).blocks, 0);
}

static void
reused_space_never_answers_to_old_places(void **state)
{
    enum {
        OLD = 64
    };
    struct running *running = *state;
    struct block_place places[OLD];

    for (uint64_t i = 0; i < OLD; i++) {
        places[i] = must_put(running, 3000, i);
        release(running, &places[i]);
    }
    (void)must_put(running, 3000, OLD);
    for (uint64_t i = 0; i < OLD; i++) {
        assert_stale(running, &places[i]);
    }
}

static void
abandoned_space_is_not_a_block(void **state)
{
    struct running *running = *state;
    const struct tier_table *table = running->tier.table;
    uint64_t before = usage_of(running).used_bytes;
    struct tier_slot slot;

    for (int i = 0; i < 100; i++) {
        assert_int_equal(table->reserve(running->tier.self, 4 * MIB, &slot),
                         CASCADE_OK);
        table->abandon(running->tier.self, &slot);
    }
    assert_int_equal(usage_of(running).blocks, 0);
    if (running->suite->reuses_space) {
        assert_int_equal(usage_of(running).used_bytes, before);
    }
}

static void
a_full_tier_says_so_and_keeps_what_it_has(void **state)
{
    enum {
        ROOM = 4096
    };
    static struct block_place places[ROOM];
    struct running *running = *state;
    uint64_t bytes = running->suite->capacity_bytes / 40 + 1;
    enum cascade_status status = CASCADE_OK;
    struct tier_slot slot;
    uint64_t count = 0;

    if (!running->suite->reuses_space) {
        skip();
    }
    assert_true(bytes <= BYTES_MAX);
    assert_int_equal(
        running->tier.table->reserve(running->tier.self,
                                     running->suite->capacity_bytes + 1, &slot),
        CASCADE_TOO_LARGE);
    while (count < ROOM && (status = put(running, bytes, count,
                                         &places[count])) == CASCADE_OK) {
        count++;
    }
    assert_int_equal(status, CASCADE_NO_SPACE);
    assert_true(count >= 38);
    for (uint64_t i = 0; i < count; i++) {
        assert_holds(running, &places[i], i);
    }
    release(running, &places[3]);
    places[3] = must_put(running, bytes, 1000);
    assert_holds(running, &places[3], 1000);
    for (uint64_t i = 0; i < count; i++) {
        release(running, &places[i]);
    }
    assert_int_equal(usage_of(running).used_bytes, 0);
}

static void
damage_is_found(void **state)
{
    static const uint64_t sizes[] = {1, 4096, 100000, 5 * MIB + 1};
    struct running *running = *state;

    if (running->suite->damage == NULL) {
        skip();
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct block_place place = must_put(running, sizes[i], i);
        struct tier_pin pin;

        running->suite->damage(running->suite->context, running->tier, &place,
                               sizes[i] - 1);
        pin = must_pin(running, &place);
        assert_int_equal(read_pinned(running, &pin), CASCADE_CORRUPT);
        running->tier.table->unpin(running->tier.self, &pin);
    }
}

// One block of the random walk.
struct known {
    bool present;
    struct block_place place;
    struct block_place old; // released before
    uint64_t content;
    bool pinned;
    struct tier_pin pin;
};

static void
random_step(struct running *running, struct known *known, uint64_t *random,
            uint64_t content)
{
    const struct tier_table *table = running->tier.table;
    void *self = running->tier.self;
    uint64_t bytes = next_random(random) %
                     (next_random(random) % 50 == 0 ? 2 * MIB : 20000);

    if (!known->present && !known->pinned) {
        enum cascade_status status = put(running, bytes, content,
                                         &known->place);

        known->present = status == CASCADE_OK;
        known->content = content;
        assert_true(status == CASCADE_OK || status == CASCADE_NO_SPACE);
    } else if (known->pinned) {
        assert_int_equal(read_pinned(running, &known->pin), CASCADE_OK);
        assert_true(has_content(running->target, known->pin.place.bytes,
                                known->content));
        table->unpin(self, &known->pin);
        known->pinned = false;
    } else if (next_random(random) % 3 == 0) {
        known->pin = must_pin(running, &known->place);
        known->pinned = true;
        assert_int_equal(table->release(self, &known->place, true),
                         CASCADE_BUSY);
        if (next_random(random) % 2 == 0) {
            assert_int_equal(table->release(self, &known->place, false),
                             CASCADE_OK);
            known->old = known->place;
            known->present = false;
        }
    } else if (next_random(random) % 2 == 0) {
        assert_holds(running, &known->place, known->content);
    } else {
        release(running, &known->place);
        known->old = known->place;
        known->present = false;
    }
    if (block_place_is_set(&known->old)) {
        assert_stale(running, &known->old);
    }
}

static void
random_steps_agree_with_a_plain_map(void **state)
{
    enum {
        BLOCKS = 50
    };
    static struct known blocks[BLOCKS];
    struct running *running = *state;
    uint64_t random = SEED;
    uint64_t present = 0;

    print_message("seed %" PRIu64 "\n", SEED);
    memset(blocks, 0, sizeof(blocks));
    for (uint64_t step = 0; step < 4000; step++) {
        random_step(running, &blocks[next_random(&random) % BLOCKS], &random,
                    step);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i].pinned) {
            running->tier.table->unpin(running->tier.self, &blocks[i].pin);
        }
        if (blocks[i].present) {
            assert_holds(running, &blocks[i].place, blocks[i].content);
        }
        present += blocks[i].present;
    }
    assert_int_equal(usage_of(running).blocks, present);
}

static int
open_tier(void **state)
{
    static struct running running;

    running.suite = *state;
    running.source = malloc(BYTES_MAX + 64);
    running.target = malloc(BYTES_MAX + 64);
    if (running.source == NULL || running.target == NULL ||
        running.suite->open(running.suite->context, &running.tier) !=
            CASCADE_OK) {
        return -1;
    }
    *state = &running;
    return 0;
}

static int
close_tier(void **state)
{
    struct running *running = *state;
    enum cascade_status status = running->suite->close(running->suite->context,
                                                       running->tier);

    free(running->source);
    free(running->target);
    return status == CASCADE_OK ? 0 : -1;
}

int
tier_suite_run(const struct tier_suite *suite)
{
    struct tier_suite copy = *suite;
    const struct CMUnitTest tests[] = {
        TEST(blocks_of_all_sizes_come_back),
        TEST(spans_are_gathered_and_scattered),
        TEST(spans_of_the_wrong_length_are_refused),
        TEST(a_released_place_is_stale),
        TEST(a_made_up_place_is_stale),
        TEST(an_evictor_leaves_pinned_places),
        TEST(removal_leaves_the_bytes_to_the_last_pin),
        TEST(reused_space_never_answers_to_old_places),
        TEST(abandoned_space_is_not_a_block),
        TEST(a_full_tier_says_so_and_keeps_what_it_has),
        TEST(damage_is_found),
        TEST(random_steps_agree_with_a_plain_map),
    };

    return cmocka_run_group_tests_name(suite->name, tests, NULL, NULL);
}
