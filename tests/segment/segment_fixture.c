// SPDX-License-Identifier: Apache-2.0
//
// What the segment tests share. See segment_fixture.h.

#include "segment_fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/units.h"
#include "support/alignment.h"

#define GUARD 4096

// Payload bytes that differ between numbers and between places.
static void
fill(uint8_t *data, uint64_t bytes, uint32_t number)
{
    uint64_t state = number * UINT64_C(0x9E3779B97F4A7C15) + 1;

    for (uint64_t i = 0; i < bytes; i++) {
        if (i % 8 == 0) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
        }
        data[i] = (uint8_t)(state >> (i % 8 * 8));
    }
}

static void
make_label(struct block_label *label, uint32_t number, uint32_t flags)
{
    static char keys[FIXTURE_ITEMS_MAX][CASCADE_KEY_BYTES_MAX];
    char *key = keys[number];
    uint32_t key_bytes = number % 5 == 4 ? CASCADE_KEY_BYTES_MAX
                                         : 8 + number % 7;

    memset(label, 0, sizeof(*label));
    memset(key, (int)('a' + number % 26), CASCADE_KEY_BYTES_MAX);
    memset(label->key.bytes, 0x40, sizeof(label->key.bytes));
    memset(label->id.bytes, 0x50, sizeof(label->id.bytes));
    memcpy(label->key.bytes, &number, sizeof(number));
    memcpy(label->id.bytes, &number, sizeof(number));
    label->parent.bytes[3] = (uint8_t)number;
    label->version.time_ns = 1000 + number;
    label->version.tag = 77;
    label->flags = flags;
    label->depth = number * 3;
    label->turn = number + 1;
    label->request_class = 2;
    label->expected_reuse = 0.5f;
    if (number % 9 != 8) {
        label->key_data = key;
        label->key_bytes = key_bytes;
    }
    if ((flags & (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR)) != 0) {
        memset(&label->id, 0, sizeof(label->id));
    }
}

void
fixture_open(struct fixture *fixture, enum segment_io_kind kind,
             const struct file_system *files, segment_io_fault *fault,
             void *fault_context)
{
    struct segment_io_options io_options = {
        .kind = kind,
        .files = files != NULL ? files : file_system_real(),
        .allocator = allocator_system(),
        .fault = fault,
        .fault_context = fault_context,
    };
    struct segment_reader_options reader_options = {
        .allocator = allocator_system(),
    };
    const char *folder = getenv("TMPDIR");

    memset(fixture, 0, sizeof(*fixture));
    if (folder == NULL) {
        // Sweeps of faults go to memory, real I/O to a disk.
        folder = files != NULL && access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                                                : "/tmp";
    }
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/segment-XXXXXX",
                   folder);
    assert_non_null(mkdtemp(fixture->path));
    fixture->directory = open(fixture->path, O_RDONLY | O_DIRECTORY);
    assert_true(fixture->directory >= 0);
    fixture->files = io_options.files;
    fixture->allocator = allocator_system();
    assert_int_equal(segment_io_create(&io_options, &fixture->io), CASCADE_OK);
    reader_options.io = fixture->io;
    assert_int_equal(segment_reader_create(&reader_options, &fixture->reader),
                     CASCADE_OK);
}

void
fixture_close(struct fixture *fixture)
{
    char **names;
    size_t count;

    segment_reader_destroy(fixture->reader);
    segment_io_destroy(fixture->io);
    assert_int_equal(file_list(file_system_real(), allocator_system(),
                               fixture->directory, fixture->path, &names,
                               &count),
                     CASCADE_OK);
    for (size_t i = 0; i < count; i++) {
        (void)unlinkat(fixture->directory, names[i], 0);
    }
    file_names_free(allocator_system(), names, count);
    (void)close(fixture->directory);
    (void)rmdir(fixture->path);
}

void
fixture_make_block(struct segment_write_item *item, uint32_t number,
                   uint64_t bytes, bool misaligned)
{
    uint8_t *memory;
    uint32_t *crcs;
    uint64_t count = segment_format_chunk_count(bytes);

    assert_true(number < FIXTURE_ITEMS_MAX);
    memset(item, 0, sizeof(*item));
    make_label(&item->label, number, 0);
    memory = aligned_alloc(GUARD, units_round_up(bytes + 1, GUARD));
    crcs = calloc(count + 1, sizeof(*crcs));
    assert_non_null(memory);
    assert_non_null(crcs);
    memory += misaligned ? 1 : 0;
    fill(memory, bytes, number);
    segment_format_chunk_crcs(memory, bytes, crcs);
    item->payload = memory;
    item->bytes = bytes;
    item->checksum = segment_format_checksum(crcs, count);
    free(crcs);
}

void
fixture_make_bind(struct segment_write_item *item, uint32_t number,
                  uint32_t flags)
{
    assert_true(number < FIXTURE_ITEMS_MAX);
    memset(item, 0, sizeof(*item));
    make_label(&item->label, number, flags);
}

