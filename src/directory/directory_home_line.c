// SPDX-License-Identifier: Apache-2.0
//
// The lines of changes, one per key, and what a change asks of ranks. A token
// names the record of the change, this use of it, and the rank, so that a late
// answer finds nobody. No decisions: directory_home_change.c. One thread.

#include "directory/directory_home_inner.h"

void
directory_home_answer(struct directory_home *home, uint16_t to, uint64_t ticket,
                      enum cascade_status status, const void *data,
                      size_t bytes)
{
    if (ticket != 0) {
        home->options.out.answer(home->options.out.context, to, ticket, status,
                                 data, bytes);
    }
}

static uint32_t *
line_bucket(struct directory_home *home, const struct block_key *key)
{
    return &home->change_buckets
                .first[block_key_hash(key) % home->change_buckets.count];
}

struct directory_home_change *
directory_home_line(struct directory_home *home, const struct block_key *key)
{
    uint32_t record;

    if (home->lines == 0) {
        return NULL;
    }
    record = *line_bucket(home, key);
    while (record != DIRECTORY_HOME_NONE) {
        struct directory_home_change *change = &home->changes[record];

        if (block_key_equal(&change->key, key)) {
            return change;
        }
        record = change->chain;
    }
    return NULL;
}

// Replaces the first of a line by `next`, which may be none.
static void
replace_first(struct directory_home *home,
              const struct directory_home_change *first, uint32_t next)
{
    uint32_t record = (uint32_t)(first - home->changes);
    uint32_t *link = line_bucket(home, &first->key);

    while (*link != record) {
        check(*link != DIRECTORY_HOME_NONE);
        link = &home->changes[*link].chain;
    }
    if (next == DIRECTORY_HOME_NONE) {
        *link = first->chain;
        home->lines--;
    } else {
        home->changes[next].chain = first->chain;
        *link = next;
    }
}

// A record of its own for the change, in front of the line or at its end.
struct directory_home_change *
directory_home_line_add(struct directory_home *home,
                        const struct directory_home_change *change,
                        bool in_front)
{
    struct directory_home_change *first = directory_home_line(home,
                                                              &change->key);
    uint32_t record = directory_home_pool_take(&home->change_pool);
    struct directory_home_change *taken;

    if (record == DIRECTORY_HOME_NONE) {
        return NULL;
    }
    taken = &home->changes[record];
    *taken = *change;
    taken->stage = DIRECTORY_HOME_WAITING;
    taken->next = DIRECTORY_HOME_NONE;
    taken->generation = ++home->generation & 0xffffff;
    if (first == NULL) {
        uint32_t *bucket = line_bucket(home, &change->key);

        taken->chain = *bucket;
        *bucket = record;
        home->lines++;
    } else if (in_front) {
        replace_first(home, first, record);
        taken->next = (uint32_t)(first - home->changes);
    } else {
        while (first->next != DIRECTORY_HOME_NONE) {
            first = &home->changes[first->next];
        }
        first->next = record;
    }
    return taken;
}

void
directory_home_line_end(struct directory_home *home,
                        struct directory_home_change *first)
{
    replace_first(home, first, first->next);
    directory_home_pool_give(&home->change_pool,
                             (uint32_t)(first - home->changes));
}

// --- asking ---

// Which record, which use of it, which rank.
static uint64_t
token_of(const struct directory_home *home,
         const struct directory_home_change *change, uint16_t rank)
{
    uint64_t record = (uint64_t)(change - home->changes) + 1;

    return (uint64_t)rank << 48 | (uint64_t)change->generation << 24 | record;
}

struct directory_home_change *
directory_home_change_of(struct directory_home *home, uint64_t token)
{
    uint64_t record = token & 0xffffff;
    struct directory_home_change *change;

    if (record == 0 || record > home->change_pool.used) {
        return NULL;
    }
    change = &home->changes[record - 1];
    if (change->subject == 0 ||
        change->generation != (token >> 24 & 0xffffff)) {
        return NULL;
    }
    return change;
}

static void
ask(struct directory_home *home, uint16_t to, uint8_t subject, const void *data,
    size_t bytes, uint64_t token, uint64_t deadline_ns)
{
    home->options.out.ask(home->options.out.context, to, subject, data, bytes,
                          token, deadline_ns);
}

static void
recall(struct directory_home *home, uint16_t to, const struct block_key *key,
       struct block_version below, uint32_t flags, uint64_t token,
       uint64_t deadline_ns)
{
    struct directory_message_recall message;

    memset(&message, 0, sizeof(message));
    message.key = *key;
    message.below = below;
    message.flags = flags;
    home->recalls++;
    ask(home, to, DIRECTORY_SUBJECT_RECALL, &message, sizeof(message), token,
        deadline_ns);
}

void
directory_home_recall_notice(struct directory_home *home, uint16_t to,
                             const struct block_key *key,
                             struct block_version below, uint32_t flags)
{
    recall(home, to, key, below, flags, 0,
           home->now_ns + home->options.patience_ns);
}

