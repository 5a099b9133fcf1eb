// SPDX-License-Identifier: Apache-2.0
//
// Writing: the open writers, appends, sync, seal, and the write rate. What is
// written, the store decides.
//
// There is one current writer; another exists only while it waits for a block
// that comes in pieces (tier_segment_table.c), and then for its seal.
//
// Invariant: nothing is written without a lease that was renewed within half
// its time; "durable" is answered only after a renewal that came after the
// sync. Numbers of files have no gaps: a number is used up only by a file that
// exists.
// Locks: writer_lock over all writing; table_lock inside it, briefly.

#include "tier/tier_segment_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/units.h"
#include "segment/segment_stripe.h"

// The writer's memory: small segments need no more than two pieces.
#define STAGING_BYTES_MIN (8 * MIB)
#define STAGING_BYTES_MAX (16 * MIB)
#define PACE_NS_MAX (NS_PER_S / 4) // one wait; the debt is looked at again

static int
compare_offsets(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static uint64_t
lowest_live(struct tier_segment *cold)
{
    uint64_t lowest = cold->next_number;

    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->directory == cold->own_directory &&
            handle->state != TIER_SEGMENT_GONE &&
            handle->file_number < lowest) {
            lowest = handle->file_number;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return lowest;
}

static void
fill_facts(struct tier_segment *cold, struct segment_facts *facts)
{
    uint64_t tag = cold->root.tag;

    memset(facts, 0, sizeof(*facts));
    facts->alignment_bytes = (uint32_t)cold->options.alignment_bytes;
    facts->rebind_allowed = cold->rebind_allowed;
    memcpy(facts->writer, &cold->self.since_wall_ns, 8);
    memcpy(facts->writer + 8, &tag, 8);
    memcpy(facts->namespace_digest, cold->namespace_digest,
           sizeof(facts->namespace_digest));
    facts->number = cold->next_number;
    facts->lowest_live_number = lowest_live(cold);
    facts->created_ns = clock_wall_ns(cold->clock);
    facts->earlier_highest = cold->earlier_highest;
    (void)pthread_mutex_lock(&cold->table_lock);
    // Above all that was seen, and not above any that will be given: versions
    // are never at or below one seen. It is no version itself: counted as one
    // seen, it would run ahead of those while wall time stands behind.
    facts->created.time_ns = cold->highest.time_ns + 1;
    facts->created.tag = tag;
    (void)pthread_mutex_unlock(&cold->table_lock);
}

static enum cascade_status
create_file(struct tier_segment *cold, struct tier_segment_handle *handle,
            struct segment_writer **writer)
{
    char name[TIER_SEGMENT_NUMBER_BYTES];
    struct segment_write_options options = {
        .io = cold->writer_io,
        .allocator = cold->allocator,
        .directory = cold->lease.directory,
        .name = name,
        .path = handle->path,
        .mode = cold->root.file_mode,
        .staging_bytes = units_min(
            units_max(cold->options.segment_bytes, STAGING_BYTES_MIN),
            STAGING_BYTES_MAX),
    };
    enum cascade_status status;

    tier_segment_file_name(name, sizeof(name), cold->next_number, "seg");
    fill_facts(cold, &options.facts);
    status = segment_write_create(&options, writer);
    if (status == CASCADE_EXISTS) {
        // Left by a creation that failed and could not clean up.
        (void)cold->files->unlink_at(cold->files->self, cold->lease.directory,
                                     name, 0);
        status = segment_write_create(&options, writer);
    }
    if (status != CASCADE_OK) {
        return status;
    }
    status = segment_root_adorn(&cold->root, segment_write_file(*writer)->file,
                                false, handle->path);
    if (status != CASCADE_OK) {
        segment_write_close(*writer);
        (void)cold->files->unlink_at(cold->files->self, cold->lease.directory,
                                     name, 0);
    }
    return status;
}

// Opens a new file in the free slot `slot`, for a block of `block_bytes`. The
// handle comes first, so that a scan never meets the file as a stranger. Before
// the first file the folder gets a layout that suits such blocks.
static enum cascade_status
open_writer(struct tier_segment *cold, uint32_t slot, uint64_t block_bytes)
{
    struct tier_segment_writer *entry = &cold->writers[slot];
    struct tier_segment_handle *handle;
    enum cascade_status status;

    (void)pthread_mutex_lock(&cold->table_lock);
    handle = tier_segment_handle_add(cold, cold->own_directory,
                                     cold->next_number);
    if (handle != NULL) {
        handle->listed = true;
        handle->state = TIER_SEGMENT_ACTIVE;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    if (handle == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for a segment's handle");
    }
    if (cold->next_number == 1) {
        (void)segment_stripe_apply(cold->lease.directory,
                                   segment_stripe_choose(block_bytes));
    }
    status = create_file(cold, handle, &entry->writer);
    (void)pthread_mutex_lock(&cold->table_lock);
    if (status == CASCADE_OK) {
        handle->facts = *segment_write_facts(entry->writer);
        handle->facts_known = true;
        entry->handle = handle;
        entry->leaving = false;
        cold->next_number++;
    } else {
        entry->writer = NULL;
        tier_segment_handle_free(cold, handle);
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    return status;
}

// Copies what the writer knows to the handle. Under writer_lock.
static void
note_state(struct tier_segment *cold, const struct tier_segment_writer *entry)
{
    struct segment_write_state state;

    segment_write_state_of(entry->writer, &state);
    (void)pthread_mutex_lock(&cold->table_lock);
    entry->handle->bytes = state.bytes;
    entry->handle->records = state.records;
    entry->handle->highest = state.highest;
    (void)pthread_mutex_unlock(&cold->table_lock);
    cold->earlier_highest = tier_segment_later(cold->earlier_highest,
                                               state.highest);
}

// After a failed sync: places that are not durable are stale from now on.
static void
condemn(struct tier_segment *cold, struct tier_segment_writer *entry,
        const struct segment_write_state *state)
{
    struct segment_entry one;
    uint64_t count = 0;
    uint64_t *offsets = allocator_array(cold->allocator, state->durable_entries,
                                        sizeof(*offsets));

    for (uint64_t i = 0; offsets != NULL && i < state->durable_entries; i++) {
        segment_write_entry(entry->writer, i, &one);
        if (segment_format_has_payload(&one)) {
            offsets[count++] = one.offset;
        }
    }
    if (count > 1) {
        qsort(offsets, count, sizeof(*offsets), compare_offsets);
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    entry->handle->condemned = true;
    entry->handle->durable = offsets; // without memory none is believed
    entry->handle->durable_count = count;
    (void)pthread_mutex_unlock(&cold->table_lock);
}

// Ends the writer in the slot: the file is sealed, or a tail for good.
static void
close_writer(struct tier_segment *cold, struct tier_segment_writer *entry)
{
    struct segment_write_state state;
    enum tier_segment_state next;

    note_state(cold, entry);
    segment_write_state_of(entry->writer, &state);
    if (state.condemned && state.durable_entries < state.entries) {
        condemn(cold, entry, &state);
    }
    next = state.sealed ? TIER_SEGMENT_SEALED : TIER_SEGMENT_TAIL;
    (void)pthread_mutex_lock(&cold->table_lock);
    // A file that was opened while it grew does not know its footer.
    if (entry->handle->state == TIER_SEGMENT_ACTIVE) {
        entry->handle->state = next;
    }
    cold->sealed += state.sealed;
    (void)pthread_mutex_unlock(&cold->table_lock);
    segment_write_close(entry->writer);
    if (cold->current < TIER_SEGMENT_WRITERS &&
        &cold->writers[cold->current] == entry) {
        cold->current = TIER_SEGMENT_WRITERS;
    }
    memset(entry, 0, sizeof(*entry));
}

// Markers of retired files that this sealed file's header explains.
static void
drop_markers(struct tier_segment *cold, uint64_t lowest)
{
    while (cold->marked_from < lowest) {
        char name[TIER_SEGMENT_NUMBER_BYTES];

        tier_segment_file_name(name, sizeof(name), cold->marked_from, "gone");
        (void)cold->files->unlink_at(cold->files->self, cold->lease.directory,
                                     name, 0);
        cold->marked_from++;
    }
}

static enum cascade_status
seal_writer(struct tier_segment *cold, struct tier_segment_writer *entry)
{
    struct segment_write_state state;
    uint64_t live = segment_write_facts(entry->writer)->lowest_live_number;
    enum cascade_status status = CASCADE_OK;

    // What a full disk leaves no footer for is made durable at least.
    segment_write_state_of(entry->writer, &state);
    if (!state.takes_more && !state.condemned) {
        status = segment_write_sync(entry->writer);
    }
    if (status == CASCADE_OK) {
        status = segment_write_seal(entry->writer);
    }
    close_writer(cold, entry);
    if (status == CASCADE_OK) {
        drop_markers(cold, live);
    }
    return status;
}

// After a seal that failed: what was not durable was lost with it. The answer
// is OK if nothing was.
static enum cascade_status
take_back(struct tier_segment *cold, struct tier_segment_put *puts,
          const struct tier_segment_handle *handle, enum cascade_status settled,
          size_t count)
{
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0; i < count; i++) {
        struct tier_segment_handle *held;

        if (puts[i].status != CASCADE_OK) {
            continue;
        }
        held = block_place_is_set(&puts[i].place)
                   ? tier_segment_handle_hold_place(cold, &puts[i].place)
                   : NULL;
        if (held != NULL) {
            tier_segment_handle_drop(cold, held);
        } else if (block_place_is_set(&puts[i].place) || handle->condemned) {
            puts[i].status = settled;
            status = settled;
        }
    }
    return status;
}

// Writes part of the items, which fit one file. Returns the first failure.
static enum cascade_status
append_group(struct tier_segment *cold, struct tier_segment_put *puts,
             struct segment_write_item *items, size_t count)
{
    struct segment_write_state before;
    struct segment_write_state after;
    struct tier_segment_writer *entry;
    struct tier_segment_handle *handle;
    enum cascade_status settled;
    enum cascade_status status;
    uint64_t largest_bytes = 0;
    uint32_t slot;

    for (size_t i = 0; i < count; i++) {
        largest_bytes = units_max(largest_bytes, puts[i].bytes);
    }
    status = tier_segment_writer_get(cold, largest_bytes, &slot);
    if (status != CASCADE_OK) {
        for (size_t i = 0; i < count; i++) {
            puts[i].status = status;
        }
        return status;
    }
    entry = &cold->writers[slot];
    handle = entry->handle;
    segment_write_state_of(entry->writer, &before);
    status = segment_write_append(entry->writer, items, count);
    for (size_t i = 0; i < count; i++) {
        puts[i].status = items[i].status;
        if (items[i].status == CASCADE_OK) {
            puts[i].segment = handle->number;
            tier_segment_place_of(handle, true, &items[i].entry,
                                  &puts[i].place);
        }
    }
    segment_write_state_of(entry->writer, &after);
    (void)pthread_mutex_lock(&cold->table_lock);
    cold->written_bytes += after.bytes - before.bytes;
    for (size_t i = 0; i < count; i++) {
        if (items[i].status == CASCADE_OK) {
            struct block_version version = items[i].label.version;

            handle->blocks += segment_format_has_payload(&items[i].entry);
            cold->highest = tier_segment_later(cold->highest, version);
            if (block_version_is_zero(handle->lowest) ||
                block_version_compare(version, handle->lowest) < 0) {
                handle->lowest = version;
            }
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    settled = tier_segment_writer_settle(cold, slot);
    if (settled != CASCADE_OK) {
        settled = take_back(cold, puts, handle, settled, count);
    }
    return status != CASCADE_OK ? status : settled;
}

enum cascade_status
tier_segment_may_write(struct tier_segment *cold)
{
    if (!cold->has_lease) {
        return error_set(CASCADE_UNSUPPORTED,
                         "%s was opened to look only; open it to write",
                         cold->root.path);
    }
    if (segment_lease_may_write(&cold->lease)) {
        return CASCADE_OK;
    }
    return segment_lease_renew(&cold->lease);
}

enum cascade_status
tier_segment_writer_get(struct tier_segment *cold, uint64_t block_bytes,
                        uint32_t *writer)
{
    enum cascade_status status;

    if (cold->current == TIER_SEGMENT_WRITERS) {
        uint32_t slot = 0;

        while (slot < TIER_SEGMENT_WRITERS &&
               cold->writers[slot].writer != NULL) {
            slot++;
        }
        if (slot == TIER_SEGMENT_WRITERS) {
            return error_set(CASCADE_BUSY, "too many blocks are being written; "
                                           "try again");
        }
        status = open_writer(cold, slot, block_bytes);
        if (status != CASCADE_OK) {
            return status;
        }
        cold->current = slot;
    }
    *writer = cold->current;
    return CASCADE_OK;
}

enum cascade_status
tier_segment_writer_settle(struct tier_segment *cold, uint32_t writer)
{
    struct tier_segment_writer *entry = &cold->writers[writer];
    struct segment_write_state state;

    note_state(cold, entry);
    segment_write_state_of(entry->writer, &state);
    if (!entry->leaving && state.takes_more && !state.condemned &&
        state.bytes < cold->options.segment_bytes) {
        return CASCADE_OK;
    }
    entry->leaving = true;
    if (cold->current == writer) {
        cold->current = TIER_SEGMENT_WRITERS;
    }
    return state.open_streams > 0 ? CASCADE_OK : seal_writer(cold, entry);
}

void
tier_segment_pace(struct tier_segment *cold, uint64_t bytes)
{
    uint64_t rate = cold->options.write_rate;
    uint64_t now_ns = clock_steady_ns(cold->clock);
    uint64_t debt_ns;

    if (rate == 0) {
        return;
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    debt_ns = cold->pace_ns > now_ns ? cold->pace_ns - now_ns : 0;
    cold->pace_ns = now_ns + debt_ns +
                    (uint64_t)((double)bytes / (double)rate * 1e9);
    while (debt_ns > 0) {
        uint64_t wait_ns = units_min(debt_ns, PACE_NS_MAX);
        struct timespec until;

        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)wait_ns;
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        (void)pthread_cond_timedwait(&cold->paced, &cold->table_lock, &until);
        debt_ns -= wait_ns;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
}

enum cascade_status
tier_segment_writers_end(struct tier_segment *cold)
{
    enum cascade_status status = CASCADE_OK;

    for (uint32_t i = 0; i < TIER_SEGMENT_WRITERS; i++) {
        struct tier_segment_writer *entry = &cold->writers[i];
        enum cascade_status one;

        if (entry->writer == NULL) {
            continue;
        }
        one = seal_writer(cold, entry);
        status = status == CASCADE_OK ? one : status;
    }
    return status;
}

// How many items fill the current file up to where it is sealed.
static size_t
group_count(struct tier_segment *cold, const struct tier_segment_put *puts,
            size_t count)
{
    struct segment_write_state state = {0};
    uint64_t bytes = 0;
    size_t group = 0;

    if (cold->current < TIER_SEGMENT_WRITERS) {
        segment_write_state_of(cold->writers[cold->current].writer, &state);
    }
    while (group < count &&
           (group == 0 || state.bytes + bytes < cold->options.segment_bytes)) {
        bytes += units_round_up(puts[group].bytes, SEGMENT_PACK_BYTES);
        group++;
    }
    return group;
}

enum cascade_status
tier_segment_append(struct tier_segment *cold, struct tier_segment_put *puts,
                    size_t count)
{
    struct segment_write_item *items;
    enum cascade_status first = CASCADE_OK;
    uint64_t bytes = 0;

    items = allocator_array(cold->allocator, count, sizeof(*items));
    if (items == NULL) {
        for (size_t i = 0; i < count; i++) {
            puts[i].status = CASCADE_NO_MEMORY;
        }
        return error_set(CASCADE_NO_MEMORY, "no memory to append blocks");
    }
    for (size_t i = 0; i < count; i++) {
        memset(&puts[i].place, 0, sizeof(puts[i].place));
        puts[i].status = CASCADE_CLOSED;
        items[i].label = puts[i].label;
        items[i].payload = puts[i].payload;
        items[i].bytes = puts[i].bytes;
        items[i].checksum = puts[i].checksum;
        bytes += puts[i].bytes;
    }
    tier_segment_pace(cold, bytes);
    (void)pthread_mutex_lock(&cold->writer_lock);
    for (size_t done = 0; done < count;) {
        size_t group = group_count(cold, puts + done, count - done);
        enum cascade_status status = tier_segment_may_write(cold);

        if (status != CASCADE_OK) {
            for (size_t i = done; i < count; i++) {
                puts[i].status = status;
            }
            first = first == CASCADE_OK ? status : first;
            break;
        }
        status = append_group(cold, puts + done, items + done, group);
        first = first == CASCADE_OK ? status : first;
        done += group;
        // An item that was wrong concerns no other; a failing disk does.
        if (status != CASCADE_OK && status != CASCADE_CORRUPT &&
            status != CASCADE_INVALID) {
            for (size_t i = done; i < count; i++) {
                puts[i].status = status;
            }
            break;
        }
    }
    (void)pthread_mutex_unlock(&cold->writer_lock);
    allocator_release(cold->allocator, items);
    return first;
}

enum cascade_status
tier_segment_sync(struct tier_segment *cold)
{
    enum cascade_status status = CASCADE_OK;
    enum cascade_status renewed;

    if (!cold->has_lease) {
        return error_set(CASCADE_UNSUPPORTED,
                         "%s was opened to look only; open it to write",
                         cold->root.path);
    }
    (void)pthread_mutex_lock(&cold->writer_lock);
    for (uint32_t i = 0; i < TIER_SEGMENT_WRITERS; i++) {
        struct tier_segment_writer *entry = &cold->writers[i];
        struct segment_write_state state;
        enum cascade_status one;

        if (entry->writer == NULL) {
            continue;
        }
        segment_write_state_of(entry->writer, &state);
        if (state.durable_entries == state.entries) {
            continue;
        }
        one = segment_write_sync(entry->writer);
        status = status == CASCADE_OK ? one : status;
        if (one != CASCADE_OK) {
            // It is condemned: this closes it, and cannot succeed.
            enum cascade_status closed = tier_segment_writer_settle(cold, i);

            (void)closed;
        }
    }
    // Lost since the sync means: somebody else decides what these files hold.
    renewed = segment_lease_renew(&cold->lease);
    (void)pthread_mutex_unlock(&cold->writer_lock);
    return status != CASCADE_OK ? status : renewed;
}

enum cascade_status
tier_segment_seal(struct tier_segment *cold)
{
    enum cascade_status status = CASCADE_OK;

    (void)pthread_mutex_lock(&cold->writer_lock);
    if (cold->current < TIER_SEGMENT_WRITERS) {
        uint32_t writer = cold->current;
        struct segment_write_state state;

        segment_write_state_of(cold->writers[writer].writer, &state);
        status = tier_segment_may_write(cold);
        if (status == CASCADE_OK &&
            (state.entries > 0 || state.open_streams > 0)) {
            cold->writers[writer].leaving = true;
            status = tier_segment_writer_settle(cold, writer);
        }
    }
    (void)pthread_mutex_unlock(&cold->writer_lock);
    return status;
}
