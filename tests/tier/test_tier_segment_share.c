// SPDX-License-Identifier: Apache-2.0
//
// Several stores on one root: owners, paused and dead writers, stragglers,
// adoption, what others see, files deleted behind our back. Each test is an
// interleaving that would lose or revive a binding if its rule were not kept.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/units.h"
#include "tier/cold_fixture.h"
#include "tier/tier_segment_inner.h"

#define YEAR_NS ((uint64_t)31536000 * 1000000000)

static struct cold_store one;
static struct cold_store two;
static struct cold_store three;

static void
close_ok(struct cold_store *store)
{
    assert_int_equal(tier_segment_close(store->cold), CASCADE_OK);
    store->cold = NULL;
}

static void
test_second_owner_is_refused_and_told_who(void **state)
{
    struct cold_world world;
    char process[32];

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_LOCKED);
    (void)snprintf(process, sizeof(process), "process %d", (int)getpid());
    assert_non_null(strstr(error_message(), process));
    assert_non_null(strstr(error_message(), one.holder.host));
    assert_non_null(strstr(error_message(), "since 2023"));
    assert_non_null(strstr(error_message(), "lease ends in"));
    // The refused store left nothing behind.
    assert_int_equal(cold_count_files(&world, "lease.1"), 1);
    assert_int_equal(cold_put(&one, 1, 1, 10), CASCADE_OK);
    close_ok(&one);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    close_ok(&two);
    cold_world_remove(&world);
}

static void
test_live_owner_is_never_taken_for_dead(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_ELSEWHERE, true),
                     CASCADE_OK);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(cold_start(&world, &two, COLD_HERE, true),
                         CASCADE_LOCKED);
        // Wall time jumps a year either way; only steady time counts.
        clock_fake_jump(&world.clock, i % 2 == 0
                                          ? world.clock.wall_ns + YEAR_NS
                                          : world.clock.wall_ns - YEAR_NS);
        clock_fake_pass(&world.clock, COLD_LEASE_NS / 3);
        assert_int_equal(cold_refresh(&one, false), CASCADE_OK);
    }
    assert_int_equal(cold_put(&one, 1, 1, 10), CASCADE_OK);
    close_ok(&one);
    cold_world_remove(&world);
}

static void
test_paused_owner_ends_when_it_wakes(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_ELSEWHERE, true),
                     CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 2, 5000), CASCADE_OK); // not synced
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_LOCKED);
    clock_fake_pass(&world.clock, COLD_LEASE_NS - NS_PER_S);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_LOCKED);
    clock_fake_pass(&world.clock, NS_PER_S);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_int_equal(cold_put(&two, 1, 3, 5000), CASCADE_OK);
    // It wakes. Nothing that it says from now on counts.
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_CLOSED);
    assert_int_equal(cold_put(&one, 1, 4, 5000), CASCADE_CLOSED);
    assert_int_equal(cold_refresh(&one, false), CASCADE_CLOSED);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_CLOSED);
    assert_int_equal(cold_get(&two, 1, 3), CASCADE_OK);
    close_ok(&two);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&one, 1, 3), CASCADE_OK);
    close_ok(&one);
    cold_world_remove(&world);
}

static void
test_silent_writer_stops_at_half_its_lease(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    // Renewal is a rename; without it the writer must not write on.
    world.files.counted = FILE_FAULTY_RENAME;
    world.files.fail_from = world.files.calls + 1;
    world.files.fail_count = UINT64_MAX;
    world.files.error = 5;
    clock_fake_pass(&world.clock, COLD_LEASE_NS / 2 - NS_PER_S);
    assert_int_equal(cold_put(&one, 1, 1, 100), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_IO);
    clock_fake_pass(&world.clock, NS_PER_S);
    assert_int_equal(cold_put(&one, 2, 2, 100), CASCADE_IO);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_IO);
    // Nobody took the directory meanwhile: the rename works and it goes on.
    world.files.fail_from = 0;
    assert_int_equal(cold_put(&one, 2, 2, 100), CASCADE_OK);
    close_ok(&one);
    cold_world_remove(&world);
}

static void
test_straggler_changes_nothing(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_ELSEWHERE, true),
                     CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_LOCKED);
    clock_fake_pass(&world.clock, COLD_LEASE_NS);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&two, 1, 2, 5000), CASCADE_OK);
    // A write that was under way when the machine stopped: as if the lease had
    // been looked at just before. Even a footer lands.
    one.cold->lease.renewed_ns = world.clock.steady_ns;
    one.last_ns = world.clock.wall_ns + 1000 * NS_PER_S;
    assert_int_equal(cold_put(&one, 1, 3, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_CLOSED);
    assert_int_equal(cold_refresh(&two, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 2), CASCADE_OK);
    close_ok(&two);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_CLOSED);
    // The adopter's index outranks the footer.
    assert_int_equal(cold_start(&world, &three, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&three, 1, 2), CASCADE_OK);
    close_ok(&three);
    cold_world_remove(&world);
}

