// SPDX-License-Identifier: Apache-2.0
//
// The treap against a plain array of keys: every answer after every step.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/treap.h"

#define NODES 200
#define SEED UINT64_C(20240611)

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

struct model {
    bool present[NODES];
    uint64_t keys[NODES];
    uint32_t count;
};

static bool
has_key(const struct model *model, uint64_t key)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (model->present[i] && model->keys[i] == key) {
            return true;
        }
    }
    return false;
}

static uint32_t
nearest(const struct model *model, uint64_t key, bool after)
{
    uint32_t found = TREAP_NONE;

    for (uint32_t i = 0; i < NODES; i++) {
        uint64_t own = model->keys[i];

        if (!model->present[i] || (after ? own < key : own > key)) {
            continue;
        }
        if (found == TREAP_NONE ||
            (after ? own < model->keys[found] : own > model->keys[found])) {
            found = i;
        }
    }
    return found;
}

static void
random_steps_agree_with_an_array(void **state)
{
    static struct treap_node nodes[NODES];
    static struct model model;
    struct treap tree;
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    treap_init(&tree, nodes);
    for (int step = 0; step < 20000; step++) {
        uint32_t node = (uint32_t)(next_random(&random) % NODES);
        uint64_t key = next_random(&random) % 500;

        if (model.present[node]) {
            treap_remove(&tree, node);
            model.present[node] = false;
            model.count--;
        } else if (!has_key(&model, key)) {
            treap_insert(&tree, node, key);
            model.present[node] = true;
            model.keys[node] = key;
            model.count++;
        }
        key = next_random(&random) % 500;
        assert_int_equal(treap_at_or_after(&tree, key),
                         nearest(&model, key, true));
        assert_int_equal(treap_at_or_before(&tree, key),
                         nearest(&model, key, false));
        if (step % 16 == 0) {
            assert_true(treap_is_valid(&tree, NODES, model.count));
        }
    }
}

static void
extreme_keys_are_keys(void **state)
{
    struct treap_node nodes[2];
    struct treap tree;

    (void)state;
    treap_init(&tree, nodes);
    assert_int_equal(treap_at_or_after(&tree, 0), TREAP_NONE);
    treap_insert(&tree, 0, UINT64_MAX);
    treap_insert(&tree, 1, 0);
    assert_int_equal(treap_at_or_after(&tree, 0), 1);
    assert_int_equal(treap_at_or_after(&tree, 1), 0);
    assert_int_equal(treap_at_or_before(&tree, UINT64_MAX), 0);
    assert_true(treap_is_valid(&tree, 2, 2));
}

static void
ascending_keys_stay_shallow(void **state)
{
    enum {
        COUNT = 100000
    };
    static struct treap_node nodes[COUNT];
    struct treap tree;

    (void)state;
    treap_init(&tree, nodes);
    for (uint32_t i = 0; i < COUNT; i++) {
        treap_insert(&tree, i, i);
    }
    // The checker refuses trees of more depth than mixed priorities give.
    assert_true(treap_is_valid(&tree, COUNT, COUNT));
}

static void
damage_is_seen(void **state)
{
    struct treap_node nodes[8];
    struct treap tree;
    uint32_t root;

    (void)state;
    treap_init(&tree, nodes);
    for (uint32_t i = 0; i < 8; i++) {
        treap_insert(&tree, i, i * 10);
    }
    assert_true(treap_is_valid(&tree, 8, 8));
    assert_false(treap_is_valid(&tree, 8, 7));
    assert_false(treap_is_valid(&tree, 8, 9));
    root = tree.root;
    nodes[root].key += 100;
    assert_false(treap_is_valid(&tree, 8, 8));
    nodes[root].key -= 100;
    nodes[root].left = root; // a cycle
    assert_false(treap_is_valid(&tree, 8, 8));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_agree_with_an_array),
        cmocka_unit_test(extreme_keys_are_keys),
        cmocka_unit_test(ascending_keys_stay_shallow),
        cmocka_unit_test(damage_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
