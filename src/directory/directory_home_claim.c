// SPDX-License-Identifier: Apache-2.0
//
// The home of ids: who stores a content right now, and which ranks have a copy.
// All of it is hints: a claim that is lost costs a second copy, a rank that is
// named in vain a question. One thread.

#include "directory/directory_home_inner.h"

static uint32_t *
claim_bucket(struct directory_home *home, const struct block_id *id)
{
    uint64_t hash;

    memcpy(&hash, id->bytes, sizeof(hash));
    return &home->claim_buckets.first[hash % home->claim_buckets.count];
}

static struct directory_home_claim *
claim_of(struct directory_home *home, const struct block_id *id)
{
    uint32_t record = *claim_bucket(home, id);

    while (record != DIRECTORY_HOME_NONE) {
        struct directory_home_claim *claim = &home->claims[record];

        if (block_id_equal(&claim->id, id)) {
            return claim;
        }
        record = claim->next;
    }
    return NULL;
}

static void
set_end(struct directory_home *home, struct directory_home_claim *claim)
{
    claim->end_ns = home->now_ns + home->options.claim_ns;
    if (claim->end_ns < home->due_ns) {
        home->due_ns = claim->end_ns;
    }
}

static struct directory_home_claim *
add_claim(struct directory_home *home, const struct block_id *id, uint16_t rank)
{
    uint32_t record = directory_home_pool_take(&home->claim_pool);
    uint32_t *bucket = claim_bucket(home, id);
    struct directory_home_claim *claim;

    if (record == DIRECTORY_HOME_NONE) {
        return NULL;
    }
    claim = &home->claims[record];
    claim->id = *id;
    claim->rank = rank;
    claim->is_used = true;
    claim->waiters = DIRECTORY_HOME_NONE;
    claim->next = *bucket;
    *bucket = record;
    set_end(home, claim);
    return claim;
}

static void
delete_claim(struct directory_home *home, struct directory_home_claim *claim)
{
    uint32_t record = (uint32_t)(claim - home->claims);
    uint32_t *link = claim_bucket(home, &claim->id);

    check(claim->waiters == DIRECTORY_HOME_NONE);
    while (*link != record) {
        check(*link != DIRECTORY_HOME_NONE);
        link = &home->claims[*link].next;
    }
    *link = claim->next;
    directory_home_pool_give(&home->claim_pool, record);
}

static void
answer_claimed(struct directory_home *home, uint16_t to, uint64_t ticket,
               enum cascade_status status, uint16_t rank)
{
    struct directory_message_claimed claimed;

    memset(&claimed, 0, sizeof(claimed));
    claimed.rank = rank;
    directory_home_answer(home, to, ticket, status, &claimed, sizeof(claimed));
}

// A rank with a copy, other than the one that asks.
static uint16_t
rank_with_copy(const struct directory_home_id *entry, uint16_t asker)
{
    for (uint32_t i = 0; entry != NULL && i < DIRECTORY_COPIES_MAX; i++) {
        if (entry->ranks[i] != DIRECTORY_RANK_NONE &&
            entry->ranks[i] != asker) {
            return entry->ranks[i];
        }
    }
    return DIRECTORY_RANK_NONE;
}

// The first of those who wait; it is not in the list any more. False: nobody.
static bool
take_waiter(struct directory_home *home, struct directory_home_claim *claim,
            struct directory_home_waiter *waiter)
{
    uint32_t record = claim->waiters;

    if (record == DIRECTORY_HOME_NONE) {
        return false;
    }
    *waiter = home->waiters[record];
    claim->waiters = waiter->next;
    directory_home_pool_give(&home->waiter_pool, record);
    return true;
}

// There is a copy now: those who wait are told where.
static void
tell_waiters(struct directory_home *home, struct directory_home_claim *claim,
             uint16_t rank)
{
    struct directory_home_waiter waiter;

    while (take_waiter(home, claim, &waiter)) {
        answer_claimed(home, waiter.rank, waiter.ticket, CASCADE_EXISTS, rank);
    }
}