// The custodian keeps its name when it renames its own binding.
static bool
is_custodian_recalled(const struct directory_home_key *entry,
                      const struct directory_home_change *change)
{
    if (!directory_home_is_live(entry) ||
        entry->custodian == DIRECTORY_RANK_NONE) {
        return false;
    }
    return change->subject != DIRECTORY_SUBJECT_BIND ||
           entry->custodian != change->from;
}

bool
directory_home_recall_needed(const struct directory_home *home,
                             const struct directory_home_key *entry,
                             const struct directory_home_change *change)
{
    if (entry == NULL) {
        return false;
    }
    // The custodian binds the same content again: no lease becomes wrong.
    if (change->subject == DIRECTORY_SUBJECT_BIND &&
        directory_home_is_live(entry) && entry->custodian == change->from &&
        block_id_equal(&entry->id, &change->id)) {
        return false;
    }
    return directory_home_lease_end(home, entry) > home->now_ns ||
           is_custodian_recalled(entry, change);
}

static void
send_recall(struct directory_home *home, struct directory_home_change *change,
            uint16_t to, uint32_t flags)
{
    change->outstanding++;
    recall(home, to, &change->key, change->version, flags,
           token_of(home, change, to), change->until_ns);
}

// Recalls from all who may serve the binding. The rank that asks for the change
// is no exception: it may have got a lease after it let go of its own.
void
directory_home_send_recalls(struct directory_home *home,
                            struct directory_home_change *change,
                            const struct directory_home_key *entry)
{
    uint16_t custodian = is_custodian_recalled(entry, change)
                             ? entry->custodian
                             : DIRECTORY_RANK_NONE;
    uint64_t lease_end_ns = directory_home_lease_end(home, entry);
    bool is_any = (entry->flags & DIRECTORY_HOME_MANY) != 0;
    uint32_t count = is_any ? home->options.rank_count : entry->holder_count;

    change->stage = DIRECTORY_HOME_RECALLING;
    change->outstanding = 0;
    change->until_ns = lease_end_ns;
    if (custodian != DIRECTORY_RANK_NONE &&
        lease_end_ns < home->now_ns + home->options.patience_ns) {
        change->until_ns = home->now_ns + home->options.patience_ns;
    }
    if (change->until_ns < home->due_ns) {
        home->due_ns = change->until_ns;
    }
    if (custodian != DIRECTORY_RANK_NONE) {
        send_recall(home, change, custodian,
                    home->options.keep_removals ? DIRECTORY_MESSAGE_KEEP_REMOVAL
                                                : 0);
    }
    for (uint32_t i = 0; i < count && lease_end_ns > home->now_ns; i++) {
        uint16_t rank = is_any ? (uint16_t)i : entry->holders[i];

        if (rank != custodian) {
            send_recall(home, change, rank, 0);
        }
    }
}

// These two questions have no deadline: what the rank makes of them must be
// known, and asked once more it could do them twice. Who waits for the change is
// told when patience ends.
static void
set_patience(struct directory_home *home, struct directory_home_change *change)
{
    change->until_ns = home->now_ns + home->options.patience_ns;
    if (change->until_ns < home->due_ns) {
        home->due_ns = change->until_ns;
    }
}

void
directory_home_ask_renew(struct directory_home *home,
                         struct directory_home_change *change,
                         const struct directory_home_key *entry)
{
    struct directory_message_renew message;

    memset(&message, 0, sizeof(message));
    message.key = change->key;
    message.version = entry->version;
    message.renewed = change->version;
    message.flags = change->flags & DIRECTORY_MESSAGE_PROTECTED;
    change->stage = DIRECTORY_HOME_ASKING;
    change->rank = entry->custodian;
    ask(home, change->rank, DIRECTORY_SUBJECT_RENEW, &message, sizeof(message),
        token_of(home, change, change->rank), UINT64_MAX);
    set_patience(home, change);
}

void
directory_home_ask_adopt(struct directory_home *home,
                         struct directory_home_change *change,
                         const struct directory_home_key *entry, uint16_t rank)
{
    struct directory_message_adopt message;

    memset(&message, 0, sizeof(message));
    message.key = change->key;
    message.id = entry->id;
    message.version = entry->version;
    message.flags = directory_home_key_flags(entry);
    change->stage = DIRECTORY_HOME_ASKING;
    change->version = entry->version;
    change->rank = rank;
    ask(home, rank, DIRECTORY_SUBJECT_ADOPT, &message, sizeof(message),
        token_of(home, change, rank), UINT64_MAX);
    set_patience(home, change);
}

void
directory_home_void(struct directory_home *home, const struct block_key *key,
                    struct block_version version, uint16_t rank)
{
    struct directory_home_change *change = directory_home_line(home, key);

    while (change != NULL) {
        if (change->subject == DIRECTORY_SUBJECT_BIND && change->from == rank &&
            block_version_compare(change->version, version) == 0) {
            change->is_void = 1;
        }
        change = change->next == DIRECTORY_HOME_NONE
                     ? NULL
                     : &home->changes[change->next];
    }
}
