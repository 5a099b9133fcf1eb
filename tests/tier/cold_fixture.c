// SPDX-License-Identifier: Apache-2.0
//
// Stores on one root. See cold_fixture.h.

#include "tier/cold_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "support/alignment.h"
#include "tier/tier_segment_inner.h"

#define FOUND_MAX 512

static char found[FOUND_MAX][512];
static unsigned found_count;
static const char *found_ending;

static int
collect(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    size_t bytes = strlen(path);
    size_t ending = strlen(found_ending);

    (void)info;
    (void)at;
    if (kind == FTW_F && bytes >= ending &&
        strcmp(path + bytes - ending, found_ending) == 0 &&
        found_count < FOUND_MAX) {
        (void)snprintf(found[found_count++], sizeof(found[0]), "%s", path);
    }
    return 0;
}

static int
compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void
find_files(const struct cold_world *world, const char *ending)
{
    found_count = 0;
    found_ending = ending;
    assert_int_equal(nftw(world->scratch.path, collect, 16, FTW_PHYS), 0);
    qsort(found, found_count, sizeof(found[0]), compare_text);
}

static void
make_key(uint32_t key, char text[32])
{
    (void)snprintf(text, 32, "key-%u", key);
}

static struct block_version
give_version(struct cold_store *store)
{
    struct block_version version;
    uint64_t now_ns = clock_wall_ns(&store->world->clock.source);

    store->last_ns = units_max(
        units_max(store->last_ns, store->highest.time_ns) + 1, now_ns);
    version.time_ns = store->last_ns;
    version.tag = store->options.version_tag;
    return version;
}

static int
key_number(const struct cold_store *store, const struct block_label *label)
{
    char text[32];

    for (uint32_t i = 0; i < COLD_KEYS; i++) {
        struct block_key digest;

        make_key(i, text);
        block_key_of(store->options.namespace_name, text, strlen(text),
                     &digest);
        if (block_key_equal(&digest, &label->key)) {
            return (int)i;
        }
    }
    return -1;
}

void
cold_visit(void *context, const struct tier_segment_entry *entry)
{
    struct cold_store *store = context;
    struct cold_row *row;
    int number;
    int order;

    store->shown++;
    store->last_ns = units_max(store->last_ns, entry->label.version.time_ns);
    if ((entry->label.flags & BLOCK_LABEL_CLEAR) != 0) {
        store->cleared = tier_segment_later(store->cleared,
                                            entry->label.version);
        return;
    }
    if ((entry->label.flags & BLOCK_LABEL_NO_KEY) != 0 || entry->again) {
        return;
    }
    number = key_number(store, &entry->label);
    assert_true(number >= 0);
    row = &store->rows[number];
    order = block_version_compare(entry->label.version, row->version);
    if (order == 0 && !block_id_equal(&row->id, &entry->label.id)) {
        store->conflict = true;
    }
    if (order >= 0) {
        row->version = entry->label.version;
        row->place = entry->place;
        row->id = entry->label.id;
        row->flags = entry->label.flags;
        row->segment = entry->segment;
        row->own = entry->own;
        row->durable = entry->durable;
        if (entry->label.key_data != NULL) {
            row->key_bytes = entry->label.key_bytes;
        }
    }
}

void *
cold_content(uint64_t seed, uint64_t bytes)
{
    uint64_t words = units_round_up(bytes + 1, 4096) / 8;
    uint64_t *content = aligned_alloc(4096, words * 8);
    uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;

    assert_non_null(content);
    for (uint64_t i = 0; i < words; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content[i] = state;
    }
    return content;
}

// No test cuts the power, so syncs may do nothing but be counted and fail.
static int
sync_nothing(void *self, int file)
{
    (void)self;
    (void)file;
    return 0;
}

void
cold_world_make(struct cold_world *world)
{
    memset(world, 0, sizeof(*world));
    world->quick = *file_system_real();
    world->quick.sync = sync_nothing;
    world->quick.sync_data = sync_nothing;
    scratch_make(&world->scratch);
    clock_fake_init(&world->clock, 1000);
    file_faulty_init(&world->files, &world->quick);
    allocator_failing_init(&world->memory, 0);
}

void
cold_world_remove(struct cold_world *world)
{
    assert_int_equal(world->memory.live, 0);
    scratch_remove(&world->scratch);
}

void
cold_prepare(struct cold_world *world, struct cold_store *store,
             enum cold_where where, bool rebind_allowed)
{
    memset(store, 0, sizeof(*store));
    store->world = world;
    segment_lease_holder_read(&store->holder);
    if (where == COLD_DIED) {
        store->holder.process_start += 1;
    } else if (where == COLD_ELSEWHERE) {
        (void)snprintf(store->holder.boot, sizeof(store->holder.boot),
                       "elsewhere");
        (void)snprintf(store->holder.host, sizeof(store->holder.host),
                       "far-away");
    }
    store->options = (struct tier_segment_options){
        .root = world->scratch.path,
        .namespace_name = "test/model",
        .rebind_allowed = rebind_allowed,
        .segment_bytes = 4 * MIB,
        .alignment_bytes = alignment_of_tests(),
        .capacity_bytes = 64 * MIB,
        .lease_ns = COLD_LEASE_NS,
        .file_mode = 0600,
        .group = "",
        .files = &world->files.table,
        .clock = &world->clock.source,
        .allocator = &world->memory.table,
        .version_tag = ++world->tag,
    };
}

