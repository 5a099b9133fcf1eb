// SPDX-License-Identifier: Apache-2.0
//
// More mistakes that were once made: room that stays taken, keys lost at open,
// answers that said too much. See store_cases.h. Usage: [case]...

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "cascade/cascade.h"
#include "directory/directory.h"
#include "store/store_internal.h"
#include "store_cases.h"

#define TRIES 1000

static struct cascade *
open_with(const char *const *pairs)
{
    struct cascade_options *options = cascade_options_create();
    struct cascade *store = NULL;

    DEMAND(options != NULL);
    DEMAND(cascade_options_set(options, "stats_page", "false") == CASCADE_OK);
    for (; *pairs != NULL; pairs += 2) {
        const char *value = pairs[1];
        char path[256];

        if (strcmp(pairs[0], "cold_path") == 0) {
            snprintf(path, sizeof(path), "%s/cold", store_cases_scratch.path);
            value = path;
        }
        DEMAND(cascade_options_set(options, pairs[0], value) == CASCADE_OK);
    }
    DEMAND(cascade_open(options, &store) == CASCADE_OK);
    cascade_options_destroy(options);
    return store;
}

static struct cascade_key
key_of(const char *text)
{
    return (struct cascade_key){text, strlen(text)};
}

static enum cascade_status
put(struct cascade *store, const char *key, unsigned content, size_t bytes)
{
    uint8_t *data = malloc(bytes + sizeof(content));
    struct cascade_const_span span = {
        .data = data, .bytes = bytes, .memory = CASCADE_MEMORY_HOST};
    enum cascade_status status;

    DEMAND(data != NULL);
    memset(data, (int)(content & 0xff), bytes);
    memcpy(data, &content, sizeof(content));
    status = cascade_put(store, key_of(key), &span, 1, NULL, NULL);
    free(data);
    return status;
}

// Four large blocks, which fill the memory.
static struct cascade *
open_filled(void)
{
    static const char *const options[] = {
        "dram_capacity",       "64MiB", "max_blocks", "64",
        "prefix_fraction_max", "1",     NULL};
    struct cascade *store = open_with(options);
    char name[32];

    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(put(store, name, i, 16 * MIB) == CASCADE_OK);
    }
    return store;
}

// All blocks were pinned when room was looked for, and are not any more.
static void
views_that_ended(void)
{
    struct cascade *store = open_filled();
    struct cascade_view views[4];
    char name[32];

    memset(views, 0, sizeof(views));
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(cascade_acquire(store, key_of(name), NULL, &views[i]) ==
               CASCADE_OK);
    }
    DEMAND(put(store, "new", 9, 16 * MIB) == CASCADE_NO_SPACE);
    for (unsigned i = 0; i < 4; i++) {
        cascade_release(store, &views[i]);
    }
    DEMAND(put(store, "new", 9, 16 * MIB) == CASCADE_OK);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

// The same with protection.
static void
protection_that_ended(void)
{
    struct cascade *store = open_filled();
    char name[32];

    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(cascade_protect(store, key_of(name), NULL) == CASCADE_OK);
    }
    DEMAND(put(store, "new", 9, 16 * MIB) == CASCADE_NO_SPACE);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(cascade_unprotect(store, key_of(name)) == CASCADE_OK);
    }
    DEMAND(put(store, "new", 9, 16 * MIB) == CASCADE_OK);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

