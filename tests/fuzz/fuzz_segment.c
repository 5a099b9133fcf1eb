// SPDX-License-Identifier: Apache-2.0
//
// Recovery of one segment file: the input is the whole file. Whatever it holds,
// a payload that is OK has the bytes whose checksum the record names, counted
// here over the input itself; the footer and the walk show nothing outside the
// file; and a second walk shows the same as the first.

#include <stdlib.h>
#include <string.h>

#include "base/allocator.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "fuzz/fuzz.h"
#include "segment/segment_read.h"
#include "segment/segment_walk.h"

#define ENTRIES_MAX 4096

static const uint8_t *input;
static size_t input_bytes;

struct found {
    struct segment_entry entries[ENTRIES_MAX];
    size_t count;
    uint64_t data_bytes;
    uint32_t digest; // over what each entry shows, keys included
    bool keys_known;
};

static bool
note_entry(void *context, const struct segment_entry *entry)
{
    struct found *found = context;
    struct segment_footer_entry row;

    FUZZ_REQUIRE(entry->key_bytes_written <= CASCADE_KEY_BYTES_MAX);
    FUZZ_REQUIRE(entry->header_offset < found->data_bytes);
    FUZZ_REQUIRE(entry->header_offset % SEGMENT_ALIGNMENT_MIN == 0);
    if (segment_format_has_payload(entry)) {
        FUZZ_REQUIRE(entry->bytes <= found->data_bytes);
        FUZZ_REQUIRE(entry->offset <= found->data_bytes - entry->bytes);
    } else {
        FUZZ_REQUIRE(entry->offset == 0 && entry->bytes == 0);
    }
    segment_format_put_entry(entry, &row);
    found->digest = crc32c(found->digest, &row, sizeof(row));
    if (found->keys_known) {
        // Copied through the sanitizer's eyes.
        FUZZ_REQUIRE(entry->label.key_bytes == entry->key_bytes_written);
        found->digest = crc32c(found->digest, entry->label.key_data,
                               entry->label.key_bytes);
    } else {
        struct segment_entry again;

        FUZZ_REQUIRE(segment_format_get_entry(&row, found->data_bytes, &again));
        FUZZ_REQUIRE(memcmp(&again.label.id, &entry->label.id,
                            sizeof(again.label.id)) == 0);
        FUZZ_REQUIRE(again.offset == entry->offset);
        FUZZ_REQUIRE(again.header_offset == entry->header_offset);
    }
    if (found->count < ENTRIES_MAX) {
        found->entries[found->count] = *entry;
        found->entries[found->count++].label.key_data = NULL;
    }
    return true;
}

// The block checksum of bytes of the input.
static uint32_t
checksum_of(uint64_t offset, uint64_t bytes)
{
    uint64_t count = segment_format_chunk_count(bytes);
    uint32_t *crcs = malloc((count + 1) * sizeof(*crcs));
    uint32_t checksum;

    FUZZ_REQUIRE(crcs != NULL);
    FUZZ_REQUIRE(offset <= input_bytes && bytes <= input_bytes - offset);
    segment_format_chunk_crcs(input + offset, bytes, crcs);
    checksum = segment_format_checksum(crcs, count);
    free(crcs);
    return checksum;
}

// Reads an entry's payload; it must be OK where `promised`, and never OK with
// other bytes.
static void
check_payload(struct segment_reader *reader, const struct segment_file *file,
              const struct segment_entry *entry, bool promised, bool with_facts)
{
    struct segment_read_request request = {
        .file = &file->io,
        .offset = entry->offset,
        .bytes = entry->bytes,
        .checksum = entry->checksum,
        .facts = with_facts ? &file->facts : NULL,
        .id = &entry->label.id,
        .memory_bytes = entry->bytes,
    };
    uint8_t *memory;

    if (!segment_format_has_payload(entry) || entry->bytes > input_bytes) {
        return;
    }
    memory = malloc(entry->bytes + 1);
    FUZZ_REQUIRE(memory != NULL);
    request.memory = memory;
    (void)segment_read_payloads(reader, &request, 1);
    FUZZ_REQUIRE(!promised || request.status == CASCADE_OK);
    if (request.status == CASCADE_OK && entry->bytes > 0) {
        FUZZ_REQUIRE(checksum_of(entry->offset, entry->bytes) ==
                     entry->checksum);
        FUZZ_REQUIRE(memcmp(memory, input + entry->offset, entry->bytes) == 0);
    }
    free(memory);
}