static void
test_live_stores_see_what_others_sealed(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, false), CASCADE_OK);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, false), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(cold_put(&two, 2, 2, 5000), CASCADE_OK);
    assert_int_equal(cold_refresh(&one, true), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_NOT_FOUND);
    // A newcomer walks the tails of live writers.
    assert_int_equal(cold_start(&world, &three, COLD_HERE, false), CASCADE_OK);
    assert_int_equal(cold_get(&three, 1, 1), CASCADE_OK);
    assert_int_equal(cold_get(&three, 2, 2), CASCADE_OK);
    assert_false(three.rows[2].own);
    assert_false(three.rows[2].durable);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    assert_int_equal(tier_segment_seal(two.cold), CASCADE_OK);
    assert_int_equal(cold_refresh(&one, true), CASCADE_OK);
    assert_int_equal(cold_refresh(&two, true), CASCADE_OK);
    assert_int_equal(cold_refresh(&three, true), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_true(three.rows[2].durable);
    three.shown = 0;
    assert_int_equal(cold_refresh(&three, true), CASCADE_OK);
    assert_int_equal(three.shown, 0); // nothing changed, nothing shown
    // What one retires, others find gone.
    {
        struct tier_segment_info info;

        assert_int_equal(tier_segment_oldest(one.cold, &info), CASCADE_OK);
        assert_int_equal(tier_segment_retire(one.cold, info.segment, 0),
                         CASCADE_OK);
        assert_int_equal(
            tier_segment_retire(three.cold, three.rows[2].segment, 0),
            CASCADE_INVALID); // not its own
    }
    assert_int_equal(cold_refresh(&three, true), CASCADE_OK);
    assert_int_equal(cold_get(&three, 1, 1), CASCADE_STALE);
    close_ok(&one);
    close_ok(&three);
    close_ok(&two);
    cold_world_remove(&world);
}

static void
test_adopts_what_the_dead_had_adopted(void **state)
{
    struct cold_world world;
    struct tier_segment_usage usage;
    struct tier_segment_info info;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_DIED, false), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    cold_crash(&one);
    assert_int_equal(cold_start(&world, &two, COLD_DIED, false), CASCADE_OK);
    assert_true(two.rows[1].own);
    assert_int_equal(cold_put(&two, 2, 2, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(two.cold), CASCADE_OK);
    cold_crash(&two);
    assert_int_equal(cold_start(&world, &three, COLD_HERE, false), CASCADE_OK);
    assert_true(three.rows[1].own);
    assert_true(three.rows[2].own);
    assert_int_equal(cold_get(&three, 1, 1), CASCADE_OK);
    assert_int_equal(cold_get(&three, 2, 2), CASCADE_OK);
    tier_segment_usage_of(three.cold, &usage);
    assert_int_equal(usage.own_segments, 2);
    assert_int_equal(usage.foreign_segments, 0);
    // Emptied directories go, in whatever order their segments went.
    while (tier_segment_oldest(three.cold, &info) == CASCADE_OK) {
        assert_int_equal(tier_segment_retire(three.cold, info.segment, 0),
                         CASCADE_OK);
    }
    assert_int_equal(cold_count_files(&world, ".seg"), 0);
    assert_int_equal(cold_count_files(&world, ".idx"), 0);
    assert_int_equal(cold_count_files(&world, ".gone"), 0);
    close_ok(&three);
    assert_int_equal(cold_count_files(&world, "released"), 0);
    cold_world_remove(&world);
}

