// SPDX-License-Identifier: Apache-2.0
//
// Slots over an arena. See the header for the word and the lock.
//
// A slot is free, being filled, in service, or leaving (released while pinned).
// Free and being filled look alike in the word (out of service, no pins): only
// the holder of the struct tier_slot knows that it is his. The fields beside
// the word are written in reserve, before commit publishes the word, and are
// read by those who have a pin.

#include "tier/tier_dram.h"

#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/units.h"
#include "tier/tier_dram_inner.h"
#include "tier/tier_scatter.h"

#define BLOCKS_MAX ((uint32_t)1 << 30)
#define GRANULE_BYTES_DEFAULT (4 * KIB)
#define ANYWHERE UINT64_MAX

// The slot that the place names, if it can be one of this tier.
static struct tier_dram_slot *
slot_of_place(struct tier_dram *dram, const struct block_place *place)
{
    if (place->tier != CASCADE_TIER_LOCAL_DRAM ||
        place->slot >= dram->blocks_max || place->generation == 0) {
        return NULL;
    }
    return &dram->slots[place->slot];
}

static enum cascade_status
stale(const struct block_place *place)
{
    return error_set(CASCADE_STALE,
                     "slot %u of the DRAM tier no longer holds generation %u",
                     place->slot, place->generation);
}

// Takes a free slot and an extent, at `offset` unless that is ANYWHERE. With
// the mutex held.
static enum cascade_status
take_slot(struct tier_dram *dram, uint64_t bytes, uint64_t offset,
          uint32_t *number, struct extent *extent)
{
    enum cascade_status status;
    uint32_t taken = dram->free_slot;

    if (taken == TIER_DRAM_SLOT_NONE) {
        if (dram->fresh_slot == dram->blocks_max) {
            return CASCADE_NO_SPACE;
        }
        taken = dram->fresh_slot;
    }
    status = offset == ANYWHERE
                 ? extent_allocate(dram->map, bytes, taken, extent)
                 : extent_allocate_at(dram->map, offset, bytes, taken, extent);
    if (status != CASCADE_OK) {
        return status;
    }
    if (taken == dram->free_slot) {
        dram->free_slot = (uint32_t)dram->slots[taken].bytes;
    } else {
        dram->fresh_slot++;
    }
    dram->slots_used++;
    *number = taken;
    return CASCADE_OK;
}

static enum cascade_status
reserve(struct tier_dram *dram, uint64_t bytes, uint64_t offset,
        struct tier_slot *out)
{
    struct extent extent;
    struct tier_dram_slot *slot;
    enum cascade_status status;
    uint32_t generation;
    uint32_t number;

    if (bytes > dram->capacity_bytes) {
        return error_set(CASCADE_TOO_LARGE,
                         "a block of %llu bytes does not fit the DRAM tier of "
                         "%llu; raise dram_capacity",
                         (unsigned long long)bytes,
                         (unsigned long long)dram->capacity_bytes);
    }
    tier_dram_lock(dram);
    status = take_slot(dram, bytes, offset, &number, &extent);
    if (status != CASCADE_OK && tier_dram_sweep_locked(dram) > 0) {
        status = take_slot(dram, bytes, offset, &number, &extent);
    }
    tier_dram_unlock(dram);
    if (status != CASCADE_OK) {
        return error_set(status, "the DRAM tier has no room for %llu bytes now",
                         (unsigned long long)bytes);
    }
    slot = &dram->slots[number];
    generation = tier_dram_generation_after(tier_dram_generation(
        atomic_load_explicit(&slot->word, memory_order_relaxed)));
    slot->bytes = bytes;
    atomic_store_explicit(&slot->word,
                          tier_dram_word(generation, TIER_DRAM_OUT),
                          memory_order_relaxed);
    *out = (struct tier_slot){
        .number = number,
        .generation = generation,
        .offset = extent.offset,
        .bytes = bytes,
        .memory = dram->memory + extent.offset,
    };
    return CASCADE_OK;
}

