// SPDX-License-Identifier: Apache-2.0
//
// The DRAM tier under the conformance suite, with and without threads to help.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/units.h"
#include "conformance/tier_suite.h"
#include "tier/tier_dram.h"

#define CAPACITY (64 * MIB)

struct context {
    struct pool *pool;
    uint64_t granule_bytes;
};

static enum cascade_status
open_dram(void *context, struct tier *tier)
{
    const struct context *settings = context;
    const struct tier_dram_options options = {
        .capacity_bytes = CAPACITY,
        .blocks_max = 512,
        .granule_bytes = settings->granule_bytes,
        .rank = 3,
        .allocator = allocator_system(),
        .pool = settings->pool,
    };
    struct tier_dram *dram;
    enum cascade_status status = tier_dram_open(&options, &dram);

    if (status == CASCADE_OK) {
        *tier = tier_dram_tier(dram);
    }
    return status;
}

static enum cascade_status
close_dram(void *context, struct tier tier)
{
    (void)context;
    assert_true(tier_dram_is_valid(tier.self));
    return tier_dram_close(tier.self);
}

static void
damage_dram(void *context, struct tier tier, const struct block_place *place,
            uint64_t at)
{
    uint8_t *memory = (uint8_t *)(uintptr_t)tier_dram_memory(tier.self, place);

    (void)context;
    memory[at] ^= 1;
}

int
main(void)
{
    struct context context = {.pool = NULL};
    struct tier_suite suite = {
        .name = "dram",
        .context = &context,
        .capacity_bytes = CAPACITY,
        .reuses_space = true,
        .open = open_dram,
        .close = close_dram,
        .damage = damage_dram,
    };
    int failed = tier_suite_run(&suite);

    if (pool_create(allocator_system(), "test", 2, 16, &context.pool) !=
        CASCADE_OK) {
        return 1;
    }
    context.granule_bytes = 64 * KIB;
    suite.name = "dram, with a pool and a larger granule";
    failed += tier_suite_run(&suite);
    pool_destroy(context.pool);
    return failed;
}
