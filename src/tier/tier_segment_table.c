// SPDX-License-Identifier: Apache-2.0
//
// The cold tier as any other: one block at a time through the tier table; many
// at once: tier_segment_many.c. A block that is put directly streams through
// aligned staging memory; its header is written last.
//
// What differs from memory: a place taken out of service frees no space, which
// comes back with its segment, and pins count for the segment as a whole.
//
// Locks: writer_lock around each piece written; table_lock for references.
// Reads hold a reference and no lock.

#include "tier/tier_segment_inner.h"

#include <string.h>

#include "base/check.h"
#include "base/error.h"
#include "base/units.h"

// Goes through a list of spans piece by piece.
struct cursor {
    const struct cascade_const_span *spans;
    size_t span_count;
    size_t span;
    size_t offset;
};

static void
take_bytes(struct cursor *cursor, uint8_t *to, size_t bytes)
{
    while (bytes > 0) {
        const struct cascade_const_span *span = &cursor->spans[cursor->span];
        size_t now = (size_t)units_min(bytes, span->bytes - cursor->offset);

        if (now > 0) {
            memcpy(to, (const uint8_t *)span->data + cursor->offset, now);
        }
        to += now;
        bytes -= now;
        cursor->offset += now;
        if (cursor->offset == span->bytes) {
            cursor->span++;
            cursor->offset = 0;
        }
    }
}

static enum cascade_status
check_spans(const struct cascade_const_span *spans, size_t span_count,
            uint64_t bytes)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "segments take bytes from host memory only");
        }
        sum += spans[i].bytes;
    }
    if (sum != bytes) {
        return error_set(CASCADE_INVALID,
                         "the spans hold %llu bytes, the slot %llu",
                         (unsigned long long)sum, (unsigned long long)bytes);
    }
    return CASCADE_OK;
}

// The stream of a slot; checked, because a stale slot is a programmer's error.
static struct tier_segment_stream *
stream_of(struct tier_segment *cold, const struct tier_slot *slot)
{
    struct tier_segment_stream *stream;

    check(slot->number < TIER_SEGMENT_STREAMS);
    stream = &cold->streams[slot->number];
    check(stream->stream != NULL || stream->ended);
    check(stream->generation == slot->generation);
    return stream;
}

static enum cascade_status
reserve(void *self, uint64_t bytes, struct tier_slot *slot)
{
    struct tier_segment *cold = self;
    struct tier_segment_stream *stream;
    enum cascade_status status;
    uint32_t number = 0;
    uint32_t writer;

    if (bytes > CASCADE_BLOCK_BYTES_MAX) {
        return error_set(CASCADE_TOO_LARGE,
                         "a segment holds no block of %llu "
                         "bytes",
                         (unsigned long long)bytes);
    }
    (void)pthread_mutex_lock(&cold->writer_lock);
    while (
        number < TIER_SEGMENT_STREAMS &&
        (cold->streams[number].stream != NULL || cold->streams[number].ended)) {
        number++;
    }
    if (number == TIER_SEGMENT_STREAMS) {
        status = error_set(CASCADE_NO_SPACE,
                           "too many blocks are being written to segments");
        goto unlock;
    }
    status = tier_segment_may_write(cold);
    if (status == CASCADE_OK) {
        status = tier_segment_writer_get(cold, bytes, &writer);
    }
    if (status != CASCADE_OK) {
        goto unlock;
    }
    stream = &cold->streams[number];
    status = segment_write_begin(cold->writers[writer].writer, bytes,
                                 &stream->stream);
    if (status != CASCADE_OK) {
        stream->stream = NULL;
        goto unlock;
    }
    stream->generation++;
    stream->writer = writer;
    stream->bytes = bytes;
    memset(slot, 0, sizeof(*slot));
    slot->number = number;
    slot->generation = stream->generation;
    slot->offset = segment_write_stream_offset(stream->stream);
    slot->bytes = bytes;

unlock:
    (void)pthread_mutex_unlock(&cold->writer_lock);
    return status;
}