static enum cascade_status
dram_reserve(void *self, uint64_t bytes, struct tier_slot *out)
{
    return reserve(self, bytes, ANYWHERE, out);
}

// The caller's slot must be one that is being filled.
static struct tier_dram_slot *
slot_being_filled(struct tier_dram *dram, const struct tier_slot *filled)
{
    struct tier_dram_slot *slot;

    check(filled->number < dram->blocks_max);
    slot = &dram->slots[filled->number];
    check(atomic_load_explicit(&slot->word, memory_order_relaxed) ==
          tier_dram_word(filled->generation, TIER_DRAM_OUT));
    return slot;
}

static enum cascade_status
dram_write(void *self, struct tier_slot *filled,
           const struct cascade_const_span *spans, size_t span_count,
           uint32_t wanted, struct block_digest *digest)
{
    struct tier_dram *dram = self;
    struct tier_dram_slot *slot = slot_being_filled(dram, filled);
    uint8_t *memory = dram->memory + tier_dram_offset(dram, slot);
    uint64_t end = units_round_up(slot->bytes, dram->granule_bytes);
    enum cascade_status status = block_digest_copy(
        dram->pool, spans, span_count, memory, slot->bytes, wanted, digest);

    if (status == CASCADE_OK) {
        memset(memory + slot->bytes, 0, end - slot->bytes);
    }
    return status;
}

static enum cascade_status
dram_commit(void *self, struct tier_slot *filled,
            const struct block_label *label, const struct block_digest *digest,
            struct block_place *place)
{
    struct tier_dram *dram = self;
    struct tier_dram_slot *slot = slot_being_filled(dram, filled);

    (void)label; // memory keeps none
    *place = (struct block_place){
        .tier = CASCADE_TIER_LOCAL_DRAM,
        .rank = dram->rank,
        .slot = filled->number,
        .generation = filled->generation,
        .checksum = digest->checksum,
        .offset = tier_dram_offset(dram, slot),
        .bytes = slot->bytes,
    };
    atomic_fetch_add_explicit(&dram->blocks, 1, memory_order_relaxed);
    atomic_store_explicit(&slot->word, tier_dram_word(filled->generation, 0),
                          memory_order_release);
    *filled = (struct tier_slot){.number = TIER_DRAM_SLOT_NONE};
    return CASCADE_OK;
}

static void
dram_abandon(void *self, struct tier_slot *filled)
{
    struct tier_dram *dram = self;

    (void)slot_being_filled(dram, filled);
    tier_dram_lock(dram);
    tier_dram_free_locked(dram, filled->number);
    tier_dram_unlock(dram);
    *filled = (struct tier_slot){.number = TIER_DRAM_SLOT_NONE};
}

// Gives back one pin; the last one of a slot that is leaving frees it.
static void
drop_pin(struct tier_dram *dram, uint32_t number)
{
    struct tier_dram_slot *slot = &dram->slots[number];
    uint64_t before = atomic_fetch_sub_explicit(&slot->word, 1,
                                                memory_order_acq_rel);

    check((before & TIER_DRAM_PINS) != 0);
    if ((before & (TIER_DRAM_OUT | TIER_DRAM_PINS)) == (TIER_DRAM_OUT | 1)) {
        tier_dram_let_go(dram, number);
    }
}

static enum cascade_status
dram_pin(void *self, const struct block_place *place, struct tier_pin *pin)
{
    struct tier_dram *dram = self;
    struct tier_dram_slot *slot = slot_of_place(dram, place);
    uint64_t word;

    if (slot == NULL) {
        return stale(place);
    }
    word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    do {
        if (tier_dram_generation(word) != place->generation ||
            (word & TIER_DRAM_OUT) != 0) {
            return stale(place);
        }
        check((word & TIER_DRAM_PINS) != TIER_DRAM_PINS);
    } while (!atomic_compare_exchange_weak_explicit(
        &slot->word, &word, word + 1, memory_order_acquire,
        memory_order_relaxed));
    // A place that came from elsewhere may be made up.
    if (place->bytes != slot->bytes ||
        place->offset != tier_dram_offset(dram, slot)) {
        drop_pin(dram, place->slot);
        return stale(place);
    }
    pin->place = *place;
    pin->memory = dram->memory + place->offset;
    return CASCADE_OK;
}

