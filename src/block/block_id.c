// SPDX-License-Identifier: Apache-2.0
//
// The content id: the tree over SHA-256. The hashing of many leaves side by
// side is in base/sha256.h; this file only keeps the shape of the tree.

#include "block/block_id.h"

#include <assert.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/sha256.h"

static_assert(BLOCK_ID_BYTES == SHA256_DIGEST_BYTES, "an id is a digest");
static_assert(sizeof(struct block_id) == BLOCK_ID_BYTES, "no padding");
static_assert(sizeof(struct block_id_node) == BLOCK_ID_BYTES, "no padding");
static_assert(BLOCK_ID_FAN_OUT * BLOCK_ID_BYTES == BLOCK_ID_LEAF_BYTES,
              "a full node is as long as a leaf");

// The states of SHA-256 after the tags, each one block long.
#define TAG_BYTES SHA256_BLOCK_BYTES

static const struct sha256_state leaf_state = {
    {0x57f0fb7b, 0x8b2ccdd0, 0xf97e652e, 0x52a2afae, 0xd3a496fc, 0xad306cf2,
     0x0c8df50c, 0x7d81857c},
};
static const struct sha256_state node_state = {
    {0x983aef70, 0xb96796cc, 0x5c4dfbb7, 0x5e6db56a, 0x924cfee2, 0x5045118e,
     0xec0240e0, 0x660df0ce},
};
static const struct sha256_state root_state = {
    {0x7ad6d970, 0x7ee8058a, 0x634264a7, 0xe4f53bdb, 0xa6dbf3d1, 0x240e9a06,
     0x176ee039, 0xab3bf8e8},
};

static int
hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

// Hashes up to 128 leaves, the last of which may be short. With a target each
// leaf is also copied to its place there.
static void
hash_leaves(const uint8_t *const *leaves, uint8_t *target, size_t bytes,
            struct block_id_node *digests)
{
    uint8_t *targets[BLOCK_ID_FAN_OUT];
    uint8_t *const *copies = target != NULL ? targets : NULL;
    size_t count = bytes / BLOCK_ID_LEAF_BYTES;
    size_t rest = bytes % BLOCK_ID_LEAF_BYTES;
    for (size_t i = 0; i < count + (rest > 0) && target != NULL; i++) {
        targets[i] = target + i * BLOCK_ID_LEAF_BYTES;
    }
    sha256_many(&leaf_state, TAG_BYTES, leaves, copies, count,
                BLOCK_ID_LEAF_BYTES, (uint8_t(*)[SHA256_DIGEST_BYTES])digests);
    if (rest > 0) {
        sha256_many(&leaf_state, TAG_BYTES, leaves + count,
                    target != NULL ? copies + count : NULL, 1, rest,
                    &digests[count].bytes);
    }
}

// The same for leaves that lie one after another, without copying.
static void
hash_leaves_in_place(const uint8_t *data, size_t bytes,
                     struct block_id_node *digests)
{
    const uint8_t *leaves[BLOCK_ID_FAN_OUT] = {data};
    for (size_t i = 0; i * BLOCK_ID_LEAF_BYTES < bytes; i++) {
        leaves[i] = data + i * BLOCK_ID_LEAF_BYTES;
    }
    hash_leaves(leaves, NULL, bytes, digests);
}

static void
hash_node(const struct block_id_node *digests, size_t count,
          struct block_id_node *digest)
{
    const uint8_t *data = digests[0].bytes;
    sha256_many(&node_state, TAG_BYTES, &data, NULL, 1, count * BLOCK_ID_BYTES,
                &digest->bytes);
}

// Turns the digests of a level into one of the level above, which has room.
static void
group_level(struct block_id_stream *stream, size_t level)
{
    struct block_id_node *above = stream->levels[level + 1];
    hash_node(stream->levels[level], stream->counts[level],
              &above[stream->counts[level + 1]]);
    stream->counts[level + 1]++;
    stream->counts[level] = 0;
    stream->grouped[level] = true;
}