static enum cascade_status
write_spans(void *self, struct tier_slot *slot,
            const struct cascade_const_span *spans, size_t span_count,
            uint32_t wanted, struct block_digest *digest)
{
    struct tier_segment *cold = self;
    struct tier_segment_stream *stream = stream_of(cold, slot);
    struct cursor cursor = {.spans = spans, .span_count = span_count};
    uint64_t piece_bytes = units_min(TIER_SEGMENT_FEED_BYTES,
                                     units_round_up(slot->bytes + 1, 65536));
    struct block_id_stream *hash = NULL;
    enum cascade_status status = check_spans(spans, span_count, slot->bytes);
    uint8_t *piece;

    if (status != CASCADE_OK) {
        return status;
    }
    tier_segment_pace(cold, slot->bytes);
    piece = allocator_aligned(cold->allocator, piece_bytes,
                              SEGMENT_ALIGNMENT_MAX);
    hash = allocator_array(cold->allocator, 1, sizeof(*hash));
    if (piece == NULL || hash == NULL) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to write a block");
        goto release;
    }
    block_id_start(hash);
    for (uint64_t done = 0; done < slot->bytes && status == CASCADE_OK;) {
        uint64_t now = units_min(piece_bytes, slot->bytes - done);

        take_bytes(&cursor, piece, now);
        if ((wanted & BLOCK_DIGEST_ID) != 0) {
            block_id_add(hash, piece, now);
        }
        (void)pthread_mutex_lock(&cold->writer_lock);
        status = tier_segment_may_write(cold);
        if (status == CASCADE_OK) {
            status = segment_write_feed(stream->stream, piece, now);
        }
        (void)pthread_mutex_unlock(&cold->writer_lock);
        done += now;
    }
    if (status == CASCADE_OK) {
        memset(digest, 0, sizeof(*digest));
        if ((wanted & BLOCK_DIGEST_ID) != 0) {
            block_id_finish(hash, &digest->id);
        }
        if ((wanted & BLOCK_DIGEST_CHECKSUM) != 0) {
            digest->checksum = segment_write_stream_checksum(stream->stream);
        }
    }

release:
    allocator_release(cold->allocator, hash);
    allocator_release(cold->allocator, piece);
    return status;
}

