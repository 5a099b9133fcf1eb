// SPDX-License-Identifier: Apache-2.0
//
// Every SHA-256 kernel of this machine against OpenSSL.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <cmocka.h>

#include "base/sha256.h"

// The template of the lane kernels with sixteen lanes for any processor, so
// that the logic of the AVX-512 kernel is tested where it cannot run.
#define LANES 16
#define LANES_TARGET
#include "base/sha256_lanes.h"

#define SEED 20240611
#define MESSAGE_BYTES_MAX 5000
#define MESSAGES_MAX 40
#define SLACK 64

static uint64_t random_state;

static uint64_t
next_random(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void
fill(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        data[i] = (uint8_t)next_random();
    }
}

static bool
always(void)
{
    return true;
}

static const struct sha256_kernel wide_template = {"template-16", 16, 1, always,
                                                   lanes_compress};

// OpenSSL's digest of a prefix and a message.
static void
expect(const uint8_t *prefix, size_t prefix_bytes, const uint8_t *data,
       size_t bytes, uint8_t digest[SHA256_DIGEST_BYTES])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_non_null(context);
    assert_int_equal(EVP_DigestInit_ex(context, EVP_sha256(), NULL), 1);
    assert_int_equal(EVP_DigestUpdate(context, prefix, prefix_bytes), 1);
    assert_int_equal(EVP_DigestUpdate(context, data, bytes), 1);
    assert_int_equal(EVP_DigestFinal_ex(context, digest, NULL), 1);
    EVP_MD_CTX_free(context);
}

// The same with a copy of each message on the way, to an odd place.
static void
compare_copying(const struct sha256_kernel *kernel,
                const uint8_t *const *messages, size_t count, size_t bytes,
                uint8_t (*expected)[SHA256_DIGEST_BYTES],
                const struct sha256_state *start, uint64_t start_bytes)
{
    static uint8_t memory[MESSAGES_MAX][MESSAGE_BYTES_MAX + SLACK];
    uint8_t digests[MESSAGES_MAX][SHA256_DIGEST_BYTES];
    uint8_t *targets[MESSAGES_MAX];
    size_t shift = next_random() % (SLACK / 2);
    memset(memory, 0xdd, sizeof memory);
    for (size_t i = 0; i < count; i++) {
        targets[i] = memory[i] + shift;
    }
    if (kernel == NULL) {
        sha256_many(start, start_bytes, messages, targets, count, bytes,
                    digests);
    } else {
        sha256_many_with(kernel, start, start_bytes, messages, targets, count,
                         bytes, digests);
    }
    assert_true(memcmp(digests, expected, count * sizeof digests[0]) == 0);
    for (size_t i = 0; i < count; i++) {
        assert_true(memcmp(targets[i], messages[i], bytes) == 0);
        assert_int_equal(targets[i][bytes], 0xdd);
        assert_int_equal(shift == 0 ? 0xdd : targets[i][-1], 0xdd);
    }
}

// Hashes `count` messages of a length with a kernel (NULL: the library's own
// choice) after a prefix of one block, and compares each.
static void
compare(const struct sha256_kernel *kernel, size_t count, size_t bytes)
{
    static uint8_t memory[MESSAGES_MAX][MESSAGE_BYTES_MAX + SLACK];
    const uint8_t *messages[MESSAGES_MAX];
    uint8_t digests[MESSAGES_MAX + 1][SHA256_DIGEST_BYTES];
    uint8_t prefix[SHA256_BLOCK_BYTES];
    const uint8_t *prefix_data = prefix;
    struct sha256_state start = sha256_initial;
    size_t prefix_bytes = next_random() % 2 * sizeof prefix;

    fill(prefix, sizeof prefix);
    sha256_compress_portable(&start, &prefix_data, NULL,
                             prefix_bytes / SHA256_BLOCK_BYTES);
    for (size_t i = 0; i < count; i++) {
        size_t shift = next_random() % SLACK;
        fill(memory[i] + shift, bytes);
        messages[i] = memory[i] + shift;
    }
    memset(digests, 0xee, sizeof digests);
    if (kernel == NULL) {
        sha256_many(&start, prefix_bytes, messages, NULL, count, bytes,
                    digests);
    } else {
        sha256_many_with(kernel, &start, prefix_bytes, messages, NULL, count,
                         bytes, digests);
    }
    for (size_t i = 0; i < count; i++) {
        uint8_t expected[SHA256_DIGEST_BYTES];
        expect(prefix, prefix_bytes, messages[i], bytes, expected);
        assert_memory_equal(digests[i], expected, sizeof expected);
    }
    for (size_t i = 0; i < SHA256_DIGEST_BYTES; i++) {
        assert_int_equal(digests[count][i], 0xee);
    }
    if (kernel != NULL) {
        count -= count % kernel->lanes;
    }
    compare_copying(kernel, messages, count, bytes, digests, &start,
                    prefix_bytes);
}