size_t
fixture_make_items(struct segment_write_item items[FIXTURE_ITEMS_MAX],
                   bool misaligned)
{
    static const uint64_t sizes[] = {
        0,       1,       4095,    4096,        4097,    100000,
        65536,   MIB - 1, MIB,     MIB + 1,     524288,  3 * MIB + 5,
        2 * MIB, 700000,  4 * MIB, MIB + 65536, 1000000,
    };
    uint32_t number = 0;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (i % 6 == 5) {
            fixture_make_bind(&items[number], number, BLOCK_LABEL_BIND);
            number++;
        }
        fixture_make_block(&items[number], number, sizes[i], misaligned);
        number++;
    }
    items[3].label.flags |= BLOCK_LABEL_PROTECTED;
    fixture_make_bind(&items[number], number, BLOCK_LABEL_REMOVAL);
    number++;
    fixture_make_bind(&items[number], number, BLOCK_LABEL_CLEAR);
    return number + 1;
}

size_t
fixture_make_small_items(struct segment_write_item items[FIXTURE_ITEMS_MAX])
{
    fixture_make_block(&items[0], 0, 100, false);
    fixture_make_block(&items[1], 1, 5000, false);
    fixture_make_bind(&items[2], 2, BLOCK_LABEL_BIND);
    fixture_make_bind(&items[3], 3, BLOCK_LABEL_REMOVAL);
    return 4;
}

void
fixture_items_free(struct segment_write_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uintptr_t memory = (uintptr_t)items[i].payload;

        free((void *)(memory / GUARD * GUARD));
        items[i].payload = NULL;
    }
}

void
fixture_options(const struct fixture *fixture, const char *name,
                uint32_t alignment_bytes, struct segment_write_options *options)
{
    memset(options, 0, sizeof(*options));
    options->io = fixture->io;
    options->allocator = fixture->allocator;
    options->directory = fixture->directory;
    options->name = name;
    options->path = name;
    options->staging_bytes = 8 * MIB;
    options->facts.alignment_bytes = alignment_bytes != 0
                                         ? alignment_bytes
                                         : alignment_of_tests();
    options->facts.number = 5;
    options->facts.lowest_live_number = 2;
    options->facts.rebind_allowed = true;
    options->facts.created.time_ns = 99;
    memset(options->facts.writer, 0x11, sizeof(options->facts.writer));
    memset(options->facts.namespace_digest, 0x22,
           sizeof(options->facts.namespace_digest));
}

struct segment_writer *
fixture_create(const struct fixture *fixture, const char *name,
               uint32_t alignment_bytes)
{
    struct segment_write_options options;
    struct segment_writer *writer = NULL;

    fixture_options(fixture, name, alignment_bytes, &options);
    assert_int_equal(segment_write_create(&options, &writer), CASCADE_OK);
    return writer;
}

enum cascade_status
fixture_check_entry(const struct fixture *fixture,
                    const struct segment_io_file *file,
                    const struct segment_entry *entry,
                    const struct segment_write_item *items, size_t count,
                    uint32_t *number)
{
    const struct segment_write_item *item;
    struct segment_read_request request = {.file = file};
    uint8_t *memory;

    memcpy(number, entry->label.key.bytes, sizeof(*number));
    assert_true(*number < count);
    item = &items[*number];
    assert_memory_equal(&entry->label.key, &item->label.key,
                        sizeof(item->label.key));
    assert_memory_equal(&entry->label.id, &item->label.id,
                        sizeof(item->label.id));
    assert_int_equal(entry->label.flags, item->label.flags);
    assert_true(
        block_version_compare(entry->label.version, item->label.version) == 0);
    assert_int_equal(entry->bytes, item->bytes);
    if (!segment_format_has_payload(entry)) {
        return CASCADE_OK;
    }
    assert_int_equal(entry->checksum, item->checksum);
    memory = aligned_alloc(GUARD, units_round_up(item->bytes + 1, GUARD));
    assert_non_null(memory);
    memset(memory, 0xEE, item->bytes + 1);
    request.offset = entry->offset;
    request.bytes = entry->bytes;
    request.checksum = entry->checksum;
    request.memory = memory + *number % 2; // every other one misaligned
    request.memory_bytes = item->bytes;
    (void)segment_read_payloads(fixture->reader, &request, 1);
    if (request.status == CASCADE_OK && item->bytes > 0) {
        assert_memory_equal(request.memory, item->payload, item->bytes);
    }
    free(memory);
    return request.status;
}

struct collect {
    struct segment_entry entries[2 * FIXTURE_ITEMS_MAX];
    size_t count;
    const struct segment_write_item *items;
};

