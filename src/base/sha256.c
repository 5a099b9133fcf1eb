// SPDX-License-Identifier: Apache-2.0
//
// SHA-256: padding, streams and the choice of kernels. The compression
// function itself is in the sha256_*.c files beside this one.
//
// Invariant: which kernels run is a pure function of the processor, so the
// cached answer may be computed by several threads at once.
#include "base/sha256.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"
#include "base/sha256_kernels.h"

#define LENGTH_BYTES 8
#define PREFETCH_LINES 4
#define RESOLVED (1u << 31)

const struct sha256_state sha256_initial = {
    {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
     0x1f83d9ab, 0x5be0cd19},
};

static bool
always(void)
{
    return true;
}

static const struct sha256_kernel kernels[] = {
#if SHA256_X86
    {"avx512-16", 16, 8, sha256_avx512_available, sha256_compress_avx512},
    {"avx2-8", 8, 3, sha256_avx2_available, sha256_compress_avx2},
    {"sha-ni-3", 3, 3, sha256_sha_ni_available, sha256_compress_sha_ni_3},
    {"sha-ni-2", 2, 2, sha256_sha_ni_available, sha256_compress_sha_ni_2},
    {"sha-ni-1", 1, 1, sha256_sha_ni_available, sha256_compress_sha_ni_1},
#endif
#if SHA256_ARM
    {"arm-2", 2, 2, sha256_arm_available, sha256_compress_arm_2},
    {"arm-1", 1, 1, sha256_arm_available, sha256_compress_arm_1},
#endif
    {"portable", 1, 1, always, sha256_compress_portable},
};

#define KERNEL_COUNT (sizeof kernels / sizeof kernels[0])

// Bit i: kernels[i] takes part. Eight lanes without rotate instructions are
// slower than the SHA instructions, so they only run where those are missing.
static uint32_t
usable_kernels(void)
{
    static _Atomic uint32_t cached;
    uint32_t usable = atomic_load_explicit(&cached, memory_order_relaxed);
    if (usable != 0) {
        return usable;
    }
    usable = RESOLVED;
    for (size_t i = 0; i < KERNEL_COUNT; i++) {
        if (kernels[i].available()) {
            usable |= 1u << i;
        }
    }
#if SHA256_X86
    if (sha256_sha_ni_available()) {
        for (size_t i = 0; i < KERNEL_COUNT; i++) {
            if (kernels[i].compress == sha256_compress_avx2) {
                usable &= ~(1u << i);
            }
        }
    }
#endif
    atomic_store_explicit(&cached, usable, memory_order_relaxed);
    return usable;
}

// The kernel for the next of `count` messages; when copying one without idle
// lanes.
static const struct sha256_kernel *
choose_kernel(size_t count, bool copying)
{
    uint32_t usable = usable_kernels();
    for (size_t i = 0;; i++) {
        size_t least = copying ? kernels[i].lanes : kernels[i].lanes_worth;
        // Three and one take longer than two and two.
        bool lonely = kernels[i].lanes == 3 && count == 4;
        if ((usable >> i & 1u) != 0 && least <= count && !lonely) {
            return &kernels[i];
        }
    }
}

static void
store_big_endian(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
}

static void
store_digest(uint8_t digest[SHA256_DIGEST_BYTES],
             const struct sha256_state *state)
{
    for (size_t i = 0; i < 8; i++) {
        store_big_endian(digest + 4 * i, state->words[i]);
    }
}

// Writes what follows the data: a one bit, zeros, the length in bits.
// `tail` already holds the last `used` bytes of the message.
static size_t
pad(uint8_t tail[2 * SHA256_BLOCK_BYTES], size_t used, uint64_t message_bytes)
{
    size_t blocks = used < SHA256_BLOCK_BYTES - LENGTH_BYTES ? 1 : 2;
    size_t end = blocks * SHA256_BLOCK_BYTES;
    tail[used] = 0x80;
    memset(tail + used + 1, 0, end - used - 1);
    uint64_t bits = message_bytes * 8;
    store_big_endian(tail + end - 8, (uint32_t)(bits >> 32));
    store_big_endian(tail + end - 4, (uint32_t)bits);
    return blocks;
}

// Asks for the start of messages that come next; the rest of each is fetched
// ahead by the processor.
static void
prefetch(const uint8_t *const *messages, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t line = 0; line < PREFETCH_LINES; line++) {
            __builtin_prefetch(messages[i] + line * SHA256_BLOCK_BYTES);
        }
    }
}

// Messages of one call, of which `count` are left.
struct batch {
    const struct sha256_state *start;
    uint64_t start_bytes;
    const uint8_t *const *messages;
    uint8_t *const *targets;
    size_t count;
    size_t bytes;
    uint8_t (*digests)[SHA256_DIGEST_BYTES];
};