// The claim passes to the next who waits, or ends.
static void
pass_on(struct directory_home *home, struct directory_home_claim *claim)
{
    struct directory_home_waiter waiter;

    if (!take_waiter(home, claim, &waiter)) {
        delete_claim(home, claim);
        return;
    }
    claim->rank = waiter.rank;
    set_end(home, claim);
    answer_claimed(home, waiter.rank, waiter.ticket, CASCADE_OK,
                   DIRECTORY_RANK_NONE);
}

static bool
wait_for(struct directory_home *home, struct directory_home_claim *claim,
         uint16_t rank, uint64_t ticket)
{
    uint32_t record = directory_home_pool_take(&home->waiter_pool);
    uint32_t *link = &claim->waiters;

    if (record == DIRECTORY_HOME_NONE) {
        return false;
    }
    home->waiters[record] = (struct directory_home_waiter){
        .ticket = ticket,
        .next = DIRECTORY_HOME_NONE,
        .rank = rank,
        .is_used = true,
    };
    while (*link != DIRECTORY_HOME_NONE) {
        link = &home->waiters[*link].next;
    }
    *link = record;
    return true;
}

void
directory_home_claim(struct directory_home *home, uint16_t from,
                     const struct directory_message_claim *message,
                     uint64_t ticket)
{
    uint16_t rank = rank_with_copy(directory_home_id(home, &message->id), from);
    struct directory_home_claim *claim = claim_of(home, &message->id);

    if (rank != DIRECTORY_RANK_NONE) {
        answer_claimed(home, from, ticket, CASCADE_EXISTS, rank);
        return;
    }
    if (claim != NULL && claim->rank != from) {
        if (!wait_for(home, claim, from, ticket)) {
            answer_claimed(home, from, ticket, CASCADE_BUSY,
                           DIRECTORY_RANK_NONE);
        }
        return;
    }
    if (claim != NULL) {
        set_end(home, claim);
    } else if (add_claim(home, &message->id, from) == NULL) {
        answer_claimed(home, from, ticket, CASCADE_BUSY, DIRECTORY_RANK_NONE);
        return;
    }
    answer_claimed(home, from, ticket, CASCADE_OK, DIRECTORY_RANK_NONE);
}

// Where there is no room the oldest of the ranks goes.
static void
add_rank(struct directory_home_id *entry, uint16_t rank)
{
    for (uint32_t i = 0; i < DIRECTORY_COPIES_MAX; i++) {
        if (entry->ranks[i] == rank) {
            return;
        }
        if (entry->ranks[i] == DIRECTORY_RANK_NONE) {
            entry->ranks[i] = rank;
            return;
        }
    }
    memmove(entry->ranks, entry->ranks + 1,
            (DIRECTORY_COPIES_MAX - 1) * sizeof(entry->ranks[0]));
    entry->ranks[DIRECTORY_COPIES_MAX - 1] = rank;
}

// True if no rank is left.
static bool
remove_rank(struct directory_home_id *entry, uint16_t rank)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < DIRECTORY_COPIES_MAX; i++) {
        if (entry->ranks[i] != rank) {
            entry->ranks[kept++] = entry->ranks[i];
        }
    }
    while (kept < DIRECTORY_COPIES_MAX) {
        entry->ranks[kept++] = DIRECTORY_RANK_NONE;
    }
    return entry->ranks[0] == DIRECTORY_RANK_NONE;
}

static enum cascade_status
copy_here(struct directory_home *home, const struct block_id *id, uint16_t from)
{
    struct directory_home_id *entry = directory_home_id(home, id);
    struct directory_home_claim *claim = claim_of(home, id);

    if (claim != NULL) {
        tell_waiters(home, claim, from);
        if (claim->rank == from) {
            delete_claim(home, claim);
        }
    }
    if (entry == NULL) {
        entry = directory_home_id_add(home, id);
    }
    if (entry == NULL) {
        return CASCADE_NO_SPACE;
    }
    add_rank(entry, from);
    return CASCADE_OK;
}

