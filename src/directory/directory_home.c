// SPDX-License-Identifier: Apache-2.0
//
// A home from outside: create, messages in, time, lost ranks, sums. What a
// message means is in directory_home_change.c, _claim.c and _announce.c; here
// it is checked, as a whole and before anything is changed. One thread.

#include "directory/directory_home.h"

#include "base/error.h"
#include "directory/directory_home_inner.h"

#define BYTES_MAX (((uint64_t)1 << 48) - 1)
#define LINE_MAX_MAX ((uint32_t)0xfffffe)

static enum cascade_status
create_tables(struct directory_home *home)
{
    const struct directory_home_options *options = &home->options;
    uint32_t line_max = options->line_max;
    const struct {
        struct directory_home_pool *pool;
        struct directory_home_buckets *buckets;
        uint32_t capacity;
        size_t record_bytes;
        size_t link;
    } tables[] = {
        {&home->key_pool, &home->key_buckets, options->max_keys,
         sizeof(struct directory_home_key),
         offsetof(struct directory_home_key, next)},
        {&home->id_pool, &home->id_buckets, options->max_ids,
         sizeof(struct directory_home_id),
         offsetof(struct directory_home_id, next)},
        {&home->change_pool, &home->change_buckets, line_max,
         sizeof(struct directory_home_change),
         offsetof(struct directory_home_change, next)},
        {&home->claim_pool, &home->claim_buckets, line_max,
         sizeof(struct directory_home_claim),
         offsetof(struct directory_home_claim, next)},
        {&home->waiter_pool, NULL, line_max,
         sizeof(struct directory_home_waiter),
         offsetof(struct directory_home_waiter, next)},
    };
    enum cascade_status status = CASCADE_OK;

    for (size_t i = 0;
         i < sizeof(tables) / sizeof(tables[0]) && status == CASCADE_OK; i++) {
        status = directory_home_pool_init(
            tables[i].pool, options->allocator, tables[i].capacity,
            tables[i].record_bytes, tables[i].link);
        if (status == CASCADE_OK && tables[i].buckets != NULL) {
            status = directory_home_buckets_init(
                tables[i].buckets, options->allocator, tables[i].capacity);
        }
    }
    home->keys = (struct directory_home_key *)(void *)home->key_pool.records;
    home->ids = (struct directory_home_id *)(void *)home->id_pool.records;
    home->changes = (struct directory_home_change *)(void *)
                        home->change_pool.records;
    home->claims = (struct directory_home_claim *)(void *)
                       home->claim_pool.records;
    home->waiters = (struct directory_home_waiter *)(void *)
                        home->waiter_pool.records;
    return status;
}

enum cascade_status
directory_home_create(const struct directory_home_options *options,
                      struct directory_home **home)
{
    struct directory_home *made;
    enum cascade_status status;

    check(options->rank < options->rank_count && options->line_max > 0 &&
          options->line_max <= LINE_MAX_MAX);
    made = allocator_array(options->allocator, 1, sizeof(*made));
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY, "no memory for the directory");
    }
    made->options = *options;
    made->due_ns = UINT64_MAX;
    made->sweep_ns = UINT64_MAX;
    status = create_tables(made);
    if (status != CASCADE_OK) {
        directory_home_destroy(made);
        return status;
    }
    *home = made;
    return CASCADE_OK;
}

void
directory_home_destroy(struct directory_home *home)
{
    const struct allocator *allocator;

    if (home == NULL) {
        return;
    }
    allocator = home->options.allocator;
    allocator_release(allocator, home->claim_buckets.first);
    allocator_release(allocator, home->change_buckets.first);
    allocator_release(allocator, home->id_buckets.first);
    allocator_release(allocator, home->key_buckets.first);
    allocator_release(allocator, home->waiter_pool.records);
    allocator_release(allocator, home->claim_pool.records);
    allocator_release(allocator, home->change_pool.records);
    allocator_release(allocator, home->id_pool.records);
    allocator_release(allocator, home->key_pool.records);
    allocator_release(allocator, home);
}

// --- what a message may be ---

static bool
is_key(const struct directory_home *home, const struct block_key *key)
{
    return !block_key_is_zero(key) &&
           directory_home_rank(directory_shard_of_key(key),
                               home->options.rank_count) == home->options.rank;
}

static bool
is_id(const struct directory_home *home, const struct block_id *id)
{
    return !block_id_is_zero(id) &&
           directory_home_rank(directory_shard_of_id(id),
                               home->options.rank_count) == home->options.rank;
}

static bool
is_lookup(const struct directory_home *home, const void *data)
{
    struct directory_message_lookup message;

    memcpy(&message, data, sizeof(message));
    return is_key(home, &message.key);
}