static void
dram_unpin(void *self, struct tier_pin *pin)
{
    struct tier_dram *dram = self;

    check(slot_of_place(dram, &pin->place) != NULL);
    drop_pin(dram, pin->place.slot);
    *pin = (struct tier_pin){.memory = NULL};
}

static enum cascade_status
dram_read(void *self, const struct tier_pin *pin,
          const struct cascade_span *spans, size_t span_count, bool verify)
{
    struct tier_dram *dram = self;
    const struct block_place *place = &pin->place;
    const struct tier_dram_slot *slot = slot_of_place(dram, place);
    uint64_t word;

    check(slot != NULL);
    word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    check(tier_dram_generation(word) == place->generation &&
          (word & TIER_DRAM_PINS) != 0);
    return tier_scatter(dram->pool, pin->memory, place->bytes, spans,
                        span_count, verify ? &place->checksum : NULL);
}

static enum cascade_status
pinned(const struct block_place *place)
{
    return error_set(CASCADE_BUSY, "slot %u of the DRAM tier is pinned",
                     place->slot);
}

static enum cascade_status
dram_release(void *self, const struct block_place *place, bool only_unpinned)
{
    struct tier_dram *dram = self;
    struct tier_dram_slot *slot = slot_of_place(dram, place);
    uint64_t word;

    if (slot == NULL) {
        return stale(place);
    }
    word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    do {
        if (tier_dram_generation(word) != place->generation ||
            (word & TIER_DRAM_OUT) != 0) {
            return stale(place);
        }
        // Peers are asked again below; here it spares others a slot that is
        // out of service for a moment.
        if (only_unpinned &&
            ((word & TIER_DRAM_PINS) != 0 ||
             tier_dram_has_watchers(dram, place->slot, place->generation))) {
            return pinned(place);
        }
    } while (!atomic_compare_exchange_weak_explicit(
        &slot->word, &word, word | TIER_DRAM_OUT, memory_order_seq_cst,
        memory_order_relaxed));
    if (only_unpinned &&
        tier_dram_has_watchers(dram, place->slot, place->generation)) {
        // It was unpinned, and nobody pins what is out of service.
        atomic_store_explicit(&slot->word, word, memory_order_release);
        return pinned(place);
    }
    atomic_fetch_sub_explicit(&dram->blocks, 1, memory_order_relaxed);
    if ((word & TIER_DRAM_PINS) == 0) {
        tier_dram_let_go(dram, place->slot);
    }
    return CASCADE_OK;
}

static void
dram_usage(void *self, struct tier_usage *usage)
{
    struct tier_dram *dram = self;
    struct extent_usage extents;

    tier_dram_lock(dram);
    extent_read_usage(dram->map, &extents);
    tier_dram_unlock(dram);
    *usage = (struct tier_usage){
        .capacity_bytes = dram->capacity_bytes,
        .used_bytes = extents.used_bytes,
        .blocks = atomic_load_explicit(&dram->blocks, memory_order_relaxed),
    };
}

static uint64_t
count_pins(const struct tier_dram *dram, uint32_t begin, uint32_t end)
{
    uint64_t pins = 0;

    for (uint32_t i = begin; i < end; i++) {
        pins += atomic_load_explicit(&dram->slots[i].word,
                                     memory_order_relaxed) &
                TIER_DRAM_PINS;
    }
    return pins;
}

static void
destroy(struct tier_dram *dram)
{
    arena_close(dram->arena);
    extent_destroy(dram->map);
    if (dram->words == NULL) {
        allocator_release(dram->allocator, dram->slots);
    }
    arena_close(dram->words);
    allocator_release(dram->allocator, dram);
}

