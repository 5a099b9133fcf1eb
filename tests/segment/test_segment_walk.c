// SPDX-License-Identifier: Apache-2.0
//
// Walking files without a footer, and damage of every kind: whatever is done to
// a file, what it shows is what was put, or less.

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/units.h"
#include "segment_fixture.h"
#include "support/file_faulty.h"

#define SEED 20261124u

struct damage {
    struct file_faulty faulty;
    struct fixture fixture;
    struct segment_write_item items[FIXTURE_ITEMS_MAX];
    size_t count;
};

// A small file with every kind of record: batch, bind, block, skip.
static void
write_small_file(struct damage *damage, const char *name, bool seal,
                 uint8_t uuid_byte)
{
    struct fixture *fixture = &damage->fixture;
    struct segment_write_options options;
    struct segment_writer *writer = NULL;
    struct segment_write_stream *stream = NULL;
    struct segment_entry entry;

    fixture_options(fixture, name, 0, &options);
    memset(options.facts.uuid, uuid_byte, sizeof(options.facts.uuid));
    assert_int_equal(segment_write_create(&options, &writer), CASCADE_OK);
    assert_int_equal(segment_write_append(writer, damage->items, 4),
                     CASCADE_OK);
    assert_int_equal(segment_write_begin(writer, 4096, &stream), CASCADE_OK);
    segment_write_abort(stream);
    assert_int_equal(
        segment_write_begin(writer, damage->items[4].bytes, &stream),
        CASCADE_OK);
    assert_int_equal(segment_write_feed(stream, damage->items[4].payload,
                                        damage->items[4].bytes),
                     CASCADE_OK);
    assert_int_equal(segment_write_finish(stream, &damage->items[4].label,
                                          damage->items[4].checksum, &entry),
                     CASCADE_OK);
    assert_int_equal(segment_write_append(writer, &damage->items[5], 1),
                     CASCADE_OK);
    if (seal) {
        assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    }
    segment_write_close(writer);
}

// The alignment unit that a file says it has.
static uint32_t
unit_of(const uint8_t *data)
{
    struct segment_file_header header;

    memcpy(&header, data, sizeof(header));
    assert_true(segment_format_alignment_is_valid(header.alignment));
    return header.alignment;
}

static void
start(struct damage *damage)
{
    memset(damage, 0, sizeof(*damage));
    file_faulty_init(&damage->faulty, NULL);
    damage->faulty.refuse_direct = true; // the page cache is faster
    damage->faulty.lazy = true;
    fixture_open(&damage->fixture, SEGMENT_IO_PREAD, &damage->faulty.table,
                 NULL, NULL);
    damage->count = fixture_make_small_items(damage->items);
    fixture_make_block(&damage->items[4], 4, 9000, false);
    fixture_make_block(&damage->items[5], 5, 300, false);
    damage->count = 6;
}

static void
finish(struct damage *damage)
{
    fixture_items_free(damage->items, damage->count);
    fixture_close(&damage->fixture);
}

// Bytes changed, one at a time: all where headers, keys, entries and trailers
// are, a few of payload and padding.
static void
flip_every_byte(bool seal)
{
    struct damage damage;
    struct fixture_found found;
    uint64_t bytes;
    uint8_t *data;
    uint64_t harmless = 0;
    uint64_t unit;

    start(&damage);
    write_small_file(&damage, "a.seg", seal, 3);
    data = fixture_load(&damage.fixture, "a.seg", &bytes);
    unit = unit_of(data);
    for (uint64_t i = 0; i < bytes; i++) {
        if (i % unit >= 1152 && i % unit < unit - 256 &&
            i % (11 * unit / 4096) != 0) {
            continue;
        }
        fixture_poke(&damage.fixture, "a.seg", i,
                     (uint8_t)(data[i] ^ (1u << i % 8)));
        fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                     &found);
        harmless += found.intact == damage.count ? 1 : 0;
        assert_true(found.status == CASCADE_OK ||
                    found.status == CASCADE_CORRUPT ||
                    found.status == CASCADE_NOT_FOUND);
        // One byte costs at most one record (here: of three items), but for
        // the file header.
        assert_true(found.intact + 3 >= damage.count || i < unit);
        fixture_poke(&damage.fixture, "a.seg", i, data[i]);
    }
    assert_true(harmless < bytes);
    fixture_look(&damage.fixture, "a.seg", damage.items, damage.count, &found);
    assert_int_equal(found.intact, damage.count);
    free(data);
    finish(&damage);
}

