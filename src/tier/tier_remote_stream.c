// SPDX-License-Identifier: Apache-2.0
//
// A block on its way here in chunks, through bounce memory: the engine's part
// begins chunks while there is room in the window, the reader's part copies
// them out, checked, in order. They talk by requests of this rank to itself:
// the reader asks for the next chunk, and is answered when it has landed.
//
// A reader may leave at any time. What it began then goes on without it, into
// bounce memory, until the last transfer has ended: an owner that has promised
// to send does send, and somebody must take it.
//
// Locks: stream_lock over the list of free streams. All else of a stream is
// the engine thread's, but for what its reader fills before its first message.

#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "tier/tier_remote_inner.h"
#include "tier/tier_scatter.h"

#define BOUNCE_ALIGNMENT 4096

static struct tier_remote_stream *
take_stream(struct tier_remote *remote)
{
    struct tier_remote_stream *stream = NULL;

    tier_remote_lock(&remote->stream_lock);
    if (remote->free_stream != TIER_REMOTE_NONE) {
        stream = &remote->streams[remote->free_stream];
        remote->free_stream = stream->next;
    }
    tier_remote_unlock(&remote->stream_lock);
    return stream;
}

// --- the engine's part

static void
pump(struct tier_remote_stream *stream);

static void
part_ended(struct fabric_transfer *transfer, enum cascade_status status);

static void
answer(struct tier_remote_stream *stream, enum cascade_status status)
{
    struct tier_remote *remote = stream->remote;
    struct tier_remote_turn_answer text = {.place = stream->place};

    if (!stream->waits) {
        return;
    }
    stream->waits = false;
    if (status == CASCADE_OK) {
        text.memory = (uint64_t)(uintptr_t)(remote->bounce +
                                            stream->bounce_offset +
                                            stream->turn % stream->window *
                                                stream->part_bytes);
    }
    fabric_port_answer(remote->options.port, stream->answer, status, &text,
                       status == CASCADE_OK ? sizeof(text) : 0);
}

// Bounce memory for the window, or as much of it as there can be. False: not
// now.
static bool
take_bounce(struct tier_remote_stream *stream)
{
    struct tier_remote *remote = stream->remote;
    struct extent extent;

    if (extent_allocate(remote->bounce_map, stream->window * stream->part_bytes,
                        stream->index, &extent) != CASCADE_OK) {
        return false;
    }
    stream->bounce_offset = extent.offset;
    stream->has_bounce = true;
    return true;
}

static void
fail(struct tier_remote_stream *stream, enum cascade_status status)
{
    if (stream->state != TIER_REMOTE_STREAM_FAILED) {
        stream->state = TIER_REMOTE_STREAM_FAILED;
        stream->failure = status;
    }
    answer(stream, stream->failure);
}

static void
fetched(struct fabric_call *call)
{
    struct tier_remote_stream *stream = call->context;

    if (call->status != CASCADE_OK) {
        fail(stream, call->status);
    } else if (call->reply_bytes != sizeof(stream->grant) ||
               stream->grant.place.bytes != stream->wanted.bytes) {
        fail(stream, CASCADE_STALE);
    } else {
        stream->place = stream->grant.place;
        stream->state = TIER_REMOTE_STREAM_FLOWING;
    }
    pump(stream);
}

// With bounce memory in hand: asks the owner to send, or begins to read. The
// question has no end of its own: an answer that came too late would leave an
// owner with sends that nobody takes.
static void
begin(struct tier_remote_stream *stream)
{
    struct tier_remote *remote = stream->remote;

    if (!stream->fetch) {
        stream->state = TIER_REMOTE_STREAM_FLOWING;
        pump(stream);
        return;
    }
    stream->state = TIER_REMOTE_STREAM_ASKED;
    stream->call = (struct fabric_call){
        .to = stream->rank,
        .subject = (uint8_t)(remote->options.subject +
                             TIER_REMOTE_SUBJECT_FETCH),
        .data = &stream->wanted,
        .bytes = sizeof(stream->wanted),
        .reply = &stream->grant,
        .reply_room = sizeof(stream->grant),
        .deadline_ns = UINT64_MAX,
        .ended = fetched,
        .context = stream,
    };
    fabric_port_begin(remote->options.port, &stream->call);
}

