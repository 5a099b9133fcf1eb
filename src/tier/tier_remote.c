// SPDX-License-Identifier: Apache-2.0
//
// The ladder: which rung a read takes, and what is tried again. The rungs are
// tier_remote_near.c (1) and tier_remote_stream.c (2, 3), the owner's side is
// tier_remote_loan.c. See tier_remote.h.
//
// Locks: none here.

#include "tier/tier_remote.h"

#include <string.h>

#include "base/error.h"
#include "base/units.h"
#include "block/block_digest.h"
#include "tier/tier_remote_inner.h"

#define CHUNK_BYTES_DEFAULT (8 * MIB)
// Of a lease, what is left to clocks that do not agree.
#define MARGIN_FRACTION 8
// Reads of a copy that is not what its checksum says.
#define TRIES_MAX 2

static bool
is_near(const struct tier_remote *remote, uint16_t rank)
{
    return remote->options.node != NULL &&
           fabric_node_is_near(remote->options.node, rank);
}

// The best rung beside memory of the node.
static enum tier_remote_rung
far_rung(const struct tier_remote *remote)
{
    if ((remote->options.capabilities & FABRIC_READ) != 0) {
        return TIER_REMOTE_READ;
    }
    return (remote->options.capabilities & FABRIC_BULK) != 0 ? TIER_REMOTE_FETCH
                                                             : TIER_REMOTE_ANY;
}

static enum tier_remote_rung
choose_rung(const struct tier_remote *remote, uint16_t rank)
{
    if (remote->options.rung != TIER_REMOTE_ANY) {
        return remote->options.rung;
    }
    return is_near(remote, rank) ? TIER_REMOTE_NEAR : far_rung(remote);
}

bool
tier_remote_is_plausible(const struct tier_remote_read *read,
                         const struct block_place *place)
{
    return place->tier == CASCADE_TIER_LOCAL_DRAM &&
           place->rank == read->rank && place->generation != 0 &&
           place->bytes == read->bytes;
}

enum cascade_status
tier_remote_ask_pin(struct tier_remote *remote,
                    const struct tier_remote_read *read,
                    struct tier_remote_grant *grant, uint64_t *until_ns)
{
    const struct tier_remote_wanted wanted = {.id = read->id,
                                              .bytes = read->bytes};
    struct fabric_call call = {
        .to = read->rank,
        .subject = (uint8_t)(remote->options.subject + TIER_REMOTE_SUBJECT_PIN),
        .data = &wanted,
        .bytes = sizeof(wanted),
        .reply = grant,
        .reply_room = sizeof(*grant),
        .deadline_ns = read->deadline_ns,
    };
    uint64_t asked_ns = clock_steady_ns(remote->options.clock);
    enum cascade_status status = fabric_port_ask(remote->options.port, &call);

    if (status != CASCADE_OK) {
        return status;
    }
    if (call.reply_bytes != sizeof(*grant) ||
        !tier_remote_is_plausible(read, &grant->place)) {
        return error_set(CASCADE_STALE,
                         "rank %u granted a place that is not the block's",
                         read->rank);
    }
    *until_ns = asked_ns + grant->lease_ns - grant->lease_ns / MARGIN_FRACTION;
    return CASCADE_OK;
}

// One-sided: the owner knows only that it has pinned.
static enum cascade_status
read_one_sided(struct tier_remote *remote, struct tier_remote_read *read,
               struct block_place *place)
{
    struct tier_remote_grant grant;
    uint64_t until_ns;
    enum cascade_status status = tier_remote_ask_pin(remote, read, &grant,
                                                     &until_ns);

    if (status != CASCADE_OK) {
        return status;
    }
    status = tier_remote_stream_read(remote, read, &grant, place);
    if (status == CASCADE_OK &&
        clock_steady_ns(remote->options.clock) >= until_ns) {
        tier_remote_count(&remote->late);
        status = error_set(CASCADE_TIMEOUT,
                           "a read from rank %u took longer than its lease",
                           read->rank);
    }
    tier_remote_note_unpin(remote, read->rank, grant.token);
    return status;
}

// One try. Where memory of the node cannot be mapped the next rung is taken.
static enum cascade_status
read_once(struct tier_remote *remote, struct tier_remote_read *read,
          struct block_place *place)
{
    enum cascade_status status;
    bool unmapped = false;

    read->rung = choose_rung(remote, read->rank);
    if (read->rung == TIER_REMOTE_NEAR) {
        status = tier_remote_near_read(remote, read, place, &unmapped);
        if (!unmapped || remote->options.rung != TIER_REMOTE_ANY) {
            return status;
        }
        read->rung = far_rung(remote);
    }
    switch (read->rung) {
    case TIER_REMOTE_READ:
        return read_one_sided(remote, read, place);
    case TIER_REMOTE_FETCH:
        return tier_remote_stream_read(remote, read, NULL, place);
    case TIER_REMOTE_ANY:
    case TIER_REMOTE_NEAR:
        break;
    }
    return error_set(CASCADE_UNSUPPORTED,
                     "there is no way to read memory of rank %u", read->rank);
}

static void
tell_damage(struct tier_remote *remote, const struct tier_remote_read *read,
            const struct block_place *place)
{
    const struct tier_remote_damage damage = {.id = read->id, .place = *place};

    // If it cannot be told, the next reader will.
    if (fabric_port_tell(
            remote->options.port, read->rank,
            (uint8_t)(remote->options.subject + TIER_REMOTE_SUBJECT_DAMAGE),
            &damage, sizeof(damage)) != CASCADE_OK) {
        error_clear();
    }
}

static void
count_read(struct tier_remote *remote, const struct tier_remote_read *read)
{
    tier_remote_count(&remote->reads[read->rung]);
    atomic_fetch_add_explicit(&remote->read_bytes[read->rung], read->bytes,
                              memory_order_relaxed);
}