// Zeroed slots, where peers can see them if they may.
static enum cascade_status
make_slots(struct tier_dram *dram, const struct tier_dram_options *options)
{
    enum cascade_status status;

    if (options->shares_words) {
        status = arena_open(options->allocator, "cascade-words",
                            (uint64_t)options->blocks_max *
                                sizeof(struct tier_dram_slot),
                            false, &dram->words);
        if (status == CASCADE_OK) {
            dram->slots = arena_memory(dram->words);
        }
        return status;
    }
    dram->slots = allocator_array(options->allocator, options->blocks_max,
                                  sizeof(struct tier_dram_slot));
    return dram->slots != NULL
               ? CASCADE_OK
               : error_set(CASCADE_NO_MEMORY, "no memory for %u DRAM slots",
                           options->blocks_max);
}

static enum cascade_status
prepare(struct tier_dram *dram, const struct tier_dram_options *options)
{
    uint64_t granule = dram->granule_bytes;
    enum cascade_status status;

    if (options->blocks_max == 0 || options->blocks_max > BLOCKS_MAX) {
        return error_set(CASCADE_INVALID, "%u DRAM blocks are not 1 to %u",
                         options->blocks_max, BLOCKS_MAX);
    }
    if (options->capacity_bytes > INT64_MAX - granule) {
        return error_set(CASCADE_INVALID, "a DRAM tier of %llu bytes cannot be",
                         (unsigned long long)options->capacity_bytes);
    }
    dram->capacity_bytes = (options->capacity_bytes + granule - 1) &
                           ~(granule - 1);
    status = extent_create(options->allocator, dram->capacity_bytes, granule,
                           options->blocks_max, &dram->map);
    if (status != CASCADE_OK) {
        return status;
    }
    status = make_slots(dram, options);
    if (status != CASCADE_OK) {
        return status;
    }
    if (options->arena != NULL) {
        check(arena_bytes(options->arena) >= dram->capacity_bytes);
        return CASCADE_OK;
    }
    return arena_open(options->allocator, "cascade-dram", dram->capacity_bytes,
                      options->huge_pages, &dram->arena);
}

const struct tier_table tier_dram_table = {
    .name = "dram",
    .tier = CASCADE_TIER_LOCAL_DRAM,
    .capabilities = TIER_ZERO_COPY,
    .reserve = dram_reserve,
    .write = dram_write,
    .commit = dram_commit,
    .abandon = dram_abandon,
    .pin = dram_pin,
    .read = dram_read,
    .unpin = dram_unpin,
    .release = dram_release,
    .usage = dram_usage,
};

enum cascade_status
tier_dram_open(const struct tier_dram_options *options, struct tier_dram **dram)
{
    enum cascade_status status;
    struct tier_dram *made = allocator_array(options->allocator, 1,
                                             sizeof(*made));

    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory to open a DRAM tier");
    }
    made->allocator = options->allocator;
    made->pool = options->pool;
    made->granule_bytes = options->granule_bytes != 0 ? options->granule_bytes
                                                      : GRANULE_BYTES_DEFAULT;
    made->blocks_max = options->blocks_max;
    made->rank = options->rank;
    made->free_slot = TIER_DRAM_SLOT_NONE;
    made->lingering_slot = TIER_DRAM_SLOT_NONE;
    status = prepare(made, options);
    if (status == CASCADE_OK && pthread_mutex_init(&made->mutex, NULL) != 0) {
        status = error_set(CASCADE_NO_MEMORY, "no memory for a mutex");
    }
    if (status == CASCADE_OK) {
        check(pthread_mutex_init(&made->count_mutex, NULL) == 0);
    }
    if (status != CASCADE_OK) {
        destroy(made);
        return status;
    }
    if (options->arena != NULL) {
        made->arena = options->arena;
    }
    made->memory = arena_memory(made->arena);
    *dram = made;
    return CASCADE_OK;
}

