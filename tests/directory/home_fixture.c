// SPDX-License-Identifier: Apache-2.0
//
// See home_fixture.h.

#include "home_fixture.h"

#include "base/allocator.h"

static void
note_ask(void *context, uint16_t to, uint8_t subject, const void *data,
         size_t bytes, uint64_t token, uint64_t deadline_ns)
{
    struct home_fixture *fixture = context;
    struct home_ask *ask;

    assert_true(fixture->ask_count < HOME_SAID_MAX);
    ask = &fixture->asks[fixture->ask_count++];
    memset(ask, 0, sizeof(*ask));
    ask->to = to;
    ask->subject = subject;
    ask->token = token;
    ask->deadline_ns = deadline_ns;
    ask->is_done = token == 0;
    assert_true(bytes <= sizeof(ask->data));
    memcpy(&ask->data, data, bytes);
}

static void
note_answer(void *context, uint16_t to, uint64_t ticket,
            enum cascade_status status, const void *data, size_t bytes)
{
    struct home_fixture *fixture = context;
    struct home_answer *answer =
        &fixture->answers[fixture->answer_count++ % 64];

    assert_true(ticket != 0);
    memset(answer, 0, sizeof(*answer));
    answer->to = to;
    answer->ticket = ticket;
    answer->status = status;
    answer->bytes = bytes;
    if (bytes > 0) {
        memcpy(&answer->data, data,
               bytes < sizeof(answer->data) ? bytes : sizeof(answer->data));
    }
}

static struct block_version
next_version(void *context)
{
    struct home_fixture *fixture = context;

    return (struct block_version){++fixture->time_ns, HOME_TAG};
}

static void
see_version(void *context, struct block_version version)
{
    struct home_fixture *fixture = context;

    if (version.time_ns > fixture->time_ns) {
        fixture->time_ns = version.time_ns;
    }
}

static void
note_protection(void *context, const struct directory_registry_entry *entry)
{
    struct home_fixture *fixture = context;

    fixture->protections++;
    fixture->is_protected = entry->is_protected;
}

void
home_fixture_init(struct home_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    fixture->now_ns = 5 * HOME_SECOND;
    fixture->options = (struct directory_home_options){
        .allocator = allocator_system(),
        .out = {fixture, note_ask, note_answer, next_version, see_version,
                note_protection},
        .rank = HOME_RANK,
        .rank_count = HOME_RANKS,
        .max_keys = 64,
        .max_ids = 64,
        .line_max = 16,
        .rebind_allowed = true,
        .keep_removals = true,
        .lease_ns = HOME_LEASE_NS,
        .claim_ns = HOME_CLAIM_NS,
        .patience_ns = HOME_PATIENCE_NS,
    };
}

void
home_fixture_start(struct home_fixture *fixture)
{
    assert_int_equal(directory_home_create(&fixture->options, &fixture->home),
                     CASCADE_OK);
}

void
home_fixture_end(struct home_fixture *fixture)
{
    assert_true(directory_home_is_valid(fixture->home));
    directory_home_destroy(fixture->home);
    fixture->home = NULL;
}

// The first number from `number * HOME_RANKS` on that this home is for.
static void
digest_of(uint32_t number, uint8_t bytes[32])
{
    uint32_t shard = number % 600 * HOME_RANKS + HOME_RANK;

    memset(bytes, 0, 32);
    memcpy(bytes, &number, sizeof(number));
    memcpy(bytes + 16, &number, sizeof(number));
    bytes[8] = (uint8_t)(shard >> 8);
    bytes[9] = (uint8_t)shard;
    bytes[31] = 1;
}

struct block_key
home_key(uint32_t number)
{
    struct block_key key;

    digest_of(number, key.bytes);
    return key;
}

struct block_id
home_id(uint32_t number)
{
    struct block_id id;

    digest_of(number, id.bytes);
    return id;
}

struct block_version
home_version(uint64_t time_ns)
{
    return (struct block_version){time_ns, 7};
}

uint64_t
home_send(struct home_fixture *fixture, uint16_t from, uint8_t subject,
          const void *data, size_t bytes)
{
    uint64_t ticket = ++fixture->ticket;

    directory_home_receive(fixture->home, from, subject, data, bytes, ticket,
                           fixture->now_ns);
    assert_true(directory_home_is_valid(fixture->home));
    return ticket;
}

uint64_t
home_bind(struct home_fixture *fixture, uint16_t from, uint32_t key,
          uint32_t id, uint64_t version, uint32_t flags)
{
    struct directory_message_bind message = {
        .key = home_key(key),
        .id = home_id(id),
        .version = home_version(version),
        .bytes = 1000 + id,
        .flags = flags,
    };

    return home_send(fixture, from, DIRECTORY_SUBJECT_BIND, &message,
                     sizeof(message));
}

uint64_t
home_remove(struct home_fixture *fixture, uint16_t from, uint32_t key)
{
    struct directory_message_remove message = {home_key(key)};

    return home_send(fixture, from, DIRECTORY_SUBJECT_REMOVE, &message,
                     sizeof(message));
}

