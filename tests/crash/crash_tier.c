// SPDX-License-Identifier: Apache-2.0
//
// Lives of cold tiers on one disk that loses power. See crash_tier.h.

#include "crash/crash_tier.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"
#include "crash/crash_model.h"
#include "segment/segment_lease_holder.h"
#include "support/allocator_keeping.h"
#include "support/clock_fake.h"
#include "support/file_sectors.h"
#include "tier/tier_segment_inner.h"

#define LEASE_NS ((uint64_t)10 * NS_PER_S)
#define DAY_NS ((uint64_t)86400 * NS_PER_S)
#define BATCH_MAX 6
#define SEGMENTS_MAX 6

struct row {
    struct block_version version;
    uint32_t state; // content; 0 = removed or absent
    uint32_t segment;
    bool has_record;
    bool durable;
};

struct store {
    struct tier_segment *cold;
    struct row rows[CRASH_KEYS];
    struct block_place places[CRASH_CONTENTS_MAX]; // by content
    bool synced[CRASH_CONTENTS_MAX];
    struct block_version cleared;
    uint32_t cleared_segment;
    struct block_version floor;
    struct block_version highest;
    uint64_t last_ns;
    bool file_order;
};

// Which records were tried in which writer's folder: a set of their hashes.
#define TRIED_SLOTS 8192
#define SHOWN_MAX 4096

struct tried {
    uint64_t slots[TRIED_SLOTS];
    uint32_t count;
};

// What was shown at an opening, to be looked up when the store is there.
struct shown {
    struct block_version version;
    uint32_t segment;
};

struct world {
    struct tried tried;
    struct shown shown[SHOWN_MAX];
    uint32_t shown_count;
    struct file_sectors disk;
    struct clock_fake clock;
    struct segment_lease_holder holder;
    struct crash_model model;
    struct store store;
    uint64_t scratch_hash;
    const struct crash_tier_options *options;
    struct crash_tier_counts *counts;
    uint64_t random;
    uint64_t tag;
    uint64_t segment_bytes;
    bool boots; // a restart is one of the machine: leases have to run out
};

static uint64_t
pick(struct world *world, uint64_t below)
{
    return file_sectors_next(&world->random) % below;
}

static const char *
key_text(uint32_t key)
{
    static char text[16];

    (void)snprintf(text, sizeof(text), "key-%u", key);
    return text;
}

static void
fill_key(struct block_label *label, uint32_t key)
{
    label->key_data = key_text(key);
    label->key_bytes = (uint32_t)strlen(key_text(key));
    block_key_of("crash", label->key_data, label->key_bytes, &label->key);
}

static struct block_version
give_version(struct world *world)
{
    struct store *store = &world->store;
    struct block_version version;

    store->last_ns = units_max(
        units_max(store->last_ns, store->highest.time_ns) + 1,
        clock_wall_ns(&world->clock.source));
    version.time_ns = store->last_ns;
    version.tag = world->tag;
    return version;
}

// ---------------------------------------------------------------------------
// Ghosts: records that nobody wrote where they are shown

// The slot of a record in the set, or the free one where it would be.
static uint64_t *
tried_slot(struct world *world, struct block_version version,
           const char *writer)
{
    uint64_t hash = version.time_ns * 31 + version.tag;
    uint64_t at;

    for (; *writer != '\0' && *writer != '/'; writer++) {
        hash = hash * 1099511628211u + (unsigned char)*writer;
    }
    hash = file_sectors_next(&hash) | 1;
    at = hash % TRIED_SLOTS;
    while (world->tried.slots[at] != 0 && world->tried.slots[at] != hash) {
        at = (at + 1) % TRIED_SLOTS;
    }
    if (world->tried.slots[at] == 0) {
        check(world->tried.count < TRIED_SLOTS / 2);
        world->scratch_hash = hash;
    }
    return &world->tried.slots[at];
}

static void
note_tried(struct world *world, struct block_version version)
{
    uint64_t *slot = tried_slot(world, version,
                                world->store.cold->lease.writer);

    if (*slot == 0) {
        *slot = world->scratch_hash;
        world->tried.count++;
    }
}

static enum cascade_status
append(struct world *world, struct tier_segment_put *puts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        note_tried(world, puts[i].label.version);
    }
    return tier_segment_append(world->store.cold, puts, count);
}

