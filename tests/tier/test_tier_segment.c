// SPDX-License-Identifier: Apache-2.0
//
// The cold tier with one store at a time: what was written comes back, before
// and after a seal, a close and a crash; what fails says so and spoils nothing.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "tier/cold_fixture.h"

static struct cold_store one;
static struct cold_store two;

static void
test_returns_what_was_appended(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 11, 100), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 12, 3 * MIB + 5), CASCADE_OK);
    assert_int_equal(cold_put(&one, 3, 13, 0), CASCADE_OK);
    assert_int_equal(cold_put(&one, 4, 14, 65536), CASCADE_OK);
    // Readable before any sync or seal.
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(cold_get(&one, i, 10 + i), CASCADE_OK);
    }
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(cold_get(&one, i, 10 + i), CASCADE_OK);
    }
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(one.shown, 4);
    assert_true(block_version_is_zero(one.floor));
    for (uint32_t i = 1; i <= 4; i++) {
        assert_int_equal(cold_get(&one, i, 10 + i), CASCADE_OK);
        assert_true(one.rows[i].own);
        assert_true(one.rows[i].durable);
    }
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    cold_world_remove(&world);
}

static void
test_finds_synced_blocks_after_a_crash(void **state)
{
    struct cold_world world;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_DIED, true), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 1, 5000), CASCADE_OK);
    assert_int_equal(cold_put(&one, 1, 2, 5000), CASCADE_OK);
    assert_int_equal(cold_put(&one, 2, 3, MIB + 1), CASCADE_OK);
    assert_int_equal(cold_put(&one, 3, 3, 70), CASCADE_OK);
    assert_int_equal(cold_remove(&one, 3), CASCADE_OK);
    assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
    cold_crash(&one);
    assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&two, 1, 2), CASCADE_OK);
    assert_int_equal(cold_get(&two, 2, 3), CASCADE_OK);
    assert_int_equal(cold_get(&two, 3, 3), CASCADE_NOT_FOUND);
    assert_true(two.rows[1].own);
    assert_true(two.rows[1].durable); // sealed by an index file
    assert_int_equal(cold_count_files(&world, ".idx"), 1);
    assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
    // The index file serves the next one, too.
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(cold_get(&one, 1, 2), CASCADE_OK);
    assert_int_equal(cold_get(&one, 2, 3), CASCADE_OK);
    assert_int_equal(cold_get(&one, 3, 3), CASCADE_NOT_FOUND);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    cold_world_remove(&world);
}