static bool
is_bind(const struct directory_home *home, const void *data)
{
    struct directory_message_bind message;

    memcpy(&message, data, sizeof(message));
    return is_key(home, &message.key) && !block_id_is_zero(&message.id) &&
           !block_version_is_zero(message.version) &&
           message.bytes <= BYTES_MAX &&
           (message.flags & ~(uint32_t)(DIRECTORY_MESSAGE_PROTECTED |
                                        DIRECTORY_MESSAGE_SURROGATE |
                                        DIRECTORY_MESSAGE_IF_ABSENT)) == 0;
}

static bool
is_protect(const struct directory_home *home, const void *data)
{
    struct directory_message_protect message;

    memcpy(&message, data, sizeof(message));
    return is_key(home, &message.key) &&
           (message.flags & ~(uint32_t)DIRECTORY_MESSAGE_PROTECTED) == 0;
}

static bool
is_gone(const struct directory_home *home, const void *data)
{
    struct directory_message_gone message;

    memcpy(&message, data, sizeof(message));
    return is_key(home, &message.key) &&
           !block_version_is_zero(message.version);
}

static bool
is_announce(const struct directory_home *home, const void *data)
{
    struct directory_message_announce message;
    bool is_removal;

    memcpy(&message, data, sizeof(message));
    is_removal = (message.flags & DIRECTORY_MESSAGE_REMOVED) != 0;
    return is_key(home, &message.key) &&
           (is_removal || !block_id_is_zero(&message.id)) &&
           !block_version_is_zero(message.version) &&
           message.bytes <= BYTES_MAX &&
           (message.flags & ~(uint32_t)(DIRECTORY_MESSAGE_PROTECTED |
                                        DIRECTORY_MESSAGE_SURROGATE |
                                        DIRECTORY_MESSAGE_REMOVED)) == 0;
}

static bool
is_claim(const struct directory_home *home, const void *data)
{
    struct directory_message_claim message;

    memcpy(&message, data, sizeof(message));
    return is_id(home, &message.id);
}

static bool
is_copy(const struct directory_home *home, const void *data)
{
    struct directory_message_copy message;

    memcpy(&message, data, sizeof(message));
    return is_id(home, &message.id) && (message.change == DIRECTORY_COPY_HERE ||
                                        message.change == DIRECTORY_COPY_GONE);
}

static bool
is_find(const struct directory_home *home, const void *data)
{
    struct directory_message_find message;

    memcpy(&message, data, sizeof(message));
    return is_id(home, &message.id);
}

// What each subject carries.
struct shape {
    size_t bytes; // of one thing; 0: not for a home
    bool has_count;
    bool (*is_valid)(const struct directory_home *home, const void *data);
};

static const struct shape shapes[DIRECTORY_SUBJECTS_END] = {
    [DIRECTORY_SUBJECT_LOOKUP] = {sizeof(struct directory_message_lookup), true,
                                  is_lookup},
    [DIRECTORY_SUBJECT_BIND] = {sizeof(struct directory_message_bind), false,
                                is_bind},
    [DIRECTORY_SUBJECT_REMOVE] = {sizeof(struct directory_message_remove),
                                  false, is_lookup},
    [DIRECTORY_SUBJECT_PROTECT] = {sizeof(struct directory_message_protect),
                                   false, is_protect},
    [DIRECTORY_SUBJECT_GONE] = {sizeof(struct directory_message_gone), true,
                                is_gone},
    [DIRECTORY_SUBJECT_ANNOUNCE] = {sizeof(struct directory_message_announce),
                                    true, is_announce},
    [DIRECTORY_SUBJECT_CLAIM] = {sizeof(struct directory_message_claim), false,
                                 is_claim},
    [DIRECTORY_SUBJECT_COPIES] = {sizeof(struct directory_message_copy), true,
                                  is_copy},
    [DIRECTORY_SUBJECT_FIND] = {sizeof(struct directory_message_find), true,
                                is_find},
};

_Static_assert(sizeof(struct directory_message_remove) ==
                   sizeof(struct directory_message_lookup),
               "both are a key");

// How many things the message names; 0: it is malformed.
static uint32_t
count_things(const struct directory_home *home, uint8_t subject,
             const void *data, size_t bytes)
{
    const uint8_t *things = data;
    const struct shape *shape;
    struct directory_message_count header = {.count = 1};

    if (subject >= DIRECTORY_SUBJECTS_END || shapes[subject].bytes == 0) {
        return 0;
    }
    shape = &shapes[subject];
    if (shape->has_count) {
        if (bytes < sizeof(header)) {
            return 0;
        }
        memcpy(&header, data, sizeof(header));
        things += sizeof(header);
        bytes -= sizeof(header);
    }
    if (header.count == 0 || header.count > DIRECTORY_MESSAGE_COUNT_MAX ||
        bytes != header.count * shape->bytes) {
        return 0;
    }
    for (uint32_t i = 0; i < header.count; i++) {
        if (!shape->is_valid(home, things + i * shape->bytes)) {
            return 0;
        }
    }
    return header.count;
}

