// SPDX-License-Identifier: Apache-2.0
//
// Mistakes that were once made. See store_cases.h. Usage: [case]...

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "cascade/cascade.h"
#include "directory/directory.h"
#include "store/store_internal.h"
#include "store_cases.h"
#include "support/file_faulty.h"

static struct cascade *
open_with(const struct store_surroundings *around, const char *const *pairs)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;

    DEMAND(options != NULL);
    DEMAND(cascade_options_set(options, "stats_page", "false") != 99);
    DEMAND(cascade_options_set(options, "cold_admission", "all") != 99);
    for (; *pairs != NULL; pairs += 2) {
        const char *value = pairs[1];
        char path[256];

        if (strcmp(pairs[0], "cold_path") == 0) {
            snprintf(path, sizeof(path), "%s/cold", store_cases_scratch.path);
            value = path;
        }
        DEMAND(cascade_options_set(options, pairs[0], value) == CASCADE_OK);
    }
    if (around != NULL) {
        DEMAND(store_open_in(options, around, &store) == CASCADE_OK);
    } else {
        DEMAND(cascade_open(options, &store) == CASCADE_OK);
    }
    cascade_options_destroy(options);
    return store;
}

static struct cascade_key
key_of(const char *text)
{
    return (struct cascade_key){text, strlen(text)};
}

static enum cascade_status
put(struct cascade *store, const char *key, unsigned content, size_t bytes,
    uint32_t flags)
{
    struct cascade_put_options options;
    uint8_t *data = malloc(bytes + 8);
    struct cascade_const_span span = {
        .data = data, .bytes = bytes, .memory = CASCADE_MEMORY_HOST};
    enum cascade_status status;

    memset(&options, 0, sizeof(options));
    options.flags = flags;
    memset(data, (int)(content & 0xff), bytes);
    memcpy(data, &content, sizeof(content));
    status = cascade_put(store, key_of(key), &span, 1, &options, NULL);
    free(data);
    return status;
}

// Content number, or a negative status.
static long
get(struct cascade *store, const char *key, size_t room, size_t *bytes)
{
    uint8_t *data = calloc(1, room + 8);
    struct cascade_span span = {
        .data = data, .bytes = room, .memory = CASCADE_MEMORY_HOST};
    unsigned content = 0;
    size_t got = 0;
    enum cascade_status status = cascade_get(store, key_of(key), &span, 1, NULL,
                                             &got);

    memcpy(&content, data, sizeof(content));
    free(data);
    if (bytes != NULL) {
        *bytes = got;
    }
    return status == CASCADE_OK ? (long)content : -(long)status;
}

static void
evict_with_view(void)
{
    static const char *const options[] = {"dram_capacity", "4MiB", NULL};
    struct cascade *store = open_with(NULL, options);
    struct cascade_view view;
    uint64_t evicted = 0;

    memset(&view, 0, sizeof(view));
    DEMAND(put(store, "a", 1, 1000, 0) == CASCADE_OK);
    DEMAND(put(store, "b", 2, 1000, 0) == CASCADE_OK);
    DEMAND(cascade_acquire(store, key_of("a"), NULL, &view) == CASCADE_OK);
    DEMAND(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, &evicted) ==
           CASCADE_OK);
    cascade_release(store, &view);
}

static void
protection_stuck(void)
{
    static const char *const options[] = {"dram_capacity", "4MiB", NULL};
    struct cascade *store = open_with(NULL, options);
    char name[32];

    for (unsigned i = 0; i < 7; i++) {
        snprintf(name, sizeof(name), "p%u", i);
        DEMAND(put(store, name, i, 500000, CASCADE_PUT_PREFIX) == CASCADE_OK);
        snprintf(name, sizeof(name), "q%u", i);
        DEMAND(put(store, name, i, 500000, 0) == CASCADE_OK);
        snprintf(name, sizeof(name), "p%u", i);
        DEMAND(cascade_remove(store, key_of(name)) == CASCADE_OK);
    }
    // Nothing is protected now, so there is room for one more.
    DEMAND(put(store, "new", 100, 3000000, 0) == CASCADE_OK);
}

