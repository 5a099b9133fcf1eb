// SPDX-License-Identifier: Apache-2.0
//
// Rung 1: the calling thread copies from the owner's arena, which is mapped
// here. With a hint there is no message at all.
//
// Invariant: from before the word of the slot is read until after the last byte
// the slot is named in the owner's page, or the owner has pinned it by message
// and its lease has not ended when the copy has. So a second pass over the bytes
// is not needed, unless it is asked for.

#include <string.h>

#include "base/error.h"
#include "tier/tier_remote_inner.h"
#include "tier/tier_scatter.h"

// A rank's memory, as it is mapped here.
struct mapped {
    const uint8_t *arena;
    uint64_t arena_bytes;
    const void *words;
    uint64_t words_bytes;
};

static enum cascade_status
map_memory(struct tier_remote *remote, uint16_t rank, struct mapped *mapped)
{
    struct fabric_node *node = remote->options.node;
    const void *arena;
    enum cascade_status status = fabric_node_map(
        node, rank, FABRIC_NODE_WORDS, &mapped->words, &mapped->words_bytes);

    if (status == CASCADE_OK) {
        status = fabric_node_map(node, rank, FABRIC_NODE_ARENA, &arena,
                                 &mapped->arena_bytes);
    }
    if (status == CASCADE_OK) {
        mapped->arena = arena;
    }
    return status;
}

static bool
is_inside(const struct mapped *mapped, const struct block_place *place)
{
    return place->offset <= mapped->arena_bytes &&
           place->bytes <= mapped->arena_bytes - place->offset;
}

// What keeps the bytes from changing is the caller's.
static enum cascade_status
copy_out(struct tier_remote *remote, struct tier_remote_read *read,
         const struct mapped *mapped, const struct block_place *place)
{
    enum cascade_status status = tier_scatter(
        remote->options.pool, mapped->arena + place->offset, place->bytes,
        read->spans, read->span_count, read->verify ? &place->checksum : NULL);

    if (status == CASCADE_OK || status == CASCADE_CORRUPT) {
        read->given = true;
    }
    return status;
}

// Pins through the page. BUSY: there is no pin to be had that way. STALE: the
// slot holds something else.
static enum cascade_status
read_pinned(struct tier_remote *remote, struct tier_remote_read *read,
            const struct mapped *mapped, const struct block_place *place)
{
    struct fabric_node *node = remote->options.node;
    struct fabric_node_pin *pin = NULL;
    enum cascade_status status = CASCADE_STALE;

    if (!remote->options.skip_pins) {
        pin = fabric_node_pin(node, read->rank, place->slot, place->generation);
        if (pin == NULL) {
            return CASCADE_BUSY;
        }
    }
    if (tier_dram_peer_holds(mapped->words, mapped->words_bytes, place) &&
        is_inside(mapped, place)) {
        status = copy_out(remote, read, mapped, place);
    }
    if (pin != NULL) {
        fabric_node_unpin(node, pin);
    }
    return status;
}

// The owner has pinned by message.
static enum cascade_status
read_leased(struct tier_remote *remote, struct tier_remote_read *read,
            const struct mapped *mapped, const struct block_place *place,
            uint64_t until_ns)
{
    enum cascade_status status;

    if (!is_inside(mapped, place)) {
        return error_set(CASCADE_STALE,
                         "rank %u named a place outside its memory",
                         read->rank);
    }
    status = copy_out(remote, read, mapped, place);
    // A copy that was checked is as good late as in time.
    if (status == CASCADE_OK && !read->verify &&
        clock_steady_ns(remote->options.clock) >= until_ns) {
        tier_remote_count(&remote->late);
        return error_set(CASCADE_TIMEOUT,
                         "a copy from rank %u took longer than its lease",
                         read->rank);
    }
    return status;
}

static enum cascade_status
read_asked(struct tier_remote *remote, struct tier_remote_read *read,
           const struct mapped *mapped, struct block_place *place)
{
    struct tier_remote_grant grant;
    uint64_t until_ns;
    enum cascade_status status = tier_remote_ask_pin(remote, read, &grant,
                                                     &until_ns);

    if (status != CASCADE_OK) {
        return status;
    }
    status = read_pinned(remote, read, mapped, &grant.place);
    if (status == CASCADE_BUSY || (status == CASCADE_STALE && !read->given)) {
        status = read_leased(remote, read, mapped, &grant.place, until_ns);
    }
    tier_remote_note_unpin(remote, read->rank, grant.token);
    if (status == CASCADE_OK || status == CASCADE_CORRUPT) {
        *place = grant.place;
    }
    return status;
}

enum cascade_status
tier_remote_near_read(struct tier_remote *remote, struct tier_remote_read *read,
                      struct block_place *place, bool *unmapped)
{
    struct mapped mapped;
    enum cascade_status status = map_memory(remote, read->rank, &mapped);

    if (status != CASCADE_OK) {
        *unmapped = true;
        return status;
    }
    if (read->hint != NULL && tier_remote_is_plausible(read, read->hint)) {
        status = read_pinned(remote, read, &mapped, read->hint);
        if (status == CASCADE_STALE) {
            tier_remote_count(&remote->stale);
        } else if (status != CASCADE_BUSY) {
            if (status == CASCADE_OK) {
                tier_remote_note_touch(remote, read->rank, read->hint->slot);
            }
            *place = *read->hint;
            return status;
        }
    }
    return read_asked(remote, read, &mapped, place);
}
