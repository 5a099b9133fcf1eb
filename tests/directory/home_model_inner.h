// SPDX-License-Identifier: Apache-2.0
//
// The parts of home_model*.c: what the world is made of.

#ifndef DIRECTORY_HOME_MODEL_INNER_H
#define DIRECTORY_HOME_MODEL_INNER_H

#include <stdio.h>
#include <string.h>

#include "base/allocator.h"
#include "base/check.h"
#include "directory/directory_home_inner.h"
#include "directory/directory_lease.h"
#include "home_model.h"

#define RANKS_MAX 5
#define KEYS_MAX 3
#define IDS 4
#define OPS 3 // of one rank at once
#define QUEUE 64
#define REQUESTS 256
#define RECORDS 96 // versions of one key
#define MS ((uint64_t)1000000)
#define LEASE_NS (10000 * MS)
#define SUBJECT_READ 20
#define ATTEMPTS 8

struct packet {
    uint64_t number; // of the request
    enum cascade_status status;
    uint8_t subject;
    bool is_answer;
    uint8_t bytes;
    uint8_t data[96];
};

struct channel {
    struct packet packets[QUEUE];
    uint32_t first;
    uint32_t count;
};

struct request {
    uint64_t number; // 0: free
    uint64_t deadline_ns;
    uint64_t token; // of a home; 0: of an operation
    uint64_t asked_ns;
    uint32_t op;
    uint16_t rank;
    uint16_t to;
    uint8_t subject;
};

// A name in a toy catalogue.
struct name {
    bool is;
    bool is_protected;
    uint8_t id;
    struct block_version version;
    struct block_version replaced; // of a pending one: what was kept before
};

struct renewal {
    bool is;
    uint16_t from;
    uint64_t number;
    struct directory_message_renew renew;
};

struct rank {
    struct directory_home *home;
    struct directory_leases *leases;
    struct name kept[KEYS_MAX]; // custody
    struct name guests[KEYS_MAX];
    struct name pending[KEYS_MAX]; // not confirmed yet
    struct renewal renewal;        // that a worker still has to do
    struct block_version cleared;
    uint64_t version_ns; // of the last version given or seen
    uint64_t offset_ns;
    uint64_t wall_ns;
    uint64_t drift; // thousandths of the true pace
    bool is_dead;
};

enum op_kind {
    OP_NONE,
    OP_PUT,
    OP_REMOVE,
    OP_PROTECT,
    OP_GET,
    OP_CLEAR
};

struct op {
    enum op_kind kind;
    bool is_unknown; // its client has gone; it goes on
    bool asks_later;
    uint16_t rank;
    uint8_t key;
    uint8_t id;
    uint32_t flags;
    uint32_t attempts;
    uint32_t outstanding;
    uint32_t loss; // at its start
    bool excused;  // a removal was under way at its start
    struct block_version version;
    struct block_version floor;   // at its start
    struct block_version cleared; // likewise
    uint32_t absent;              // likewise
    uint32_t begun;
    struct directory_lease late; // of a mutation
    bool has_late;
};

// One version of a key.
struct record {
    struct block_version version;
    struct block_version origin; // with which its content was bound
    uint8_t id;                  // IDS: a removal
    uint32_t answered;           // when its put was; 0: not, or not with a yes
    bool excused;
    uint32_t loss;
};

// The context of a home's output: which rank it is.
struct mouth {
    struct home_model *model;
    uint16_t rank;
};

struct home_model {
    struct mouth mouths[RANKS_MAX];
    struct rank ranks[RANKS_MAX];
    struct channel channels[RANKS_MAX][RANKS_MAX];
    struct request requests[REQUESTS];
    struct op ops[RANKS_MAX * OPS];
    struct record records[KEYS_MAX][RECORDS];
    uint32_t record_count[KEYS_MAX];
    struct block_version floor[KEYS_MAX];
    struct block_version cleared; // the highest clear that was answered
    bool given_up[KEYS_MAX];      // puts whose client has gone may still come
    // When the last removal began that was told that there was nothing.
    uint32_t absent[KEYS_MAX];
    uint32_t moment;             // of beginnings and answers
    uint32_t loss[KEYS_MAX];     // events that may explain a miss
    uint32_t removers[KEYS_MAX]; // removals and clears under way
    struct block_key keys[KEYS_MAX];
    uint64_t random;
    uint64_t now_ns;
    uint64_t number;
    uint16_t rank_count;
    uint8_t key_count;
    bool is_quiet;
    bool trace;
    enum home_mutation mutation;
    struct home_model_result result;
    struct directory_message_found found; // what the last look told
    bool has_found;
};

// --- home_model.c: the world ---

uint64_t
model_random(struct home_model *model, uint64_t below);

void
model_fault(struct home_model *model, const char *what);

uint64_t
model_now(const struct home_model *model, uint16_t rank);

struct block_version
model_next_version(struct home_model *model, uint16_t rank);

void
model_see(struct home_model *model, uint16_t rank,
          struct block_version version);

uint16_t
model_home(const struct home_model *model, uint8_t key);

uint8_t
model_key(const struct home_model *model, const struct block_key *key);

struct block_id
model_id(uint8_t id);

// --- home_model_wire.c: channels and ports ---

void
model_send(struct home_model *model, uint16_t from, uint16_t to,
           const struct packet *packet);

// Asks for an operation; it is told by model_answered.
void
model_ask(struct home_model *model, uint32_t op, uint16_t to, uint8_t subject,
          const void *data, size_t bytes, uint64_t patience_ns);

// The next message of that pair.
void
model_deliver(struct home_model *model, uint16_t from, uint16_t to);

// The request ends without an answer of its rank.
void
model_settle(struct home_model *model, struct request *request,
             enum cascade_status status);

// Ends one request whose time is over; false: there is none.
bool
model_deadline_passed(struct home_model *model);

struct directory_home_out
model_out(struct home_model *model, uint16_t rank);

// --- home_model_check.c: what must be true ---

struct record *
model_record(struct home_model *model, uint8_t key,
             struct block_version version);

void
model_note_version(struct home_model *model, uint8_t key,
                   struct block_version version, uint8_t id,
                   const struct op *op);

void
model_raise(struct home_model *model, uint8_t key,
            struct block_version version);

void
model_check_seen(struct home_model *model, uint8_t key, uint8_t id,
                 struct block_version version, struct block_version floor,
                 struct block_version cleared, uint32_t absent);

// A put of the key whose client has gone may still take something away.
bool
model_is_given_up(struct home_model *model, uint8_t key);

void
model_check_missed(struct home_model *model, uint8_t key,
                   struct block_version floor);

void
model_check_quiet(struct home_model *model);

// --- home_model_rank.c: the ranks ---

bool
model_has(const struct home_model *model, uint16_t rank, uint8_t id);

// A message for the rank itself.
void
model_hear(struct home_model *model, uint16_t from, uint16_t to,
           const struct packet *packet);

void
model_renew(struct home_model *model, uint16_t rank);

void
model_tell_gone(struct home_model *model, uint16_t rank, uint8_t key,
                struct block_version version);

void
model_evict(struct home_model *model, uint16_t rank, uint8_t id);

void
model_drop_guest(struct home_model *model, uint16_t rank, uint8_t key);

// --- home_model_client.c: the clients ---

void
model_begin(struct home_model *model, uint32_t op);

// What waits for a better moment.
void
model_ask_again(struct home_model *model, uint32_t op);

void
model_answered(struct home_model *model, uint32_t op, uint64_t asked_ns,
               const struct packet *packet);

#endif
