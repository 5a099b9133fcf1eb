// SPDX-License-Identifier: Apache-2.0
//
// The small caches of the duel.
//
// Invariant: a block is in one queue and one chain, or in the list of unused.

#include "policy/policy_duel.h"

#define NONE UINT32_MAX

// A sample of fewer says little, one of many more says nothing more.
#define SAMPLE_BLOCKS_MIN 1024
#define SAMPLE_BLOCKS_MAX 4096

// Hits count half after as many uses as the cache has blocks, but not sooner:
// a few requests prove nothing.
#define FADING_USES_MIN 2048

// Of the usual age of blocks that go.
#define LONG_HORIZON 32
#define SHORT_HORIZON 2

// More than one block of so many is more than a few.
#define NEWCOMERS_PART 16

// A cache with so many times the hits of the leader's takes the lead.
#define CLEARLY_AHEAD 1.005

static uint32_t
places_for(uint32_t entries)
{
    return entries < SAMPLE_BLOCKS_MAX ? entries + 1 : SAMPLE_BLOCKS_MAX;
}

static uint32_t *
head_of(const struct policy_duel *duel, const struct policy_duel_cache *cache,
        uint32_t fingerprint)
{
    uint32_t mixed = fingerprint * UINT32_C(0x9e3779b1);

    return &cache->heads[(uint64_t)mixed * duel->places >> 32];
}

static uint32_t
find(const struct policy_duel *duel, const struct policy_duel_cache *cache,
     uint32_t fingerprint)
{
    uint32_t place = *head_of(duel, cache, fingerprint);

    while (place != NONE && cache->blocks[place].fingerprint != fingerprint) {
        place = cache->blocks[place].chain;
    }
    return place;
}

static void
enter_queue(struct policy_duel_cache *cache, uint32_t place)
{
    struct policy_duel_block *block = &cache->blocks[place];
    uint32_t *newest = &cache->newest[block->class];

    cache->newcomers += block->class == 0;
    block->newer = NONE;
    block->older = *newest;
    if (*newest != NONE) {
        cache->blocks[*newest].newer = place;
    } else {
        cache->oldest[block->class] = place;
    }
    *newest = place;
}

static void
leave_queue(struct policy_duel_cache *cache, uint32_t place)
{
    struct policy_duel_block *block = &cache->blocks[place];

    cache->newcomers -= block->class == 0;
    if (block->newer != NONE) {
        cache->blocks[block->newer].older = block->older;
    } else {
        cache->newest[block->class] = block->older;
    }
    if (block->older != NONE) {
        cache->blocks[block->older].newer = block->newer;
    } else {
        cache->oldest[block->class] = block->newer;
    }
}

static uint32_t
choose(const struct policy_duel_cache *cache, enum policy_duel_order order,
       const struct policy_curves *curves, uint64_t usual_age, uint32_t now)
{
    struct policy_duel_candidate least = {.worth = 0};
    uint32_t victim = NONE;

    if (policy_duel_narrows(order, cache->newcomers, cache->count)) {
        return cache->oldest[0];
    }
    for (uint32_t class = 0; class < POLICY_CURVE_CLASSES; class ++) {
        uint32_t place = cache->oldest[class];
        struct policy_duel_candidate candidate;

        if (place == NONE) {
            continue;
        }
        candidate = policy_duel_judge(order, curves, class,
                                      now - cache->blocks[place].last_use,
                                      usual_age);
        if (victim == NONE || policy_duel_before(candidate, least)) {
            victim = place;
            least = candidate;
        }
    }
    return victim;
}

static void
drop(struct policy_duel *duel, struct policy_duel_cache *cache, uint32_t place)
{
    struct policy_duel_block *block = &cache->blocks[place];
    uint32_t *link = head_of(duel, cache, block->fingerprint);

    leave_queue(cache, place);
    while (*link != place) {
        link = &cache->blocks[*link].chain;
    }
    *link = block->chain;
    block->chain = cache->unused;
    cache->unused = place;
    cache->count--;
}

static void
use(struct policy_duel *duel, struct policy_duel_cache *cache,
    const struct policy_curves *curves, const struct policy_duel_block *used,
    uint64_t usual_age)
{
    uint32_t place = find(duel, cache, used->fingerprint);
    uint32_t *head;

    if (place != NONE) {
        cache->run++;
        leave_queue(cache, place);
        cache->blocks[place].last_use = used->last_use;
        cache->blocks[place].class = used->class;
        enter_queue(cache, place);
        return;
    }
    cache->run = 0;
    while (cache->count >= duel->limit) {
        drop(duel, cache,
             choose(cache, (enum policy_duel_order)(cache - duel->caches),
                    curves, usual_age, used->last_use));
    }
    head = head_of(duel, cache, used->fingerprint);
    place = cache->unused;
    cache->unused = cache->blocks[place].chain;
    cache->count++;
    cache->blocks[place] = *used;
    cache->blocks[place].chain = *head;
    *head = place;
    enter_queue(cache, place);
}

static uint32_t
fading_uses(const struct policy_duel *duel)
{
    return duel->limit > FADING_USES_MIN ? duel->limit : FADING_USES_MIN;
}

