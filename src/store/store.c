// SPDX-License-Identifier: Apache-2.0
//
// The public calls: each checks that the store may be used here, fixes its
// deadline, and hands over to the file that does the work. Small operations,
// which are one question to the directory, are here whole.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "cascade/version.h"
#include "store/store_cluster.h"
#include "store/store_metrics.h"

// Looks at a key that is bound anew again and again.
#define FIND_ROUNDS_MAX 64

const char *
cascade_version(void)
{
    return CASCADE_VERSION_STRING;
}

const char *
cascade_error_message(void)
{
    return error_message();
}

void
cascade_content_id(const void *data, size_t bytes, uint8_t id[CASCADE_ID_BYTES])
{
    struct block_id made;

    block_id_of(data, bytes, &made);
    memcpy(id, made.bytes, CASCADE_ID_BYTES);
}

enum cascade_status
store_enter(const struct cascade *store)
{
    if (store == NULL) {
        return error_set(CASCADE_INVALID, "the store is NULL");
    }
    if (*store->fork_guard == 0) {
        return error_set(CASCADE_FORKED,
                         "the store was opened before fork and belongs to the "
                         "parent process; open one in this process");
    }
    // A plain miss leaves no message; an older one must not be taken for its.
    error_clear();
    return CASCADE_OK;
}

enum cascade_status
store_key(const struct cascade *store, struct cascade_key key,
          struct block_key *digest)
{
    if (key.data == NULL || key.bytes == 0) {
        return error_set(CASCADE_INVALID,
                         "the key is empty; a key has 1 to %d bytes",
                         CASCADE_KEY_BYTES_MAX);
    }
    if (key.bytes > CASCADE_KEY_BYTES_MAX) {
        return error_set(CASCADE_INVALID,
                         "the key has %zu bytes; a key has 1 to %d bytes, so "
                         "use a digest of it",
                         key.bytes, CASCADE_KEY_BYTES_MAX);
    }
    block_key_of(store->settings.namespace_name, key.data, key.bytes, digest);
    return CASCADE_OK;
}

enum cascade_status
store_find(struct cascade *store, const struct block_key *key,
           struct directory_found *found, bool *was_known)
{
    struct block_version version = {0, 0};

    for (int round = 0; round < FIND_ROUNDS_MAX; round++) {
        struct directory_found binding;

        if (directory_find(store->directory, key, found,
                           round == 0 ? was_known : NULL) == CASCADE_OK) {
            return CASCADE_OK;
        }
        // The binding may have moved between the look at it and the look at
        // its old content. One that stays and has no bytes is a miss.
        if (directory_find_binding(store->directory, key, &binding) !=
                CASCADE_OK ||
            (binding.flags & DIRECTORY_REMOVED) != 0 ||
            (round > 0 &&
             block_version_compare(binding.version, version) == 0)) {
            break;
        }
        version = binding.version;
    }
    return CASCADE_NOT_FOUND;
}

uint64_t
store_now(const struct cascade *store)
{
    return clock_steady_ns(store->around.clock);
}

uint64_t
store_deadline(const struct cascade *store, uint64_t timeout_ns)
{
    return clock_deadline_ns(store->around.clock,
                             timeout_ns != 0 ? timeout_ns
                                             : store->settings.timeout_ns);
}

static uint64_t
call_deadline(const struct cascade *store, const struct cascade_call *call)
{
    return store_deadline(store, call != NULL ? call->timeout_ns : 0);
}

enum cascade_status
cascade_put(struct cascade *store, struct cascade_key key,
            const struct cascade_const_span *spans, size_t span_count,
            const struct cascade_put_options *options,
            struct cascade_put_result *result)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    return store_put(
        store, key, spans, span_count, options,
        store_deadline(store, options != NULL ? options->timeout_ns : 0),
        result);
}

enum cascade_status
cascade_get(struct cascade *store, struct cascade_key key,
            const struct cascade_span *spans, size_t span_count,
            const struct cascade_call *call, size_t *bytes)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    return store_get(store, key, spans, span_count, call_deadline(store, call),
                     bytes, NULL);
}

enum cascade_status
cascade_acquire(struct cascade *store, struct cascade_key key,
                const struct cascade_call *call, struct cascade_view *view)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (view == NULL) {
        return error_set(CASCADE_INVALID, "the view is NULL");
    }
    return store_acquire(store, key, call_deadline(store, call), view);
}

