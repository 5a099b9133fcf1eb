// SPDX-License-Identifier: Apache-2.0
//
// The content id against its published vectors and a naive reference that
// follows the text of the format, with OpenSSL.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <cmocka.h>

#include "block/block_id.h"

#define SEED 20240614

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
hash_tagged(const char *tag, const void *head, size_t head_bytes,
            const void *data, size_t bytes, uint8_t digest[32])
{
    char padded[64] = "cascade-sha256t-v1 ";
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_non_null(context);
    memcpy(padded + strlen(padded), tag, strlen(tag));
    assert_int_equal(EVP_DigestInit_ex(context, EVP_sha256(), NULL), 1);
    EVP_DigestUpdate(context, padded, sizeof padded);
    EVP_DigestUpdate(context, head, head_bytes);
    EVP_DigestUpdate(context, data, bytes);
    assert_int_equal(EVP_DigestFinal_ex(context, digest, NULL), 1);
    EVP_MD_CTX_free(context);
}

static size_t
smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

// The id from a level of digests, which it overwrites.
static void
reference_root(uint64_t length, struct block_id_node *digests, size_t count,
               struct block_id *id)
{
    uint8_t head[8];
    while (count > 128) {
        size_t above = 0;
        for (size_t i = 0; i < count; i += 128, above++) {
            struct block_id_node node;
            hash_tagged("node", NULL, 0, &digests[i],
                        smaller(128, count - i) * 32, node.bytes);
            digests[above] = node;
        }
        count = above;
    }
    for (size_t i = 0; i < 8; i++) {
        head[i] = (uint8_t)(length >> (8 * i));
    }
    hash_tagged("root", head, sizeof head, digests, count * 32, id->bytes);
}

static void
reference_id(const uint8_t *data, size_t bytes, struct block_id *id)
{
    struct block_id_node *digests = calloc(bytes / 4096 + 1, sizeof *digests);
    size_t count = 0;
    assert_non_null(digests);
    for (size_t at = 0; at < bytes; at += 4096) {
        hash_tagged("leaf", NULL, 0, data + at, smaller(4096, bytes - at),
                    digests[count++].bytes);
    }
    reference_root(bytes, digests, count, id);
    free(digests);
}

static void
assert_same(const struct block_id *a, const struct block_id *b)
{
    assert_memory_equal(a->bytes, b->bytes, BLOCK_ID_BYTES);
}

static void
id_by_chunks(const uint8_t *data, size_t bytes, struct block_id *id)
{
    struct block_id_stream stream;
    block_id_start(&stream);
    for (size_t at = 0; at < bytes;) {
        size_t part = smaller(BLOCK_ID_CHUNK_BYTES, bytes - at);
        struct block_id_node node;
        block_id_hash_chunk(data + at, part, &node);
        block_id_add_chunk(&stream, &node, part);
        at += part;
    }
    block_id_finish(&stream, id);
}

static void
id_by_parts(const uint8_t *data, size_t bytes, size_t part_max,
            struct block_id *id)
{
    struct block_id_stream stream;
    block_id_start(&stream);
    for (size_t at = 0; at < bytes;) {
        size_t part = smaller(next_random() % part_max, bytes - at);
        block_id_add(&stream, data + at, part);
        at += part;
    }
    block_id_finish(&stream, id);
}

static const struct vector {
    size_t bytes;
    const char *text;
} vectors[] = {
    {0, "6c14e97338aa189287e471ade096ac743183ca71ed6c5322550dd8b7b30518b9"},
    {1, "5ff76aeef5a0dd43dcd98e9e1632a73943b08a29f6ece34a3e76506f5a13c604"},
    {4095, "b85b42262f1ace1b40a356a167c476c7202011ab0bd3c4509ffbd654d71e87d9"},
    {4096, "caa2f265d195d58ebc6c9743c709d053cdf5364a473d964b26f35a80aaea8ee4"},
    {4097, "62edee9f3b163ca293a014b832d8bfe3088d4c668c6f9bac3d5e8fd0223f126e"},
    {524288,
     "885fa2f549d928eac0a17655be08bc9dc7e93f32bf8dc39b599c559e36c56b9f"},
    {524289,
     "2eac4659c40e367026b392808d59e0bb847e833d09134b6ecade0a0aad328057"},
    {20000003,
     "9ba0afbd25743a3f155764bb1823f086a7b9d272cc5c5908cfe34866c9a2d0a4"},
    {67108864,
     "6a84123203387ae5375c61df7e8c4c63ae4aa9ea1377d8e2ff29452c6c9593ec"},
    {67108865,
     "fd5bfe2ebcffbe1dc418586ec3a0b1447a0d14115c8348094b1212496e121665"},
};

