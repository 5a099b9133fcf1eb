// SPDX-License-Identifier: Apache-2.0
//
// Changes of bindings: bind, remove, protect, and the search of a custodian.
// What can be done at once is; else the change gets a record, asks ranks and
// waits for their answers. The changes of one key stand in a line: the first is
// under way, the others wait. One thread.
//
// Every step looks its key up again: a binding may have been cleared, or have
// lost its custodian, while an answer was on its way.

#include "directory/directory_home_inner.h"

enum verdict {
    ENDED,  // and answered
    RECALL, // after what ranks may hold was recalled
    ASK,    // when the custodian agrees
};

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

// Answers and lets nobody be answered a second time.
static void
answer_version(struct directory_home *home,
               struct directory_home_change *change, enum cascade_status status,
               struct block_version version)
{
    bool is_ok = status == CASCADE_OK;

    directory_home_answer(home, change->from, change->ticket, status,
                          is_ok ? &version : NULL, is_ok ? sizeof(version) : 0);
    change->ticket = 0;
}

static void
answer_bound(struct directory_home *home, struct directory_home_change *change,
             enum cascade_status status, struct directory_home_key *entry,
             bool leased)
{
    struct directory_message_bound bound;

    memset(&bound, 0, sizeof(bound));
    bound.custodian = DIRECTORY_RANK_NONE;
    if (status == CASCADE_STALE) {
        bound.version = directory_home_highest(home, entry);
    } else if (directory_home_is_live(entry)) {
        bound.id = entry->id;
        bound.version = entry->version;
        bound.bytes = directory_home_key_bytes(entry);
        bound.flags = directory_home_key_flags(entry);
        bound.custodian = entry->custodian;
        if (leased) {
            bound.lease_ns = directory_home_lease(home, entry, change->from);
        }
    }
    directory_home_answer(home, change->from, change->ticket, status, &bound,
                          sizeof(bound));
    change->ticket = 0;
}

// --- lines ---

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
static struct directory_home_change *
take_record(struct directory_home *home,
            const struct directory_home_change *change, bool in_front)
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

static void
give_first(struct directory_home *home, struct directory_home_change *first)
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

static struct directory_home_change *
change_of(struct directory_home *home, uint64_t token)
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

static bool
is_recall_needed(const struct directory_home *home,
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
static void
send_recalls(struct directory_home *home, struct directory_home_change *change,
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

static void
ask_renew(struct directory_home *home, struct directory_home_change *change,
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
        token_of(home, change, change->rank),
        home->now_ns + home->options.patience_ns);
}

static void
ask_adopt(struct directory_home *home, struct directory_home_change *change,
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
        token_of(home, change, rank), home->now_ns + home->options.patience_ns);
}

// --- bind ---

// Everybody who may serve another binding has given it up.
static void
commit_bind(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (block_version_compare(change->version,
                              directory_home_highest(home, entry)) <= 0) {
        answer_bound(home, change, CASCADE_STALE, entry, false); // cleared
        return;
    }
    if (entry == NULL) {
        entry = directory_home_key_add(home, &change->key, true);
    }
    if (entry == NULL) {
        answer_bound(home, change, CASCADE_NO_SPACE, NULL, false);
        return;
    }
    if (change->stage == DIRECTORY_HOME_RECALLING) {
        directory_home_lease_clear(entry);
    }
    directory_home_key_set(home, entry, &change->id, change->version,
                           change->bytes, change->flags, change->from);
    answer_bound(home, change, CASCADE_OK, entry, true);
}

static enum verdict
decide_bind(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (directory_home_is_live(entry)) {
        bool is_same = block_id_equal(&entry->id, &change->id);

        if (is_same && entry->custodian == change->from &&
            block_version_compare(entry->version, change->version) == 0) {
            answer_bound(home, change, CASCADE_OK, entry, true); // asked again
            return ENDED;
        }
        if ((change->flags & DIRECTORY_MESSAGE_IF_ABSENT) != 0 ||
            (!home->options.rebind_allowed && !is_same)) {
            answer_bound(home, change, CASCADE_EXISTS, entry, true);
            return ENDED;
        }
    }
    if (block_version_compare(change->version,
                              directory_home_highest(home, entry)) <= 0) {
        answer_bound(home, change, CASCADE_STALE, entry, false);
        return ENDED;
    }
    if (is_recall_needed(home, entry, change)) {
        return RECALL;
    }
    commit_bind(home, change);
    return ENDED;
}

// --- remove ---

static void
commit_remove(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    directory_home_raise_floor(home, change->version);
    if (entry != NULL) {
        directory_home_lease_clear(entry);
        directory_home_key_end(home, entry, change->version);
    }
    answer_version(home, change, CASCADE_OK, change->version);
}

static enum verdict
decide_remove(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (!directory_home_is_live(entry)) {
        answer_version(home, change, CASCADE_NOT_FOUND, change->version);
        return ENDED;
    }
    change->version = home->options.out.next_version(home->options.out.context);
    if (is_recall_needed(home, entry, change)) {
        return RECALL;
    }
    commit_remove(home, change);
    return ENDED;
}

