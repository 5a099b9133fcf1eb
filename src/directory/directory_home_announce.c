// SPDX-License-Identifier: Apache-2.0
//
// What ranks found on segments at open: of each key the highest version stays,
// wherever it lies; whoever announced another one is told to drop it. One
// thread.
//
// A binding and a removal of the same version: the removal was kept by a rank
// that had an older one, or lost its own bytes; the binding is right.

#include "directory/directory_home_inner.h"

// The rank's binding has lost against `winner`. It keeps a removal so that its
// record stays hidden when the winner is gone; not where both have one version.
static void
tell_loser(struct directory_home *home, uint16_t rank,
           const struct block_key *key, struct block_version version,
           struct block_version winner)
{
    if (block_version_compare(version, winner) < 0) {
        directory_home_recall_notice(
            home, rank, key, winner,
            home->options.keep_removals ? DIRECTORY_MESSAGE_KEEP_REMOVAL : 0);
    } else {
        directory_home_recall_notice(home, rank, key,
                                     block_version_after(version), 0);
    }
}

static void
announce_removal(struct directory_home *home, struct directory_home_key *entry,
                 const struct directory_message_announce *announced)
{
    if (block_version_compare(announced->version, entry->version) <= 0) {
        return;
    }
    if (directory_home_is_live(entry)) {
        tell_loser(home, entry->custodian, &announced->key, entry->version,
                   announced->version);
    }
    directory_home_key_remove(home, entry, announced->version);
}

static void
announce_binding(struct directory_home *home, uint16_t from,
                 struct directory_home_key *entry,
                 const struct directory_message_announce *announced)
{
    int order = block_version_compare(announced->version, entry->version);
    bool is_live = directory_home_is_live(entry);

    if (is_live && order == 0 && entry->custodian == from) {
        return; // said again
    }
    if (order < 0 || (order == 0 && is_live)) {
        tell_loser(home, from, &announced->key, announced->version,
                   entry->version);
        return;
    }
    if (is_live) {
        tell_loser(home, entry->custodian, &announced->key, entry->version,
                   announced->version);
    }
    directory_home_key_set(home, entry, &announced->id, announced->version,
                           announced->bytes, announced->flags, from);
}

// One of them; NO_SPACE: the rank was told to drop it. BUSY: not now.
static enum cascade_status
announce(struct directory_home *home, uint16_t from,
         const struct directory_message_announce *announced)
{
    struct directory_home_key *entry = directory_home_key(home,
                                                          &announced->key);
    bool is_removal = (announced->flags & DIRECTORY_MESSAGE_REMOVED) != 0;

    if (directory_home_line(home, &announced->key) != NULL ||
        (entry != NULL &&
         (directory_home_lease_end(home, entry) > home->now_ns ||
          (directory_home_is_live(entry) &&
           entry->custodian == DIRECTORY_RANK_NONE)))) {
        return CASCADE_BUSY;
    }
    if (entry == NULL &&
        block_version_compare(announced->version, home->floor) < 0) {
        if (!is_removal) {
            tell_loser(home, from, &announced->key, announced->version,
                       home->floor);
        }
        return CASCADE_OK;
    }
    if (entry == NULL) {
        entry = directory_home_key_add(home, &announced->key, false);
    }
    if (entry == NULL && is_removal) {
        directory_home_raise_floor(home, announced->version);
        return CASCADE_OK;
    }
    if (entry == NULL) {
        directory_home_recall_notice(home, from, &announced->key,
                                     block_version_after(announced->version),
                                     0);
        return CASCADE_NO_SPACE;
    }
    if (is_removal) {
        announce_removal(home, entry, announced);
    } else {
        announce_binding(home, from, entry, announced);
    }
    return CASCADE_OK;
}

void
directory_home_announce(struct directory_home *home, uint16_t from,
                        const struct directory_message_announce *announced,
                        uint32_t count, uint64_t ticket)
{
    enum cascade_status worst = CASCADE_OK;

    for (uint32_t i = 0; i < count; i++) {
        enum cascade_status status = announce(home, from, &announced[i]);

        if (status == CASCADE_BUSY || worst == CASCADE_OK) {
            worst = status;
        }
    }
    directory_home_answer(home, from, ticket, worst, NULL, 0);
}