// Makes room for one more digest of a level: groups it if it is full, and
// before that the full levels above it.
static void
make_room(struct block_id_stream *stream, size_t level)
{
    size_t top = level;
    while (stream->counts[top] == BLOCK_ID_FAN_OUT) {
        top++;
        check(top < BLOCK_ID_LEVELS);
    }
    while (top > level) {
        top--;
        group_level(stream, top);
    }
}

static void
add_whole_leaves(struct block_id_stream *stream, const uint8_t *data,
                 size_t count)
{
    while (count > 0) {
        make_room(stream, 0);
        size_t used = stream->counts[0];
        size_t room = BLOCK_ID_FAN_OUT - used;
        size_t part = count < room ? count : room;
        hash_leaves_in_place(data, part * BLOCK_ID_LEAF_BYTES,
                             &stream->levels[0][used]);
        stream->counts[0] += part;
        data += part * BLOCK_ID_LEAF_BYTES;
        count -= part;
    }
}

static void
hash_root(uint64_t bytes, const struct block_id_node *digests, size_t count,
          struct block_id *id)
{
    struct sha256_stream root;
    uint8_t length[8];
    for (size_t i = 0; i < sizeof length; i++) {
        length[i] = (uint8_t)(bytes >> (8 * i));
    }
    sha256_start(&root, &root_state, TAG_BYTES);
    sha256_add(&root, length, sizeof length);
    sha256_add(&root, digests, count * BLOCK_ID_BYTES);
    sha256_finish(&root, id->bytes);
}

bool
block_id_equal(const struct block_id *a, const struct block_id *b)
{
    return memcmp(a->bytes, b->bytes, BLOCK_ID_BYTES) == 0;
}

int
block_id_compare(const struct block_id *a, const struct block_id *b)
{
    return memcmp(a->bytes, b->bytes, BLOCK_ID_BYTES);
}

bool
block_id_is_zero(const struct block_id *id)
{
    static const struct block_id zero;
    return block_id_equal(id, &zero);
}

