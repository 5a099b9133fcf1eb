// SPDX-License-Identifier: Apache-2.0
//
// What ranks say to each other about keys and contents: plain structures of
// fixed size, little endian, without holes, which are copied into messages as
// they are. docs/DIRECTORY_PROTOCOL.md tells who says what when. A receiver
// checks sizes and ranges; what does not fit is answered with INVALID.
//
// A request that names several things begins with directory_message_count and
// then has `count` of its structure; answers likewise, in the same order.

#ifndef DIRECTORY_MESSAGE_H
#define DIRECTORY_MESSAGE_H

#include <stdint.h>

#include "block/block_id.h"
#include "block/block_key.h"
#include "block/block_version.h"

#define DIRECTORY_SHARDS_VIRTUAL 4096
#define DIRECTORY_RANK_NONE UINT16_MAX
#define DIRECTORY_COPIES_MAX 4          // ranks with a copy that a home names
#define DIRECTORY_MESSAGE_COUNT_MAX 512 // things that one message names

enum directory_subject {
    // To the home of a key.
    DIRECTORY_SUBJECT_LOOKUP = 1,   // lookup[] -> found[]
    DIRECTORY_SUBJECT_BIND = 2,     // bind -> bound
    DIRECTORY_SUBJECT_REMOVE = 3,   // remove -> block_version, of the removal
    DIRECTORY_SUBJECT_PROTECT = 4,  // protect -> block_version, the new one
    DIRECTORY_SUBJECT_GONE = 5,     // gone[], a notice
    DIRECTORY_SUBJECT_ANNOUNCE = 6, // announce[] -> nothing (open only)
    // To the home of an id.
    DIRECTORY_SUBJECT_CLAIM = 7,  // claim -> claimed
    DIRECTORY_SUBJECT_COPIES = 8, // copy[], a notice: copies come and go
    DIRECTORY_SUBJECT_FIND = 9,   // find[] -> copies[]
    // From a home to ranks.
    DIRECTORY_SUBJECT_RECALL = 10, // recall -> recalled
    DIRECTORY_SUBJECT_ADOPT = 11,  // adopt -> nothing: OK or a refusal
    DIRECTORY_SUBJECT_RENEW = 12,  // renew -> nothing: OK or a refusal
    // To every rank.
    DIRECTORY_SUBJECT_VERSION =
        13,                       // nothing -> block_version: the highest seen
    DIRECTORY_SUBJECT_CLEAR = 14, // block_version -> nothing
    DIRECTORY_SUBJECTS_END = 16,  // others use numbers from here on
};

struct directory_message_count {
    uint32_t count;
    uint32_t flags;
};

// What is said of a binding.
enum directory_message_flags {
    DIRECTORY_MESSAGE_PROTECTED = 1,
    DIRECTORY_MESSAGE_REMOVED = 2,
    DIRECTORY_MESSAGE_SURROGATE = 4,
    DIRECTORY_MESSAGE_IF_ABSENT = 8,
    DIRECTORY_MESSAGE_KEEP_REMOVAL = 16,
};

struct directory_message_lookup {
    struct block_key key;
};

// Status per key: OK or NOT_FOUND. lease_ns 0: nothing may be kept of it.
struct directory_message_found {
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    uint64_t lease_ns;
    uint32_t status; // enum cascade_status
    uint32_t flags;
    uint16_t
        custodian; // DIRECTORY_RANK_NONE: changing hands, ask the id's home
    uint16_t zero[3];
};

// The sender is the custodian-to-be and holds the bytes under a pin.
struct directory_message_bind {
    struct block_key key;
    struct block_id id;
    struct block_version
        version; // proposed, above all that the sender has seen
    uint64_t bytes;
    uint32_t flags; // PROTECTED, SURROGATE, IF_ABSENT
    uint32_t zero;
};

// Answer OK: bound, leased for lease_ns. EXISTS: bound already (IF_ABSENT, or
// rebind=refused and other content); what is bound follows. STALE: the version
// is too low; `version` is what it must exceed.
struct directory_message_bound {
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    uint64_t lease_ns;
    uint32_t flags;
    uint16_t custodian;
    uint16_t zero;
};

