// SPDX-License-Identifier: Apache-2.0
//
// Key digests against values that another program made (Python's hashlib, from
// the definition in block_key.h), and the order of versions.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "block/block_key.h"
#include "block/block_version.h"
#include "cascade/cascade.h"

static void
assert_digest(const char *namespace_name, const void *key, size_t key_bytes,
              const char *expected)
{
    struct block_key digest;
    char text[65] = "";

    block_key_of(namespace_name, key, key_bytes, &digest);
    for (size_t i = 0; i < sizeof(digest.bytes); i++) {
        (void)snprintf(text + 2 * i, 3, "%02x", digest.bytes[i]);
    }
    assert_string_equal(text, expected);
}

static void
digests_are_as_defined(void **state)
{
    char longest_namespace[256] = "";
    char longest_key[CASCADE_KEY_BYTES_MAX];

    (void)state;
    memset(longest_namespace, 'n', sizeof(longest_namespace) - 1);
    memset(longest_key, 'k', sizeof(longest_key));
    assert_digest("", "a", 1,
                  "d7fe8b5c4a504869334d9d78a1e3b18c"
                  "b1c5d0946258af6182169b2095bc00a0");
    assert_digest("model", "sys_prompt_v1", 13,
                  "86e02c0d2e6d37718042bf39686a26fa"
                  "414958e5a0b386d1081ed9fdcc667887");
    assert_digest(longest_namespace, longest_key, sizeof(longest_key),
                  "dcbdd3607edd52937e7ea62869b68c51"
                  "97c7fab5f1be415e6079b7c2f7b908ed");
}

// The border between namespace and key cannot be moved.
static void
namespaces_never_meet(void **state)
{
    struct block_key one;
    struct block_key other;

    (void)state;
    block_key_of("ab", "c", 1, &one);
    block_key_of("a", "bc", 2, &other);
    assert_false(block_key_equal(&one, &other));
    block_key_of("ab", "c", 1, &other);
    assert_true(block_key_equal(&one, &other));
    assert_int_equal(block_key_hash(&one), block_key_hash(&other));
}

// Keys are bytes: a zero inside counts, at the end as well.
static void
zero_bytes_count(void **state)
{
    struct block_key shorter;
    struct block_key longer;
    const struct block_key zero = {{0}};

    (void)state;
    block_key_of("m", "k", 1, &shorter);
    block_key_of("m", "k\0", 2, &longer);
    assert_false(block_key_equal(&shorter, &longer));
    assert_false(block_key_is_zero(&shorter));
    assert_true(block_key_is_zero(&zero));
}

static void
versions_are_ordered_by_time_then_tag(void **state)
{
    const struct block_version early = {.time_ns = 1, .tag = UINT64_MAX};
    const struct block_version late = {.time_ns = 2, .tag = 0};
    const struct block_version late_too = {.time_ns = 2, .tag = 1};

    (void)state;
    assert_true(block_version_compare(early, late) < 0);
    assert_true(block_version_compare(late, early) > 0);
    assert_true(block_version_compare(late, late_too) < 0);
    assert_true(block_version_compare(late_too, late) > 0);
    assert_int_equal(block_version_compare(late, late), 0);
    assert_false(block_version_is_zero(early));
    assert_true(block_version_is_zero((struct block_version){.tag = 5}));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_as_defined),
        cmocka_unit_test(namespaces_never_meet),
        cmocka_unit_test(zero_bytes_count),
        cmocka_unit_test(versions_are_ordered_by_time_then_tag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