void
block_id_format(const struct block_id *id, char text[BLOCK_ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < BLOCK_ID_BYTES; i++) {
        text[2 * i] = digits[id->bytes[i] >> 4];
        text[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    text[2 * BLOCK_ID_BYTES] = '\0';
}

enum cascade_status
block_id_parse(const char *text, struct block_id *id)
{
    struct block_id parsed;
    size_t length = strnlen(text, BLOCK_ID_TEXT_BYTES);
    if (length != 2 * BLOCK_ID_BYTES) {
        return error_set(CASCADE_INVALID,
                         "block id \"%.80s\": it must have %d hexadecimal "
                         "digits",
                         text, 2 * BLOCK_ID_BYTES);
    }
    for (size_t i = 0; i < BLOCK_ID_BYTES; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return error_set(CASCADE_INVALID,
                             "block id \"%s\": \"%.2s\" is not hexadecimal",
                             text, text + 2 * i);
        }
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *id = parsed;
    return CASCADE_OK;
}

size_t
block_id_leaf_count(size_t bytes)
{
    return bytes / BLOCK_ID_LEAF_BYTES + (bytes % BLOCK_ID_LEAF_BYTES != 0);
}

void
block_id_of(const void *data, size_t bytes, struct block_id *id)
{
    struct block_id_stream stream;
    block_id_start(&stream);
    block_id_add(&stream, data, bytes);
    block_id_finish(&stream, id);
}

void
block_id_start(struct block_id_stream *stream)
{
    stream->bytes = 0;
    stream->in_chunks = false;
    for (size_t level = 0; level < BLOCK_ID_LEVELS; level++) {
        stream->grouped[level] = false;
        stream->counts[level] = 0;
    }
}

void
block_id_add(struct block_id_stream *stream, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    check(!stream->in_chunks);
    check(bytes <= BLOCK_ID_CONTENT_BYTES_MAX - stream->bytes);
    size_t used = (size_t)(stream->bytes % BLOCK_ID_LEAF_BYTES);
    stream->bytes += bytes;
    if (used > 0) {
        size_t room = BLOCK_ID_LEAF_BYTES - used;
        size_t part = bytes < room ? bytes : room;
        if (part > 0) {
            memcpy(stream->leaf + used, at, part);
        }
        if (part < room) {
            return;
        }
        add_whole_leaves(stream, stream->leaf, 1);
        at += part;
        bytes -= part;
    }
    size_t rest = bytes % BLOCK_ID_LEAF_BYTES;
    add_whole_leaves(stream, at, bytes / BLOCK_ID_LEAF_BYTES);
    if (rest > 0) {
        memcpy(stream->leaf, at + (bytes - rest), rest);
    }
}

void
block_id_hash_leaves(const void *data, size_t bytes,
                     struct block_id_node *digests)
{
    check(bytes <= BLOCK_ID_CHUNK_BYTES);
    hash_leaves_in_place(data, bytes, digests);
}

void
block_id_copy_leaves(void *target, const uint8_t *const *leaves, size_t bytes,
                     struct block_id_node *digests)
{
    check(bytes <= BLOCK_ID_CHUNK_BYTES);
    hash_leaves(leaves, target, bytes, digests);
}

void
block_id_hash_node(const struct block_id_node *digests, size_t count,
                   struct block_id_node *digest)
{
    check(count > 0 && count <= BLOCK_ID_FAN_OUT);
    hash_node(digests, count, digest);
}

void
block_id_hash_chunk(const void *data, size_t bytes,
                    struct block_id_node *digest)
{
    struct block_id_node digests[BLOCK_ID_FAN_OUT];
    check(bytes > 0 && bytes <= BLOCK_ID_CHUNK_BYTES);
    hash_leaves_in_place(data, bytes, digests);
    hash_node(digests, block_id_leaf_count(bytes), digest);
}

void
block_id_of_leaves(const struct block_id_node *digests, size_t bytes,
                   struct block_id *id)
{
    check(bytes <= BLOCK_ID_CHUNK_BYTES);
    hash_root(bytes, digests, block_id_leaf_count(bytes), id);
}

void
block_id_add_chunk(struct block_id_stream *stream,
                   const struct block_id_node *digest, size_t bytes)
{
    check(stream->in_chunks || stream->bytes == 0);
    check(stream->bytes % BLOCK_ID_CHUNK_BYTES == 0);
    check(bytes > 0 && bytes <= BLOCK_ID_CHUNK_BYTES);
    check(bytes <= BLOCK_ID_CONTENT_BYTES_MAX - stream->bytes);
    stream->in_chunks = true;
    stream->grouped[0] = true;
    stream->bytes += bytes;
    make_room(stream, 1);
    stream->levels[1][stream->counts[1]] = *digest;
    stream->counts[1]++;
}

void
block_id_finish(struct block_id_stream *stream, struct block_id *id)
{
    size_t rest = (size_t)(stream->bytes % BLOCK_ID_LEAF_BYTES);
    check(!stream->in_chunks || stream->bytes > BLOCK_ID_CHUNK_BYTES);
    if (!stream->in_chunks && rest > 0) {
        make_room(stream, 0);
        hash_leaves_in_place(stream->leaf, rest,
                             &stream->levels[0][stream->counts[0]]);
        stream->counts[0]++;
    }
    // A grouped level holds what came after its last group: a short group.
    size_t level = 0;
    while (stream->grouped[level]) {
        if (stream->counts[level] > 0) {
            make_room(stream, level + 1);
            group_level(stream, level);
        }
        level++;
        check(level < BLOCK_ID_LEVELS);
    }
    hash_root(stream->bytes, stream->levels[level], stream->counts[level], id);
}
