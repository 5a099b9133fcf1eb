// SPDX-License-Identifier: Apache-2.0
//
// One suite for every policy of the table: who may be chosen, what a cursor
// promises, that choosing changes nothing, and that the state stays valid, all
// against a model that knows who may go but not in which order.

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/allocator.h"
#include "policy/policy.h"

#define ENTRIES 48
#define STEPS 12000
#define HASHES 200 // few, so that blocks return
#define SEED UINT64_C(20260714)

struct model_entry {
    bool resident;
    bool protected;
    bool ended;
    uint64_t life;
    uint64_t hash;
    uint64_t bytes;
    uint32_t parent;
    uint64_t parent_life;
};

struct model {
    const struct policy_table *table;
    void *state;
    void *copy; // of the state
    struct model_entry entries[ENTRIES];
    uint64_t lives;
    uint64_t random;
};

static uint64_t
draw(struct model *model, uint64_t below)
{
    model->random = model->random * UINT64_C(6364136223846793005) +
                    1442695040888963407;
    return (model->random >> 33) % below;
}

static bool
may_go(const struct model *model, uint32_t number)
{
    const struct model_entry *self = &model->entries[number];

    for (uint32_t i = 0; i < ENTRIES; i++) {
        const struct model_entry *child = &model->entries[i];

        if (child->resident && child->parent == number &&
            child->parent_life == self->life) {
            return false;
        }
    }
    return self->resident && !self->protected;
}

static uint32_t
count_who_may_go(const struct model *model)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < ENTRIES; i++) {
        count += may_go(model, i);
    }
    return count;
}

static void
start(struct model *model, const struct policy_table *table, uint64_t capacity)
{
    const struct policy_parameters parameters = {.capacity_bytes = capacity,
                                                 .seed = SEED};
    size_t bytes = table->state_bytes(ENTRIES);

    memset(model, 0, sizeof(*model));
    model->table = table;
    model->random = SEED;
    model->state = allocator_array(allocator_system(), 1, bytes);
    model->copy = allocator_array(allocator_system(), 1, bytes);
    assert_non_null(model->state);
    assert_non_null(model->copy);
    table->init(model->state, ENTRIES, capacity == 0 ? NULL : &parameters);
    assert_true(table->is_valid(model->state));
}

static void
end(struct model *model)
{
    allocator_release(allocator_system(), model->state);
    allocator_release(allocator_system(), model->copy);
}

static void
insert(struct model *model, uint32_t number, uint32_t parent, uint32_t flags)
{
    struct model_entry *self = &model->entries[number];
    const struct policy_facts facts = {
        .bytes = 1 + draw(model, 100),
        .hash = draw(model, HASHES),
        .parent = parent,
        .depth = (uint32_t)draw(model, 8),
        .flags = flags,
    };
    uint64_t parent_life = parent < ENTRIES && model->entries[parent].resident
                               ? model->entries[parent].life
                               : 0;

    model->table->insert(model->state, number, &facts);
    *self = (struct model_entry){
        .resident = true,
        .protected = (flags & POLICY_PROTECTED) != 0,
        .ended = (flags & POLICY_SESSION_END) != 0,
        .life = ++model->lives,
        .parent = parent_life != 0 ? parent : POLICY_NONE,
        .parent_life = parent_life,
    };
}

static void
remove_entry(struct model *model, uint32_t number, bool evicted)
{
    model->table->remove(model->state, number, evicted);
    model->entries[number].resident = false;
}

static void
assert_unchanged(const struct model *model)
{
    assert_memory_equal(model->state, model->copy,
                        model->table->state_bytes(ENTRIES));
}

static void
keep_copy(struct model *model)
{
    memcpy(model->copy, model->state, model->table->state_bytes(ENTRIES));
}

// One cursor, no changes: all who may go, each once, nothing written.
static void
enumerate(struct model *model)
{
    struct policy_cursor cursor = {.count = 0};
    bool seen[ENTRIES] = {false};
    uint32_t expected = count_who_may_go(model);
    uint32_t victim = POLICY_NONE;

    keep_copy(model);
    for (uint32_t i = 0; i < expected; i++) {
        assert_true(model->table->choose(model->state, &cursor, &victim));
        assert_true(victim < ENTRIES);
        assert_true(may_go(model, victim));
        assert_false(seen[victim]);
        seen[victim] = true;
        assert_int_equal(cursor.count, i + 1);
    }
    victim = POLICY_NONE;
    assert_false(model->table->choose(model->state, &cursor, &victim));
    assert_int_equal(victim, POLICY_NONE);
    assert_unchanged(model);
}