enum cascade_status
cold_open(struct cold_store *store)
{
    store->options.holder = &store->holder;
    return tier_segment_open(&store->options, cold_visit, store, &store->floor,
                             &store->highest, &store->cold);
}

enum cascade_status
cold_start(struct cold_world *world, struct cold_store *store,
           enum cold_where where, bool rebind_allowed)
{
    cold_prepare(world, store, where, rebind_allowed);
    return cold_open(store);
}

void
cold_crash(struct cold_store *store)
{
    enum cascade_status status;

    store->cold->lease.lost = true;
    status = tier_segment_close(store->cold);
    assert_int_equal(status, CASCADE_CLOSED);
    store->cold = NULL;
}

enum cascade_status
cold_put(struct cold_store *store, uint32_t key, uint64_t seed, uint64_t bytes)
{
    char text[32];
    void *content = cold_content(seed, bytes);
    struct tier_segment_put put = {.payload = content, .bytes = bytes};
    enum cascade_status status;

    make_key(key, text);
    block_key_of(store->options.namespace_name, text, strlen(text),
                 &put.label.key);
    block_id_of(content, bytes, &put.label.id);
    put.label.key_data = text;
    put.label.key_bytes = (uint32_t)strlen(text);
    put.label.version = give_version(store);
    put.checksum = block_digest_checksum(NULL, content, bytes, NULL);
    status = tier_segment_append(store->cold, &put, 1);
    assert_int_equal(status, put.status);
    if (status == CASCADE_OK) {
        struct tier_segment_entry entry = {
            .label = put.label,
            .place = put.place,
            .segment = put.segment,
            .own = true,
        };

        cold_visit(store, &entry);
    }
    free(content);
    return status;
}

enum cascade_status
cold_remove(struct cold_store *store, uint32_t key)
{
    char text[32];
    struct tier_segment_put put = {0};
    enum cascade_status status;

    make_key(key, text);
    block_key_of(store->options.namespace_name, text, strlen(text),
                 &put.label.key);
    put.label.key_data = text;
    put.label.key_bytes = (uint32_t)strlen(text);
    put.label.flags = BLOCK_LABEL_REMOVAL;
    put.label.version = give_version(store);
    status = tier_segment_append(store->cold, &put, 1);
    if (status == CASCADE_OK) {
        struct tier_segment_entry entry = {.label = put.label};

        cold_visit(store, &entry);
    }
    return status;
}

enum cascade_status
cold_get_one_of(struct cold_store *store, uint32_t key, const uint64_t *seeds,
                size_t seed_count, size_t *which)
{
    const struct cold_row *row = &store->rows[key];
    struct tier_segment_get get = {.place = row->place, .id = row->id};
    uint64_t room = units_round_up(row->place.bytes + 1, 4096);
    bool right = false;

    if (!block_place_is_set(&row->place) ||
        block_version_compare(row->version, store->floor) < 0 ||
        block_version_compare(row->version, store->cleared) < 0) {
        return CASCADE_NOT_FOUND;
    }
    get.memory = aligned_alloc(4096, room);
    get.memory_bytes = room;
    assert_non_null(get.memory);
    tier_segment_read_many(store->cold, &get, 1);
    for (size_t i = 0; i < seed_count && get.status == CASCADE_OK; i++) {
        void *content = cold_content(seeds[i], row->place.bytes);

        if (memcmp(get.memory, content, row->place.bytes) == 0) {
            right = true;
            *which = i;
        }
        free(content);
    }
    free(get.memory);
    if (get.status == CASCADE_OK && !right) {
        fail_msg("key %u was served with bytes that are not its own", key);
    }
    return get.status;
}

enum cascade_status
cold_get(struct cold_store *store, uint32_t key, uint64_t seed)
{
    size_t which;

    return cold_get_one_of(store, key, &seed, 1, &which);
}

enum cascade_status
cold_refresh(struct cold_store *store, bool adopt)
{
    return tier_segment_refresh(store->cold, adopt, cold_visit, store);
}

unsigned
cold_count_files(const struct cold_world *world, const char *ending)
{
    find_files(world, ending);
    return found_count;
}

void
cold_find_file(const struct cold_world *world, const char *ending,
               unsigned number, char *path, size_t size)
{
    find_files(world, ending);
    assert_true(number < found_count);
    (void)snprintf(path, size, "%s", found[number]);
}
