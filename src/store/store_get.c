// SPDX-License-Identifier: Apache-2.0
//
// Get and acquire: find, pin the nearest copy, copy or show, unpin. A place
// that is stale or damaged is passed over; an error of one tier is remembered
// and the others are still asked. Takes no lock across a copy.

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "store/store_cluster.h"

// Looks before a block that keeps moving is called a miss.
#define ROUNDS_MAX 8
// How long a copy is looked for elsewhere that is on own segments.
#define SPILLED_NS (NS_PER_S / 10)

// A get under way.
struct get {
    struct block_key key;
    uint64_t deadline_ns;
    enum cascade_status remembered; // first error of a tier
    bool was_known;
    bool damaged;
    struct block_place served; // what was read
    bool given;                // spans were written to by another rank's copy
    struct store_cluster_found wide; // among many ranks
};

static enum cascade_status
sum_spans(const struct cascade_span *spans, size_t span_count, uint64_t *bytes)
{
    uint64_t sum = 0;

    if (spans == NULL && span_count > 0) {
        return error_set(CASCADE_INVALID, "spans is NULL, span_count is %zu",
                         span_count);
    }
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "span %zu is device memory and there is no GPU "
                             "tier; get into host memory",
                             i);
        }
        if (spans[i].data == NULL && spans[i].bytes > 0) {
            return error_set(CASCADE_INVALID, "span %zu has no data", i);
        }
        sum = spans[i].bytes > UINT64_MAX - sum ? UINT64_MAX
                                                : sum + spans[i].bytes;
    }
    *bytes = sum;
    return CASCADE_OK;
}

static void
remember(struct get *get, enum cascade_status status)
{
    if (get->remembered == CASCADE_OK) {
        get->remembered = status;
    }
}

// From DRAM. STALE: look again.
static enum cascade_status
read_memory(struct cascade *store, struct get *get,
            const struct directory_found *found,
            const struct cascade_span *spans, size_t span_count)
{
    struct tier_pin pin;
    enum cascade_status status = tier_dram_table.pin(store->dram,
                                                     &found->memory, &pin);

    if (status != CASCADE_OK) {
        return CASCADE_STALE;
    }
    status = tier_dram_table.read(store->dram, &pin, spans, span_count,
                                  store->settings.verify ==
                                      STORE_VERIFY_ALWAYS);
    tier_dram_table.unpin(store->dram, &pin);
    if (status == CASCADE_CORRUPT) {
        get->damaged = true;
        store_memory_damaged(store, found);
        return CASCADE_STALE;
    }
    if (status == CASCADE_OK) {
        get->served = found->memory;
    }
    return status;
}

// From segments straight to the caller: there is no room in DRAM.
static enum cascade_status
read_direct(struct cascade *store, struct get *get,
            const struct directory_found *found,
            const struct cascade_span *spans, size_t span_count)
{
    struct tier_pin pin;
    bool lost = false;
    enum cascade_status looked;
    enum cascade_status status = tier_segment_table.pin(store->cold,
                                                        &found->cold, &pin);

    if (status == CASCADE_OK) {
        status = tier_segment_table.read(store->cold, &pin, spans, span_count,
                                         true);
        if (status == CASCADE_CORRUPT) {
            status = tier_segment_table.read(store->cold, &pin, spans,
                                             span_count, true);
        }
        tier_segment_table.unpin(store->cold, &pin);
    }
    if (status == CASCADE_OK) {
        directory_note_cold_hit(store->directory, &found->id);
        metric_add(store->metrics, METRIC_COLD_READ_BYTES_TOTAL, found->bytes);
        get->served = found->cold;
        return status;
    }
    if (status == CASCADE_CORRUPT || status == CASCADE_STALE) {
        get->damaged = get->damaged || status == CASCADE_CORRUPT;
        looked = store_cold_damaged(store, &found->id, &found->cold, status,
                                    get->deadline_ns, &lost);
        return looked != CASCADE_OK ? looked : CASCADE_STALE;
    }
    return status;
}