static void
look_for_ghosts(struct world *world)
{
    const struct tier_segment *cold = world->store.cold;

    for (uint32_t i = 0; i < world->shown_count; i++) {
        const struct shown *shown = &world->shown[i];
        const struct tier_segment_handle *handle = NULL;

        if (shown->segment < cold->handle_count) {
            handle = cold->handles[shown->segment];
        }
        if (handle != NULL &&
            *tried_slot(world, shown->version, handle->path) == 0) {
            crash_model_complain(&world->model,
                                 "a ghost: %s shows a record that was never "
                                 "written there",
                                 handle->path);
        }
    }
    world->shown_count = 0;
}

// ---------------------------------------------------------------------------
// What a store knows

static struct world *visited;

static int
key_number(const struct block_label *label)
{
    for (uint32_t i = 0; i < CRASH_KEYS; i++) {
        struct block_label own = {0};

        fill_key(&own, i);
        if (block_key_equal(&own.key, &label->key)) {
            return (int)i;
        }
    }
    return -1;
}

static void
note_record(struct store *store, uint32_t key, struct block_version version,
            uint32_t state, uint32_t segment, bool durable)
{
    struct row *row = &store->rows[key];

    if (!row->has_record || store->file_order ||
        block_version_compare(version, row->version) >= 0) {
        row->has_record = true;
        row->version = version;
        row->state = state;
        row->segment = segment;
        row->durable = durable;
    }
}

static void
visit(void *context, const struct tier_segment_entry *entry)
{
    struct store *store = context;
    struct crash_model *model = &visited->model;
    uint32_t content = 0;
    int key;

    if (entry->again) {
        return;
    }
    store->last_ns = units_max(store->last_ns, entry->label.version.time_ns);
    if (visited->shown_count < SHOWN_MAX) {
        visited->shown[visited->shown_count].version = entry->label.version;
        visited->shown[visited->shown_count++].segment = entry->segment;
    }
    if ((entry->label.flags & BLOCK_LABEL_CLEAR) != 0) {
        if (block_version_compare(entry->label.version, store->cleared) >= 0) {
            store->cleared = entry->label.version;
            store->cleared_segment = entry->segment;
        }
        return;
    }
    key = key_number(&entry->label);
    if (key < 0) {
        crash_model_complain(model, "a record of an unknown key was shown");
        return;
    }
    if ((entry->label.flags & BLOCK_LABEL_REMOVAL) == 0) {
        content = crash_model_find(model, &entry->label.id);
        if (content == 0) {
            crash_model_complain(model, "a record of an unknown content was "
                                        "shown");
            return;
        }
        if (block_place_is_set(&entry->place)) {
            store->places[content] = entry->place;
            store->synced[content] = entry->durable;
        }
    }
    note_record(store, (uint32_t)key, entry->label.version, content,
                entry->segment, entry->durable);
}

// True if the bytes at the content's place are its own.
static bool
is_readable(struct world *world, uint32_t content)
{
    static _Alignas(4096) uint8_t memory[4u << 20];
    struct store *store = &world->store;
    struct crash_content *known = &world->model.contents[content];
    struct tier_segment_get get = {.place = store->places[content],
                                   .id = known->id,
                                   .memory = memory,
                                   .memory_bytes = sizeof(memory)};

    if (!block_place_is_set(&store->places[content])) {
        return false;
    }
    tier_segment_read_many(store->cold, &get, 1);
    if (get.status != CASCADE_OK) {
        return false;
    }
    if (get.place.bytes != known->bytes ||
        memcmp(memory, crash_model_bytes(&world->model, content),
               known->bytes) != 0) {
        crash_model_complain(&world->model,
                             "content %u was read with other bytes", content);
    }
    return true;
}

static bool
is_void(const struct store *store, const struct row *row)
{
    return block_version_compare(row->version, store->floor) < 0 ||
           block_version_compare(row->version, store->cleared) < 0;
}