enum cascade_status
tier_dram_close(struct tier_dram *dram)
{
    uint64_t pins;
    uint32_t blocks;

    if (dram == NULL) {
        return CASCADE_OK;
    }
    pins = tier_dram_pins(dram);
    if (pins > 0) {
        return error_set(CASCADE_BUSY,
                         "%llu pins of the DRAM tier are out; release views "
                         "first",
                         (unsigned long long)pins);
    }
    blocks = atomic_load(&dram->blocks);
    // What lingers is of no concern to this process any more: peers have their
    // own mapping.
    if (dram->slots_used - dram->lingering != blocks) {
        return error_set(CASCADE_BUSY, "%u blocks are being written to DRAM",
                         dram->slots_used - dram->lingering - blocks);
    }
    check(pthread_mutex_destroy(&dram->mutex) == 0);
    check(pthread_mutex_destroy(&dram->count_mutex) == 0);
    destroy(dram);
    return CASCADE_OK;
}

enum cascade_status
tier_dram_reserve_at(struct tier_dram *dram, uint64_t bytes, uint64_t offset,
                     struct tier_slot *slot)
{
    return reserve(dram, bytes, offset, slot);
}

uint64_t
tier_dram_bytes_per_block(void)
{
    return sizeof(struct tier_dram_slot) + extent_bytes_per_extent();
}

struct tier
tier_dram_tier(struct tier_dram *dram)
{
    return (struct tier){.table = &tier_dram_table, .self = dram};
}

const void *
tier_dram_memory(const struct tier_dram *dram, const struct block_place *place)
{
    return dram->memory + place->offset;
}

uint64_t
tier_dram_pins(const struct tier_dram *dram)
{
    // Slots that were never taken are zero, which is no pin.
    return count_pins(dram, 0, dram->blocks_max);
}

uint64_t
tier_dram_pins_seen(struct tier_dram *dram)
{
    uint32_t end;
    uint32_t step;
    uint64_t seen;

    check(pthread_mutex_lock(&dram->count_mutex) == 0);
    // Under the walk's lock: an older number than that of another's step would
    // lie behind it, and the walk would never meet it.
    tier_dram_lock(dram);
    end = dram->fresh_slot;
    tier_dram_unlock(dram);
    step = (uint32_t)units_max(TIER_DRAM_COUNT_SLOTS,
                               (end + TIER_DRAM_COUNT_CALLS - 1) /
                                   TIER_DRAM_COUNT_CALLS);
    if (end - dram->count_next > step) {
        end = dram->count_next + step;
        dram->count_sum += count_pins(dram, dram->count_next, end);
        dram->count_next = end;
    } else {
        dram->pins_seen = dram->count_sum +
                          count_pins(dram, dram->count_next, end);
        dram->count_sum = 0;
        dram->count_next = 0;
    }
    seen = dram->pins_seen;
    check(pthread_mutex_unlock(&dram->count_mutex) == 0);
    return seen;
}

struct arena *
tier_dram_arena(struct tier_dram *dram)
{
    return dram->arena;
}

bool
tier_dram_is_valid(struct tier_dram *dram)
{
    uint32_t free_slots = 0;
    uint32_t extents = 0;
    struct extent extent;
    bool valid;

    tier_dram_lock(dram);
    valid = extent_is_valid(dram->map);
    for (uint32_t i = dram->free_slot; valid && i != TIER_DRAM_SLOT_NONE;
         i = (uint32_t)dram->slots[i].bytes) {
        uint64_t word = atomic_load(&dram->slots[i].word);

        free_slots++;
        valid = free_slots <= dram->fresh_slot &&
                (word & (TIER_DRAM_OUT | TIER_DRAM_PINS)) == TIER_DRAM_OUT;
    }
    valid = valid && free_slots + dram->slots_used == dram->fresh_slot;
    for (bool more = valid && extent_first(dram->map, &extent); more && valid;
         more = extent_next(dram->map, extent.number, &extent)) {
        const struct tier_dram_slot *slot;

        if (!extent.used) {
            continue;
        }
        extents++;
        slot = &dram->slots[extent.number];
        valid = extent.number < dram->fresh_slot &&
                (units_round_up(slot->bytes, dram->granule_bytes) ==
                     extent.bytes ||
                 tier_dram_lingers_locked(dram, extent.number));
    }
    valid = valid && extents <= dram->slots_used;
    tier_dram_unlock(dram);
    return valid;
}