static void
removals_pile_up(void)
{
    static const char *const options[] = {"dram_capacity",
                                          "4MiB",
                                          "cold_path",
                                          "",
                                          "cold_capacity",
                                          "8MiB",
                                          "segment_size",
                                          "1MiB",
                                          "max_blocks",
                                          "3000",
                                          NULL};
    struct cascade *store = open_with(NULL, options);
    char name[32];

    for (unsigned i = 0; i < 6000; i++) {
        enum cascade_status status;

        snprintf(name, sizeof(name), "k%u", i);
        status = put(store, name, i, 8000, 0);
        if (status != CASCADE_OK) {
            struct directory_usage usage;

            directory_usage(store->directory, &usage);
            printf("  put %u failed: %llu keys, %llu removals\n", i,
                   (unsigned long long)usage.keys,
                   (unsigned long long)usage.removals);
        }
        DEMAND(status == CASCADE_OK);
    }
    {
        struct directory_usage usage;

        directory_usage(store->directory, &usage);
        printf("  end: %llu keys, %llu removals\n",
               (unsigned long long)usage.keys,
               (unsigned long long)usage.removals);
    }
    DEMAND(cascade_close(store) == CASCADE_OK);
}

static void
merge_loses_shared(void)
{
    static const char *const options[] = {
        "dram_capacity", "4MiB", "cold_path", "", "segment_size", "1MiB", NULL};
    char name[32];

    for (unsigned i = 0; i < 12; i++) {
        struct cascade *store = open_with(NULL, options);

        if (i > 1) {
            long got = get(store, "second", 100000, NULL);

            if (got != 1) {
                printf("  session %u: second is %ld\n", i, got);
            }
            DEMAND(got == 1);
        }
        if (i == 0) {
            DEMAND(put(store, "first", 1, 50000, 0) == CASCADE_OK);
        } else if (i == 1) {
            DEMAND(put(store, "second", 1, 50000, 0) == CASCADE_OK);
            DEMAND(put(store, "large", 3, 500000, 0) == CASCADE_OK);
        } else if (i == 2) {
            DEMAND(put(store, "first", 2, 50000, 0) == CASCADE_OK);
        } else {
            snprintf(name, sizeof(name), "k%u", i);
            DEMAND(put(store, name, 100 + i, 50000, 0) == CASCADE_OK);
        }
        DEMAND(cascade_close(store) == CASCADE_OK);
    }
}

static struct directory *
make_directory(bool rebind)
{
    struct directory_options options = {.allocator = allocator_system(),
                                        .clock = clock_system(),
                                        .version_tag = 7,
                                        .max_keys = 1024,
                                        .max_ids = 1024,
                                        .protected_bytes_max = 1 << 20,
                                        .rebind_allowed = rebind,
                                        .keep_removals = true};
    struct directory *directory = NULL;

    DEMAND(directory_create(&options, &directory) == CASCADE_OK);
    directory_load_finish(directory, (struct block_version){0, 0});
    return directory;
}

static struct block_place
memory_place(uint32_t slot, uint64_t bytes)
{
    return (struct block_place){.tier = CASCADE_TIER_LOCAL_DRAM,
                                .slot = slot,
                                .generation = 1,
                                .bytes = bytes,
                                .checksum = 5};
}

static void
late_bind_without_bytes(void)
{
    struct directory *directory = make_directory(false);
    struct block_label label = {.flags = BLOCK_LABEL_BIND, .version = {5, 9}};
    struct directory_bind bind = {.bytes = 1000,
                                  .place = memory_place(3, 1000)};
    struct directory_bound bound;
    struct directory_found found;
    struct block_place none = {0};

    block_key_of("n", "theirs", 6, &label.key);
    block_id_of("content", 7, &label.id);
    DEMAND(directory_load(directory, &label, &none, 4, true) == CASCADE_OK);
    block_key_of("n", "ours", 4, &bind.key);
    bind.id = label.id;
    DEMAND(directory_bind(directory, &bind, &bound) == CASCADE_OK);
    DEMAND(directory_find(directory, &bind.key, &found, NULL) == CASCADE_OK);
    DEMAND(found.bytes == 1000);
    directory_destroy(directory);
}