void
cascade_release(struct cascade *store, struct cascade_view *view)
{
    struct tier_pin pin = {
        .place = {.tier = CASCADE_TIER_LOCAL_DRAM},
    };

    if (view == NULL || view->data == NULL ||
        store_enter(store) != CASCADE_OK) {
        return;
    }
    pin.place.slot = (uint32_t)view->pin;
    pin.place.generation = (uint32_t)(view->pin >> 32);
    pin.place.bytes = view->bytes;
    pin.memory = view->data;
    memset(view, 0, sizeof(*view));
    tier_dram_table.unpin(store->dram, &pin);
    check(atomic_fetch_sub(&store->views_out, 1) > 0);
    // A put that begins to wait after this look tries to evict before it
    // sleeps, and finds the pin gone.
    if (atomic_load(&store->room_waiters) > 0) {
        store_room_changed(store);
    }
}

// The key's binding, here or at its home, and where the nearest copy is.
static enum cascade_status
find_anywhere(struct cascade *store, const struct block_key *key,
              struct directory_found *found, struct block_place *nearest)
{
    struct store_cluster_found wide;
    struct block_place place;
    enum cascade_status status;

    memset(&place, 0, sizeof(place));
    if (store->cluster == NULL) {
        status = store_find(store, key, found, NULL);
    } else {
        status = store_cluster_find(store, key, store_deadline(store, 0),
                                    &wide);
        *found = wide.found;
        place.tier = CASCADE_TIER_REMOTE_DRAM;
        place.rank = wide.lease.custodian;
        place.offset = wide.lease.hint.offset;
    }
    if (status == CASCADE_OK && nearest != NULL) {
        *nearest = block_place_is_set(&found->memory) ? found->memory
                   : block_place_is_set(&found->cold) ? found->cold
                                                      : place;
    }
    return status;
}

enum cascade_status
cascade_exists(struct cascade *store, struct cascade_key key)
{
    struct block_key digest;
    struct directory_found found;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK) {
        status = store_key(store, key, &digest);
    }
    if (status == CASCADE_OK) {
        status = find_anywhere(store, &digest, &found, NULL);
        metric_count_operation(store->metrics, CASCADE_OPERATION_EXISTS,
                               status);
    }
    return status;
}

enum cascade_status
cascade_prefix_match(struct cascade *store, const struct cascade_key *keys,
                     size_t key_count, size_t *matched)
{
    size_t count = 0;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK &&
        (matched == NULL || (keys == NULL && key_count > 0))) {
        status = error_set(CASCADE_INVALID,
                           "the keys or the place for the answer are NULL");
    }
    while (status == CASCADE_OK && count < key_count) {
        status = cascade_exists(store, keys[count]);
        count += status == CASCADE_OK ? 1 : 0;
    }
    if (status == CASCADE_OK || status == CASCADE_NOT_FOUND) {
        *matched = count;
        return CASCADE_OK;
    }
    return status;
}

enum cascade_status
cascade_locate(struct cascade *store, struct cascade_key key,
               struct cascade_location *location)
{
    struct block_key digest;
    struct directory_found found;
    struct block_place place;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK && location == NULL) {
        status = error_set(CASCADE_INVALID,
                           "the place for the location is NULL");
    }
    if (status == CASCADE_OK) {
        status = store_key(store, key, &digest);
    }
    if (status == CASCADE_OK) {
        status = find_anywhere(store, &digest, &found, &place);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    memset(location, 0, sizeof(*location));
    location->tier = (enum cascade_tier)place.tier;
    location->rank = place.tier == CASCADE_TIER_REMOTE_DRAM
                         ? place.rank
                         : cascade_rank(store);
    location->device = -1;
    location->protected_prefix = (found.flags & DIRECTORY_PROTECTED) != 0;
    location->offset = place.offset;
    location->bytes = found.bytes;
    memcpy(location->id, found.id.bytes, CASCADE_ID_BYTES);
    return CASCADE_OK;
}