static void
test_every_byte_flipped_sealed(void **state)
{
    (void)state;
    flip_every_byte(true);
}

static void
test_every_byte_flipped_unsealed(void **state)
{
    (void)state;
    flip_every_byte(false);
}

// Bytes of headers set to 0, 255 and one more: lengths that grow.
static void
test_header_bytes_set(void **state)
{
    struct damage damage;
    struct fixture_found found;
    uint64_t bytes;
    uint64_t unit;
    uint8_t *data;

    (void)state;
    start(&damage);
    write_small_file(&damage, "a.seg", true, 3);
    data = fixture_load(&damage.fixture, "a.seg", &bytes);
    unit = unit_of(data);
    for (uint64_t i = 0; i < bytes; i++) {
        uint8_t values[3] = {0, 255, (uint8_t)(data[i] + 1)};

        if (i % unit >= 272 && i % unit < unit - 256) {
            continue;
        }
        for (int k = 0; k < 3; k++) {
            fixture_poke(&damage.fixture, "a.seg", i, values[k]);
            fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                         &found);
        }
        fixture_poke(&damage.fixture, "a.seg", i, data[i]);
    }
    free(data);
    finish(&damage);
}

// Cut at every alignment unit, and a little beside it: all records that are
// whole are found.
static void
test_truncated_everywhere(void **state)
{
    struct damage damage;
    struct fixture_found found;
    uint64_t bytes;
    uint64_t unit;
    uint8_t *data;
    uint32_t last = 0;

    (void)state;
    start(&damage);
    write_small_file(&damage, "a.seg", true, 3);
    data = fixture_load(&damage.fixture, "a.seg", &bytes);
    unit = unit_of(data);
    for (uint64_t at = 0; at < bytes; at += unit) {
        const uint64_t beside[] = {0, 1, 100, unit - 1};

        for (int k = 0; k < 4; k++) {
            uint64_t end = units_min(at + beside[k], bytes - 1);

            fixture_store(&damage.fixture, "b.seg", data, end);
            fixture_look(&damage.fixture, "b.seg", damage.items, damage.count,
                         &found);
            assert_false(found.sealed);
            if (end < 1024) {
                assert_int_equal(found.status, CASCADE_STALE);
            }
            assert_true(found.intact >= last);
            last = found.intact;
        }
    }
    assert_int_equal(last, damage.count);
    free(data);
    finish(&damage);
}

static uint64_t random_state = SEED;

static uint32_t
next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static void
test_garbage(void **state)
{
    struct damage damage;
    struct fixture_found found;
    uint8_t *data = malloc(100000);
    uint64_t bytes;
    uint64_t unit;
    uint8_t *good;

    (void)state;
    start(&damage);
    random_state = SEED;
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 100000; i += 1 + round) {
            data[i] = (uint8_t)next_random();
        }
        fixture_store(&damage.fixture, "a.seg", data, (uint64_t)round * 500);
        fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                     &found);
        assert_int_equal(found.status, round * 500 < 1024 ? CASCADE_STALE
                                                          : CASCADE_NOT_FOUND);
    }
    // Garbage behind a good header.
    write_small_file(&damage, "c.seg", true, 3);
    good = fixture_load(&damage.fixture, "c.seg", &bytes);
    unit = unit_of(good);
    data = realloc(data, bytes);
    assert_non_null(data);
    for (int round = 0; round < 300; round++) {
        uint64_t from = unit + next_random() % (bytes - unit);

        memcpy(data, good, bytes);
        for (uint64_t i = from; i < bytes && i < from + 5000; i++) {
            data[i] = (uint8_t)next_random();
        }
        fixture_store(&damage.fixture, "a.seg", data, bytes);
        fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                     &found);
        if (found.status != CASCADE_OK) {
            print_message("seed %u round %d\n", SEED, round);
        }
        assert_int_equal(found.status, CASCADE_OK);
    }
    free(good);
    free(data);
    finish(&damage);
}

