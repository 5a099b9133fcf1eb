// SPDX-License-Identifier: Apache-2.0
//
// Meeting ranks of the same node, and mapping what they offer. The other side of
// the sockets is fabric_node_thread.c, the page fabric_node_pin.c. See
// fabric_node.h.
//
// Locks: one mutex, over mapping and over what is known of processes.

#include "fabric/fabric_node.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/units.h"
#include "fabric/fabric_node_inner.h"

#define HUGE_PAGE_BYTES (2 * MIB)
#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_CHARACTERS 36

static void
node_lock(struct fabric_node *node)
{
    check(pthread_mutex_lock(&node->mutex) == 0);
}

static void
node_unlock(struct fabric_node *node)
{
    check(pthread_mutex_unlock(&node->mutex) == 0);
}

static unsigned
digit_of(char character)
{
    return character <= '9' ? (unsigned)(character - '0')
                            : (unsigned)(character - 'a') + 10;
}

// Which start of which kernel this is; false if it does not say.
static bool
read_boot_id(uint8_t id[16])
{
    char text[BOOT_ID_CHARACTERS];
    size_t digits = 0;
    ssize_t length;
    int file = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);

    if (file < 0) {
        return false;
    }
    length = read(file, text, sizeof(text));
    (void)close(file);
    for (ssize_t i = 0; i < length; i++) {
        bool is_digit = (text[i] >= '0' && text[i] <= '9') ||
                        (text[i] >= 'a' && text[i] <= 'f');

        if (is_digit) {
            uint8_t *byte = &id[digits / 2];

            *byte = (uint8_t)((uint32_t)*byte << 4 | digit_of(text[i]));
            digits++;
        }
    }
    return digits == 32;
}