// Hashes what follows the whole blocks. Without a rest all messages end alike,
// in one tail for all lanes.
static void
hash_tails(const struct sha256_kernel *kernel, const struct batch *batch,
           size_t count, struct sha256_state *states)
{
    uint8_t tails[SHA256_LANES_MAX][2 * SHA256_BLOCK_BYTES];
    const uint8_t *data[SHA256_LANES_MAX];
    size_t rest = batch->bytes % SHA256_BLOCK_BYTES;
    size_t whole = batch->bytes - rest;
    size_t tail_count = rest == 0 ? 1 : count;
    size_t blocks = 0;
    for (size_t i = 0; i < tail_count; i++) {
        if (rest > 0) {
            memcpy(tails[i], batch->messages[i] + whole, rest);
            if (batch->targets != NULL) {
                memcpy(batch->targets[i] + whole, tails[i], rest);
            }
        }
        blocks = pad(tails[i], rest, batch->start_bytes + batch->bytes);
    }
    for (size_t i = 0; i < kernel->lanes; i++) {
        data[i] = tails[i < tail_count ? i : tail_count - 1];
    }
    kernel->compress(states, data, NULL, blocks);
}

// One run of a kernel over the first messages of a batch. With fewer messages
// than lanes the idle lanes repeat the last message. Never when copying: they
// would store a second reading over what was hashed.
static void
hash_group(const struct sha256_kernel *kernel, struct batch *batch)
{
    struct sha256_state states[SHA256_LANES_MAX];
    const uint8_t *data[SHA256_LANES_MAX];
    uint8_t *targets[SHA256_LANES_MAX];
    size_t lanes = kernel->lanes;
    size_t count = batch->count < lanes ? batch->count : lanes;
    bool copying = batch->targets != NULL;
    check(!copying || count == lanes);
    for (size_t i = 0; i < lanes; i++) {
        size_t k = i < count ? i : count - 1;
        states[i] = *batch->start;
        data[i] = batch->messages[k];
        targets[i] = copying ? batch->targets[k] : NULL;
    }
    if (batch->bytes >= SHA256_BLOCK_BYTES) {
        size_t next = batch->count - count;
        prefetch(batch->messages + count, next < lanes ? next : lanes);
        kernel->compress(states, data, copying ? targets : NULL,
                         batch->bytes / SHA256_BLOCK_BYTES);
    }
    hash_tails(kernel, batch, count, states);
    for (size_t i = 0; i < count; i++) {
        store_digest(batch->digests[i], &states[i]);
    }
    batch->messages += count;
    batch->targets = copying ? batch->targets + count : NULL;
    batch->digests += count;
    batch->count -= count;
}

static void
compress_one(struct sha256_state *state, const uint8_t *data, size_t blocks)
{
    choose_kernel(1, false)->compress(state, &data, NULL, blocks);
}

const struct sha256_kernel *
sha256_kernel_at(size_t index)
{
    return index < KERNEL_COUNT ? &kernels[index] : NULL;
}

const struct sha256_kernel *
sha256_kernel_widest(void)
{
    return choose_kernel(SHA256_LANES_MAX, false);
}

void
sha256_many(const struct sha256_state *start, uint64_t start_bytes,
            const uint8_t *const *messages, uint8_t *const *targets,
            size_t count, size_t bytes, uint8_t (*digests)[SHA256_DIGEST_BYTES])
{
    struct batch batch = {start, start_bytes, messages, targets,
                          count, bytes,       digests};
    while (batch.count > 0) {
        hash_group(choose_kernel(batch.count, targets != NULL), &batch);
    }
}

void
sha256_many_with(const struct sha256_kernel *kernel,
                 const struct sha256_state *start, uint64_t start_bytes,
                 const uint8_t *const *messages, uint8_t *const *targets,
                 size_t count, size_t bytes,
                 uint8_t (*digests)[SHA256_DIGEST_BYTES])
{
    struct batch batch = {start, start_bytes, messages, targets,
                          count, bytes,       digests};
    while (batch.count > 0) {
        hash_group(kernel, &batch);
    }
}

void
sha256_start(struct sha256_stream *stream, const struct sha256_state *start,
             uint64_t start_bytes)
{
    stream->state = *start;
    stream->bytes = start_bytes;
}

void
sha256_add(struct sha256_stream *stream, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    size_t used = (size_t)(stream->bytes % SHA256_BLOCK_BYTES);
    stream->bytes += bytes;
    if (used > 0) {
        size_t room = SHA256_BLOCK_BYTES - used;
        size_t part = bytes < room ? bytes : room;
        memcpy(stream->pending + used, at, part);
        if (part < room) {
            return;
        }
        compress_one(&stream->state, stream->pending, 1);
        at += part;
        bytes -= part;
    }
    size_t blocks = bytes / SHA256_BLOCK_BYTES;
    if (blocks > 0) {
        compress_one(&stream->state, at, blocks);
        at += blocks * SHA256_BLOCK_BYTES;
        bytes -= blocks * SHA256_BLOCK_BYTES;
    }
    if (bytes > 0) {
        memcpy(stream->pending, at, bytes);
    }
}

void
sha256_finish(struct sha256_stream *stream, uint8_t digest[SHA256_DIGEST_BYTES])
{
    uint8_t tail[2 * SHA256_BLOCK_BYTES];
    size_t used = (size_t)(stream->bytes % SHA256_BLOCK_BYTES);
    memcpy(tail, stream->pending, used);
    size_t blocks = pad(tail, used, stream->bytes);
    compress_one(&stream->state, tail, blocks);
    store_digest(digest, &stream->state);
}