struct directory_message_remove {
    struct block_key key;
};

// Sets or lifts protection.
struct directory_message_protect {
    struct block_key key;
    uint32_t flags; // PROTECTED or 0
    uint32_t zero;
};

// The sender holds no bytes for that binding any more.
struct directory_message_gone {
    struct block_key key;
    struct block_version version;
};

// A binding that the sender keeps (read from segments at open).
struct directory_message_announce {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint64_t bytes;
    uint32_t flags; // PROTECTED, REMOVED, SURROGATE
    uint32_t zero;
};

struct directory_message_claim {
    struct block_id id;
    uint64_t bytes;
};

// Answer OK: nobody has it, the claim is the sender's until it tells COPIES of
// it or the claim ends by itself. EXISTS: `rank` has it.
struct directory_message_claimed {
    uint16_t rank;
    uint16_t zero[3];
};

enum directory_copy_change {
    DIRECTORY_COPY_HERE = 1, // the sender has a copy
    DIRECTORY_COPY_GONE = 2, // it has none any more; or gives up its claim
};

struct directory_message_copy {
    struct block_id id;
    uint32_t change; // enum directory_copy_change
    uint32_t zero;
};

struct directory_message_find {
    struct block_id id;
};

struct directory_message_copies {
    uint32_t count; // of ranks
    uint16_t ranks[DIRECTORY_COPIES_MAX];
    uint32_t zero;
};

// To all that may hold something of the binding: below `below` it is void. The
// custodian keeps a removal of version `below` with KEEP_REMOVAL if it may have
// written the binding. Answered when nothing is served from it any more.
struct directory_message_recall {
    struct block_key key;
    struct block_version below;
    uint32_t flags; // KEEP_REMOVAL
    uint32_t zero;
};

// To a rank with a copy: be the custodian of this binding. Refused with
// NOT_FOUND where there is no copy (any more).
struct directory_message_adopt {
    struct block_key key;
    struct block_id id;
    struct block_version version;
    uint32_t flags; // PROTECTED, SURROGATE
    uint32_t zero;
};

// To the custodian: the binding `version` is called `renewed` from now on, with
// or without protection. It answers when that is so: OK, NO_SPACE (budget),
// NOT_FOUND (no bytes), other errors of a load.
struct directory_message_renew {
    struct block_key key;
    struct block_version version;
    struct block_version renewed;
    uint32_t flags; // PROTECTED or 0
    uint32_t zero;
};

// The virtual shard of a key or an id, and its home. Every rank computes the
// same.
static inline uint32_t
directory_shard_of_key(const struct block_key *key)
{
    return (uint32_t)(key->bytes[8] << 8 | key->bytes[9]) %
           DIRECTORY_SHARDS_VIRTUAL;
}

static inline uint32_t
directory_shard_of_id(const struct block_id *id)
{
    return (uint32_t)(id->bytes[8] << 8 | id->bytes[9]) %
           DIRECTORY_SHARDS_VIRTUAL;
}

static inline uint16_t
directory_home_rank(uint32_t shard, uint16_t rank_count)
{
    return (uint16_t)(shard % rank_count);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "messages are little endian as they lie");
_Static_assert(sizeof(struct directory_message_found) == 80, "no holes");
_Static_assert(sizeof(struct directory_message_bind) == 96, "no holes");
_Static_assert(sizeof(struct directory_message_bound) == 72, "no holes");
_Static_assert(sizeof(struct directory_message_protect) == 40, "no holes");
_Static_assert(sizeof(struct directory_message_gone) == 48, "no holes");
_Static_assert(sizeof(struct directory_message_announce) == 96, "no holes");
_Static_assert(sizeof(struct directory_message_copy) == 40, "no holes");
_Static_assert(sizeof(struct directory_message_copies) == 16, "no holes");
_Static_assert(sizeof(struct directory_message_recall) == 56, "no holes");
_Static_assert(sizeof(struct directory_message_adopt) == 88, "no holes");
_Static_assert(sizeof(struct directory_message_renew) == 72, "no holes");

#endif
