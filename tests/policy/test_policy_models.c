// SPDX-License-Identifier: Apache-2.0
//
// Each classic policy against its definition, written here as plainly as it can
// be: queues of blocks in arrays, everything looked for from the front. Over
// random streams of uses both must evict the same block at every step. wtinylfu
// has a sketch for a definition; what is tested of it is what it is for.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy.h"

#define BLOCKS 120
#define CAPACITY 20
#define STEPS 30000
#define SEED UINT64_C(777)
#define NOBODY UINT32_MAX

// From the front, who goes first, to the back.
struct queue {
    uint32_t blocks[BLOCKS];
    uint32_t count;
};

struct model {
    struct queue queues[4];
    bool here[BLOCKS];
    bool visited[BLOCKS];
    uint32_t hits[BLOCKS];
    uint64_t last[BLOCKS];
    uint64_t clock;
    uint64_t number; // of the policy: age, target, hand
};

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

static void
push(struct queue *queue, uint32_t block)
{
    assert_true(queue->count < BLOCKS);
    queue->blocks[queue->count++] = block;
}

static void
take_at(struct queue *queue, uint32_t at)
{
    queue->count--;
    memmove(&queue->blocks[at], &queue->blocks[at + 1],
            (queue->count - at) * sizeof(uint32_t));
}

static bool
take(struct queue *queue, uint32_t block)
{
    for (uint32_t i = 0; i < queue->count; i++) {
        if (queue->blocks[i] == block) {
            take_at(queue, i);
            return true;
        }
    }
    return false;
}

static uint32_t
pop(struct queue *queue)
{
    uint32_t block = queue->blocks[0];

    assert_true(queue->count > 0);
    take_at(queue, 0);
    return block;
}

// ---------------------------------------------------------------------------
// Definitions: use, evict, enter.

struct definition {
    const struct policy_table *table;
    void (*use)(struct model *model, uint32_t block);
    uint32_t (*evict)(struct model *model);
    void (*enter)(struct model *model, uint32_t block);
};

static void
nothing_use(struct model *model, uint32_t block)
{
    (void)model;
    (void)block;
}

static uint32_t
queue_evict(struct model *model)
{
    return pop(&model->queues[0]);
}

static void
queue_enter(struct model *model, uint32_t block)
{
    push(&model->queues[0], block);
}

static void
lru_use(struct model *model, uint32_t block)
{
    assert_true(take(&model->queues[0], block));
    push(&model->queues[0], block);
}

static void
lfu_use(struct model *model, uint32_t block)
{
    model->hits[block]++;
    model->last[block] = ++model->clock;
}

static void
lfu_enter(struct model *model, uint32_t block)
{
    model->hits[block] = 1;
    model->last[block] = ++model->clock;
}

static uint32_t
lfu_evict(struct model *model)
{
    uint32_t least = NOBODY;

    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (model->here[i] &&
            (least == NOBODY || model->hits[i] < model->hits[least] ||
             (model->hits[i] == model->hits[least] &&
              model->last[i] < model->last[least]))) {
            least = i;
        }
    }
    return least;
}

// hits holds the priority, visited is not needed; queue 0 counts the uses.
static void
lfu_da_use(struct model *model, uint32_t block)
{
    model->queues[0].blocks[block]++;
    model->hits[block] = (uint32_t)model->number +
                         model->queues[0].blocks[block];
    model->last[block] = ++model->clock;
}

static void
lfu_da_enter(struct model *model, uint32_t block)
{
    model->queues[0].blocks[block] = 0;
    lfu_da_use(model, block);
}

static uint32_t
lfu_da_evict(struct model *model)
{
    uint32_t victim = lfu_evict(model);

    model->number = model->hits[victim];
    return victim;
}

static void
visit_use(struct model *model, uint32_t block)
{
    model->visited[block] = true;
}

static void
sieve_enter(struct model *model, uint32_t block)
{
    model->visited[block] = false;
    push(&model->queues[0], block);
}

static uint32_t
sieve_evict(struct model *model)
{
    struct queue *queue = &model->queues[0];
    uint32_t victim;

    for (;;) {
        if (model->number >= queue->count) {
            model->number = 0;
        }
        victim = queue->blocks[model->number];
        if (!model->visited[victim]) {
            break;
        }
        model->visited[victim] = false;
        model->number++;
    }
    take_at(queue, (uint32_t)model->number);
    if (model->number == queue->count) {
        model->number = 0; // it was the latest
    }
    return victim;
}

enum {
    SMALL,
    MAIN,
    GHOST
};

static void
s3fifo_use(struct model *model, uint32_t block)
{
    model->hits[block] += model->hits[block] < 3 ? 1 : 0;
}

static void
s3fifo_enter(struct model *model, uint32_t block)
{
    model->hits[block] = 0;
    push(&model->queues[take(&model->queues[GHOST], block) ? MAIN : SMALL],
         block);
}