// Those that wait for bounce memory come in their order.
static void
begin_queued(struct tier_remote *remote)
{
    while (remote->queue_first != TIER_REMOTE_NONE) {
        struct tier_remote_stream *stream =
            &remote->streams[remote->queue_first];

        if (!take_bounce(stream)) {
            return;
        }
        remote->queue_first = stream->next;
        if (remote->queue_first == TIER_REMOTE_NONE) {
            remote->queue_last = TIER_REMOTE_NONE;
        }
        begin(stream);
    }
}

static void
leave_queue(struct tier_remote_stream *stream)
{
    struct tier_remote *remote = stream->remote;
    uint32_t before = TIER_REMOTE_NONE;
    uint32_t index = remote->queue_first;

    while (index != stream->index) {
        before = index;
        index = remote->streams[index].next;
    }
    if (before == TIER_REMOTE_NONE) {
        remote->queue_first = stream->next;
    } else {
        remote->streams[before].next = stream->next;
    }
    if (remote->queue_last == stream->index) {
        remote->queue_last = before;
    }
}

static void
start(struct tier_remote_stream *stream)
{
    struct tier_remote *remote = stream->remote;

    if (remote->queue_first == TIER_REMOTE_NONE && take_bounce(stream)) {
        begin(stream);
        return;
    }
    stream->state = TIER_REMOTE_STREAM_QUEUED;
    stream->next = TIER_REMOTE_NONE;
    if (remote->queue_last == TIER_REMOTE_NONE) {
        remote->queue_first = stream->index;
    } else {
        remote->streams[remote->queue_last].next = stream->index;
    }
    remote->queue_last = stream->index;
}

// Whether nothing refers to the stream any more.
static bool
is_over(const struct tier_remote_stream *stream)
{
    if (!stream->left || stream->under_way > 0 ||
        stream->state == TIER_REMOTE_STREAM_ASKED) {
        return false;
    }
    return !stream->fetch || stream->state == TIER_REMOTE_STREAM_FAILED ||
           stream->state == TIER_REMOTE_STREAM_GIVEN ||
           stream->started == stream->chunks;
}

static void
end_stream(struct tier_remote_stream *stream)
{
    struct tier_remote *remote = stream->remote;
    bool had_bounce = stream->has_bounce;

    if (had_bounce) {
        extent_release(remote->bounce_map, stream->index);
        stream->has_bounce = false;
    }
    stream->state = TIER_REMOTE_STREAM_FREE;
    tier_remote_lock(&remote->stream_lock);
    stream->serial++;
    stream->next = remote->free_stream;
    remote->free_stream = stream->index;
    tier_remote_unlock(&remote->stream_lock);
    if (had_bounce) {
        begin_queued(remote);
    }
}

static void
begin_chunk(struct tier_remote_stream *stream, struct tier_remote_part *part)
{
    struct tier_remote *remote = stream->remote;
    uint64_t offset = stream->started * stream->wanted.chunk_bytes;
    uint64_t bytes = units_min(stream->wanted.bytes - offset,
                               stream->wanted.chunk_bytes);
    uint8_t *memory = remote->bounce + stream->bounce_offset +
                      stream->started % stream->window * stream->part_bytes;

    part->stream = stream;
    part->chunk = stream->started;
    part->under_way = true;
    part->landed = false;
    part->transfer = (struct fabric_transfer){.ended = part_ended,
                                              .context = part};
    stream->under_way++;
    stream->started++;
    if (stream->fetch) {
        fabric_port_land(remote->options.port, stream->rank,
                         stream->wanted.tag + part->chunk, memory, bytes,
                         &part->transfer);
    } else {
        fabric_port_read(remote->options.port, stream->rank,
                         stream->place.offset + offset, memory, bytes,
                         &part->transfer);
    }
}

// Begins what there is room for, answers a reader whose chunk is here, and ends
// a stream that is over.
static void
pump(struct tier_remote_stream *stream)
{
    while (stream->state == TIER_REMOTE_STREAM_FLOWING &&
           stream->started < stream->chunks &&
           (stream->fetch || !stream->left)) {
        struct tier_remote_part *part =
            &stream->parts[stream->started % stream->window];

        if (part->under_way ||
            (!stream->left &&
             stream->started >= stream->copied + stream->window)) {
            break;
        }
        begin_chunk(stream, part);
    }
    if (stream->waits && stream->state == TIER_REMOTE_STREAM_FLOWING) {
        struct tier_remote_part *part =
            &stream->parts[stream->turn % stream->window];

        if (stream->chunks == 0 ||
            (part->chunk == stream->turn && part->landed)) {
            answer(stream, CASCADE_OK);
        }
    }
    if (is_over(stream)) {
        end_stream(stream);
    }
}