// A file whose space is full of valid records of a former file: none returns.
static void
test_recycled_file(void **state)
{
    struct damage damage;
    struct segment_write_item older[FIXTURE_ITEMS_MAX];
    struct fixture_found found;
    uint64_t old_bytes;
    uint64_t bytes;
    uint64_t unit;
    uint8_t *old_data;
    uint8_t *data;
    uint8_t *saved;

    (void)state;
    start(&damage);
    for (uint32_t i = 0; i < 30; i++) {
        fixture_make_block(&older[i], i, 5000, false);
        older[i].label.version.time_ns += 1000; // would win
    }
    {
        struct segment_write_options options;
        struct segment_writer *writer;

        fixture_options(&damage.fixture, "old.seg", 0, &options);
        memset(options.facts.uuid, 1, sizeof(options.facts.uuid));
        assert_int_equal(segment_write_create(&options, &writer), CASCADE_OK);
        for (int i = 0; i < 30; i++) {
            assert_int_equal(segment_write_append(writer, &older[i], 1),
                             CASCADE_OK);
        }
        assert_int_equal(segment_write_seal(writer), CASCADE_OK);
        segment_write_close(writer);
    }
    write_small_file(&damage, "new.seg", false, 2);
    old_data = fixture_load(&damage.fixture, "old.seg", &old_bytes);
    data = fixture_load(&damage.fixture, "new.seg", &bytes);
    assert_true(bytes < old_bytes);
    memcpy(old_data, data, bytes);
    fixture_store(&damage.fixture, "a.seg", old_data, old_bytes);
    fixture_look(&damage.fixture, "a.seg", damage.items, damage.count, &found);
    assert_int_equal(found.shown, damage.count);
    assert_int_equal(found.intact, damage.count);
    assert_false(found.sealed);
    // The same with holes where the new file's records failed.
    unit = unit_of(data);
    saved = malloc(unit);
    assert_non_null(saved);
    for (uint64_t hole = unit; hole < bytes; hole += unit) {
        memcpy(saved, old_data + hole, unit);
        memset(old_data + hole, 0, unit);
        fixture_store(&damage.fixture, "a.seg", old_data, old_bytes);
        fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                     &found);
        assert_true(found.shown <= damage.count);
        assert_true(found.intact + 3 >= damage.count);
        memcpy(old_data + hole, saved, unit);
    }
    free(saved);
    free(old_data);
    free(data);
    fixture_items_free(older, 30);
    finish(&damage);
}

static bool
count_entry(void *context, const struct segment_entry *entry)
{
    uint32_t *count = context;

    (void)entry;
    (*count)++;
    return true;
}