// The page that peers write to, in a file that can be passed on.
static bool
make_page(struct fabric_node *node)
{
    uint64_t bytes = units_round_up(
        fabric_node_page_bytes_for(node->rank_count),
        (uint64_t)sysconf(_SC_PAGESIZE));
    void *memory;

    node->page_file = memfd_create("cascade-page",
                                   MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (node->page_file < 0 || ftruncate(node->page_file, (off_t)bytes) != 0 ||
        fcntl(node->page_file, F_ADD_SEALS,
              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return false;
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                  node->page_file, 0);
    if (memory == MAP_FAILED) {
        return false;
    }
    node->page = memory;
    node->page_bytes = bytes;
    (void)madvise(memory, bytes, MADV_DONTFORK);
    fabric_node_head(memory)->magic = FABRIC_NODE_MAGIC;
    fabric_node_head(memory)->rank = node->rank;
    fabric_node_head(memory)->rank_count = node->rank_count;
    return true;
}

// Makes what a rank needs to have near peers; why it cannot, or NULL.
static const char *
prepare(struct fabric_node *node)
{
    if (!read_boot_id(node->address.boot_id)) {
        return "this machine tells no boot id";
    }
    if (!make_page(node)) {
        return "this process can make no memory file for its page";
    }
    node->process = fabric_node_own_process();
    node->listener = fabric_node_listen(node->job, node->rank,
                                        node->address.socket);
    if (node->listener < 0) {
        return "this process can open no socket";
    }
    if (fabric_node_start(node) != CASCADE_OK) {
        return "this process can start no thread to serve peers";
    }
    return NULL;
}

static void
close_file(int file)
{
    if (file >= 0) {
        (void)close(file);
    }
}

static void
forget_mappings(struct fabric_node *node, struct fabric_node_peer *peer)
{
    for (uint32_t i = 0; i < FABRIC_NODE_REGIONS; i++) {
        struct fabric_node_mapping *region = &peer->regions[i];

        if (region->around != NULL) {
            (void)munmap(region->around, region->around_bytes);
        }
        close_file(region->file);
    }
    if (peer->page != NULL) {
        (void)munmap(peer->page, peer->page_bytes);
    }
    allocator_release(node->allocator, peer->pins);
    close_file(peer->process);
}

static void
destroy(struct fabric_node *node)
{
    fabric_node_join(node);
    for (uint32_t i = 0; node->peers != NULL && i < node->rank_count; i++) {
        forget_mappings(node, &node->peers[i]);
    }
    for (uint32_t i = 0; i < FABRIC_NODE_REGIONS; i++) {
        close_file(node->files[i]);
    }
    if (node->page != NULL) {
        (void)munmap(node->page, node->page_bytes);
    }
    close_file(node->page_file);
    close_file(node->process);
    close_file(node->listener);
    allocator_release(node->allocator, node->readers);
    allocator_release(node->allocator, node->peers);
    allocator_release(node->allocator, node);
}

static bool
make_tables(struct fabric_node *node)
{
    node->peers = allocator_array(node->allocator, node->rank_count,
                                  sizeof(struct fabric_node_peer));
    node->readers = allocator_array(node->allocator, node->rank_count,
                                    sizeof(node->readers[0]));
    for (uint32_t i = 0; node->peers != NULL && i < node->rank_count; i++) {
        struct fabric_node_peer *peer = &node->peers[i];

        peer->process = -1;
        atomic_init(&peer->reason, "it was not met yet");
        for (uint32_t j = 0; j < FABRIC_NODE_REGIONS; j++) {
            peer->regions[j].file = -1;
        }
    }
    return node->peers != NULL && node->readers != NULL;
}

enum cascade_status
fabric_node_open(const struct fabric_node_options *options,
                 struct fabric_node **node)
{
    struct fabric_node *made = allocator_array(options->allocator, 1,
                                               sizeof(*made));

    check(options->rank < options->rank_count);
    if (made == NULL) {
        return error_set(CASCADE_NO_MEMORY,
                         "no memory for the ranks of a node");
    }
    made->allocator = options->allocator;
    made->clock = options->clock;
    made->log = options->log;
    made->job = options->job;
    made->rank = options->rank;
    made->rank_count = options->rank_count;
    made->process = -1;
    made->page_file = -1;
    made->listener = -1;
    made->events = -1;
    made->stop = -1;
    for (uint32_t i = 0; i < FABRIC_NODE_REGIONS; i++) {
        made->files[i] = -1;
    }
    check(pthread_mutex_init(&made->mutex, NULL) == 0);
    if (!make_tables(made)) {
        check(pthread_mutex_destroy(&made->mutex) == 0);
        destroy(made);
        return error_set(CASCADE_NO_MEMORY, "no memory for %u ranks of a node",
                         options->rank_count);
    }
    made->refusal = options->disabled ? "memory of the node is not to be used"
                                      : prepare(made);
    if (made->refusal != NULL) {
        memset(&made->address, 0, sizeof(made->address));
        if (!options->disabled) {
            log_write(made->log, LOG_LEVEL_WARNING,
                      "every rank is taken for one of another node: %s",
                      made->refusal);
        }
    }
    made->address.pins_max = FABRIC_NODE_PINS;
    *node = made;
    return CASCADE_OK;
}

void
fabric_node_close(struct fabric_node *node)
{
    if (node != NULL) {
        fabric_node_join(node);
        check(pthread_mutex_destroy(&node->mutex) == 0);
        destroy(node);
    }
}

// The same file for reading only, where the system has a way to say so.
static int
open_read_only(int file)
{
    char path[32];
    int made;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    made = open(path, O_RDONLY | O_CLOEXEC);
    return made >= 0 ? made : fcntl(file, F_DUPFD_CLOEXEC, 0);
}

void
fabric_node_offer(struct fabric_node *node, enum fabric_node_region region,
                  int file, uint64_t bytes)
{
    int own;

    if (node->refusal != NULL) {
        return;
    }
    own = open_read_only(file);
    node_lock(node);
    check(node->files[region] < 0);
    node->files[region] = own;
    node->address.region_bytes[region] = own >= 0 ? bytes : 0;
    node_unlock(node);
}

void
fabric_node_own_address(const struct fabric_node *node,
                        struct fabric_node_address *address)
{
    *address = node->address;
}

// --- meeting

// Maps the peer's page and notes its files. False, and why.
static bool
take_welcome(struct fabric_node *node, uint16_t rank,
             const struct fabric_node_welcome *text,
             struct fabric_node_parcel *parcel, const char **reason)
{
    struct fabric_node_peer *peer = &node->peers[rank];
    uint32_t next = 1;
    void *page;
    struct stat info;

    if (fstat(parcel->files[0], &info) != 0 ||
        (uint64_t)info.st_size < text->page_bytes ||
        text->page_bytes < fabric_node_page_bytes_for(node->rank_count)) {
        *reason = "its page has not the right size";
        return false;
    }
    peer->pins = allocator_array(node->allocator, FABRIC_NODE_PINS,
                                 sizeof(peer->pins[0]));
    page = peer->pins == NULL
               ? MAP_FAILED
               : mmap(NULL, text->page_bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED, parcel->files[0], 0);
    if (page == MAP_FAILED) {
        allocator_release(node->allocator, peer->pins);
        peer->pins = NULL;
        *reason = "its page cannot be mapped";
        return false;
    }
    (void)madvise(page, text->page_bytes, MADV_DONTFORK);
    peer->page = page;
    peer->page_bytes = text->page_bytes;
    peer->may_pin = text->may_pin == 1;
    for (uint16_t i = 0; i < FABRIC_NODE_PINS; i++) {
        peer->pins[i] = (struct fabric_node_pin){.owner = rank, .index = i};
    }
    for (uint32_t i = 0; i < FABRIC_NODE_REGIONS; i++) {
        if ((text->regions & 1u << i) != 0) {
            peer->regions[i].bytes = text->region_bytes[i];
            peer->regions[i].file = parcel->files[next];
            parcel->files[next++] = -1;
        }
    }
    return true;
}

// Says hello over the socket and takes what comes back. False, and why.
static bool
exchange(struct fabric_node *node, uint16_t rank, int socket,
         const char **reason)
{
    struct fabric_node_hello hello = {
        .magic = FABRIC_NODE_MAGIC,
        .job = node->job,
        .from = node->rank,
        .to = rank,
        .has_process = node->process >= 0 ? 1 : 0,
    };
    struct fabric_node_parcel parcel = {
        .data = &hello,
        .bytes = sizeof(hello),
        .files = {node->process},
        .file_count = hello.has_process,
    };
    struct fabric_node_welcome text;
    uint32_t files;
    bool taken;

    if (!fabric_node_send(socket, &parcel)) {
        *reason = "it takes no descriptor";
        return false;
    }
    parcel.data = &text;
    parcel.bytes = sizeof(text);
    if (!fabric_node_receive(socket, &parcel)) {
        *reason = "it passed no descriptors in time";
        return false;
    }
    files = 1 + (uint32_t)__builtin_popcount(text.regions) + text.has_process;
    if (text.magic != FABRIC_NODE_MAGIC || text.job != node->job ||
        text.rank != rank || text.regions >= 1u << FABRIC_NODE_REGIONS ||
        text.has_process > 1 || parcel.file_count != files) {
        *reason = "what it passed is not understood";
        fabric_node_close_files(&parcel);
        return false;
    }
    if (text.has_process == 1) {
        (void)fabric_node_watch_process(node, rank, parcel.files[files - 1]);
        parcel.files[files - 1] = -1;
    }
    node_lock(node);
    taken = take_welcome(node, rank, &text, &parcel, reason);
    node_unlock(node);
    for (uint32_t i = 0; i < files; i++) {
        close_file(parcel.files[i]);
    }
    return taken;
}

// Why the address cannot be of this node, or NULL.
static const char *
judge_address(const struct fabric_node *node, uint16_t rank,
              const struct fabric_node_address *address)
{
    if (node->refusal != NULL) {
        return node->refusal;
    }
    if (rank == node->rank) {
        return "it is this rank itself";
    }
    if (address->socket[0] == 0) {
        return "it offers nothing";
    }
    if (memcmp(address->boot_id, node->address.boot_id,
               sizeof(address->boot_id)) != 0) {
        return "it runs under another kernel";
    }
    return NULL;
}

bool
fabric_node_meet(struct fabric_node *node, uint16_t rank,
                 const struct fabric_node_address *address)
{
    struct fabric_node_peer *peer;
    const char *reason;
    uint32_t state;
    bool met = false;

    check(rank < node->rank_count);
    peer = &node->peers[rank];
    state = atomic_load(&peer->state);
    if (state != FABRIC_NODE_FAR) {
        return state == FABRIC_NODE_NEAR;
    }
    reason = judge_address(node, rank, address);
    if (reason == NULL) {
        int socket = fabric_node_connect(address->socket, FABRIC_NODE_MEET_NS,
                                         &reason);

        if (socket >= 0) {
            met = exchange(node, rank, socket, &reason);
            (void)close(socket);
        }
    }
    if (!met) {
        atomic_store(&peer->reason, reason);
        log_write(node->log, LOG_LEVEL_DEBUG,
                  "rank %u is taken for one of another node: %s", rank, reason);
        return false;
    }
    atomic_store(&peer->reason,
                 peer->may_pin ? "it is of this node"
                               : "it is of this node, but pins go by message: "
                                 "the kernel does not tell of its end");
    state = FABRIC_NODE_FAR;
    return atomic_compare_exchange_strong(&peer->state, &state,
                                          FABRIC_NODE_NEAR);
}

bool
fabric_node_is_near(const struct fabric_node *node, uint16_t rank)
{
    return atomic_load_explicit(&node->peers[rank].state,
                                memory_order_acquire) == FABRIC_NODE_NEAR;
}

const char *
fabric_node_reason(const struct fabric_node *node, uint16_t rank)
{
    return atomic_load(&node->peers[rank].reason);
}

// --- mapping

// With the mutex held. Large pages of the file can be mapped as such only where
// they begin on one.
static enum cascade_status
map_region(uint16_t rank, struct fabric_node_mapping *region)
{
    uint64_t bytes = region->bytes + HUGE_PAGE_BYTES;
    int seals = fcntl(region->file, F_GET_SEALS);
    struct stat info;
    void *around;
    void *memory;

    if (fstat(region->file, &info) != 0 ||
        (uint64_t)info.st_size < region->bytes || seals < 0 ||
        (seals & F_SEAL_SHRINK) == 0) {
        return error_set(CASCADE_IO,
                         "the memory that rank %u offers is not as it says",
                         rank);
    }
    around = mmap(NULL, bytes, PROT_NONE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (around == MAP_FAILED) {
        goto refused;
    }
    memory = (char *)around + -(uintptr_t)around % HUGE_PAGE_BYTES;
    if (mmap(memory, region->bytes, PROT_READ, MAP_SHARED | MAP_FIXED,
             region->file, 0) == MAP_FAILED) {
        (void)munmap(around, bytes);
        goto refused;
    }
    (void)madvise(around, bytes, MADV_DONTFORK);
    region->around = around;
    region->around_bytes = bytes;
    atomic_store(&region->memory, memory);
    return CASCADE_OK;

refused:
    return error_set(CASCADE_NO_MEMORY,
                     "cannot map %llu bytes of rank %u; raise ulimit -v or "
                     "vm.max_map_count",
                     (unsigned long long)region->bytes, rank);
}

enum cascade_status
fabric_node_map(struct fabric_node *node, uint16_t rank,
                enum fabric_node_region region, const void **memory,
                uint64_t *bytes)
{
    struct fabric_node_peer *peer = &node->peers[rank];
    struct fabric_node_mapping *mapping = &peer->regions[region];
    enum cascade_status status = CASCADE_OK;

    if (!fabric_node_is_near(node, rank) || mapping->bytes == 0) {
        return error_set(CASCADE_NOT_FOUND, "rank %u offers no memory here: %s",
                         rank, fabric_node_reason(node, rank));
    }
    if (atomic_load_explicit(&mapping->memory, memory_order_acquire) == NULL) {
        node_lock(node);
        if (atomic_load(&mapping->memory) == NULL) {
            status = map_region(rank, mapping);
        }
        if (atomic_load(&mapping->memory) != NULL) {
            close_file(mapping->file);
            mapping->file = -1;
        }
        node_unlock(node);
    }
    if (status == CASCADE_OK) {
        *memory = atomic_load_explicit(&mapping->memory, memory_order_acquire);
        *bytes = mapping->bytes;
    }
    return status;
}
