// SPDX-License-Identifier: Apache-2.0
//
// Golden segment files: the writer still writes the same bytes, the reader
// still reads them, and a second reader written from the specification agrees.
// With $CASCADE_WRITE_GOLDEN set the files are written anew.

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "base/file.h"
#include "segment/segment_index.h"
#include "segment/segment_read.h"
#include "segment/segment_walk.h"
#include "segment/segment_write.h"

#define ITEMS 5
#define FILE_BYTES_MAX (1 << 20)

static char folder[] = "/tmp/golden-XXXXXX";
static int directory = -1;
static struct segment_io *io;
static struct segment_reader *reader;
static uint8_t payload[ITEMS][8192];

static const char *
golden_folder(void)
{
    const char *source = getenv("CASCADE_SOURCE_DIR");
    static char path[1024];

    if (source == NULL) {
        return NULL;
    }
    (void)snprintf(path, sizeof(path), "%s/tests/golden", source);
    return path;
}

static void
make_facts(struct segment_facts *facts, uint8_t uuid)
{
    memset(facts, 0, sizeof(*facts));
    facts->alignment_bytes = 4096;
    facts->rebind_allowed = true;
    memset(facts->uuid, uuid, sizeof(facts->uuid));
    memset(facts->writer, 0x77, sizeof(facts->writer));
    memset(facts->namespace_digest, 0x66, sizeof(facts->namespace_digest));
    facts->number = 12;
    facts->lowest_live_number = 3;
    facts->created_ns = 1000000007;
    facts->created.time_ns = 500;
    facts->created.tag = 9;
    facts->earlier_highest.time_ns = 400;
    facts->earlier_highest.tag = 8;
}

static void
make_items(struct segment_write_item items[ITEMS])
{
    static const char *const keys[ITEMS] = {"alpha", "beta", "gamma", "delta",
                                            "epsilon"};
    static const uint64_t sizes[ITEMS] = {100, 5000, 0, 0, 8192};

    memset(items, 0, ITEMS * sizeof(items[0]));
    for (uint32_t i = 0; i < ITEMS; i++) {
        struct segment_write_item *item = &items[i];

        item->label.key_data = keys[i];
        item->label.key_bytes = (uint32_t)strlen(keys[i]);
        block_key_of("golden", keys[i], strlen(keys[i]), &item->label.key);
        memset(&item->label.id, (int)(0xA0 + i), sizeof(item->label.id));
        item->label.version.time_ns = 1000 + i;
        item->label.version.tag = 9;
        item->label.depth = i;
        item->label.turn = 2;
        item->label.expected_reuse = 0.25f;
        item->bytes = sizes[i];
    }
    items[1].label.parent = items[0].label.key;
    items[1].label.flags = BLOCK_LABEL_PROTECTED;
    items[2].label.flags = BLOCK_LABEL_BIND;
    items[3].label.flags = BLOCK_LABEL_REMOVAL;
    memset(&items[3].label.id, 0, sizeof(items[3].label.id));
    for (uint32_t i = 0; i < ITEMS; i++) {
        struct segment_write_item *item = &items[i];
        uint8_t *bytes = payload[i];
        uint32_t crc;

        if (item->bytes > 0) {
            for (uint64_t k = 0; k < item->bytes; k++) {
                bytes[k] = (uint8_t)(k * (i + 3) + k / 251);
            }
            segment_format_chunk_crcs(bytes, item->bytes, &crc);
            item->checksum = segment_format_checksum(&crc, 1);
            item->payload = bytes;
        }
    }
}