// Compares what the store found at its opening with what may be there.
static void
compare(struct world *world, bool after_cut)
{
    struct store *store = &world->store;

    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        const struct row *row = &store->rows[key];
        const char *how = "no record";
        uint32_t state = 0;
        bool durable = after_cut || row->durable;

        if (row->has_record && row->state == 0) {
            how = "a removal";
        } else if (row->has_record && is_void(store, row)) {
            how = block_version_compare(row->version, store->cleared) < 0
                      ? "cleared"
                      : "withheld";
        } else if (row->has_record) {
            state = row->state;
            how = "a record";
            if (!is_readable(world, state)) {
                state = 0;
                how = "a binding without its bytes";
                durable = after_cut;
            }
        }
        world->counts->survived += state != world->model.keys[key].states[0];
        (void)crash_model_found(&world->model, key, state, durable, how);
    }
}

// ---------------------------------------------------------------------------
// What a store does

static bool
is_on(const struct world *world)
{
    return !world->disk.off && world->model.wrong[0] == '\0';
}

static uint64_t
pick_bytes(struct world *world)
{
    static const uint32_t sizes[] = {0,    100,  511,  4096,
                                     4097, 5000, 9000, 20000};

    return pick(world, 100) == 0 ? 60000 + pick(world, 20000)
                                 : sizes[pick(world, 8)];
}

static void
note_append(struct world *world, uint32_t key, const struct block_label *label,
            uint32_t content, const struct block_place *place, uint32_t segment)
{
    struct store *store = &world->store;

    world->counts->appended++;
    if (block_place_is_set(place)) {
        store->places[content] = *place;
        store->synced[content] = false;
    }
    note_record(store, key, label->version, content, segment, false);
}

static void
put_some(struct world *world)
{
    struct tier_segment_put puts[BATCH_MAX];
    uint32_t keys[BATCH_MAX];
    uint32_t contents[BATCH_MAX];
    static _Alignas(4096) uint8_t memory[BATCH_MAX][96 * 1024];
    size_t count = 1 + pick(world, BATCH_MAX);

    memset(puts, 0, sizeof(puts));
    for (size_t i = 0; i < count; i++) {
        struct crash_content *content;

        keys[i] = (uint32_t)pick(world, CRASH_KEYS);
        contents[i] = crash_model_content(&world->model,
                                          file_sectors_next(&world->random),
                                          pick_bytes(world));
        content = &world->model.contents[contents[i]];
        memcpy(memory[i], crash_model_bytes(&world->model, contents[i]),
               content->bytes);
        fill_key(&puts[i].label, keys[i]);
        puts[i].label.id = content->id;
        puts[i].label.version = give_version(world);
        puts[i].payload = memory[i];
        puts[i].bytes = content->bytes;
        puts[i].checksum = content->checksum;
        // The text of the key is one buffer for all.
        puts[i].label.key_data = NULL;
        puts[i].label.key_bytes = 0;
        crash_model_push(&world->model, keys[i], contents[i]);
    }
    (void)append(world, puts, count);
    for (size_t i = 0; i < count; i++) {
        if (puts[i].status == CASCADE_OK) {
            note_append(world, keys[i], &puts[i].label, contents[i],
                        &puts[i].place, puts[i].segment);
        }
    }
}

// One block through the table: it comes in pieces, its header last.
static void
put_stream(struct world *world)
{
    const struct tier_table *table = &tier_segment_table;
    struct tier_segment *cold = world->store.cold;
    uint32_t key = (uint32_t)pick(world, CRASH_KEYS);
    uint32_t content = crash_model_content(
        &world->model, file_sectors_next(&world->random), pick_bytes(world));
    struct crash_content *known = &world->model.contents[content];
    struct cascade_const_span span = {
        .data = crash_model_bytes(&world->model, content),
        .bytes = (size_t)known->bytes,
    };
    struct block_label label = {.id = known->id};
    struct block_digest digest;
    struct block_place place = {0};
    struct tier_slot slot;

    fill_key(&label, key);
    label.version = give_version(world);
    if (table->reserve(cold, known->bytes, &slot) != CASCADE_OK) {
        return;
    }
    if (table->write(cold, &slot, &span, 1,
                     BLOCK_DIGEST_ID | BLOCK_DIGEST_CHECKSUM,
                     &digest) != CASCADE_OK ||
        pick(world, 4) == 0) {
        table->abandon(cold, &slot);
        return;
    }
    crash_model_push(&world->model, key, content);
    note_tried(world, label.version);
    if (table->commit(cold, &slot, &label, &digest, &place) != CASCADE_OK) {
        table->abandon(cold, &slot);
        return;
    }
    note_append(world, key, &label, content, &place, place.slot);
}

