// SPDX-License-Identifier: Apache-2.0
//
// Case of the content id: how fast it is computed against one stream of SHA-256
// per thread. What it computes is compared with the tree of
// docs/SEGMENT_FORMAT.md built here from OpenSSL's digests.

#include <openssl/evp.h>
#include <string.h>

#include "base/allocator.h"
#include "base/error.h"
#include "base/units.h"
#include "bench/bench.h"

#define LEAF_BYTES ((size_t)4096)
#define FANOUT ((size_t)128)
#define TAG_BYTES 64

static bool
hash_tagged(const char *kind, const void *first, size_t first_bytes,
            const void *second, size_t second_bytes,
            uint8_t digest[CASCADE_ID_BYTES])
{
    uint8_t tag[TAG_BYTES] = "cascade-sha256t-v1 ";
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done;

    memcpy(tag + strlen("cascade-sha256t-v1 "), kind, strlen(kind));
    done = context != NULL &&
           EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
           EVP_DigestUpdate(context, tag, sizeof(tag)) == 1 &&
           EVP_DigestUpdate(context, first, first_bytes) == 1 &&
           EVP_DigestUpdate(context, second, second_bytes) == 1 &&
           EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    return done;
}

// The id by its definition, level by level; `digests` has room for the leaves.
static bool
reference_id(const uint8_t *data, uint64_t bytes,
             uint8_t (*digests)[CASCADE_ID_BYTES], uint8_t id[CASCADE_ID_BYTES])
{
    size_t count = 0;
    uint8_t length[8];

    for (uint64_t at = 0; at < bytes; at += LEAF_BYTES) {
        if (!hash_tagged("leaf", data + at, units_min(LEAF_BYTES, bytes - at),
                         "", 0, digests[count++])) {
            return false;
        }
    }
    while (count > FANOUT) {
        size_t nodes = 0;

        for (size_t at = 0; at < count; at += FANOUT) {
            uint8_t node[CASCADE_ID_BYTES];

            if (!hash_tagged("node", digests[at],
                             units_min(FANOUT, count - at) * CASCADE_ID_BYTES,
                             "", 0, node)) {
                return false;
            }
            memcpy(digests[nodes++], node, sizeof(node));
        }
        count = nodes;
    }
    for (size_t i = 0; i < sizeof(length); i++) {
        length[i] = (uint8_t)(bytes >> (8 * i));
    }
    return hash_tagged("root", length, sizeof(length), digests[0],
                       count * CASCADE_ID_BYTES, id);
}

// Ids of all blocks of source, by the definition.
static enum cascade_status
make_references(struct bench_run *run)
{
    const struct allocator *allocator = allocator_system();
    uint8_t(*digests)[CASCADE_ID_BYTES];
    bool done = true;

    // The second half is for what the work computes.
    run->ids = allocator_array(allocator, 2 * run->blocks, CASCADE_ID_BYTES);
    digests = allocator_array(allocator, run->block_bytes / LEAF_BYTES + 1,
                              CASCADE_ID_BYTES);
    if (run->ids == NULL || digests == NULL) {
        allocator_release(allocator, digests);
        return error_set(CASCADE_NO_MEMORY, "no memory for ids");
    }
    for (size_t i = 0; i < run->blocks && done; i++) {
        done = reference_id(run->source.data + i * run->block_bytes,
                            run->block_bytes, digests, run->ids[i]);
    }
    allocator_release(allocator, digests);
    return done ? CASCADE_OK
                : error_set(CASCADE_UNSUPPORTED,
                            "the OpenSSL of this machine has no SHA-256");
}

static uint64_t
memory_bytes(const struct bench_run *run)
{
    return run->blocks * run->block_bytes;
}

static enum cascade_status
set_up(struct bench_run *run)
{
    enum cascade_status status = buffer_take(run->blocks * run->block_bytes,
                                             &run->source);

    if (status != CASCADE_OK) {
        return status;
    }
    bench_fill_source(run, 0);
    return make_references(run);
}

static enum cascade_status
compute(struct bench_run *run, uint32_t thread, void *context)
{
    size_t blocks = run->blocks / run->threads;

    (void)context;
    for (size_t i = thread * blocks; i < (thread + 1) * blocks; i++) {
        uint64_t start_ns = bench_now();

        cascade_content_id(run->source.data + i * run->block_bytes,
                           run->block_bytes, run->ids[run->blocks + i]);
        if (run->round > 0) {
            bench_note_latency(&run->latencies, bench_now() - start_ns);
        }
    }
    return CASCADE_OK;
}

static enum cascade_status
work(struct bench_run *run, struct bench_sample *sample)
{
    enum cascade_status status;

    memset(run->ids[run->blocks], 0, run->blocks * CASCADE_ID_BYTES);
    status = bench_parallel(run, compute, NULL, &sample->work.ns);
    sample->cpu_ns = run->parallel_cpu_ns;
    if (status != CASCADE_OK) {
        return status;
    }
    for (size_t i = 0; i < run->blocks; i++) {
        if (memcmp(run->ids[i], run->ids[run->blocks + i], CASCADE_ID_BYTES) ==
            0) {
            sample->work.bytes += run->block_bytes;
            sample->verified_bytes += run->block_bytes;
        } else {
            sample->wrong_bytes += run->block_bytes;
        }
    }
    return CASCADE_OK;
}

const struct bench_driver bench_driver_id = {
    .name = "id",
    .limit = "sha256",
    .moves_bytes = true,
    .memory_bytes = memory_bytes,
    .set_up = set_up,
    .work = work,
    .limit_work = bench_limit_sha256,
    .tear_down = bench_tear_down,
};
