// SPDX-License-Identifier: Apache-2.0
//
// SHA-256 (FIPS 180-4) of one message or of many messages of equal length.
//
// Many messages are hashed side by side by the widest kernel that this
// processor has; that is what makes a hash tree faster than one stream. It is
// not a general digest library: a single stream is no faster here than in
// OpenSSL.
//
// Invariant: every kernel gives the same digests. Nothing here blocks, takes a
// lock, allocates or fails; every function may be called from any thread.
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_DIGEST_BYTES 32
#define SHA256_BLOCK_BYTES 64
#define SHA256_LANES_MAX 16

// The chaining value between two blocks of one message.
struct sha256_state {
    uint32_t words[8];
};

// One way to run the compression function on `lanes` messages at once.
struct sha256_kernel {
    const char *name;
    size_t lanes;
    // From this many messages up a run with idle lanes is worth its cost.
    size_t lanes_worth;
    bool (*available)(void);
    // Runs `blocks` blocks of 64 bytes from each data[i] into states[i], for
    // every i < lanes. The data may be unaligned and may overlap. If `targets`
    // is not NULL the blocks are also stored to targets[i], each byte read
    // once: what is hashed is what is stored. A target may be the data itself.
    void (*compress)(struct sha256_state *states, const uint8_t *const *data,
                     uint8_t *const *targets, size_t blocks);
};

// One message that arrives in parts. Plain memory: copy or drop it freely.
struct sha256_stream {
    struct sha256_state state;
    uint64_t bytes;
    uint8_t pending[SHA256_BLOCK_BYTES];
};

// The state before the first block of any message.
extern const struct sha256_state sha256_initial;

// The known kernels, widest first, whether or not this processor can run them;
// NULL past the last. Only for tests and reports.
const struct sha256_kernel *
sha256_kernel_at(size_t index);

// The kernel that sha256_many uses for a full set of lanes here.
const struct sha256_kernel *
sha256_kernel_widest(void);

// Hashes `count` messages of `bytes` each; digests[i] belongs to messages[i].
// Each message continues `start`, a state reached after `start_bytes` (a
// multiple of 64) of a prefix that all of them share; for no prefix pass
// &sha256_initial and 0.
// If `targets` is not NULL, messages[i] is also copied to targets[i] on the
// way. Every byte is read once, so the digest is that of the target even if
// the message changes meanwhile. A target is either its own message or
// overlaps none.
void
sha256_many(const struct sha256_state *start, uint64_t start_bytes,
            const uint8_t *const *messages, uint8_t *const *targets,
            size_t count, size_t bytes,
            uint8_t (*digests)[SHA256_DIGEST_BYTES]);

// The same with one kernel only, which must be available; when copying,
// `count` must be a multiple of its lanes. For tests.
void
sha256_many_with(const struct sha256_kernel *kernel,
                 const struct sha256_state *start, uint64_t start_bytes,
                 const uint8_t *const *messages, uint8_t *const *targets,
                 size_t count, size_t bytes,
                 uint8_t (*digests)[SHA256_DIGEST_BYTES]);

// Begins a message, after a shared prefix as in sha256_many.
void
sha256_start(struct sha256_stream *stream, const struct sha256_state *start,
             uint64_t start_bytes);

// Appends to the message.
void
sha256_add(struct sha256_stream *stream, const void *data, size_t bytes);

// Ends the message; the stream must be started again before its next use.
void
sha256_finish(struct sha256_stream *stream,
              uint8_t digest[SHA256_DIGEST_BYTES]);

#endif