// What a failed load means for the walk: STALE looks again, anything else ends.
static enum cascade_status
judge_load(struct get *get, enum cascade_status status)
{
    if (status == CASCADE_CORRUPT) {
        get->damaged = true;
        return CASCADE_STALE;
    }
    if (status == CASCADE_NOT_FOUND) {
        return CASCADE_STALE;
    }
    return status;
}

// From segments by way of DRAM.
static enum cascade_status
read_cold(struct cascade *store, struct get *get,
          const struct directory_found *found, const struct cascade_span *spans,
          size_t span_count)
{
    struct store_load_copy copy = {.spans = spans, .span_count = span_count};
    struct tier_pin pin;
    enum cascade_status status = store_load(store, found, get->deadline_ns,
                                            false, &copy, &pin);

    if (status == CASCADE_OK) {
        get->served = found->cold;
        if (block_place_is_set(&pin.place)) {
            tier_dram_table.unpin(store->dram, &pin);
        }
        return status;
    }
    if (status == CASCADE_NO_SPACE) {
        return read_direct(store, get, found, spans, span_count);
    }
    return judge_load(get, status);
}

// The binding with the places here; where other ranks may have it, none at all.
// Other answers than OK and NOT_FOUND come from a home that could not be asked.
static enum cascade_status
find(struct cascade *store, struct get *get, int round,
     struct directory_found *found)
{
    enum cascade_status status;

    if (store->cluster == NULL) {
        return store_find(store, &get->key, found,
                          round == 0 ? &get->was_known : NULL);
    }
    status = store_cluster_find(store, &get->key, get->deadline_ns, &get->wide);
    *found = get->wide.found;
    return status;
}

static void
note_unfound(struct get *get, enum cascade_status status)
{
    if (status != CASCADE_NOT_FOUND) {
        remember(get, status);
    }
}

static bool
is_elsewhere(const struct directory_found *found)
{
    return !block_place_is_set(&found->memory) &&
           !block_place_is_set(&found->cold);
}

// From the memory of another rank.
static enum cascade_status
read_remote(struct cascade *store, struct get *get,
            const struct cascade_span *spans, size_t span_count)
{
    struct store_cluster_read read = {
        .spans = spans,
        .span_count = span_count,
        .deadline_ns = get->deadline_ns,
    };
    enum cascade_status status = store_cluster_read(store, &get->key,
                                                    &get->wide, &read);

    get->given = get->given || read.given;
    get->damaged = get->damaged || read.damaged;
    get->served = read.served;
    if (status != CASCADE_OK && read.remembered != CASCADE_OK) {
        remember(get, read.remembered);
    }
    return status;
}

// From the memory of a rank that took it, before the own segments are read.
static enum cascade_status
read_spilled(struct cascade *store, struct get *get,
             const struct cascade_span *spans, size_t span_count)
{
    struct store_cluster_read read = {
        .spans = spans,
        .span_count = span_count,
        .deadline_ns = units_min(get->deadline_ns,
                                 store_now(store) + SPILLED_NS),
    };
    const struct block_id *id = &get->wide.found.id;
    enum cascade_status status;

    if (store->cluster == NULL || !store_cluster_was_spilled(store, id)) {
        return CASCADE_STALE;
    }
    status = store_cluster_read_spilled(store, &get->wide, &read);
    get->given = get->given || read.given;
    if (status == CASCADE_OK) {
        get->served = read.served;
    } else {
        store_cluster_forget_spilled(store, id);
    }
    return status;
}

// Into own memory, pinned.
static enum cascade_status
pin_remote(struct cascade *store, struct get *get, struct tier_pin *pin)
{
    struct store_cluster_read read = {
        .deadline_ns = get->deadline_ns,
        .keep = true,
    };
    enum cascade_status status = store_cluster_read(store, &get->key,
                                                    &get->wide, &read);

    get->damaged = get->damaged || read.damaged;
    get->served = read.served;
    if (status == CASCADE_OK) {
        *pin = read.pin;
    } else if (read.remembered != CASCADE_OK) {
        remember(get, read.remembered);
    }
    return status;
}

