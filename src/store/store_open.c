// SPDX-License-Identifier: Apache-2.0
//
// Builds a store bottom-up and takes it down in mirror order. The one file
// besides base that names the system's allocator, clock and file system.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/error.h"
#include "base/machine.h"
#include "base/units.h"
#include "store/store_cluster.h"

// Batches and submissions that may wait for a thread.
#define POOL_JOBS 4096

// Longest that a close waits for the cold tier.
#define CLOSE_WAIT_NS (3600 * NS_PER_S)

static void
init_locks(struct cascade *store)
{
    pthread_condattr_t monotonic;

    check(pthread_condattr_init(&monotonic) == 0);
    check(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    store_touches_init(store);
    check(pthread_mutex_init(&store->policy_lock, NULL) == 0);
    check(pthread_mutex_init(&store->window_lock, NULL) == 0);
    check(pthread_mutex_init(&store->cold_lock, NULL) == 0);
    check(pthread_mutex_init(&store->clear_lock, NULL) == 0);
    check(pthread_mutex_init(&store->loads_lock, NULL) == 0);
    check(pthread_mutex_init(&store->room_lock, NULL) == 0);
    check(pthread_mutex_init(&store->background_lock, NULL) == 0);
    check(pthread_mutex_init(&store->regions_lock, NULL) == 0);
    check(pthread_cond_init(&store->cold_free, &monotonic) == 0);
    check(pthread_cond_init(&store->loads_changed, &monotonic) == 0);
    check(pthread_cond_init(&store->room_changed, &monotonic) == 0);
    check(pthread_cond_init(&store->background_wake, &monotonic) == 0);
    check(pthread_condattr_destroy(&monotonic) == 0);
}

static void
fini_locks(struct cascade *store)
{
    (void)pthread_cond_destroy(&store->background_wake);
    (void)pthread_cond_destroy(&store->room_changed);
    (void)pthread_cond_destroy(&store->loads_changed);
    (void)pthread_cond_destroy(&store->cold_free);
    (void)pthread_mutex_destroy(&store->regions_lock);
    (void)pthread_mutex_destroy(&store->background_lock);
    (void)pthread_mutex_destroy(&store->room_lock);
    (void)pthread_mutex_destroy(&store->loads_lock);
    (void)pthread_mutex_destroy(&store->clear_lock);
    (void)pthread_mutex_destroy(&store->cold_lock);
    (void)pthread_mutex_destroy(&store->policy_lock);
    store_touches_fini(store);
    (void)pthread_mutex_destroy(&store->window_lock);
}

// A page that the system wipes in a forked child.
static enum cascade_status
open_fork_guard(struct cascade *store)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        return error_set(CASCADE_NO_MEMORY, "the system gave no page");
    }
    store->fork_guard = memory;
    if (madvise(memory, page, MADV_WIPEONFORK) != 0) {
        return error_set(CASCADE_UNSUPPORTED,
                         "the kernel cannot wipe pages on fork; Linux 4.14 or "
                         "newer is needed");
    }
    *store->fork_guard = 1;
    return CASCADE_OK;
}

static void
close_fork_guard(struct cascade *store)
{
    if (store->fork_guard != NULL) {
        (void)munmap(store->fork_guard, (size_t)sysconf(_SC_PAGESIZE));
    }
}

// Free bytes where the cold path is or will be.
static uint64_t
free_bytes_at(const char *path)
{
    char folder[sizeof(((struct store_settings *)0)->cold_path)];
    struct statvfs facts;
    char *slash;

    (void)snprintf(folder, sizeof(folder), "%s", path);
    while (statvfs(folder, &facts) != 0) {
        slash = strrchr(folder, '/');
        if (slash == NULL) {
            (void)snprintf(folder, sizeof(folder), ".");
            if (statvfs(folder, &facts) != 0) {
                return 0;
            }
            break;
        }
        *slash = '\0';
        if (folder[0] == '\0') {
            (void)snprintf(folder, sizeof(folder), "/");
        }
    }
    return (uint64_t)facts.f_bavail * facts.f_frsize;
}

