// SPDX-License-Identifier: Apache-2.0
//
// The pipeline of reads: pieces of every shape, bytes shown in order as they
// come, and a failure of any one request while others are in flight. What is
// OK is right, and nothing is written to after the call has returned.

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"
#include "base/units.h"
#include "segment_fixture.h"

#define BLOCKS 6
#define FAULTS_MAX 200

// Pieces of 2 MiB, 1 MiB where staged: shorter than one, a whole number, a
// short last one, one byte into the next chunk.
static const uint64_t sizes[BLOCKS] = {
    5000, 1 * MIB, 4 * MIB, 3 * MIB + 5, 1 * MIB + 1, 2 * MIB + 300 * KIB,
};

// One in these many bytes of slack tells a write behind the block.
#define SLACK 65536

struct world {
    struct fixture fixture;
    struct segment_io *io;
    struct segment_reader *reader;
    struct segment_write_item items[BLOCKS];
    struct segment_file *file;
    uint8_t *memory[BLOCKS];
    uint8_t *shown[BLOCKS];
    uint64_t shown_bytes[BLOCKS];
    struct segment_read_request requests[BLOCKS];
    // The completion that fails, counted from 1; 0 = none.
    uint32_t fail_at;
    uint32_t completions;
    ssize_t fail_with; // -errno, or a short transfer of so many bytes
};

static ssize_t
fail_one(void *context, const struct segment_io_request *request,
         ssize_t result)
{
    struct world *world = context;

    (void)request;
    world->completions++;
    return world->completions == world->fail_at ? world->fail_with : result;
}

static void
open_reader(struct world *world, enum segment_io_kind kind)
{
    struct segment_io_options io = {
        .kind = kind,
        .depth = 4,
        .direct_bytes = 2 * MIB,
        .flight_bytes = 3 * MIB,
        .files = file_system_real(),
        .allocator = allocator_system(),
        .fault = fail_one,
        .fault_context = world,
    };
    struct segment_reader_options reader = {.allocator = allocator_system()};

    assert_int_equal(segment_io_create(&io, &world->io), CASCADE_OK);
    reader.io = world->io;
    assert_int_equal(segment_reader_create(&reader, &world->reader),
                     CASCADE_OK);
}

static void
begin(struct world *world, enum segment_io_kind kind)
{
    struct segment_writer *writer;

    memset(world, 0, sizeof(*world));
    fixture_open(&world->fixture, kind, NULL, NULL, NULL);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        fixture_make_block(&world->items[i], i, sizes[i], false);
        world->memory[i] = aligned_alloc(
            SLACK, units_round_up(sizes[i], SLACK) + SLACK);
        world->shown[i] = malloc(sizes[i]);
        assert_non_null(world->memory[i]);
        assert_non_null(world->shown[i]);
    }
    writer = fixture_create(&world->fixture, "a.seg", 0);
    assert_int_equal(segment_write_append(writer, world->items, BLOCKS),
                     CASCADE_OK);
    assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    segment_write_close(writer);
    open_reader(world, kind);
    assert_int_equal(segment_read_open(world->reader, world->fixture.directory,
                                       "a.seg", "a.seg", &world->file, NULL),
                     CASCADE_OK);
}

static void
end(struct world *world)
{
    segment_read_close(world->io, world->file);
    segment_reader_destroy(world->reader);
    segment_io_destroy(world->io); // checks that nothing is in flight
    for (uint32_t i = 0; i < BLOCKS; i++) {
        free(world->memory[i]);
        free(world->shown[i]);
    }
    fixture_items_free(world->items, BLOCKS);
    fixture_close(&world->fixture);
}

// Bytes come in order and without gaps.
static uint32_t
show(void *context, uint64_t at, const void *data, uint64_t bytes, uint32_t crc)
{
    struct world *world = context;
    uint32_t block = 0;

    // The block is known by what is not shown yet and by the bytes.
    while (block < BLOCKS &&
           (world->shown_bytes[block] != at ||
            at + bytes > world->items[block].bytes ||
            memcmp((const uint8_t *)world->items[block].payload + at, data,
                   bytes) != 0)) {
        block++;
    }
    assert_true(block < BLOCKS);
    memcpy(world->shown[block] + at, data, bytes);
    world->shown_bytes[block] += bytes;
    return crc32c(crc, data, bytes);
}

