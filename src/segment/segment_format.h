// SPDX-License-Identifier: Apache-2.0
//
// The bytes of a segment file: structs as they lie in the file, and the pure
// functions that build and check them. docs/SEGMENT_FORMAT.md is the
// specification; this is its C form. Not I/O, and no allocation.
//
// Invariant: nothing that a file says is believed before its checksum matched,
// and no length that a file says is used before it was bounded. The host is
// little endian, as the file is (asserted below), so structs are copied.
// Stateless; no lock.

#ifndef SEGMENT_SEGMENT_FORMAT_H
#define SEGMENT_SEGMENT_FORMAT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attributes.h"
#include "base/units.h"
#include "block/block_label.h"
#include "cascade/cascade.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "segment structs are copied to and from little-endian files");

#define SEGMENT_FORMAT_VERSION 1u

// Smallest and largest alignment (A) that a file may have.
#define SEGMENT_ALIGNMENT_MIN ((uint32_t)4096)
#define SEGMENT_ALIGNMENT_MAX ((uint32_t)262144)

// Payloads of batch records start at multiples of this.
#define SEGMENT_PACK_BYTES ((uint32_t)4096)

// One CRC32C per this many payload bytes.
#define SEGMENT_CHUNK_BYTES MIB

// Blocks below this go to batch records when they are appended whole.
#define SEGMENT_BATCH_BLOCK_BYTES MIB

// No record header is longer, whatever the alignment.
#define SEGMENT_HEADER_BYTES_MAX ((uint32_t)262144)

#define SEGMENT_SUBJECT_PATH_BYTES 512

enum segment_file_kind {
    SEGMENT_FILE_HEADLESS = 0, // in memory only: known from the trailer alone
    SEGMENT_FILE_RECORDS = 1,  // records, then perhaps footer and trailer
    SEGMENT_FILE_INDEX = 2,    // footer and trailer of another writer's file
};

enum segment_file_flags {
    SEGMENT_FILE_REBIND_ALLOWED = 1,
};

enum segment_record_kind {
    SEGMENT_RECORD_BLOCK = 1, // one item with payload
    SEGMENT_RECORD_BATCH = 2, // items with payloads packed behind the header
    SEGMENT_RECORD_BIND = 3,  // items without payload
    SEGMENT_RECORD_SKIP = 4,  // nothing: go on after record_bytes
};

// The first bytes of every file; zeros up to the alignment follow. The magic,
// the format version, header_bytes, and the checksum as the last four of
// header_bytes keep their places in all format versions.
struct segment_file_header {
    uint8_t magic[8];
    uint32_t format_version;
    uint32_t header_bytes;
    uint32_t alignment;
    uint32_t kind;  // enum segment_file_kind
    uint32_t flags; // enum segment_file_flags
    uint32_t reserved_a;
    uint8_t uuid[16];
    uint8_t writer[16];
    uint8_t namespace_digest[32];
    uint64_t number;
    uint64_t lowest_live_number;
    uint64_t created_ns;
    uint64_t created_time_ns; // creation version
    uint64_t created_tag;
    uint64_t earlier_highest_time_ns; // highest version of the writer's
    uint64_t earlier_highest_tag;     // earlier segments
    uint8_t subject_uuid[16];         // index files: whose footer this is
    uint64_t subject_bytes;           // walked length
    uint64_t subject_number;
    uint32_t subject_path_bytes;
    uint32_t reserved_b;
    uint8_t subject_path[SEGMENT_SUBJECT_PATH_BYTES];
    uint8_t reserved_c[316];
    uint32_t crc;
};

// The first bytes of every record header. Then items, key bytes, CRC tables
// (items say where), zeros, and the CRC32C of the header as its last four
// bytes.
struct segment_record_header {
    uint8_t magic[8];
    uint32_t format_version;
    uint32_t kind; // enum segment_record_kind
    uint8_t uuid[16];
    uint64_t seq;
    uint64_t offset;       // of this record in its file
    uint64_t record_bytes; // header and payloads; the next record follows
    uint32_t header_bytes;
    uint32_t item_count;
    uint32_t flags;
    uint32_t reserved_a;
    uint64_t reserved_b;
};

struct segment_record_item {
    uint8_t id[32];
    uint8_t key[32];
    uint8_t parent[32];
    uint64_t version_time_ns;
    uint64_t version_tag;
    uint64_t payload_offset; // from the start of the record; 0 if no payload
    uint64_t payload_bytes;
    uint32_t flags; // enum block_label_flags
    uint32_t checksum;
    uint32_t depth;
    uint32_t turn;
    uint32_t request_class;
    float expected_reuse;
    uint32_t key_offset; // from the start of the record
    uint32_t key_bytes;
    uint32_t crc_offset; // from the start of the record
    uint32_t crc_count;
    uint8_t reserved[24];
};