// Appends one record without payload.
static void
put_bare(struct world *world, uint32_t key, uint32_t content, uint32_t flags)
{
    struct tier_segment_put put = {.label.flags = flags};

    fill_key(&put.label, key);
    put.label.version = give_version(world);
    if (content != 0) {
        put.label.id = world->model.contents[content].id;
    }
    crash_model_push(&world->model, key, content);
    if (append(world, &put, 1) == CASCADE_OK) {
        note_append(world, key, &put.label, content, &put.place, put.segment);
    }
}

// A key gets the content of another one, of which no copy is made. Its record
// follows the sync of the payload.
static void
bind_some(struct world *world)
{
    struct store *store = &world->store;
    uint32_t from = (uint32_t)pick(world, CRASH_KEYS);
    const struct row *row = &store->rows[from];

    if (row->has_record && row->state != 0 && !is_void(store, row) &&
        store->synced[row->state]) {
        put_bare(world, (uint32_t)pick(world, CRASH_KEYS), row->state,
                 BLOCK_LABEL_BIND);
    }
}

// What no store may do: binds a key to a content of the batch just appended.
static void
bind_early(struct world *world)
{
    struct store *store = &world->store;
    uint32_t newest = world->model.content_count - 1;

    if (newest > 0 && !store->synced[newest] &&
        block_place_is_set(&store->places[newest])) {
        put_bare(world, (uint32_t)pick(world, CRASH_KEYS), newest,
                 BLOCK_LABEL_BIND);
    }
}

static void
clear_all(struct world *world)
{
    struct tier_segment_put put = {.label.flags = BLOCK_LABEL_CLEAR};
    struct store *store = &world->store;

    put.label.version = give_version(world);
    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        crash_model_push(&world->model, key, 0);
    }
    if (append(world, &put, 1) == CASCADE_OK) {
        store->cleared = put.label.version;
        store->cleared_segment = put.segment;
    }
}

static bool
flush(struct world *world)
{
    struct store *store = &world->store;

    if (tier_segment_sync(store->cold) != CASCADE_OK) {
        return false;
    }
    crash_model_synced(&world->model);
    world->counts->syncs++;
    for (uint32_t i = 0; i < world->model.content_count; i++) {
        store->synced[i] = true;
    }
    for (uint32_t key = 0; key < CRASH_KEYS; key++) {
        store->rows[key].durable = true;
    }
    return true;
}

// Writes the payload of a content again, with the binding of `key`.
static bool
carry_payload(struct world *world, uint32_t key, uint32_t content)
{
    struct store *store = &world->store;
    struct crash_content *known = &world->model.contents[content];
    struct tier_segment_put put = {
        .payload = crash_model_bytes(&world->model, content),
        .bytes = known->bytes,
        .checksum = known->checksum,
    };

    fill_key(&put.label, key);
    put.label.id = known->id;
    put.label.version = store->rows[key].version;
    if (append(world, &put, 1) != CASCADE_OK) {
        return false;
    }
    store->places[content] = put.place;
    store->rows[key].segment = put.segment;
    return true;
}

static bool
carry_bare(struct world *world, uint32_t key)
{
    struct row *row = &world->store.rows[key];
    struct tier_segment_put put = {
        .label.version = row->version,
        .label.flags = row->state != 0 ? BLOCK_LABEL_BIND : BLOCK_LABEL_REMOVAL,
    };

    fill_key(&put.label, key);
    if (row->state != 0) {
        put.label.id = world->model.contents[row->state].id;
    }
    if (append(world, &put, 1) != CASCADE_OK) {
        return false;
    }
    row->segment = put.segment;
    return true;
}

static bool
carry_clear(struct world *world)
{
    struct store *store = &world->store;
    struct tier_segment_put put = {.label.flags = BLOCK_LABEL_CLEAR,
                                   .label.version = store->cleared};

    if (append(world, &put, 1) != CASCADE_OK) {
        return false;
    }
    store->cleared_segment = put.segment;
    return true;
}

