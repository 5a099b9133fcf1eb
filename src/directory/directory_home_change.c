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

#define SEARCH_STEP 4096 // records that are looked at in one go

enum verdict {
    ENDED,  // and answered
    RECALL, // after what ranks may hold was recalled
    ASK,    // when the custodian agrees
};

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

// --- bind ---

// Everybody who may serve another binding has given it up. The floor may have
// risen meanwhile, but for other keys; only a clear counts.
static void
commit_bind(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (block_version_compare(change->version, home->cleared) <= 0) {
        answer_bound(home, change, CASCADE_STALE, entry, false);
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
    directory_home_key_set(
        home, entry, &change->id, change->version, change->bytes, change->flags,
        change->is_void != 0 ? DIRECTORY_RANK_NONE : change->from);
    if (change->is_void != 0) {
        // It may keep an older one, which was not recalled because it was its.
        directory_home_recall_notice(
            home, change->from, &change->key, change->version,
            home->options.keep_removals ? DIRECTORY_MESSAGE_KEEP_REMOVAL : 0);
    }
    answer_bound(home, change, CASCADE_OK, entry, change->is_void == 0);
}

static enum verdict
decide_bind(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (change->is_void != 0) {
        answer_bound(home, change, CASCADE_CANCELLED, entry, false);
        return ENDED;
    }
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
    if (directory_home_recall_needed(home, entry, change)) {
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
    bool was_live = directory_home_is_live(entry);

    directory_home_raise_floor(home, change->version);
    if (entry != NULL) {
        directory_home_lease_clear(entry);
        directory_home_key_end(home, entry, change->version);
    }
    answer_version(home, change, was_live ? CASCADE_OK : CASCADE_NOT_FOUND,
                   change->version);
}

static enum verdict
decide_remove(struct directory_home *home, struct directory_home_change *change)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    // What ended for want of bytes may be served by leases yet: nobody may be
    // told that there is nothing, and find it afterwards.
    if (!directory_home_is_live(entry) &&
        !directory_home_recall_needed(home, entry, change)) {
        answer_version(home, change, CASCADE_NOT_FOUND, change->version);
        return ENDED;
    }
    change->version = home->options.out.next_version(home->options.out.context);
    if (directory_home_recall_needed(home, entry, change)) {
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
    // Not from the clock: a clear that this home has not heard of yet goes by
    // when the key was bound.
    change->version = block_version_after(entry->version);
    return ASK;
}

// The binding was cleared meanwhile. Who was asked about it may have it under a
// version past the clear, or take it after it was cleared itself. Just that is
// void: a newer one of that rank may stand in line.
static void
void_what_was_asked(struct directory_home *home,
                    const struct directory_home_change *change)
{
    directory_home_raise_floor(home, change->version);
    directory_home_recall_notice(home, change->rank, &change->key,
                                 block_version_after(change->version), 0);
}

static void
commit_protect(struct directory_home *home,
               struct directory_home_change *change,
               struct directory_home_key *entry)
{
    struct block_id id = entry->id;
    uint32_t flags = directory_home_key_flags(entry) &
                     DIRECTORY_MESSAGE_SURROGATE;

    directory_home_key_set(
        home, entry, &id, change->version, directory_home_key_bytes(entry),
        flags | (change->flags & DIRECTORY_MESSAGE_PROTECTED),
        entry->custodian);
    answer_version(home, change, CASCADE_OK, change->version);
}

// True if the change has ended; else it asked again, or waits in line again.
static bool
renew_answered(struct directory_home *home,
               struct directory_home_change *change, enum cascade_status status)
{
    struct directory_home_key *entry = directory_home_key(home, &change->key);

    if (directory_home_is_live(entry) && status == CASCADE_OK) {
        commit_protect(home, change, entry);
        return true;
    }
    if (!directory_home_is_live(entry)) {
        void_what_was_asked(home, change);
        answer_version(home, change, CASCADE_NOT_FOUND, change->version);
        return true;
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
    directory_home_ask_adopt(home, change, entry,
                             change->is_any != 0 ? (uint16_t)asked
                                                 : change->holders[asked]);
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

    if (!is_wanted) {
        if (status == CASCADE_OK || status == CASCADE_TIMEOUT) {
            void_what_was_asked(home, change);
        }
        return true;
    }
    if (status == CASCADE_OK) {
        entry->custodian = change->rank;
        home->handed++;
        return true;
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
    taken = directory_home_line_add(home, &search, true);
    first = directory_home_line(home, &search.key);
    if (taken == NULL && first != NULL) {
        directory_home_answer(home, first->from, first->ticket, CASCADE_BUSY,
                              NULL, 0);
        directory_home_line_end(home, first);
        taken = directory_home_line_add(home, &search, true);
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
        directory_home_send_recalls(home, change, entry);
    } else {
        directory_home_ask_renew(home, change, entry);
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
            directory_home_line_end(home, first);
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
        directory_home_line_end(home, first);
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
directory_home_search_missed(struct directory_home *home)
{
    uint32_t used = home->key_pool.used;
    uint32_t first = home->cursor;

    if (!home->missed) {
        return;
    }
    home->missed = false;
    for (uint32_t i = 0; i < SEARCH_STEP && home->cursor < used; i++) {
        struct directory_home_key *entry = &home->keys[home->cursor++];

        if ((entry->flags & DIRECTORY_HOME_USED) != 0) {
            directory_home_hand_over(home, entry);
        }
        if (home->missed) {
            home->cursor--; // no room again: later, from here
            return;
        }
    }
    // Those before the first may have been missed since.
    home->missed = home->cursor < used || first > 0;
    if (home->cursor >= used) {
        home->cursor = 0;
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
        taken = directory_home_line_add(home, &change, false);
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
    taken = directory_home_line_add(home, &change, false);
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
    directory_home_line_end(home, change);
    go_on(home, &key);
}

void
directory_home_answered(struct directory_home *home, uint64_t token,
                        enum cascade_status status, const void *data,
                        size_t bytes, uint64_t now_ns)
{
    struct directory_home_change *change = directory_home_change_of(home,
                                                                    token);
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
            directory_home_search_missed(home);
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
        directory_home_line_end(home, change);
    }
    if (ended || change->stage == DIRECTORY_HOME_WAITING) {
        go_on(home, &key);
    }
    directory_home_search_missed(home);
}

uint64_t
directory_home_changes_step(struct directory_home *home)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < home->change_pool.used; i++) {
        struct directory_home_change *change = &home->changes[i];

        if (change->subject == 0 || change->stage == DIRECTORY_HOME_WAITING) {
            continue;
        }
        if (change->until_ns > home->now_ns) {
            next_ns = change->until_ns < next_ns ? change->until_ns : next_ns;
        } else if (change->stage == DIRECTORY_HOME_RECALLING) {
            recall_over(home, change);
        } else {
            answer_version(home, change, CASCADE_TIMEOUT, change->version);
            change->until_ns = UINT64_MAX; // the question stays
        }
    }
    return next_ns;
}