static void
test_adopts_during_a_refresh(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_ELSEWHERE, false),
                     CASCADE_OK);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, false), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    cold_crash(&one);
    assert_int_equal(cold_refresh(&two, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
    for (unsigned i = 0; i < 4; i++) {
        clock_fake_pass(&world.clock, COLD_LEASE_NS / 4);
        assert_int_equal(cold_refresh(&two, false), CASCADE_OK);
    }
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
    assert_int_equal(cold_refresh(&two, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_true(two.rows[1].own);
    assert_true(two.rows[1].durable);
    close_ok(&two);
    cold_world_remove(&world);
}

// k -> a, then k removed, then other things, each in a segment of its own.
static void
write_three_segments(struct cold_store *store)
{
    assert_int_equal(cold_put(store, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_seal(store->cold), CASCADE_OK);
    assert_int_equal(cold_remove(store, 1), CASCADE_OK);
    assert_int_equal(tier_segment_seal(store->cold), CASCADE_OK);
    assert_int_equal(cold_put(store, 2, 2, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_seal(store->cold), CASCADE_OK);
}

static void
test_missing_file_withholds_what_it_may_have_changed(void **state)
{
    struct cold_world world;
    char path[512];

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    write_three_segments(&one);
    close_ok(&one);
    cold_find_file(&world, "00000002.seg", 0, path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_false(block_version_is_zero(two.floor));
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
    assert_int_equal(cold_get(&two, 2, 2), CASCADE_OK);
    assert_int_equal(cold_put(&two, 1, 9, 100), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 9), CASCADE_OK);
    close_ok(&two);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 9), CASCADE_OK);
    close_ok(&two);
    cold_world_remove(&world);
}

// Spoils the header of a file, and its trailer if that is wanted.
static void
damage(const char *path, bool trailer_too)
{
    FILE *file = fopen(path, "r+");

    assert_non_null(file);
    assert_int_equal(fseek(file, 40, SEEK_SET), 0);
    assert_int_equal(fputc(0x5a, file), 0x5a);
    assert_int_equal(fputc(0x5a, file), 0x5a);
    if (trailer_too) {
        assert_int_equal(fseek(file, -100, SEEK_END), 0);
        assert_int_equal(fputc(0x5a, file), 0x5a);
    }
    assert_int_equal(fclose(file), 0);
}

// A trailer stands in for its file's header: nothing is forgotten for that.
static void
test_damaged_header_of_a_sealed_file(void **state)
{
    struct cold_world world;
    char path[512];

    (void)state;
    for (unsigned which = 1; which <= 3; which++) {
        char name[32];

        cold_world_make(&world);
        assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
        write_three_segments(&one);
        close_ok(&one);
        (void)snprintf(name, sizeof(name), "%08u.seg", which);
        cold_find_file(&world, name, 0, path, sizeof(path));
        damage(path, false);
        for (unsigned i = 0; i < 2; i++) {
            struct tier_segment_info info;

            assert_int_equal(cold_start(&world, &two, COLD_HERE, true),
                             CASCADE_OK);
            assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
            assert_int_equal(cold_get(&two, 2, 2), CASCADE_OK);
            assert_int_equal(cold_put(&two, 3, i, 100), CASCADE_OK);
            // It is the first to go, and all of it can be moved on.
            assert_int_equal(tier_segment_oldest(two.cold, &info), CASCADE_OK);
            assert_non_null(strstr(info.path, name));
            two.shown = 0;
            assert_int_equal(
                tier_segment_entries(two.cold, info.segment, cold_visit, &two),
                CASCADE_OK);
            assert_int_equal(two.shown, 1);
            close_ok(&two);
        }
        cold_world_remove(&world);
    }
}

// A file of which the header is damaged beside a missing one: all is void that
// the missing one may have changed.
static void
test_damaged_header_behind_a_missing_file(void **state)
{
    struct cold_world world;
    char path[512];

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    write_three_segments(&one);
    close_ok(&one);
    cold_find_file(&world, "00000003.seg", 0, path, sizeof(path));
    damage(path, false);
    cold_find_file(&world, "00000002.seg", 0, path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
    close_ok(&two);
    cold_world_remove(&world);
}

static void
test_damaged_file_withholds_what_it_may_have_changed(void **state)
{
    struct cold_world world;
    struct tier_segment_usage usage;
    char path[512];

    (void)state;
    for (unsigned which = 2; which <= 3; which++) {
        char name[32];

        cold_world_make(&world);
        assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
        write_three_segments(&one);
        if (which == 3) {
            // What the last file says is repeated by none.
            assert_int_equal(cold_remove(&one, 2), CASCADE_OK);
            assert_int_equal(cold_put(&one, 3, 3, 5000), CASCADE_OK);
            assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
            which = 4;
        }
        close_ok(&one);
        (void)snprintf(name, sizeof(name), "%08u.seg", which);
        cold_find_file(&world, name, 0, path, sizeof(path));
        damage(path, true);
        assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
        assert_int_equal(cold_get(&two, 1, 1), CASCADE_NOT_FOUND);
        assert_int_equal(cold_get(&two, 2, 2),
                         which == 4 ? CASCADE_NOT_FOUND : CASCADE_OK);
        tier_segment_usage_of(two.cold, &usage);
        assert_int_equal(usage.damaged_files, which == 4 ? 0 : 1);
        // What is put from now on stays.
        assert_int_equal(cold_put(&two, 1, 9, 100), CASCADE_OK);
        close_ok(&two);
        assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
        assert_int_equal(cold_get(&two, 1, 9), CASCADE_OK);
        assert_int_equal(cold_get(&two, 2, 2),
                         which == 4 ? CASCADE_NOT_FOUND : CASCADE_OK);
        close_ok(&two);
        cold_world_remove(&world);
    }
}

static void
test_purge_is_a_miss_where_keys_never_move(void **state)
{
    struct cold_world world;
    struct tier_segment_usage usage;
    char path[512];

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, false), CASCADE_OK);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_int_equal(cold_put(&one, i, i, 5000), CASCADE_OK);
        assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    }
    cold_find_file(&world, "00000002.seg", 0, path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    // Not noticed yet: an open file would still serve, a closed one is stale.
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_STALE);
    assert_int_equal(cold_refresh(&one, false), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 2), CASCADE_STALE);
    assert_int_equal(cold_get(&one, 1, 1), CASCADE_OK);
    tier_segment_usage_of(one.cold, &usage);
    assert_int_equal(usage.own_segments, 2);
    close_ok(&one);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, false), CASCADE_OK);
    assert_true(block_version_is_zero(two.floor));
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_int_equal(cold_get(&two, 2, 2), CASCADE_NOT_FOUND);
    assert_int_equal(cold_get(&two, 3, 3), CASCADE_OK);
    close_ok(&two);
    cold_world_remove(&world);
}