static void
flip_byte(const char *path, uint64_t offset)
{
    FILE *file = fopen(path, "r+");
    int byte;

    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    byte = fgetc(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_not_equal(fputc(byte ^ 1, file), EOF);
    assert_int_equal(fclose(file), 0);
}

// A newer binding whose payload did not reach the disk must not hide the good
// one that was flushed; in a sealed file it outranks it and is a miss.
static void
test_record_without_its_payload_never_was(void **state)
{
    (void)state;
    for (unsigned sealed = 0; sealed < 2; sealed++) {
        struct cold_world world;
        char path[512];

        cold_world_make(&world);
        assert_int_equal(cold_start(&world, &one, COLD_DIED, true), CASCADE_OK);
        assert_int_equal(cold_put(&one, 1, 1, MIB), CASCADE_OK);
        assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
        assert_int_equal(cold_put(&one, 1, 2, MIB), CASCADE_OK);
        assert_int_equal(cold_put(&one, 2, 3, 5000), CASCADE_OK);
        if (sealed == 1) {
            assert_int_equal(tier_segment_seal(one.cold), CASCADE_OK);
        }
        cold_crash(&one);
        cold_find_file(&world, ".seg", 0, path, sizeof(path));
        flip_byte(path, one.rows[1].place.offset + 12345);
        assert_int_equal(cold_start(&world, &two, COLD_HERE, true), CASCADE_OK);
        assert_int_equal(cold_get(&two, 2, 3), CASCADE_OK);
        if (sealed == 1) {
            assert_int_equal(cold_get(&two, 1, 2), CASCADE_CORRUPT);
        } else {
            assert_int_equal(cold_get(&two, 1, 1), CASCADE_OK);
        }
        assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
        cold_world_remove(&world);
    }
}

static void
test_streams_a_block_through_the_table(void **state)
{
    const struct tier_table *table = &tier_segment_table;
    struct cold_world world;
    struct tier_slot slot;
    struct tier_slot other;
    struct tier_pin pin;
    struct block_digest digest;
    struct block_place place;
    struct block_label label = {.flags = BLOCK_LABEL_NO_KEY};
    uint64_t bytes = 5 * MIB + 77;
    uint8_t *content = cold_content(5, bytes);
    uint8_t *back = malloc(bytes + 64);
    struct cascade_const_span spans[3] = {
        {.data = content, .bytes = 1000},
        {.data = content + 1000, .bytes = 0},
        {.data = content + 1000, .bytes = bytes - 1000},
    };
    struct cascade_span rooms[2] = {
        {.data = back, .bytes = 3 * MIB + 1},
        {.data = back + 3 * MIB + 1, .bytes = 2 * MIB + 100},
    };
    struct cascade_span whole = {.data = back, .bytes = bytes + 64};
    struct tier_usage usage;
    struct block_id id;

    (void)state;
    assert_non_null(back);
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(table->reserve(one.cold, bytes, &slot), CASCADE_OK);
    assert_int_equal(table->reserve(one.cold, 10, &other), CASCADE_OK);
    assert_int_equal(table->write(one.cold, &slot, spans, 3,
                                  BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM,
                                  &digest),
                     CASCADE_OK);
    block_id_of(content, bytes, &id);
    assert_true(block_id_equal(&id, &digest.id));
    assert_int_equal(digest.checksum,
                     block_digest_checksum(NULL, content, bytes, NULL));
    label.id = id;
    label.version = (struct block_version){77, 1};
    assert_int_equal(table->write(one.cold, &other, spans, 3, 0, &digest),
                     CASCADE_INVALID);
    table->abandon(one.cold, &other);
    assert_int_equal(table->commit(one.cold, &slot, &label, &digest, &place),
                     CASCADE_OK);
    assert_int_equal(table->pin(one.cold, &place, &pin), CASCADE_OK);
    memset(back, 0xee, bytes + 64);
    assert_int_equal(table->read(one.cold, &pin, rooms, 2, true), CASCADE_OK);
    assert_memory_equal(back, content, bytes);
    memset(back, 0xee, bytes + 64);
    assert_int_equal(table->read(one.cold, &pin, &whole, 1, true), CASCADE_OK);
    assert_memory_equal(back, content, bytes);
    for (size_t i = 0; i < 64; i++) {
        assert_int_equal(back[bytes + i], 0xee); // room beyond is left alone
    }
    rooms[1].bytes = 1;
    assert_int_equal(table->read(one.cold, &pin, rooms, 2, true),
                     CASCADE_TOO_SMALL);
    assert_int_equal(table->release(one.cold, &place, true), CASCADE_BUSY);
    table->usage(one.cold, &usage);
    assert_int_equal(usage.blocks, 1);
    table->unpin(one.cold, &pin);
    assert_int_equal(table->release(one.cold, &place, true), CASCADE_OK);
    assert_int_equal(table->pin(one.cold, &place, &pin), CASCADE_STALE);
    assert_int_equal(table->release(one.cold, &place, false), CASCADE_STALE);
    table->usage(one.cold, &usage);
    assert_int_equal(usage.blocks, 0);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    free(content);
    free(back);
    cold_world_remove(&world);
}

static void
test_rolls_while_a_stream_is_open(void **state)
{
    const struct tier_table *table = &tier_segment_table;
    struct cold_world world;
    struct tier_slot slot;
    struct block_digest digest;
    struct block_place place;
    struct block_label label = {.flags = BLOCK_LABEL_NO_KEY, .version = {5, 5}};
    uint8_t *content = cold_content(5, 100);
    struct cascade_const_span span = {.data = content, .bytes = 100};
    struct tier_segment_usage usage;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(table->reserve(one.cold, 100, &slot), CASCADE_OK);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(cold_put(&one, i, i, MIB), CASCADE_OK);
    }
    tier_segment_usage_of(one.cold, &usage);
    assert_true(usage.own_segments >= 3);
    assert_int_equal(
        table->write(one.cold, &slot, &span, 1, BLOCK_DIGEST_CHECKSUM, &digest),
        CASCADE_OK);
    block_id_of(content, 100, &label.id);
    assert_int_equal(table->commit(one.cold, &slot, &label, &digest, &place),
                     CASCADE_OK);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(cold_get(&one, i, i), CASCADE_OK);
    }
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    free(content);
    cold_world_remove(&world);
}