static void
check_label(struct segment_reader *reader, const struct segment_file *file,
            const struct segment_entry *entry)
{
    struct block_label label;

    if (segment_read_label(reader, file, entry, &label) != CASCADE_OK) {
        return;
    }
    FUZZ_REQUIRE(block_key_equal(&label.key, &entry->label.key));
    FUZZ_REQUIRE(block_id_equal(&label.id, &entry->label.id));
    FUZZ_REQUIRE(label.key_bytes <= CASCADE_KEY_BYTES_MAX);
    (void)crc32c(0, label.key_data, label.key_bytes);
}

static void
check_footer(struct segment_reader *reader, const struct segment_file *file)
{
    static struct found found;
    bool index = file->facts.kind == SEGMENT_FILE_INDEX;

    FUZZ_REQUIRE(file->data_bytes <= file->bytes);
    memset(&found, 0, sizeof(found));
    found.data_bytes = index ? file->facts.subject_bytes : file->data_bytes;
    if (segment_read_entries(reader, file, note_entry, &found) != CASCADE_OK) {
        FUZZ_REQUIRE(found.count == 0);
        return;
    }
    FUZZ_REQUIRE(found.count == file->entry_count ||
                 found.count == ENTRIES_MAX);
    for (size_t i = 0; i < found.count && !index; i++) {
        check_label(reader, file, &found.entries[i]);
        check_payload(reader, file, &found.entries[i], false, true);
        check_payload(reader, file, &found.entries[i], false, false);
    }
}

// The second walk rounds its reads out as a machine of larger pages does.
static void
check_walk(struct segment_reader *reader, struct segment_file *file)
{
    static struct found found;
    struct segment_walk_options options = {.verify = true};
    struct segment_walk_result first;
    struct segment_walk_result second;
    uint32_t digest = 0;

    for (int round = 0; round < 2; round++) {
        if (round == 1) {
            file->io.alignment_bytes = 16 * SEGMENT_ALIGNMENT_MIN;
            file->io.memory_alignment_bytes = 16 * SEGMENT_ALIGNMENT_MIN;
        }
        memset(&found, 0, sizeof(found));
        found.data_bytes = file->bytes;
        found.keys_known = true;
        FUZZ_REQUIRE(segment_walk(reader, file, &options, 0, note_entry, &found,
                                  round == 0 ? &first : &second) == CASCADE_OK);
        FUZZ_REQUIRE(round == 0 || digest == found.digest);
        digest = found.digest;
    }
    FUZZ_REQUIRE(memcmp(&first, &second, sizeof(first)) == 0);
    FUZZ_REQUIRE(first.walked_bytes <= file->bytes);
    FUZZ_REQUIRE(first.entries == found.count || found.count == ENTRIES_MAX);
    for (size_t i = 0; i < found.count; i++) {
        FUZZ_REQUIRE(found.entries[i].seq < first.next_seq);
        FUZZ_REQUIRE(i == 0 ||
                     found.entries[i].seq >= found.entries[i - 1].seq);
        check_payload(reader, file, &found.entries[i], true, false);
    }
    // Without verification no less is shown.
    options.verify = false;
    memset(&found, 0, sizeof(found));
    found.data_bytes = file->bytes;
    found.keys_known = true;
    FUZZ_REQUIRE(segment_walk(reader, file, &options, 0, note_entry, &found,
                              &second) == CASCADE_OK);
    FUZZ_REQUIRE(second.entries >= first.entries);
    FUZZ_REQUIRE(second.walked_bytes == first.walked_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static struct segment_io *io;
    static struct segment_reader *reader;
    struct segment_file *file = NULL;

    input = data;
    input_bytes = bytes;
    if (io == NULL) {
        struct segment_io_options options = {
            .kind = SEGMENT_IO_PREAD,
            .depth = 2,
            .files = fuzz_file(data, bytes),
            .allocator = allocator_system(),
        };
        struct segment_reader_options reader_options = {
            .allocator = allocator_system(),
        };

        FUZZ_REQUIRE(segment_io_create(&options, &io) == CASCADE_OK);
        reader_options.io = io;
        FUZZ_REQUIRE(segment_reader_create(&reader_options, &reader) ==
                     CASCADE_OK);
    }
    (void)fuzz_file(data, bytes);
    if (segment_read_open(reader, 0, "input", "input", &file, NULL) !=
        CASCADE_OK) {
        return 0;
    }
    if (file->sealed) {
        check_footer(reader, file);
    }
    if (file->facts.kind == SEGMENT_FILE_RECORDS) {
        check_walk(reader, file);
    }
    segment_read_close(io, file);
    return 0;
}