// Slots of the DRAM tier, for all that keep something of each.
static void
count_slots(struct cascade *store)
{
    uint64_t capacity_bytes = store->settings.dram_capacity_bytes;

    store->granule_bytes = units_max((uint64_t)sysconf(_SC_PAGESIZE), 4 * KIB);
    if (capacity_bytes > 0) {
        store->slots = (uint32_t)units_min(
            store->settings.max_blocks,
            units_max(capacity_bytes / store->granule_bytes, 1024));
    }
}

static const char *
look_up(const char *name)
{
    return getenv(name);
}

static enum cascade_status
resolve_settings(struct cascade *store)
{
    struct machine_limits machine;
    enum cascade_status status;
    char text[32];

    machine_read(store->around.files, "", &machine);
    machine_read_job(look_up, &machine);
    status = store_settings_resolve(store->options, &machine, &store->settings);
    if (status != CASCADE_OK) {
        return status;
    }
    store->cold_capacity_bytes = store->settings.cold_capacity_bytes;
    if (store->settings.cold_path[0] != '\0' &&
        store->cold_capacity_bytes == 0) {
        store->cold_capacity_bytes = units_max(
            free_bytes_at(store->settings.cold_path) / 10 * 9,
            store->settings.segment_bytes);
    }
    check(cascade_options_get(store->options, "max_blocks", text,
                              sizeof(text)) == CASCADE_OK);
    if (strcmp(text, "0") == 0) {
        store->settings.max_blocks = store_settings_max_blocks(
            store->settings.dram_capacity_bytes + store->cold_capacity_bytes);
    }
    count_slots(store);
    return CASCADE_OK;
}

static uint64_t
new_version_tag(const struct cascade *store)
{
    uint64_t tag = store->around.seed;

    while (tag == 0) {
        if (getrandom(&tag, sizeof(tag), 0) != (ssize_t)sizeof(tag)) {
            tag = clock_wall_ns(store->around.clock) ^ (uint64_t)getpid();
        }
    }
    return tag;
}

static enum cascade_status
open_page(struct cascade *store)
{
    enum cascade_status status;

    store->page_place = metric_page_usual_place(store->around.allocator);
    status = metric_page_open(&store->page_place, store->settings.stats_page,
                              store->settings.namespace_name,
                              store->settings.cold_path,
                              clock_wall_ns(store->around.clock), &store->page);
    if (status == CASCADE_OK) {
        store->metrics = &store->page.page->values;
    }
    return status;
}

static enum cascade_status
open_directory(struct cascade *store, uint64_t version_tag)
{
    uint32_t blocks = store->settings.max_blocks;
    struct directory_options options = {
        .allocator = store->around.allocator,
        .clock = store->around.clock,
        .pool = store->pool,
        .version_tag = version_tag,
        .max_keys = blocks <= UINT32_MAX / 2 ? blocks * 2 : blocks,
        .max_ids = blocks,
        .memory_slots = store->slots,
        .protected_bytes_max =
            (uint64_t)((double)store->settings.dram_capacity_bytes *
                       store->settings.prefix_fraction_max),
        .rebind_allowed = store->settings.rebind == STORE_REBIND_ALLOWED,
        .keep_removals = store->settings.cold_path[0] != '\0' &&
                         !store->settings.cold_look_only,
    };

    if (store->cluster != NULL) {
        options.shared = true;
        options.context = store;
        options.binding_gone = store_cluster_binding_gone;
        options.content_gone = store_cluster_content_gone;
    }

    if (store->settings.cold_look_only) {
        // It shows what is protected and holds nothing back.
        options.protected_bytes_max = UINT64_MAX;
    }
    return directory_create(&options, &store->directory);
}

static enum cascade_status
open_policy(struct cascade *store)
{
    struct policy_parameters parameters = {
        .capacity_bytes = store->dram_capacity_bytes,
        .seed = store->around.seed,
    };

    store->policy = policy_find(store->settings.eviction_policy);
    check(store->policy != NULL);
    store->policy_state = allocator_array(
        store->around.allocator, 1, store->policy->state_bytes(store->slots));
    store->blocks = allocator_array(store->around.allocator, store->slots,
                                    sizeof(struct store_slot));
    store->window_slots = allocator_array(
        store->around.allocator, STORE_WINDOW_SLOTS_MAX, sizeof(uint32_t));
    if (store->policy_state == NULL || store->blocks == NULL ||
        store->window_slots == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory to keep the order of %u blocks; lower "
                         "max_blocks",
                         store->slots);
    }
    store->policy->init(store->policy_state, store->slots, &parameters);
    return CASCADE_OK;
}

