// SPDX-License-Identifier: Apache-2.0
//
// The list of policies, and the choices that need no state. No lock.

#include "policy/policy.h"

#include <string.h>

static const struct policy_table *const policies[] = {
    &policy_lru,  &policy_fifo,     &policy_lfu,       &policy_lfu_da,
    &policy_arc,  &policy_s3fifo,   &policy_s3fifo_50, &policy_sieve,
    &policy_slru, &policy_wtinylfu, &policy_cascade,
};

// Protection is a promise about memory: a block that is only in segments is not
// protected, whatever its binding says.
static bool
is_memory(enum cascade_tier tier)
{
    return tier != CASCADE_TIER_NONE && tier != CASCADE_TIER_SEGMENTS;
}

static bool
could_take(const struct policy_tier_facts *facts, uint64_t bytes)
{
    return facts->usable && bytes <= facts->budget.capacity_bytes;
}

const struct policy_table *
policy_at(size_t index)
{
    return index < sizeof(policies) / sizeof(policies[0]) ? policies[index]
                                                          : NULL;
}

const struct policy_table *
policy_find(const char *name)
{
    const struct policy_table *policy;

    for (size_t i = 0; (policy = policy_at(i)) != NULL; i++) {
        if (strcmp(policy->name, name) == 0) {
            return policy;
        }
    }
    return NULL;
}

bool
policy_protect_allows(const struct policy_budget *budget, uint64_t bytes)
{
    double limit = (double)budget->capacity_bytes * budget->fraction_max;

    return (double)budget->protected_bytes + (double)bytes <= limit;
}

size_t
policy_choose_tier(const struct policy_tier_facts *tiers, size_t count,
                   uint64_t bytes, bool protect, uint8_t *order)
{
    size_t chosen = 0;

    // Two rounds for a block to be protected: where it can be, then the rest.
    for (int round = protect ? 0 : 1; round < 2; round++) {
        for (size_t i = 0; i < count; i++) {
            bool protects = protect && is_memory(tiers[i].tier) &&
                            policy_protect_allows(&tiers[i].budget, bytes);

            if (could_take(&tiers[i], bytes) && protects == (round == 0)) {
                order[chosen++] = (uint8_t)i;
            }
        }
    }
    return chosen;
}

bool
policy_choose_promotion(uint32_t remote_hits, uint32_t threshold)
{
    return threshold > 0 && remote_hits >= threshold;
}