static void
fade(struct policy_duel *duel)
{
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        duel->caches[i].hits /= 2;
    }
    duel->until_fading = fading_uses(duel);
}

// Runs of hits that end with the root, or with the request, are hits of the
// prefix.
static void
end_request(struct policy_duel *duel)
{
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        duel->caches[i].hits += duel->caches[i].run;
        duel->caches[i].run = 0;
    }
}

static bool
queue_is_valid(const struct policy_duel *duel,
               const struct policy_duel_cache *cache, uint32_t class,
               uint32_t *count)
{
    uint32_t newer = NONE;
    uint32_t place = cache->newest[class];

    while (place != NONE) {
        const struct policy_duel_block *block = &cache->blocks[place];

        if (*count == cache->count || block->newer != newer ||
            block->class != class ||
            find(duel, cache, block->fingerprint) != place) {
            return false;
        }
        ++*count;
        newer = place;
        place = block->older;
    }
    return cache->oldest[class] == newer;
}

struct policy_duel_candidate
policy_duel_judge(enum policy_duel_order order,
                  const struct policy_curves *curves, uint32_t class,
                  uint64_t age, uint64_t usual_age)
{
    struct policy_duel_candidate candidate = {.age = age};

    switch (order) {
    case POLICY_DUEL_COARSE:
        candidate.worth = policy_curve_coarse(curves, class, age,
                                              usual_age * LONG_HORIZON);
        break;
    case POLICY_DUEL_FINE:
    case POLICY_DUEL_NARROW:
        candidate.worth = policy_curve_fine(curves, class, age,
                                            usual_age * SHORT_HORIZON);
        break;
    case POLICY_DUEL_RECENT:
    case POLICY_DUEL_ORDERS:
        break;
    }
    return candidate;
}

bool
policy_duel_narrows(enum policy_duel_order order, uint32_t newcomers,
                    uint32_t count)
{
    return order == POLICY_DUEL_NARROW && newcomers > count / NEWCOMERS_PART;
}

size_t
policy_duel_bytes(uint32_t entries)
{
    return (size_t)places_for(entries) * POLICY_DUEL_ORDERS *
           (sizeof(struct policy_duel_block) + sizeof(uint32_t));
}

// The share of blocks that are sampled changes only where it has to, since then
// the small caches have to settle.
void
policy_duel_limit(struct policy_duel *duel, uint32_t resident)
{
    while (resident >> duel->shift >= SAMPLE_BLOCKS_MAX) {
        duel->shift++;
    }
    while (duel->shift > 0 && resident >> duel->shift < SAMPLE_BLOCKS_MIN) {
        duel->shift--;
    }
    duel->limit = resident >> duel->shift;
    if (duel->limit == 0) {
        duel->limit = 1;
    }
}

void
policy_duel_init(struct policy_duel *duel, void *memory, uint32_t entries)
{
    struct policy_duel_block *blocks = memory;
    uint32_t *heads;

    duel->places = places_for(entries);
    policy_duel_limit(duel, entries);
    duel->until_fading = duel->limit;
    heads = (uint32_t *)(blocks + (size_t)duel->places * POLICY_DUEL_ORDERS);
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        struct policy_duel_cache *cache = &duel->caches[i];

        cache->blocks = blocks + (size_t)duel->places * i;
        cache->heads = heads + (size_t)duel->places * i;
        for (uint32_t j = 0; j < duel->places; j++) {
            cache->heads[j] = NONE;
            cache->blocks[j].chain = j + 1 < duel->places ? j + 1 : NONE;
        }
        for (uint32_t j = 0; j < POLICY_CURVE_CLASSES; j++) {
            cache->newest[j] = NONE;
            cache->oldest[j] = NONE;
        }
    }
}

void
policy_duel_use(struct policy_duel *duel, const struct policy_curves *curves,
                uint32_t fingerprint, uint32_t hits, uint32_t depth,
                uint64_t usual_age, uint32_t now)
{
    const struct policy_duel_block used = {
        .fingerprint = fingerprint,
        .last_use = now,
        .class = policy_curve_class(hits),
    };

    if (depth >= duel->depth) {
        end_request(duel);
    }
    duel->depth = depth;
    if ((fingerprint & ((UINT32_C(1) << duel->shift) - 1)) != 0) {
        return;
    }
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        use(duel, &duel->caches[i], curves, &used, usual_age);
    }
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        if (duel->caches[i].hits >
            duel->caches[duel->leader].hits * CLEARLY_AHEAD) {
            duel->leader = (enum policy_duel_order)i;
        }
    }
    if (--duel->until_fading == 0) {
        fade(duel);
    }
}

bool
policy_duel_is_valid(const struct policy_duel *duel)
{
    for (uint32_t i = 0; i < POLICY_DUEL_ORDERS; i++) {
        const struct policy_duel_cache *cache = &duel->caches[i];
        uint32_t count = 0;
        uint32_t newcomers = 0;

        for (uint32_t class = 0; class < POLICY_CURVE_CLASSES; class ++) {
            if (!queue_is_valid(duel, cache, class, &count)) {
                return false;
            }
            newcomers = class == 0 ? count : newcomers;
        }
        if (count != cache->count || newcomers != cache->newcomers ||
            count > duel->places) {
            return false;
        }
    }
    return true;
}