static void
test_purge_of_leases_ends_the_writer(void **state)
{
    struct cold_world world;
    char path[512];

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    cold_find_file(&world, "lease.2", 0, path, sizeof(path));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_CLOSED);
    // Nobody can tell how long its lease was: the longest one is waited out.
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_LOCKED);
    clock_fake_pass(&world.clock, SEGMENT_LEASE_NS_MAX);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_CLOSED);
    close_ok(&two);
    cold_world_remove(&world);
}

static void
test_looks_without_a_trace(void **state)
{
    struct cold_world world;
    struct tier_segment_put put = {0};
    unsigned files;

    (void)state;
    cold_world_make(&world);
    cold_prepare(&world, &two, COLD_HERE, true);
    two.options.look_only = true;
    assert_int_equal(cold_open(&two), CASCADE_NOT_FOUND);
    assert_int_equal(cold_count_files(&world, ""), 0);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    files = cold_count_files(&world, "");
    // Beside the live owner; its tail is read too.
    cold_prepare(&world, &two, COLD_HERE, false);
    two.options.look_only = true;
    assert_int_equal(cold_open(&two), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
    assert_false(two.rows[1].own);
    assert_int_equal(tier_segment_append(two.cold, &put, 1),
                     CASCADE_UNSUPPORTED);
    assert_int_equal(tier_segment_sync(two.cold), CASCADE_UNSUPPORTED);
    assert_int_equal(tier_segment_retire(two.cold, 0, 0), CASCADE_UNSUPPORTED);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 2, 50), CASCADE_OK);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    assert_int_equal(cold_refresh(&two, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 2, 2), CASCADE_OK);
    close_ok(&two);
    assert_int_equal(cold_count_files(&world, ""), files + 1);
    close_ok(&one);
    cold_world_remove(&world);
}

static void
test_ranks_of_one_job_share_an_owner(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    cold_prepare(&world, &one, COLD_HERE, true);
    one.options.job = 7;
    cold_prepare(&world, &two, COLD_HERE, true);
    two.options.job = 7;
    assert_int_equal(cold_open(&one), CASCADE_OK);
    assert_int_equal(cold_open(&two), CASCADE_OK);
    assert_int_equal(cold_start(&world, &three, COLD_HERE, true),
                     CASCADE_LOCKED);
    // The one whose name is on the owner file goes first.
    close_ok(&one);
    assert_int_equal(cold_start(&world, &three, COLD_HERE, true),
                     CASCADE_LOCKED);
    assert_int_equal(cold_put(&two, 1, 1, 50), CASCADE_OK);
    close_ok(&two);
    assert_int_equal(cold_start(&world, &three, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&three, 1, 1), CASCADE_OK);
    close_ok(&three);
    cold_world_remove(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_second_owner_is_refused_and_told_who),
        cmocka_unit_test(test_live_owner_is_never_taken_for_dead),
        cmocka_unit_test(test_paused_owner_ends_when_it_wakes),
        cmocka_unit_test(test_silent_writer_stops_at_half_its_lease),
        cmocka_unit_test(test_straggler_changes_nothing),
        cmocka_unit_test(test_live_stores_see_what_others_sealed),
        cmocka_unit_test(test_adopts_what_the_dead_had_adopted),
        cmocka_unit_test(test_adopts_during_a_refresh),
        cmocka_unit_test(test_missing_file_withholds_what_it_may_have_changed),
        cmocka_unit_test(test_damaged_file_withholds_what_it_may_have_changed),
        cmocka_unit_test(test_damaged_header_of_a_sealed_file),
        cmocka_unit_test(test_damaged_header_behind_a_missing_file),
        cmocka_unit_test(test_purge_is_a_miss_where_keys_never_move),
        cmocka_unit_test(test_purge_of_leases_ends_the_writer),
        cmocka_unit_test(test_looks_without_a_trace),
        cmocka_unit_test(test_ranks_of_one_job_share_an_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