// Batch, bind, skip and block, sealed or not.
static void
write_file(const char *name, uint8_t uuid, bool seal)
{
    struct segment_write_item items[ITEMS];
    struct segment_write_options options = {
        .io = io,
        .allocator = allocator_system(),
        .directory = directory,
        .name = name,
        .path = name,
    };
    struct segment_writer *writer;
    struct segment_write_stream *stream;
    struct segment_entry entry;

    make_items(items);
    make_facts(&options.facts, uuid);
    assert_int_equal(segment_write_create(&options, &writer), CASCADE_OK);
    assert_int_equal(segment_write_append(writer, items, 4), CASCADE_OK);
    assert_int_equal(segment_write_begin(writer, 4096, &stream), CASCADE_OK);
    segment_write_abort(stream);
    assert_int_equal(segment_write_begin(writer, 8192, &stream), CASCADE_OK);
    assert_int_equal(segment_write_feed(stream, items[4].payload, 8192),
                     CASCADE_OK);
    assert_int_equal(segment_write_finish(stream, &items[4].label,
                                          items[4].checksum, &entry),
                     CASCADE_OK);
    if (seal) {
        assert_int_equal(segment_write_seal(writer), CASCADE_OK);
    }
    segment_write_close(writer);
}

static bool
add_entry(void *context, const struct segment_entry *entry)
{
    struct segment_index *index = context;

    assert_int_equal(segment_index_reserve(index, 1), CASCADE_OK);
    segment_index_add(index, entry);
    return true;
}

static void
write_index(const char *name, const char *subject_name)
{
    struct segment_walk_options walk_options = {.verify = true};
    struct segment_walk_result result;
    struct segment_index_options options = {
        .io = io,
        .allocator = allocator_system(),
        .directory = directory,
        .name = name,
        .path = name,
    };
    struct segment_index index;
    struct segment_file *subject;

    segment_index_init(&index, allocator_system());
    assert_int_equal(segment_read_open(reader, directory, subject_name,
                                       subject_name, &subject, NULL),
                     CASCADE_OK);
    assert_int_equal(segment_walk(reader, subject, &walk_options, 0, add_entry,
                                  &index, &result),
                     CASCADE_OK);
    assert_int_equal(index.count, ITEMS);
    make_facts(&options.facts, 0x33);
    memcpy(options.facts.subject_uuid, subject->facts.uuid, 16);
    options.facts.subject_bytes = result.walked_bytes;
    options.facts.subject_number = subject->facts.number;
    memcpy(options.facts.subject_path, "w1/00000012.seg", 16);
    options.next_seq = result.next_seq;
    assert_int_equal(segment_index_create(&options, &index), CASCADE_OK);
    segment_index_fini(&index);
    segment_read_close(io, subject);
}

static size_t
load(const char *path, const char *name, uint8_t *data)
{
    char full[1280];
    size_t bytes;
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", path, name);
    file = fopen(full, "rb");
    if (file == NULL) {
        print_message("%s is missing\n", full);
        fail();
    }
    bytes = fread(data, 1, FILE_BYTES_MAX, file);
    (void)fclose(file);
    return bytes;
}

static void
copy_out(const char *name)
{
    static uint8_t data[FILE_BYTES_MAX];
    size_t bytes = load(folder, name, data);
    char full[1280];
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", golden_folder(), name);
    file = fopen(full, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    (void)fclose(file);
}

static const char *const names[] = {"sealed_1.seg", "unsealed_1.seg",
                                    "index_1.seg"};

// Files of this version, byte for byte.
static void
test_writer_writes_the_golden_bytes(void **state)
{
    static uint8_t mine[FILE_BYTES_MAX];
    static uint8_t golden[FILE_BYTES_MAX];

    (void)state;
    if (golden_folder() == NULL || sysconf(_SC_PAGESIZE) > 4096) {
        skip(); // larger pages make another alignment
    }
    write_file(names[0], 0x11, true);
    write_file(names[1], 0x22, false);
    write_index(names[2], names[1]);
    for (int i = 0; i < 3; i++) {
        size_t bytes = load(folder, names[i], mine);

        if (getenv("CASCADE_WRITE_GOLDEN") != NULL) {
            copy_out(names[i]);
        }
        assert_int_equal(bytes, load(golden_folder(), names[i], golden));
        assert_memory_equal(mine, golden, bytes);
    }
}

static bool
check_entry(void *context, const struct segment_entry *entry)
{
    struct segment_write_item items[ITEMS];
    uint32_t *seen = context;

    make_items(items);
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (block_key_equal(&entry->label.key, &items[i].label.key)) {
            assert_int_equal(entry->bytes, items[i].bytes);
            assert_int_equal(entry->checksum, items[i].checksum);
            assert_int_equal(entry->label.flags, items[i].label.flags);
            assert_int_equal(entry->label.version.time_ns, 1000 + i);
            *seen |= 1u << i;
        }
    }
    return true;
}