// --- what is small enough to be done here ---

static void
lookup_one(struct directory_home *home, uint16_t from,
           const struct block_key *key, struct directory_message_found *found)
{
    struct directory_home_key *entry = directory_home_key(home, key);

    memset(found, 0, sizeof(*found));
    found->custodian = DIRECTORY_RANK_NONE;
    found->status = CASCADE_NOT_FOUND;
    if (!directory_home_is_live(entry)) {
        return;
    }
    found->status = CASCADE_OK;
    found->id = entry->id;
    found->version = entry->version;
    found->bytes = directory_home_key_bytes(entry);
    found->flags = directory_home_key_flags(entry);
    found->custodian = entry->custodian;
    // What is being changed is told, but may not be kept.
    if (entry->custodian != DIRECTORY_RANK_NONE &&
        directory_home_line(home, key) == NULL) {
        found->lease_ns = directory_home_lease(home, entry, from);
    }
}

static void
lookup(struct directory_home *home, uint16_t from,
       const struct directory_message_lookup *lookups, uint32_t count,
       uint64_t ticket)
{
    struct directory_message_count header = {.count = count};
    size_t used = sizeof(header);

    if (ticket == 0) {
        return; // nobody would know of the lease
    }
    memcpy(home->reply, &header, sizeof(header));
    for (uint32_t i = 0; i < count; i++) {
        struct directory_message_found found;

        lookup_one(home, from, &lookups[i].key, &found);
        memcpy(home->reply + used, &found, sizeof(found));
        used += sizeof(found);
    }
    directory_home_answer(home, from, ticket, CASCADE_OK, home->reply, used);
}

// The version is that of the binding, or the one that its custodian was asked
// to call it.
static bool
is_version_of(struct directory_home *home,
              const struct directory_home_key *entry,
              struct block_version version)
{
    const struct directory_home_change *change = directory_home_line(
        home, &entry->key);

    return block_version_compare(entry->version, version) == 0 ||
           (change != NULL && change->subject == DIRECTORY_SUBJECT_PROTECT &&
            change->stage == DIRECTORY_HOME_ASKING &&
            block_version_compare(change->version, version) == 0);
}

static void
gone(struct directory_home *home, uint16_t from,
     const struct directory_message_gone *gone_ones, uint32_t count,
     uint64_t ticket)
{
    for (uint32_t i = 0; i < count; i++) {
        struct directory_home_key *entry = directory_home_key(
            home, &gone_ones[i].key);

        directory_home_void(home, &gone_ones[i].key, gone_ones[i].version,
                            from);
        if (directory_home_is_live(entry) && entry->custodian == from &&
            is_version_of(home, entry, gone_ones[i].version)) {
            entry->custodian = DIRECTORY_RANK_NONE;
            directory_home_hand_over(home, entry);
        }
    }
    directory_home_answer(home, from, ticket, CASCADE_OK, NULL, 0);
}

static void
change(struct directory_home *home, uint16_t from, uint8_t subject,
       const void *data, uint64_t ticket)
{
    struct directory_home_change made;
    struct directory_message_bind bind;
    struct directory_message_protect protect;

    memset(&made, 0, sizeof(made));
    made.subject = subject;
    made.from = from;
    made.ticket = ticket;
    memcpy(&made.key, data, sizeof(made.key)); // all three begin with it
    if (subject == DIRECTORY_SUBJECT_BIND) {
        memcpy(&bind, data, sizeof(bind));
        made.id = bind.id;
        made.version = bind.version;
        made.bytes = bind.bytes;
        made.flags = bind.flags;
        home->options.out.see_version(home->options.out.context, bind.version);
    } else if (subject == DIRECTORY_SUBJECT_PROTECT) {
        memcpy(&protect, data, sizeof(protect));
        made.flags = protect.flags;
    }
    directory_home_change(home, &made);
}

// Time never goes back, and leases count from the first moment that was told.
static void
set_now(struct directory_home *home, uint64_t now_ns)
{
    if (!home->has_origin) {
        home->has_origin = true;
        home->origin_ns = now_ns;
        home->now_ns = now_ns;
    }
    if (now_ns > home->now_ns) {
        home->now_ns = now_ns;
    }
}