static void
test_vectors(void **state)
{
    size_t most = vectors[sizeof vectors / sizeof vectors[0] - 1].bytes;
    uint8_t *data = malloc(most);
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < most; i++) {
        data[i] = (uint8_t)(i % 251);
    }
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        char text[BLOCK_ID_TEXT_BYTES];
        struct block_id id, again;
        block_id_of(data, vectors[i].bytes, &id);
        block_id_format(&id, text);
        assert_string_equal(text, vectors[i].text);
        id_by_parts(data, vectors[i].bytes, 1000000, &again);
        assert_same(&again, &id);
        if (vectors[i].bytes > BLOCK_ID_CHUNK_BYTES) {
            id_by_chunks(data, vectors[i].bytes, &again);
            assert_same(&again, &id);
        }
    }
    free(data);
}

static void
test_random_content(void **state)
{
    size_t most = 3 * BLOCK_ID_CHUNK_BYTES;
    uint8_t *data = malloc(most);
    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < most; i++) {
        data[i] = (uint8_t)next_random();
    }
    for (size_t round = 0; round < 60; round++) {
        size_t bytes = next_random() % (round % 2 == 0 ? 40000 : most);
        size_t shift = smaller(next_random() % 64, most - bytes);
        struct block_id expected, id;
        reference_id(data + shift, bytes, &expected);
        block_id_of(data + shift, bytes, &id);
        assert_same(&id, &expected);
        id_by_parts(data + shift, bytes, round % 3 == 0 ? 300 : 20000, &id);
        assert_same(&id, &expected);
    }
    free(data);
}

// Terabytes cannot be hashed here, but their chunks can be made up.
static void
test_many_levels(void **state)
{
    static const size_t counts[] = {2,     127,   128,   129,          16383,
                                    16384, 16385, 16513, 2 * 16384 + 1};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        size_t count = counts[i];
        uint64_t bytes = (uint64_t)count * BLOCK_ID_CHUNK_BYTES - 1000;
        struct block_id_node *nodes = calloc(count, sizeof *nodes);
        struct block_id_stream stream;
        struct block_id expected, id;
        assert_non_null(nodes);
        block_id_start(&stream);
        for (size_t k = 0; k < count; k++) {
            memcpy(nodes[k].bytes, &k, sizeof k);
            block_id_add_chunk(&stream, &nodes[k],
                               BLOCK_ID_CHUNK_BYTES -
                                   (k + 1 == count ? 1000 : 0));
        }
        block_id_finish(&stream, &id);
        reference_root(bytes, nodes, count, &expected);
        assert_same(&id, &expected);
        free(nodes);
    }
}

static void
test_text_form(void **state)
{
    struct block_id id, parsed;
    char text[BLOCK_ID_TEXT_BYTES + 1];
    (void)state;
    for (size_t i = 0; i < BLOCK_ID_BYTES; i++) {
        id.bytes[i] = (uint8_t)(i * 37 + 5);
    }
    block_id_format(&id, text);
    assert_int_equal(block_id_parse(text, &parsed), CASCADE_OK);
    assert_same(&parsed, &id);
    for (char *at = text; *at != '\0'; at++) {
        if (*at >= 'a') {
            *at = (char)(*at - 'a' + 'A');
        }
    }
    assert_int_equal(block_id_parse(text, &parsed), CASCADE_OK);
    assert_same(&parsed, &id);

    memset(&parsed, 0x77, sizeof parsed);
    struct block_id untouched = parsed;
    text[63] = 'g';
    assert_int_equal(block_id_parse(text, &parsed), CASCADE_INVALID);
    text[63] = '\0';
    assert_int_equal(block_id_parse(text, &parsed), CASCADE_INVALID);
    memcpy(text + 63, "11", 3);
    assert_int_equal(block_id_parse(text, &parsed), CASCADE_INVALID);
    assert_int_equal(block_id_parse("", &parsed), CASCADE_INVALID);
    assert_same(&parsed, &untouched);
}

static void
test_order(void **state)
{
    struct block_id zero = {{0}}, one = {{0}}, high = {{0}};
    (void)state;
    one.bytes[BLOCK_ID_BYTES - 1] = 1;
    high.bytes[0] = 0x80;
    assert_true(block_id_is_zero(&zero));
    assert_false(block_id_is_zero(&one));
    assert_true(block_id_equal(&one, &one));
    assert_false(block_id_equal(&one, &zero));
    assert_true(block_id_compare(&zero, &one) < 0);
    assert_true(block_id_compare(&high, &one) > 0);
    assert_int_equal(block_id_compare(&high, &high), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_random_content),
        cmocka_unit_test(test_many_levels),
        cmocka_unit_test(test_text_form),
        cmocka_unit_test(test_order),
    };
    random_state = SEED;
    print_message("seed %d\n", SEED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