// `shift` misaligns the memory; without `roomy` there is not a byte too many.
static void
ask(struct world *world, uint64_t shift, bool roomy)
{
    memset(world->requests, 0, sizeof(world->requests));
    memset(world->shown_bytes, 0, sizeof(world->shown_bytes));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        struct segment_read_request *request = &world->requests[i];

        memset(world->memory[i], 0xEE, units_round_up(sizes[i], SLACK) + SLACK);
        request->file = &world->file->io;
        request->offset = world->items[i].entry.offset;
        request->bytes = sizes[i];
        request->checksum = world->items[i].checksum;
        request->memory = world->memory[i] + shift;
        request->memory_bytes = roomy ? units_round_up(sizes[i], SLACK)
                                      : sizes[i];
        request->take = show;
        request->take_context = world;
        if (sizes[i] >= SEGMENT_BATCH_BLOCK_BYTES) {
            request->facts = &world->file->facts;
            request->id = &world->items[i].label.id;
        }
    }
}

static void
check_block(const struct world *world, uint32_t block)
{
    const struct segment_read_request *request = &world->requests[block];
    const uint8_t *behind = (const uint8_t *)request->memory +
                            request->memory_bytes;

    assert_memory_equal(request->memory, world->items[block].payload,
                        sizes[block]);
    assert_int_equal(world->shown_bytes[block], sizes[block]);
    assert_memory_equal(world->shown[block], world->items[block].payload,
                        sizes[block]);
    assert_int_equal(behind[0], 0xEE);
}

static void
read_every_shape(enum segment_io_kind kind)
{
    struct world world;

    begin(&world, kind);
    for (uint64_t shift = 0; shift < 2; shift++) {
        for (int roomy = 0; roomy < 2; roomy++) {
            ask(&world, shift, roomy == 1);
            assert_int_equal(
                segment_read_payloads(world.reader, world.requests, BLOCKS),
                CASCADE_OK);
            for (uint32_t i = 0; i < BLOCKS; i++) {
                assert_int_equal(world.requests[i].status, CASCADE_OK);
                check_block(&world, i);
            }
        }
    }
    end(&world);
}

static void
pieces_of_every_shape(void **state)
{
    (void)state;
    read_every_shape(SEGMENT_IO_AUTO);
    read_every_shape(SEGMENT_IO_PREAD);
}

// Reads with the fault; returns false once it was not met any more.
static bool
read_with_fault(struct world *world, uint32_t number, ssize_t fail_with,
                uint64_t shift)
{
    uint32_t failed = 0;

    ask(world, shift, true);
    world->completions = 0;
    world->fail_at = number;
    world->fail_with = fail_with;
    (void)!segment_read_payloads(world->reader, world->requests, BLOCKS);
    world->fail_at = 0;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        if (world->requests[i].status == CASCADE_OK) {
            check_block(world, i);
        } else {
            failed++;
        }
        // What was given back is the caller's.
        memset(world->memory[i], 0xDD, sizes[i]);
    }
    if (number > world->completions) {
        assert_int_equal(failed, 0);
        return false;
    }
    // A short transfer goes on; an error fails one block and no other.
    assert_int_equal(failed, fail_with < 0 ? 1 : 0);
    // Nothing is in flight, and the reader is as good as before.
    assert_null(segment_io_wait(world->io));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const uint8_t *memory = world->memory[i];

        assert_int_equal(memory[0], 0xDD);
        assert_memory_equal(memory, memory + 1, sizes[i] - 1);
    }
    return true;
}

static void
sweep(ssize_t fail_with, uint64_t shift)
{
    struct world world;
    uint32_t number = 1;

    begin(&world, SEGMENT_IO_AUTO);
    while (read_with_fault(&world, number, fail_with, shift)) {
        number++;
        assert_true(number < FAULTS_MAX);
    }
    assert_true(number > BLOCKS);
    end(&world);
}

static void
any_request_fails_among_others(void **state)
{
    (void)state;
    sweep(-EIO, 0);
    sweep(-EIO, 1);
}

static void
any_request_is_short(void **state)
{
    (void)state;
    sweep(4096, 0);
    sweep(4096, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_every_shape),
        cmocka_unit_test(any_request_fails_among_others),
        cmocka_unit_test(any_request_is_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