static bool
collect_entry(void *context, const struct segment_entry *entry)
{
    struct collect *collect = context;

    assert_true(collect->count < 2 * FIXTURE_ITEMS_MAX);
    collect->entries[collect->count] = *entry;
    collect->entries[collect->count].label.key_data = NULL;
    if (entry->label.key_bytes > 0) {
        uint32_t number;

        memcpy(&number, entry->label.key.bytes, sizeof(number));
        assert_true(number < FIXTURE_ITEMS_MAX);
        assert_int_equal(entry->label.key_bytes,
                         collect->items[number].label.key_bytes);
        assert_memory_equal(entry->label.key_data,
                            collect->items[number].label.key_data,
                            entry->label.key_bytes);
    }
    collect->count++;
    return true;
}

static void
check_label(const struct fixture *fixture, const struct segment_file *file,
            const struct segment_entry *entry,
            const struct segment_write_item *item)
{
    struct block_label label;

    if (segment_read_label(fixture->reader, file, entry, &label) !=
        CASCADE_OK) {
        return;
    }
    assert_memory_equal(&label.parent, &item->label.parent,
                        sizeof(label.parent));
    assert_int_equal(label.depth, item->label.depth);
    assert_int_equal(label.turn, item->label.turn);
    assert_int_equal(label.request_class, item->label.request_class);
    assert_true(label.expected_reuse == item->label.expected_reuse);
    assert_int_equal(label.key_bytes, item->label.key_bytes);
    if (label.key_bytes > 0) {
        assert_memory_equal(label.key_data, item->label.key_data,
                            label.key_bytes);
    }
}

void
fixture_look(const struct fixture *fixture, const char *name,
             const struct segment_write_item *items, size_t count,
             struct fixture_found *found)
{
    static struct collect collect;
    struct segment_walk_options walk_options = {.verify = true};
    struct segment_walk_result result;
    struct segment_file *file = NULL;
    enum cascade_status status = CASCADE_CORRUPT;

    memset(found, 0, sizeof(*found));
    memset(&collect, 0, sizeof(collect));
    collect.items = items;
    found->status = segment_read_open(fixture->reader, fixture->directory, name,
                                      name, &file, NULL);
    if (found->status != CASCADE_OK) {
        return;
    }
    found->sealed = file->sealed;
    if (file->sealed) {
        status = segment_read_entries(fixture->reader, file, collect_entry,
                                      &collect);
    }
    if (status != CASCADE_OK) {
        assert_int_equal(collect.count, 0);
        found->walked = true;
        status = segment_walk(fixture->reader, file, &walk_options, 0,
                              collect_entry, &collect, &result);
        if (status == CASCADE_OK) {
            assert_int_equal(result.entries, collect.count);
            assert_true(result.walked_bytes <= file->bytes);
        }
    }
    for (size_t i = 0; i < collect.count; i++) {
        uint32_t number = 0;

        status = fixture_check_entry(fixture, &file->io, &collect.entries[i],
                                     items, count, &number);
        found->shown++;
        if (status == CASCADE_OK) {
            found->intact++;
            found->has[number] = true;
        }
        check_label(fixture, file, &collect.entries[i], &items[number]);
    }
    segment_read_close(fixture->io, file);
}

static int
open_in(const struct fixture *fixture, const char *name, int flags)
{
    int file = openat(fixture->directory, name, flags, 0600);

    assert_true(file >= 0);
    return file;
}

uint8_t *
fixture_load(const struct fixture *fixture, const char *name, uint64_t *bytes)
{
    int file = open_in(fixture, name, O_RDONLY);
    off_t end = lseek(file, 0, SEEK_END);
    uint8_t *data = malloc((size_t)end + 1);

    assert_non_null(data);
    assert_int_equal(pread(file, data, (size_t)end, 0), end);
    (void)close(file);
    *bytes = (uint64_t)end;
    return data;
}

void
fixture_store(const struct fixture *fixture, const char *name,
              const uint8_t *data, uint64_t bytes)
{
    int file = open_in(fixture, name, O_RDWR | O_CREAT | O_TRUNC);

    assert_int_equal(pwrite(file, data, bytes, 0), (ssize_t)bytes);
    (void)close(file);
}

void
fixture_poke(const struct fixture *fixture, const char *name, uint64_t offset,
             uint8_t value)
{
    int file = open_in(fixture, name, O_RDWR);

    assert_int_equal(pwrite(file, &value, 1, (off_t)offset), 1);
    (void)close(file);
}

void
fixture_truncate(const struct fixture *fixture, const char *name,
                 uint64_t bytes)
{
    int file = open_in(fixture, name, O_RDWR);

    assert_int_equal(ftruncate(file, (off_t)bytes), 0);
    (void)close(file);
}

void
fixture_remove(const struct fixture *fixture, const char *name)
{
    (void)unlinkat(fixture->directory, name, 0);
}

bool
fixture_exists(const struct fixture *fixture, const char *name)
{
    return faccessat(fixture->directory, name, F_OK, 0) == 0;
}