// A record copied to another place of its own file is not a record there.
static void
test_record_at_wrong_place(void **state)
{
    struct damage damage;
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result result;
    struct segment_file *file;
    uint64_t bytes;
    uint8_t *data;
    uint8_t *twice;
    uint32_t shown = 0;

    (void)state;
    start(&damage);
    write_small_file(&damage, "a.seg", false, 3);
    data = fixture_load(&damage.fixture, "a.seg", &bytes);
    twice = malloc(2 * bytes);
    memcpy(twice, data, bytes);
    memcpy(twice + bytes, data, bytes);
    fixture_store(&damage.fixture, "b.seg", twice, 2 * bytes);
    assert_int_equal(segment_read_open(damage.fixture.reader,
                                       damage.fixture.directory, "b.seg",
                                       "b.seg", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(segment_walk(damage.fixture.reader, file, &options, 0,
                                  count_entry, &shown, &result),
                     CASCADE_OK);
    assert_int_equal(shown, damage.count);
    assert_int_equal(result.walked_bytes, bytes);
    assert_int_equal(result.bad_headers, bytes / unit_of(data));
    assert_int_equal(result.highest.time_ns, 1005);
    assert_int_equal(result.lowest.time_ns, 1000);
    // Bounded by a walked length, as an index file says it.
    shown = 0;
    assert_int_equal(segment_walk(damage.fixture.reader, file, &options,
                                  (uint64_t)2 * unit_of(data), count_entry,
                                  &shown, &result),
                     CASCADE_OK);
    assert_true(shown < damage.count);
    segment_read_close(damage.fixture.io, file);
    free(data);
    free(twice);
    finish(&damage);
}

// Without verification a bad payload is shown; with it, it never was.
static void
test_verification(void **state)
{
    struct damage damage;
    struct segment_walk_options options = {.verify = false};
    struct segment_walk_result result;
    struct segment_file *file;
    uint64_t bytes;
    uint8_t *data;
    uint32_t shown = 0;

    (void)state;
    start(&damage);
    write_small_file(&damage, "a.seg", false, 3);
    data = fixture_load(&damage.fixture, "a.seg", &bytes);
    // The first payload.
    fixture_poke(&damage.fixture, "a.seg", (uint64_t)2 * unit_of(data), 0x5A);
    free(data);
    assert_int_equal(segment_read_open(damage.fixture.reader,
                                       damage.fixture.directory, "a.seg",
                                       "a.seg", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(segment_walk(damage.fixture.reader, file, &options, 0,
                                  count_entry, &shown, &result),
                     CASCADE_OK);
    assert_int_equal(shown, damage.count);
    shown = 0;
    options.verify = true;
    assert_int_equal(segment_walk(damage.fixture.reader, file, &options, 0,
                                  count_entry, &shown, &result),
                     CASCADE_OK);
    assert_int_equal(shown, damage.count - 1);
    assert_int_equal(result.bad_payloads, 1);
    segment_read_close(damage.fixture.io, file);
    finish(&damage);
}

static void
test_nth_read_fails(void **state)
{
    struct damage damage;
    struct fixture_found found;
    bool done = false;

    (void)state;
    start(&damage);
    write_small_file(&damage, "a.seg", false, 3);
    for (uint64_t n = 1; !done; n++) {
        damage.faulty.calls = 0;
        damage.faulty.fail_from = n;
        fixture_look(&damage.fixture, "a.seg", damage.items, damage.count,
                     &found);
        done = damage.faulty.calls < n;
        damage.faulty.fail_from = 0;
    }
    assert_int_equal(found.intact, damage.count);
    finish(&damage);
}

// Records whose sequence does not rise are of no account.
static void
test_sequence_must_rise(void **state)
{
    static const uint64_t seqs[] = {5, 3, 5, 6};
    struct damage damage;
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result result;
    struct segment_file *file;
    uint8_t *data = aligned_alloc(4096, 5 * 4096);
    struct segment_facts facts = {.alignment_bytes = 4096,
                                  .kind = SEGMENT_FILE_RECORDS};
    uint32_t shown = 0;

    (void)state;
    start(&damage);
    memset(data, 0, 4096);
    memset(facts.uuid, 9, sizeof(facts.uuid));
    segment_format_put_file_header(&facts, (void *)data);
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t variable = segment_format_variable_start(1);
        uint8_t *record = data + (i + 1) * 4096;

        segment_format_begin_record(record, 4096, SEGMENT_RECORD_BIND,
                                    facts.uuid, seqs[i], (i + 1) * 4096, 4096,
                                    1);
        segment_format_add_item(record, 0, &variable, &damage.items[2].label, 0,
                                0, NULL);
        (void)segment_format_end_record(record);
    }
    fixture_store(&damage.fixture, "a.seg", data, 5 * 4096);
    assert_int_equal(segment_read_open(damage.fixture.reader,
                                       damage.fixture.directory, "a.seg",
                                       "a.seg", &file, NULL),
                     CASCADE_OK);
    assert_int_equal(segment_walk(damage.fixture.reader, file, &options, 0,
                                  count_entry, &shown, &result),
                     CASCADE_OK);
    assert_int_equal(shown, 2);
    assert_int_equal(result.next_seq, 7);
    segment_read_close(damage.fixture.io, file);
    free(data);
    finish(&damage);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_flipped_sealed),
        cmocka_unit_test(test_every_byte_flipped_unsealed),
        cmocka_unit_test(test_header_bytes_set),
        cmocka_unit_test(test_truncated_everywhere),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_recycled_file),
        cmocka_unit_test(test_record_at_wrong_place),
        cmocka_unit_test(test_sequence_must_rise),
        cmocka_unit_test(test_verification),
        cmocka_unit_test(test_nth_read_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