static void
late_place_without_key(void)
{
    struct directory *directory = make_directory(false);
    struct block_label label = {.version = {5, 9}};
    struct directory_bind bind = {.bytes = 1000,
                                  .place = memory_place(3, 1000)};
    struct directory_bound bound;
    struct directory_found found;
    struct block_place cold = {.tier = CASCADE_TIER_SEGMENTS,
                               .flags = BLOCK_PLACE_OWN,
                               .slot = 4,
                               .generation = 1,
                               .bytes = 1000};
    struct directory_usage usage;

    block_key_of("n", "shared", 6, &label.key);
    block_id_of("theirs", 6, &label.id);
    bind.key = label.key;
    block_id_of("ours", 4, &bind.id);
    DEMAND(directory_bind(directory, &bind, &bound) == CASCADE_OK);
    DEMAND(directory_load(directory, &label, &cold, 4, true) == CASCADE_OK);
    directory_usage(directory, &usage);
    printf("  contents %llu, valid %d\n", (unsigned long long)usage.contents,
           directory_is_valid(directory));
    fflush(stdout);
    (void)directory_find_content(directory, &label.id, &found); // reclaim asks
    DEMAND(usage.contents == 1);
    directory_destroy(directory);
}

static void
nothing_freed(void *context, const struct directory_freed *freed)
{
    (void)context;
    (void)freed;
}

static void
reserved_below_clear(void)
{
    struct directory *directory = make_directory(true);
    struct directory_bind bind = {.bytes = 1000,
                                  .place = memory_place(3, 1000)};
    struct directory_bound bound;
    struct block_version clear;

    block_key_of("n", "k", 1, &bind.key);
    block_id_of("x", 1, &bind.id);
    bind.version = directory_next_version(directory);
    clear = directory_clear(directory, nothing_freed, NULL);
    DEMAND(directory_bind(directory, &bind, &bound) == CASCADE_OK);
    DEMAND(block_version_compare(bound.version, clear) > 0);
    directory_destroy(directory);
}

static void
refused_record_outranks(void)
{
    struct directory *directory = make_directory(true);
    struct directory_bind bind = {.bytes = 1000,
                                  .place = memory_place(3, 1000),
                                  .flags = DIRECTORY_BIND_IF_ABSENT};
    struct directory_bound bound;
    struct directory_found found;
    struct block_version reserved;

    block_key_of("n", "k", 1, &bind.key);
    block_id_of("y", 1, &bind.id);
    DEMAND(directory_bind(directory, &bind, &bound) == CASCADE_OK);
    directory_note_record(directory, &bind.key, bound.version, false, 1);
    // put_cold: reserves, writes (k, reserved), is refused, notes the record.
    reserved = directory_next_version(directory);
    bind.version = reserved;
    block_id_of("x", 1, &bind.id);
    DEMAND(directory_bind(directory, &bind, &bound) == CASCADE_EXISTS);
    directory_note_record(directory, &bind.key, reserved, false, 2);
    DEMAND(directory_find_binding(directory, &bind.key, &found) == CASCADE_OK);
    DEMAND(block_version_compare(found.version, reserved) > 0);
    DEMAND((found.flags & DIRECTORY_DIRTY) != 0);
    DEMAND(directory_is_valid(directory));
    directory_destroy(directory);
}

#define READERS 48
static pthread_barrier_t barrier;
static _Atomic unsigned missed;
static struct cascade *shared;

static void *
read_hot(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 200; i++) {
        pthread_barrier_wait(&barrier);
        long got = get(shared, "hot", 300000, NULL);
        if (got != 1) {
            printf("  a get gave %ld: %s\n", got, cascade_error_message());
            missed++;
        }
    }
    return NULL;
}

static void
hot_cold_block(void)
{
    static const char *const options[] = {"dram_capacity", "0", "cold_path", "",
                                          NULL};
    pthread_t threads[READERS];

    shared = open_with(NULL, options);
    DEMAND(put(shared, "hot", 1, 300000, 0) == CASCADE_OK);
    pthread_barrier_init(&barrier, NULL, READERS);
    for (unsigned i = 0; i < READERS; i++) {
        DEMAND(pthread_create(&threads[i], NULL, read_hot, NULL) == 0);
    }
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("  %u of %u gets missed\n", missed, READERS * 200);
    DEMAND(missed == 0);
}