// --- protect ---

static enum verdict
decide_protect(struct directory_home *home,
               struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);
    uint32_t wanted = change->flags & DIRECTORY_MESSAGE_PROTECTED;

    if (!directory_home_is_live(entry)) {
        answer_version(home, change, CASCADE_NOT_FOUND, change->version);
        return ENDED;
    }
    if ((directory_home_key_flags(entry) & DIRECTORY_MESSAGE_PROTECTED) ==
        wanted) {
        answer_version(home, change, CASCADE_OK, entry->version);
        return ENDED;
    }
    change->version = home->options.out.next_version(home->options.out.context);
    return ASK;
}

// The custodian carries the new version, or may: nothing below it may come.
static void
commit_protect(struct directory_home *home,
               struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);
    struct block_version version = change->version;
    struct block_id id;

    if (!directory_home_is_live(entry)) {
        // Cleared meanwhile; the custodian may have renamed it past the clear.
        directory_home_recall_notice(
            home, change->rank, &change->key,
            home->options.out.next_version(home->options.out.context), 0);
        answer_version(home, change, CASCADE_NOT_FOUND, version);
        return;
    }
    id = entry->id;
    directory_home_key_set(
        home, entry, &id, version, directory_home_key_bytes(entry),
        (directory_home_key_flags(entry) & DIRECTORY_MESSAGE_SURROGATE) |
            (change->flags & DIRECTORY_MESSAGE_PROTECTED),
        entry->custodian);
    answer_version(home, change, CASCADE_OK, version);
}

// True if the change has ended; else it asked again, or waits in line again.
static bool
renew_answered(struct directory_home *home,
               struct directory_home_change *change, enum cascade_status status)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (status == CASCADE_OK) {
        commit_protect(home, change);
        return true;
    }
    if (!directory_home_is_live(entry)) {
        answer_version(home, change, CASCADE_NOT_FOUND, change->version);
        return true;
    }
    if (status == CASCADE_TIMEOUT && entry->custodian == change->rank) {
        // It may have been done; only that rank can say so.
        answer_version(home, change, CASCADE_TIMEOUT, change->version);
        ask_renew(home, change, entry);
        return false;
    }
    directory_home_raise_floor(home, change->version);
    if (status == CASCADE_CLOSED && entry->custodian == change->rank) {
        entry->custodian = DIRECTORY_RANK_NONE;
    }
    if (entry->custodian == DIRECTORY_RANK_NONE) {
        change->stage = DIRECTORY_HOME_WAITING; // for another custodian
        return false;
    }
    answer_version(home, change, status, change->version);
    return true;
}

// --- the search of a custodian ---

// Asks the next rank that may have a copy; false if all were asked.
static bool
ask_next(struct directory_home *home, struct directory_home_change *change,
         const struct directory_home_key *entry)
{
    uint32_t count = change->is_any != 0 ? home->options.rank_count
                                         : change->holder_count;
    uint32_t asked = change->asked;

    if (asked >= count) {
        return false;
    }
    change->asked++;
    ask_adopt(home, change, entry,
              change->is_any != 0 ? (uint16_t)asked : change->holders[asked]);
    return true;
}

// True if the search has ended.
static bool
adopt_answered(struct directory_home *home,
               struct directory_home_change *change, enum cascade_status status)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);
    bool is_wanted = directory_home_is_live(entry) &&
                     entry->custodian == DIRECTORY_RANK_NONE;

    if (status == CASCADE_OK) {
        if (is_wanted) {
            entry->custodian = change->rank;
            home->handed++;
        } else {
            // Cleared meanwhile, perhaps before that rank adopted it.
            directory_home_recall_notice(
                home, change->rank, &change->key,
                home->options.out.next_version(home->options.out.context), 0);
        }
        return true;
    }
    if (!is_wanted) {
        return true;
    }
    if (status == CASCADE_TIMEOUT) {
        ask_adopt(home, change, entry, change->rank); // it may have said yes
        return false;
    }
    if (ask_next(home, change, entry)) {
        return false;
    }
    directory_home_key_end(home, entry, entry->version);
    return true;
}

// --- a line goes on ---

static bool
needs_custodian(const struct directory_home_key *entry)
{
    return directory_home_is_live(entry) &&
           entry->custodian == DIRECTORY_RANK_NONE;
}

// Begins the search in front of the line. A waiting change gives its record if
// there is no other one.
static struct directory_home_change *
begin_search(struct directory_home *home,
             const struct directory_home_key *entry)
{
    struct directory_home_change search;
    struct directory_home_change *taken;
    struct directory_home_change *first;

    memset(&search, 0, sizeof(search));
    search.key = entry->key;
    search.subject = DIRECTORY_SUBJECT_GONE;
    search.holder_count = entry->holder_count;
    search.is_any = (entry->flags & DIRECTORY_HOME_MANY) != 0;
    memcpy(search.holders, entry->holders, sizeof(search.holders));
    taken = take_record(home, &search, true);
    first = directory_home_line(home, &search.key);
    if (taken == NULL && first != NULL) {
        directory_home_answer(home, first->from, first->ticket, CASCADE_BUSY,
                              NULL, 0);
        give_first(home, first);
        taken = take_record(home, &search, true);
    }
    home->missed |= taken == NULL;
    return taken;
}