void
directory_home_receive(struct directory_home *home, uint16_t from,
                       uint8_t subject, const void *data, size_t bytes,
                       uint64_t ticket, uint64_t now_ns)
{
    uint32_t count = 0;
    const void *things = home->request;

    set_now(home, now_ns);
    if (from < home->options.rank_count && bytes > 0 &&
        bytes <= sizeof(home->request)) {
        memcpy(home->request, data, bytes);
        count = count_things(home, subject, home->request, bytes);
    }
    if (count == 0) {
        directory_home_answer(home, from, ticket, CASCADE_INVALID, NULL, 0);
        return;
    }
    if (shapes[subject].has_count) {
        things = home->request + sizeof(struct directory_message_count);
    }
    switch (subject) {
    case DIRECTORY_SUBJECT_LOOKUP:
        lookup(home, from, things, count, ticket);
        break;
    case DIRECTORY_SUBJECT_GONE:
        gone(home, from, things, count, ticket);
        break;
    case DIRECTORY_SUBJECT_ANNOUNCE:
        directory_home_announce(home, from, things, count, ticket);
        break;
    case DIRECTORY_SUBJECT_CLAIM:
        directory_home_claim(home, from, things, ticket);
        break;
    case DIRECTORY_SUBJECT_COPIES:
        directory_home_copies(home, from, things, count, ticket);
        break;
    case DIRECTORY_SUBJECT_FIND:
        directory_home_find(home, from, things, count, ticket);
        break;
    default:
        change(home, from, subject, things, ticket);
        break;
    }
}

uint64_t
directory_home_step(struct directory_home *home, uint64_t now_ns)
{
    set_now(home, now_ns);
    directory_home_search_missed(home);
    if (home->now_ns >= home->due_ns) {
        uint64_t changes_ns;
        uint64_t claims_ns;

        home->due_ns = UINT64_MAX;
        changes_ns = directory_home_changes_step(home);
        claims_ns = directory_home_claims_step(home);
        if (changes_ns < home->due_ns) {
            home->due_ns = changes_ns;
        }
        if (claims_ns < home->due_ns) {
            home->due_ns = claims_ns;
        }
    }
    if (home->missed && home->change_pool.taken < home->change_pool.capacity) {
        return home->now_ns;
    }
    return home->due_ns;
}

void
directory_home_lost(struct directory_home *home, uint16_t rank, uint64_t now_ns)
{
    set_now(home, now_ns);
    directory_home_claims_lost(home, rank);
    for (uint32_t i = 0; i < home->change_pool.used; i++) {
        if (home->changes[i].subject == DIRECTORY_SUBJECT_BIND &&
            home->changes[i].from == rank) {
            home->changes[i].is_void = 1;
        }
    }
    for (uint32_t i = 0; i < home->key_pool.used; i++) {
        struct directory_home_key *entry = &home->keys[i];

        if ((entry->flags & DIRECTORY_HOME_USED) != 0 &&
            directory_home_is_live(entry) && entry->custodian == rank) {
            entry->custodian = DIRECTORY_RANK_NONE;
            directory_home_hand_over(home, entry);
        }
    }
}

void
directory_home_clear(struct directory_home *home, struct block_version version)
{
    for (uint32_t i = 0; i < home->key_pool.used; i++) {
        struct directory_home_key *entry = &home->keys[i];

        if ((entry->flags & DIRECTORY_HOME_USED) != 0 &&
            block_version_compare(entry->version, version) < 0) {
            directory_home_key_end(home, entry, version);
        }
    }
    directory_home_raise_floor(home, version);
    if (block_version_compare(version, home->cleared) > 0) {
        home->cleared = version;
    }
    home->options.out.see_version(home->options.out.context, version);
}

void
directory_home_protected(struct directory_home *home,
                         void (*visit)(void *context,
                                       const struct block_key *key,
                                       struct block_version version),
                         void *context)
{
    for (uint32_t i = 0; i < home->key_pool.used; i++) {
        const struct directory_home_key *entry = &home->keys[i];

        if ((entry->flags & DIRECTORY_HOME_PROTECTED) != 0) {
            visit(context, &entry->key, entry->version);
        }
    }
}

void
directory_home_usage(const struct directory_home *home,
                     struct directory_home_usage *usage)
{
    *usage = (struct directory_home_usage){
        .keys = home->key_pool.taken - home->removed,
        .ids = home->id_pool.taken,
        .protected_keys = home->protected_keys,
        .changing = home->lines,
        .waiting = home->change_pool.taken - home->lines,
        .recalls = home->recalls,
        .handed = home->handed,
        .bytes_per_key = DIRECTORY_HOME_KEY_BYTES,
        .bytes_per_id = DIRECTORY_HOME_ID_BYTES,
    };
}
