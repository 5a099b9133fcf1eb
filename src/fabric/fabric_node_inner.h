// SPDX-License-Identifier: Apache-2.0
//
// What the files fabric_node*.c share: the page, what a rank knows of each
// peer, and the two messages by which descriptors are passed. See fabric_node.h
// for the rules.
//
// The page of a rank, in memory that its peers write to:
//
//   head       magic, the rank's number, the doorbell in a line of its own
//   in use     a line per reader: which of its places are taken, a bit each
//   places     a page per reader: FABRIC_NODE_PINS lines, (slot, generation)
//
// Only the reader sets and clears its own bits and places, until its death;
// then the owner does. The owner reads them. A bit whose place is not written
// yet shows the pin before it: a slot is then skipped without need, once.

#ifndef FABRIC_FABRIC_NODE_INNER_H
#define FABRIC_FABRIC_NODE_INNER_H

#include <assert.h>
#include <pthread.h>
#include <stddef.h>

#include "base/check.h"
#include "fabric/fabric_node.h"

#define FABRIC_NODE_MAGIC UINT64_C(0x45444f4e43534143)
#define FABRIC_NODE_LINE_BYTES 64
#define FABRIC_NODE_MEET_NS UINT64_C(1000000000)

struct fabric_node_head {
    uint64_t magic;
    uint32_t rank;
    uint32_t rank_count;
    uint8_t unused[FABRIC_NODE_LINE_BYTES - 16];
    _Atomic uint32_t doorbell;
    uint8_t rest[FABRIC_NODE_LINE_BYTES - 4];
};

struct fabric_node_bits {
    _Atomic uint64_t in_use;
    uint8_t rest[FABRIC_NODE_LINE_BYTES - 8];
};

struct fabric_node_place {
    _Atomic uint64_t slot_generation; // slot << 32 | generation
    uint8_t rest[FABRIC_NODE_LINE_BYTES - 8];
};

static_assert(sizeof(struct fabric_node_head) == 2 * FABRIC_NODE_LINE_BYTES,
              "the doorbell has a line of its own");
static_assert(sizeof(struct fabric_node_bits) == FABRIC_NODE_LINE_BYTES &&
                  sizeof(struct fabric_node_place) == FABRIC_NODE_LINE_BYTES,
              "readers and places have lines of their own");
static_assert(FABRIC_NODE_PINS == 64, "a bit of a word for each place");

enum fabric_node_state {
    FABRIC_NODE_FAR = 0,
    FABRIC_NODE_NEAR = 1,
    FABRIC_NODE_DEAD = 2,
};

struct fabric_node_pin {
    uint16_t owner;
    uint16_t index;
};

struct fabric_node_peer {
    _Atomic uint32_t state; // enum fabric_node_state
    _Atomic(const char *) reason;
    // As an owner of memory; set before `state` says near.
    void *page;
    uint64_t page_bytes;
    bool may_pin;
    struct fabric_node_pin *pins;
    struct fabric_node_mapping {
        int file; // -1: offers none
        uint64_t bytes;
        void *around;
        uint64_t around_bytes;
        _Atomic(const void *) memory;
    } regions[FABRIC_NODE_REGIONS];
    // As a process. Under the mutex.
    int process; // pidfd; -1: none
    bool reads_here;
};

struct fabric_node {
    const struct allocator *allocator;
    const struct clock_source *clock;
    struct log *log;
    uint64_t job;
    uint16_t rank;
    uint16_t rank_count;
    struct fabric_node_address address;
    const char *refusal;            // why this rank offers nothing, or NULL
    int files[FABRIC_NODE_REGIONS]; // what it offers; -1: nothing
    int process;                    // own pidfd; -1: the kernel has none
    int page_file;
    void *page;
    uint64_t page_bytes;
    int listener;
    int events; // epoll
    int stop;   // eventfd
    pthread_t thread;
    bool has_thread;
    struct fabric_node_peer *peers; // by rank
    // Ranks that may pin here. Grows; those that died stay.
    uint16_t *readers;
    _Atomic uint32_t reader_count;
    pthread_mutex_t mutex; // guards what is said above, and mapping
};

// What a reader sends with its pidfd, and what it gets with the page and the
// regions. Both within one machine and one program.
struct fabric_node_hello {
    uint64_t magic;
    uint64_t job;
    uint16_t from;
    uint16_t to;
    uint32_t has_process; // 1: a pidfd comes with it
};

struct fabric_node_welcome {
    uint64_t magic;
    uint64_t job;
    uint16_t rank;
    uint16_t may_pin; // 1: the reader's death will be seen
    uint32_t regions; // a bit for each that is offered, in the order of files
    uint32_t has_process;
    uint32_t zero;
    uint64_t page_bytes;
    uint64_t region_bytes[FABRIC_NODE_REGIONS];
};

#define FABRIC_NODE_FILES_MAX (2 + FABRIC_NODE_REGIONS)

// A message with its descriptors; those that came are the receiver's.
struct fabric_node_parcel {
    void *data;
    size_t bytes;
    int files[FABRIC_NODE_FILES_MAX];
    uint32_t file_count;
};

static inline uint64_t
fabric_node_page_bytes_for(uint16_t rank_count)
{
    return sizeof(struct fabric_node_head) +
           (uint64_t)rank_count *
               (sizeof(struct fabric_node_bits) +
                FABRIC_NODE_PINS * sizeof(struct fabric_node_place));
}

static inline struct fabric_node_head *
fabric_node_head(void *page)
{
    return page;
}

static inline struct fabric_node_bits *
fabric_node_bits(void *page, uint16_t reader)
{
    struct fabric_node_head *head = page;
    struct fabric_node_bits *bits = (void *)(head + 1);

    return &bits[reader];
}

// The places of a reader, the first of FABRIC_NODE_PINS.
static inline struct fabric_node_place *
fabric_node_places(void *page, uint16_t rank_count, uint16_t reader)
{
    struct fabric_node_place *places = (void *)fabric_node_bits(page,
                                                                rank_count);

    return &places[(size_t)reader * FABRIC_NODE_PINS];
}

// --- fabric_node_socket.c: sockets and descriptors, no state

// A socket that listens under a name not used before, which is put into
// `name`; -1 with errno.
int
fabric_node_listen(uint64_t job, uint16_t rank, uint8_t name[64]);

// A socket connected to the name, with the same user at its other end, whose
// calls end after `timeout_ns`; -1, and why.
int
fabric_node_connect(const uint8_t name[64], uint64_t timeout_ns,
                    const char **reason);

// True if the process at the other end is of the same user.
bool
fabric_node_is_same_user(int socket);

// False with errno; a parcel is sent whole or not.
bool
fabric_node_send(int socket, const struct fabric_node_parcel *parcel);

// `bytes` is the room, and must come exactly. False: not that, or descriptors
// were lost; none is kept then.
bool
fabric_node_receive(int socket, struct fabric_node_parcel *parcel);

void
fabric_node_close_files(struct fabric_node_parcel *parcel);

// Its own pidfd; -1 where the kernel has none.
int
fabric_node_own_process(void);

// --- fabric_node_thread.c: the thread that serves and watches

enum cascade_status
fabric_node_start(struct fabric_node *node) MUST_USE;

void
fabric_node_join(struct fabric_node *node);

// Takes the pidfd of the rank over; false if it cannot be watched (it is closed
// then). Of two the first is kept.
bool
fabric_node_watch_process(struct fabric_node *node, uint16_t rank, int process);

#endif
