// SPDX-License-Identifier: Apache-2.0
//
// Readers against evictors: no reader that holds a pin ever sees a byte of
// another block. The negative control gives its pin back before it reads and
// must be caught, so the test is known to see what it looks for.

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "tier/tier_dram.h"

#define ENTRIES 8
#define READERS 2
#define EVICTORS 2
#define BLOCK_BYTES (32 * KIB)
#define SEED UINT64_C(4711)
// The control is nearly always caught in its first hundreds of replacements.
#define CONTROL_REPLACEMENTS 300000

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#ifndef THREAD_SANITIZED
#define THREAD_SANITIZED 0
#endif

// Evictors go on until there were this many reads, but not for ever.
#define READS (THREAD_SANITIZED ? 4000 : 20000)
#define REPLACEMENTS (THREAD_SANITIZED ? 40000 : 1000000)

// What an index would hold for one key.
struct entry {
    pthread_mutex_t mutex;
    struct block_place place;
    uint64_t content;
};

struct stress {
    struct tier_dram *dram;
    struct entry entries[ENTRIES];
    bool hold_pins;
    uint32_t replacements; // per evictor
    _Atomic uint32_t running_evictors;
    _Atomic uint64_t next_content;
    _Atomic uint64_t reads;
    _Atomic uint64_t puts;
    _Atomic uint64_t full;
    _Atomic uint64_t stale;
    _Atomic uint64_t busy;
    _Atomic uint64_t wrong;
};

struct worker {
    struct stress *stress;
    uint64_t random;
    pthread_t thread;
};

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

// Size and every word of a block follow from its content.
static uint64_t
bytes_of(uint64_t content)
{
    return BLOCK_BYTES - content % 16 * 8 - content % 3 * 4 * KIB;
}

static void
fill(uint64_t *words, uint64_t content)
{
    for (uint64_t i = 0; i < bytes_of(content) / 8; i++) {
        words[i] = content;
    }
}

static bool
is_all(const uint64_t *words, uint64_t content)
{
    uint64_t count = bytes_of(content) / 8;

    for (uint64_t i = 0; i < count; i++) {
        if (i == count / 2) {
            (void)sched_yield(); // gives an evictor its chance
        }
        if (words[i] != content) {
            return false;
        }
    }
    return true;
}

static void
read_once(struct stress *stress, struct entry *entry)
{
    const struct tier_table *table = &tier_dram_table;
    struct block_place place;
    struct tier_pin pin;
    uint64_t content;
    const uint64_t *words;
    bool right;

    pthread_mutex_lock(&entry->mutex);
    place = entry->place;
    content = entry->content;
    pthread_mutex_unlock(&entry->mutex);
    if (!block_place_is_set(&place)) {
        return;
    }
    if (content % 8 == 0) {
        (void)sched_yield(); // the place may be stale by then
    }
    if (table->pin(stress->dram, &place, &pin) != CASCADE_OK) {
        atomic_fetch_add(&stress->stale, 1);
        return;
    }
    words = pin.memory;
    if (!stress->hold_pins) {
        table->unpin(stress->dram, &pin);
    }
    right = is_all(words, content);
    if (stress->hold_pins) {
        table->unpin(stress->dram, &pin);
    }
    atomic_fetch_add(&stress->reads, 1);
    if (!right) {
        atomic_fetch_add(&stress->wrong, 1);
    }
}

static void *
reader_main(void *argument)
{
    struct worker *worker = argument;
    struct stress *stress = worker->stress;

    while (atomic_load(&stress->running_evictors) > 0) {
        read_once(stress,
                  &stress->entries[next_random(&worker->random) % ENTRIES]);
    }
    return NULL;
}

static bool
put(struct stress *stress, uint64_t content, struct block_place *place)
{
    const struct tier_table *table = &tier_dram_table;
    uint64_t words[BLOCK_BYTES / 8];
    const struct cascade_const_span span = {.data = words,
                                            .bytes = bytes_of(content)};
    const struct block_label label = {.depth = 0};
    struct block_digest digest;
    struct tier_slot slot;

    if (table->reserve(stress->dram, span.bytes, &slot) != CASCADE_OK) {
        return false;
    }
    fill(words, content);
    if (table->write(stress->dram, &slot, &span, 1, 0, &digest) != CASCADE_OK) {
        table->abandon(stress->dram, &slot);
        return false;
    }
    return table->commit(stress->dram, &slot, &label, &digest, place) ==
           CASCADE_OK;
}