struct segment_footer_entry {
    uint8_t id[32];
    uint8_t key[32];
    uint64_t version_time_ns;
    uint64_t version_tag;
    uint64_t offset; // of the payload in the file; 0 if no payload
    uint64_t bytes;
    uint64_t seq;
    uint32_t header_crc;
    uint32_t flags; // enum block_label_flags
    uint32_t checksum;
    uint16_t key_bytes;
    uint16_t item; // number inside its record
    uint64_t header_offset;
};

// The last bytes of a sealed file; zeros before it fill the last alignment
// unit.
struct segment_trailer {
    uint8_t magic[8];
    uint32_t format_version;
    uint32_t alignment;
    uint8_t uuid[16]; // of the file that holds the trailer
    uint64_t index_offset;
    uint64_t index_bytes; // without padding
    uint64_t entry_count;
    uint64_t record_count; // that have entries
    uint64_t payload_bytes;
    uint64_t lowest_time_ns; // versions of the entries
    uint64_t lowest_tag;
    uint64_t highest_time_ns;
    uint64_t highest_tag;
    uint64_t next_seq;
    uint64_t file_bytes;
    uint32_t index_crc;
    uint32_t flags;
    uint8_t namespace_digest[32]; // as in the file's header, which it may have
    uint64_t number;              // to stand in for
    uint32_t kind;                // enum segment_file_kind
    uint8_t reserved[80];
    uint32_t crc;
};