enum cascade_status
tier_remote_read(struct tier_remote *remote, struct tier_remote_read *read)
{
    enum cascade_status status = CASCADE_CORRUPT;
    struct block_place place = {.tier = CASCADE_TIER_NONE};

    check(read->rank < remote->rank_count && read->rank != remote->rank);
    read->given = false;
    for (int i = 0; i < TRIES_MAX && status == CASCADE_CORRUPT; i++) {
        status = read_once(remote, read, &place);
    }
    if (status == CASCADE_OK) {
        read->place = place;
        count_read(remote, read);
    } else if (status == CASCADE_CORRUPT) {
        tier_remote_count(&remote->corrupt);
        tell_damage(remote, read, &place);
    } else if (status == CASCADE_STALE) {
        tier_remote_count(&remote->stale);
    }
    return status;
}

enum tier_remote_rung
tier_remote_rung_to(struct tier_remote *remote, uint16_t rank,
                    const char **reason)
{
    enum tier_remote_rung rung = choose_rung(remote, rank);

    if (remote->options.rung != TIER_REMOTE_ANY) {
        *reason = "an option forces it";
    } else if (rung == TIER_REMOTE_FETCH) {
        *reason = "it is of another node, and one-sided reads do not progress "
                  "there";
    } else if (rung == TIER_REMOTE_ANY) {
        *reason = "it is of another node, and the fabric moves no bulk";
    } else if (remote->options.node != NULL) {
        *reason = fabric_node_reason(remote->options.node, rank);
    } else {
        *reason = "memory of the node is not to be used";
    }
    return rung;
}

void
tier_remote_step(struct tier_remote *remote, uint64_t now_ns)
{
    tier_remote_loan_expire(remote, now_ns);
    tier_remote_note_flush(remote);
    if (remote->options.dram != NULL) {
        (void)tier_dram_sweep(remote->options.dram);
    }
}

void
tier_remote_lost(struct tier_remote *remote, uint16_t rank)
{
    tier_remote_loan_lost(remote, rank);
}

void
tier_remote_usage(struct tier_remote *remote, struct tier_remote_usage *usage)
{
    for (int i = 0; i < 4; i++) {
        usage->reads[i] = atomic_load(&remote->reads[i]);
        usage->read_bytes[i] = atomic_load(&remote->read_bytes[i]);
    }
    usage->grants = atomic_load(&remote->grants);
    usage->pins_out = atomic_load(&remote->pins_out);
    usage->pins_expired = atomic_load(&remote->pins_expired);
    usage->stale = atomic_load(&remote->stale);
    usage->corrupt = atomic_load(&remote->corrupt);
    usage->late = atomic_load(&remote->late);
}

static bool
is_watched(void *context, uint32_t slot, uint32_t generation)
{
    return fabric_node_is_pinned(context, slot, generation);
}

enum cascade_status
tier_remote_open(const struct tier_remote_options *options,
                 struct tier_remote **remote)
{
    struct tier_remote *made;
    uint64_t chunk_bytes = options->chunk_bytes != 0 ? options->chunk_bytes
                                                     : CHUNK_BYTES_DEFAULT;
    enum cascade_status status;

    if (options->bounce_bytes != 0 &&
        options->bounce_bytes < TIER_REMOTE_BOUNCE_BYTES_MIN) {
        return error_set(CASCADE_INVALID,
                         "%llu bytes to receive blocks of other ranks are less "
                         "than %llu",
                         (unsigned long long)options->bounce_bytes,
                         (unsigned long long)TIER_REMOTE_BOUNCE_BYTES_MIN);
    }
    made = allocator_array(options->allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for remote memory");
    }
    made->options = *options;
    made->rank = fabric_port_rank(options->port);
    made->rank_count = fabric_port_rank_count(options->port);
    if (options->bounce_bytes != 0) {
        chunk_bytes = units_min(chunk_bytes,
                                options->bounce_bytes / TIER_REMOTE_WINDOW);
    }
    // Pieces of the checksum are not cut.
    made->chunk_bytes = units_max(
        units_round_down(chunk_bytes, BLOCK_DIGEST_PIECE_BYTES),
        BLOCK_DIGEST_PIECE_BYTES);
    check(pthread_mutex_init(&made->loan_lock, NULL) == 0);
    check(pthread_mutex_init(&made->stream_lock, NULL) == 0);
    check(pthread_mutex_init(&made->note_lock, NULL) == 0);
    status = tier_remote_note_open(made);
    if (status == CASCADE_OK) {
        status = tier_remote_loan_open(made);
    }
    if (status == CASCADE_OK) {
        status = tier_remote_stream_open(made);
    }
    if (status != CASCADE_OK) {
        tier_remote_close(made);
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for remote memory; it wants %llu bytes to "
                         "receive blocks",
                         (unsigned long long)options->bounce_bytes);
    }
    tier_remote_loan_listen(made);
    tier_remote_stream_listen(made);
    if (options->dram != NULL && options->node != NULL) {
        tier_dram_watch(options->dram, is_watched, options->node);
    }
    *remote = made;
    return CASCADE_OK;
}

void
tier_remote_close(struct tier_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    if (remote->options.dram != NULL) {
        tier_dram_watch(remote->options.dram, NULL, NULL);
    }
    tier_remote_loan_close(remote);
    tier_remote_stream_close(remote);
    tier_remote_note_close(remote);
    check(pthread_mutex_destroy(&remote->loan_lock) == 0);
    check(pthread_mutex_destroy(&remote->stream_lock) == 0);
    check(pthread_mutex_destroy(&remote->note_lock) == 0);
    allocator_release(remote->options.allocator, remote);
}