// The oldest segment goes. What is live in it moves on first, under its own
// versions; a removal goes with it if nothing older is left.
static void
reclaim(struct world *world)
{
    struct store *store = &world->store;
    struct tier_segment_info info;
    bool fine = true;

    if (tier_segment_oldest(store->cold, &info) != CASCADE_OK) {
        return;
    }
    for (uint32_t key = 0; key < CRASH_KEYS && fine; key++) {
        const struct row *row = &store->rows[key];

        if (!row->has_record || is_void(store, row)) {
            continue;
        }
        if (row->state != 0 && store->places[row->state].slot == info.segment) {
            fine = carry_payload(world, key, row->state);
        } else if (row->segment == info.segment) {
            fine = carry_bare(world, key);
        }
    }
    if (fine && store->cleared_segment == info.segment &&
        !block_version_is_zero(store->cleared)) {
        fine = carry_clear(world);
    }
    if (!fine || !flush(world)) {
        return;
    }
    if (tier_segment_retire(store->cold, info.segment, 0) == CASCADE_OK) {
        struct block_version oldest = tier_segment_oldest_version(store->cold,
                                                                  NULL);

        world->counts->reclaimed++;
        // Removals that hide nothing any more are forgotten.
        for (uint32_t key = 0; key < CRASH_KEYS; key++) {
            struct row *row = &store->rows[key];

            if (row->has_record && row->state == 0 &&
                block_version_compare(row->version, oldest) < 0) {
                row->has_record = false;
            }
        }
    }
}

static void
act(struct world *world)
{
    uint64_t what = pick(world, 100);

    if (what < 40) {
        put_some(world);
        if (world->options->early_bind) {
            bind_early(world);
        }
    } else if (what < 48) {
        put_stream(world);
    } else if (what < 56) {
        bind_some(world);
    } else if (what < 64) {
        put_bare(world, (uint32_t)pick(world, CRASH_KEYS), 0,
                 BLOCK_LABEL_REMOVAL);
    } else if (what < 66) {
        clear_all(world);
    } else if (what < 84) {
        (void)flush(world);
    } else if (what < 90) {
        world->counts->sealed += tier_segment_seal(world->store.cold) ==
                                 CASCADE_OK;
    } else if (what < 97) {
        reclaim(world);
    } else {
        (void)tier_segment_refresh(world->store.cold, true, visit,
                                   &world->store);
    }
}

// ---------------------------------------------------------------------------
// Lives

static enum cascade_status
open_once(struct world *world)
{
    struct store *store = &world->store;
    struct tier_segment_options options = {
        .root = world->disk.path,
        .namespace_name = "crash",
        .rebind_allowed = true,
        .segment_bytes = world->segment_bytes,
        .capacity_bytes = 64 * MIB,
        .lease_ns = LEASE_NS,
        .file_mode = 0600,
        .group = "",
        .io = TIER_SEGMENT_IO_PREAD,
        .files = &world->disk.table,
        .clock = &world->clock.source,
        .allocator = allocator_keeping(),
        .version_tag = ++world->tag,
        .holder = &world->holder,
    };

    memset(store, 0, sizeof(*store));
    world->shown_count = 0;
    store->file_order = world->options->file_order;
    visited = world;
    return tier_segment_open(&options, visit, store, &store->floor,
                             &store->highest, &store->cold);
}

// Opens the next store; a lease may have to run out first.
static enum cascade_status
open_next(struct world *world)
{
    enum cascade_status status = open_once(world);

    if (status == CASCADE_LOCKED) {
        clock_fake_pass(&world->clock, LEASE_NS);
        status = open_once(world);
    }
    return status;
}

static void
end_uncleanly(struct world *world)
{
    struct store *store = &world->store;
    enum cascade_status status;

    if (store->cold == NULL) {
        return;
    }
    store->cold->lease.lost = true;
    status = tier_segment_close(store->cold);
    check(status == CASCADE_CLOSED);
    store->cold = NULL;
}

static void
end_cleanly(struct world *world)
{
    if (tier_segment_close(world->store.cold) == CASCADE_OK && is_on(world)) {
        crash_model_synced(&world->model);
    }
    world->store.cold = NULL;
}

