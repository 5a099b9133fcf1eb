// SPDX-License-Identifier: Apache-2.0
//
// Every invariant of a home, for tests: records are found where they belong, and
// sums are sums. One thread.

#include "directory/directory_home_inner.h"

static bool
keys_are_valid(struct directory_home *home)
{
    uint64_t used = 0;
    uint64_t removed = 0;
    uint64_t protected_keys = 0;
    bool lacks = false;

    for (uint32_t i = 0; i < home->key_pool.used; i++) {
        struct directory_home_key *entry = &home->keys[i];
        bool is_live = directory_home_is_live(entry);
        bool is_protected = (entry->flags & DIRECTORY_HOME_PROTECTED) != 0;

        if ((entry->flags & DIRECTORY_HOME_USED) == 0) {
            continue;
        }
        used++;
        removed += is_live ? 0 : 1;
        protected_keys += is_protected ? 1 : 0;
        if (directory_home_key(home, &entry->key) != entry ||
            (is_protected && !is_live) ||
            block_version_is_zero(entry->version) ||
            (!is_live && entry->custodian != DIRECTORY_RANK_NONE) ||
            (entry->custodian != DIRECTORY_RANK_NONE &&
             entry->custodian >= home->options.rank_count) ||
            entry->holder_count > DIRECTORY_HOME_HOLDERS) {
            return false;
        }
        lacks |= is_live && entry->custodian == DIRECTORY_RANK_NONE &&
                 directory_home_line(home, &entry->key) == NULL;
    }
    return used == home->key_pool.taken && removed == home->removed &&
           protected_keys == home->protected_keys && (!lacks || home->missed);
}

// Ranks stand without gaps, each once.
static bool
ids_are_valid(const struct directory_home *home)
{
    uint64_t used = 0;

    for (uint32_t i = 0; i < home->id_pool.used; i++) {
        const struct directory_home_id *entry = &home->ids[i];

        if (!directory_home_id_is_used(entry)) {
            continue;
        }
        used++;
        for (uint32_t k = 1; k < DIRECTORY_COPIES_MAX; k++) {
            uint16_t rank = entry->ranks[k];

            if (rank == DIRECTORY_RANK_NONE) {
                continue;
            }
            for (uint32_t j = 0; j < k; j++) {
                if (entry->ranks[j] == rank ||
                    entry->ranks[j] == DIRECTORY_RANK_NONE) {
                    return false;
                }
            }
        }
    }
    return used == home->id_pool.taken;
}

static bool
lines_are_valid(struct directory_home *home)
{
    uint64_t lines = 0;
    uint64_t changes = 0;

    for (uint32_t b = 0; b < home->change_buckets.count; b++) {
        uint32_t first = home->change_buckets.first[b];

        while (first != DIRECTORY_HOME_NONE) {
            const struct directory_home_change *change = &home->changes[first];
            uint32_t record = change->next;

            lines++;
            changes++;
            if (change->subject == 0 ||
                change->stage == DIRECTORY_HOME_WAITING ||
                directory_home_line(home, &change->key) != change ||
                (change->stage == DIRECTORY_HOME_RECALLING &&
                 change->until_ns < home->due_ns)) {
                return false;
            }
            while (record != DIRECTORY_HOME_NONE) {
                const struct directory_home_change *waits =
                    &home->changes[record];

                changes++;
                if (waits->subject == 0 ||
                    waits->stage != DIRECTORY_HOME_WAITING ||
                    !block_key_equal(&waits->key, &change->key)) {
                    return false;
                }
                record = waits->next;
            }
            first = change->chain;
        }
    }
    return lines == home->lines && changes == home->change_pool.taken;
}

static bool
claims_are_valid(const struct directory_home *home)
{
    uint64_t claims = 0;
    uint64_t waiters = 0;

    for (uint32_t i = 0; i < home->claim_pool.used; i++) {
        const struct directory_home_claim *claim = &home->claims[i];
        uint32_t record = claim->waiters;

        if (!claim->is_used) {
            continue;
        }
        claims++;
        if (claim->end_ns < home->due_ns) {
            return false;
        }
        while (record != DIRECTORY_HOME_NONE) {
            waiters++;
            if (!home->waiters[record].is_used) {
                return false;
            }
            record = home->waiters[record].next;
        }
    }
    return claims == home->claim_pool.taken &&
           waiters == home->waiter_pool.taken;
}

bool
directory_home_is_valid(struct directory_home *home)
{
    return keys_are_valid(home) && ids_are_valid(home) &&
           lines_are_valid(home) && claims_are_valid(home);
}