enum cascade_status
cascade_remove(struct cascade *store, struct cascade_key key)
{
    struct block_key digest;
    struct directory_freed freed;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK) {
        status = store_key(store, key, &digest);
    }
    if (status == CASCADE_OK && store->settings.cold_look_only) {
        status = error_set(CASCADE_UNSUPPORTED,
                           "the store was opened with cold_mode=look and "
                           "removes nothing");
    }
    if (status == CASCADE_OK && store->cluster != NULL) {
        status = store_cluster_remove(store, &digest, store_deadline(store, 0));
        metric_count_operation(store->metrics, CASCADE_OPERATION_REMOVE,
                               status);
    } else if (status == CASCADE_OK) {
        status = directory_remove(store->directory, &digest, &freed);
        store_free(store, &freed);
        metric_count_operation(store->metrics, CASCADE_OPERATION_REMOVE,
                               status);
    }
    return status;
}

static enum cascade_status
protect_loaded(struct cascade *store, struct cascade_key key,
               const struct block_key *digest, uint64_t deadline_ns)
{
    struct directory_found found;
    enum cascade_status status = store_prefetch(store, key, deadline_ns);

    if (status == CASCADE_OK) {
        status = directory_protect(store->directory, digest, true, &found);
    }
    if (status == CASCADE_OK && !block_place_is_set(&found.memory)) {
        // It was evicted in between; protected now, it stays once loaded.
        status = store_prefetch(store, key, deadline_ns);
        if (status == CASCADE_OK) {
            status = directory_find(store->directory, digest, &found, NULL);
        }
    }
    if (status == CASCADE_OK) {
        store_mark_protection(store, &found.id);
    }
    if (status == CASCADE_NO_SPACE) {
        metric_add(store->metrics, METRIC_PROTECTIONS_REFUSED_TOTAL, 1);
    }
    return status;
}

enum cascade_status
cascade_protect(struct cascade *store, struct cascade_key key,
                const struct cascade_call *call)
{
    struct block_key digest;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK) {
        status = store_key(store, key, &digest);
    }
    if (status == CASCADE_OK && (!store->settings.semantic_eviction ||
                                 store->settings.cold_look_only)) {
        status = error_set(CASCADE_UNSUPPORTED,
                           "protection is off; set semantic_eviction=true and "
                           "cold_mode=own");
    }
    if (status == CASCADE_OK) {
        uint64_t deadline_ns = call_deadline(store, call);

        status = store->cluster != NULL
                     ? store_cluster_protect(store, &digest, true, deadline_ns)
                     : protect_loaded(store, key, &digest, deadline_ns);
        metric_count_operation(store->metrics, CASCADE_OPERATION_PROTECT,
                               status);
    }
    return status;
}

enum cascade_status
cascade_unprotect(struct cascade *store, struct cascade_key key)
{
    struct block_key digest;
    struct directory_found found;
    enum cascade_status status = store_enter(store);

    if (status == CASCADE_OK) {
        status = store_key(store, key, &digest);
    }
    if (status == CASCADE_OK && store->settings.cold_look_only) {
        status = error_set(CASCADE_UNSUPPORTED,
                           "the store was opened with cold_mode=look and "
                           "changes nothing");
    }
    if (status == CASCADE_OK && store->cluster != NULL) {
        status = store_cluster_protect(store, &digest, false,
                                       store_deadline(store, 0));
        metric_count_operation(store->metrics, CASCADE_OPERATION_UNPROTECT,
                               status);
        return status;
    }
    if (status == CASCADE_OK) {
        status = directory_protect(store->directory, &digest, false, &found);
        metric_count_operation(store->metrics, CASCADE_OPERATION_UNPROTECT,
                               status);
    }
    if (status == CASCADE_OK) {
        store_mark_protection(store, &found.id);
    }
    return status;
}

enum cascade_status
cascade_prefetch(struct cascade *store, struct cascade_key key,
                 const struct cascade_call *call)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    return store_prefetch(store, key, call_deadline(store, call));
}

enum cascade_status
cascade_flush(struct cascade *store, const struct cascade_call *call)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    return store_flush(store, call_deadline(store, call));
}