// Files of every version that ever was.
static void
test_reader_reads_the_golden_files(void **state)
{
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result result;

    (void)state;
    if (golden_folder() == NULL) {
        skip();
    }
    for (int i = 0; i < 3; i++) {
        struct segment_file *file;
        uint32_t seen = 0;
        int place = open(golden_folder(), O_RDONLY | O_DIRECTORY);

        assert_int_equal(
            segment_read_open(reader, place, names[i], names[i], &file, NULL),
            CASCADE_OK);
        assert_int_equal(file->sealed, i != 1);
        if (file->sealed) {
            assert_int_equal(
                segment_read_entries(reader, file, check_entry, &seen),
                CASCADE_OK);
        } else {
            assert_int_equal(segment_walk(reader, file, &options, 0,
                                          check_entry, &seen, &result),
                             CASCADE_OK);
        }
        assert_int_equal(seen, (1u << ITEMS) - 1);
        segment_read_close(io, file);
        (void)close(place);
    }
}

static void
test_second_reader_agrees(void **state)
{
    static uint8_t mine[FILE_BYTES_MAX];
    static uint8_t golden[FILE_BYTES_MAX];

    (void)state;
    if (golden_folder() == NULL ||
        system("python3 -c pass >/dev/null 2>&1") != 0) {
        skip();
    }
    for (int i = 0; i < 3; i++) {
        char command[4096];
        char text[64];
        size_t bytes;

        (void)snprintf(command, sizeof(command),
                       "python3 '%s/read_segment.py' '%s/%s' > '%s/out_%d.txt'",
                       golden_folder(), golden_folder(), names[i], folder, i);
        assert_int_equal(system(command), 0);
        (void)snprintf(text, sizeof(text), "out_%d.txt", i);
        bytes = load(folder, text, mine);
        (void)snprintf(text, sizeof(text), "%.*s.txt",
                       (int)(strlen(names[i]) - 4), names[i]);
        if (getenv("CASCADE_WRITE_GOLDEN") != NULL) {
            (void)snprintf(command, sizeof(command),
                           "cp '%s/out_%d.txt' '%s/%s'", folder, i,
                           golden_folder(), text);
            assert_int_equal(system(command), 0);
        }
        assert_int_equal(bytes, load(golden_folder(), text, golden));
        assert_memory_equal(mine, golden, bytes);
    }
}

static int
start(void **state)
{
    struct segment_io_options options = {
        .files = file_system_real(),
        .allocator = allocator_system(),
    };
    struct segment_reader_options reader_options = {
        .allocator = allocator_system(),
    };

    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    directory = open(folder, O_RDONLY | O_DIRECTORY);
    if (segment_io_create(&options, &io) != CASCADE_OK) {
        return -1;
    }
    reader_options.io = io;
    return segment_reader_create(&reader_options, &reader) == CASCADE_OK ? 0
                                                                         : -1;
}

static int
finish(void **state)
{
    char **list;
    size_t count;

    (void)state;
    segment_reader_destroy(reader);
    segment_io_destroy(io);
    if (file_list(file_system_real(), allocator_system(), directory, folder,
                  &list, &count) == CASCADE_OK) {
        for (size_t i = 0; i < count; i++) {
            (void)unlinkat(directory, list[i], 0);
        }
        file_names_free(allocator_system(), list, count);
    }
    (void)close(directory);
    return rmdir(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writer_writes_the_golden_bytes),
        cmocka_unit_test(test_reader_reads_the_golden_files),
        cmocka_unit_test(test_second_reader_agrees),
    };

    return cmocka_run_group_tests(tests, start, finish);
}
