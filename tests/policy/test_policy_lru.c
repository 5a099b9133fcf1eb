// SPDX-License-Identifier: Apache-2.0
//
// LRU with children before parents, against a model that looks at everything:
// exhaustively for all families of four blocks, then at random.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy.h"

#define MODEL_ENTRIES 40
#define SEED UINT64_C(20260101)

static const struct policy_table *const table = &policy_lru;

static uint64_t
next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return *state >> 33;
}

struct model_entry {
    bool resident;
    bool protected;
    bool warm; // not of an ended session
    uint64_t time;
    uint64_t life;
    uint32_t parent;
    uint64_t parent_life;
};

struct model {
    struct model_entry entries[MODEL_ENTRIES];
    uint64_t clock;
    uint64_t lives;
};

static bool
is_parent(const struct model *model, uint32_t parent, uint32_t child)
{
    const struct model_entry *of = &model->entries[child];

    return of->resident && of->parent == parent &&
           model->entries[parent].resident &&
           model->entries[parent].life == of->parent_life;
}

static bool
has_children(const struct model *model, uint32_t entry)
{
    for (uint32_t i = 0; i < MODEL_ENTRIES; i++) {
        if (is_parent(model, entry, i)) {
            return true;
        }
    }
    return false;
}

static bool
is_colder(const struct model_entry *a, const struct model_entry *b)
{
    return a->warm != b->warm ? !a->warm : a->time < b->time;
}

static bool
may_go(const struct model *model, uint32_t entry)
{
    return model->entries[entry].resident && !model->entries[entry].protected &&
           !has_children(model, entry);
}

static uint32_t
model_choose(const struct model *model, const bool *passed_over)
{
    uint32_t coldest = POLICY_NONE;

    for (uint32_t i = 0; i < MODEL_ENTRIES; i++) {
        if (may_go(model, i) && !(passed_over != NULL && passed_over[i]) &&
            (coldest == POLICY_NONE ||
             is_colder(&model->entries[i], &model->entries[coldest]))) {
            coldest = i;
        }
    }
    return coldest;
}

static void
model_insert(struct model *model, uint32_t entry,
             const struct policy_facts *facts)
{
    struct model_entry *self = &model->entries[entry];

    *self = (struct model_entry){
        .protected = (facts->flags & POLICY_PROTECTED) != 0,
        .warm = (facts->flags & POLICY_SESSION_END) == 0,
        .time = ++model->clock,
        .life = ++model->lives,
        .parent = POLICY_NONE,
    };
    if (facts->parent < MODEL_ENTRIES &&
        model->entries[facts->parent].resident) {
        self->parent = facts->parent;
        self->parent_life = model->entries[facts->parent].life;
    }
    self->resident = true;
}

static void
model_remove(struct model *model, uint32_t entry)
{
    struct model_entry *self = &model->entries[entry];

    for (uint32_t i = 0; i < MODEL_ENTRIES; i++) {
        struct model_entry *parent = &model->entries[i];

        if (is_parent(model, i, entry) && is_colder(parent, self)) {
            parent->warm = self->warm;
            parent->time = self->time;
        }
    }
    self->resident = false;
}

static void *
make_state(uint32_t entries)
{
    void *state = allocator_array(allocator_system(), 1,
                                  table->state_bytes(entries));

    assert_non_null(state);
    table->init(state, entries, NULL);
    return state;
}

static void
insert_both(void *state, struct model *model, uint32_t entry, uint32_t parent,
            uint32_t flags)
{
    const struct policy_facts facts = {
        .bytes = 1, .parent = parent, .flags = flags};

    table->insert(state, entry, &facts);
    model_insert(model, entry, &facts);
}

// Evicts until nothing may go; every victim must be the model's.
static void
drain(void *state, struct model *model)
{
    struct policy_cursor cursor = {.count = 0};

    for (;;) {
        uint32_t expected = model_choose(model, NULL);
        uint32_t victim = POLICY_NONE;
        bool found = table->choose(state, &cursor, &victim);

        assert_int_equal(found, expected != POLICY_NONE);
        if (!found) {
            return;
        }
        assert_int_equal(victim, expected);
        table->remove(state, victim, true);
        model_remove(model, victim);
    }
}

