// SPDX-License-Identifier: Apache-2.0
//
// A home whose asks and answers are kept, for tests that play all ranks by hand.
// Time is told; versions are plain numbers with the tag of the home.

#ifndef DIRECTORY_HOME_FIXTURE_H
#define DIRECTORY_HOME_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "directory/directory_home.h"

#define HOME_RANK 1
#define HOME_RANKS 6
#define HOME_TAG 99
#define HOME_SECOND ((uint64_t)1000000000)
#define HOME_LEASE_NS (10 * HOME_SECOND)
#define HOME_PATIENCE_NS (2 * HOME_SECOND)
#define HOME_CLAIM_NS (3 * HOME_SECOND)
#define HOME_SAID_MAX 4096

struct home_ask {
    uint16_t to;
    uint8_t subject;
    bool is_done;
    uint64_t token;
    uint64_t deadline_ns;
    union {
        struct directory_message_recall recall;
        struct directory_message_adopt adopt;
        struct directory_message_renew renew;
        uint8_t bytes[96];
    } data;
};

struct home_answer {
    uint16_t to;
    uint64_t ticket;
    enum cascade_status status;
    size_t bytes;
    union {
        struct directory_message_bound bound;
        struct directory_message_claimed claimed;
        struct block_version version;
        uint8_t bytes[4096];
    } data;
};

struct home_fixture {
    struct directory_home *home;
    struct directory_home_options options;
    uint64_t now_ns;
    uint64_t time_ns; // of the last version given or seen
    uint64_t ticket;
    struct home_ask asks[HOME_SAID_MAX];
    uint32_t ask_count;
    struct home_answer answers[64]; // a ring
    uint32_t answer_count;
    uint32_t protections; // calls
    bool is_protected;    // as last told
};

// The options may be changed between the two.
void
home_fixture_init(struct home_fixture *fixture);

void
home_fixture_start(struct home_fixture *fixture);

// Checks every invariant.
void
home_fixture_end(struct home_fixture *fixture);

struct block_key
home_key(uint32_t number);

struct block_id
home_id(uint32_t number);

// Of some rank's store.
struct block_version
home_version(uint64_t time_ns);

// Sends and returns the ticket.
uint64_t
home_send(struct home_fixture *fixture, uint16_t from, uint8_t subject,
          const void *data, size_t bytes);

uint64_t
home_bind(struct home_fixture *fixture, uint16_t from, uint32_t key,
          uint32_t id, uint64_t version, uint32_t flags);

uint64_t
home_remove(struct home_fixture *fixture, uint16_t from, uint32_t key);

uint64_t
home_protect(struct home_fixture *fixture, uint16_t from, uint32_t key,
             bool is_protected);

void
home_gone(struct home_fixture *fixture, uint16_t from, uint32_t key,
          struct block_version version);

struct directory_message_found
home_lookup(struct home_fixture *fixture, uint16_t from, uint32_t key);

uint64_t
home_announce(struct home_fixture *fixture, uint16_t from, uint32_t key,
              uint32_t id, uint64_t version, uint32_t flags);

uint64_t
home_claim(struct home_fixture *fixture, uint16_t from, uint32_t id);

void
home_copy(struct home_fixture *fixture, uint16_t from, uint32_t id,
          uint32_t change);

struct directory_message_copies
home_find(struct home_fixture *fixture, uint16_t from, uint32_t id);

// The answer to the ticket; NULL: there is none yet.
const struct home_answer *
home_answer(const struct home_fixture *fixture, uint64_t ticket);

// Demands the answer with that status.
const struct home_answer *
home_expect(const struct home_fixture *fixture, uint64_t ticket,
            enum cascade_status status);

void
home_expect_none(const struct home_fixture *fixture, uint64_t ticket);

// The oldest ask of that subject to that rank that was not answered; demands it.
struct home_ask *
home_asked(struct home_fixture *fixture, uint16_t to, uint8_t subject);

// Asks that were not answered.
uint32_t
home_open_asks(const struct home_fixture *fixture);

void
home_reply(struct home_fixture *fixture, struct home_ask *ask,
           enum cascade_status status);

// Time passes, and the home is told.
void
home_pass(struct home_fixture *fixture, uint64_t ns);

#endif