static void
part_ended(struct fabric_transfer *transfer, enum cascade_status status)
{
    struct tier_remote_part *part = transfer->context;
    struct tier_remote_stream *stream = part->stream;

    part->under_way = false;
    stream->under_way--;
    if (status == CASCADE_OK) {
        part->landed = true;
    } else {
        fail(stream, status);
    }
    pump(stream);
}

// The reader asks for its next chunk.
static void
handle_turn(void *context, const struct fabric_message *message)
{
    struct tier_remote *remote = context;
    struct tier_remote_stream *stream;
    struct tier_remote_turn turn;

    check(message->bytes == sizeof(turn) && message->from == remote->rank);
    memcpy(&turn, message->data, sizeof(turn));
    stream = &remote->streams[turn.stream];
    // Its reader has given up meanwhile.
    if (stream->serial != turn.serial || stream->left) {
        fabric_port_answer(remote->options.port, message->answer,
                           CASCADE_CANCELLED, NULL, 0);
        return;
    }
    stream->waits = true;
    stream->answer = message->answer;
    stream->turn = turn.chunk;
    stream->copied = turn.chunk;
    if (stream->state == TIER_REMOTE_STREAM_GIVEN) {
        start(stream);
    } else if (stream->state == TIER_REMOTE_STREAM_FAILED) {
        answer(stream, stream->failure);
    } else {
        pump(stream);
    }
}

static void
leave(struct fabric_post *post)
{
    struct tier_remote_stream *stream = post->context;

    stream->left = true;
    answer(stream, CASCADE_CANCELLED);
    if (stream->state == TIER_REMOTE_STREAM_QUEUED) {
        leave_queue(stream);
        stream->state = TIER_REMOTE_STREAM_FAILED;
    }
    if (stream->under_way > 0 || stream->state == TIER_REMOTE_STREAM_ASKED) {
        tier_remote_count(&stream->remote->late);
    }
    pump(stream);
}

// --- the reader's part

static void
prepare(struct tier_remote_stream *stream, const struct tier_remote_read *read,
        const struct tier_remote_grant *grant)
{
    struct tier_remote *remote = stream->remote;
    uint64_t chunk_bytes = remote->chunk_bytes;
    uint64_t chunks = (read->bytes + chunk_bytes - 1) / chunk_bytes;

    stream->rank = read->rank;
    stream->fetch = grant == NULL;
    stream->wanted = (struct tier_remote_wanted){
        .id = read->id,
        .bytes = read->bytes,
        .chunk_bytes = chunk_bytes,
        .tag = atomic_fetch_add(&remote->tag, chunks),
    };
    memset(&stream->place, 0, sizeof(stream->place));
    if (grant != NULL) {
        stream->place = grant->place;
    }
    stream->leave.run = leave;
    stream->leave.context = stream;
    stream->state = TIER_REMOTE_STREAM_GIVEN;
    stream->failure = CASCADE_OK;
    stream->left = false;
    stream->waits = false;
    stream->chunks = chunks;
    stream->copied = 0;
    stream->started = 0;
    stream->under_way = 0;
    stream->window = (uint32_t)units_min(TIER_REMOTE_WINDOW,
                                         units_max(chunks, 1));
    stream->part_bytes = units_min(chunk_bytes, read->bytes);
    for (uint32_t i = 0; i < TIER_REMOTE_WINDOW; i++) {
        stream->parts[i].under_way = false;
        stream->parts[i].landed = false;
    }
}

// Waits for a chunk; its address.
static enum cascade_status
ask_turn(struct tier_remote_stream *stream, uint64_t chunk,
         uint64_t deadline_ns, struct tier_remote_turn_answer *text)
{
    struct tier_remote *remote = stream->remote;
    const struct tier_remote_turn turn = {
        .stream = stream->index, .serial = stream->serial, .chunk = chunk};
    struct fabric_call call = {
        .to = remote->rank,
        .subject = (uint8_t)(remote->options.subject +
                             TIER_REMOTE_SUBJECT_CHUNK),
        .data = &turn,
        .bytes = sizeof(turn),
        .reply = text,
        .reply_room = sizeof(*text),
        .deadline_ns = deadline_ns,
    };

    return fabric_port_ask(remote->options.port, &call);
}