static void
one_family(void *state, const uint32_t *order, uint32_t parents,
           uint32_t protected, uint32_t touches)
{
    static struct model model;

    memset(&model, 0, sizeof(model));
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t entry = order[i];
        // Each block's parent is any of the four or none.
        uint32_t divisor = entry == 0   ? 1
                           : entry == 1 ? 5
                           : entry == 2 ? 25
                                        : 125;
        uint32_t parent = parents / divisor % 5;

        insert_both(state, &model, entry, parent < 4 ? parent : POLICY_NONE,
                    (protected >> entry & 1) != 0 ? POLICY_PROTECTED : 0);
    }
    for (uint32_t i = 0; i < 4; i++) {
        if ((touches >> i & 1) != 0) {
            table->touch(state, i);
            model.entries[i].time = ++model.clock;
        }
    }
    drain(state, &model);
    for (uint32_t i = 0; i < 4; i++) {
        table->remove(state, i, true); // the protected and their parents
    }
}

static void
all_families_of_four_go_in_order(void **state)
{
    void *policy = make_state(4);
    uint32_t families = 0;

    (void)state;
    for (uint32_t code = 0; code < 256; code++) {
        uint32_t order[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};

        if ((1u << order[0] | 1u << order[1] | 1u << order[2] |
             1u << order[3]) != 15) {
            continue;
        }
        for (uint32_t parents = 0; parents < 625; parents++) {
            for (uint32_t protected = 0; protected < 16; protected ++) {
                one_family(policy, order, parents, protected,
                           (parents + code + protected) % 16);
                families++;
            }
            assert_true(table->is_valid(policy));
        }
    }
    assert_int_equal(families, 24 * 625 * 16);
    allocator_release(allocator_system(), policy);
}

static void
assert_order(void *policy, const uint32_t *expected, uint32_t count)
{
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    for (uint32_t i = 0; i < count; i++) {
        assert_true(table->choose(policy, &cursor, &victim));
        assert_int_equal(victim, expected[i]);
    }
    assert_false(table->choose(policy, &cursor, &victim));
    assert_int_equal(cursor.count, count);
}

static void
ended_sessions_go_first(void **state)
{
    void *policy = make_state(8);
    const struct policy_facts plain = {.parent = POLICY_NONE};
    const struct policy_facts ended = {.parent = POLICY_NONE,
                                       .flags = POLICY_SESSION_END};

    (void)state;
    table->insert(policy, 0, &plain);
    table->insert(policy, 1, &ended);
    table->insert(policy, 2, &plain);
    table->insert(policy, 3, &ended);
    assert_order(policy, (const uint32_t[]){1, 3, 0, 2}, 4);
    table->touch(policy, 1); // it goes on after all
    assert_order(policy, (const uint32_t[]){3, 0, 2, 1}, 4);
    table->change(policy, 2, POLICY_SESSION_END);
    assert_order(policy, (const uint32_t[]){2, 3, 0, 1}, 4);
    table->change(policy, 3, POLICY_PROTECTED);
    assert_order(policy, (const uint32_t[]){2, 0, 1}, 3);
    table->change(policy, 3, 0);
    assert_order(policy, (const uint32_t[]){2, 0, 3, 1}, 4);
    assert_true(table->is_valid(policy));
    allocator_release(allocator_system(), policy);
}

static void
a_prompt_goes_from_its_end(void **state)
{
    void *policy = make_state(8);
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    (void)state;
    // Put root first and never touched, so that plain LRU would take the root.
    for (uint32_t i = 0; i < 8; i++) {
        const struct policy_facts facts = {
            .parent = i > 0 ? i - 1 : POLICY_NONE, .depth = i};

        table->insert(policy, i, &facts);
    }
    for (uint32_t i = 8; i-- > 0;) {
        assert_true(table->choose(policy, &cursor, &victim));
        assert_int_equal(victim, i);
        table->remove(policy, victim, true);
    }
    assert_false(table->choose(policy, &cursor, &victim));
    allocator_release(allocator_system(), policy);
}

static void
a_child_that_is_pinned_keeps_its_parents(void **state)
{
    void *policy = make_state(4);
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        const struct policy_facts facts = {.parent = i > 0 ? i - 1
                                                           : POLICY_NONE};

        table->insert(policy, i, &facts);
    }
    assert_true(table->choose(policy, &cursor, &victim));
    assert_int_equal(victim, 2);
    assert_false(table->choose(policy, &cursor, &victim));
    allocator_release(allocator_system(), policy);
}