// How a walk without success ends.
static enum cascade_status
miss(struct cascade *store, const struct get *get)
{
    enum metric_reason reason = get->was_known ? METRIC_REASON_EVICTED
                                               : METRIC_REASON_NEVER_SEEN;

    if (get->damaged) {
        metric_add_at(store->metrics, METRIC_MISSES_TOTAL,
                      METRIC_REASON_DAMAGED, 1);
        return error_set(CASCADE_CORRUPT,
                         "the only copies of the block were damaged and are "
                         "now forgotten; put it again");
    }
    if (get->remembered == CASCADE_TIMEOUT) {
        reason = METRIC_REASON_DEADLINE;
    }
    metric_add_at(store->metrics, METRIC_MISSES_TOTAL, reason, 1);
    if (get->remembered == CASCADE_OK && get->given) {
        // No plain miss: the caller's memory is not what it was.
        return error_set(CASCADE_CORRUPT,
                         "the block went while it was read from another rank");
    }
    return get->remembered != CASCADE_OK ? get->remembered : CASCADE_NOT_FOUND;
}

static enum cascade_status
walk(struct cascade *store, struct get *get, const struct cascade_span *spans,
     size_t span_count, uint64_t room, size_t *bytes)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct directory_found found;
        enum cascade_status status = find(store, get, round, &found);

        if (status != CASCADE_OK) {
            note_unfound(get, status);
            break;
        }
        if (found.bytes > room) {
            *bytes = found.bytes;
            return error_set(
                CASCADE_TOO_SMALL, "the block has %llu bytes, the output %llu",
                (unsigned long long)found.bytes, (unsigned long long)room);
        }
        if (is_elsewhere(&found)) {
            status = read_remote(store, get, spans, span_count);
        } else if (block_place_is_set(&found.memory)) {
            status = read_memory(store, get, &found, spans, span_count);
        } else {
            status = read_spilled(store, get, spans, span_count);
            if (status != CASCADE_OK) {
                status = read_cold(store, get, &found, spans, span_count);
            }
        }
        if (status == CASCADE_OK) {
            *bytes = found.bytes;
            return CASCADE_OK;
        }
        if (status != CASCADE_STALE) {
            remember(get, status);
            break;
        }
    }
    return miss(store, get);
}

static void
count_hit(struct cascade *store, const struct block_place *served)
{
    metric_add_tier(store->metrics, METRIC_HITS_TOTAL, served->tier, 1);
    metric_add_tier(store->metrics, METRIC_HIT_BYTES_TOTAL, served->tier,
                    served->bytes);
}

enum cascade_status
store_get(struct cascade *store, struct cascade_key key,
          const struct cascade_span *spans, size_t span_count,
          uint64_t deadline_ns, size_t *bytes, struct block_place *served)
{
    struct get get = {.deadline_ns = deadline_ns};
    uint64_t begin_ns = store_now(store);
    uint64_t room = 0;
    size_t answered = 0;
    enum cascade_status status = store_key(store, key, &get.key);

    if (status == CASCADE_OK) {
        status = sum_spans(spans, span_count, &room);
    }
    if (status == CASCADE_OK) {
        status = walk(store, &get, spans, span_count, room, &answered);
    }
    if (status == CASCADE_OK) {
        count_hit(store, &get.served);
        if (served != NULL) {
            *served = get.served;
        } else {
            store_touch(store, &get.served);
        }
    }
    if (bytes != NULL &&
        (status == CASCADE_OK || status == CASCADE_TOO_SMALL)) {
        *bytes = answered;
    }
    metric_add(store->metrics, METRIC_GETS_TOTAL, 1);
    metric_count_operation(store->metrics, CASCADE_OPERATION_GET, status);
    metric_observe_ns(store->metrics, METRIC_GET_SECONDS,
                      store_now(store) - begin_ns);
    return status;
}