static enum cascade_status
commit(void *self, struct tier_slot *slot, const struct block_label *label,
       const struct block_digest *digest, struct block_place *place)
{
    struct tier_segment *cold = self;
    struct tier_segment_stream *stream;
    struct tier_segment_handle *handle;
    struct segment_entry entry;
    struct block_place made;
    enum cascade_status status;
    enum cascade_status settled;
    uint32_t writer;

    (void)pthread_mutex_lock(&cold->writer_lock);
    stream = stream_of(cold, slot);
    writer = stream->writer;
    handle = cold->writers[writer].handle;
    status = tier_segment_may_write(cold);
    if (status == CASCADE_OK) {
        uint32_t checksum = segment_write_stream_checksum(stream->stream);

        if (digest->checksum != 0) {
            checksum = digest->checksum;
        }
        status = segment_write_finish(stream->stream, label, checksum, &entry);
    }
    if (status != CASCADE_OK) {
        goto unlock;
    }
    stream->stream = NULL;
    tier_segment_place_of(handle, true, &entry, &made);
    (void)pthread_mutex_lock(&cold->table_lock);
    handle->blocks++;
    cold->written_bytes += entry.bytes;
    cold->highest = tier_segment_later(cold->highest, label->version);
    if (block_version_is_zero(handle->lowest) ||
        block_version_compare(label->version, handle->lowest) < 0) {
        handle->lowest = label->version;
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    settled = tier_segment_writer_settle(cold, writer);
    if (settled != CASCADE_OK) {
        struct tier_segment_handle *held = tier_segment_handle_hold_place(
            cold, &made);

        // The seal failed; the block stays if it was durable already, else the
        // caller abandons what is left of the slot.
        if (held != NULL) {
            tier_segment_handle_drop(cold, held);
        } else {
            stream->ended = true;
            status = settled;
            goto unlock;
        }
    }
    *place = made;

unlock:
    (void)pthread_mutex_unlock(&cold->writer_lock);
    return status;
}

static void
abandon(void *self, struct tier_slot *slot)
{
    struct tier_segment *cold = self;
    struct tier_segment_stream *stream;
    enum cascade_status settled = CASCADE_OK;
    uint32_t writer;

    (void)pthread_mutex_lock(&cold->writer_lock);
    stream = stream_of(cold, slot);
    writer = stream->writer;
    if (stream->ended) {
        stream->ended = false;
        goto unlock;
    }
    segment_write_abort(stream->stream);
    stream->stream = NULL;
    settled = tier_segment_writer_settle(cold, writer);
    if (settled != CASCADE_OK) {
        log_write(cold->options.log, LOG_LEVEL_WARNING, "%s", error_message());
    }

unlock:
    (void)pthread_mutex_unlock(&cold->writer_lock);
}

static enum cascade_status
pin(void *self, const struct block_place *place, struct tier_pin *pinned)
{
    if (tier_segment_handle_hold_place(self, place) == NULL) {
        return error_set(CASCADE_STALE, "the segment of that block is gone");
    }
    pinned->place = *place;
    pinned->memory = NULL;
    return CASCADE_OK;
}

// The handle of a pinned place.
static struct tier_segment_handle *
handle_of(struct tier_segment *cold, const struct block_place *place)
{
    struct tier_segment_handle *handle;

    (void)pthread_mutex_lock(&cold->table_lock);
    check(place->slot < cold->handle_count);
    handle = cold->handles[place->slot];
    check(handle != NULL && handle->generation == place->generation);
    (void)pthread_mutex_unlock(&cold->table_lock);
    return handle;
}

static void
unpin(void *self, struct tier_pin *pinned)
{
    // The pin's reference keeps the handle where the place says.
    tier_segment_handle_drop(self, handle_of(self, &pinned->place));
    memset(pinned, 0, sizeof(*pinned));
}

static void
scatter(const uint8_t *from, uint64_t bytes, const struct cascade_span *spans,
        size_t span_count)
{
    for (size_t i = 0; i < span_count && bytes > 0; i++) {
        size_t now = (size_t)units_min(bytes, spans[i].bytes);

        if (now > 0) {
            memcpy(spans[i].data, from, now);
        }
        from += now;
        bytes -= now;
    }
}

static enum cascade_status
read_pinned(void *self, const struct tier_pin *pinned,
            const struct cascade_span *spans, size_t span_count, bool verify)
{
    struct tier_segment *cold = self;
    const struct block_place *place = &pinned->place;
    struct tier_segment_reader *reader;
    struct segment_read_request request;
    struct tier_segment_handle *handle;
    uint64_t room = 0;
    enum cascade_status status;
    void *memory = NULL;
    void *target;

    (void)verify; // bytes that cross storage are always checked
    for (size_t i = 0; i < span_count; i++) {
        if (spans[i].memory != CASCADE_MEMORY_HOST) {
            return error_set(CASCADE_UNSUPPORTED,
                             "segments give bytes to host memory only");
        }
        room += spans[i].bytes;
    }
    if (room < place->bytes) {
        return error_set(CASCADE_TOO_SMALL, "the spans hold %llu of %llu bytes",
                         (unsigned long long)room,
                         (unsigned long long)place->bytes);
    }
    target = span_count > 0 ? spans[0].data : NULL;
    room = span_count > 0 ? spans[0].bytes : 0;
    if (room < place->bytes) {
        room = units_round_up(place->bytes, SEGMENT_ALIGNMENT_MAX);
        memory = allocator_aligned(cold->allocator, room,
                                   SEGMENT_ALIGNMENT_MAX);
        target = memory;
        if (memory == NULL) {
            return error_set(CASCADE_NO_MEMORY, "no memory to read a block");
        }
    }
    status = tier_segment_reader_take(cold, &reader);
    if (status != CASCADE_OK) {
        goto release;
    }
    handle = handle_of(cold, place);
    status = tier_segment_handle_open(cold, handle, reader->reader);
    if (status == CASCADE_OK) {
        tier_segment_fill_request(handle, place, NULL, target, room, &request);
        // The caller's room past the block is not ours to write to.
        request.memory_bytes = memory == NULL ? place->bytes : room;
        status = segment_read_payloads(reader->reader, &request, 1);
    }
    tier_segment_reader_give(cold, reader);
    if (status == CASCADE_OK && memory != NULL) {
        scatter(memory, place->bytes, spans, span_count);
    }

release:
    allocator_release(cold->allocator, memory);
    return status;
}

// Keeps the offset among the released ones. Under table_lock.
static bool
note_released(struct tier_segment *cold, struct tier_segment_handle *handle,
              uint64_t offset)
{
    uint64_t at = handle->released_count;

    if (handle->released_count == handle->released_room) {
        uint64_t room = handle->released_room * 2 + 16;
        uint64_t *larger = allocator_array(cold->allocator, room,
                                           sizeof(*larger));

        if (larger == NULL) {
            return false;
        }
        if (at > 0) {
            memcpy(larger, handle->released, at * sizeof(*larger));
        }
        allocator_release(cold->allocator, handle->released);
        handle->released = larger;
        handle->released_room = room;
    }
    while (at > 0 && handle->released[at - 1] > offset) {
        at--;
    }
    memmove(&handle->released[at + 1], &handle->released[at],
            (handle->released_count - at) * sizeof(*handle->released));
    handle->released[at] = offset;
    handle->released_count++;
    return true;
}

static enum cascade_status
release(void *self, const struct block_place *place, bool only_unpinned)
{
    struct tier_segment *cold = self;
    struct tier_segment_handle *handle = tier_segment_handle_hold_place(cold,
                                                                        place);
    enum cascade_status status = CASCADE_OK;

    if (handle == NULL) {
        return error_set(CASCADE_STALE, "the segment of that block is gone");
    }
    (void)pthread_mutex_lock(&cold->table_lock);
    if (only_unpinned && handle->references > 1) {
        status = error_set(CASCADE_BUSY, "%s is being read", handle->path);
    } else if (!note_released(cold, handle, place->offset)) {
        status = error_set(CASCADE_NO_MEMORY, "no memory to release a block");
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
    tier_segment_handle_drop(cold, handle);
    return status;
}

static void
usage(void *self, struct tier_usage *out)
{
    struct tier_segment *cold = self;
    struct tier_segment_usage all;

    tier_segment_usage_of(cold, &all);
    out->capacity_bytes = cold->options.capacity_bytes;
    out->used_bytes = all.own_bytes;
    out->blocks = 0;
    (void)pthread_mutex_lock(&cold->table_lock);
    for (uint32_t i = 0; i < cold->handle_count; i++) {
        const struct tier_segment_handle *handle = cold->handles[i];

        if (handle != NULL && handle->state != TIER_SEGMENT_GONE &&
            cold->directories[handle->directory].relation >=
                TIER_SEGMENT_ADOPTED) {
            out->blocks += handle->blocks - handle->released_count;
        }
    }
    (void)pthread_mutex_unlock(&cold->table_lock);
}

const struct tier_table tier_segment_table = {
    .name = "segments",
    .tier = CASCADE_TIER_SEGMENTS,
    .capabilities = TIER_PERSISTENT,
    .reserve = reserve,
    .write = write_spans,
    .commit = commit,
    .abandon = abandon,
    .pin = pin,
    .read = read_pinned,
    .unpin = unpin,
    .release = release,
    .usage = usage,
};
