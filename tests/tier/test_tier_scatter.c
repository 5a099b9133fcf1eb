// SPDX-License-Identifier: Apache-2.0
//
// Scattering from memory into spans: sizes around every border of pieces,
// chunks and windows, with and without helpers, checked and not.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/copy.h"
#include "base/units.h"
#include "block/block_digest.h"
#include "tier/tier_scatter.h"

// More than one window of pieces.
#define BYTES_MAX (66 * MIB + 13)

struct buffers {
    struct pool *pool;
    uint8_t *source;
    uint8_t *target;
};

static int
make_buffers(void **state)
{
    static struct buffers buffers;
    uint64_t random = 5;

    buffers.source = malloc(BYTES_MAX);
    buffers.target = malloc(BYTES_MAX + 64);
    if (buffers.source == NULL || buffers.target == NULL ||
        pool_create(allocator_system(), "test", 2, 4, &buffers.pool) !=
            CASCADE_OK) {
        return -1;
    }
    for (uint64_t i = 0; i < BYTES_MAX; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        buffers.source[i] = (uint8_t)(random >> 56);
    }
    *state = &buffers;
    return 0;
}

static int
free_buffers(void **state)
{
    struct buffers *buffers = *state;

    pool_destroy(buffers->pool);
    free(buffers->source);
    free(buffers->target);
    return 0;
}

// Three spans of which the middle one is empty, and room at the end.
static void
scatter(struct buffers *buffers, struct pool *pool, uint64_t bytes,
        uint64_t first, bool verify)
{
    uint32_t checksum = block_digest_checksum(NULL, buffers->source, bytes,
                                              NULL);
    const struct cascade_span spans[] = {
        {.data = buffers->target, .bytes = first},
        {.data = NULL, .bytes = 0},
        {.data = buffers->target + first, .bytes = bytes - first + 64},
    };

    memset(buffers->target, 0xee, bytes + 64);
    assert_int_equal(tier_scatter(pool, buffers->source, bytes, spans, 3,
                                  verify ? &checksum : NULL),
                     CASCADE_OK);
    assert_memory_equal(buffers->target, buffers->source, bytes);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(buffers->target[bytes + (uint64_t)i], 0xee);
    }
}

static void
all_bytes_arrive(void **state)
{
    static const uint64_t sizes[] = {
        0,
        1,
        COPY_STREAMING_BYTES_MIN - 1,
        COPY_STREAMING_BYTES_MIN,
        COPY_STREAMING_BYTES_MIN + 1,
        256 * KIB + 1,
        MIB - 1,
        MIB,
        MIB + 1,
        4 * MIB - 1,
        4 * MIB,
        8 * MIB + 7,
        63 * MIB + 9,
        64 * MIB,
        64 * MIB + 1,
        BYTES_MAX,
    };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            struct buffers *buffers = *state;

            if (sizes[i] > 16 * MIB && kind % 3 != 0) {
                continue; // the large ones in two ways are enough
            }
            scatter(buffers, (kind & 1) != 0 ? buffers->pool : NULL, sizes[i],
                    sizes[i] * kind / 4, (kind & 2) != 0);
        }
    }
}

static void
every_piece_is_checked(void **state)
{
    struct buffers *buffers = *state;
    uint32_t checksum = block_digest_checksum(NULL, buffers->source, BYTES_MAX,
                                              NULL);
    const struct cascade_span span = {.data = buffers->target,
                                      .bytes = BYTES_MAX};

    for (uint64_t at = 0; at < BYTES_MAX; at += 11 * MIB + 1) {
        buffers->source[at] ^= 4;
        assert_int_equal(tier_scatter(buffers->pool, buffers->source, BYTES_MAX,
                                      &span, 1, &checksum),
                         CASCADE_CORRUPT);
        buffers->source[at] ^= 4;
    }
}

static void
short_and_device_spans_are_refused(void **state)
{
    struct buffers *buffers = *state;
    struct cascade_span spans[] = {
        {.data = buffers->target, .bytes = 60},
        {.data = buffers->target + 60, .bytes = 39},
    };

    buffers->target[0] = 0xee;
    assert_int_equal(tier_scatter(NULL, buffers->source, 100, spans, 2, NULL),
                     CASCADE_TOO_SMALL);
    spans[1].bytes = 40;
    spans[1].memory = CASCADE_MEMORY_DEVICE;
    assert_int_equal(tier_scatter(NULL, buffers->source, 100, spans, 2, NULL),
                     CASCADE_UNSUPPORTED);
    assert_int_equal(buffers->target[0], 0xee);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_bytes_arrive),
        cmocka_unit_test(every_piece_is_checked),
        cmocka_unit_test(short_and_device_spans_are_refused),
    };

    return cmocka_run_group_tests(tests, make_buffers, free_buffers);
}