static uint32_t
s3fifo_evict_of(struct model *model, uint32_t small_blocks)
{
    struct queue *small = &model->queues[SMALL];
    struct queue *queue = &model->queues[MAIN];
    struct queue *ghost = &model->queues[GHOST];

    if (small->count >= small_blocks) {
        while (small->count > 0) {
            uint32_t block = pop(small);

            if (model->hits[block] > 1) {
                model->hits[block] = 0;
                push(queue, block);
                continue;
            }
            push(ghost, block);
            if (ghost->count > CAPACITY - small_blocks) {
                (void)pop(ghost);
            }
            return block;
        }
    }
    while (queue->count > 0) {
        uint32_t block = pop(queue);

        if (model->hits[block] == 0) {
            return block;
        }
        model->hits[block]--;
        push(queue, block);
    }
    return s3fifo_evict_of(model, 0); // all that there is is small
}

static uint32_t
s3fifo_evict(struct model *model)
{
    return s3fifo_evict_of(model, CAPACITY / 10);
}

static uint32_t
s3fifo_50_evict(struct model *model)
{
    return s3fifo_evict_of(model, CAPACITY / 2);
}

enum {
    PROBATION,
    PROMOTED
};

static void
slru_use(struct model *model, uint32_t block)
{
    if (!take(&model->queues[PROBATION], block)) {
        assert_true(take(&model->queues[PROMOTED], block));
    }
    push(&model->queues[PROMOTED], block);
    if (model->queues[PROMOTED].count > CAPACITY / 2) {
        push(&model->queues[PROBATION], pop(&model->queues[PROMOTED]));
    }
}

static uint32_t
slru_evict(struct model *model)
{
    return pop(&model->queues[model->queues[PROBATION].count > 0 ? PROBATION
                                                                 : PROMOTED]);
}

enum {
    ONCE,
    AGAIN,
    ONCE_GONE,
    AGAIN_GONE
};

static void
arc_use(struct model *model, uint32_t block)
{
    if (!take(&model->queues[ONCE], block)) {
        assert_true(take(&model->queues[AGAIN], block));
    }
    push(&model->queues[AGAIN], block);
}

static void
arc_forget(struct model *model)
{
    struct queue *queues = model->queues;

    while (queues[ONCE].count + queues[ONCE_GONE].count > CAPACITY) {
        (void)pop(&queues[ONCE_GONE]);
    }
    while (queues[ONCE].count + queues[ONCE_GONE].count + queues[AGAIN].count +
               queues[AGAIN_GONE].count >
           2 * CAPACITY) {
        (void)pop(&queues[AGAIN_GONE]);
    }
}

static void
arc_enter(struct model *model, uint32_t block)
{
    struct queue *queues = model->queues;
    uint64_t once = queues[ONCE_GONE].count;
    uint64_t again = queues[AGAIN_GONE].count;

    if (take(&queues[ONCE_GONE], block)) {
        model->number += again > once ? again / once : 1;
        model->number = model->number < CAPACITY ? model->number : CAPACITY;
        push(&queues[AGAIN], block);
    } else if (take(&queues[AGAIN_GONE], block)) {
        uint64_t down = once > again ? once / again : 1;

        model->number -= down < model->number ? down : model->number;
        push(&queues[AGAIN], block);
    } else {
        push(&queues[ONCE], block);
    }
    arc_forget(model);
}

static uint32_t
arc_evict(struct model *model)
{
    struct queue *queues = model->queues;
    bool once = queues[AGAIN].count == 0 ||
                (queues[ONCE].count > 0 && queues[ONCE].count > model->number);
    uint32_t block = pop(&queues[once ? ONCE : AGAIN]);

    push(&queues[once ? ONCE_GONE : AGAIN_GONE], block);
    arc_forget(model);
    return block;
}

static const struct definition definitions[] = {
    {&policy_fifo, nothing_use, queue_evict, queue_enter},
    {&policy_lru, lru_use, queue_evict, queue_enter},
    {&policy_lfu, lfu_use, lfu_evict, lfu_enter},
    {&policy_lfu_da, lfu_da_use, lfu_da_evict, lfu_da_enter},
    {&policy_sieve, visit_use, sieve_evict, sieve_enter},
    {&policy_s3fifo, s3fifo_use, s3fifo_evict, s3fifo_enter},
    {&policy_s3fifo_50, s3fifo_use, s3fifo_50_evict, s3fifo_enter},
    {&policy_slru, slru_use, slru_evict, queue_enter},
    {&policy_arc, arc_use, arc_evict, arc_enter},
};

// ---------------------------------------------------------------------------

// A policy over a cache of CAPACITY blocks.
struct cache {
    const struct policy_table *table;
    void *state;
    uint32_t slot_of[BLOCKS];
    uint32_t block_of[CAPACITY];
    uint32_t used;
};