static void
jump_clocks(struct world *world)
{
    uint64_t wall_ns = world->clock.wall_ns;
    uint64_t far_ns = pick(world, 400) * DAY_NS;

    clock_fake_pass(&world->clock, pick(world, 3) * NS_PER_S);
    if (pick(world, 4) == 0) {
        clock_fake_jump(&world->clock, pick(world, 2) == 0 ? wall_ns + far_ns
                                                           : wall_ns - far_ns);
    }
}

// One life and its end. False: the power did not go.
static bool
live(struct world *world)
{
    uint64_t acts = 1 + pick(world, 24);
    struct tier_segment_info infos[SEGMENTS_MAX];

    for (unsigned i = 0; i < SEGMENTS_MAX && is_on(world); i++) {
        if (tier_segment_own(world->store.cold, infos, SEGMENTS_MAX) ==
            SEGMENTS_MAX) {
            reclaim(world);
        }
    }

    for (uint64_t i = 0; i < acts && is_on(world); i++) {
        act(world);
        clock_fake_pass(&world->clock, 1000);
    }
    if (is_on(world) && pick(world, 6) == 0) {
        end_cleanly(world);
    }
    if (!world->disk.off && pick(world, 5) == 0) {
        end_uncleanly(world);
        world->counts->kills++;
        return false;
    }
    end_uncleanly(world);
    return true;
}

// A restart, after the power went or the process was killed. The power may go
// again while the store opens.
static void
start_again(struct world *world, bool after_cut)
{
    enum cascade_status status;

    for (unsigned i = 0;; i++) {
        if (after_cut) {
            file_sectors_restart(&world->disk);
            world->counts->cuts++;
            if (world->boots) {
                (void)snprintf(world->holder.boot, sizeof(world->holder.boot),
                               "boot-%llu",
                               (unsigned long long)world->disk.cuts);
            }
            jump_clocks(world);
        }
        file_sectors_cut_after(&world->disk, i < 2 && pick(world, 3) == 0
                                                 ? 1 + pick(world, 40)
                                                 : 0);
        status = open_next(world);
        if (!world->disk.off) {
            break;
        }
        if (status == CASCADE_OK) {
            end_uncleanly(world);
        }
        after_cut = true;
    }
    file_sectors_cut_after(&world->disk, 0);
    if (status != CASCADE_OK) {
        crash_model_complain(&world->model, "the store did not open: %s",
                             error_message());
        return;
    }
    look_for_ghosts(world);
    compare(world, after_cut);
}

static void
set_up(struct world *world, const struct crash_tier_options *options,
       struct crash_tier_counts *counts)
{
    static const uint32_t sizes[] = {16, 32, 64, 256};

    world->options = options;
    world->counts = counts;
    memset(&world->tried, 0, sizeof(world->tried));
    world->random = options->seed * 0x9E3779B97F4A7C15u + 1;
    world->tag = options->seed << 20;
    world->segment_bytes = sizes[pick(world, 4)] * KIB;
    world->boots = pick(world, 2) == 0;
    file_sectors_make(&world->disk, file_sectors_next(&world->random));
    world->disk.lies = options->lies;
    clock_fake_init(&world->clock, 7);
    crash_model_init(&world->model);
    memset(&world->store, 0, sizeof(world->store));
    segment_lease_holder_read(&world->holder);
    // A process that is not there: whoever comes next need not wait.
    world->holder.process = INT32_MAX - 1;
    world->holder.process_start = 1;
}

bool
crash_tier_run(const struct crash_tier_options *options,
               struct crash_tier_counts *counts, char *wrong, size_t size)
{
    static struct world world;
    bool right;

    set_up(&world, options, counts);
    start_again(&world, false);
    for (uint32_t life = 0; life < options->lives && is_on(&world); life++) {
        bool cut;

        if (pick(&world, 8) != 0) {
            file_sectors_cut_after(&world.disk, 1 + pick(&world, 120));
        }
        cut = live(&world);
        start_again(&world, cut);
    }
    end_uncleanly(&world);
    counts->changes += world.disk.changes;
    counts->checked += world.model.checked;
    counts->recycled += world.disk.recycled;
    right = world.model.wrong[0] == '\0';
    if (!right) {
        (void)snprintf(wrong, size, "%s", world.model.wrong);
    }
    file_sectors_remove(&world.disk);
    return right;
}