// The memory of DRAM, before there is a tier over it: a fabric may want to make
// it readable for other ranks when it opens.
static enum cascade_status
open_arena(struct cascade *store)
{
    uint64_t bytes = store->settings.dram_capacity_bytes;

    if (bytes == 0) {
        return CASCADE_OK;
    }
    return arena_open(store->around.allocator, "cascade-dram",
                      units_round_up(bytes, store->granule_bytes),
                      store->settings.huge_pages, &store->arena);
}

static enum cascade_status
open_dram(struct cascade *store)
{
    struct tier_dram_options options = {
        .capacity_bytes = store->settings.dram_capacity_bytes,
        .arena = store->arena,
        .allocator = store->around.allocator,
        .pool = store->pool,
    };
    enum cascade_status status;

    if (options.capacity_bytes == 0) {
        return CASCADE_OK;
    }
    options.blocks_max = store->slots;
    options.shares_words = store->cluster != NULL;
    options.rank = store->cluster != NULL ? store->cluster->rank : 0;
    options.granule_bytes = store->granule_bytes;
    status = tier_dram_open(&options, &store->dram);
    if (status != CASCADE_OK) {
        return status;
    }
    store->arena = NULL;
    store->dram_tier = tier_dram_tier(store->dram);
    store->dram_capacity_bytes = options.capacity_bytes;
    return open_policy(store);
}

// Files of before count towards the capacity.
static void
fit_cold_capacity(struct cascade *store)
{
    struct tier_segment_usage usage;

    if (store->cold == NULL || store->settings.cold_capacity_bytes != 0) {
        return;
    }
    tier_segment_usage_of(store->cold, &usage);
    store->cold_capacity_bytes = units_max(
        (usage.free_bytes + usage.own_bytes) / 10 * 9,
        store->settings.segment_bytes);
}

// None where whoever waits drives the fabric: its threads could not.
static enum cascade_status
open_pool(struct cascade *store)
{
    const struct fabric *fabric = store->around.fabric;

    if (fabric != NULL && (fabric->capabilities & FABRIC_INLINE) != 0) {
        return CASCADE_OK;
    }
    return pool_create(store->around.allocator, "cascade",
                       units_max(store->settings.threads, 2) - 1, POOL_JOBS,
                       &store->pool);
}

static enum cascade_status
open_parts(struct cascade *store)
{
    uint64_t version_tag = new_version_tag(store);
    enum cascade_status status = open_fork_guard(store);

    if (status == CASCADE_OK) {
        status = resolve_settings(store);
    }
    if (status == CASCADE_OK) {
        log_set_level(&store->log, store->settings.log_level);
        if (store->settings.gpu_capacity_bytes > 0) {
            log_write(&store->log, LOG_LEVEL_WARNING,
                      "there is no GPU tier in this release: gpu_capacity is "
                      "ignored");
        }
        status = open_page(store);
    }
    if (status == CASCADE_OK) {
        status = open_pool(store);
    }
    if (status == CASCADE_OK) {
        status = open_arena(store);
    }
    if (status == CASCADE_OK) {
        status = store_cluster_open(store);
    }
    if (status == CASCADE_OK) {
        status = open_directory(store, version_tag);
    }
    if (status == CASCADE_OK) {
        status = open_dram(store);
    }
    if (status == CASCADE_OK && store->cluster != NULL) {
        status = store_cluster_meet(store);
    }
    if (status == CASCADE_OK) {
        status = store_open_cold(store, version_tag);
    }
    if (status == CASCADE_OK && store->cluster != NULL) {
        status = store_cluster_announce(store, store_deadline(store, 0));
    }
    if (status == CASCADE_OK) {
        fit_cold_capacity(store);
        status = store_drain_start(store);
    }
    if (status == CASCADE_OK) {
        status = store_background_start(store);
    }
    return status;
}