// Evicts the entry's block, or removes it (pinned or not), and puts another.
static void
replace_once(struct stress *stress, struct entry *entry, bool only_unpinned)
{
    struct block_place none = {.tier = CASCADE_TIER_NONE};
    struct block_place place;
    uint64_t content = atomic_fetch_add(&stress->next_content, 1);

    pthread_mutex_lock(&entry->mutex);
    if (block_place_is_set(&entry->place)) {
        enum cascade_status status = tier_dram_table.release(
            stress->dram, &entry->place, only_unpinned);

        if (status == CASCADE_BUSY) {
            atomic_fetch_add(&stress->busy, 1);
            pthread_mutex_unlock(&entry->mutex);
            return;
        }
        if (status != CASCADE_OK) {
            atomic_fetch_add(&stress->wrong, 1);
        }
        entry->place = none;
    }
    pthread_mutex_unlock(&entry->mutex);
    if (!put(stress, content, &place)) {
        atomic_fetch_add(&stress->full, 1);
        return;
    }
    atomic_fetch_add(&stress->puts, 1);
    pthread_mutex_lock(&entry->mutex);
    if (block_place_is_set(&entry->place)) {
        (void)tier_dram_table.release(stress->dram, &place, false);
    } else {
        entry->place = place;
        entry->content = content;
    }
    pthread_mutex_unlock(&entry->mutex);
}

static void *
evictor_main(void *argument)
{
    struct worker *worker = argument;
    struct stress *stress = worker->stress;

    for (uint32_t i = 0; i < stress->replacements; i++) {
        uint64_t entry = next_random(&worker->random) % ENTRIES;

        replace_once(stress, &stress->entries[entry],
                     next_random(&worker->random) % 4 != 0);
        if (stress->hold_pins ? atomic_load(&stress->reads) >= READS
                              : atomic_load(&stress->wrong) > 0) {
            break; // enough, or the control was caught
        }
        if (i % 16 == 0) {
            (void)sched_yield();
        }
    }
    atomic_fetch_sub(&stress->running_evictors, 1);
    return NULL;
}

static void
run(struct stress *stress, bool hold_pins, uint32_t replacements)
{
    // Room for fewer blocks than can be out, so that space is reused at once.
    const struct tier_dram_options options = {
        .capacity_bytes = (ENTRIES + 1) * BLOCK_BYTES,
        .blocks_max = ENTRIES + 3,
        .allocator = allocator_system(),
    };
    struct worker workers[READERS + EVICTORS];

    memset(stress, 0, sizeof(*stress));
    stress->hold_pins = hold_pins;
    stress->replacements = replacements;
    stress->running_evictors = EVICTORS;
    stress->next_content = 1;
    assert_int_equal(tier_dram_open(&options, &stress->dram), CASCADE_OK);
    for (int i = 0; i < ENTRIES; i++) {
        assert_int_equal(pthread_mutex_init(&stress->entries[i].mutex, NULL),
                         0);
    }
    for (int i = 0; i < READERS + EVICTORS; i++) {
        workers[i].stress = stress;
        workers[i].random = SEED + (uint64_t)i;
        assert_int_equal(
            pthread_create(&workers[i].thread, NULL,
                           i < READERS ? reader_main : evictor_main,
                           &workers[i]),
            0);
    }
    for (int i = 0; i < READERS + EVICTORS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    print_message("seed %" PRIu64 ": %" PRIu64 " puts, %" PRIu64
                  " full, %" PRIu64 " reads, %" PRIu64 " stale, %" PRIu64
                  " busy, %" PRIu64 " wrong\n",
                  SEED, stress->puts, stress->full, stress->reads,
                  stress->stale, stress->busy, stress->wrong);
}

static void
end(struct stress *stress)
{
    struct tier_usage usage;

    assert_int_equal(tier_dram_pins(stress->dram), 0);
    assert_true(tier_dram_is_valid(stress->dram));
    for (int i = 0; i < ENTRIES; i++) {
        if (block_place_is_set(&stress->entries[i].place)) {
            assert_int_equal(tier_dram_table.release(
                                 stress->dram, &stress->entries[i].place, true),
                             CASCADE_OK);
        }
        assert_int_equal(pthread_mutex_destroy(&stress->entries[i].mutex), 0);
    }
    tier_dram_table.usage(stress->dram, &usage);
    assert_int_equal(usage.used_bytes, 0);
    assert_int_equal(usage.blocks, 0);
    assert_int_equal(tier_dram_close(stress->dram), CASCADE_OK);
}

static void
pinned_readers_never_see_wrong_bytes(void **state)
{
    static struct stress stress;

    (void)state;
    run(&stress, true, REPLACEMENTS);
    assert_int_equal(stress.wrong, 0);
    assert_true(stress.reads > 0);
    end(&stress);
}

static void
readers_that_give_up_their_pin_are_caught(void **state)
{
    static struct stress stress;

    (void)state;
    if (THREAD_SANITIZED) {
        skip(); // it races on purpose
    }
    run(&stress, false, CONTROL_REPLACEMENTS);
    assert_true(stress.wrong > 0);
    end(&stress);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pinned_readers_never_see_wrong_bytes),
        cmocka_unit_test(readers_that_give_up_their_pin_are_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