// More small neighbours than a window takes.
static void
large_over_many_small(void)
{
    static const char *const options[] = {"dram_capacity", "128MiB",
                                          "max_blocks", "40000", NULL};
    struct cascade *store = open_with(options);
    char name[32];

    for (unsigned i = 0; i < 128 * MIB / 4096; i++) {
        snprintf(name, sizeof(name), "k%u", i);
        DEMAND(put(store, name, i, 4096) == CASCADE_OK);
    }
    DEMAND(put(store, "large", 9, 64 * MIB) == CASCADE_OK);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

// A block that was dropped while its put waited for the cold tier.
static void *
put_synced(void *context)
{
    static enum cascade_status status;

    status = put(context, "synced", 7, 100000);
    return &status;
}

static void
synced_put_dropped(void)
{
    static const char *const options[] = {
        "dram_capacity", "4MiB", "cold_path", "", "sync", "put", NULL};
    struct cascade *store = open_with(options);
    struct directory_found found;
    struct block_key key;
    enum cascade_status *status;
    pthread_t thread;
    bool dirty;

    DEMAND(store_key(store, key_of("synced"), &key) == CASCADE_OK);
    DEMAND(store_cold_begin(store, store_deadline(store, 0)) == CASCADE_OK);
    DEMAND(pthread_create(&thread, NULL, put_synced, store) == 0);
    while (directory_find(store->directory, &key, &found, NULL) != CASCADE_OK) {
    }
    // What the search for room does when the writer is behind; the background
    // may say meanwhile that it is not.
    for (unsigned i = 0; i < TRIES; i++) {
        atomic_store(&store->writer_is_behind, true);
        (void)store_evict_slot(store, found.memory.slot, false, &dirty);
    }
    store_cold_end(store);
    DEMAND(pthread_join(thread, (void **)&status) == 0);
    printf("  the put said %d, the key is %s\n", (int)*status,
           cascade_exists(store, key_of("synced")) == CASCADE_OK ? "there"
                                                                 : "gone");
    DEMAND(*status != CASCADE_OK ||
           cascade_exists(store, key_of("synced")) == CASCADE_OK);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

// Versions of before fill the index while it is loaded, so that what nothing
// names has to go again and again, beside threads that are about to name theirs.
static void
load_into_full_index(void)
{
    static const char *const options[] = {
        "dram_capacity", "4MiB",       "cold_path", "",        "segment_size",
        "1MiB",          "max_blocks", "1000",      "threads", "8",
        "cold_capacity", "256MiB",     NULL};
    const unsigned keys = 900;
    struct cascade *store = open_with(options);
    char name[32];

    for (unsigned i = 0; i < 12 * keys; i++) {
        snprintf(name, sizeof(name), "k%u", i % keys);
        DEMAND(put(store, name, i, 2000) == CASCADE_OK);
        DEMAND(i % keys != 0 || cascade_flush(store, NULL) == CASCADE_OK);
    }
    DEMAND(cascade_close(store) == CASCADE_OK);
    for (unsigned life = 0; life < 4; life++) {
        unsigned lost = 0;

        store = open_with(options);
        for (unsigned i = 0; i < keys; i++) {
            snprintf(name, sizeof(name), "k%u", i);
            lost += cascade_exists(store, key_of(name)) != CASCADE_OK;
        }
        printf("  %u of %u keys lost\n", lost, keys);
        DEMAND(lost == 0);
        DEMAND(cascade_close(store) == CASCADE_OK);
    }
}

// A miss leaves the caller's memory alone, also when the key goes while its
// block is being read from segments.
static void *
remove_raced(void *context)
{
    DEMAND(cascade_remove(context, key_of("raced")) == CASCADE_OK);
    return NULL;
}

static void
miss_touches_nothing(void)
{
    static const char *const options[] = {
        "dram_capacity", "16MiB",  "cold_path", "",
        "cold_capacity", "256MiB", NULL};
    const size_t bytes = 4 * MIB;
    struct cascade *store = open_with(options);
    uint8_t *data = malloc(bytes);
    unsigned misses = 0;
    unsigned touched = 0;

    DEMAND(data != NULL);
    for (unsigned i = 0; i < 60; i++) {
        struct cascade_span span = {
            .data = data, .bytes = bytes, .memory = CASCADE_MEMORY_HOST};
        pthread_t thread;
        size_t got = 0;

        DEMAND(put(store, "raced", i, bytes) == CASCADE_OK);
        DEMAND(cascade_evict(store, CASCADE_TIER_LOCAL_DRAM, NULL, NULL) ==
               CASCADE_OK);
        memset(data, 0xee, bytes);
        DEMAND(pthread_create(&thread, NULL, remove_raced, store) == 0);
        for (unsigned k = 0; k < i * 4000; k++) {
            __asm__ volatile("" ::: "memory");
        }
        if (cascade_get(store, key_of("raced"), &span, 1, NULL, &got) ==
            CASCADE_NOT_FOUND) {
            misses++;
            touched += data[0] != 0xee || data[bytes / 2] != 0xee;
        }
        DEMAND(pthread_join(thread, NULL) == 0);
    }
    printf("  %u misses, %u of them changed the memory\n", misses, touched);
    DEMAND(touched == 0);
    free(data);
    DEMAND(cascade_close(store) == CASCADE_OK);
}

static bool moved_away;

// Moves the namespace's folder away before the first lease in it is named, as
// somebody who removes it would.
static int
move_and_rename(void *self, int from_directory, const char *from,
                int to_directory, const char *to)
{
    char cold[300];
    char folder[600];
    char aside[300];
    struct dirent *entry = NULL;
    DIR *stream;

    (void)self;
    snprintf(cold, sizeof(cold), "%s/cold", store_cases_scratch.path);
    snprintf(aside, sizeof(aside), "%s/aside", store_cases_scratch.path);
    stream = moved_away || to[0] != 'w' ? NULL : opendir(cold);
    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.' && entry->d_type == DT_DIR) {
            snprintf(folder, sizeof(folder), "%s/%s", cold, entry->d_name);
            moved_away = rename(folder, aside) == 0;
            break;
        }
    }
    if (stream != NULL) {
        closedir(stream);
    }
    return file_system_real()->rename_at(NULL, from_directory, from,
                                         to_directory, to);
}

static void
moved_while_opened(void)
{
    static const char *const pairs[] = {"dram_capacity", "4MiB", "cold_path",
                                        "", NULL};
    struct cascade *store = open_with(pairs);
    struct file_system files = *file_system_real();
    struct store_surroundings around = {.allocator = allocator_system(),
                                        .clock = clock_system(),
                                        .files = &files};
    struct cascade_options *options = cascade_options_create();
    char path[256];
    enum cascade_status status;

    files.rename_at = move_and_rename;
    DEMAND(put(store, "old", 1, 1000) == CASCADE_OK);
    DEMAND(cascade_close(store) == CASCADE_OK);
    snprintf(path, sizeof(path), "%s/cold", store_cases_scratch.path);
    DEMAND(options != NULL);
    DEMAND(cascade_options_set(options, "cold_path", path) == CASCADE_OK);
    DEMAND(cascade_options_set(options, "dram_capacity", "4MiB") == CASCADE_OK);
    status = store_open_in(options, &around, &store);
    printf("  moved %d, open said %d\n", moved_away, status);
    DEMAND(moved_away);
    DEMAND(status == CASCADE_LOCKED);
    cascade_options_destroy(options);
}

static const struct store_case cases[] = {
    {"views_that_ended", views_that_ended},
    {"protection_that_ended", protection_that_ended},
    {"large_over_many_small", large_over_many_small},
    {"synced_put_dropped", synced_put_dropped},
    {"load_into_full_index", load_into_full_index},
    {"miss_touches_nothing", miss_touches_nothing},
    {"moved_while_opened", moved_while_opened},
};

int
main(int count, char **names)
{
    return store_cases_run(cases, sizeof(cases) / sizeof(cases[0]), count,
                           names);
}