// Takes down what there is; the cold tier is closed already.
static void
close_parts(struct cascade *store)
{
    const struct allocator *allocator = store->around.allocator;

    store_drain_end(store);
    store_cluster_stop(store);
    pool_destroy(store->pool);
    allocator_release(allocator, store->reclaim_writer);
    allocator_release(allocator, store->writer);
    allocator_release(allocator, store->policy_state);
    allocator_release(allocator, store->blocks);
    allocator_release(allocator, store->window_slots);
    if (store->dram != NULL) {
        check(tier_dram_close(store->dram) == CASCADE_OK);
    }
    arena_close(store->arena);
    directory_destroy(store->directory);
    store_cluster_close(store);
    if (store->page.page != NULL) {
        metric_page_close(&store->page_place, &store->page);
    }
    close_fork_guard(store);
    while (store->regions != NULL) {
        struct store_region *next = store->regions->next;

        allocator_release(allocator, store->regions);
        store->regions = next;
    }
    cascade_options_destroy(store->options);
    log_fini(&store->log);
    fini_locks(store);
    allocator_release(allocator, store);
}

enum cascade_status
store_open_in(const struct cascade_options *options,
              const struct store_surroundings *around, struct cascade **store)
{
    struct cascade *made = allocator_array(around->allocator, 1,
                                           sizeof(struct cascade));
    enum cascade_status status;

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a store");
    }
    made->around = *around;
    init_locks(made);
    log_init(&made->log, around->clock, LOG_LEVEL_WARNING);
    made->options = store_options_copy(around->allocator, options);
    status = made->options != NULL
                 ? open_parts(made)
                 : error_set(CASCADE_NO_MEMORY, "no memory for the options");
    if (status != CASCADE_OK) {
        char cause[ERROR_MESSAGE_BYTES];

        (void)snprintf(cause, sizeof(cause), "%s", error_message());
        store_drain_stop(made);
        store_cluster_stop(made);
        if (made->cold != NULL) {
            (void)tier_segment_close(made->cold);
        }
        close_parts(made);
        return error_set(status, "%s", cause);
    }
    *store = made;
    return CASCADE_OK;
}

enum cascade_status
cascade_open(const struct cascade_options *options, struct cascade **store)
{
    struct store_surroundings around = {
        .allocator = allocator_system(),
        .clock = clock_system(),
        .files = file_system_real(),
        .background = true,
    };
    struct cascade_options *defaults = NULL;
    enum cascade_status status = CASCADE_OK;

    if (store == NULL) {
        return error_set(CASCADE_INVALID, "the place for the store is NULL");
    }
    if (options == NULL) {
        defaults = cascade_options_create();
        if (defaults == NULL) {
            return error_set(CASCADE_NO_MEMORY, "no memory for the options");
        }
        status = cascade_options_load_environment(defaults);
        options = defaults;
    }
    if (status == CASCADE_OK) {
        status = store_open_in(options, &around, store);
    }
    cascade_options_destroy(defaults);
    return status;
}

// Everything that the cold tier lacks is written, small segments are merged,
// and the tier is closed.
static enum cascade_status
close_cold(struct cascade *store)
{
    uint64_t deadline_ns = clock_deadline_ns(store->around.clock,
                                             CLOSE_WAIT_NS);
    enum cascade_status status = CASCADE_OK;
    enum cascade_status closed;

    if (!store->settings.cold_look_only) {
        status = store_flush_own(store, deadline_ns);
        if (status == CASCADE_OK &&
            store_cold_begin(store, deadline_ns) == CASCADE_OK) {
            store_merge_small(store);
            store_cold_end(store);
        }
    }
    closed = tier_segment_close(store->cold);
    return status != CASCADE_OK ? status : closed;
}

enum cascade_status
cascade_close(struct cascade *store)
{
    enum cascade_status status = CASCADE_OK;
    uint64_t views;

    if (store == NULL) {
        return CASCADE_OK;
    }
    status = store_enter(store);
    if (status != CASCADE_OK) {
        return status;
    }
    views = atomic_load(&store->views_out);
    if (views > 0 || atomic_load(&store->queues_open) > 0) {
        return error_set(CASCADE_BUSY,
                         "%llu views and %llu queues are out; release and "
                         "close them first",
                         (unsigned long long)views,
                         (unsigned long long)atomic_load(&store->queues_open));
    }
    store_background_stop(store);
    store_drain_stop(store);
    store_cluster_leave(store, store_deadline(store, 0));
    store_cluster_stop(store);
    pool_stop(store->pool);
    if (store->cold != NULL) {
        status = close_cold(store);
    }
    close_parts(store);
    return status;
}