static void
cache_start(struct cache *cache, const struct policy_table *table)
{
    const struct policy_parameters parameters = {.capacity_bytes = CAPACITY};

    memset(cache, 0, sizeof(*cache));
    memset(cache->slot_of, 0xff, sizeof(cache->slot_of));
    cache->table = table;
    cache->state = allocator_array(allocator_system(), 1,
                                   table->state_bytes(CAPACITY));
    assert_non_null(cache->state);
    table->init(cache->state, CAPACITY, &parameters);
}

// Returns who was evicted.
static uint32_t
cache_use(struct cache *cache, uint32_t block)
{
    const struct policy_facts facts = {
        .bytes = 1, .hash = block, .parent = POLICY_NONE};
    uint32_t gone = NOBODY;
    uint32_t slot = cache->slot_of[block];

    if (slot != NOBODY) {
        cache->table->touch(cache->state, slot);
        return NOBODY;
    }
    if (cache->used < CAPACITY) {
        slot = cache->used++;
    } else {
        struct policy_cursor cursor = {.count = 0};

        assert_true(cache->table->choose(cache->state, &cursor, &slot));
        cache->table->remove(cache->state, slot, true);
        gone = cache->block_of[slot];
        cache->slot_of[gone] = NOBODY;
    }
    cache->table->insert(cache->state, slot, &facts);
    cache->slot_of[block] = slot;
    cache->block_of[slot] = block;
    return gone;
}

static void
cache_end(struct cache *cache)
{
    assert_true(cache->table->is_valid(cache->state));
    allocator_release(allocator_system(), cache->state);
}

static uint32_t
model_use(const struct definition *definition, struct model *model,
          uint32_t *resident, uint32_t block)
{
    uint32_t gone = NOBODY;

    if (model->here[block]) {
        definition->use(model, block);
        return NOBODY;
    }
    if (*resident == CAPACITY) {
        gone = definition->evict(model);
        model->here[gone] = false;
    } else {
        (*resident)++;
    }
    definition->enter(model, block);
    model->here[block] = true;
    return gone;
}

// Some blocks often, a few at random, now and then a run of many.
static uint32_t
draw_block(uint64_t *random, uint32_t step)
{
    uint64_t a = next_random(random) % BLOCKS;
    uint64_t b = next_random(random) % BLOCKS;

    if (step / 500 % 4 == 3) {
        return step % 45;
    }
    return (uint32_t)(a * b / BLOCKS);
}

static void
every_victim_is_the_definitions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(definitions) / sizeof(definitions[0]); i++) {
        static struct model model;
        struct cache cache;
        uint64_t random = SEED;
        uint32_t resident = 0;
        uint32_t evicted = 0;

        print_message("%s, seed %" PRIu64 "\n", definitions[i].table->name,
                      SEED);
        memset(&model, 0, sizeof(model));
        cache_start(&cache, definitions[i].table);
        for (uint32_t step = 0; step < STEPS; step++) {
            uint32_t block = draw_block(&random, step);
            uint32_t expected = model_use(&definitions[i], &model, &resident,
                                          block);

            if (cache_use(&cache, block) != expected) {
                fail_msg("%s, step %" PRIu32 ": another victim",
                         definitions[i].table->name, step);
            }
            evicted += expected != NOBODY;
        }
        assert_true(evicted > STEPS / 10);
        cache_end(&cache);
    }
}

// What is used often stays through a run of blocks that come once, even a run
// that is longer than the cache.
static void
wtinylfu_lets_a_scan_pass(void **state)
{
    struct cache cache;
    uint32_t stayed = 0;

    (void)state;
    cache_start(&cache, &policy_wtinylfu);
    for (uint32_t round = 0; round < 8; round++) {
        for (uint32_t block = 0; block < CAPACITY; block++) {
            (void)cache_use(&cache, block);
        }
    }
    for (uint32_t block = CAPACITY; block < BLOCKS; block++) {
        (void)cache_use(&cache, block);
    }
    for (uint32_t block = 0; block < CAPACITY; block++) {
        stayed += cache.slot_of[block] != NOBODY;
    }
    assert_true(stayed >= CAPACITY - 2);
    cache_end(&cache);
}

// And yet what was used often goes once other blocks are.
static void
wtinylfu_forgets(void **state)
{
    struct cache cache;
    uint32_t stayed = 0;

    (void)state;
    cache_start(&cache, &policy_wtinylfu);
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t block = 0; block < CAPACITY; block++) {
            (void)cache_use(&cache, block);
        }
    }
    for (uint32_t round = 0; round < 60; round++) {
        for (uint32_t block = 40; block < 40 + CAPACITY / 2; block++) {
            (void)cache_use(&cache, block);
        }
    }
    for (uint32_t block = 40; block < 40 + CAPACITY / 2; block++) {
        stayed += cache.slot_of[block] != NOBODY;
    }
    assert_true(stayed >= CAPACITY / 2 - 1);
    cache_end(&cache);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_victim_is_the_definitions),
        cmocka_unit_test(wtinylfu_lets_a_scan_pass),
        cmocka_unit_test(wtinylfu_forgets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