// One cursor; some victims go, some are passed over.
static void
evict_some(struct model *model)
{
    struct policy_cursor cursor = {.count = 0};
    bool seen[ENTRIES] = {false};
    uint64_t rounds = draw(model, 16);
    uint32_t victim;

    for (uint64_t i = 0; i < rounds; i++) {
        bool any = count_who_may_go(model) > 0;
        bool found = model->table->choose(model->state, &cursor, &victim);

        assert_true(found || i > 0 || !any);
        if (!found) {
            return;
        }
        assert_true(may_go(model, victim));
        assert_false(seen[victim]);
        seen[victim] = true;
        if (draw(model, 3) != 0) {
            remove_entry(model, victim, true);
        }
    }
}

// One cursor while others use, put and remove.
static void
choose_among_changes(struct model *model)
{
    struct policy_cursor cursor = {.count = 0};
    uint32_t victim;

    for (uint32_t i = 0; i < 8; i++) {
        uint32_t other = (uint32_t)draw(model, ENTRIES);

        if (model->table->choose(model->state, &cursor, &victim)) {
            assert_true(may_go(model, victim));
        }
        if (!model->entries[other].resident) {
            insert(model, other, (uint32_t)draw(model, ENTRIES + 8), 0);
        } else if (draw(model, 4) == 0) {
            remove_entry(model, other, draw(model, 2) == 0);
        } else {
            model->table->touch(model->state, other);
            model->entries[other].ended = false;
        }
    }
}

static uint32_t
random_flags(struct model *model)
{
    return draw(model, 8) == 0   ? POLICY_PROTECTED
           : draw(model, 6) == 0 ? POLICY_SESSION_END
                                 : 0;
}

static void
random_step(struct model *model)
{
    uint32_t number = (uint32_t)draw(model, ENTRIES);
    struct model_entry *self = &model->entries[number];
    uint32_t flags = random_flags(model);

    if (!self->resident) {
        insert(model, number,
               draw(model, 2) == 0 ? POLICY_NONE
                                   : (uint32_t)draw(model, ENTRIES + 8),
               flags);
        return;
    }
    switch (draw(model, 12)) {
    case 0:
        remove_entry(model, number, draw(model, 2) == 0);
        break;
    case 1:
        model->table->change(model->state, number, flags);
        self->protected = (flags & POLICY_PROTECTED) != 0;
        self->ended = (flags & POLICY_SESSION_END) != 0;
        break;
    case 2:
    case 3:
        evict_some(model);
        break;
    case 4:
        choose_among_changes(model);
        break;
    default:
        model->table->touch(model->state, number);
        self->ended = false;
        break;
    }
}

static void
run_random(const struct policy_table *table, uint64_t capacity)
{
    static struct model model;
    uint32_t left;

    print_message("%s, capacity %" PRIu64 ", seed %" PRIu64 "\n", table->name,
                  capacity, SEED);
    start(&model, table, capacity);
    for (uint32_t step = 0; step < STEPS; step++) {
        random_step(&model);
        if (step % 4 == 0) {
            assert_true(table->is_valid(model.state));
            enumerate(&model);
        }
    }
    // With a new cursor for each, all go but those that may never.
    while ((left = count_who_may_go(&model)) > 0) {
        struct policy_cursor cursor = {.count = 0};
        uint32_t victim;

        assert_true(table->choose(model.state, &cursor, &victim));
        assert_true(may_go(&model, victim));
        remove_entry(&model, victim, true);
    }
    assert_true(table->is_valid(model.state));
    end(&model);
}

static void
random_steps_keep_the_promises(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        run_random(policy_at(i), 0);
        run_random(policy_at(i), 1000);   // less than what is here
        run_random(policy_at(i), 100000); // more
    }
}

// Fills the policy with blocks that have no parents.
static void
fill(struct model *model, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        insert(model, i, POLICY_NONE, 0);
    }
}