// Evicts in rounds: parents become eligible when their children are gone. A
// pinned block is passed over and comes back as just used, and others put and
// load meanwhile, so the blocks that are there at the start bound the work.
static uint64_t
evict_all(struct cascade *store)
{
    struct tier_usage usage;
    uint64_t total = 0;
    uint64_t round = 1;

    tier_dram_table.usage(store->dram, &usage);
    while (round > 0 && total < usage.blocks) {
        struct policy_cursor cursor;
        uint32_t slot;
        bool more = true;

        round = 0;
        memset(&cursor, 0, sizeof(cursor));
        while (more && cursor.count < usage.blocks) {
            bool dirty;

            store_policy_lock(store);
            more = store->policy->choose(store->policy_state, &cursor, &slot);
            store_policy_unlock(store);
            if (more &&
                store_evict_slot(store, slot, false, &dirty) == CASCADE_OK) {
                round++;
            }
        }
        total += round;
    }
    return total;
}

enum cascade_status
cascade_evict(struct cascade *store, enum cascade_tier tier,
              const struct cascade_call *call, uint64_t *evicted)
{
    uint64_t count;
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (tier != CASCADE_TIER_LOCAL_DRAM || store->dram == NULL) {
        return error_set(CASCADE_UNSUPPORTED,
                         "tier %d cannot be emptied; the DRAM tier (2) can",
                         (int)tier);
    }
    status = store_flush_own(store, call_deadline(store, call));
    if (status != CASCADE_OK) {
        return status;
    }
    count = evict_all(store);
    if (evicted != NULL) {
        *evicted = count;
    }
    metric_count_operation(store->metrics, CASCADE_OPERATION_EVICT, status);
    return CASCADE_OK;
}

void
store_free_cleared(void *context, const struct directory_freed *freed)
{
    store_free(context, freed);
}

void
store_note_clear(struct cascade *store, struct block_version version)
{
    if (store->cold == NULL) {
        return;
    }
    check(pthread_mutex_lock(&store->clear_lock) == 0);
    if (block_version_compare(version, store->clear_version) > 0) {
        store->clear_version = version;
        store->clear_dirty = true;
        store->clear_segment = DIRECTORY_NO_SEGMENT;
    }
    check(pthread_mutex_unlock(&store->clear_lock) == 0);
}

enum cascade_status
cascade_clear(struct cascade *store)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (store->settings.cold_look_only) {
        return error_set(CASCADE_UNSUPPORTED,
                         "the store was opened with cold_mode=look and clears "
                         "nothing");
    }
    if (store->cluster != NULL) {
        status = store_cluster_clear(store, store_deadline(store, 0));
    } else {
        store_note_clear(store, directory_clear(store->directory,
                                                store_free_cleared, store));
    }
    metric_count_operation(store->metrics, CASCADE_OPERATION_CLEAR, status);
    return status;
}

enum cascade_status
cascade_register_memory(struct cascade *store, void *data, size_t bytes)
{
    struct store_region *region;
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (data == NULL || bytes == 0) {
        return error_set(CASCADE_INVALID, "a range to register has no bytes");
    }
    region = allocator_array(store->around.allocator, 1, sizeof(*region));
    if (region == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to note a range");
    }
    region->data = data;
    region->bytes = bytes;
    check(pthread_mutex_lock(&store->regions_lock) == 0);
    region->next = store->regions;
    store->regions = region;
    check(pthread_mutex_unlock(&store->regions_lock) == 0);
    return CASCADE_OK;
}

enum cascade_status
cascade_unregister_memory(struct cascade *store, void *data)
{
    struct store_region **link;
    struct store_region *region;
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    check(pthread_mutex_lock(&store->regions_lock) == 0);
    link = &store->regions;
    while (*link != NULL && (*link)->data != data) {
        link = &(*link)->next;
    }
    region = *link;
    if (region != NULL) {
        *link = region->next;
    }
    check(pthread_mutex_unlock(&store->regions_lock) == 0);
    if (region == NULL) {
        return error_set(CASCADE_NOT_FOUND,
                         "no range that begins there was registered");
    }
    allocator_release(store->around.allocator, region);
    return CASCADE_OK;
}

enum cascade_status
cascade_option_effective(struct cascade *store, const char *name, char *value,
                         size_t size)
{
    enum cascade_status status = store_enter(store);

    if (status != CASCADE_OK) {
        return status;
    }
    if (name == NULL || (value == NULL && size > 0)) {
        return error_set(CASCADE_INVALID,
                         "the name or the place for the value is NULL");
    }
    return store_settings_text(store->options, &store->settings, name, value,
                               size);
}