static void
cold_put_forgets_protection(void)
{
    static const char *const options[] = {
        "dram_capacity", "1MiB", "cold_path", "", "prefix_fraction_max", "1",
        "put_wait",      "0",    NULL};
    struct cascade *store = open_with(NULL, options);
    struct cascade_view view;
    struct cascade_location location;

    memset(&view, 0, sizeof(view));
    DEMAND(put(store, "big", 1, 900000, 0) == CASCADE_OK);
    DEMAND(cascade_acquire(store, key_of("big"), NULL, &view) == CASCADE_OK);
    DEMAND(put(store, "prompt", 2, 300000, CASCADE_PUT_PREFIX) == CASCADE_OK);
    DEMAND(cascade_locate(store, key_of("prompt"), &location) == CASCADE_OK);
    printf("  tier %d protected %d\n", location.tier,
           location.protected_prefix);
    DEMAND(location.protected_prefix);
    cascade_release(store, &view);
    DEMAND(cascade_close(store) == CASCADE_OK);
    store = open_with(NULL, options);
    DEMAND(cascade_locate(store, key_of("prompt"), &location) == CASCADE_OK);
    DEMAND(location.protected_prefix);
}

static void
failed_sync_brings_older(void)
{
    static const char *const options[] = {
        "dram_capacity", "1MiB",     "cold_path", "",  "cold_io",
        "pread",         "put_wait", "0",         NULL};
    struct file_faulty faulty;
    struct store_surroundings around = {
        .allocator = allocator_system(), .clock = clock_system(), .seed = 5};
    struct cascade *store;
    long got;

    file_faulty_init(&faulty, NULL);
    around.files = &faulty.table;
    fflush(stdout);
    if (fork() == 0) {
        store = open_with(&around, options);
        DEMAND(put(store, "zero", 9, 1000, 0) == CASCADE_OK);
        DEMAND(cascade_flush(store, NULL) == CASCADE_OK);
        DEMAND(put(store, "k", 1, 200000, 0) == CASCADE_OK);
        faulty.counted = FILE_FAULTY_SYNC_DATA | FILE_FAULTY_SYNC;
        faulty.error = EIO;
        faulty.calls = 0;
        faulty.fail_from = 1;
        faulty.fail_count = UINT64_MAX;
        DEMAND(cascade_flush(store, NULL) != CASCADE_OK);
        DEMAND(put(store, "k", 2, 200000, 0) == CASCADE_OK);
        DEMAND(get(store, "k", 300000, NULL) == 2);
        faulty.counted = FILE_FAULTY_PWRITE | FILE_FAULTY_SYNC_DATA |
                         FILE_FAULTY_SYNC | FILE_FAULTY_OPEN;
        // k's newest content is dropped unwritten.
        DEMAND(put(store, "other", 3, 900000, 0) == CASCADE_OK);
        printf("  before the crash k is %ld\n", get(store, "k", 300000, NULL));
        faulty.fail_from = 0;
        DEMAND(cascade_flush(store, NULL) == CASCADE_OK);
        fflush(stdout);
        _exit(0);
    }
    wait(NULL);
    faulty.fail_from = 0;
    around.seed = 6;
    store = open_with(&around, options);
    got = get(store, "k", 300000, NULL);
    printf("  after the crash k is %ld\n", got);
    DEMAND(got != 1);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

static void
huge_put_wipes_cold(void)
{
    static const char *const options[] = {
        "dram_capacity", "1MiB",         "cold_path", "",  "cold_capacity",
        "8MiB",          "segment_size", "1MiB",      NULL};
    struct cascade *store = open_with(NULL, options);
    unsigned left = 0;
    char name[32];

    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(put(store, name, i, 200000, 0) == CASCADE_OK);
    }
    DEMAND(cascade_flush(store, NULL) == CASCADE_OK);
    DEMAND(put(store, "huge", 99, 9000000, 0) != CASCADE_OK);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        left += get(store, name, 200000, NULL) == (long)i;
    }
    printf("  %u of 20 are left\n", left);
    DEMAND(left == 20);
}

