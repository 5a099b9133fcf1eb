// SPDX-License-Identifier: Apache-2.0
//
// Opening the cold tier: what segments hold goes into the directory, many
// records at a time and by several threads, before the first key is served. The
// parts in memory: store_open.c.
//
// Locks: that of the load, for its first failure and its newest clear.

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "store/store_cluster.h"

// What a load of records needs to remember.
struct load_context {
    struct cascade *store;
    _Atomic int failed; // enum cascade_status
    char message[ERROR_MESSAGE_BYTES];
    struct block_version clear_version;
    uint32_t clear_segment;
    pthread_mutex_t lock;
};

// Keeps the first failure.
static void
note_load(struct load_context *load, enum cascade_status status)
{
    if (status == CASCADE_OK) {
        return;
    }
    check(pthread_mutex_lock(&load->lock) == 0);
    if (atomic_load(&load->failed) == CASCADE_OK) {
        atomic_store(&load->failed, (int)status);
        (void)snprintf(load->message, sizeof(load->message), "%s",
                       error_message());
    }
    check(pthread_mutex_unlock(&load->lock) == 0);
}

// Keeps the newest clear.
static void
note_clear(struct load_context *load, const struct tier_segment_entry *entry)
{
    if ((entry->label.flags & BLOCK_LABEL_CLEAR) == 0) {
        return;
    }
    check(pthread_mutex_lock(&load->lock) == 0);
    if (block_version_compare(entry->label.version, load->clear_version) > 0) {
        load->clear_version = entry->label.version;
        load->clear_segment = entry->segment;
    }
    check(pthread_mutex_unlock(&load->lock) == 0);
}

// What this rank takes of a record: of what ranks of the job hold, they tell;
// what other jobs wrote is told by the home of each key, and the payload may be
// of another one. False: nothing.
static bool
take_label(const struct cascade *store, const struct tier_segment_entry *entry,
           struct block_label *label)
{
    const struct store_cluster *cluster = store->cluster;

    *label = entry->label;
    if (cluster == NULL || entry->own) {
        return true;
    }
    if (entry->sibling || store->settings.rebind == STORE_REBIND_ALLOWED) {
        return false;
    }
    if ((label->flags & (BLOCK_LABEL_NO_KEY | BLOCK_LABEL_CLEAR)) == 0 &&
        store_cluster_key_home(cluster, &label->key) == cluster->rank) {
        return true;
    }
    memset(&label->key, 0, sizeof(label->key));
    label->flags |= BLOCK_LABEL_NO_KEY;
    return block_place_is_set(&entry->place);
}

// May run in several threads.
static void
load_entries(void *context, const struct tier_segment_entry *entries,
             size_t count)
{
    struct load_context *load = context;
    struct directory_record records[DIRECTORY_LOAD_BATCH];
    struct block_label labels[DIRECTORY_LOAD_BATCH];

    while (count > 0) {
        size_t now = units_min(count, DIRECTORY_LOAD_BATCH);
        size_t taken = 0;

        for (size_t i = 0; i < now; i++) {
            note_clear(load, &entries[i]);
            if (!take_label(load->store, &entries[i], &labels[taken])) {
                continue;
            }
            records[taken] = (struct directory_record){
                .label = &labels[taken],
                .place = &entries[i].place,
                .segment = entries[i].segment,
                .durable = entries[i].durable && entries[i].own,
            };
            taken++;
        }
        note_load(load,
                  directory_load_many(load->store->directory, records, taken));
        entries += now;
        count -= now;
    }
}

static void
load_entry(void *context, const struct tier_segment_entry *entry)
{
    load_entries(context, entry, 1);
}

static void
describe_cold(const struct cascade *store, uint64_t version_tag,
              struct tier_segment_options *options)
{
    const struct store_settings *settings = &store->settings;

    memset(options, 0, sizeof(*options));
    options->root = settings->cold_path;
    options->namespace_name = settings->namespace_name;
    options->rebind_allowed = settings->rebind == STORE_REBIND_ALLOWED;
    options->look_only = settings->cold_look_only;
    options->segment_bytes = settings->segment_bytes;
    options->alignment_bytes = settings->cold_alignment_bytes;
    options->capacity_bytes = store->cold_capacity_bytes;
    options->lease_ns = settings->lease_ns;
    options->write_rate = settings->cold_write_rate;
    options->file_mode = settings->cold_file_mode;
    options->group = settings->cold_group;
    options->io = settings->cold_io == STORE_COLD_IO_URING
                      ? TIER_SEGMENT_IO_URING
                  : settings->cold_io == STORE_COLD_IO_PREAD
                      ? TIER_SEGMENT_IO_PREAD
                      : TIER_SEGMENT_IO_AUTO;
    options->files = store->around.files;
    options->clock = store->around.clock;
    options->allocator = store->around.allocator;
    options->pool = store->pool;
    options->version_tag = version_tag;
    options->visit_many = load_entries;
    options->job = store->cluster != NULL ? store->cluster->job : 0;
}

enum cascade_status
store_open_cold(struct cascade *store, uint64_t version_tag)
{
    struct tier_segment_options options;
    struct load_context load = {
        .store = store,
        .clear_segment = DIRECTORY_NO_SEGMENT,
    };
    struct block_version floor = {0, 0};
    struct block_version highest = {0, 0};
    enum cascade_status status;

    if (store->settings.cold_path[0] == '\0') {
        return CASCADE_OK;
    }
    store->writer = allocator_array(store->around.allocator, 1,
                                    sizeof(struct store_writer));
    store->reclaim_writer = allocator_array(store->around.allocator, 1,
                                            sizeof(struct store_writer));
    if (store->writer == NULL || store->reclaim_writer == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to write segments");
    }
    describe_cold(store, version_tag, &options);
    options.log = &store->log;
    check(pthread_mutex_init(&load.lock, NULL) == 0);
    status = tier_segment_open(&options, load_entry, &load, &floor, &highest,
                               &store->cold);
    (void)pthread_mutex_destroy(&load.lock);
    if (status == CASCADE_OK && atomic_load(&load.failed) != CASCADE_OK) {
        status = error_set((enum cascade_status)atomic_load(&load.failed), "%s",
                           load.message);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    store->cold_tier.table = &tier_segment_table;
    store->cold_tier.self = store->cold;
    directory_see_version(store->directory, highest);
    directory_load_finish(store->directory, floor);
    store->clear_version = load.clear_version;
    store->clear_segment = load.clear_segment;
    return CASCADE_OK;
}