static enum cascade_status
copy_chunks(struct tier_remote_stream *stream, struct tier_remote_read *read,
            struct tier_scatter_part *part, struct block_place *place)
{
    struct pool *pool = stream->remote->options.pool;
    uint64_t chunk_bytes = stream->wanted.chunk_bytes;
    uint64_t chunk = 0;

    do {
        struct tier_remote_turn_answer text;
        uint64_t offset = chunk * chunk_bytes;
        uint64_t bytes = units_min(read->bytes - offset, chunk_bytes);
        enum cascade_status status = ask_turn(stream, chunk, read->deadline_ns,
                                              &text);

        if (status != CASCADE_OK) {
            return error_set(status,
                             "rank %u did not serve a block of %llu bytes: %s",
                             read->rank, (unsigned long long)read->bytes,
                             cascade_status_sentence(status));
        }
        if (bytes > 0) {
            read->given = true;
            tier_scatter_next(pool, part, (const void *)(uintptr_t)text.memory,
                              bytes, true);
        }
        *place = text.place;
        chunk++;
    } while (chunk < stream->chunks);
    return CASCADE_OK;
}

enum cascade_status
tier_remote_stream_read(struct tier_remote *remote,
                        struct tier_remote_read *read,
                        const struct tier_remote_grant *grant,
                        struct block_place *place)
{
    struct tier_scatter_part part;
    struct block_place found;
    struct tier_remote_stream *stream;
    enum cascade_status status = tier_scatter_begin(
        &part, read->spans, read->span_count, read->bytes);

    if (status != CASCADE_OK) {
        return status;
    }
    if (remote->bounce == NULL) {
        return error_set(CASCADE_UNSUPPORTED,
                         "there is no memory to receive blocks of other nodes");
    }
    stream = take_stream(remote);
    if (stream == NULL) {
        return error_set(CASCADE_NO_SPACE,
                         "%d reads of other ranks are under way already",
                         TIER_REMOTE_STREAMS);
    }
    prepare(stream, read, grant);
    status = copy_chunks(stream, read, &part, &found);
    // From here on the stream is the engine's.
    fabric_port_post(remote->options.port, &stream->leave);
    if (status != CASCADE_OK) {
        return status;
    }
    *place = found;
    if (part.checksum != found.checksum) {
        return error_set(CASCADE_CORRUPT,
                         "a block of %llu bytes from rank %u has checksum "
                         "%08x, not %08x",
                         (unsigned long long)read->bytes, read->rank,
                         part.checksum, found.checksum);
    }
    return CASCADE_OK;
}

enum cascade_status
tier_remote_stream_open(struct tier_remote *remote)
{
    const struct allocator *allocator = remote->options.allocator;
    uint64_t bounce_bytes = units_round_down(remote->options.bounce_bytes,
                                             BOUNCE_ALIGNMENT);

    remote->streams = allocator_array(allocator, TIER_REMOTE_STREAMS,
                                      sizeof(remote->streams[0]));
    if (remote->streams == NULL) {
        return CASCADE_NO_MEMORY;
    }
    remote->free_stream = TIER_REMOTE_NONE;
    remote->queue_first = TIER_REMOTE_NONE;
    remote->queue_last = TIER_REMOTE_NONE;
    for (uint32_t i = TIER_REMOTE_STREAMS; i-- > 0;) {
        remote->streams[i].remote = remote;
        remote->streams[i].index = i;
        remote->streams[i].next = remote->free_stream;
        remote->free_stream = i;
    }
    if (bounce_bytes == 0) {
        return CASCADE_OK;
    }
    remote->bounce = allocator_aligned(allocator, bounce_bytes,
                                       BOUNCE_ALIGNMENT);
    return remote->bounce == NULL
               ? CASCADE_NO_MEMORY
               : extent_create(allocator, bounce_bytes, BOUNCE_ALIGNMENT,
                               TIER_REMOTE_STREAMS, &remote->bounce_map);
}

void
tier_remote_stream_listen(struct tier_remote *remote)
{
    fabric_port_handle(
        remote->options.port,
        (uint8_t)(remote->options.subject + TIER_REMOTE_SUBJECT_CHUNK),
        handle_turn, remote);
}

void
tier_remote_stream_close(struct tier_remote *remote)
{
    extent_destroy(remote->bounce_map);
    allocator_release(remote->options.allocator, remote->bounce);
    allocator_release(remote->options.allocator, remote->streams);
}