static void
count_keys(void *context, const struct tier_segment_entry *entry)
{
    unsigned *keys = context;

    *keys += entry->label.key_data != NULL && entry->label.key_bytes > 4 &&
             memcmp(entry->label.key_data, "key-", 4) == 0;
}

static void
test_reclaims_the_oldest(void **state)
{
    struct cold_world world;
    struct tier_segment_info info;
    struct tier_segment_info all[16];
    struct block_version before;
    struct tier_pin pin;
    unsigned keys = 0;
    size_t count;

    (void)state;
    cold_world_make(&world);
    assert_int_equal(cold_start(&world, &one, COLD_HERE, true), CASCADE_OK);
    assert_int_equal(tier_segment_oldest(one.cold, &info), CASCADE_NOT_FOUND);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(cold_put(&one, i, i, MIB - 4096), CASCADE_OK);
    }
    count = tier_segment_own(one.cold, all, 16);
    assert_true(count >= 3);
    for (size_t i = 1; i < count; i++) {
        assert_true(block_version_compare(all[i - 1].created, all[i].created) <
                    0);
    }
    assert_int_equal(tier_segment_own(one.cold, all + 8, 2), 2);
    assert_int_equal(all[8].segment, all[0].segment);
    assert_int_equal(tier_segment_oldest(one.cold, &info), CASCADE_OK);
    assert_int_equal(info.segment, all[0].segment);
    assert_int_equal(
        tier_segment_entries(one.cold, info.segment, count_keys, &keys),
        CASCADE_OK);
    assert_int_equal(keys, info.records == 0 ? 0 : keys);
    assert_true(keys >= 3);
    before = tier_segment_oldest_version(one.cold, NULL);
    assert_true(block_version_compare(before, one.rows[0].version) <= 0);

    // A pinned segment stays until its reader is gone, but serves nobody else.
    assert_int_equal(tier_segment_table.pin(one.cold, &one.rows[0].place, &pin),
                     CASCADE_OK);
    assert_int_equal(tier_segment_retire(one.cold, info.segment, 0),
                     CASCADE_TIMEOUT);
    assert_int_equal(cold_get(&one, 0, 0), CASCADE_STALE);
    tier_segment_table.unpin(one.cold, &pin);
    assert_int_equal(cold_refresh(&one, false), CASCADE_OK);
    assert_int_equal(cold_count_files(&world, "00000001.seg"), 0);
    assert_int_equal(tier_segment_oldest(one.cold, &info), CASCADE_OK);
    assert_int_equal(info.segment, all[1].segment);
    assert_int_equal(tier_segment_retire(one.cold, info.segment, 0),
                     CASCADE_OK);
    assert_int_equal(tier_segment_retire(one.cold, info.segment, 0),
                     CASCADE_STALE);
    assert_true(block_version_compare(
                    before, tier_segment_oldest_version(one.cold, NULL)) < 0);
    cold_crash(&one);

    // The gap is meant: nothing is withheld.
    assert_int_equal(cold_start(&world, &two, COLD_ELSEWHERE, true),
                     CASCADE_LOCKED);
    clock_fake_pass(&world.clock, COLD_LEASE_NS / 2);
    assert_int_equal(cold_start(&world, &two, COLD_ELSEWHERE, true),
                     CASCADE_LOCKED);
    clock_fake_pass(&world.clock, COLD_LEASE_NS / 2);
    assert_int_equal(cold_start(&world, &two, COLD_ELSEWHERE, true),
                     CASCADE_OK);
    assert_true(block_version_is_zero(two.floor));
    assert_int_equal(cold_get(&two, 19, 19), CASCADE_OK);
    assert_int_equal(tier_segment_close(two.cold), CASCADE_OK);
    cold_world_remove(&world);
}