static void
copy_gone(struct directory_home *home, const struct block_id *id, uint16_t from)
{
    struct directory_home_id *entry = directory_home_id(home, id);
    struct directory_home_claim *claim = claim_of(home, id);

    if (entry != NULL && remove_rank(entry, from)) {
        directory_home_id_delete(home, entry);
    }
    if (claim != NULL && claim->rank == from) {
        pass_on(home, claim);
    }
}

void
directory_home_copies(struct directory_home *home, uint16_t from,
                      const struct directory_message_copy *copies,
                      uint32_t count, uint64_t ticket)
{
    enum cascade_status status = CASCADE_OK;

    for (uint32_t i = 0; i < count; i++) {
        if (copies[i].change == DIRECTORY_COPY_GONE) {
            copy_gone(home, &copies[i].id, from);
        } else if (copy_here(home, &copies[i].id, from) != CASCADE_OK) {
            status = CASCADE_NO_SPACE;
        }
    }
    directory_home_answer(home, from, ticket, status, NULL, 0);
}

void
directory_home_find(struct directory_home *home, uint16_t from,
                    const struct directory_message_find *find, uint32_t count,
                    uint64_t ticket)
{
    struct directory_message_count header = {.count = count};
    size_t used = sizeof(header);

    memcpy(home->reply, &header, sizeof(header));
    for (uint32_t i = 0; i < count; i++) {
        const struct directory_home_id *entry = directory_home_id(home,
                                                                  &find[i].id);
        struct directory_message_copies copies;

        memset(&copies, 0, sizeof(copies));
        memset(copies.ranks, 0xff, sizeof(copies.ranks));
        while (entry != NULL && copies.count < DIRECTORY_COPIES_MAX &&
               entry->ranks[copies.count] != DIRECTORY_RANK_NONE) {
            copies.ranks[copies.count] = entry->ranks[copies.count];
            copies.count++;
        }
        memcpy(home->reply + used, &copies, sizeof(copies));
        used += sizeof(copies);
    }
    directory_home_answer(home, from, ticket, CASCADE_OK, home->reply, used);
}

uint64_t
directory_home_claims_step(struct directory_home *home)
{
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; i < home->claim_pool.used; i++) {
        struct directory_home_claim *claim = &home->claims[i];

        if (claim->is_used && claim->end_ns <= home->now_ns) {
            pass_on(home, claim);
        }
        if (claim->is_used && claim->end_ns < next_ns) {
            next_ns = claim->end_ns;
        }
    }
    return next_ns;
}

// Those of the lost rank that wait for a claim need no answer.
static void
drop_waiters(struct directory_home *home, struct directory_home_claim *claim,
             uint16_t rank)
{
    uint32_t *link = &claim->waiters;

    while (*link != DIRECTORY_HOME_NONE) {
        uint32_t record = *link;

        if (home->waiters[record].rank == rank) {
            *link = home->waiters[record].next;
            directory_home_pool_give(&home->waiter_pool, record);
        } else {
            link = &home->waiters[record].next;
        }
    }
}

void
directory_home_claims_lost(struct directory_home *home, uint16_t rank)
{
    for (uint32_t i = 0; i < home->claim_pool.used; i++) {
        struct directory_home_claim *claim = &home->claims[i];

        if (!claim->is_used) {
            continue;
        }
        drop_waiters(home, claim, rank);
        if (claim->rank == rank) {
            pass_on(home, claim);
        }
    }
    for (uint32_t i = 0; i < home->id_pool.used; i++) {
        struct directory_home_id *entry = &home->ids[i];

        if (directory_home_id_is_used(entry) && remove_rank(entry, rank)) {
            directory_home_id_delete(home, entry);
        }
    }
}