static void
batch_larger_than_cold(void)
{
    static const char *const options[] = {
        "dram_capacity", "64MiB",        "cold_path", "",  "cold_capacity",
        "8MiB",          "segment_size", "1MiB",      NULL};
    struct cascade *store = open_with(NULL, options);
    char name[32];

    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(put(store, name, i, 200000, 0) == CASCADE_OK);
    }
    enum cascade_status status = cascade_flush(store, NULL);
    {
        struct directory_usage usage;

        directory_usage(store->directory, &usage);
        printf("  flush said %d, %llu of 100 blocks are dirty\n", (int)status,
               (unsigned long long)usage.dirty_contents);
        DEMAND(usage.dirty_contents < 100);
        DEMAND(status == CASCADE_NO_SPACE || usage.dirty_contents == 0);
    }
}

// The copy on segments was found damaged, and a put brought the content back
// before its bindings were dropped.
static struct directory *raced;
static struct directory_bind raced_bind;

static enum cascade_status
nothing_to_release(void *context, const struct block_place *place)
{
    (void)context;
    (void)place;
    return CASCADE_OK;
}

static void *
withdraw_often(void *context)
{
    struct block_place cold = *(struct block_place *)context;

    bool lost = false;

    if (directory_withdraw(raced, &raced_bind.id, &cold, true,
                           nothing_to_release, NULL, &lost) == CASCADE_OK &&
        !lost) {
        directory_dirty_bindings(raced, &raced_bind.id);
    }
    return NULL;
}

static void
bound_again_stays_clean(void)
{
    unsigned clean = 0;

    raced = make_directory(true);
    block_key_of("n", "k", 1, &raced_bind.key);
    block_id_of("x", 1, &raced_bind.id);
    raced_bind.bytes = 1000;
    for (unsigned i = 0; i < 6000; i++) {
        struct block_place cold = {.tier = CASCADE_TIER_SEGMENTS,
                                   .flags = BLOCK_PLACE_OWN,
                                   .slot = 4,
                                   .generation = 1,
                                   .bytes = 1000};
        struct directory_bound bound;
        struct directory_found found, content;
        pthread_t thread;

        raced_bind.place = cold;
        DEMAND(directory_bind(raced, &raced_bind, &bound) == CASCADE_OK);
        DEMAND(directory_publish(raced, &raced_bind.id, &cold, true) ==
               CASCADE_OK);
        directory_note_record(raced, &raced_bind.key, bound.version, false, 4);
        raced_bind.place = memory_place(3, 1000);
        DEMAND(pthread_create(&thread, NULL, withdraw_often, &cold) == 0);
        for (unsigned k = 0; k < i % 4096 * 8; k++) {
            __asm__ volatile("" ::: "memory");
        }
        DEMAND(directory_bind(raced, &raced_bind, &bound) == CASCADE_OK);
        pthread_join(thread, NULL);
        if (directory_find_binding(raced, &raced_bind.key, &found) ==
                CASCADE_OK &&
            directory_find_content(raced, &raced_bind.id, &content) ==
                CASCADE_OK &&
            !content.cold_durable && (found.flags & DIRECTORY_DIRTY) == 0) {
            clean++;
        }
        struct directory_freed freed;
        (void)directory_remove(raced, &raced_bind.key, &freed);
    }
    printf("  %u times clean without a durable copy\n", clean);
    DEMAND(clean == 0);
}

static const struct store_case cases[] = {
    {"evict_with_view", evict_with_view},
    {"protection_stuck", protection_stuck},
    {"removals_pile_up", removals_pile_up},
    {"merge_loses_shared", merge_loses_shared},
    {"late_bind_without_bytes", late_bind_without_bytes},
    {"late_place_without_key", late_place_without_key},
    {"reserved_below_clear", reserved_below_clear},
    {"refused_record_outranks", refused_record_outranks},
    {"hot_cold_block", hot_cold_block},
    {"cold_put_forgets_protection", cold_put_forgets_protection},
    {"failed_sync_brings_older", failed_sync_brings_older},
    {"huge_put_wipes_cold", huge_put_wipes_cold},
    {"batch_larger_than_cold", batch_larger_than_cold},
    {"bound_again_stays_clean", bound_again_stays_clean},
};

int
main(int count, char **names)
{
    return store_cases_run(cases, sizeof(cases) / sizeof(cases[0]), count,
                           names);
}