static enum verdict
decide(struct directory_home *home, struct directory_home_change *change)
{
    switch (change->subject) {
    case DIRECTORY_SUBJECT_BIND:
        return decide_bind(home, change);
    case DIRECTORY_SUBJECT_REMOVE:
        return decide_remove(home, change);
    default:
        check(change->subject == DIRECTORY_SUBJECT_PROTECT);
        return decide_protect(home, change);
    }
}

static void
proceed(struct directory_home *home, struct directory_home_change *change,
        enum verdict verdict)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (verdict == RECALL) {
        send_recalls(home, change, entry);
    } else {
        ask_renew(home, change, entry);
    }
}

// The change in front has ended, or nobody is in front: the next ones, until one
// has to wait.
static void
go_on(struct directory_home *home, const struct block_key *of_key)
{
    struct block_key key = *of_key;

    for (;;) {
        struct directory_home_key *entry = directory_home_key(home, &key);
        struct directory_home_change *first;
        enum verdict verdict;

        if (needs_custodian(entry)) {
            first = begin_search(home, entry);
            if (first == NULL || ask_next(home, first, entry)) {
                return;
            }
            directory_home_key_end(home, entry, entry->version);
            give_first(home, first);
            continue;
        }
        first = directory_home_line(home, &key);
        if (first == NULL) {
            return;
        }
        verdict = decide(home, first);
        if (verdict != ENDED) {
            proceed(home, first, verdict);
            return;
        }
        give_first(home, first);
    }
}

void
directory_home_hand_over(struct directory_home *home,
                         struct directory_home_key *entry)
{
    if (directory_home_line(home, &entry->key) == NULL &&
        needs_custodian(entry)) {
        go_on(home, &entry->key);
    }
}

void
directory_home_change(struct directory_home *home,
                      const struct directory_home_change *asked)
{
    struct directory_home_change change = *asked;
    struct directory_home_key *entry = directory_home_key(home, &change.key);
    struct directory_home_change *taken;
    enum verdict verdict;

    if (entry != NULL) {
        directory_home_hand_over(home, entry);
        entry = directory_home_key(home, &change.key);
    }
    if (directory_home_line(home, &change.key) != NULL ||
        needs_custodian(entry)) {
        taken = take_record(home, &change, false);
        if (taken == NULL) {
            directory_home_answer(home, change.from, change.ticket,
                                  CASCADE_BUSY, NULL, 0);
        }
        return;
    }
    verdict = decide(home, &change);
    if (verdict == ENDED) {
        return;
    }
    taken = take_record(home, &change, false);
    if (taken == NULL) {
        directory_home_answer(home, change.from, change.ticket, CASCADE_BUSY,
                              NULL, 0);
        return;
    }
    proceed(home, taken, verdict);
}

static void
recall_over(struct directory_home *home, struct directory_home_change *change)
{
    struct block_key key = change->key;

    if (change->subject == DIRECTORY_SUBJECT_BIND) {
        commit_bind(home, change);
    } else {
        commit_remove(home, change);
    }
    give_first(home, change);
    go_on(home, &key);
}

void
directory_home_answered(struct directory_home *home, uint64_t token,
                        enum cascade_status status, const void *data,
                        size_t bytes, uint64_t now_ns)
{
    struct directory_home_change *change = change_of(home, token);
    struct block_key key;
    bool ended;

    (void)data;
    (void)bytes;
    home->now_ns = now_ns > home->now_ns ? now_ns : home->now_ns;
    if (change == NULL || change->stage == DIRECTORY_HOME_WAITING) {
        return;
    }
    if (change->stage == DIRECTORY_HOME_RECALLING) {
        // Without its word, a rank's lease counts until it ends.
        if ((status == CASCADE_OK && --change->outstanding == 0) ||
            home->now_ns >= change->until_ns) {
            recall_over(home, change);
        }
        return;
    }
    if (change->rank != (uint16_t)(token >> 48)) {
        return;
    }
    key = change->key;
    if (change->subject == DIRECTORY_SUBJECT_GONE) {
        ended = adopt_answered(home, change, status);
    } else {
        ended = renew_answered(home, change, status);
    }
    if (ended) {
        give_first(home, change);
    }
    if (ended || change->stage == DIRECTORY_HOME_WAITING) {
        go_on(home, &key);
    }
}

uint64_t
directory_home_changes_step(struct directory_home *home)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < home->change_pool.used; i++) {
        struct directory_home_change *change = &home->changes[i];

        if (change->subject == 0 || change->stage != DIRECTORY_HOME_RECALLING) {
            continue;
        }
        if (change->until_ns <= home->now_ns) {
            recall_over(home, change);
        } else if (change->until_ns < next_ns) {
            next_ns = change->until_ns;
        }
    }
    return next_ns;
}