uint64_t
home_protect(struct home_fixture *fixture, uint16_t from, uint32_t key,
             bool is_protected)
{
    struct directory_message_protect message = {
        .key = home_key(key),
        .flags = is_protected ? DIRECTORY_MESSAGE_PROTECTED : 0,
    };

    return home_send(fixture, from, DIRECTORY_SUBJECT_PROTECT, &message,
                     sizeof(message));
}

// One thing behind its count.
static uint64_t
send_one(struct home_fixture *fixture, uint16_t from, uint8_t subject,
         const void *thing, size_t bytes)
{
    struct directory_message_count header = {.count = 1};
    uint8_t message[sizeof(header) + 128];

    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), thing, bytes);
    return home_send(fixture, from, subject, message, sizeof(header) + bytes);
}

void
home_gone(struct home_fixture *fixture, uint16_t from, uint32_t key,
          struct block_version version)
{
    struct directory_message_gone gone = {home_key(key), version};

    (void)send_one(fixture, from, DIRECTORY_SUBJECT_GONE, &gone, sizeof(gone));
}

struct directory_message_found
home_lookup(struct home_fixture *fixture, uint16_t from, uint32_t key)
{
    struct directory_message_lookup lookup = {home_key(key)};
    struct directory_message_found found;
    uint64_t ticket = send_one(fixture, from, DIRECTORY_SUBJECT_LOOKUP, &lookup,
                               sizeof(lookup));
    const struct home_answer *answer = home_expect(fixture, ticket, CASCADE_OK);

    assert_int_equal(answer->bytes,
                     sizeof(struct directory_message_count) + sizeof(found));
    memcpy(&found, answer->data.bytes + sizeof(struct directory_message_count),
           sizeof(found));
    return found;
}

uint64_t
home_announce(struct home_fixture *fixture, uint16_t from, uint32_t key,
              uint32_t id, uint64_t version, uint32_t flags)
{
    struct directory_message_announce announce = {
        .key = home_key(key),
        .id = home_id(id),
        .version = home_version(version),
        .bytes = 1000 + id,
        .flags = flags,
    };

    return send_one(fixture, from, DIRECTORY_SUBJECT_ANNOUNCE, &announce,
                    sizeof(announce));
}

uint64_t
home_claim(struct home_fixture *fixture, uint16_t from, uint32_t id)
{
    struct directory_message_claim claim = {home_id(id), 1000 + id};

    return home_send(fixture, from, DIRECTORY_SUBJECT_CLAIM, &claim,
                     sizeof(claim));
}

void
home_copy(struct home_fixture *fixture, uint16_t from, uint32_t id,
          uint32_t change)
{
    struct directory_message_copy copy = {home_id(id), change, 0};

    (void)send_one(fixture, from, DIRECTORY_SUBJECT_COPIES, &copy,
                   sizeof(copy));
}

struct directory_message_copies
home_find(struct home_fixture *fixture, uint16_t from, uint32_t id)
{
    struct directory_message_find find = {home_id(id)};
    struct directory_message_copies copies;
    uint64_t ticket = send_one(fixture, from, DIRECTORY_SUBJECT_FIND, &find,
                               sizeof(find));
    const struct home_answer *answer = home_expect(fixture, ticket, CASCADE_OK);

    memcpy(&copies, answer->data.bytes + sizeof(struct directory_message_count),
           sizeof(copies));
    return copies;
}

const struct home_answer *
home_answer(const struct home_fixture *fixture, uint64_t ticket)
{
    for (uint32_t i = 0; i < 64; i++) {
        if (fixture->answers[i].ticket == ticket) {
            return &fixture->answers[i];
        }
    }
    return NULL;
}

const struct home_answer *
home_expect(const struct home_fixture *fixture, uint64_t ticket,
            enum cascade_status status)
{
    const struct home_answer *answer = home_answer(fixture, ticket);

    assert_non_null(answer);
    assert_string_equal(cascade_status_name(answer->status),
                        cascade_status_name(status));
    return answer;
}

void
home_expect_none(const struct home_fixture *fixture, uint64_t ticket)
{
    assert_null(home_answer(fixture, ticket));
}

struct home_ask *
home_asked(struct home_fixture *fixture, uint16_t to, uint8_t subject)
{
    for (uint32_t i = 0; i < fixture->ask_count; i++) {
        struct home_ask *ask = &fixture->asks[i];

        if (!ask->is_done && ask->to == to && ask->subject == subject) {
            return ask;
        }
    }
    fail_msg("rank %u was not asked", to);
    return NULL;
}

uint32_t
home_open_asks(const struct home_fixture *fixture)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < fixture->ask_count; i++) {
        count += fixture->asks[i].is_done ? 0 : 1;
    }
    return count;
}

void
home_reply(struct home_fixture *fixture, struct home_ask *ask,
           enum cascade_status status)
{
    ask->is_done = true;
    directory_home_answered(fixture->home, ask->token, status, NULL, 0,
                            fixture->now_ns);
    assert_true(directory_home_is_valid(fixture->home));
}

void
home_pass(struct home_fixture *fixture, uint64_t ns)
{
    fixture->now_ns += ns;
    (void)directory_home_step(fixture->home, fixture->now_ns);
    assert_true(directory_home_is_valid(fixture->home));
}