// Messages that overlap their targets change while they are copied: whoever
// read a byte twice would hash other bytes than those it stored.
static void
compare_while_changing(const struct sha256_kernel *kernel)
{
    enum {
        BYTES = 4096,
        COUNT = 48
    };
    static uint8_t memory[(COUNT + 1) * BYTES];
    for (size_t shift = 16; shift <= BYTES; shift *= 2) {
        const uint8_t *messages[COUNT];
        uint8_t *targets[COUNT];
        uint8_t digests[COUNT][SHA256_DIGEST_BYTES];
        fill(memory, sizeof memory);
        for (size_t i = 0; i < COUNT; i++) {
            targets[i] = memory + i * BYTES;
            messages[i] = targets[i] + shift;
        }
        if (kernel == NULL) {
            sha256_many(&sha256_initial, 0, messages, targets, COUNT, BYTES,
                        digests);
        } else {
            sha256_many_with(kernel, &sha256_initial, 0, messages, targets,
                             COUNT, BYTES, digests);
        }
        for (size_t i = 0; i < COUNT; i++) {
            uint8_t expected[SHA256_DIGEST_BYTES];
            expect(memory, 0, targets[i], BYTES, expected);
            assert_memory_equal(digests[i], expected, sizeof expected);
        }
    }
}

static void
compare_many(const struct sha256_kernel *kernel)
{
    for (size_t bytes = 0; bytes < 200; bytes++) {
        compare(kernel, 1 + bytes % MESSAGES_MAX, bytes);
    }
    for (size_t count = 0; count <= MESSAGES_MAX; count++) {
        compare(kernel, count, 128 + count % 2);
    }
    for (size_t i = 0; i < 60; i++) {
        compare(kernel, 1 + next_random() % MESSAGES_MAX,
                next_random() % MESSAGE_BYTES_MAX);
    }
    compare_while_changing(kernel);
}

static void
test_known_digest(void **state)
{
    static const uint8_t expected[SHA256_DIGEST_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
        0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
        0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    const uint8_t *message = (const uint8_t *)"abc";
    uint8_t digest[1][SHA256_DIGEST_BYTES];
    (void)state;
    sha256_many(&sha256_initial, 0, &message, NULL, 1, 3, digest);
    assert_memory_equal(digest[0], expected, sizeof expected);
}

static void
test_every_kernel(void **state)
{
    const struct sha256_kernel *kernel;
    (void)state;
    for (size_t i = 0; (kernel = sha256_kernel_at(i)) != NULL; i++) {
        assert_in_range(kernel->lanes, 1, SHA256_LANES_MAX);
        if (kernel->available()) {
            compare_many(kernel);
        }
        print_message("kernel %s: %s\n", kernel->name,
                      kernel->available() ? "tested" : "not on this processor");
    }
}

static void
test_wide_template(void **state)
{
    (void)state;
    compare_many(&wide_template);
}

static void
test_chosen_kernels(void **state)
{
    (void)state;
    assert_true(sha256_kernel_widest()->available());
    compare_many(NULL);
}

static void
test_stream_in_parts(void **state)
{
    static uint8_t data[MESSAGE_BYTES_MAX];
    (void)state;
    for (size_t round = 0; round < 300; round++) {
        size_t bytes = next_random() % sizeof data;
        uint8_t expected[SHA256_DIGEST_BYTES], digest[SHA256_DIGEST_BYTES];
        struct sha256_stream stream;
        fill(data, bytes);
        expect(data, 0, data, bytes, expected);
        sha256_start(&stream, &sha256_initial, 0);
        for (size_t at = 0; at < bytes;) {
            size_t part = next_random() % (round % 2 == 0 ? 100 : 1000);
            part = part < bytes - at ? part : bytes - at;
            sha256_add(&stream, data + at, part);
            at += part;
        }
        sha256_finish(&stream, digest);
        assert_memory_equal(digest, expected, sizeof expected);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_digest),
        cmocka_unit_test(test_every_kernel),
        cmocka_unit_test(test_wide_template),
        cmocka_unit_test(test_chosen_kernels),
        cmocka_unit_test(test_stream_in_parts),
    };
    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