#define SEGMENT_AT(type, member, place) \
    static_assert(offsetof(struct type, member) == (place), #type "." #member)

static_assert(sizeof(struct segment_file_header) == 1024, "file header");
SEGMENT_AT(segment_file_header, format_version, 8);
SEGMENT_AT(segment_file_header, header_bytes, 12);
SEGMENT_AT(segment_file_header, alignment, 16);
SEGMENT_AT(segment_file_header, kind, 20);
SEGMENT_AT(segment_file_header, flags, 24);
SEGMENT_AT(segment_file_header, uuid, 32);
SEGMENT_AT(segment_file_header, writer, 48);
SEGMENT_AT(segment_file_header, namespace_digest, 64);
SEGMENT_AT(segment_file_header, number, 96);
SEGMENT_AT(segment_file_header, lowest_live_number, 104);
SEGMENT_AT(segment_file_header, created_ns, 112);
SEGMENT_AT(segment_file_header, created_time_ns, 120);
SEGMENT_AT(segment_file_header, created_tag, 128);
SEGMENT_AT(segment_file_header, earlier_highest_time_ns, 136);
SEGMENT_AT(segment_file_header, earlier_highest_tag, 144);
SEGMENT_AT(segment_file_header, subject_uuid, 152);
SEGMENT_AT(segment_file_header, subject_bytes, 168);
SEGMENT_AT(segment_file_header, subject_number, 176);
SEGMENT_AT(segment_file_header, subject_path_bytes, 184);
SEGMENT_AT(segment_file_header, subject_path, 192);
SEGMENT_AT(segment_file_header, crc, 1020);

static_assert(sizeof(struct segment_record_header) == 80, "record header");
SEGMENT_AT(segment_record_header, format_version, 8);
SEGMENT_AT(segment_record_header, kind, 12);
SEGMENT_AT(segment_record_header, uuid, 16);
SEGMENT_AT(segment_record_header, seq, 32);
SEGMENT_AT(segment_record_header, offset, 40);
SEGMENT_AT(segment_record_header, record_bytes, 48);
SEGMENT_AT(segment_record_header, header_bytes, 56);
SEGMENT_AT(segment_record_header, item_count, 60);
SEGMENT_AT(segment_record_header, flags, 64);

static_assert(sizeof(struct segment_record_item) == 192, "record item");
SEGMENT_AT(segment_record_item, key, 32);
SEGMENT_AT(segment_record_item, parent, 64);
SEGMENT_AT(segment_record_item, version_time_ns, 96);
SEGMENT_AT(segment_record_item, version_tag, 104);
SEGMENT_AT(segment_record_item, payload_offset, 112);
SEGMENT_AT(segment_record_item, payload_bytes, 120);
SEGMENT_AT(segment_record_item, flags, 128);
SEGMENT_AT(segment_record_item, checksum, 132);
SEGMENT_AT(segment_record_item, depth, 136);
SEGMENT_AT(segment_record_item, turn, 140);
SEGMENT_AT(segment_record_item, request_class, 144);
SEGMENT_AT(segment_record_item, expected_reuse, 148);
SEGMENT_AT(segment_record_item, key_offset, 152);
SEGMENT_AT(segment_record_item, key_bytes, 156);
SEGMENT_AT(segment_record_item, crc_offset, 160);
SEGMENT_AT(segment_record_item, crc_count, 164);

static_assert(sizeof(struct segment_footer_entry) == 128, "footer entry");
SEGMENT_AT(segment_footer_entry, key, 32);
SEGMENT_AT(segment_footer_entry, version_time_ns, 64);
SEGMENT_AT(segment_footer_entry, version_tag, 72);
SEGMENT_AT(segment_footer_entry, offset, 80);
SEGMENT_AT(segment_footer_entry, bytes, 88);
SEGMENT_AT(segment_footer_entry, seq, 96);
SEGMENT_AT(segment_footer_entry, header_crc, 104);
SEGMENT_AT(segment_footer_entry, flags, 108);
SEGMENT_AT(segment_footer_entry, checksum, 112);
SEGMENT_AT(segment_footer_entry, key_bytes, 116);
SEGMENT_AT(segment_footer_entry, item, 118);
SEGMENT_AT(segment_footer_entry, header_offset, 120);

static_assert(sizeof(struct segment_trailer) == 256, "trailer");
SEGMENT_AT(segment_trailer, format_version, 8);
SEGMENT_AT(segment_trailer, alignment, 12);
SEGMENT_AT(segment_trailer, uuid, 16);
SEGMENT_AT(segment_trailer, index_offset, 32);
SEGMENT_AT(segment_trailer, index_bytes, 40);
SEGMENT_AT(segment_trailer, entry_count, 48);
SEGMENT_AT(segment_trailer, record_count, 56);
SEGMENT_AT(segment_trailer, payload_bytes, 64);
SEGMENT_AT(segment_trailer, lowest_time_ns, 72);
SEGMENT_AT(segment_trailer, lowest_tag, 80);
SEGMENT_AT(segment_trailer, highest_time_ns, 88);
SEGMENT_AT(segment_trailer, highest_tag, 96);
SEGMENT_AT(segment_trailer, next_seq, 104);
SEGMENT_AT(segment_trailer, file_bytes, 112);
SEGMENT_AT(segment_trailer, index_crc, 120);
SEGMENT_AT(segment_trailer, flags, 124);
SEGMENT_AT(segment_trailer, namespace_digest, 128);
SEGMENT_AT(segment_trailer, number, 160);
SEGMENT_AT(segment_trailer, kind, 168);
SEGMENT_AT(segment_trailer, crc, 252);

// What a file header says, decoded. The uuid names the file for good; names
// and paths do not.
struct segment_facts {
    uint32_t alignment_bytes;
    enum segment_file_kind kind;
    bool rebind_allowed;
    uint8_t uuid[16];
    uint8_t writer[16];
    uint8_t namespace_digest[32];
    uint64_t number;
    uint64_t lowest_live_number;
    uint64_t created_ns;
    struct block_version created;
    struct block_version earlier_highest;
    // Index files only.
    uint8_t subject_uuid[16];
    uint64_t subject_bytes;
    uint64_t subject_number;
    char subject_path[SEGMENT_SUBJECT_PATH_BYTES + 1];
};

// One binding or payload of a file, from a footer or a record header.
struct segment_entry {
    struct block_label label; // key_data and key_bytes: 0 from footers
    uint64_t offset;          // of the payload; 0 if there is none
    uint64_t bytes;           // of the payload
    uint32_t checksum;        // of the payload (block_digest.h)
    uint32_t header_crc;
    uint64_t header_offset;
    uint64_t seq;
    uint32_t item;              // number inside its record
    uint32_t key_bytes_written; // in the record's header; 0 if digest only
};

// Labels with one of these have no payload.
#define SEGMENT_NO_PAYLOAD \
    (BLOCK_LABEL_REMOVAL | BLOCK_LABEL_CLEAR | BLOCK_LABEL_BIND)

// True if the entry has a payload, perhaps an empty one.
static inline bool
segment_format_has_payload(const struct segment_entry *entry)
{
    return (entry->label.flags & SEGMENT_NO_PAYLOAD) == 0;
}

// Number of CRCs for a payload.
static inline uint64_t
segment_format_chunk_count(uint64_t bytes)
{
    return units_round_up(bytes, SEGMENT_CHUNK_BYTES) / SEGMENT_CHUNK_BYTES;
}

bool
segment_format_alignment_is_valid(uint32_t alignment_bytes);

// Header bytes of a block record: room for the longest key and all CRCs, so
// that the payload's offset tells the header's.
uint32_t
segment_format_block_header_bytes(uint64_t payload_bytes,
                                  uint32_t alignment_bytes);

// CRC32Cs of the chunks of `bytes` at `payload`, in order.
void
segment_format_chunk_crcs(const void *payload, uint64_t bytes, uint32_t *crcs);

// The block checksum of a table of chunk CRCs.
uint32_t
segment_format_checksum(const uint32_t *crcs, uint64_t count);

// Builds the header with its checksum. The subject path must fit.
void
segment_format_put_file_header(const struct segment_facts *facts,
                               struct segment_file_header *header);

// Reads `bytes` (at least sizeof(struct segment_file_header)) from the start of
// a file. NOT_FOUND: not one of our files. VERSION: of a newer release.
// CORRUPT: ours but damaged. The message names `path`.
enum cascade_status
segment_format_get_file_header(const void *data, size_t bytes, const char *path,
                               struct segment_facts *facts) MUST_USE;

// Builds a record header in `header` (header_bytes, zeroed by this call, a
// multiple of the alignment). Add items with segment_format_add_item, close
// with segment_format_end_record.
void
segment_format_begin_record(void *header, uint32_t header_bytes,
                            enum segment_record_kind kind,
                            const uint8_t uuid[16], uint64_t seq,
                            uint64_t offset, uint64_t record_bytes,
                            uint32_t item_count);

// Bytes of header that an item takes beyond the fixed part.
static inline uint64_t
segment_format_item_bytes(uint32_t key_bytes, uint64_t payload_bytes)
{
    return sizeof(struct segment_record_item) +
           units_round_up(key_bytes, sizeof(uint32_t)) +
           segment_format_chunk_count(payload_bytes) * sizeof(uint32_t);
}

// Bytes of header that are not items: the fixed part and the checksum.
#define SEGMENT_RECORD_FIXED_BYTES \
    (sizeof(struct segment_record_header) + sizeof(uint32_t))

// Fills item `number`; `variable` is where its key and CRCs go in the header
// and is moved behind them. `payload_offset` is from the record's start.
void
segment_format_add_item(void *header, uint32_t number, uint32_t *variable,
                        const struct block_label *label,
                        uint64_t payload_offset, uint64_t payload_bytes,
                        const uint32_t *crcs);

// Offset of the first variable byte of a record of `item_count` items.
uint32_t
segment_format_variable_start(uint32_t item_count);

// Writes the checksum as the last four bytes and returns it.
uint32_t
segment_format_end_record(void *header);

// What the first bytes of a record say, before the checksum was seen: true if
// magic, version, uuid and offset are those of a record at `offset` of this
// file and the lengths are possible. Then `header_bytes` may be read.
bool
segment_format_peek_record(const void *data, size_t bytes,
                           const uint8_t uuid[16], uint64_t offset,
                           uint32_t alignment_bytes,
                           struct segment_record_header *record);

// True if a whole header (record->header_bytes at `data`) has the right
// checksum and every item lies inside the record. `crc` gets the checksum.
bool
segment_format_check_record(const void *data,
                            const struct segment_record_header *record,
                            uint32_t *crc);

// Decodes item `number` of a checked header. The key points into `data`; the
// CRC table, if asked for, is copied to nowhere: `crcs` points into `data`,
// 4-byte aligned if `data` is.
void
segment_format_get_item(const void *data,
                        const struct segment_record_header *record,
                        uint32_t number, uint32_t header_crc,
                        struct segment_entry *entry, const uint32_t **crcs,
                        uint32_t *crc_count);

void
segment_format_put_entry(const struct segment_entry *entry,
                         struct segment_footer_entry *out);

// Decodes a footer entry of a file of `data_bytes` (where its records end).
// False if it points outside.
bool
segment_format_get_entry(const struct segment_footer_entry *in,
                         uint64_t data_bytes, struct segment_entry *entry);

// Fills magic, version and checksum; the caller fills the rest.
void
segment_format_end_trailer(struct segment_trailer *trailer);

// True if this is the intact trailer of a file with this uuid, alignment and
// length, and its index lies inside.
bool
segment_format_check_trailer(const struct segment_trailer *trailer,
                             const struct segment_facts *facts,
                             uint64_t file_bytes);

#endif