static void
a_reused_number_is_another_parent(void **state)
{
    void *policy = make_state(4);
    const struct policy_facts root = {.parent = POLICY_NONE};
    const struct policy_facts child = {.parent = 0};

    (void)state;
    table->insert(policy, 0, &root);
    table->insert(policy, 1, &child);
    table->remove(policy, 0, true); // its key was removed
    table->insert(policy, 0, &root);
    assert_order(policy, (const uint32_t[]){1, 0}, 2);
    table->insert(policy, 2, &child);
    table->remove(policy, 1, true); // must not count for the other block
    assert_order(policy, (const uint32_t[]){2}, 1);
    assert_true(table->is_valid(policy));
    allocator_release(allocator_system(), policy);
}

static void
calls_for_entries_that_are_not_here_do_nothing(void **state)
{
    void *policy = make_state(2);
    const struct policy_facts odd = {.parent = 77};

    (void)state;
    table->touch(policy, 0);
    table->change(policy, 1, POLICY_PROTECTED);
    table->remove(policy, 1, true);
    table->touch(policy, POLICY_NONE);
    assert_order(policy, NULL, 0);
    table->insert(policy, 1, &odd);
    assert_order(policy, (const uint32_t[]){1}, 1);
    assert_true(table->is_valid(policy));
    allocator_release(allocator_system(), policy);
}

// Evicts some, passes over others, with one cursor.
static void
random_eviction(void *policy, struct model *model, uint64_t *random)
{
    struct policy_cursor cursor = {.count = 0};
    bool passed_over[MODEL_ENTRIES] = {false};
    uint64_t rounds = next_random(random) % 12;

    for (uint64_t i = 0; i < rounds; i++) {
        uint32_t expected = model_choose(model, passed_over);
        uint32_t victim = POLICY_NONE;
        bool found = table->choose(policy, &cursor, &victim);

        assert_int_equal(found, expected != POLICY_NONE);
        if (!found) {
            return;
        }
        assert_int_equal(victim, expected);
        if (next_random(random) % 3 == 0) {
            passed_over[victim] = true;
        } else {
            table->remove(policy, victim, true);
            model_remove(model, victim);
        }
    }
}

static void
random_step(void *policy, struct model *model, uint64_t *random)
{
    uint32_t entry = (uint32_t)(next_random(random) % MODEL_ENTRIES);
    struct model_entry *self = &model->entries[entry];
    uint32_t flags = next_random(random) % 8 == 0   ? POLICY_PROTECTED
                     : next_random(random) % 8 == 0 ? POLICY_SESSION_END
                                                    : 0;

    if (!self->resident) {
        insert_both(policy, model, entry,
                    (uint32_t)(next_random(random) % (MODEL_ENTRIES + 10)),
                    flags);
        return;
    }
    switch (next_random(random) % 8) {
    case 0:
        table->remove(policy, entry, true);
        model_remove(model, entry);
        break;
    case 1:
        table->change(policy, entry, flags);
        self->protected = (flags & POLICY_PROTECTED) != 0;
        self->warm = (flags & POLICY_SESSION_END) == 0;
        break;
    case 2:
        random_eviction(policy, model, random);
        break;
    default:
        table->touch(policy, entry);
        self->time = ++model->clock;
        self->warm = true;
        break;
    }
}

static void
random_steps_agree_with_the_model(void **state)
{
    static struct model model;
    void *policy = make_state(MODEL_ENTRIES);
    uint64_t random = SEED;

    (void)state;
    print_message("seed %" PRIu64 "\n", SEED);
    for (int step = 0; step < 60000; step++) {
        random_step(policy, &model, &random);
        if (step % 8 == 0) {
            assert_true(table->is_valid(policy));
        }
    }
    drain(policy, &model);
    allocator_release(allocator_system(), policy);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_families_of_four_go_in_order),
        cmocka_unit_test(ended_sessions_go_first),
        cmocka_unit_test(a_prompt_goes_from_its_end),
        cmocka_unit_test(a_child_that_is_pinned_keeps_its_parents),
        cmocka_unit_test(a_reused_number_is_another_parent),
        cmocka_unit_test(calls_for_entries_that_are_not_here_do_nothing),
        cmocka_unit_test(random_steps_agree_with_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
