// SPDX-License-Identifier: Apache-2.0
//
// The cold tier under the conformance suite, with each way of I/O that this
// machine has.

#include <fcntl.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "conformance/tier_suite.h"
#include "support/scratch.h"
#include "tier/tier_segment.h"

#define CAPACITY (256 * MIB)

struct context {
    struct scratch scratch;
    char root[SCRATCH_BYTES + 32];
    unsigned opened; // each tier gets a root of its own
    enum tier_segment_io io;
};

static void
see_nothing(void *context, const struct tier_segment_entry *entry)
{
    (void)context;
    (void)entry;
    fail_msg("a fresh root holds a record");
}

static enum cascade_status
open_segments(void *context, struct tier *tier)
{
    struct context *settings = context;
    struct tier_segment_options options = {
        .root = settings->root,
        .namespace_name = "conformance",
        .rebind_allowed = true,
        .segment_bytes = 16 * MIB,
        .capacity_bytes = CAPACITY,
        .lease_ns = 30 * NS_PER_S,
        .file_mode = 0640,
        .group = "",
        .io = settings->io,
        .files = file_system_real(),
        .clock = clock_system(),
        .allocator = allocator_system(),
        .version_tag = 99,
    };
    struct block_version floor;
    struct block_version highest;
    struct tier_segment *cold;
    enum cascade_status status;

    (void)snprintf(settings->root, sizeof(settings->root), "%s/root-%u",
                   settings->scratch.path, settings->opened++);
    status = tier_segment_open(&options, see_nothing, NULL, &floor, &highest,
                               &cold);
    if (status == CASCADE_OK) {
        tier->table = &tier_segment_table;
        tier->self = cold;
    }
    return status;
}

static enum cascade_status
close_segments(void *context, struct tier tier)
{
    (void)context;
    return tier_segment_close(tier.self);
}

// A tier of the suite writes a few blocks: they lie in its first segment.
static void
damage_segment(void *context, struct tier tier, const struct block_place *place,
               uint64_t at)
{
    struct context *settings = context;
    char pattern[sizeof(settings->root) + 64];
    glob_t found;
    uint8_t byte;
    int file;

    (void)tier;
    (void)snprintf(pattern, sizeof(pattern), "%s/conformance/w*/00000001.seg",
                   settings->root);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    file = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(pread(file, &byte, 1, (off_t)(place->offset + at)), 1);
    byte ^= 1;
    assert_int_equal(pwrite(file, &byte, 1, (off_t)(place->offset + at)), 1);
    (void)close(file);
    globfree(&found);
}

int
main(void)
{
    static const enum tier_segment_io ways[] = {TIER_SEGMENT_IO_AUTO,
                                                TIER_SEGMENT_IO_PREAD};
    int failed = 0;

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        struct context context = {.io = ways[i]};
        struct tier_suite suite = {
            .name = i == 0 ? "segments" : "segments, pread",
            .context = &context,
            .capacity_bytes = CAPACITY,
            .reuses_space = false,
            .pins_neighbours = true,
            .open = open_segments,
            .close = close_segments,
            .damage = damage_segment,
        };

        scratch_make(&context.scratch);
        failed += tier_suite_run(&suite);
        scratch_remove(&context.scratch);
    }
    return failed;
}