#define THREAD_PUTS 60

struct shared {
    pthread_mutex_t lock; // guards the places
    struct block_place places[THREAD_PUTS];
    uint32_t count;
    bool done;
};

static void
count_only(void *context, const struct tier_segment_entry *entry)
{
    (void)entry;
    ++*(uint64_t *)context;
}

// Reads whatever is there: right bytes, or gone.
static void *
read_all_the_time(void *context)
{
    struct shared *shared = context;
    bool done = false;
    uint32_t at = 0;

    while (!done) {
        struct tier_segment_get get = {.memory_bytes = 256 * KIB};

        (void)pthread_mutex_lock(&shared->lock);
        done = shared->done;
        if (shared->count > 0) {
            get.place = shared->places[at++ % shared->count];
        }
        (void)pthread_mutex_unlock(&shared->lock);
        get.memory = aligned_alloc(4096, get.memory_bytes);
        tier_segment_read_many(one.cold, &get, 1);
        if (get.status == CASCADE_OK) {
            check(block_digest_checksum(NULL, get.memory, get.place.bytes,
                                        NULL) == get.place.checksum);
        } else {
            check(get.status == CASCADE_STALE);
        }
        free(get.memory);
    }
    return NULL;
}

static void *
refresh_and_reclaim(void *context)
{
    struct shared *shared = context;
    bool done = false;

    while (!done) {
        struct tier_segment_info info;
        uint64_t shown = 0;
        enum cascade_status status;

        (void)pthread_mutex_lock(&shared->lock);
        done = shared->done;
        (void)pthread_mutex_unlock(&shared->lock);
        status = tier_segment_refresh(one.cold, true, count_only, &shown);
        check(status == CASCADE_OK);
        if (tier_segment_own(one.cold, &info, 1) == 1) {
            status = tier_segment_entries(one.cold, info.segment, count_only,
                                          &shown);
            check(status == CASCADE_OK || status == CASCADE_STALE);
            status = tier_segment_retire(one.cold, info.segment, 0);
            check(status == CASCADE_OK || status == CASCADE_TIMEOUT ||
                  status == CASCADE_STALE);
        }
    }
    return NULL;
}

static void
test_threads_share_a_store(void **state)
{
    static struct shared shared;
    struct cold_world world;
    pthread_t threads[3];

    (void)state;
    memset(&shared, 0, sizeof(shared));
    assert_int_equal(pthread_mutex_init(&shared.lock, NULL), 0);
    cold_world_make(&world);
    cold_prepare(&world, &one, COLD_HERE, true);
    one.options.segment_bytes = 512 * KIB;
    assert_int_equal(cold_open(&one), CASCADE_OK);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL,
                           i == 0 ? refresh_and_reclaim : read_all_the_time,
                           &shared),
            0);
    }
    for (uint32_t i = 0; i < THREAD_PUTS; i++) {
        assert_int_equal(cold_put(&one, i, i, 200 * KIB), CASCADE_OK);
        if (i % 7 == 0) {
            assert_int_equal(tier_segment_sync(one.cold), CASCADE_OK);
        }
        (void)pthread_mutex_lock(&shared.lock);
        shared.places[shared.count++] = one.rows[i].place;
        (void)pthread_mutex_unlock(&shared.lock);
    }
    (void)pthread_mutex_lock(&shared.lock);
    shared.done = true;
    (void)pthread_mutex_unlock(&shared.lock);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(tier_segment_close(one.cold), CASCADE_OK);
    (void)pthread_mutex_destroy(&shared.lock);
    cold_world_remove(&world);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_returns_what_was_appended),
        cmocka_unit_test(test_finds_synced_blocks_after_a_crash),
        cmocka_unit_test(test_record_without_its_payload_never_was),
        cmocka_unit_test(test_streams_a_block_through_the_table),
        cmocka_unit_test(test_rolls_while_a_stream_is_open),
        cmocka_unit_test(test_reclaims_the_oldest),
        cmocka_unit_test(test_threads_share_a_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