// Pins a copy in DRAM, loading it if it is only cold.
static enum cascade_status
pin_walk(struct cascade *store, struct get *get, struct tier_pin *pin)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct directory_found found;
        enum cascade_status status = find(store, get, round, &found);

        if (status != CASCADE_OK) {
            note_unfound(get, status);
            break;
        }
        if (is_elsewhere(&found)) {
            status = pin_remote(store, get, pin);
        } else if (block_place_is_set(&found.memory)) {
            status = tier_dram_table.pin(store->dram, &found.memory, pin);
            get->served = found.memory;
        } else {
            status = judge_load(get, store_load(store, &found, get->deadline_ns,
                                                true, NULL, pin));
            get->served = found.cold;
        }
        if (status == CASCADE_OK) {
            return CASCADE_OK;
        }
        if (status == CASCADE_NO_SPACE) {
            return error_set(CASCADE_NO_SPACE,
                             "no room in DRAM for a block of %llu bytes; "
                             "release views or raise dram_capacity",
                             (unsigned long long)found.bytes);
        }
        if (status != CASCADE_STALE) {
            remember(get, status);
            break;
        }
    }
    return miss(store, get);
}

// With verify=always also a view is checked before it is shown. STALE: the copy
// was damaged and is forgotten; there may be others.
static enum cascade_status
verify_pin(struct cascade *store, struct get *get, struct tier_pin *pin)
{
    struct directory_found found;

    if (store->settings.verify != STORE_VERIFY_ALWAYS ||
        block_digest_checksum(store->pool, pin->memory, pin->place.bytes,
                              NULL) == pin->place.checksum) {
        return CASCADE_OK;
    }
    get->damaged = true;
    if (directory_find(store->directory, &get->key, &found, NULL) ==
            CASCADE_OK &&
        found.memory.slot == pin->place.slot &&
        found.memory.generation == pin->place.generation) {
        store_memory_damaged(store, &found);
    }
    tier_dram_table.unpin(store->dram, pin);
    return CASCADE_STALE;
}

// Pins a copy that is as it should be.
static enum cascade_status
pin_verified(struct cascade *store, struct get *get, struct tier_pin *pin)
{
    enum cascade_status status = CASCADE_STALE;

    for (int round = 0; round < ROUNDS_MAX && status == CASCADE_STALE;
         round++) {
        status = pin_walk(store, get, pin);
        if (status == CASCADE_OK) {
            status = verify_pin(store, get, pin);
        }
    }
    return status == CASCADE_STALE ? miss(store, get) : status;
}

enum cascade_status
store_acquire(struct cascade *store, struct cascade_key key,
              uint64_t deadline_ns, struct cascade_view *view)
{
    static const uint8_t nothing;
    struct get get = {.deadline_ns = deadline_ns};
    uint64_t begin_ns = store_now(store);
    struct tier_pin pin;
    enum cascade_status status = store_key(store, key, &get.key);

    if (status == CASCADE_OK) {
        status = pin_verified(store, &get, &pin);
    }
    if (status == CASCADE_OK) {
        view->data = pin.place.bytes > 0 ? pin.memory : &nothing;
        view->bytes = pin.place.bytes;
        view->memory = CASCADE_MEMORY_HOST;
        view->device = -1;
        view->tier = get.served.tier;
        view->pin = (uint64_t)pin.place.generation << 32 | pin.place.slot;
        atomic_fetch_add(&store->views_out, 1);
        count_hit(store, &get.served);
        store_touch(store, &pin.place);
    }
    metric_add(store->metrics, METRIC_GETS_TOTAL, 1);
    metric_count_operation(store->metrics, CASCADE_OPERATION_ACQUIRE, status);
    metric_observe_ns(store->metrics, METRIC_ACQUIRE_SECONDS,
                      store_now(store) - begin_ns);
    return status;
}

enum cascade_status
store_prefetch(struct cascade *store, struct cascade_key key,
               uint64_t deadline_ns)
{
    struct get get = {.deadline_ns = deadline_ns};
    uint64_t begin_ns = store_now(store);
    struct tier_pin pin;
    enum cascade_status status = store_key(store, key, &get.key);

    if (status == CASCADE_OK) {
        status = pin_walk(store, &get, &pin);
    }
    if (status == CASCADE_OK) {
        store_touch(store, &pin.place);
        tier_dram_table.unpin(store->dram, &pin);
    }
    metric_count_operation(store->metrics, CASCADE_OPERATION_PREFETCH, status);
    metric_observe_ns(store->metrics, METRIC_PREFETCH_SECONDS,
                      store_now(store) - begin_ns);
    return status;
}