static void
ended_sessions_go_before_all_others(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        struct policy_cursor cursor = {.count = 0};
        static struct model model;
        uint32_t victim;

        start(&model, policy_at(i), ENTRIES);
        fill(&model, ENTRIES);
        for (uint32_t j = 0; j < 400; j++) {
            model.table->touch(model.state, (uint32_t)draw(&model, ENTRIES));
        }
        // Used often, late, never: it does not matter.
        for (uint32_t j = 0; j < ENTRIES; j += 5) {
            model.table->change(model.state, j, POLICY_SESSION_END);
            model.entries[j].ended = true;
        }
        model.table->touch(model.state, 10); // it goes on after all
        model.entries[10].ended = false;
        for (uint32_t j = 0; j < ENTRIES; j++) {
            assert_true(model.table->choose(model.state, &cursor, &victim));
            assert_int_equal(model.entries[victim].ended, j < 9);
        }
        assert_true(model.table->is_valid(model.state));
        end(&model);
    }
}

static void
a_prompt_goes_from_its_end(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        static struct model model;

        start(&model, policy_at(i), ENTRIES);
        // The root first, so that its order alone would let it go first.
        for (uint32_t j = 0; j < ENTRIES; j++) {
            insert(&model, j, j > 0 ? j - 1 : POLICY_NONE, 0);
        }
        for (uint32_t j = ENTRIES; j-- > 0;) {
            struct policy_cursor cursor = {.count = 0};
            uint32_t victim = POLICY_NONE;

            assert_true(model.table->choose(model.state, &cursor, &victim));
            assert_int_equal(victim, j);
            assert_false(model.table->choose(model.state, &cursor, &victim));
            remove_entry(&model, j, true);
        }
        end(&model);
    }
}

static void
what_is_protected_stays_through_a_flood(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        static struct model model;

        start(&model, policy_at(i), ENTRIES);
        fill(&model, ENTRIES);
        for (uint32_t j = 0; j < ENTRIES; j += 4) {
            model.table->change(model.state, j, POLICY_PROTECTED);
            model.entries[j].protected = true;
        }
        for (uint32_t j = 0; j < 2000; j++) {
            struct policy_cursor cursor = {.count = 0};
            uint32_t victim;

            assert_true(model.table->choose(model.state, &cursor, &victim));
            assert_true(victim % 4 != 0);
            remove_entry(&model, victim, true);
            insert(&model, victim, POLICY_NONE, 0);
        }
        assert_true(model.table->is_valid(model.state));
        end(&model);
    }
}

static void
calls_for_entries_that_are_not_here_do_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        struct policy_cursor cursor = {.count = 0};
        static struct model model;
        uint32_t victim;

        start(&model, policy_at(i), 0);
        keep_copy(&model);
        model.table->touch(model.state, 0);
        model.table->touch(model.state, POLICY_NONE);
        model.table->change(model.state, 1, POLICY_PROTECTED);
        model.table->remove(model.state, 2, true);
        model.table->remove(model.state, ENTRIES, true);
        assert_false(model.table->choose(model.state, &cursor, &victim));
        assert_unchanged(&model);
        end(&model);
    }
}

static void
one_entry_and_none_are_enough(void **state)
{
    (void)state;
    for (size_t i = 0; policy_at(i) != NULL; i++) {
        const struct policy_table *table = policy_at(i);

        for (uint32_t entries = 0; entries < 2; entries++) {
            const struct policy_facts facts = {.bytes = 1,
                                               .parent = POLICY_NONE};
            struct policy_cursor cursor = {.count = 0};
            uint32_t victim;
            void *policy = allocator_array(allocator_system(), 1,
                                           table->state_bytes(entries));

            assert_non_null(policy);
            table->init(policy, entries, NULL);
            for (uint32_t j = 0; j < 50 * entries; j++) {
                table->insert(policy, 0, &facts);
                table->touch(policy, 0);
                memset(&cursor, 0, sizeof(cursor));
                assert_true(table->choose(policy, &cursor, &victim));
                assert_int_equal(victim, 0);
                table->remove(policy, 0, true);
            }
            memset(&cursor, 0, sizeof(cursor));
            assert_false(table->choose(policy, &cursor, &victim));
            assert_true(table->is_valid(policy));
            allocator_release(allocator_system(), policy);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_steps_keep_the_promises),
        cmocka_unit_test(ended_sessions_go_before_all_others),
        cmocka_unit_test(a_prompt_goes_from_its_end),
        cmocka_unit_test(what_is_protected_stays_through_a_flood),
        cmocka_unit_test(calls_for_entries_that_are_not_here_do_nothing),
        cmocka_unit_test(one_entry_and_none_are_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
